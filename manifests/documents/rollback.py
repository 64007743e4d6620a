"""The rollback document: how to leave a release again; it ships in the release that is to be left."""

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.words.canonical import parse
from manifests.words.digest import Count, Name, Positive, Text
from manifests.words.document import Document
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


class BackupFile(Document, frozen=True, kw_only=True):
    name: Name
    make: Command
    restore: Command
    try_: Command = field(name="try")
    at_most: str
    takes: str


class RollbackStepFile(Document, frozen=True, kw_only=True):
    name: Name
    touches: tuple[Name, ...] = ()
    do: Command
    undo: Command | None = None
    check: Command | None = None
    repeatable: bool
    after_crash: Literal["repeat", "undo", "restore", "stop"]
    takes: str


class RollbackFile(Document, frozen=True, kw_only=True):
    """``rollback.yaml``."""

    waybill: Literal[1]
    back_to: Annotated[tuple[Range, ...], Meta(max_length=64)] = ()
    class_: Class = field(name="class")
    offered_for: str
    services: Literal["stopped", "running"] = "stopped"
    state: tuple[StateFormats, ...] = ()
    backup: tuple[BackupFile, ...] = ()
    steps: tuple[RollbackStepFile, ...] = ()
    no_return: Name = "none"
    loses: Text
    rehearsal: str | None = None
    recovery: dict[Literal["rolled-back", "inconsistent"], Annotated[tuple[Text, ...], Meta(min_length=1)]]


class Backup(Document, frozen=True, kw_only=True):
    """Attributes: at_most_bytes: what is reserved before it starts; takes_seconds: an estimate for people."""

    name: Name
    make: Command
    restore: Command
    try_: Command = field(name="try")
    at_most_bytes: Positive
    takes_seconds: Positive


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
        back_to: Ranges of versions to which going back is promised.
        offered_for_seconds: How long old blobs and backups are kept after CONFIRMED.
        services: Whether what the former generation keeps running is stopped from the first backup until the switch.
            Running, whoever writes the programs answers for what is written meanwhile.
        no_return: Name of the step after which only ``restore`` is left, or ``none``.
        loses: In words, what going back loses.
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
    """Read a compiled rollback document and check it against itself.

    Raises:
        MalformedError: Not a rollback document, or one that contradicts itself.
    """
    document = parse(data, Rollback, what, max_bytes=MAX_ROLLBACK)  # F-12.2
    for version_range in document.back_to:
        parse_range(version_range, f"{what} $.back_to")
    if set(document.recovery) != {"rolled-back", "inconsistent"}:
        raise MalformedError("`recovery` needs rolled-back and inconsistent", where=f"{what} $.recovery")
    for group, entries in (("state", document.state), ("backup", document.backup), ("steps", document.steps)):
        names = [one.name for one in entries]
        if len(set(names)) != len(names):
            raise MalformedError("two entries have one name", where=f"{what} $.{group}")
    check_class(document, lambda place: f"{what} {place}")
    return document


def check_class(source: RollbackFile | Rollback, at: Callable[[str], str]) -> None:
    """Check that the steps can keep what the class promises. Raises MalformedError."""
    where = at("$.class")
    steps: tuple[RollbackStepFile | Step, ...] = source.steps
    if source.class_ == "stateless" and (source.state or source.steps or source.backup):
        raise MalformedError("class stateless has no state, steps or backup", where=where)
    if source.class_ == "reversible" and any(one.undo is None for one in steps):
        raise MalformedError("class reversible needs an undo for every step", where=where)
    if source.class_ == "restore-only" and not source.backup:
        raise MalformedError("class restore-only needs a backup", where=where)
    if source.class_ in ("stateless", "compatible", "reversible") and source.no_return != "none":
        raise MalformedError(f"class {source.class_} has no point of no return", where=at("$.no_return"))
    if source.no_return != "none" and source.no_return not in {one.name for one in steps}:
        raise MalformedError(f"{source.no_return!r} is not one of the steps", where=at("$.no_return"))
    kept = {one.name for one in source.state}
    for i, step in enumerate(steps):
        for name in step.touches:
            if name not in kept:
                raise MalformedError(f"{name!r} is not under `state`", where=at(f"$.steps[{i}].touches"))
    if source.class_ == "compatible":
        for i, state in enumerate(source.state):
            if not state.before.reads[0] <= state.after.writes <= state.before.reads[1]:
                raise MalformedError(
                    f"the old release cannot read format {state.after.writes} of {state.name}, so it is not compatible",
                    where=at(f"$.state[{i}]"),
                )
