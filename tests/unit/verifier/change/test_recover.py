"""Every state of the table against every observation: one decision, and never a wrong one."""

from datetime import UTC, datetime

import pytest

from manifests.trust.private_keys import generate_key
from manifests.trust.root import Mark, Pin
from manifests.words.digest import digest_of
from verifier.change.recovery import (
    MAX_ATTEMPTS,
    MAX_RETREATS,
    CloseAct,
    ConfirmTrial,
    DiskState,
    Idle,
    MarkInconsistent,
    RecordRetry,
    RecoveryRequest,
    RepairLink,
    RunAct,
    decide,
)
from verifier.site.journal.events import Act, Planned
from verifier.site.journal.installs import RESTING, InstallState, State, Transaction
from verifier.site.journal.state import SiteState, TrustState
from verifier.site.journal.transitions import BEFORE_CHANGE, MOVES, TABLE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
D = digest_of(b"x")
KEY = generate_key().public
PLANNED = Planned(
    action="install",
    item="r-2.0.0",
    plan=D,
    source=1,
    target=2,
    release=D,
    product="p",
    version="2.0.0",
    channel="stable",
    mark=Mark(epoch=1, sequence=2),
    floor=1,
    settings=D,
    contract=D,
    policy=D,
)


def site(state: State | None, *, act: Act | None = None, current: int = 1, **more: object) -> SiteState:
    now = None
    if state is not None:
        given: dict[str, object] = {"planned": PLANNED, "state": state, "act": act, **more}
        now = Transaction(**given)  # type: ignore[arg-type]  # by name
    return SiteState(
        site="a/b/c/d",
        enrolled_channel="stable",
        site_key=KEY,
        key_epoch=1,
        head=D,
        seq=1,
        last_change=D,
        last_change_seq=1,
        last_change_at=NOW,
        last_at=NOW,
        trust=TrustState(vendor="v", practice=False, root=Pin(version=1, digest=D)),
        installs=InstallState(current=current, transaction=now),
    )


def what(state: SiteState, observed: int | None, *, forward: bool = False, person: bool = False) -> object:
    return decide(state, DiskState(observed), RecoveryRequest(forward=forward, person=person))


def test_nothing_was_ever_planned() -> None:
    assert what(site(None), 1) == Idle("idle")
    assert what(site(None, current=0), 0) == Idle("idle")


@pytest.mark.parametrize("state", [None, State.SETTLED, State.ROLLED_BACK, State.PLANNED, State.APPROVED, State.STAGED])
@pytest.mark.parametrize("observed", [0, 2, 7, None])
def test_at_rest_the_journal_sets_the_link_right(state: State | None, observed: int | None) -> None:
    assert what(site(state), observed) == RepairLink(1)


@pytest.mark.parametrize("state", BEFORE_CHANGE)
def test_a_crash_before_the_switch_goes_no_further_by_itself(state: State) -> None:
    act: Act | None = "stage" if state == State.STAGING else None
    found = what(site(state, act=act), 1)
    assert found == (CloseAct("stage", "interrupted") if act else Idle(str(state)))


@pytest.mark.parametrize(("state", "act"), [(State.APPROVED, "stage"), (State.STAGED, "switch")])
def test_forward_it_goes_on(state: State, act: Act) -> None:
    assert what(site(state), 1, forward=True) == RunAct(act)


def test_the_link_tells_whether_the_switch_happened() -> None:
    cut = site(State.STAGED, act="switch")
    assert what(cut, 2) == CloseAct("switch", "done")
    assert what(cut, 1) == CloseAct("switch", "interrupted")
    assert isinstance(what(cut, 9), MarkInconsistent)
    assert isinstance(what(cut, None), MarkInconsistent)


def test_a_cut_activation_is_repeated_and_then_taken_back() -> None:
    for attempts in range(MAX_ATTEMPTS):
        assert what(site(State.SWITCHED, current=2, attempts=attempts), 2) == RunAct("activate")
    assert what(site(State.SWITCHED, current=2, attempts=MAX_ATTEMPTS), 2) == RunAct("retreat")


def test_going_back_ends_for_a_person_and_not_in_a_loop() -> None:
    for retreats in range(MAX_RETREATS):
        assert what(site(State.ROLLING_BACK, current=2, retreats=retreats), 1) == RunAct("retreat")
    found = what(site(State.ROLLING_BACK, current=2, retreats=MAX_RETREATS), 1)
    assert isinstance(found, MarkInconsistent)
    assert found.code == "retreat-failed"


def test_inconsistent_rests_until_a_person_asks() -> None:
    lost = site(State.INCONSISTENT, current=2)
    assert what(lost, 2) == Idle("inconsistent")
    assert what(lost, 2, forward=True) == Idle("inconsistent")
    assert decide(lost, DiskState(2), RecoveryRequest(forward=False, person=False, retry="any")) == RecordRetry("back")


def test_a_trial() -> None:
    assert what(site(State.PROBING, current=2), 2) == RunAct("probe")
    assert what(site(State.PROBING, current=2, passed=True), 2) == ConfirmTrial()
    assert what(site(State.PROBING, current=2, passed=True), 2, person=True) == Idle("person")
    assert what(site(State.CONFIRMED, current=2), 2) == RunAct("settle")


@pytest.mark.parametrize("state", [State.SWITCHED, State.PROBING, State.CONFIRMED])
def test_after_the_switch_a_lost_link_is_set_right_and_a_strange_one_stops(state: State) -> None:
    assert what(site(state, current=2), 1) == RepairLink(2)
    assert isinstance(what(site(state, current=2), 5), MarkInconsistent)
    assert isinstance(what(site(state, current=2), None), MarkInconsistent)


@pytest.mark.parametrize("move", TABLE, ids=lambda move: f"{move.state} {move.act}")
@pytest.mark.parametrize("observed", [1, 2])
def test_every_act_that_was_cut_off_is_closed(move: object, observed: int) -> None:
    from verifier.site.journal.transitions import Move

    assert isinstance(move, Move)
    found = what(site(move.during, act=move.act, current=observed), observed)
    assert isinstance(found, CloseAct)
    assert found.act == move.act


def test_the_table_leads_to_rest_from_everywhere() -> None:
    """From every state a chain of acts, successes and failures, ends at rest; and none is there that nothing enters."""
    assert len(MOVES) == len(TABLE)
    edges: dict[State, set[State]] = {State.PROBING: {State.CONFIRMED}, State.ROLLING_BACK: {State.INCONSISTENT}}
    for move in TABLE:
        edges.setdefault(move.state, set()).update((move.done, move.failed))
    entered = {State.APPROVED, *(one for ends in edges.values() for one in ends)}
    assert set(edges) <= entered
    for start in edges:
        seen = {start}
        while more := {one for state in seen for one in edges.get(state, ())} - seen:
            seen |= more
        assert seen & set(RESTING), start


def test_acts_that_look_alike_in_the_journal_end_alike() -> None:
    """An outcome names its act and not where that began: rows with one act and one `during` must agree."""
    ends: dict[tuple[str, State], set[tuple[State, State]]] = {}
    for move in TABLE:
        ends.setdefault((move.act, move.during), set()).add((move.done, move.failed))
    assert [key for key, found in ends.items() if len(found) > 1] == []
