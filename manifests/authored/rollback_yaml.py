"""Compile ``rollback.yaml`` to a rollback document."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from manifests.authored.handwritten import Faults, Handwritten, compiled
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
from manifests.words.errors import WaybillError
from manifests.words.quantities import parse_duration, parse_size


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
    faults = Faults()
    made = _compile(file, faults)
    faults.require_none()
    check_rollback(made, file.at)
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_rollback(encode(made), file.name)


def rollback_problems(file: Handwritten) -> Sequence[WaybillError]:
    """Return everything that is wrong in ``rollback.yaml``."""
    faults = Faults()
    made = _compile(file, faults)
    for part in _parts(made):
        faults.attempt(partial(check_rollback, part, file.at))
    if not faults.problems:
        faults.attempt(lambda: parse_rollback(encode(made), file.name))
    return list({(problem.where, problem.problem): problem for problem in faults.problems}.values())


def _parts(made: Rollback) -> Iterator[Rollback]:
    """Yield documents that each break only the rules about one part of ``made``, and ``made`` itself."""
    recovery = {"rolled-back": ("Nothing.",), "inconsistent": ("Nothing.",)}
    # No rule is about this class alone.
    sound = replace(made, class_="irreversible", no_return="none", back_to=(), state=(), backup=(), steps=())
    sound = replace(sound, recovery=recovery)
    for i in range(len(made.back_to)):
        # The ranges before it keep their places, so that the message names the right line.
        yield replace(sound, back_to=(*(">=0.0.0",) * i, made.back_to[i]))
    yield replace(sound, recovery=made.recovery)
    yield replace(sound, state=made.state, steps=made.steps)
    yield replace(sound, backup=made.backup)
    # Without names that are given twice, which are found above.
    state = tuple({entry.name: entry for entry in made.state}.values())
    backup = tuple({entry.name: entry for entry in made.backup}.values())
    steps = tuple({step.name: replace(step, touches=()) for step in made.steps}.values())
    once = replace(sound, class_=made.class_, state=state, backup=backup)
    yield replace(once, steps=steps)
    if made.no_return != "none":
        undone = tuple(replace(step, undo=step.undo or step.do) for step in steps)
        yield replace(once, no_return=made.no_return, steps=undone)
    yield made


def _compile(file: Handwritten, faults: Faults) -> Rollback:
    """Return the document; a size or duration that cannot be read is 1 in it, and a fault."""
    source = file.to(RollbackFile)

    def read(parse: Callable[[str, str], int], text: str, path: str) -> int:
        return faults.attempt(lambda: parse(text, file.at(path))) or 1

    def backup(i: int, given: BackupFile) -> Backup:
        size = read(parse_size, given.at_most, f"$.backup[{i}].at_most")
        takes = read(parse_duration, given.takes, f"$.backup[{i}].takes")
        return compiled(Backup, given, at_most_bytes=size, takes_seconds=takes)

    return compiled(
        Rollback,
        source,
        offered_for_seconds=read(parse_duration, source.offered_for, "$.offered_for"),
        backup=tuple(backup(i, given) for i, given in enumerate(source.backup)),
        steps=tuple(
            compiled(Step, step, takes_seconds=read(parse_duration, step.takes, f"$.steps[{i}].takes"))
            for i, step in enumerate(source.steps)
        ),
    )
