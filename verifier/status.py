"""What runs at a site, what is unfinished, what waits. Reads, writes nothing, and so works on a full disk."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from manifests.console import age, table
from manifests.errors import AttentionError, DamagedError, UntrustedError, WaybillError
from manifests.units import parse_duration
from verifier.authorisation import ways_below
from verifier.crew import installed_of
from verifier.drivers import Component
from verifier.events import Note
from verifier.install import check_idle
from verifier.machine import outcome_of
from verifier.queue import Waiting
from verifier.review import queue_text
from verifier.site import Site
from verifier.state import SiteState
from verifier.table import State
from verifier.trust import running_revoked
from verifier.verify import VERIFIER_VERSION
from verifier.windows import effective_now, passed_dates


@dataclass(frozen=True)
class Status:
    """Attributes: error: the unfinished or failed transaction, which is said first."""

    text: str
    error: WaybillError | None


def status_of(
    site: Site,
    waiting: tuple[Waiting, ...],
    components: tuple[Component, ...] | None,
    now: datetime,
    *,
    unseen: str = "",
) -> Status:
    """``components`` is None when they were not looked at; ``unseen`` says why they could not be."""
    state = site.state
    foreign = foreign_of(site)
    lines = [f"! {foreign.problem}", f"  {foreign.remedy}", ""] if foreign else []
    lines += [*_unproved(site), *_unfinished(site)]
    running = state.running
    lines.append(f"site       {state.site}{'  (practice)' if state.practice else ''}")
    if running is None:
        lines.append("runs       nothing is installed")
    else:
        lines.append(
            f"runs       {running.product} {running.version}, generation {running.number}, "
            f"for {age(running.since, now)} ({running.state})"
        )
    lines += _below(site)
    if revoked := running_revoked(site):
        lines.append(f"           running revoked: {revoked}")
    for one in components or ():
        lines.append(f"           {one.step}/{one.name}: {one.problem or one.level}")
    if unseen:
        lines.append(f"           what is there cannot be seen: {unseen}")
    for health in state.health:
        failing = f", {health.failures} times in a row" if health.failures else ""
        lines.append(f"           probe {health.probe}: {health.state}{failing}")
    mark = f"{state.channel} {state.mark.sequence}" if state.mark else f"{state.channel}, nothing received"
    lines.append(f"known      {mark}; floor {state.floor.sequence if state.floor else 'none yet'}")
    root = "no root is believed" if state.offboarded else f"root {state.root.version or 1} of {state.vendor}"
    lines.append(f"policy     number {state.policy_number}; {root}")
    if state.root_line:
        lines.append(f"           replaced on paper {state.root_line} times, last because: {state.root_reason}")
    if state.time_claimed:
        lines.append(
            f"time       {state.time_claimed} is claimed; waybill confirm --time {state.time_claimed} believes it"
        )
    lines.append(f"revoked    by list {state.revocations[0]}" if state.revocations else "revoked    no list yet")
    held = f"; home holds {state.acknowledged[0]}" if state.acknowledged else ""
    lines.append(f"report     number {state.report_seq}{held}" if state.report_seq else "report     none yet")
    if state.consignment:
        newest = ", ".join(f"{channel} {mark.sequence}" for channel, mark in state.newest) or "nothing newer known"
        lines.append(f"vendor     consignment {state.consignment}; has {newest}")
    lines += [f"late       {one}" for one in late_of(site, now)]
    if state.torn or site.torn:
        lines.append(f"journal    {state.torn + bool(site.torn)} times its last line was cut off by a crash")
    if state.clock_back:
        lines.append(f"clock      went backwards {state.clock_back} times")
    for alarm in state.alarms:
        lines.append(f"alarm      {alarm.code}: {alarm.detail}")
    lines += _offboarding(state)
    lines.append(f"verifier   {VERIFIER_VERSION}")
    lines += ["", queue_text(waiting), "", generations_text(site)]
    error = foreign
    try:
        _ = site.policy
        check_idle(site)
        if state.inconsistent:
            error = foreign or outcome_of(state)
    except WaybillError as found:
        error = foreign or outcome_of(state) or found
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components or () if one.problem]
    if error is None and wrong:
        error = AttentionError(
            "; ".join(wrong),
            where="components",
            remedy="waybill recover starts again what should run",
            finding="drift",
        )
    if error is None and revoked:
        error = AttentionError(
            f"{running.version if running else ''} is running revoked: {revoked}",
            where="release",
            remedy="install the release that replaces it, or waybill rollback; until then everything goes on",
            finding="running-revoked",
        )
    return Status(text="\n".join(lines).rstrip(), error=error)


def _below(site: Site) -> list[str]:
    """Whether what runs lies below the floor, and which ways below it the vendor allows."""
    state = site.state
    lines = []
    if state.running is not None and state.below_floor:
        floor = state.floor_of(state.running.channel)
        lines.append(f"           below the floor {floor.sequence if floor else 0}, {_allowed(state)}")
    if not state.offboarded:
        lines += [
            f"           may go back below the floor to {target.version}, once, by authorisation "
            f"{one.authorisation.number}: waybill rollback --to {target.number}"
            for target, one in ways_below(site)
        ]
    return lines


def _allowed(state: SiteState) -> str:
    planned = state.transaction.planned if state.transaction else None
    if planned is not None and planned.target == state.current and planned.authorisation is not None:
        by: str | None = planned.authorisation
    else:
        by = next((one.authorisation for one in reversed(state.rollbacks) if one.authorisation), None)
    if by is None:
        return "which was raised since it was installed"
    return f"by the vendor's authorisation {by[:19]} and the word of the people here"


def foreign_of(site: Site) -> WaybillError | None:
    """Journal and key are of two sites, or of two times of one; an account that may not read the key cannot tell."""
    if site.state.offboarded:
        return None
    try:
        site.check_ours()
        site.signer()
    except (DamagedError, UntrustedError) as error:
        return error
    except (WaybillError, OSError):
        return None
    return None


def late_of(site: Site, now: datetime) -> tuple[str, ...]:
    """What should have happened by now, by the later of this host's clock and what confirmed releases prove; in words.

    A damaged generation has no dates to speak of; `status` says elsewhere that it is damaged.
    """
    state = site.state
    if state.running is None or state.offboarded:
        return ()
    at = effective_now(now, state.time_floor)
    try:
        installed = installed_of(site, state.running)
    except WaybillError:
        return ()
    found = [f"{installed.release.version}: {words}" for _, words in passed_dates(installed.release, at)]
    every = installed.settings.report.every
    left = [entry.record.at for entry in site.entries if _is_export(entry.record.event)]
    since = left[-1] if left else site.entries[0].record.at
    if every != "never" and datetime.fromisoformat(since) + timedelta(seconds=parse_duration(every)) < at:
        last = f"the last one left {since}" if left else "none has left yet"
        found.append(f"a report is promised every {every}; {last}")
    return tuple(found)


def _is_export(event: object) -> bool:
    return isinstance(event, Note) and event.code == "exported"


def _offboarding(state: SiteState) -> list[str]:
    """How far the end of the vendor's access is."""
    now = state.offboarding
    if now is None:
        return []
    if now.done is None:
        return [f"vendor     asked at {now.asked_at} that its access ends ({now.asked.reason}): {now.asked.detail}"]
    count = {word: sum(one.outcome == word for one in now.tried) for word in ("refused", "unproven", "accepted")}
    proof = ", ".join(f"{number} {word}" for word, number in count.items() if number) or "nothing tried yet"
    unfinished = "" if now.ended else "; unfinished: waybill offboard goes on"
    return [f"vendor     its access ended at {now.done_at} ({now.done.reason}); {proof}{unfinished}"]


def _unproved(site: Site) -> list[str]:
    """Before anything else: the journal names a policy to which its people did not agree."""
    try:
        _ = site.policy
    except WaybillError as error:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    return []


def _unfinished(site: Site) -> list[str]:
    """The last transaction, when it did not simply succeed: always the first thing that is said."""
    now = site.state.transaction
    if now is None or now.state == State.SETTLED:
        return []
    error = outcome_of(site.state)
    if error is not None:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    if now.state == State.CONFIRMED:
        return [f"! generation {now.planned.target} is confirmed; cleaning up is unfinished: {now.detail}", ""]
    why = f": {now.detail}" if now.detail else ""
    return [f"! {now.action} of {now.planned.item} has not switched ({now.state}){why}; nothing was changed", ""]


def generations_text(site: Site) -> str:
    """Each with what it is now: the one that runs, where `rollback` goes, what was cleared away."""
    state, former = site.state, site.former()
    if not state.generations:
        return ""
    rows: list[tuple[str, ...]] = []
    for one in state.generations:
        here = "runs" if one.number == state.current else "former" if one.number == former else ""
        if not here and not site.generation_folder(one.number).is_dir():
            here = "cleared away"
        rows.append((str(one.number), one.version, str(one.state), one.since, here))
    return table(rows, ("generation", "version", "state", "since", ""))
