"""Count the spans of one operation in OTLP JSON: how many, how many failed, how long they took.

A file holds one ``ExportTraceServiceRequest`` as JSON, or one on each line (OpenTelemetry protocol, "JSON Protobuf
Encoding"). Only the name, the two times and the status of a span are decoded; attributes, ids and events are skipped.
"""

from collections import Counter
from enum import IntEnum

import msgspec

from content.telemetry.counted import MALFORMED, TOO_LONG
from content.telemetry.intervals import Collector, CollectorState, definition
from content.telemetry.quantiles import QUANTILES, bucket_of, quantile
from manifests.documents.contract import Signal, Values
from manifests.documents.telemetry import TelemetryRow, Value
from manifests.words.canonical import check_depth, encode
from manifests.words.digest import MAX_INTEGER, Count, Word
from manifests.words.errors import MalformedError

# Of one request: what a line, or a file that is one document, may be long.
MAX_DOCUMENT = 8 << 20
_PER_SECOND = {"us": 10**6, "ms": 10**3, "s": 1}


class StatusCode(IntEnum):
    """``Status.StatusCode`` of the OpenTelemetry protocol."""

    UNSET = 0
    OK = 1
    ERROR = 2


class _Status(msgspec.Struct):
    code: int | str = 0


class _Span(msgspec.Struct, rename="camel"):
    name: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    status: _Status | None = None


class _Scope(msgspec.Struct, rename="camel"):
    spans: list[_Span] | None = None


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] | None = None


class _TraceRequest(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource] | None = None


class TraceState(CollectorState, frozen=True, kw_only=True):
    """Of the interval: spans, failed spans, microseconds, extremes, and spans by bucket of their duration."""

    count: Count = 0
    errors: Count = 0
    microseconds: Count = 0
    shortest: Count = 0
    longest: Count = 0
    buckets: dict[Word, Count] = {}


class TraceCollector(Collector):
    """Counts the spans of one operation."""

    def __init__(self, signal: Signal, state: TraceState | None) -> None:
        super().__init__(signal, state)
        self._operation = signal.source.operation if signal.source else None
        self._decoder = msgspec.json.Decoder(_TraceRequest)
        self._rest = bytearray()
        self._dropped: Counter[str] = Counter()
        self._buckets: Counter[int] = Counter()
        self._reset()
        if state is not None:
            self._count, self._errors, self._sum = state.count, state.errors, state.microseconds
            self._shortest, self._longest = state.shortest, state.longest
            self._buckets.update({int(bucket): count for bucket, count in state.buckets.items()})
        self._lines = True
        self._skipping = False

    def feed(self, data: bytes) -> None:
        self.consumed += len(data)
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0 and self._lines:
            line = bytes(self._rest[: end + 1])
            if self._skipping:
                self._skipping = False
            elif len(line) > MAX_DOCUMENT:
                self._dropped[TOO_LONG] += 1
            elif line.strip() and not self._take(line):
                # A document over several lines: its end is known only at the end of the file.
                self._lines = False
                break
            del self._rest[: end + 1]
        if len(self._rest) > MAX_DOCUMENT:
            if not self._skipping:
                self._dropped[TOO_LONG] += 1
            self._rest.clear()
            self._skipping, self._lines = True, True

    def end(self) -> None:
        """Take the last document of the file, if it is whole; else it is read again in the next look."""
        rest = bytes(self._rest)
        if rest.strip() and not self._skipping and not self._take(rest):
            if self._lines:
                self.consumed -= len(rest)
            else:
                self._dropped[MALFORMED] += 1
        self._rest.clear()
        self._lines, self._skipping = True, False
        self._add((), self._take_drops())

    def state(self) -> bytes:
        return encode(
            TraceState(
                signal=definition(self.signal),
                counted=self.counted,
                interval=self.interval,
                count=self._count,
                errors=self._errors,
                microseconds=self._sum,
                shortest=self._shortest,
                longest=self._longest,
                buckets={str(bucket): count for bucket, count in sorted(self._buckets.items())},
            )
        )

    def matched(self) -> bool:
        return self._count > 0

    def _take(self, document: bytes) -> bool:
        """Count the spans of one document; return False when it is none."""
        try:
            check_depth(document, "traces")
            request = self._decoder.decode(document)
        except (msgspec.DecodeError, MalformedError, UnicodeDecodeError):
            return False
        for resource in request.resource_spans or ():
            for scope in resource.scope_spans or ():
                for span in scope.spans or ():
                    if span.name == self._operation:
                        self._add_span(span)
        return True

    def _add_span(self, span: _Span) -> None:
        try:
            microseconds = (int(span.end_time_unix_nano) - int(span.start_time_unix_nano)) // 1000
        except ValueError:
            microseconds = -1
        if not 0 <= microseconds < 2**52:
            self._dropped[MALFORMED] += 1
            return
        code = span.status.code if span.status else 0
        self._count += 1
        self._errors += code in (StatusCode.ERROR, "STATUS_CODE_ERROR")
        self._sum = min(self._sum + microseconds, MAX_INTEGER)
        self._shortest = microseconds if self._count == 1 else min(self._shortest, microseconds)
        self._longest = max(self._longest, microseconds)
        self._buckets[bucket_of(microseconds)] += 1

    def _rows(self) -> tuple[TelemetryRow, ...]:
        values: dict[str, Value] = {}
        for name, bounds in self.signal.fields.items():
            value = self._value(name, bounds)
            if value is not None:
                values[name] = value
        return (self._row({}, values),) if values else ()

    def _value(self, name: str, bounds: Values) -> int | None:
        if name == "count":
            return self._count
        if not self._count:
            return None
        if name == "errors":
            scale = {"per mille": 1000, "percent": 100}.get(bounds.unit or "")
            return self._errors if scale is None else round(scale * self._errors / self._count)
        microseconds = {"min": self._shortest, "max": self._longest, "mean": self._sum / self._count}.get(name)
        if name in QUANTILES:
            microseconds = quantile(self._buckets, QUANTILES[name])
            # The sketch may be off by 1 %; the extremes are exact.
            microseconds = min(max(microseconds or 0, self._shortest), self._longest)
        return None if microseconds is None else round(microseconds * _PER_SECOND.get(bounds.unit or "s", 1) / 10**6)

    def _reset(self) -> None:
        self._count = self._errors = self._sum = self._shortest = self._longest = 0
        self._buckets.clear()

    def _take_drops(self) -> dict[str, int]:
        dropped, self._dropped = dict(self._dropped), Counter()
        return dropped
