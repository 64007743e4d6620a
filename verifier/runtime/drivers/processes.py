"""Processes of this host, told apart by more than a number: numbers come again, after a reboot at the latest."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests.words.document import Document
from manifests.words.errors import HostError

PROC = Path("/proc")
MARK = "WAYBILL_FOLDER"


class ProcessIdentity(Document, frozen=True, kw_only=True):
    """One process for ever: its number, the boot it lives in, and the tick at which it started (proc(5), stat)."""

    pid: int
    boot: str
    ticks: int


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identify(pid: int) -> ProcessIdentity | None:
    """The process with this number now; None where there is none, or only its remains."""
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


def marked(prefix: str) -> tuple[ProcessIdentity, ...]:
    """Our processes, and what they started, whose ``WAYBILL_FOLDER`` is ``prefix`` or below it."""
    wanted = os.fsencode(f"{MARK}={prefix}")
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another account's
        if any(one == wanted or one.startswith(wanted + b"/") for one in variables):
            identity = identify(int(entry.name))
            if identity is not None:
                found.append(identity)
    return tuple(found)


@dataclass(frozen=True)
class ProcessClock:
    """Time as an argument."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, done: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
        """Whether ``done`` became true in time."""
        end = self.monotonic() + seconds
        while not done():
            if self.monotonic() >= end:
                return False
            self.sleep(every)
        return True


def stop(identities: tuple[ProcessIdentity, ...], clock: ProcessClock, *, grace: float = 10.0) -> None:
    """Ask them to end, then end them; none is left on return.

    Raises:
        HostError: One survives even that.
    """
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        left = [one for one in identities if is_alive(one)]
        if not left:
            return
        for one in left:
            _send(one, number)
        if clock.until(lambda: not any(is_alive(one) for one in identities), seconds):
            return
    pids = ", ".join(str(one.pid) for one in identities if is_alive(one))
    raise HostError(f"process {pids} does not end", remedy="look at it with ps; the kernel may be holding it")


def _send(identity: ProcessIdentity, number: int) -> None:
    """Through a descriptor of the process, so that the number cannot come to mean another one in between."""
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
            f"process {identity.pid} belongs to another account",
            remedy="run the command as the account that installed",
        ) from error
    finally:
        os.close(descriptor)
