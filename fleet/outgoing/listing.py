"""List what the ledger holds, newest first, a page at a time."""

import os.path
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any  # SQLAlchemy's rows and queries have columns of any type

from sqlalchemy import Engine, Select, select

from fleet.ledger.tables import (
    consignments,
    deletions,
    enrolments,
    findings,
    quarantine,
    releases,
    reports,
    resolutions,
    sites,
    telemetry,
)
from manifests.words.errors import UsageError
from manifests.words.text import table
from manifests.words.time import age
from manifests.words.units import show_size

MAX_PAGE = 10_000


@dataclass(frozen=True)
class ListedRows:
    """Rows with the names of their columns; people see the columns ``shown``; ``more`` if the page is not all."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool
    shown: tuple[str, ...]


@dataclass(frozen=True)
class _ListKind:
    query: Callable[[], Select[Any]]
    shown: tuple[str, ...]
    of_site: bool = True


def _quarantine() -> Select[Any]:
    names = ("seen_at", "digest", "finding", "size", "name", "problem")
    return (
        select(*(quarantine.c[name] for name in names))
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


def _telemetry() -> Select[Any]:
    names = ("signal", "start", "seconds", "release", "labels", "values", "seq", "contract", "delete_at")
    return (
        select(sites.c.site, *(telemetry.c[name] for name in names))
        .join(enrolments, enrolments.c.id == telemetry.c.enrolment_id)
        .join(sites, sites.c.id == enrolments.c.site_id)
        .order_by(telemetry.c.start.desc(), sites.c.site, telemetry.c.signal, telemetry.c.key)
    )


def _deletions() -> Select[Any]:
    names = ("signal", "rows", "oldest", "newest", "contract", "deleted_at")
    return (
        select(sites.c.site, *(deletions.c[name] for name in names))
        .join(enrolments, enrolments.c.id == deletions.c.enrolment_id)
        .join(sites, sites.c.id == enrolments.c.site_id)
        .order_by(deletions.c.id.desc())
    )


def _releases() -> Select[Any]:
    names = ("product", "version", "channel", "epoch", "sequence", "issued_at", "digest")
    return select(*(releases.c[name] for name in names)).order_by(
        releases.c.product, releases.c.channel, releases.c.epoch.desc(), releases.c.sequence.desc()
    )


KINDS = {
    "alarms": _ListKind(_alarms, ("alarm", "site", "finding", "text", "found_at")),
    "consignments": _ListKind(_consignments, ("site", "number", "issued_at", "written_at", "medium", "acknowledged")),
    "quarantine": _ListKind(_quarantine, ("finding", "digest", "problem", "name", "size", "seen_at"), of_site=False),
    "releases": _ListKind(
        _releases, ("product", "version", "channel", "epoch", "sequence", "issued_at", "digest"), of_site=False
    ),
    "reports": _ListKind(
        _reports, ("site", "seq", "version", "state", "received_at", "made_at", "not_before", "digest")
    ),
    "deletions": _ListKind(_deletions, ("site", "signal", "rows", "deleted_at")),
    "telemetry": _ListKind(_telemetry, ("site", "signal", "start", "labels", "values", "seq")),
    "resolutions": _ListKind(_resolutions, ("number", "site", "kind", "accepted", "reason", "who", "resolved_at")),
}


def list_kind(engine: Engine, kind: str, *, site: str | None, limit: int) -> ListedRows:
    """Read one page of a kind, of all sites or of one ``site`` by its whole id.

    Raises UsageError if such rows belong to no site, or if the page would be too long.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"{limit} rows were requested; a page has 1 to {MAX_PAGE}", where="--limit")
    listed = KINDS[kind]
    if site is not None and not listed.of_site:
        remedy = f"list all of them: waybill fleet list {kind}"
        raise UsageError(f"{kind} belong to no site", where="--site", remedy=remedy)
    query = listed.query() if site is None else listed.query().where(sites.c.site == site)
    with engine.connect().execution_options(waybill_reading=True) as connection:
        result = connection.execute(query.limit(limit + 1))
        columns, rows = tuple(result.keys()), [tuple(row) for row in result]
    return ListedRows(columns=columns, rows=tuple(rows[:limit]), more=len(rows) > limit, shown=listed.shown)


def listed_text(listed: ListedRows, now: datetime) -> str:
    """The rows as a table for people, with sizes and ages."""
    columns = {name: [row[i] for row in listed.rows] for i, name in enumerate(listed.columns)}
    lines = []
    if "site" in columns and (shared := _shared_folder(columns["site"])):
        lines.append(f"sites of {shared}")
        columns["site"] = [site and site.removeprefix(f"{shared}/") for site in columns["site"]]
    if "name" in columns:
        columns["name"] = [name.rpartition("/")[2] for name in columns["name"]]
    shown = [[_cell(name, value, now) for value in columns[name]] for name in listed.shown]
    rows = list(zip(*shown, strict=True))
    return (
        "\n".join(lines)
        + "\n\n" * bool(lines)
        + table(rows, tuple(name.removesuffix("_at").replace("_", " ") for name in listed.shown))
    )


def _shared_folder(sites: list[str | None]) -> str:
    """The beginning of the id that all sites share, without their last part."""
    return os.path.commonpath([site.rpartition("/")[0] for site in sites if site] or [""])


def _cell(column: str, value: object, now: datetime) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{age(value, now)} ago"
    return show_size(value) if column == "size" and isinstance(value, int) else str(value)
