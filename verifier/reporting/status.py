"""What runs at a site, what is unfinished, what waits. Reads, writes nothing, and so works on a full disk."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from manifests.documents.plan import parse_plan
from manifests.words.errors import AttentionError, DamagedError, UntrustedError, WaybillError
from manifests.words.text import table
from manifests.words.time import age, optional_time, parse_time, rfc3339
from manifests.words.units import parse_duration, show_times
from verifier.approval.queue import Waiting, queue_text, waiting_data
from verifier.change.below_floor import open_authorisations
from verifier.change.route import items_of_plan
from verifier.change.transaction import transaction_error, trial_left
from verifier.install.result import check_idle
from verifier.rules.emergency import uses_left
from verifier.rules.time import FAR_AHEAD, clock_verdict, effective_now, passed_dates
from verifier.runtime.drivers.driver import Component
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.events import Note
from verifier.site.journal.installs import Generation, State, Transaction
from verifier.site.journal.state import SiteState
from verifier.site.lock import check_ours
from verifier.site.release_heads import running_revoked
from verifier.site.report_files import newest_report, report_path
from verifier.trust.findings import VERIFIER_VERSION


@dataclass(frozen=True)
class SiteStatus:
    """Attributes: error: the unfinished or failed transaction, which is said first; data: the same for programs."""

    text: str
    data: dict[str, object]
    error: WaybillError | None


def read_status(
    site: Site,
    waiting: tuple[Waiting, ...],
    components: tuple[Component, ...] | None,
    now: datetime,
    *,
    unseen: str = "",
) -> SiteStatus:
    """``components`` is None when they were not looked at; ``unseen`` says why they could not be."""
    foreign = foreign_of(site)
    lines = [f"! {foreign.problem}", f"  {foreign.remedy}", ""] if foreign else []
    lines += [*_unproved(site), *_unfinished(site)]
    lines += [*_runs(site, components or (), now, unseen), *_in_force(site), *_reporting(site, now)]
    lines += ["", queue_text(waiting, now), "", generations_text(site)]
    error = foreign or _unsettled(site) or _attention(site, components or ())
    return SiteStatus("\n".join(lines).rstrip(), _data(site, waiting, components or (), now, unseen), error)


def broken_status(site: Site, broken: WaybillError) -> SiteStatus:
    """Return the status of a site whose journal is broken, using only the intact entries."""
    state, last = site.state, site.entries[-1].record
    pointed = site.pointed()
    known = state.installs.generation(pointed) if pointed else None
    signed = newest_report(site)
    lines = [
        f"! {broken.problem}",
        f"  {broken.remedy}",
        "",
        f"site       {state.site}{'  (practice)' if state.trust.practice else ''}",
        f"journal    holds up to entry {last.seq}, of {last.at}; {_then(site)}",
        f"current    {_points(pointed, known)}",
    ]
    if signed is None:
        lines.append("report     none here is signed by a key of this site")
    else:
        report = signed.report
        lines.append(
            f"report     {report_path(site, report.chain.seq)}, of {report.chain.made_at}, signed by this site's key; "
            "send a copy of the file to support"
        )
    lines.append("the running release keeps running; Waybill does not install, confirm or roll back")
    lines.append(f"verifier   {VERIFIER_VERSION}")
    data = {
        "site": state.site,
        "practice": state.trust.practice,
        "broken": broken.problem,
        "entries": last.seq,
        "current": pointed,
        "version": known.version if known else None,
        "report": signed.report.chain.seq if signed else None,
        "verifier": VERIFIER_VERSION,
    }
    return SiteStatus("\n".join(lines), data, broken)


def _then(site: Site) -> str:
    running = site.state.installs.running
    return f"generation {running.number} ({running.version}) ran then" if running else "nothing was installed then"


def _points(pointed: int | None, known: Generation | None) -> str:
    if pointed is None:
        return "is not a link that Waybill made"
    if pointed == 0:
        return "is not there: nothing is installed"
    return f"points at generation {pointed}, {known.version if known else 'which came after the break'}"


def _runs(site: Site, components: tuple[Component, ...], now: datetime, unseen: str) -> list[str]:
    """Return lines about the running release, its components and its probes."""
    state, running = site.state, site.state.installs.running
    lines = [f"site       {state.site}{'  (practice)' if state.trust.practice else ''}"]
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
    lines += [f"           {one.step}/{one.name}: {one.problem or one.level}" for one in components]
    if unseen:
        lines.append(f"           components could not be checked: {unseen}")
    for health in state.installs.health:
        failing = f", {health.failures} times in a row" if health.failures else ""
        lines.append(f"           probe {health.probe}: {health.state}{failing}")
    return lines


def _in_force(site: Site) -> list[str]:
    """Return lines about the mark, the policy, the root and the revocation list."""
    state = site.state
    mark = f"{state.channel} {state.mark.sequence}" if state.mark else f"{state.channel}, nothing received"
    root = (
        "no root is believed" if state.offboarded else f"root {state.trust.root.version or 1} of {state.trust.vendor}"
    )
    lines = [
        f"known      {mark}; floor {state.floor.sequence if state.floor else 'none yet'}",
        f"policy     number {state.trust.policy_number}; {root}",
    ]
    if state.trust.root_line:
        lines.append(
            f"           replaced from paper {state.trust.root_line} times, last reason: {state.trust.root_reason}"
        )
    lines += [f"           emergency rule {one.words}" for one in emergency_rules(site)]
    if state.trust.time_claimed is not None:
        claimed = rfc3339(state.trust.time_claimed)
        lines.append(f"time       {claimed} is claimed; to accept it: waybill confirm --time {claimed} --key KEY")
    lines.append(
        f"revoked    by list {state.trust.revocations[0]}" if state.trust.revocations else "revoked    no list yet"
    )
    return lines


def _reporting(site: Site, now: datetime) -> list[str]:
    """Return lines about reports, consignments, late dates, the clock, the reserve and alarms."""
    state = site.state
    held = f"; support holds {state.reports.acknowledged[0]}" if state.reports.acknowledged else ""
    lines = [f"report     number {state.reports.seq}{held}" if state.reports.seq else "report     none yet"]
    if state.reports.consignment:
        newest = (
            ", ".join(f"{channel} {mark.sequence}" for channel, mark in state.trust.newest) or "nothing newer known"
        )
        lines.append(f"vendor     consignment {state.reports.consignment}; has {newest}")
    lines += [f"late       {one}" for one in late_of(site, now)]
    if state.torn or site.torn:
        lines.append(f"journal    {state.torn + bool(site.torn)} times its last line was cut off by a crash")
    floor = state.trust.time_floor
    verdict = clock_verdict(floor, now)
    if floor is not None and verdict == "behind":
        lines.append(
            f"clock      {rfc3339(now)} is behind: a confirmed release proves that it is {rfc3339(floor)} or later"
        )
    elif floor is not None and verdict == "ahead":
        lines.append(
            f"clock      {rfc3339(now)} is {FAR_AHEAD.days} days or more beyond {rfc3339(floor)}, "
            "the latest time that a confirmed release proves"
        )
    if state.clock_back:
        lines.append(f"clock      set back {show_times(state.clock_back)}")
    if not site.reserve.exists():
        lines.append("reserve    used on a full disk; the next report restores it when there is space")
    for (code, detail), count in Counter((one.code, one.detail) for one in state.alarms).items():
        lines.append(f"alarm      {code}: {detail}{f' ({show_times(count)})' if count > 1 else ''}")
    return [*lines, *_offboarding(state), f"verifier   {VERIFIER_VERSION}"]


@dataclass(frozen=True)
class EmergencyRule:
    """A rule of the policy in force, and how often it may still be used."""

    name: str
    uses: int
    left: int

    @property
    def words(self) -> str:
        return f"{self.name}: {self.left} of {self.uses} uses left" if self.left else f"{self.name}: spent"


def emergency_rules(site: Site) -> tuple[EmergencyRule, ...]:
    """None while the policy cannot be proved: `status` says so elsewhere."""
    state = site.state
    try:
        rules = site.policy.emergency
    except WaybillError:
        return ()
    return tuple(
        EmergencyRule(
            rule.name,
            rule.uses,
            uses_left(rule, state.trust.uses, policy=state.trust.policy, plan="", installs=state.trust.installs_since),
        )
        for rule in rules
    )


def _unsettled(site: Site) -> WaybillError | None:
    """Why nothing new can begin here, or what a process that was cut off left to be finished."""
    try:
        _ = site.policy
        check_idle(site)
        if site.state.installs.inconsistent:
            return transaction_error(site)
    except WaybillError as error:
        return transaction_error(site) or error
    transaction = site.state.installs.transaction
    if transaction is not None and transaction.act is not None and transaction.state != State.SETTLED:
        return AttentionError(
            f"{transaction.action} of {transaction.planned.item} was cut off while it was to {transaction.act}",
            where=transaction.planned.item,
            remedy="waybill recover",
            finding="unfinished",
        )
    return None


def _attention(site: Site, components: tuple[Component, ...]) -> WaybillError | None:
    running = site.state.installs.running
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components if one.problem]
    if wrong:
        return AttentionError(
            "; ".join(wrong), where="components", remedy="waybill recover restarts the components", finding="drift"
        )
    if revoked := running_revoked(site):
        return AttentionError(
            f"{running.version if running else ''} is running revoked: {revoked}",
            where="release",
            remedy="install the release that replaces it, or waybill rollback; until then the release keeps running",
            finding="running-revoked",
        )
    return None


def _data(
    site: Site, waiting: tuple[Waiting, ...], components: tuple[Component, ...], now: datetime, unseen: str
) -> dict[str, object]:
    """Return the status for programs. ``trial_left_seconds`` is None outside a trial and for an unreadable one."""
    state, running = site.state, site.state.installs.running
    try:
        left = trial_left(site)
    except WaybillError:
        left = None
    return {
        "site": state.site,
        "practice": state.trust.practice,
        "generation": state.installs.current,
        "version": running.version if running else None,
        "release": running.release if running else None,
        "state": str(running.state) if running else "none",
        "transaction": str(state.installs.transaction.state) if state.installs.transaction else None,
        "trial_left_seconds": left,
        "floor": state.floor.sequence if state.floor else None,
        "below_floor": state.below_floor,
        "mark": state.mark.sequence if state.mark else None,
        "report": state.reports.seq,
        "acknowledged": state.reports.acknowledged[0] if state.reports.acknowledged else None,
        "policy": state.trust.policy_number,
        "emergency": [{"rule": rule.name, "uses": rule.uses, "left": rule.left} for rule in emergency_rules(site)],
        "waiting": [waiting_data(item) for item in waiting],
        "late": list(late_of(site, now)),
        "clock": clock_verdict(state.trust.time_floor, now),
        "time_floor": optional_time(state.trust.time_floor),
        "time_claimed": optional_time(state.trust.time_claimed),
        "reserve": site.reserve.exists(),
        "alarms": [{"code": alarm.code, "detail": alarm.detail} for alarm in state.alarms],
        "unseen": unseen,
        "components": [
            {"step": part.step, "name": part.name, "level": part.level, "problem": part.problem} for part in components
        ],
        "verifier": VERIFIER_VERSION,
    }


def _below(site: Site) -> list[str]:
    """Return whether the running release is below the floor, and which rollbacks below it the vendor allows."""
    state = site.state
    lines = []
    if state.installs.running is not None and state.below_floor:
        floor = state.floor_of(state.installs.running.channel)
        lines.append(f"           below the floor {floor.sequence if floor else 0}, {_allowed(state)}")
    if not state.offboarded:
        lines += [
            f"           rollback below the floor to {target.version} allowed once by authorisation "
            f"{usable.authorisation.number}: waybill rollback --to {target.number}"
            for target, usable in open_authorisations(site)
        ]
    return lines


def _allowed(state: SiteState) -> str:
    planned = state.installs.transaction.planned if state.installs.transaction else None
    if planned is not None and planned.target == state.installs.current and planned.authorisation is not None:
        by: str | None = planned.authorisation
    else:
        by = next((one.authorisation for one in reversed(state.installs.rollbacks) if one.authorisation), None)
    if by is None:
        return "which was raised after this installation"
    return f"by the vendor's authorisation {by[:19]}, approved by this site's people"


def foreign_of(site: Site) -> WaybillError | None:
    """Journal and key are of two sites, or of two times of one; an account that may not read the key cannot tell."""
    if site.state.offboarded:
        return None
    try:
        check_ours(site)
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
    if state.installs.running is None or state.offboarded:
        return ()
    at = effective_now(now, state.trust.time_floor)
    try:
        installed = read_installed(site, state.installs.running)
    except WaybillError:
        return ()
    late = [f"{installed.release.version}: {words}" for _, words in passed_dates(installed.release, at)]
    every = installed.settings.report.every
    left = [entry.record.at for entry in site.entries if _is_export(entry.record.event)]
    since = left[-1] if left else site.entries[0].record.at
    if every != "never" and parse_time(since) + timedelta(seconds=parse_duration(every)) < at:
        last = f"the last one was exported at {since}" if left else "none was exported yet"
        late.append(f"a report is due every {every}; {last}")
    return tuple(late)


def _is_export(event: object) -> bool:
    return isinstance(event, Note) and event.code == "exported"


def _offboarding(state: SiteState) -> list[str]:
    """How far the end of the vendor's access is."""
    offboarding = state.offboarding
    if offboarding is None:
        return []
    if offboarding.done is None or offboarding.done_at is None:
        return [
            f"vendor     asked at {rfc3339(offboarding.asked_at)} that its access ends "
            f"({offboarding.asked.reason}): {offboarding.asked.detail}"
        ]
    count = Counter(probe.outcome for probe in offboarding.tried)
    tried = [f"{count[word]} {word}" for word in ("refused", "unproven", "accepted") if count[word]]
    proof = ", ".join(tried) or "nothing tried yet"
    unfinished = "" if offboarding.ended else "; unfinished: waybill offboard continues"
    end = f"{rfc3339(offboarding.done_at)} ({offboarding.done.reason})"
    return [f"vendor     its access ended at {end}; {proof}{unfinished}"]


def _unproved(site: Site) -> list[str]:
    """Before anything else: the journal names a policy to which its people did not agree."""
    try:
        _ = site.policy
    except WaybillError as error:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    return []


def _unfinished(site: Site) -> list[str]:
    """The last transaction, when it did not simply succeed: always the first thing that is said."""
    transaction = site.state.installs.transaction
    if transaction is None or transaction.state == State.SETTLED:
        return []
    error = transaction_error(site)
    if error is not None:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    why = f": {transaction.detail}" if transaction.detail else ""
    if transaction.state == State.CONFIRMED:
        return [
            f"! generation {transaction.planned.target} is confirmed; cleaning up is unfinished{why}",
            "  waybill recover continues it",
            "",
        ]
    how = (
        f"was cut off while it was to {transaction.act}"
        if transaction.act
        else f"has not switched ({transaction.state}){why}"
    )
    so_far = "services that it stopped are not started yet" if transaction.touched else "nothing was changed"
    return [
        f"! {transaction.action} of {transaction.planned.item} {how}; {so_far}",
        f"  waybill {_repeat_command(site, transaction)} continues it",
        "",
    ]


def _repeat_command(site: Site, transaction: Transaction) -> str:
    """Return the command that continues the transaction."""
    planned = transaction.planned
    if transaction.action == "rollback":
        return f"rollback --to {planned.target}"
    try:
        items = items_of_plan(site, parse_plan(site.document(planned.plan)))
    except WaybillError:
        items = ()
    return f"install {' '.join(items) if len(items) > 1 else planned.item}"


def generations_text(site: Site) -> str:
    """Each with what it is now: the one that runs, where `rollback` goes, what was cleared away."""
    state, former = site.state, site.former()
    if not state.installs.generations:
        return ""
    rows: list[tuple[str, ...]] = []
    for generation in state.installs.generations:
        here = (
            "runs" if generation.number == state.installs.current else "former" if generation.number == former else ""
        )
        if not here and not site.generation_folder(generation.number).is_dir():
            here = "cleared away"
        rows.append(
            (str(generation.number), generation.version, str(generation.state), rfc3339(generation.since), here)
        )
    return table(rows, ("generation", "version", "state", "since", ""))
