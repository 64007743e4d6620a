"""The site's store: blobs by digest. A blob gets its name only after its copy was hashed and synced.

Every read checks the digest, so a changed byte is always an error.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from manifests.trust.keys import read_capped
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, unreadable
from manifests.words.progress import ProgressCallback, no_progress
from manifests.words.units import show_are
from verifier.site.disk import Disk, Receiver, Source

if TYPE_CHECKING:
    from content.bundle.damage import DamagedRange
    from content.bundle.places import Bulk, MemberLocation

Item = TypeVar("Item")

BUFFER = 1 << 20
# A future for each of many small blobs would take more memory than the blobs.
BATCHES = 1024
# Two at once keep a disk and a core busy each; more only make the disk seek.
WORKERS = 2
# While blobs are also sent, the copies wait for the receiver more than for the disk.
SENDING_WORKERS = 4
NO_RECEIVERS: Mapping[str, Receiver] = {}
_REMEDY = "receive the bundle again with `waybill receive BUNDLE --keep`"


def blob_path(blobs: Path, digest: str) -> Path:
    return blobs / digest.removeprefix("sha256:")


def read_blob(blobs: Path, digest: str, max_bytes: int) -> bytes:
    """Return the whole blob. Raises DamagedError when it is missing, longer than ``max_bytes``, or has other bytes."""
    path = blob_path(blobs, digest)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise missing(path, digest) from None
    except OSError as error:
        raise unreadable(error, str(path), remedy="check the disk") from error
    if len(data) > max_bytes:
        raise DamagedError(f"blob {digest} is longer than {max_bytes} bytes", where=str(path), remedy=_REMEDY)
    if digest_of(data) != digest:
        raise different(path, digest_of(data), digest)
    return data


def read_checked(
    path: Path, digest: str, max_bytes: int, what: str, *, missing: tuple[str, str], changed: tuple[str, str]
) -> bytes:
    """Return the bytes of a file that must have ``digest``.

    Args:
        missing, changed: Remedy and finding of the error.

    Raises:
        DamagedError: The file is missing, has other bytes, or cannot be read by an account that may read it.
    """
    if not path.is_file():
        raise DamagedError(f"{what} is missing", where=str(path), remedy=missing[0], finding=missing[1])
    try:
        data = read_capped(path, max_bytes)
    except (HostError, MalformedError) as error:
        if not os.access(path, os.R_OK):
            raise  # rights are no damage
        remedy, finding = missing if isinstance(error, HostError) else changed
        raise DamagedError(error.problem, where=str(path), remedy=remedy, finding=finding) from None
    if (observed := digest_of(data)) != digest:
        problem = f"{what} has digest {observed}, expected {digest}"
        raise DamagedError(problem, where=str(path), remedy=changed[0], finding=changed[1])
    return data


def hash_file(path: Path) -> str:
    """Return the digest of a regular file. Refuses a symbolic link."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
        while chunk := file.read(BUFFER):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def check_blob(blobs: Path, blob: Blob) -> None:
    """Hash one blob of the store. Raises DamagedError when it is missing or has another length or other bytes."""
    path = blob_path(blobs, blob.digest)
    try:
        check_size(blobs, blob)
        digest = hash_file(path)
    except OSError as error:
        raise unreadable(error, str(path), remedy="check the disk") from error
    if digest != blob.digest:
        raise different(path, digest, blob.digest)


def is_whole(blobs: Path, blob: Blob) -> bool:
    """Whether the store has the blob with its length and bytes; hashes it."""
    try:
        check_blob(blobs, blob)
    except (DamagedError, HostError):
        return False
    return True


def check_size(blobs: Path, blob: Blob) -> None:
    """Check that the blob is there with its length, without reading it. Raises DamagedError."""
    path = blob_path(blobs, blob.digest)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise missing(path, blob.digest) from None
    if size != blob.size:
        raise DamagedError(f"the blob has {size} bytes, expected {blob.size}", where=str(path), remedy=_REMEDY)


def check_blobs(blobs: Path, wanted: Iterable[Blob]) -> None:
    """Hash many blobs on all cores, the largest first. Raises as ``check_blob``."""
    from concurrent.futures import ThreadPoolExecutor  # most commands hash no blob

    def check(batch: list[Blob]) -> None:
        for blob in batch:
            check_blob(blobs, blob)

    ordered = sorted(wanted, key=lambda one: -one.size)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(check, batches(ordered)):
            pass


def batches(items: list[Item]) -> list[list[Item]]:
    """Return the items in at most ``BATCHES`` lists, the first items first in each."""
    return [items[at::BATCHES] for at in range(min(BATCHES, len(items)))]


def missing(path: Path, digest: str) -> DamagedError:
    return DamagedError(f"blob {digest} is not in the store", where=str(path), remedy=_REMEDY, finding="blob-missing")


def different(path: Path, digest: str, expected: str) -> DamagedError:
    return DamagedError(f"the file has digest {digest}, expected {expected}", where=str(path), remedy=_REMEDY)


def _names(blobs: list[Blob]) -> str:
    return ", ".join(blob.digest[:19] for blob in blobs[:4]) + (", …" if len(blobs) > 4 else "")


@dataclass(frozen=True)
class Store:
    """The blobs of a site; each file in the folder ``path`` is named by its digest."""

    disk: Disk
    path: Path

    def get(self, blob: Blob, max_bytes: int, what: str = "blob") -> bytes:
        """Return the bytes of a small blob, called ``what``. Raises DamagedError when missing or other bytes."""
        path, remedy = blob_path(self.path, blob.digest), _REMEDY
        absent, damaged = (remedy, "blob-missing"), (remedy, "blob-damaged")
        return read_checked(path, blob.digest, max_bytes, f"the {what}", missing=absent, changed=damaged)

    def put(self, data: bytes) -> str:
        """Store a few bytes, durably; return their digest."""
        digest = digest_of(data)
        path = blob_path(self.path, digest)
        if not path.exists() or path.read_bytes() != data:
            self.disk.make_folder(self.path)
            self.disk.write(path, data, 0o444)
        return digest

    def missing(self, wanted: Iterable[Blob], on_progress: ProgressCallback = no_progress) -> tuple[Blob, ...]:
        """Return the blobs of ``wanted`` that are missing or damaged. Hashes every byte that is there."""
        from concurrent.futures import ThreadPoolExecutor  # most commands hash no blob

        def is_clean(blob: Blob) -> bool:
            whole = is_whole(self.path, blob)
            if whole:
                on_progress(blob.size)
            return whole

        unique = {blob.digest: blob for blob in wanted}
        present = [blob for blob in unique.values() if blob_path(self.path, blob.digest).exists()]
        present.sort(key=lambda blob: -blob.size)
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            checked = pool.map(lambda batch: [blob.digest for blob in batch if is_clean(blob)], batches(present))
            clean = {digest for batch in checked for digest in batch}
        return tuple(blob for blob in unique.values() if blob.digest not in clean)

    def holds(self, blob: Blob) -> bool:
        """Whether a blob of that name and length is there. Does not read its bytes."""
        try:
            return blob_path(self.path, blob.digest).stat().st_size == blob.size
        except OSError:
            return False

    def lacks(self, wanted: Iterable[Blob]) -> tuple[Blob, ...]:
        """Return the blobs of ``wanted`` that are not there with their length. Does not read their bytes."""
        return tuple(blob for blob in wanted if not self.holds(blob))

    def space_for(self, missing: Iterable[Blob]) -> tuple[int, int]:
        """Return the bytes, in whole blocks, and the inodes that these blobs will take."""
        block = self.disk.space(self.path).block
        sizes = [blob.size for blob in missing]
        return sum(-(-size // block) * block for size in sizes), len(sizes)

    def ingest(
        self,
        descriptor: int,
        bulk: "Bulk",
        missing: tuple[Blob, ...],
        what: str,
        on_progress: ProgressCallback = no_progress,
        receivers: Mapping[str, Receiver] = NO_RECEIVERS,
    ) -> None:
        """Copy the ``missing`` blobs out of a bundle, durably.

        It can be stopped and run again at any point: each blob is there whole, or not there. Damage does not stop it:
        every good blob is kept, so that another medium needs only the rest.

        Args:
            receivers: By digest, who gets the bytes of a blob while it is copied.

        Raises:
            DamagedError: Blobs are missing or damaged; names them with their byte ranges.
        """
        # Reading a bundle, loaded only where one is copied.
        from concurrent.futures import ThreadPoolExecutor

        from content.bundle.bulk import damaged_file, lost_tail

        self.disk.make_folder(self.path)
        for name in self._names():
            if name.endswith(".part"):
                self.disk.remove(self.path / name)
        places = {place.blob.digest: place for place in bulk.present}
        absent = [blob for blob in missing if blob.digest not in places]
        largest_first = sorted((blob for blob in missing if blob.digest in places), key=lambda blob: -blob.size)

        def take(batch: list[Blob]) -> "list[DamagedRange]":
            damaged: list[DamagedRange] = []
            for blob in batch:
                place = places[blob.digest]
                source = Source(descriptor, place.offset, blob.size, on_progress)
                damaged += self._take(source, place, receivers.get(blob.digest))
            return damaged

        with ThreadPoolExecutor(max_workers=SENDING_WORKERS if receivers else WORKERS) as pool:
            futures = [pool.submit(take, batch) for batch in batches(largest_first)]
            try:
                damaged = [part for future in futures for part in future.result()]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        self.disk.sync_folder(self.path)
        lost = {blob.digest for blob in absent}
        damaged += [part for part in lost_tail(bulk) if part.digest in lost]
        if damaged:
            raise damaged_file(descriptor, bulk, damaged, what)
        if absent:
            raise self._absent(absent, bulk, what)

    def _absent(self, absent: list[Blob], bulk: "Bulk", what: str) -> DamagedError:
        """Return the error of blobs that a bundle lacks, and the store too, or has with other bytes."""
        damaged = [blob for blob in absent if blob_path(self.path, blob.digest).exists()]
        if not damaged:
            return DamagedError(
                f"{show_are(len(absent), 'blob')} neither in this file nor in the store: {_names(absent)}",
                where=what,
                remedy="bring the complete bundle, or the delta for the release that runs here",
                finding="incomplete",
            )
        full = f"the full bundle of {bulk.release.product} {bulk.release.version}, which brings the whole release"
        return DamagedError(
            f"{show_are(len(damaged), 'blob')} damaged in the store of this site, and {what} lacks the bytes: "
            f"{_names(damaged)}",
            where=str(blob_path(self.path, damaged[0].digest)),
            remedy=f"bring {full}: waybill receive BUNDLE --keep; then run this command again",
            finding="blob-damaged",
        )

    def _take(self, source: Source, place: "MemberLocation", receive: Receiver | None) -> "tuple[DamagedRange, ...]":
        """Copy one blob into the store; return its damaged ranges."""
        from content.bundle.damage import unreadable as unreadable_ranges  # loaded only where a bundle is copied
        from content.bundle.places import damaged_range

        blob, end = place.blob, place.offset + place.blob.size
        final = blob_path(self.path, blob.digest)
        part = final.with_name(final.name + ".part")
        try:
            digest = self.disk.copy(source, part, receive=receive)
        except OSError:
            # The kernel does not say which of the two files failed. If the medium can be read, the store's file failed.
            stretches = unreadable_ranges(source.descriptor, place.offset, end)
            if not stretches:
                raise
            with suppress(OSError):
                self.disk.remove(part)
            return tuple(damaged_range(place, *stretch, "unreadable") for stretch in stretches)
        if digest != blob.digest:
            size = part.stat().st_size
            self.disk.remove(part)
            if size < blob.size:
                return (damaged_range(place, place.offset + size, end, "cut-short"),)
            return (damaged_range(place, place.offset, end),)
        self.disk.rename(part, final)
        return ()

    def unneeded(self, needed: Iterable[str]) -> set[str]:
        """Return the names of the files in the store that are not blobs of ``needed``, which are digests."""
        names = set(self._names()) if self.path.is_dir() else set[str]()
        for digest in needed:
            names.discard(digest.removeprefix("sha256:"))
        return names

    def remove(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            # Not synced: a blob that comes back after a crash only takes space.
            self.disk.remove(self.path / name)

    def _names(self) -> list[str]:
        """Return the names of the files in the store; a path for each would take ten times the memory."""
        with os.scandir(self.path) as entries:
            return [entry.name for entry in entries]
