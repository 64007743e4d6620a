"""Decide how long backups are kept: while a rollback may need them, and at least as long as vendor and site promise.

Times are the running time that the journal counted, not the wall clock: a clock that jumps must not remove a backup.
"""

from pathlib import Path

from manifests.documents.rollback import Rollback
from manifests.words.errors import WaybillError
from manifests.words.units import parse_duration
from verifier.change.documents import read_rollback
from verifier.runtime.migrations import discard_backups
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.installs import Generation, State
from verifier.site.journal.state import SiteState


def backup_folder(site: Path, installed: Installed) -> Path:
    """Return the folder of the backups made before this generation; ``site.yaml`` may name an absolute path."""
    return site / installed.settings.backups / str(installed.number)


def is_due(
    state: SiteState, generation: Generation, document: Rollback, kept_seconds: int, keep: frozenset[int]
) -> bool:
    """Return whether a generation's backups may go: it failed, no older generation is kept, or time is up. Pure.

    Args:
        kept_seconds: ``keep.backups`` of ``site.yaml``.
        keep: Numbers of the generations that are kept.
    """
    if generation.state not in (State.CONFIRMED, State.SETTLED):
        return True
    if generation.number not in keep or not any(number < generation.number for number in keep):
        return True
    return state.ran - generation.confirmed >= max(document.offered_for_seconds, kept_seconds)


def plan_discard(site: Site, keep: frozenset[int]) -> tuple[Installed, ...]:
    """Return the generations whose backups may be removed."""
    due = []
    for generation in site.state.installs.generations:
        if not site.generation_folder(generation.number).is_dir():
            continue
        try:
            installed = read_installed(site, generation)
            if not backup_folder(site.path, installed).is_dir():
                continue
            document = read_rollback(site, installed.release)
            kept = parse_duration(installed.settings.keep.backups, "site.yaml $.keep.backups")
        except WaybillError:
            # Without the folder or the document the decision is not safe, so the backups stay.
            continue
        if is_due(site.state, generation, document, kept, keep):
            due.append(installed)
    return tuple(due)


def discard(disk: Disk, site: Path, installed: tuple[Installed, ...]) -> None:
    for generation in installed:
        folder = backup_folder(site, generation)
        if folder.is_dir():
            discard_backups(disk, folder)
