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
from verifier.runtime.migrations import Ground, check_ground, ground_of, perform
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe
from verifier.site.folder import Site
from verifier.site.generations import Installed
from verifier.site.journal.transitions import Made, Part

Say = Callable[[str], None]
Look = Callable[[Probe, "ProbeContext"], "ProbeResult"]


class Programs(Protocol):
    """Runs what the rollback document of a generation's release asks for."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        """That all of it could be run here; raises RefusedError, changes nothing."""
        ...

    def perform(self, site: Site, installed: Installed, part: Part) -> Made | None:
        """Do one part; what a backup came to."""
        ...


@dataclass(frozen=True)
class Tools:
    """What the machine works with besides the site: drivers, probes, programs of a release, and somebody to tell."""

    load: LoadDriver
    look: Look
    programs: Programs
    say: Say


def site_tools(say: Callable[[str], None]) -> Tools:
    return Tools(load=load_driver, look=run_probe, programs=RealPrograms(), say=say)


class RealPrograms:
    """Programs of the release, each in its sandbox."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        check_ground(self._ground(site, installed), document)

    def perform(self, site: Site, installed: Installed, part: Part) -> Made | None:
        return perform(self._ground(site, installed), part)

    def _ground(self, site: Site, installed: Installed) -> Ground:
        return ground_of(site.path, site.blobs, site.disk, installed, ours=os.geteuid())
