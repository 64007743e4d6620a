"""Damaged counts: a clean restart that is counted as a gap; never a traceback, and nothing is counted twice."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from content.telemetry.collector import open_collector
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError
from tests.counting import Counting, make_counting
from tests.fuzz.corpus import seeds
from tests.fuzz.targets import TARGETS, counted_signals, resumed
from verifier.collecting.kept import Kept, kept_bytes, kept_path, parse_kept
from verifier.reporting.report_write import write_report
from verifier.site.disk import Disk

SIGNALS = ("requests", "errors", "intake_time")
SPAN = (
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"intake","startTimeUnixNano":"0",'
    '"endTimeUnixNano":"9000"}]}]}]}\n'
)


def grow(counting: Counting, times: int) -> None:
    """Let every source have one thing more to count."""
    counting.metrics.write_text(f'# TYPE shop_requests_total counter\nshop_requests_total{{route="intake"}} {times}\n')
    with counting.log.open("a") as log:
        log.write("code=E1\n")
    with (counting.spans / "1.jsonl").open("a") as spans:
        spans.write(SPAN)


def totals(counting: Counting) -> tuple[int, int, int]:
    return (
        counting.total("requests", "increase"),
        counting.total("errors", "count", code="E1"),
        counting.total("intake_time", "count"),
    )


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    counting = make_counting(tmp_path_factory.mktemp("damaged"))
    for times in range(3):
        grow(counting, times)
        counting.collect()
    assert totals(counting) == (2, 2, 2)
    return counting


def damage(data: bytes, kind: str, at: float, byte: int) -> bytes:
    place = int(at * len(data))
    if kind == "cut":
        return data[:place]
    if kind == "flip":
        return data[:place] + bytes((data[place] ^ (byte or 1),)) + data[place + 1 :]
    if kind == "digit":
        digits = [i for i, old in enumerate(data) if old in b"0123456789"]
        place = digits[int(at * len(digits))]
        new = (data[place] - 48 + 1 + byte % 9) % 10 + 48
        return data[:place] + bytes((new,)) + data[place + 1 :]
    if kind == "zeros":
        return data[:place] + bytes(len(data) - place)
    return data[:place] + bytes((byte,)) + data[place:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(("cut", "flip", "digit", "zeros", "put")),
    at=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
)
@example("cut", 0.0, 0)
@example("zeros", 0.0, 0)
@example("digit", 0.3, 3)
def test_any_damage_is_a_clean_restart_with_a_gap(counting: Counting, kind: str, at: float, byte: int) -> None:
    for times in range(2):
        grow(counting, times + 1)
        counting.collect()
    begun = totals(counting)
    gaps = [counting.dropped(signal).get("gap", 0) for signal in SIGNALS]
    paths = [kept_path(counting.place.path, signal) for signal in SIGNALS]
    for path in paths:
        path.write_bytes(damage(path.read_bytes(), kind, at, byte))
    with counting.place.hold() as site:
        report = write_report(site, Disk(), counting.place.clock.at, look=counting.place.look)
    assert report is not None
    grow(counting, 3)
    looks = counting.collect().looks
    assert [look.dropped for look in looks] == [{"gap": 1}] * 3
    assert all(look.problem is None and "lost" in look.notes[0] for look in looks)
    # Nothing of before is counted again; what was damaged is gone with its drops.
    assert totals(counting) == (0, 0, 0) and begun != (0, 0, 0)
    assert [counting.dropped(signal).get("gap", 0) for signal in SIGNALS] == [1] * 3 and len(gaps) == 3
    grow(counting, 4)
    counting.collect()
    assert totals(counting) == (1, 1, 1)


def test_a_gap_is_counted_although_the_source_fails_too(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    counting.collect()
    kept_path(counting.place.path, "errors").write_bytes(b"")
    counting.log.unlink()
    assert counting.collect().looks[1].dropped == {"gap": 1, "source-missing": 1}


@pytest.mark.parametrize(
    ("index", "path", "value"),
    [
        (0, "groups.0.growth", "1e999"),
        (0, "interval.end", 2**53 - 1),
        (1, "groups.0.gauge", ["1", "2"]),
        (2, "interval.begin", 2**53 - 1),
        (2, "counted.rows.0.start", "2026-13-32T99:00:00Z"),
        (3, "buckets", {"x": 1}),
        (3, "buckets", {"999999": 1}),
    ],
)
def test_a_state_with_a_good_digest_that_no_collector_wrote_is_refused_when_opened(
    index: int, path: str, value: object
) -> None:
    """Refused by the state, and not later by whoever uses it."""
    state = [data[1:] for data in seeds("kept") if data[0] == index + 1][-1]
    resumed(index)(state)
    document = json.loads(state)
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    assert place[last] != value
    place[last] = value
    with pytest.raises(MalformedError):
        open_collector(counted_signals()[index], encode(document))


def test_the_file_that_is_read_is_the_file_that_was_written(counting: Counting) -> None:
    counting.collect()
    data = kept_path(counting.place.path, "errors").read_bytes()
    kept = parse_kept(data, "test")
    assert kept_bytes(Kept(kept.progress, kept.state)) == data
    assert TARGETS["kept"][0](data) is None
