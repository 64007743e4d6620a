"""Parse and format times: RFC 3339 in UTC, and the age of a time."""

from datetime import UTC, datetime

from manifests.words.errors import MalformedError
from manifests.words.units import show_duration


def parse_time(text: str, where: str = "") -> datetime:
    """Return an RFC 3339 time, aware; a date is its beginning in UTC. Raises MalformedError unless in the calendar."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedError(f"{text} is not in the calendar", where=where) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def optional_time(moment: datetime | None) -> str | None:
    """Return the RFC 3339 text of a time; None for None."""
    return None if moment is None else rfc3339(moment)


def age(moment: datetime, now: datetime) -> str:
    """How long ago ``moment`` was, as ``3d`` or ``12m``."""
    return show_duration(max(int((now - moment).total_seconds()), 0))
