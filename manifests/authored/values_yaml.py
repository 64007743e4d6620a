"""Compile the bounds of fields, labels and parameters: what people write in ``contract.yaml`` and ``release.yaml``."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

from msgspec import Meta

from manifests.authored.handwritten import Faults, Handwritten, compiled
from manifests.documents.contract import Range, Values, ValueType, check_values
from manifests.words.canonical import Document
from manifests.words.digest import Text, Word
from manifests.words.errors import MalformedError
from manifests.words.quantities import parse_duration

# What an integer may count. Collectors convert the base unit of a source to these.
UNITS = ("us", "ms", "s", "B", "KiB", "MiB", "per mille", "percent")


class ValuesFile(Document, frozen=True, kw_only=True):
    """As ``Values``; ``duration`` is written as in ``[0s, 10m]``."""

    enum: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=256)] | None = None
    integer: Range | None = None
    duration: Annotated[tuple[Text, ...], Meta(min_length=2, max_length=2)] | None = None
    type: ValueType | None = None
    unit: Text | None = None


def compile_values(
    file: Handwritten, path: str, written: Mapping[str, ValuesFile], faults: Faults
) -> dict[str, Values]:
    """Return the bounds by name, without those that are wrong; each fault is collected with ``file:line``."""
    bounds: dict[str, Values] = {}
    for name, values in written.items():
        result = faults.attempt(partial(compile_value, values, name, file.at(f"{path}.{name}")))
        if result is not None:
            bounds[name] = result
    return bounds


def compile_value(written: ValuesFile, name: str, where: str = "") -> Values:
    """Return the bounds of the field, label or parameter ``name``. Raises MalformedError."""
    if written.unit is not None and written.unit not in UNITS:
        raise MalformedError(
            f"{name!r} has the unknown unit {written.unit!r}", where=where, remedy=f"write one of {', '.join(UNITS)}"
        )
    duration = None
    if written.duration is not None:
        # A range may begin with nothing; every other duration in these files is at least one second.
        duration = tuple(0 if text == "0s" else parse_duration(text, where) for text in written.duration)
    values = compiled(Values, written, duration=duration)
    check_values(values, where, name)
    return values
