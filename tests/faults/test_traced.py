"""A share of what `make sweep` does: a real process, cut short at calls that change a file, leaves old or new."""

import shutil
from pathlib import Path

import pytest

from tests.faults.test_crash import fast
from tests.faults.traced import ERRORS, KILL, SHORT, points, short_points, stage, sweep

__all__ = ["fast"]
# Every n-th call, beginning with another one in each scene, so that together they meet each kind of call.
SHARE = 12
SCENES = ("upgrade", "confirm", "rollback", "collect garbage", "report")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]


@pytest.mark.parametrize(
    ("name", "share"), [("upgrade", 3), ("upgrade of images", 12), ("failing upgrade", 6), ("leave a trial", 4)]
)
def test_killed_at_calls_that_change_a_file(name: str, share: int, fast: Path) -> None:
    scene = stage(name, fast)
    found = points(scene)
    ended = sweep(scene, KILL, found[::share])
    print(f"{name}: killed at {len(found[::share])} of {len(found)} calls")
    assert len(found) > 20
    assert scene.running() in ended or name == "leave a trial"


@pytest.mark.parametrize("name", SCENES)
def test_an_error_at_a_call(name: str, fast: Path) -> None:
    scene = stage(name, fast)
    found = points(scene)
    for i, how in enumerate(ERRORS):
        chosen = found[(SCENES.index(name) + i) % min(SHARE, len(found)) :: SHARE]
        sweep(scene, how, chosen)
        print(f"{name}: {how} at {len(chosen)} of {len(found)} calls")
        assert chosen


@pytest.mark.parametrize("name", SCENES)
def test_a_write_that_is_cut_short_goes_on(name: str, fast: Path) -> None:
    """The kernel may take less than it was given (write(2)): the rest must follow, and nothing is different."""
    scene = stage(name, fast)
    found = short_points(scene)
    chosen = found[SCENES.index(name) % min(SHARE, len(found)) :: SHARE]
    ended = sweep(scene, SHORT, chosen)
    assert len(ended) == 1, "a short write is no failure"
    print(f"{name}: short at {len(chosen)} of {len(found)} writes")
