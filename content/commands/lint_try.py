"""Try a telemetry contract on samples before it is released: what would leave, and what would be dropped and why."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from content.telemetry.collector import open_collector
from content.telemetry.intervals import Collector
from manifests.documents.contract import INTERVAL_KINDS, Contract, Signal
from manifests.documents.telemetry import TelemetryRow
from manifests.trust.keys import open_regular
from manifests.words.errors import MalformedError, UsageError, missing_file
from manifests.words.units import show_count, show_size

# By kind: how the name of a sample ends.
ENDS: Mapping[str, tuple[str, ...]] = {
    "metrics": (".prom",),
    "logs": (".log",),
    "traces": (".json", ".jsonl"),
}
MAX_FILES = 1000
MAX_BYTES = 256 << 20
_CHUNK = 1 << 20
# Rows that the text shows of one signal; the JSON has all.
_SHOWN = 20
# Any time does: intervals hold what was read in them, whatever times the samples state.
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TriedSignal:
    """What one signal makes of the samples.

    Attributes:
        rows: Of one interval.
        dropped: By reason.
        files: How many samples were read for it.
    """

    signal: Signal
    rows: tuple[TelemetryRow, ...] = ()
    dropped: Mapping[str, int] | None = None
    files: int = 0


def try_contract(contract: Contract, samples: Path) -> tuple[TriedSignal, ...]:
    """Count every sample as one look of the collectors, in the order of the names, all in one interval.

    Args:
        samples: A file, or a folder with files ``*.prom``, ``*.log``, ``*.json``, ``*.jsonl``.

    Raises:
        UsageError: No sample is there.
        HostError: A sample cannot be read.
    """
    files = _samples(samples)
    return tuple(
        _try(signal, [path for path in files if path.name.endswith(ENDS[signal.kind])])
        for signal in contract.signals
        if signal.kind in INTERVAL_KINDS
    )


def _samples(samples: Path) -> list[Path]:
    if not samples.exists():
        raise missing_file(str(samples))
    ends = tuple(end for of_kind in ENDS.values() for end in of_kind)
    files = [samples] if samples.is_file() else sorted(samples.iterdir())[:MAX_FILES]
    files = [path for path in files if path.name.endswith(ends) and path.is_file()]
    if not files:
        names = ", ".join(f"*{end}" for end in ends)
        raise UsageError("no sample is there", where=str(samples), remedy=f"name a file, or a folder with {names}")
    if (size := sum(path.stat().st_size for path in files)) > MAX_BYTES:
        problem = f"the samples have {show_size(size)}, at most {show_size(MAX_BYTES)} are tried"
        raise MalformedError(problem, where=str(samples), remedy="name fewer or shorter samples")
    return files


def _try(signal: Signal, files: list[Path]) -> TriedSignal:
    if not files:
        return TriedSignal(signal)
    collector = open_collector(signal)
    # An empty look first: what the samples have came after it, so that a single scrape counts whole.
    _look(collector, iter(()))
    for path in files:
        _look(collector, _chunks(path))
    collector.begin(_BEGIN + timedelta(seconds=signal.per_seconds or 1), None)
    counted = collector.counted
    return TriedSignal(signal, counted.rows, counted.dropped, len(files))


def _look(collector: Collector, chunks: Iterator[bytes]) -> None:
    collector.begin(_BEGIN, None)
    last = b"\n"
    for last in chunks:
        collector.feed(last)
    if not last.endswith(b"\n"):
        collector.feed(b"\n")
    collector.end()


def _chunks(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_regular(path), "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def tried_lines(tried: tuple[TriedSignal, ...]) -> list[str]:
    """Return for each signal its rows and drops, as lines."""
    lines: list[str] = []
    for result in tried:
        signal = result.signal
        if not result.files:
            lines.append(f"{signal.name} ({signal.kind}): no sample *{' *'.join(ENDS[signal.kind])}")
            continue
        dropped = ", ".join(f"{reason} {count}" for reason, count in sorted((result.dropped or {}).items()))
        lines.append(
            f"{signal.name} ({signal.kind}): {show_count(len(result.rows), 'row')} of one interval would leave"
            f"{f'; dropped: {dropped}' if dropped else ''}"
        )
        lines += [f"  {_words({**row.labels, **row.values})}" for row in result.rows[:_SHOWN]]
        if len(result.rows) > _SHOWN:
            lines.append(f"  and {len(result.rows) - _SHOWN} more")
    return lines


def tried_data(tried: tuple[TriedSignal, ...]) -> list[dict[str, object]]:
    """Return the same for programs, with all rows."""
    return [
        {
            "signal": result.signal.name,
            "kind": result.signal.kind,
            "samples": result.files,
            "rows": [{"labels": row.labels, "values": row.values} for row in result.rows],
            "dropped": dict(result.dropped or {}),
        }
        for result in tried
    ]


def _words(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
