"""A site's folder: finding it, reading it, and holding it so that nobody else changes it."""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from manifests.documents.policy import Policy
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import FileSigner, read_signer
from manifests.words.canonical import parse
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, UntrustedError, UsageError, WaybillError
from manifests.words.units import show_size
from verifier.site.disk import Disk
from verifier.site.host import Host
from verifier.site.journal.chain import BROKEN, Entry, Journal, read_as_far_as_it_holds, read_journal
from verifier.site.journal.events import Event
from verifier.site.journal.fold import fold
from verifier.site.journal.state import SiteState
from verifier.site.policy_history import prove_policies
from verifier.site.store import Store

T = TypeVar("T")
MAX_DOCUMENT = 16 << 20
LITTLE = 4 << 20
# The journal, a generation's own files, and the report that follows a change.
OVERHEAD = 4 << 20
OVERHEAD_FILES = 64
SITE_YAML = "site.yaml"
POLICY_YAML = "policy.yaml"
CURRENT = "current"
# Where the roots of a vendor lie whose access was ended: kept, and believed by nobody.
EVIDENCE = "trust-evidence"
SITE_KEY = "site.key"
# A key that is about to be the site's; it is from the moment that the journal says so.
NEXT_KEY = "next.key"
_GENERATION = re.compile(r"generations/([1-9][0-9]{0,14})")


@dataclass
class Site:
    """An open site. Reading needs no write; ``record`` needs the lock, which ``hold_site`` takes.

    Attributes:
        path: The folder, absolute.
        entries: The journal as it was when the site was opened, its chain checked.
        torn: Bytes of an unfinished last line that are still there; 0 for a site that is held.
        broken: Where the chain of the journal breaks, of a site that is only looked at; state and entries end there.
    """

    path: Path
    disk: Disk
    host: Host
    entries: tuple[Entry, ...]
    torn: int
    _state: SiteState
    _journal: Journal | None = None
    _proved: tuple[str, Policy] | None = None
    broken: UntrustedError | None = None

    @property
    def state(self) -> SiteState:
        """Everything in force, as of the last entry."""
        return self._journal.state if self._journal else self._state

    @property
    def blobs(self) -> Path:
        return self.path / "store" / "blobs" / "sha256"

    @property
    def store(self) -> Store:
        return Store(self.disk, self.blobs)

    @property
    def documents(self) -> Path:
        """Small documents that the journal names by digest: policies, plans, approvals, enrolment."""
        return self.path / "journal" / "documents"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    @property
    def reserve(self) -> Path:
        """Blocks set aside, so that a way back and a report finish on a full disk; absent once they were given back."""
        return self.path / "reserve"

    def record(self, event: Event) -> Entry:
        """Append to the journal; durable on return. A full disk costs the reserve before it costs the entry."""
        if self._journal is None:
            raise RuntimeError("the site is not held")
        try:
            return self._journal.append(event)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.spend_reserve():
                raise
            return self._journal.append(event)

    def spend_reserve(self) -> bool:
        """Give the reserved blocks back to the file system; whether there were any."""
        reserve = self.reserve
        if not reserve.exists():
            return False
        self.disk.remove(reserve)
        self.disk.sync_folder(self.path)
        return True

    def make_room(self) -> None:
        """Before a way back or a report: where little is left, the reserve is what it was kept for."""
        if self.disk.space(self.path).bytes < LITTLE:
            self.spend_reserve()

    def renew_reserve(self, size: int) -> None:
        """Set blocks aside again, when there is room for them; without room that is not an error of its own."""
        reserve = self.reserve
        if reserve.exists() and reserve.stat().st_size == size:
            return
        staging = reserve.with_name(".reserve.new")
        self.disk.remove(staging)
        try:
            self.disk.reserve(staging, size)
        except OSError as error:
            self.disk.remove(staging)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return
        self.disk.rename(staging, reserve)
        self.disk.sync_folder(self.path)

    def keep_document(self, data: bytes) -> str:
        """Store a small document under its digest, durably; the digest."""
        digest = digest_of(data)
        path = self.document_path(digest)
        if not path.exists() or path.read_bytes() != data:
            self.disk.make_folder(self.documents)
            self.disk.write(path, data)
        return digest

    def document(self, digest: str) -> bytes:
        """The document with this digest, checked against it.

        Raises:
            DamagedError: Missing or changed.
        """
        path = self.document_path(digest)
        if not path.exists():
            raise DamagedError(f"document {digest} is missing", where=str(path), remedy="restore it from a backup")
        data = read_capped(path, MAX_DOCUMENT)
        if digest_of(data) != digest:
            raise DamagedError(
                f"document {digest} was changed",
                where=str(path),
                remedy="keep the folder as it is and tell support",
                finding="document-changed",
            )
        return data

    def document_path(self, digest: str) -> Path:
        return self.documents / digest.removeprefix("sha256:")

    def parsed(self, digest: str, type_: type[T], what: str) -> T:
        return parse(self.document(digest), type_, what, max_bytes=MAX_DOCUMENT)

    @property
    def policy(self) -> Policy:
        """The policy in force: what the journal proves, never what lies beside it.

        Raises:
            UntrustedError: The journal names one to which its people did not agree.
        """
        state = self.state
        if self._proved is None or self._proved[0] != state.trust.policy:
            self._proved = (state.trust.policy, prove_policies(state.trust.policies, state.site, self.document))
        return self._proved[1]

    def signer(self) -> FileSigner:
        """The site's own key: the one that the journal names, also when a change of it was cut short."""
        found, unread = self._keys()
        for signer in found:
            if signer.public == self.state.site_key:
                return signer
        self.check_key()
        raise unread or DamagedError(
            "the key that this site was enrolled with is not here",
            where=str(self.path / "keys" / SITE_KEY),
            remedy="restore the key from a backup; without it waybill enroll --renew key-lost makes another one",
            finding="site-key",
        )

    def check_key(self) -> None:
        """That the journal is the one that belongs to the key which lies here; a key that is lost is not asked.

        Raises:
            UntrustedError: The journal is that of another site, or the key is.
        """
        found, unread = self._keys()
        ours = self.state.site_key
        if found and unread is None and all(one.public != ours for one in found):
            raise UntrustedError(
                f"the journal is that of {self.state.site} with key {ours.keyid}, found key {found[0].public.keyid}",
                where=str(self.path),
                remedy="put the journal or the key back that belongs here; if the key was exchanged on purpose, "
                "waybill enroll --renew key-lost",
                finding="journal-foreign",
            )

    def _keys(self) -> tuple[tuple[FileSigner, ...], WaybillError | None]:
        """The keys in the folder, and why one of them could not be read."""
        path = self.path / "keys" / SITE_KEY
        found: list[FileSigner] = []
        unread: WaybillError | None = None
        for one in (path, path.with_name(NEXT_KEY)):
            try:
                if one.exists():
                    found.append(read_signer(one, lambda: b""))
            except WaybillError as error:
                unread = unread or error
            except OSError as error:
                unread = unread or HostError((error.strerror or "cannot be read").lower(), where=str(one))
        return tuple(found), unread

    def former(self) -> int:
        """Where `rollback` goes without being told: the nearest on the running generation's line that is kept here; 0
        for none. The journal knows what it was made from, the disk what was not cleared away since.
        """
        before = (one.number for one in self.state.installs.lineage(self.state.installs.current)[1:])
        return next((one for one in before if self.generation_folder(one).is_dir()), 0)

    def generation_folder(self, number: int) -> Path:
        return self.path / "generations" / str(number)

    def pointed(self) -> int | None:
        """The number that ``current`` points at; 0 when there is no link, None when it is something of others."""
        link = self.path / CURRENT
        if not link.is_symlink():
            return None if link.exists() else 0
        match = _GENERATION.fullmatch(str(link.readlink()))
        return int(match[1]) if match else None


def is_site(path: Path) -> bool:
    return (path / SITE_YAML).is_file() and (path / "journal").is_dir()


def find_site(given: Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """The site's folder: given, WAYBILL_SITE, ``folder`` itself, or the host's only one.

    Raises:
        UsageError: There is none, or more than one; says where it looked.
    """
    for place, path in (("--site", given), ("WAYBILL_SITE", environ.get("WAYBILL_SITE"))):
        if path:
            found = Path(path).absolute()
            if not is_site(found):
                raise UsageError(
                    f"{found} is not a site: it has no {SITE_YAML} beside a journal",
                    where=place,
                    remedy="waybill enroll makes one",
                )
            return found
    if is_site(folder):
        return folder.absolute()
    states = state_folders(environ)
    found_here = [one for state in states if state.is_dir() for one in sorted(state.iterdir()) if is_site(one)]
    if len(found_here) == 1:
        return found_here[0]
    looked = ", ".join(["--site", "WAYBILL_SITE", f"the current folder ({folder})", *(str(one) for one in states)])
    if found_here:
        raise UsageError(
            f"this host has {len(found_here)} sites: {', '.join(str(one) for one in found_here)}",
            where="site",
            remedy="name one with --site",
        )
    raise UsageError(f"no site found; looked at {looked}", where="site", remedy="name it with --site DIR")


def state_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a host keeps sites: the system's folder, then the account's own."""
    home = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "")
    own = (Path(home) / "waybill",) if home else ()
    return (Path("/var/lib/waybill"), *own)


def open_site(path: Path, disk: Disk, host: Host) -> Site:
    """Read a site without changing anything.

    Raises:
        UntrustedError: Its journal was edited or damaged.
    """
    entries, tail = read_journal(path / "journal")
    state = fold((one.digest, one.record) for one in entries)
    return Site(path=path, disk=disk, host=host, entries=entries, torn=tail.torn, _state=state)


def look_at_site(path: Path, disk: Disk, host: Host) -> Site:
    """As ``open_site``, for commands that only show: a journal that is broken is read up to where it breaks.

    Raises:
        UntrustedError: Not even its first entry can be believed.
    """
    try:
        return open_site(path, disk, host)
    except UntrustedError as error:
        if error.finding != BROKEN:
            raise
    entries, broken = read_as_far_as_it_holds(path / "journal")
    if not entries:
        raise broken
    state = fold((one.digest, one.record) for one in entries)
    return Site(path=path, disk=disk, host=host, entries=entries, torn=0, _state=state, broken=broken)


def check_space(disk: Disk, wanted: tuple[tuple[Path, int, int], ...]) -> None:
    """Refuse before the first write when ``(place, bytes, inodes)`` do not fit, summed per file system.

    Raises:
        HostError: With what is needed and what is left.
    """
    sums: dict[int, tuple[Path, int, int]] = {}
    for place, size, inodes in wanted:
        device = disk.space(place).device
        _, before_size, before_inodes = sums.get(device, (place, 0, 0))
        sums[device] = (place, before_size + size, before_inodes + inodes)
    for place, size, inodes in sums.values():
        space = disk.space(place)
        if size > space.bytes:
            raise HostError(
                f"needs {show_size(size)} ({size} bytes), {show_size(space.bytes)} ({space.bytes} bytes) are free",
                where=str(place),
                remedy="make space and run the same command again; nothing was changed",
                finding="space",
            )
        if inodes > space.inodes:
            raise HostError(
                f"needs {inodes} new files, {space.inodes} are left on this file system",
                where=str(place),
                remedy="remove files that nobody needs and run the same command again; nothing was changed",
                finding="inodes",
            )
