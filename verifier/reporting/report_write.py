"""Plan the next report of a site with its telemetry; number, sign, write and export reports."""

import errno
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from manifests.documents.report import Report
from manifests.documents.signed_report import encode_report, sign_report, verify_report
from manifests.transport.medium import folder_on
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import Signer
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.words.quantities import parse_size
from verifier.approval.items import record_export, record_proposals
from verifier.reporting.health import LookAtProbe
from verifier.reporting.report_observe import observe_site, read_previous_report
from verifier.reporting.report_plan import PreviousReport, SiteObservation, plan_report
from verifier.reporting.telemetry_observe import ObservedHealth, observe_telemetry
from verifier.reporting.telemetry_plan import TelemetryPlan, without_file
from verifier.runtime.probes.probe import run_probe
from verifier.site.disk import Disk
from verifier.site.folder import LOW_SPACE, Site
from verifier.site.generations import read_running
from verifier.site.journal.events import Reported
from verifier.site.outbox import (
    enrolment_of,
    finish_key,
    read_report,
    report_history,
    report_name,
    report_path,
    reports_to_carry,
    reports_written,
    restore_enrolment,
)
from verifier.site.proposals import read_site_yaml
from verifier.site.telemetry_files import telemetry_path
from verifier.site.vendor_access import check_served

# Why rows are left out: their file could not be written.
NOT_WRITTEN = "not-written"


@dataclass(frozen=True)
class NextReport:
    """A report that is planned. ``telemetry.raw`` are the bytes of its telemetry file, empty for none."""

    report: Report
    telemetry: TelemetryPlan
    observed: SiteObservation
    former: PreviousReport | None

    @property
    def enrolment(self) -> str:
        return self.observed.enrolment

    @property
    def core(self) -> bytes:
        """The bytes that the site's key signs."""
        return encode_report(self.report, self.observed.enrolment)


def plan_next_report(site: Site, now: datetime, *, cause: str, look: LookAtProbe = run_probe) -> NextReport:
    """Observe the site and plan its next report. Reads only."""
    observed = observe_site(site, now, look)
    seen = ObservedHealth(
        withheld=observed.withheld,
        health=observed.health,
        components=observed.components,
        release=observed.current.release if observed.current else None,
    )
    telemetry = observe_telemetry(site, seen, now)
    return _planned(site, now, cause, telemetry, observed, read_previous_report(site))


def leave_telemetry_out(site: Site, planned: NextReport, now: datetime, reason: str) -> NextReport:
    """Return the same report without its telemetry, which could not be written; it says how many rows that are."""
    telemetry = without_file(planned.telemetry, reason)
    return _planned(site, now, planned.report.chain.cause, telemetry, planned.observed, planned.former)


def _planned(
    site: Site,
    now: datetime,
    cause: str,
    telemetry: TelemetryPlan,
    observed: SiteObservation,
    former: PreviousReport | None,
) -> NextReport:
    seen = replace(observed, telemetry=telemetry.blob, left_out=telemetry.dropped)
    return NextReport(plan_report(site.state, seen, former, cause=cause, now=now), telemetry, seen, former)


def write_report(
    site: Site, disk: Disk, now: datetime, *, cause: str = "requested", look: LookAtProbe = run_probe
) -> Path:
    """Write the next report of a held site into its outbox, and return its path.

    Steps: 1 take over a file that was written and not journalled; 2 observe and plan; 3 write the telemetry, durable;
    4 sign; 5 write the file, durable; 6 journal; 7 remove reports that are not needed again; 8 renew a spent reserve.
    On a full disk the reserve is spent for the report, never for its telemetry.

    Raises:
        RefusedError: The vendor's access was ended, and the final report is written.
    """
    now = now.astimezone(UTC)
    if site.state.offboarding is not None and site.state.offboarding.final is not None:
        check_served(site.state)
    finish_key(site)
    restore_enrolment(site)
    take_over(site)  # 1
    record_proposals(site)
    planned = plan_next_report(site, now, cause=cause, look=look)  # 2
    if not _write_telemetry(site, disk, planned):  # 3
        planned = leave_telemetry_out(site, planned, now, NOT_WRITTEN)
    report = planned.report
    raw = sign_report(report, planned.enrolment, site.signer())  # 4
    path = report_path(site, report.chain.seq)
    try:
        disk.make_folder(path.parent)  # 5
        disk.write(path, raw)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not site.spend_reserve():
            raise
        disk.make_folder(path.parent)
        disk.write(path, raw)
    site.record(Reported(seq=report.chain.seq, digest=digest_of(raw), previous=report.chain.previous))  # 6
    _clear_away(site, disk)  # 7
    _renew_reserve(site)  # 8
    return path


def _write_telemetry(site: Site, disk: Disk, planned: NextReport) -> bool:
    """Write the telemetry of a report that is not signed yet; return False if that failed, and nothing is left of it.

    A file of the same number is of a report that was never signed.
    """
    path = telemetry_path(site, planned.report.chain.seq)
    try:
        if not planned.telemetry.raw:
            disk.remove(path)
            return True
        disk.make_folder(path.parent)
        disk.write(path, planned.telemetry.raw)
    except OSError:
        with suppress(OSError):
            disk.remove(path.with_name(f".{path.name}.new"))
            disk.remove(path)
        return False
    return True


def _clear_away(site: Site, disk: Disk) -> None:
    """Remove reports that support holds and those beyond the history; never the newest."""
    state = site.state
    held = state.reports.acknowledged[0] if state.reports.acknowledged else 0
    last = min(max(held, state.reports.seq - report_history(site)), state.reports.seq - 1)
    for event in reports_written(site):
        if event.seq <= last:
            disk.remove(telemetry_path(site, event.seq))
            disk.remove(report_path(site, event.seq))


def _renew_reserve(site: Site) -> None:
    """Renew the reserve if there is space for it, and no open transaction that may need the space.

    Its size is that of the settings in force; before the first install, of the proposed ones.
    """
    if site.state.installs.open_transaction is not None:
        return
    try:
        installed = read_running(site)
        settings = read_site_yaml(site.path).site if installed is None else installed.settings
    except WaybillError:
        return
    size = parse_size(settings.keep.reserve)
    if site.disk.space(site.path).bytes >= size + LOW_SPACE:
        site.renew_reserve(size)


def take_over(site: Site) -> None:
    """Journal a file with the next number, which a crash left between step 5 and step 6 of ``write_report``.

    A damaged one was never journalled, so nobody carried it away: the next report replaces it.
    """
    path = report_path(site, site.state.reports.seq + 1)
    if not path.is_file():
        return
    digest, _ = enrolment_of(site)
    try:
        signed = verify_report(read_capped(path, MAX_BUNDLE), site.state.site_key, str(path))
    except (MalformedError, UntrustedError):
        return
    chain = signed.report.chain
    if (chain.seq, chain.previous) != (site.state.reports.seq + 1, site.state.reports.head or digest):
        raise DamagedError(
            "the report does not follow the last report in the journal",
            where=str(path),
            remedy="keep the folder as it is and report this to support",
            finding="report-stray",
        )
    site.record(Reported(seq=chain.seq, digest=signed.digest, previous=chain.previous))


def export_reports(
    site: Site, disk: Disk, folder: Path, *, most: int, signers: tuple[Signer, ...] = ()
) -> tuple[Path, ...]:
    """Copy the newest ``most`` reports that support has not acknowledged, oldest first; the newest in any case.

    A damaged report is left out; the newest must be whole. The site is part of the file names. If the medium has
    support's folder ``back/`` for this site, they go there. The export is journalled.

    Args:
        signers: People who approve the export now, if the policy requires it.

    Raises:
        RefusedError: ``folder`` is not a folder, is outside of the medium, or a file of that name has other content.
        WaitingError: The policy requires more approvals.
        DamagedError: The newest report in the outbox is not the one that the journal names.
    """
    if not folder.is_dir():
        problem, remedy = "there is no such folder", f"name the medium's folder, or make this one: mkdir {folder}"
        if folder.exists():
            problem, remedy = "not a folder", "name the medium's folder"
        raise RefusedError(problem, where=str(folder), remedy=remedy, finding="no-folder")
    name = site.state.site.replace("/", ".")
    back = folder_on(folder, "back", name)
    folder = back if back.is_dir() else folder
    events = reports_to_carry(site, most)
    ready: list[tuple[Path, bytes]] = []
    for event in events:
        # An older report may have been cleared away or be damaged; the newest lists it.
        if event is not events[-1] and not report_path(site, event.seq).is_file():
            continue
        try:
            raw = read_report(site, event.seq, event.digest).raw
        except WaybillError:
            if event is events[-1]:
                raise
            continue
        target = folder / f"{name}.{report_name(site.state, event.seq)}"
        if target.exists() and read_capped(target, MAX_BUNDLE) != raw:
            raise RefusedError(
                "the file exists with other content and is not overwritten",
                where=str(target),
                remedy="name another folder",
            )
        ready.append((target, raw))
    record_export(site, signers, f"to {folder}")
    for target, raw in ready:
        if not target.exists():
            disk.write(target, raw)
    return tuple(target for target, _ in ready)
