"""A real process, cut short at every call that changes a file, leaves old or new, and says so."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.actor import Actor
from tests.faults.test_crash import SCENES, fast
from tests.faults.traced import ERRORS, KILL, SHORT, points, second, short_points, stage, sweep

__all__ = ["fast"]
# Install, confirm, rollback, garbage collection, report: errors and short writes come in these; kills in all scenes.
NAMED = ("upgrade", "upgrade of images", "confirm", "rollback", "collect garbage", "report")
# Those whose recovery is killed again, at every call, from each distinct folder that a kill has left.
TWICE = ("upgrade", "rollback")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Actor]:
    with Actor(tmp_path_factory.mktemp("actor")) as made:
        yield made


@pytest.mark.parametrize("name", SCENES)
def test_killed_at_every_call_that_changes_a_file(name: str, fast: Path, actor: Actor) -> None:
    scene = stage(name, fast, actor)
    found = points(scene)
    ended = sweep(scene, KILL, found)
    print(f"{name}: killed at each of {len(found)} calls; then ran {sorted(ended)}")
    assert len(found) > 5
    assert scene.running(scene.before) in ended or name == "leave a trial"


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("name", NAMED)
def test_an_error_at_every_call_that_changes_a_file(name: str, how: str, fast: Path, actor: Actor) -> None:
    scene = stage(name, fast, actor)
    found = points(scene)
    ended = sweep(scene, how, found)
    print(f"{name}: {how} at each of {len(found)} calls; then ran {sorted(ended)}")
    assert len(found) > 5


@pytest.mark.parametrize("name", NAMED)
def test_a_write_that_is_cut_short_goes_on(name: str, fast: Path, actor: Actor) -> None:
    """The kernel may take less than it was given (write(2)): the rest must follow, and nothing is different."""
    scene = stage(name, fast, actor)
    found = short_points(scene)
    ended = sweep(scene, SHORT, found)
    print(f"{name}: short at each of {len(found)} writes")
    assert len(ended) == 1, "a short write is no failure"


@pytest.mark.parametrize("name", TWICE)
def test_the_recovery_is_killed_too(name: str, fast: Path, actor: Actor) -> None:
    scene = stage(name, fast, actor)
    left: dict[object, Path] = {}
    sweep(scene, KILL, points(scene), left)
    calls = sum(second(scene, one) for one in left.values())
    print(f"{name}: {len(left)} folders, killed again at {calls} calls")
    assert calls > len(left) > 10
