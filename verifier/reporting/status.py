"""The status of a site: what runs, what is unfinished, what waits. Only reads, and so works on a full disk."""

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
from verifier.install.restore import damage_of_running
from verifier.install.result import check_idle
from verifier.reporting.health import ProbeHealth, last_health, probe_data, probe_text
from verifier.rules.emergency import uses_left
from verifier.rules.time import FAR_AHEAD, clock_verdict, effective_now, passed_dates
from verifier.runtime.drivers.driver import Component
from verifier.site.folder import CURRENT, Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import State, Transaction
from verifier.site.journal.state import SiteState
from verifier.site.lock import check_ours
from verifier.site.outbox import newest_report, report_path
from verifier.site.releases import running_revoked
from verifier.site.unread import attempt
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
    foreign, unproved, unfinished = _foreign(site), _unproved(site), _unfinished(site)
    error = foreign or _unsettled(site, unproved, unfinished) or _attention(site, components or ())
    lines = []
    for problem in (foreign, unproved, unfinished):
        if problem is not None:
            lines += _short(problem) if problem is error else [f"! {problem.problem}", f"  {problem.remedy}", ""]
    lines += [*_runs(site, components or (), probes, now, unseen), *_in_force(site), *_reporting(site, now)]
    lines += ["", queue_text(waiting, now), "", _generations_text(site)]
    data = _data(site, waiting, components or (), now, unseen)
    data["probes"] = [probe_data(one) for one in probes]
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
    lines = [f"site       {state.site}{'  (practice)' if state.trust.practice else ''}"]
    if running is None:
        lines.append("runs       nothing is installed")
    else:
        lines.append(
            f"runs       {running.product} {running.version}, generation {running.number}, "
            f"for {age(running.since, now)} ({running.state})"
        )
    lines += _below(site)
    revoked, unread = _revoked(site)
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
    if back := state.clock_back + (now < state.last_at):
        lines.append(f"clock      set back {show_times(back)}")
    if not site.reserve.exists():
        lines.append("reserve    used on a full disk; the next report restores it when there is space")
    for (code, detail), count in Counter((one.code, one.detail) for one in state.alarms).items():
        lines.append(f"alarm      {code}: {detail}{f' ({show_times(count)})' if count > 1 else ''}")
    return [*lines, *_offboarding(state), f"verifier   {VERIFIER_VERSION}"]


def _emergency_rules(site: Site) -> list[tuple[str, int, int]]:
    """Return name, uses and uses left of each emergency rule in force; none if the policy in force is not proved."""
    state = site.state
    try:
        rules = site.policy.emergency
    except WaybillError:
        return []
    used, policy, installs = state.trust.uses, state.trust.policy, state.trust.installs_since
    return [(rule.name, rule.uses, uses_left(rule, used, policy=policy, plan="", installs=installs)) for rule in rules]


def _unsettled(site: Site, unproved: WaybillError | None, unfinished: WaybillError | None) -> WaybillError | None:
    """Return why no change can begin at this site, or the interrupted act that has to be finished."""
    transaction = site.state.installs.transaction
    if unproved is not None:
        return unproved if transaction_error(site) is None else unfinished
    try:
        check_idle(site)
    except WaybillError:
        return unfinished
    interrupted = transaction is not None and transaction.act is not None
    return unfinished if interrupted or site.state.installs.inconsistent else None


def current_problem(site: Site) -> str | None:
    """Return how ``current`` differs from the journal; None if it does not."""
    wanted, pointed = site.state.installs.current, site.pointed()
    if pointed == wanted:
        return None
    if pointed == 0:
        seen = "is missing"
    elif pointed is None:
        seen = "is not a link to a generation"
    else:
        seen = f"points at generation {pointed}"
    return f"`current` {seen}; by the journal {f'generation {wanted} runs' if wanted else 'nothing is installed'}"


def _attention(site: Site, components: tuple[Component, ...]) -> WaybillError | None:
    if problem := current_problem(site):
        remedy = "waybill recover points it at the generation of the journal; reports say inconsistent until then"
        return AttentionError(problem, where=str(site.path / CURRENT), remedy=remedy, finding="current-differs")
    running = site.state.installs.running
    if (damage := damage_of_running(site)) is not None:
        return damage
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components if one.problem]
    if wrong:
        return AttentionError(
            "; ".join(wrong), where="components", remedy="waybill recover restarts the components", finding="drift"
        )
    revoked, unread = _revoked(site)
    if unread is not None:
        return unread
    if revoked:
        return AttentionError(
            f"{running.version if running else ''} is running revoked: {revoked}",
            where="release",
            remedy="install the release that replaces it, or waybill rollback; until then the release keeps running",
            finding="running-revoked",
        )
    return None


def _revoked(site: Site) -> tuple[str | None, WaybillError | None]:
    """Return why the running release is revoked, None when it is not; and why that is not known, None when it is."""
    failures: list[WaybillError] = []
    revoked = attempt(lambda: running_revoked(site), failures)
    return revoked, failures[0] if failures else None


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


def _foreign(site: Site) -> WaybillError | None:
    """Return why the journal and the key belong to two sites or two times; None also if the key cannot be read."""
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


def _offboarding(state: SiteState) -> list[str]:
    """Return a line about the end of the vendor's access, if it was requested."""
    offboarding = state.offboarding
    if offboarding is None:
        return []
    if offboarding.done is None or offboarding.done_at is None:
        return [
            f"offboard   requested at {rfc3339(offboarding.asked_at)}: "
            f"{offboarding.asked.detail or offboarding.asked.reason}"
        ]
    count = Counter(probe.outcome for probe in offboarding.tried)
    tried = [f"{count[word]} {word}" for word in ("refused", "unproven", "accepted") if count[word]]
    proof = ", ".join(tried) or "nothing tried yet"
    unfinished = "" if offboarding.ended else "; unfinished: waybill offboard continues"
    end = f"{rfc3339(offboarding.done_at)} ({offboarding.done.reason})"
    return [f"vendor     its access ended at {end}; {proof}{unfinished}"]


def _unproved(site: Site) -> WaybillError | None:
    """Return why the people of the policy before did not approve the policy in force."""
    try:
        _ = site.policy
    except WaybillError as error:
        return error
    return None


def _unfinished(site: Site) -> WaybillError | None:
    """Return how the last transaction failed, or where it was interrupted; None if it ended well."""
    transaction = site.state.installs.transaction
    if transaction is None or transaction.state == State.SETTLED:
        return None
    error = transaction_error(site)
    if error is not None:
        return error
    why = f": {transaction.detail}" if transaction.detail else ""
    if transaction.state == State.CONFIRMED:
        problem = f"generation {transaction.planned.target} is confirmed; cleaning up is unfinished{why}"
        command = "recover"
    else:
        act = transaction.act
        how = f"was cut off while it was to {act}" if act else f"has not switched ({transaction.state}){why}"
        so_far = "services that it stopped are not started yet" if transaction.touched else "nothing was changed"
        problem = f"{transaction.action} of {transaction.planned.item} {how}; {so_far}"
        command = _repeat_command(site, transaction)
    return AttentionError(
        problem, where=transaction.planned.item, remedy=f"waybill {command} continues it", finding="unfinished"
    )


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


def _generations_text(site: Site) -> str:
    """Return a row for each generation: which runs, which `rollback` goes to, which were cleared away."""
    state, former = site.state, site.former()
    if not state.installs.generations:
        return ""
    rows: list[tuple[str, ...]] = []
    for generation in state.installs.generations:
        number, here = generation.number, ""
        if number == state.installs.current:
            here = "runs"
        elif number == former:
            here = "former"
        elif not site.generation_folder(number).is_dir():
            here = "cleared away"
        rows.append((str(number), generation.version, str(generation.state), rfc3339(generation.since), here))
    return table(rows, ("generation", "version", "state", "since", ""))
