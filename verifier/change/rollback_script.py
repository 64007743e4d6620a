"""Decide which backup, step or restore comes next, and in which order a rollback undoes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from manifests.documents.rollback import Backup, Rollback, Step
from verifier.runtime.migrations import MAX_TRIES
from verifier.site.journal.transitions import (
    Apply,
    BackupRecord,
    Blocked,
    GoBack,
    MakeBackup,
    NextPart,
    PartAct,
    PartHistory,
    PartRecord,
    PartStatus,
    Restore,
    RetryRequested,
    Settled,
    TryRestore,
    Undo,
    UndoMethod,
)


@dataclass
class _History:
    """The deeds, folded."""

    status: dict[str, PartStatus] = field(default_factory=dict)
    tries: dict[tuple[PartAct, str], int] = field(default_factory=dict)
    made: dict[str, BackupRecord] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    failed: dict[tuple[PartAct, str], str] = field(default_factory=dict)
    restored: set[str] = field(default_factory=set)
    half_restored: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def take(self, deed: PartRecord) -> None:
        key = (deed.act, deed.name)
        if deed.result == "begun":
            self.tries[key] = self.tries.get(key, 0) + 1
        if deed.result == "failed":
            self.failed[key] = deed.act
        else:
            self.failed.pop(key, None)
        open_ = deed.result in ("begun", "interrupted")
        match deed.act:
            case "backup":
                self.made.pop(deed.name, None)
                self.tried.discard(deed.name)
                if deed.result == "done":
                    self.made[deed.name] = BackupRecord(deed.name, deed.digest, deed.size)
            case "try":
                self.tried.discard(deed.name)
                if deed.result == "done":
                    self.tried.add(deed.name)
            case "migrate":
                done = PartStatus.DONE if deed.result == "done" else PartStatus.FAILED
                self._step(deed.name, PartStatus.CUT if open_ else done)
            case "undo":
                done = PartStatus.BACK if deed.result == "done" else PartStatus.UNDO_FAILED
                self._step(deed.name, PartStatus.UNDO_CUT if open_ else done)
            case "restore":
                self.restored.discard(deed.name)
                self.half_restored.add(deed.name)
                if deed.result == "done":
                    self.half_restored.discard(deed.name)
                    self.restored.add(deed.name)

    def take_again(self) -> None:
        self.tries.clear()
        self.failed.clear()
        self.said = set(self.status)

    def _step(self, name: str, status: PartStatus) -> None:
        self.status[name] = status
        self.said.discard(name)

    def of(self, step: Step) -> PartStatus:
        return self.status.get(step.name, PartStatus.UNTOUCHED)

    def count(self, act: PartAct, name: str) -> int:
        return self.tries.get((act, name), 0)


def _fold(deeds: Iterable[PartRecord | RetryRequested]) -> _History:
    history = _History()
    for deed in deeds:
        if isinstance(deed, RetryRequested):
            history.take_again()
        else:
            history.take(deed)
    return history


# --- what comes next ----------------------------------------------------------------------------------------------


def next_part(document: Rollback, deeds: PartHistory, *, back: bool, fresh: bool) -> NextPart:
    """The one next part.

    Args:
        deeds: Everything about this generation's parts, oldest first, since its backups were last begun; of the
            rollback that leaves it too. An intent without an outcome is a part that was cut off.
        back: Whether the way leads back to the former data.
        fresh: Whether there is no former generation, so nothing to back up.
    """
    history = _fold(deeds)
    return (_back if back else _forward)(document, history, fresh=fresh)


def _forward(document: Rollback, history: _History, *, fresh: bool) -> NextPart:
    """1. the backups, each proven; 2. the steps in order."""
    if not history.status and not fresh:  # 1
        for backup in document.backup:
            for act in ("backup", "try"):
                if (act, backup.name) in history.failed:
                    return GoBack(f"{act}-failed", f"{act} of {backup.name} failed")
            made = history.made.get(backup.name)
            if made is None:
                return _unless_tried(history, "backup", backup.name, MakeBackup(backup))
            if backup.name not in history.tried:
                return _unless_tried(history, "try", backup.name, TryRestore(backup, made))
    if history.restored or history.half_restored:
        return GoBack("restored", "data were restored already")
    for step in document.steps:  # 2
        match history.of(step):
            case PartStatus.UNTOUCHED:
                return Apply(step)
            case PartStatus.CUT:
                return after_crash(step, history.count("migrate", step.name))
            case PartStatus.FAILED:
                return GoBack("step-failed", f"step {step.name} failed")
            case PartStatus.UNDO_CUT | PartStatus.UNDO_FAILED | PartStatus.BACK:
                return GoBack("step-undone", f"step {step.name} was being undone")
    return Settled()


def _unless_tried(history: _History, act: PartAct, name: str, part: NextPart) -> NextPart:
    if history.count(act, name) >= MAX_TRIES:
        return GoBack(f"{act}-interrupted", f"{act} of {name} was cut off {MAX_TRIES} times")
    return part


def after_crash(step: Step, tries: int) -> Apply | GoBack | Blocked:
    """What it means on the way forward that the step was begun, and nobody saw its end.

    Args:
        tries: How often it was begun.
    """
    match step.after_crash:
        case "stop":
            return Blocked("step-interrupted", f"step {step.name} was cut off, and says `after_crash: stop`")
        case "repeat" if step.repeatable and tries < MAX_TRIES:
            return Apply(step)
        case "repeat" if step.repeatable:
            return GoBack("step-interrupted", f"step {step.name} was cut off {tries} times")
    return GoBack("step-interrupted", f"step {step.name} was cut off")


def _back(document: Rollback, history: _History, *, fresh: bool) -> NextPart:
    """1. where each step goes; 2. a stop comes before anything else is touched; 3. undo, the last step first;
    4. restore, with all that shares data with it; the backups are older than every step."""
    ways = _ways(document, history, fresh=fresh)  # 1
    restored = _closure(document, history, ways)
    for step in reversed(document.steps):  # 2
        way = ways.get(step.name)
        if way == "stop" or (step.name in restored and not _covered(document, step, history)):
            return Blocked(
                f"step-{history.of(step)}",
                f"step {step.name} is {history.of(step)}, and the document has no way back from there",
            )
    names = {name for step in document.steps if step.name in restored for name in _touched(document, step)}
    names = (names - history.restored) | history.half_restored
    for name in sorted(names):
        if ("restore", name) in history.failed:
            return Blocked("restore-failed", f"restoring {name} failed")
        if history.count("restore", name) >= MAX_TRIES:
            return Blocked("restore-interrupted", f"restoring {name} was cut off {MAX_TRIES} times")
    for step in reversed(document.steps):  # 3
        if step.name not in restored:
            match ways.get(step.name):
                case "undo":
                    return Undo(step)
                case "repeat":
                    return Apply(step)
    for backup in document.backup:  # 4
        if backup.name in names:
            return Restore(backup, history.made[backup.name])
    return Settled()


def _ways(document: Rollback, history: _History, *, fresh: bool) -> dict[str, UndoMethod]:
    """For each step that was begun and is not back."""
    last = next((i for i, step in enumerate(document.steps) if step.name == document.no_return), None)
    beyond = last is not None and history.of(document.steps[last]) == PartStatus.DONE
    ways: dict[str, UndoMethod] = {}
    for step in document.steps:
        status = history.of(step)
        touched = _touched(document, step)
        if status in (PartStatus.UNTOUCHED, PartStatus.BACK) or (touched and touched <= history.restored):
            continue
        act: PartAct = "undo" if status == PartStatus.UNDO_CUT else "migrate"
        ways[step.name] = rollback_action(
            step,
            status,
            covered=_covered(document, step, history),
            beyond=beyond,
            compatible=document.class_ == "compatible",
            tries=history.count(act, step.name),
            said=step.name in history.said,
            fresh=fresh,
        )
    return ways


def rollback_action(
    step: Step,
    status: PartStatus,
    *,
    covered: bool,
    beyond: bool,
    compatible: bool,
    tries: int,
    said: bool = False,
    fresh: bool = False,
) -> UndoMethod:
    """How one step is taken back.

    Args:
        covered: Whether all that it touches is in the backups.
        beyond: Whether the step after which only a restore is left has been done.
        compatible: Whether the old release reads what the step leaves.
        tries: How often the part that was cut off was begun.
        said: Whether a person asked for one more try since; where the document has no way, they have seen to the data.
        fresh: Whether there are no former data, so what is left behind harms nothing.
    """
    rule = step.after_crash
    last: UndoMethod = "restore" if covered else "keep" if said or fresh else "stop"
    can_undo = step.undo is not None and not beyond
    if rule == "stop" and status in (PartStatus.CUT, PartStatus.FAILED, PartStatus.UNDO_CUT):
        return last if said else "stop"
    match status:
        case PartStatus.DONE:
            return "undo" if can_undo else "keep" if compatible else last
        # Half done, whether it says so itself or nobody saw it: the document says which way is safe from there.
        case PartStatus.CUT | PartStatus.FAILED:
            if rule != "restore" and can_undo:
                return "undo"
            again = rule == "repeat" and step.repeatable and status == PartStatus.CUT and tries < MAX_TRIES
            return "repeat" if not covered and compatible and again else last
        case PartStatus.UNDO_CUT:
            return "undo" if _may_undo_again(step) and tries < MAX_TRIES else last
        case PartStatus.UNDO_FAILED:
            return "undo" if said else last
    return "keep"


def _may_undo_again(step: Step) -> bool:
    """An undo that was cut off leaves a half-done step: it may run again if it is good for those, or repeatable."""
    return step.after_crash == "undo" or (step.repeatable and step.after_crash == "repeat")


def _touched(document: Rollback, step: Step) -> frozenset[str]:
    """A step that does not say what it touches is taken to touch everything."""
    return frozenset(step.touches or [one.name for one in document.state] or [one.name for one in document.backup])


def _covered(document: Rollback, step: Step, history: _History) -> bool:
    touched = _touched(document, step)
    return bool(touched) and touched <= set(history.made)


def _closure(document: Rollback, history: _History, ways: dict[str, UndoMethod]) -> frozenset[str]:
    """The steps to restore: with one of them every other that was begun and touches the same data."""
    chosen = {name for name, way in ways.items() if way == "restore"}
    names: set[str] = set(history.half_restored)
    while True:
        names |= {name for step in document.steps if step.name in chosen for name in _touched(document, step)}
        more = {step.name for step in document.steps if step.name in ways and _touched(document, step) & names}
        if more <= chosen:
            return frozenset(chosen)
        chosen |= more


# --- before it begins ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BackupPlan:
    """What the backups will take, on the file system of ``folder``.

    Attributes:
        takes_seconds: As the document says, for people.
    """

    folder: Path
    backups: tuple[Backup, ...]
    bytes_needed: int
    inodes_needed: int
    takes_seconds: int
    lines: tuple[str, ...]


def plan_backups(document: Rollback, folder: Path, *, fresh: bool, block: int) -> BackupPlan:
    """Pure. ``folder`` is where this generation's backups go, ``block`` the file system's block size."""
    backups = () if fresh else document.backup
    return BackupPlan(
        folder=folder,
        backups=backups,
        bytes_needed=sum(-(-one.at_most_bytes // block) * block for one in backups) + block * bool(backups),
        inodes_needed=len(backups) + 2 if backups else 0,
        takes_seconds=sum(one.takes_seconds for one in backups),
        lines=tuple(
            f"back up {one.name} to {folder / one.name}, at most {one.at_most_bytes} bytes, and try to restore it"
            for one in backups
        ),
    )


def plan_undo(document: Rollback, deeds: PartHistory, *, fresh: bool = False) -> tuple[NextPart, ...]:
    """Everything that going back would do if nothing failed; a ``Blocked`` at the end where it would not get there."""
    parts: list[NextPart] = []
    while not isinstance(part := next_part(document, deeds, back=True, fresh=fresh), Settled):
        parts.append(part)
        match part:
            case Undo(step):
                deeds = (*deeds, PartRecord("undo", step.name, "done"))
            case Apply(step):
                deeds = (*deeds, PartRecord("migrate", step.name, "done"))
            case Restore(backup, _):
                deeds = (*deeds, PartRecord("restore", backup.name, "done"))
            case _:
                break
    return tuple(parts)
