"""Find every fault in the shape of a JSON document that others wrote; readers stop at the first."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

import msgspec
from msgspec import inspect

from manifests.words.canonical import MAX_DEPTH, check_depth
from manifests.words.errors import MalformedError

# Of one document, reported at once.
MAX_FAULTS = 50
_MISSING = re.compile(r"missing required field `([^`]+)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]")


@dataclass(frozen=True)
class ShapeFault:
    """A value that does not fit. Attributes: place: As ``$.statements[3].status``."""

    problem: str
    place: str


def shape_faults(value: object, type_: object) -> tuple[ShapeFault, ...]:
    """Return what of ``value`` does not fit ``type_``, at most `MAX_FAULTS`, in the order in which it is read.

    What is wrong is reported and left out, and the rest is read. What is missing only because it was left out is no
    fault.
    """
    document = _Document(deepcopy(value))
    faults: list[ShapeFault] = []
    while len(faults) < MAX_FAULTS:
        try:
            msgspec.convert(document.value, type_)
            break
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `")
            steps = tuple(name or int(index) for name, index in _STEP.findall(path.removesuffix("`")))
            faults += document.faults(problem[:1].lower() + problem[1:], steps, type_)
            if not document.leave_out(steps):
                break
    return tuple(faults[:MAX_FAULTS])


def document_faults(data: bytes, type_: object, *, depth: int = MAX_DEPTH) -> tuple[ShapeFault, ...]:
    """The same of JSON text; none where it is no JSON, or nested deeper than ``depth``."""
    try:
        check_depth(data, "", depth=depth)
        value: object = json.loads(data.decode())
    except (MalformedError, ValueError):
        return ()
    return shape_faults(value, type_)


@dataclass
class _Document:
    """A document from which values are left out.

    Attributes:
        removed: Keys that were left out, with the identity of their object.
        origins: By the identity of a list, the first place of each of its items.
    """

    value: object
    removed: set[tuple[int, str]] = field(default_factory=set)
    origins: dict[int, list[int]] = field(default_factory=dict)

    def faults(self, problem: str, steps: tuple[str | int, ...], type_: object) -> Iterator[ShapeFault]:
        """What a reader's error means for the document as it was."""
        *_, holder = self._along(steps)
        place = self._place(steps)
        if not _MISSING.search(problem):
            if id(holder) not in self.origins:  # a list is not too short because items were left out
                yield ShapeFault(problem, place)
            return
        given = holder if isinstance(holder, dict) else {}
        for name in _required(type_, steps):
            if name not in given and (id(holder), name) not in self.removed:
                yield ShapeFault(f"object missing required field `{name}`", place)

    def leave_out(self, steps: tuple[str | int, ...]) -> bool:
        """Leave out the value at ``steps``; return False for the document itself."""
        if not steps:
            return False
        holder, last = self._along(steps)[-2], steps[-1]
        if isinstance(holder, list) and isinstance(last, int):
            self.origins.setdefault(id(holder), list(range(len(holder)))).pop(last)
            del holder[last]
        elif isinstance(holder, dict):
            self.removed.add((id(holder), str(last)))
            del holder[last]
        return True

    def _along(self, steps: tuple[str | int, ...]) -> list[object]:
        """The document and each value on the way to ``steps``."""
        values = [self.value]
        for step in steps:
            holder = values[-1]
            assert isinstance(holder, dict | list)
            values.append(holder[step])  # type: ignore[index]  # the reader names places that are there
        return values

    def _place(self, steps: tuple[str | int, ...]) -> str:
        text = "$"
        for holder, step in zip(self._along(steps), steps, strict=False):
            origins = self.origins.get(id(holder))
            text += f".{step}" if isinstance(step, str) else f"[{origins[step] if origins else step}]"
        return text


def _required(type_: object, steps: tuple[str | int, ...]) -> list[str]:
    """The keys that the object at ``steps`` must have."""
    kinds = list(_alternatives(inspect.type_info(type_)))
    for step in steps:
        below: list[inspect.Type] = []
        for kind in kinds:
            if isinstance(kind, inspect.StructType):
                below += [known.type for known in kind.fields if known.encode_name == step]
            elif isinstance(kind, inspect.ListType) and isinstance(step, int):
                below.append(kind.item_type)
        kinds = [kind for type_below in below for kind in _alternatives(type_below)]
    structs = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    return [known.encode_name for kind in structs for known in kind.fields if known.required]


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        for alternative in kind.types:
            yield from _alternatives(alternative)
    elif isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    else:
        yield kind
