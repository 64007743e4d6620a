"""The hands of the build: nothing half-written, nothing overwritten, whatever happens."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.parts import FetchedPart, HeldPart, Part
from bundler.write import held_part, plan_bulk, write_bundle
from content.bundle.archive import BLOCK, header
from manifests.words.errors import DamagedError, HostError, RefusedError
from tests.waybill import ROOT

HEAD = bytes(65536)


def part(data: bytes) -> Part:
    return held_part(data, "here")


MEMBERS = (part(b"index"), part(b"verify"), part(b""), part(b"x" * 513))


def quiet(_: int) -> None:
    pass


@pytest.fixture(params=["unnamed", "hidden", "hidden, no links"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three ways in which a file gets its name."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param != "unnamed":
        monkeypatch.setattr("bundler.write.os.O_TMPFILE", os.O_DIRECTORY)
    if request.param == "hidden, no links":
        monkeypatch.setattr("bundler.write.os.link", refuse)
    return tmp_path / "out.tar"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_bytes(out: Path) -> None:
    plan = plan_bulk(MEMBERS, len(HEAD))
    seen: list[int] = []
    write_bundle(out, plan, lambda: HEAD, seen.append)
    expected = HEAD
    for i, one in enumerate(MEMBERS):
        assert isinstance(one.origin, HeldPart)
        name = ("index.json", "VERIFY.txt")[i] if i < 2 else f"blobs/sha256/{one.blob.digest[7:]}"
        data = one.origin.data
        expected += header(name, len(data)) + data + bytes(-len(data) % BLOCK)
    expected += bytes(1024)
    assert out.read_bytes() == expected
    assert plan.length == len(expected)
    assert sum(seen) == sum(one.blob.size for one in MEMBERS)
    assert out.stat().st_mode & 0o777 == 0o644
    assert names(out.parent) == [out.name]


def test_nothing_is_signed_before_the_last_byte(out: Path) -> None:
    asked = []

    def head() -> bytes:
        asked.append(True)
        return HEAD

    bad = Part(blob=MEMBERS[3].blob, origin=HeldPart(b"y" * 513), where="here", document=True)
    with pytest.raises(DamagedError, match="has bytes with") as caught:
        write_bundle(out, plan_bulk((*MEMBERS[:3], bad), len(HEAD)), head, quiet)
    assert (caught.value.where, asked, names(out.parent)) == ("here", [], [])


def test_signer_that_fails(out: Path) -> None:
    def head() -> bytes:
        raise RefusedError("no", where="token")

    with pytest.raises(RefusedError, match="no"):
        write_bundle(out, plan_bulk(MEMBERS, len(HEAD)), head, quiet)
    assert names(out.parent) == []


def test_file_that_appears_meanwhile(out: Path) -> None:
    def head() -> bytes:
        out.write_bytes(b"somebody else's")
        return HEAD

    with pytest.raises(RefusedError, match="exists already"):
        write_bundle(out, plan_bulk(MEMBERS, len(HEAD)), head, quiet)
    assert out.read_bytes() == b"somebody else's"
    assert names(out.parent) == [out.name]


def test_download_that_breaks(out: Path) -> None:
    """Whatever a source raises ends the build, also from another thread."""

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise HostError("went away", where="registry")

    part_ = Part(blob=MEMBERS[3].blob, origin=FetchedPart(broken), where="registry", document=False)
    with pytest.raises(HostError, match="went away"):
        write_bundle(out, plan_bulk((*MEMBERS[:3], part_), len(HEAD)), lambda: HEAD, quiet)
    assert names(out.parent) == []


BUILD = """
import sys
import time
from pathlib import Path
from bundler.parts import FetchedPart, Part
from bundler.write import held_part, plan_bulk, write_bundle
from manifests.words.digest import Blob, digest_of
def slow():
    print("begun", flush=True)
    time.sleep(60)
    yield b"x"
part = Part(blob=Blob(digest=digest_of(b"x"), size=1), origin=FetchedPart(slow), where="", document=False)
first = [held_part(data, "") for data in (b"1", b"2")]
write_bundle(Path(sys.argv[1]), plan_bulk((*first, part), 65536), lambda: bytes(65536), lambda _: None)
"""


def test_killed(tmp_path: Path) -> None:
    """A process that gets no chance to clean up leaves nothing, where the file system has files without a name."""
    try:
        os.close(os.open(tmp_path, os.O_RDWR | os.O_TMPFILE))
    except OSError:
        pytest.skip("this file system has no files without a name")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BUILD, str(tmp_path / "out.tar")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert names(tmp_path) == []


def test_a_file_system_that_ends_files_at_a_size_is_called_so(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr("bundler.write.os.posix_fallocate", refuse)
    with pytest.raises(HostError, match="file too large") as caught:
        write_bundle(out, plan_bulk(MEMBERS, len(HEAD)), lambda: HEAD, quiet)
    assert caught.value.finding == "file-too-large"
    assert "FAT ends at 4 GiB" in caught.value.remedy
    assert names(out.parent) == []
