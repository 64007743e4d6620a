"""`collect` says what is under way: an interval of a day has no row for a day."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.counting import make_counting
from verifier.commands import collect as command


def test_what_is_under_way_and_until_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = make_counting(tmp_path)
    monkeypatch.setattr(command, "utc_now", lambda: counting.place.clock.at)

    def run(*more: str) -> str:
        done = CliRunner().invoke(command.collect_command, ["--site", str(counting.place.path), *more])
        assert done.exit_code == 0, done.output
        return done.output

    counting.place.clock.at = counting.place.clock.at.replace(minute=31, second=7)
    until = counting.place.clock.at.replace(minute=35, second=0).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = run()
    assert f"no row yet, 2 under way until {until}" in text and "0 rows" not in text
    signals = {signal["signal"]: signal for signal in json.loads(run("--json"))["signals"]}
    assert {name: (signals["errors"][name]) for name in ("rows", "under_way", "until")} == {
        "rows": 0,
        "under_way": 2,
        "until": until,
    }
    counting.place.clock.at = counting.place.clock.at.replace(minute=36)
    assert "2 rows, 2 under way until" in run()
