"""Layouts in folders and archives: read within bounds, never unpacked, never believed."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from content.bundle.docker_archive import open_docker_archive
from content.bundle.layout import Layout, companion_of, open_archive, open_layout, read_extent
from content.bundle.oci import OCI_MANIFEST, REF_NAME, Descriptor
from manifests.words.digest import blob_name
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError, WaybillError
from tests.images import LayoutWriter, full_layout, tiny_layout
from tests.real import tool


def packed(layout: Path, out: Path, *, format_: int = tarfile.USTAR_FORMAT, prefix: str = "") -> Path:
    with tarfile.open(out, "w", format=format_) as tar:
        tar.add(layout, arcname=prefix or ".")
    return out


def entries(layout: Layout) -> dict[str, bytes]:
    return {one.digest: read_extent(layout.extent(one)) for one in layout.index.manifests}


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archive_says_what_the_folder_says(tmp_path: Path, format_: int) -> None:
    full_layout(tmp_path / "layout")
    archive = open_archive(packed(tmp_path / "layout", tmp_path / "a.tar", format_=format_))
    folder = open_layout(tmp_path / "layout")
    assert entries(archive) == entries(folder)
    assert archive.index == folder.index


def test_archive_by_skopeo(tmp_path: Path) -> None:
    import subprocess

    writer = tiny_layout(tmp_path / "layout")
    words = ["copy", "--preserve-digests", f"oci:{writer.path}:1.0.0", f"oci-archive:{tmp_path / 'a.tar'}:named"]
    subprocess.run([tool("skopeo"), "--insecure-policy", *words], check=True, capture_output=True)
    assert open_archive(tmp_path / "a.tar").pick("named").digest == writer.entries[0].digest


def test_pax_size_and_path(tmp_path: Path) -> None:
    writer = tiny_layout(tmp_path / "layout")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(writer.path.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(writer.path)))
                entry.size = path.stat().st_size
                entry.pax_headers = {"size": str(entry.size), "path": entry.name, "mtime": "1.5"}
                tar.addfile(entry, io.BytesIO(path.read_bytes()))
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    assert entries(open_archive(tmp_path / "a.tar")) == entries(open_layout(writer.path))


def tar_of(members: list[tuple[str, bytes, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, kind in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.size = len(data)
            entry.linkname = "index.json" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


LAYOUT = ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', tarfile.REGTYPE)
INDEX = ("index.json", b'{"schemaVersion":2,"manifests":[]}', tarfile.REGTYPE)


def broken(change: Callable[[bytearray], None]) -> bytes:
    data = bytearray(tar_of([LAYOUT, INDEX]))
    change(data)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", DamagedError, "the file is empty, expected a tar"),
        (b"\x1f\x8b\x08" + bytes(600), MalformedError, "not a tar header"),
        (bytes(1024), DamagedError, "the file begins with zeros, expected a tar"),
        (bytes(300), DamagedError, "the file begins with zeros, expected a tar"),
        (tar_of([LAYOUT, INDEX])[:300], DamagedError, "ends after 300 bytes, inside the first header of a tar"),
        (b"an image, said the operator\n", MalformedError, "not a tar header"),
        (tar_of([LAYOUT]), MalformedError, "holds no index.json"),
        (tar_of([INDEX]), MalformedError, "holds no oci-layout"),
        (tar_of([LAYOUT, INDEX, INDEX]), MalformedError, "index.json is there twice"),
        (tar_of([LAYOUT, INDEX, ("./index.json", b"", tarfile.REGTYPE)]), MalformedError, "is there twice"),
        (tar_of([LAYOUT, INDEX, ("blobs/x", b"", tarfile.SYMTYPE)]), MalformedError, "neither a file nor a folder"),
        (tar_of([LAYOUT, INDEX, ("blobs/x", b"", tarfile.LNKTYPE)]), MalformedError, "neither a file nor a folder"),
        (tar_of([LAYOUT, INDEX, ("dev", b"", tarfile.CHRTYPE)]), MalformedError, "neither a file nor a folder"),
        (tar_of([LAYOUT, INDEX, ("../x", b"", tarfile.REGTYPE)]), MalformedError, "leads out of the archive"),
        (tar_of([LAYOUT, INDEX, ("/etc/x", b"", tarfile.REGTYPE)]), MalformedError, "leads out of the archive"),
        (tar_of([("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', tarfile.REGTYPE), INDEX]), MalformedError, "1.0.0"),
        (tar_of([LAYOUT, ("index.json", b"[" * 40, tarfile.REGTYPE)]), MalformedError, "index.json .*nested"),
        (tar_of([LAYOUT, INDEX])[:1100], DamagedError, "ends inside of a tar header"),
        (tar_of([LAYOUT, INDEX])[:1540], DamagedError, "ends inside of index.json"),
        (broken(lambda data: data.__setitem__(0, 120)), MalformedError, "not a tar header"),
        (broken(lambda data: data.__setitem__(124, 57)), MalformedError, "not a tar header"),
    ],
)
def test_archives_that_are_no_layout(tmp_path: Path, data: bytes, error: type[WaybillError], message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(error, match=message):
        open_archive(tmp_path / "a.tar")


def test_a_file_that_is_no_tar_names_the_expected_kind(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 500)
    for opener, words in ((open_archive, "oci-archive:"), (open_docker_archive, "docker save or podman save")):
        with pytest.raises(MalformedError, match="not a tar header") as caught:
            opener(tmp_path / "a.tar")
        assert words in caught.value.remedy


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    data = tar_of([LAYOUT, INDEX])
    for length in range(0, 2560, 64):
        (tmp_path / "a.tar").write_bytes(data[:length])
        if length > 3 * 512 + len(INDEX[1]):
            open_archive(tmp_path / "a.tar")  # only zeros at the end are gone
            continue
        with pytest.raises(WaybillError):
            open_archive(tmp_path / "a.tar")


def test_folders_that_are_no_layout(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such folder"):
        open_layout(tmp_path / "absent")
    with pytest.raises(MalformedError, match="holds no oci-layout"):
        open_layout(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HostError, match="not a folder") as caught:
        open_layout(tmp_path / "file")
    assert "oci-archive" in caught.value.remedy
    with pytest.raises(HostError, match="no such file or folder"):
        open_archive(tmp_path / "absent")


def test_blob_that_is_a_folder(tmp_path: Path) -> None:
    layout = open_layout(tiny_layout(tmp_path / "layout").path)
    entry = layout.index.manifests[0]
    blob = tmp_path / "layout" / "blobs" / "sha256" / entry.digest.removeprefix("sha256:")
    blob.unlink()
    with pytest.raises(DamagedError, match="is missing"):
        layout.read(entry)
    blob.mkdir()
    with pytest.raises(MalformedError, match="not a regular file"):
        layout.read(entry)


def test_read_is_bounded_and_hashed(tmp_path: Path) -> None:
    layout = open_layout(tiny_layout(tmp_path / "layout").path)
    entry = layout.index.manifests[0]
    with pytest.raises(MalformedError, match="at most 10 are read"):
        layout.read(entry, 10)
    blob = tmp_path / "layout" / "blobs" / "sha256" / entry.digest.removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes().replace(b"}", b" ", 1))
    with pytest.raises(DamagedError, match=f"expected {entry.digest}"):
        layout.read(entry)


class TestPick:
    def test_companions_are_not_images(self, tmp_path: Path) -> None:
        writer = full_layout(tmp_path / "layout")
        assert open_layout(writer.path).pick("").digest == writer.entries[0].digest

    def test_two_names_of_one_image(self, tmp_path: Path) -> None:
        writer = tiny_layout(tmp_path / "layout")
        writer.tag(writer.entries[0], "latest")
        writer.save()
        assert open_layout(writer.path).pick("").digest == writer.entries[0].digest

    def test_nothing(self, tmp_path: Path) -> None:
        writer = LayoutWriter(tmp_path / "layout")
        with pytest.raises(RefusedError, match="there is no image in it"):
            open_layout(writer.save()).pick("")

    @pytest.mark.parametrize("name", ["", "1.0"])
    def test_an_image_of_schema_1_is_called_so(self, tmp_path: Path, name: str) -> None:
        writer = LayoutWriter(tmp_path / "layout")
        old = writer.blob(b'{"schemaVersion":1}', "application/vnd.docker.distribution.manifest.v1+prettyjws")
        writer.tag(old, "1.0")
        with pytest.raises(RefusedError, match=f"{old.digest} is an image of schema version 1") as caught:
            open_layout(writer.save()).pick(name)
        assert "as an OCI image" in caught.value.remedy

    def test_what_is_there_instead_of_an_image(self, tmp_path: Path) -> None:
        writer = LayoutWriter(tmp_path / "layout")
        image = writer.image([{"a": b"1"}])
        referrer = writer.referrer(image, b"{}", "application/spdx+json")
        plain = replace(referrer, artifact_type=None)
        other = writer.blob(b"text", "text/plain")
        writer.entries = [referrer, other]
        writer.tag(writer.blob(b"signature", OCI_MANIFEST), f"sha256-{image.digest[7:]}.sig")
        with pytest.raises(RefusedError) as caught:
            open_layout(writer.save()).pick("")
        for words in (
            f"{referrer.digest} is an artifact of type application/spdx+json",
            f"{other.digest} has the media type text/plain",
            f"belongs to {image.digest}",
        ):
            assert words in caught.value.problem
        writer.entries = [plain]
        with pytest.raises(RefusedError, match=f"{plain.digest} refers to {image.digest}"):
            open_layout(writer.save()).pick("")

    def test_an_image_that_is_missing(self, tmp_path: Path) -> None:
        writer = LayoutWriter(tmp_path / "layout")
        image = writer.image([{"a": b"1"}])
        writer.entries = [image]
        (writer.path / blob_name(image.digest)).unlink()
        with pytest.raises(RefusedError, match=f"no images that could be meant: {image.digest} is missing"):
            open_layout(writer.save()).pick("")

    def test_exact_name_wins(self, tmp_path: Path) -> None:
        writer = LayoutWriter(tmp_path / "layout")
        one, two = (writer.image([{"a": name}]) for name in (b"1", b"2"))
        writer.tag(one, "1.0")
        writer.tag(two, "team/app:1.0")
        layout = open_layout(writer.save())
        assert layout.pick("1.0").digest == one.digest
        assert layout.pick("team/app:1.0").digest == two.digest
        assert layout.pick(two.digest).digest == two.digest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"sha256-{'a' * 64}.sig", (f"sha256:{'a' * 64}", ".sig")),
        (f"team/app:sha256-{'a' * 64}.att", (f"sha256:{'a' * 64}", ".att")),
        (f"sha256-{'a' * 64}", (f"sha256:{'a' * 64}", "")),
        (f"sha256-{'a' * 63}.sig", None),
        (f"sha256-{'a' * 64}.exe", None),
        ("1.0.0", None),
    ],
)
def test_companion_of(name: str, expected: tuple[str, str] | None) -> None:
    entry = Descriptor(media_type="a/b", digest="sha256:" + "0" * 64, size=1, annotations=((REF_NAME, name),))
    assert companion_of(entry) == expected


def test_bundle_is_an_archive_of_a_layout(tmp_path: Path) -> None:
    from tests.vendor import Vendor

    layout = open_archive(Vendor().write(tmp_path / "bundle.tar"))
    picked = layout.pick("")
    assert picked.annotation(REF_NAME) == "small/api:1.0.0"
    assert json.loads(layout.read(picked))["schemaVersion"] == 2


def test_entries_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    writer = tiny_layout(tmp_path / "layout")
    writer.entries.append(writer.blob(b"<xml/>", "application/xml"))
    assert open_layout(writer.save()).pick("").digest == writer.entries[0].digest
