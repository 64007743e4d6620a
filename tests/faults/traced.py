"""A real process under strace, one of whose calls is cut short: by a kill, or by an error that the kernel gives back.

strace counts calls by number and thread, so each injection is checked to have fired: it did, or it proves nothing.
Blobs are copied by several threads; so a call that creates a file, or that another thread makes, is counted by the
file's name. Names that are another in each run, such as digests of signatures, are left out.

A short write cannot be made by strace, which can only claim one; here the process itself asks the kernel for less.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manifests.trust.private_keys import encode_private
from tests.faults.actor import DONE, FAILED, NEVER, Act, Actor, Ended
from tests.faults.crash import check_folder, problems
from tests.faults.model import QuickDisk
from tests.faults.test_crash import SCENES, Scene, ready
from tests.place import Place
from verifier.site.journal.chain import read_journal

CALLS = (
    "write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,link,symlink,unlink,mkdir,rmdir,copy_file_range,sendfile,"
    "chmod"
)
KILL, SHORT = "kill", "short write"
ERRORS = ("ENOSPC", "EIO")


@dataclass(frozen=True)
class Point:
    """The n-th call of its kind in the main thread; of a short write, the n-th write of the process.

    Attributes:
        path: Only calls that name this file of the site are counted; all of them where it is empty.
    """

    call: str
    count: int
    path: str = ""

    def tracer(self, world: Path, what: str, out: Path) -> tuple[str, ...]:
        only = ("-P", str(world / self.path)) if self.path else ()
        inject = f"--inject={self.call}:{what}:when={self.count}"
        return ("strace", "-f", *only, "-o", str(out), f"--trace={self.call}", inject)


@dataclass
class Stage:
    """A scene before its act.

    Attributes:
        before: The site's folder; never touched.
        fast: A folder for copies.
        promised: The journal as it is there, whose entries no fault may lose.
    """

    name: str
    scene: Scene
    place: Place
    before: Path
    fast: Path
    actor: Actor
    promised: tuple[str, ...]

    def act(self, world: Path, name: str = "", short: int = 0) -> Act:
        return Act(world, name or self.name, short, dict(self.place.health))

    def problem(self, world: Path, how: str) -> str:
        """Recover for real, then look at the eight invariants; the first that does not hold.

        After a kill they are looked at before the recovery too; an error may have spent the reserve by then.
        """
        place = self.copied(world)
        if how == KILL:
            return check_folder(place, self.promised, self.scene.kept, self.scene.stored)
        place.recover()
        return problems(place, self.scene.kept)

    def copied(self, path: Path) -> Place:
        return Place(
            path=path, disk=QuickDisk(), clock=self.place.clock, people=self.place.people, programs=self.place.programs
        )

    def running(self, world: Path) -> int:
        return self.copied(world).open().state.installs.current


def stage(name: str, fast: Path, actor: Actor) -> Stage:
    place = ready(SCENES[name], fast)
    key = fast / "ops-1.key"
    key.touch(mode=0o600)
    key.write_bytes(encode_private(place.people["ops-1"], None))
    before = place.path.rename(fast / "before")
    entries, _ = read_journal(before / "journal")
    made = Stage(name, SCENES[name], place, before, fast, actor, tuple(one.digest for one in entries))
    world = copy(made, "first")
    done = actor.run(made.act(world))
    assert done.code == DONE, done.said
    shutil.rmtree(world)
    return made


def copy(scene: Stage, name: str, before: Path | None = None) -> Path:
    """A site for one run; always under the same path, since points name files by it."""
    return Path(shutil.copytree(before or scene.before, scene.fast / name / "site", symlinks=True))


def points(scene: Stage, before: Path | None = None, act: str = "") -> list[Point]:
    """The calls that change something in the site's folder: found by one traced run, and the same in a second."""
    found, again = (_points(scene, before, act) for _ in range(2))
    return [one for one in found if not one.path or one in again]


def _points(scene: Stage, before: Path | None, act: str) -> list[Point]:
    world, trace = copy(scene, "traced", before), scene.fast / "trace"
    done = scene.actor.run(scene.act(world, act), "strace", "-f", "-y", "-o", str(trace), f"--trace={CALLS},openat")
    assert done.code == DONE, done.said
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0] if lines else ""
    counts: Counter[str] = Counter()
    found = []
    for line in lines:
        match = re.match(r"(\d+) +([a-z_0-9]+)\(", line)
        if match is None:
            continue
        call = match[2]
        if match[1] == main and call != "openat":
            counts[call] += 1
            if str(world) in line:
                found.append(Point(call, counts[call]))
            continue
        named = re.search(rf'[<"]{re.escape(str(world))}/([^">]+)[">]', line)
        if named is not None:
            counts[f"{call} {named[1]}"] += 1
            if call != "openat" or "O_CREAT" in line:
                found.append(Point(call, counts[f"{call} {named[1]}"], named[1]))
    shutil.rmtree(world)
    return found


def short_points(scene: Stage) -> list[Point]:
    """The writes of the process, counted by itself."""
    world = copy(scene, "counted")
    done = scene.actor.run(scene.act(world, short=10**6))
    assert done.code == NEVER, done.said
    shutil.rmtree(world)
    return [Point("write", number) for number in range(1, int(done.said) + 1)]


def injected(scene: Stage, how: str, point: Point, world: Path, act: str = "") -> Ended:
    """Run the act with one call cut short; it must have fired."""
    if how == SHORT:
        done = scene.actor.run(scene.act(world, act, short=point.count))
        # A write of one byte cannot be shortened.
        assert done.code in (DONE, NEVER), done.said
        return done
    what = "signal=SIGKILL" if how == KILL else f"error={how}"
    trace = scene.fast / "fired"
    done = scene.actor.run(scene.act(world, act), *point.tracer(world, what, trace))
    if how == KILL:
        assert done.code == -9, f"{point} never fired: {done.code} {done.said}"
    else:
        assert "(INJECTED)" in trace.read_text(errors="replace"), f"{point} never fired"
        assert done.code in (DONE, FAILED), f"{how} at {point}: {done.said}"
    return done


def sweep(scene: Stage, how: str, chosen: Iterable[Point], states: dict[object, Path] | None = None) -> set[int]:
    """Cut at each point, recover for real, look at the eight invariants; the generations that ran afterwards.

    Args:
        states: Gets a copy of each distinct folder that was left, for a second crash.
    """
    ended = set()
    for point in chosen:
        world = copy(scene, "cut")
        injected(scene, how, point, world)
        if states is not None and (key := looks(world)) not in states:
            states[key] = Path(shutil.copytree(world, scene.fast / f"state-{len(states)}", symlinks=True))
        problem = scene.problem(world, how)
        assert not problem, f"{scene.name}: {how} at {point.call} number {point.count} {point.path}: {problem}"
        ended.add(scene.running(world))
        shutil.rmtree(world)
    return ended


def looks(world: Path) -> object:
    """The same for two folders with the same names and bytes; of what holds times, only the length is looked at."""
    found = []
    for path in sorted(world.rglob("*")):
        name = str(path.relative_to(world))
        if path.is_symlink():
            found.append((name, str(path.readlink())))
        elif path.is_file():
            told = name.startswith(("journal/", "outbox/", "lock"))
            found.append((name, str(path.stat().st_size) if told else path.read_bytes().hex()[:64]))
    return tuple(found)


def second(scene: Stage, left: Path) -> int:
    """Kill the recovery of this folder at each of its calls, then recover again; how many calls that were."""
    found = points(scene, left, "recover")
    for point in found:
        world = copy(scene, "again", left)
        injected(scene, KILL, point, world, "recover")
        problem = scene.problem(world, KILL)
        assert not problem, f"{scene.name}: killed again at {point.call} number {point.count}: {problem}"
        shutil.rmtree(world)
    return len(found)
