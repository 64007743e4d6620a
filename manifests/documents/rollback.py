"""The rollback document: how to leave a release again; it ships in the release that is to be left."""

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.words.canonical import Document, parse
from manifests.words.digest import Count, Name, Positive, Text
from manifests.words.errors import MalformedError
from manifests.words.version import parse_range

ROLLBACK_TYPE = "application/vnd.waybill.rollback.v1+json"
MAX_ROLLBACK = 1 << 20

Class = Literal["stateless", "compatible", "reversible", "restore-only", "irreversible"]
Command = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=64)]
Range = Annotated[str, Meta(max_length=256, pattern=r"\A[ -~]+\Z")]


class Formats(Document, frozen=True, kw_only=True):
    """Formats of stored data: the oldest and newest that can be read, and the one that is written."""

    reads: Annotated[tuple[Count, ...], Meta(min_length=2, max_length=2)]
    writes: Count


class StateFormats(Document, frozen=True, kw_only=True):
    name: Name
    before: Formats
    after: Formats


class Backup(Document, frozen=True, kw_only=True):
    """Attributes: at_most_bytes: reserved before it starts; proves: what ``make`` and ``try`` both state (F-12.4)."""

    name: Name
    make: Command
    restore: Command
    try_: Command = field(name="try")
    at_most_bytes: Positive
    takes_seconds: Positive
    proves: Literal["rows", "digest"] | None = None


class Step(Document, frozen=True, kw_only=True):
    name: Name
    touches: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    do: Command
    undo: Command | None = None
    check: Command | None = None
    repeatable: bool
    after_crash: Literal["repeat", "undo", "restore", "stop"]
    takes_seconds: Positive


class Rollback(Document, frozen=True, kw_only=True, tag_field="type", tag=ROLLBACK_TYPE):
    """The compiled document.

    Attributes:
        back_to: Ranges of versions to which a rollback is promised.
        offered_for_seconds: How long old blobs and backups are kept after CONFIRMED.
        services: Of the former generation, from the first backup to the switch. Programs must cope with running ones.
        no_return: Name of the step after which only ``restore`` is left, or ``none``.
        loses: In words, what a rollback loses.
    """

    back_to: Annotated[tuple[Range, ...], Meta(max_length=64)] = ()
    class_: Class = field(name="class")
    offered_for_seconds: Positive
    services: Literal["stopped", "running"] = "stopped"
    state: Annotated[tuple[StateFormats, ...], Meta(max_length=64)] = ()
    backup: Annotated[tuple[Backup, ...], Meta(max_length=64)] = ()
    steps: Annotated[tuple[Step, ...], Meta(max_length=256)] = ()
    no_return: Name = "none"
    loses: Text
    rehearsal: Text | None = None
    recovery: dict[
        Literal["rolled-back", "inconsistent"], Annotated[tuple[Text, ...], Meta(min_length=1, max_length=64)]
    ]


def parse_rollback(data: bytes, what: str = "rollback") -> Rollback:
    """Read a compiled rollback document. Raises MalformedError unless it is one that does not contradict itself."""
    document = parse(data, Rollback, what, max_bytes=MAX_ROLLBACK)  # F-12.2
    check_rollback(document, lambda place: f"{what} {place}")
    return document


def check_rollback(document: Rollback, at: Callable[[str], str]) -> None:
    """Check names, ranges, and that the steps can keep what the class promises (F-12.2). Raises MalformedError.

    Args:
        at: From a path inside the document, such as ``$.class``, to the place that a message names.
    """
    for i, version_range in enumerate(document.back_to):
        parse_range(version_range, at(f"$.back_to[{i}]"))
    if set(document.recovery) != {"rolled-back", "inconsistent"}:
        raise MalformedError("`recovery` needs rolled-back and inconsistent", where=at("$.recovery"))
    for group, entries in (("state", document.state), ("backup", document.backup), ("steps", document.steps)):
        names = [entry.name for entry in entries]
        if len(set(names)) != len(names):
            raise MalformedError("two entries have one name", where=at(f"$.{group}"))
    _check_class(document, at("$.class"))
    _check_no_return(document, at("$.no_return"))
    _check_state(document, at)


def _check_class(document: Rollback, where: str) -> None:
    if document.class_ == "stateless" and (document.state or document.steps or document.backup):
        raise MalformedError("class stateless has no state, steps or backup", where=where)
    if document.class_ == "reversible" and any(step.undo is None for step in document.steps):
        raise MalformedError("class reversible needs an undo for every step", where=where)
    if document.class_ == "restore-only" and not document.backup:
        raise MalformedError("class restore-only needs a backup", where=where)


def _check_no_return(document: Rollback, where: str) -> None:
    if document.no_return == "none":
        return
    if document.class_ in ("stateless", "compatible", "reversible"):
        raise MalformedError(f"class {document.class_} has no point of no return", where=where)
    if document.no_return not in {step.name for step in document.steps}:
        raise MalformedError(f"{document.no_return!r} is not one of the steps", where=where)


def _check_state(document: Rollback, at: Callable[[str], str]) -> None:
    """Steps touch state that is listed; in class compatible the old release reads what the new one writes."""
    kept = {state.name for state in document.state}
    for i, step in enumerate(document.steps):
        for name in step.touches:
            if name not in kept:
                raise MalformedError(f"{name!r} is not under `state`", where=at(f"$.steps[{i}].touches"))
    for i, state in enumerate(document.state if document.class_ == "compatible" else ()):
        if not state.before.reads[0] <= state.after.writes <= state.before.reads[1]:
            raise MalformedError(
                f"the old release cannot read format {state.after.writes} of {state.name}, so it is not compatible",
                where=at(f"$.state[{i}]"),
            )
