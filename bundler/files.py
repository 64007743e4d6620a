"""Collect folders and single files of the vendor: regular files only."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import get_args

from msgspec import Meta

from bundler.parts import Parts
from manifests.documents.release import FileEntry, FilePath, FileSet
from manifests.trust.keys import open_regular
from manifests.words.errors import HostError, MalformedError, RefusedError, UsageError, unreadable

MAX_FILES = 100_000

_PATH = re.compile(next(meta.pattern or "" for meta in get_args(FilePath) if isinstance(meta, Meta)))


def check_release_file(path: Path) -> None:
    """Check that release.yaml can be opened, before anything else of the vendor is looked for.

    Raises:
        UsageError: It is a folder.
        HostError: It is missing, a named pipe or a device, or may not be read.
    """
    if path.is_dir():
        remedy = f"name the file in it: waybill build {quote(str(path / 'release.yaml'))}"
        raise UsageError("a folder, expected a file", where=str(path), remedy=remedy)
    try:
        os.close(open_regular(path, or_pipe=True))
    except OSError as error:
        raise unreadable(error, str(path)) from None


def collect_files(name: str, path: Path, parts: Parts) -> FileSet:
    """A file set from a folder or from one file; entries sorted by path.

    Raises:
        RefusedError: An entry is no regular file, or is setuid or setgid.
        MalformedError: It is empty, or a name could not be written at a site.
        HostError: It cannot be read.
    """
    entries = []
    for inside, file in sorted(regular_files(path)):
        if len(inside) > 512 or not _PATH.search(inside):
            problem = f"the name {inside!r} has characters that a file set cannot hold"
            remedy = "rename the file: letters, digits and _ . @ + - and spaces are allowed"
            raise MalformedError(problem, where=str(path), remedy=remedy, finding="file-name")
        blob = parts.file(file)
        entries.append(FileEntry(path=inside, digest=blob.digest, size=blob.size, executable=_is_executable(file)))
    if not entries:
        raise MalformedError("holds no file", where=str(path))
    return FileSet(name=name, entries=tuple(entries))


def regular_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file below ``path`` with its name inside, or ``path`` itself; refuses anything else.

    An empty folder is left out.
    """
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            check_mode(path, mode)
            yield path.name, path
            return
        count = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(path / folder) as entries:
                for entry in entries:
                    inside = f"{folder}/{entry.name}" if folder else entry.name
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        folders.append(inside)
                        continue
                    check_mode(path / inside, mode)
                    count += 1
                    if count > MAX_FILES:
                        problem = f"the folder has more than {MAX_FILES} files"
                        remedy = "put them into an image or an archive, or leave some out"
                        raise RefusedError(problem, where=str(path), remedy=remedy)
                    yield inside, path / inside
    except OSError as error:
        problem = f"cannot read: {(error.strerror or str(error)).lower()}"
        raise HostError(problem, where=str(error.filename or path)) from None


def check_mode(path: Path, mode: int) -> None:
    """Raise RefusedError unless ``mode`` is that of a regular file, neither setuid nor setgid."""
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    for matches, what in kinds:
        if matches(mode):
            problem = f"found {what}, expected a regular file"
            remedy = "replace it by the file itself, or remove it"
            raise RefusedError(problem, where=str(path), remedy=remedy, finding="file-kind")
    if mode & (stat.S_ISUID | stat.S_ISGID):
        problem = f"the file is setuid or setgid (mode {stat.S_IMODE(mode):04o}), expected neither"
        raise RefusedError(problem, where=str(path), remedy=f"chmod u-s,g-s {quote(str(path))}", finding="file-setuid")


def _is_executable(path: Path) -> bool:
    """Whether the owner may execute it; the bits of group and others depend on the umask of its author."""
    return bool(path.stat().st_mode & stat.S_IXUSR)
