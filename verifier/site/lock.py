"""The lock of a site: one process changes it at a time."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests.words.errors import BusyError
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.host import Host
from verifier.site.journal.chain import Journal
from verifier.site.report_files import check_not_behind


@contextmanager
def hold_site(path: Path, disk: Disk, host: Host, command: str, *, any_key: bool = False) -> Iterator[Site]:
    """The site, and nobody else has it until the block ends; the kernel lets go when this process dies.

    Args:
        any_key: The key is about to be renewed, so it need not be the one that the journal names; a site whose older
            journal was put back begins anew in the same way.

    Raises:
        BusyError: Another process has it; says which.
        UntrustedError: Its journal was edited or damaged, is that of another site, or an older one of this.
    """
    descriptor = _lock(path / "lock", command, host)
    try:
        journal = Journal.open(path / "journal", disk, host)
        site = Site(
            path=path,
            disk=disk,
            host=host,
            entries=journal.entries,
            torn=0,
            _state=journal.state,
            _journal=journal,
        )
        if not any_key:
            check_ours(site)
        yield site
    finally:
        os.close(descriptor)


def check_ours(site: Site) -> None:
    """That the journal is this site's, and not an older one that was put back.

    Raises:
        UntrustedError: It is that of another site, or older than a report that lies here.
    """
    site.check_key()
    check_not_behind(site)


def _lock(path: Path, command: str, host: Host) -> int:
    # Not one of Disk's effects: the lock is the kernel's, and what the file says is only for a message.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 4096, 0)
        os.close(descriptor)
        raise BusyError(
            f"{_holder(holder)} holds the site",
            where=str(path.parent),
            remedy="wait until it ends, then run the same command again",
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    info = {"pid": os.getpid(), "command": command, "since": host.stamp(), "account": host.actor.account}
    with suppress(OSError):  # a full disk must not keep a rollback from running
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(info).encode(), 0)
    return descriptor


def _holder(data: bytes) -> str:
    """Who wrote the lock file, in words; it may be empty or torn."""
    try:
        found = json.loads(data)
        return f"`waybill {found['command']}` of {found['account']} (process {found['pid']}, since {found['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
