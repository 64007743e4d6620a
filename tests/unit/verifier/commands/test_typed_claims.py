"""What dry runs and `next:` lines say comes true: chosen lives of a site, for what random walks seldom reach."""

from collections.abc import Iterator

import pytest

from manifests.words.errors import RefusedError, TrialError
from tests.claims_dry import check_dry_rollback, dry_run
from tests.property.test_site_machine import Life
from tests.typed import follow, typed


@pytest.fixture
def life() -> Iterator[Life]:
    walk = Life()
    walk.enrol()
    yield walk
    walk.teardown()


def test_a_dry_run_of_an_upgrade_and_of_the_rollbacks_after_it(life: Life) -> None:
    life.install(1, agreed=True)
    life.install(3, agreed=True)
    life.rollback(1, 1)
    life.rollback(2, 2)
    assert life.runs == 3


def test_a_dry_run_below_the_floor_is_refused_as_the_rollback_is(life: Life) -> None:
    life.install(3, agreed=True)
    life.install_what_fails(4)
    life.install(4, agreed=True)
    dry = dry_run(life.place, "rollback", "--to", 1)
    assert dry.typed.code == 5
    with pytest.raises(RefusedError) as caught:
        life.place.rollback(1, person="ops-1")
    check_dry_rollback(life.place, dry, caught.value, well=False)


def test_a_rollback_below_the_floor_is_told_in_order(life: Life) -> None:
    life.install(3, agreed=True)
    life.install(4, agreed=True)
    life.authorise(life.below()[0])
    dry = dry_run(life.place, "rollback", "--to", 1)
    assert "undo step up: admin undo 3" in dry.text
    assert "probe up: " in dry.text
    # The release asks for a person to end its trial.
    assert isinstance(life.place.rollback(1, person="ops-1").error, TrialError)
    check_dry_rollback(life.place, dry, None, well=True)


def test_each_next_command_works(life: Life) -> None:
    life.receive(1)
    first = typed(life.place, "review")
    assert [done.words[0] for done in follow(life.place, first)] == ["review", "approve", "install"]
    life.runs = life.floor = life.highest = 1
    life.the_status_is_true()
    life.receive(3)
    life.next_commands_work()
    assert life.runs == 1
