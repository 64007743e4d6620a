"""Roll a site back to an earlier generation."""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError, WaybillError
from verifier.approval.approve import VerdictRequest, give_verdict
from verifier.approval.verdicts import approval_status
from verifier.change.data_return import lost_blobs, name_blobs
from verifier.change.driver_steps import driver_steps
from verifier.change.reachable import rollbacks_alone
from verifier.change.recovery import rollback_obstacle
from verifier.change.rollback_plan import rollback_change
from verifier.change.transaction import check_idle
from verifier.change.transaction_script import script_of
from verifier.change.values import Change
from verifier.install.context import Runtime
from verifier.install.machine import DriveRequest, drive
from verifier.install.result import InstallResult, WriteReport, finish_previous, result_of
from verifier.rules.agreement import require_approvals
from verifier.site.folder import Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Approved, Note
from verifier.site.journal.installs import State, Transaction
from verifier.site.journal.transitions import TRIAL


@dataclass(frozen=True)
class RollbackRequest:
    """What the command asks for.

    Attributes:
        number: The generation to go back to; None for the former one.
        signers: Keys of people whose approvals are recorded first.
        reason: Text for the journal.
        dry_run: Check everything, also without approvals; sign and change nothing.
        weigh: Called with the plan before a signer signs or approvals of before are used. It shows the warnings of
            the plan, and raises RefusedError when the person does not go on.
    """

    number: int | None = None
    signers: tuple[Signer, ...] = ()
    reason: str | None = None
    dry_run: bool = False
    weigh: Callable[[Change], None] | None = None


def rollback(site: Site, request: RollbackRequest, runtime: Runtime, write_report: WriteReport) -> InstallResult:
    """Go back to an earlier generation: out of a trial without approvals, otherwise by the policy's rule `rollback`.

    An install that ended INCONSISTENT needs no approvals either.

    Raises:
        WaybillError: Before anything was changed.
    """
    transaction = site.state.installs.transaction
    if transaction is not None and not request.dry_run:
        on_trial = transaction.switched and transaction.state in TRIAL
        if on_trial or (transaction.state == State.INCONSISTENT and transaction.action == "install"):
            _leave_trial(site, transaction, request, runtime)
            return result_of(site, write_report, "rollback", rollback_expected=True)
    finish_previous(site, runtime)
    check_idle(site)
    return _roll_back(site, request, runtime, write_report)


def _leave_trial(site: Site, transaction: Transaction, request: RollbackRequest, runtime: Runtime) -> None:
    planned = transaction.planned
    if request.number not in (None, planned.source):
        raise RefusedError(
            f"generation {planned.target} is on trial, and a rollback leads to generation {planned.source}",
            where="--to",
            remedy="run `waybill rollback` without --to",
            finding="trial",
        )
    # In INCONSISTENT a person has repaired the data, so the obstacles of the document no longer count.
    obstacle = None if transaction.state == State.INCONSISTENT else rollback_obstacle(script_of(site))
    if obstacle is not None:
        raise RefusedError(
            f"generation {planned.target} cannot be rolled back: {obstacle.detail}",
            where="rollback",
            remedy=f"do what its rollback document says; generation {planned.target} goes on running",
            finding="no-way-back",
        )
    if request.reason:
        site.record(Note(code="reason", detail=one_line(request.reason)))
    drive(site, runtime, DriveRequest(retry="back", leave_trial=True))


def _no_former(site: Site) -> RefusedError:
    """Return that the running generation was made from none that is kept, with what the kept ones are good for."""
    possible, reasons = rollbacks_alone(site)
    problem, remedy = reasons, "run `waybill status`; it lists the generations that are kept"
    if possible:
        problem = "no earlier generation is kept that the running one was made from"
        remedy = f"run `waybill rollback --to {possible[0].number}`"
    elif reasons.startswith("generation "):
        problem = f"no earlier generation can be returned to: {reasons}"
    return RefusedError(problem, where="rollback", remedy=remedy, finding="no-generation")


def _roll_back(site: Site, request: RollbackRequest, runtime: Runtime, write_report: WriteReport) -> InstallResult:
    """1. plan the change; 2. weigh it; 3. check approvals; 4. check the blobs; 5. record; 6. drive."""
    signers = () if request.dry_run else request.signers
    if signers:
        site.make_room()
    target = request.number or site.former()  # 1
    if not target:
        raise _no_former(site)
    change = rollback_change(site, target)
    steps = driver_steps(site, change.installed, runtime.load)
    warnings = tuple(f"{finding.level}: {finding.text}" for finding in change.findings)
    weighed = request.dry_run or bool(signers) or approval_status(site, change).met  # 2
    if request.weigh is not None and weighed:
        request.weigh(change)
    else:
        for warning in () if request.dry_run else warnings:
            runtime.notify(warning)
    for signer in signers:  # 3
        give_verdict(site, signer, VerdictRequest((change.item,), "approve"), runtime.load)
    approvals = approval_status(site, change)
    refused: WaybillError | None = None
    try:
        require_approvals(approvals, change.item)
    except WaybillError as error:
        if not request.dry_run:
            raise
        refused = error
    lost = site.store.missing(change.release.members)  # 4
    if (damage := lost_blobs(change.release, lost, change.item)) is not None:
        raise damage
    lines = (f"{name_blobs(change.release, lost)}; {change.release.version} runs without them",) if lost else ()
    if request.dry_run:
        return InstallResult(site.state.installs.running, refused, lines=(*warnings, *lines))
    for line in lines:
        runtime.notify(line)
    site.make_room()  # 5
    site.keep_document(encode(change.plan))
    site.record(replace(change.planned, reason=one_line(request.reason) if request.reason else None))
    site.record(Approved(approvals=tuple(one.digest for one in approvals.approvals)))

    def stage() -> None:
        for step in steps:
            for line in step.plan.staging:
                runtime.notify(f"{step.step}: {line}")
            step.driver.stage(step.plan, step.context)

    drive(site, runtime, DriveRequest(stage=stage))  # 6
    return result_of(site, write_report, "rollback")
