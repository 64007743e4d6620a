"""The real drivers and probes, for the machine."""

from collections.abc import Callable

from verifier.drivers import load_driver
from verifier.machine import Tools


def site_tools(say: Callable[[str], None]) -> Tools:
    from verifier.probes import run_probe

    return Tools(load=load_driver, look=run_probe, say=say)
