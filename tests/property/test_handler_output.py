"""Whatever a handler prints: its values are the contract's, or none is taken."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from content.telemetry.counted import fits
from manifests.documents.contract import Keep, Signal, SignalSource, Values
from manifests.documents.telemetry import HandlerResult, parse_handler_result
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.handling import handler
from verifier.handlers.program import MAX_STATED, output_of
from verifier.runtime.program_files import ProgramResult

SIGNAL = Signal(
    name="depth",
    kind="command-result",
    source=SignalSource(handler="queue"),
    fields={
        "jobs": Values(integer=(0, 100)),
        "queue": Values(enum=("intake", "archive")),
        "late": Values(type="bool"),
        "since": Values(duration=(0, 60)),
        "version": Values(type="version"),
        "digest": Values(type="digest"),
    },
    keep=Keep(site=1, vendor=1),
    why="a test",
)
GOOD = {
    "jobs": 7,
    "queue": "intake",
    "late": False,
    "since": 5,
    "version": "1.2.3",
    "digest": "sha256:" + "0" * 64,
}
HANDLER = handler("queue", "depth", returns="depth")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def judged(data: bytes) -> dict[str, object]:
    result = ProgramResult("done", 0, 0.1, data[-MAX_STATED:], len(data), digest_of(data), "")
    output = output_of(result, HANDLER, SIGNAL)
    assert (output.reason is None) == bool(output.values)
    if output.reason is not None:
        assert output.withheld == (digest_of(data) if data else None)
    return dict(output.values)


def check(data: bytes) -> None:
    values = judged(data)
    if values:
        assert set(values) == set(SIGNAL.fields)
        assert all(fits(SIGNAL, name, value) for name, value in values.items())  # type: ignore[arg-type]  # a value
        stated = HandlerResult(signal="depth", start="2026-01-01T00:00:00Z", values=values)  # type: ignore[arg-type]  # values
        assert parse_handler_result(encode(stated)) == stated


@given(st.binary(max_size=200))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a":' * 5000)
@example(b" " * (MAX_STATED + 1) + json.dumps(GOOD).encode())
@example(b"\xff\xfe")
def test_any_bytes(data: bytes) -> None:
    assert judged(data) == {}


@given(st.sampled_from(sorted(GOOD)), ANYTHING)
@example("jobs", 7.0)
@example("jobs", True)
@example("jobs", 101)
@example("since", -1)
@example("queue", "intake\n")
@example("version", "1.2.3 rm -rf /")
@example("late", 1)
def test_one_field_that_is_anything(name: str, value: object) -> None:
    check(json.dumps({**GOOD, name: value}).encode())


@given(st.dictionaries(st.sampled_from([*GOOD, "note", "jobs "]), ANYTHING, max_size=7))
def test_fields_that_are_anything(values: dict[str, object]) -> None:
    check(json.dumps(values).encode())


def test_the_good_one_in_any_spelling() -> None:
    for data in (encode(GOOD), json.dumps(GOOD, indent=4).encode() + b"\n", b"\n\t " + json.dumps(GOOD).encode()):
        assert judged(data) == GOOD
