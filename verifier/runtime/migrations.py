"""Backups and migration steps: what runs in the sandbox, with its files."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from manifests.documents.release import Release
from manifests.documents.rollback import Backup, Command, Rollback, Step
from manifests.words.errors import DamagedError, HostError, WaybillError
from verifier.runtime.program_files import (
    ProgramAccount,
    ProgramLimits,
    choose_file,
    find_account,
    place_program,
    program_of,
    this_platform,
)
from verifier.runtime.program_output import CHUNK, NewFile, ProgramResult, Sink, TailBuffer
from verifier.runtime.sandbox import SCRATCH, check_sandbox, run
from verifier.site.disk import Disk
from verifier.site.generations import Installed
from verifier.site.journal.transitions import Apply, BackupRecord, MakeBackup, NextPart, Restore, TryRestore, Undo

# A part that a crash cut off is begun so often; a part that failed by itself is not begun again.
MAX_TRIES = 3
# The document says how long a part takes, for people. It is ended after this many times that, and some grace.
PATIENCE = 4
GRACE_SECONDS = 60
STEP_MEMORY = 1 << 30
# What a step says is for people: its end is kept, and a step that says more than this has gone wrong.
STEP_OUTPUT = 64 << 20
KEPT_OUTPUT = 4096


@dataclass(frozen=True)
class MigrationContext:
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
    account: ProgramAccount
    platform: str
    scratch: Path = SCRATCH


def migration_context(site: Path, blobs: Path, disk: Disk, installed: Installed, *, ours: int) -> MigrationContext:
    """For a generation as it lies on disk.

    Args:
        ours: Our own effective account.

    Raises:
        RefusedError: ``site.yaml`` names no account that programs could run as.
    """
    program = installed.settings.drivers.program
    return MigrationContext(
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


def check_migration_context(ground: MigrationContext, document: Rollback) -> None:
    """That everything could be run here, the way back included. Runs nothing and changes nothing that lasts.

    Raises:
        RefusedError: A program is not in the release or not for this platform, or this host cannot give the sandbox.
    """
    commands = commands_of(document)
    for command in commands:
        choose_file(program_of(ground.release, command), ground.platform)
    if commands:
        check_sandbox(ground.account, scratch=ground.scratch)


# --- hands --------------------------------------------------------------------------------------------------------


def make_backup(ground: MigrationContext, backup: Backup) -> BackupRecord:
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
    return BackupRecord(backup.name, ran.digest, ran.size)


def try_restore(ground: MigrationContext, backup: Backup, made: BackupRecord) -> ProgramResult:
    """Feed the file, read back from disk, to the program that proves it.

    Raises:
        DamagedError: The file is not what was written.
        HostError: It cannot be restored.
    """
    with _backup_file(ground.backups, made) as file:
        return _demand(_run(ground, backup.try_, backup.takes_seconds, stdin=file), "try", backup.name, backup.try_)


def restore_backup(ground: MigrationContext, backup: Backup, made: BackupRecord) -> ProgramResult:
    """Put the old data back. Raises as ``try_restore``."""
    with _backup_file(ground.backups, made) as file:
        ran = _run(ground, backup.restore, backup.takes_seconds, stdin=file)
        return _demand(ran, "restore", backup.name, backup.restore)


def apply_step(ground: MigrationContext, step: Step) -> ProgramResult:
    """Do the step, then let its check say that it is done.

    Raises:
        HostError: The one or the other failed, was ended, or died; the step counts as half done.
    """
    ran = _demand(_run(ground, step.do, step.takes_seconds), "step", step.name, step.do)
    if step.check is not None:
        _demand(_run(ground, step.check, step.takes_seconds), "check", step.name, step.check)
    return ran


def undo_step(ground: MigrationContext, step: Step) -> ProgramResult:
    """Undo the step, whole or half done.

    Raises:
        HostError: It failed, was ended, or died.
    """
    if step.undo is None:
        raise AssertionError(f"{step.name} has no undo")
    return _demand(_run(ground, step.undo, step.takes_seconds), "undo", step.name, step.undo)


def check_backup(folder: Path, made: BackupRecord) -> None:
    """That a backup is what was written, every byte. Raises DamagedError."""
    with _backup_file(folder, made):
        pass


def perform(ground: MigrationContext, part: NextPart) -> BackupRecord | None:
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


def discard_backups(disk: Disk, folder: Path) -> None:
    """Remove a generation's backups; whoever calls this knows that nobody goes back there any more."""
    disk.remove_tree(folder)
    if folder.parent.is_dir():
        disk.sync_folder(folder.parent)


def seconds_for(takes: int) -> int:
    """When a part is ended that was said to take so long."""
    return PATIENCE * takes + GRACE_SECONDS


def _run(
    ground: MigrationContext,
    command: Command,
    takes: int,
    *,
    stdin: BinaryIO | None = None,
    sink: Sink | None = None,
    output_bytes: int = STEP_OUTPUT,
) -> ProgramResult:
    program = place_program(
        ground.disk, ground.blobs, ground.folder, program_of(ground.release, command), ground.platform
    )
    data = ground.site / "data"
    return run(
        program,
        command,
        account=ground.account,
        limits=ProgramLimits(seconds=seconds_for(takes), memory_bytes=STEP_MEMORY, output_bytes=output_bytes),
        stdin=stdin,
        sink=TailBuffer(KEPT_OUTPUT) if sink is None else sink,
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
def _backup_file(folder: Path, made: BackupRecord) -> Iterator[BinaryIO]:
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


def _demand(ran: ProgramResult, act: str, name: str, command: Command) -> ProgramResult:
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
