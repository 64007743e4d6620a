"""Count the space that a change needs, before the first write."""

from dataclasses import dataclass
from pathlib import Path

from manifests.documents.rollback import Rollback
from manifests.words.digest import Blob
from manifests.words.progress import ProgressCallback
from verifier.change.data_return import backup_folder
from verifier.change.driver_steps import DriverStep
from verifier.change.values import Change
from verifier.site.folder import OVERHEAD, OVERHEAD_FILES, Site, check_space


@dataclass(frozen=True)
class SpaceNeed:
    """What a change needs on one file system, and what is free there. Places are relative to the site's folder."""

    places: tuple[str, ...]
    bytes: int
    inodes: int
    free_bytes: int
    free_inodes: int


@dataclass(frozen=True)
class InstallNeed:
    """What an install will write; ``missing`` are the blobs that the store does not hold yet."""

    missing: tuple[Blob, ...]
    bytes: int
    inodes: int


def plan_space(site: Site, change: Change, steps: tuple[DriverStep, ...], on_progress: ProgressCallback) -> InstallNeed:
    """Count the bytes and inodes that staging takes; hashes every held blob. Raises HostError if they do not fit."""
    missing = site.store.missing(change.release.members, on_progress)
    size, inodes = site.store.space_for(missing)
    wanted = required_space(site, change, steps, size, inodes)
    check_space(site.disk, wanted)
    return InstallNeed(missing, bytes=sum(need[1] for need in wanted), inodes=sum(need[2] for need in wanted))


def required_space(
    site: Site, change: Change, steps: tuple[DriverStep, ...], size: int, inodes: int
) -> tuple[tuple[Path, int, int], ...]:
    """Return ``(path, bytes, inodes)`` for everything to write; ``size`` and ``inodes`` are those of new blobs."""
    wanted = (
        (site.blobs, size, inodes),
        (site.path / "generations", OVERHEAD, OVERHEAD_FILES),
        (site.path, sum(step.plan.bytes_needed for step in steps), sum(step.plan.inodes_needed for step in steps)),
    )
    # A rollback reads backups and makes none.
    if change.action == "rollback" or not change.planned.document or change.rollback is None:
        return wanted
    folder = backup_folder(site.path, change.installed)
    block = site.disk.space(folder).block
    backups = backup_space(change.rollback, fresh=not change.planned.source, block=block)
    return (*wanted, (folder, *backups)) if any(backups) else wanted


def space_needs(
    site: Site, hops: tuple[Change, ...], steps: tuple[tuple[DriverStep, ...], ...]
) -> tuple[SpaceNeed, ...]:
    """Return the space needed on each file system. Blobs that are held are not hashed; the install does that."""

    def name(path: Path) -> str:
        if path == site.path:
            return "site"
        return str(path.relative_to(site.path)) if path.is_relative_to(site.path) else str(path)

    members = {member.digest: member for hop in hops for member in hop.release.members}
    missing = site.store.lacks(members.values())
    new_blobs = site.store.space_for(missing)
    by_device: dict[int, list[tuple[Path, int, int]]] = {}
    for i, (hop, hop_steps) in enumerate(zip(hops, steps, strict=True)):
        for need in required_space(site, hop, hop_steps, *(new_blobs if i == 0 else (0, 0))):
            by_device.setdefault(site.disk.space(need[0]).device, []).append(need)
    needs = []
    for wanted in by_device.values():
        free = site.disk.space(wanted[0][0])
        needs.append(
            SpaceNeed(
                places=tuple(sorted({name(path) for path, _, _ in wanted})),
                bytes=sum(need[1] for need in wanted),
                inodes=sum(need[2] for need in wanted),
                free_bytes=free.bytes,
                free_inodes=free.inodes,
            )
        )
    return tuple(needs)


def backup_space(document: Rollback, *, fresh: bool, block: int) -> tuple[int, int]:
    """Return the bytes and inodes that a generation's backups may take on a file system with blocks of this size."""
    if fresh or not document.backup:
        return 0, 0
    size = sum(-(-backup.at_most_bytes // block) * block for backup in document.backup)
    return size + block, len(document.backup) + 2
