"""Parse and format sizes and durations: ``2GiB``, ``15m``, ``30d``."""

import re

from manifests.words.digest import MAX_INTEGER
from manifests.words.errors import MalformedError

_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_size(text: str, where: str = "size") -> int:
    """Return bytes. Raises MalformedError with the accepted spellings."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB|TiB)", text)
    if match is None:
        raise MalformedError(f"{text!r} is not a size", where=where, remedy="write a number and a unit: 64MiB, 2GiB")
    size = int(match[1]) * _SIZES[match[2]]
    if size > MAX_INTEGER:
        raise MalformedError(f"{text} is more than 2^53 - 1 bytes", where=where)
    return size


def parse_duration(text: str, where: str = "duration") -> int:
    """Return seconds. Raises MalformedError with the accepted spellings."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if match is None:
        problem = f"{text!r} is not a duration"
        raise MalformedError(problem, where=where, remedy="write a number and a unit: 20s, 15m, 30d")
    return int(match[1]) * _SECONDS[match[2]]


def show_size(count: int) -> str:
    """For people: the largest binary unit that keeps at least one before the point."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def show_times(count: int) -> str:
    """How often something was seen, as ``once`` or ``3 times``."""
    return "once" if count == 1 else f"{count} times"


def show_count(count: int, noun: str) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_are(count: int, noun: str) -> str:
    return f"{show_count(count, noun)} {'is' if count == 1 else 'are'}"


def show_duration(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
