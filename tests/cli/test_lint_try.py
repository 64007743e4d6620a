"""`lint --try`: what would leave of samples is seen before a contract is released."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from content.commands.lint import lint_command
from manifests.authored.contract_yaml import COLLECT_SECONDS
from tests.counting import SIGNALS
from tests.vendor import CONTRACT_YAML


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "contract.yaml"
    path.write_bytes(CONTRACT_YAML + SIGNALS.encode())
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "1.prom").write_text(
        "# TYPE shop_requests_total counter\n"
        'shop_requests_total{route="intake",user="alice"} 3\nshop_requests_total{route="alice"} 9\n'
    )
    (folder / "2.prom").write_text('shop_requests_total{route="intake",user="alice"} 7\n')
    (folder / "app.log").write_text("code=E1 alice\ncode=E2\nnothing\ncode=E2 at the end")
    span = {"name": "intake", "startTimeUnixNano": "0", "endTimeUnixNano": "12000000"}
    (folder / "spans.json").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    (folder / "notes.txt").write_text("code=E1 alice\n")
    os.mkfifo(folder / "pipe.log")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(lint_command, [str(argument) for argument in arguments])


def test_rows_and_drops_of_every_signal(contract: Path, samples: Path) -> None:
    done = run(contract, "--try", samples, "--json")
    assert done.exit_code == 0, done.output
    tried = {signal["signal"]: signal for signal in json.loads(done.output)["tried"]}
    assert tried["requests"]["rows"] == [{"labels": {"route": "intake"}, "values": {"increase": 4}}]
    assert tried["requests"]["dropped"] == {"label": 2, "label-value": 1}
    assert (tried["requests"]["fitting"], tried["requests"]["note"]) == (["1.prom", "2.prom"], "")
    assert [row["values"] for row in tried["errors"]["rows"]] == [
        {"code": "E1", "count": 1},
        {"code": "E2", "count": 2},
    ]
    assert tried["intake_time"]["rows"] == [{"labels": {}, "values": {"count": 1, "max": 12}}]
    text = run(contract, "--try", samples).output
    assert "requests (metrics): 1 row of one interval would leave; dropped: label 2, label-value 1" in text
    assert "  route intake, increase 4" in text
    assert "alice" not in text


def test_one_file_and_what_has_no_sample(contract: Path, samples: Path) -> None:
    text = run(contract, "--try", samples / "app.log").output
    assert "errors (logs): 2 rows of one interval would leave" in text
    assert "requests (metrics): no sample *.prom" in text


def test_what_cannot_be_tried_is_said(contract: Path, samples: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(contract, "--try", empty).exit_code == 2
    assert run(contract, "--try", tmp_path / "none").exit_code == 6
    twice = run(contract, contract, "--try", samples)
    assert twice.exit_code == 2 and "--try: needs exactly one contract" in str(twice.output + twice.stderr)
    assert "--try: --try" not in str(twice.output + twice.stderr)
    contract.write_bytes(contract.read_bytes().replace(b"per: 5m", b"per: 5 minutes"))
    done = run(contract, "--try", samples)
    assert done.exit_code == 3
    assert "would leave" not in done.output


def test_one_scrape_gives_no_increase(contract: Path, samples: Path) -> None:
    """As the collector does: a counter is counted from the second scrape on."""
    text = run(contract, "--try", samples / "1.prom").output
    assert "one scrape gives no increase; two files in order give one" in text
    assert "  route intake, increase 0" in text


def test_what_was_skipped_is_named_with_its_reason(contract: Path, samples: Path) -> None:
    (samples / "linked.log").symlink_to(samples / "app.log")
    (samples / "folder.log").mkdir()
    done = run(contract, "--try", samples, "--json")
    assert json.loads(done.output)["skipped"] == [
        {"file": "folder.log", "why": "a folder, which is not entered"},
        {"file": "linked.log", "why": "a link, which is not followed"},
        {"file": "notes.txt", "why": "its name ends in no kind of sample"},
        {"file": "pipe.log", "why": "a pipe"},
    ]
    text = run(contract, "--try", samples).output
    assert "pipe.log: skipped: a pipe" in text
    assert "linked.log: skipped: a link, which is not followed" in text


def test_a_named_pipe_is_called_a_pipe(contract: Path, samples: Path) -> None:
    done = run(contract, "--try", samples / "pipe.log")
    assert done.exit_code == 2
    assert "a pipe, expected a file" in done.output + done.stderr
    assert "directory" not in done.output + done.stderr


def test_a_binary_scrape_is_counted_as_malformed(contract: Path, samples: Path) -> None:
    (samples / "3.prom").write_bytes(bytes(range(256)) * 40)
    done = run(contract, "--try", samples / "3.prom", "--json")
    tried = {signal["signal"]: signal for signal in json.loads(done.output)["tried"]}
    assert tried["requests"]["dropped"] == {"malformed": 1}


def test_what_fits_nothing_is_said_by_file_and_by_signal(contract: Path, samples: Path) -> None:
    for path in samples.iterdir():
        path.unlink()
    (samples / "other.prom").write_text("cpu_total 3\n")
    (samples / "other.log").write_text("all is well\n")
    (samples / "other.json").write_text("{}")
    text = run(contract, "--try", samples).output
    assert "requests (metrics): 0 rows of one interval would leave; no sample is of its series" in text
    assert "no line matches its patterns" in text
    assert "no span is of its operation" in text
    for name in ("other.prom", "other.log", "other.json"):
        assert f"{name}: fits no signal of the contract" in text


def test_a_period_shorter_than_the_time_between_looks_is_a_warning(contract: Path) -> None:
    assert "warning" not in run(contract).output
    contract.write_bytes(contract.read_bytes().replace(b"per: 5m", b"per: 1m", 1))
    done = run(contract)
    assert done.exit_code == 0
    assert "warning: " in done.output and "signal requests counts per 1m" in done.output
    timer = (Path(__file__).parents[2] / "contrib" / "waybill-collect@.timer").read_text()
    assert f"OnCalendar=*:0/{COLLECT_SECONDS // 60}\n" in timer
