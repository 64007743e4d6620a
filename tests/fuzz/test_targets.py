"""Whatever a fuzzer begins with and whatever it once found: read or refused, never another exception."""

import pytest

from manifests.words.errors import WaybillError
from tests.fuzz.__main__ import FINDINGS
from tests.fuzz.corpus import seeds
from tests.fuzz.targets import TARGETS, run

FOUND = sorted(path for path in FINDINGS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_reach_every_reader(target: str) -> None:
    """Each reader is given something that it takes, but for those that must take nothing."""
    taken = set()
    for data in set(seeds(target)):
        run(target, data)
        try:
            TARGETS[target][data[0]](data[1:])
        except WaybillError:
            continue
        taken.add(data[0])
    nothing = {3, 10} if target == "envelope" else set()
    assert taken == set(range(len(TARGETS[target]))) - nothing


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_and_a_byte(target: str) -> None:
    for data in (b"", *(bytes((n,)) for n in range(256))):
        run(target, data)


def test_what_was_found_once() -> None:
    for path in FOUND:
        assert path.parent.name in TARGETS
        run(path.parent.name, path.read_bytes())
