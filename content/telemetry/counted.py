"""What a collector has counted: finished rows of one signal, and how much it dropped and why."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from manifests.documents.contract import Signal
from manifests.documents.telemetry import MAX_ROWS, TelemetryRow, Value
from manifests.words.canonical import Document
from manifests.words.digest import Positive, Word, is_digest
from manifests.words.errors import MalformedError
from manifests.words.version import parse_version

# Why something was dropped, as reports state it.
OUT_OF_BOUNDS = "out-of-bounds"
LABEL = "label"
LABEL_VALUE = "label-value"
TOO_LONG = "too-long"
TOO_MANY = "too-many"
TIME_LIMIT = "time-limit"
MALFORMED = "malformed"
GAP = "gap"
MISSING = "source-missing"
UNREADABLE = "source-unreadable"


class Counted(Document, frozen=True, kw_only=True):
    """The finished rows of one signal, oldest first, and what was dropped since the rows were last cleared.

    Attributes:
        dropped: By reason: samples, lines, spans, rows or looks that are in no row.
    """

    rows: Annotated[tuple[TelemetryRow, ...], Meta(max_length=MAX_ROWS)] = ()
    dropped: Annotated[dict[Word, Positive], Meta(max_length=64)] = {}

    def add(self, signal: Signal, rows: tuple[TelemetryRow, ...], dropped: Mapping[str, int]) -> "Counted":
        """Return this with more rows and drops. Values out of the signal's bounds are dropped one by one."""
        counts = dict(self.dropped)
        for reason, count in dropped.items():
            if count:
                counts[reason] = counts.get(reason, 0) + count
        kept = []
        for row in rows:
            values = {name: value for name, value in row.values.items() if fits(signal, name, value)}
            outside = len(row.values) - len(values)
            if outside:
                counts[OUT_OF_BOUNDS] = counts.get(OUT_OF_BOUNDS, 0) + outside
            if values:
                kept.append(replace(row, values=values))
        return Counted(rows=(*self.rows, *kept)[-MAX_ROWS:], dropped=counts)


def fits(signal: Signal, name: str, value: Value) -> bool:
    """Whether the contract allows this number or word as the field ``name`` of the signal."""
    bounds = signal.fields.get(name)
    if bounds is None:
        return False
    if bounds.enum is not None:
        return isinstance(value, str) and value in bounds.enum
    limits = bounds.integer or bounds.duration
    if limits is not None:
        return isinstance(value, int) and not isinstance(value, bool) and limits[0] <= value <= limits[1]
    if bounds.type == "bool":
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    return is_digest(value) if bounds.type == "digest" else bounds.type == "version" and _is_version(value)


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except MalformedError:
        return False
    return True
