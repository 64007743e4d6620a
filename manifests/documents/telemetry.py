"""The telemetry of a report: rows of the signals that the contract lists, bound to the report by digest.

The file travels beside the report, whose ``chain.telemetry`` has its digest and size. It has no signature of its own.
Every value is a bounded integer, a truth value, or a word of a fixed alphabet: no value can hold a sentence.
"""

from typing import Annotated

from msgspec import Meta

from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Digest, Integer, Name, Positive, SiteId, Time, Word, digest_of
from manifests.words.errors import MalformedError

TELEMETRY_TYPE = "application/vnd.waybill.telemetry.v1+json"
MAX_TELEMETRY = 1 << 20
MAX_ROWS = 100_000
# Rows in one report of a signal whose contract states no number: results of handlers, states of probes.
MAX_MOMENTS = 256
HANDLER_RESULT_TYPE = "application/vnd.waybill.handler-result.v1+json"
MAX_HANDLER_RESULT = 64 << 10
# Rows of one run of a handler.
MAX_HANDLER_ROWS = 64

# A word of an enumeration, a version or a digest; which of them, the contract says.
TelemetryWord = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}\Z")]
Value = bool | Integer | TelemetryWord
RowValues = Annotated[dict[Word, Value], Meta(min_length=1, max_length=64)]


class TelemetryRow(Document, frozen=True, kw_only=True):
    """Values of one signal over one interval, or at one moment.

    Attributes:
        release: The release that ran; the row of an interval with several has the last one. None while none ran.
        start: Begin of the interval by the site's clock, or the moment.
        seconds: Length of the interval; 0 for a moment.
        labels: Each a word of the label's enumeration.
        values: By field of the signal.
    """

    release: Digest | None = None
    start: Time
    seconds: Count = 0
    labels: Annotated[dict[Word, Word], Meta(max_length=64)] = {}
    values: RowValues


class SignalRows(Document, frozen=True, kw_only=True):
    """The rows of one signal, oldest first."""

    signal: Word
    rows: Annotated[tuple[TelemetryRow, ...], Meta(min_length=1, max_length=MAX_ROWS)]


class Telemetry(Document, frozen=True, kw_only=True, tag_field="type", tag=TELEMETRY_TYPE):
    """What the collectors of one site counted.

    Attributes:
        environment: The third name of ``site``.
        seq: Number of the report that it belongs to.
        contract: Digest of the telemetry contract that allows each row.
        signals: Sorted by name, each once.
    """

    site: SiteId
    environment: Name
    seq: Positive
    contract: Digest
    signals: Annotated[tuple[SignalRows, ...], Meta(max_length=256)] = ()

    @property
    def digest(self) -> str:
        return digest_of(encode(self))


class HandlerResult(Document, frozen=True, kw_only=True, tag_field="type", tag=HANDLER_RESULT_TYPE):
    """What one run of a handler says for one signal; a file of the site, which becomes rows of its next report.

    Attributes:
        signal: The signal of kind ``command-result`` that lists the values.
        start: When the handler began, by the site's clock.
        release: The release that ran; None while none ran.
        values: Of the first row, by field of the signal.
        more: Of the others, for a handler that states something of each of several things.
    """

    signal: Word
    start: Time
    release: Digest | None = None
    values: RowValues
    more: Annotated[tuple[RowValues, ...], Meta(max_length=MAX_HANDLER_ROWS - 1)] = ()

    @property
    def rows(self) -> tuple[TelemetryRow, ...]:
        all_values = (self.values, *self.more)
        return tuple(TelemetryRow(release=self.release, start=self.start, values=values) for values in all_values)


def parse_handler_result(data: bytes, what: str = "handler result") -> HandlerResult:
    """Read the result of a handler; whether the contract allows it is not checked here. Raises MalformedError."""
    return parse(data, HandlerResult, what, max_bytes=MAX_HANDLER_RESULT)


def parse_telemetry(data: bytes, what: str = "telemetry") -> Telemetry:
    """Read telemetry; whether its contract allows it is not checked here. Raises MalformedError."""
    telemetry = parse(data, Telemetry, what, max_bytes=MAX_TELEMETRY)
    if telemetry.environment != telemetry.site.split("/")[2]:
        raise MalformedError("`environment` is not that of the site", where=f"{what} $.environment")
    names = [signal.signal for signal in telemetry.signals]
    if names != sorted(set(names)):
        raise MalformedError("signals are not sorted, each once", where=f"{what} $.signals")
    return telemetry
