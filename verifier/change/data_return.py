"""Decide whether and how a rollback takes the data back, and remove the backups for it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from manifests.documents.release import Release, referenced
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.progress import ProgressCallback, no_progress
from manifests.words.units import show_are
from verifier.change.driver_steps import LoadDriver, driver_steps
from verifier.change.release_papers import read_rollback
from verifier.change.rollback_script import plan_undo
from verifier.runtime.migrations import check_backup, discard_backups
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.installs import Generation
from verifier.site.journal.transitions import Blocked, NextPart, Restore
from verifier.site.releases import bundle_again
from verifier.site.unread import attempt

FindMissing = Callable[[Iterable[Blob]], tuple[Blob, ...]]


def plan_data_return(site: Site, target: Generation, running: Generation, item: str) -> int:
    """Return the generation whose rollback document takes the data back to the format of ``target``; 0 if none has to.

    Raises:
        RefusedError: The data cannot be taken back, or only by several rollbacks.
        DamagedError: A required backup is missing or damaged.
    """
    installs = site.state.installs
    kept = installs.lineage(target.number)
    _check_data_present(kept, item)
    undone: list[tuple[Generation, tuple[NextPart, ...]]] = []
    for generation in installs.lineage(running.number):
        history = installs.part_history(generation.number)
        if generation not in kept and history:
            document = read_rollback(site, read_installed(site, generation).release)
            if parts := plan_undo(document, history):
                undone.append((generation, parts))
    if not undone:
        return 0
    owner, parts = undone[0]
    # A rollback document describes only the step to the release before, so each migration needs its own rollback.
    if len(undone) > 1 or owner.release != running.release:
        nearer = owner.source if owner.release == running.release else owner.number
        changed = " and ".join(generation.version for generation, _ in reversed(undone))
        raise RefusedError(
            f"the migrations of {changed} cannot be taken back by one rollback",
            where=item,
            remedy=f"roll back one release at a time: waybill rollback --to {nearer}",
            finding="way-back-steps",
        )
    remedy = f"follow the part `recovery` of the rollback document of release {running.version}"
    if isinstance(blocked := parts[-1], Blocked):
        raise RefusedError(
            f"the data of release {running.version} cannot be taken back: {blocked.detail}",
            where=item,
            remedy=remedy,
            finding="no-way-back",
        )
    installed = read_installed(site, owner)
    restores = [part for part in parts if isinstance(part, Restore)]
    if read_rollback(site, installed.release).class_ == "irreversible" and not restores:
        raise RefusedError(
            f"release {running.version} is irreversible by its rollback document, and no backup was made",
            where=item,
            remedy=remedy,
            finding="irreversible",
        )
    for restore in restores:
        check_backup(backup_folder(site.path, installed), restore.made)
    return owner.number


def _check_data_present(lineage: tuple[Generation, ...], item: str) -> None:
    """Raise RefusedError when data of the lineage were taken back: a rollback to it does not migrate them again."""
    for generation in lineage:
        if generation.taken_back:
            raise RefusedError(
                f"the data of generation {generation.number} were taken back",
                where=item,
                remedy=f"to migrate them again, run waybill install r-{lineage[0].version}",
                finding="data-taken-back",
            )


def check_previous_generation(
    site: Site,
    generation: Generation,
    load: LoadDriver,
    *,
    brought: frozenset[str],
    on_progress: ProgressCallback = no_progress,
) -> tuple[str, ...]:
    """Check that a rollback to the running generation is possible from the store alone; return one line for people.

    The release to install brings the digests in ``brought``.

    Raises:
        DamagedError: The generation's folder or some of its blobs are missing or damaged; nothing was changed.
        RefusedError: This verifier or this site lacks a driver that the generation needs.
    """
    damage = damage_of_former(site, generation, partial(site.store.missing, on_progress=on_progress), brought)
    if damage is not None:
        raise damage
    installed = read_installed(site, generation)
    driver_steps(site, installed, load)
    name, count = f"generation {generation.number} ({generation.version})", len(installed.release.members)
    return (f"until it is confirmed: {name} can be returned to, its {show_are(count, 'blob')} intact",)


def damage_of_former(
    site: Site, generation: Generation, find_missing: FindMissing, brought: frozenset[str]
) -> DamagedError | None:
    """Return why a rollback to the running generation would fail once another one runs; None when it would not.

    Args:
        find_missing: Returns the blobs that the store lacks, by name and length or by every byte.
        brought: Digests of blobs that the next release brings.
    """
    failures: list[WaybillError] = []
    installed = attempt(lambda: read_installed(site, generation), failures)
    name = f"generation {generation.number} ({generation.version})"
    if installed is None:
        problem, remedy = str(failures[0]), failures[0].remedy
    else:
        unneeded = brought | documents_alone(installed.release)
        lost = tuple(blob for blob in find_missing(installed.release.members) if blob.digest not in unneeded)
        if not lost:
            return None
        problem, remedy = name_blobs(installed.release, lost), bundle_again(installed.release)
    problem = f"a rollback to {name} would fail: {problem}"
    return DamagedError(problem, where="rollback", remedy=f"{remedy}; nothing was changed", finding="way-back")


def lost_blobs(release: Release, lost: Sequence[Blob], item: str) -> DamagedError | None:
    """Return why a rollback to ``release`` is not possible; None when it needs none of the ``lost`` blobs."""
    unneeded = documents_alone(release)
    needed = tuple(blob for blob in lost if blob.digest not in unneeded)
    if not needed:
        return None
    return DamagedError(name_blobs(release, needed), where=item, remedy=bundle_again(release), finding="blobs-missing")


def documents_alone(release: Release) -> frozenset[str]:
    """Return the digests of members that only people or a later install read: a release runs without them."""
    kinds = ("notes", "advisories", "authorisations", "contract", "rollback", "config.schema", "extensions")
    places = [(place.partition("[")[0], blob.digest) for place, blob in referenced(release)]
    placed = {digest for kind, digest in places if kind not in kinds}
    return frozenset(digest for kind, digest in places if kind in kinds) - placed


def name_blobs(release: Release, lost: Sequence[Blob]) -> str:
    """Name the first few missing or damaged blobs, by digest and by what they are in the release."""
    places = {blob.digest: place for place, blob in referenced(release)}
    names = {digest: _name_of_place(release, place) for digest, place in places.items()}
    shown = [f"{blob.digest} ({names.get(blob.digest, 'part of an image')})" for blob in lost[:4]]
    more = f", and {len(lost) - 4} more" if len(lost) > 4 else ""
    return f"{show_are(len(lost), 'blob')} missing or damaged: {', '.join(shown)}{more}"


def _name_of_place(release: Release, place: str) -> str:
    """Return for example ``files service`` for ``files[0].entries[2]``, with the name of ``files[0]``."""
    group, _, rest = place.partition("[")
    number, _, _ = rest.partition("]")
    if group in ("images", "files", "charts", "programs") and number.isdigit():
        return f"{group} {getattr(release, group)[int(number)].name}"
    return place


def backup_folder(site: Path, installed: Installed) -> Path:
    # `site.yaml` may name an absolute path.
    return site / installed.settings.backups / str(installed.number)


def discard(disk: Disk, site: Path, installed: tuple[Installed, ...]) -> None:
    for generation in installed:
        folder = backup_folder(site, generation)
        if folder.is_dir():
            discard_backups(disk, folder)
