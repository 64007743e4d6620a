"""Look at every source of the telemetry contract in force once, and keep what was counted.

A source that fails is counted with a reason and hides no other. What was counted and how far the source was read are
kept in one file, so that a crash counts nothing twice.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from content.telemetry.collector import open_collector
from content.telemetry.counted import GAP, MISSING, TIME_LIMIT, TOO_MANY
from content.telemetry.intervals import Collector, kept_since
from manifests.documents.contract import INTERVAL_KINDS, Signal
from manifests.documents.contract_endpoints import endpoint_of
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError
from manifests.words.time import parse_time, rfc3339
from verifier.change.release_papers import contract_in_force
from verifier.collecting.kept import (
    Kept,
    Progress,
    add_drops,
    forget_others,
    hold_telemetry,
    kept_path,
    read_kept,
    write_kept,
)
from verifier.collecting.look import Look
from verifier.collecting.opened_files import SourceError
from verifier.collecting.results import clear_results
from verifier.collecting.sources import check_form, read_metrics, read_source
from verifier.runtime.probes.probe import site_authorities
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.generations import read_running

RUN_SECONDS = 120.0
SIGNAL_SECONDS = 60.0
# A telemetry file has at most 1 MiB, so no report could contain more.
MAX_KEPT_ROWS = 20_000


@dataclass(frozen=True)
class SignalLook:
    """The result of one look.

    Attributes:
        rows: Finished rows that are kept.
        under_way: Rows of the interval under way.
        until: When that interval ends; None before the first look.
        dropped: In this run, by reason.
        problem: Why nothing was read; None when the source was read.
        unfinished: More was there than one run reads; the next run goes on.
        notes: For people at the site; they never leave the site.
    """

    signal: str
    kind: str
    rows: int
    under_way: int
    until: datetime | None
    dropped: Mapping[str, int]
    problem: str | None = None
    unfinished: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """The result of one run.

    Attributes:
        contract: Name of the contract in force; None when there is none.
        looks: In the order of the contract.
        withheld: Signals that ``site.yaml`` withholds: they are not looked at.
        forgotten: Signals of which counts were removed: withheld now, or no longer in the contract.
        failure: What was counted for some signals could not be kept.
    """

    contract: str | None
    looks: tuple[SignalLook, ...] = ()
    withheld: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    failure: HostError | None = None


@dataclass
class _Reading:
    """A signal under way. Attributes: lost: what was kept is damaged, and counting begins anew."""

    signal: Signal
    address: str
    kept: Kept | None
    look: Look
    before: dict[str, int] = field(default_factory=dict)
    lost: bool = False
    failed: str | None = None

    @property
    def progress(self) -> Progress | None:
        """How far the source was read, if its address is still the same."""
        kept = self.kept
        return kept.progress if kept is not None and kept.progress.address == digest_of(self.address.encode()) else None

    def fail(self, failure: SourceError) -> None:
        """Take back what this look counted, and count the failure instead."""
        self.look.collector = open_collector(self.signal, self.kept.state if self.kept else None)
        self.look.collector.drop(failure.reason)
        if self.lost:
            self.look.collector.drop(GAP)
        self.look.notes.append(failure.detail)
        self.failed = failure.reason


def collect(site: Site, disk: Disk, now: datetime, *, monotonic: Callable[[], float] = time.monotonic) -> Collected:
    """Look at the source of each signal that the contract in force lists and ``site.yaml`` does not withhold.

    Raises:
        BusyError: Another run holds the collectors of this site.
        DamagedError: The contract or the running generation cannot be read.
    """
    contract, _ = contract_in_force(site)
    installed = read_running(site)
    if contract is None or installed is None or site.state.offboarded:
        return Collected(None)
    names = frozenset(installed.settings.telemetry.withhold)
    listed = [signal for signal in contract.signals if signal.kind in INTERVAL_KINDS]
    allowed = [signal for signal in listed if signal.name not in names]
    running = site.state.installs.running
    run = _Run(
        site=site.path,
        disk=disk,
        now=now,
        endpoints=installed.settings.endpoints,
        release=running.release if running else None,
        monotonic=monotonic,
        deadline=monotonic() + RUN_SECONDS,
    )
    with hold_telemetry(site.path, disk):
        forgotten = forget_others(site.path, frozenset(signal.name for signal in allowed), disk)
        clear_results(site.path, contract, names, now, disk)
        looks = {look.signal: look for look in run.look_at(allowed)}
    return Collected(
        contract=f"{contract.contract} version {contract.version}",
        looks=tuple(looks[signal.name] for signal in allowed if signal.name in looks),
        withheld=tuple(signal.name for signal in listed if signal.name in names),
        forgotten=forgotten,
        failure=run.failure,
    )


@dataclass
class _Run:
    site: Path
    disk: Disk
    now: datetime
    endpoints: Mapping[str, str]
    release: str | None
    monotonic: Callable[[], float]
    deadline: float
    failure: HostError | None = None

    def look_at(self, signals: Sequence[Signal]) -> Iterable[SignalLook]:
        """Yield the result of each signal. Signals of one address of metrics share one scrape."""
        waiting = list(signals)
        while waiting:
            signal = waiting[0]
            address = self._address(signal)
            group = [signal]
            if signal.kind == "metrics" and address:
                group = [other for other in waiting if other.kind == "metrics" and self._address(other) == address]
            seconds = min(SIGNAL_SECONDS, max(1.0, (self.deadline - self.monotonic()) / len(waiting)))
            waiting = [other for other in waiting if other not in group]
            opened = [self._open(signal, address, seconds) for signal in group]
            yield from self._look_at_group(opened, seconds)

    def _address(self, signal: Signal) -> str:
        return self.endpoints.get(endpoint_of(signal) or "", "")

    def _open(self, signal: Signal, address: str, seconds: float) -> _Reading:
        notes, kept = [], None
        try:
            kept = read_kept(self.site, signal.name)
            collector = open_collector(signal, kept.state if kept else None)
        except (MalformedError, HostError) as error:
            notes.append(f"what was counted before is lost: {error}")
            kept, collector = None, open_collector(signal)
            collector.drop(GAP)
        look = Look(
            collector=collector,
            at=self.now,
            release=self.release,
            monotonic=self.monotonic,
            deadline=self.monotonic() + seconds,
            notes=notes,
        )
        before = dict(collector.counted.dropped) if not notes else {}
        return _Reading(signal=signal, address=address, kept=kept, look=look, before=before, lost=bool(notes))

    def _look_at_group(self, group: list[_Reading], seconds: float) -> Iterable[SignalLook]:
        first = group[0]
        made: Progress | None = None
        try:
            if not first.address:
                raise SourceError(MISSING, f"site.yaml has no endpoint {endpoint_of(first.signal)!r}")
            if self.monotonic() >= self.deadline:
                raise SourceError(TIME_LIMIT, f"the run had no time left after {RUN_SECONDS:g} s")
            check_form(first.signal, first.address)
            if first.signal.kind == "metrics":
                read_metrics(first.address, [reading.look for reading in group], site_authorities(self.site), seconds)
            else:
                made = read_source(first.signal, first.address, first.progress, first.look)
        except SourceError as failure:
            for reading in group:
                reading.fail(failure)
        for reading in group:
            yield self._keep(reading, made)

    def _keep(self, reading: _Reading, made: Progress | None) -> SignalLook:
        """Keep what was counted, without rows that are too old; an OSError leaves the former file in place."""
        collector, signal = reading.look.collector, reading.signal
        collector.clear(kept_since(signal, self.now))
        _limit_rows(collector)
        dropped = {
            reason: count - reading.before.get(reason, 0)
            for reason, count in collector.counted.dropped.items()
            if count > reading.before.get(reason, 0)
        }
        former = reading.kept.progress.dropped if reading.kept else ()
        progress = replace(
            made
            or reading.progress
            or Progress(address=digest_of(reading.address.encode()), looked_at=rfc3339(self.now)),
            looked_at=rfc3339(self.now),
            problem=reading.failed,
            dropped=add_drops(former, dropped, self.now, signal.keep.site),
        )
        if signal.kind == "metrics" and reading.failed is None:
            progress = replace(progress, begun=True)
        try:
            write_kept(self.site, signal.name, Kept(progress, collector.state()), self.disk)
        except OSError as error:
            self.failure = self.failure or HostError(
                f"what was counted could not be kept: {(error.strerror or str(error)).lower()}",
                where=str(kept_path(self.site, signal.name)),
                remedy="free space and run `waybill collect` again; logs and traces are read on from the run before",
            )
            with suppress(OSError):
                self.disk.remove(kept_path(self.site, signal.name).with_name(f".{signal.name}.json.new"))
        return SignalLook(
            signal=signal.name,
            kind=signal.kind,
            rows=len(collector.counted.rows),
            under_way=len(collector.current_rows()) if collector.interval else 0,
            until=collector.current_until(),
            dropped=dropped,
            problem=reading.failed,
            unfinished=reading.look.unfinished,
            notes=tuple(reading.look.notes),
        )


def _limit_rows(collector: Collector) -> None:
    """Forget and count the oldest rows that no report could contain."""
    rows = collector.counted.rows
    if len(rows) > MAX_KEPT_ROWS:
        collector.clear(parse_time(rows[-MAX_KEPT_ROWS].start))
        if len(collector.counted.rows) < len(rows):
            collector.drop(TOO_MANY, len(rows) - len(collector.counted.rows))
