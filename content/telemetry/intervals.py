"""The frame of every collector: intervals that become rows, drops, and a state that is kept between looks.

A collector is fed what one look at a source gives, and keeps nothing but counts. An interval holds what was read in it,
whatever times the source itself states: clocks inside of logs and spans are not trusted.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from content.telemetry.counted import Counted
from manifests.documents.contract import Signal
from manifests.documents.telemetry import TelemetryRow, Value
from manifests.words.canonical import Document, encode
from manifests.words.digest import Count, Digest, digest_of
from manifests.words.time import parse_time, rfc3339

# Of the kept state of one collector.
MAX_STATE = 64 << 20
# The last second that a time can state: the end of the year 9999.
LAST_TIME = 253402300799
# A number that is not whole, as text: canonical JSON has integers only.
Decimal = Annotated[str, Meta(pattern=r"\A-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?\Z")]


class Interval(Document, frozen=True, kw_only=True):
    """The interval that is being counted.

    Attributes:
        begin: Unix time at which counting began: a multiple of the signal's ``per_seconds``, but for the first look.
        end: Unix time of the last look.
        release: The release that ran at the last look.
    """

    begin: Count
    end: Count
    release: Digest | None = None


class CollectorState(Document, frozen=True, kw_only=True):
    """What every collector keeps; each kind adds its own counts.

    Attributes:
        signal: Digest of the signal's definition: another definition starts anew.
    """

    signal: Digest
    counted: Counted = Counted()
    interval: Interval | None = None


class Collector(ABC):
    """Counts one signal.

    Attributes:
        counted: Finished rows, and drops by reason.
        consumed: Bytes since ``begin`` that are accounted for; an unfinished last line is not, and is fed again.
    """

    def __init__(self, signal: Signal, state: CollectorState | None) -> None:
        self.signal = signal
        self.per = signal.per_seconds or 1
        self.counted = state.counted if state else Counted()
        self.interval = state.interval if state else None
        self.consumed = 0

    def begin(self, at: datetime, release: str | None) -> None:
        """Begin a look. An interval that has ended becomes rows; a clock that went back changes no interval."""
        self.consumed = 0
        now = int(at.timestamp())
        begin = now - now % self.per
        if self.interval is None:
            self.interval = Interval(begin=now, end=now, release=release)
        elif begin > self.interval.begin:
            self._add(self._rows(), self._take_drops())
            self._reset()
            self.interval = Interval(begin=begin, end=now, release=release)
        self.interval = replace(self.interval, end=max(now, self.interval.end), release=release)

    def check(self) -> None:
        """Raise where a kept state cannot be used: whatever error its use would raise later, in a look or a report."""
        for row in self.counted.rows:
            parse_time(row.start)
        if self.interval is None:
            return
        if not self.interval.begin <= self.interval.end <= LAST_TIME:
            raise ValueError("an interval that ends before it begins, or after the last year")
        self._rows()
        self.state()

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take the next bytes of the source."""

    @abstractmethod
    def end(self) -> None:
        """The source has no more bytes in this look."""

    @abstractmethod
    def state(self) -> bytes:
        """Return what has to be kept until the next look: canonical JSON, at most ``MAX_STATE`` bytes."""

    @abstractmethod
    def matched(self) -> bool:
        """Whether the interval under way has anything of the signal: a series, a line, a span."""

    @abstractmethod
    def _rows(self) -> tuple[TelemetryRow, ...]:
        """Return the rows of the interval that is being counted."""

    @abstractmethod
    def _reset(self) -> None:
        """Forget the counts of the interval, and nothing that the next one needs."""

    @abstractmethod
    def _take_drops(self) -> dict[str, int]:
        """Return the drops since the last call, by reason."""

    def drop(self, reason: str, count: int = 1) -> None:
        """Count something that is in no row."""
        self._add((), {reason: count})

    def clear(self, before: datetime) -> None:
        """Forget finished rows of intervals that began before."""
        kept = tuple(row for row in self.counted.rows if parse_time(row.start) >= before)
        self.counted = replace(self.counted, rows=kept)

    def current_rows(self) -> tuple[TelemetryRow, ...]:
        """Return the rows of the interval under way, up to the last look: its ``seconds`` are what was counted."""
        return Counted().add(self.signal, self._rows(), {}).rows

    def current_until(self) -> datetime | None:
        """Return when the interval under way ends; None before the first look."""
        if self.interval is None:
            return None
        begin = self.interval.begin - self.interval.begin % self.per
        return datetime.fromtimestamp(min(begin + self.per, LAST_TIME), UTC)

    def _row(self, labels: dict[str, str], values: dict[str, Value]) -> TelemetryRow:
        if self.interval is None:
            raise AssertionError("a row is made inside of an interval")
        start = datetime.fromtimestamp(self.interval.begin, UTC)
        seconds = max(1, min(self.per, self.interval.end - self.interval.begin))
        return TelemetryRow(
            release=self.interval.release, start=rfc3339(start), seconds=seconds, labels=labels, values=values
        )

    def _add(self, rows: Iterable[TelemetryRow], dropped: dict[str, int]) -> None:
        self.counted = self.counted.add(self.signal, tuple(rows), dropped)


def definition(signal: Signal) -> str:
    """Return the digest by which a kept state names the signal that it is of."""
    return digest_of(encode(signal))


def kept_since(signal: Signal, now: datetime) -> datetime:
    """Return the time before which rows of the signal are no longer kept at the site."""
    return now - timedelta(seconds=min(signal.keep.site, 10**10))
