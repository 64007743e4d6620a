"""Images as they occur: indexes with gaps, of either family, with platforms left out, and artifacts beside images."""

import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bundler.build import BuiltBundle
from content.bundle.oci import DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from content.bundle.oci import Descriptor as Entry
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_index, encode_manifest
from manifests.documents.release import Release
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from tests.images import CYCLONEDX, LayoutWriter, sbom
from tests.vectors.surgery import request
from tests.workshop import Workshop
from verifier.trust.bundle import verify_path
from waybill import cli

NOW = datetime(2026, 12, 1, tzinfo=UTC)
BUILDKIT = "vnd.docker.reference.digest"
NO_SBOM = {"sbom": "none", "sbom_reason": "a test"}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "vendor")


@pytest.fixture
def writer(shop: Workshop) -> LayoutWriter:
    return LayoutWriter(shop.path / "dist" / "app")


def packed(shop: Workshop, writer: LayoutWriter, **changes: Any) -> tuple[Release, BuiltBundle]:
    """Build a release of the one image in ``writer``, and verify it."""
    writer.save()
    shop.image(**({**NO_SBOM} | changes))
    built = shop.build()
    found = verify_path(built.path, request(shop.pin(), now=NOW))
    assert found.end == "complete", found.findings
    return found.head.release, built


def lose(writer: LayoutWriter, descriptor: Entry) -> Entry:
    (writer.path / blob_name(descriptor.digest)).unlink()
    return descriptor


def two_platforms(writer: LayoutWriter) -> tuple[Entry, Entry]:
    return writer.image([{"a": b"1"}]), writer.image([{"a": b"2"}], platform="linux/arm64/v8")


def test_an_index_with_gaps_is_packed_as_far_as_it_goes(shop: Workshop, writer: LayoutWriter) -> None:
    here, gone = two_platforms(writer)
    attestation = replace(here, platform="unknown/unknown", digest="sha256:" + "a" * 64)
    attestation = replace(attestation, annotations=((BUILDKIT, here.digest),))
    writer.tag(writer.index([here, lose(writer, gone), attestation]), "1.0.0")
    release, built = packed(shop, writer)
    assert [(one.digest, one.platform) for one in release.absent] == sorted(
        [(gone.digest, "linux/arm64/v8"), (attestation.digest, "unknown/unknown")]
    )
    assert release.images[0].platforms == ("linux/amd64",)
    (finding,) = [one for one in built.findings if one.finding == "left-out"]
    assert "image app from oci:dist/app is packed with gaps" in finding.text
    assert f"{gone.digest} (linux/arm64/v8) is left out" in finding.text


def test_a_platform_whose_layer_is_gone_is_left_out(shop: Workshop, writer: LayoutWriter) -> None:
    here, broken = two_platforms(writer)
    layer = json.loads(writer.read(broken))["layers"][0]["digest"]
    (writer.path / blob_name(layer)).unlink()
    writer.tag(writer.index([here, broken]), "1.0.0")
    release, _ = packed(shop, writer)
    assert [one.digest for one in release.absent] == [broken.digest]
    assert {broken.digest, layer}.isdisjoint(one.digest for one in release.members)


def test_a_platform_that_was_asked_for_must_be_there(shop: Workshop, writer: LayoutWriter) -> None:
    here, gone = two_platforms(writer)
    writer.tag(writer.index([here, lose(writer, gone)]), "1.0.0")
    with pytest.raises(RefusedError, match=f"image 'app' has no linux/arm64/v8 to pack: {gone.digest} is missing"):
        packed(shop, writer, platforms=["linux/amd64", "linux/arm64"])


def test_an_index_of_which_nothing_is_there(shop: Workshop, writer: LayoutWriter) -> None:
    writer.tag(writer.index([lose(writer, one) for one in two_platforms(writer)]), "1.0.0")
    with pytest.raises(RefusedError, match="nothing that the index of image 'app' names is there") as caught:
        packed(shop, writer)
    assert "with all of its platforms" in caught.value.remedy


def test_damage_is_no_gap(shop: Workshop, writer: LayoutWriter) -> None:
    here, changed = two_platforms(writer)
    path = writer.path / blob_name(changed.digest)
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    writer.tag(writer.index([here, changed]), "1.0.0")
    with pytest.raises(DamagedError, match="found bytes with"):
        packed(shop, writer)


@pytest.mark.parametrize("family", ["oci", "docker", "docker in oci"])
@pytest.mark.parametrize("platforms", [None, ["linux/arm64"]], ids=["all", "one"])
def test_lists_inside_of_indexes(
    shop: Workshop, writer: LayoutWriter, family: str, platforms: list[str] | None
) -> None:
    amd64, arm64 = two_platforms(writer)
    inner_type = OCI_INDEX if family == "oci" else DOCKER_INDEX
    outer_type = DOCKER_INDEX if family == "docker" else OCI_INDEX

    def listing(entries: list[Entry], media_type: str) -> Entry:
        data = encode_index(entries).replace(OCI_INDEX.encode(), media_type.encode())
        return writer.blob(data, media_type)

    inner = listing([amd64, arm64], inner_type)
    writer.tag(listing([inner], outer_type), "1.0.0")
    release, _ = packed(shop, writer, platforms=platforms)
    assert [one.digest for one in release.absent] == ([amd64.digest] if platforms else [])


@pytest.mark.parametrize("platform", [None, {}, {"os": "", "architecture": ""}, {"os": "linux"}])
def test_a_platform_with_gaps_is_looked_up_in_the_config(
    shop: Workshop, writer: LayoutWriter, platform: dict[str, str] | None
) -> None:
    images = two_platforms(writer)
    document = json.loads(encode_index(images))
    for entry in document["manifests"]:
        entry["platform"] = platform
        entry["annotations"] = {"org.example": None}
    writer.tag(writer.blob(json.dumps(document).encode(), OCI_INDEX), "1.0.0")
    release, _ = packed(shop, writer, platforms=["linux/arm64"])
    # What the index does not say of a child that is left out, nobody could check.
    assert [(one.digest, one.platform) for one in release.absent] == [(images[0].digest, "unknown")]


def test_docker_images_have_platforms_too(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    data = writer.read(image).replace(OCI_MANIFEST.encode(), DOCKER_MANIFEST.encode())
    data = data.replace(OCI_CONFIG.encode(), DOCKER_CONFIG.encode())
    writer.tag(writer.blob(data, DOCKER_MANIFEST), "1.0.0")
    packed(shop, writer, platforms=["linux/amd64"])


def test_an_sbom_that_only_the_index_names_counts(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    attached = writer.referrer(image, sbom("1.0.0"), CYCLONEDX)
    writer.entries.remove(attached)
    writer.tag(writer.index([image, attached]), "1.0.0")
    release, _ = packed(shop, writer, sbom="attached", sbom_reason=None, platforms=["linux/amd64"])
    assert [one.digest for one in release.images[0].sboms] == [digest_of(sbom("1.0.0"))]
    assert release.absent == ()


def test_an_sbom_of_an_image_in_a_nested_index(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    writer.tag(writer.index([writer.index([image])]), "1.0.0")
    writer.referrer(image, sbom("1.0.0"), CYCLONEDX)
    release, _ = packed(shop, writer, sbom="attached", sbom_reason=None)
    assert len(release.images[0].sboms) == 1


def test_artifacts_beside_the_only_image(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    writer.entries.append(image)
    writer.blob(EMPTY_BYTES, EMPTY.media_type)
    notes = encode_manifest(EMPTY, [writer.blob(b"notes", "text/plain")], artifact_type="application/vnd.example.notes")
    writer.entries.append(writer.blob(notes, OCI_MANIFEST))
    chart = writer.blob(b'{"name":"app"}', "application/vnd.cncf.helm.config.v1+json")
    writer.entries.append(writer.blob(encode_manifest(chart, []), OCI_MANIFEST))
    release, _ = packed(shop, writer)
    assert release.images[0].manifest.digest == image.digest


def test_an_entry_of_another_kind_in_an_index(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    other = writer.blob(b"{}", "application/vnd.oci.artifact.manifest.v1+json")
    writer.tag(writer.index([image, other]), "1.0.0")
    release, built = packed(shop, writer)
    assert [one.digest for one in release.absent] == [other.digest]
    assert "is no image" in built.findings[-1].text


def test_an_entry_of_the_layout_that_is_gone_stops_no_other_image(shop: Workshop, writer: LayoutWriter) -> None:
    image, other = two_platforms(writer)
    writer.tag(image, "1.0.0")
    writer.tag(lose(writer, other), "2.0.0")
    release, built = packed(shop, writer, **{"from": "oci:dist/app:1.0.0"})
    assert release.images[0].manifest.digest == image.digest
    (finding,) = [one for one in built.findings if one.finding == "beside-image"]
    assert other.digest in finding.text


def test_an_unnamed_entry_that_is_gone_is_not_the_image(shop: Workshop, writer: LayoutWriter) -> None:
    image, other = two_platforms(writer)
    writer.entries += [image, lose(writer, other)]
    release, built = packed(shop, writer)
    assert release.images[0].manifest.digest == image.digest
    assert [one.finding for one in built.findings if other.digest in one.text] == ["beside-image"]


def test_a_referrer_with_a_layer_that_is_gone_is_a_doubt(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    writer.referrer(image, b"note", "application/vnd.example.note")
    (writer.path / blob_name(digest_of(b"note"))).unlink()
    _, built = packed(shop, writer)
    assert "could not be read and is not packed" in built.findings[0].text


def test_layers_that_must_not_travel_are_named_with_their_url(shop: Workshop, writer: LayoutWriter) -> None:
    here, other = two_platforms(writer)
    document = json.loads(writer.read(other))
    document["layers"][0] |= {"urls": ["https://layers.example.com/base"]}
    foreign = replace(writer.blob(json.dumps(document).encode(), OCI_MANIFEST), platform="windows/amd64")
    writer.tag(writer.index([here, foreign]), "1.0.0")
    with pytest.raises(RefusedError, match=r"image 'app' .*https://layers\.example\.com/base") as caught:
        packed(shop, writer)
    assert "name `platforms`" in caught.value.remedy
    shop.release["images"][0]["platforms"] = ["linux/amd64"]
    built = shop.build()
    assert verify_path(built.path, request(shop.pin(), now=NOW)).end == "complete"


def test_an_image_whose_subject_is_elsewhere(shop: Workshop, writer: LayoutWriter) -> None:
    """No verifier takes it alone; together with its subject it is a referrer like any other."""
    base = writer.tag(writer.image([{"a": b"1"}]), "base")
    document = json.loads(writer.read(writer.image([{"a": b"2"}])))
    document["subject"] = {"mediaType": OCI_MANIFEST, "digest": base.digest, "size": base.size}
    writer.tag(writer.blob(json.dumps(document).encode(), OCI_MANIFEST), "app")
    with pytest.raises(MalformedError, match=rf"image app: its subject {base.digest} is not in the bundle") as caught:
        packed(shop, writer, **{"from": "oci:dist/app:app"})
    assert "may be named as an image of the release too" in caught.value.remedy
    assert not (shop.path / "out").exists()
    shop.image("base", **NO_SBOM, **{"from": "oci:dist/app:base"})
    built = shop.build()
    assert verify_path(built.path, request(shop.pin(), now=NOW)).end == "complete"


def test_an_image_of_docker_save_is_marked_as_converted(shop: Workshop) -> None:
    layer = b"layer"
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
    files = {"config.json": json.dumps(config).encode(), "1/layer.tar": layer}
    listed = [{"Config": "config.json", "RepoTags": ["app:1.0"], "Layers": ["1/layer.tar"]}]
    (shop.path / "dist").mkdir()
    with tarfile.open(shop.path / "dist" / "app.tar", "w") as tar:
        for name, data in {**files, "manifest.json": json.dumps(listed).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    shop.write("sbom.json", sbom("1.0.0"))
    shop.image(platforms=["linux/amd64"], **{"from": "docker-archive:dist/app.tar:app:1.0"})
    built = shop.build()
    found = verify_path(built.path, request(shop.pin(), now=NOW))
    (image,) = found.head.release.images
    assert (found.end, image.converted, len(image.sboms)) == ("complete", "docker-archive", 1)
    shown = CliRunner().invoke(cli, ["show", str(built.path)])
    assert "signed by none, converted from docker-archive" in " ".join(shown.output.split())
