"""The real drivers, probes and programs, for the machine."""

import os
from collections.abc import Callable

from manifests.rollback import Rollback
from verifier.drivers import load_driver
from verifier.generations import Installed
from verifier.machine import Tools
from verifier.site import Site
from verifier.steps import Ground, Made, Part, check_ground, ground_of, perform


def site_tools(say: Callable[[str], None]) -> Tools:
    from verifier.probes import run_probe

    return Tools(load=load_driver, look=run_probe, programs=RealPrograms(), say=say)


class RealPrograms:
    """Programs of the release, each in its sandbox."""

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        check_ground(self._ground(site, installed), document)

    def perform(self, site: Site, installed: Installed, part: Part) -> Made | None:
        return perform(self._ground(site, installed), part)

    def _ground(self, site: Site, installed: Installed) -> Ground:
        return ground_of(site.path, site.blobs, site.disk, installed, ours=os.geteuid())
