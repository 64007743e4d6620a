"""Read and write canonical JSON: RFC 8785, restricted to strings, bounded integers, booleans, arrays and objects.

The only place that reads or writes our own JSON; `decode` reads JSON of others. The restriction makes "sorted keys,
no space" equal to RFC 8785: keys are ASCII, and there are no floats. Whatever re-encodes to other bytes than were
received is refused. That covers duplicate keys, escapes, spaces, ``-0``, explicit defaults and missing defaults alike.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from manifests.words.errors import MalformedError

MAX_DEPTH = 32

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPEN = ord("[")
_SQUARE = bytes.maketrans(b"{}", b"[]")
# Text is split at its quotes in pieces: the strings of a whole document would take many times its bytes.
_PIECE = 1 << 16

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder(order="sorted")


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of documents and their parts.

    A field may be added later only with a default that means what its absence meant; defaults are omitted when
    written, so that one value has one spelling. Top-level documents carry their ``type`` as the struct's tag.
    """


def check_depth(data: bytes, what: str, *, depth: int = MAX_DEPTH) -> None:
    """Raise MalformedError where JSON text nests deeper than ``depth``, before a recursive decoder reads it."""
    nesting = b"".join(text.translate(_SQUARE, _NOT_BRACKETS) for text in outside_strings(data))
    level, rest = 0, nesting
    for _ in range(depth):  # each time the innermost brackets go
        if not rest:
            return
        rest = rest.replace(b"[]", b"")
    for bracket in nesting if rest else b"":
        level += 1 if bracket == _OPEN else -1
        if level > depth:  # F-4.3
            raise MalformedError(f"JSON is nested deeper than {depth} levels", where=what)


def outside_strings(data: bytes) -> Iterator[bytes]:
    """The parts of JSON text that are not inside a string."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = 0
    for at in range(0, len(data), _PIECE):
        # Every second part between quotes is inside a string.
        parts = data[at : at + _PIECE].split(b'"')
        yield b"".join(parts[inside::2])
        inside = (inside + len(parts) - 1) % 2


def decode(data: bytes, type_: type[T], what: str) -> T:
    """Read JSON of a known shape that others wrote, not canonical; unknown fields are up to ``type_``.

    Raises:
        MalformedError: Not UTF-8 JSON of that shape, or nested too deeply.
    """
    check_depth(data, what)
    try:
        return msgspec.json.decode(data, type=type_, strict=True)  # F-4.2, F-4.5, F-4.6
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `")
        if "matching regex" in problem:
            problem = "the text there is not of the form that the format demands"
        raise MalformedError(_lower(problem), where=f"{what} {place.replace('`', '')}".strip()) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedError(f"document is not valid JSON: {_lower(str(error))}", where=what) from None


def parse(data: bytes, type_: type[T], what: str, *, max_bytes: int) -> T:
    """Read one of our documents: check size, depth, shape, then the canonical form byte by byte.

    Raises:
        MalformedError: Longer than ``max_bytes``, not of the shape of ``type_``, or another spelling of it.
    """
    if len(data) > max_bytes:  # F-4.1
        raise MalformedError(f"document has {len(data)} bytes, at most {max_bytes} are allowed", where=what)
    value = decode(data, type_, what)
    again = encode(value)
    if again != data:  # F-4.4, F-4.8
        at = next((i for i, (a, b) in enumerate(zip(again, data, strict=False)) if a != b), min(len(again), len(data)))
        raise MalformedError(f"document is not in canonical form from byte {at} on", where=what)
    return value


class LineReader(Generic[T]):
    """Reads many documents of one type, which is never deeper than ``MAX_DEPTH``: `parse` without its messages."""

    def __init__(self, type_: type[T], *, max_bytes: int) -> None:
        self._decoder = msgspec.json.Decoder(type_, strict=True)
        self._max_bytes = max_bytes

    def read(self, data: bytes) -> T | None:
        """Return the document; None where `parse` would refuse it.

        Depth needs no check of its own: what re-encodes to the same bytes is no deeper than its type, and the decoder
        counts its own recursion.
        """
        try:
            value = self._decoder.decode(data) if len(data) <= self._max_bytes else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None
        return value if value is not None and encode(value) == data else None


def encode(value: object) -> bytes:
    """Return the canonical bytes of a document."""
    return _ENCODER.encode(value)


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
