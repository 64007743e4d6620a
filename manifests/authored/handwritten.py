"""Read YAML that people write: a small subset, strictly, with the line of every value.

At most 256 KiB, 32 levels, no aliases, no tags, no duplicate keys, one document. Values are text, integers, true and
false. What another reader would take for a float, a date, an octal number, a time, a truth value or nothing at all is
an error that shows the spelling that was probably meant.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import yaml
from msgspec import Meta

from manifests.authored.named_file import read_named_file
from manifests.words.errors import HostError, MalformedError, WaybillError

MAX_BYTES = 256 << 10
# The remedy where the right spelling is not known.
CORRECT = "correct this line of the file, then run the command again"
MAX_DEPTH = 32
# Of one file, reported at once.
MAX_PROBLEMS = 100

PathText = Annotated[str, Meta(min_length=1, max_length=1024, pattern="\\A[^\x00-\x1f\x7f-\x9f]+\\Z")]
Plain = str | int | bool | Decimal | list["Plain"] | dict[str, "Plain"]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,15}")
_ZEROS = re.compile(r"0+[1-9][0-9]*")
# What YAML 1.1 or 1.2 readers, or a hurried person, would not take for text.
_AMBIGUOUS = (
    (
        re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        "number",
    ),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F_]+"), "number"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "date"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "time"),
    (re.compile(r"(?i:y|n|yes|no|on|off)|True|TRUE|False|FALSE"), "truth value"),
)

# What begins a list, or may not begin text, and was meant as text: an address in brackets, and a value with @, ` or %.
_BARE_IPV6 = re.compile(r"""(?<![^\s,{\[])(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\](?::[0-9]+)?(?:[/@][^\s,}\]"']*)?)""")
_BARE_VALUE = re.compile(r"""^(?:\s*-)*\s*(?:[\w.-]+:\s+)?([@`%][^"']*?)\s*(?:\s#.*)?$""")


@dataclass(frozen=True)
class Handwritten:
    """A parsed file: plain values, and the line on which each begins.

    Attributes:
        name: The file's name as the user gave it, for messages.
        plain: Nested dicts, lists, text, integers, truth values.
        lines: From a path such as ``$.images[0].to`` to a line number, counted from 1.
    """

    name: str
    plain: Plain
    lines: dict[str, int] = field(repr=False)

    def line(self, path: str) -> int:
        """The line of ``path``, or of the nearest thing around it."""
        while path not in self.lines and path not in ("", "$"):
            path = re.sub(r"(\.[^.\[]*|\[[^\]]*\])$", "", path) if re.search(r"[.\[]", path) else "$"
        return self.lines.get(path, 1)

    def at(self, path: str) -> str:
        """``file:line`` for a message about ``path``."""
        return f"{self.name}:{self.line(path)}"

    def wrong(self, problem: str, path: str, remedy: str = "") -> MalformedError:
        """The error that names ``file:line`` of ``path``."""
        return MalformedError(problem, where=self.at(path), remedy=remedy or CORRECT)

    def problems(self, parse: Callable[[str, str], object], text: str, path: str) -> Iterator[MalformedError]:
        """The error that ``parse(text, where)`` raises, if it does."""
        try:
            parse(text, self.at(path))
        except MalformedError as error:
            yield error

    def to(self, type_: type[T]) -> T:
        """The values as ``type_``; raises MalformedError with file and line of the first that does not fit."""
        try:
            return msgspec.convert(self.plain, type_, strict=True)
        except msgspec.ValidationError as error:
            problem, path = _split(error)
            path = self._with_keys(path, error, type_)
            unknown = re.search(r"unknown field `([^`]+)`", problem)
            if unknown:
                path = f"{path}.{unknown[1]}"
            problem = problem[:1].lower() + problem[1:]
            for python, ours in (
                ("`array`", "a list"),
                ("`object`", "named values"),
                ("`str`", "text"),
                ("`int`", "a number"),
            ):
                problem = problem.replace(python, ours)
            raise MalformedError(f"{problem} ({path})", where=self.at(path), remedy=CORRECT) from None

    def _with_keys(self, path: str, error: msgspec.ValidationError, type_: type[T]) -> str:
        """Return ``path`` with the key in place of each ``[...]``, by which msgspec means any key of named values."""
        trial = deepcopy(self.plain)
        while _ANY_KEY in path:
            before, _, after = path.partition(_ANY_KEY)
            values = _value_at(trial, before)
            if not isinstance(values, dict):
                return before
            for key, value in list(values.items()):
                values.clear()
                values[key] = value
                if _error_of(trial, type_) == str(error):
                    path = f"{before}.{key}{after}"
                    break
            else:
                return before
        return path


class Faults:
    """Collects what is wrong while a file is compiled, so that `lint` can name all of it and `build` the first.

    Attributes:
        problems: In the order in which they were met.
    """

    def __init__(self) -> None:
        self.problems: list[WaybillError] = []

    def attempt(self, work: Callable[[], T]) -> T | None:
        """Return what ``work`` returns; None when it raises, and the error is a problem."""
        try:
            return work()
        except (MalformedError, HostError) as error:
            self.problems.append(error)
            return None

    def collect(self, problems: Iterable[WaybillError]) -> None:
        self.problems += problems

    def require_none(self) -> None:
        """Raise the first problem, if there is one."""
        if self.problems:
            raise self.problems[0]


_ANY_KEY = "[...]"


def _split(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the problem, and the path of the value or of the key that has it."""
    problem, _, place = str(error).partition(" - at `")
    is_key = place.startswith("key` in `")
    return problem, (place.removeprefix("key` in `").rstrip("`") or "$") + _ANY_KEY * is_key


def _error_of(plain: Plain, type_: type) -> str:
    try:
        msgspec.convert(plain, type_, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def shape_problems(file: Handwritten, type_: type[msgspec.Struct]) -> tuple[MalformedError, ...]:
    """Return every value that does not fit ``type_``: what is wrong is reported and left out, and the rest is read."""
    problems: list[MalformedError] = []
    removed: set[str] = set()
    current = replace(file, plain=deepcopy(file.plain))
    while len(problems) < MAX_PROBLEMS:
        try:
            current.to(type_)
            break
        except MalformedError as error:
            text, _, path = error.problem.rpartition(" (")
            path = path.rstrip(")")
            missing = re.search(r"missing required field `([^`]+)`", text)
            if missing and path == "$":
                # Each key at the top can be named at once.
                given = current.plain if isinstance(current.plain, dict) else {}
                required = [known.encode_name for known in msgspec.structs.fields(type_) if known.required]
                names = [name for name in required if name not in given]
                absent = [name for name in names if f"$.{name}" not in removed]
                problems += [file.wrong(f"object missing required field `{name}` ($)", "$") for name in absent]
                break
            if missing is None or f"{path}.{missing[1]}" not in removed:
                problems.append(error)
            removed.add(path)
            if not _remove(current.plain, path):
                break
    return tuple(problems)


def _remove(plain: Plain, path: str) -> bool:
    """Remove the value at ``path`` of ``plain``; return whether it was found."""
    steps = _steps(plain, path)
    if not steps:
        return False
    holder, last = steps[-1]
    if isinstance(holder, list):
        # The items after it go too: their places, and so their lines, would shift.
        del holder[int(last) :]
    elif isinstance(holder, dict):
        del holder[str(last)]
    return True


def _value_at(plain: Plain, path: str) -> Plain | None:
    if path == "$":
        return plain
    steps = _steps(plain, path)
    if not steps:
        return None
    holder, last = steps[-1]
    return holder[last]  # type: ignore[index]  # _steps found it there


def _steps(plain: Plain, path: str) -> list[tuple[Plain, str | int]]:
    """Return each list or dict on the way to ``path`` with the key in it; none when the path leads nowhere."""
    steps: list[tuple[Plain, str | int]] = []
    rest = path.removeprefix("$")
    while rest:
        key: str | int
        if isinstance(plain, dict):
            # A key may have dots and brackets, as the address of a registry: the longest that fits is meant.
            keys = [name for name in plain if re.match(rf"\.{re.escape(name)}(?=[.\[]|\Z)", rest)]
            if not keys:
                return []
            key = max(keys, key=len)
            rest = rest[len(key) + 1 :]
        else:
            index = re.match(r"\[([0-9]+)\]", rest)
            if not isinstance(plain, list) or index is None or int(index[1]) >= len(plain):
                return []
            key = int(index[1])
            rest = rest[index.end() :]
        steps.append((plain, key))
        plain = plain[key]  # type: ignore[index]  # found above
    return steps


def compiled(type_: type[S], *sources: object, **others: object) -> S:
    """A document with the fields that ``sources`` have under the same name (a later one wins), and with ``others``."""
    fields = {
        name: getattr(source, name) for source in sources for name in type_.__struct_fields__ if hasattr(source, name)
    }
    return type_(**fields | others)


def read_handwritten(path: Path, *, decimals_under: str = "") -> Handwritten:
    return parse_handwritten(read_named_file(path, MAX_BYTES), str(path), decimals_under=decimals_under)


def parse_handwritten(data: bytes, name: str, *, decimals_under: str = "") -> Handwritten:
    """Read the YAML text ``data``; below the top-level key ``decimals_under`` decimals are allowed.

    Raises:
        MalformedError: With ``file:line`` and the right spelling where there is one.
    """
    if len(data) > MAX_BYTES:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_BYTES} are read", where=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}", where=name) from None
    reader = _Reader(name, decimals_under)
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        plain = reader.document(iter(events))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        remedy = _quoted(text, error) or CORRECT
        raise MalformedError(
            f"not YAML: {error.problem or error.context}", where=f"{name}:{line}", remedy=remedy
        ) from None
    except yaml.YAMLError as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())}", where=name) from None
    return Handwritten(name=name, plain=plain, lines=reader.lines)


def _quoted(text: str, error: yaml.MarkedYAMLError) -> str | None:
    """Return what to write in place of text that YAML takes for something else; None where no line has such text."""
    lines = text.splitlines()
    for mark in (error.problem_mark, error.context_mark):
        # The reader may notice it only at the start of the next line.
        for number in () if mark is None else (mark.line, mark.line - 1):
            line = lines[number] if 0 <= number < len(lines) else ""
            for pattern in (_BARE_IPV6, _BARE_VALUE):
                if match := pattern.search(line):
                    return f'write "{match[1]}", in quotes'
    return None


class _Reader:
    """Builds plain values from parser events, with limits checked before a value is made."""

    def __init__(self, name: str, decimals_under: str) -> None:
        self.name = name
        self.decimals_under = decimals_under
        self.lines: dict[str, int] = {}

    def document(self, events: Iterator[yaml.Event]) -> Plain:
        plain: Plain | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if plain is not None:
                    raise self._wrong(event, "a second document begins", "one document in one file")
                plain = self._value(next(events), events, "$", 0)
        if plain is None:
            raise MalformedError("the file is empty", where=self.name)
        return plain

    def _wrong(self, event: yaml.Event, problem: str, remedy: str = "") -> MalformedError:
        return MalformedError(problem, where=f"{self.name}:{_line(event)}", remedy=remedy or CORRECT)

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: str, depth: int) -> Plain:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._wrong(event, "anchors and aliases (& and *) are not allowed", "write the value out")
        tag = getattr(event, "tag", None)
        if tag and tag != "!":
            raise self._wrong(event, f"tags ({tag}) are not allowed")
        if depth > MAX_DEPTH:
            raise self._wrong(event, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Plain] = []
            for item in events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                items.append(self._value(item, events, f"{path}[{len(items)}]", depth + 1))
            return items
        if not isinstance(event, yaml.ScalarEvent):
            raise self._wrong(event, "a value is missing")
        return self._scalar(event, path)

    def _mapping(self, events: Iterator[yaml.Event], path: str, depth: int) -> dict[str, Plain]:
        mapping: dict[str, Plain] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise self._wrong(event, "a key must be plain text", 'write an address in quotes, as "[::1]:5000"')
            key = event.value
            if event.anchor or (event.tag and event.tag != "!"):
                raise self._wrong(event, "anchors and tags (& and !) are not allowed", "write the key alone")
            if not event.style and key in ("<<", "", "~", "null", "Null", "NULL"):
                raise self._wrong(event, f"{key!r} is not a key", "write every key out; nothing is merged")
            if key in mapping:
                raise self._wrong(event, f"{key!r} is given twice")
            below = f"{path}.{key}"
            self.lines[below] = _line(event)
            mapping[key] = self._value(next(events), events, below, depth + 1)
        return mapping

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Plain:
        text: str = event.value
        if event.style:  # the C parser says "" for plain, the Python one None
            return text
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if text in ("", "~", "null", "Null", "NULL"):
            raise self._wrong(event, "the value is empty", 'leave the line out, or write "" for empty text')
        if self.decimals_under and path.startswith(f"$.{self.decimals_under}.") and _DECIMAL.fullmatch(text):
            return Decimal(text)
        for pattern, kind in _AMBIGUOUS:
            if pattern.fullmatch(text):
                number = f"write {text.lstrip('0')} if it is a number, " if _ZEROS.fullmatch(text) else "write "
                raise self._wrong(event, f"{text} could be a {kind}", f'{number}"{text}" if it is text')
        return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
