"""The ``program`` driver: places the programs of one migration step, and observes whether they are unchanged.

No driver runs the migration itself. The install does, once, with an intent and an outcome for each part, by the rules
of the rollback document (`verifier.change.rollback_script`): a driver may be repeated at any time, a migration may not.
"""

import os

from manifests.authored.site_yaml import ProgramDriverFile
from manifests.documents.release import InstallStep, Program
from manifests.documents.rollback import MAX_ROLLBACK, Step, parse_rollback
from manifests.words.digest import Blob
from verifier.runtime.drivers.driver import (
    ABSENT,
    UNREADABLE,
    Component,
    DriverContext,
    DriverPlan,
    read_settings,
    step_error,
)
from verifier.runtime.drivers.folder import BLOCK, blocks_of, host_errors
from verifier.runtime.program_files import PROGRAMS, choose_file, find_account, place_program, program_of, this_platform
from verifier.runtime.sandbox import check_sandbox
from verifier.runtime.setup import SetupFinding, look
from verifier.site.blobs import hash_file, read_blob


class ProgramDriver:
    name = "program"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        migration = _migration(step, context)
        settings = read_settings(context, self.name, ProgramDriverFile)
        files = _files(migration, context)
        names = ", ".join(program.name for program, _ in files)
        return DriverPlan(
            step=step,
            bytes_needed=blocks_of(blob.size for _, blob in files) + BLOCK,
            inodes_needed=len(files) + 1,
            staging=(f"place {names} for migration {migration.name}, to run as {settings.user} without a network",),
        )

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        settings = read_settings(context, self.name, ProgramDriverFile)
        return look(lambda: check_sandbox(find_account(settings.user, ours=os.geteuid())))

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. Check the account and the sandbox, before anything is changed; 2. place the programs."""
        settings = read_settings(context, self.name, ProgramDriverFile)
        check_sandbox(find_account(settings.user, ours=os.geteuid()))  # 1
        folder = context.site / "generations" / str(context.generation)
        with host_errors(folder):  # 2
            for program, _ in _files(_migration(plan.step, context), context):
                place_program(context.disk, context.blobs, folder, program, this_platform())

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do nothing: the migration is done before `current` is switched."""

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do nothing: the install undoes the steps, as the rollback document says."""

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        folder = context.site / "generations" / str(context.generation) / PROGRAMS
        components = []
        for program, blob in _files(_migration(plan.step, context), context):
            detail = None
            try:
                observed = hash_file(folder / program.name)
            except FileNotFoundError:
                observed, detail = ABSENT, f"{folder / program.name} does not exist"
            except OSError as error:
                observed, detail = UNREADABLE, (error.strerror or str(error)).lower()
            components.append(Component(program.name, blob.digest, observed, plan.step.step, detail=detail))
        return tuple(components)

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do nothing: the programs are in the generation's folder and are removed with it."""


def _migration(step: InstallStep, context: DriverContext) -> Step:
    """Return the step of the rollback document that this step of the release names. Raises RefusedError."""
    where = f"release.json install step {step.step}"
    if step.images or step.files or step.chart or step.keep_running or not step.migration:
        raise step_error("the driver 'program' takes one migration", where)
    data = read_blob(context.blobs, context.release.rollback.digest, MAX_ROLLBACK)
    for migration in parse_rollback(data, "rollback.yaml").steps:
        if migration.name == step.migration:
            return migration
    raise step_error(f"{step.migration!r} is not a step of the rollback document", where)


def _files(migration: Step, context: DriverContext) -> tuple[tuple[Program, Blob], ...]:
    """Return the programs that the migration's commands name, each once, with the file for this host."""
    commands = (migration.do, migration.undo, migration.check)
    programs = {command[0]: program_of(context.release, command) for command in commands if command is not None}
    return tuple((program, choose_file(program, this_platform())) for program in programs.values())
