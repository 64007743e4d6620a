"""List what the ledger holds, newest first, a page at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, select

from fleet.ledger.tables import consignments, enrolments, findings, quarantine, releases, reports, resolutions, sites
from manifests.words.errors import UsageError

MAX_PAGE = 10_000


@dataclass(frozen=True)
class Listed:
    """Rows with the names of their columns; ``more`` when the page did not hold all."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool


def _quarantine() -> Select[Any]:
    columns = ("seen_at", "digest", "finding", "size", "name", "problem")
    return (
        select(*(quarantine.c[name] for name in columns))
        .where(quarantine.c.settled_at.is_(None))
        .order_by(quarantine.c.seen_at.desc(), quarantine.c.digest)
    )


def _alarms() -> Select[Any]:
    return (
        select(findings.c.id.label("alarm"), findings.c.found_at, sites.c.site, findings.c.finding, findings.c.text)
        .join(enrolments, enrolments.c.id == findings.c.enrolment_id)
        .join(sites, sites.c.id == enrolments.c.site_id)
        .where(findings.c.resolution.is_(None) & findings.c.alarm)
        .order_by(findings.c.id.desc())
    )


def _resolutions() -> Select[Any]:
    names = ("resolved_at", "who", "kind", "accepted", "reason")
    return (
        select(resolutions.c.id.label("number"), sites.c.site, *(resolutions.c[name] for name in names))
        .outerjoin(sites, sites.c.id == resolutions.c.site_id)
        .order_by(resolutions.c.id.desc())
    )


def _consignments() -> Select[Any]:
    names = ("number", "issued_at", "written_at", "medium", "acknowledged")
    return (
        select(sites.c.site, *(consignments.c[name] for name in names))
        .join(sites, sites.c.id == consignments.c.site_id)
        .order_by(consignments.c.issued_at.desc(), sites.c.site, consignments.c.number.desc())
    )


def _reports() -> Select[Any]:
    names = ("seq", "received_at", "made_at", "not_before", "version", "state", "digest")
    return (
        select(sites.c.site, *(reports.c[name] for name in names))
        .join(enrolments, enrolments.c.id == reports.c.enrolment_id)
        .join(sites, sites.c.id == enrolments.c.site_id)
        .order_by(reports.c.received_at.desc(), sites.c.site, reports.c.seq.desc())
    )


def _releases() -> Select[Any]:
    names = ("product", "version", "channel", "epoch", "sequence", "issued_at", "digest")
    return select(*(releases.c[name] for name in names)).order_by(
        releases.c.product, releases.c.channel, releases.c.epoch.desc(), releases.c.sequence.desc()
    )


KINDS: dict[str, Callable[[], Select[Any]]] = {
    "alarms": _alarms,
    "consignments": _consignments,
    "quarantine": _quarantine,
    "releases": _releases,
    "reports": _reports,
    "resolutions": _resolutions,
}
OF_A_SITE = ("alarms", "consignments", "reports", "resolutions")


def list_kind(engine: Engine, kind: str, *, site: str | None, limit: int) -> Listed:
    """One page of a kind.

    Args:
        site: Only of this site, by its whole id.

    Raises:
        UsageError: Such rows belong to no site, or the page would be too long.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"{limit} rows, a page has 1 to {MAX_PAGE}", where="--limit")
    if site is not None and kind not in OF_A_SITE:
        raise UsageError(f"{kind} belong to no site", where="--site", remedy=f"waybill fleet list {kind}")
    query = KINDS[kind]()
    wanted: list[ColumnElement[bool]] = [] if site is None else [sites.c.site == site]
    with engine.connect().execution_options(waybill_reading=True) as connection:
        return _page(connection, query.where(*wanted), limit)


def _page(connection: Connection, query: Select[Any], limit: int) -> Listed:
    found = connection.execute(query.limit(limit + 1))
    columns = tuple(found.keys())
    rows = [tuple(row) for row in found]
    return Listed(columns=columns, rows=tuple(rows[:limit]), more=len(rows) > limit)
