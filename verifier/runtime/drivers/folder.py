"""A folder with the files of a release: built beside the old ones, checked file by file, renamed into place."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.release import FileEntry, FileSet
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, unreadable
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, step_error
from verifier.site.blobs import blob_path, different, hash_file, missing
from verifier.site.disk import Disk, Source

MAX_FILES = 200_000
# Files that a detail names before it only counts.
_NAMED = 3
# Space is counted in blocks of the file system; 4096 bytes on almost every host.
BLOCK = 4096


@dataclass(frozen=True)
class FolderContent:
    """A file set on disk: ``observed`` and ``detail`` as in ``Component``."""

    observed: str
    detail: str | None = None


def blocks_of(sizes: Iterable[int]) -> int:
    """Return the bytes that files of these sizes take on disk, in whole blocks."""
    return sum(-(-size // BLOCK) * BLOCK for size in sizes)


def file_set_digest(files: FileSet) -> str:
    """Return the digest of the set's canonical description, by which file sets are compared."""
    return digest_of(encode(files))


def check_sets(sets: Sequence[FileSet], where: str) -> None:
    """Check that the sets can share one folder. Raises RefusedError."""
    paths = [entry.path for files in sets for entry in files.entries]
    folders = {parent for path in paths for parent in parents(path)}
    if twice := sorted(path for path, count in Counter(paths).items() if count > 1):
        raise step_error(f"{twice[0]} is in two file sets", where)
    if both := sorted(folders & set(paths)):
        raise step_error(f"{both[0]} is a file in one file set and a folder in another", where)


def parents(path: str) -> tuple[str, ...]:
    """Return the folders above a path, the nearest first."""
    parts = path.split("/")
    return tuple("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))


def build_folder(disk: Disk, blobs: Path, sets: Sequence[FileSet], folder: Path) -> None:
    """Copy every file to ``folder``, which must not exist; each copy is hashed, and durable on return.

    The folder's own name is not synced: the caller renames it when it is complete.

    Raises:
        DamagedError: A blob is missing or has other bytes; ``folder`` is incomplete then.
    """
    disk.make_folder(folder, durable=False)
    entries = [entry for files in sets for entry in files.entries]
    made = sorted({parent for entry in entries for parent in parents(entry.path)})
    for name in made:
        disk.make_folder(folder / name, durable=False)
    for entry in entries:
        copy_blob(disk, blobs, entry.digest, entry.size, folder / entry.path, 0o755 if entry.executable else 0o644)
    for path in (*(folder / name for name in reversed(made)), folder):
        disk.set_mode(path, 0o755)
        disk.sync_folder(path)


def copy_blob(disk: Disk, blobs: Path, digest: str, size: int, path: Path, mode: int) -> None:
    """Copy a blob of the store to ``path``, hashed on the way.

    Raises:
        DamagedError: The blob is missing or has other bytes; in that case no file is left.
    """
    source = blob_path(blobs, digest)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise missing(source, digest) from None
    except OSError as error:
        raise unreadable(error, str(source), remedy="check the disk") from error
    try:
        copied = disk.copy(Source(descriptor, 0, size), path, mode)
    finally:
        os.close(descriptor)
    if copied != digest:
        disk.remove(path)
        raise different(source, copied, digest)
    disk.set_mode(path, mode)


def observe_file_sets(folder: Path, sets: Sequence[FileSet]) -> dict[str, FolderContent]:
    """Return the content of ``folder`` by set, every byte read. A file of no set counts as a change of the first."""
    if not sets:
        return {}
    expected = {entry.path: entry for files in sets for entry in files.entries}
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return {files.name: FolderContent(UNREADABLE, f"{folder} is not a folder") for files in sets}
        seen = {path: _observed(path, file, expected.get(path)) for path, file in _walk(folder)}
    except FileNotFoundError:
        return {files.name: FolderContent(ABSENT, f"{folder} does not exist") for files in sets}
    except (OSError, HostError) as error:
        return {files.name: FolderContent(UNREADABLE, str(error)) for files in sets}
    extra = sorted(seen.keys() - expected.keys())
    return {files.name: _content(files, seen, extra if n == 0 else []) for n, files in enumerate(sets)}


def _walk(folder: Path, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Path]]:
    """Yield every file by its path as text; a name that is not UTF-8 is escaped."""
    remedy = "find out what else writes there; a folder that a release places holds nothing else"
    if depth > 256:
        raise HostError("folders are nested deeper than 256", where=str(folder), remedy=remedy)
    # Memory: names alone; an entry of scandir takes ten times as much.
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    if len(names) > MAX_FILES:
        raise HostError(f"the folder has more than {MAX_FILES} files", where=str(folder), remedy=remedy)
    for file in names:
        path, name = folder / file, prefix + os.fsencode(file).decode("utf-8", "backslashreplace")
        if stat.S_ISDIR(path.lstat().st_mode):
            yield from _walk(path, name + "/", depth + 1)
        else:
            yield name, path


def _observed(path: str, file: Path, expected: FileEntry | None) -> FileEntry | str:
    """Return what a file is, or why that cannot be read; the same object as ``expected`` if both are equal."""
    try:
        entry = _entry(path, file)
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    return expected if expected == entry else entry


def _content(files: FileSet, seen: dict[str, FileEntry | str], extra: list[str]) -> FolderContent:
    paths = [entry.path for entry in files.entries if entry.path in seen] + extra
    entries: list[FileEntry] = []
    for path in sorted(paths) if extra else paths:
        entry = seen[path]
        if isinstance(entry, str):
            return FolderContent(UNREADABLE, entry)
        entries.append(entry)
    if not entries:
        return FolderContent(ABSENT, "none of its files is there")
    changed = [entry.path for entry in files.entries if entry.path in seen and entry != seen[entry.path]]
    absent = [entry.path for entry in files.entries if entry.path not in seen]
    digest = file_set_digest(FileSet(name=files.name, entries=tuple(entries)))
    groups = {"changed": changed, "missing": absent, "not of the release": extra}
    return FolderContent(digest, "; ".join(f"{name}: {_shortened(paths)}" for name, paths in groups.items() if paths))


def _entry(path: str, file: Path) -> FileEntry:
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        # Described by its kind and never followed: a link in place of a file changes the file set's digest.
        kind = f"not a regular file: {stat.filemode(status.st_mode)}"
        return FileEntry(path=path, digest=digest_of(kind.encode()), size=0)
    digest, executable = hash_file(file), bool(status.st_mode & 0o100)
    return FileEntry(path=path, digest=digest, size=status.st_size, executable=executable)


def _shortened(paths: list[str]) -> str:
    rest = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{rest}"


def remove_folder(disk: Disk, folder: Path) -> None:
    """Remove a folder: renamed first, so that a crash leaves no half of it under its name."""
    if folder.is_symlink() or folder.exists():
        gone = folder.with_name(f".{folder.name}.gone")
        disk.remove_tree(gone)
        disk.rename(folder, gone)
        disk.sync_folder(folder.parent)
        disk.remove_tree(gone)


@contextmanager
def host_errors(where: Path, finding: str = "") -> Iterator[None]:
    """Raise HostError in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise HostError(
            (error.strerror or str(error)).lower(),
            where=str(error.filename or where),
            remedy="check space and permissions there, then run the command again",
            finding=finding,
        ) from error
