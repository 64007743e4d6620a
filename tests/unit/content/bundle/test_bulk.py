"""The bulk: every member in its place, from a file by all cores, from a pipe in one read, also beyond 8 GiB."""

import io
import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from content.bundle import bulk
from content.bundle import places as bulk_places
from content.bundle.archive import BLOCK, END, header, member_length, padded
from content.bundle.bulk import MAX_KEPT, SmallDocuments, open_bundle, read_blob, verify_file, verify_stream
from content.bundle.places import bundle_length, complete_places, find_places, member_name
from manifests.documents.release import Release
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.progress import no_progress
from tests.vendor import Vendor

VENDOR = Vendor()


def opened(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return open_bundle(path)


def test_places_follow_from_the_release_alone() -> None:
    release, _, _ = VENDOR.release()
    data = VENDOR.bundle()
    assert bundle_length(release) == len(data)
    for place in complete_places(release):
        assert data[place.offset - BLOCK : place.offset] == header(place.name, place.blob.size)
        assert digest_of(data[place.offset : place.offset + place.blob.size]) == place.blob.digest


def test_names() -> None:
    """F-9.3."""
    blob = Blob(digest="sha256:" + "a" * 64, size=1)
    assert [member_name(i, blob) for i in range(3)] == ["index.json", "VERIFY.txt", "blobs/sha256/" + "a" * 64]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_all_bytes_are_hashed_once(tmp_path: Path, workers: int) -> None:
    release, _, _ = VENDOR.release()
    descriptor = opened(tmp_path / "b", VENDOR.bundle())
    counted: list[int] = []
    lock = threading.Lock()

    def advance(count: int) -> None:
        with lock:
            counted.append(count)

    bulk = find_places(descriptor, release, "b")
    verify_file(descriptor, bulk, "b", workers=workers, advance=advance)
    assert sum(counted) == sum(one.size for one in release.members)
    os.close(descriptor)


def test_damage_names_the_first_blob_with_its_bytes_and_counts_the_rest(tmp_path: Path) -> None:
    """F-9.4."""
    release, _, _ = VENDOR.release()
    data = bytearray(VENDOR.bundle())
    places = complete_places(release)
    for place in (places[-1], places[3]):
        data[place.offset] ^= 1
    descriptor = opened(tmp_path / "b", bytes(data))
    with pytest.raises(DamagedError) as caught:
        verify_file(descriptor, find_places(descriptor, release, "b"), "b", advance=no_progress)
    first, last = places[3], places[-1]
    end = first.offset + first.blob.size
    assert caught.value.problem.startswith(f"{first.name} (")
    assert f") is not what the release says, bytes {first.offset} to {end}; and 1 more: " in caught.value.problem
    assert [(one.start, one.end, one.how) for one in caught.value.pieces] == [
        (one.offset, one.offset + one.blob.size, "changed") for one in (first, last)
    ]
    for place in (first, last):
        filled = f"skip={place.offset} seek={place.offset} count={place.blob.size}`"
        assert (
            f"`dd if=GOOD of=b conv=notrunc iflag=skip_bytes,count_bytes oflag=seek_bytes {filled}"
            in caught.value.remedy
        )
    with pytest.raises(DamagedError):
        read_blob(descriptor, first, 1 << 20)
    with pytest.raises(MalformedError, match="at most 2 are read"):
        read_blob(descriptor, places[4], 2)
    os.close(descriptor)


@pytest.mark.parametrize("buffer", [1, 600, 3000, 1 << 20])
def test_members_of_every_run_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    """Each changed member is named, alone or among those that are read with it."""
    monkeypatch.setattr(bulk, "BUFFER", buffer)
    release, _, _ = VENDOR.release()
    places = complete_places(release)
    assert len(places) > 3
    for place in places:
        data = bytearray(VENDOR.bundle())
        data[place.offset] ^= 1
        descriptor = opened(tmp_path / "b", bytes(data))
        with pytest.raises(DamagedError) as caught:
            verify_file(descriptor, find_places(descriptor, release, "b"), "b", workers=2, advance=no_progress)
        assert [piece.start for piece in caught.value.pieces] == [place.offset]
        os.close(descriptor)


def test_a_file_that_shrinks_while_it_is_read_is_damaged(tmp_path: Path) -> None:
    release, _, _ = VENDOR.release()
    path = tmp_path / "b"
    descriptor = opened(path, VENDOR.bundle())
    bulk = find_places(descriptor, release, "b")
    os.truncate(path, 66_000)
    with pytest.raises(DamagedError):
        verify_file(descriptor, bulk, "b", advance=no_progress)
    os.close(descriptor)


def huge_release(size: int) -> tuple[Release, Blob]:
    """A release with one more blob, whose bytes are zeros and not worth hashing."""
    release, _, _ = VENDOR.release()
    blob = Blob(digest="sha256:" + "0" * 64, size=size)
    return replace(release, members=(*release.members, blob)), blob


def test_a_sparse_blob_of_nine_gigabytes_has_its_header_and_its_place(tmp_path: Path) -> None:
    """F-2.3: beyond 8 GiB - 1 a size is binary. The file takes no space."""
    release, blob = huge_release(9 << 30)
    path = tmp_path / "b"
    start = VENDOR.bundle()[: -len(END)]
    with path.open("wb") as file:
        file.write(start + header("blobs/sha256/" + "0" * 64, 9 << 30))
        file.truncate(bundle_length(release))
    assert path.stat().st_blocks * 512 < 1 << 20
    descriptor = open_bundle(path)
    bulk = find_places(descriptor, release, "b")
    assert bulk.present[-1].blob == blob and not bulk.missing
    assert bulk.present[-1].offset == len(start) + BLOCK
    # Cut in its middle it is missing, and everything before it is there.
    os.truncate(path, 5 << 30)
    cut = find_places(descriptor, release, "b")
    assert cut.cut and cut.missing == (blob,) and len(cut.present) == len(release.members) - 1
    os.close(descriptor)


def test_tools_read_a_sparse_blob_of_nine_gigabytes(tmp_path: Path) -> None:
    """Python's reader takes the binary size; tests/interop asks others."""
    import tarfile

    path = tmp_path / "b.tar"
    with path.open("wb") as file:
        file.write(header("blob", 9 << 30))
        file.truncate(member_length(9 << 30) + len(END))
    with tarfile.open(path, "r:") as tar:
        assert [(one.name, one.size) for one in tar] == [("blob", 9 << 30)]


class Slow(io.RawIOBase):
    """A pipe that gives what it has in odd pieces, like a network or a stuttering medium."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        count = min(size, 1 + self.at * 7 % 613)
        part = self.data[self.at : self.at + count]
        self.at += len(part)
        return part


def test_a_pipe_in_odd_pieces() -> None:
    release, _, index = VENDOR.release()
    stream = Slow(VENDOR.bundle()[release.bulk_at :])
    bulk, kept = verify_stream(stream, release, "pipe", advance=no_progress)  # type: ignore[arg-type]  # it reads
    assert bulk.missing == () and not bulk.cut
    assert bulk.length == bundle_length(release)
    assert kept.blobs[digest_of(index)] == index
    assert release.contract.digest in kept.blobs


class Failing(Slow):
    def read(self, size: int = -1) -> bytes:
        if self.at > 3000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_read_error_is_told_apart_from_other_bytes() -> None:
    """From where the pipe broke nothing is known: that piece is named as unreadable."""
    release, _, _ = VENDOR.release()
    stream = Failing(VENDOR.bundle()[release.bulk_at :])
    with pytest.raises(DamagedError, match="is unreadable, bytes") as caught:
        verify_stream(stream, release, "pipe", advance=no_progress)  # type: ignore[arg-type]  # it reads
    assert caught.value.finding == "bulk-unreadable"
    assert all(one.start >= release.bulk_at for one in caught.value.pieces)


def test_threads_end_with_the_read() -> None:
    release, _, _ = VENDOR.release()
    before = threading.active_count()
    data = VENDOR.bundle()[release.bulk_at :]
    verify_stream(io.BytesIO(data), release, "pipe", advance=no_progress)
    with pytest.raises(DamagedError):
        verify_stream(io.BytesIO(b"x" * len(data)), release, "pipe", advance=no_progress)
    assert threading.active_count() == before


def test_a_pipe_keeps_manifests_and_not_sboms() -> None:
    kept = SmallDocuments(asked=frozenset({"sha256:asked"}))
    for digest, data in {
        "sha256:asked": b"anything",
        "sha256:manifest": b'{"schemaVersion":2}',
        "sha256:spaced": b'\n {"schemaVersion":2}',
        "sha256:escaped": b'{"schemaVersio\\u006e":2}',
        "sha256:sbom": b'{"bomFormat":"CycloneDX"}',
        "sha256:layer": b"\x1f\x8b schemaVersion",
    }.items():
        kept.offer(digest, data)
    assert set(kept.blobs) == {"sha256:asked", "sha256:manifest", "sha256:spaced", "sha256:escaped"}


def test_a_pipe_has_an_end_to_what_it_keeps() -> None:
    """F-9.8 names this one difference."""
    kept = SmallDocuments(asked=frozenset())
    big = b'{"schemaVersion":2}'.ljust(4 << 20)
    with pytest.raises(RefusedError, match=f"more than {MAX_KEPT} bytes") as caught:
        for n in range(13):
            kept.offer(f"sha256:{n}", big)
    assert "write the bundle to a file" in caught.value.remedy


def test_an_empty_blob_is_a_header_alone(tmp_path: Path) -> None:
    vendor = Vendor(service={"empty": b"", "full": b"x"})
    release, _, _ = vendor.release()
    descriptor = opened(tmp_path / "b", vendor.bundle())
    verify_file(descriptor, find_places(descriptor, release, "b"), "b", advance=no_progress)
    verify_stream(io.BytesIO(vendor.bundle()[release.bulk_at :]), release, "p", advance=no_progress)
    assert padded(0) == 0
    os.close(descriptor)


def test_a_single_large_blob_is_read_ahead_and_judged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bar for "large" lowered: the good bundle passes, each changed blob is named, a short file is noticed."""
    monkeypatch.setattr(bulk, "DROP_EVERY", 64)
    vendor = Vendor(images=False, service={"big.bin": bytes(range(256)) * 20})
    path = vendor.write(tmp_path / "small.tar")
    data = path.read_bytes()
    release, _, _ = vendor.release()
    for at in (None, data.index(bytes(range(200, 256))) + 7):
        changed = bytearray(data)
        if at is not None:
            changed[at] ^= 1
        path.write_bytes(changed)
        descriptor = bulk.open_bundle(path)
        try:
            found = bulk_places.find_places(descriptor, release, "small.tar")
            if at is None:
                bulk.verify_file(descriptor, found, "small.tar", workers=64, advance=no_progress)
                continue
            with pytest.raises(DamagedError, match="is not what the release says"):
                bulk.verify_file(descriptor, found, "small.tar", workers=64, advance=no_progress)
        finally:
            os.close(descriptor)
