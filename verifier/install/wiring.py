"""The hands of an install and of a rollback: does what `recover.decide` says, one act at a time.

Around every act: its intent is in the journal and synced before, its outcome after. Whatever goes wrong after the
first change of data or after the switch leads back to the former generation, by the same steps that a crash would
lead to.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from manifests.documents.release import Probe
from manifests.documents.rollback import Rollback
from verifier.change.driver_steps import LoadDriver
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.migrations import MigrationContext, check_migration_context, migration_context, perform
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe
from verifier.site.folder import Site
from verifier.site.generations import Installed
from verifier.site.journal.transitions import BackupRecord, NextPart

Notify = Callable[[str], None]
RunProbe = Callable[[Probe, "ProbeContext"], "ProbeResult"]


class Programs(Protocol):
    """Runs what the rollback document of a generation's release asks for."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        """That all of it could be run here; raises RefusedError, changes nothing."""
        ...

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        """Do one part; what a backup came to."""
        ...


@dataclass(frozen=True)
class Runtime:
    """What the machine works with besides the site: drivers, probes, programs of a release, and somebody to tell."""

    load: LoadDriver
    look: RunProbe
    programs: Programs
    say: Notify


def site_runtime(say: Callable[[str], None]) -> Runtime:
    return Runtime(load=load_driver, look=run_probe, programs=RealPrograms(), say=say)


class RealPrograms:
    """Programs of the release, each in its sandbox."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        check_migration_context(self._ground(site, installed), document)

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        return perform(self._ground(site, installed), part)

    def _ground(self, site: Site, installed: Installed) -> MigrationContext:
        return migration_context(site.path, site.blobs, site.disk, installed, ours=os.geteuid())
