"""Processes of this host, identified by more than their number, because numbers are used again."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from manifests.words.canonical import Document
from manifests.words.errors import HostError

PROC = Path("/proc")
MARK = "WAYBILL_FOLDER"


class ProcessIdentity(Document, frozen=True, kw_only=True):
    """One process: its number, the boot that it runs in, and the tick at which it started (proc(5), stat)."""

    pid: int
    boot: str
    ticks: int


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identify(pid: int) -> ProcessIdentity | None:
    """Return the process that has this number now; None where there is none, or only a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid=pid, boot=boot_id(), ticks=int(fields[19]))


def is_alive(identity: ProcessIdentity) -> bool:
    return identify(identity.pid) == identity


def processes_of(prefix: str) -> tuple[ProcessIdentity, ...]:
    """Return the processes that have ``WAYBILL_FOLDER`` in their environment, and in it ``prefix`` or below it."""
    wanted = os.fsencode(f"{MARK}={prefix}")
    identities = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or belongs to another account
        if any(variable == wanted or variable.startswith(wanted + b"/") for variable in variables):
            identity = identify(int(entry.name))
            if identity is not None:
                identities.append(identity)
    return tuple(identities)


@dataclass(frozen=True)
class ProcessClock:
    """Time, passed in so that tests need not wait. ``local``: of this host's zone and without it, as logs have it."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    local: Callable[[], datetime] = datetime.now

    def until(self, done: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
        """Return whether ``done`` became true within so many seconds."""
        end = self.monotonic() + seconds
        while not done():
            if self.monotonic() >= end:
                return False
            self.sleep(every)
        return True


def stop_processes(identities: tuple[ProcessIdentity, ...], clock: ProcessClock, *, grace: float = 10.0) -> None:
    """Send SIGTERM, then SIGKILL; none is left on return. Raises HostError when one is."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        left = [one for one in identities if is_alive(one)]
        if not left:
            return
        for identity in left:
            _send(identity, number)
        if clock.until(lambda: not any(is_alive(one) for one in identities), seconds):
            return
    pids = ", ".join(str(one.pid) for one in identities if is_alive(one))
    raise HostError(f"process {pids} does not end", remedy="list it with `ps`; restart the host if the kernel holds it")


def _send(identity: ProcessIdentity, number: int) -> None:
    """Send a signal through a descriptor of the process: its number may belong to another one by now."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(identity):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise HostError(
            f"process {identity.pid} belongs to another account", remedy="run the command as the account that installed"
        ) from error
    finally:
        os.close(descriptor)
