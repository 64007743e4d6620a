"""The site's store: blobs by digest. What comes in is copied, the copy is hashed and synced, then it gets its name."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from content.bundle.bulk import damaged_file, lost_tail
from content.bundle.damage import DamagedRange, unreadable
from content.bundle.places import Bulk, hurt_at
from manifests.trust.keys import read_capped
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError
from manifests.words.progress import ProgressCallback, no_progress
from verifier.site.blobs import blob_path, check_blob
from verifier.site.disk import Disk

# Two at once keep a disk and a core busy each; more only make the disk seek.
WORKERS = 2


def missing_blobs(
    blobs: Path, wanted: Iterable[Blob], *, told: ProgressCallback = no_progress, workers: int = WORKERS
) -> tuple[Blob, ...]:
    """Those of ``wanted`` that are not in the store, or not clean: every byte that is there is hashed again."""

    def is_clean(blob: Blob) -> bool:
        try:
            check_blob(blobs, blob)
        except (DamagedError, HostError):
            return False
        told(blob.size)
        return True

    unique = list({one.digest: one for one in wanted}.values())
    present = [one for one in unique if blob_path(blobs, one.digest).exists()]
    largest_first = sorted(present, key=lambda one: -one.size)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        clean = {one.digest for one, good in zip(largest_first, pool.map(is_clean, largest_first), strict=True) if good}
    return tuple(one for one in unique if one.digest not in clean)


def is_held(blobs: Path, blob: Blob) -> bool:
    """Whether a blob of that name and length is there; its bytes are not looked at."""
    try:
        return blob_path(blobs, blob.digest).stat().st_size == blob.size
    except OSError:
        return False


def space_for(missing: Iterable[Blob], block: int) -> tuple[int, int]:
    """Bytes, in whole blocks, and inodes that these blobs will take."""
    sizes = [one.size for one in missing]
    return sum(-(-size // block) * block for size in sizes), len(sizes)


def ingest(
    disk: Disk,
    descriptor: int,
    bulk: Bulk,
    missing: tuple[Blob, ...],
    blobs: Path,
    what: str,
    *,
    told: ProgressCallback = no_progress,
    workers: int = WORKERS,
) -> None:
    """Copy the ``missing`` blobs out of a bundle; what is in the store when this returns is durable.

    Stopped at any point it can simply be run again: each blob is there whole, or not there. Damage does not stop it:
    what is good is kept, so that another medium has to bring only the rest.

    Raises:
        DamagedError: The bundle lacks some, or holds other bytes; names them with their byte ranges.
    """
    disk.make_folder(blobs)
    places = {place.blob.digest: place for place in bulk.present}
    absent = [one for one in missing if one.digest not in places]
    for leftover in blobs.glob("*.part"):
        disk.remove(leftover)

    def take(blob: Blob) -> tuple[DamagedRange, ...]:
        place = places[blob.digest]
        end = place.offset + blob.size
        final = blob_path(blobs, blob.digest)
        part = final.with_name(final.name + ".part")
        try:
            found = disk.copy(descriptor, place.offset, blob.size, part, told)
        except OSError:
            # The kernel does not say which of the two files it was: where the medium can be read, it was ours.
            stretches = unreadable(descriptor, place.offset, end)
            if not stretches:
                raise
            with suppress(OSError):
                disk.remove(part)
            return tuple(hurt_at(place, *stretch, "unreadable") for stretch in stretches)
        if found != blob.digest:
            got = part.stat().st_size
            disk.remove(part)
            if got < blob.size:
                return (hurt_at(place, place.offset + got, end, "cut-short"),)
            return (hurt_at(place, place.offset, end),)
        disk.rename(part, final)
        return ()

    largest_first = sorted((one for one in missing if one.digest in places), key=lambda one: -one.size)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(take, one) for one in largest_first]
        try:
            hurts = [hurt for future in futures for hurt in future.result()]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    disk.sync_folder(blobs)
    lost = {one.digest for one in absent}
    hurts += [one for one in lost_tail(bulk) if one.digest in lost]
    if hurts:
        raise damaged_file(descriptor, bulk, hurts, what)
    if absent:
        names = ", ".join(one.digest[:19] for one in absent[:4]) + (", …" if len(absent) > 4 else "")
        raise DamagedError(
            f"{len(absent)} blobs are neither here nor in the store: {names}",
            where=what,
            remedy="bring the complete bundle, or the delta that was cut for this site",
            finding="incomplete",
        )


def put_blob(disk: Disk, blobs: Path, data: bytes) -> str:
    """Store a few bytes of ours; the digest."""
    digest = digest_of(data)
    path = blob_path(blobs, digest)
    if not path.exists() or path.read_bytes() != data:
        disk.make_folder(blobs)
        disk.write(path, data, 0o444)
    return digest


def get_blob(blobs: Path, blob: Blob, max_bytes: int) -> bytes:
    """A small blob, hashed in this very read.

    Raises:
        DamagedError: Missing, or other bytes.
    """
    path = blob_path(blobs, blob.digest)
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
            f"found digest {digest_of(data)}, expected {blob.digest}",
            where=str(path),
            remedy="receive the bundle again",
            finding="blob-damaged",
        )
    return data


def sweep(disk: Disk, blobs: Path, keep: frozenset[str]) -> int:
    """Remove every blob that is not in ``keep``; how many bytes that freed."""
    freed = 0
    if not blobs.is_dir():
        return 0
    for path in sorted(blobs.iterdir()):
        if "sha256:" + path.name not in keep:
            freed += path.stat().st_size
            # Not synced: a blob that comes back after a crash is one blob too many, and clean.
            disk.remove(path)
    return freed
