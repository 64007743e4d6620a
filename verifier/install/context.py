"""The transaction under way: what its acts work with, and the journal entries around each act."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from msgspec.structs import replace

from manifests.documents.release import Probe
from manifests.documents.rollback import Rollback
from manifests.words.errors import WaybillError
from manifests.words.units import show_size
from verifier.change.driver_steps import DriverStep, LoadDriver, driver_steps
from verifier.change.forecast import part_words
from verifier.change.recovery import RollbackScript, act_of_part
from verifier.change.release_papers import read_rollback
from verifier.change.rollback_plan import unknown_steps
from verifier.change.transaction_script import document_owner, script_of
from verifier.runtime.drivers.driver import DriverContext, DriverPlan, load_driver
from verifier.runtime.migrations import (
    MigrationContext,
    check_migration_context,
    migration_context,
    run_part,
)
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe
from verifier.runtime.saved_data import SavedFolder, data_folder
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed, target_of
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Act, Event, Intent, Outcome
from verifier.site.journal.installs import Transaction
from verifier.site.journal.transitions import BackupRecord, MakeBackup, NextPart, Restore


class Programs:
    """Runs the programs that the rollback document of a generation's release names, each in its sandbox."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        """Check that every program could be run here. Changes nothing. Raises RefusedError."""
        check_migration_context(_migration_context(site, installed), document)

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        """Do one part; return the record of a backup that was made, proved or restored, else None."""
        return run_part(_migration_context(site, installed), part)


def _migration_context(site: Site, installed: Installed) -> MigrationContext:
    return migration_context(site.path, site.blobs, site.disk, installed, ours=os.geteuid())


@dataclass(frozen=True)
class Runtime:
    """What an install works with besides the site: drivers, probes, programs, and messages to the operator."""

    notify: Callable[[str], None]
    load: LoadDriver = load_driver
    look: Callable[[Probe, ProbeContext], ProbeResult] = run_probe
    programs: Programs = field(default_factory=Programs)


class JournalError(Exception):
    """The journal cannot be written. Nothing more may be done, because no later process would know of it."""


class ActContext:
    """One transaction of a locked site. What is read from disk is read once."""

    def __init__(self, site: Site, runtime: Runtime) -> None:
        self.site = site
        self.runtime = runtime
        self.notify = runtime.notify

    @property
    def transaction(self) -> Transaction:
        """The transaction as the journal has it now."""
        transaction = self.site.state.installs.transaction
        if transaction is None:
            raise RuntimeError("no transaction")
        return transaction

    @cached_property
    def target(self) -> Installed:
        return target_of(self.site, self.transaction.planned)

    @cached_property
    def target_steps(self) -> tuple[DriverStep, ...]:
        return driver_steps(self.site, self.target, self.runtime.load)

    @cached_property
    def source(self) -> Installed | None:
        """The former generation; None before a first install."""
        source = self.site.state.installs.generation(self.transaction.planned.source)
        return None if source is None else read_installed(self.site, source)

    @cached_property
    def source_steps(self) -> tuple[DriverStep, ...]:
        """Driver steps of the former generation; empty before a first install.

        Empty too when a rollback leaves a generation whose files cannot be read: what only its steps started then goes
        on running, and the operator is told.
        """
        try:
            return () if self.source is None else driver_steps(self.site, self.source, self.runtime.load)
        except WaybillError as error:
            if self.transaction.action != "rollback":
                raise
            self.notify(unknown_steps(self.transaction.planned.source, error))
            return ()

    def script(self) -> RollbackScript | None:
        """Return the rollback document with what was done of it so far; None while it decides nothing."""
        return script_of(self.site, lambda: self._document)

    def write(self, event: Event) -> None:
        try:
            self.site.record(event)
        except OSError as error:
            raise JournalError(error) from error

    def run(
        self, act: Act, work: Callable[[], BackupRecord | None], *, step: str | None = None, code: str | None = None
    ) -> None:
        """Do ``work`` between the intent and the outcome of ``act``, each synced; a failure is recorded and raised."""
        self.write(Intent(act=act, step=step, code=code))
        begun = self.site.host.monotonic()
        try:
            backup = work()
        except JournalError:
            # It cannot be recorded; the next process finds the intent alone and treats the act as interrupted.
            raise
        except Exception as error:
            self.write(_failed(act, step, error, self._seconds_since(begun)))
            raise
        done = Outcome(act=act, step=step, result="done", seconds=self._seconds_since(begun))
        if backup is not None:
            done = replace(
                done, digest=backup.digest, size=backup.size, saved_bytes=backup.saved_bytes, proof=backup.proof
            )
        self.write(done)

    def run_part(self, part: NextPart) -> None:
        """Do one part of the rollback document, with a program of the release that has the document."""
        act, name = act_of_part(part)
        self.notify(part_words(part))

        def perform() -> BackupRecord | None:
            backup = self.runtime.programs.perform(self.site, self._document_owner, part)
            if isinstance(part, MakeBackup | Restore) and backup is not None:
                folder = data_folder(self.site.path, self._document_owner.release, (name,)).relative_to(self.site.path)
                saved = SavedFolder(str(folder), backup.saved_bytes)
                stated = f", {backup.proof.words}" if backup.proof else ""
                verb, when = ("restored", " now") if act == "restore" else ("backup", "")
                self.notify(f"{verb} {name}: {show_size(backup.size)}{stated}; {saved.words}{when}")
            elif backup is not None and backup.proof is not None:
                self.notify(f"try {name}: {backup.proof.words}, as in the backup")
            return backup

        self.run(act, perform, step=name)

    def run_step(self, act: Act, step: DriverStep, method: Callable[[DriverPlan, DriverContext], None]) -> None:
        """Do one driver's part of an act."""
        self.run(act, lambda: method(step.plan, step.context), step=step.step)

    def close(self, act: Act, result: Literal["done", "interrupted"]) -> None:
        """Record the outcome of an act that an earlier process began and did not end."""
        if act == "switch":
            # The earlier process may have died before the link reached the disk.
            self.site.disk.sync_folder(self.site.path)
        code = "ok" if result == "done" else "interrupted"
        step = self.transaction.part
        self.write(Outcome(act=act, step=step, result=result, code=code, detail="found by a later process"))

    @cached_property
    def _document_owner(self) -> Installed:
        return document_owner(self.site, self.transaction.planned)

    @cached_property
    def _document(self) -> Rollback:
        return read_rollback(self.site, self._document_owner.release)

    def _seconds_since(self, begun: float) -> int:
        return max(0, int(self.site.host.monotonic() - begun))


def _failed(act: Act, step: str | None, error: Exception, seconds: int) -> Outcome:
    if isinstance(error, WaybillError):
        code, detail = error.finding, str(error)
    elif isinstance(error, OSError):
        code, detail = "host", f"{error.filename or ''}: {error.strerror or error}"
    else:
        code, detail = "bug", f"{type(error).__name__}: {error}"
    return Outcome(act=act, step=step, result="failed", code=code[:64], detail=one_line(detail), seconds=seconds)
