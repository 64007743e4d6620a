"""Record what people decide about a site: the branch, the key, quarantined files and alarms.

A decision says what counts. It cannot replace a missing signature, and it deletes nothing. It is kept with who, when
and why.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal  # SQLAlchemy's columns have any type

from sqlalchemy import Connection, Engine, Select, func, insert, select, update

from fleet.intake.intake import import_quarantined
from fleet.intake.library import stored_report
from fleet.ledger.tables import enrolments, findings, positions, quarantine, reports, resolutions, standings
from fleet.outgoing.views import SiteRow, known_digests
from fleet.rules.forks import BranchChoice, Positions, choose_branch
from fleet.rules.values import named_positions
from manifests.documents.signed_report import SignedReport
from manifests.words.errors import RefusedError, UsageError
from manifests.words.text import short_digest
from manifests.words.units import show_count

DecisionKind = Literal["branch", "renewal", "release", "close", "alarm"]
FORKS = ("report-forked", "site-forked", "branch-refused")
MIN_PREFIX = 8
MAX_REASON = 2000


@dataclass(frozen=True)
class Decision:
    """Who decides, when and why; written to the ledger as it is."""

    who: str
    reason: str
    at: datetime

    def __post_init__(self) -> None:
        if not self.reason.strip() or len(self.reason) > MAX_REASON:
            problem = f"the reason has {len(self.reason)} characters; expected 1 to {MAX_REASON} that are not all blank"
            raise UsageError(problem, where="--reason", remedy='name the reason: --reason "TEXT"')


@dataclass(frozen=True)
class DecisionResult:
    """The number of a recorded decision, and what it did, one line each."""

    number: int
    kind: DecisionKind
    accepted: str | None
    text: tuple[str, ...]


def accept(engine: Engine, site: SiteRow | None, named: str, decision: Decision) -> DecisionResult:
    """Accept what ``named`` names: a branch by any digest on it, a renewed enrolment, or a quarantined file.

    Args:
        site: None for a quarantined file that belongs to no site.
        named: A digest, or at least its first eight digits.

    Raises:
        UsageError: It names nothing that waits for a decision, or several things.
        RefusedError: The quarantined file is refused again.
    """
    with engine.connect().execution_options(waybill_reading=True) as connection:
        candidates = _candidates(connection, site, _prefix(named))
    if len(candidates) != 1:
        names = ", ".join(f"{kind} {short_digest(digest)}" for kind, digest in sorted(candidates)[:5])
        problem = f"{named} names {'several things: ' + names if candidates else 'nothing that waits for a decision'}"
        remedy = f"find the digest with: waybill fleet {f'show {site.site}' if site else 'list quarantine'}"
        raise UsageError(problem, where="--accept", remedy=remedy)
    kind, digest = candidates.pop()
    if kind == "quarantine":
        return _release(engine, site, digest, decision)
    assert site is not None  # the other kinds are only searched for a site
    with engine.begin() as connection:
        if kind == "enrolment":
            return _renew(connection, site, digest, decision)
        return _accept_branch(connection, site, digest, decision)


def close_quarantine(engine: Engine, site: SiteRow | None, which: str, decision: Decision) -> DecisionResult:
    """Close quarantined files by digest or finding id; their bytes are kept. Raises UsageError if none is open."""
    with engine.begin() as connection:
        by_digest = which.startswith("sha256:") or _is_hex(which)
        named = quarantine.c.digest.startswith(_prefix(which)) if by_digest else quarantine.c.finding == which
        wanted = quarantine.c.settled_at.is_(None) & named
        digests = connection.execute(select(quarantine.c.digest).where(wanted)).scalars().all()
        if not digests:
            problem = f"no open file in quarantine has the digest or finding {which}"
            raise UsageError(problem, where="--close", remedy="list them: waybill fleet list quarantine")
        closed = ", ".join(digests[:20]) + (f" and {len(digests) - 20} more" if len(digests) > 20 else "")
        number = _record(connection, site, "close", None, closed, decision)
        connection.execute(update(quarantine).where(wanted).values(settled_at=decision.at, resolution=number))
        text = f"closed {show_count(len(digests), 'quarantined file')}; the bytes are kept"
        return DecisionResult(number, "close", None, (text,))


def settle_alarm(engine: Engine, site: SiteRow, number: int, decision: Decision) -> DecisionResult:
    """Record that an alarm is settled: it stays in the history. Raises UsageError if no such alarm is open."""
    with engine.begin() as connection:
        of_site = findings.c.enrolment_id.in_(select(enrolments.c.id).where(enrolments.c.site_id == site.site_id))
        wanted = (findings.c.id == number) & of_site & findings.c.resolution.is_(None)
        alarm = connection.execute(select(findings.c.enrolment_id, findings.c.text).where(wanted)).first()
        if alarm is None:
            remedy = f"list them: waybill fleet list alarms --site {site.site}"
            raise UsageError(f"{site.site} has no open alarm {number}", where="--alarm", remedy=remedy)
        resolution = _record(connection, site, "alarm", None, alarm.text, decision)
        connection.execute(update(findings).where(findings.c.id == number).values(resolution=resolution))
        _update_standing(connection, alarm.enrolment_id)
        return DecisionResult(resolution, "alarm", None, (f"settled: {alarm.text}",))


def _prefix(text: str) -> str:
    digits = text.removeprefix("sha256:")
    if not _is_hex(digits) or len(digits) > 64:
        remedy = f"write the digest, or at least its first {MIN_PREFIX} digits"
        raise UsageError(f"{text!r} is not a digest", where="--accept", remedy=remedy)
    return "sha256:" + digits


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef") and len(text) >= MIN_PREFIX


def _candidates(connection: Connection, site: SiteRow | None, prefix: str) -> set[tuple[str, str]]:
    """Kind and digest of everything that the prefix can name: quarantined files, enrolments, positions of a fork."""

    def matches(kind: str, query: Select[Any]) -> set[tuple[str, str]]:
        return {(kind, digest) for digest in connection.execute(query).scalars()}

    waiting = quarantine.c.settled_at.is_(None) & quarantine.c.digest.startswith(prefix)
    files = matches("quarantine", select(quarantine.c.digest).where(waiting))
    if site is None:
        return files
    of_site = enrolments.c.site_id == site.site_id
    count = connection.execute(select(func.count()).select_from(enrolments).where(of_site)).scalar_one()
    named = select(enrolments.c.digest).where(of_site & enrolments.c.digest.startswith(prefix))
    renewals = matches("enrolment", named) if count > 1 else set()
    forked = (
        select(positions.c.digest)
        .join(enrolments, enrolments.c.id == positions.c.enrolment_id)
        .join(standings, standings.c.enrolment_id == positions.c.enrolment_id)
        .where(of_site & standings.c.forked_at.is_not(None) & (positions.c.seq >= standings.c.forked_at))
        .where(positions.c.digest.startswith(prefix) & positions.c.refused.is_(False))
    )
    branches = matches("branch", forked)
    return files | renewals | {branch for branch in branches if ("enrolment", branch[1]) not in renewals}


def _record(
    connection: Connection,
    site: SiteRow | None,
    kind: DecisionKind,
    accepted: str | None,
    set_aside: str,
    decision: Decision,
) -> int:
    values = {
        "site_id": site.site_id if site else None,
        "kind": kind,
        "accepted": accepted,
        "set_aside": set_aside,
        "reason": decision.reason,
        "who": decision.who,
        "resolved_at": decision.at,
    }
    return int(connection.execute(insert(resolutions).values(values).returning(resolutions.c.id)).scalar_one())


def _release(engine: Engine, site: SiteRow | None, digest: str, decision: Decision) -> DecisionResult:
    """Judge a quarantined file again; a person can request that and cannot overrule the judgement."""
    result = import_quarantined(engine, quarantine.c.digest == digest, decision.at)
    refused = next((file for file in result.files if file.status != "report"), None)
    if refused is not None:
        problem = f"the file is refused again: {refused.text}"
        remedy = refused.hint or f"close it: waybill fleet resolve --close {short_digest(digest)} --reason TEXT"
        raise RefusedError(problem, where=short_digest(digest), remedy=remedy, finding=refused.finding or "refused")
    if not result.counts.get("report"):
        problem = "only the beginning of this large file is kept"
        remedy = "import it from its medium: waybill fleet import MEDIUM"
        raise RefusedError(problem, where=short_digest(digest), remedy=remedy, finding="quarantine-large")
    with engine.begin() as connection:
        number = _record(connection, site, "release", digest, "", decision)
        connection.execute(update(quarantine).where(quarantine.c.digest == digest).values(resolution=number))
    imported = ", ".join(f"{name}: report {news.new[0]}" for name, news in result.sites.items() if news.new)
    return DecisionResult(number, "release", digest, (f"imported: {imported or 'already known'}",))


def _renew(connection: Connection, site: SiteRow, digest: str, decision: Decision) -> DecisionResult:
    """This enrolment counts from now on; the others stay in the ledger and no longer count."""
    of_site = enrolments.c.site_id == site.site_id
    rows = connection.execute(select(enrolments.c.digest, enrolments.c.standing).where(of_site)).all()
    set_aside = ", ".join(f"{row.digest} ({row.standing})" for row in rows if row.digest != digest)
    number = _record(connection, site, "renewal", digest, set_aside, decision)
    before = next(row.standing for row in rows if row.digest == digest)
    # A waiting enrolment that was not chosen is refused; the one that counted is former. Neither is deleted.
    for standing, replaced in (("pending", "refused"), ("current", "former")):
        others = of_site & (enrolments.c.digest != digest) & (enrolments.c.standing == standing)
        connection.execute(update(enrolments).where(others).values(standing=replaced))
    connection.execute(update(enrolments).where(enrolments.c.digest == digest).values(standing="current"))
    effect = "still counts" if before == "current" else "counts from now on"
    text = f"{site.site}: the key of enrolment {short_digest(digest)} {effect}"
    return DecisionResult(number, "renewal", digest, (text,))


def _accept_branch(connection: Connection, site: SiteRow, digest: str, decision: Decision) -> DecisionResult:
    """The branch that contains ``digest`` counts; other branches are set aside with everything that continues them."""
    position = connection.execute(
        select(positions.c.enrolment_id, positions.c.seq)
        .join(enrolments, enrolments.c.id == positions.c.enrolment_id)
        .where((enrolments.c.site_id == site.site_id) & (positions.c.digest == digest) & positions.c.refused.is_(False))
        .order_by(positions.c.seq)
    ).first()
    assert position is not None  # `_candidates` has just read it
    enrolment_id, seq = position
    query = select(standings.c.forked_at).where(standings.c.enrolment_id == enrolment_id)
    forked = connection.execute(query).scalar_one()
    known = known_digests(connection, enrolment_id, forked, refused=False)
    choice = choose_branch((seq, digest), known, _held_reports(connection, enrolment_id, forked))
    if not choice.refused:
        remedy = f"name a report of one branch; they are in: waybill fleet show {site.site}"
        raise UsageError(f"report {short_digest(digest)} is on every branch", where="--accept", remedy=remedy)
    set_aside = ", ".join(f"{number}: {refused}" for number, refused in sorted(choice.refused)[:50])
    resolution = _record(connection, site, "branch", digest, set_aside, decision)
    _set_aside(connection, enrolment_id, choice, resolution)
    still_forked = _update_standing(connection, enrolment_id)
    count = show_count(len(choice.reports), "report")
    text = [f"{site.site}: the branch of {short_digest(digest)} counts; {count} of other branches set aside"]
    if still_forked is not None:
        text.append(f"another fork is still open, from report {still_forked} on; this decision does not cover it")
    return DecisionResult(resolution, "branch", digest, tuple(text))


def _held_reports(connection: Connection, enrolment_id: int, forked: int) -> list[tuple[str, Positions]]:
    query = (
        select(reports.c.digest, reports.c.raw)
        .where((reports.c.enrolment_id == enrolment_id) & (reports.c.seq >= forked) & reports.c.refused.is_(False))
        .order_by(reports.c.seq, reports.c.digest)
    )
    signed = (
        SignedReport(raw=b"", digest=digest, subject="", report=stored_report(raw))
        for digest, raw in connection.execute(query.execution_options(yield_per=200))
    )
    return [(report.digest, tuple(named_positions(report))) for report in signed]


def _set_aside(connection: Connection, enrolment_id: int, choice: BranchChoice, resolution: int) -> None:
    for seq, digest in sorted(choice.refused):
        here = (positions.c.enrolment_id == enrolment_id) & (positions.c.seq == seq) & (positions.c.digest == digest)
        connection.execute(update(positions).where(here).values(refused=True))
    for digest in sorted(choice.reports):
        connection.execute(update(reports).where(reports.c.digest == digest).values(refused=True))
    refused = select(reports.c.digest).where((reports.c.enrolment_id == enrolment_id) & reports.c.refused)
    # What was found on a branch that is set aside says nothing about the site.
    settled = findings.c.finding.in_(FORKS) | findings.c.report.in_(refused)
    still_open = (findings.c.enrolment_id == enrolment_id) & findings.c.resolution.is_(None)
    connection.execute(update(findings).where(still_open & settled).values(resolution=resolution))


def _update_standing(connection: Connection, enrolment_id: int) -> int | None:
    """Compute the enrolment's row of ``standings`` from its reports; return where it is still forked."""
    counted = (reports.c.enrolment_id == enrolment_id) & reports.c.refused.is_(False)
    newest = connection.execute(
        select(reports.c.seq, reports.c.digest)
        .where(counted)
        .order_by(reports.c.seq.desc(), reports.c.received_at, reports.c.digest)
        .limit(1)
    ).first()
    last = newest.seq if newest else 0
    here = (positions.c.enrolment_id == enrolment_id) & positions.c.refused.is_(False)
    known = connection.execute(
        select(func.count(positions.c.seq.distinct())).where(here & positions.c.seq.between(1, last))
    ).scalar_one()
    forks = (
        select(positions.c.seq)
        .where((positions.c.enrolment_id == enrolment_id) & positions.c.refused.is_(False))
        .group_by(positions.c.seq)
        .having(func.count() > 1)
        .subquery()
    )
    forked = connection.execute(select(func.min(forks.c.seq))).scalar()
    waiting = (findings.c.enrolment_id == enrolment_id) & findings.c.resolution.is_(None) & findings.c.alarm
    alarms = connection.execute(select(func.count()).select_from(findings).where(waiting)).scalar_one()
    connection.execute(
        update(standings)
        .where(standings.c.enrolment_id == enrolment_id)
        .values(
            report=newest.digest if newest else None,
            newest_seq=last,
            places_known=known,
            forked_at=forked,
            alarms=alarms,
        )
    )
    return forked
