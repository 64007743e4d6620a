"""A folder with the files of a release: built beside the old ones, checked file by file, renamed into place."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.release import FileEntry, FileSet
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, RefusedError
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE
from verifier.site.blobs import blob_path, different, hash_file, missing, unreadable
from verifier.site.disk import Disk

MAX_SEEN = 200_000
_NAMED = 3


@dataclass(frozen=True)
class FolderContent:
    """What one file set looks like on disk: ``observed`` as in ``Component``."""

    observed: str
    detail: str = ""


def file_set_digest(files: FileSet) -> str:
    """What a file set is compared by: the digest of its canonical description."""
    return digest_of(encode(files))


def check_sets(sets: Sequence[FileSet], where: str) -> None:
    """That the sets can share one folder.

    Raises:
        RefusedError: Two have the same path, or one has a file where another has a folder.
    """
    paths = [entry.path for files in sets for entry in files.entries]
    folders = {parent for path in paths for parent in parents(path)}
    twice = sorted({path for path in paths if paths.count(path) > 1} if len(set(paths)) != len(paths) else set())
    problem = f"{twice[0]} is in two file sets" if twice else ""
    if not twice and (both := sorted(folders & set(paths))):
        problem = f"{both[0]} is a file in one file set and a folder in another"
    if problem:
        raise RefusedError(
            problem,
            where=where,
            remedy="ask the vendor for a corrected release; nothing was changed",
            finding="driver-step",
        )


def parents(path: str) -> tuple[str, ...]:
    """The folders above a path, the nearest first."""
    parts = path.split("/")
    return tuple("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))


def build(disk: Disk, blobs: Path, sets: Sequence[FileSet], folder: Path) -> None:
    """Copy every file to ``folder``, which must not exist; each copy is hashed and durable on return.

    All of it but the folder's own name, for the caller renames it once it is whole.

    Raises:
        DamagedError: A blob is missing or has other bytes; ``folder`` is incomplete then.
    """
    disk.make_folder(folder, durable=False)
    entries = [entry for files in sets for entry in files.entries]
    made = sorted({parent for entry in entries for parent in parents(entry.path)})
    for name in made:
        disk.make_folder(folder / name, durable=False)
    for entry in entries:
        _copy(disk, blobs, entry, folder / entry.path)
    for path in (*(folder / name for name in reversed(made)), folder):
        set_mode(disk, path, 0o755)
        disk.sync_folder(path)


def _copy(disk: Disk, blobs: Path, entry: FileEntry, path: Path) -> None:
    source = blob_path(blobs, entry.digest)
    mode = 0o755 if entry.executable else 0o644
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise missing(entry.digest) from None
    except OSError as error:
        raise unreadable(source, error) from error
    try:
        found = disk.copy(descriptor, 0, entry.size, path, mode=mode)
    finally:
        os.close(descriptor)
    if found != entry.digest:
        raise different(source, found, entry.digest)
    set_mode(disk, path, mode)


def set_mode(disk: Disk, path: Path, mode: int) -> None:
    """Exactly ``mode``, whatever the umask took away."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        disk._effect("chmod", path, lambda: path.chmod(mode))


def look(folder: Path, sets: Sequence[FileSet]) -> dict[str, FolderContent]:
    """What is in ``folder`` of each set, every byte read. A file of no set counts against the first one."""
    if not sets:
        return {}
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return {files.name: FolderContent(UNREADABLE, f"{folder} is not a folder") for files in sets}
        found = dict(_walk(folder))
    except FileNotFoundError:
        return {files.name: FolderContent(ABSENT, f"{folder} does not exist") for files in sets}
    except (OSError, HostError) as error:
        return {files.name: FolderContent(UNREADABLE, str(error)) for files in sets}
    known = {entry.path for files in sets for entry in files.entries}
    extra = sorted(set(found) - known)
    return {files.name: _seen(files, found, extra if n == 0 else []) for n, files in enumerate(sets)}


@dataclass(frozen=True)
class _FolderWalk:
    path: Path
    status: os.stat_result


def _walk(folder: Path, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, _FolderWalk]]:
    """Everything that is not a folder, by its path as text; a name that is not UTF-8 is shown escaped."""
    if depth > 256:
        raise HostError(
            "folders are nested deeper than 256",
            where=str(folder),
            remedy="see who else writes there; a folder that a release places holds nothing else",
        )
    count = 0
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            count += 1
            if count > MAX_SEEN:
                raise HostError(
                    f"more than {MAX_SEEN} files",
                    where=str(folder),
                    remedy="see who else writes there; a folder that a release places holds nothing else",
                )
            name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(folder / entry.name, name + "/", depth + 1)
            else:
                yield name, _FolderWalk(folder / entry.name, status)


def _seen(files: FileSet, found: dict[str, _FolderWalk], extra: list[str]) -> FolderContent:
    expected = {entry.path: entry for entry in files.entries}
    entries: list[FileEntry] = []
    for path in sorted({*(path for path in expected if path in found), *extra}):
        try:
            entries.append(_entry(path, found[path]))
        except OSError as error:
            return FolderContent(UNREADABLE, f"{path}: {(error.strerror or str(error)).lower()}")
    if not entries:
        return FolderContent(ABSENT, "none of its files is there")
    changed = [one.path for one in entries if one.path in expected and one != expected[one.path]]
    absent = [path for path in expected if path not in found]
    digest = file_set_digest(FileSet(name=files.name, entries=tuple(entries)))
    return FolderContent(
        digest, "; ".join(_words((("changed", changed), ("missing", absent), ("not of the release", extra))))
    )


def _entry(path: str, found: _FolderWalk) -> FileEntry:
    if not stat.S_ISREG(found.status.st_mode):
        # Described by what it is, never followed: a link in place of a file is another file set.
        kind = f"not a regular file: {stat.filemode(found.status.st_mode)}"
        return FileEntry(path=path, digest=digest_of(kind.encode()), size=0)
    return FileEntry(
        path=path,
        digest=hash_file(found.path),
        size=found.status.st_size,
        executable=bool(found.status.st_mode & 0o100),
    )


def _words(groups: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    for word, paths in groups:
        if paths:
            rest = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            yield f"{word}: {', '.join(paths[:_NAMED])}{rest}"


def clear(disk: Disk, folder: Path) -> None:
    """Take a folder out of the way in one rename, then remove it."""
    if folder.is_symlink() or folder.exists():
        gone = folder.with_name(f".{folder.name}.gone")
        disk.remove_tree(gone)
        disk.rename(folder, gone)
        disk.sync_folder(folder.parent)
        disk.remove_tree(gone)


def guarded(act: Callable[[], None], where: Path) -> None:
    """Do ``act``; what the operating system says against it becomes a failure of this host.

    Raises:
        HostError: With the system's own words.
    """
    try:
        act()
    except OSError as error:
        raise HostError(
            (error.strerror or str(error)).lower(),
            where=str(error.filename or where),
            remedy="see space and permissions of the site's folder, then run the command again",
        ) from error
