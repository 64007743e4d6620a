"""Drive the transaction of a site: do what `decide` says, one act at a time, until a person is needed or it ends.

The intent of every act is in the journal and synced before it begins, its outcome after it ends. Whatever fails after
the first change of data or after the switch leads back to the former generation, by the same steps as after a crash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from manifests.documents.approval import SignedApproval
from manifests.trust.root import Mark
from manifests.words.errors import HostError, WaybillError
from manifests.words.time import parse_time
from verifier.change.recovery import (
    CloseAct,
    ConfirmTrial,
    Decision,
    DiskState,
    Idle,
    MarkInconsistent,
    RecordRetry,
    RecoveryRequest,
    RepairLink,
    RunAct,
    decide,
)
from verifier.change.transaction import trial_left
from verifier.install.acts import ACTS, point
from verifier.install.context import ActContext, JournalError, Runtime
from verifier.rules.time import FAR_AHEAD, effective_now
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.events import AskedAgain, Confirmed, Inconsistent, Note
from verifier.site.journal.installs import PART_ACTS, State
from verifier.site.journal.transitions import BEFORE_CHANGE, TRIAL

# A failure of one of these ends the install. After a later failure the site is rolled back.
_ENDS_FORWARD = ("pause", "switch", *PART_ACTS)


@dataclass(frozen=True)
class DriveRequest:
    """What the command wants of the transaction.

    Attributes:
        stage: Stages the new generation, before the switch; without it a transaction that has changed nothing stays
            as it is.
        retry: A person requests one retry out of INCONSISTENT; ``back`` goes to the former generation.
        due: End a trial whose time is up, even if a person should have confirmed it.
        confirm: A person confirms a trial that waits for one, with ``approval`` if a key was used.
        leave_trial: A person ends the trial by a rollback.
    """

    stage: Callable[[], None] | None = None
    retry: Literal["any", "back"] | None = None
    due: bool = False
    confirm: bool = False
    approval: SignedApproval | None = None
    leave_trial: bool = False


def drive(site: Site, runtime: Runtime, request: DriveRequest) -> Idle:
    """Go on until nothing is left to do without a person.

    Raises:
        HostError: The journal cannot be written; `waybill recover` goes on from there.
        WaybillError, OSError: It failed before anything was changed, data included.
    """
    context = ActContext(site, runtime)
    try:
        return _drive(context, request)
    except JournalError as stopped:
        error = stopped.args[0]
        when = "after" if context.transaction.switched else "before"
        raise HostError(
            f"the journal cannot be written ({error.strerror or error}); stopped {when} the switch",
            where=str(error.filename or site.path / "journal"),
            remedy="make space or repair the disk, then run `waybill recover`",
            finding="journal-unwritable",
        ) from error


def _drive(context: ActContext, request: DriveRequest) -> Idle:
    """Decide, act, and decide again. After ``failure`` the transaction only goes back, or becomes idle."""
    failure: Exception | None = None
    retry = request.retry
    while True:
        decision = _decide(context, request, retry, forward=request.stage is not None and failure is None)
        match decision:
            case RecordRetry() | MarkInconsistent() | RunAct("retreat"):
                # The retry was requested for an earlier failure. A later one needs a new request.
                retry = None
        match decision:
            case Idle():
                if failure is not None and context.transaction.state in BEFORE_CHANGE:
                    # Nothing was changed: the command ends with the failure itself, not with a rollback.
                    raise failure
                return decision
            case RunAct("stage") if request.stage is not None:
                # Nothing depends on the staged generation yet, so a failure ends the command at once.
                context.run("stage", request.stage)
            case RunAct(act):
                error = _attempt(context, decision)
                if act == "settle" and error is not None:
                    # The new generation is confirmed and runs. Only cleaning up failed; `waybill recover` repeats it.
                    return Idle("unsettled")
                if act in _ENDS_FORWARD:
                    failure = failure or error
            case CloseAct(act, result):
                context.close(act, result)
            case RepairLink(number):
                _repair_link(context, number)
            case ConfirmTrial():
                _confirm(context, request)
            case MarkInconsistent(code, detail):
                context.write(Inconsistent(code=code, detail=detail))
            case RecordRetry(direction):
                context.write(AskedAgain(way=direction))


def _decide(
    context: ActContext, request: DriveRequest, retry: Literal["any", "back"] | None, *, forward: bool
) -> Decision:
    """Return the next thing to do, from the journal and the disk as they are now."""
    site = context.site
    transaction = site.state.installs.transaction
    person = not request.confirm and transaction is not None and _waits_for_person(context)
    decision = decide(
        site.state,
        DiskState(current=site.pointed(), boot=site.host.boot),
        RecoveryRequest(
            forward=forward, person=person, retry=retry, late=request.due and person and (trial_left(site) or 0) <= 0
        ),
        context.script(),
    )
    # A person ends the trial, so an act that continues it becomes a rollback. Repairs of the journal, of the link or of
    # an unfinished act still come first.
    if (
        request.leave_trial
        and isinstance(decision, RunAct | Idle | ConfirmTrial)
        and context.transaction.state in TRIAL
    ):
        return RunAct("retreat", code="by-hand")
    return decision


def _attempt(context: ActContext, decision: RunAct) -> Exception | None:
    """Run an act. A failure is in the journal and decides what comes next, so it is returned and not raised."""
    try:
        if decision.part is not None:
            context.run_part(decision.part)
        else:
            context.run(decision.act, lambda: ACTS[decision.act](context), code=decision.code)
    except JournalError:
        raise
    # Also a bug in a driver: the site must not stay between two generations, nor its data between two formats.
    except Exception as error:  # noqa: BLE001
        context.notify(f"{decision.act} failed: {error}")
        return error
    return None


def _repair_link(context: ActContext, number: int) -> None:
    """Make ``current`` name the generation that the journal says."""
    site, before = context.site, context.site.pointed()
    generation = site.state.installs.generation(number)
    if generation is not None:
        # Raises for a generation that is missing or damaged: `current` must never name one.
        read_installed(site, generation)
    point(site, number)
    context.write(Note(code="current-restored", detail=f"from {before} to {number}"))


def _waits_for_person(context: ActContext) -> bool:
    """Whether the policy in force or the release lets a person, and not the probes, end the trial."""
    if context.transaction.state != State.PROBING:
        return False
    try:
        return context.site.policy.confirm.by == "person" or context.target.release.trial.confirm == "person"
    except WaybillError:
        # Who ends the trial cannot be read, so the probes alone must not; a rollback stays possible.
        return True


def _confirm(context: ActContext, request: DriveRequest) -> None:
    """End the trial. The floor rises here and nowhere else."""
    state, planned = context.site.state, context.transaction.planned
    signed = request.approval
    floor = Mark(epoch=planned.mark.epoch, sequence=planned.floor)
    stream = state.installs.stream_of(planned.channel)
    if stream is not None and stream.floor is not None:
        # A release may state a lower floor than an earlier one; the site keeps the higher one.
        floor = max(floor, stream.floor)
    issued_at, known = context.target.release.issued_at, state.trust.time_floor
    issued = parse_time(issued_at)
    # A date so far ahead proves nothing. It is kept as a claim that a person may confirm.
    far_ahead = issued > effective_now(context.site.host.now(), known) + FAR_AHEAD
    proves_time = not far_ahead and (known is None or issued > known)
    context.write(
        Confirmed(
            generation=planned.target,
            floor=floor,
            time_floor=issued_at if proves_time else None,
            claimed=issued_at if far_ahead else None,
            by="person" if request.confirm else "probes",
            person=signed.person if signed else None,
            role=signed.approval.role if signed else None,
            keyid=signed.approval.keyid if signed else None,
            envelope=signed.digest if signed else None,
        )
    )
