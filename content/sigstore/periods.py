"""Periods of a trusted root: when a log or an authority was valid, both ends included (protobuf-specs, TimeRange)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from content.bundle.oci import read_json
from content.sigstore.sigstore_bundle import as_object, json_object
from manifests.words.errors import MalformedError

MAX_TRUSTED_ROOT = 1 << 20
LISTS = ("tlogs", "ctlogs", "certificateAuthorities")


@dataclass(frozen=True)
class Period:
    """A closed range of time. Attributes: start, end: aware UTC; without an end it goes on, without a start always."""

    start: datetime | None = None
    end: datetime | None = None

    def overlaps(self, other: "Period") -> bool:
        return _in_order(self.start, other.end) and _in_order(other.start, self.end)

    def __str__(self) -> str:
        start, end = (at.isoformat().replace("+00:00", "Z") if at else "" for at in (self.start, self.end))
        if start == end:
            return start or "always"
        return f"from {start} to {end}" if end else f"from {start}"


def moment(at: datetime) -> Period:
    return Period(at, at)


def read_period(holder: Mapping[str, object], what: str) -> Period:
    """The period under ``validFor`` of a key or an authority; without one, always.

    Raises MalformedError for a period without a start, and for a time that is none.
    """
    if "validFor" not in holder:
        return Period()
    bounds = json_object(holder, "validFor")
    return Period(_time(bounds.get("start"), what), _time(bounds["end"], what) if "end" in bounds else None)


def narrow(trusted_root: bytes, signed: Period, logged: Period, what: str) -> bytes:
    """Return the trusted root with only what was valid then, for the library, which does not compare these periods.

    ``signed`` is the period of the certificate: one authority and one log of certificates must have been valid in it.
    ``logged`` is the time of the log entry, where the log promised it, else again the period of the certificate.
    Of a time-stamp authority the library takes the end as outside, so its end is moved by the smallest step.
    Raises MalformedError for a period that cannot be read, or when nothing of a kind is left.
    """
    fields = read_json(trusted_root, max_bytes=MAX_TRUSTED_ROOT, where=what)
    for name in LISTS:
        wanted, listed = logged if name == "tlogs" else signed, fields.get(name)
        if not isinstance(listed, list):
            raise MalformedError(f"{name} is not a list", where=what)
        valid = [entry for entry in listed if _period_of(as_object(entry), what).overlaps(wanted)]
        if listed and not valid:
            raise MalformedError(f"nothing in {name} was valid at the time of the signature ({wanted})", where=what)
        fields[name] = valid
    stamps = fields.get("timestampAuthorities", [])
    for authority in stamps if isinstance(stamps, list) else ():
        period = read_period(as_object(authority), what)
        if period.end is not None and period.end < datetime.max.replace(tzinfo=UTC):
            authority["validFor"]["end"] = (period.end + timedelta(microseconds=1)).isoformat()
    return json.dumps(fields).encode()


def _period_of(entry: Mapping[str, object], what: str) -> Period:
    """Of a log the period of its key; of an authority its own."""
    return read_period(json_object(entry, "publicKey") if "publicKey" in entry else entry, what)


def _in_order(first: datetime | None, second: datetime | None) -> bool:
    return first is None or second is None or first <= second


def _time(value: object, what: str) -> datetime:
    try:
        at = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise MalformedError("a period has no start, or a time that is none", where=what) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
