"""The second check before rows leave: by the contract's words alone, whatever the collectors say."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from msgspec.structs import replace

from manifests.documents.contract import Contract, Keep, Signal, SignalSource, Values
from manifests.documents.telemetry import TelemetryRow
from manifests.words.digest import digest_of
from tests.counting import CountingVendor
from verifier.reporting.telemetry_plan import CountedRows, TelemetryFacts, TelemetryPlan, plan_telemetry

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RELEASE = "sha256:" + "ab" * 32
CONTRACT = CountingVendor().contract()
FACTS = TelemetryFacts("northern-grid/small/production/east", 3, NOW, (), frozenset((RELEASE,)))
ROW = TelemetryRow(
    release=RELEASE, start="2026-03-01T11:00:00Z", seconds=300, labels={"route": "intake"}, values={"increase": 3}
)


def plan(rows: tuple[TelemetryRow, ...], contract: Contract = CONTRACT, facts: TelemetryFacts = FACTS) -> TelemetryPlan:
    return plan_telemetry(contract, digest_of(b"contract"), facts, {"requests": CountedRows(rows)})


def reasons(plan: TelemetryPlan) -> dict[str, int]:
    assert {drops.what for drops in plan.dropped} <= {"requests"}
    return {drops.reason: drops.count for drops in plan.dropped}


def test_what_the_contract_allows_leaves() -> None:
    made = plan((ROW,))
    assert made.telemetry is not None
    assert [(signal.signal, signal.rows) for signal in made.telemetry.signals] == [("requests", (ROW,))]
    assert reasons(made) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": {"increase": 1_000_001}}, "out-of-bounds"),
        ({"values": {"increase": -1}}, "out-of-bounds"),
        ({"values": {"increase": True}}, "out-of-bounds"),
        ({"values": {"increase": "alice"}}, "out-of-bounds"),
        ({"values": {"increase": 3, "user": 1}}, "out-of-bounds"),
        ({"values": {}}, "out-of-bounds"),
        ({"labels": {"route": "alice"}}, "label-value"),
        ({"labels": {"route": "intake", "user": "intake"}}, "label-value"),
        ({"labels": {}}, "label-value"),
        ({"seconds": 0}, "time"),
        ({"seconds": 301}, "time"),
        ({"start": "2026-03-01T12:00:01Z"}, "time"),
        ({"start": "2026-02-30T12:00:01Z"}, "time"),
        ({"release": "sha256:" + "cd" * 32}, "release"),
    ],
)
def test_a_row_outside_of_the_contract_does_not_leave(change: dict[str, object], reason: str) -> None:
    made = plan((replace(ROW, **change), ROW))
    assert made.telemetry is not None
    assert made.telemetry.signals[0].rows == (ROW,)
    assert reasons(made) == {reason: 1}


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        (Values(type="bool"), [True, False], [0, 1, "true"]),
        (Values(type="version"), ["1.2.3", "1.2.3-rc.1+5"], ["1.2", "1.2.3-01", "1.2.3-" + "a" * 60, "alice", 1]),
        (Values(type="digest"), [RELEASE], [RELEASE[:-1], RELEASE.upper(), "sha256:alice", 1]),
        (Values(enum=("a", "b")), ["a"], ["c", "", True, 1]),
        (Values(duration=(0, 60)), [0, 60], [61, -1, "60", True]),
    ],
    ids=lambda value: "",
)
def test_each_type_of_value(bounds: Values, right: list[object], wrong: list[object]) -> None:
    signal = Signal(
        name="requests",
        kind="command-result",
        source=SignalSource(handler="selftest"),
        fields={"value": bounds},
        keep=Keep(site=86400, vendor=86400),
        why="tests",
    )
    contract = replace(CONTRACT, signals=(CONTRACT.signals[0], signal))
    rows = [replace(ROW, seconds=0, labels={}, values={"value": value}) for value in (*right, *wrong)]
    made = plan(tuple(rows), contract)
    assert made.telemetry is not None
    assert [row.values["value"] for row in made.telemetry.signals[0].rows] == right
    assert reasons(made) == {"out-of-bounds": len(wrong)}


def minutes(count: int) -> tuple[TelemetryRow, ...]:
    return tuple(replace(ROW, start=f"2026-03-01T{i // 60:02}:{i % 60:02}:00Z", seconds=60) for i in range(count))


def test_the_newest_rows_leave_and_all_are_accounted_for() -> None:
    made = plan(minutes(500))
    assert made.telemetry is not None
    assert made.telemetry.signals[0].rows == minutes(500)[-100:]
    assert reasons(made) == {"too-many": 400}


def test_the_budget_holds_to_the_byte_and_grows_row_by_row() -> None:
    counts = []
    for budget in range(1, 9000, 61):
        made = plan(minutes(80), replace(CONTRACT, telemetry_bytes=budget))
        assert len(made.raw) <= budget
        kept = len(made.telemetry.signals[0].rows) if made.telemetry else 0
        assert kept + reasons(made).get("too-large", 0) == 80
        counts.append(kept)
    assert all(before <= after for before, after in pairwise(counts))
    assert (counts[0], counts[-1] > 10) == (0, True)


def test_rows_that_are_kept_no_longer_and_signals_that_are_withheld_stay() -> None:
    old = replace(ROW, start="2025-11-01T11:00:00Z")
    assert plan((old,)) == TelemetryPlan()
    withheld = TelemetryFacts(FACTS.site, 3, NOW, ("requests",), FACTS.releases)
    assert plan((ROW,), facts=withheld) == TelemetryPlan()
    unlisted = plan_telemetry(CONTRACT, digest_of(b"x"), FACTS, {"users": CountedRows((ROW,))})
    assert unlisted == TelemetryPlan()


def test_drops_of_the_collectors_are_stated_and_never_too_many() -> None:
    few = plan_telemetry(CONTRACT, digest_of(b"x"), FACTS, {"errors": CountedRows(dropped={"gap": 2})})
    assert [(drops.what, drops.reason, drops.count) for drops in few.dropped] == [("errors", "gap", 2)]
    many = {f"reason{i}": 1 for i in range(200)}
    joined = plan_telemetry(CONTRACT, digest_of(b"x"), FACTS, {"errors": CountedRows(dropped=many)})
    assert [(drops.what, drops.reason, drops.count) for drops in joined.dropped] == [("errors", "several", 200)]


def test_withholding_one_signal_lets_no_more_of_another_leave() -> None:
    """The share of the budget that becomes free is used by nobody."""
    errors = tuple(replace(row, labels={}, values={"code": "E1", "count": 1}) for row in minutes(80))
    sources = {"requests": CountedRows(minutes(8)), "errors": CountedRows(errors)}
    withheld = TelemetryFacts(FACTS.site, 3, NOW, ("requests",), FACTS.releases)
    for budget in range(400, 9000, 97):
        contract = replace(CONTRACT, telemetry_bytes=budget)
        both = plan_telemetry(contract, digest_of(b"x"), FACTS, sources)
        one_less = plan_telemetry(contract, digest_of(b"x"), withheld, sources)
        rows = [
            {signal.signal: len(signal.rows) for signal in made.telemetry.signals} if made.telemetry else {}
            for made in (both, one_less)
        ]
        assert "requests" not in rows[1]
        assert rows[1].get("errors", 0) <= rows[0].get("errors", 0)
