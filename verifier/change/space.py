"""The space that a change needs, counted before the first write."""

from dataclasses import dataclass
from pathlib import Path

from manifests.documents.rollback import Rollback
from manifests.words.digest import Blob
from manifests.words.progress import ProgressCallback
from verifier.change.backups import backup_folder
from verifier.change.driver_steps import DriverStep
from verifier.change.rollback_script import plan_backups
from verifier.change.values import Change
from verifier.site.folder import OVERHEAD, OVERHEAD_FILES, Site, check_space
from verifier.site.generations import Installed
from verifier.site.store import is_held, missing_blobs, space_for


@dataclass(frozen=True)
class SpaceNeed:
    """What is needed on one file system, and what is free there.

    Attributes:
        places: What of the site lies on it.
    """

    places: tuple[str, ...]
    bytes: int
    inodes: int
    free_bytes: int
    free_inodes: int


@dataclass(frozen=True)
class InstallNeed:
    """What it will take: counted before the first write.

    Attributes:
        backups: Bytes that the backups may take, in the folder ``where``.
    """

    missing: tuple[Blob, ...]
    bytes: int
    inodes: int
    backups: int = 0
    where: Path | None = None


def plan_space(site: Site, change: Change, crew: tuple[DriverStep, ...], told: ProgressCallback) -> InstallNeed:
    """Bytes and inodes that staging takes. Reads every blob that is there already, and writes nothing.

    Raises:
        HostError: They do not fit; with numbers.
    """
    missing = missing_blobs(site.blobs, change.release.members, told=told)
    block = site.disk.space(site.blobs).block
    size, inodes = space_for(missing, block)
    wanted = required_space(site, change, crew, size, inodes)
    check_space(site.disk, wanted)
    return InstallNeed(missing=missing, bytes=sum(one[1] for one in wanted), inodes=sum(one[2] for one in wanted))


def required_space(
    site: Site, change: Change, crew: tuple[DriverStep, ...], size: int, inodes: int
) -> tuple[tuple[Path, int, int], ...]:
    """``(place, bytes, inodes)`` of everything that is written; ``size`` and ``inodes`` are those of new blobs."""
    wanted = (
        (site.blobs, size, inodes),
        (site.path / "generations", OVERHEAD, OVERHEAD_FILES),
        (site.path, sum(work.plan.bytes_needed for work in crew), sum(work.plan.inodes_needed for work in crew)),
    )
    if not change.planned.document:
        return wanted
    return (*wanted, backup_space(site, change.installed, change.rollback, fresh=not change.planned.source))


def space_needs(
    site: Site, hops: tuple[Change, ...], crews: tuple[tuple[DriverStep, ...], ...]
) -> tuple[SpaceNeed, ...]:
    """Space on each file system, by the sizes of what is not held; an install hashes what is and counts again."""
    members = {one.digest: one for hop in hops for one in hop.release.members}
    missing = tuple(one for one in members.values() if not is_held(site.blobs, one))
    size, inodes = space_for(missing, site.disk.space(site.blobs).block)
    wanted_all: list[tuple[Path, int, int]] = []
    for i, (hop, crew) in enumerate(zip(hops, crews, strict=True)):
        wanted_all += required_space(site, hop, crew, *((size, inodes) if i == 0 else (0, 0)))
    sums: dict[int, list[tuple[Path, int, int]]] = {}
    for one in wanted_all:
        sums.setdefault(site.disk.space(one[0]).device, []).append(one)
    found = []
    for wanted in sums.values():
        free = site.disk.space(wanted[0][0])
        names = sorted({place_name(site, place) for place, _, _ in wanted})
        found.append(
            SpaceNeed(
                places=tuple(names),
                bytes=sum(one[1] for one in wanted),
                inodes=sum(one[2] for one in wanted),
                free_bytes=free.bytes,
                free_inodes=free.inodes,
            )
        )
    return tuple(found)


def place_name(site: Site, place: Path) -> str:
    if place == site.path:
        return "site"
    return str(place.relative_to(site.path)) if place.is_relative_to(site.path) else str(place)


def backup_space(site: Site, installed: Installed, document: Rollback, *, fresh: bool) -> tuple[Path, int, int]:
    """Where the backups go, and the bytes and inodes that they may take there."""
    folder = backup_folder(site.path, installed)
    plan = plan_backups(document, folder, fresh=fresh, block=site.disk.space(folder).block)
    return folder, plan.bytes_needed, plan.inodes_needed
