"""Folders and files of the vendor: what is packed, and what is refused by name."""

import os
import socket
from pathlib import Path

import pytest

from bundler.files import collect_files
from bundler.parts import Parts
from manifests.words.errors import HostError, MalformedError, RefusedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "service"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "one").write_bytes(b"one")
    (made / "two").write_bytes(b"two")
    (made / "two").chmod(0o755)
    (made / "empty folder").mkdir()
    return made


def test_folder(folder: Path) -> None:
    parts = Parts()
    files = collect_files("service", folder, parts)
    assert [(one.path, one.size, one.executable) for one in files.entries] == [("sub/one", 3, False), ("two", 3, True)]
    assert {one.digest for one in files.entries} == set(parts.by_digest)


def test_single_file(folder: Path) -> None:
    assert [one.path for one in collect_files("one", folder / "two", Parts()).entries] == ["two"]


@pytest.mark.parametrize(("mode", "executable"), [(0o600, False), (0o611, False), (0o700, True), (0o777, True)])
def test_only_the_owners_bit_counts(folder: Path, mode: int, executable: bool) -> None:
    (folder / "two").chmod(mode)
    assert collect_files("one", folder / "two", Parts()).entries[0].executable is executable


def test_symbolic_links(folder: Path, tmp_path: Path) -> None:
    for target in (folder / "two", tmp_path / "nowhere", folder / "sub"):
        link = folder / "sub" / "link"
        link.symlink_to(target)
        with pytest.raises(RefusedError, match="found a symbolic link") as caught:
            collect_files("service", folder, Parts())
        assert caught.value.where == str(link)
        link.unlink()
    (tmp_path / "whole").symlink_to(folder)
    with pytest.raises(RefusedError, match="found a symbolic link"):
        collect_files("service", tmp_path / "whole", Parts())


def test_socket_and_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(RefusedError, match="found a socket"):
            collect_files("service", folder, Parts())
    (folder / "s").unlink()
    os.mkfifo(folder / "p")
    with pytest.raises(RefusedError, match="found a named pipe"):
        collect_files("service", folder, Parts())


@pytest.mark.parametrize("bit", [0o4000, 0o2000])
def test_setuid(folder: Path, bit: int) -> None:
    (folder / "two").chmod(0o755 | bit)
    with pytest.raises(RefusedError, match=r"is setuid or setgid \(mode [24]755\)"):
        collect_files("service", folder, Parts())


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "-rf", "über", "a:b", "a\x1b[0m"])
def test_names(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(MalformedError, match="has characters that a file set cannot hold"):
        collect_files("service", folder, Parts())


def test_name_that_is_not_utf8(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff", "wb"):  # noqa: PTH123 - the name is bytes
        pass
    with pytest.raises(MalformedError, match="cannot hold"):
        collect_files("service", folder, Parts())


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(MalformedError, match="holds no file"):
        collect_files("service", tmp_path / "empty", Parts())
    with pytest.raises(HostError, match="cannot read: no such file or directory"):
        collect_files("service", tmp_path / "absent", Parts())
