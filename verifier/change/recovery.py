"""Decide what happens next from the journal, the rollback document and the link on disk, and from nothing else.

``install``, ``recover`` and the boot unit call the same function, so recovery from a crash is no special case.
"""

from dataclasses import dataclass
from typing import Literal

from manifests.documents.rollback import Rollback
from verifier.change.rollback_script import next_part
from verifier.site.journal.events import Act, PartAct
from verifier.site.journal.installs import PartHistory, PartRecord, State, Transaction
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import (
    BEFORE_CHANGE,
    Apply,
    Blocked,
    GoBack,
    MakeBackup,
    NextPart,
    Restore,
    Settled,
    TryRestore,
    Undo,
)

# Attempts of an activation or a switch that was interrupted; then the site is rolled back.
MAX_ATTEMPTS = 3
# Attempts of a rollback, plus one for each retry that a person requests; then the site is INCONSISTENT.
MAX_RETREATS = 3


@dataclass(frozen=True)
class DiskState:
    """The host: the generation that the link ``current`` names, and the kernel's id of this boot.

    Without a link the generation is 0; for a link to anything else it is None.
    """

    current: int | None
    boot: str | None = None


@dataclass(frozen=True)
class RollbackScript:
    """A rollback document and what was done of it.

    Attributes:
        back: The transaction is a manual rollback, so it takes the data back itself.
        fresh: There is no former generation, so there is nothing to back up.
    """

    document: Rollback
    records: PartHistory
    back: bool = False
    fresh: bool = False

    def next(self, *, back: bool) -> NextPart:
        return next_part(self.document, self.records, back=back, fresh=self.fresh)

    @property
    def taken_back(self) -> bool:
        """Whether an undo or a restore was at least begun."""
        return any(isinstance(record, PartRecord) and record.act in ("undo", "restore") for record in self.records)


@dataclass(frozen=True)
class Idle:
    """Nothing to do; ``why`` is ``idle``, ``person`` (a trial waits for its confirmation) or the state."""

    why: str


@dataclass(frozen=True)
class CloseAct:
    """An act has an intent and no outcome in the journal: record its outcome."""

    act: Act
    result: Literal["done", "interrupted"]


@dataclass(frozen=True)
class RepairLink:
    """``current`` names another generation than the journal: set the link as the journal says."""

    to: int


@dataclass(frozen=True)
class RunAct:
    """Do ``part`` of the rollback document, or another act; ``code`` is the finding to record without a failure."""

    act: Act
    part: NextPart | None = None
    code: str | None = None


@dataclass(frozen=True)
class ConfirmTrial:
    """Confirm the trial: its probes passed, and no person is asked."""


@dataclass(frozen=True)
class RecordRetry:
    """Record that a person requests a retry, and its direction."""

    direction: Literal["back", "forward"]


@dataclass(frozen=True)
class MarkInconsistent:
    """Record that neither the former nor the new generation can be reached."""

    code: str
    detail: str


Decision = Idle | CloseAct | RepairLink | RunAct | ConfirmTrial | RecordRetry | MarkInconsistent


@dataclass(frozen=True)
class RecoveryRequest:
    """What the caller wants.

    Attributes:
        forward: Continue the transaction to its switch. Without it, a transaction that has changed no data is undone.
        person: A person, and not the probes, ends the trial.
        retry: A person requests one retry out of INCONSISTENT; ``back`` always leads to the former generation, because
            the person has repaired its data.
        late: The time of the trial is up, so it ends even without a confirmation.
    """

    forward: bool
    person: bool
    retry: Literal["any", "back"] | None = None
    late: bool = False


def decide(
    state: SiteState, observed: DiskState, request: RecoveryRequest, script: RollbackScript | None = None
) -> Decision:
    """Return the one next thing to do. Pure: equal arguments give an equal decision, also after a crash.

    ``script`` is the rollback document of ``Planned.document``; None when no data are changed.
    """
    transaction = state.installs.transaction
    if transaction is None or transaction.state in (State.SETTLED, State.ROLLED_BACK):
        return _at_rest(state, observed, "idle")
    if transaction.act is not None:
        return _close(transaction, transaction.act, observed)
    if transaction.state == State.INCONSISTENT:
        if request.retry is None:
            return Idle("inconsistent")
        return _retry_direction(transaction, observed, request.retry, script)
    if transaction.state in BEFORE_CHANGE:
        return _before_change(state, transaction, observed, request, script)
    # From here on `current` must name one of the two generations, and the journal says which.
    planned = transaction.planned
    if observed.current not in (planned.target, planned.source):
        return MarkInconsistent("current-foreign", f"current names {observed.current}, expected {planned.target}")
    if transaction.state != State.ROLLING_BACK and observed.current != state.installs.current:
        return RepairLink(state.installs.current)
    return _after_change(transaction, observed, request, script)


def _before_change(
    state: SiteState,
    transaction: Transaction,
    observed: DiskState,
    request: RecoveryRequest,
    script: RollbackScript | None,
) -> Decision:
    """Return what to do while no data were changed."""
    approved = transaction.state == State.APPROVED
    # Services that were stopped for backups run again before anything else, unless the install goes on from there.
    if transaction.touched and (approved or not request.forward):
        return RunAct("resume")
    if request.forward and approved:
        return RunAct("stage")
    if request.forward and transaction.state in (State.STAGED, State.BACKED_UP):
        return _next_document_part(transaction, observed, script)
    return _at_rest(state, observed, str(transaction.state))


def _after_change(
    transaction: Transaction, observed: DiskState, request: RecoveryRequest, script: RollbackScript | None
) -> Decision:
    """Return what to do once data or the running generation were changed."""
    match transaction.state:
        case State.MIGRATING:
            return _next_document_part(transaction, observed, script)
        case State.SWITCHED:
            return RunAct("activate") if transaction.attempts < MAX_ATTEMPTS else _retreat(script)
        case State.PROBING if not transaction.passed:
            return RunAct("probe")
        case State.PROBING if request.person and request.late:
            back = _retreat(script, "unconfirmed")
            # The probes pass and a rollback is not possible: the trial goes on until a person confirms it.
            return back if isinstance(back, RunAct) else Idle("person")
        case State.PROBING:
            return Idle("person") if request.person else ConfirmTrial()
        case State.CONFIRMED:
            return RunAct("settle")
        case State.ROLLING_BACK:
            if transaction.retreats >= MAX_RETREATS + transaction.asked:
                detail = f"the rollback failed {transaction.retreats} times: {transaction.detail or transaction.code}"
                return MarkInconsistent("retreat-failed", detail[:1000])
            return _retreat(script)
    raise AssertionError(transaction.state)


def rollback_obstacle(script: RollbackScript | None) -> MarkInconsistent | None:
    """Return why a rollback to the former generation is not possible; None when it is."""
    decision = _retreat(script)
    return decision if isinstance(decision, MarkInconsistent) else None


def act_of_part(part: NextPart) -> tuple[PartAct, str]:
    """Return the act and the name of a part, as the journal records them."""
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


def _next_document_part(transaction: Transaction, observed: DiskState, script: RollbackScript | None) -> Decision:
    """Return the next backup or step between staging and the switch; the switch itself once all are done."""
    if script is None:
        return RunAct("switch")
    part = script.next(back=script.back)
    match part:
        case Blocked(code, detail):
            return MarkInconsistent(code, detail)
        case GoBack(code, _):
            # A part that failed recorded its finding; one that was interrupted could not, so it is recorded here.
            finding = code if transaction.code in (None, "interrupted") else None
            migrating = transaction.state == State.MIGRATING
            return _retreat(script, finding) if migrating else RunAct("resume", code=finding)
        case Settled():
            return RunAct("switch") if transaction.switches < MAX_ATTEMPTS else _retreat(script, "switch-failed")
    # After a reboot the services run again, so a pause of an earlier boot does not count.
    pauses = script.document.services == "stopped" and transaction.planned.source != 0
    if pauses and transaction.paused != observed.boot:
        return RunAct("pause")
    return RunAct(act_of_part(part)[0], part)


def _retreat(script: RollbackScript | None, code: str | None = None) -> RunAct | MarkInconsistent:
    """Return to the former generation, unless its code would then run on data of the other one."""
    if script is not None and script.back:
        if script.taken_back:
            return MarkInconsistent(
                "data-taken-back", "the data were taken back, but the older generation does not run"
            )
    elif script is not None:
        part = script.next(back=True)
        if isinstance(part, Blocked):
            return MarkInconsistent(part.code, part.detail)
    return RunAct("retreat", code=code)


def _retry_direction(
    transaction: Transaction, observed: DiskState, retry: Literal["any", "back"], script: RollbackScript | None
) -> RecordRetry:
    """Forward only when the data belong to the generation that ``current`` names and a rollback is not possible."""
    on_target = transaction.switched and observed.current == transaction.planned.target
    if on_target and retry != "back" and script is not None:
        data_of_target = script.taken_back if script.back else not script.taken_back
        if data_of_target and rollback_obstacle(script) is not None:
            return RecordRetry("forward")
    return RecordRetry("back")


def _at_rest(state: SiteState, observed: DiskState, why: str) -> Decision:
    """Return idleness, or the repair of a link that names another generation than the journal."""
    if observed.current != state.installs.current:
        return RepairLink(state.installs.current)
    return Idle(why)


def _close(transaction: Transaction, act: Act, observed: DiskState) -> Decision:
    """Return the outcome of an act that was interrupted.

    A switch is one atomic replacement of the link, so the link says whether it happened. Every other act can be
    repeated or undone, so it counts as interrupted.
    """
    if act != "switch":
        return CloseAct(act, "interrupted")
    planned = transaction.planned
    if observed.current not in (planned.target, planned.source):
        return MarkInconsistent("current-foreign", f"current names {observed.current}, expected {planned.source}")
    return CloseAct(act, "done" if observed.current == planned.target else "interrupted")
