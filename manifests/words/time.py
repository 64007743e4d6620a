"""Format times: RFC 3339 in UTC, and the age of a time."""

from contextlib import suppress
from datetime import UTC, datetime

from manifests.words.units import show_duration


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(moment: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, as ``3d`` or ``12m``."""
    with suppress(ValueError):
        seconds = int((now - datetime.fromisoformat(moment)).total_seconds())
        return show_duration(max(seconds, 0))
    return "?"
