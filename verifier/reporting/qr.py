"""Draw a report as QR symbols: PNG files, or blocks in a terminal."""

import io
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.transport.symbols import cut_report
from manifests.words.errors import RefusedError

if TYPE_CHECKING:
    from segno import QRCode

MAX_VERSION = 25
_QUIET = 4  # modules around a symbol (ISO/IEC 18004, 6.3.8)
_PIXELS = 4


def draw(raw: bytes, what: str = "report") -> "tuple[QRCode, ...]":
    """Return the QR symbols of a report file, all of the smallest version that holds the longest text, correction M.

    Raises:
        MalformedError: Not a report file.
        RefusedError: More than sixteen symbols are needed.
    """
    import segno

    texts = cut_report(raw, what)
    longest = max(texts, key=len)
    version = segno.make_qr(longest, error="M", mode="alphanumeric", boost_error=False).version
    if not isinstance(version, int) or version > MAX_VERSION:
        raise AssertionError("a piece was cut larger than a symbol")
    return tuple(
        segno.make_qr(text, error="M", mode="alphanumeric", version=version, boost_error=False) for text in texts
    )


def as_png(symbol: "QRCode") -> bytes:
    out = io.BytesIO()
    symbol.save(out, kind="png", scale=_PIXELS, border=_QUIET)
    return out.getvalue()


def as_blocks(symbol: "QRCode") -> str:
    """Return the symbol as text: two modules in one character, the light ones drawn, for a dark terminal."""
    rows = [[not dark for dark in row] for row in symbol.matrix_iter(scale=1, border=_QUIET)]
    lines = []
    for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=[True] * len(rows[0])):
        lines.append("".join(" ▄▀█"[2 * top + bottom] for top, bottom in zip(upper, lower, strict=True)))
    return "\n".join(lines)


def new_pictures(target: Path, count: int) -> tuple[Path, ...]:
    """Return ``target`` for one symbol, else ``NAME-01.png`` and so on beside it. Raise RefusedError if one exists."""
    names: tuple[Path, ...] = (target,)
    if count > 1:
        names = tuple(target.with_name(f"{target.stem}-{i:02}{target.suffix}") for i in range(1, count + 1))
    for name in names:
        if name.exists():
            raise RefusedError("exists already", where=str(name), remedy="choose another name", finding="exists")
    return names
