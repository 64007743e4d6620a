"""Drawing a report as QR symbols: PNG files, or blocks in a terminal."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.transport.symbols import cut_report
from manifests.words.errors import RefusedError
from verifier.site.disk import Disk

if TYPE_CHECKING:
    from segno import QRCode

MAX_VERSION = 25
_QUIET = 4  # modules around a symbol (ISO/IEC 18004, 6.3.8)
_PIXELS = 4


def draw(raw: bytes, what: str = "report") -> "tuple[QRCode, ...]":
    """The symbols of a report file, all of the smallest version at most 25 that holds the longest, correction M.

    Raises:
        MalformedError: It is not a report file.
        RefusedError: It needs more than sixteen symbols.
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
    """Two modules in one character, the light ones drawn: right on a dark terminal, and readable on a light one."""
    rows = [[not dark for dark in row] for row in symbol.matrix_iter(scale=1, border=_QUIET)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    return "\n".join(_line(rows[at], rows[at + 1]) for at in range(0, len(rows), 2))


def _line(upper: Sequence[bool], lower: Sequence[bool]) -> str:
    return "".join(" ▄▀█"[2 * top + bottom] for top, bottom in zip(upper, lower, strict=True))


def picture_names(target: Path, count: int) -> tuple[Path, ...]:
    """``target`` itself for one symbol, else ``NAME-01.png`` and so on beside it."""
    if count == 1:
        return (target,)
    return tuple(target.with_name(f"{target.stem}-{i:02}{target.suffix}") for i in range(1, count + 1))


def check_free(names: Sequence[Path]) -> None:
    """Raise RefusedError unless none of the files is there: nothing is overwritten."""
    for name in names:
        if name.exists():
            raise RefusedError("exists already", where=str(name), remedy="choose another name", finding="exists")


def write_pictures(disk: Disk, symbols: "Sequence[QRCode]", names: Sequence[Path]) -> None:
    for name, symbol in zip(names, symbols, strict=True):
        disk.write(name, as_png(symbol))
