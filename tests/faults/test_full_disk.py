"""A file system that is really full, and one that is really read-only."""

import errno
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.words.errors import HostError
from tests.faults.crash import problems
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import observe
from verifier.runtime.drivers.driver import load_driver
from verifier.site.disk import Disk

BLOCK = 4096
FIRST = Vendor()
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n", "big.bin": bytes(range(256)) * 4096})


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Not a byte is left."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "room", "size=24m") as folder:
        yield folder


def two_installed(room: Path) -> Place:
    place = make_place(room / "world", FIRST, disk=Disk(), reserve="2MiB")
    for vendor in (FIRST, SECOND):
        assert place.bring(vendor.write(room / f"{vendor.version}.tar")).error is None
    return place


def test_everything_that_reads_works_on_a_full_disk(room: Path) -> None:
    place = two_installed(room)
    fill(room)
    site = place.open()
    assert waiting_items(site) == ()
    assert not [one for one in observe(site, load_driver) if one.problem]
    assert site.state.installs.current == 2


def test_a_full_disk_refuses_an_install_with_numbers_and_changes_nothing(room: Path) -> None:
    place = two_installed(room)
    third = FIRST.but(version="1.2.0", sequence=3, service={"more.bin": b"more" * 4096})
    place.approve(place.receive(third.write(room / "third.tar")).item)
    fill(room)
    with pytest.raises(HostError, match=r"needs .* \(\d+ bytes\), .* are free"):
        place.install("r-1.2.0")
    assert place.open().state.installs.current == 2
    assert (place.path / "reserve").exists()


def test_a_rollback_and_its_report_finish_on_a_full_disk(room: Path) -> None:
    from verifier.reporting.report_write import write_report

    place = two_installed(room)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    fill(room)
    ended = place.rollback(person="ops-1")
    assert ended.error is None
    assert ended.report is not None
    assert ended.report.exists()
    assert problems(place) == ""
    assert place.open().state.installs.current == 1


def upgrade_waits(room: Path) -> Place:
    place = make_place(room / "world", FIRST, disk=Disk(), reserve="64KiB")
    place.bring(FIRST.write(room / "first.tar"))
    place.approve(place.receive(SECOND.write(room / "second.tar")).item)
    return place


def leave(place: Place, room: Path, size: int) -> None:
    """So many bytes are free afterwards, and no more."""
    with (room / "filler").open("wb") as file:
        file.write(bytes(place.disk.space(room).bytes - size))
    assert place.disk.space(room).bytes == size


def test_around_the_exact_size(tmp_path: Path) -> None:
    """One block less than was counted is refused before the first write; exactly that is enough, to the end."""
    with tmpfs(tmp_path / "counted", "size=24m") as room:
        place = upgrade_waits(room)
        leave(place, room, 1 << 20)
        with pytest.raises(HostError, match="are free") as caught:
            place.install("r-1.1.0")
        found = re.search(r"\((\d+) bytes\), .*\((\d+) bytes\) are free", str(caught.value))
        assert found is not None
        need = -(-int(found[1]) // BLOCK) * BLOCK
        assert int(found[2]) == 1 << 20
    for blocks in (-1, 0, 1):
        with tmpfs(tmp_path / f"room{blocks}", "size=24m") as room:
            place = upgrade_waits(room)
            leave(place, room, need + blocks * BLOCK)
            before = place.open().state.seq
            if blocks < 0:
                with pytest.raises(HostError, match=f"needs .* \\({found[1]} bytes\\)"):
                    place.install("r-1.1.0")
                assert place.open().state.seq == before
            else:
                assert place.install("r-1.1.0").error is None
                assert place.open().state.installs.current == 2
            assert problems(place) == ""


def test_around_the_exact_number_of_inodes(tmp_path: Path) -> None:
    def leave_inodes(place: Place, room: Path, count: int) -> None:
        for i in range(place.disk.space(room).inodes - count):
            (room / f"filler{i}").touch()

    with tmpfs(tmp_path / "counted", "size=24m,nr_inodes=400") as room:
        place = upgrade_waits(room)
        leave_inodes(place, room, 1)
        with pytest.raises(HostError, match=r"needs \d+ new files, this file system has room for 1") as caught:
            place.install("r-1.1.0")
        need = int(str(caught.value).split("needs ")[1].split()[0])
    for more in (-1, 0):
        with tmpfs(tmp_path / f"room{more}", "size=24m,nr_inodes=400") as room:
            place = upgrade_waits(room)
            leave_inodes(place, room, need + more)
            if more < 0:
                with pytest.raises(HostError, match=f"{need} new files, this file system has room for {need - 1}"):
                    place.install("r-1.1.0")
                assert place.open().state.installs.current == 1
            else:
                assert place.install("r-1.1.0").error is None
            for filler in room.glob("filler*"):
                filler.unlink()
            assert problems(place) == ""


def test_a_read_only_file_system(room: Path) -> None:
    place = two_installed(room)
    subprocess.run(["mount", "-o", "remount,ro", room], check=True)
    try:
        site = place.open()
        assert site.state.installs.current == 2
        assert not [one for one in observe(site, load_driver) if one.problem]
        with pytest.raises(OSError, match="Read-only file system"):
            place.rollback(person="ops-1")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", room], check=True)
    assert place.rollback(person="ops-1").error is None


def test_medium_on_another_file_system(room: Path, tmp_path: Path) -> None:
    """copy_file_range says EXDEV there, and the copy goes another way."""
    place = make_place(tmp_path / "world", FIRST, disk=Disk(), reserve="64KiB")
    assert place.bring(SECOND.but(sequence=1, version="1.0.0").write(room / "a.tar")).error is None
    assert problems(place) == ""
