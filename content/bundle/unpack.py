"""Unpack a compressed archive into a file without a name, so that it can be read like a plain one."""

import gzip
import os
import tempfile
import zlib
from pathlib import Path

from content.bundle.archive import BLOCK
from manifests.authored.named_file import open_named_file
from manifests.words.errors import DamagedError, HostError, MalformedError, unreadable
from manifests.words.packers import GZIP
from manifests.words.units import show_size

# A tar of programs shrinks to a third or so; a hundredth is a file that was made to fill the disk.
MAX_RATIO = 100
SPARE = 16 << 20
MAX_UNPACKED = 256 << 30
_PIECE = 1 << 20
_DESCRIPTORS = Path("/proc/self/fd")


class Scratch:
    """Room for unpacked archives in ``folder``. Leaving the context frees it; a killed process leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[int] = []

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop())

    def plain(self, path: Path) -> Path:
        """``path``, or what gzip makes of it where it is packed.

        Raises:
            MalformedError: It would unpack to too much.
            DamagedError: It is not gzip to its end.
            HostError: It cannot be read, or the disk is full.
        """
        try:
            with os.fdopen(open_named_file(path), "rb") as file:
                if file.read(len(GZIP)) != GZIP or not _DESCRIPTORS.is_dir():
                    return path
                packed = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise unreadable(error, str(path)) from None
        descriptor = self._unnamed()
        self._open.append(descriptor)
        self._unpack(path, packed, descriptor)
        return _DESCRIPTORS / str(descriptor)

    def _unnamed(self) -> int:
        try:
            return os.open(self._folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError:  # a file system that has no such files
            pass
        try:
            descriptor, name = tempfile.mkstemp(prefix=".waybill-", dir=self._folder)
        except OSError as error:
            raise self._full(error) from None
        Path(name).unlink()
        return descriptor

    def _unpack(self, path: Path, packed: int, descriptor: int) -> None:
        limit = min(MAX_UNPACKED, packed * MAX_RATIO + SPARE)
        done = 0
        try:
            with gzip.open(path, "rb") as file:
                while piece := file.read(_PIECE):
                    done += len(piece)
                    if done > limit:
                        problem = f"{packed} bytes unpack to more than {limit} ({show_size(limit)})"
                        remedy = "unpack it yourself if it is yours: gunzip FILE"
                        raise MalformedError(problem, where=str(path), remedy=remedy, finding="archive-too-large")
                    self._write(descriptor, piece)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            problem = f"cannot be unpacked: {str(error).lower()}"
            raise DamagedError(problem, where=str(path), finding="archive-damaged") from None
        except OSError as error:
            raise unreadable(error, str(path)) from None
        if done < BLOCK:
            raise MalformedError(f"unpacks to {done} bytes, expected a tar", where=str(path))

    def _write(self, descriptor: int, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            raise self._full(error) from None

    def _full(self, error: OSError) -> HostError:
        problem = f"cannot unpack an archive here: {(error.strerror or str(error)).lower()}"
        return HostError(problem, where=str(self._folder), remedy="make space, or unpack the archive elsewhere first")
