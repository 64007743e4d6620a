"""A real process under strace, one of whose calls is cut short: by a kill, or by an error that the kernel gives back.

strace counts calls by number and thread, so each injection is checked to have fired: it did, or it proves nothing.
How often files are opened varies with what Python imports, and blobs are copied by several threads; so a call that
creates a file, or that another thread makes, is counted by the file's name. Names that are another in each run, such as
digests of signatures, are left out.

Errors are injected with --seccomp-bpf, which lets every other call run at full speed. Kills are not: strace 6.1 then
never sends the signal.

A short write cannot be made by strace, which can only claim one; here the process itself asks the kernel for less.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.keys import encode_private
from tests.faults.crash import problems
from tests.faults.model import QuickDisk
from tests.faults.test_crash import SCENES, vendor
from tests.place import Place, make_place

ROOT = Path(__file__).parents[2]
CALLS = (
    "write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,link,symlink,unlink,mkdir,rmdir,copy_file_range,sendfile,"
    "chmod"
)
KILL, SHORT = "kill", "short write"
ERRORS = ("ENOSPC", "EIO")
FAILED, NEVER = 3, 4
# Runs the very act in a process of its own; `host` is the real one, the site and its people are given. A failure of the
# two kinds that the command line turns into one `error:` line ends it with FAILED.
ACT = """
import os, sys
from pathlib import Path
from manifests.errors import WaybillError
from manifests.keys import read_signer
from tests.faults.test_crash import SCENES
from tests.place import Place
path, name, short, *health = sys.argv[1:]
key = read_signer(Path(path).parents[1] / "ops-1.key", lambda: b"")
place = Place(path=Path(path), health=dict(item.split("=") for item in health), people={"ops-1": key})
real, writes, fired = os.write, 0, False
def less(descriptor, data):
    global writes, fired
    writes += 1
    if writes == int(short) and len(data) > 1:
        fired = True
        return real(descriptor, bytes(data)[: len(data) // 2])
    return real(descriptor, data)
if int(short):
    os.write = less
try:
    place.recover() if name == "recover" else SCENES[name].act(place)
except (OSError, WaybillError) as error:
    print(type(error).__name__, error, file=sys.stderr)
    sys.exit(3)
finally:
    os.write = real
if int(short) and not fired:
    print(writes)
    sys.exit(4)
"""


@dataclass(frozen=True)
class Point:
    """The n-th call of its kind in the main thread; of a short write, the n-th write of the process.

    Attributes:
        path: Only calls that name this file of the site are counted; all of them where it is empty.
    """

    call: str
    count: int
    path: str = ""

    def tracer(self, world: Path, what: str, out: Path, *options: str) -> tuple[str, ...]:
        only = ("-P", str(world / self.path)) if self.path else ()
        inject = f"--inject={self.call}:{what}:when={self.count}"
        return ("strace", "-qq", "-f", *options, *only, "-o", str(out), f"--trace={self.call}", inject)


@dataclass
class Stage:
    """A scene before its act.

    Attributes:
        before: The site's folder; never touched.
        fast: A folder for copies.
    """

    name: str
    place: Place
    before: Path
    fast: Path

    def copied(self, path: Path) -> Place:
        return Place(path=path, disk=QuickDisk(), clock=self.place.clock, people=self.place.people)

    def running(self) -> int:
        return self.copied(self.before).open().state.current


def stage(name: str, fast: Path) -> Stage:
    place = make_place(fast / "world", vendor(), disk=QuickDisk(), reserve="4KiB")
    SCENES[name].prepare(place, fast)
    key = fast / "ops-1.key"
    key.touch(mode=0o600)
    key.write_bytes(encode_private(place.people["ops-1"], None))
    return Stage(name, place, place.path.rename(fast / "before"), fast)


def run(
    world: Path, name: str, health: Mapping[str, str], *tracer: str, short: int = 0
) -> subprocess.CompletedProcess[bytes]:
    words = [f"{probe}={word}" for probe, word in health.items()]
    return subprocess.run(
        [*tracer, sys.executable, "-X", "frozen_modules=on", "-c", ACT, str(world), name, str(short), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
    )


def points(scene: Stage, before: Path | None = None, act: str = "") -> list[Point]:
    """The calls that change something in the site's folder: found by one traced run, and the same in a second."""
    found, again = (_points(scene, before, act) for _ in range(2))
    return [one for one in found if not one.path or one in again]


def _points(scene: Stage, before: Path | None, act: str) -> list[Point]:
    world, trace = scene.fast / "traced" / "site", scene.fast / "trace"
    shutil.copytree(before or scene.before, world, symlinks=True)
    tracer = ("strace", "-qq", "-f", "-y", "--seccomp-bpf", "-o", str(trace), f"--trace={CALLS},openat")
    done = run(world, act or scene.name, dict(scene.place.health), *tracer)
    assert done.returncode == 0, done.stderr.decode()
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
    world = scene.fast / "counted" / "site"
    shutil.copytree(scene.before, world, symlinks=True)
    done = run(world, scene.name, dict(scene.place.health), short=10**6)
    assert done.returncode == NEVER, done.stderr.decode()
    shutil.rmtree(world)
    return [Point("write", number) for number in range(1, int(done.stdout) + 1)]


def injected(scene: Stage, how: str, point: Point, world: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the act with one call cut short, in a copy at ``world``; it must have fired."""
    shutil.copytree(scene.before, world, symlinks=True)
    health = dict(scene.place.health)
    if how == SHORT:
        done = run(world, scene.name, health, short=point.count)
        # A write of one byte cannot be shortened.
        assert done.returncode in (0, NEVER), done.stderr.decode()
        return done
    what = "signal=SIGKILL" if how == KILL else f"error={how}"
    trace = scene.fast / "fired"
    fast = () if how == KILL else ("--seccomp-bpf",)
    done = run(world, scene.name, health, *point.tracer(world, what, trace, *fast))
    if how == KILL:
        assert done.returncode in (-9, 137), f"{point} never fired: {done.stderr.decode()}"
    else:
        assert "(INJECTED)" in trace.read_text(errors="replace"), f"{point} never fired"
        assert done.returncode in (0, FAILED), f"{how} at {point}: {done.stderr.decode()}"
    return done


def sweep(scene: Stage, how: str, chosen: Iterable[Point], states: dict[object, Path] | None = None) -> set[int]:
    """Cut at each point, recover for real, look at the eight invariants; the generations that ran afterwards.

    Args:
        states: Gets a copy of each distinct folder that was left, for a second crash.
    """
    ended = set()
    for point in chosen:
        world = scene.fast / "cut" / "site"
        injected(scene, how, point, world)
        if states is not None and (key := looks(world)) not in states:
            states[key] = Path(shutil.copytree(world, scene.fast / f"state-{len(states)}", symlinks=True))
        here = scene.copied(world)
        here.recover()
        problem = problems(here)
        assert not problem, f"{scene.name}: {how} at {point.call} number {point.count}: {problem}"
        ended.add(here.open().state.current)
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
        world = scene.fast / "again" / "site"
        shutil.copytree(left, world, symlinks=True)
        tracer = point.tracer(world, "signal=SIGKILL", Path("/dev/null"))
        done = run(world, "recover", dict(scene.place.health), *tracer)
        assert done.returncode in (-9, 137), f"{point} never fired: {done.stderr.decode()}"
        here = scene.copied(world)
        here.recover()
        problem = problems(here)
        assert not problem, f"{scene.name}: killed again at {point.call} number {point.count}: {problem}"
        shutil.rmtree(world)
    return len(found)
