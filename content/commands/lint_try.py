"""Try a telemetry contract on samples before it is released: what would leave, and what would be dropped and why."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from content.telemetry.collector import open_collector
from content.telemetry.counted import LABEL_VALUE, OUT_OF_BOUNDS
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
_ENDS = tuple(end for of_kind in ENDS.values() for end in of_kind)
MAX_FILES = 1000
MAX_BYTES = 256 << 20
_CHUNK = 1 << 20
# Rows that the text shows of one signal; the JSON has all.
_SHOWN = 20
# Fields that are counted from one scrape to the next.
_GROWTH = frozenset({"count", "increase", "sum", "p50", "p90", "p95", "p99"})
# Drops of samples that are of the signal.
_OF_SIGNAL = (LABEL_VALUE, OUT_OF_BOUNDS)
# What of a source nothing fits, by kind.
_NOTHING: Mapping[str, str] = {
    "metrics": "no sample is of its series",
    "logs": "no line matches its patterns",
    "traces": "no span is of its operation",
}
# Any time does: intervals hold what was read in them, whatever times the samples state.
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TriedSignal:
    """What one signal makes of the samples.

    Attributes:
        rows: Of one interval.
        dropped: By reason.
        files: How many samples were read for it.
        fitting: Those that have something of the signal.
    """

    signal: Signal
    rows: tuple[TelemetryRow, ...] = ()
    dropped: Mapping[str, int] | None = None
    files: int = 0
    fitting: tuple[Path, ...] = ()

    @property
    def note(self) -> str:
        """What a reader of the rows has to know; empty when there is nothing."""
        if self.files and not self.fitting:
            return _NOTHING[self.signal.kind]
        if self.signal.kind == "metrics" and len(self.fitting) == 1 and _GROWTH & self.signal.fields.keys():
            return "one scrape gives no increase; two files in order give one"
        return ""


@dataclass(frozen=True)
class TriedContract:
    """Attributes: unused: files that fit no signal; skipped: what was not read, and why."""

    signals: tuple[TriedSignal, ...]
    unused: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


def try_contract(contract: Contract, samples: Path) -> TriedContract:
    """Count every sample as one look of the collectors, in the order of the names, all in one interval.

    Args:
        samples: A file, or a folder with files ``*.prom``, ``*.log``, ``*.json``, ``*.jsonl``.

    Raises:
        UsageError: No sample is there.
        HostError: A sample cannot be read.
    """
    files, skipped = _samples(samples)
    signals = tuple(
        _try(signal, [path for path in files if path.name.endswith(ENDS[signal.kind])])
        for signal in contract.signals
        if signal.kind in INTERVAL_KINDS
    )
    fitting = {path for result in signals for path in result.fitting}
    return TriedContract(signals, tuple(path for path in files if path not in fitting), skipped)


def _samples(samples: Path) -> tuple[list[Path], tuple[tuple[Path, str], ...]]:
    """Return the files to read in the order of their names, and what is not read and why."""
    if not samples.exists():
        raise missing_file(str(samples))
    names = ", ".join(f"*{end}" for end in _ENDS)
    remedy = f"name a file, or a folder with {names}"
    if not samples.is_dir():
        # A link that is named is followed; one in a folder is not, as collectors follow none.
        reason = _skip_reason(samples, samples.stat().st_mode)
        if reason is not None:
            raise UsageError(f"{reason}, expected a file {names}", where=str(samples), remedy=remedy)
        files, skipped = [samples], []
    else:
        reasons = [(path, _skip_reason(path, path.lstat().st_mode)) for path in sorted(samples.iterdir())]
        files = [path for path, reason in reasons if reason is None]
        skipped = [(path, reason) for path, reason in reasons if reason is not None]
        skipped += [(path, f"only the first {MAX_FILES} files are tried") for path in files[MAX_FILES:]]
        files = files[:MAX_FILES]
    if not files:
        all_skipped = "; ".join(f"{path.name}: {reason}" for path, reason in skipped[:_SHOWN])
        problem = "no sample is there" + (f" ({all_skipped})" if skipped else "")
        raise UsageError(problem, where=str(samples), remedy=remedy)
    if (size := sum(path.stat().st_size for path in files)) > MAX_BYTES:
        problem = f"the samples have {show_size(size)}, at most {show_size(MAX_BYTES)} are tried"
        raise MalformedError(problem, where=str(samples), remedy="name fewer or shorter samples")
    return files, tuple(skipped)


def _skip_reason(path: Path, mode: int) -> str | None:
    """Return why something is no sample; None for one."""
    if stat.S_ISLNK(mode):
        return "a link, which is not followed"
    if stat.S_ISDIR(mode):
        return "a folder, which is not entered"
    if not stat.S_ISREG(mode):
        return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return None if path.name.endswith(_ENDS) else "its name ends in no kind of sample"


def _try(signal: Signal, files: list[Path]) -> TriedSignal:
    if not files:
        return TriedSignal(signal)
    collector = open_collector(signal)
    fitting = []
    for path in files:
        _look(collector, _chunks(path))
        alone = open_collector(signal)
        _look(alone, _chunks(path))
        if alone.matched() or any(alone.counted.dropped.get(reason) for reason in _OF_SIGNAL):
            fitting.append(path)
    collector.begin(_BEGIN + timedelta(seconds=signal.per_seconds or 1), None)
    counted = collector.counted
    return TriedSignal(signal, counted.rows, counted.dropped, len(files), tuple(fitting))


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


def tried_lines(tried: TriedContract) -> list[str]:
    """Return for each signal its rows and drops, then the files that gave nothing, as lines."""
    lines: list[str] = []
    for result in tried.signals:
        signal = result.signal
        if not result.files:
            lines.append(f"{signal.name} ({signal.kind}): no sample *{' *'.join(ENDS[signal.kind])}")
            continue
        dropped = ", ".join(f"{reason} {count}" for reason, count in sorted((result.dropped or {}).items()))
        lines.append(
            f"{signal.name} ({signal.kind}): {show_count(len(result.rows), 'row')} of one interval would leave"
            f"{f'; dropped: {dropped}' if dropped else ''}{f'; {result.note}' if result.note else ''}"
        )
        lines += [f"  {_words({**row.labels, **row.values})}" for row in result.rows[:_SHOWN]]
        if len(result.rows) > _SHOWN:
            lines.append(f"  and {len(result.rows) - _SHOWN} more")
    lines += _some([f"{path.name}: fits no signal of the contract" for path in tried.unused])
    return lines + _some([f"{path.name}: skipped: {reason}" for path, reason in tried.skipped])


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*lines[:_SHOWN], *more]


def tried_data(tried: TriedContract) -> dict[str, object]:
    """Return the same for programs, with all rows and files."""
    signals = [
        {
            "signal": result.signal.name,
            "kind": result.signal.kind,
            "samples": result.files,
            "rows": [{"labels": row.labels, "values": row.values} for row in result.rows],
            "dropped": dict(result.dropped or {}),
            "fitting": [path.name for path in result.fitting],
            "note": result.note,
        }
        for result in tried.signals
    ]
    skipped = [{"file": path.name, "why": reason} for path, reason in tried.skipped]
    return {"tried": signals, "unused": [path.name for path in tried.unused], "skipped": skipped}


def _words(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
