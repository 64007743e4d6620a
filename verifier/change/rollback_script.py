"""Decide which backup, step or restore comes next, and in which order a rollback undoes them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from manifests.documents.rollback import Rollback, Step
from verifier.runtime.migrations import MAX_TRIES
from verifier.site.journal.events import PartAct
from verifier.site.journal.installs import PartHistory, PartRecord, RetryRequested
from verifier.site.journal.transitions import (
    Apply,
    BackupRecord,
    Blocked,
    GoBack,
    MakeBackup,
    NextPart,
    PartStatus,
    Restore,
    Settled,
    TryRestore,
    Undo,
    UndoMethod,
)


@dataclass
class _History:
    """What was done of a rollback document, folded from the journal.

    Attributes:
        tries: How often each part was begun since the last retry request.
        tried: Backups whose trial restore succeeded.
        failed: Parts whose last attempt failed.
        retried: Steps that were not touched since a person requested a retry; the person has repaired their data.
    """

    status: dict[str, PartStatus] = field(default_factory=dict)
    tries: dict[tuple[PartAct, str], int] = field(default_factory=dict)
    made: dict[str, BackupRecord] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    failed: set[tuple[PartAct, str]] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)
    half_restored: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)

    def add(self, record: PartRecord) -> None:
        """Take in one entry. Every new attempt at a part voids the outcome of the one before."""
        key, name, done = (record.act, record.name), record.name, record.result == "done"
        if record.result == "begun":
            self.tries[key] = self.tries.get(key, 0) + 1
        (self.failed.add if record.result == "failed" else self.failed.discard)(key)
        # An intent without an outcome means that the part was interrupted: by a crash, or it is running now.
        interrupted = record.result in ("begun", "interrupted")
        match record.act:
            case "backup":
                self.made.pop(name, None)
                self.tried.discard(name)
                if done and record.digest is not None:
                    self.made[name] = BackupRecord(name, record.digest, record.size, proof=record.proof)
            case "try":
                (self.tried.add if done else self.tried.discard)(name)
            case "migrate":
                ended = PartStatus.DONE if done else PartStatus.FAILED
                self._set_status(name, PartStatus.CUT if interrupted else ended)
            case "undo":
                ended = PartStatus.BACK if done else PartStatus.UNDO_FAILED
                self._set_status(name, PartStatus.UNDO_CUT if interrupted else ended)
            case "restore":
                (self.restored.add if done else self.restored.discard)(name)
                (self.half_restored.discard if done else self.half_restored.add)(name)

    def _set_status(self, name: str, status: PartStatus) -> None:
        self.status[name] = status
        self.retried.discard(name)

    def of(self, step: Step) -> PartStatus:
        return self.status.get(step.name, PartStatus.UNTOUCHED)

    def count(self, act: PartAct, name: str) -> int:
        return self.tries.get((act, name), 0)


def _fold(records: Iterable[PartRecord | RetryRequested]) -> _History:
    history = _History()
    for record in records:
        if isinstance(record, RetryRequested):
            # Earlier failures and attempts no longer count.
            history.tries.clear()
            history.failed.clear()
            history.retried = set(history.status)
        else:
            history.add(record)
    return history


# --- what comes next ----------------------------------------------------------------------------------------------


def next_part(document: Rollback, records: PartHistory, *, back: bool, fresh: bool) -> NextPart:
    """Return the one next part.

    Args:
        records: All records of this generation's parts since its backups were last begun, oldest first, also of the
            rollback that leaves it. An intent without an outcome is a part that was interrupted.
        back: Whether the data are taken back.
        fresh: Whether there is no former generation, so there is nothing to back up.
    """
    history = _fold(records)
    return (_back if back else _forward)(document, history, fresh=fresh)


def _forward(document: Rollback, history: _History, *, fresh: bool) -> NextPart:
    """Return the next part of an install: 1. the backups, each proven by a trial restore; 2. the steps in order."""
    if not history.status and not fresh:  # 1
        for backup in document.backup:
            for act in ("backup", "try"):
                if (act, backup.name) in history.failed:
                    return GoBack(f"{act}-failed", f"{act} of {backup.name} failed")
            made = history.made.get(backup.name)
            if made is None:
                return _unless_exhausted(history, "backup", backup.name, MakeBackup(backup))
            if backup.name not in history.tried:
                return _unless_exhausted(history, "try", backup.name, TryRestore(backup, made))
    # A restore has begun, so the data are no longer those that the next step expects.
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


def _unless_exhausted(history: _History, act: PartAct, name: str, part: NextPart) -> NextPart:
    if history.count(act, name) >= MAX_TRIES:
        return GoBack(f"{act}-interrupted", f"{act} of {name} was interrupted {MAX_TRIES} times")
    return part


def after_crash(step: Step, tries: int) -> Apply | GoBack | Blocked:
    """Return what follows when an install finds a step that was begun ``tries`` times and did not end."""
    match step.after_crash:
        case "stop":
            return Blocked("step-interrupted", f"step {step.name} was interrupted and has `after_crash: stop`")
        case "repeat" if step.repeatable and tries < MAX_TRIES:
            return Apply(step)
        case "repeat" if step.repeatable:
            return GoBack("step-interrupted", f"step {step.name} was interrupted {tries} times")
    return GoBack("step-interrupted", f"step {step.name} was interrupted")


def _back(document: Rollback, history: _History, *, fresh: bool) -> NextPart:
    """Return the next part of a rollback.

    1. Choose a method for each step. 2. Report a step without a method before anything is touched. 3. Undo, the last
    step first. 4. Restore, after every undo: backups are older than all steps, so an undo after it would break data.
    """
    methods = _undo_methods(document, history, fresh=fresh)  # 1
    restored = _steps_to_restore(document, history, methods)
    for step in reversed(document.steps):  # 2
        if methods.get(step.name) == "stop" or (step.name in restored and not _covered(document, step, history)):
            return Blocked(
                f"step-{history.of(step)}",
                f"step {step.name} is {history.of(step)}, and the rollback document has no method for that",
            )
    names = {name for step in document.steps if step.name in restored for name in _touched(document, step)}
    names = (names - history.restored) | history.half_restored
    for name in sorted(names):
        if ("restore", name) in history.failed:
            return Blocked("restore-failed", f"restoring {name} failed")
        if history.count("restore", name) >= MAX_TRIES:
            return Blocked("restore-interrupted", f"restoring {name} was interrupted {MAX_TRIES} times")
    for step in reversed(document.steps):  # 3
        if step.name not in restored:
            match methods.get(step.name):
                case "undo":
                    return Undo(step)
                case "repeat":
                    return Apply(step)
    for backup in document.backup:  # 4
        if backup.name in names:
            return Restore(backup, history.made[backup.name])
    return Settled()


def _undo_methods(document: Rollback, history: _History, *, fresh: bool) -> dict[str, UndoMethod]:
    """Return the method for each step that was begun and is not undone or restored."""
    last = next((i for i, step in enumerate(document.steps) if step.name == document.no_return), None)
    beyond = last is not None and history.of(document.steps[last]) == PartStatus.DONE
    methods: dict[str, UndoMethod] = {}
    for step in document.steps:
        status = history.of(step)
        touched = _touched(document, step)
        if status in (PartStatus.UNTOUCHED, PartStatus.BACK) or (touched and touched <= history.restored):
            continue
        act: PartAct = "undo" if status == PartStatus.UNDO_CUT else "migrate"
        situation = StepSituation(
            covered=_covered(document, step, history),
            beyond=beyond,
            compatible=document.class_ == "compatible",
            tries=history.count(act, step.name),
            retried=step.name in history.retried,
            fresh=fresh,
        )
        methods[step.name] = rollback_action(step, status, situation)
    return methods


@dataclass(frozen=True)
class StepSituation:
    """What decides how a step is taken back, besides the step and its status.

    Attributes:
        covered: All data that the step touches are in the backups.
        beyond: The step of no return is done, so only a restore is left.
        compatible: The former release reads what the step leaves.
        tries: How often the interrupted part was begun.
        retried: A person requested a retry since. Where the document has no method, the person has repaired the data.
        fresh: There are no former data, so leftovers do no harm.
    """

    covered: bool
    beyond: bool
    compatible: bool
    tries: int
    retried: bool = False
    fresh: bool = False


def rollback_action(step: Step, status: PartStatus, situation: StepSituation) -> UndoMethod:
    """Return how one step is taken back."""
    rule, covered, retried = step.after_crash, situation.covered, situation.retried
    last: UndoMethod = "restore" if covered else "keep" if retried or situation.fresh else "stop"
    can_undo = step.undo is not None and not situation.beyond
    # The document forbids to go on by itself from a half-done step: a person decides, and asks for a retry.
    if rule == "stop" and status in (PartStatus.CUT, PartStatus.FAILED, PartStatus.UNDO_CUT):
        return last if retried else "stop"
    match status:
        case PartStatus.DONE:
            return "undo" if can_undo else "keep" if situation.compatible else last
        # A step that failed by itself is as half done as an interrupted one; the document says what is safe then.
        case PartStatus.CUT | PartStatus.FAILED:
            if rule != "restore" and can_undo:
                return "undo"
            repeatable = rule == "repeat" and step.repeatable and status == PartStatus.CUT
            repeat = repeatable and situation.compatible and not covered and situation.tries < MAX_TRIES
            return "repeat" if repeat else last
        case PartStatus.UNDO_CUT:
            # Only an undo that is made for half-done steps, or that may be repeated, runs again.
            again = rule == "undo" or (step.repeatable and rule == "repeat")
            return "undo" if again and situation.tries < MAX_TRIES else last
        case PartStatus.UNDO_FAILED:
            return "undo" if retried else last
    return "keep"


def _touched(document: Rollback, step: Step) -> frozenset[str]:
    """Return the names of the data that the step touches; all of them when it does not say."""
    return frozenset(step.touches or [data.name for data in document.state] or [data.name for data in document.backup])


def _covered(document: Rollback, step: Step, history: _History) -> bool:
    touched = _touched(document, step)
    return bool(touched) and touched <= set(history.made)


def _steps_to_restore(document: Rollback, history: _History, methods: dict[str, UndoMethod]) -> frozenset[str]:
    """Return the steps to restore. A restore also takes back every other begun step that touches the same data."""
    chosen = {name for name, method in methods.items() if method == "restore"}
    names: set[str] = set(history.half_restored)
    while True:
        names |= {name for step in document.steps if step.name in chosen for name in _touched(document, step)}
        more = {step.name for step in document.steps if step.name in methods and _touched(document, step) & names}
        if more <= chosen:
            return frozenset(chosen)
        chosen |= more


# --- before it begins ---------------------------------------------------------------------------------------------


def plan_undo(document: Rollback, records: PartHistory, *, fresh: bool = False) -> tuple[NextPart, ...]:
    """Return every part of a rollback in which nothing fails; the last is ``Blocked`` when it cannot be completed."""
    parts: list[NextPart] = []
    while not isinstance(part := next_part(document, records, back=True, fresh=fresh), Settled):
        parts.append(part)
        match part:
            case Undo(step):
                records = (*records, PartRecord("undo", step.name, "done"))
            case Apply(step):
                records = (*records, PartRecord("migrate", step.name, "done"))
            case Restore(backup, _):
                records = (*records, PartRecord("restore", backup.name, "done"))
            case _:
                break
    return tuple(parts)
