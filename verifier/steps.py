"""The rollback document at work: proven backups, steps with their undo, and what a crash in any of them means.

`next_part` is the whole decision, pure, from the document and from what the journal holds; an install, a way back
and a recovery ask it the same question, so a crash is not a special case. The hands below it do one part each. Around
each part the caller writes an intent before and an outcome after; a `Deed` is how those are told to `next_part`.

All backups are made and tried before the first step begins, and never made again after that: from then on they are
the only copy of the old data. A restore takes the whole of it back, so it may always be repeated.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Literal

from manifests.errors import DamagedError, HostError, RefusedError, WaybillError
from manifests.release import Program, Release
from manifests.rollback import Backup, Command, Rollback, Step
from verifier.deeds import Again, Deed, Deeds, PartAct
from verifier.fsops import Disk
from verifier.generations import Installed
from verifier.runner import (
    CHUNK,
    SCRATCH,
    Account,
    Kept,
    Limits,
    NewFile,
    Ran,
    Sink,
    check_sandbox,
    choose_file,
    find_account,
    place_program,
    run,
    this_platform,
)

Way = Literal["undo", "restore", "repeat", "keep", "stop"]
# A part that a crash cut off is begun so often; a part that failed by itself is not begun again.
MAX_TRIES = 3
# The document says how long a part takes, for people. It is ended after this many times that, and some grace.
PATIENCE = 4
GRACE_SECONDS = 60
STEP_MEMORY = 1 << 30
# What a step says is for people: its end is kept, and a step that says more than this has gone wrong.
STEP_OUTPUT = 64 << 20
KEPT_OUTPUT = 4096


# --- what the journal holds ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A backup as it was written."""

    name: str
    digest: str
    size: int


class Status(StrEnum):
    """How far a step is: ``CUT`` and ``UNDO_CUT`` were begun, and nobody saw the end."""

    UNTOUCHED = "untouched"
    CUT = "cut"
    FAILED = "failed"
    DONE = "done"
    UNDO_CUT = "undo-cut"
    UNDO_FAILED = "undo-failed"
    BACK = "back"


@dataclass(frozen=True)
class MakeBackup:
    backup: Backup


@dataclass(frozen=True)
class TryRestore:
    """Prove that it could be restored, before anything depends on it."""

    backup: Backup
    made: Made


@dataclass(frozen=True)
class Apply:
    step: Step


@dataclass(frozen=True)
class Undo:
    step: Step


@dataclass(frozen=True)
class Restore:
    backup: Backup
    made: Made


@dataclass(frozen=True)
class Settled:
    """All of it is done; going back, all of it is taken back."""


@dataclass(frozen=True)
class TurnBack:
    """It does not go on; from here on ask with ``back``."""

    code: str
    detail: str


@dataclass(frozen=True)
class Stop:
    """Nothing that the document allows leads on from here: a person must look."""

    code: str
    detail: str


Part = MakeBackup | TryRestore | Apply | Undo | Restore | Settled | TurnBack | Stop


@dataclass
class _History:
    """The deeds, folded."""

    status: dict[str, Status] = field(default_factory=dict)
    tries: dict[tuple[PartAct, str], int] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    failed: dict[tuple[PartAct, str], str] = field(default_factory=dict)
    restored: set[str] = field(default_factory=set)
    half_restored: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def take(self, deed: Deed) -> None:
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
                    self.made[deed.name] = Made(deed.name, deed.digest, deed.size)
            case "try":
                self.tried.discard(deed.name)
                if deed.result == "done":
                    self.tried.add(deed.name)
            case "migrate":
                done = Status.DONE if deed.result == "done" else Status.FAILED
                self._step(deed.name, Status.CUT if open_ else done)
            case "undo":
                done = Status.BACK if deed.result == "done" else Status.UNDO_FAILED
                self._step(deed.name, Status.UNDO_CUT if open_ else done)
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

    def _step(self, name: str, status: Status) -> None:
        self.status[name] = status
        self.said.discard(name)

    def of(self, step: Step) -> Status:
        return self.status.get(step.name, Status.UNTOUCHED)

    def count(self, act: PartAct, name: str) -> int:
        return self.tries.get((act, name), 0)


def _fold(deeds: Iterable[Deed | Again]) -> _History:
    history = _History()
    for deed in deeds:
        if isinstance(deed, Again):
            history.take_again()
        else:
            history.take(deed)
    return history


# --- what comes next ----------------------------------------------------------------------------------------------


def next_part(document: Rollback, deeds: Deeds, *, back: bool, fresh: bool) -> Part:
    """The one next part.

    Args:
        deeds: Everything about this generation's parts, oldest first, since its backups were last begun; of the
            rollback that leaves it too. An intent without an outcome is a part that was cut off.
        back: Whether the way leads back to the former data.
        fresh: Whether there is no former generation, so nothing to back up.
    """
    history = _fold(deeds)
    return (_back if back else _forward)(document, history, fresh=fresh)


def _forward(document: Rollback, history: _History, *, fresh: bool) -> Part:
    """1. the backups, each proven; 2. the steps in order."""
    if not history.status and not fresh:  # 1
        for backup in document.backup:
            for act in ("backup", "try"):
                if (act, backup.name) in history.failed:
                    return TurnBack(f"{act}-failed", f"{act} of {backup.name} failed")
            made = history.made.get(backup.name)
            if made is None:
                return _unless_tried(history, "backup", backup.name, MakeBackup(backup))
            if backup.name not in history.tried:
                return _unless_tried(history, "try", backup.name, TryRestore(backup, made))
    if history.restored or history.half_restored:
        return TurnBack("restored", "data were restored already")
    for step in document.steps:  # 2
        match history.of(step):
            case Status.UNTOUCHED:
                return Apply(step)
            case Status.CUT:
                return after_crash(step, history.count("migrate", step.name))
            case Status.FAILED:
                return TurnBack("step-failed", f"step {step.name} failed")
            case Status.UNDO_CUT | Status.UNDO_FAILED | Status.BACK:
                return TurnBack("step-undone", f"step {step.name} was being undone")
    return Settled()


def _unless_tried(history: _History, act: PartAct, name: str, part: Part) -> Part:
    if history.count(act, name) >= MAX_TRIES:
        return TurnBack(f"{act}-interrupted", f"{act} of {name} was cut off {MAX_TRIES} times")
    return part


def after_crash(step: Step, tries: int) -> Apply | TurnBack | Stop:
    """What it means on the way forward that the step was begun, and nobody saw its end.

    Args:
        tries: How often it was begun.
    """
    match step.after_crash:
        case "stop":
            return Stop("step-interrupted", f"step {step.name} was cut off, and says `after_crash: stop`")
        case "repeat" if step.repeatable and tries < MAX_TRIES:
            return Apply(step)
        case "repeat" if step.repeatable:
            return TurnBack("step-interrupted", f"step {step.name} was cut off {tries} times")
    return TurnBack("step-interrupted", f"step {step.name} was cut off")


def _back(document: Rollback, history: _History, *, fresh: bool) -> Part:
    """1. where each step goes; 2. a stop comes before anything else is touched; 3. undo, the last step first;
    4. restore, with all that shares data with it; the backups are older than every step."""
    ways = _ways(document, history, fresh=fresh)  # 1
    restored = _closure(document, history, ways)
    for step in reversed(document.steps):  # 2
        way = ways.get(step.name)
        if way == "stop" or (step.name in restored and not _covered(document, step, history)):
            return Stop(
                f"step-{history.of(step)}",
                f"step {step.name} is {history.of(step)}, and the document has no way back from there",
            )
    names = {name for step in document.steps if step.name in restored for name in _touched(document, step)}
    names = (names - history.restored) | history.half_restored
    for name in sorted(names):
        if ("restore", name) in history.failed:
            return Stop("restore-failed", f"restoring {name} failed")
        if history.count("restore", name) >= MAX_TRIES:
            return Stop("restore-interrupted", f"restoring {name} was cut off {MAX_TRIES} times")
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


def _ways(document: Rollback, history: _History, *, fresh: bool) -> dict[str, Way]:
    """For each step that was begun and is not back."""
    last = next((i for i, step in enumerate(document.steps) if step.name == document.no_return), None)
    beyond = last is not None and history.of(document.steps[last]) == Status.DONE
    ways: dict[str, Way] = {}
    for step in document.steps:
        status = history.of(step)
        touched = _touched(document, step)
        if status in (Status.UNTOUCHED, Status.BACK) or (touched and touched <= history.restored):
            continue
        act: PartAct = "undo" if status == Status.UNDO_CUT else "migrate"
        ways[step.name] = way_back(
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


def way_back(
    step: Step,
    status: Status,
    *,
    covered: bool,
    beyond: bool,
    compatible: bool,
    tries: int,
    said: bool = False,
    fresh: bool = False,
) -> Way:
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
    last: Way = "restore" if covered else "keep" if said or fresh else "stop"
    can_undo = step.undo is not None and not beyond
    if rule == "stop" and status in (Status.CUT, Status.FAILED, Status.UNDO_CUT):
        return last if said else "stop"
    match status:
        case Status.DONE:
            return "undo" if can_undo else "keep" if compatible else last
        # Half done, whether it says so itself or nobody saw it: the document says which way is safe from there.
        case Status.CUT | Status.FAILED:
            if rule != "restore" and can_undo:
                return "undo"
            again = rule == "repeat" and step.repeatable and status == Status.CUT and tries < MAX_TRIES
            return "repeat" if not covered and compatible and again else last
        case Status.UNDO_CUT:
            return "undo" if _may_undo_again(step) and tries < MAX_TRIES else last
        case Status.UNDO_FAILED:
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


def _closure(document: Rollback, history: _History, ways: dict[str, Way]) -> frozenset[str]:
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


@dataclass(frozen=True)
class Ground:
    """Where and as whom the parts of one generation's document run.

    Attributes:
        site: The site's folder.
        generation: The generation whose release brings the document; its programs undo it too.
        folder: ``generations/<n>`` of it.
        backups: ``backups/<n>`` of it.
    """

    disk: Disk
    site: Path
    generation: int
    folder: Path
    backups: Path
    blobs: Path
    release: Release
    config: bytes | None
    account: Account
    platform: str
    scratch: Path = SCRATCH


def ground_of(site: Path, blobs: Path, disk: Disk, installed: Installed, *, ours: int) -> Ground:
    """For a generation as it lies on disk.

    Args:
        ours: Our own effective account.

    Raises:
        RefusedError: ``site.yaml`` names no account that programs could run as.
    """
    program = installed.settings.drivers.program
    return Ground(
        disk=disk,
        site=site,
        generation=installed.number,
        folder=site / "generations" / str(installed.number),
        # An absolute path in site.yaml replaces the site's folder.
        backups=site / installed.settings.backups / str(installed.number),
        blobs=blobs,
        release=installed.release,
        config=installed.config,
        account=find_account(None if program is None else program.user, ours=ours),
        platform=this_platform(),
    )


def commands_of(document: Rollback) -> tuple[Command, ...]:
    """Everything that the document could ever run."""
    backups = [command for one in document.backup for command in (one.make, one.restore, one.try_)]
    steps = [command for one in document.steps for command in (one.do, one.undo, one.check) if command is not None]
    return (*backups, *steps)


def check_ground(ground: Ground, document: Rollback) -> None:
    """That everything could be run here, the way back included. Runs nothing and changes nothing that lasts.

    Raises:
        RefusedError: A program is not in the release or not for this platform, or this host cannot give the sandbox.
    """
    commands = commands_of(document)
    for command in commands:
        choose_file(program_of(ground.release, command), ground.platform)
    if commands:
        check_sandbox(ground.account, scratch=ground.scratch)


def program_of(release: Release, command: Command) -> Program:
    """The program that a command's first word names.

    Raises:
        RefusedError: The release has none of that name.
    """
    for program in release.programs:
        if program.name == command[0]:
            return program
    raise RefusedError(
        f"{command[0]!r} is not a program of this release",
        where="rollback.yaml",
        remedy="ask the vendor for a corrected release; nothing was run",
        finding="program-unknown",
    )


# --- hands --------------------------------------------------------------------------------------------------------


def make_backup(ground: Ground, backup: Backup) -> Made:
    """Write it, hashed on the way; durable on return. What a former attempt left is replaced.

    Raises:
        HostError: The program failed, wrote nothing, or more than `at_most`; no file is left.
    """
    disk, final = ground.disk, ground.backups / backup.name
    part = ground.backups / f".{backup.name}.part"
    with _of_this_host(part):
        disk.make_folder(ground.backups, 0o700)
        disk.remove(part)
        try:
            with NewFile(disk, part) as file:
                ran = _run(ground, backup.make, backup.takes_seconds, output_bytes=backup.at_most_bytes, sink=file)
                _demand(ran, "backup", backup.name, backup.make)
                if not ran.size:
                    raise _failure("backup-empty", f"backup of {backup.name}", "wrote nothing", backup.make)
                file.finish()
            disk.rename(part, final)
            disk.sync_folder(ground.backups)
        except (WaybillError, OSError):
            disk.remove(part)
            raise
    return Made(backup.name, ran.digest, ran.size)


def try_restore(ground: Ground, backup: Backup, made: Made) -> Ran:
    """Feed the file, read back from disk, to the program that proves it.

    Raises:
        DamagedError: The file is not what was written.
        HostError: It cannot be restored.
    """
    with _backup_file(ground.backups, made) as file:
        return _demand(_run(ground, backup.try_, backup.takes_seconds, stdin=file), "try", backup.name, backup.try_)


def restore_backup(ground: Ground, backup: Backup, made: Made) -> Ran:
    """Put the old data back. Raises as ``try_restore``."""
    with _backup_file(ground.backups, made) as file:
        ran = _run(ground, backup.restore, backup.takes_seconds, stdin=file)
        return _demand(ran, "restore", backup.name, backup.restore)


def apply_step(ground: Ground, step: Step) -> Ran:
    """Do the step, then let its check say that it is done.

    Raises:
        HostError: The one or the other failed, was ended, or died; the step counts as half done.
    """
    ran = _demand(_run(ground, step.do, step.takes_seconds), "step", step.name, step.do)
    if step.check is not None:
        _demand(_run(ground, step.check, step.takes_seconds), "check", step.name, step.check)
    return ran


def undo_step(ground: Ground, step: Step) -> Ran:
    """Undo the step, whole or half done.

    Raises:
        HostError: It failed, was ended, or died.
    """
    if step.undo is None:
        raise AssertionError(f"{step.name} has no undo")
    return _demand(_run(ground, step.undo, step.takes_seconds), "undo", step.name, step.undo)


def check_backup(folder: Path, made: Made) -> None:
    """That a backup is what was written, every byte. Raises DamagedError."""
    with _backup_file(folder, made):
        pass


def perform(ground: Ground, part: Part) -> Made | None:
    """Do one part, whichever it is; what a backup came to."""
    match part:
        case MakeBackup(backup):
            return make_backup(ground, backup)
        case TryRestore(backup, made):
            try_restore(ground, backup, made)
        case Apply(step):
            apply_step(ground, step)
        case Undo(step):
            undo_step(ground, step)
        case Restore(backup, made):
            restore_backup(ground, backup, made)
        case _:
            raise AssertionError(part)
    return None


def plan_back(document: Rollback, deeds: Deeds, *, fresh: bool = False) -> tuple[Part, ...]:
    """Everything that going back would do if nothing failed; a ``Stop`` at the end where it would not get there."""
    parts: list[Part] = []
    while not isinstance(part := next_part(document, deeds, back=True, fresh=fresh), Settled):
        parts.append(part)
        match part:
            case Undo(step):
                deeds = (*deeds, Deed("undo", step.name, "done"))
            case Apply(step):
                deeds = (*deeds, Deed("migrate", step.name, "done"))
            case Restore(backup, _):
                deeds = (*deeds, Deed("restore", backup.name, "done"))
            case _:
                break
    return tuple(parts)


def discard_backups(disk: Disk, folder: Path) -> None:
    """Remove a generation's backups; whoever calls this knows that nobody goes back there any more."""
    disk.remove_tree(folder)
    if folder.parent.is_dir():
        disk.sync_folder(folder.parent)


def seconds_for(takes: int) -> int:
    """When a part is ended that was said to take so long."""
    return PATIENCE * takes + GRACE_SECONDS


def _run(
    ground: Ground,
    command: Command,
    takes: int,
    *,
    stdin: BinaryIO | None = None,
    sink: Sink | None = None,
    output_bytes: int = STEP_OUTPUT,
) -> Ran:
    program = place_program(
        ground.disk, ground.blobs, ground.folder, program_of(ground.release, command), ground.platform
    )
    data = ground.site / "data"
    return run(
        program,
        command,
        account=ground.account,
        limits=Limits(seconds=seconds_for(takes), memory_bytes=STEP_MEMORY, output_bytes=output_bytes),
        stdin=stdin,
        sink=Kept(KEPT_OUTPUT) if sink is None else sink,
        cwd=data if data.is_dir() else None,
        environment={
            "WAYBILL_DATA": str(data),
            "WAYBILL_GENERATION": str(ground.generation),
            "WAYBILL_VERSION": ground.release.version,
        },
        config=ground.config,
        scratch=ground.scratch,
    )


@contextmanager
def _backup_file(folder: Path, made: Made) -> Iterator[BinaryIO]:
    """The file, every byte checked, ready to be read from its beginning: what was checked is what is fed."""
    path = folder / made.name
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0)
    except FileNotFoundError:
        raise _damaged(path, "is missing", "backup-missing") from None
    except OSError as error:
        raise _damaged(path, f"cannot be read: {(error.strerror or str(error)).lower()}", "backup-damaged") from error
    with file, _of_this_host(path):
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != made.size:
            raise _damaged(path, f"has {found.st_size} bytes, expected {made.size}", "backup-damaged")
        digest = hashlib.sha256()
        while data := file.read(CHUNK):
            digest.update(data)
        if "sha256:" + digest.hexdigest() != made.digest:
            raise _damaged(path, f"has digest sha256:{digest.hexdigest()}, expected {made.digest}", "backup-damaged")
        file.seek(0)
        yield file


def _damaged(path: Path, problem: str, finding: str) -> DamagedError:
    return DamagedError(
        f"the backup {problem}",
        where=str(path),
        remedy="the data were not touched by this; see the disk, and what the recovery plan says",
        finding=finding,
    )


@contextmanager
def _of_this_host(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            (error.strerror or str(error)).lower(),
            where=str(error.filename or path),
            remedy="see space and permissions there, then run the command again",
            finding="backup-unwritable",
        ) from error


def _demand(ran: Ran, act: str, name: str, command: Command) -> Ran:
    """It ended well.

    Raises:
        HostError: It did not; ``finding`` is ``<act>-<outcome>``.
    """
    if ran.outcome == "done":
        return ran
    said = f": {ran.errors}" if ran.errors else ""
    words = {
        "failed": f"ended with code {ran.code}{said}",
        "killed": f"was ended by signal {-ran.code}, perhaps for want of memory{said}",
        "timed-out": f"was ended by us after {int(ran.seconds)} seconds{said}",
        "output-too-long": f"was ended by us: it wrote more than it may, {ran.size} bytes and on",
    }[ran.outcome]
    raise _failure(f"{act}-{ran.outcome}", f"{act} {name}", words, command)


def _failure(finding: str, what: str, words: str, command: Command) -> HostError:
    return HostError(
        f"{what}: {' '.join(command)} {words}",
        where="rollback.yaml",
        remedy="the report tells the vendor; `waybill history` has it all",
        finding=finding,
    )
