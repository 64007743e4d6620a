"""Counts of named patterns in a log, held against a count line by line with Python's own regular expressions."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.telemetry.collector import open_collector
from content.telemetry.counted import TOO_LONG
from content.telemetry.logs import MAX_LINE
from manifests.words.errors import MalformedError
from tests.unit.content.telemetry.signals import HOUR, NOON, logs, look

SIGNAL = logs(E1="code=E1 ", warning="(?i)warn(ing)?:", end="done$")


def counts(rows: object) -> dict[object, object]:
    return {row.values["code"]: row.values["count"] for row in rows}  # type: ignore[attr-defined]


LINE = st.sampled_from([b"code=E1 x", b"WARNING: code=E1 ", b"done", b"done ", b"", b"\xff\x00 code=E1 ", b"code=E10"])


@given(lines=st.lists(LINE, max_size=40), chunk=st.integers(1, 50), split=st.integers(0, 40))
def test_each_line_counts_once_for_each_pattern_that_it_matches(lines: list[bytes], chunk: int, split: int) -> None:
    """However the bytes arrive, and although the process is another one after each look."""
    collector = open_collector(SIGNAL)
    for part in (lines[:split], lines[split:]):
        collector = look(collector, b"".join(line + b"\n" for line in part), chunk=chunk)
    patterns = (SIGNAL.source.patterns if SIGNAL.source else None) or {}
    expected = {name: sum(bool(re.search(text.encode(), line)) for line in lines) for name, text in patterns.items()}
    assert counts(collector.current_rows()) == expected


def test_an_unfinished_line_is_left_for_the_next_look() -> None:
    collector = open_collector(SIGNAL)
    collector.begin(NOON, None)
    collector.feed(b"code=E1 \ncode=E1 ")
    collector.end()
    assert collector.consumed == len(b"code=E1 \n")
    assert counts(collector.current_rows())["E1"] == 1


def test_a_line_too_long_is_counted_as_dropped_and_ends_at_its_line_break() -> None:
    long = b"code=E1 " + b"x" * (3 * MAX_LINE)
    for chunk in (1000, MAX_LINE, 1 << 20):
        collector = look(open_collector(SIGNAL), long + b"\ncode=E1 \n" + long + b"\n", chunk=chunk)
        assert counts(collector.current_rows())["E1"] == 1
        assert collector.counted.dropped == {TOO_LONG: 2}


def test_an_interval_becomes_rows_when_the_next_one_begins_and_zero_is_a_value() -> None:
    collector = look(open_collector(SIGNAL), b"code=E1 \n", NOON)
    collector = look(collector, b"code=E1 \ncode=E1 \n", NOON + HOUR / 2)
    assert not collector.counted.rows
    collector = look(collector, b"done\n", NOON + HOUR)
    assert counts(collector.counted.rows) == {"E1": 3, "warning": 0, "end": 0}
    assert counts(collector.current_rows()) == {"E1": 0, "warning": 0, "end": 1}
    (first, *_) = collector.counted.rows
    assert (first.start, first.seconds) == ("2026-11-30T12:00:00Z", 1800)
    collector.clear(NOON + HOUR)
    assert not collector.counted.rows


def test_a_clock_that_goes_back_loses_nothing() -> None:
    collector = look(open_collector(SIGNAL), b"code=E1 \n", NOON)
    collector = look(collector, b"code=E1 \n", NOON - 5 * HOUR)
    assert counts(collector.current_rows())["E1"] == 2


def test_another_definition_of_the_signal_starts_anew() -> None:
    collector = look(open_collector(SIGNAL), b"code=E1 \n")
    assert counts(open_collector(logs(E1="code=E1 "), collector.state()).counted.rows) == {}


def test_a_pattern_that_backtracks_elsewhere_takes_linear_time() -> None:
    collector = open_collector(logs(bomb="(a+)+$"))
    began = time.process_time()
    look(collector, (b"a" * 60_000 + b"b\n") * 20)
    assert time.process_time() - began < 10


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a" * 1001])
def test_a_pattern_that_re2_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(MalformedError):
        open_collector(logs(bad=pattern))


@given(st.binary(max_size=300))
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(MalformedError):
        open_collector(SIGNAL, state)
