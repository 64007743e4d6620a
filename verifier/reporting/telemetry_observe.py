"""Gather what a site has for the telemetry of a report: counts of collectors, results of handlers, health."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from manifests.documents import report as r
from manifests.documents.contract import INTERVAL_KINDS, Contract, Signal
from manifests.documents.telemetry import TelemetryRow, Value, parse_telemetry
from manifests.words.errors import HostError, MalformedError, WaybillError
from manifests.words.time import rfc3339
from verifier.change.release_papers import contract_in_force
from verifier.collecting.kept import read_counted
from verifier.collecting.results import handler_rows
from verifier.reporting.telemetry_plan import CountedRows, TelemetryFacts, TelemetryPlan, plan_telemetry
from verifier.site.folder import Site
from verifier.site.generations import read_running

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ObservedHealth:
    """What was observed for the core of the same report.

    Attributes:
        withheld: Signals that ``site.yaml`` withholds.
        release: Digest of the release that runs.
    """

    withheld: tuple[str, ...] = ()
    health: tuple[r.ReportedHealth, ...] = ()
    components: tuple[r.ReportedComponent, ...] = ()
    release: str | None = None


def observe_telemetry(site: Site, observed: ObservedHealth, now: datetime) -> TelemetryPlan:
    """Plan the telemetry of the next report. What cannot be read is left out and counted; it never stops a report."""
    try:
        contract, digest = contract_in_force(site)
    except WaybillError:
        # The observation of the core says so.
        return TelemetryPlan()
    if contract is None or digest is None:
        return TelemetryPlan()
    try:
        installed = read_running(site)
    except WaybillError:
        installed = None
    if installed is None:
        # Nobody knows what the site withholds.
        return TelemetryPlan(dropped=(r.Dropped(what="telemetry", reason=UNREADABLE, count=1),))
    withheld = frozenset((*observed.withheld, *installed.settings.telemetry.withhold))
    counted, unreadable = _counted(site, contract, withheld, observed, now)
    facts = TelemetryFacts(
        site=site.state.site,
        seq=site.state.reports.seq + 1,
        now=now,
        withheld=withheld,
        releases=frozenset(generation.release for generation in site.state.installs.generations),
    )
    plan = plan_telemetry(contract, digest, facts, counted)
    if plan.telemetry is not None:
        try:
            # As a reader will: nothing leaves that could not be read.
            parse_telemetry(plan.raw)
        except MalformedError:
            plan, unreadable = TelemetryPlan(dropped=plan.dropped), unreadable + 1
    if unreadable:
        dropped = r.Dropped(what="telemetry", reason=UNREADABLE, count=unreadable)
        plan = TelemetryPlan(plan.telemetry, plan.raw, (*plan.dropped, dropped))
    return plan


def _counted(
    site: Site, contract: Contract, withheld: frozenset[str], observed: ObservedHealth, now: datetime
) -> tuple[dict[str, CountedRows], int]:
    """Return the rows and drops by signal, and how many files of results could not be read."""
    results = handler_rows(site.path)
    counted: dict[str, CountedRows] = {}
    for signal in contract.signals:
        if signal.name in withheld:
            continue
        if signal.kind in INTERVAL_KINDS:
            counted[signal.name] = _of_collector(site, signal)
        elif signal.kind == "command-result":
            counted[signal.name] = CountedRows(results.rows.get(signal.name, ()))
        elif signal.kind == "health":
            counted[signal.name] = CountedRows(tuple(_health_rows(signal, observed, now)))
    return counted, results.unreadable


def _of_collector(site: Site, signal: Signal) -> CountedRows:
    try:
        kept = read_counted(site.path, signal)
    except (MalformedError, HostError):
        return CountedRows(dropped={UNREADABLE: 1})
    return CountedRows() if kept is None else CountedRows(kept[1].rows, kept[1].dropped)


def _health_rows(signal: Signal, observed: ObservedHealth, now: datetime) -> Iterable[TelemetryRow]:
    """Yield what the probe or the step of the signal was observed to be, if anybody looked."""
    source = signal.source
    values: dict[str, Value] = {}
    start = rfc3339(now)
    if source is not None and source.probe is not None:
        health = next((health for health in observed.health if health.probe == source.probe), None)
        if health is not None and health.at is not None:
            values, start = {"state": health.state, "failures": health.failures}, health.at
    elif source is not None and source.step is not None:
        state = _step_state([part.found for part in observed.components if part.step == source.step])
        values = {"state": state} if state else {}
    listed = {name: value for name, value in values.items() if name in signal.fields}
    if listed:
        yield TelemetryRow(release=observed.release, start=start, values=listed)


def _step_state(comparisons: list[r.Found]) -> str | None:
    """Return the state of a step by its components; None for a step without any."""
    counts = Counter(comparisons)
    if not counts:
        return None
    if counts["differs"] or counts["missing"]:
        return "failing"
    return "unknown" if counts["unreadable"] else "passing"
