"""Verify the bulk of a bundle: everything after the head, each member hashed against the verified release.

A file is read once, in constant memory, on all cores, the largest blobs first; a pipe is read once, in order.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from content.bundle.archive import BLOCK, END, header, member_length, padded
from content.bundle.damage import DamagedRange, damage, unreadable
from content.bundle.places import (
    Bulk,
    MemberLocation,
    complete_places,
    damaged_error,
    damaged_range,
    end_of,
    make_bulk,
    next_place,
)
from manifests.documents.release import Release
from manifests.trust.keys import open_regular
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.progress import ProgressCallback

BUFFER = 1 << 20
DROP_EVERY = 64 << 20
# Limits on what is kept in memory from a pipe: the graph of manifests is walked after the whole pipe was read.
MAX_KEPT_BLOB = 4 << 20
MAX_KEPT = 24 << 20


@dataclass
class SmallDocuments:
    """Small documents seen while reading a pipe: those asked for, and all that could be a manifest.

    A manifest is a JSON object with ``schemaVersion`` (written plainly or with escapes). SBOMs, of which there may
    be many, have none. ``also`` selects other objects that are kept.
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
            problem = f"more than {MAX_KEPT} bytes of small documents cannot be judged from a pipe"
            raise RefusedError(problem, where="bundle", remedy="write the bundle to a file and verify that")
        self.blobs[digest] = data


def verify_file(
    descriptor: int, bulk: Bulk, what: str, *, workers: int | None = None, advance: ProgressCallback
) -> None:
    """Hash every member that is present, in parallel; the page cache of what was read is dropped.

    Raises DamagedError, which names the damaged blobs and their byte ranges.
    """
    largest_first = sorted(_runs(bulk.present), key=lambda run: run[0].offset - end_of(run[-1]))
    workers = workers or os.cpu_count() or 1
    # With fewer large blobs than cores an idle core reads ahead for the one that hashes.
    ahead = sum(place.blob.size >= DROP_EVERY for place in bulk.present) < workers

    def check(run: list[MemberLocation]) -> list[DamagedRange]:
        if len(run) > 1 and _is_right(descriptor, run):
            advance(sum(place.blob.size for place in run))
            return []
        checked = (_check(descriptor, place, advance, ahead=ahead and place.blob.size >= DROP_EVERY) for place in run)
        return [damaged for ranges in checked for damaged in ranges]

    with ThreadPoolExecutor(max_workers=workers) as pool:
        ranges = [damaged for checked in pool.map(check, largest_first) for damaged in checked]
    if ranges:
        raise damaged_file(descriptor, bulk, ranges, what)
    check_end(descriptor, bulk, what)


def _runs(places: tuple[MemberLocation, ...]) -> Iterator[list[MemberLocation]]:
    """Neighbours that fit into one buffer together, and each larger member alone."""
    run: list[MemberLocation] = []
    for place in places:
        if run and end_of(place) - run[0].offset > BUFFER:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _is_right(descriptor: int, run: list[MemberLocation]) -> bool:
    """Whether neighbours, read at once, are what they should be."""
    start, last = run[0].offset - BLOCK, run[-1]
    try:
        data = os.pread(descriptor, last.offset + padded(last.blob.size) - start, start)
    except OSError:
        return False
    for place in run:
        at, size = place.offset - start, place.blob.size
        end, padding = at + size, padded(size) - size
        if data[at - BLOCK : at] != header(place.name, size) or data[end : end + padding] != bytes(padding):  # F-9.3
            return False
        if digest_of(data[at:end]) != place.blob.digest:  # F-9.4
            return False
    return True


def check_end(descriptor: int, bulk: Bulk, what: str) -> None:
    if not bulk.missing and os.pread(descriptor, len(END) + 1, bulk.length - len(END)) != END:
        raise damaged_error("the archive does not end with zeros", f"{what} at byte {bulk.length - len(END)}")


def damaged_file(descriptor: int, bulk: Bulk, ranges: list[DamagedRange], what: str) -> DamagedError:
    """The error that names each damaged range, and its use if the bundle's documents can be read."""
    from content.bundle.uses import uses_of

    places = {place.blob.digest: place for place in bulk.present}
    return damage(
        ranges, what, uses_of(bulk.release, lambda digest: read_blob(descriptor, places[digest], MAX_KEPT_BLOB))
    )


def lost_tail(bulk: Bulk) -> list[DamagedRange]:
    """The ranges of the missing members of a complete bundle that was cut short; empty for a delta."""
    places = complete_places(bulk.release)
    if not bulk.cut or places[: len(bulk.present)] != bulk.present:
        return []
    lost = places[len(bulk.present) :]
    return [damaged_range(place, max(place.offset - BLOCK, bulk.length), end_of(place), "cut-short") for place in lost]


def check_header(descriptor: int, place: MemberLocation) -> tuple[DamagedRange, ...]:
    return _compare(descriptor, place, place.offset - BLOCK, header(place.name, place.blob.size))


def check_padding(descriptor: int, place: MemberLocation) -> tuple[DamagedRange, ...]:
    size = place.blob.size
    return _compare(descriptor, place, place.offset + size, bytes(padded(size) - size))  # F-2.4


def _compare(descriptor: int, place: MemberLocation, start: int, expected: bytes) -> tuple[DamagedRange, ...]:
    """The damaged range if the bytes at ``start`` are not ``expected``."""
    end = start + len(expected)
    try:
        same = os.pread(descriptor, len(expected), start) == expected
    except OSError:
        return (damaged_range(place, start, end, "unreadable"),)
    return () if same else (damaged_range(place, start, end),)


def _check(
    descriptor: int, place: MemberLocation, advance: ProgressCallback, *, ahead: bool
) -> tuple[DamagedRange, ...]:
    """The damaged ranges of a member; ``ahead`` reads in a thread of its own."""
    if wrong := check_header(descriptor, place):
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
        # All bytes may be readable at the second attempt; the blob was still not hashed.
        stretches = unreadable(descriptor, at, end) or ((at, end),)
        return tuple(damaged_range(place, *stretch, "unreadable") for stretch in stretches)
    if at != end:
        return (damaged_range(place, at, end, "cut-short"),)
    if wrong := check_padding(descriptor, place):
        return wrong
    if place.blob.size >= BUFFER:
        os.posix_fadvise(descriptor, dropped, at - dropped, os.POSIX_FADV_DONTNEED)
    if "sha256:" + hashed.hexdigest() != place.blob.digest:  # F-9.4
        return (damaged_range(place, place.offset, end),)
    return ()


def _read(descriptor: int, place: MemberLocation) -> Iterator[memoryview]:
    """The blob's bytes through one buffer; fewer if the file ends early."""
    at, left = place.offset, place.blob.size
    view = memoryview(bytearray(min(BUFFER, max(left, 1))))
    while left and (count := os.preadv(descriptor, [view[: min(len(view), left)]], at)):
        yield view[:count]
        at += count
        left -= count


def _read_ahead(descriptor: int, place: MemberLocation) -> Iterator[memoryview]:
    with _ReadAhead(_Region(descriptor, place)) as source:
        yield from source.pieces(place.blob.size)


def read_blob(descriptor: int, place: MemberLocation, limit: int) -> bytes:
    """Read and hash a small member. Raises DamagedError if its bytes differ, MalformedError above ``limit``."""
    if place.blob.size > limit:
        raise MalformedError(f"{place.blob.size} bytes, at most {limit} are read", where=place.name)
    try:
        data = os.pread(descriptor, place.blob.size, place.offset)
    except OSError:
        raise damage([damaged_range(place, place.offset, end_of(place), "unreadable")], "bundle", {}) from None
    if digest_of(data) != place.blob.digest:
        raise damage([damaged_range(place, place.offset, end_of(place))], "bundle", {})
    return data


def verify_stream(
    stream: BinaryIO,
    release: Release,
    what: str,
    *,
    also: Callable[[bytes], bool] | None = None,
    advance: ProgressCallback,
) -> tuple[Bulk, SmallDocuments]:
    """Check the bulk from a pipe whose head was read; one thread reads, one hashes.

    ``also`` selects JSON objects that are kept besides manifests. Raises DamagedError at the first damage.
    """
    schema = release.config.schema if release.config is not None else None
    asked = (release.members[0], release.contract, release.rollback, release.sigstore, schema, *release.authorisations)
    kept = SmallDocuments(asked=frozenset(one.digest for one in asked if one is not None), also=also)
    present: list[MemberLocation] = []
    missing: list[Blob] = []
    wanted = enumerate(release.members)
    at = release.bulk_at
    cut = False
    place: MemberLocation | None = None
    with _ReadAhead(stream) as source:
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
                    raise _damaged_stream(release, kept, damaged_range(place, place.offset, end_of(place)), what)
                present.append(place)
                at += member_length(place.blob.size)
            if not cut and block + source.take(len(END)) != END:  # F-2.5
                raise damaged_error("the archive does not end where its last member does", f"{what} at byte {at}")
        except OSError:
            here = release.bulk_at + source.taken
            # A pipe cannot be read again: the rest of the member counts as unreadable.
            if place is not None and here < end_of(place):
                raise _damaged_stream(
                    release, kept, damaged_range(place, here, end_of(place), "unreadable"), what
                ) from None
            damaged = DamagedRange("the archive", "", here, here + BLOCK, "unreadable")
            raise _damaged_stream(release, kept, damaged, what) from None
        length = source.taken
    missing += [blob for _, blob in wanted]
    return make_bulk(release, present, missing, release.bulk_at + length, cut, what), kept


def _damaged_stream(release: Release, kept: SmallDocuments, damaged: DamagedRange, what: str) -> DamagedError:
    from content.bundle.uses import uses_of

    return damage([damaged], what, uses_of(release, kept.blobs.__getitem__))


def _check_stream(source: "_ReadAhead", place: MemberLocation, kept: SmallDocuments, advance: ProgressCallback) -> bool:
    """Whether digest and padding are right; after an early end ``source.ended`` is true."""
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
    """A read-only descriptor of the bundle; the caller closes it. Raises HostError for a pipe or a device."""
    return open_regular(path)


class _Region:
    """A blob of the bundle file as a stream."""

    def __init__(self, descriptor: int, place: MemberLocation) -> None:
        self._descriptor = descriptor
        self._at = place.offset
        self._end = place.offset + place.blob.size

    def read(self, count: int, /) -> bytes:
        data = os.pread(self._descriptor, min(count, self._end - self._at), self._at)
        self._at += len(data)
        return data


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes | None: ...


class _ReadAhead:
    """Reads a stream in a thread, up to four pieces ahead, so that reading and hashing overlap."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._pieces: queue.Queue[bytes | OSError] = queue.Queue(maxsize=4)
        self._rest = memoryview(b"")
        self.ended = False
        self.taken = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> "_ReadAhead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._pieces.get(timeout=0.05)
            except queue.Empty:
                if self._stop.is_set():
                    return  # blocked in read(): the thread is a daemon and ends with the stream

    def _fill(self) -> None:
        try:
            while not self._stop.is_set():
                piece = self._stream.read(BUFFER)
                self._pieces.put(piece or b"")
                if not piece:
                    return
        except OSError as error:
            self._pieces.put(error)

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Up to ``count`` bytes, fewer only when the stream ends."""
        while count and not self.ended:
            if not self._rest:
                piece = self._pieces.get()
                if isinstance(piece, OSError):
                    raise piece
                if not piece:
                    self.ended = True
                    return
                self._rest = memoryview(piece)
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            self.taken += len(part)
            yield part

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))
