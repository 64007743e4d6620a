"""What an approver must weigh first: whether a rollback stays possible, what stops, how the floor rises. Reads only."""

from collections.abc import Iterator, Sequence
from functools import partial

from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from manifests.words.units import show_duration
from manifests.words.version import in_any
from verifier.change.clearing import Clearing, name_backups
from verifier.change.forecast import Forecast
from verifier.change.reachable import kept_generations
from verifier.change.release_papers import read_rollback
from verifier.change.rollback_script import plan_undo
from verifier.change.values import Change
from verifier.runtime.saved_data import DATA, data_names
from verifier.site.folder import Site
from verifier.site.journal.installs import Generation
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import Blocked
from verifier.site.releases import release_of, revoked_release
from verifier.site.unread import attempt
from verifier.trust.findings import Finding

# Between the names of the services and the generation, in a finding `service-restarts`.
RESTARTS = "restarts"


def findings_of_change(
    site: Site, hops: Sequence[Change], outlook: Forecast, clearing: Clearing
) -> tuple[Finding, ...]:
    """Return what the approvers of a change must weigh, the most serious first; all findings are warnings."""
    change = hops[-1]
    findings = (
        *_leads_below(site.state, change, outlook),
        *_no_rollback(site, change, outlook.state, clearing),
        *_backups_cleared(clearing),
        *_data_left(site, change),
        *_proves_nothing(hops, outlook),
        *_revoked(site, change),
        *_stops(hops, outlook),
        *_restarts(site, hops, outlook),
        *_floor_rises(site.state, change, outlook.state),
    )
    return tuple(Finding(name, "warning", text) for name, text in findings)


def _leads_below(before: SiteState, change: Change, outlook: Forecast) -> Iterator[tuple[str, str]]:
    """Yield a finding for a rollback below the floor, with what happens to the data and the configuration."""
    if change.authorised is None:
        return
    channel, floor = change.planned.channel, before.floor_of(change.planned.channel)
    undone = [words for acts in outlook.acts for act in acts if act.act in ("undo", "restore") for words in act.words]
    data = f"the data are changed too: {'; '.join(undone)}" if undone else "no program takes the data back"
    yield (
        "leads-below-floor",
        f"the rollback leads to sequence {change.planned.mark.sequence}, below the floor "
        f"{floor.sequence if floor else 0} of channel {channel}; {data}; the configuration of generation "
        f"{change.target} comes back",
    )


def _no_rollback(site: Site, change: Change, after: SiteState, clearing: Clearing) -> Iterator[tuple[str, str]]:
    """Yield a finding when no kept generation could be reached once the change is confirmed."""
    back = change.action == "rollback"
    if back and change.authorised is None:
        return
    document = attempt(partial(read_rollback, site, change.release), []) if back else change.rollback
    reasons = []
    present = {generation.number for generation in site.state.installs.generations}
    # A plan of several releases makes generations before its last one.
    made = [one for one in after.installs.generations if one.number not in present and one.number != change.target]
    for generation in (*reversed(made), *kept_generations(site, change.target)):
        cleared = generation.number not in clearing.kept
        reason = "it is cleared away" if cleared else _unreachable(generation, change, document, after)
        if not reason:
            return
        reasons.append(f"generation {generation.number} ({generation.version}): {reason}")
    if reasons:
        yield "no-rollback", f"once it is confirmed, no rollback is possible: {'; '.join(reasons)}"


def _backups_cleared(clearing: Clearing) -> Iterator[tuple[str, str]]:
    """Yield a finding for the backups that are removed before the promised time is over."""
    for owner in clearing.early:
        yield (
            "backup-cleared",
            f"once it is confirmed, {name_backups(owner)} are cleared away before their time is over: no generation "
            "before that is kept; keep.generations of site.yaml says how many releases are",
        )


def _unreachable(generation: Generation, change: Change, document: Rollback | None, after: SiteState) -> str:
    """Return why the change, once confirmed, could not be rolled back to the generation; empty when it could.

    Args:
        document: The rollback document of the release that will run.
    """
    if document is None:
        return "the rollback document of the release cannot be read"
    same = generation.release == change.planned.release
    floor = after.floor_of(generation.channel)
    if floor is not None and generation.mark < floor and not same:
        return f"below the floor {floor.sequence}, unless the vendor authorises it"
    if not same and not in_any(generation.version, document.back_to):
        to = " or ".join(document.back_to)
        name = f"release {change.release.version}"
        return f"{name} can be rolled back only to {to}" if to else f"{name} allows no rollback"
    taken_back = next((one for one in after.installs.lineage(generation.number) if one.taken_back), None)
    if taken_back is not None:
        return f"the data of generation {taken_back.number} were taken back"
    history = after.installs.part_history(change.target)
    parts = plan_undo(document, history) if history else ()
    if parts and isinstance(blocked := parts[-1], Blocked):
        return blocked.detail
    if document.class_ == "irreversible" and change.planned.document and not document.backup:
        return "the release is irreversible, and no backup is made"
    return ""


def _revoked(site: Site, change: Change) -> Iterator[tuple[str, str]]:
    why = revoked_release(site, change.planned.release)
    if why is not None:
        yield "revoked", f"release {change.release.version} is revoked: {why}"


def _data_left(site: Site, change: Change) -> Iterator[tuple[str, str]]:
    """Yield a finding for each data folder that services of the running release have, and none of the new one."""
    running = site.state.installs.running
    before = None if running is None else attempt(partial(release_of, site, running), [])
    if before is None:
        return
    for name in data_names(before):
        if name not in data_names(change.release) and (site.path / DATA / name).is_dir():
            yield (
                "data-left",
                f"no service of {change.release.version} reads {DATA}/{name}, where a service of {before.version} "
                "keeps its data: what is there stays and is not carried over",
            )


def _proves_nothing(hops: Sequence[Change], outlook: Forecast) -> Iterator[tuple[str, str]]:
    """Yield a finding for each backup that is made or restored and whose trial restore proves nothing."""
    for change, acts in zip(hops, outlook.acts, strict=True):
        used = {act.step for act in acts if act.act in ("backup", "restore")}
        for backup in change.rollback.backup if change.rollback else ():
            if backup.name in used and backup.proves is None:
                yield (
                    "backup-proves-nothing",
                    f"backup {backup.name} proves nothing: its programs state no count of rows and no digest",
                )


def _stops(hops: Sequence[Change], outlook: Forecast) -> Iterator[tuple[str, str]]:
    """Yield a finding for the services that stand still from the first backup or migration until the switch."""
    for change, acts in zip(hops, outlook.acts, strict=True):
        begun = next((i for i, act in enumerate(acts) if act.act == "pause"), None)
        if begun is None:
            continue
        ends = next(i for i, act in enumerate(acts) if act.act == "switch")
        stopped = [act.step for act in acts[begun:ends] if act.act == "deactivate" and act.step]
        if stopped:
            back = change.action == "rollback"
            seconds = sum(step.downtime_seconds for step in change.release.install)
            states = f"states a downtime of about {show_duration(seconds)}" if seconds else "states no downtime"
            saved = any(act.act == "backup" for act in acts[begun:ends])
            yield (
                "service-stops",
                f"{', '.join(stopped)} is stopped while data are "
                f"{'taken back' if back else 'saved and changed' if saved else 'changed'}, until the switch to "
                f"generation {change.target}; "
                + ("no downtime is stated for a rollback" if back else f"release {change.release.version} {states}"),
            )


def _restarts(site: Site, hops: Sequence[Change], outlook: Forecast) -> Iterator[tuple[str, str]]:
    """Yield a finding for the services that run, and restart at a switch for which nobody states a downtime."""
    running = site.state.installs.running
    before = None if running is None else attempt(partial(release_of, site, running), [])
    digest = None if running is None else running.release
    for change, acts in zip(hops, outlook.acts, strict=True):
        served = _services(before)
        restarted = [act.step for act in acts if act.act == "activate" and act.step in served]
        stated = change.action == "install" and any(step.downtime_seconds for step in change.release.install)
        same = digest == change.planned.release
        before, digest = change.release, change.planned.release
        if not restarted or any(act.act == "pause" for act in acts) or (stated and not same):
            continue
        what = f"release {change.release.version}"
        if same or change.action == "rollback":
            what = "a new configuration" if change.action == "install" else "a rollback"
        names = ", ".join(name for name in restarted if name)
        text = f"{names} {RESTARTS} at the switch to generation {change.target}; {what} states no downtime"
        yield "service-restarts", text


def _services(release: Release | None) -> frozenset[str]:
    steps = () if release is None else release.install
    return frozenset(step.step for step in steps if step.keep_running is not None)


def _floor_rises(before: SiteState, change: Change, after: SiteState) -> Iterator[tuple[str, str]]:
    channel = change.release.channel
    low, high = before.floor_of(channel), after.floor_of(channel)
    if high is not None and low is not None and low < high:
        yield (
            "floor-rises",
            f"the floor of channel {channel} rises from {low.sequence} to {high.sequence}: no release before that can "
            "be installed again, nor a rollback lead to it",
        )
