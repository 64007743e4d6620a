"""The state of the running generation in one word, as reports have it."""

from typing import Literal

from verifier.site.folder import Site
from verifier.site.journal.installs import State


def install_state(site: Site) -> Literal["none", "trial", "confirmed", "inconsistent"]:
    installs = site.state.installs
    if installs.running is None:
        return "none"
    if installs.inconsistent or site.pointed() != installs.current:
        return "inconsistent"
    return "confirmed" if installs.running.state in (State.CONFIRMED, State.SETTLED) else "trial"
