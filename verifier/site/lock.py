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
from verifier.site.journal.checkpoint import write_checkpoint
from verifier.site.outbox import check_first_policy, check_not_behind, check_not_rewritten


@contextmanager
def hold_site(path: Path, disk: Disk, host: Host, command: str, *, any_key: bool = False) -> Iterator[Site]:
    """Open the site and hold its lock until the block ends. The kernel releases it when this process dies.

    Args:
        any_key: Skip the check of key and journal, for a command that renews the key.

    Raises:
        BusyError: Another process holds it.
        UntrustedError: The journal was edited or damaged, belongs to another site, or is an older one.
    """
    descriptor = _lock(path / "lock", command, host)
    try:
        journal = Journal.open(path / "journal", disk, host)
        site = Site(
            path=path, disk=disk, host=host, entries=journal.entries, torn=0, _state=journal.state, _journal=journal
        )
        if not any_key:
            check_ours(site)
        if not journal.checkpoint:
            write_checkpoint(path / "journal", disk, journal.state)
        yield site
    finally:
        os.close(descriptor)


def check_ours(site: Site) -> None:
    """Raise UntrustedError unless the journal is this site's.

    It is not older than the site's reports, and it is the one that they and the enrolment name.
    """
    site.check_key()
    check_unaltered(site)


def check_unaltered(site: Site) -> None:
    """Raise UntrustedError unless the journal is the one that the site's reports and its enrolment name."""
    check_not_behind(site)
    check_not_rewritten(site)
    check_first_policy(site)


def _lock(path: Path, command: str, host: Host) -> int:
    # Not an effect of Disk: the kernel holds the lock, and the content of the file is only for messages.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 4096, 0)
        os.close(descriptor)
        raise BusyError(
            f"{_holder(holder)} holds the site",
            where=str(path.parent),
            remedy="wait until it ends, then run this command again",
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    info = {"pid": os.getpid(), "command": command, "since": host.stamp(), "account": host.actor.account}
    with suppress(OSError):  # a full disk must not prevent a rollback
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(info).encode(), 0)
    return descriptor


def _holder(data: bytes) -> str:
    """Return who wrote the lock file, which may be empty or incomplete."""
    try:
        info = json.loads(data)
        return f"`waybill {info['command']}` of {info['account']} (process {info['pid']}, since {info['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
