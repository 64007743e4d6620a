"""Count the lines of a log that match named patterns. No line and no part of a line is kept.

The engine is RE2, whose search takes time linear in the text. All patterns are searched for at once; only a line in
which one of them matches is looked at again, to count each pattern that it matches once.
"""

from collections.abc import Mapping
from typing import Any  # google-re2 has no types

from content.telemetry.counted import TOO_LONG
from content.telemetry.intervals import Collector, CollectorState, definition
from manifests.documents.contract import Signal
from manifests.documents.telemetry import TelemetryRow
from manifests.foreign.schema_patterns import compile_pattern
from manifests.words.canonical import encode
from manifests.words.digest import Count, Word

# A longer line is counted as `too-long`, and read no further than its line break.
MAX_LINE = 64 << 10
# Bytes that RE2 may use for one set of patterns.
PATTERN_MEMORY = 16 << 20


class LogState(CollectorState, frozen=True, kw_only=True):
    """``counts``: of the interval, by name of the pattern. ``inside``: the last byte is inside of a line too long."""

    counts: dict[Word, Count] = {}
    inside: bool = False


class LogCollector(Collector):
    """Counts the lines of a log by pattern."""

    def __init__(self, signal: Signal, state: LogState | None) -> None:
        super().__init__(signal, state)
        patterns = dict(signal.source.patterns or {}) if signal.source else {}
        self.names = tuple(sorted(patterns))
        self._any, self._each = _compiled({name: patterns[name] for name in self.names})
        self._field = next((name for name, values in signal.fields.items() if values.enum is not None), "")
        self._counts = dict.fromkeys(self.names, 0)
        if state is not None:
            self._counts |= {name: count for name, count in state.counts.items() if name in self._counts}
        self._inside = state.inside if state else False
        self._rest = b""
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        self.consumed += len(data)
        if self._inside:
            end = data.find(b"\n")
            if end < 0:
                return
            data, self._inside = data[end + 1 :], False
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._count(data, end)
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            self._rest, self._inside = b"", True
            self._dropped += 1

    def end(self) -> None:
        """A last line without its line break is not counted yet: the next look reads it again."""
        self.consumed -= len(self._rest)
        self._rest = b""
        self._add((), self._take_drops())

    def state(self) -> bytes:
        return encode(
            LogState(
                signal=definition(self.signal),
                counted=self.counted,
                interval=self.interval,
                counts={name: count for name, count in self._counts.items() if count},
                inside=self._inside,
            )
        )

    def matched(self) -> bool:
        return any(self._counts.values())

    def _count(self, data: bytes, end: int) -> None:
        """Count the whole lines ``data[:end]``, without those that are too long."""
        start = 0
        while end - start > MAX_LINE:
            block = data.rfind(b"\n", start, start + MAX_LINE + 1) + 1
            if block <= start:
                start = data.index(b"\n", start) + 1
                self._dropped += 1
                continue
            self._search(data[start:block])
            start = block
        self._search(data[start:end])

    def _search(self, lines: bytes) -> None:
        position = 0
        while position < len(lines):
            match = self._any.search(lines, position)
            if match is None:
                return
            # A match may be empty and stand at the end of a line.
            begin = lines.rfind(b"\n", 0, match.start()) + 1
            stop = lines.find(b"\n", match.start())
            stop = len(lines) if stop < 0 else stop
            for index in self._each.Match(lines[begin:stop]):
                self._counts[self.names[index]] += 1
            position = stop + 1

    def _rows(self) -> tuple[TelemetryRow, ...]:
        return tuple(self._row({}, {self._field: name, "count": self._counts[name]}) for name in self.names)

    def _reset(self) -> None:
        self._counts = dict.fromkeys(self.names, 0)

    def _take_drops(self) -> dict[str, int]:
        dropped, self._dropped = {TOO_LONG: self._dropped}, 0
        return dropped


def _compiled(patterns: Mapping[str, str]) -> tuple[Any, Any]:
    """Return what finds the next line with a match of any pattern, and what tells which patterns match a line.

    The second numbers the patterns in their order. Raises MalformedError for a pattern that is not in RE2's syntax.
    """
    import re2  # loaded only where a log is counted

    for name, pattern in patterns.items():
        compile_pattern(pattern, f"pattern {name}")
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_nl = PATTERN_MEMORY, False, True
    written = [b"(?m:" + pattern.encode() + b")" for pattern in patterns.values()]
    each = re2.Set.SearchSet(options)
    for expression in written:
        each.Add(expression)
    each.Compile()
    return re2.compile(b"|".join(written), options), each
