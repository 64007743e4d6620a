"""When the collectors of the site last ran, and what failed then. For `status`; reads only."""

from dataclasses import dataclass
from datetime import datetime

from manifests.documents.contract import INTERVAL_KINDS
from manifests.words.errors import WaybillError
from manifests.words.time import age, optional_time, parse_time
from manifests.words.units import show_count, show_duration
from verifier.change.release_papers import contract_in_force
from verifier.site.folder import Site
from verifier.site.generations import read_running


@dataclass(frozen=True)
class CollectorsState:
    """The collectors of a site.

    Attributes:
        signals: How many signals of the contract are counted here.
        last: When the source that waited longest was looked at; None if one never was.
        every_seconds: The shortest interval of these signals.
        problems: By signal: why the last look read nothing.
    """

    signals: int
    last: datetime | None
    every_seconds: int
    problems: dict[str, str]

    def is_due(self, now: datetime) -> bool:
        """Whether no run was made for as long as the shortest interval."""
        return self.last is None or (now - self.last).total_seconds() > self.every_seconds


def collectors_state(site: Site) -> CollectorsState | None:
    """Return the state of the collectors; None when the contract in force has nothing to count here."""
    if site.state.offboarded:
        return None
    try:
        contract, _ = contract_in_force(site)
        installed = read_running(site)
    except WaybillError:
        return None  # `status` names what is damaged
    withheld = installed.settings.telemetry.withhold if installed else ()
    signals = [
        signal
        for signal in (contract.signals if contract else ())
        if signal.kind in INTERVAL_KINDS and signal.name not in withheld
    ]
    if installed is None or not signals:
        return None
    from verifier.collecting.kept import read_progress  # loaded only where the contract counts something

    looked_at: list[datetime | None] = []
    problems: dict[str, str] = {}
    for signal in signals:
        try:
            progress = read_progress(site.path, signal.name)
            looked_at.append(parse_time(progress.looked_at) if progress else None)
        except WaybillError:
            problems[signal.name] = "unreadable"
            continue
        if progress is not None and progress.problem is not None:
            problems[signal.name] = progress.problem
    known = [moment for moment in looked_at if moment is not None]
    last = min(known) if known and len(known) == len(looked_at) else None
    shortest = min(signal.per_seconds or 1 for signal in signals)
    return CollectorsState(len(signals), last, shortest, problems)


def collectors_lines(state: CollectorsState | None, now: datetime) -> list[str]:
    """Return lines for `status`: the last run, what failed in it, and whether a run is due."""
    if state is None:
        return []
    when = f"{age(state.last, now)} ago" if state.last is not None else "not every source was looked at yet"
    due = f", due every {show_duration(state.every_seconds)}: run `waybill collect`" if state.is_due(now) else ""
    lines = [f"collected  {when}, {show_count(state.signals, 'signal')}{due}"]
    return lines + [f"           {signal}: {problem}" for signal, problem in sorted(state.problems.items())]


def collectors_data(state: CollectorsState | None, now: datetime) -> dict[str, object] | None:
    """Return the same for programs."""
    if state is None:
        return None
    return {
        "signals": state.signals,
        "last": optional_time(state.last),
        "due": state.is_due(now),
        "problems": state.problems,
    }
