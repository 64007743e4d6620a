"""Count one series of Prometheus text over intervals: increases of counters, quantiles of histograms, gauges.

A label that the contract does not list is dropped and counted: the samples that differ only in it are added up. A
sample whose label has a value that the contract does not list is dropped and counted.
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field

from content.telemetry.counted import LABEL, LABEL_VALUE, MALFORMED, TOO_LONG, TOO_MANY
from content.telemetry.exposition import Lines, SampleReader, parse_labels, parse_type
from content.telemetry.intervals import Collector, CollectorState, Decimal, definition
from content.telemetry.quantiles import QUANTILES, histogram_quantile
from manifests.documents.contract import Signal, Values
from manifests.documents.telemetry import TelemetryRow, Value
from manifests.words.canonical import Document, encode
from manifests.words.digest import Count

# Series that are followed for one signal; of a histogram each bucket is one. More are counted as `too-many`.
MAX_SERIES = 10_000
# The unit of a series is the end of its name (prometheus.io, "Metric and label naming", base units).
_FACTORS = {
    ("seconds", "us"): 10**6,
    ("seconds", "ms"): 10**3,
    ("bytes", "KiB"): 1 / 1024,
    ("bytes", "MiB"): 1 / (1 << 20),
    ("ratio", "per mille"): 1000,
    ("ratio", "percent"): 100,
}
_UNKNOWN: tuple["Key", float] = ((("", ""),), math.nan)


class Last(Document, frozen=True, kw_only=True):
    """The last value of one raw series; ``series`` is a hash: values of labels are not written to disk."""

    series: str
    value: Decimal


class GroupState(Document, frozen=True, kw_only=True):
    """The counts of an interval for one combination of the contract's labels.

    Attributes:
        growth: Of the counter, or of a histogram's count.
        total: Growth of a histogram's sum.
        buckets: Growth by upper bound, as text.
        gauge: Number, sum, lowest, highest and last value of the looks.
    """

    labels: dict[str, str] = {}
    growth: Decimal | None = None
    total: Decimal | None = None
    buckets: dict[str, Decimal] = {}
    gauge: tuple[Decimal, ...] = ()


class MetricsState(CollectorState, frozen=True, kw_only=True):
    """``looks``: successful looks since the state began."""

    looks: Count = 0
    last: tuple[Last, ...] = ()
    groups: tuple[GroupState, ...] = ()


@dataclass
class _Group:
    growth: float | None = None
    total: float | None = None
    buckets: dict[float, float] = field(default_factory=dict)
    gauge: list[float] = field(default_factory=list)


Key = tuple[tuple[str, str], ...]


class MetricsCollector(Collector):
    """Counts one series of a scrape; what a scrape says counts only when it was read to its end."""

    def __init__(self, signal: Signal, state: MetricsState | None) -> None:
        super().__init__(signal, state)
        source = signal.source
        self._series = ((source.series or "") if source else "").encode()
        self._read = SampleReader(self._series.decode()).read
        # By label: each value that may leave, with what a row says for it.
        self._wanted = tuple(
            (name.encode(), {value.encode(): (name, value) for value in bounds.enum or ()})
            for name, bounds in sorted(signal.labels.items())
        )
        self._lines = Lines()
        self._dropped: Counter[str] = Counter()
        self._looks = state.looks if state else 0
        self._last = {last.series: float(last.value) for last in state.last} if state else {}
        self._groups = (
            {tuple(sorted(group.labels.items())): _restored(group) for group in state.groups} if state else {}
        )
        self._begin_scrape()

    def _begin_scrape(self) -> None:
        self._type = ""
        self._scrape: dict[str, tuple[Key, str, float, float]] = {}
        self._gauges: dict[Key, float] = {}
        self._known: dict[bytes, tuple[Key, float] | None] = {}
        self._lines = Lines()
        self._is_text = True

    def feed(self, data: bytes) -> None:
        self.consumed += len(data)
        # The format is text: a zero byte is in no line of it.
        self._is_text = self._is_text and b"\0" not in data
        for line in self._lines.feed(data):
            self._line(line)

    def end(self) -> None:
        """Count the whole scrape."""
        self._line(self._lines.rest())
        self._dropped[TOO_LONG] += self._lines.too_long
        if not self._is_text and not self._dropped[MALFORMED]:
            self._dropped[MALFORMED] += 1
        if len(self._scrape.keys() | self._last.keys()) > MAX_SERIES:
            # Series that are gone make place for those that are there.
            self._last = {series: value for series, value in self._last.items() if series in self._scrape}
        for series, (key, part, bound, value) in self._scrape.items():
            before = self._last.get(series)
            self._last[series] = value
            # A series that was not there in an earlier look began at nothing after it; a lower value is a reset.
            grown = value - before if before is not None and value >= before else value
            self._grow(key, part, bound, grown if before is not None or self._looks else 0.0)
        for key, value in self._gauges.items():
            self._observe(key, value)
        self._looks += 1
        self._begin_scrape()
        self._add((), self._take_drops())

    def state(self) -> bytes:
        return encode(
            MetricsState(
                signal=definition(self.signal),
                counted=self.counted,
                interval=self.interval,
                looks=self._looks,
                last=tuple(Last(series=series, value=_text(value)) for series, value in sorted(self._last.items())),
                groups=tuple(_kept(key, group) for key, group in sorted(self._groups.items())),
            )
        )

    def matched(self) -> bool:
        return bool(self._groups)

    def _line(self, line: bytes) -> None:
        line = line.strip(b" \t\r")
        if line.startswith(b"#"):
            stated = parse_type(line)
            if stated is not None and stated[0] == self._series:
                self._type = stated[1]
            return
        try:
            sample = self._read(line)
            if sample is not None:
                self._sample(*sample)
        except ValueError:
            self._dropped[MALFORMED] += 1

    def _sample(self, part: str, labels: bytes, value: float) -> None:
        if part == "value" and (self._type in ("summary", "histogram") or b"quantile=" in labels):
            return  # quantiles that a client computed cannot be added up
        followed = part != "value" or self._is_counter
        if followed and len(self._scrape) >= MAX_SERIES:
            # Before its labels are read: a flood of series costs little.
            self._dropped[TOO_MANY] += 1
            return
        grouped = self._known.get(labels, _UNKNOWN)
        if grouped is _UNKNOWN:
            grouped = self._group_of(labels)
            if len(self._known) < MAX_SERIES:
                self._known[labels] = grouped
        if grouped is None:
            self._dropped[LABEL_VALUE] += 1
            return
        key, bound = grouped
        if not followed:
            self._gauges[key] = self._gauges.get(key, 0.0) + value
            return
        if part == "bucket" and math.isnan(bound):
            raise ValueError("a bucket without its bound")
        series = hashlib.blake2b(part.encode() + labels, digest_size=12).hexdigest()
        if series in self._scrape:
            raise ValueError("a series twice in one scrape")
        self._scrape[series] = (key, part, bound, value)

    @property
    def _is_counter(self) -> bool:
        if self._type in ("counter", "gauge"):
            return self._type == "counter"
        return self._series.endswith(b"_total")

    def _group_of(self, text: bytes) -> tuple[Key, float] | None:
        """Return the labels that count and the bound of a bucket; None for a value that the contract does not list."""
        labels = parse_labels(text)
        bound = float(labels.pop(b"le")) if b"le" in labels else math.nan
        key = []
        for name, pairs in self._wanted:
            pair = pairs.get(labels.pop(name, b""))
            if pair is None:
                return None
            key.append(pair)
        self._dropped[LABEL] += len(labels)
        return tuple(key), bound

    def _grow(self, key: Key, part: str, bound: float, growth: float) -> None:
        group = self._groups.setdefault(key, _Group())
        if part == "bucket":
            group.buckets[bound] = group.buckets.get(bound, 0.0) + growth
        elif part == "sum":
            group.total = (group.total or 0.0) + growth
        else:
            group.growth = (group.growth or 0.0) + growth

    def _observe(self, key: Key, value: float) -> None:
        group = self._groups.setdefault(key, _Group())
        count, total, low, high = group.gauge[:4] if group.gauge else (0.0, 0.0, value, value)
        group.gauge = [count + 1, total + value, min(low, value), max(high, value), value]

    def _rows(self) -> tuple[TelemetryRow, ...]:
        rows = []
        for key, group in sorted(self._groups.items()):
            values: dict[str, Value] = {}
            for name, bounds in self.signal.fields.items():
                number = _number(name, group)
                if number is not None and math.isfinite(number):
                    values[name] = round(number * self._factor(name, bounds))
            if values:
                rows.append(self._row(dict(key), values))
        return tuple(rows)

    def _factor(self, name: str, bounds: Values) -> float:
        if name == "count":
            return 1
        base = self._series.removesuffix(b"_total").rpartition(b"_")[2].decode()
        return _FACTORS.get((base, bounds.unit or ""), 1)

    def _reset(self) -> None:
        self._groups = {}

    def _take_drops(self) -> dict[str, int]:
        dropped, self._dropped = dict(self._dropped), Counter()
        return dropped


def _number(name: str, group: _Group) -> float | None:
    """Return the value of a field; None where the source is not of the kind that has it."""
    if name in QUANTILES:
        return histogram_quantile(group.buckets, QUANTILES[name])
    if name in ("count", "increase"):
        return group.growth
    if name == "sum":
        return group.total
    if name == "mean":
        if group.gauge:
            return group.gauge[1] / group.gauge[0]
        return group.total / group.growth if group.total is not None and group.growth else None
    index = {"min": 2, "max": 3, "last": 4}[name] if name in ("min", "max", "last") else None
    return group.gauge[index] if index is not None and group.gauge else None


def _text(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 10**15 else f"{value:.17e}"


def _kept(key: Key, group: _Group) -> GroupState:
    return GroupState(
        labels=dict(key),
        growth=None if group.growth is None else _text(group.growth),
        total=None if group.total is None else _text(group.total),
        buckets={
            ("inf" if math.isinf(bound) else _text(bound)): _text(growth) for bound, growth in group.buckets.items()
        },
        gauge=tuple(_text(value) for value in group.gauge),
    )


def _restored(group: GroupState) -> _Group:
    if len(group.gauge) not in (0, 5):
        raise ValueError("a gauge has five numbers")
    return _Group(
        growth=None if group.growth is None else float(group.growth),
        total=None if group.total is None else float(group.total),
        buckets={float(bound): float(growth) for bound, growth in group.buckets.items()},
        gauge=[float(value) for value in group.gauge],
    )
