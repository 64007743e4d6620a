"""What this host has: disk, memory, cores, kernel, clock. Reads only; nothing here can hang."""

import ctypes
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

# adjtimex(2): the kernel's answer when no program keeps the clock right.
TIME_ERROR = 5
# struct timex has 208 bytes on 64-bit Linux; all zeros asks and changes nothing.
TIMEX_BYTES = 256

Synchronised = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class HostSummary:
    """What this host has at one moment.

    Attributes:
        disk_free_bytes: Free for this account on the file system of the folder that was asked about.
        inodes_free: None where the file system has no table of inodes; ``inodes_total`` likewise.
        memory_total_bytes: Of the host, or of the container that this process runs in if that has less.
        memory_available_bytes: What programs can get without swapping.
        cores: That this process may use.
        kernel: As the host states it, such as ``5.15.0-113-generic``.
        clock_seconds: The wall clock, in seconds since 1970-01-01 UTC.
        clock_synchronised: Whether the kernel says that a time service keeps the clock right; ``unknown`` where this
            account may not ask.
    """

    disk_free_bytes: int
    disk_total_bytes: int
    inodes_free: int | None
    inodes_total: int | None
    memory_total_bytes: int
    memory_available_bytes: int
    cores: int
    kernel: str
    clock_seconds: int
    clock_synchronised: Synchronised


def host_summary(folder: Path, now: datetime, *, system: Path = Path("/")) -> HostSummary:
    """Return what this host has; disk and inodes are those of the file system where ``folder`` is, or will be.

    Args:
        system: Where ``proc`` and ``sys`` lie.

    Raises:
        OSError: The folder, or ``/proc/meminfo``, cannot be read.
    """
    while not folder.exists():
        folder = folder.parent
    usage = os.statvfs(folder)
    total, available = memory(system)
    return HostSummary(
        disk_free_bytes=usage.f_bavail * usage.f_frsize,
        disk_total_bytes=usage.f_blocks * usage.f_frsize,
        inodes_free=usage.f_favail if usage.f_files else None,
        inodes_total=usage.f_files or None,
        memory_total_bytes=total,
        memory_available_bytes=available,
        cores=cores(system),
        kernel=os.uname().release,
        clock_seconds=int(now.timestamp()),
        clock_synchronised=clock_synchronised(),
    )


def memory(system: Path = Path("/")) -> tuple[int, int]:
    """Return the bytes of memory in total and available; in a container with a limit, of the container."""
    lines = (system / "proc/meminfo").read_text("ascii").splitlines()
    stated = {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines)}
    total = stated["MemTotal"]
    available = stated.get("MemAvailable", stated["MemFree"])
    # Only a container sees its own group of processes at this place; a whole host has no such file.
    limit = _number(system / "sys/fs/cgroup/memory.max")
    used = _number(system / "sys/fs/cgroup/memory.current") or 0
    if limit is None or limit >= total:
        return total, available
    return limit, min(available, max(0, limit - used))


def cores(system: Path = Path("/")) -> int:
    """Return the cores that this process may use: those it is bound to, or fewer by the quota of its container."""
    bound = len(os.sched_getaffinity(0))
    try:
        quota, period = (system / "sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        return bound
    return bound if quota == "max" else max(1, min(bound, int(quota) // int(period)))


def clock_synchronised() -> Synchronised:
    """Return what the kernel says about its clock (adjtimex(2)); asking changes nothing."""
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except AttributeError:
        return "unknown"
    if state < 0:
        return "unknown"
    return "no" if state == TIME_ERROR else "yes"


def _number(path: Path) -> int | None:
    """Return the number in a file of the kernel; None where there is none, or it says ``max``."""
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
