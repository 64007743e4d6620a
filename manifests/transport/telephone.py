"""The telephone line: forty letters by which a site names its newest report, without a signature.

Anyone can dictate such a line. It proves something only once the report that it names was received.

Eight groups of five: four letters and a check letter, so that a misheard group is named. Six letters are the beginning
of the site key's id, six the report's number, twenty (100 bits) the beginning of the report's digest.
"""

import re
from dataclasses import dataclass

from manifests.transport.checked_text import LETTERS, as_letters, letter_values
from manifests.words.errors import RefusedError, UsageError

_GROUPS = 8
MAX_SEQ = (1 << 30) - 1
_DIGEST_BITS = 100
# x, x^2, … x^5 modulo x^5 + x^2 + 1.
_POWERS = (2, 4, 8, 16, 5)


@dataclass(frozen=True)
class TelephoneLine:
    """What a line says: six letters of the site key's id, report number, 25 hex digits of the report's digest."""

    code: str
    seq: int
    digest: str


def site_code(keyid: str) -> str:
    """Six letters that stand for a site's key: its first 30 bits."""
    return as_letters(int(keyid[:8], 16) >> 2, 6)


def telephone_line(keyid: str, seq: int, digest: str) -> str:
    """The line for report ``seq`` with ``digest``, in groups. Raises RefusedError for a number above ``MAX_SEQ``."""
    if seq > MAX_SEQ:
        problem = f"report {seq}, a line holds numbers up to {MAX_SEQ}"
        raise RefusedError(problem, where="--line", remedy="waybill report --text", finding="line-number")
    letters = site_code(keyid) + as_letters(seq, 6) + as_letters(int(digest.removeprefix("sha256:")[:25], 16), 20)
    groups = [letters[at : at + 4] for at in range(0, 32, 4)]
    return " ".join(group + _check(i, group) for i, group in enumerate(groups))


def parse_line(text: str) -> TelephoneLine:
    """Read a line in any case, spaces and dashes ignored; O is 0, I and L are 1. Raises UsageError for wrong groups."""
    letters = re.sub(r"[\s-]", "", text)
    if len(letters) != 5 * _GROUPS:
        problem = f"{len(letters)} letters, a line has {5 * _GROUPS}"
        remedy = "type eight groups of five letters, as `waybill report --line` prints them"
        raise UsageError(problem, where="line", remedy=remedy, finding="line-length")
    groups = [letters[at : at + 5] for at in range(0, len(letters), 5)]
    wrong = [str(i + 1) for i, group in enumerate(groups) if not _holds(i, group)]
    if wrong:
        problem = f"group{'' if len(wrong) == 1 else 's'} {', '.join(wrong)} of {_GROUPS} was misheard or mistyped"
        raise UsageError(problem, where="line", remedy="ask for these groups again", finding="line-group")
    plain = "".join(_plain(group[:4]) for group in groups)
    values = letter_values(plain) or ()
    number = 0
    for value in values:
        number = number << 5 | value
    return TelephoneLine(
        code=plain[:6], seq=number >> _DIGEST_BITS & MAX_SEQ, digest=f"{number & (1 << _DIGEST_BITS) - 1:025x}"
    )


def _plain(group: str) -> str:
    return "".join(LETTERS[value] for value in letter_values(group) or ())


def _holds(place: int, group: str) -> bool:
    values = letter_values(group)
    return values is not None and LETTERS[values[4]] == _check(place, _plain(group[:4]))


def _check(place: int, group: str) -> str:
    """A letter over the four and their place, in the field of 32 elements.

    The weights are different powers of x, so one wrong letter and any two swapped ones always change it; the place is
    added with another weight, so that two swapped groups show too.
    """
    total = _times(_POWERS[4], place + 1)
    for i, value in enumerate(letter_values(group) or ()):
        total ^= _times(_POWERS[i], value)
    return LETTERS[total]


def _times(a: int, b: int) -> int:
    """Product of two polynomials over GF(2) modulo x^5 + x^2 + 1."""
    product = 0
    for i in range(5):
        if b >> i & 1:
            product ^= a << i
    for i in reversed(range(5, 9)):
        if product >> i & 1:
            product ^= 0b100101 << (i - 5)
    return product
