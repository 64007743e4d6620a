"""Collect folders and single files of the vendor: regular files only."""

import re
import stat
from pathlib import Path
from shlex import quote
from typing import get_args

from msgspec import Meta

from bundler.parts import Parts
from content.bundle.regular_files import regular_files
from manifests.authored.named_file import check_named_file
from manifests.documents.release import FileEntry, FilePath, FileSet
from manifests.words.errors import MalformedError, UsageError

_PATH = re.compile(next(meta.pattern or "" for meta in get_args(FilePath) if isinstance(meta, Meta)))


def check_release_file(path: Path) -> None:
    """Check that release.yaml can be opened, before anything else of the vendor is looked for.

    Raises:
        UsageError: It is a folder.
        MalformedError: It is a named pipe or a device.
        HostError: It is missing, or may not be read.
    """
    if path.is_dir():
        remedy = f"name the file in it: waybill build {quote(str(path / 'release.yaml'))}"
        raise UsageError("a folder, expected a file", where=str(path), remedy=remedy)
    check_named_file(path)


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


def _is_executable(path: Path) -> bool:
    """Whether the owner may execute it; the bits of group and others depend on the umask of its author."""
    return bool(path.stat().st_mode & stat.S_IXUSR)
