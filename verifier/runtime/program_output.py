"""Where the output of a program goes, and the result of a run."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from verifier.site.disk import Disk, write_all

ProgramEnd = Literal["done", "failed", "timed-out", "output-too-long", "killed"]
CHUNK = 1 << 20
KEPT_ERRORS = 4096


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended, and what it wrote.

    Attributes:
        code: The exit code; negative for the signal that ended it.
        output: The end of stdout; empty where stdout went to a file.
        size: Bytes of stdout; ``digest`` is over all of them.
        errors: The end of stderr as printable text, for people at the site.
    """

    outcome: ProgramEnd
    code: int
    seconds: float
    output: bytes
    size: int
    digest: str
    errors: str


class Sink(Protocol):
    """Where stdout goes, piece by piece."""

    def write(self, data: bytes) -> None: ...


class TailBuffer:
    """Keeps the last ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._most:
            del self._data[: len(self._data) - self._most]

    def __bytes__(self) -> bytes:
        return bytes(self._data)


class NewFile:
    """A file that must not exist yet. After ``finish`` its bytes are on disk; its name needs a sync of the folder."""

    def __init__(self, disk: Disk, path: Path, mode: int = 0o600) -> None:
        self._disk = disk
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = disk._effect("create", path, lambda: os.open(path, flags, mode))

    def __enter__(self) -> "NewFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        self._named("write", lambda: write_all(self._descriptor, data))

    def finish(self) -> None:
        self._named("sync", lambda: os.fsync(self._descriptor))

    def _named(self, kind: str, act: Callable[[], None]) -> None:
        try:
            self._disk._effect(kind, self._path, act)
        except OSError as error:
            # Errors of a descriptor do not name the file.
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def printable(data: bytes) -> str:
    """Return text that a terminal and the journal can show: one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in data.decode("utf-8", "replace")).strip()
