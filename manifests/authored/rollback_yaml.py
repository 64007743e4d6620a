"""Compile ``rollback.yaml`` to a rollback document."""

from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.authored.handwritten import Handwritten, compiled
from manifests.documents.rollback import (
    Backup,
    Class,
    Command,
    Range,
    Rollback,
    StateFormats,
    Step,
    check_rollback,
    parse_rollback,
)
from manifests.words.canonical import Document, encode
from manifests.words.digest import Name, Text
from manifests.words.units import parse_duration, parse_size


class BackupFile(Document, frozen=True, kw_only=True):
    name: Name
    make: Command
    restore: Command
    try_: Command = field(name="try")
    at_most: str
    takes: str
    proves: Literal["rows", "digest"] | None = None


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


def compile_rollback(file: Handwritten) -> Rollback:
    """Check ``rollback.yaml``. Raises MalformedError with ``file:line`` for the first rule that does not hold."""
    source = file.to(RollbackFile)
    made = compiled(
        Rollback,
        source,
        offered_for_seconds=parse_duration(source.offered_for, file.at("$.offered_for")),
        backup=tuple(_backup(file, f"$.backup[{i}]", backup) for i, backup in enumerate(source.backup)),
        steps=tuple(
            compiled(Step, step, takes_seconds=parse_duration(step.takes, file.at(f"$.steps[{i}].takes")))
            for i, step in enumerate(source.steps)
        ),
    )
    check_rollback(made, file.at)
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_rollback(encode(made), file.name)


def _backup(file: Handwritten, path: str, backup: BackupFile) -> Backup:
    size = parse_size(backup.at_most, file.at(f"{path}.at_most"))
    takes = parse_duration(backup.takes, file.at(f"{path}.takes"))
    return compiled(Backup, backup, at_most_bytes=size, takes_seconds=takes)
