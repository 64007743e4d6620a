"""Laws of what leaves: whatever contract and whatever input, the contract's JSON Schema allows every byte of it."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from content.telemetry.collector import open_collector
from fleet.rules.telemetry_rules import telemetry_breaches
from manifests.documents.contract import Contract, Keep, Signal, SignalSource, Values
from manifests.documents.contract_schema import telemetry_schema
from manifests.documents.telemetry import SignalRows, TelemetryRow, parse_telemetry
from manifests.words.digest import digest_of
from tests.vendor import Vendor
from verifier.reporting.telemetry_plan import CountedRows, TelemetryFacts, TelemetryPlan, plan_telemetry

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STATE = Vendor().contract().signals[0]
RELEASE = "sha256:" + "ab" * 32
SITE = "northern-grid/small/production/east"
KEEP = Keep(site=86400, vendor=86400)
WORDS = st.sampled_from(["a", "b", "E1", "intake", "alice"])
ENUMS = st.lists(WORDS, min_size=1, max_size=3, unique=True).map(tuple)
BOUNDS = st.tuples(st.integers(-5, 50), st.integers(0, 10**6)).map(lambda pair: (min(pair), max(pair)))
NUMBERS = BOUNDS.map(lambda bounds: Values(integer=bounds))
ANY_VALUES = st.one_of(
    NUMBERS,
    ENUMS.map(lambda words: Values(enum=words)),
    st.sampled_from([Values(type="bool"), Values(type="version"), Values(type="digest"), Values(duration=(0, 60))]),
)


@st.composite
def metrics(draw: st.DrawFn, name: str) -> Signal:
    labels = {label: Values(enum=draw(ENUMS)) for label in draw(st.sets(st.sampled_from(["route", "code"])))}
    names = draw(st.sets(st.sampled_from(["increase", "count", "last", "p99", "mean"]), min_size=1))
    source = SignalSource(prometheus="m", series="x_total")
    return interval(draw, Signal(name=name, kind="metrics", source=source, labels=labels, keep=KEEP, why="w"), names)


@st.composite
def traces(draw: st.DrawFn, name: str) -> Signal:
    names = draw(st.sets(st.sampled_from(["count", "errors", "max", "p50"]), min_size=1))
    source = SignalSource(otlp="o", operation="a")
    return interval(draw, Signal(name=name, kind="traces", source=source, keep=KEEP, why="w"), names)


@st.composite
def logs(draw: st.DrawFn, name: str) -> Signal:
    words = draw(ENUMS)
    source = SignalSource(log="l", patterns={word: word for word in words})
    signal = interval(draw, Signal(name=name, kind="logs", source=source, keep=KEEP, why="w"), {"count"})
    return replace(signal, fields={"code": Values(enum=words), **signal.fields})


@st.composite
def results(draw: st.DrawFn, name: str) -> Signal:
    fields = draw(st.dictionaries(st.sampled_from(["x", "y", "z"]), ANY_VALUES, min_size=1))
    return Signal(name=name, kind="command-result", source=SignalSource(handler="h"), fields=fields, keep=KEEP, why="w")


def interval(draw: st.DrawFn, signal: Signal, names: set[str]) -> Signal:
    fields = {name: draw(NUMBERS) for name in sorted(names)}
    return replace(signal, per_seconds=300, rows=draw(st.integers(1, 5)), fields=fields)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    kinds = draw(st.lists(st.sampled_from([metrics, traces, logs, results]), min_size=1, max_size=4))
    signals = tuple(draw(kind(f"s{i}")) for i, kind in enumerate(kinds))
    budget = draw(st.integers(1, 5000))
    return replace(Vendor().contract(), signals=(STATE, *signals), telemetry_bytes=budget)


LABELS = st.dictionaries(st.sampled_from(["route", "code", "user"]), WORDS).map(
    lambda labels: "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
)
SAMPLES = st.builds(lambda labels, value: f"x_total{labels} {value}\n".encode(), LABELS, st.floats())
LINES = st.builds(lambda words: (" ".join(words) + "\n").encode(), st.lists(WORDS, max_size=4))
SPANS = st.builds(
    lambda name, end, code: (
        json.dumps(
            {
                "resourceSpans": [
                    {"scopeSpans": [{"spans": [{"name": name, "endTimeUnixNano": end, "status": {"code": code}}]}]}
                ]
            }
        ).encode()
        + b"\n"
    ),
    WORDS,
    st.integers(-5, 10**12),
    st.integers(0, 3),
)
INPUT = st.lists(st.one_of(SAMPLES, LINES, SPANS, st.binary(max_size=40)), max_size=12).map(b"".join)
# Rows that no collector would make: of a file that somebody wrote into the site's folder.
ROWS = st.builds(
    TelemetryRow,
    release=st.sampled_from([None, RELEASE, "sha256:" + "cd" * 32]),
    start=st.sampled_from(
        ["2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z", "2027-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]
    ),
    seconds=st.sampled_from([0, 1, 300, 301]),
    labels=st.dictionaries(st.sampled_from(["route", "code", "user"]), WORDS, max_size=2),
    values=st.dictionaries(
        st.sampled_from(["x", "y", "z", "code", "count", "increase", "user"]),
        st.one_of(st.booleans(), st.integers(-10, 10**7), WORDS, st.sampled_from(["1.2.3", "1.2.3-alice", RELEASE])),
        min_size=1,
        max_size=3,
    ),
)


def counted(signal: Signal, looks: list[bytes], others: list[TelemetryRow]) -> CountedRows:
    if signal.kind == "command-result":
        return CountedRows(tuple(others))
    collector = open_collector(signal)
    for i, data in enumerate([*looks, b""]):
        collector.begin(NOW - timedelta(seconds=300 * (len(looks) - i)), RELEASE)
        collector.feed(data)
        collector.end()
    rows = collector.counted
    # Two rows of one interval would be a fault of their own.
    starts = {row.start for row in rows.rows}
    unique = {row.start: row for row in others if row.start not in starts}
    return CountedRows((*rows.rows, *unique.values()), dict(rows.dropped))


def signals_of(plan: TelemetryPlan) -> tuple[SignalRows, ...]:
    return plan.telemetry.signals if plan.telemetry else ()


@settings(max_examples=150, deadline=None)
@given(contracts(), st.lists(INPUT, max_size=4), st.lists(ROWS, max_size=6))
def test_what_leaves_is_what_the_contract_allows(
    contract: Contract, looks: list[bytes], others: list[TelemetryRow]
) -> None:
    sources = {signal.name: counted(signal, looks, others) for signal in contract.signals[1:]}
    # A signal that the contract does not list, and the state itself, have rows too.
    sources |= {"s9": CountedRows(tuple(others)), STATE.name: CountedRows(tuple(others))}
    facts = TelemetryFacts(SITE, 3, NOW, (), frozenset((RELEASE,)))
    plan = plan_telemetry(contract, digest_of(b"contract"), facts, sources)
    if plan.telemetry is not None:
        assert parse_telemetry(plan.raw) == plan.telemetry
        assert telemetry_breaches(plan.telemetry, len(plan.raw), contract) == ()
        Draft202012Validator(telemetry_schema(contract)).validate(json.loads(plan.raw))
    assert {drops.what for drops in plan.dropped} <= {signal.name for signal in contract.signals[1:]}


def replace_withheld(facts: TelemetryFacts, withheld: set[str]) -> TelemetryFacts:
    return TelemetryFacts(facts.site, facts.seq, facts.now, withheld, facts.releases)


@settings(max_examples=60, deadline=None)
@given(contracts(), st.lists(INPUT, max_size=4), st.lists(ROWS, max_size=6), st.data())
def test_withholding_a_signal_adds_nothing(
    contract: Contract, looks: list[bytes], others: list[TelemetryRow], data: st.DataObject
) -> None:
    sources = {signal.name: counted(signal, looks, others) for signal in contract.signals[1:]}
    facts = TelemetryFacts(SITE, 3, NOW, (), frozenset((RELEASE,)))
    whole = plan_telemetry(contract, digest_of(b"contract"), facts, sources)
    withheld = data.draw(st.sets(st.sampled_from([signal.name for signal in contract.signals[1:]])))
    less = plan_telemetry(contract, digest_of(b"contract"), replace_withheld(facts, withheld), sources)
    assert len(less.raw) <= len(whole.raw)
    before = {(signal.signal, str(row)) for signal in signals_of(whole) for row in signal.rows}
    assert {(signal.signal, str(row)) for signal in signals_of(less) for row in signal.rows} <= before
