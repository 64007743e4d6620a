"""Read sites from the ledger: all of them as rows, one as a page."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select

from fleet.intake.report_chains import stored_report
from fleet.intake.telephone import TelephoneClaim, lines_of
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
from fleet.rules.history import Happening, SiteReport, site_history
from manifests.documents.enrolment import SignedEnrolment, verify_enrolment
from manifests.documents.report import Report
from manifests.words.errors import UsageError
from manifests.words.time import age, parse_time

MAX_HISTORY = 1000
MAX_SENT = 20


@dataclass(frozen=True)
class SiteRow:
    """One site as the ledger has it.

    Attributes:
        made_at: The site's own clock at its newest report, None before the first.
        not_before: When the challenge was made that it echoes: it is not older, whatever that clock says.
        missing: Reports below the newest that are not here.
        known: The ledger holds the release that the site names.
        renewal: It asks for a new key, and nobody has decided yet.
        images: Digest of each image; empty where nobody asked for them.
    """

    enrolment_id: int
    site: str
    customer: str
    product: str
    environment: str
    name: str
    enrolled_at: str
    report_every_seconds: int
    practice: bool
    compared: bool
    seq: int
    missing: int
    forked_at: int | None
    alarms: int
    made_at: str | None
    received_at: str | None
    not_before: str | None
    release: str | None
    version: str | None
    channel: str
    state: str | None
    running: int | None
    parts: int | None
    config_version: int | None
    root_version: int | None
    verifier: str | None
    known: bool
    renewal: bool
    asked_to_end_at: str | None
    closed_at: str | None
    images: dict[str, str]

    @property
    def as_of(self) -> str | None:
        """The latest moment of which the newest report can speak; a site's clock that runs ahead gains nothing."""
        if self.made_at is None or self.received_at is None:
            return None
        claimed = min(self.made_at, self.received_at)
        # A clock that is behind loses nothing that a challenge proves.
        return claimed if self.not_before is None else max(claimed, self.not_before)

    @property
    def shown_release(self) -> str:
        """``never reported`` and ``nothing`` are different answers, and neither is a version."""
        if self.made_at is None:
            return "never reported"
        if self.version is None:
            return "nothing"
        state = "" if self.state == "confirmed" else f" ({self.state})"
        return self.version + state + ("" if self.known else " (unknown)")

    @property
    def level(self) -> str | None:
        """``running``, ``placed``, or how many of how many run; None while nothing is installed."""
        if self.version is None or self.running is None:
            return None
        if self.running == 0:
            return "placed"
        return "running" if self.running == self.parts else f"running {self.running}/{self.parts}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before believing the row."""
        found = []
        if self.closed_at is not None:
            found.append("closed")
        elif self.asked_to_end_at is not None:
            found.append("ending")
        if self.renewal:
            found.append("new key waits")
        if self.forked_at is not None:
            found.append("forked")
        if self.missing:
            found.append("gap")
        if self.alarms:
            found.append("alarm")
        if self.practice:
            found.append("practice")
        if not self.compared:
            found.append("key not compared")
        return tuple(found)


@dataclass(frozen=True)
class Sent:
    """A consignment for the site.

    Attributes:
        answered: Number of the first report that echoes its challenge, 0 while none did.
    """

    number: int
    issued_at: str
    written_at: str | None
    medium: str | None
    challenge: str
    answered: int


@dataclass(frozen=True)
class SitePage:
    row: SiteRow
    enrolment: SignedEnrolment
    report: Report | None
    history: tuple[Happening, ...]
    gaps: tuple[tuple[int, int], ...]
    spoken: tuple[TelephoneClaim, ...]
    sent: tuple[Sent, ...]


def _rows(named: ColumnElement[bool] | None = None) -> Select[Any]:
    """One row for each site, by the line that counts."""
    pending = select(enrolments.c.site_id).where(enrolments.c.standing == "pending").distinct().subquery()
    columns = [
        enrolments.c.id.label("enrolment_id"),
        *(sites.c[name] for name in ("site", "customer", "product", "environment", "name")),
        *(enrolments.c[name] for name in ("enrolled_at", "report_every_seconds", "practice", "compared")),
        standings.c.newest_seq.label("seq"),
        (standings.c.newest_seq - standings.c.places_held).label("missing"),
        standings.c.forked_at,
        standings.c.alarms,
        *(reports.c[name] for name in ("made_at", "received_at", "not_before", "release", "version")),
        func.coalesce(reports.c.channel, enrolments.c.channel).label("channel"),
        *(reports.c[name] for name in ("state", "running", "parts", "config_version", "root_version", "verifier")),
        releases.c.digest.is_not(None).label("known"),
        pending.c.site_id.is_not(None).label("renewal"),
        closures.c.requested_at.label("asked_to_end_at"),
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
    for name in ("known", "renewal"):
        values[name] = bool(values[name])
    return SiteRow(**values, images={} if raw is None else images_of(stored_report(raw)))


def count_quarantined(engine: Engine) -> int:
    with _reading(engine) as connection:
        query = select(func.count()).select_from(quarantine).where(quarantine.c.settled_at.is_(None))
        return int(connection.execute(query).scalar_one())


def find_site(engine: Engine, text: str) -> SiteRow:
    """The site that ``text`` names: its whole id, or an end of it that only one site has.

    Raises:
        UsageError: None or several.
    """
    with _reading(engine) as connection:
        found = connection.execute(_rows(sites.c.site == text)).all()
        if not found:
            found = connection.execute(_rows(sites.c.site.endswith("/" + text, autoescape=True)).limit(50)).all()
    if len(found) == 1:
        return _site_row(found[0])
    if found:
        names = ", ".join(row.site for row in found[:5])
        raise UsageError(
            f"{len(found)}{' or more' * (len(found) == 50)} sites end in {text!r}: {names}",
            where="SITE",
            remedy="give more of the name",
        )
    raise UsageError(f"no site {text!r} is enrolled", where="SITE", remedy="`waybill fleet sites` lists them")


def show_site(engine: Engine, text: str) -> SitePage:
    """Everything about one site. The story covers its newest thousand reports."""
    row = find_site(engine, text)
    with _reading(engine) as connection:
        own = reports.c.enrolment_id == row.enrolment_id
        raw = connection.execute(select(enrolments.c.raw).where(enrolments.c.id == row.enrolment_id)).scalar_one()
        noted: dict[str, list[str]] = {}
        mine = findings.c.enrolment_id == row.enrolment_id
        for digest, said in connection.execute(
            select(findings.c.report, findings.c.text).where(mine).order_by(findings.c.id)
        ):
            noted.setdefault(digest, []).append(said)
        columns = (reports.c.digest, reports.c.received_at, reports.c.raw)
        newest = (
            select(*columns).where(own).order_by(reports.c.seq.desc(), reports.c.received_at.desc()).limit(MAX_HISTORY)
        )
        told = [
            SiteReport(one.digest, one.received_at, stored_report(one.raw), tuple(noted.get(one.digest, ())))
            for one in reversed(connection.execute(newest).all())
        ]
        low = told[0].report.chain.seq if told else 0
        places: dict[int, set[str]] = {}
        here = (positions.c.enrolment_id == row.enrolment_id) & (positions.c.seq >= low)
        for seq, digest in connection.execute(select(positions.c.seq, positions.c.digest).where(here)):
            places.setdefault(seq, set()).add(digest)
        said = lines_of(connection, row.enrolment_id, row.site)
        held = connection.execute(select(reports.c.seq).where(own).distinct().order_by(reports.c.seq)).scalars().all()
        sent = _sent(connection, row)
    current = next((one.report for one in reversed(told) if one.report.chain.seq == row.seq), None)
    return SitePage(
        row=row,
        enrolment=verify_enrolment(raw, "ledger"),
        report=current,
        history=site_history(told, {seq: frozenset(found) for seq, found in places.items()}),
        gaps=tuple(_gaps(held)),
        spoken=said,
        sent=sent,
    )


def _sent(connection: Connection, row: SiteRow) -> tuple[Sent, ...]:
    """The newest consignments, oldest first, each with the report that proves it arrived."""
    mine = select(sites.c.id).where(sites.c.site == row.site).scalar_subquery()
    first = (
        select(func.min(reports.c.seq))
        .where((reports.c.enrolment_id == row.enrolment_id) & (reports.c.challenge == consignments.c.challenge))
        .scalar_subquery()
    )
    names = ("number", "issued_at", "written_at", "medium", "challenge")
    query = (
        select(*(consignments.c[name] for name in names), func.coalesce(first, 0).label("answered"))
        .where(consignments.c.site_id == mine)
        .order_by(consignments.c.number.desc())
        .limit(MAX_SENT)
    )
    return tuple(Sent(**row._mapping) for row in reversed(connection.execute(query).all()))


def _gaps(held: Any) -> list[tuple[int, int]]:
    """Ranges of places below the newest whose report is not here."""
    found = []
    before = 0
    for seq in held:
        if seq > before + 1:
            found.append((before + 1, seq - 1))
        before = seq
    return found


def images_of(report: Report) -> dict[str, str]:
    """Digest of each image at the site: what was observed where it differs, else what the release says."""
    return {
        one.name: one.observed or (one.expected if one.found == "same" else one.found)
        for one in report.components.listed
        if one.kind == "image"
    }


def shown_age(row: SiteRow, now: datetime) -> str:
    return age(parse_time(row.as_of), now) if row.as_of else "-"


def shown_proof(row: SiteRow, now: datetime) -> str:
    """How old the newest report is at most, by the challenge that it echoes and no clock of the site's."""
    return age(parse_time(row.not_before), now) if row.not_before else "-"
