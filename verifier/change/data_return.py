"""Whether and how this site can go back: asked before an upgrade and before a rollback, while nothing was changed."""

from dataclasses import dataclass

from manifests.documents.release import Release, referenced
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.progress import ProgressCallback, no_progress
from manifests.words.units import show_size
from verifier.change.backups import backup_folder
from verifier.change.driver_steps import LoadDriver, driver_steps
from verifier.change.recovery import act_of_part
from verifier.change.rollback_script import plan_undo
from verifier.runtime.migrations import check_backup
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.state import Generation
from verifier.site.journal.transitions import Blocked, NextPart, Restore, Undo
from verifier.site.store import get_blob, missing_blobs


@dataclass(frozen=True)
class DataReturn:
    """How the data go back with a rollback by hand.

    Attributes:
        document: The generation whose rollback document says so; 0 where no data are taken back.
        parts: What will be done, in order.
    """

    document: int = 0
    parts: tuple[NextPart, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(_line(part) for part in self.parts)


def rollback_document(site: Site, release: Release) -> Rollback:
    """How this release is left again. Raises DamagedError when the store has lost it."""
    return parse_rollback(get_blob(site.blobs, release.rollback, MAX_ROLLBACK))


def changes_data(document: Rollback, before: str | None, release: str) -> bool:
    """Whether installing ``release`` over ``before`` does parts of the document; a new configuration does not. Pure."""
    return before != release and bool(document.backup or document.steps)


def plan_data_return(site: Site, target: Generation, running: Generation, item: str) -> DataReturn:
    """How the data come back to what ``target`` had.

    Raises:
        RefusedError: They cannot, or not in one go.
        DamagedError: A backup that is needed is gone or damaged.
    """
    state = site.state
    there = state.installs.lineage(target.number)
    _check_there(there, item)
    ours = [one for one in state.installs.lineage(running.number) if one not in there]
    open_ = [(one, parts) for one in ours if state.installs.deeds_of(one.number) and (parts := _parts_of(site, one))]
    if not open_:
        return DataReturn()
    owner, parts = open_[0]
    if len(open_) > 1 or owner.release != running.release:
        nearer = owner.source if owner.release == running.release else owner.number
        changed = " and ".join(one.version for one, _ in reversed(open_))
        raise RefusedError(
            f"what {changed} did to the data would have to be taken back, and each release knows only its own way",
            where=item,
            remedy=f"go back one at a time: waybill rollback --to {nearer}",
            finding="way-back-steps",
        )
    if isinstance(stop := parts[-1], Blocked):
        raise RefusedError(
            f"{running.version} has no way back for its data: {stop.detail}",
            where=item,
            remedy="the recovery plan of its rollback document says what people can do",
            finding="no-way-back",
        )
    installed = read_installed(site, owner)
    document = rollback_document(site, installed.release)
    restores = [one for one in parts if isinstance(one, Restore)]
    if document.class_ == "irreversible" and not restores:
        raise RefusedError(
            f"{running.version} cannot be left again: its vendor says that it is irreversible",
            where=item,
            remedy="the recovery plan of its rollback document says what people can do",
            finding="irreversible",
        )
    for one in restores:
        check_backup(backup_folder(site.path, installed), one.made)
    return DataReturn(document=owner.number, parts=parts)


def _parts_of(site: Site, generation: Generation) -> tuple[NextPart, ...]:
    """What of its data is still to be taken back."""
    document = rollback_document(site, read_installed(site, generation).release)
    return plan_undo(document, site.state.installs.deeds_of(generation.number))


def _check_there(line: tuple[Generation, ...], item: str) -> None:
    """Going to a generation again migrates nothing, so the data that it stands on must not have been taken back."""
    for one in line:
        if one.taken_back:
            raise RefusedError(
                f"the data of generation {one.number} were taken back",
                where=item,
                remedy=f"waybill install r-{line[0].version}, which migrates them again",
                finding="data-taken-back",
            )


def _line(part: NextPart) -> str:
    match part:
        case Undo(step):
            return f"undo {step.name}: {' '.join(step.undo or ())}"
        case Restore(backup, made):
            return f"restore {backup.name} from its backup of {show_size(made.size)}: {' '.join(backup.restore)}"
        case Blocked(_, detail):
            return detail
    act, name = act_of_part(part)
    return f"{act} {name}"


# --- before an upgrade --------------------------------------------------------------------------------------------


def check_previous_generation(
    site: Site,
    generation: Generation,
    load: LoadDriver,
    *,
    brought: frozenset[str],
    told: ProgressCallback = no_progress,
) -> tuple[str, ...]:
    """That the generation which runs could be gone back to with what is here, without a network; says so in words.

    Args:
        brought: Digests that come anew with what is to be installed.

    Raises:
        DamagedError: Its folder or some of its blobs are missing or damaged; nothing was changed.
        RefusedError: This verifier or this site lacks a driver that it needs.
    """
    try:
        installed = read_installed(site, generation)
    except WaybillError as error:
        raise DamagedError(
            f"generation {generation.number} ({generation.version}) could not be gone back to: {error}",
            where="way back",
            remedy=f"bring back {site.generation_folder(generation.number)} from a backup of the site; "
            "nothing was changed",
            finding="way-back",
        ) from error
    driver_steps(site, installed, load)
    lost = [one for one in missing_blobs(site.blobs, installed.release.members, told=told) if one.digest not in brought]
    if lost:
        raise DamagedError(
            f"generation {generation.number} could not be gone back to: {name_blobs(installed.release, lost)}",
            where="way back",
            remedy=f"bring the medium of {generation.version}: waybill receive BUNDLE --keep; nothing was changed",
            finding="way-back",
        )
    count = len(installed.release.members)
    return (f"way back: generation {generation.number} ({generation.version}), its {count} blobs are here and clean",)


def name_blobs(release: Release, lost: list[Blob] | tuple[Blob, ...]) -> str:
    """Which blobs are missing or damaged, by digest and by what of the release they are; the first few."""
    places = {blob.digest: place for place, blob in referenced(release)}
    shown = [
        f"{one.digest} ({_word(release, places[one.digest]) if one.digest in places else 'part of an image'})"
        for one in lost[:4]
    ]
    more = f", and {len(lost) - 4} more" if len(lost) > 4 else ""
    return f"{len(lost)} blobs are missing or damaged: {', '.join(shown)}{more}"


def _word(release: Release, place: str) -> str:
    """``files[0].entries[2]`` in words of the release."""
    group, _, rest = place.partition("[")
    number, _, _ = rest.partition("]")
    named = {
        "images": [one.name for one in release.images],
        "files": [one.name for one in release.files],
        "charts": [one.name for one in release.charts],
        "programs": [one.name for one in release.programs],
    }
    if group in named and number.isdigit():
        return f"{group} {named[group][int(number)]}"
    return place
