"""Signals of contracts for the tests of collectors."""

from datetime import UTC, datetime, timedelta

from content.telemetry.collector import open_collector
from content.telemetry.intervals import Collector
from manifests.documents.contract import Keep, Signal, SignalSource, Values

KEEP = Keep(site=86400, vendor=86400)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MANY = 10**12


def number(unit: str | None = None, most: int = MANY) -> Values:
    return Values(integer=(0, most), unit=unit)


def metrics(series: str, *fields: str, unit: str | None = None, **labels: tuple[str, ...]) -> Signal:
    return Signal(
        name="load",
        kind="metrics",
        source=SignalSource(prometheus="metrics", series=series),
        labels={name: Values(enum=values) for name, values in labels.items()},
        per_seconds=3600,
        rows=90,
        fields={name: number(None if name == "count" else unit) for name in fields},
        keep=KEEP,
        why="tests",
    )


def logs(**patterns: str) -> Signal:
    return Signal(
        name="errors",
        kind="logs",
        source=SignalSource(log="app", patterns=patterns),
        per_seconds=3600,
        rows=90,
        fields={"code": Values(enum=tuple(sorted(patterns))), "count": number()},
        keep=KEEP,
        why="tests",
    )


def traces(*fields: str, unit: str | None = "ms") -> Signal:
    units = {"count": None, "errors": "per mille"}
    return Signal(
        name="spans",
        kind="traces",
        source=SignalSource(otlp="traces", operation="sign"),
        per_seconds=3600,
        rows=90,
        fields={name: number(units.get(name, unit)) for name in fields},
        keep=KEEP,
        why="tests",
    )


def look(collector: Collector, data: bytes, at: datetime = NOON, chunk: int = 1 << 20) -> Collector:
    """One look that reads ``data`` in pieces; returns the collector as the next look finds it."""
    collector.begin(at, None)
    for start in range(0, len(data), chunk):
        collector.feed(data[start : start + chunk])
    collector.end()
    return open_collector(collector.signal, collector.state())
