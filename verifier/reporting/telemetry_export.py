"""Carry and show the telemetry beside the reports. A file that is damaged or missing stops no report: it is named."""

from pathlib import Path

from manifests.documents.report import Report
from manifests.documents.telemetry import MAX_TELEMETRY, Telemetry
from manifests.trust.keys import read_capped
from manifests.words.errors import WaybillError
from manifests.words.units import show_count, show_size
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.outbox import read_report, report_name, reports_to_carry
from verifier.site.telemetry_files import read_telemetry, read_telemetry_bytes, telemetry_name, telemetry_path

BY_FILE = "the telemetry of this report travels as a file only: waybill report --out DIR"


def export_telemetry(
    site: Site, disk: Disk, reports: tuple[Path, ...], *, most: int
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Copy the telemetry of reports that were just exported, beside them.

    Args:
        reports: The copies.
        most: How many reports were asked for.

    Returns:
        The files that are there now, and what could not be copied.
    """
    copied, problems = [], []
    name, beside = site.state.site.replace("/", "."), {path.name: path for path in reports}
    for event in reports_to_carry(site, most):
        report = beside.get(f"{name}.{report_name(site.state, event.seq)}")
        if report is None:
            continue
        target = report.with_name(f"{name}.{telemetry_name(site.state, event.seq)}")
        try:
            blob = read_report(site, event.seq, event.digest).report.chain.telemetry
            if blob is None:
                continue
            raw = read_telemetry_bytes(site, event.seq, blob)
            if not target.exists():
                disk.write(target, raw)
            elif read_capped(target, MAX_TELEMETRY) != raw:
                problems.append(f"{target}: the file exists with other content and is not overwritten")
                continue
            copied.append(target)
        except WaybillError as error:
            problems.append(f"the telemetry of report {event.seq} is left out: {error}")
    return tuple(copied), tuple(problems)


def telemetry_lines(site: Site, report: Report) -> list[str]:
    """Return lines about the telemetry of a report: its rows by signal, or why it cannot be read; none without any."""
    blob = report.chain.telemetry
    if blob is None:
        return []
    try:
        telemetry = read_telemetry(site, report.chain.seq, blob)
    except WaybillError as error:
        return [f"! telemetry: {error.problem}; {error.remedy}"]
    return [
        *(f"telemetry  {line}" for line in rows_lines(telemetry)),
        f"file       {telemetry_path(site, report.chain.seq)}, {show_size(blob.size)}",
    ]


def telemetry_damage(site: Site) -> list[str]:
    """Return a line for `status` when the telemetry of the newest report is missing or damaged."""
    reports = site.state.reports
    if reports.head is None:
        return []
    try:
        blob = read_report(site, reports.seq, reports.head).report.chain.telemetry
    except WaybillError:
        return []  # the report itself is named as damaged
    try:
        if blob is not None:
            read_telemetry_bytes(site, reports.seq, blob)
    except WaybillError as error:
        return [f"telemetry  of report {reports.seq}: {error.problem}; {error.remedy}"]
    return []


def rows_lines(telemetry: Telemetry) -> list[str]:
    """Return a line for each signal: how many rows, and from when on."""
    return [
        f"{signal.signal}: {show_count(len(signal.rows), 'row')}, {signal.rows[0].start} to {signal.rows[-1].start}"
        for signal in telemetry.signals
    ]
