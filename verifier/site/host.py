"""The host's time, boot and account. Passed in as a value, so that tests can set them."""

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from manifests.words.time import rfc3339
from verifier.site.journal.events import Actor


@dataclass(frozen=True)
class Host:
    """The host, and the account that runs this program.

    Attributes:
        monotonic: Seconds since boot; never goes backwards.
        boot: The kernel's id of this boot.
        kit: The file that this program runs from; None for an installed package.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    boot: str
    actor: Actor
    kit: Path | None = None

    def stamp(self) -> str:
        """Return the wall clock as RFC 3339."""
        return rfc3339(self.now())


def this_host() -> Host:
    """Return the host that this process runs on."""
    kit, uid = os.environ.get("WAYBILL_KIT"), os.getuid()
    # The caller controls the environment, so only the printable part of it is used.
    sudo = "".join(c for c in os.environ.get("SUDO_USER", "")[:64] if c.isascii() and c.isprintable())
    return Host(
        now=lambda: datetime.now(UTC).replace(microsecond=0),
        monotonic=time.monotonic,
        sleep=time.sleep,
        boot=_boot_id(),
        actor=Actor(account=_account(uid), uid=uid, sudo=sudo or None),
        kit=Path(kit) if kit else None,
    )


def owner_of(path: Path) -> str:
    """Return the account that owns the file; its number where it has no name."""
    return _account(path.stat().st_uid)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
