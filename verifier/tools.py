"""The real drivers, probes and programs, for the machine."""

import os
from collections.abc import Callable

from verifier.drivers import load_driver
from verifier.generations import Installed
from verifier.machine import Tools
from verifier.site import Site
from verifier.steps import Made, Part, ground_of, perform


def site_tools(say: Callable[[str], None]) -> Tools:
    from verifier.probes import run_probe

    return Tools(load=load_driver, look=run_probe, perform=perform_part, say=say)


def perform_part(site: Site, installed: Installed, part: Part) -> Made | None:
    """Do one part of the rollback document that this generation brings, by its programs."""
    return perform(ground_of(site.path, site.blobs, site.disk, installed, ours=os.geteuid()), part)
