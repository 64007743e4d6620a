"""Letters that survive a telephone and a keyboard: base 32 without I, L, O, U (Crockford), and their check letters."""

import hashlib

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {letter: i for i, letter in enumerate(LETTERS)} | {"O": 0, "I": 1, "L": 1}


def as_letters(number: int, length: int) -> str:
    """The lowest ``5 * length`` bits of ``number``, most significant letter first."""
    return "".join(LETTERS[number >> 5 * i & 31] for i in reversed(range(length)))


def letter_values(text: str) -> tuple[int, ...] | None:
    """0 to 31 for each letter, small ones and the look-alikes O, I, L included; None when one is no such letter."""
    values = [_VALUE.get(letter.upper()) for letter in text]
    return None if None in values else tuple(one for one in values if one is not None)


def check_letters(*parts: str) -> str:
    """Four letters over ``parts``: 20 bits against accidents, none against a forger."""
    whole = hashlib.sha256("\n".join(parts).encode()).digest()
    return as_letters(int.from_bytes(whole[:4]), 4)
