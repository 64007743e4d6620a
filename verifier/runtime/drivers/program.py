"""The ``program`` driver: puts the programs of one migration step in place, and says whether they are still that.

The migration itself is no driver's work: it happens once, between two acts of the machine, with an intent and an
outcome for each part, by the rollback document's own rules (`verifier.change.rollback_script`). A driver may be
repeated at any time and keeps no state; a migration may not and is nothing but state.
"""

import os

from manifests.authored.site_yaml import ProgramDriverFile
from manifests.documents.release import InstallStep, Program
from manifests.documents.rollback import MAX_ROLLBACK, Step, parse_rollback
from manifests.words.digest import Blob
from manifests.words.errors import RefusedError
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, Component, DriverContext, DriverPlan
from verifier.runtime.drivers.folder import guarded
from verifier.runtime.drivers.settings import read_settings
from verifier.runtime.program_files import PROGRAMS, choose_file, find_account, place_program, program_of, this_platform
from verifier.runtime.sandbox import check_sandbox
from verifier.site.blobs import hash_file, read_blob

_BLOCK = 4096


class ProgramDriver:
    name = "program"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        migration = _migration(step, context)
        settings = read_settings(context, self.name, ProgramDriverFile)
        files = _files(migration, context)
        lines = [f"run {' '.join(migration.do)} as {settings.user}, without a network"]
        if migration.undo is not None:
            lines.append(f"to go back, run {' '.join(migration.undo)}")
        return DriverPlan(
            step=step,
            driver=self.name,
            bytes_needed=sum(-(-blob.size // _BLOCK) * _BLOCK for _, blob in files) + _BLOCK,
            inodes_needed=len(files) + 1,
            lines=tuple(lines),
        )

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. the account and the sandbox, while nothing was changed; 2. the programs."""
        settings = read_settings(context, self.name, ProgramDriverFile)
        check_sandbox(find_account(settings.user, ours=os.geteuid()))  # 1
        folder = context.site / "generations" / str(context.generation)

        def place() -> None:
            for program, _ in _files(_migration(plan.step, context), context):
                place_program(context.disk, context.blobs, folder, program, this_platform())

        guarded(place, folder)  # 2

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Nothing: the migration is done when `current` is switched."""

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Nothing: the machine undoes the steps, by the same document."""

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        folder = context.site / "generations" / str(context.generation) / PROGRAMS
        found = []
        for program, blob in _files(_migration(plan.step, context), context):
            observed, detail = ABSENT, ""
            try:
                observed = hash_file(folder / program.name)
            except FileNotFoundError:
                detail = f"{folder / program.name} does not exist"
            except OSError as error:
                observed, detail = UNREADABLE, (error.strerror or str(error)).lower()
            found.append(
                Component(
                    name=program.name,
                    expected=blob.digest,
                    observed=observed,
                    level="placed",
                    step=plan.step.step,
                    detail=detail,
                )
            )
        return tuple(found)

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Nothing: the programs lie in the generation's folder and go with it."""


def _migration(step: InstallStep, context: DriverContext) -> Step:
    """The step of the rollback document that this step of the release names."""
    where = f"release.json install step {step.step}"
    remedy = "ask the vendor for a corrected release; nothing was changed"
    if step.images or step.files or step.chart or step.keep_running or not step.migration:
        raise RefusedError(
            "the driver 'program' takes one migration", where=where, remedy=remedy, finding="driver-step"
        )
    data = read_blob(context.blobs, context.release.rollback.digest, MAX_ROLLBACK)
    for one in parse_rollback(data, "rollback.yaml").steps:
        if one.name == step.migration:
            return one
    raise RefusedError(
        f"{step.migration!r} is not a step of the rollback document", where=where, remedy=remedy, finding="driver-step"
    )


def _files(migration: Step, context: DriverContext) -> tuple[tuple[Program, Blob], ...]:
    """The programs that its commands name, each once, with the file for this host."""
    commands = (migration.do, migration.undo, migration.check)
    programs = {command[0]: program_of(context.release, command) for command in commands if command is not None}
    return tuple((one, choose_file(one, this_platform())) for one in programs.values())
