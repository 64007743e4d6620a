"""Cut a report into the texts of QR symbols, and join them again.

The letters are those of QR's alphanumeric mode, with the bytes in base 45 (RFC 9285), so that a camera, a telephone's
scanning program and a hand scanner that types all deliver the same text. The framing is ours and not QR's structured
append: that has eight bits to tell two sets apart, and many scanners drop it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manifests.transport.checked_text import check_letters
from manifests.transport.packed import MAX_PACKED, pack_report, unpack_report
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError

MAX_SYMBOLS = 16
# QR version 25 with error correction M holds 1,451 letters of the alphanumeric set (ISO/IEC 18004:2015, table 7).
MAX_LETTERS = 1451
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUE = {letter: i for i, letter in enumerate(_ALPHABET)}
_HEADER = 32
MAX_PIECE = (MAX_LETTERS - _HEADER) // 3 * 2
# The set is the first 64 bits of the report's digest; index and count have two digits.
_SYMBOL = re.compile(r"WB1:([0-9A-F]{16}):([0-9]{2})\.([0-9]{2}):([0-9A-Z]{4}):([0-9A-Z $%*+\-./:]+)")


@dataclass(frozen=True)
class Symbol:
    """One text that was read: piece ``index`` of ``count`` of the report whose digest begins with ``of``."""

    of: str
    index: int
    count: int
    piece: bytes


@dataclass
class SymbolSet:
    """The symbols of one report; ``contradiction`` says how two of them contradict each other, None when they agree."""

    of: str
    count: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    contradiction: str | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(index for index in range(1, self.count + 1) if index not in self.pieces)


def base45(data: bytes) -> str:
    """RFC 9285, section 4."""
    letters = []
    for at in range(0, len(data) - 1, 2):
        high, rest = divmod(data[at] << 8 | data[at + 1], 45 * 45)
        letters += [_ALPHABET[rest % 45], _ALPHABET[rest // 45], _ALPHABET[high]]
    if len(data) % 2:
        letters += [_ALPHABET[data[-1] % 45], _ALPHABET[data[-1] // 45]]
    return "".join(letters)


def unbase45(text: str, what: str) -> bytes:
    """Raises MalformedError unless ``text`` is what ``base45`` writes."""
    out = bytearray()
    for at in range(0, len(text), 3):
        part = text[at : at + 3]
        value = sum(_VALUE[letter] * 45**i for i, letter in enumerate(part))
        size = len(part) - 1
        if size == 0 or value >> 8 * size:
            raise MalformedError("not base 45", where=what)
        out += value.to_bytes(size, "big")
    return bytes(out)


def cut_report(raw: bytes, what: str = "report") -> tuple[str, ...]:
    """The texts of the symbols of a report file, all of about one length.

    Raises:
        MalformedError: It is not a report file in our form.
        RefusedError: It needs more than sixteen symbols.
    """
    packed = pack_report(raw, what)
    count = -(-len(packed) // MAX_PIECE)
    if count > MAX_SYMBOLS:
        problem = f"{len(packed)} bytes need {count} symbols, at most {MAX_SYMBOLS} are drawn"
        remedy = "send it as text, `waybill report --text`, or as a file, `waybill report --out DIR`"
        raise RefusedError(problem, where=what, remedy=remedy, finding="qr-too-large")
    size = -(-len(packed) // count)
    size += size % 2
    of = digest_of(raw)[7:23].upper()
    pieces = [base45(packed[at : at + size]) for at in range(0, len(packed), size)]
    return tuple(_symbol(of, i, len(pieces), piece) for i, piece in enumerate(pieces, 1))


def _symbol(of: str, index: int, count: int, piece: str) -> str:
    place = f"{index:02}.{count:02}"
    return f"WB1:{of}:{place}:{check_letters(of, place, piece)}:{piece}"


def parse_symbol(text: str, what: str) -> Symbol | None:
    """What a symbol says; None when it is not one of ours. Raises MalformedError for a damaged one."""
    if not text.startswith("WB1:"):
        return None
    match = _SYMBOL.fullmatch(text)
    if match is None or len(text) > MAX_LETTERS:
        raise MalformedError("the symbol is not in the form of Waybill", where=what, finding="qr-damaged")
    of, index, count, check, piece = match.groups()
    if check_letters(of, f"{index}.{count}", piece) != check:
        raise MalformedError(f"symbol {int(index)} of {int(count)} was mistyped", where=what, finding="qr-damaged")
    if not 1 <= int(index) <= int(count) <= MAX_SYMBOLS:
        raise MalformedError(f"symbol {int(index)} of {int(count)}", where=what, finding="qr-damaged")
    return Symbol(of=of, index=int(index), count=int(count), piece=unbase45(piece, what))


def gather(symbols: Iterable[Symbol]) -> Mapping[str, SymbolSet]:
    """Return symbols by the report that they belong to, in any order; a symbol that comes twice counts once."""
    groups: dict[str, SymbolSet] = {}
    for symbol in symbols:
        group = groups.setdefault(symbol.of, SymbolSet(of=symbol.of, count=symbol.count))
        if group.count != symbol.count:
            group.contradiction = f"one symbol says it is of {group.count}, another of {symbol.count}"
        elif group.pieces.setdefault(symbol.index, symbol.piece) != symbol.piece:
            group.contradiction = f"symbol {symbol.index} was read with two contents"
    return groups


def join_report(group: SymbolSet, what: str) -> bytes:
    """Return the report file, not verified. Raises MalformedError for missing symbols or those of another report."""
    if group.contradiction:
        problem = group.contradiction
        raise MalformedError(problem, where=what, remedy="take the pictures again", finding="qr-contradiction")
    if group.missing:
        raise MalformedError(
            f"{_listed(group.missing)} of {group.count} is missing of report {group.of.lower()}…"
            if len(group.missing) == 1
            else f"{_listed(group.missing)} of {group.count} are missing of report {group.of.lower()}…",
            where=what,
            remedy="import all pictures of one report together; the order does not matter",
            finding="qr-missing",
        )
    packed = b"".join(group.pieces[index] for index in range(1, group.count + 1))
    if len(packed) > MAX_PACKED:
        problem = "the symbols hold more bytes than a report may have"
        raise MalformedError(problem, where=what, finding="qr-contradiction")
    raw = unpack_report(packed, what)
    if digest_of(raw)[7:23] != group.of.lower():
        problem = f"the symbols make report {digest_of(raw)[7:23]}, each names {group.of.lower()}"
        raise MalformedError(problem, where=what, remedy="take the pictures again", finding="qr-contradiction")
    return raw


def _listed(numbers: tuple[int, ...]) -> str:
    return f"symbol{'' if len(numbers) == 1 else 's'} {', '.join(str(one) for one in numbers)}"
