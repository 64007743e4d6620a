"""A disk that refuses at one point, or is full from one point on: old or new, and one clear failure."""

import errno
import hashlib
import itertools
import os
import random
import shutil
from pathlib import Path

import pytest

from manifests.words.digest import digest_of
from manifests.words.errors import HostError, WaybillError
from tests.faults.crash import problems
from tests.faults.model import FailingDisk, QuickDisk
from tests.faults.test_crash import SCENES, Scene, fast, vendor
from tests.place import Place, make_place
from verifier.site.disk import DIRECT, READ, CopiedBytes, Disk, Source

__all__ = ["fast"]


def prepared(scene: Scene, fast: Path) -> tuple[Place, Path]:
    place = make_place(fast / "world", vendor(scene.images), disk=QuickDisk(), reserve="4KiB")
    scene.prepare(place, fast)
    before = fast / "before"
    shutil.copytree(place.path, before, symlinks=True)
    return place, before


@pytest.mark.parametrize("after", [False, True], ids=["refused", "done and then reported as failed"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize(
    "name",
    [
        "confirm",
        "leave a trial",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("first install", "upgrade", "rollback", "collect garbage", "report")
        ),
    ],
)
def test_one_effect_fails(name: str, error: int, after: bool, fast: Path) -> None:
    scene = SCENES[name]
    place, before = prepared(scene, fast)
    running = place.open().state.installs.current
    ended: set[int] = set()
    for at in itertools.count():
        world = fast / str(at)
        shutil.copytree(before, world, symlinks=True)
        disk = FailingDisk(at, error, after=after)
        here = Place(path=world, disk=disk, clock=place.clock, people=place.people, health=place.health)
        try:
            scene.act(here)
        except (OSError, WaybillError):
            """One failure, as an exception of the two kinds that the command line turns into one `error:` line."""
        if disk.fired == 0:
            shutil.rmtree(world)
            break
        here.disk = QuickDisk()
        here.recover()
        problem = problems(here)
        assert not problem, f"effect {at} ({disk.kinds[-1]}): {problem}"
        ended.add(here.open().state.installs.current)
        shutil.rmtree(world)
    print(f"{name}: {at} effects failed, one at a time")
    assert at > 5
    assert ended <= {running, place.open().state.installs.current, *(1, 2, 3)}
    assert running in ended or name == "leave a trial"


def test_a_full_disk_before_the_switch_changes_nothing_and_can_be_tried_again(fast: Path) -> None:
    place, before = prepared(SCENES["upgrade"], fast)
    refusals = 0
    for at in (6, 9, 15, 30):
        world = fast / str(at)
        shutil.copytree(before, world, symlinks=True)
        here = Place(path=world, disk=FailingDisk(at, errno.ENOSPC), clock=place.clock, people=place.people)
        try:
            here.install("r-1.1.0")
        except (OSError, HostError) as refused:
            assert "no space left" in str(refused).lower()
            refusals += 1
        else:
            # It was a journal entry that did not fit: the reserve paid for it, and was set aside again.
            assert here.open().state.installs.current == 2
            assert (world / "reserve").stat().st_size == 4096
            shutil.rmtree(world)
            continue
        assert here.open().state.installs.current == 1
        here.disk = QuickDisk()
        # The approval still holds: nothing that it was given for has changed.
        ended = here.install("r-1.1.0")
        assert ended.error is None
        assert ended.generation is not None
        assert ended.generation.number == 2
        shutil.rmtree(world)
    assert refusals > 1


@pytest.mark.parametrize("name", ["failing upgrade", "rollback", "leave a trial"])
def test_the_reserve_pays_for_the_way_back(name: str, fast: Path) -> None:
    """The journal cannot grow any more; giving up the reserve makes room, and the way back is finished."""
    scene = SCENES[name]
    place, before = prepared(scene, fast)

    class FullUntilSpent(QuickDisk):
        """No byte more, until the reserve is removed."""

        def append(self, path: Path, data: bytes) -> None:
            if (path.parents[1] / "reserve").exists():
                raise OSError(errno.ENOSPC, "no space left on device", str(path))
            super().append(path, data)

    world = fast / "full"
    shutil.copytree(before, world, symlinks=True)
    here = Place(path=world, disk=FullUntilSpent(), clock=place.clock, people=place.people, health=place.health)
    scene.act(here)
    assert here.open().state.installs.current == 1
    assert problems(here) == ""


@pytest.mark.parametrize("shortcut", ["copy_file_range", "sendfile", "neither"])
def test_a_copy_that_the_kernel_cuts_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shortcut: str
) -> None:
    """Each of the three ways may move less than it was asked for, and ends with the bytes that were there."""
    data = bytes(range(256)) * 40
    source = tmp_path / "source"
    source.write_bytes(b"before" + data + b"behind")
    moved: list[int] = []

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "not here")

    def range_less(source: int, target: int, count: int, *offsets: int) -> int:
        moved.append(real_range(source, target, min(count, 1000), *offsets))
        return moved[-1]

    def file_less(target: int, source: int, offset: int, count: int) -> int:
        moved.append(real_file(target, source, offset, min(count, 1000)))
        return moved[-1]

    def read_less(source: int, count: int, offset: int) -> bytes:
        chunk = real_read(source, min(count, 1000), offset)
        moved.append(len(chunk))
        return chunk

    real_range, real_file, real_read = os.copy_file_range, os.sendfile, os.pread
    monkeypatch.setattr(os, "copy_file_range", range_less if shortcut == "copy_file_range" else refuse)
    monkeypatch.setattr(os, "sendfile", file_less if shortcut == "sendfile" else refuse)
    monkeypatch.setattr(os, "pread", read_less)
    with source.open("rb") as file:
        digest = Disk().copy(Source(file.fileno(), len(b"before"), len(data)), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert digest == digest_of(data)
    assert len(moved) > len(data) // 1000


@pytest.mark.parametrize("size", [0, 1, 4096, DIRECT, DIRECT + 1, 3 * DIRECT + 5000])
@pytest.mark.parametrize("way", ["direct", "never direct", "refused at the first write"])
@pytest.mark.parametrize("takes", [0, 1, 1000])
def test_a_copy_gives_its_bytes_to_a_receiver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, way: str, takes: int
) -> None:
    """The copy is whole whatever the receiver takes, and whether or not the file system writes around the cache."""
    data = random.Random(size).randbytes(size)
    (tmp_path / "source").write_bytes(b"before" + data + b"after")
    if way == "never direct":
        monkeypatch.setattr("verifier.site.disk._set_direct", lambda descriptor, on: False)
    elif way == "refused at the first write":
        real = os.pwrite
        refused: list[int] = []

        def once(descriptor: int, piece: bytes, at: int) -> int:
            if not refused and len(piece) == DIRECT:
                refused.append(at)
                raise OSError(errno.EINVAL, "refused")
            return real(descriptor, piece, at)

        monkeypatch.setattr(os, "pwrite", once)
    received = bytearray()
    progress: list[int] = []

    def receive(copied: CopiedBytes) -> None:
        for _, piece in zip(range(takes), copied, strict=False):
            received.extend(piece)

    with (tmp_path / "source").open("rb") as file:
        source = Source(file.fileno(), len(b"before"), size, progress.append)
        digest = Disk().copy(source, tmp_path / "copy", receive=receive)
    assert (tmp_path / "copy").read_bytes() == data
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert data.startswith(received)
    assert len(received) == min(size, takes * (READ if way == "never direct" else DIRECT))
    assert sum(progress) == size


@pytest.mark.parametrize("direct", [True, False])
def test_a_source_that_fails_is_an_error_of_the_copy_and_not_of_the_receiver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, direct: bool
) -> None:
    (tmp_path / "source").write_bytes(bytes(3 * DIRECT))
    real = os.preadv
    seen: list[bytes] = []

    def failing(descriptor: int, buffers: list[memoryview], at: int) -> int:
        if at >= 2 * DIRECT:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", failing)
    if not direct:
        monkeypatch.setattr("verifier.site.disk._set_direct", lambda descriptor, on: False)

    def receive(copied: CopiedBytes) -> None:
        with pytest.raises(HostError, match="the copy failed: Input/output error"):
            seen.extend(bytes(piece) for piece in copied)

    with (tmp_path / "source").open("rb") as file, pytest.raises(OSError, match="Input/output error"):
        Disk().copy(Source(file.fileno(), 0, 3 * DIRECT), tmp_path / "copy", receive=receive)
    assert sum(len(piece) for piece in seen) == 2 * DIRECT


def take_all(copied: CopiedBytes) -> None:
    for _ in copied:
        pass


def test_a_source_that_ends_early_gives_a_shorter_copy_and_another_digest(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(DIRECT + 10))
    with (tmp_path / "source").open("rb") as file:
        digest = Disk().copy(Source(file.fileno(), 0, 2 * DIRECT), tmp_path / "copy", receive=take_all)
    assert (tmp_path / "copy").stat().st_size == DIRECT + 10
    assert digest == "sha256:" + hashlib.sha256(bytes(DIRECT + 10)).hexdigest()
