"""Everything a site ever changes on disk, so that tests can fail it, record it and lose what was not synced.

Each change of a file system is one ``_effect``. A file is synced through the descriptor that wrote it: an error of
the write-back is reported there and only once, and a failed sync is never tried again (fsync(2), since Linux 4.13).
"""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
STEP = 8 << 20
READ = 1 << 20
_NO_SHORTCUT = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


@dataclass(frozen=True)
class Space:
    """What one file system has left for this account; ``device`` tells file systems apart."""

    device: int
    bytes: int
    inodes: int
    block: int


class Disk:
    """The hands. Nothing here decides."""

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        """Do one change; tests override this and nothing else.

        Args:
            kind: ``create write append truncate sync sync-folder mkdir rename link symlink unlink rmdir copy``.
            path: What changes; for a rename the new name.
        """
        return act()

    def make_folder(self, path: Path, mode: int = 0o755, *, durable: bool = True) -> None:
        """The folder and whatever is missing above it; nothing happens when it is there.

        Args:
            durable: Sync each new entry. Needless for a folder that is renamed once it is filled.
        """
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for one in reversed(missing):
            self._make_one(one, mode)
            if durable:
                self.sync_folder(one.parent)

    def _make_one(self, path: Path, mode: int) -> None:
        self._effect("mkdir", path, lambda: path.mkdir(mode=mode))

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """A file that must not exist yet, its bytes synced; its name is durable once its folder is synced."""
        descriptor = self._effect(
            "create", path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        )
        try:
            self._effect("write", path, lambda: write_all(descriptor, data))
            self._effect("sync", path, lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """The file is old or new, never between, and durable on return."""
        staging = path.with_name(f".{path.name}.new")
        self.remove(staging)
        self.write_new(staging, data, mode)
        self.rename(staging, path)
        self.sync_folder(path.parent)

    def append(self, path: Path, data: bytes) -> None:
        """Durable on return. After an error the file is as long as before, unless that failed too."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            before = os.fstat(descriptor).st_size
            try:
                self._effect("append", path, lambda: write_all(descriptor, data))
                self._effect("sync", path, lambda: os.fsync(descriptor))
            except OSError:
                self._effect("truncate", path, lambda: os.ftruncate(descriptor, before))
                raise
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """What another process, now gone, wrote to the file is durable on return."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self._effect("sync", path, lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)

    def cut(self, path: Path, length: int) -> None:
        """The file's first ``length`` bytes, durable on return."""
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            self._effect("truncate", path, lambda: os.ftruncate(descriptor, length))
            self._effect("sync", path, lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)

    def link(self, source: Path, path: Path) -> None:
        """A second name for the file, durable once its folder is synced; a name that is there is replaced."""
        staging = path.with_name(f".{path.name}.new")
        self.remove(staging)
        self._effect("link", staging, lambda: staging.hardlink_to(source))
        self.rename(staging, path)
        # rename(2) does nothing when both names are the same file already.
        self.remove(staging)

    def rename(self, old: Path, new: Path) -> None:
        self._effect("rename", new, lambda: old.rename(new))

    def sync_folder(self, path: Path) -> None:
        """What was created, renamed and removed in the folder is durable on return."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._effect("sync-folder", path, lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)

    def point(self, link: Path, target: str) -> None:
        """The symbolic link is old or new, never missing, and durable on return: the one atomic point."""
        staging = link.with_name(f".{link.name}.new")
        self.remove(staging)
        self._effect("symlink", staging, lambda: staging.symlink_to(target))
        self.rename(staging, link)
        self.sync_folder(link.parent)

    def remove(self, path: Path) -> None:
        """A file or link, if it is there."""
        if path.is_symlink() or path.exists():
            self._effect("unlink", path, path.unlink)

    def remove_tree(self, path: Path) -> None:
        """A folder and all below it, if it is there; links are removed, never followed."""
        if path.is_symlink() or path.is_file():
            self.remove(path)
            return
        if not path.is_dir():
            return
        for one in sorted(path.iterdir()):
            self.remove_tree(one)
        self._effect("rmdir", path, path.rmdir)

    def reserve(self, path: Path, size: int) -> None:
        """Blocks set aside for a bad day; ENOSPC when they are not there."""
        descriptor = self._effect(
            "create", path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        )
        try:
            if size:
                self._effect("write", path, lambda: os.posix_fallocate(descriptor, 0, size))
            self._effect("sync", path, lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)

    def copy(
        self,
        source: int,
        offset: int,
        size: int,
        path: Path,
        told: Callable[[int], None] = lambda _: None,
        mode: int = 0o444,
    ) -> str:
        """Copy ``size`` bytes at ``offset`` of ``source`` to a new file; the digest of the copy, which is synced.

        What is hashed is what was written, so it does not matter what the source returns the next time it is read.
        A source that ends early gives a shorter file and so another digest.
        """
        descriptor = self._effect(
            "create", path, lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        )
        try:
            digest = self._effect("copy", path, lambda: _copy(source, offset, size, descriptor, told))
            self._effect("sync", path, lambda: os.fdatasync(descriptor))
        finally:
            os.close(descriptor)
        return digest

    def space(self, path: Path) -> Space:
        """What is left where ``path`` is, or will be."""
        while not path.exists():
            path = path.parent
        found = os.statvfs(path)
        # Some file systems have no inode table and say 0 of 0.
        inodes = found.f_favail if found.f_files else 1 << 62
        return Space(
            device=path.stat().st_dev, bytes=found.f_bavail * found.f_frsize, inodes=inodes, block=found.f_frsize
        )


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy(source: int, offset: int, size: int, target: int, told: Callable[[int], None]) -> str:
    """In steps, each hashed from the copy while it is still in memory and then handed to write-back early.

    The early write-out is what makes the sync at the end short: DONTNEED starts the write-back of dirty pages and
    drops only clean ones (mm/fadvise.c), and Python has no sync_file_range.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(READ, max(size, 1))))
    at = 0
    while at < size:
        count = _move(source, offset + at, min(STEP, size - at), target, at)
        if count == 0:
            break
        end = at + count
        hashed = at
        while hashed < end:
            got = os.preadv(target, [buffer[: min(len(buffer), end - hashed)]], hashed)
            if got == 0:
                break
            digest.update(buffer[:got])
            hashed += got
        os.posix_fadvise(target, at, count, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(source, offset + at, count, os.POSIX_FADV_DONTNEED)
        told(count)
        at = end
    return "sha256:" + digest.hexdigest()


def _move(source: int, offset: int, count: int, target: int, at: int) -> int:
    """Up to ``count`` bytes without passing through this process: inside one file system, else across two."""
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
