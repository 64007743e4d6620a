"""Read sites from the ledger: all of them as rows, one as a page."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any  # rows of SQLAlchemy have values of any type

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select

from fleet.intake.library import stored_report
from fleet.intake.telephone import TelephoneClaim, claims_of_site
from fleet.ledger.tables import (
    closures,
    consignments,
    enrolments,
    findings,
    positions,
    quarantine,
    releases,
    reports,
    sites,
    standings,
)
from fleet.outgoing.telemetry_view import TelemetryView, read_telemetry
from fleet.rules.history import HistoryEvent, SiteReport, site_history
from fleet.rules.values import FIRST_POLICY
from manifests.documents.enrolment import SignedEnrolment, verify_enrolment
from manifests.documents.report import Report
from manifests.words.errors import UsageError

MAX_HISTORY = 1000
MAX_SENT = 20
MAX_MATCHES = 50


@dataclass(frozen=True)
class NewestReport:
    """The newest report of a site, as the ledger has indexed it.

    Attributes:
        made_at: By the site's own clock.
        not_before: When the echoed challenge was made: the report is not older, whatever the site's clock says.
        failing: Names of the probes that fail, with spaces between; None if the ledger has not indexed them.
        known: The ledger holds the release that the report names.
        images: Digest of each image; empty if they were not asked for.
    """

    made_at: datetime
    received_at: datetime
    not_before: datetime | None
    release: str | None
    version: str | None
    state: str
    running: int
    parts: int
    config_version: int | None
    root_version: int
    verifier: str
    failing: str | None
    known: bool
    images: dict[str, str]

    @property
    def as_of(self) -> datetime:
        """The latest time that the report can describe; a site's clock that is ahead does not make it newer."""
        claimed = min(self.made_at, self.received_at)
        # A clock that is behind does not make it older than the challenge.
        return claimed if self.not_before is None else max(claimed, self.not_before)


@dataclass(frozen=True)
class SiteRow:
    """One site as the ledger has it.

    Attributes:
        seq: Number of the newest report; 0 before the first.
        missing: How many reports below the newest are neither here nor summed up by a later one.
        renewal: It requests a new key, and nobody has decided yet.
        other_policy: Its reports name another first policy than its enrolment, and nobody has settled that.
        newest: None before the first report, and after its reports were deleted.
    """

    site_id: int
    enrolment_id: int
    site: str
    customer: str
    product: str
    environment: str
    name: str
    enrolled_at: datetime
    report_every_seconds: int
    practice: bool
    compared: bool
    seq: int
    missing: int
    forked_at: int | None
    alarms: int
    channel: str
    renewal: bool
    other_policy: bool
    offboarding_at: datetime | None
    closed_at: datetime | None
    newest: NewestReport | None

    @property
    def shown_release(self) -> str:
        """The version, ``never reported``, or ``nothing``."""
        if self.newest is None:
            return "never reported"
        if self.newest.version is None:
            return "nothing"
        state = "" if self.newest.state == "confirmed" else f" ({self.newest.state})"
        return self.newest.version + state + ("" if self.newest.known else " (bundle not imported)")

    @property
    def level(self) -> str | None:
        """``running``, ``placed``, or how many components are which; None while nothing is installed."""
        if self.newest is None or self.newest.version is None:
            return None
        running, parts = self.newest.running, self.newest.parts
        if running == 0:
            return "placed"
        return "running" if running == parts else f"{running} running, {parts - running} placed"

    @property
    def failing(self) -> tuple[str, ...]:
        """The probes that fail by the newest report."""
        return tuple(self.newest.failing.split()) if self.newest and self.newest.failing else ()

    @property
    def shown_level(self) -> str | None:
        """``level``, and the probes that fail."""
        return f"{self.level}, failing: {', '.join(self.failing)}" if self.level and self.failing else self.level

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits the trust in this row."""
        ending = self.closed_at is None and self.offboarding_at is not None
        notes = {
            "closed": self.closed_at is not None,
            "ending": ending,
            "first policy differs": self.other_policy,
            "new key waits": self.renewal,
            "forked": self.forked_at is not None,
            "gap": bool(self.missing),
            "alarm": bool(self.alarms),
            "practice": self.practice,
            "key not compared": not self.compared,
        }
        return tuple(note for note, applies in notes.items() if applies)


@dataclass(frozen=True)
class SentConsignment:
    """A consignment for the site; ``answered`` is the first report that echoes its challenge, or 0."""

    number: int
    issued_at: datetime
    written_at: datetime | None
    medium: str | None
    challenge: str
    answered: int


@dataclass(frozen=True)
class SitePage:
    """Everything that `fleet show` prints of a site; ``report`` is its newest one, ``before`` the one before that."""

    row: SiteRow
    enrolment: SignedEnrolment
    report: Report | None
    before: Report | None
    history: tuple[HistoryEvent, ...]
    gaps: tuple[tuple[int, int], ...]
    claims: tuple[TelephoneClaim, ...]
    sent: tuple[SentConsignment, ...]
    telemetry: TelemetryView


_NEWEST = ("made_at", "received_at", "not_before", "release", "version")
_NEWEST_STATE = ("state", "running", "parts", "config_version", "root_version", "verifier", "failing")


def _rows(named: ColumnElement[bool] | None = None) -> Select[Any]:
    """One row for each site, by the enrolment that counts."""
    pending = select(enrolments.c.site_id).where(enrolments.c.standing == "pending").distinct().subquery()
    open_finding = (findings.c.finding == FIRST_POLICY) & findings.c.resolution.is_(None)
    rewritten = select(findings.c.enrolment_id).where(open_finding).distinct().subquery()
    columns = [
        sites.c.id.label("site_id"),
        enrolments.c.id.label("enrolment_id"),
        *(sites.c[name] for name in ("site", "customer", "product", "environment", "name")),
        *(enrolments.c[name] for name in ("enrolled_at", "report_every_seconds", "practice", "compared")),
        standings.c.newest_seq.label("seq"),
        (standings.c.newest_seq - standings.c.places_known).label("missing"),
        standings.c.forked_at,
        standings.c.alarms,
        *(reports.c[name] for name in (*_NEWEST, *_NEWEST_STATE)),
        func.coalesce(reports.c.channel, enrolments.c.channel).label("channel"),
        releases.c.digest.is_not(None).label("known"),
        pending.c.site_id.is_not(None).label("renewal"),
        rewritten.c.enrolment_id.is_not(None).label("other_policy"),
        closures.c.requested_at.label("offboarding_at"),
        closures.c.closed_at,
    ]
    return (
        select(*columns)
        .select_from(sites)
        .join(enrolments, enrolments.c.site_id == sites.c.id)
        .join(standings, standings.c.enrolment_id == enrolments.c.id)
        .outerjoin(reports, reports.c.digest == standings.c.report)
        .outerjoin(releases, releases.c.digest == reports.c.release)
        .outerjoin(closures, closures.c.site_id == sites.c.id)
        .outerjoin(pending, pending.c.site_id == sites.c.id)
        .outerjoin(rewritten, rewritten.c.enrolment_id == enrolments.c.id)
        .where(enrolments.c.standing == "current", *([] if named is None else [named]))
        .order_by(sites.c.site)
    )


def _reading(engine: Engine) -> Connection:
    return engine.connect().execution_options(waybill_reading=True)


def list_sites(engine: Engine, *, images: bool = False) -> list[SiteRow]:
    """Every enrolled site, sorted by name; ``images`` looks into each newest report, one at a time."""
    query = _rows().add_columns(reports.c.raw) if images else _rows()
    with _reading(engine) as connection:
        return [_site_row(row) for row in connection.execution_options(yield_per=1000).execute(query)]


def _site_row(row: Any) -> SiteRow:
    values = dict(row._mapping)
    raw: bytes | None = values.pop("raw", None)
    report = {name: values.pop(name) for name in (*_NEWEST, *_NEWEST_STATE)}
    known = bool(values.pop("known"))
    values |= {name: bool(values[name]) for name in ("renewal", "other_policy")}
    if report["made_at"] is None:
        return SiteRow(**values, newest=None)
    images = {} if raw is None else images_of(stored_report(raw))
    return SiteRow(**values, newest=NewestReport(**report, known=known, images=images))


def count_quarantined(engine: Engine) -> int:
    with _reading(engine) as connection:
        query = select(func.count()).select_from(quarantine).where(quarantine.c.settled_at.is_(None))
        return int(connection.execute(query).scalar_one())


def find_site(engine: Engine, text: str) -> SiteRow:
    """Return the site whose id is ``text`` or ends in it. Raises UsageError if none or several match."""
    with _reading(engine) as connection:
        matches = connection.execute(_rows(sites.c.site == text)).all()
        if not matches:
            ending = sites.c.site.endswith("/" + text, autoescape=True)
            matches = connection.execute(_rows(ending).limit(MAX_MATCHES)).all()
    if len(matches) == 1:
        return _site_row(matches[0])
    if matches:
        names = ", ".join(row.site for row in matches[:5])
        count = f"{len(matches)}{' or more' * (len(matches) == MAX_MATCHES)}"
        problem = f"{count} sites end in {text!r}: {names}"
        raise UsageError(problem, where="SITE", remedy="name more of the site's id")
    raise UsageError(f"no site {text!r} is enrolled", where="SITE", remedy="list the sites: waybill fleet sites")


def show_site(engine: Engine, text: str) -> SitePage:
    """Read everything about one site; the history covers its newest thousand reports."""
    row = find_site(engine, text)
    with _reading(engine) as connection:
        raw = connection.execute(select(enrolments.c.raw).where(enrolments.c.id == row.enrolment_id)).scalar_one()
        held = _held_reports(connection, row)
        known = known_digests(connection, row.enrolment_id, held[0].report.chain.seq if held else 0)
        claims = claims_of_site(connection, row.enrolment_id, row.site)
        own = (positions.c.enrolment_id == row.enrolment_id) & positions.c.refused.is_(False)
        places = select(positions.c.seq).where(own & positions.c.seq.between(1, row.seq))
        numbers = connection.execute(places.distinct().order_by(positions.c.seq)).scalars().all()
        sent = _sent(connection, row)
        telemetry = read_telemetry(connection, row.site_id, row.enrolment_id)
    newest = next((entry.report for entry in reversed(held) if entry.report.chain.seq == row.seq), None)
    return SitePage(
        row=row,
        enrolment=verify_enrolment(raw, "ledger"),
        report=newest,
        before=_before(held, newest),
        history=site_history(held, known),
        gaps=tuple(_gaps(numbers)),
        claims=claims,
        sent=sent,
        telemetry=telemetry,
    )


def _before(held: list[SiteReport], newest: Report | None) -> Report | None:
    """Return the report that ``newest`` follows; None where the ledger does not hold it."""
    previous = newest.chain.previous if newest is not None else None
    return next((entry.report for entry in held if entry.digest == previous), None)


def _held_reports(connection: Connection, row: SiteRow) -> list[SiteReport]:
    """The newest reports with their alarms, ordered by number."""
    alarms: dict[str, list[str]] = {}
    query = select(findings.c.report, findings.c.text).where(findings.c.enrolment_id == row.enrolment_id)
    for digest, text in connection.execute(query.order_by(findings.c.id)):
        alarms.setdefault(digest, []).append(text)
    newest = (
        select(reports.c.digest, reports.c.raw)
        .where(reports.c.enrolment_id == row.enrolment_id)
        .order_by(reports.c.seq.desc(), reports.c.received_at.desc())
        .limit(MAX_HISTORY)
    )
    return [
        SiteReport(digest, stored_report(raw), tuple(alarms.get(digest, ())))
        for digest, raw in reversed(connection.execute(newest).all())
    ]


def known_digests(
    connection: Connection, enrolment_id: int, lowest: int, *, refused: bool = True
) -> dict[int, frozenset[str]]:
    """Digests known at each number from ``lowest`` on, with or without those of branches that were set aside."""
    known: dict[int, set[str]] = {}
    here = (positions.c.enrolment_id == enrolment_id) & (positions.c.seq >= lowest)
    if not refused:
        here &= positions.c.refused.is_(False)
    for seq, digest in connection.execute(select(positions.c.seq, positions.c.digest).where(here)):
        known.setdefault(seq, set()).add(digest)
    return {seq: frozenset(digests) for seq, digests in known.items()}


def _sent(connection: Connection, row: SiteRow) -> tuple[SentConsignment, ...]:
    """The newest consignments, oldest first, each with the first report that echoes it."""
    first = (
        select(func.min(reports.c.seq))
        .where((reports.c.enrolment_id == row.enrolment_id) & (reports.c.challenge == consignments.c.challenge))
        .scalar_subquery()
    )
    names = ("number", "issued_at", "written_at", "medium", "challenge")
    query = (
        select(*(consignments.c[name] for name in names), func.coalesce(first, 0).label("answered"))
        .where(consignments.c.site_id == row.site_id)
        .order_by(consignments.c.number.desc())
        .limit(MAX_SENT)
    )
    return tuple(SentConsignment(**row._mapping) for row in reversed(connection.execute(query).all()))


def _gaps(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield each range of numbers of which nothing is known; ``numbers`` are sorted."""
    before = 0
    for seq in numbers:
        if seq > before + 1:
            yield before + 1, seq - 1
        before = seq


def images_of(report: Report) -> dict[str, str]:
    """Return the digest of each image: what the site observed where it differs, else what the release says."""
    return {
        part.name: part.observed or (part.expected if part.found == "same" else part.found)
        for part in report.components.listed
        if part.kind == "image"
    }
