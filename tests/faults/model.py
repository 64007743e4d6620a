"""What a file system may leave behind when the plug is pulled: recorded effects, cut anywhere, and every legal loss.

Legal, after ALICE (Pillai et al., OSDI 2014) and the letter of fsync(2): the bytes of a file that were not synced are
there up to any point; an entry of a folder that was not synced is there or not, each independently of the others.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from verifier.site.disk import Disk

T = TypeVar("T")
SYNCS = ("sync", "sync-folder")
# Up to here every subset of lost entries is tried; beyond it each alone, all but each, and every prefix.
ALL_SUBSETS = 5


@dataclass(frozen=True)
class Op:
    """One effect: ``data`` is the file's content after it, ``other`` the old name of a rename or a link's target."""

    kind: str
    path: str
    data: bytes = b""
    other: str = ""


class RecordingDisk(Disk):
    """Does everything and writes it down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ops: list[Op] = []
        self._thread = threading.local()

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        result = act()
        name = str(path.relative_to(self.root))
        if kind in ("write", "append", "copy", "truncate"):
            self.ops.append(Op(kind, name, path.read_bytes()))
        elif kind == "symlink":
            self.ops.append(Op(kind, name, other=str(path.readlink())))
        elif kind in ("rename", "link"):
            self.ops.append(Op(kind, name, other=self._thread.other))
        elif kind not in ("chmod", "chown"):
            self.ops.append(Op(kind, name))
        return result

    def rename(self, old: Path, new: Path) -> None:
        self._thread.other = str(old.relative_to(self.root))
        super().rename(old, new)

    def link(self, source: Path, path: Path) -> None:
        self._thread.other = str(source.relative_to(self.root))
        super().link(source, path)


class FailingDisk(Disk):
    """The ``fail_at``-th effect fails with ``error``; with ``for_ever`` every one after it that needs space too."""

    def __init__(self, fail_at: int, error: int, *, for_ever: bool = False, after: bool = False) -> None:
        self.left = fail_at
        self.error = error
        self.for_ever = for_ever
        self.after = after
        self.fired = 0
        self.kinds: list[str] = []

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        self.left -= 1
        self.kinds.append(kind)
        needs_space = kind in ("create", "write", "append", "mkdir", "symlink", "copy", "link")
        if self.left == -1 or (self.for_ever and self.left < 0 and needs_space):
            self.fired += 1
            if self.after:
                act()
            raise OSError(self.error, os.strerror(self.error), str(path))
        return act()


class PulledPlugError(BaseException):
    """Not an Exception: nothing of ours may catch a pulled plug."""


class PluggedDisk(Disk):
    """The process is gone at effect ``at``; what was written stays as the page cache has it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        self.left -= 1
        if self.left < 0:
            raise PulledPlugError
        return act()


class QuickDisk(Disk):
    """Syncs nothing: for folders that the model made itself."""

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        return None if kind in SYNCS else act()  # type: ignore[return-value]  # a sync returns None


@dataclass
class File:
    """``synced`` survives; ``now`` is what the page cache has."""

    now: bytes
    synced: bytes


@dataclass
class Folder:
    """``entries`` survive; ``pending`` are changes since the last sync, oldest first."""

    entries: dict[str, object] = field(default_factory=dict)
    now: dict[str, object] = field(default_factory=dict)
    pending: list[tuple[str, str, object]] = field(default_factory=list)

    def change(self, kind: str, name: str, what: object) -> None:
        self.pending.append((kind, name, what))
        _apply(self.now, (kind, name, what))

    def sync(self) -> None:
        self.entries, self.pending = dict(self.now), []


def _apply(entries: dict[str, object], change: tuple[str, str, object]) -> None:
    kind, name, what = change
    if kind == "add":
        entries[name] = what
    elif kind == "gone":
        entries.pop(name, None)
    elif isinstance(what, Move):
        entries.pop(what.old, None)
        entries[name] = what.thing


@dataclass(frozen=True)
class Move:
    """A rename inside one folder: one change, there or not."""

    old: str
    thing: object


@dataclass(frozen=True)
class Link:
    target: str


class Model:
    """A folder as it was, all of it durable, and the effects since."""

    def __init__(self, root: Path) -> None:
        self.top = self._read(root, {})

    def _read(self, path: Path, inodes: dict[int, File]) -> Folder:
        folder = Folder()
        for one in sorted(path.iterdir()):
            if one.is_symlink():
                folder.now[one.name] = Link(str(one.readlink()))
            elif one.is_dir():
                folder.now[one.name] = self._read(one, inodes)
            else:
                data = one.read_bytes()
                folder.now[one.name] = inodes.setdefault(one.stat().st_ino, File(data, data))
        folder.sync()
        return folder

    def do(self, op: Op) -> None:
        parent, name = self._folder(str(Path(op.path).parent)), Path(op.path).name
        match op.kind:
            case "create":
                parent.change("add", name, File(b"", b""))
            case "write" | "append" | "copy" | "truncate":
                self._file(op.path).now = op.data
            case "sync":
                file = self._file(op.path)
                file.synced = file.now
            case "sync-folder":
                self._folder(op.path).sync()
            case "mkdir":
                parent.change("add", name, Folder())
            case "symlink":
                parent.change("add", name, Link(op.other))
            case "link":
                parent.change("add", name, self._at(op.other))
            case "rename":
                old = Path(op.other)
                if str(old.parent) != str(Path(op.path).parent):
                    raise AssertionError("a rename across folders is not modelled")
                parent.change("move", name, Move(old.name, parent.now[old.name]))
            case "unlink" | "rmdir":
                parent.change("gone", name, None)
            case _:
                raise AssertionError(op.kind)

    def _at(self, path: str) -> object:
        thing: object = self.top
        for part in Path(path).parts:
            if not isinstance(thing, Folder):
                raise AssertionError(path)
            thing = thing.now[part]
        return thing

    def _folder(self, path: str) -> Folder:
        found = self._at(path)
        if not isinstance(found, Folder):
            raise AssertionError(path)
        return found

    def _file(self, path: str) -> File:
        found = self._at(path)
        if not isinstance(found, File):
            raise AssertionError(path)
        return found

    def crashes(self) -> Iterator["Crash"]:
        """Every state that may be found after the plug is pulled now."""
        changes, files = self.unsynced()
        for lost in _subsets(changes):
            for data in _data(files):
                yield Crash(self.top, frozenset(lost), data)

    def extremes(self) -> Iterator["Crash"]:
        """Everything that was not synced is there, or nothing of it."""
        changes, files = self.unsynced()
        yield Crash(self.top, frozenset(), {})
        yield Crash(self.top, frozenset(changes), {id(one): one.synced for one in files})

    def any_crash(self, chance: random.Random) -> "Crash":
        """One of the legal states, by chance: each change is there or not, each file holds some legal part."""
        changes, files = self.unsynced()
        lost = frozenset(one for one in changes if chance.random() < 0.5)
        return Crash(self.top, lost, {id(one): chance.choice(tuple(contents(one))) for one in files})

    def unsynced(self) -> tuple[list[tuple[str, int]], list[File]]:
        """What a plug pulled now may lose: changes of folders, and files whose bytes are not all durable."""
        changes = [(path, i) for path, folder in self._folders(self.top, "") for i in range(len(folder.pending))]
        return changes, [file for file in self._files(self.top, set()) if file.now != file.synced]

    def _folders(self, folder: Folder, path: str) -> Iterator[tuple[str, Folder]]:
        yield path, folder
        for name, one in folder.now.items():
            if isinstance(one, Folder):
                yield from self._folders(one, f"{path}/{name}")

    def _files(self, folder: Folder, seen: set[int]) -> Iterator[File]:
        for one in folder.now.values():
            if isinstance(one, Folder):
                yield from self._files(one, seen)
            elif isinstance(one, File) and id(one) not in seen:
                seen.add(id(one))
                yield one


def _subsets(changes: list[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], ...]]:
    if len(changes) <= ALL_SUBSETS:
        for size in range(len(changes) + 1):
            yield from combinations(changes, size)
        return
    yield ()
    yield tuple(changes)
    for i in range(len(changes)):
        yield (changes[i],)
        yield (*changes[:i], *changes[i + 1 :])
        yield tuple(changes[i:])


def _data(files: list[File]) -> Iterator[dict[int, bytes]]:
    """What unsynced files hold: each every variant of its own while the others are old, and while they are new."""
    if not files:
        yield {}
        return
    for old in (True, False) if len(files) > 1 else (False,):
        others = {id(one): one.synced if old else one.now for one in files}
        for file in files:
            for data in contents(file):
                yield {**others, id(file): data}


def contents(file: File) -> Iterator[bytes]:
    """Everything that may be found of a file that was not synced.

    A prefix of what was written; or the new length, with zeros where blocks were given and never written: all of
    them, or those before the last ones, because blocks are written in any order.
    """
    old, new = file.synced, file.now
    if not new.startswith(old):
        yield old
        yield new
        return
    grown = len(new) - len(old)
    for length in sorted({0, min(1, grown), grown // 2, max(0, grown - 1), grown}):
        yield new[: len(old) + length]
    if grown > 1:
        yield old + bytes(grown)
        half = len(old) + grown // 2
        yield old + bytes(grown // 2) + new[half:]


@dataclass(frozen=True)
class Crash:
    """One state: which pending changes of folders are ``lost``, and what unsynced files hold."""

    top: Folder
    lost: frozenset[tuple[str, int]]
    data: dict[int, bytes]

    def _entries(self, folder: Folder, path: str) -> dict[str, object]:
        entries = dict(folder.entries)
        for i, change in enumerate(folder.pending):
            if (path, i) not in self.lost:
                _apply(entries, change)
        return entries

    def key(self) -> int:
        """The same for two states that look the same; bytes remember their hash, so this is cheap."""
        return hash(self._shape(self.top, ""))

    def _shape(self, folder: Folder, path: str) -> tuple[object, ...]:
        found: list[object] = []
        for name, one in sorted(self._entries(folder, path).items()):
            if isinstance(one, Folder):
                found.append((name, self._shape(one, f"{path}/{name}")))
            elif isinstance(one, File):
                found.append((name, self.data.get(id(one), one.now)))
            else:
                found.append((name, one))
        return tuple(found)

    def materialise(self, root: Path) -> None:
        self._write(self.top, root, "", {})

    def _write(self, folder: Folder, place: Path, path: str, made: dict[int, Path]) -> None:
        place.mkdir()
        for name, one in self._entries(folder, path).items():
            target = place / name
            if isinstance(one, Folder):
                self._write(one, target, f"{path}/{name}", made)
            elif isinstance(one, Link):
                target.symlink_to(one.target)
            elif isinstance(one, File):
                if id(one) in made:
                    target.hardlink_to(made[id(one)])
                    continue
                target.write_bytes(self.data.get(id(one), one.now))
                if name.endswith(".key"):
                    target.chmod(0o600)
                made[id(one)] = target
