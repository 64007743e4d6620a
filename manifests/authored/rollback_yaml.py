"""Compile ``rollback.yaml`` to a rollback document."""

from typing import TYPE_CHECKING

from manifests.documents.rollback import Backup, Rollback, RollbackFile, Step, check_class, parse_rollback
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError
from manifests.words.units import parse_duration, parse_size
from manifests.words.version import parse_range

if TYPE_CHECKING:
    from manifests.authored.handwritten import Handwritten


def compile_rollback(file: "Handwritten") -> Rollback:
    """Check ``rollback.yaml``. Raises MalformedError with ``file:line`` for the first thing that cannot hold."""
    source = file.to(RollbackFile)
    for i, one in enumerate(source.back_to):
        parse_range(one, file.at(f"$.back_to[{i}]"))
    if set(source.recovery) != {"rolled-back", "inconsistent"}:
        raise MalformedError("`recovery` needs rolled-back and inconsistent", where=file.at("$.recovery"))
    for group, entries in (("state", source.state), ("backup", source.backup), ("steps", source.steps)):
        names = [one.name for one in entries]
        if len(set(names)) != len(names):
            raise MalformedError("a name is given twice", where=file.at(f"$.{group}"))
    check_class(source, file.at)
    made = Rollback(
        back_to=source.back_to,
        class_=source.class_,
        offered_for_seconds=parse_duration(source.offered_for, file.at("$.offered_for")),
        services=source.services,
        state=source.state,
        backup=tuple(
            Backup(
                name=one.name,
                make=one.make,
                restore=one.restore,
                try_=one.try_,
                at_most_bytes=parse_size(one.at_most, file.at(f"$.backup[{i}].at_most")),
                takes_seconds=parse_duration(one.takes, file.at(f"$.backup[{i}].takes")),
            )
            for i, one in enumerate(source.backup)
        ),
        steps=tuple(
            Step(
                name=one.name,
                touches=one.touches,
                do=one.do,
                undo=one.undo,
                check=one.check,
                repeatable=one.repeatable,
                after_crash=one.after_crash,
                takes_seconds=parse_duration(one.takes, file.at(f"$.steps[{i}].takes")),
            )
            for i, one in enumerate(source.steps)
        ),
        no_return=source.no_return,
        loses=source.loses,
        rehearsal=source.rehearsal,
        recovery=source.recovery,
    )
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_rollback(encode(made), file.name)
