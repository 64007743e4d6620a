"""Write a bundle: the bulk first, hashed while it is copied, then the head, then the name.

Each byte of a source is read once and written once. Threads copy whole blobs, the largest first, each to its planned
place. Where the kernel can copy (copy_file_range, inside one file system) the digest is taken over the copy, which is
still in memory; elsewhere over the buffer that is written. Nothing is signed before that is done, and the file gets its
name only when all of it is on the disk.
"""

import errno
import hashlib
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.parts import FetchedPart, HeldPart, Part
from content.bundle.archive import BLOCK, END, header, member_length
from content.bundle.layout import Extent
from content.bundle.places import member_name
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError
from manifests.words.units import show_size

BUFFER = 1 << 20
STEP = 8 << 20
MAX_THREADS = 4
# Another file system, or one that cannot: then the bytes pass through our own buffer.
_NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM})


@dataclass(frozen=True, slots=True)
class PlacedMember:
    """A member and where its header begins in the bundle."""

    name: str
    part: Part
    at: int


@dataclass(frozen=True)
class BulkPlan:
    """Where each member begins; ``placed`` is in the bundle's order, ``length`` is the whole bundle's, in bytes."""

    placed: tuple[PlacedMember, ...]
    bulk_at: int
    length: int


def plan_bulk(members: tuple[Part, ...], bulk_at: int) -> BulkPlan:
    """Give each member its place; ``members`` are in order, index.json and VERIFY.txt first."""
    placed = []
    at = bulk_at
    for i, part in enumerate(members):
        placed.append(PlacedMember(name=member_name(i, part.blob), part=part, at=at))
        at += member_length(part.blob.size)
    return BulkPlan(placed=tuple(placed), bulk_at=bulk_at, length=at + len(END))


def check_free_space(folder: Path, length: int) -> None:
    """Raise HostError, with numbers, unless ``folder`` has room for ``length`` bytes."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise HostError((error.strerror or str(error)).lower(), where=str(folder)) from None
    free = disk.f_bavail * disk.f_frsize
    if free < length:
        problem = f"the bundle needs {length} bytes ({show_size(length)}), {free} ({show_size(free)}) are free"
        remedy = "make space, or choose another folder with -o"
        raise HostError(problem, where=str(folder), remedy=remedy, finding="disk-full")


def write_bundle(out: Path, plan: BulkPlan, make_head: Callable[[], bytes], advance: Callable[[int], None]) -> None:
    """Write the bundle that ``plan`` describes to ``out``, which must not exist.

    Args:
        make_head: Called when the last byte of the bulk was read; gives exactly ``plan.bulk_at`` bytes.
        advance: Called with the size of every piece of the bulk that was written.

    Raises:
        DamagedError: A source's bytes are not what its digest says; it is named.
        HostError: The disk is full or fails.
        RefusedError: ``out`` exists.
    """
    refuse_existing(out)
    check_free_space(out.parent, plan.length)
    try:
        with _unnamed(out) as (descriptor, name_it):
            _reserve(descriptor, plan.length, out)
            _write_bulk(descriptor, plan, advance)
            head = make_head()
            assert len(head) == plan.bulk_at
            _write_at(descriptor, head, 0)
            os.fsync(descriptor)
            name_it()
        folder = os.open(out.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        problem = f"cannot write: {(error.strerror or str(error)).lower()}"
        remedy = "build again, or choose another folder with -o; no partial file is left"
        raise HostError(problem, where=str(out), remedy=remedy) from None


def refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        remedy = "move it away, or choose another name with -o"
        raise RefusedError("exists already", where=str(out), remedy=remedy, finding="exists")


@contextmanager
def _unnamed(out: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """A file beside ``out`` that disappears unless the function given with it is called.

    A file without a name (O_TMPFILE) disappears even when the process is killed; where the file system has no such
    files, it gets a hidden name.
    """
    temporary: Path | None = None
    try:
        Path("/proc/self/fd").stat()
        descriptor = os.open(out.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o644)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
        temporary = Path(name)

    def name_it() -> None:
        os.fchmod(descriptor, 0o644)
        try:
            # Unlike a rename, a link never replaces what somebody put there meanwhile.
            if temporary is not None:
                os.link(temporary, out)
            else:  # Python follows the link in /proc only when a folder is given, which an absolute path overrides
                os.link(f"/proc/self/fd/{descriptor}", out, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError:
            refuse_existing(out)
        except OSError:
            if temporary is None:
                raise
            refuse_existing(out)  # FAT has no links
            temporary.rename(out)

    try:
        yield descriptor, name_it
    finally:
        os.close(descriptor)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _reserve(descriptor: int, length: int, out: Path) -> None:
    """Reserve the space before the first byte: a full disk shows early, and writing is faster."""
    try:
        os.posix_fallocate(descriptor, 0, length)
    except OSError as error:
        problem = f"cannot reserve {length} bytes ({show_size(length)}): {(error.strerror or str(error)).lower()}"
        remedy, finding = "make space, or choose another folder with -o", "disk-full"
        if error.errno == errno.EFBIG:
            remedy = "choose a folder with -o on a file system that takes such files: FAT ends at 4 GiB, exFAT does not"
            finding = "file-too-large"
        raise HostError(problem, where=str(out.parent), remedy=remedy, finding=finding) from None


def _write_bulk(descriptor: int, plan: BulkPlan, advance: Callable[[int], None]) -> None:
    """Write all members in threads. Padding and end are zeros, which the reserved file holds already."""
    waiting = deque(sorted(plan.placed, key=lambda member: -member.part.blob.size))
    stop = threading.Event()

    def work() -> None:
        buffer = bytearray(BUFFER)
        try:
            while not stop.is_set():
                try:
                    member = waiting.popleft()
                except IndexError:
                    return
                _write_member(descriptor, member, buffer, stop, advance)
        except BaseException:
            stop.set()
            raise

    threads = min(MAX_THREADS, os.cpu_count() or 1, len(plan.placed))
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()


def _write_member(
    descriptor: int, member: PlacedMember, buffer: bytearray, stop: threading.Event, advance: Callable[[int], None]
) -> None:
    """Header and bytes of one member, hashed; raises DamagedError when size or digest differ."""
    blob = member.part.blob
    _write_at(descriptor, header(member.name, blob.size), member.at)
    hashed = hashlib.sha256()
    at = begun = member.at + BLOCK
    end = at + blob.size
    for piece in _copied(descriptor, member.part, buffer, at):
        if stop.is_set():
            return
        if at + len(piece) > end:
            raise _damaged(member.part, f"has more than {blob.size} bytes")
        hashed.update(piece)
        at += len(piece)
        advance(len(piece))
        if at - begun >= STEP:
            # Linux begins to write these pages out now; the sync at the end then waits for little.
            os.posix_fadvise(descriptor, begun, at - begun, os.POSIX_FADV_DONTNEED)
            begun = at
    if at != end:
        raise _damaged(member.part, f"has {blob.size - (end - at)} bytes, expected {blob.size}")
    if f"sha256:{hashed.hexdigest()}" != blob.digest:
        raise _damaged(member.part, f"has bytes with sha256:{hashed.hexdigest()}")


def _copied(descriptor: int, part: Part, buffer: bytearray, at: int) -> Iterator[bytes | memoryview]:
    """Copy a part to ``at`` and give its bytes as they were written, piece by piece.

    A piece that would reach beyond the part's size is given and not written.
    """
    end = at + part.blob.size
    if isinstance(part.origin, Extent) and part.blob.size > BUFFER:
        try:
            yield from _kernel_copied(descriptor, part.origin, buffer, at)
        except _CannotError:
            pass
        else:
            return
    for piece in _pieces(part, buffer):
        if at + len(piece) <= end:
            _write_at(descriptor, piece, at)
        at += len(piece)
        yield piece


class _CannotError(Exception):
    """The kernel cannot copy between these two files; nothing was copied yet."""


def _kernel_copied(descriptor: int, extent: Extent, buffer: bytearray, at: int) -> Iterator[memoryview]:
    """Let the kernel copy ``extent`` to ``at``; give the bytes as they are read back from the copy.

    Raises _CannotError before the first byte.
    """
    view = memoryview(buffer)
    source = _open_source(extent)
    try:
        done = 0
        while done < extent.size:
            step = min(STEP, extent.size - done)
            try:
                count = os.copy_file_range(source, descriptor, step, extent.offset + done, at + done)
            except OSError as error:
                if not done and error.errno in _NO_KERNEL_COPY:
                    raise _CannotError from None
                raise
            if not count:
                if not done:  # some file systems say so instead of refusing
                    raise _CannotError
                return
            copied = done + count
            while done < copied:
                read = os.preadv(descriptor, [view[: min(len(view), copied - done)]], at + done)
                yield view[:read]
                done += read
            # Asks the kernel to begin writing these pages out, so that the final fsync has little to wait for.
            os.posix_fadvise(descriptor, at + copied - count, count, os.POSIX_FADV_DONTNEED)
        if extent.whole and os.fstat(source).st_size > extent.size:
            yield view[:1]  # one byte too many: it has grown
    finally:
        os.close(source)


def _pieces(part: Part, buffer: bytearray) -> Iterator[bytes | memoryview]:
    """The bytes of a part; a piece is valid until the next one is requested."""
    origin = part.origin
    if isinstance(origin, HeldPart):
        yield origin.data
    elif isinstance(origin, FetchedPart):
        yield from origin.open()
    else:
        yield from _read(origin, buffer)


def _read(extent: Extent, buffer: bytearray) -> Iterator[memoryview]:
    view = memoryview(buffer)
    source = _open_source(extent)
    try:
        offset = extent.offset
        # One byte more than there should be shows a file that has grown.
        left = extent.size + (1 if extent.whole else 0)
        while left:
            try:
                count = os.preadv(source, [view[: min(left, len(view))]], offset)
            except OSError as error:
                raise _unreadable(extent, error) from None
            if not count:
                break
            yield view[:count]
            offset += count
            left -= count
    finally:
        os.close(source)


def _open_source(extent: Extent) -> int:
    try:
        source = os.open(extent.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(extent, error) from None
    os.posix_fadvise(source, extent.offset, extent.size, os.POSIX_FADV_SEQUENTIAL)
    return source


def _unreadable(extent: Extent, error: OSError) -> HostError:
    return HostError(f"cannot read: {(error.strerror or str(error)).lower()}", where=str(extent.path))


def _write_at(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view = view[count:]
        at += count


def _damaged(part: Part, problem: str) -> DamagedError:
    remedy = "repair the source, and let nothing change it while it is packed; then build again"
    return DamagedError(f"{part.blob.digest} {problem}", where=part.where, remedy=remedy, finding="source-damaged")


def held_part(data: bytes, where: str) -> Part:
    """A member that is made here, in memory."""
    return Part(blob=Blob(digest=digest_of(data), size=len(data)), origin=HeldPart(data), where=where, document=True)
