"""What a chart's ``.helmignore`` leaves out, by the rules of Helm's package ``ignore``.

The rules are not those of ``.gitignore``. They are read in order, and the first that decides is the last that is read:
a pattern that matches leaves an entry out; a pattern after ``!`` leaves out every entry that it does not match. A
pattern with a slash is compared with the whole path inside the chart, another with the last name alone. A folder that
is left out is not entered. Patterns are those of Go's ``filepath.Match``, not of ``fnmatch``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.words.errors import MalformedError

# Helm adds this rule after those of the file: templates do not have leading dots.
_DEFAULT = "templates/.?*"
_REMEDY = "correct the line; patterns are those of Helm, without ** and with closed brackets"


@dataclass(frozen=True)
class _Rule:
    """One line. Attributes: whole: compare the whole path; negate: a leading ``!``; folder: a trailing ``/``."""

    pattern: re.Pattern[str]
    whole: bool
    negate: bool
    folder: bool

    def decides(self, path: str, *, folder: bool) -> bool:
        """Whether the entry is left out by this rule."""
        if self.folder and not folder:
            return self.negate
        matches = self.pattern.fullmatch(path if self.whole else path.rpartition("/")[2]) is not None
        return matches is not self.negate


@dataclass(frozen=True)
class IgnoreRules:
    """The rules of one ``.helmignore``, in its order, and Helm's own."""

    rules: tuple[_Rule, ...]

    def leave_out(self, path: str, *, folder: bool) -> bool:
        """Whether Helm leaves out the entry at ``path``, relative to the chart and without a trailing slash."""
        return any(rule.decides(path, folder=folder) for rule in self.rules)


def parse_helmignore(data: bytes, what: str) -> IgnoreRules:
    """The rules of a file. Raises MalformedError for a line that Helm does not read; an empty file is valid."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MalformedError("file is not UTF-8 text", where=what, remedy=_REMEDY) from None
    lines = [*text.split("\n"), _DEFAULT]
    return IgnoreRules(tuple(_rules(lines, what)))


def _rules(lines: list[str], what: str) -> Iterator[_Rule]:
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{what}:{number}"
        if "**" in line:
            raise MalformedError(f"pattern {line!r} has **, which Helm does not support", where=where, remedy=_REMEDY)
        negate = line.startswith("!")
        pattern = line.removeprefix("!")
        folder = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        whole = "/" in pattern
        try:
            compiled = re.compile(_translate(pattern.lstrip("/")), re.DOTALL)
        except ValueError:
            raise MalformedError(f"pattern {line!r} is not valid", where=where, remedy=_REMEDY) from None
        yield _Rule(pattern=compiled, whole=whole, negate=negate, folder=folder)


def _translate(pattern: str) -> str:
    """A regular expression for a pattern of Go's ``filepath.Match``. Raises ValueError for a pattern that is not valid.

    A star takes the fewest characters after which the text up to the next star matches, and never more. The atomic
    groups say so; they also keep the time linear.
    """
    chunks = [""]
    rest = pattern
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            chunks.append("")
        elif char == "?":
            chunks[-1] += "[^/]"
        elif char == "[":
            class_, rest = _class(rest)
            chunks[-1] += class_
        elif char == "\\":
            chunks[-1] += re.escape(rest[:1] or _refuse())
            rest = rest[1:]
        else:
            chunks[-1] += re.escape(char)
    first, *others = chunks
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in middle) + f"[^/]*{last}"


def _class(rest: str) -> tuple[str, str]:
    """A character class after its ``[``, and what follows it. Unlike ``*`` and ``?`` it may match a slash."""
    negated = rest.startswith("^")
    rest = rest.removeprefix("^")
    ranges = ""
    count = 0
    while not (count and rest.startswith("]")):
        low, rest = _member(rest)
        high = low
        if rest.startswith("-"):
            high, rest = _member(rest[1:])
        if low <= high:  # a range that runs backwards is valid and holds nothing
            ranges += f"{re.escape(low)}-{re.escape(high)}"
        count += 1
    if not ranges:
        return ("." if negated else "(?!)"), rest[1:]
    return f"[{'^' if negated else ''}{ranges}]", rest[1:]


def _member(rest: str) -> tuple[str, str]:
    if rest[:1] in ("", "-", "]"):
        _refuse()
    if rest[0] == "\\":
        rest = rest[1:]
    if len(rest) < 2:  # a class that is not closed
        _refuse()
    return rest[0], rest[1:]


def _refuse() -> str:
    raise ValueError
