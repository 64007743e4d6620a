"""Counts of Prometheus series, held against the parser of the Prometheus client library and against exact values."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from content.telemetry.collector import open_collector
from content.telemetry.counted import LABEL, LABEL_VALUE, MALFORMED, TOO_LONG, TOO_MANY
from content.telemetry.exposition import MAX_LINE, SampleReader, parse_labels
from content.telemetry.metrics import MAX_SERIES
from content.telemetry.quantiles import histogram_quantile
from tests.unit.content.telemetry.signals import HOUR, NOON, look, metrics

LABEL_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    labels=st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,5}\Z"), LABEL_TEXT, max_size=4),
    timestamp=st.none() | st.integers(0, 10**12),
)
def test_a_sample_is_read_as_the_client_library_reads_it(
    value: float, labels: dict[str, str], timestamp: int | None
) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    inside = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
    line = f"load{'{' + inside + '}' if labels else ''} {value!r}{'' if timestamp is None else f' {timestamp}'}"
    (family,) = text_string_to_metric_families(line + "\n")
    (expected,) = family.samples
    sample = SampleReader("load").read(line.encode())
    assert sample is not None
    part, text, found = sample
    assert (part, found) == ("value", expected.value)
    assert {name.decode(): label.decode() for name, label in parse_labels(text).items()} == expected.labels


@given(st.lists(st.integers(0, 20), min_size=2, max_size=20))
def test_a_counter_counts_its_growth_over_resets(steps: list[int]) -> None:
    """The application restarts before every third look; its counter begins at nothing then."""
    collector, value, counted, values = open_collector(metrics("jobs_total", "increase")), 0, 0, []
    for i, step in enumerate(steps):
        value = step if i % 3 == 2 else value + step
        values.append(value)
        collector = look(collector, f"# TYPE jobs_total counter\njobs_total {value}\n".encode())
    # A reset is seen only where the value fell.
    counted = sum(now - before if now >= before else now for before, now in pairwise(values))
    (row,) = collector.current_rows()
    assert row.values == {"increase": counted}


def test_a_series_that_appears_later_began_at_nothing() -> None:
    signal = metrics("errors_total", "count", code=("a", "b"))
    collector = look(open_collector(signal), b'errors_total{code="a"} 7\n')
    collector = look(collector, b'errors_total{code="a"} 9\nerrors_total{code="b"} 3\n')
    assert [(row.labels["code"], row.values["count"]) for row in collector.current_rows()] == [("a", 2), ("b", 3)]


def test_labels_that_the_contract_does_not_list_are_added_up_and_counted() -> None:
    signal = metrics("queue", "last", "max", route=("in", "out"))
    text = b'queue{route="in",pod="a"} 2\nqueue{route="in",pod="b"} 3\nqueue{route="secret"} 5\nqueue 7\n'
    collector = look(open_collector(signal), text)
    (row,) = collector.current_rows()
    assert (row.labels, row.values) == ({"route": "in"}, {"last": 5, "max": 5})
    assert collector.counted.dropped == {LABEL: 2, LABEL_VALUE: 2}
    assert b"secret" not in collector.state() and b"pod" not in collector.state()


def test_a_histogram_of_the_client_library() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("work_seconds", "x", ["route"], registry=registry, buckets=(0.1, 0.5, 1, 5))
    Counter("other", "x", registry=registry).inc()
    Gauge("work_seconds_age", "x", registry=registry).set(4)
    signal = metrics("work_seconds", "count", "p50", "p99", "mean", "sum", unit="ms", route=("in",))
    histogram.labels("in").observe(30)
    collector = look(open_collector(signal), generate_latest(registry))
    for i in range(100):
        histogram.labels("in").observe(0.3 if i < 90 else 3)
    collector = look(collector, generate_latest(registry))
    (row,) = collector.current_rows()
    # 90 of 100 lie in 0.1..0.5, ten in 1..5; values inside a bucket are spread evenly.
    assert row.values["count"] == 100
    assert row.values["p50"] == round(1000 * (0.1 + 0.4 * 50 / 90))
    assert row.values["p99"] == round(1000 * (1 + 4 * 9 / 10))
    assert row.values["mean"] == 570 and row.values["sum"] == 57000


def test_a_gauge_over_several_looks_and_intervals() -> None:
    signal = metrics("memory_bytes", "min", "max", "mean", "last", unit="KiB")
    collector = open_collector(signal)
    for value in (1024, 4096, 2048):
        collector = look(collector, f"# TYPE memory_bytes gauge\nmemory_bytes {value}\n".encode(), NOON)
    collector = look(collector, b"memory_bytes 9216\n", NOON + HOUR)
    (row,) = collector.counted.rows
    assert row.values == {"min": 1, "max": 4, "mean": 2, "last": 2}
    (row,) = collector.current_rows()
    assert row.values["last"] == 9


@pytest.mark.parametrize(
    "text",
    [
        b"load NaN",
        b"load +Inf",
        b"load",
        b"load{ 3",
        b'load{a="b} 3',
        b"load two",
        b'load{a="1",a="2"} 3',
        b"load 1e999",
    ],
)
def test_what_is_no_sample_is_counted_as_malformed(text: bytes) -> None:
    collector = look(open_collector(metrics("load", "last")), text + b"\nload 5\n")
    assert collector.counted.dropped == {MALFORMED: 1}
    assert [row.values for row in collector.current_rows()] == [{"last": 5}]


def test_other_metrics_and_client_side_quantiles_are_not_ours() -> None:
    text = b'load_other 3\nloader 4\n# HELP load x\n\n# TYPE load summary\nload{quantile="0.5"} 3\nload_count 3\n'
    collector = look(open_collector(metrics("load", "last", "count")), text)
    assert [row.values for row in collector.current_rows()] == [{"count": 0}] and not collector.counted.dropped


def test_a_flood_of_series_is_bounded_and_counted() -> None:
    extra = 500
    text = b"".join(b'hits_total{ip="%d"} 1\n' % i for i in range(MAX_SERIES + extra))
    collector = look(open_collector(metrics("hits_total", "count")), text)
    collector = look(collector, text.replace(b" 1\n", b" 2\n"), NOON)
    assert collector.counted.dropped[TOO_MANY] == 2 * extra
    (row,) = collector.current_rows()
    assert row.values == {"count": MAX_SERIES}
    # Another set of series, as after a deployment: the old ones make place.
    text = b"".join(b'hits_total{ip="x%d"} 3\n' % i for i in range(10))
    (row,) = look(collector, text).current_rows()
    assert row.values == {"count": MAX_SERIES + 30}


def test_a_line_too_long_is_dropped() -> None:
    collector = look(
        open_collector(metrics("load", "last")), b'load{a="' + b"x" * MAX_LINE + b'"} 1\nload 2\n', chunk=999
    )
    assert collector.counted.dropped == {TOO_LONG: 1}
    assert [row.values for row in collector.current_rows()] == [{"last": 2}]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_value_with_that_rank(values: list[float], q: float) -> None:
    bounds = [1.0, 5.0, 10.0, 50.0, math.inf]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    exact = sorted(values)[math.ceil(q * len(values)) - 1]
    estimate = histogram_quantile(buckets, q)
    assert estimate is not None
    bound = next(bound for bound in bounds if exact <= bound)
    below = max((other for other in bounds if other < bound), default=0.0)
    assert (below <= estimate <= bound) if bound != math.inf else estimate == 50
