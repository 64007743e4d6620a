"""Looks at what the host is: disk, memory, cores, kernel."""

import re

from manifests.words.units import show_size
from verifier.runtime.preflight.result import Observation


def look_at_disk(free_bytes: int, install_bytes: int, need_bytes: int) -> Observation:
    """Return whether ``need_bytes`` stay free on a file system after an install that takes ``install_bytes``."""
    text = f"{show_size(free_bytes)} free, the install takes {show_size(install_bytes)}"
    if free_bytes - install_bytes >= need_bytes:
        return Observation(met=True, text=text)
    more = show_size(need_bytes + install_bytes - free_bytes)
    return Observation(met=False, text=text, remedy=f"free {more} on the file system of the site's folder")


def look_at_memory(total_bytes: int, need_bytes: int) -> Observation:
    text = f"{show_size(total_bytes)} in total"
    remedy = "give the host, or its container, more memory"
    return Observation(met=total_bytes >= need_bytes, text=text, remedy=remedy)


def look_at_cores(cores: int, need: int) -> Observation:
    remedy = "give the host, or its container, more cores"
    return Observation(met=cores >= need, text=f"{cores} that this account may use", remedy=remedy)


def look_at_kernel(kernel: str, need: str) -> Observation:
    """Compare versions number by number; what follows the numbers of ``kernel`` is the distributor's."""
    return Observation(met=is_at_least(kernel, need), text=kernel, remedy=f"boot a kernel of {need} or newer")


def is_at_least(version: str, need: str) -> bool:
    """Return whether ``version``, which may go on after its numbers, is ``need`` or newer; a missing number is 0."""
    numbers = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", version)
    if numbers is None:
        return False
    wanted = [int(number) for number in need.split(".")]
    stated = [int(number) for number in numbers[1].split(".")][: len(wanted)]
    return stated + [0] * (len(wanted) - len(stated)) >= wanted
