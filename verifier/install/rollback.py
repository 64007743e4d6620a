"""Roll a site back to an earlier generation."""

from msgspec.structs import replace

from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.errors import DamagedError, RefusedError
from verifier.approval.approve import give_verdict
from verifier.approval.verdicts import approval_status
from verifier.change.data_return import name_blobs
from verifier.change.install_plan import driver_steps_for
from verifier.change.rollback_plan import rollback_change
from verifier.install.machine import Machine
from verifier.install.result import InstallResult, WriteReport, check_idle, finish_previous, result_of
from verifier.install.wiring import Runtime
from verifier.rules.agreement import require
from verifier.site.folder import Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Approved
from verifier.site.journal.transitions import State
from verifier.site.store import missing_blobs


def rollback(
    site: Site,
    number: int | None,
    tools: Runtime,
    *,
    signer: Signer | None,
    reason: str | None,
    tell: WriteReport,
    dry_run: bool = False,
) -> InstallResult:
    """Go back: out of a trial always, else to an earlier generation when the people whom `rollback` names agree.

    Args:
        number: The generation; None for the former one.
        signer: Approves on the spot, with the key of somebody whom the policy lists.
    """
    now = site.state.installs.transaction
    machine = Machine(site, tools)
    lost = now is not None and now.state == State.INCONSISTENT and now.action == "install"
    if now is not None and ((now.switched and now.state in (State.PROBING, State.SWITCHED)) or lost) and not dry_run:
        if number not in (None, now.planned.source):
            raise RefusedError(
                f"generation {now.planned.target} is on trial; the way back is generation {now.planned.source}",
                where="--to",
                remedy="waybill rollback, without --to",
                finding="trial",
            )
        blocked = None if lost else machine.why_no_way_back()
        if blocked is not None:
            raise RefusedError(
                f"nothing leads back from generation {now.planned.target}: {blocked.detail}",
                where="rollback",
                remedy="its rollback document says what people can do; it goes on running",
                finding="no-way-back",
            )
        machine.leave_trial(reason)
        return result_of(site, tell, "rollback", None, expected_back=True)
    finish_previous(site, tools)
    check_idle(site)
    if signer is not None and not dry_run:
        site.make_room()
    target = number if number is not None else site.former()
    if not target:
        raise RefusedError(
            "there is no earlier generation to go back to",
            where="rollback",
            remedy="waybill status lists what is kept",
            finding="no-generation",
        )
    change = rollback_change(site, target)
    crew = driver_steps_for(site, change, tools.load)
    if signer is not None:
        give_verdict(site, (change.item,), signer, "approve", condition=None, load=tools.load)
    standing = approval_status(site, change)
    require(standing, change.item)
    missing = missing_blobs(site.blobs, change.release.members)
    if missing:
        raise DamagedError(
            name_blobs(change.release, missing),
            where=change.item,
            remedy=f"bring the medium of {change.release.version}: waybill receive BUNDLE --keep; nothing was changed",
            finding="blobs-missing",
        )
    if dry_run:
        return InstallResult(site.state.installs.running, None, None)
    site.make_room()
    site.keep_document(encode(change.plan))
    site.record(replace(change.planned, reason=one_line(reason) if reason else None))
    site.record(Approved(approvals=tuple(one.digest for one in standing.approvals)))

    def stage() -> None:
        for work in crew:
            work.driver.stage(work.plan, work.context)

    machine.drive(forward=True, stage=stage)
    return result_of(site, tell, "rollback", None)
