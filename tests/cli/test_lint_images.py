"""`waybill lint` sees in layouts and archives what `waybill build` would say, in the same words."""

import gzip
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from content.bundle import graph
from content.bundle.oci import Descriptor
from content.commands.lint import LintResult, lint
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import WaybillError
from tests.images import LayoutWriter
from tests.unit.bundler.test_foreign_layers import foreign_image
from tests.unit.content.bundle.test_docker_archive import BASE, Saved
from tests.waybill import waybill
from tests.workshop import Workshop

URL = "https://layers.example.com/base.tgz"
PLAIN = {"sbom": "none", "sbom_reason": "a test"}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def linted(shop: Workshop) -> LintResult:
    return lint(shop.save())


def index_with_a_gap(shop: Workshop) -> tuple[LayoutWriter, Descriptor]:
    """An index of two platforms of which one is not in the layout."""
    writer = LayoutWriter(shop.path / "dist" / "app")
    here = writer.image([{"app/version": b"1"}])
    gone = replace(here, digest=digest_of(b"gone"), platform="linux/arm64")
    writer.tag(writer.index([here, gone]), "1.0.0")
    writer.save()
    return writer, gone


def same_problem(shop: Workshop) -> WaybillError:
    """Lint finds one problem, and it is the one that ends the build."""
    (problem,) = linted(shop).problems
    with pytest.raises(WaybillError) as caught:
        shop.build()
    assert caught.value.problem == problem.problem
    assert caught.value.remedy == problem.remedy
    assert "release.yaml:" in problem.where
    return problem


def same_warning(shop: Workshop) -> str:
    result = linted(shop)
    assert not result.problems
    ((where, warning),) = result.warnings
    assert [one.text for one in shop.build().findings] == [warning]
    assert "release.yaml:" in where
    return warning


def test_a_gap_is_a_warning(shop: Workshop) -> None:
    _, gone = index_with_a_gap(shop)
    shop.image(**PLAIN)
    assert f"is packed with gaps: {gone.digest} (linux/arm64) is left out" in same_warning(shop)


@pytest.mark.parametrize("nested", [False, True])
def test_an_index_without_a_manifest(shop: Workshop, nested: bool) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    empty = writer.index([])
    writer.tag(writer.index([empty]) if nested else empty, "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    assert same_problem(shop).problem == "the index of image 'app' names no manifest, expected at least one"


def test_an_index_of_which_only_an_empty_index_is_there(shop: Workshop) -> None:
    writer, gone = index_with_a_gap(shop)
    writer.entries.clear()
    writer.tag(writer.index([writer.index([]), gone]), "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    problem = same_problem(shop).problem
    assert problem.startswith("nothing that the index of image 'app' names is there to pack; ")
    assert gone.digest in problem


def test_a_digest_to_choose_an_image_by_is_printed_whole(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    images = [writer.image([{f"app/{name}": b"1"}]) for name in ("one", "two")]
    for image in images:
        writer.tag(image, "1.0.0")
    writer.save()
    shop.image("app", **PLAIN)
    shop.save()
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert done.code == 3
    assert f"here are {', '.join(sorted(image.digest for image in images))}\n" in done.out


@pytest.mark.parametrize(("limit", "what"), [("MAX_DESCRIPTORS", "descriptors"), ("MAX_ANNOTATIONS", "annotations")])
def test_documents_are_counted_while_they_are_read(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, limit: str, what: str
) -> None:
    """Three images of 12 each: with the second there are 24, and nothing reads the third, which is not there."""
    monkeypatch.setattr(graph, limit, 20)
    for name in ("one", "two"):
        writer = LayoutWriter(shop.path / "dist" / name)
        layers = [{f"app/{name}{n}": b"1"} for n in range(11 if what == "descriptors" else 1)]
        image = writer.image(layers)
        if what == "annotations":
            document = json.loads(writer.read(image)) | {"annotations": {str(n): "text" for n in range(12)}}
            image = writer.blob(json.dumps(document).encode(), image.media_type)
        writer.tag(image, "1.0.0")
        writer.save()
        shop.image(name, **PLAIN)
        if name == "one":
            assert not linted(shop).problems
    problem = same_problem(shop)
    assert f"the documents have more than 20 {what}" in problem.problem
    assert "dist/two" in problem.where
    shop.image("three", **PLAIN)
    assert "dist/two" in same_problem(shop).where


def test_a_platform_that_was_asked_for_and_is_not_there(shop: Workshop) -> None:
    index_with_a_gap(shop)
    shop.image(**PLAIN, platforms=["linux/arm64"])
    assert "image 'app' has no linux/arm64 to pack" in same_problem(shop).problem


def test_a_platform_that_nobody_offers(shop: Workshop) -> None:
    index_with_a_gap(shop)
    shop.image(**PLAIN, platforms=["linux/s390x"])
    assert "image 'app' has no linux/s390x" in same_problem(shop).problem


def test_a_foreign_layer_below_an_index(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    windows = foreign_image(writer, URL, platform="windows/amd64")
    writer.tag(writer.index([writer.image([{"app/version": b"1"}]), windows]), "1.0.0")
    writer.save()
    spec = shop.image(**PLAIN)
    problem = same_problem(shop)
    assert URL in problem.problem
    assert problem.finding == "foreign-layer"
    shop.release["images"][0] = spec | {"foreign_layers": "absent"}
    assert URL in same_warning(shop)


def test_a_layer_that_is_missing(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.image([{"app/version": b"1"}])
    writer.tag(image, "1.0.0")
    writer.save()
    layer = json.loads(writer.read(image))["layers"][0]["digest"]
    (writer.path / blob_name(layer)).unlink()
    shop.image(**PLAIN)
    assert layer in same_problem(shop).problem


def test_a_packed_archive_of_docker(shop: Workshop) -> None:
    saved = Saved(shop.path / "app.tar", {"1/layer.tar": BASE})
    saved.image("1/layer.tar", tags=["app:1.0"])
    plain = saved.save().read_bytes()
    (shop.path / "app.tar.gz").write_bytes(gzip.compress(plain))
    shop.image(**PLAIN, **{"from": "docker-archive:app.tar.gz"})
    assert not linted(shop).problems
    packed = shop.build()
    shop.release["images"][0]["from"] = "docker-archive:app.tar"
    assert shop.build(shop.path / "second").release.images == packed.release.images
    assert {one.name for one in shop.path.iterdir() if one.name.startswith(".")} == set()


@pytest.mark.parametrize("damage", ["missing", "circle", "count"])
def test_a_damaged_archive_of_docker(shop: Workshop, damage: str) -> None:
    """No layer is read for this: a layer that is not there, a link that leads back to itself, a layer too many."""
    saved = Saved(shop.path / "app.tar", {"1/layer.tar": BASE})
    layers = ("1/layer.tar",)
    if damage == "count":
        saved.image(*layers, tags=["app:1.0"], diff_ids=[digest_of(BASE), digest_of(b"another")])
    else:
        saved.image(*layers, tags=["app:1.0"])
        del saved.files["1/layer.tar"]
    if damage == "circle":
        saved.links = {
            "1/layer.tar": (tarfile.SYMTYPE, "../2/layer.tar"),
            "2/layer.tar": (tarfile.SYMTYPE, "../1/layer.tar"),
        }
    saved.save()
    shop.image(**PLAIN, **{"from": "docker-archive:app.tar"})
    expected = {
        "missing": "1/layer.tar is missing",
        "circle": "1/layer.tar is a link in a circle, or one of more than 16",
        "count": "the config names 2 layers, manifest.json 1",
    }
    problem = same_problem(shop)
    assert problem.problem.endswith(expected[damage])
    assert problem.remedy == "save the image again"


def test_a_packed_archive_that_is_cut(shop: Workshop) -> None:
    saved = Saved(shop.path / "app.tar", {"1/layer.tar": BASE})
    saved.image("1/layer.tar", tags=["app:1.0"])
    (shop.path / "app.tgz").write_bytes(gzip.compress(saved.save().read_bytes())[:-9])
    shop.image(**PLAIN, **{"from": "docker-archive:app.tgz"})
    assert "cannot be unpacked" in same_problem(shop).problem


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_whose_copy_was_not_finished(shop: Workshop, kind: str) -> None:
    saved = Saved(shop.path / "app.tar", {"1/layer.tar": BASE})
    saved.image("1/layer.tar", tags=["app:1.0"])
    begin = saved.save().read_bytes()[:300]
    shop.image(**PLAIN, **{"from": f"{kind}:app.tar"})
    for data, problem in (
        (begin, "the file ends after 300 bytes, inside the first header of a tar: its copy was not finished"),
        (bytes(300), "the file begins with zeros, expected a tar: its copy was not finished"),
        (bytes(10_240), "the file begins with zeros, expected a tar: its copy was not finished"),
        (b"", "the file is empty, expected a tar"),
    ):
        (shop.path / "app.tar").write_bytes(data)
        error = same_problem(shop)
        assert (error.problem.startswith(problem), error.finding) == (True, "archive-truncated")
        assert error.remedy == "copy it again, from another medium if there is one"


@pytest.fixture(params=["pipe", "socket", "device", "folder"])
def unusable(request: pytest.FixtureRequest, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of something that is no regular file."""
    monkeypatch.chdir(shop.path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        if request.param == "pipe":
            os.mkfifo("x")
        elif request.param == "socket":
            server.bind("x")
        elif request.param == "device":
            Path("x").symlink_to("/dev/zero")
        else:
            Path("x").mkdir()
        yield "x"


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_that_is_no_file_is_refused_at_once(shop: Workshop, unusable: str, kind: str) -> None:
    shop.image(**PLAIN, **{"from": f"{kind}:{unusable}"})
    error = same_problem(shop)
    assert (error.exit_code, error.finding) == (3, "not-a-file")


@pytest.mark.parametrize("unusable", ["pipe", "socket"], indirect=True)
def test_a_file_set_that_is_no_file(shop: Workshop, unusable: str) -> None:
    shop.release["files"][0]["from"] = unusable
    assert same_problem(shop).finding == "file-kind"


def test_a_file_set_that_holds_a_pipe(shop: Workshop) -> None:
    os.mkfifo(shop.path / "service" / "pipe")
    assert same_problem(shop).problem == "found a named pipe, expected a regular file"


@pytest.mark.parametrize("unusable", ["pipe", "socket", "device"], indirect=True)
def test_a_chart_that_is_no_file(shop: Workshop, unusable: str) -> None:
    shop.release["charts"] = [{"name": "small", "from": unusable}]
    error = same_problem(shop)
    assert (error.exit_code, error.finding) == (3, "not-a-file")


PRETTYJWS = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ATTESTATION = {"vnd.docker.reference.digest": digest_of(b"image"), "vnd.docker.reference.type": "attestation-manifest"}


@pytest.mark.parametrize("platforms", [{}, {"platforms": ["linux/amd64"]}])
def test_an_index_of_an_image_of_schema_version_1(shop: Workshop, platforms: dict[str, Any]) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    old = replace(writer.blob(b'{"schemaVersion":1}', PRETTYJWS), platform="linux/amd64")
    writer.tag(writer.index([old]), "1.0.0")
    writer.save()
    shop.image(**PLAIN, **platforms)
    problem = same_problem(shop)
    assert "is an image of schema version 1, expected schema version 2 or OCI" in problem.problem
    assert "skopeo copy --format oci" in problem.remedy


def test_an_index_that_calls_an_image_of_schema_version_1_another_one(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    old = replace(writer.blob(b'{"schemaVersion":1}', writer.image([]).media_type), platform="linux/amd64")
    writer.tag(writer.index([old]), "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    problem = same_problem(shop)
    assert problem.finding == "image-schema-1"
    assert problem.problem.startswith(old.digest)


@pytest.mark.parametrize("marked", ["platform", "annotation"])
def test_an_index_that_holds_only_an_attestation(shop: Workshop, marked: str) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    child = replace(writer.image([{"predicate": b"{}"}]), platform=None)
    if marked == "platform":
        child = replace(child, platform="unknown/unknown")
    else:
        child = replace(child, annotations=tuple(sorted(ATTESTATION.items())))
    writer.tag(writer.index([child]), "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    assert same_warning(shop) == (
        "image app from oci:dist/app has nothing that runs: its index holds only attestations (unknown/unknown)"
    )


def test_an_attestation_beside_an_image_is_no_warning(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.image([{"a": b"1"}])
    attestation = replace(writer.image([{"predicate": b"{}"}]), platform="unknown/unknown")
    writer.tag(writer.index([image, attestation]), "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    assert linted(shop).warnings == ()
    assert shop.build().findings == ()


def test_an_sbom_of_spdx_3_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    package = {"type": "software_Package", "name": "alpha"}
    path.write_text(json.dumps({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [package]}))
    result = lint(path)
    assert (result.kind, result.problems) == ("sbom", ())
