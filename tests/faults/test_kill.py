"""A real process, killed by the kernel at every call that changes a file: the next one finds old or new.

strace counts calls by number and thread, so each injection is checked to have fired: it is a kill, or it proves
nothing. Opening a file to create it is left out, for its count varies with what Python imports; a kill there is the
same as one at the call before it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crash import problems
from tests.faults.model import QuickDisk
from tests.faults.test_crash import SCENES, fast, vendor
from tests.place import Place, make_place

__all__ = ["fast"]
ROOT = Path(__file__).parents[2]
CALLS = "write,ftruncate,fsync,fdatasync,rename,link,symlink,unlink,mkdir,rmdir,copy_file_range,sendfile,chmod"
# Runs the very act in a process of its own; `host` is the real one, the site and its people are given.
ACT = """
import sys
from pathlib import Path
from tests.faults.test_crash import SCENES
from tests.place import Place
place = Place(path=Path(sys.argv[1]))
place.health = dict(item.split("=") for item in sys.argv[3:])
SCENES[sys.argv[2]].act(place)
"""


def run(world: Path, name: str, place: Place, *tracer: str) -> subprocess.CompletedProcess[bytes]:
    health = [f"{probe}={word}" for probe, word in place.health.items()]
    return subprocess.run(
        [*tracer, sys.executable, "-X", "frozen_modules=on", "-c", ACT, str(world), name, *health],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["upgrade", "failing upgrade", "leave a trial"])
def test_killed_at_every_call_that_changes_a_file(name: str, fast: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    place = make_place(fast / "world", vendor(), disk=QuickDisk(), reserve="4KiB")
    SCENES[name].prepare(place, fast)
    before = place.path.rename(fast / "before")
    points = _points(before, fast / "traced", name, place)
    old, new = place_number(before, place), set()
    for call, count in points:
        world = fast / "killed"
        shutil.copytree(before, world, symlinks=True)
        inject = f"--inject={call}:signal=SIGKILL:when={count}"
        done = run(world, name, place, "strace", "-qq", "-f", "-o", "/dev/null", f"--trace={call}", inject)
        assert done.returncode in (-9, 137), f"{call} {count} never fired: {done.stderr.decode()}"
        here = Place(path=world, disk=QuickDisk(), clock=place.clock, people=place.people)
        here.recover()
        problem = problems(here)
        assert not problem, f"killed at {call} number {count}: {problem}"
        new.add(here.open().state.current)
        shutil.rmtree(world)
    print(f"{name}: killed at {len(points)} calls")
    assert len(points) > 20
    assert old in new or name == "leave a trial"


def place_number(world: Path, place: Place) -> int:
    return Place(path=world, disk=QuickDisk(), clock=place.clock, people=place.people).open().state.current


def _points(before: Path, world: Path, name: str, place: Place) -> list[tuple[str, int]]:
    """Which n-th calls of each kind, in the main thread, touch the site's folder: found by one traced run."""
    shutil.copytree(before, world, symlinks=True)
    trace = world.with_name("trace")
    done = run(world, name, place, "strace", "-qq", "-f", "-y", "-o", str(trace), f"--trace={CALLS}")
    assert done.returncode == 0, done.stderr.decode()
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]
    counts: dict[str, int] = {}
    points = []
    for line in lines:
        match = re.match(r"(\d+) +([a-z_]+)\(", line)
        if match is None or match[1] != main:
            continue
        call = match[2]
        counts[call] = counts.get(call, 0) + 1
        if str(world) in line:
            points.append((call, counts[call]))
    shutil.rmtree(world)
    return points
