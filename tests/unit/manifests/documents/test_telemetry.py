"""The telemetry file: read strictly, and no value can hold a sentence."""

import pytest
from msgspec.structs import replace

from manifests.documents.telemetry import (
    HandlerResult,
    SignalRows,
    Telemetry,
    TelemetryRow,
    parse_handler_result,
    parse_telemetry,
)
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError

ROW = TelemetryRow(start="2026-11-20T00:00:00Z", seconds=86400, labels={"route": "intake"}, values={"count": 3})
TELEMETRY = Telemetry(
    site="acme/shop/production/east",
    environment="production",
    seq=12,
    contract="sha256:" + "ab" * 32,
    signals=(SignalRows(signal="errors", rows=(ROW,)), SignalRows(signal="requests", rows=(ROW,))),
)


def test_what_is_written_is_read() -> None:
    assert parse_telemetry(encode(TELEMETRY)) == TELEMETRY


@pytest.mark.parametrize(
    "values", [{"x": "two words"}, {"x": "a/b"}, {"x": ""}, {"x": "a" * 129}, {"x": "https://a"}, {"x": 2**60}, {}]
)
def test_a_value_is_no_sentence_no_path_and_no_address(values: dict[str, str | int]) -> None:
    wrong = replace(TELEMETRY, signals=(SignalRows(signal="errors", rows=(replace(ROW, values=values),)),))
    with pytest.raises(MalformedError):
        parse_telemetry(encode(wrong))


@pytest.mark.parametrize("values", [{"x": True}, {"x": -1}, {"x": "1.2.3-rc.1+5"}, {"x": "sha256:" + "0" * 64}])
def test_every_type_of_a_contract_has_a_value(values: dict[str, str | int]) -> None:
    right = replace(TELEMETRY, signals=(SignalRows(signal="errors", rows=(replace(ROW, values=values),)),))
    assert parse_telemetry(encode(right)) == right


def test_signals_are_sorted_and_the_environment_is_the_sites() -> None:
    for wrong in (
        replace(TELEMETRY, signals=TELEMETRY.signals[::-1]),
        replace(TELEMETRY, signals=(*TELEMETRY.signals, TELEMETRY.signals[-1])),
        replace(TELEMETRY, environment="staging"),
    ):
        with pytest.raises(MalformedError):
            parse_telemetry(encode(wrong))


def test_a_handler_result_is_read_back_and_holds_no_sentence() -> None:
    result = HandlerResult(signal="selftest", start="2026-11-20T00:00:00Z", values={"verdict": "ok"})
    assert parse_handler_result(encode(result)) == result
    with pytest.raises(MalformedError):
        parse_handler_result(encode(replace(result, values={"verdict": "not ok"})))
    with pytest.raises(MalformedError):
        parse_handler_result(b"x" * (64 << 10) + b"x")
