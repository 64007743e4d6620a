"""The real drivers and probes, for the machine."""

from collections.abc import Callable

from manifests.release import Probe
from verifier.crew import Work
from verifier.drivers import load_driver
from verifier.generations import Installed
from verifier.machine import Tools
from verifier.probes import ProbeContext, run_probe, site_authorities
from verifier.site import Site


def site_tools(say: Callable[[str], None]) -> Tools:
    return Tools(load=load_driver, probe=look, say=say)


def look(probe: Probe, site: Site, installed: Installed, crew: tuple[Work, ...]) -> tuple[str, str]:
    """One look by the probe; see ``RunProbe``."""
    context = ProbeContext(endpoints=installed.settings.endpoints, steps=crew, authorities=site_authorities(site.path))
    found = run_probe(probe, context)
    return found.state, found.detail
