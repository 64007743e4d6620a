"""One release packed whole: what lands in the bundle, and what is refused."""

import errno
import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from content.bundle.head import open_head
from content.bundle.oci import REF_NAME
from content.trust.head import verify_head
from manifests.documents.host_needs import CertificateNeed, HostNeeds
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError, UntrustedError, UsageError
from tests.images import LayoutWriter, full_layout, sbom, tiny_layout
from tests.vectors.surgery import request
from tests.vendor import RELEASE, ROOT, SECOND, STRANGER, Vendor
from tests.workshop import Workshop, earlier
from verifier.trust.bundle import VerifiedBundle, verify_path

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "vendor")


def verified(shop: Workshop, path: Path) -> VerifiedBundle:
    found = verify_path(path, request(shop.pin(), now=NOW))
    assert found.end == "complete", found.findings
    return found


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_plain(shop: Workshop) -> None:
    built = shop.build()
    assert built.path == shop.path / "out" / "small-1.0.0.tar"
    assert leftovers(shop.path / "out") == ["small-1.0.0.tar"]
    assert built.size == built.path.stat().st_size
    assert (built.signers, built.missing) == ((RELEASE.public.keyid,), 0)
    release = verified(shop, built.path).head.release
    files = release.file_set("service")
    assert [(one.path, one.executable) for one in files.entries] == [("bin/run.py", True), ("hello.txt", False)]
    assert release.probes[0].every_seconds == 10
    assert release.trial.at_most_seconds == 900


def test_a_release_with_too_many_members_is_refused_before_it_is_signed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = shop.build()
    count = len(shop.head(built).release.members)
    built.path.unlink()
    monkeypatch.setattr("bundler.compile.MAX_MEMBERS", count)
    shop.build().path.unlink()
    monkeypatch.setattr("bundler.compile.MAX_MEMBERS", count - 1)
    monkeypatch.setattr("bundler.build.sign_release", None)
    with pytest.raises(RefusedError, match=f"{count} files in one release, at most {count - 1} are allowed") as caught:
        shop.build()
    assert caught.value.remedy == "put folders of many files into an archive or an image"


def test_needs_of_the_host_are_compiled(shop: Workshop) -> None:
    shop.release["host"] = {
        "disk": "20GiB",
        "memory": "512MiB",
        "kernel": "5.10",
        "ports": [8080],
        "clock": "5m",
        "certificates": [{"endpoint": "api", "days": 30}],
        "warn": ["disk"],
    }
    assert shop.head(shop.build()).release.host == HostNeeds(
        disk_bytes=20 << 30,
        memory_bytes=512 << 20,
        kernel="5.10",
        ports=(8080,),
        clock_seconds=300,
        certificates=(CertificateNeed(endpoint="api", days=30),),
        warn=("disk",),
    )


def test_image_with_everything_attached(shop: Workshop) -> None:
    shop.full()
    built = shop.build()
    found = verified(shop, built.path)
    image = found.head.release.image("app")
    assert (image.to, image.platforms, [one.format for one in image.sboms]) == ("small/app", (), ["cyclonedx"])
    assert found.graph is not None
    names = [one.annotation(REF_NAME) for one in found.graph.top]
    signature = f"small/app:{image.manifest.digest.replace(':', '-')}.sig"
    assert names == ["small/app:1.0.0", signature, ""]
    assert found.graph.top[2].artifact_type == "application/vnd.cyclonedx+json"
    layout = shop.path / "dist" / "app" / "blobs" / "sha256"
    carried = {one.digest.removeprefix("sha256:") for one in found.head.release.members[2:]}
    assert {path.name for path in layout.iterdir()} <= carried


def test_sbom_as_a_file_hangs_on_the_image(shop: Workshop) -> None:
    shop.tiny()
    found = verified(shop, shop.build().path)
    image = found.head.release.image("app")
    assert image.sboms[0].digest == digest_of(sbom("1.0.0"))
    assert found.graph is not None
    (referrer,) = found.graph.referrers(image.manifest.digest)
    assert referrer.document.artifact_type == "application/vnd.cyclonedx+json"


def test_platforms_leave_the_rest_out(shop: Workshop) -> None:
    shop.full(platforms=["linux/amd64"])
    found = verified(shop, shop.build().path)
    release = found.head.release
    image = release.image("app")
    original = json.loads((shop.path / "dist/app/index.json").read_bytes())["manifests"][0]["digest"]
    assert image.manifest.digest == original
    assert image.platforms == ("linux/amd64",)
    (absent,) = release.absent
    assert (absent.parent, absent.platform) == (original, "linux/arm64/v8")
    assert absent.digest not in {one.digest for one in release.members}


def test_one_index_for_two_images_with_different_platforms(shop: Workshop) -> None:
    shop.full("app", platforms=["linux/amd64"])
    shop.image("other", **{"from": "oci:dist/app", "sbom": "attached", "platforms": ["linux/arm64"]})
    release = verified(shop, shop.build().path).head.release
    assert release.absent == ()


def test_platform_that_is_not_there(shop: Workshop) -> None:
    shop.full(platforms=["linux/amd64", "linux/s390x"])
    with pytest.raises(RefusedError, match=r"image 'app' has no linux/s390x") as caught:
        shop.build()
    assert "only linux/amd64, linux/arm64/v8" in caught.value.problem


def test_platform_of_an_image_without_an_index(shop: Workshop) -> None:
    shop.tiny()
    shop.release["images"][0]["platforms"] = ["linux/amd64"]
    assert verified(shop, shop.build().path).head.release.image("app").platforms == ()
    shop.release["images"][0]["platforms"] = ["linux/arm64"]
    shop.release["version"] = "1.0.1"
    with pytest.raises(RefusedError, match="has no linux/arm64"):
        shop.build()


def test_referrers_of_children_and_of_referrers(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    child = writer.image([{"a": b"1"}])
    index = writer.tag(writer.index([child]), "1.0.0")
    attached = writer.referrer(child, sbom("1.0.0"), "application/vnd.cyclonedx+json")
    writer.referrer(attached, b"signed", "application/vnd.example.signature")
    writer.cosign_signature(attached)
    writer.save()
    shop.image(sbom="attached")
    found = verified(shop, shop.build().path)
    assert found.graph is not None
    assert index.digest == found.head.release.image("app").manifest.digest
    assert len(found.graph.referrers(child.digest)) == 1
    assert len(found.graph.referrers(attached.digest)) == 1
    assert f"small/app:{attached.digest.replace(':', '-')}.sig" in {one.annotation(REF_NAME) for one in found.graph.top}


def test_fallback_tag_lists_referrers(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    attached = writer.referrer(image, sbom("1.0.0"), "application/vnd.cyclonedx+json")
    writer.entries.remove(attached)
    writer.tag(writer.index([attached]), image.digest.replace(":", "-"))
    writer.save()
    shop.image(sbom="attached")
    found = verified(shop, shop.build().path)
    assert found.graph is not None
    assert [one.descriptor.digest for one in found.graph.referrers(image.digest)] == [attached.digest]


def test_cosign_sbom_tag_becomes_a_referrer_too(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    from content.bundle.oci import OCI_MANIFEST
    from content.bundle.oci_writer import encode_manifest

    config = writer.blob(b"{}", "application/vnd.oci.image.config.v1+json")
    document = writer.blob(b"", "text/plain")
    layer = writer.blob(sbom("1.0.0"), "application/vnd.cyclonedx+json")
    assert document.size == 0
    tagged = writer.blob(encode_manifest(config, [layer]), OCI_MANIFEST)
    writer.tag(tagged, image.digest.replace(":", "-") + ".sbom")
    writer.save()
    shop.image(sbom="attached")
    found = verified(shop, shop.build().path)
    assert found.graph is not None
    assert [one.digest for one in found.head.release.image("app").sboms] == [layer.digest]
    assert len(found.graph.referrers(image.digest)) == 1
    assert f"small/app:{image.digest.replace(':', '-')}.sbom" in {one.annotation(REF_NAME) for one in found.graph.top}


def test_image_without_sbom(shop: Workshop) -> None:
    tiny_layout(shop.path / "dist" / "app")
    shop.image(sbom="attached")
    with pytest.raises(RefusedError, match="image 'app' has no SBOM attached"):
        shop.build()
    shop.release["images"][0] |= {"sbom": "none", "sbom_reason": "made of nothing"}
    assert verified(shop, shop.build().path).head.release.image("app").sbom_reason == "made of nothing"


def test_sbom_none_where_there_is_one(shop: Workshop) -> None:
    shop.full(sbom="none", sbom_reason="forgotten")
    with pytest.raises(RefusedError, match=r"has an SBOM, and release.yaml says sbom: none"):
        shop.build()


def test_sbom_of_nothing(shop: Workshop) -> None:
    shop.tiny()
    shop.write("sbom.json", '{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}')
    with pytest.raises(MalformedError, match="the SBOM lists no components"):
        shop.build()


@pytest.fixture(params=[100, 20 << 20], ids=["small", "large"])
def layer(request: pytest.FixtureRequest, shop: Workshop) -> Path:
    """The one layer of the one image, as a file of the layout; a large one is copied by the kernel."""
    writer = LayoutWriter(shop.path / "dist" / "app")
    before = set((writer.path / "blobs/sha256").iterdir())
    noise = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(request.param // 32))
    writer.tag(writer.image([{"noise": noise}]), "1.0.0")
    writer.save()
    shop.write("sbom.json", sbom("1.0.0"))
    shop.image()
    made = set((writer.path / "blobs/sha256").iterdir()) - before
    return next(path for path in made if path.read_bytes()[:2] == b"\x1f\x8b")


def test_layer_is_carried(shop: Workshop, layer: Path) -> None:
    found = verified(shop, shop.build().path)
    assert layer.name in {one.digest.removeprefix("sha256:") for one in found.head.release.members}


def test_without_the_kernels_help(shop: Workshop, layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helped = shop.build(shop.path / "helped.tar")

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("bundler.write.os.copy_file_range", refuse)
    assert shop.build(shop.path / "alone.tar").path.read_bytes() == helped.path.read_bytes()


@pytest.mark.parametrize("at", [0, -1])
def test_damaged_layer_is_named_and_nothing_is_left(shop: Workshop, layer: Path, at: int) -> None:
    data = bytearray(layer.read_bytes())
    data[at] ^= 1
    layer.write_bytes(data)
    with pytest.raises(DamagedError, match=f"sha256:{layer.name} has bytes with {digest_of(bytes(data))}"):
        shop.build()
    assert leftovers(shop.path / "out") == []


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1], lambda _: b""])
def test_layer_of_another_length(shop: Workshop, layer: Path, change: Callable[[bytes], bytes]) -> None:
    layer.write_bytes(change(layer.read_bytes()))
    with pytest.raises(DamagedError, match=rf"sha256:{layer.name} has \d+ bytes, expected"):
        shop.build()


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1], lambda _: b""])
def test_layer_that_changes_its_length_meanwhile(
    shop: Workshop, layer: Path, change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the plan, which sees the old length, and the copy."""
    from bundler.write import plan_bulk as real

    def meddle(*arguments: Any) -> Any:
        planned = real(*arguments)
        layer.write_bytes(change(layer.read_bytes()))
        return planned

    monkeypatch.setattr("bundler.build.plan_bulk", meddle)
    with pytest.raises(DamagedError, match=rf"sha256:{layer.name} has (more than )?\d+ bytes"):
        shop.build()
    assert leftovers(shop.path / "out") == []


def test_file_that_changes_meanwhile(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from bundler.write import plan_bulk as real

    def meddle(*arguments: Any) -> Any:
        shop.write("service/hello.txt", b"jello\n")
        return real(*arguments)

    monkeypatch.setattr("bundler.build.plan_bulk", meddle)
    with pytest.raises(DamagedError, match="has bytes with") as caught:
        shop.build()
    assert caught.value.where.endswith("service/hello.txt")


def test_disk_that_fills_up_meanwhile(shop: Workshop, layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bundler.write.os.pwrite", full)
    with pytest.raises(HostError, match="cannot write: no space left on device"):
        shop.build()
    assert leftovers(shop.path / "out") == []


def test_missing_layer(shop: Workshop, layer: Path) -> None:
    layer.unlink()
    with pytest.raises(DamagedError, match=f"sha256:{layer.name} is missing"):
        shop.build()


def test_damaged_manifest(shop: Workshop) -> None:
    shop.tiny()
    entry = json.loads((shop.path / "dist/app/index.json").read_bytes())["manifests"][0]
    path = shop.path / "dist/app/blobs/sha256" / entry["digest"].removeprefix("sha256:")
    path.write_bytes(path.read_bytes().replace(b"linux", b"Linux").replace(b"sha256", b"sha257", 1))
    with pytest.raises(DamagedError, match=f"expected {entry['digest']}"):
        shop.build()


def test_output_that_exists(shop: Workshop) -> None:
    first = shop.build()
    before = first.path.read_bytes()
    with pytest.raises(RefusedError, match="exists already"):
        shop.build()
    assert first.path.read_bytes() == before
    (shop.path / "link.tar").symlink_to(shop.path / "nowhere")
    with pytest.raises(RefusedError, match="exists already"):
        shop.build(shop.path / "link.tar")


def test_output_as_a_file_and_without_a_folder(shop: Workshop) -> None:
    assert shop.build(shop.path / "one.tar").path == shop.path / "one.tar"
    with pytest.raises(HostError, match="no such folder"):
        shop.build(shop.path / "a" / "b" / "one.tar")
    assert not (shop.path / "a").exists()


def test_full_disk_is_seen_before_the_first_byte(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(shop.path)
    small = os.statvfs_result((*real[:3], 1, 1, *real[5:]))
    monkeypatch.setattr("bundler.write.os.statvfs", lambda _: small)
    with pytest.raises(HostError, match=r"the bundle needs \d+ bytes \(.*\), \d+ \(.*\) are free"):
        shop.build()
    assert leftovers(shop.path / "out") == []


def test_issued_at(shop: Workshop) -> None:
    del shop.release["issued_at"]
    with pytest.raises(UsageError, match="does not say when it was issued"):
        shop.build()
    assert shop.build(source_date_epoch=1_700_000_000).release.issued_at == "2023-11-14T22:13:20Z"
    shop.release["version"] = "1.0.1"
    shop.release["issued_at"] = "2026-11-20T09:00:00Z"
    assert shop.build(source_date_epoch=1).release.issued_at == "2026-11-20T09:00:00Z"


def test_signed_by_two_is_unsigned_signed_twice(shop: Workshop) -> None:
    both = shop.build(shop.path / "both.tar", signers=(SECOND, RELEASE))
    unsigned = shop.build(shop.path / "none.tar", signers=())
    assert (unsigned.signers, unsigned.missing) == ((), 1)
    with pytest.raises(UntrustedError, match="the release is not signed"):
        verify_head(open_head(unsigned.path), shop.pin())
    from content.bundle.head_writer import add_signature, sign_release
    from content.signing.files import rewrite_head

    for signer in (RELEASE, SECOND):
        head = open_head(unsigned.path)
        rewrite_head(unsigned.path, add_signature(head, sign_release(head.release, signer)))
    assert unsigned.path.read_bytes() == both.path.read_bytes()


@pytest.mark.parametrize("signer", [STRANGER, ROOT])
def test_key_that_may_not_sign(shop: Workshop, signer: object) -> None:
    with pytest.raises(RefusedError, match="does not count as a release key of root 1"):
        shop.build(signers=(signer,))  # type: ignore[arg-type]  # both are keys of tests/vendor.py


def test_product_that_the_root_does_not_cover(shop: Workshop) -> None:
    shop.release["product"] = "other"
    with pytest.raises(UntrustedError, match="of product other, the release keys are for small"):
        shop.build()


def test_root_that_is_too_old(shop: Workshop) -> None:
    shop.release["needs"]["trust_root"] = 2
    with pytest.raises(RefusedError, match="requires root 2; the newest here is 1") as caught:
        shop.build()
    assert caught.value.where.startswith(str(shop.path / "release.yaml:"))


def test_unsigned_root(shop: Workshop) -> None:
    from manifests.trust.envelope_writer import encode_root, seal
    from manifests.trust.root import ROOT_TYPE

    shop.write("trust/1.root.json", seal(encode_root(shop.vendor.root()), ROOT_TYPE, ()))
    with pytest.raises(UntrustedError, match="signed by 0 of the 1 root keys"):
        shop.build()


def test_epoch_comes_from_the_root(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "vendor", vendor=Vendor(epoch=3))
    assert shop.build().release.epoch == 3


def test_kits_are_recorded_by_digest(shop: Workshop) -> None:
    kit = shop.write("kit.pyz", b"a verifier")
    assert shop.build(kits=(kit, kit)).release.kits == (digest_of(b"a verifier"),)


def test_charts_programs_config_and_documents(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("charts/small/Chart.yaml", "apiVersion: v2\nname: small\nversion: 0.1.0\n")
    shop.write("charts/small/templates/a.yaml", "kind: ConfigMap\n")
    monkeypatch.setenv("PATH", str(shop.path))  # no helm here
    shop.write("admin-amd64", b"\x7fELF one")
    shop.write("schema.json", '{"type": "object"}')
    shop.write("NOTES.md", "# Notes\n")
    statement = {"vulnerability": {"name": "CVE-2099-0001"}, "status": "fixed"}
    advisory = {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "a", "author": "us", "timestamp": "t", "version": 1}
    shop.write("vex.json", json.dumps(advisory | {"statements": [statement]}))
    shop.release |= {
        "charts": [{"name": "small", "from": "charts/small", "registry_value": "global.registry"}],
        "programs": [{"name": "admin", "files": {"linux/amd64": "admin-amd64"}}],
        "config": {"schema": "schema.json", "version": 7},
        "notes": "NOTES.md",
        "advisories": ["vex.json"],
        "fixes": [{"advisory": "CVE-2099-0001", "severity": "critical", "in": "admin"}],
        "handlers": [
            {
                "name": "queue",
                "does": "counts",
                "source": "src/queue.py",
                "run": ["admin", "queue", "{which}"],
                "parameters": {"which": {"enum": ["one", "two"]}},
                "may": ["read the queue"],
                "risk": "read-only",
                "repeatable": True,
                "limits": {"time": "20s", "memory": "128MiB", "output": "2KiB"},
            }
        ],
    }
    built = shop.build()
    release = verified(shop, built.path).head.release
    assert [one.finding for one in built.findings] == ["chart-not-rendered"]
    assert release.programs[0].files["linux/amd64"].digest == digest_of(b"\x7fELF one")
    assert release.handlers[0].limits.memory_bytes == 128 << 20
    assert release.config is not None
    assert release.config.version == 7
    with tarfile.open(built.path) as tar:
        chart = tar.extractfile(f"blobs/sha256/{release.charts[0].digest.removeprefix('sha256:')}")
        assert chart is not None
        with tarfile.open(fileobj=chart, mode="r:gz") as inner:
            assert inner.getnames() == ["small/Chart.yaml", "small/templates/a.yaml"]


def test_member_order(shop: Workshop) -> None:
    shop.full()
    shop.write("service/large.bin", bytes(3 << 20))
    shop.write("service/empty", b"")
    release = shop.build().release
    layout = full_layout(shop.path / "again")
    layers = {
        layer["digest"]
        for entry in layout.path.glob("blobs/sha256/*")
        if entry.read_bytes()[:1] == b"{"
        for layer in json.loads(entry.read_bytes()).get("layers", [])
    }
    files = {entry.digest for entry in release.files[0].entries}
    kinds = [one.digest in files | layers and one.digest not in {s.digest for s in release.images[0].sboms}
             for one in release.members[2:]]  # fmt: skip
    first_bulky = kinds.index(True)
    for group in (release.members[2 : 2 + first_bulky], release.members[2 + first_bulky :]):
        assert list(group) == sorted(group, key=lambda one: (one.size, one.digest))


def test_archive_is_read_like_the_folder(shop: Workshop) -> None:
    shop.full()
    shop.release["version"] = "1.0.1"
    folder = shop.build(shop.path / "folder.tar")
    archive = shop.path / "app.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(shop.path / "dist" / "app", arcname=".")
    shop.release["images"][0]["from"] = "oci-archive:app.tar"
    packed = shop.build(shop.path / "archive.tar")
    assert packed.path.read_bytes() == folder.path.read_bytes()


def test_name_in_a_layout(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    images = [writer.tag(writer.image([{"a": str(n).encode()}]), f"1.{n}") for n in range(2)]
    writer.save()
    shop.write("sbom.json", sbom("1"))
    shop.image()
    with pytest.raises(RefusedError, match="2 images that could be meant, expected one") as caught:
        shop.build()
    assert "1.0, 1.1" in caught.value.remedy
    shop.release["images"][0]["from"] = "oci:dist/app:1.1"
    assert shop.build().release.images[0].manifest.digest == images[1].digest
    shop.release["images"][0]["from"] = "oci:dist/app:2.0"
    shop.release["version"] = "2.0.0"
    with pytest.raises(RefusedError, match=r"no images called '2\.0'"):
        shop.build()


def test_contract_and_rollback_are_compiled(shop: Workshop) -> None:
    step = {"name": "x", "do": ["admin"], "repeatable": True, "after_crash": "stop", "takes": "1m"}
    shop.rollback |= {"steps": [step], "class": "irreversible"}
    with pytest.raises(MalformedError, match=r"step 'x' of rollback.yaml is run by no install step"):
        shop.build()


class TestAfter:
    """Floor and ranges against earlier releases."""

    def promise(self, shop: Workshop, **changes: object) -> None:
        shop.release["needs"] |= {"from": [">=0.8.0, <1.0.0"]}
        shop.release |= {"floor": 3, **changes}
        shop.rollback |= {"back_to": [">=0.9.0, <1.0.0"], "class": "compatible"}

    def test_kept(self, shop: Workshop) -> None:
        self.promise(shop)
        built = shop.build(after=(earlier("0.8.0", 1), earlier("0.9.0", 3)))
        assert [one.finding for one in built.findings] == ["no-way-back"]
        assert "0.8.0" in built.findings[0].text

    def test_floor_above_a_way_back(self, shop: Workshop) -> None:
        self.promise(shop, floor=4)
        with pytest.raises(RefusedError, match=r"floor 4 is above sequence 3 of 0\.9\.0") as caught:
            shop.build(after=(earlier("0.9.0", 3),))
        assert caught.value.finding == "floor-above-way-back"

    def test_floor_above_what_nothing_goes_back_to(self, shop: Workshop) -> None:
        self.promise(shop)
        shop.build(after=(earlier("0.8.0", 2), earlier("0.9.0", 3)))

    @pytest.mark.parametrize(
        ("place", "message"),
        [("needs", "needs.from says '>=5.0.0'"), ("back_to", "`back_to` of rollback.yaml says '>=5.0.0'")],
    )
    def test_range_that_covers_nothing(self, shop: Workshop, place: str, message: str) -> None:
        self.promise(shop)
        ranges = shop.release["needs"]["from"] if place == "needs" else shop.rollback["back_to"]
        ranges.append(">=5.0.0")
        with pytest.raises(RefusedError, match=message):
            shop.build(after=(earlier("0.9.0", 3),))

    def test_way_back_without_a_way(self, shop: Workshop) -> None:
        self.promise(shop)
        shop.rollback["back_to"] = [">=0.1.0"]
        with pytest.raises(RefusedError, match=r"rollback to 0\.7\.0, but needs.from does not allow"):
            shop.build(after=(earlier("0.9.0", 3), earlier("0.7.0", 2)))

    @pytest.mark.parametrize("sequence", [5, 6])
    def test_sequence_that_does_not_grow(self, shop: Workshop, sequence: int) -> None:
        self.promise(shop)
        with pytest.raises(RefusedError, match=r"sequence 5 .* is not above"):
            shop.build(after=(earlier("0.9.0", sequence),))

    def test_version_used_again(self, shop: Workshop) -> None:
        self.promise(shop)
        with pytest.raises(RefusedError, match=r"version 1\.0\.0 is used by an earlier release"):
            shop.build(after=(earlier("1.0.0", 3),))

    def test_another_channel(self, shop: Workshop) -> None:
        self.promise(shop)
        with pytest.raises(RefusedError, match="small beta is named as an earlier release of small stable"):
            shop.build(after=(earlier("0.9.0", 3, channel="beta"),))

    def test_earlier_epoch_cannot_be_gone_back_to(self, tmp_path: Path) -> None:
        shop = Workshop(tmp_path / "vendor", vendor=Vendor(epoch=2))
        self.promise(shop, floor=1)
        with pytest.raises(RefusedError, match=r"to which rollback.yaml promises a rollback"):
            shop.build(after=(earlier("0.9.0", 40),))


def test_two_versions_of_one_repository_travel_in_one_release(shop: Workshop) -> None:
    shop.tiny("app")
    tiny_layout(shop.path / "dist" / "old", "0.9.0")
    shop.image("old", to="small/app:0.9", sbom="none", sbom_reason="a test")
    built = shop.build()
    assert [(image.to, image.tag) for image in built.release.images] == [("small/app", None), ("small/app", "0.9")]
    verified(shop, built.path)
    with tarfile.open(built.path) as tar:
        member = tar.extractfile("index.json")
        assert member is not None
        listed = json.load(member)["manifests"]
    names = {entry.get("annotations", {}).get(REF_NAME) for entry in listed}
    assert {"small/app:1.0.0", "small/app:0.9"} <= names


def test_one_place_for_two_images_is_refused(shop: Workshop) -> None:
    shop.tiny("app")
    shop.image("again", **{"from": "oci:dist/app", "to": "small/app:1.0.0"})
    with pytest.raises(MalformedError, match=r"to 'small/app:1\.0\.0' is given twice") as caught:
        shop.build()
    assert "another tag" in caught.value.remedy
