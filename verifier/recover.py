"""What has to happen next, from the journal and what is seen on disk; nothing else. `install`, `recover` and the boot
unit ask the same function, so what a crash leaves behind is not a special case.
"""

from dataclasses import dataclass
from typing import Literal

from verifier.events import Act
from verifier.state import SiteState, Transaction
from verifier.table import BEFORE_SWITCH, State

# An activation that was cut off is tried again so often; then the site goes back.
MAX_ATTEMPTS = 3
# Going back is tried so often; then a person must look.
MAX_RETREATS = 3


@dataclass(frozen=True)
class Observed:
    """``current``: the generation that the link names, 0 for no link, None for something that is not ours."""

    current: int | None


@dataclass(frozen=True)
class Rest:
    """Nothing happens by itself; ``why`` is ``idle``, ``person`` (trial passed, a word is awaited) or the state."""

    why: str


@dataclass(frozen=True)
class Close:
    """An act has an intent and no outcome: write down what became of it."""

    act: Act
    result: Literal["done", "interrupted"]


@dataclass(frozen=True)
class Relink:
    """``current`` names another generation than the journal, which is the truth: set it right."""

    to: int


@dataclass(frozen=True)
class Do:
    act: Act


@dataclass(frozen=True)
class Confirm:
    """The trial has passed and nobody else is asked."""


@dataclass(frozen=True)
class GiveUp:
    """Neither old nor new can be reached from here."""

    code: str
    detail: str


Decision = Rest | Close | Relink | Do | Confirm | GiveUp


def decide(state: SiteState, observed: Observed, *, forward: bool, person: bool, again: bool = False) -> Decision:
    """The one next thing.

    Args:
        forward: Whether somebody is here who wants the transaction to switch; a crash before the switch is not
            finished by itself.
        person: Whether a person, and not the probes, ends the trial.
        again: Whether a person asks for one more try out of INCONSISTENT.
    """
    now = state.transaction
    if now is None or now.state in (State.SETTLED, State.ROLLED_BACK):
        return _at_rest(state, observed, "idle")
    if now.act is not None:
        return _close(now, now.act, observed)
    match now.state:
        case State.INCONSISTENT if not again:
            return Rest("inconsistent")
        case State.STAGED if forward:
            return Do("switch")
        case State.APPROVED if forward:
            return Do("stage")
        case _ if now.state in BEFORE_SWITCH:
            return _at_rest(state, observed, str(now.state))
    # Switched: from here on `current` must be the one or the other, and the journal knows which.
    if observed.current not in (now.planned.target, now.planned.source):
        return GiveUp("current-foreign", f"current names {observed.current}, expected {now.planned.target}")
    if now.state != State.ROLLING_BACK and observed.current != state.current:
        return Relink(state.current)
    match now.state:
        case State.SWITCHED:
            return Do("activate") if now.attempts < MAX_ATTEMPTS else Do("retreat")
        case State.PROBING:
            if not now.passed:
                return Do("probe")
            return Rest("person") if person else Confirm()
        case State.CONFIRMED:
            return Do("settle")
        case State.INCONSISTENT:
            return Do("retreat")
        case State.ROLLING_BACK:
            if now.retreats >= MAX_RETREATS:
                return GiveUp("retreat-failed", f"going back failed {now.retreats} times: {now.detail}"[:1000])
            return Do("retreat")
    raise AssertionError(now.state)


def _at_rest(state: SiteState, observed: Observed, why: str) -> Decision:
    if observed.current != state.current:
        return Relink(state.current)
    return Rest(why)


def _close(now: Transaction, act: Act, observed: Observed) -> Decision:
    """Only the switch can have happened without an outcome in a way that matters: the link itself tells."""
    if act == "switch":
        if observed.current == now.planned.target:
            return Close(act, "done")
        if observed.current == now.planned.source:
            return Close(act, "interrupted")
        return GiveUp("current-foreign", f"current names {observed.current}, expected {now.planned.source}")
    return Close(act, "interrupted")
