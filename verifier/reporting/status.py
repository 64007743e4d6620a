"""The status of a site: what runs, what is unfinished, what waits. Only reads, and so works on a full disk."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from manifests.words.errors import WaybillError
from manifests.words.quantities import parse_duration
from manifests.words.text import table
from manifests.words.time import age, optional_time, parse_time, rfc3339
from manifests.words.units import show_times
from verifier.approval.queue import Waiting, queue_text, waiting_data
from verifier.change.below_floor import open_authorisations
from verifier.change.transaction import trial_left
from verifier.reporting.collectors import collectors_data, collectors_lines, collectors_state
from verifier.reporting.health import ProbeHealth, last_health, probe_data, probe_text
from verifier.reporting.site_problems import (
    attention,
    foreign_journal,
    revoked_running,
    unfinished_change,
    unproved_policy,
    unsettled_change,
)
from verifier.reporting.telemetry_export import telemetry_damage
from verifier.rules.emergency_uses import uses_left
from verifier.rules.time import FAR_AHEAD, clock_verdict, effective_now, passed_dates
from verifier.runtime.drivers.driver import Component
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.state import SiteState
from verifier.site.outbox import newest_report, report_path
from verifier.site.outbox_damage import outbox_attention, outbox_damage, outbox_data, outbox_lines
from verifier.site.releases import revoked_release
from verifier.site.unread import attempt
from verifier.site.vendor_access import REFUSED_FROM_THEN, WORKS_ON, without_vendor
from verifier.trust.findings import VERIFIER_VERSION


@dataclass(frozen=True)
class SiteStatus:
    """Attributes: error: what is wrong or unfinished; the text names its finding only, because the error is printed."""

    text: str
    data: dict[str, object]
    error: WaybillError | None


def read_status(
    site: Site,
    waiting: tuple[Waiting, ...],
    components: tuple[Component, ...] | None,
    now: datetime,
    *,
    health: tuple[ProbeHealth, ...] | None = None,
    unseen: str = "",
) -> SiteStatus:
    """Return the status.

    Args:
        components: None when they were not checked; ``unseen`` says why they could not be.
        health: The probes, measured now; None for their last results in the journal.
    """
    probes = last_health(site) if health is None else health
    problems = (foreign_journal(site), unproved_policy(site), unfinished_change(site))
    foreign, unproved, unfinished = (problem and without_vendor(site.state, problem) for problem in problems)
    damage = () if foreign is not None else outbox_damage(site)
    error = foreign or unsettled_change(site, unproved, unfinished) or attention(site, components or (), waiting)
    error = error or outbox_attention(damage)
    error = error and without_vendor(site.state, error)
    lines = []
    for problem in (foreign, unproved, unfinished):
        if problem is not None:
            lines += _short(problem) if problem is error else [f"! {problem.problem}", f"  {problem.remedy}", ""]
    lines += [*_runs(site, components or (), probes, now, unseen), *_in_force(site), *_reporting(site, now)]
    collectors = collectors_state(site)
    lines += [*collectors_lines(collectors, now), *telemetry_damage(site), *outbox_lines(damage)]
    lines += ["", queue_text(waiting, now), "", _generations_text(site)]
    data = _data(site, waiting, components or (), now, unseen)
    data["probes"] = [probe_data(one) for one in probes]
    data["outbox"] = outbox_data(damage)
    data["collectors"] = collectors_data(collectors, now)
    return SiteStatus("\n".join(lines).rstrip(), data, error)


def _short(error: WaybillError) -> list[str]:
    """Return the first lines about the error that is printed in full after the text."""
    return [f"! {error.where}: {error.finding}", ""]


def broken_status(site: Site, broken: WaybillError) -> SiteStatus:
    """Return the status of a site whose journal is broken, using only the intact entries."""
    state, last = site.state, site.entries[-1].record
    pointed = site.pointed()
    known = state.installs.generation(pointed) if pointed else None
    signed, running = newest_report(site), state.installs.running
    then = f"generation {running.number} ({running.version}) ran then" if running else "nothing was installed then"
    if pointed:
        current = f"points at generation {pointed}, {known.version if known else 'which came after the break'}"
    else:
        current = "is not there: nothing is installed" if pointed == 0 else "is not a link that Waybill made"
    lines = [
        *_short(broken),
        f"site       {state.site}{'  (practice)' if state.trust.practice else ''}",
        f"journal    holds up to entry {last.seq}, of {last.at}; {then}",
        f"current    {current}",
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


def _runs(
    site: Site, components: tuple[Component, ...], probes: tuple[ProbeHealth, ...], now: datetime, unseen: str
) -> list[str]:
    """Return lines about the running release, its components and its probes."""
    state, running = site.state, site.state.installs.running
    lines = [f"site       {state.site}{'  (practice)' if state.trust.practice else ''}", *_offboarding(site)]
    if running is None:
        lines.append("runs       nothing is installed")
    else:
        lines.append(
            f"runs       {running.product} {running.version}, generation {running.number}, "
            f"for {age(running.since, now)} ({running.state})"
        )
    lines += _below(site)
    revoked, unread = revoked_running(site)
    if revoked:
        lines.append(f"           running revoked: {revoked}")
    if unread is not None:
        lines.append(f"           whether it is revoked is not known: {unread}")
    lines += [f"           {one.step}/{one.name}: {one.problem or one.level}" for one in components]
    if unseen:
        lines.append(f"           components could not be checked: {unseen}")
    return [*lines, *(f"           probe {one.probe}: {probe_text(one, now)}" for one in probes)]


def _in_force(site: Site) -> list[str]:
    """Return lines about the mark, the policy, the root and the revocation list."""
    state = site.state
    mark = f"{state.channel} {state.mark.sequence}" if state.mark else f"{state.channel}, nothing received"
    root = "no root is trusted" if state.offboarded else f"root {state.trust.root.version or 1} of {state.trust.vendor}"
    lines = [
        f"known      {mark}; floor {state.floor.sequence if state.floor else 'none yet'}",
        f"policy     number {state.trust.policy_number}; {root}",
    ]
    if state.trust.root_line:
        lines.append(
            f"           replaced from paper {state.trust.root_line} times, last reason: {state.trust.root_reason}"
        )
    for name, uses, left in _emergency_rules(site):
        lines.append(f"           emergency rule {name}: {f'{left} of {uses} uses left' if left else 'spent'}")
    if state.trust.time_claimed is not None:
        claimed = rfc3339(state.trust.time_claimed)
        lines.append(f"time       {claimed} is claimed; to accept it: waybill confirm --time {claimed} --key KEY")
    by = f"by list {state.trust.revocations[0]}" if state.trust.revocations else "no list yet"
    if state.offboarded:
        by = f"{by}, the last one; no other can come" if state.trust.revocations else "no list ever came, and none can"
    return [*lines, f"revoked    {by}"]


def _reporting(site: Site, now: datetime) -> list[str]:
    """Return lines about reports, consignments, late dates, the clock, the reserve and alarms."""
    state = site.state
    held = f"; support holds {state.reports.acknowledged[0]}" if state.reports.acknowledged else ""
    lines = [f"report     number {state.reports.seq}{held}" if state.reports.seq else "report     none yet"]
    if state.reports.consignment:
        newest = ", ".join(f"{channel} {mark.sequence}" for channel, mark in state.trust.newest)
        names = f"newest release {newest}" if newest else "no newest release was named"
        lines.append(f"vendor     consignment {state.reports.consignment}; {names}")
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
    if back := state.clock_back + (now < state.last_at):
        lines.append(f"clock      set back {show_times(back)}")
    if not site.reserve.exists():
        when = "" if state.offboarded else "; the next report restores it when there is space"
        lines.append(f"reserve    used on a full disk{when}")
    for (code, detail), count in Counter((one.code, one.detail) for one in state.alarms).items():
        lines.append(f"alarm      {code}: {detail}{f' ({show_times(count)})' if count > 1 else ''}")
    return [*lines, f"verifier   {VERIFIER_VERSION}"]


def _emergency_rules(site: Site) -> list[tuple[str, int, int]]:
    """Return name, uses and uses left of each emergency rule in force; none if the policy in force is not proved."""
    state = site.state
    try:
        rules = site.policy.emergency
    except WaybillError:
        return []
    used, policy, installs = state.trust.uses, state.trust.policy, state.trust.installs_since
    return [(rule.name, rule.uses, uses_left(rule, used, policy=policy, plan="", installs=installs)) for rule in rules]


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
        "current": site.pointed(),
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
        "emergency": [{"rule": name, "uses": uses, "left": left} for name, uses, left in _emergency_rules(site)],
        "waiting": [waiting_data(item) for item in waiting],
        "offboarded_at": optional_time(state.offboarding.done_at) if state.offboarding else None,
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
    by = next((one.authorisation for one in reversed(state.installs.rollbacks) if one.authorisation), None)
    planned = state.installs.transaction.planned if state.installs.transaction else None
    if planned is not None and planned.target == state.installs.current and planned.authorisation is not None:
        by = planned.authorisation
    if by is None:
        return "which was raised after this installation"
    return f"by the vendor's authorisation {by[:19]}, approved by this site's people"


def late_of(site: Site, now: datetime) -> tuple[str, ...]:
    """Return the dates that have passed and a report that is due, by the later of clock and time floor.

    Empty for a damaged generation; `status` shows the damage elsewhere.
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
    left = state.reports.left_at
    since = left or parse_time(site.entries[0].record.at)
    if every != "never" and since + timedelta(seconds=parse_duration(every)) < at:
        last = f"the last one was exported at {rfc3339(left)}" if left else "none was exported yet"
        late.append(f"a report is due every {every}; {last}")
    return tuple(late)


def _offboarding(site: Site) -> list[str]:
    """Return lines about the end of the vendor's access, if it was requested."""
    state, offboarding = site.state, site.state.offboarding
    if offboarding is None:
        return []
    if offboarding.done is None or offboarding.done_at is None:
        return [
            f"offboard   requested at {rfc3339(offboarding.asked_at)}: "
            f"{offboarding.asked.detail or offboarding.asked.reason}"
        ]
    from verifier.change.reachable import rollbacks_text  # plans rollbacks

    count = Counter(probe.outcome for probe in offboarding.tried)
    tried = [f"{count[word]} {word}" for word in ("refused", "unproven", "accepted") if count[word]]
    proof = ", ".join(tried) or "nothing tried yet"
    unfinished = "" if offboarding.ended else "; unfinished: waybill offboard continues"
    end = f"{rfc3339(offboarding.done_at)} ({offboarding.done.reason})"
    return [
        f"offboarded the access of {state.trust.vendor} ended at {end}; {proof}{unfinished}",
        f"           {WORKS_ON}",
        f"           {rollbacks_text(site)}",
        f"           {REFUSED_FROM_THEN}",
    ]


def _generations_text(site: Site) -> str:
    """Return a row for each generation: which runs, which `rollback` goes to, which are cleared away or revoked."""
    state, former = site.state, site.former()
    if not state.installs.generations:
        return ""
    if state.offboarded:
        from verifier.change.reachable import rollbacks_alone  # plans rollbacks

        if all(possible.number != former for possible in rollbacks_alone(site)[0]):
            former = 0  # no release can come any more that makes it reachable
    rows: list[tuple[str, ...]] = []
    for generation in state.installs.generations:
        number, here = generation.number, ""
        if number == state.installs.current:
            here = "runs"
        elif number == former:
            here = "former"
        elif not site.generation_folder(number).is_dir():
            here = "cleared away"
        if here != "cleared away" and attempt(partial(revoked_release, site, generation.release), []) is not None:
            here = f"{here}, revoked".removeprefix(", ")
        rows.append((str(number), generation.version, str(generation.state), rfc3339(generation.since), here))
    return table(rows, ("generation", "version", "state", "since", ""))
