"""List the files of a folder that a vendor names: regular files only."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from manifests.words.errors import HostError, RefusedError

MAX_FILES = 100_000


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
