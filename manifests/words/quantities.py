"""Parse the sizes and durations that people write: ``2GiB``, ``15m``, ``30d``."""

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
