"""Open the files that collectors read: regular files only, never through a link, never waiting."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from content.telemetry.counted import MISSING, UNREADABLE
from manifests.words.digest import digest_of
from verifier.collecting.kept import MAX_HEAD, FileProgress

CHUNK = 256 << 10


class SourceError(Exception):
    """A source gave nothing, or not all.

    Attributes:
        reason: As reports state it.
        detail: For people at the site; it never leaves the site.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class OpenedFile:
    """A regular file that is open for reading.

    Attributes:
        size: When it was opened; what is appended later is read by the next run.
        changed: Time of its last change in nanoseconds.
    """

    descriptor: int
    inode: str
    size: int
    changed: int

    def head(self, length: int) -> str:
        """Return the digest of the first ``length`` bytes."""
        return digest_of(os.pread(self.descriptor, length, 0))

    def chunks(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` to the size that the file had when it was opened."""
        while offset < self.size:
            chunk = os.pread(self.descriptor, min(CHUNK, self.size - offset), offset)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def progress(self, offset: int) -> FileProgress:
        """Return how far the file was read, with what tells it from another file of the same number."""
        length = min(MAX_HEAD, self.size, offset)
        return FileProgress(inode=self.inode, head=self.head(length), head_bytes=length, offset=offset)

    def is_file_of(self, progress: FileProgress) -> bool:
        return self.inode == progress.inode and self.head(progress.head_bytes) == progress.head


@contextmanager
def opened(path: str | Path, folder: int | None = None) -> Iterator[OpenedFile]:
    """Open a file below ``folder``, a descriptor.

    Raises:
        SourceError: It is missing, a link, a pipe, a device or a folder, or this account may not read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise SourceError(MISSING, f"{path}: no such file") from None
    except OSError as error:
        raise SourceError(UNREADABLE, f"{path}: {_why(error)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(UNREADABLE, f"{path}: not a file")
        yield OpenedFile(descriptor, f"{status.st_ino:x}", status.st_size, status.st_mtime_ns)
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    """Return why a file could not be opened; ELOOP is what O_NOFOLLOW gives for a link."""
    text = os.strerror(error.errno or 0).lower()
    return "a link, which is not followed" if "symbolic link" in text else text
