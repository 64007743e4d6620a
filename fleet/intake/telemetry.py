"""Take in files of telemetry: each waits until its report and its contract are here, and is judged by both.

Nothing in the file is believed before a signed report names its digest. An accepted file becomes rows, each with the
time at which it is deleted; a refused one goes to quarantine, and its report gets an alarm.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from fleet.intake.library import stored_report
from fleet.intake.quarantine import RefusedFile, RefusedFiles, ReportFile
from fleet.intake.result import FileResult, ImportResult, SiteResult
from fleet.ledger.tables import contracts, enrolments, findings, reports, sites, standings, telemetry, telemetry_files
from fleet.rules.telemetry_rules import row_key, telemetry_breaches
from fleet.rules.values import ReportFinding
from manifests.documents.contract import Contract, parse_contract
from manifests.documents.report import Report
from manifests.documents.telemetry import SignalRows, Telemetry, TelemetryRow, parse_telemetry
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import UntrustedError, WaybillError
from manifests.words.text import short_digest
from manifests.words.time import parse_time

# Files of one site that may wait; whoever writes a medium could write any number.
MAX_WAITING = 64
# A file whose report never comes is deleted after this time.
WAITING_TIME = timedelta(days=90)
# A time that is later than any.
_NEVER = timedelta(days=36500)
_SHOWN = "telemetry of report {}"


@dataclass(frozen=True)
class _NamingReport:
    """A report of the ledger that names the file."""

    digest: str
    enrolment_id: int
    report: Report


def hold_telemetry(
    connection: Connection, name: str, raw: bytes, now: datetime, result: ImportResult
) -> RefusedFile | None:
    """Keep a file until its report is here; return it as refused when it is none of ours."""
    digest = digest_of(raw)
    try:
        content = parse_telemetry(raw, name)
    except WaybillError as error:
        return RefusedFile(ReportFile(name, raw, digest, None), len(raw), error)
    shown = f"{content.site}: {_SHOWN.format(content.seq)}"
    if connection.execute(select(telemetry_files.c.digest).where(telemetry_files.c.digest == digest)).first():
        result.add(FileResult(name, "known", f"{shown} was imported before", "telemetry-replayed"))
        return None
    site_id = connection.execute(select(sites.c.id).where(sites.c.site == content.site)).scalar()
    waiting = (telemetry_files.c.site_id == site_id) & (telemetry_files.c.standing == "waiting")
    if site_id is None:
        hint = "enroll the site, then import this file again"
        result.add(FileResult(name, "unused", f"{shown}: the site is not enrolled", "site-unknown", hint))
    elif connection.execute(select(func.count()).where(waiting)).scalar_one() >= MAX_WAITING:
        problem = f"{shown}: {MAX_WAITING} files of this site wait for their reports already"
        hint = "import the reports of the site, then this file again"
        result.add(FileResult(name, "unused", problem, "telemetry-too-many", hint))
    else:
        values = {"site_id": site_id, "seq": content.seq, "received_at": now, "standing": "waiting", "why": ""}
        connection.execute(insert(telemetry_files).values(digest=digest, raw=raw, **values))
        result.counts["telemetry"] = result.counts.get("telemetry", 0) + 1
    return None


def settle_telemetry(engine: Engine, now: datetime, result: ImportResult, refused: RefusedFiles) -> None:
    """Judge the files that wait, one at a time; a file stays waiting while its report or its contract is missing."""
    with engine.connect().execution_options(waybill_reading=True) as connection:
        here = select(telemetry_files.c.digest).where(telemetry_files.c.standing == "waiting")
        digests = list(connection.execute(here.order_by(telemetry_files.c.seq, telemetry_files.c.digest)).scalars())
    for digest in digests:
        # One transaction for each: rows of the file and its standing are written together or not at all.
        with engine.begin() as connection:
            file_result = _settle(connection, digest, now, result, refused)
        if file_result is not None:
            result.add(file_result)


def _settle(
    connection: Connection, digest: str, now: datetime, result: ImportResult, refused: RefusedFiles
) -> FileResult | None:
    columns = (telemetry_files.c.raw, sites.c.site, sites.c.id)
    query = select(*columns).join(sites).where(telemetry_files.c.digest == digest)
    row = connection.execute(query.where(telemetry_files.c.standing == "waiting")).first()
    if row is None:
        return None  # another import was faster
    content = parse_telemetry(row.raw)
    name, shown = f"{row.site}.{content.seq}.telemetry", f"{row.site}: {_SHOWN.format(content.seq)}"
    naming = _naming_report(connection, row.id, content.seq, Blob(digest=digest, size=len(row.raw)))
    if naming is None:
        why = f"no report {content.seq} that names it is in the ledger"
        hint = "import the site's reports; the file is kept until then"
        return _wait(connection, digest, FileResult(name, "waiting", f"{shown}: {why}", "telemetry-unbound", hint))
    contract = _contract(connection, content, naming.report)
    if contract is None:
        why = f"its contract {short_digest(content.contract)} is not in the ledger"
        hint = "import a bundle whose release has that contract: waybill fleet import BUNDLE"
        return _wait(connection, digest, FileResult(name, "waiting", f"{shown}: {why}", "contract-unknown", hint))
    breaches = _breaches(content, naming.report, len(row.raw), contract)
    if breaches:
        text = f"its telemetry breaks the contract {short_digest(content.contract)}: {'; '.join(breaches)}"
        error = UntrustedError(text, where=name, remedy=f"waybill fleet show {row.site}", finding="contract-breach")
        refused.add(RefusedFile(ReportFile(name, row.raw, digest, None), len(row.raw), error))
        finding = ReportFinding("contract-breach", True, text)
        _add_alarm(connection, naming, finding, now)
        result.sites.setdefault(row.site, SiteResult()).findings.append((content.seq, finding))
        _close(connection, digest, "refused", text)
        return None
    for rows in content.signals:
        _write_rows(connection, naming.enrolment_id, content, rows, contract, now)
    _close(connection, digest, "accepted", "")
    return None


def _naming_report(connection: Connection, site_id: int, seq: int, blob: Blob) -> _NamingReport | None:
    """Return the report of that number that has the digest and size of the file."""
    query = (
        select(reports.c.digest, reports.c.enrolment_id, reports.c.raw)
        .join(enrolments, enrolments.c.id == reports.c.enrolment_id)
        .where((enrolments.c.site_id == site_id) & (reports.c.seq == seq) & reports.c.refused.is_(False))
    )
    for row in connection.execute(query):
        report = stored_report(row.raw)
        if report.chain.telemetry == blob:
            return _NamingReport(row.digest, row.enrolment_id, report)
    return None


def _contract(connection: Connection, content: Telemetry, report: Report) -> Contract | None:
    named = report.policy.contract if report.policy else None
    raw = connection.execute(select(contracts.c.raw).where(contracts.c.digest == (named or content.contract))).scalar()
    return None if raw is None else parse_contract(raw)


def _breaches(content: Telemetry, report: Report, size: int, contract: Contract) -> tuple[str, ...]:
    named = report.policy.contract if report.policy else None
    if named != content.contract:
        return ("it names another contract than its report",)
    if (content.site, content.seq) != (report.identity.site, report.chain.seq):
        return ("it is of another report",)
    return telemetry_breaches(content, size, contract)


def _wait(connection: Connection, digest: str, waiting: FileResult) -> FileResult:
    connection.execute(
        update(telemetry_files).where(telemetry_files.c.digest == digest).values(why=waiting.finding or "")
    )
    return waiting


def _close(connection: Connection, digest: str, standing: str, why: str) -> None:
    """The bytes are kept no longer: an accepted file is in its rows, a refused one in quarantine."""
    here = telemetry_files.c.digest == digest
    connection.execute(update(telemetry_files).where(here).values(standing=standing, why=why, raw=b""))


def _add_alarm(connection: Connection, naming: _NamingReport, finding: ReportFinding, now: datetime) -> None:
    of_report = {"enrolment_id": naming.enrolment_id, "report": naming.digest, "found_at": now}
    connection.execute(
        insert(findings).values(finding=finding.finding, alarm=finding.alarm, text=finding.text, **of_report)
    )
    of_enrolment = standings.c.enrolment_id == naming.enrolment_id
    connection.execute(update(standings).where(of_enrolment).values(alarms=standings.c.alarms + 1))


def _write_rows(
    connection: Connection, enrolment_id: int, content: Telemetry, rows: SignalRows, contract: Contract, now: datetime
) -> None:
    """Write the rows of one signal; of an interval that is here already the row that counted more of it stays."""
    signal = next(one for one in contract.signals if one.name == rows.signal)
    new = {(row.start, row_key(signal, row)): row for row in sorted(rows.rows, key=lambda row: row.seconds)}
    here = (telemetry.c.enrolment_id == enrolment_id) & (telemetry.c.signal == rows.signal)
    starts = [parse_time(row.start) for row in rows.rows]
    query = select(telemetry).where(here & telemetry.c.start.between(min(starts), max(starts)))
    known = {(row.start, row.key): row for row in connection.execute(query)}
    stale, values = [], []
    for key, row in new.items():
        before = known.get((parse_time(key[0]), key[1]))
        if before is not None and (before.seconds, before.seq) >= (row.seconds, content.seq):
            continue
        if before is not None:
            stale.append(before.id)
        of_row = {"signal": rows.signal, "key": key[1], "delete_at": _delete_at(row, signal.keep.vendor, now)}
        values.append({"enrolment_id": enrolment_id, **of_row, **_row(content, row)})
    for at in range(0, len(stale), 1000):
        connection.execute(delete(telemetry).where(telemetry.c.id.in_(stale[at : at + 1000])))
    if values:
        connection.execute(insert(telemetry), values)


def _row(content: Telemetry, row: TelemetryRow) -> dict[str, object]:
    return {
        "release": row.release or "",
        "start": parse_time(row.start),
        "labels": encode(row.labels).decode(),
        "seconds": row.seconds,
        "values": encode(row.values).decode(),
        "seq": content.seq,
        "contract": content.contract,
    }


def _delete_at(row: TelemetryRow, keep_seconds: int, now: datetime) -> datetime:
    """Return when the contract's time is over; a site's clock that is ahead makes that no later."""
    keep = min(timedelta(seconds=min(keep_seconds, 10**10)), _NEVER)
    return min(parse_time(row.start) + timedelta(seconds=row.seconds), now) + keep
