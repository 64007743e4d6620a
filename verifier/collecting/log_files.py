"""Read a log file on from where the last run stopped, through rotation and truncation.

Nothing that was written before the first look is read. A rotated file is found beside the new one by its inode, with a
number or a date at the end of its name, and read to its end first.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from content.telemetry.container_log import ContainerLog
from content.telemetry.counted import GAP, MALFORMED
from verifier.collecting.kept import FileProgress
from verifier.collecting.look import Look
from verifier.collecting.opened_files import CHUNK, OpenedFile, SourceError, opened

# Names beside the log that are looked at for the rotated file.
MAX_BESIDE = 1000
_ROTATED = re.compile(r"[.-][0-9][0-9T.-]{0,30}")


def read_log(path: Path, before: FileProgress | None, look: Look, *, container: bool = False) -> FileProgress:
    """Feed what was appended since ``before``; return how far the log was read.

    Args:
        before: None for the first look, which reads nothing and begins at the end.

    Raises:
        SourceError: The file cannot be read; nothing was fed.
    """
    with opened(path) as current:
        if before is None:
            look.begin()
            return current.progress(_end_of_lines(current))
        if current.is_file_of(before) and before.offset <= current.size:
            return _read(current, before.offset, look, container=container)
        if current.inode == before.inode:
            # Truncated in place, as `copytruncate` does: what was written between the last look and that is lost.
            look.collector.drop(GAP)
            return _read(current, 0, look, container=container)
        rotated = _rotated_files(path, before)
        if not rotated:
            look.collector.drop(GAP)
        for i, name in enumerate(rotated):
            try:
                with opened(name) as file:
                    reached = _read(file, before.offset if i == 0 else 0, look, container=container, ended=True)
            except SourceError:
                look.collector.drop(GAP)
                continue
            if look.unfinished:
                return reached
        return _read(current, 0, look, container=container)


def _read(file: OpenedFile, offset: int, look: Look, *, container: bool, ended: bool = False) -> FileProgress:
    """Feed the file from ``offset``.

    Args:
        ended: Nothing is appended any more, so that its last line counts without a line break.
    """
    look.begin()
    decoder = ContainerLog() if container else None
    fed, chunk = 0, b"\n"
    for chunk in file.chunks(offset):
        fed += len(chunk)
        look.feed(chunk if decoder is None else decoder.feed(chunk))
        if not look.take(chunk):
            break
    if ended and not look.unfinished and not chunk.endswith(b"\n"):
        look.feed(b"\n" if decoder is None else decoder.feed(b"\n"))
    if decoder is not None:
        if look.unfinished and not decoder.consumed:
            look.feed(decoder.give_up())
        if decoder.malformed:
            look.collector.drop(MALFORMED, decoder.malformed)
    look.collector.end()
    consumed = look.collector.consumed if decoder is None else decoder.consumed
    return file.progress(offset + min(consumed, fed))


def _rotated_files(path: Path, before: FileProgress) -> tuple[Path, ...]:
    """Return the file that was read last under its new name, and those that were rotated after it, in that order."""
    beside = sorted(_beside(path))[-MAX_BESIDE:]
    for i, (_, inode, name) in enumerate(beside):
        if inode == before.inode:
            with suppress(SourceError), opened(path.with_name(name)) as file:
                if file.is_file_of(before):
                    return tuple(path.with_name(name) for _, _, name in beside[i:])
    return ()


def _beside(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield time of the last change, inode and name of each file that may be this log, rotated."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(path.name) and _ROTATED.fullmatch(entry.name[len(path.name) :]):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield status.st_mtime_ns, f"{status.st_ino:x}", entry.name


def _end_of_lines(file: OpenedFile) -> int:
    """Return where the last whole line ends; the end of the file if the last line is long."""
    start = max(0, file.size - CHUNK)
    tail = os.pread(file.descriptor, file.size - start, start)
    line_break = tail.rfind(b"\n")
    return start + line_break + 1 if line_break >= 0 or start == 0 else file.size
