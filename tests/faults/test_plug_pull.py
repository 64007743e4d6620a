"""A share of what `make plug-pull` does."""

from pathlib import Path

import pytest

from tests.faults.plug_pull import life, settle
from tests.faults.test_crash import fast

__all__ = ["fast"]


@pytest.mark.slow
def test_a_life_of_pulled_plugs(fast: Path) -> None:
    place, media = settle(fast)
    found = list(life(place, 40, 3, media, fast))
    assert {one.found for one in found} == {"old", "new"}, [one.line(i) for i, one in enumerate(found)]
    assert all(one.generation == place.open().state.installs.current for one in found[-1:])
    assert sum(one.lost.split()[0] != "0" for one in found) > 5
