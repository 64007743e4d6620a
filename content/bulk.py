"""The bulk of a bundle: everything after the head, each member named, sized and hashed by the trusted release.

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

from content.archive import BLOCK, END, header, member_length, padded, parse_header
from content.damage import Hurt, damage, unreadable
from manifests.digest import Blob, blob_name
from manifests.errors import DamagedError, HostError, MalformedError, RefusedError
from manifests.release import Release

BUFFER = 1 << 20
DROP_EVERY = 64 << 20
# What a pipe keeps in memory, because the graph of manifests can only be walked when all of it has been read.
MAX_KEPT_BLOB = 4 << 20
MAX_KEPT = 48 << 20

Advance = Callable[[int], None]


def no_progress(_: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Place:
    """Where a member's bytes begin in the bundle file; its header is the block before."""

    name: str
    blob: Blob
    offset: int


@dataclass(frozen=True)
class Bulk:
    """What of a release lies in a bundle.

    Attributes:
        present: Members that are there, in order.
        missing: Members that are not (a delta, or damage).
        length: Bytes of the whole bundle.
        cut: The archive ends before its end mark, so it is no delta, whatever the site holds.
    """

    release: Release
    present: tuple[Place, ...]
    missing: tuple[Blob, ...]
    length: int
    cut: bool = False


@dataclass
class Kept:
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


def member_name(index: int, blob: Blob) -> str:
    """The name of ``members[index]``: index.json, VERIFY.txt, then blobs by digest."""
    return ("index.json", "VERIFY.txt")[index] if index < 2 else blob_name(blob.digest)  # F-111


def bundle_length(release: Release) -> int:
    """Bytes of a complete bundle of ``release``."""
    return release.bulk_at + sum(member_length(one.size) for one in release.members) + len(END)


def complete_places(release: Release) -> tuple[Place, ...]:
    """Where everything is in a complete bundle; follows from ``release.json`` alone."""
    places = []
    at = release.bulk_at
    for i, blob in enumerate(release.members):
        places.append(Place(name=member_name(i, blob), blob=blob, offset=at + BLOCK))
        at += member_length(blob.size)
    return tuple(places)


def find_places(descriptor: int, release: Release, what: str) -> Bulk:
    """Which members a bundle file holds, from its length or, when that is not the complete one, from its headers.

    Raises:
        DamagedError: Something that is not a member in its place, or that does not end where its last member does.
        HostError: The medium cannot be read.
    """
    length = os.fstat(descriptor).st_size
    try:
        return _find_places(descriptor, release, length, what)
    except OSError as error:
        raise HostError(
            f"cannot be read: {(error.strerror or str(error)).lower()}",
            where=what,
            remedy="try another drive, or ask for the medium again",
            finding="medium-unreadable",
        ) from None


def _find_places(descriptor: int, release: Release, length: int, what: str) -> Bulk:
    if length == bundle_length(release):
        return Bulk(release=release, present=complete_places(release), missing=(), length=length)
    present: list[Place] = []
    missing: list[Blob] = []
    at = release.bulk_at
    wanted = enumerate(release.members)
    cut = False
    while True:
        if at + BLOCK > length:
            cut = True
            break
        block = os.pread(descriptor, BLOCK, at)
        if not block.strip(b"\0"):
            break
        place = _next_place(block, at, wanted, missing, what)
        if at + member_length(place.blob.size) > length:
            missing.append(place.blob)
            cut = True
            break
        present.append(place)
        at += member_length(place.blob.size)
    missing += [blob for _, blob in wanted]
    if not cut and os.pread(descriptor, len(END) + 1, at) != END:  # F-01
        raise _damaged("the archive does not end where its last member does", f"{what} at byte {at}")
    return _bulk(release, present, missing, length, cut, what)


def _next_place(block: bytes, at: int, wanted: Iterator[tuple[int, Blob]], missing: list[Blob], what: str) -> Place:
    """The member whose header is ``block``; those that ``wanted`` passes over on the way to it are missing."""
    name = _name_at(block, at, what)
    for i, blob in wanted:
        if member_name(i, blob) == name:
            break
        missing.append(blob)
    else:
        raise _damaged(f"{name} is not a member, or not in its place", f"{what} at byte {at}")  # F-110
    if block != header(name, blob.size):  # F-111
        raise _damaged(f"{name} has another size than the release says", f"{what} at byte {at}")
    return Place(name=name, blob=blob, offset=at + BLOCK)


def _bulk(release: Release, present: list[Place], missing: list[Blob], length: int, cut: bool, what: str) -> Bulk:
    if cut and not missing:  # F-114
        raise _damaged("the end of the archive is missing", what)
    return Bulk(release=release, present=tuple(present), missing=tuple(missing), length=length, cut=cut)


def _name_at(block: bytes, at: int, what: str) -> str:
    try:
        return parse_header(block, what)[0]
    except MalformedError:
        raise _damaged("a member's header was changed", f"{what} at byte {at}") from None


def _damaged(problem: str, where: str) -> DamagedError:
    return DamagedError(
        problem,
        where=where,
        remedy="accident and attack look alike here; ask for the medium again",
        finding="bulk-damaged",
    )


def verify_file(descriptor: int, bulk: Bulk, what: str, *, workers: int | None = None, advance: Advance) -> None:
    """Hash every member that is present, in parallel; the page cache of what was read is dropped.

    Raises:
        DamagedError: Naming the first blobs whose bytes are not what the release says, and where they lie.
    """
    largest_first = sorted(bulk.present, key=lambda place: -place.blob.size)
    workers = workers or os.cpu_count() or 1
    # With fewer large blobs than cores an idle core reads ahead for the one that hashes.
    ahead = sum(place.blob.size >= DROP_EVERY for place in bulk.present) < workers

    def check(place: Place) -> tuple[Hurt, ...]:
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
        raise _damaged("the archive does not end with zeros", f"{what} at byte {bulk.length - len(END)}")


def damaged_file(descriptor: int, bulk: Bulk, hurts: list[Hurt], what: str) -> DamagedError:
    """The failure that names each piece, also by what it is for as far as the bundle's own documents tell."""
    from content.uses import uses_of  # only a damaged bundle pays for it

    places = {place.blob.digest: place for place in bulk.present}
    return damage(
        hurts, what, uses_of(bulk.release, lambda digest: read_blob(descriptor, places[digest], MAX_KEPT_BLOB))
    )


def lost_tail(bulk: Bulk) -> list[Hurt]:
    """Where the missing members of a complete bundle that was cut short would lie; nothing for a delta."""
    places = complete_places(bulk.release)
    if not bulk.cut or places[: len(bulk.present)] != bulk.present:
        return []
    return [
        hurt_at(one, max(one.offset - BLOCK, bulk.length), _end(one), "cut-short")
        for one in places[len(bulk.present) :]
    ]


def hurt_at(place: Place, start: int, end: int, how: str = "changed") -> Hurt:
    return Hurt(place.name, place.blob.digest, start, end, how)


def _check_header(descriptor: int, place: Place) -> tuple[Hurt, ...]:
    start = place.offset - BLOCK
    try:
        same = os.pread(descriptor, BLOCK, start) == header(place.name, place.blob.size)
    except OSError:
        return (hurt_at(place, start, place.offset, "unreadable"),)
    return () if same else (hurt_at(place, start, place.offset),)


def _padding(descriptor: int, place: Place) -> tuple[Hurt, ...]:
    start, count = place.offset + place.blob.size, padded(place.blob.size) - place.blob.size
    if not count:
        return ()
    try:
        same = os.pread(descriptor, count, start) == bytes(count)  # F-04
    except OSError:
        return (hurt_at(place, start, start + count, "unreadable"),)
    return () if same else (hurt_at(place, start, start + count),)


def _check(descriptor: int, place: Place, advance: Advance, *, ahead: bool) -> tuple[Hurt, ...]:
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
    if "sha256:" + hashed.hexdigest() != place.blob.digest:  # F-112
        return (hurt_at(place, place.offset, end),)
    return ()


def _read(descriptor: int, place: Place) -> Iterator[memoryview]:
    """The blob's bytes through one buffer; fewer when the file ends before."""
    at, left = place.offset, place.blob.size
    view = memoryview(bytearray(min(BUFFER, max(left, 1))))
    while left and (count := os.preadv(descriptor, [view[: min(len(view), left)]], at)):
        yield view[:count]
        at += count
        left -= count


def _read_ahead(descriptor: int, place: Place) -> Iterator[memoryview]:
    with _ReadAhead(_Region(descriptor, place)) as source:
        yield from source.pieces(place.blob.size)


class _Region:
    """A blob of the bundle file as a stream."""

    def __init__(self, descriptor: int, place: Place) -> None:
        self._descriptor = descriptor
        self._at = place.offset
        self._end = place.offset + place.blob.size

    def read(self, count: int, /) -> bytes:
        data = os.pread(self._descriptor, min(count, self._end - self._at), self._at)
        self._at += len(data)
        return data


def read_blob(descriptor: int, place: Place, limit: int) -> bytes:
    """A small member's bytes, hashed in this very read. Raises DamagedError when they differ."""
    if place.blob.size > limit:
        raise MalformedError(f"{place.blob.size} bytes, at most {limit} are read", where=place.name)
    try:
        data = os.pread(descriptor, place.blob.size, place.offset)
    except OSError:
        raise damage([hurt_at(place, place.offset, _end(place), "unreadable")], "bundle", {}) from None
    if "sha256:" + hashlib.sha256(data).hexdigest() != place.blob.digest:
        raise damage([hurt_at(place, place.offset, place.offset + place.blob.size)], "bundle", {})
    return data


def verify_stream(
    stream: BinaryIO,
    release: Release,
    what: str,
    *,
    also: Callable[[bytes], bool] | None = None,
    advance: Advance,
) -> tuple[Bulk, Kept]:
    """Check the bulk from a pipe that stands right after the head; one thread reads, one hashes.

    Args:
        also: Which JSON objects are kept besides manifests.

    Raises:
        DamagedError: As for a file; reading stops at the first damage.
    """
    asked = frozenset((release.members[0].digest, release.contract.digest, release.rollback.digest))
    if release.sigstore is not None:
        asked |= {release.sigstore.digest}
    kept = Kept(asked=asked, also=also)
    present: list[Place] = []
    missing: list[Blob] = []
    wanted = enumerate(release.members)
    at = release.bulk_at
    cut = False
    place: Place | None = None
    with _ReadAhead(stream) as source:
        try:
            while True:
                block = source.take(BLOCK)
                cut = len(block) < BLOCK
                if cut or not block.strip(b"\0"):
                    break
                place = _next_place(block, at, wanted, missing, what)
                same = _check_stream(source, place, kept, advance)
                cut = source.ended
                if cut:
                    missing.append(place.blob)
                    break
                if not same:
                    raise _damaged_stream(release, kept, hurt_at(place, place.offset, _end(place)), what)
                present.append(place)
                at += member_length(place.blob.size)
            if not cut and block + source.take(len(END)) != END:  # F-01
                raise _damaged("the archive does not end where its last member does", f"{what} at byte {at}")
        except OSError:
            here = release.bulk_at + source.taken
            # A pipe cannot be read again: nothing is known from here to the end of the member.
            if place is not None and here < _end(place):
                raise _damaged_stream(release, kept, hurt_at(place, here, _end(place), "unreadable"), what) from None
            raise _damaged_stream(
                release, kept, Hurt("the archive", "", here, here + BLOCK, "unreadable"), what
            ) from None
        length = source.taken
    missing += [blob for _, blob in wanted]
    return _bulk(release, present, missing, release.bulk_at + length, cut, what), kept


def _end(place: Place) -> int:
    return place.offset + place.blob.size


def _damaged_stream(release: Release, kept: Kept, hurt: Hurt, what: str) -> DamagedError:
    from content.uses import uses_of  # only a damaged bundle pays for it

    return damage([hurt], what, uses_of(release, kept.blobs.__getitem__))


def _check_stream(source: "_ReadAhead", place: Place, kept: Kept, advance: Advance) -> bool:
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


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes | None: ...


class _ReadAhead:
    """Reads a stream in a thread, up to eight pieces ahead, so that hashing and reading overlap."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._pieces: queue.Queue[bytes | OSError] = queue.Queue(maxsize=8)
        self._now = memoryview(b"")
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
            if not self._now:
                piece = self._pieces.get()
                if isinstance(piece, OSError):
                    raise piece
                if not piece:
                    self.ended = True
                    return
                self._now = memoryview(piece)
            part = self._now[:count]
            self._now = self._now[len(part) :]
            count -= len(part)
            self.taken += len(part)
            yield part

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))


def open_bundle(path: Path) -> int:
    """A read-only descriptor of the bundle; the caller closes it."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
