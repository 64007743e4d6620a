"""Whether the telemetry contract allows a row to leave the site. Pure.

This is the second check, made when a report is written. It shares no code with the collectors, which make the first:
a fault in one of them, or a file of the site that somebody changed, lets nothing leave.
"""

import re
from collections.abc import Collection
from datetime import datetime

from manifests.documents.contract import Signal, Values
from manifests.documents.telemetry import TelemetryRow, Value
from manifests.words.errors import MalformedError
from manifests.words.time import parse_time

OUTSIDE = "out-of-bounds"
BAD_LABEL = "label-value"
BAD_TIME = "time"
BAD_RELEASE = "release"

_COUNTED_OVER_TIME = frozenset(("metrics", "logs", "traces"))
_AT_A_MOMENT = frozenset(("health", "command-result"))
# Written anew here, on purpose: see the head of this module.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_EARLY = r"(?:0|[1-9][0-9]*|[0-9]*[a-z-][0-9a-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_EARLY}(?:\.{_EARLY})*)?(?:\+[0-9a-z-]+(?:\.[0-9a-z-]+)*)?\Z"
)
_LONGEST_VERSION = 64


def refusal(signal: Signal, row: TelemetryRow, now: datetime, releases: Collection[str]) -> str | None:
    """Return why the row may not leave, as a reason of ``dropped``; None when the contract allows it.

    Args:
        releases: Digests of releases that this site ran: a row names no other.
    """
    if signal.kind in _COUNTED_OVER_TIME:
        right = signal.per_seconds is not None and 0 < row.seconds <= signal.per_seconds
    else:
        right = signal.kind in _AT_A_MOMENT and row.seconds == 0
    if not right or not _is_past(row.start, now):
        return BAD_TIME
    if row.release is not None and row.release not in releases:
        return BAD_RELEASE
    if row.labels.keys() != signal.labels.keys():
        return BAD_LABEL
    if not all(text in (signal.labels[name].enum or ()) for name, text in row.labels.items()):
        return BAD_LABEL
    if not row.values or not all(name in signal.fields for name in row.values):
        return OUTSIDE
    if not all(within(signal.fields[name], value) for name, value in row.values.items()):
        return OUTSIDE
    return None


def within(bounds: Values, value: Value) -> bool:
    """Return whether the bounds of a field allow the value. What is not allowed by name is not allowed."""
    if type(value) is bool:
        return bounds.type == "bool"
    if type(value) is int:
        low_high = bounds.integer if bounds.integer is not None else bounds.duration
        return low_high is not None and low_high[0] <= value <= low_high[1]
    if type(value) is not str:
        return False
    if bounds.enum is not None:
        return value in bounds.enum
    if bounds.type == "digest":
        return _DIGEST.match(value) is not None
    return bounds.type == "version" and len(value) <= _LONGEST_VERSION and _VERSION.match(value) is not None


def _is_past(start: str, now: datetime) -> bool:
    try:
        return parse_time(start) <= now
    except MalformedError:
        return False
