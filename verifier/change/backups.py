"""How long backups are kept: while somebody may still go back there, and at least as long as both sides promised.

Time is the running time that the journal counted, never the wall clock: a clock that jumps removes nothing.
"""

from pathlib import Path

from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.words.errors import WaybillError
from manifests.words.units import parse_duration
from verifier.runtime.migrations import discard_backups
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.state import Generation, SiteState
from verifier.site.journal.transitions import State
from verifier.site.store import get_blob


def backup_folder(site: Path, installed: Installed) -> Path:
    """Where the backups lie that were made before this generation; an absolute path in site.yaml is taken as it is."""
    return site / installed.settings.backups / str(installed.number)


def is_due(
    state: SiteState, generation: Generation, document: Rollback, kept_seconds: int, keep: frozenset[int]
) -> bool:
    """Whether a generation's backups may go: it failed and is gone, nothing is left to go back to, or time is up. Pure.

    Args:
        kept_seconds: What the customer promised themselves, ``keep.backups`` of site.yaml.
        keep: Generations that stay.
    """
    if generation.state not in (State.CONFIRMED, State.SETTLED):
        return True
    if generation.number not in keep or not any(number < generation.number for number in keep):
        return True
    return state.ran - generation.confirmed >= max(document.offered_for_seconds, kept_seconds)


def plan_discard(site: Site, keep: frozenset[int]) -> tuple[Installed, ...]:
    """Generations whose backups nobody needs any more."""
    found = []
    for generation in site.state.installs.generations:
        if not site.generation_folder(generation.number).is_dir():
            continue
        try:
            installed = read_installed(site, generation)
            if not backup_folder(site.path, installed).is_dir():
                continue
            document = parse_rollback(get_blob(site.blobs, installed.release.rollback, MAX_ROLLBACK))
            kept = parse_duration(installed.settings.keep.backups, "site.yaml $.keep.backups")
        except WaybillError:
            # Without its folder or document nobody can tell; what is damaged is kept.
            continue
        if is_due(site.state, generation, document, kept, keep):
            found.append(installed)
    return tuple(found)


def discard(disk: Disk, site: Path, installed: tuple[Installed, ...]) -> None:
    for one in installed:
        folder = backup_folder(site, one)
        if folder.is_dir():
            discard_backups(disk, folder)
