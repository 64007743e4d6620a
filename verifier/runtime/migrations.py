"""Run the parts of a rollback document: each runs a program of the release in the sandbox."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from manifests.documents.backup_proof import BackupProof, parse_proof
from manifests.documents.release import Release
from manifests.documents.rollback import Backup, Command, Rollback, Step
from manifests.words.errors import DamagedError, HostError, MalformedError, WaybillError
from manifests.words.text import argv
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.program_files import (
    CHUNK,
    SCRATCH,
    NewFile,
    ProgramAccount,
    ProgramLimits,
    ProgramResult,
    Sink,
    TailBuffer,
    choose_file,
    find_account,
    place_program,
    program_of,
    this_platform,
)
from verifier.runtime.saved_data import SavedFolder, backup_problem, data_folder, saved_folder
from verifier.site.disk import Disk
from verifier.site.generations import Installed
from verifier.site.journal.transitions import Apply, BackupRecord, MakeBackup, NextPart, Restore, TryRestore, Undo

# How often a part is begun at most when crashes interrupt it. A part that failed is not begun again.
MAX_TRIES = 3
# A part is ended after PATIENCE times the time that the document states, plus the grace.
PATIENCE = 4
GRACE_SECONDS = 60
STEP_MEMORY = 1 << 30
# A step's output is for people: only its end is kept, and a step that writes more than this has failed.
STEP_OUTPUT = 64 << 20
KEPT_OUTPUT = 4096


@dataclass(frozen=True)
class MigrationContext:
    """Where, and by which account, the parts of one generation's document run.

    Attributes:
        site: The site's folder.
        generation: Its release has the document; its programs undo it too.
        folder, backups: ``generations/<n>`` and ``backups/<n>`` of it.
        data: Names of the data that the part saves or changes.
        states: The program of the part states something about a backup.
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
    data: tuple[str, ...] = ()
    states: bool = False
    scratch: Path = SCRATCH


def migration_context(site: Path, blobs: Path, disk: Disk, installed: Installed, *, ours: int) -> MigrationContext:
    """Return the context of a generation as it is on disk; ``ours`` is the effective user id of this process.

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


def check_migration_context(context: MigrationContext, document: Rollback) -> None:
    """Check that every program could run here, those of a rollback included. Runs none of them, changes nothing.

    Raises:
        RefusedError: A program is not in the release or not for this platform, or this host cannot give the sandbox.
    """
    from verifier.runtime.sandbox import check_sandbox  # loaded only where a program is run

    commands = [command for backup in document.backup for command in (backup.make, backup.restore, backup.try_)]
    commands += [command for step in document.steps for command in (step.do, step.undo, step.check) if command]
    for command in commands:
        choose_file(program_of(context.release, command), context.platform)
    if commands:
        check_sandbox(context.account, scratch=context.scratch)


def make_backup(context: MigrationContext, backup: Backup) -> BackupRecord:
    """Make a backup, hashed while it is written, durable on return. Replaces what a former attempt left.

    Raises:
        HostError: The program failed, wrote nothing, too little or more than `at_most`, or stated no proof that the
            document asks for; no file is left.
    """
    disk, final = context.disk, context.backups / backup.name
    saved = saved_folder(context.site, context.release, backup.name)
    part = context.backups / f".{backup.name}.part"
    with host_errors(part, "backup-unwritable"):
        disk.make_folder(context.backups, 0o700)
        disk.remove(part)
        try:
            with NewFile(disk, part) as file:
                about = replace(context, data=(backup.name,), states=backup.proves is not None)
                result = _run(about, backup.make, backup.takes_seconds, output_bytes=backup.at_most_bytes, sink=file)
                _check_done(result, "backup", backup.name, backup.make)
                proof = _check_worth(result, saved, backup)
                file.finish()
            disk.rename(part, final)
            disk.sync_folder(context.backups)
        except (WaybillError, OSError):
            disk.remove(part)
            raise
    return BackupRecord(backup.name, result.digest, result.size, saved.size, proof)


def _check_worth(result: ProgramResult, saved: SavedFolder, backup: Backup) -> BackupProof | None:
    """Return what the program stated about its backup. Raises HostError for a backup of nothing."""
    proof = _stated(result, "backup", backup, backup.make)
    if (problem := backup_problem(result.size, proof, saved)) is not None:
        finding, words = problem
        remedy = f"ask the vendor whether the program reads {saved.shown}; nothing was changed"
        raise _failure(finding, f"backup {backup.name}", words, backup.make, remedy)
    return proof


def _stated(result: ProgramResult, act: str, backup: Backup, command: Command) -> BackupProof | None:
    """Return what the program stated; None where the rollback document asks for nothing. Raises HostError."""
    if backup.proves is None:
        return None
    if not result.proof:
        words = f"wrote no statement of its {backup.proves} to WAYBILL_PROOF"
        raise _failure(f"{act}-proof-missing", f"{act} {backup.name}", words, command)
    try:
        return parse_proof(result.proof, backup.proves, "WAYBILL_PROOF")
    except MalformedError as error:
        words = f"wrote a statement to WAYBILL_PROOF that cannot be used: {error.problem}"
        raise _failure(f"{act}-proof-malformed", f"{act} {backup.name}", words, command) from error


def _try_restore(context: MigrationContext, backup: Backup, made: BackupRecord) -> BackupRecord | None:
    """Try the restore; return the record with what was proved, None where nothing is. Raises HostError."""  # F-12.4
    result = _feed(context, backup, made, "try", backup.try_)
    proof = _stated(result, "try", backup, backup.try_)
    if proof is None:
        return None
    if proof != made.proof:
        before = made.proof.words if made.proof else "nothing"
        words = f"states {proof.words}, {argv(backup.make)} stated {before}"
        raise _failure("try-proof-differs", f"try {backup.name}", words, backup.try_)
    return made


def _feed(context: MigrationContext, backup: Backup, made: BackupRecord, act: str, command: Command) -> ProgramResult:
    about = replace(context, data=(backup.name,), states=act == "try" and backup.proves is not None)
    with _backup_file(context.backups, made) as file:
        result = _run(about, command, backup.takes_seconds, stdin=file)
        return _check_done(result, act, backup.name, command)


def apply_step(context: MigrationContext, step: Step) -> ProgramResult:
    """Run the step, then its check. Raises HostError when one fails or is ended; the step counts as half done."""
    about = replace(context, data=step.touches)
    result = _check_done(_run(about, step.do, step.takes_seconds), "step", step.name, step.do)
    if step.check is not None:
        _check_done(_run(about, step.check, step.takes_seconds), "check", step.name, step.check)
    return result


def check_backup(folder: Path, made: BackupRecord) -> None:
    """Check every byte of a backup against its record. Raises DamagedError."""
    with _backup_file(folder, made):
        pass


def run_part(context: MigrationContext, part: NextPart) -> BackupRecord | None:
    """Do one part of the rollback document; return the record of a backup that was made, proved or restored, else None.

    A restore reads the backup from disk and feeds it to a program; its trial proves that this works. The record has the
    size of the folder as the restore left it.

    Raises:
        DamagedError: The backup is not what was written.
        HostError: A program failed or was ended.
    """
    match part:
        case MakeBackup(backup):
            return make_backup(context, backup)
        case TryRestore(backup, made):
            return _try_restore(context, backup, made)
        case Restore(backup, made):
            _feed(context, backup, made, "restore", backup.restore)
            return replace(made, saved_bytes=saved_folder(context.site, context.release, backup.name).size)
        case Apply(step):
            apply_step(context, step)
        case Undo(step):
            assert step.undo is not None  # such a step is restored
            about = replace(context, data=step.touches)
            _check_done(_run(about, step.undo, step.takes_seconds), "undo", step.name, step.undo)
        case _:
            raise AssertionError(part)
    return None


def discard_backups(disk: Disk, folder: Path) -> None:
    """Remove a generation's backups; no rollback may need them."""
    disk.remove_tree(folder)
    if folder.parent.is_dir():
        disk.sync_folder(folder.parent)


def _run(
    context: MigrationContext,
    command: Command,
    takes: int,
    *,
    stdin: BinaryIO | None = None,
    sink: Sink | None = None,
    output_bytes: int = STEP_OUTPUT,
) -> ProgramResult:
    from verifier.runtime.sandbox import ProgramRun, run_program  # loaded only where a program is run

    program = program_of(context.release, command)
    seconds = PATIENCE * takes + GRACE_SECONDS
    folder = data_folder(context.site, context.release, context.data)
    return run_program(
        ProgramRun(
            place_program(context.disk, context.blobs, context.folder, program, context.platform),
            command,
            account=context.account,
            limits=ProgramLimits(seconds=seconds, memory_bytes=STEP_MEMORY, output_bytes=output_bytes),
            stdin=stdin,
            sink=TailBuffer(KEPT_OUTPUT) if sink is None else sink,
            cwd=folder if folder.is_dir() else None,
            environment={
                "WAYBILL_DATA": str(folder),
                "WAYBILL_GENERATION": str(context.generation),
                "WAYBILL_VERSION": context.release.version,
            },
            config=context.config,
            states=context.states,
            scratch=context.scratch,
        )
    )


@contextmanager
def _backup_file(folder: Path, made: BackupRecord) -> Iterator[BinaryIO]:
    """Yield the open file of a backup at its beginning, every byte checked."""
    path = folder / made.name
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0)
    except FileNotFoundError:
        raise _damaged(path, "is missing", "backup-missing") from None
    except OSError as error:
        raise _damaged(path, f"cannot be read: {(error.strerror or str(error)).lower()}", "backup-damaged") from error
    with file, host_errors(path, "backup-unwritable"):
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != made.size:
            raise _damaged(path, f"has {status.st_size} bytes, expected {made.size}", "backup-damaged")
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
        remedy="check the disk, then follow the rollback document; the data were not changed",
        finding=finding,
    )


def _check_done(result: ProgramResult, act: str, name: str, command: Command) -> ProgramResult:
    """Return the result of a program that succeeded; otherwise raise HostError with finding ``<act>-<outcome>``."""
    if result.outcome == "done":
        return result
    errors = f": {result.errors}" if result.errors else ""
    words = {
        "failed": f"ended with code {result.code}{errors}",
        "killed": f"was ended by signal {-result.code}, perhaps because memory ran out{errors}",
        "timed-out": f"was ended after {int(result.seconds)} seconds{errors}",
        "output-too-long": f"was ended after {result.size} bytes of output, because it wrote more than it may",
    }[result.outcome]
    raise _failure(f"{act}-{result.outcome}", f"{act} {name}", words, command)


def _failure(
    finding: str,
    what: str,
    words: str,
    command: Command,
    remedy: str = "read `waybill history`, and send the report to the vendor",
) -> HostError:
    return HostError(
        f"{what}: {' '.join(command)} {words}",
        where="rollback.yaml",
        remedy=remedy,
        finding=finding,
    )
