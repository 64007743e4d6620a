"""Show and parse a fingerprint: a digest as hex groups with check characters, or as words."""

import re
from functools import cache
from typing import TYPE_CHECKING

from manifests.words.errors import UsageError

if TYPE_CHECKING:
    from mnemonic import Mnemonic

# ISO/IEC 7064 MOD 37-2 would need letters outside hex; a check *letter* also tells a group from plain hex.
_CHECK = "ghjkmnpqrstuvwxyz"
_AGAIN = "type the fingerprint as printed on the paper"


def check_character(position: int, group: str) -> str:
    """Return the check letter of a group: it covers the four hex digits and the position.

    17 is prime and above 16: one wrong digit, and two neighbouring digits swapped, always change it.
    """
    weights = (1, 3, 9, 10)  # powers of 3 modulo 17: all differ
    total = sum(weight * int(digit, 16) for weight, digit in zip(weights, group, strict=True))
    return _CHECK[(total + 7 * position) % 17]


def as_groups(digest: str) -> str:
    """Sixteen groups of four hex digits, each followed by its check letter."""
    text = digest.removeprefix("sha256:")
    groups = [text[i : i + 4] for i in range(0, 64, 4)]
    return " ".join(group + check_character(i, group) for i, group in enumerate(groups))


def as_words(digest: str) -> str:
    """24 words of BIP-39's English list (256 bits and 8 bits of checksum)."""
    return _words().to_mnemonic(bytes.fromhex(digest.removeprefix("sha256:")))


def parse_fingerprint(text: str) -> str:
    """Return the digest that was typed as groups, words, or hex after ``sha256:``. Raises UsageError if mistyped."""
    parts = re.split(r"[\s,]+", text.strip().lower())
    if len(parts) == 1 and re.fullmatch(r"sha256:[0-9a-f]{64}", parts[0]):
        return parts[0]
    if len(parts) == 24 and parts[0].isalpha():
        return _from_words(parts)
    if len(parts) == 1 and len(parts[0]) == 80:
        parts = [parts[0][i : i + 5] for i in range(0, 80, 5)]
    if len(parts) != 16:
        typed = "words" if all(map(str.isalpha, parts)) else "groups"
        problem = f"the fingerprint has {len(parts)} {typed}, expected 16 groups or 24 words"
        raise UsageError(problem, where="fingerprint", remedy=_AGAIN)
    for i, part in enumerate(parts):
        if not re.fullmatch(r"[0-9a-f]{4}[a-z]", part) or check_character(i, part[:4]) != part[4]:
            raise UsageError(f"group {i + 1} ({part!r}) is mistyped", where="fingerprint", remedy=_AGAIN)
    return "sha256:" + "".join(part[:4] for part in parts)


def _from_words(parts: list[str]) -> str:
    words = _words()
    known = set(words.wordlist)
    for i, part in enumerate(parts):
        if part not in known:
            raise UsageError(f"word {i + 1} ({part!r}) is not in the word list", where="fingerprint", remedy=_AGAIN)
    try:
        return "sha256:" + bytes(words.to_entropy(parts)).hex()
    except ValueError:
        problem = "the checksum of the words is wrong: a word is mistyped or out of order"
        raise UsageError(problem, where="fingerprint", remedy=_AGAIN) from None


@cache
def _words() -> "Mnemonic":
    from mnemonic import Mnemonic

    return Mnemonic("english")
