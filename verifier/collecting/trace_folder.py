"""Read the OTLP files of a folder, each on from where the last run stopped. Their names are not kept.

Nothing that was written before the first look is read. A file of another name, a link, a folder is left alone.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from content.telemetry.counted import GAP, MISSING, TOO_MANY, UNREADABLE
from verifier.collecting.kept import MAX_FILES, FileProgress
from verifier.collecting.look import Look
from verifier.collecting.opened_files import OpenedFile, SourceError, opened

ENDS = (".json", ".jsonl")


def read_traces(path: Path, before: tuple[FileProgress, ...] | None, look: Look) -> tuple[FileProgress, ...]:
    """Feed what is new in the folder, oldest file first; return how far each file was read.

    Args:
        path: The folder; a single file also counts.
        before: None for the first look, which reads nothing.

    Raises:
        SourceError: The folder cannot be read; nothing was fed.
    """
    known = None if before is None else {progress.inode: progress for progress in before}
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceError(MISSING, f"{path}: no such folder") from None
    except NotADirectoryError:
        # Also what a link to a folder gives; `opened` refuses it.
        with opened(path) as file:
            look.begin()
            return (_read(file, known, look),)
    except OSError as error:
        raise SourceError(UNREADABLE, f"{path}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        names = _names(folder)
        if len(names) > MAX_FILES:
            look.collector.drop(TOO_MANY, len(names) - MAX_FILES)
        look.begin()
        return tuple(_read_all(folder, names[-MAX_FILES:], known, look))
    finally:
        os.close(folder)


def _names(folder: int) -> list[str]:
    """Return the names of the files by time of their last change."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(ENDS) and not entry.name.startswith("."):
                with suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        names.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
    return [name for _, name in sorted(names)]


def _read_all(
    folder: int, names: list[str], before: Mapping[str, FileProgress] | None, look: Look
) -> list[FileProgress]:
    reached = []
    for name in names:
        try:
            with opened(name, folder) as file:
                reached.append(_read(file, before, look))
        except SourceError as failure:
            if failure.reason != MISSING:
                look.collector.drop(failure.reason)
                look.notes.append(failure.detail)
    return reached


def _read(file: OpenedFile, before: Mapping[str, FileProgress] | None, look: Look) -> FileProgress:
    """Feed one file from where it was left; a file that was truncated, from its begin."""
    if before is None:
        return file.progress(file.size)
    known = before.get(file.inode)
    offset = known.offset if known is not None and file.is_file_of(known) else 0
    if look.unfinished or offset == file.size:
        return file.progress(offset)
    if offset > file.size:
        look.collector.drop(GAP)
        offset = 0
    look.begin()
    fed = 0
    for chunk in file.chunks(offset):
        fed += len(chunk)
        look.feed(chunk)
        if not look.take(chunk):
            break
    look.collector.end()
    return file.progress(offset + min(look.collector.consumed, fed))
