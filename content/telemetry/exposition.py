"""Read the text format of Prometheus and OpenMetrics line by line, in constant memory.

Source: prometheus.io, "Exposition formats", text-based format; OpenMetrics 1.0, section "Text format". The tests
compare it with the parser of the Prometheus client library, which holds a whole family in memory.
"""

import re
from collections.abc import Iterator

MAX_LINE = 64 << 10
# Labels and value, after the name. Possessive, so that no line causes backtracking.
_REST = rb'[ \t]*+(?:\{((?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+)\}[ \t]*+|(?<=[ \t]))([^ \t]++)(?:[ \t]++.*)?'
_OTHER = re.compile(rb"[a-zA-Z0-9_:]")
_PAIR = rb'[ \t]*+%s[ \t]*+=[ \t]*+"%s"[ \t]*+'
_NAME, _VALUE = rb"[a-zA-Z_][a-zA-Z0-9_]*+", rb'(?:[^"\\]++|\\.)*+'
_LABEL = re.compile(_PAIR % (rb"(%s)" % _NAME, rb"(%s)" % _VALUE))
_LABELS = re.compile(rb"(?:%s(?:,|\Z))*+[ \t]*+" % (_PAIR % (_NAME, _VALUE)))
_ESCAPED = re.compile(rb"\\(.)")
_TYPE = re.compile(rb"#[ \t]++TYPE[ \t]++([a-zA-Z_:][a-zA-Z0-9_:]*+)[ \t]++([a-z]++)[ \t]*+")


class SampleReader:
    """Reads the samples of one metric; of a histogram or a summary its ``_bucket``, ``_count`` and ``_sum`` too."""

    def __init__(self, metric: str) -> None:
        self._name = metric.encode()
        self._match = re.compile(re.escape(self._name) + rb"(_bucket|_count|_sum|)" + _REST).fullmatch

    def read(self, line: bytes) -> tuple[str, bytes, float] | None:
        """Return part (``value``, ``bucket``, ``count``, ``sum``), the bytes between the braces, and the value.

        None for a sample of another metric, a comment and an empty line.

        Raises:
            ValueError: The line is not in the format, or its value is not finite.
        """
        match = self._match(line)
        if match is None:
            # A longer name is another metric.
            if line.startswith(self._name) and not _OTHER.match(line, len(self._name)):
                raise ValueError("not a sample")
            return None
        part, labels, text = match.groups()
        value = float(text)
        if value - value != 0.0:
            raise ValueError("not finite")
        return part[1:].decode() or "value", labels or b"", value


def parse_labels(text: bytes) -> dict[bytes, bytes]:
    """Return the labels between the braces of a sample. Raises ValueError."""
    if not _LABELS.fullmatch(text):
        raise ValueError("not labels")
    pairs = _LABEL.findall(text)
    labels = dict(pairs)
    if len(labels) != len(pairs):
        raise ValueError("a label twice")
    if b"\\" in text:
        return {name: _ESCAPED.sub(_unescaped, value) for name, value in pairs}
    return labels


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return b"\n" if escape[1] == b"n" else escape[1]


def parse_type(line: bytes) -> tuple[bytes, str] | None:
    """Return metric and type of a ``# TYPE`` line; None for another line."""
    match = _TYPE.fullmatch(line)
    return None if match is None else (match[1], match[2].decode())


class Lines:
    """Cuts what is fed into whole lines; a line too long is skipped and counted."""

    def __init__(self) -> None:
        self._rest = b""
        self._inside = False
        self.too_long = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now, without their line breaks."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self._inside:
                self._inside = False
            elif len(line) > MAX_LINE:
                self.too_long += 1
            else:
                yield line
        if len(self._rest) > MAX_LINE:
            self.too_long += not self._inside
            self._rest, self._inside = b"", True

    def rest(self) -> bytes:
        """Return the last line, which has no line break, and begin anew."""
        rest, self._rest, self._inside = self._rest, b"", False
        return rest
