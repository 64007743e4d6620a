"""`make sweep`: the full product of scenes, faults and calls, and what was left each time. Takes about half an hour.

For each scene: killed, ENOSPC, EIO, a short write, at every call that changes a file; then each distinct folder that a
kill has left is killed again at every call of its recovery. Last, in the model: every state of the scenes of which the
suite takes only the extremes, and every loss at a second crash. Stops at the first invariant that does not hold.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.actor import Actor
from tests.faults.crash import states
from tests.faults.test_crash import SCENES, judge, record, twice
from tests.faults.traced import ERRORS, KILL, SHORT, points, second, short_points, stage, sweep

TWICE = ("upgrade", "failing upgrade", "rollback")


def traced(name: str, fast: Path) -> str:
    """One scene under strace; a line of counts."""
    with Actor(fast) as actor:
        scene = stage(name, fast, actor)
        found = points(scene)
        left: dict[object, Path] = {}
        sweep(scene, KILL, found, left)
        for how in ERRORS:
            sweep(scene, how, found)
        short = short_points(scene)
        sweep(scene, SHORT, short)
        again = sum(second(scene, one) for one in left.values())
    return (
        f"{name:<24} {len(found):>5} killed  {len(found):>5} ENOSPC  {len(found):>5} EIO  {len(short):>4} short  "
        f"{len(left):>4} folders killed again at {again} calls"
    )


def modelled(name: str, fast: Path) -> str:
    """One scene in the model; a line of counts."""
    place, run = record(SCENES[name], fast)
    count, problem = judge(run, place, fast, states(run, seen=set()))
    assert not problem, f"{name}: {problem}"
    line = f"{name:<24} {len(run.ops):>5} effects {count:>6} states"
    if name in TWICE:
        count, problem = twice(run, place, fast, every=True)
        assert not problem, f"{name}: {problem}"
        line += f" {count:>7} states after a second crash"
    return line


def main(names: list[str]) -> None:
    """Every scene, or those that are named."""
    if shutil.which("strace") is None:
        sys.exit("error: needs strace\nhint: make tools")
    memory = Path("/dev/shm")
    for work in (traced, modelled):
        for name in names or SCENES:
            with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
                print(work(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
