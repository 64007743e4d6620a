"""Folders and single files of the vendor, as they are packed: regular files, executable or not, nothing else."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from msgspec import Meta

from bundler.parts import Parts
from manifests.documents.release import FileEntry, FilePath, FileSet
from manifests.words.errors import HostError, MalformedError, RefusedError

MAX_FILES = 100_000


def _pattern(annotated: object) -> re.Pattern[str]:
    meta = next(one for one in get_args(annotated) if isinstance(one, Meta))
    assert meta.pattern is not None
    return re.compile(meta.pattern)


_PATH = _pattern(FilePath)


def collect_files(name: str, path: Path, parts: Parts) -> FileSet:
    """A file set from a folder or from one file; entries sorted by path.

    Raises:
        RefusedError: Something in it is no regular file, or asks for rights of its own.
        MalformedError: It is empty, or a name could not be written at a site.
        HostError: It cannot be read.
    """
    entries = []
    for inside, file in sorted(regular_files(path)):
        if len(inside) > 512 or not _PATH.search(inside):
            raise MalformedError(
                f"the name {inside!r} has characters that a file set cannot hold",
                where=str(path),
                remedy="letters, digits and _ . @ + - and spaces; rename the file",
                finding="file-name",
            )
        blob = parts.file(file)
        entries.append(FileEntry(path=inside, digest=blob.digest, size=blob.size, executable=_is_executable(file)))
    if not entries:
        raise MalformedError("holds no file", where=str(path))
    return FileSet(name=name, entries=tuple(entries))


def regular_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file below ``path`` with its name inside, or ``path`` itself; refuses whatever is not one.

    Folders are not packed for themselves: an empty one is left out.
    """
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            _check_mode(path, mode)
            yield path.name, path
            return
        count = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(path / folder) as found:
                for entry in found:
                    inside = f"{folder}/{entry.name}" if folder else entry.name
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        folders.append(inside)
                        continue
                    _check_mode(path / inside, mode)
                    count += 1
                    if count > MAX_FILES:
                        raise RefusedError(
                            f"more than {MAX_FILES} files",
                            where=str(path),
                            remedy="put them into an image or an archive, or leave some out",
                        )
                    yield inside, path / inside
    except OSError as error:
        raise HostError(
            f"cannot read: {(error.strerror or str(error)).lower()}", where=str(error.filename or path)
        ) from None


def _check_mode(path: Path, mode: int) -> None:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    for matches, what in kinds:
        if matches(mode):
            raise RefusedError(
                f"is {what}, expected a regular file",
                where=str(path),
                remedy="replace it by the file itself, or leave it out",
                finding="file-kind",
            )
    if mode & (stat.S_ISUID | stat.S_ISGID):
        raise RefusedError(
            f"asks for rights of its own (mode {stat.S_IMODE(mode):04o})",
            where=str(path),
            remedy=f"chmod u-s,g-s {path}; what is packed is executable or not, and nothing else",
            finding="file-setuid",
        )


def _is_executable(path: Path) -> bool:
    """The owner's bit alone: group and others depend on the umask of whoever made the file."""
    return bool(path.stat().st_mode & stat.S_IXUSR)
