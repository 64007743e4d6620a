"""Counts of spans in OTLP JSON, held against exact quantiles."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.telemetry.collector import open_collector
from content.telemetry.counted import MALFORMED, TOO_LONG
from content.telemetry.quantiles import bucket_of, quantile
from content.telemetry.traces import MAX_DOCUMENT
from tests.unit.content.telemetry.signals import NOON, look, traces

START = 1_764_500_000_000_000_000


def document(*milliseconds: int, failed: int = 0, name: str = "sign") -> bytes:
    """One ``ExportTraceServiceRequest`` with a span for each duration, of which the first ``failed`` failed."""
    spans = [
        {
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174",
            "name": name,
            "startTimeUnixNano": str(START),
            "endTimeUnixNano": str(START + duration * 10**6),
            "attributes": [{"key": "password", "value": {"stringValue": "hunter2"}}],
            "status": {"code": 2, "message": "no such key"} if i < failed else {},
        }
        for i, duration in enumerate(milliseconds)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@given(st.lists(st.integers(0, 600_000), min_size=1, max_size=100), st.sampled_from(["p50", "p90", "p95", "p99"]))
def test_a_quantile_is_at_most_one_percent_off(durations: list[int], name: str) -> None:
    collector = look(open_collector(traces(name, "count", "max", "min")), document(*durations) + b"\n", chunk=100)
    (row,) = collector.current_rows()
    exact = sorted(durations)[math.floor(int(name[1:]) / 100 * (len(durations) - 1))]
    assert abs(int(row.values[name]) - exact) <= exact * 0.0101 + 1
    assert (row.values["count"], row.values["max"], row.values["min"]) == (
        len(durations),
        max(durations),
        min(durations),
    )


def test_errors_are_a_share_and_other_operations_do_not_count() -> None:
    data = document(10, 20, 30, 40, failed=1) + b"\n" + document(1, 2, 3, name="fetch", failed=3) + b"\n"
    (row,) = look(open_collector(traces("count", "errors", "mean")), data).current_rows()
    assert row.values == {"count": 4, "errors": 250, "mean": 25}


def test_a_file_is_one_document_or_one_on_each_line() -> None:
    pretty = json.dumps(json.loads(document(5, 5)), indent=2).encode()
    for data in (pretty, pretty + b"\n", document(5) + b"\n" + document(5) + b"\n", document(5) + b"\n" + document(5)):
        for chunk in (7, 1 << 20):
            collector = look(open_collector(traces("count")), data, chunk=chunk)
            assert [row.values for row in collector.current_rows()] == [{"count": 2}]
            assert not collector.counted.dropped


def test_an_unfinished_line_is_read_again_and_a_broken_document_is_counted() -> None:
    collector = open_collector(traces("count"))
    collector.begin(NOON, None)
    whole = document(5) + b"\n"
    collector.feed(whole + document(5)[:40])
    collector.end()
    assert collector.consumed == len(whole)
    collector = look(open_collector(traces("count")), b"{\n" + document(5) + b"\n")
    assert collector.counted.dropped == {MALFORMED: 1}


def test_a_document_too_long_or_too_deep_is_dropped() -> None:
    long = b'{"resourceSpans":[' + b" " * MAX_DOCUMENT + b"]}\n"
    collector = look(open_collector(traces("count")), long + document(5) + b"\n", chunk=1 << 16)
    assert collector.counted.dropped == {TOO_LONG: 1}
    assert [row.values for row in collector.current_rows()] == [{"count": 1}]
    deep = b'{"resourceSpans":' + b"[" * 100_000 + b"\n"
    assert look(open_collector(traces("count")), deep).counted.dropped == {MALFORMED: 1}


@pytest.mark.parametrize("times", [("x", "1"), ("5", "1"), ("0", "9" * 30)])
def test_times_that_cannot_be_are_counted_as_malformed(times: tuple[str, str]) -> None:
    span = {"name": "sign", "startTimeUnixNano": times[0], "endTimeUnixNano": times[1]}
    data = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    collector = look(open_collector(traces("count")), data)
    assert collector.counted.dropped == {MALFORMED: 1}


def test_nothing_but_numbers_is_kept() -> None:
    state = look(open_collector(traces("count", "p99")), document(5, failed=1) + b"\n").state()
    assert not any(word in state for word in (b"hunter2", b"password", b"no such key", b"5b8efff7"))


@given(st.integers(0, 10**13))
def test_every_duration_has_a_bucket_within_one_percent(microseconds: int) -> None:
    estimate = quantile({bucket_of(microseconds): 1}, 0.5)
    assert estimate is not None and abs(estimate - max(1, microseconds)) <= max(1, microseconds) * 0.0101
