"""Every change that a site makes on disk. Tests make each one fail, and lose what is not synced.

Each change of the file system is one ``_effect``. A file is synced through the descriptor that wrote it: the kernel
reports a write error there, and only once. A failed sync is never tried again (fsync(2), since Linux 4.13).
"""

import errno
import fcntl
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from manifests.words.errors import HostError
from manifests.words.progress import ProgressCallback, no_progress

T = TypeVar("T")
STEP = 8 << 20
READ = 1 << 20
# Long enough that the disk's latency does not count, short enough for the memory of several copies at once.
DIRECT = 4 << 20
_NO_SHORTCUT = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


@dataclass(frozen=True)
class Space:
    """Free space of one file system for this account; ``device`` identifies the file system."""

    device: int
    bytes: int
    inodes: int
    block: int


@dataclass(frozen=True)
class Source:
    """``size`` bytes at ``offset`` of an open file; ``on_progress`` is called with the number of bytes copied."""

    descriptor: int
    offset: int
    size: int
    on_progress: ProgressCallback = no_progress


class CopiedBytes:
    """The bytes of a copy while it is made: each piece is in the new file and hashed before it is given out.

    Iterating makes the copy go on. A piece is valid until the next one is asked for. Whoever stops early gets no more
    bytes; the copy is made nevertheless.
    """

    def __init__(self, source: Source, target: int, *, direct: bool = False) -> None:
        self._hash = hashlib.sha256()
        self._pieces = self._copy_direct(source, target) if direct else self._copy(source, target)
        self._failure: OSError | None = None

    def __iter__(self) -> Iterator[memoryview]:
        """Raises HostError when medium or disk fail, so that no HTTP library takes it for a failure of the network."""
        try:
            # Not `yield from`: whoever stops early would close the copy itself.
            for piece in self._pieces:  # noqa: UP028
                yield piece
        except OSError as error:
            self._failure = error
            raise HostError(f"the copy failed: {error.strerror or error}", finding="copy-failed") from error

    @property
    def digest(self) -> str:
        """The digest of the bytes copied so far."""
        return "sha256:" + self._hash.hexdigest()

    def finish(self) -> None:
        """Copy what is left. Raises OSError also for a failure that somebody who iterated has seen already."""
        for _ in self._pieces:
            pass
        if self._failure is not None:
            raise self._failure

    def _copy(self, source: Source, target: int) -> Iterator[memoryview]:
        """Copy in steps. Each is hashed from the copy while it is in memory, and its write-back is started at once.

        The early write-back keeps the sync at the end short: DONTNEED starts the write-back of dirty pages and
        drops only clean ones (mm/fadvise.c), and Python has no sync_file_range.
        """
        buffer = memoryview(bytearray(min(READ, max(source.size, 1))))
        at = 0
        while at < source.size:
            count = _move(source.descriptor, source.offset + at, min(STEP, source.size - at), target, at)
            if count == 0:
                break
            end = at + count
            hashed = at
            while hashed < end:
                got = os.preadv(target, [buffer[: min(len(buffer), end - hashed)]], hashed)
                if got == 0:
                    break
                self._hash.update(buffer[:got])
                yield buffer[:got]
                hashed += got
            os.posix_fadvise(target, at, count, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(source.descriptor, source.offset + at, count, os.POSIX_FADV_DONTNEED)
            source.on_progress(count)
            at = end

    def _copy_direct(self, source: Source, target: int) -> Iterator[memoryview]:
        """Copy through one buffer that is written around the page cache: nobody reads the copy again soon.

        A piece is written while it is hashed and given out.
        """
        # Of whole pages, as O_DIRECT needs it.
        buffer = memoryview(mmap.mmap(-1, DIRECT))
        at = 0
        with ThreadPoolExecutor(max_workers=1) as writer:
            while at < source.size and (piece := _read_full(source, at, buffer)):
                written = writer.submit(_write_direct, target, piece, at)
                self._hash.update(piece)
                yield piece
                written.result()
                os.posix_fadvise(source.descriptor, source.offset + at, len(piece), os.POSIX_FADV_DONTNEED)
                source.on_progress(len(piece))
                at += len(piece)


# Gets the bytes of a copy while it is made. Never raises for a failure of its own; may stop before the end.
Receiver = Callable[[CopiedBytes], None]


class Disk:
    """Changes files. Makes no decisions."""

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        """Make one change. Tests override only this method.

        Args:
            kind: ``create write append truncate sync sync-folder mkdir chmod rename link symlink unlink rmdir copy``.
            path: What changes; for a rename the new name.
        """
        return act()

    def make_folder(self, path: Path, mode: int = 0o755, *, durable: bool = True, exact: bool = False) -> None:
        """Create the folder and its missing parents. An existing folder is no error, and keeps its mode.

        Args:
            durable: Sync each new entry. Not needed for a folder that is renamed after it is filled.
            exact: Give each new folder exactly ``mode``, whatever the umask is: another account has to enter it.
        """
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            self._effect("mkdir", folder, partial(folder.mkdir, mode=mode))
            if exact:
                self.set_mode(folder, mode)
            if durable:
                self.sync_folder(folder.parent)

    def set_mode(self, path: Path, mode: int) -> None:
        """Set exactly ``mode``, whatever the umask is."""
        if stat.S_IMODE(path.stat().st_mode) != mode:
            self._effect("chmod", path, lambda: path.chmod(mode))

    @contextmanager
    def _create(self, path: Path, mode: int, access: int = os.O_WRONLY) -> Iterator[int]:
        flags = access | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = self._effect("create", path, lambda: os.open(path, flags, mode))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Write a file that must not exist yet, its bytes synced. Its name is durable after its folder is synced."""
        with self._create(path, mode) as descriptor:
            self._effect("write", path, lambda: write_all(descriptor, data))
            self._effect("sync", path, lambda: os.fsync(descriptor))

    def write(self, path: Path, data: bytes, mode: int = 0o644, *, exact: bool = False) -> None:
        """Replace a file atomically and durably; ``exact`` as in ``make_folder``."""
        staging = path.with_name(f".{path.name}.new")
        self.remove(staging)
        self.write_new(staging, data, mode)
        if exact:
            self.set_mode(staging, mode)
        self.rename(staging, path)
        self.sync_folder(path.parent)

    def append(self, path: Path, data: bytes) -> None:
        """Append durably. After an error the file is as long as before, unless truncating it failed too."""
        with _opened(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW) as descriptor:
            before = os.fstat(descriptor).st_size
            try:
                self._effect("append", path, lambda: write_all(descriptor, data))
                self._effect("sync", path, lambda: os.fsync(descriptor))
            except OSError:
                self._effect("truncate", path, lambda: os.ftruncate(descriptor, before))
                raise

    def sync(self, path: Path) -> None:
        """Make durable what an earlier process wrote to the file."""
        with _opened(path, os.O_RDONLY | os.O_NOFOLLOW) as descriptor:
            self._effect("sync", path, lambda: os.fsync(descriptor))

    def cut(self, path: Path, length: int) -> None:
        """Truncate the file to its first ``length`` bytes, durably."""
        with _opened(path, os.O_WRONLY | os.O_NOFOLLOW) as descriptor:
            self._effect("truncate", path, lambda: os.ftruncate(descriptor, length))
            self._effect("sync", path, lambda: os.fsync(descriptor))

    def link(self, source: Path, path: Path) -> None:
        """Give the file a second name, durable after its folder is synced. An existing name is replaced."""
        staging = path.with_name(f".{path.name}.new")
        self.remove(staging)
        self._effect("link", staging, lambda: staging.hardlink_to(source))
        self.rename(staging, path)
        # rename(2) does nothing when both names are the same file already.
        self.remove(staging)

    def rename(self, old: Path, new: Path) -> None:
        self._effect("rename", new, lambda: old.rename(new))

    def sync_folder(self, path: Path) -> None:
        """Make durable what was created, renamed and removed in the folder."""
        with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            self._effect("sync-folder", path, lambda: os.fsync(descriptor))

    def point(self, link: Path, target: str) -> None:
        """Replace a symbolic link atomically and durably. The switch to a generation is this one call.

        Raises HostError where a folder lies in its place, which nothing here made: its content is somebody's.
        """
        if link.is_dir() and not link.is_symlink():
            remedy = f"move it away, then run the command again: mv {link} {link}.kept"
            raise HostError("a folder lies here, expected a link", where=str(link), remedy=remedy)
        staging = link.with_name(f".{link.name}.new")
        self.remove(staging)
        self._effect("symlink", staging, lambda: staging.symlink_to(target))
        self.rename(staging, link)
        self.sync_folder(link.parent)

    def remove(self, path: Path) -> None:
        """Remove a file or link, if it exists."""
        if path.is_symlink() or path.exists():
            self._effect("unlink", path, path.unlink)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and everything below it, if it exists. Links are removed, never followed."""
        if path.is_symlink() or path.is_file():
            self.remove(path)
            return
        if not path.is_dir():
            return
        with os.scandir(path) as entries:
            # Memory: names alone; a path for each of many files would take ten times as much.
            names = sorted(entry.name for entry in entries)
        for name in names:
            self.remove_tree(path / name)
        self._effect("rmdir", path, path.rmdir)

    def reserve(self, path: Path, size: int) -> None:
        """Create a file of allocated blocks. Raises OSError (ENOSPC) when they do not fit."""
        with self._create(path, 0o600) as descriptor:
            if size:
                self._effect("write", path, lambda: os.posix_fallocate(descriptor, 0, size))
            self._effect("sync", path, lambda: os.fsync(descriptor))

    def copy(self, source: Source, path: Path, mode: int = 0o444, receive: Receiver | None = None) -> str:
        """Copy ``source`` to a new file, synced; return the digest of the copy.

        The copy is hashed, not the source, which could return other bytes the next time. A source that ends early gives
        a shorter file, and so another digest. ``receive`` gets the same bytes meanwhile; it never delays the end.
        """
        with self._create(path, mode, os.O_RDWR) as descriptor:
            direct = receive is not None and _set_direct(descriptor, on=True)
            copied = CopiedBytes(source, descriptor, direct=direct)
            digest = self._effect("copy", path, lambda: _copied(copied, receive))
            self._effect("sync", path, lambda: os.fdatasync(descriptor))
        return digest

    def space(self, path: Path) -> Space:
        """Return the free space where ``path`` is, or will be."""
        while not path.exists():
            path = path.parent
        usage = os.statvfs(path)
        # Some file systems have no inode table and say 0 of 0.
        inodes = usage.f_favail if usage.f_files else 1 << 62
        return Space(
            device=path.stat().st_dev, bytes=usage.f_bavail * usage.f_frsize, inodes=inodes, block=usage.f_frsize
        )


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _copied(copied: CopiedBytes, receive: Receiver | None) -> str:
    """Copy to the end, whatever part of it ``receive`` takes; return the digest of the copy."""
    if receive is not None:
        receive(copied)
    copied.finish()
    return copied.digest


def _set_direct(descriptor: int, *, on: bool) -> bool:
    """Let writes go around the page cache, or through it again; return whether the file system takes that."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True


def _read_full(source: Source, at: int, buffer: memoryview) -> memoryview:
    """Fill the buffer from the source; less only at the end."""
    wanted, got = min(len(buffer), source.size - at), 0
    while got < wanted and (count := os.preadv(source.descriptor, [buffer[got:wanted]], source.offset + at + got)):
        got += count
    return buffer[:got]


def _write_direct(target: int, piece: memoryview, at: int) -> None:
    """Write whole pages around the page cache; the rest, and what the file system does not take so, through it."""
    written = 0
    if len(piece) % mmap.PAGESIZE == 0:
        try:
            written = os.pwrite(target, piece, at)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    if written < len(piece):
        _set_direct(target, on=False)
    while written < len(piece):
        written += os.pwrite(target, piece[written:], at + written)


def _move(source: int, offset: int, count: int, target: int, at: int) -> int:
    """Copy up to ``count`` bytes in the kernel where it can; return how many."""
    moved = 0
    try:
        while moved < count:
            got = os.copy_file_range(source, target, count - moved, offset + moved, at + moved)
            if got == 0:
                break
            moved += got
        if moved:
            return moved
    except OSError as error:
        if error.errno not in _NO_SHORTCUT:
            raise
    os.lseek(target, at + moved, os.SEEK_SET)
    try:
        while moved < count:
            got = os.sendfile(target, source, offset + moved, count - moved)
            if got == 0:
                break
            moved += got
    except OSError as error:
        if error.errno not in _NO_SHORTCUT:
            raise
        while moved < count:
            chunk = os.pread(source, min(READ, count - moved), offset + moved)
            if not chunk:
                break
            write_all(target, chunk)
            moved += len(chunk)
    return moved
