"""Compile ``rollback.yaml`` to a rollback document."""

from manifests.authored.handwritten import Handwritten
from manifests.documents.rollback import Backup, Rollback, RollbackFile, Step, check_class, parse_rollback
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError
from manifests.words.units import parse_duration, parse_size
from manifests.words.version import parse_range


def compile_rollback(file: Handwritten) -> Rollback:
    """Check ``rollback.yaml``. Raises MalformedError with ``file:line`` for the first thing that cannot hold."""
    source = file.to(RollbackFile)
    for i, version_range in enumerate(source.back_to):
        parse_range(version_range, file.at(f"$.back_to[{i}]"))
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
                name=backup.name,
                make=backup.make,
                restore=backup.restore,
                try_=backup.try_,
                at_most_bytes=parse_size(backup.at_most, file.at(f"$.backup[{i}].at_most")),
                takes_seconds=parse_duration(backup.takes, file.at(f"$.backup[{i}].takes")),
            )
            for i, backup in enumerate(source.backup)
        ),
        steps=tuple(
            Step(
                name=step.name,
                touches=step.touches,
                do=step.do,
                undo=step.undo,
                check=step.check,
                repeatable=step.repeatable,
                after_crash=step.after_crash,
                takes_seconds=parse_duration(step.takes, file.at(f"$.steps[{i}].takes")),
            )
            for i, step in enumerate(source.steps)
        ),
        no_return=source.no_return,
        loses=source.loses,
        rehearsal=source.rehearsal,
        recovery=source.recovery,
    )
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_rollback(encode(made), file.name)
