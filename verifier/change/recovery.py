"""What has to happen next, from the journal, the rollback document and what is seen on disk; nothing else. `install`,
`recover` and the boot unit ask the same function, so what a crash leaves behind is not a special case.
"""

from dataclasses import dataclass
from typing import Literal

from manifests.documents.rollback import Rollback
from verifier.change.rollback_script import next_part
from verifier.site.journal.events import Act
from verifier.site.journal.state import SiteState, Transaction
from verifier.site.journal.transitions import (
    BEFORE_CHANGE,
    Apply,
    Blocked,
    GoBack,
    MakeBackup,
    NextPart,
    PartAct,
    PartHistory,
    PartRecord,
    Restore,
    Settled,
    State,
    TryRestore,
    Undo,
)

# An activation that was cut off is tried again so often; then the site goes back. Likewise a switch.
MAX_ATTEMPTS = 3
# Going back is tried so often, and once more for each time that a person asks; then a person must look.
MAX_RETREATS = 3


@dataclass(frozen=True)
class DiskState:
    """What is seen now.

    Attributes:
        current: The generation that the link names, 0 for no link, None for something that is not ours.
        boot: The kernel's id of this boot: what was stopped in another one may run again.
    """

    current: int | None
    boot: str = ""


@dataclass(frozen=True)
class RollbackScript:
    """A rollback document and what was done of it.

    Attributes:
        back: The transaction itself takes the data back: a rollback by hand.
        fresh: There is no former generation, so nothing to back up.
    """

    document: Rollback
    deeds: PartHistory
    back: bool = False
    fresh: bool = False

    def next(self, *, back: bool) -> NextPart:
        return next_part(self.document, self.deeds, back=back, fresh=self.fresh)

    @property
    def taken_back(self) -> bool:
        """Whether taking data back was begun at least."""
        return any(isinstance(one, PartRecord) and one.act in ("undo", "restore") for one in self.deeds)


@dataclass(frozen=True)
class Idle:
    """Nothing happens by itself; ``why`` is ``idle``, ``person`` (trial passed, a word is awaited) or the state."""

    why: str


@dataclass(frozen=True)
class CloseAct:
    """An act has an intent and no outcome: write down what became of it."""

    act: Act
    result: Literal["done", "interrupted"]


@dataclass(frozen=True)
class RepairLink:
    """``current`` names another generation than the journal, which is the truth: set it right."""

    to: int


@dataclass(frozen=True)
class RunAct:
    """Attributes: part: what of the rollback document; code: why, where that is not a failure."""

    act: Act
    part: NextPart | None = None
    code: str | None = None


@dataclass(frozen=True)
class ConfirmTrial:
    """The trial has passed and nobody else is asked."""


@dataclass(frozen=True)
class RecordRetry:
    """Write down that a person asks for one more try, and which way it goes."""

    way: Literal["back", "forward"]


@dataclass(frozen=True)
class MarkInconsistent:
    """Neither old nor new can be reached from here."""

    code: str
    detail: str


Decision = Idle | CloseAct | RepairLink | RunAct | ConfirmTrial | RecordRetry | MarkInconsistent


def decide(
    state: SiteState,
    observed: DiskState,
    *,
    forward: bool,
    person: bool,
    again: Literal["", "any", "back"] = "",
    late: bool = False,
    script: RollbackScript | None = None,
) -> Decision:
    """The one next thing.

    Args:
        forward: Whether somebody is here who wants the transaction to switch; a crash before the first change of data
            is not finished by itself.
        person: Whether a person, and not the probes, ends the trial.
        again: Whether a person asks for one more try out of INCONSISTENT; ``back`` leads to the former generation in
            any case, because they have seen to the data.
        late: Whether the time of the trial is up and it is to end, whoever was to have a word.
        script: Of ``Planned.document``; None where no data are changed.
    """
    now = state.installs.transaction
    if now is None or now.state in (State.SETTLED, State.ROLLED_BACK):
        return _at_rest(state, observed, "idle")
    if now.act is not None:
        return _close(now, now.act, observed)
    match now.state:
        case State.INCONSISTENT if not again:
            return Idle("inconsistent")
        case State.INCONSISTENT:
            return _ask(now, observed, again, script)
        case _ if now.state in BEFORE_CHANGE and now.touched and not (forward and now.state != State.APPROVED):
            return RunAct("resume")
        case State.STAGED | State.BACKED_UP if forward:
            return _parts(now, observed, script)
        case State.APPROVED if forward:
            return RunAct("stage")
        case _ if now.state in BEFORE_CHANGE:
            return _at_rest(state, observed, str(now.state))
    # From here on `current` must be the one or the other, and the journal knows which.
    if observed.current not in (now.planned.target, now.planned.source):
        return MarkInconsistent("current-foreign", f"current names {observed.current}, expected {now.planned.target}")
    if now.state != State.ROLLING_BACK and observed.current != state.installs.current:
        return RepairLink(state.installs.current)
    match now.state:
        case State.MIGRATING:
            return _parts(now, observed, script)
        case State.SWITCHED:
            return RunAct("activate") if now.attempts < MAX_ATTEMPTS else _retreat(script)
        case State.PROBING if not now.passed:
            return RunAct("probe")
        case State.PROBING if person and late:
            back = _retreat(script, "unconfirmed")
            # Nothing leads back, and it works: then it waits on.
            return back if isinstance(back, RunAct) else Idle("person")
        case State.PROBING:
            return Idle("person") if person else ConfirmTrial()
        case State.CONFIRMED:
            return RunAct("settle")
        case State.ROLLING_BACK:
            if now.retreats >= MAX_RETREATS + now.asked:
                return MarkInconsistent(
                    "retreat-failed", f"going back failed {now.retreats} times: {now.detail}"[:1000]
                )
            return _retreat(script)
    raise AssertionError(now.state)


def rollback_obstacle(script: RollbackScript | None) -> MarkInconsistent | None:
    """Why nothing leads back to the former generation; None when something does."""
    found = _retreat(script)
    return found if isinstance(found, MarkInconsistent) else None


def act_of_part(part: NextPart) -> tuple[PartAct, str]:
    """The act and the name under which the journal knows a part."""
    match part:
        case MakeBackup(backup):
            return "backup", backup.name
        case TryRestore(backup, _):
            return "try", backup.name
        case Apply(step):
            return "migrate", step.name
        case Undo(step):
            return "undo", step.name
        case Restore(backup, _):
            return "restore", backup.name
    raise AssertionError(part)


def _parts(now: Transaction, observed: DiskState, script: RollbackScript | None) -> Decision:
    """Between staging and the switch: the parts of the rollback document, one after the other."""
    if script is None:
        return RunAct("switch")
    part = script.next(back=script.back)
    match part:
        case Blocked(code, detail):
            return MarkInconsistent(code, detail)
        case GoBack(code, _):
            # What failed has said why already; what was cut off could not.
            why = code if now.code in ("", "interrupted") else None
            return _retreat(script, why) if now.state == State.MIGRATING else RunAct("resume", code=why)
        case Settled():
            return RunAct("switch") if now.switches < MAX_ATTEMPTS else _retreat(script, "switch-failed")
    pauses = script.document.services == "stopped" and now.planned.source != 0
    if pauses and now.paused != observed.boot:
        return RunAct("pause")
    return RunAct(act_of_part(part)[0], part)


def _retreat(script: RollbackScript | None, code: str | None = None) -> RunAct | MarkInconsistent:
    """Back to the former generation, unless that would run its code on data that are not its own."""
    if script is not None and script.back:
        if script.taken_back:
            return MarkInconsistent("data-taken-back", "the data are the older generation's, and it does not run well")
    elif script is not None:
        part = script.next(back=True)
        if isinstance(part, Blocked):
            return MarkInconsistent(part.code, part.detail)
    return RunAct("retreat", code=code)


def _ask(now: Transaction, observed: DiskState, again: str, script: RollbackScript | None) -> RecordRetry:
    """Forward only where the data are those of the generation that `current` names, and nothing leads back."""
    if now.switched and again != "back" and observed.current == now.planned.target and script is not None:
        whole = script.taken_back if script.back else not script.taken_back
        if whole and rollback_obstacle(script) is not None:
            return RecordRetry("forward")
    return RecordRetry("back")


def _at_rest(state: SiteState, observed: DiskState, why: str) -> Decision:
    if observed.current != state.installs.current:
        return RepairLink(state.installs.current)
    return Idle(why)


def _close(now: Transaction, act: Act, observed: DiskState) -> Decision:
    """Only the switch can have happened without an outcome in a way that matters: the link itself tells."""
    if act == "switch":
        if observed.current == now.planned.target:
            return CloseAct(act, "done")
        if observed.current == now.planned.source:
            return CloseAct(act, "interrupted")
        return MarkInconsistent("current-foreign", f"current names {observed.current}, expected {now.planned.source}")
    return CloseAct(act, "interrupted")
