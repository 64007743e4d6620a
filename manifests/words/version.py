"""Parse and compare versions and version ranges (SemVer 2.0.0 in lower case)."""

import re
from typing import Literal

from semver import Version as SemVer

from manifests.words.errors import MalformedError

ChangeKind = Literal["patch", "minor", "major"]
_COMPARISON = re.compile(r"(>=|<=|>|<|==|!=)(\S+)")


def parse_version(text: str, where: str = "version") -> SemVer:
    """Raises MalformedError unless ``text`` is SemVer 2.0.0 without capitals."""
    try:
        if text != text.lower():
            raise ValueError(text)
        return SemVer.parse(text)
    except (ValueError, TypeError):
        problem = f"{text!r} is not a version"
        raise MalformedError(problem, where=where, remedy='write three numbers, as in "1.10.0"') from None


def parse_range(text: str, where: str = "range") -> tuple[tuple[str, SemVer], ...]:
    """``">=1.3.0, <1.4.2"`` as (operator, version) pairs, all of which must hold."""
    pairs = []
    for part in text.split(","):
        match = _COMPARISON.fullmatch(part.strip())
        if match is None:
            problem = f"{text!r} is not a range"
            raise MalformedError(problem, where=where, remedy='write comparisons joined by commas: ">=1.3.0, <1.4.2"')
        pairs.append((match[1], parse_version(match[2], where)))
    return tuple(pairs)


def in_range(version: str, range_: str) -> bool:
    """Whether every comparison of ``range_`` holds for ``version``."""
    parsed = parse_version(version)
    return all(parsed.match(f"{operator}{bound}") for operator, bound in parse_range(range_))


def in_any(version: str, ranges: tuple[str, ...]) -> bool:
    return any(in_range(version, one) for one in ranges)


def change_kind(old: str, new: str) -> ChangeKind:
    """The first number that differs; a pre-release or a lower version counts as ``major`` (design, section 4)."""
    before, after = parse_version(old), parse_version(new)
    if after.prerelease or after < before or after.major != before.major:
        return "major"
    return "minor" if after.minor != before.minor else "patch"
