"""Plan the telemetry of a report: which rows leave, and what is left out and why. Pure.

The newest rows leave: at most ``rows`` of a signal, within the contract's budget. Every other row is counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from manifests.documents import report as r
from manifests.documents.contract import Contract, Signal
from manifests.documents.telemetry import MAX_MOMENTS, MAX_TELEMETRY, SignalRows, Telemetry, TelemetryRow
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.time import parse_time
from verifier.rules.telemetry_rows import refusal

TOO_MANY = "too-many"
TOO_LARGE = "too-large"
SEVERAL = "several"
# Entries under `dropped` of a report, which has place for 256.
MAX_DROPS = 64


@dataclass(frozen=True)
class CountedRows:
    """What the site has of one signal: rows, oldest first, and what its collector dropped, by reason."""

    rows: tuple[TelemetryRow, ...] = ()
    dropped: Mapping[str, int] | None = None


@dataclass(frozen=True)
class TelemetryFacts:
    """What a report's telemetry depends on besides contract and rows.

    Attributes:
        withheld: Signals that ``site.yaml`` does not let leave.
        releases: Digests of releases that this site ran.
    """

    site: str
    seq: int
    now: datetime
    withheld: Collection[str] = ()
    releases: Collection[str] = ()


@dataclass(frozen=True)
class TelemetryPlan:
    """The telemetry of one report.

    Attributes:
        telemetry: None when no row leaves.
        raw: The bytes of its file; empty without telemetry.
        dropped: For the report's core.
    """

    telemetry: Telemetry | None = None
    raw: bytes = b""
    dropped: tuple[r.Dropped, ...] = ()

    @property
    def blob(self) -> Blob | None:
        """What ``chain.telemetry`` of the report says."""
        return Blob(digest=digest_of(self.raw), size=len(self.raw)) if self.telemetry is not None else None


def plan_telemetry(
    contract: Contract, digest: str, facts: TelemetryFacts, counted: Mapping[str, CountedRows]
) -> TelemetryPlan:
    """Return the rows that the contract allows. Signals that it does not list are not looked at.

    Args:
        digest: Of the contract.
        counted: By name of the signal.
    """
    drops: dict[tuple[str, str], int] = {}
    chosen: list[tuple[Signal, tuple[TelemetryRow, ...] | None]] = []
    for signal in contract.signals:
        if signal.kind == "deployment-state":
            continue
        if signal.name in facts.withheld:
            chosen.append((signal, None))
            continue
        of_signal = counted.get(signal.name, CountedRows())
        for reason, count in sorted((of_signal.dropped or {}).items()):
            _add(drops, signal.name, reason, count)
        chosen.append((signal, _allowed_rows(signal, of_signal.rows, facts, drops)))
    empty = Telemetry(site=facts.site, environment=facts.site.split("/")[2], seq=facts.seq, contract=digest)
    signals = _within_budget(chosen, min(contract.telemetry_bytes, MAX_TELEMETRY) - len(encode(empty)), drops)
    dropped = _dropped(drops)
    if not signals:
        return TelemetryPlan(dropped=dropped)
    telemetry = Telemetry(
        site=empty.site,
        environment=empty.environment,
        seq=empty.seq,
        contract=empty.contract,
        signals=tuple(sorted(signals, key=lambda rows: rows.signal)),
    )
    return TelemetryPlan(telemetry, encode(telemetry), dropped)


def _allowed_rows(
    signal: Signal, rows: Iterable[TelemetryRow], facts: TelemetryFacts, drops: dict[tuple[str, str], int]
) -> tuple[TelemetryRow, ...]:
    """Return the newest rows that the contract allows; rows that are kept no longer are left out without a count."""
    oldest = facts.now - timedelta(seconds=min(signal.keep.site, 10**10))
    allowed = []
    for row in rows:
        reason = refusal(signal, row, facts.now, facts.releases)
        if reason is not None:
            _add(drops, signal.name, reason, 1)
        elif parse_time(row.start) >= oldest:
            allowed.append(row)
    most = signal.rows if signal.rows is not None else MAX_MOMENTS
    _add(drops, signal.name, TOO_MANY, len(allowed) - most)
    allowed.sort(key=lambda row: row.start)
    return tuple(allowed[-most:])


def _within_budget(
    chosen: Sequence[tuple[Signal, tuple[TelemetryRow, ...] | None]], budget: int, drops: dict[tuple[str, str], int]
) -> list[SignalRows]:
    """Return the newest rows of each signal that fit.

    Signals get their share in the order of the contract; what one leaves over is shared by those after it. The share of
    a signal that is withheld, None here, is used by nobody: withholding one lets no more rows of another leave.
    """
    # `,"signals":[]` is written only when there is a signal.
    left = budget - len(b'"signals":[],')
    kept = []
    for i, (signal, rows) in enumerate(chosen):
        share = left // (len(chosen) - i)
        if rows is None:
            left -= share
            continue
        size = len(encode({"rows": [], "signal": signal.name})) + 1
        count = 0
        for row in reversed(rows):
            more = len(encode(row)) + 1
            if size + more > share:
                break
            size += more
            count += 1
        _add(drops, signal.name, TOO_LARGE, len(rows) - count)
        if count:
            kept.append(SignalRows(signal=signal.name, rows=rows[len(rows) - count :]))
            left -= size
    return kept


def _add(drops: dict[tuple[str, str], int], signal: str, reason: str, count: int) -> None:
    if count > 0:
        drops[signal, reason] = drops.get((signal, reason), 0) + count


def _dropped(drops: Mapping[tuple[str, str], int]) -> tuple[r.Dropped, ...]:
    """Return the drops for the core: by signal and reason; if these are too many, by signal, then all together."""
    if len(drops) > MAX_DROPS:
        by_signal: dict[tuple[str, str], int] = {}
        for (signal, _), count in drops.items():
            _add(by_signal, signal, SEVERAL, count)
        drops = by_signal
    if len(drops) > MAX_DROPS:
        drops = {("telemetry", SEVERAL): sum(drops.values())}
    return tuple(r.Dropped(what=what, reason=reason, count=count) for (what, reason), count in drops.items())


def without_file(plan: TelemetryPlan, reason: str) -> TelemetryPlan:
    """Return the plan of a report whose telemetry could not be written: all rows are left out and counted."""
    if plan.telemetry is None:
        return plan
    count = sum(len(signal.rows) for signal in plan.telemetry.signals)
    return TelemetryPlan(dropped=(*plan.dropped, r.Dropped(what="telemetry", reason=reason, count=count)))
