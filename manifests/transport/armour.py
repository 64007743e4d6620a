"""Armour: a report as lines of e-mail text, each with its own check."""

import base64
import re
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from manifests.transport.checked_text import check_letters
from manifests.transport.packed import MAX_PACKED, pack_report, unpack_report
from manifests.trust.envelope import bundle_payload
from manifests.words.canonical import decode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError
from manifests.words.units import show_count

BEGIN = "-----BEGIN WAYBILL REPORT-----"
END = "-----END WAYBILL REPORT-----"
BEGIN_WORDS, END_WORDS = BEGIN.strip("-"), END.strip("-")
_PIECE = 45  # bytes in a line: 60 letters of base64
_WIDTH = 72  # mail programs break longer lines
MAX_LINES = -(-MAX_PACKED // _PIECE)
MAX_BLOCKS = 64
_MOST = MAX_LINES + 8
# A mail program that wraps narrowly makes three lines of one.
_MOST_WRAPPED = 3 * _MOST
# What mail programs put before a quoted line; no line of ours begins with it.
_QUOTE = "> \t"
_LINE = re.compile(r"([0-9]{4}) +([A-Za-z0-9+/]{2,60}={0,2}) +([0-9A-HJKMNP-TV-Z]{4})")
_NAMED = 5


class _ClaimedIdentity(msgspec.Struct, frozen=True):
    site: str


class _Chain(msgspec.Struct, frozen=True):
    seq: int


class _Predicate(msgspec.Struct, frozen=True):
    identity: _ClaimedIdentity
    chain: _Chain


class _Statement(msgspec.Struct, frozen=True):
    """The fields of a report that its header repeats."""

    predicate: _Predicate


@dataclass(frozen=True)
class Block:
    """One armoured report as it was found.

    Attributes:
        first: Number of its BEGIN line in the text, from 1.
        lines: (number in the text, line without quote marks and outer spaces) between BEGIN and END; no empty ones.
        ended: Its END line is there.
    """

    first: int
    lines: tuple[tuple[int, str], ...]
    ended: bool


def armour_report(raw: bytes, what: str = "report") -> str:
    """The report file ``raw`` as text. Raises MalformedError unless it is a report file in our form."""
    packed = pack_report(raw, what)
    digest = digest_of(raw)
    pieces = [base64.b64encode(packed[at : at + _PIECE]).decode() for at in range(0, len(packed), _PIECE)]
    header = _header(raw, digest, len(pieces), what)
    checks = "Checks: " + " ".join(check_letters(line) for line in header)
    body = [
        f"{number:04} {piece} {check_letters(digest, str(number), piece)}" for number, piece in enumerate(pieces, 1)
    ]
    return "\n".join([BEGIN, *header, checks, *body, END]) + "\n"


def _header(raw: bytes, digest: str, count: int, what: str) -> tuple[str, ...]:
    report = decode(bundle_payload(raw, what), _Statement, what).predicate
    site = f"Site: {report.identity.site}"
    facts = (f"Report: {report.chain.seq}", f"Digest: {digest.removeprefix('sha256:')}", f"Lines: {count}")
    # A name that a mail program would break is left out: the report says it too.
    return (site, *facts) if len(site) <= _WIDTH else facts


def find_armour(data: bytes | str) -> Iterator[Block]:
    """Yield every armoured report in a text; other lines are ignored."""
    text = data if isinstance(data, str) else data.decode("latin-1")
    first = 0
    lines: list[tuple[int, str]] = []
    count = 0
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.lstrip(_QUOTE).rstrip()
        begins, ends = _is_mark(line, BEGIN_WORDS), _is_mark(line, END_WORDS)
        if (begins or ends) and first:
            yield Block(first, tuple(lines), ended=ends)
            count += 1
            first = 0
            if count >= MAX_BLOCKS:
                return
        if begins:
            first, lines = number, []
        elif first and line and len(lines) <= _MOST_WRAPPED:
            lines.append((number, line))
    if first:
        yield Block(first, tuple(lines), ended=False)


def _is_mark(line: str, words: str) -> bool:
    """Whether the line is BEGIN or END; mail programs change the number of hyphens, and PGP puts two more before."""
    return line[:1] == line[-1:] == "-" and line.strip("- ") == words


def open_armour(block: Block, what: str) -> bytes:
    """Return the report file, not verified. Raises MalformedError with the lines that were changed, lost or moved."""
    try:
        return _open_lines(block, what)
    except MalformedError as error:
        unwrapped = _unwrap(block)
        if unwrapped is None:
            raise
        try:
            return _open_lines(unwrapped, what)
        except MalformedError:
            raise error from None  # its line numbers are those of the text that the person has


_FIELD = re.compile(r"(?:\A|\s)(Site|Report|Digest|Lines|Checks):")


def _unwrap(block: Block) -> Block | None:
    """Return the block with the lines that were written, when white space is all that changed; None if it is not."""
    parts = _FIELD.split("\n".join(line for _, line in block.lines))
    names, values = parts[1::2], ["".join(value.split()) for value in parts[2::2]]
    if len(names) < 2 or names[-1] != "Checks" or len(block.lines) > _MOST_WRAPPED:
        return None
    fields = dict(zip(names, values, strict=True))
    count = fields.get("Lines", "")
    letters = 4 * (len(names) - 1)
    checks, body = fields["Checks"][:letters], fields["Checks"][letters:]
    if not re.fullmatch(r"[1-9][0-9]{0,3}", count) or int(count) > MAX_LINES:
        return None
    lines = [f"{name}: {value}" for name, value in zip(names[:-1], values[:-1], strict=True)]
    lines.append("Checks: " + " ".join(checks[at : at + 4] for at in range(0, letters, 4)))
    whole = 4 + _PIECE // 3 * 4 + 4
    entries = [body[at : at + whole] for at in range(0, len(body), whole)]
    lines += [f"{entry[:4]} {entry[4:-4]} {entry[-4:]}" for entry in entries]
    return Block(block.first, tuple((block.first, line) for line in lines), block.ended)


def _open_lines(block: Block, what: str) -> bytes:
    if len(block.lines) > _MOST:
        raise _wrong(f"more than {_MOST} lines after line {block.first}", what)
    at = next((i for i, (_, line) in enumerate(block.lines) if line.startswith("Checks:")), len(block.lines))
    if not block.ended and at >= len(block.lines) - 1:
        raise _cut("in its header", what)
    header = _read_header(block, at, what)
    digest, count = "sha256:" + header["Digest"], int(header["Lines"])
    packed = _read_body(block.lines[at + 1 :], digest, count, what, ended=block.ended)
    if not block.ended:
        raise _wrong(f"the END line of the text that begins in line {block.first} is missing", what)
    raw = unpack_report(packed, what)
    if digest_of(raw) != digest:
        raise _wrong(f"the text holds report {digest_of(raw)}, its header says {digest}", what)
    header_lines = _header(raw, digest, count, what)
    if tuple(line for _, line in block.lines[:at]) != header_lines:
        raise _wrong(
            f"the header names another report than the text holds, which is {', '.join(header_lines[:-2])}", what
        )
    return raw


def _read_header(block: Block, at: int, what: str) -> dict[str, str]:
    if at == len(block.lines):
        raise _wrong(f"the Checks line after line {block.first} is missing or was changed", what)
    number, line = block.lines[at]
    checks = line.removeprefix("Checks:").split()
    if len(checks) != at:
        raise _wrong(f"{at} header lines, and {len(checks)} checks in line {number}", what)
    wrong = [
        str(number)
        for (number, line), check in zip(block.lines[:at], checks, strict=True)
        if check_letters(line) != check
    ]
    if wrong:
        raise _damaged(wrong, what)
    fields = dict(line.partition(": ")[::2] for _, line in block.lines[:at])
    count = fields.get("Lines", "")
    good = re.fullmatch(r"[0-9a-f]{64}", fields.get("Digest", "")) and re.fullmatch(r"[1-9][0-9]{0,3}", count)
    if not good or int(count) > MAX_LINES:
        raise _wrong(f"the header after line {block.first} does not say digest and number of lines", what)
    return fields


def _read_body(lines: tuple[tuple[int, str], ...], digest: str, count: int, what: str, *, ended: bool) -> bytes:
    """Join the numbered lines; raise MalformedError that names lines which are changed, missing or out of order.

    Args:
        ended: False for a text without its END line; if only its end is missing, it was cut off.
    """
    wrong: list[str] = []
    pieces: dict[int, bytes] = {}
    for at, line in lines:
        match = _LINE.fullmatch(line)
        number = int(match[1]) if match else 0
        if match is None or check_letters(digest, str(number), match[2]) != match[3]:
            wrong.append(str(at))
            continue
        if number <= max(pieces, default=0):
            wrong.append(f"{at} (out of order)")
            continue
        try:
            pieces[number] = base64.b64decode(match[2], validate=True)
        except (Base64Error, ValueError):
            wrong.append(str(at))
    missing = [number for number in range(1, count + 1) if number not in pieces]
    # The last line of a text that was cut off is mostly a part of a line.
    if not ended and missing and missing[0] == len(pieces) + 1 and wrong in ([], [str(lines[-1][0])]):
        raise _cut(f"after {show_count(len(pieces), 'whole line')} of {count}", what)
    if wrong:
        raise _damaged(wrong, what)
    if missing or len(pieces) != count:
        shown = ", ".join(f"{one:04}" for one in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise _wrong(
            f"{len(pieces)} lines of {count} are here, missing are {shown}{more}"
            if missing
            else f"{len(pieces)} lines, its header says {count}",
            what,
        )
    return b"".join(pieces[number] for number in range(1, count + 1))


def _damaged(lines: list[str], what: str) -> MalformedError:
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    word = "line" if len(lines) == 1 else "lines"
    return _wrong(f"{word} {', '.join(lines[:_NAMED])}{more} of the text changed in transport", what, "armour-line")


def _cut(place: str, what: str) -> MalformedError:
    remedy = "copy the text again as far as its END line, or ask for the report as a file"
    return MalformedError(f"the text is cut off {place}", where=what, remedy=remedy, finding="armour-cut")


def _wrong(problem: str, what: str, finding: str = "armour-broken") -> MalformedError:
    return MalformedError(
        problem,
        where=what,
        remedy="compare the text with the one at the site, or ask for the report as a file",
        finding=finding,
    )
