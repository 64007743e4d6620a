"""`lint --try`: what would leave of samples is seen before a contract is released."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from content.commands.lint import lint_command
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
    (folder / "alice.txt").write_text("code=E1\n")
    os.mkfifo(folder / "pipe.log")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(lint_command, [str(argument) for argument in arguments])


def test_rows_and_drops_of_every_signal(contract: Path, samples: Path) -> None:
    done = run(contract, "--try", samples, "--json")
    assert done.exit_code == 0, done.output
    tried = {signal["signal"]: signal for signal in json.loads(done.output)["tried"]}
    assert tried["requests"]["rows"] == [{"labels": {"route": "intake"}, "values": {"increase": 7}}]
    assert tried["requests"]["dropped"] == {"label": 2, "label-value": 1}
    assert [row["values"] for row in tried["errors"]["rows"]] == [
        {"code": "E1", "count": 1},
        {"code": "E2", "count": 2},
    ]
    assert tried["intake_time"]["rows"] == [{"labels": {}, "values": {"count": 1, "max": 12}}]
    text = run(contract, "--try", samples).output
    assert "requests (metrics): 1 row of one interval would leave; dropped: label 2, label-value 1" in text
    assert "  route intake, increase 7" in text
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
    assert run(contract, contract, "--try", samples).exit_code == 2
    contract.write_bytes(contract.read_bytes().replace(b"per: 5m", b"per: 5 minutes"))
    done = run(contract, "--try", samples)
    assert done.exit_code == 3
    assert "would leave" not in done.output
