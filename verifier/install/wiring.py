"""What an install works with besides the site: drivers, probes, programs of a release, and messages to the operator."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from manifests.documents.release import Probe
from manifests.documents.rollback import Rollback
from verifier.change.driver_steps import LoadDriver
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.migrations import MigrationContext, check_migration_context, migration_context, run_part
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe
from verifier.site.folder import Site
from verifier.site.generations import Installed
from verifier.site.journal.transitions import BackupRecord, NextPart

Notify = Callable[[str], None]
RunProbe = Callable[[Probe, ProbeContext], ProbeResult]


class Programs(Protocol):
    """Runs what the rollback document of a generation's release asks for."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        """Check that every program could be run here. Changes nothing. Raises RefusedError."""
        ...

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        """Do one part; return the record of a backup, None for any other part."""
        ...


@dataclass(frozen=True)
class Runtime:
    """Attributes: load: finds a driver; look: runs a probe once; programs: of a release; say: informs the operator."""

    load: LoadDriver
    look: RunProbe
    programs: Programs
    say: Notify


def site_runtime(say: Notify) -> Runtime:
    """Return the runtime of a real site: every driver, probes that look, programs in their sandbox."""
    return Runtime(load=load_driver, look=run_probe, programs=RealPrograms(), say=say)


class RealPrograms:
    """Programs of the release, each in its sandbox."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        check_migration_context(_migration_context(site, installed), document)

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        return run_part(_migration_context(site, installed), part)


def _migration_context(site: Site, installed: Installed) -> MigrationContext:
    return migration_context(site.path, site.blobs, site.disk, installed, ours=os.geteuid())
