"""A site's folder: find it, open it, read and record in it."""

import errno
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.policy import Policy
from manifests.trust.private_keys import FileSigner, read_signer
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, UntrustedError, UsageError, WaybillError, unreadable
from manifests.words.units import show_size
from verifier.site.blobs import Store, read_checked
from verifier.site.disk import Disk
from verifier.site.host import Host
from verifier.site.journal.chain import BROKEN, Entry, Journal, read_intact_entries, read_journal, read_journal_from
from verifier.site.journal.checkpoint import read_checkpoint
from verifier.site.journal.events import Event
from verifier.site.journal.fold import fold
from verifier.site.journal.state import SiteState
from verifier.site.policy_history import prove_policies

MAX_DOCUMENT = 16 << 20
LOW_SPACE = 4 << 20
# The journal, a generation's own files, and the report that follows a change.
OVERHEAD = 4 << 20
OVERHEAD_FILES = 64
SYSTEM_STATE = Path("/var/lib/waybill")
SITE_YAML = "site.yaml"
POLICY_YAML = "policy.yaml"
CURRENT = "current"
# Root documents of a vendor whose access has ended. They are kept as evidence. Nothing is accepted by
# them; they tell which keys of a kept release were revoked, and whose keys no person may have.
EVIDENCE = "trust-evidence"
SITE_KEY = "site.key"
# The next key of the site. It becomes the site's key with the journal entry that says so.
NEXT_KEY = "next.key"
_GENERATION = re.compile(r"generations/([1-9][0-9]{0,14})")


@dataclass
class Site:
    """An open site. Reading writes nothing; ``record`` needs the lock, which ``hold_site`` takes.

    Attributes:
        path: The folder, absolute.
        entries: The journal when the site was opened, its chain checked.
        torn: Bytes of an unfinished last line; 0 for a site that is held.
        broken: Why the journal is broken, of a site opened only to show it; state and entries end there.
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
        """Blocks set aside, so that a rollback and a report finish on a full disk. Absent after they were spent."""
        return self.path / "reserve"

    def record(self, event: Event) -> Entry:
        """Append to the journal, durably. On a full disk the reserve is spent to make room for the entry."""
        if self._journal is None:
            raise RuntimeError("the site is not held")
        try:
            return self._journal.append(event)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.spend_reserve():
                raise
            return self._journal.append(event)

    def spend_reserve(self) -> bool:
        """Free the reserved blocks; return whether there were any."""
        if not self.reserve.exists():
            return False
        self.disk.remove(self.reserve)
        self.disk.sync_folder(self.path)
        return True

    def make_room(self) -> None:
        """Free the reserve if little space is left. Called before a rollback and a report."""
        if self.disk.space(self.path).bytes < LOW_SPACE:
            self.spend_reserve()

    def renew_reserve(self, size: int) -> None:
        """Set blocks aside again. Too little space is not an error here."""
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
        """Store a small document, durably; return its digest."""
        digest = digest_of(data)
        path = self.document_path(digest)
        if not path.exists() or path.read_bytes() != data:
            self.disk.make_folder(self.documents)
            self.disk.write(path, data)
        return digest

    def document(self, digest: str) -> bytes:
        """Return the document with this digest. Raises DamagedError when it is missing or was changed."""
        missing = ("restore this file from a backup", "")
        changed = ("keep the folder unchanged and report this to support", "document-changed")
        path = self.document_path(digest)
        return read_checked(path, digest, MAX_DOCUMENT, "the document", missing=missing, changed=changed)

    def document_path(self, digest: str) -> Path:
        return self.documents / digest.removeprefix("sha256:")

    @property
    def policy(self) -> Policy:
        """The policy in force. Raises UntrustedError when the people of the policy before did not approve it."""
        trust = self.state.trust
        if self._proved is None or self._proved[0] != trust.policy:
            self._proved = (trust.policy, prove_policies(trust.policies, self.state.site, self.document))
        return self._proved[1]

    def signer(self) -> FileSigner:
        """Return the site's own key, which the journal names. Raises UntrustedError or DamagedError without one."""
        signers, unread = self._keys()
        for signer in signers:
            if signer.public == self.state.site_key:
                return signer
        self.check_key()
        raise unread or DamagedError(
            "the key of this site is missing",
            where=str(self.path / "keys" / SITE_KEY),
            remedy="restore the key from a backup, or make a new one with `waybill enroll --renew key-lost`",
            finding="site-key",
        )

    def check_key(self) -> None:
        """Raise UntrustedError when journal and key are of different sites. A missing key is not an error here."""
        signers, unread = self._keys()
        expected = self.state.site_key
        if signers and unread is None and all(signer.public != expected for signer in signers):
            raise UntrustedError(
                f"the journal belongs to {self.state.site} with key {expected.keyid}, "
                f"the folder has key {signers[0].public.keyid}",
                where=str(self.path),
                remedy="restore the journal or the key that belongs here; if the key was replaced on purpose, "
                "run `waybill enroll --renew key-lost`",
                finding="journal-foreign",
            )

    def _keys(self) -> tuple[tuple[FileSigner, ...], WaybillError | None]:
        """Return the keys in the folder, and the first error of one that cannot be read."""
        path = self.path / "keys" / SITE_KEY
        signers: list[FileSigner] = []
        unread: WaybillError | None = None
        for file in (path, path.with_name(NEXT_KEY)):
            try:
                if file.exists():
                    signers.append(read_signer(file, lambda: b""))
            except WaybillError as error:
                unread = unread or error
            except OSError as error:
                unread = unread or unreadable(error, str(file))
        return tuple(signers), unread

    def former(self) -> int:
        """Return the nearest kept generation that the running one was made from; 0 for none."""
        before = (one.number for one in self.state.installs.lineage(self.state.installs.current)[1:])
        return next((number for number in before if self.generation_folder(number).is_dir()), 0)

    def generation_folder(self, number: int) -> Path:
        return self.path / "generations" / str(number)

    def pointed(self) -> int | None:
        """Return the number that ``current`` points at; 0 without a link, None when it is not a link of ours."""
        link = self.path / CURRENT
        if not link.is_symlink():
            return None if link.exists() else 0
        match = _GENERATION.fullmatch(str(link.readlink()))
        return int(match[1]) if match else None


def is_site(path: Path) -> bool:
    """Whether the folder is a site: it has a journal. ``site.yaml`` is a person's file, which can be lost."""
    return any((path / "journal").glob("*.jsonl"))


def find_site(given: Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """Return ``given``, WAYBILL_SITE, ``folder``, the only site in ``folder``, or the only site of the host.

    Raises:
        UsageError: There is none, or more than one.
    """
    for place, path in (("--site", given), ("WAYBILL_SITE", environ.get("WAYBILL_SITE"))):
        if path:
            named = Path(path).absolute()
            if not is_site(named) and (named / "outbox" / "enrolment.json").is_file():
                raise UntrustedError(
                    "the journal of the site is gone",
                    where=str(named / "journal"),
                    remedy="keep the folder as it is, and restore `journal/` from a backup of the site",
                    finding="journal-missing",
                )
            if not is_site(named):
                raise UsageError(
                    f"{named} is not a site: it has no journal",
                    where=place,
                    remedy="create a site with `waybill enroll`",
                )
            return named
    if is_site(folder):
        return folder.absolute()
    states = state_folders(environ)
    for parents in ((folder.absolute(),), states):
        sites = [path for parent in parents if parent.is_dir() for path in sorted(parent.iterdir()) if is_site(path)]
        if len(sites) == 1:
            return sites[0]
        if sites:
            raise UsageError(
                f"there are {len(sites)} sites: {', '.join(map(str, sites))}",
                where="site",
                remedy=f"choose one: --site {shlex.quote(str(sites[0]))}",
            )
    looked = ", ".join(["--site", "WAYBILL_SITE", f"the current folder ({folder})", *map(str, states)])
    raise UsageError(
        f"no site found; looked at {looked}", where="site", remedy="name the folder of the site: --site DIR"
    )


def state_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders where a host keeps its sites: the system's, then the account's own."""
    home = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "")
    own = (Path(home) / "waybill",) if home else ()
    return (SYSTEM_STATE, *own)


def open_site(path: Path, disk: Disk, host: Host) -> Site:
    """Read a site. Writes nothing. Raises UntrustedError when the journal was edited or damaged."""
    entries, tail = read_journal(path / "journal")
    state = fold((one.digest, one.record) for one in entries)
    return Site(path=path, disk=disk, host=host, entries=entries, torn=tail.torn, _state=state)


def open_site_from_checkpoint(path: Path, disk: Disk, host: Host) -> Site | None:
    """Read a site with the help of a checkpoint that fits the journal; None without one, for a status.

    Raises:
        UntrustedError: The chain is broken after the checkpoint.
    """
    known = read_checkpoint(path / "journal")
    read = read_journal_from(path / "journal", known) if known is not None else None
    if known is None or read is None:
        return None
    entries, tail = read
    state = fold(((one.digest, one.record) for one in entries[known.state.seq :]), known.state)
    return Site(path=path, disk=disk, host=host, entries=entries, torn=tail.torn, _state=state)


def open_site_to_show(path: Path, disk: Disk, host: Host, *, checkpoint: bool = False) -> Site:
    """Read a site for a command that only shows it.

    Args:
        checkpoint: Use the checkpoint, if there is one that fits the journal.

    Raises:
        UntrustedError: The journal's first entry is broken.
    """
    try:
        known = open_site_from_checkpoint(path, disk, host) if checkpoint else None
        return known or open_site(path, disk, host)
    except UntrustedError as error:
        if error.finding != BROKEN:
            raise
    entries, broken = read_intact_entries(path / "journal")
    if not entries:
        raise broken
    state = fold((entry.digest, entry.record) for entry in entries)
    return Site(path=path, disk=disk, host=host, entries=entries, torn=0, _state=state, broken=broken)


def check_space(disk: Disk, wanted: tuple[tuple[Path, int, int], ...]) -> None:
    """Raise HostError unless ``(place, bytes, inodes)`` fit, summed by file system. Call it before the first write."""
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
                remedy="free space and run this command again; nothing was changed",
                finding="space",
            )
        if inodes > space.inodes:
            raise HostError(
                f"needs {inodes} new files, this file system has room for {space.inodes}",
                where=str(place),
                remedy="remove files that are not needed and run this command again; nothing was changed",
                finding="inodes",
            )
