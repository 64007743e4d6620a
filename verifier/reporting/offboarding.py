"""Ending a vendor's access: asked for, agreed to by the customer's people, then done and proved as far as it can be.

What the customer has stays: data, images, running software, journal, and local rollback. One entry of the journal is
the end; everything after it can be done again, so after an interruption the same command is run again.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from manifests.documents.report import OffboardReason
from manifests.trust.private_keys import Signer
from manifests.words.errors import AttentionError, WaybillError
from verifier.approval.approve import VerdictRequest, give_verdict
from verifier.approval.items import OFFBOARD, offboard_request
from verifier.approval.verdicts import approval_status
from verifier.install.result import check_idle
from verifier.reporting.access_probes import run_access_probes
from verifier.reporting.report_write import take_over, write_report
from verifier.rules.agreement import require_approvals
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import EVIDENCE, NEXT_KEY, SITE_KEY, Site
from verifier.site.journal.events import Alarm, OffboardAsked, OffboardDone, Offboarded
from verifier.site.report_files import report_path
from verifier.site.vendor_access import check_served

RETIRED = "retired"


@dataclass(frozen=True)
class OffboardResult:
    """What `offboard` did.

    Attributes:
        report: The final one.
        error: Something that was tried again is still believed.
    """

    report: Path
    error: WaybillError | None


def ask_offboarding(site: Site, words: str) -> bool:
    """Ask that the vendor's access ends, for a reason in words; ``retired`` is the one word with a meaning.

    Returns:
        False when the very same was asked already.

    Raises:
        RefusedError: The access was ended already.
    """
    check_served(site.state)
    reason: OffboardReason = "retired" if words == RETIRED else "ended"
    wanted = OffboardAsked(reason=reason, detail=words)
    offboarding = site.state.offboarding
    if offboarding is not None and offboarding.asked == wanted:
        return False
    site.record(wanted)
    return True


def agree_offboarding(site: Site, signer: Signer) -> None:
    """Record one person's approval, as `waybill approve offboard` does."""
    give_verdict(site, signer, VerdictRequest((OFFBOARD,), "approve"), load_driver)


def end_access(site: Site) -> None:
    """Put the end in force, when the people who are asked have agreed. Everything else is ``finish_offboarding``'s.

    Raises:
        WaitingError: They have not.
        RefusedError: Something else is under way here.
        DamagedError: The site's key is not here, so nobody could sign the final report.
    """
    check_idle(site)
    question = offboard_request(site)
    counted = approval_status(site, question)
    require_approvals(counted, OFFBOARD)
    site.signer()
    take_over(site)
    offboarding = site.state.offboarding
    if offboarding is None:
        raise AssertionError("a plan to end what nobody asked for")
    site.record(
        Offboarded(
            reason=offboarding.asked.reason,
            plan=question.plan.digest,
            approvals=tuple(one.digest for one in counted.approvals),
        )
    )


def finish_offboarding(site: Site, now: datetime) -> OffboardResult:
    """What follows the end, from wherever it was cut short.

    Steps: 1 the roots become evidence; 2 what was believed once is tried again; 3 the final report; 4 of a site that
    retires, the key is destroyed; 5 the journal says that all of it is done.
    """
    _set_aside(site)  # 1
    error = _prove(site)  # 2
    take_over(site)  # 3: also one that was written and not journalled is the last
    state = site.state.offboarding
    if state is not None and state.final is None:
        write_report(site, site.disk, now, cause="offboarded")
    retires = state is not None and state.asked.reason == "retired"
    if retires:  # 4
        for name in (NEXT_KEY, SITE_KEY):
            site.disk.remove(site.path / "keys" / name)
        site.disk.sync_folder(site.path / "keys")
    state = site.state.offboarding
    if state is None or state.final is None:
        raise AssertionError("the final report was written")
    if state.ended is None:  # 5
        site.record(OffboardDone(report=state.final, key="destroyed" if retires else "kept"))
    return OffboardResult(report_path(site, state.final), error)


def _set_aside(site: Site) -> None:
    """Move the vendor's roots where nothing reads them; a rename, so they are in one place or in the other."""
    trust, evidence = site.path / "trust", site.path / EVIDENCE
    if trust.is_dir() and not evidence.exists():
        site.disk.rename(trust, evidence)
        site.disk.sync_folder(site.path)
    site.disk.make_folder(trust)


def _prove(site: Site) -> WaybillError | None:
    believed = [probe for probe in run_access_probes(site) if probe.outcome == "accepted"]
    for probe in believed:
        if all(alarm.digest != probe.artefact for alarm in site.state.alarms):
            site.record(Alarm(code="still-believed", digest=probe.artefact, detail=f"{probe.kind}: {probe.detail}"))
    if not believed:
        return None
    return AttentionError(
        f"still accepted here: {', '.join(probe.kind for probe in believed)}",
        where="trust",
        remedy="keep the folder as it is and report this to the maker of this verifier",
        finding="still-believed",
    )
