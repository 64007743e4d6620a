"""The site's store: blobs by digest. Each is copied in, the copy is hashed and synced, and only then gets its name."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from content.bundle.bulk import damaged_file, lost_tail
from content.bundle.damage import DamagedRange, unreadable
from content.bundle.places import Bulk, MemberLocation, hurt_at
from manifests.trust.keys import read_capped
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError
from manifests.words.progress import ProgressCallback, no_progress
from verifier.site.blobs import blob_path, check_blob
from verifier.site.disk import Disk

# Two at once keep a disk and a core busy each; more only make the disk seek.
WORKERS = 2


@dataclass(frozen=True)
class Store:
    """The blobs of a site. Attributes: path: The folder; each file in it is named by its digest."""

    disk: Disk
    path: Path

    def get(self, blob: Blob, max_bytes: int) -> bytes:
        """Return the bytes of a small blob, hashed in this very read.

        Raises:
            DamagedError: Missing, or other bytes.
        """
        path = blob_path(self.path, blob.digest)
        if not path.exists():
            raise DamagedError(
                f"blob {blob.digest} is not in the store",
                where=str(path),
                remedy="receive the bundle again",
                finding="blob-missing",
            )
        data = read_capped(path, max_bytes)
        if digest_of(data) != blob.digest:
            raise DamagedError(
                f"the blob has digest {digest_of(data)}, expected {blob.digest}",
                where=str(path),
                remedy="receive the bundle again",
                finding="blob-damaged",
            )
        return data

    def put(self, data: bytes) -> str:
        """Store a few bytes, durably; return their digest."""
        digest = digest_of(data)
        path = blob_path(self.path, digest)
        if not path.exists() or path.read_bytes() != data:
            self.disk.make_folder(self.path)
            self.disk.write(path, data, 0o444)
        return digest

    def missing(self, wanted: Iterable[Blob], on_progress: ProgressCallback = no_progress) -> tuple[Blob, ...]:
        """Return those of ``wanted`` that are not in the store, or damaged. Hashes every byte that is there."""

        def is_clean(blob: Blob) -> bool:
            try:
                check_blob(self.path, blob)
            except (DamagedError, HostError):
                return False
            on_progress(blob.size)
            return True

        unique = {blob.digest: blob for blob in wanted}
        present = [blob for blob in unique.values() if blob_path(self.path, blob.digest).exists()]
        present.sort(key=lambda blob: -blob.size)
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            clean = {blob.digest for blob, good in zip(present, pool.map(is_clean, present), strict=True) if good}
        return tuple(blob for blob in unique.values() if blob.digest not in clean)

    def holds(self, blob: Blob) -> bool:
        """Whether a blob of that name and length is there. Does not read its bytes."""
        try:
            return blob_path(self.path, blob.digest).stat().st_size == blob.size
        except OSError:
            return False

    def space_for(self, missing: Iterable[Blob]) -> tuple[int, int]:
        """Return the bytes, in whole blocks, and the inodes that these blobs will take."""
        block = self.disk.space(self.path).block
        sizes = [blob.size for blob in missing]
        return sum(-(-size // block) * block for size in sizes), len(sizes)

    def ingest(
        self,
        descriptor: int,
        bulk: Bulk,
        missing: tuple[Blob, ...],
        what: str,
        on_progress: ProgressCallback = no_progress,
    ) -> None:
        """Copy the ``missing`` blobs out of a bundle, durably.

        It can be stopped and run again at any point: each blob is there whole, or not there. Damage does not stop it:
        every good blob is kept, so that another medium has to bring only the rest.

        Raises:
            DamagedError: The bundle lacks some, or holds other bytes; names them with their byte ranges.
        """
        self.disk.make_folder(self.path)
        for leftover in self.path.glob("*.part"):
            self.disk.remove(leftover)
        places = {place.blob.digest: place for place in bulk.present}
        absent = [blob for blob in missing if blob.digest not in places]
        largest_first = sorted((blob for blob in missing if blob.digest in places), key=lambda blob: -blob.size)
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            futures = [pool.submit(self._take, descriptor, places[blob.digest], on_progress) for blob in largest_first]
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
            names = ", ".join(blob.digest[:19] for blob in absent[:4]) + (", …" if len(absent) > 4 else "")
            raise DamagedError(
                f"{len(absent)} blobs are neither in this file nor in the store: {names}",
                where=what,
                remedy="bring the complete bundle, or the delta for the release that runs here",
                finding="incomplete",
            )

    def _take(self, descriptor: int, place: MemberLocation, on_progress: ProgressCallback) -> tuple[DamagedRange, ...]:
        """Copy one blob; return its damaged ranges, none when it is in the store now."""
        blob, end = place.blob, place.offset + place.blob.size
        final = blob_path(self.path, blob.digest)
        part = final.with_name(final.name + ".part")
        try:
            digest = self.disk.copy(descriptor, place.offset, blob.size, part, on_progress)
        except OSError:
            # The kernel does not say which of the two files failed. Where the medium can be read, it was ours.
            stretches = unreadable(descriptor, place.offset, end)
            if not stretches:
                raise
            with suppress(OSError):
                self.disk.remove(part)
            return tuple(hurt_at(place, *stretch, "unreadable") for stretch in stretches)
        if digest != blob.digest:
            size = part.stat().st_size
            self.disk.remove(part)
            if size < blob.size:
                return (hurt_at(place, place.offset + size, end, "cut-short"),)
            return (hurt_at(place, place.offset, end),)
        self.disk.rename(part, final)
        return ()

    def sweep(self, keep: frozenset[str]) -> None:
        """Remove every blob that is not in ``keep``."""
        if not self.path.is_dir():
            return
        for path in sorted(self.path.iterdir()):
            if "sha256:" + path.name not in keep:
                # Not synced: a blob that comes back after a crash only takes space.
                self.disk.remove(path)
