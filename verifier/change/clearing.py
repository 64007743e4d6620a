"""Decide which generations and backups are cleared away once a change is confirmed; the review and the install ask."""

from collections.abc import Container
from dataclasses import dataclass

from manifests.words.errors import WaybillError
from manifests.words.quantities import parse_duration
from verifier.change.data_return import backup_folder
from verifier.change.release_papers import read_rollback
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.installs import Generation, InstallState, State

WORKED = (State.CONFIRMED, State.SETTLED)


@dataclass(frozen=True)
class Clearing:
    """What is kept and what is cleared away.

    Attributes:
        kept: Numbers of the generations that are kept.
        generations: Those on disk that are not.
        backups: Generations whose backups are removed.
        early: Those of them whose backups a release or ``site.yaml`` promised for longer.
    """

    kept: frozenset[int]
    generations: tuple[Generation, ...]
    backups: tuple[Installed, ...]
    early: tuple[Installed, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return (
            *(f"clear away generation {removed.number} ({removed.version})" for removed in self.generations),
            *(f"clear away {name_backups(owner)}" for owner in self.backups),
        )


def name_backups(owner: Installed) -> str:
    return f"the backups of generation {owner.number} ({owner.release.version})"


def plan_clearing(site: Site, installs: InstallState, count: int) -> Clearing:
    """Return what is cleared away once the current generation of ``installs`` is confirmed.

    Args:
        installs: As it will be then.
        count: ``keep.generations`` of the current generation.
    """
    made = {generation.number for generation in site.state.installs.generations}
    present = frozenset(
        generation.number
        for generation in installs.generations
        # A generation that a plan has yet to make will be on disk by then.
        if generation.number not in made or site.generation_folder(generation.number).is_dir()
    )
    kept = kept_generations(installs, present, count)
    removed = tuple(
        generation
        for generation in site.state.installs.generations
        if generation.number in present and generation.number not in kept
    )
    backups, early = _removed_backups(site, installs, kept)
    return Clearing(kept, removed, backups, early)


def kept_generations(installs: InstallState, present: Container[int], count: int) -> frozenset[int]:
    """Return the generations to keep: the current and the former one, and what ``keep.generations`` says.

    A change of the config alone makes a generation too. It must not push out another release, so the newest
    ``count`` releases are kept as well, each with its newest generation and with those that changed the data of that
    or of the current one: a rollback needs their documents and backups.
    """
    worked = [generation for generation in installs.generations if generation.state in WORKED]
    newest = {generation.release: generation for generation in worked}
    releases = sorted(newest.values(), key=lambda generation: generation.number)[-count:]
    lineage = installs.lineage(installs.current)
    former = next((before.number for before in lineage[1:] if before.number in present), 0)
    kept = {installs.current, former, *(generation.number for generation in (*worked[-count:], *releases))}
    for release in (*releases, *lineage[:1]):
        line = (*installs.lineage(release.number), *lineage)
        same = (generation.number for generation in line if generation.release == release.release)
        kept |= {number for number in same if installs.part_history(number)}
    return frozenset(kept)


def _removed_backups(
    site: Site, installs: InstallState, keep: frozenset[int]
) -> tuple[tuple[Installed, ...], tuple[Installed, ...]]:
    """Return the generations whose backups may be removed, and those of them that were promised for longer.

    Backups may go when their generation failed, when no older one is kept, or when the promised time is over.
    The running time of the journal counts, not the wall clock: a clock that jumps must not remove a backup.
    """
    due, early = [], []
    for generation in installs.generations:
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
        promised = max(document.offered_for_seconds, kept)
        over = generation.state not in WORKED or site.state.ran - generation.confirmed >= promised
        needed = generation.number in keep and generation.number > min(keep)
        if over or not needed:
            due.append(installed)
        if not over and not needed:
            early.append(installed)
    return tuple(due), tuple(early)
