"""Verify the bulk of a bundle: everything after the head, each member hashed against the verified release.

A file is read once, in constant memory, on all cores, the largest blobs first; a pipe is read once, in order.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from content.bundle.archive import BLOCK, END, header, member_length, padded
from content.bundle.damage import DamagedRange, damage, unreadable
from content.bundle.places import (
    Bulk,
    MemberLocation,
    complete_places,
    damaged_error,
    end_of,
    hurt_at,
    make_bulk,
    next_place,
)
from content.bundle.read_ahead import BUFFER, ReadAhead, Region
from manifests.documents.release import Release
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.progress import ProgressCallback

DROP_EVERY = 64 << 20
# What a pipe keeps in memory, because the graph of manifests can only be walked when all of it has been read.
MAX_KEPT_BLOB = 4 << 20
MAX_KEPT = 48 << 20


@dataclass
class SmallDocuments:
    """Small documents seen while reading a pipe: those asked for, and all that could be a manifest.

    A manifest is a JSON object with ``schemaVersion`` (written plainly or with escapes); SBOMs, which may be many,
    have none. ``also`` says of others that they are wanted.
    """

    asked: frozenset[str]
    also: Callable[[bytes], bool] | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def offer(self, digest: str, data: bytes) -> None:
        object_ = data[:1] == b"{" or data.lstrip(b" \t\r\n")[:1] == b"{"
        document = object_ and (b'"schemaVersion"' in data or b"\\u" in data)
        if digest not in self.asked and not document and not (object_ and self.also and self.also(data)):
            return
        self.size += len(data)
        if self.size > MAX_KEPT:
            raise RefusedError(
                f"more than {MAX_KEPT} bytes of small documents cannot be judged from a pipe",
                where="bundle",
                remedy="write the bundle to a file and verify that",
            )
        self.blobs[digest] = data


def verify_file(
    descriptor: int, bulk: Bulk, what: str, *, workers: int | None = None, advance: ProgressCallback
) -> None:
    """Hash every member that is present, in parallel; the page cache of what was read is dropped.

    Raises:
        DamagedError: Naming the first blobs whose bytes are not what the release says, and where they lie.
    """
    largest_first = sorted(bulk.present, key=lambda place: -place.blob.size)
    workers = workers or os.cpu_count() or 1
    # With fewer large blobs than cores an idle core reads ahead for the one that hashes.
    ahead = sum(place.blob.size >= DROP_EVERY for place in bulk.present) < workers

    def check(place: MemberLocation) -> tuple[DamagedRange, ...]:
        return _check(descriptor, place, advance, ahead=ahead and place.blob.size >= DROP_EVERY)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        hurts = [hurt for found in pool.map(check, largest_first) for hurt in found]
    if hurts:
        raise damaged_file(descriptor, bulk, hurts, what)
    _check_end(descriptor, bulk, what)


def verify_frame(descriptor: int, bulk: Bulk, what: str) -> None:
    """Everything around the members' bytes, for a bundle whose members are hashed by whoever copies them.

    Raises:
        DamagedError: As ``verify_file``.
    """
    hurts = [
        hurt for place in bulk.present for hurt in (*_check_header(descriptor, place), *_padding(descriptor, place))
    ]
    if hurts:
        raise damaged_file(descriptor, bulk, hurts, what)
    _check_end(descriptor, bulk, what)


def _check_end(descriptor: int, bulk: Bulk, what: str) -> None:
    if not bulk.missing and os.pread(descriptor, len(END) + 1, bulk.length - len(END)) != END:
        raise damaged_error("the archive does not end with zeros", f"{what} at byte {bulk.length - len(END)}")


def damaged_file(descriptor: int, bulk: Bulk, hurts: list[DamagedRange], what: str) -> DamagedError:
    """The failure that names each piece, also by what it is for as far as the bundle's own documents tell."""
    from content.bundle.uses import uses_of

    places = {place.blob.digest: place for place in bulk.present}
    return damage(
        hurts, what, uses_of(bulk.release, lambda digest: read_blob(descriptor, places[digest], MAX_KEPT_BLOB))
    )


def lost_tail(bulk: Bulk) -> list[DamagedRange]:
    """Where the missing members of a complete bundle that was cut short would lie; nothing for a delta."""
    places = complete_places(bulk.release)
    if not bulk.cut or places[: len(bulk.present)] != bulk.present:
        return []
    lost = places[len(bulk.present) :]
    return [hurt_at(place, max(place.offset - BLOCK, bulk.length), end_of(place), "cut-short") for place in lost]


def _check_header(descriptor: int, place: MemberLocation) -> tuple[DamagedRange, ...]:
    start = place.offset - BLOCK
    try:
        same = os.pread(descriptor, BLOCK, start) == header(place.name, place.blob.size)
    except OSError:
        return (hurt_at(place, start, place.offset, "unreadable"),)
    return () if same else (hurt_at(place, start, place.offset),)


def _padding(descriptor: int, place: MemberLocation) -> tuple[DamagedRange, ...]:
    start, count = place.offset + place.blob.size, padded(place.blob.size) - place.blob.size
    if not count:
        return ()
    try:
        same = os.pread(descriptor, count, start) == bytes(count)  # F-2.4
    except OSError:
        return (hurt_at(place, start, start + count, "unreadable"),)
    return () if same else (hurt_at(place, start, start + count),)


def _check(
    descriptor: int, place: MemberLocation, advance: ProgressCallback, *, ahead: bool
) -> tuple[DamagedRange, ...]:
    """What is wrong with a member; ``ahead`` reads in a thread of its own."""
    if wrong := _check_header(descriptor, place):
        return wrong
    hashed = hashlib.sha256()
    at = dropped = place.offset
    end = place.offset + place.blob.size
    try:
        for piece in _read_ahead(descriptor, place) if ahead else _read(descriptor, place):
            hashed.update(piece)
            at += len(piece)
            advance(len(piece))
            if at - dropped >= DROP_EVERY:
                os.posix_fadvise(descriptor, dropped, at - dropped, os.POSIX_FADV_DONTNEED)
                dropped = at
    except OSError:
        # What was readable on a second look was a passing fault of the drive; the blob is still not proven.
        stretches = unreadable(descriptor, at, end) or ((at, end),)
        return tuple(hurt_at(place, *stretch, "unreadable") for stretch in stretches)
    if at != end:
        return (hurt_at(place, at, end, "cut-short"),)
    if wrong := _padding(descriptor, place):
        return wrong
    if place.blob.size >= BUFFER:
        os.posix_fadvise(descriptor, dropped, at - dropped, os.POSIX_FADV_DONTNEED)
    if "sha256:" + hashed.hexdigest() != place.blob.digest:  # F-9.4
        return (hurt_at(place, place.offset, end),)
    return ()


def _read(descriptor: int, place: MemberLocation) -> Iterator[memoryview]:
    """The blob's bytes through one buffer; fewer when the file ends before."""
    at, left = place.offset, place.blob.size
    view = memoryview(bytearray(min(BUFFER, max(left, 1))))
    while left and (count := os.preadv(descriptor, [view[: min(len(view), left)]], at)):
        yield view[:count]
        at += count
        left -= count


def _read_ahead(descriptor: int, place: MemberLocation) -> Iterator[memoryview]:
    with ReadAhead(Region(descriptor, place)) as source:
        yield from source.pieces(place.blob.size)


def read_blob(descriptor: int, place: MemberLocation, limit: int) -> bytes:
    """A small member's bytes, hashed in this very read. Raises DamagedError when they differ."""
    if place.blob.size > limit:
        raise MalformedError(f"{place.blob.size} bytes, at most {limit} are read", where=place.name)
    try:
        data = os.pread(descriptor, place.blob.size, place.offset)
    except OSError:
        raise damage([hurt_at(place, place.offset, end_of(place), "unreadable")], "bundle", {}) from None
    if "sha256:" + hashlib.sha256(data).hexdigest() != place.blob.digest:
        raise damage([hurt_at(place, place.offset, place.offset + place.blob.size)], "bundle", {})
    return data


def verify_stream(
    stream: BinaryIO,
    release: Release,
    what: str,
    *,
    also: Callable[[bytes], bool] | None = None,
    advance: ProgressCallback,
) -> tuple[Bulk, SmallDocuments]:
    """Check the bulk from a pipe that stands right after the head; one thread reads, one hashes.

    Args:
        also: Which JSON objects are kept besides manifests.

    Raises:
        DamagedError: As for a file; reading stops at the first damage.
    """
    asked = frozenset((release.members[0].digest, release.contract.digest, release.rollback.digest))
    if release.sigstore is not None:
        asked |= {release.sigstore.digest}
    kept = SmallDocuments(asked=asked, also=also)
    present: list[MemberLocation] = []
    missing: list[Blob] = []
    wanted = enumerate(release.members)
    at = release.bulk_at
    cut = False
    place: MemberLocation | None = None
    with ReadAhead(stream) as source:
        try:
            while True:
                block = source.take(BLOCK)
                cut = len(block) < BLOCK
                if cut or not block.strip(b"\0"):
                    break
                place = next_place(block, at, wanted, missing, what)
                same = _check_stream(source, place, kept, advance)
                cut = source.ended
                if cut:
                    missing.append(place.blob)
                    break
                if not same:
                    raise _damaged_stream(release, kept, hurt_at(place, place.offset, end_of(place)), what)
                present.append(place)
                at += member_length(place.blob.size)
            if not cut and block + source.take(len(END)) != END:  # F-2.5
                raise damaged_error("the archive does not end where its last member does", f"{what} at byte {at}")
        except OSError:
            here = release.bulk_at + source.taken
            # A pipe cannot be read again: nothing is known from here to the end of the member.
            if place is not None and here < end_of(place):
                raise _damaged_stream(release, kept, hurt_at(place, here, end_of(place), "unreadable"), what) from None
            raise _damaged_stream(
                release, kept, DamagedRange("the archive", "", here, here + BLOCK, "unreadable"), what
            ) from None
        length = source.taken
    missing += [blob for _, blob in wanted]
    return make_bulk(release, present, missing, release.bulk_at + length, cut, what), kept


def _damaged_stream(release: Release, kept: SmallDocuments, hurt: DamagedRange, what: str) -> DamagedError:
    from content.bundle.uses import uses_of

    return damage([hurt], what, uses_of(release, kept.blobs.__getitem__))


def _check_stream(source: "ReadAhead", place: MemberLocation, kept: SmallDocuments, advance: ProgressCallback) -> bool:
    """Whether the bytes are right; a stream that ends too early says so in ``ended``."""
    hashed = hashlib.sha256()
    parts: list[bytes] | None = [] if place.blob.size <= MAX_KEPT_BLOB else None
    for part in source.pieces(place.blob.size):
        hashed.update(part)
        advance(len(part))
        if parts is not None:
            parts.append(bytes(part))
    padding = padded(place.blob.size) - place.blob.size
    if source.take(padding) != bytes(padding) or "sha256:" + hashed.hexdigest() != place.blob.digest:
        return False
    if parts is not None:
        kept.offer(place.blob.digest, b"".join(parts))
    return True


def open_bundle(path: Path) -> int:
    """A read-only descriptor of the bundle; the caller closes it."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
