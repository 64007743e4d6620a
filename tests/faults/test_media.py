"""Bad media: every blob flipped, cut, unreadable; what is named, what is kept, and how little has to come again."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import pytest

from content.bundle.archive import BLOCK, padded
from content.bundle.places import MemberLocation as Spot
from content.bundle.places import complete_places
from manifests.words.errors import DamagedError, HostError, Piece
from tests.faults.crash import problems
from tests.faults.medium import Medium, mounted
from tests.faults.model import PulledPlugError, QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.intake.media import ReceivedMedia, receive_media

VENDOR = Vendor(service={"hello.txt": b"hello\n", "big.bin": bytes(range(256)) * 400, "run.py": b"print('hi')\n"})
GOOD = VENDOR.bundle()
SPOTS = complete_places(VENDOR.release()[0])
T = TypeVar("T")
LAYER = "layer 1 of 1 of image small/api:1.0.0"


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("enrolled"), VENDOR, disk=QuickDisk(), reserve="4KiB")


@pytest.fixture
def place(enrolled: Place, tmp_path: Path) -> Place:
    return copy_of(enrolled, tmp_path / "site")


def copy_of(place: Place, folder: Path) -> Place:
    shutil.copytree(place.path, folder, symlinks=True)
    return Place(path=folder, disk=QuickDisk(), people=place.people)


def stored(place: Place) -> set[str]:
    folder = place.path / "store" / "blobs" / "sha256"
    return {"sha256:" + one.name for one in folder.iterdir()} if folder.is_dir() else set()


def flipped(at: int) -> bytes:
    data = bytearray(GOOD)
    data[at] ^= 1
    return bytes(data)


def flips() -> Iterator[tuple[str, Spot, int, int, int]]:
    """Where, in which member, which byte, and the piece that must be named."""
    for spot in SPOTS:
        end = spot.offset + spot.blob.size
        yield "header", spot, spot.offset - BLOCK + 5, spot.offset - BLOCK, spot.offset
        yield "first byte", spot, spot.offset, spot.offset, end
        yield "last byte", spot, end - 1, spot.offset, end
        if padded(spot.blob.size) != spot.blob.size:
            yield "padding", spot, end, end, spot.offset + padded(spot.blob.size)


@pytest.mark.parametrize("keep", [False, True])
def test_a_flipped_bit_in_every_blob_is_named_by_what_it_hits(place: Place, tmp_path: Path, keep: bool) -> None:
    """And nothing but that: the bytes named, cut again from a good copy as the hint says, mend the bundle."""
    bundle = tmp_path / "bundle.tar"
    before = place.open().state.seq
    count = 0
    for where, spot, at, start, end in flips():
        bundle.write_bytes(flipped(at))
        shutil.rmtree(place.path / "store", ignore_errors=True)
        with pytest.raises(DamagedError) as caught:
            place.receive(bundle, keep=keep)
        count += 1
        error = caught.value
        assert (error.exit_code, error.finding, error.where) == (7, "bulk-damaged", str(bundle)), where
        assert [(one.name, one.start, one.end, one.how) for one in error.pieces] == [(spot.name, start, end, "changed")]
        assert f"bytes {start} to {end}" in str(error)
        assert f"skip={start} seek={start} count={end - start}`" in error.remedy
        # The index of images names the layers: without it there is only the digest.
        assert error.pieces[0].use or spot.name == "VERIFY.txt" or where == "header", where
        assert place.open().state.seq == before
    assert count > 3 * len(SPOTS)
    assert LAYER in {one.use for one in _pieces_of_all(place, bundle)}


def _pieces_of_all(place: Place, bundle: Path) -> list[Piece]:
    """With the largest blobs all damaged at once, all of them are named."""
    data = bytearray(GOOD)
    hit = [spot for spot in SPOTS[2:] if spot.blob.size > 1000]
    for spot in hit:
        data[spot.offset] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(DamagedError) as caught:
        place.receive(bundle)
    assert [one.start for one in caught.value.pieces] == [spot.offset for spot in hit]
    return list(caught.value.pieces)


def test_the_line_in_the_hint_mends_the_bundle(place: Place, tmp_path: Path) -> None:
    good, bundle = tmp_path / "good.tar", tmp_path / "bundle.tar"
    good.write_bytes(GOOD)
    data = bytearray(GOOD)
    for spot in SPOTS[3:6]:
        data[spot.offset] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(DamagedError) as caught:
        place.receive(bundle)
    lines = re.findall(r"`(dd [^`]*)`", caught.value.remedy)
    assert len(lines) == 3
    for line in lines:
        subprocess.run(shlex.split(line.replace("GOOD", str(good))), check=True, capture_output=True)
    assert bundle.read_bytes() == GOOD
    assert place.bring(bundle).error is None


def test_cut_anywhere_the_rest_is_asked_for_and_what_came_is_kept(place: Place, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar"
    for spot in SPOTS[3:]:
        for at in (spot.offset - BLOCK, spot.offset, spot.offset + spot.blob.size // 2):
            bundle.write_bytes(GOOD[:at])
            with pytest.raises(DamagedError) as caught:
                place.receive(bundle, keep=True)
            pieces = caught.value.pieces
            assert pieces[0].start == at
            assert {one.how for one in pieces} == {"cut-short"}
            assert pieces[-1].end == SPOTS[-1].offset + SPOTS[-1].blob.size
            whole = {one.blob.digest for one in SPOTS if one.offset + padded(one.blob.size) <= at}
            assert whole <= stored(place)
        shutil.rmtree(place.path / "store")
    bundle.write_bytes(GOOD)
    assert place.bring(bundle).error is None


def test_a_second_medium_brings_only_what_the_first_had_wrong(place: Place, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar"
    bad = SPOTS[-1]
    bundle.write_bytes(flipped(bad.offset + 7))
    with pytest.raises(DamagedError):
        place.receive(bundle, keep=True)
    assert stored(place) == {one.blob.digest for one in SPOTS} - {bad.blob.digest}
    bundle.write_bytes(GOOD)
    disk = RecordingDisk(place.path)
    place.disk = disk
    place.approve(place.receive(bundle, keep=True).item)
    assert [op.path for op in disk.ops if op.kind == "copy"] == [
        f"store/blobs/sha256/{bad.blob.digest.removeprefix('sha256:')}.part"
    ]
    bundle.unlink()
    place.disk = QuickDisk()
    assert place.install("r-1.0.0").error is None
    assert problems(place) == ""


def test_stopped_again_and_again_it_goes_on_with_what_is_missing(place: Place, tmp_path: Path) -> None:
    """No blob that was complete is copied a second time."""
    bundle = VENDOR.write(tmp_path / "bundle.tar")
    copied: list[str] = []
    for _ in range(100):
        disk = Stopped(place.path, 14)
        place.disk = disk
        before = stored(place)
        try:
            place.receive(bundle, keep=True)
        except PulledPlugError:
            assert {one for one in before if not one.endswith(".part")} <= stored(place)
        else:
            break
        finally:
            copied += [op.path for op in disk.ops if op.kind == "rename" and op.other.endswith(".part")]
    else:
        pytest.fail("it never ended")
    assert sorted(copied) == sorted({*copied})
    assert len(copied) == len(SPOTS)


class Stopped(RecordingDisk):
    """Records, until the plug is pulled at effect ``at``."""

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(root)
        self.left = at

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        self.left -= 1
        if self.left < 0:
            raise PulledPlugError
        return super()._effect(kind, path, act)


def test_a_medium_that_changes_between_receive_and_install_changes_nothing(enrolled: Place, tmp_path: Path) -> None:
    """What is installed is what was received, or nothing is."""
    other = VENDOR.but(version="1.0.1", sequence=2, service={"hello.txt": b"evil\n"})
    longer = VENDOR.but(service={**VENDOR.service, "more.txt": b"more\n"})
    changes = {
        "another release": other.bundle(),
        "another release under the same number": longer.bundle(),
        "every blob changed": GOOD[: SPOTS[0].offset - BLOCK] + bytes(len(GOOD) - SPOTS[0].offset + BLOCK),
        "one bit": flipped(SPOTS[-1].offset),
        "cut": GOOD[: SPOTS[-1].offset],
        "nothing": b"",
        "gone": None,
    }
    for i, (name, data) in enumerate(changes.items()):
        site = tmp_path / str(i) / "site"
        place = copy_of(enrolled, site)
        bundle = VENDOR.write(tmp_path / str(i) / "bundle.tar")
        item = place.receive(bundle).item
        place.approve(item)
        if data is None:
            bundle.unlink()
        else:
            bundle.write_bytes(data)
        with pytest.raises(DamagedError) as caught:
            place.install(item)
        assert caught.value.exit_code == 7, name
        assert place.open().state.installs.current == 0
        assert not (site / "current").exists()
        assert stored(place) <= {one.blob.digest for one in SPOTS}, name
        VENDOR.write(bundle)
        assert place.install(item).error is None, name
        assert (site / "srv" / "app" / "current" / "hello.txt").read_bytes() == b"hello\n"


# --- a drive that fails ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Medium]:
    with mounted(tmp_path_factory.mktemp("drive")) as medium:
        yield medium


def test_a_spot_that_cannot_be_read_is_named_to_the_block(drive: Medium, place: Place) -> None:
    """EIO at the head, at a header, inside of each larger blob: which bytes, of what, and nothing else is lost."""
    VENDOR.write(drive.source / "bundle.tar")
    bundle = drive.path / "bundle.tar"
    big = next(one for one in SPOTS if one.blob.size > 100_000)
    start = big.offset + 50_000
    drive.spoil(("bundle.tar", start, start + 10))
    block = start - start % 4096
    for keep in (False, True):
        with pytest.raises(DamagedError) as caught:
            place.receive(bundle, keep=keep)
        error = caught.value
        assert error.finding == "bulk-unreadable"
        assert [(one.name, one.start, one.end, one.how, one.use) for one in error.pieces] == [
            (big.name, block, block + 4096, "unreadable", "file big.bin of service")
        ]
        assert error.remedy.startswith("try another drive")
    assert stored(place) == {one.blob.digest for one in SPOTS} - {big.blob.digest}
    drive.spoil(("bundle.tar", 0, 10))
    for path in (bundle, drive.path):
        unread = receive_path(place, path).error
        assert isinstance(unread, HostError)
        assert "cannot be read: input/output error" in unread.problem
        assert str(bundle) in unread.where
    drive.spoil()
    item = place.receive(bundle, keep=True).item
    assert item == "r-1.0.0"


def receive_path(place: Place, path: Path) -> ReceivedMedia:
    """As the command line does it, for a file or a folder."""
    with place.hold() as site:
        return receive_media(site, (path,), keep=False, watch=lambda _: nullcontext(lambda _: None))


def test_a_drive_that_fails_during_the_install(drive: Medium, place: Place, tmp_path: Path) -> None:
    """Before the switch: nothing changed, the piece is named, and another medium brings only that."""
    VENDOR.write(drive.source / "bundle.tar")
    bundle = drive.path / "bundle.tar"
    item = place.receive(bundle).item
    place.approve(item)
    big = next(one for one in SPOTS if one.blob.size > 100_000)
    drive.spoil(("bundle.tar", big.offset + 8192, big.offset + 8193))
    with pytest.raises(DamagedError, match=r"\(file big.bin of service\) is unreadable, bytes"):
        place.install(item)
    assert place.open().state.installs.current == 0
    assert stored(place) == {one.blob.digest for one in SPOTS} - {big.blob.digest}
    drive.spoil()
    disk = RecordingDisk(place.path)
    place.disk = disk
    assert place.install(item, media=VENDOR.write(tmp_path / "other.tar")).error is None
    copies = [op.path for op in disk.ops if op.kind == "copy" and op.path.startswith("store/")]
    assert copies == [f"store/blobs/sha256/{big.blob.digest.removeprefix('sha256:')}.part"]


def test_a_medium_is_read_once(drive: Medium, place: Place) -> None:
    """`receive --keep` asks the drive for every byte of the bulk once, but for blocks that two members share."""
    VENDOR.write(drive.source / "bundle.tar")
    drive.spoil()
    drive.reads()
    place.receive(drive.path / "bundle.tar", keep=True)
    blocks: dict[int, int] = {}
    for name, at, count in drive.reads():
        for block in range(at // 4096, -(-(at + count) // 4096) if name == "bundle.tar" else 0):
            blocks[block] = blocks.get(block, 0) + 1
    assert len(blocks) >= len(GOOD) // 4096
    big = next(one for one in SPOTS if one.blob.size > 100_000)
    inside = range(big.offset // 4096 + 1, (big.offset + big.blob.size) // 4096)
    assert {blocks[block] for block in inside} == {1}
