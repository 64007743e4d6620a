"""Archives that are compressed: the same digests, bounded, and no file is left."""

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from content.bundle import unpack
from content.bundle.docker_archive import OPENERS, DockerArchive, open_docker_archive
from content.bundle.layout import Layout, open_archive, read_extent
from content.bundle.unpack import Scratch
from manifests.words.errors import DamagedError, HostError, MalformedError
from tests.images import tiny_layout
from tests.unit.content.bundle.test_docker_archive import BASE, TOP, Saved, manifest_of


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    saved = Saved(tmp_path / "a.tar", {"1/layer.tar": BASE, "2/layer.tar": TOP})
    saved.image("1/layer.tar", "2/layer.tar", tags=["app:1.0"])
    saved.save()
    return saved


def packed(path: Path, data: bytes | None = None) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes() if data is None else data, mtime=0))
    return target


def test_the_digests_are_those_of_the_plain_archive(saved: Saved, tmp_path: Path) -> None:
    plain = open_docker_archive(saved.path).image("")
    before = sorted(tmp_path.iterdir())
    with Scratch(tmp_path) as scratch:
        path = packed(saved.path)
        layout = open_docker_archive(path, scratch).image("app:1.0")
        assert manifest_of(layout)[0] == manifest_of(plain)[0]
        assert [read_extent(layout.extent(one)) for one in manifest_of(layout)[1].layers] == [BASE, TOP]
        assert sorted(tmp_path.iterdir()) == [*before, path]
        assert layout.name == str(path)


def test_several_members_of_gzip_are_one_archive(saved: Saved, tmp_path: Path) -> None:
    data = saved.path.read_bytes()
    path = tmp_path / "b.tar.gz"
    path.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    with Scratch(tmp_path) as scratch:
        assert manifest_of(open_docker_archive(path, scratch).image(""))


def test_a_layout_in_a_packed_tar(tmp_path: Path) -> None:
    tiny_layout(tmp_path / "layout", "1.0.0")
    with tarfile.open(tmp_path / "l.tgz", "w:gz") as tar:
        for one in sorted((tmp_path / "layout").rglob("*")):
            tar.add(one, one.relative_to(tmp_path / "layout"), recursive=False)
    with Scratch(tmp_path) as scratch:
        opened = open_archive(tmp_path / "l.tgz", scratch)
        assert opened.parse(opened.pick("")) is not None


def test_a_plain_file_is_read_where_it_lies(saved: Saved, tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        assert scratch.plain(saved.path) == saved.path


def test_without_room_it_is_refused_with_the_command(saved: Saved) -> None:
    with pytest.raises(MalformedError, match="not a tar header") as caught:
        open_docker_archive(packed(saved.path))
    assert "gunzip" in caught.value.remedy


@pytest.mark.parametrize(
    ("start", "command"),
    [
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"\xfd7zXZ\x00", "unxz"),
        (b"BZh91AY&SY", "bunzip2"),
        (b"\x04\x22\x4d\x18", "unlz4"),
        (b"LZIP\x01", "lzip -d"),
        (b"\x1f\x9d\x90", "uncompress"),
    ],
)
def test_other_compressions_are_called_by_their_command(tmp_path: Path, start: bytes, command: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(start + bytes(1000))
    with Scratch(tmp_path) as scratch, pytest.raises(MalformedError) as caught:
        open_docker_archive(path, scratch)
    assert caught.value.remedy == f"it is compressed; decompress the file first: {command} FILE"


@pytest.mark.parametrize(
    ("data", "step"),
    [
        (b"MSCF" + bytes(2000), "it is packed with cab: unpack it first (cabextract FILE)"),
        (
            bytes(32769) + b"CD001" + bytes(2000),
            "it is a disk image (ISO 9660): mount it first (mount -o ro,loop FILE)",
        ),
    ],
)
def test_archives_of_files_and_disk_images_have_their_command(tmp_path: Path, data: bytes, step: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with Scratch(tmp_path) as scratch, pytest.raises(MalformedError) as caught:
        open_docker_archive(tmp_path / "a.tar", scratch)
    assert caught.value.remedy == f"{step}, and name the file in it"


def test_what_unpacks_to_far_more_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "zeros", bytes(8 << 20))
    monkeypatch.setattr(unpack, "SPARE", 0)
    with Scratch(tmp_path) as scratch, pytest.raises(MalformedError, match="unpack to more than") as caught:
        scratch.plain(path)
    assert caught.value.finding == "archive-too-large"
    assert str(path) in caught.value.where


@pytest.mark.parametrize("cut", [20, 200, -1])
def test_a_packed_archive_that_is_cut_is_damaged(saved: Saved, tmp_path: Path, cut: int) -> None:
    path = packed(saved.path)
    path.write_bytes(path.read_bytes()[:cut])
    with Scratch(tmp_path) as scratch, pytest.raises(DamagedError, match="cannot be unpacked"):
        scratch.plain(path)


def test_what_is_no_tar_is_said(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        with pytest.raises(MalformedError, match="unpacks to 5 bytes, expected a tar"):
            open_docker_archive(packed(tmp_path / "a", b"hello"), scratch)
        with pytest.raises(MalformedError, match="not a tar header"):
            open_docker_archive(packed(tmp_path / "b", b"hello" * 1000), scratch)


def test_a_full_disk_names_the_folder(saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    path = packed(saved.path)
    monkeypatch.setattr(os, "write", full)
    with Scratch(tmp_path) as scratch, pytest.raises(HostError, match="no space left on device") as caught:
        scratch.plain(path)
    monkeypatch.undo()
    assert caught.value.where == str(tmp_path)
    assert "make space" in caught.value.remedy


def test_where_files_without_a_name_are_not_known(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: object, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return opened(path, flags, *more, **named)  # type: ignore[arg-type]

    path = packed(saved.path)
    monkeypatch.setattr(os, "open", refuse)
    with Scratch(tmp_path) as scratch:
        assert open_docker_archive(path, scratch).image("")
        assert sorted(one.name for one in tmp_path.iterdir()) == ["a.tar", "a.tar.gz"]


def test_every_opener_takes_it(saved: Saved, tmp_path: Path) -> None:
    tiny_layout(tmp_path / "layout", "1.0.0")
    with Scratch(tmp_path) as scratch:
        assert isinstance(OPENERS["oci"](tmp_path / "layout", scratch), Layout)
        assert isinstance(OPENERS["docker-archive"](packed(saved.path), scratch), DockerArchive)
