"""Read the telemetry of one site from the ledger: the newest full interval of each signal, as values and as text."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from fleet.ledger.tables import contracts, deletions, reports, telemetry, telemetry_files
from manifests.documents.contract import Contract, Signal, parse_contract
from manifests.documents.telemetry import Value
from manifests.words.text import short_digest, table
from manifests.words.time import rfc3339
from manifests.words.units import show_count, show_duration

# Rows of the newest interval of a signal that a page shows without --verbose.
SHOWN_ROWS = 8
# Intervals of a signal that are looked at for a full one: only the first and the one under way are partial.
MAX_INTERVALS = 8


@dataclass(frozen=True)
class TelemetryRowView:
    """One row.

    Attributes:
        release: Digest of the release that ran; empty while none did.
        report: Number of the report that brought it.
    """

    start: datetime
    seconds: int
    release: str
    labels: dict[str, str]
    values: dict[str, Value]
    report: int


@dataclass(frozen=True)
class SignalView:
    """The newest full interval of one signal; the newest one where none is full.

    Attributes:
        units: By field, as the contract states them.
        partial: The interval was under way when its report was made, or counting began in the middle of it.
        count: Rows of the signal in the ledger, older ones included.
    """

    signal: str
    units: dict[str, str]
    rows: tuple[TelemetryRowView, ...]
    count: int
    partial: bool


@dataclass(frozen=True)
class TelemetryView:
    """What the ledger holds of a site's telemetry.

    Attributes:
        waiting: Number and reason of each file that waits for its report or its contract.
        deleted: Rows that were deleted because the time of their contract was over.
    """

    signals: tuple[SignalView, ...]
    waiting: tuple[tuple[int, str], ...]
    deleted: int


def read_telemetry(connection: Connection, site_id: int, enrolment_id: int) -> TelemetryView:
    """Return the newest full interval of each signal of a site; the newest one of a signal that has none."""
    here = telemetry.c.enrolment_id == enrolment_id
    known = select(telemetry.c.signal, func.count()).where(here).group_by(telemetry.c.signal)
    signals = tuple(
        _read_signal(connection, enrolment_id, signal, count)
        for signal, count in connection.execute(known.order_by(telemetry.c.signal)).all()
    )
    files = (telemetry_files.c.site_id == site_id) & (telemetry_files.c.standing == "waiting")
    query = select(telemetry_files.c.seq, telemetry_files.c.why).where(files).order_by(telemetry_files.c.seq)
    gone = select(func.coalesce(func.sum(deletions.c.rows), 0)).where(deletions.c.enrolment_id == enrolment_id)
    return TelemetryView(
        signals=signals,
        waiting=tuple((row.seq, row.why) for row in connection.execute(query)),
        deleted=int(connection.execute(gone).scalar_one()),
    )


def _read_signal(connection: Connection, enrolment_id: int, signal: str, count: int) -> SignalView:
    here = (telemetry.c.enrolment_id == enrolment_id) & (telemetry.c.signal == signal)
    newest = select(telemetry.c.start, func.max(telemetry.c.seq), func.max(telemetry.c.contract)).where(here)
    newest = newest.group_by(telemetry.c.start).order_by(telemetry.c.start.desc()).limit(MAX_INTERVALS)
    intervals = [
        (start, _is_full(connection, enrolment_id, _definition(connection, contract, signal), start, seq))
        for start, seq, contract in connection.execute(newest).all()
    ]
    start, full = next((interval for interval in intervals if interval[1]), intervals[0])
    query = select(telemetry).where(here & (telemetry.c.start == start)).order_by(telemetry.c.key)
    stored = connection.execute(query).all()
    rows = tuple(
        TelemetryRowView(
            start=row.start,
            seconds=row.seconds,
            release=row.release,
            labels=msgspec.json.decode(row.labels),
            values=msgspec.json.decode(row._mapping["values"]),
            report=row.seq,
        )
        for row in stored
    )
    units = _units(_definition(connection, stored[0].contract, signal))
    return SignalView(signal, units, rows, count, partial=not full)


def _is_full(connection: Connection, enrolment_id: int, signal: Signal | None, start: datetime, seq: int) -> bool:
    """Whether the interval was counted from its begin, and had ended when its newest report was made."""
    if signal is None or signal.per_seconds is None:
        return True  # a moment has no length
    query = select(func.max(reports.c.made_at)).where((reports.c.enrolment_id == enrolment_id) & (reports.c.seq == seq))
    made_at: datetime | None = connection.execute(query).scalar()
    if int(start.timestamp()) % signal.per_seconds:
        return False
    # Reports are deleted before their telemetry where the contract says so; their interval has ended by then.
    return made_at is None or start + timedelta(seconds=min(signal.per_seconds, 10**10)) <= made_at


def _definition(connection: Connection, digest: str, signal: str) -> Signal | None:
    """Return the signal as its contract defines it; None if the ledger does not have the contract."""
    raw = connection.execute(select(contracts.c.raw).where(contracts.c.digest == digest)).scalar()
    contract: Contract | None = None if raw is None else parse_contract(raw)
    return next((listed for listed in contract.signals if listed.name == signal), None) if contract else None


def _units(named: Signal | None) -> dict[str, str]:
    if named is None:
        return {}
    units = {name: values.unit for name, values in named.fields.items() if values.unit is not None}
    return units | {name: "s" for name, values in named.fields.items() if values.duration is not None}


def telemetry_lines(view: TelemetryView, *, verbose: bool) -> list[str]:
    """Return the telemetry for people: one line for each row of the interval that is shown of a signal."""
    rows = [row for signal in view.signals for row in _signal_rows(signal, verbose=verbose)]
    lines = ["", "telemetry:", table(rows, ("signal", "from", "over", "labels", "values"))] if rows else []
    if view.waiting:
        numbers = ", ".join(f"{seq} ({why or 'not judged yet'})" for seq, why in view.waiting)
        lines.append(f"telemetry that waits: report {numbers}")
    if view.deleted:
        lines.append(f"{show_count(view.deleted, 'row')} of telemetry deleted: the time of the contract was over")
    return lines


def _signal_rows(signal: SignalView, *, verbose: bool) -> Iterator[tuple[str, ...]]:
    shown = signal.rows if verbose else signal.rows[:SHOWN_ROWS]
    for i, row in enumerate(shown):
        labels = ", ".join(f"{name} {value}" for name, value in row.labels.items())
        over = show_duration(row.seconds) if row.seconds else "a moment"
        over += " (partial)" if signal.partial else ""
        values = ", ".join(_value(name, value, signal.units) for name, value in row.values.items())
        yield signal.signal if i == 0 else "", rfc3339(row.start), over, labels or "-", values
    if len(signal.rows) > len(shown):
        yield "", "", "", "", f"{len(signal.rows) - len(shown)} more rows: --verbose"


def _value(name: str, value: Value, units: dict[str, str]) -> str:
    shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    shown = short_digest(shown) if shown.startswith("sha256:") else shown
    return f"{name} {shown}{' ' + units[name] if name in units else ''}"
