"""Damaged reports and enrolments of the outbox: status, check and report name them, and nothing good is held up."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.consignments import consignment_for, signed
from tests.place import Place, make_place
from tests.stored import broken
from tests.unit.verifier.intake.test_consignment import put, receive
from tests.vendor import Vendor
from verifier.commands.check import check_command
from verifier.commands.report import report_command
from verifier.commands.status import status_command
from verifier.reporting.report_write import write_report

ONE = Vendor(version="1.0.0", sequence=1)
HOW = ("changed", "cut", "unreadable", "folder")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE)
    place.bring(ONE.write(tmp_path / "1.tar"))
    for _ in range(3):
        write(place)
    return place


def write(place: Place) -> Path:
    with place.hold() as site:
        return write_report(site, site.disk, place.clock.at)


def run(command: click.Command, place: Place, *words: str, code: int) -> dict[str, Any]:
    result = CliRunner().invoke(command, [*words, "--site", str(place.path), "--json"])
    assert result.exit_code == code, result.output
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def text(command: click.Command, place: Place, *words: str, code: int) -> str:
    result = CliRunner().invoke(command, [*words, "--site", str(place.path)])
    assert result.exit_code == code, result.output
    return result.output


def outbox(place: Place, name: str) -> Path:
    return place.path / "outbox" / name


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_older_report_is_named_by_each_command(place: Place, how: str) -> None:
    path = outbox(place, "2.report.json")
    with broken(path, how):
        for command, code in ((status_command, 14), (check_command, 0), (report_command, 14)):
            shown = run(command, place, code=code)
            (file,) = shown["outbox"]
            assert file["where"] == str(path)
            assert "without a copy its content is lost" in file["problem"]
            assert "copy it back from a medium" in file["hint"]
            assert f"outbox     {path}: damaged: " in text(command, place, code=code)
    for command in (status_command, check_command, report_command):
        run(command, place, code=0)


def test_the_good_reports_are_exported(place: Place, tmp_path: Path) -> None:
    (tmp_path / "medium").mkdir()
    with broken(outbox(place, "2.report.json"), "cut"):
        shown = run(report_command, place, "--out", str(tmp_path / "medium"), code=14)
    assert [Path(name).name.split(".")[-3] for name in shown["copied"]] == ["1", "3"]
    assert shown["error"]["finding"] == "outbox-damaged"


def test_a_text_that_is_a_report_stays_as_it_is(place: Place) -> None:
    whole = run(report_command, place, "--text", code=0)["text"]
    with broken(outbox(place, "1.report.json"), "cut"):
        result = CliRunner().invoke(report_command, ["--text", "--site", str(place.path)])
    assert result.exit_code == 14
    assert result.stdout.rstrip("\n") == whole
    assert "1.report.json: damaged" in result.stderr


def test_what_support_holds_is_not_lost(place: Place, tmp_path: Path) -> None:
    """Removed when support acknowledged it, and back from a copy of the folder."""
    whole = outbox(place, "2.report.json").read_bytes()
    note = signed(consignment_for(place.open().state, acknowledge=True))
    receive(place, put(tmp_path / "consignment.json", note))
    put(outbox(place, "2.report.json"), whole[:-40])
    (file,) = run(status_command, place, code=14)["outbox"]
    assert "support holds it, so nothing is lost" in file["problem"]
    assert file["hint"] == "remove the file"


def test_the_newest_report_is_replaced(place: Place, tmp_path: Path) -> None:
    path = outbox(place, "3.report.json")
    path.write_bytes(path.read_bytes()[:100])
    assert "waybill report --new" in run(status_command, place, code=14)["error"]["hint"]
    assert "waybill report --new" in run(report_command, place, code=7)["error"]["hint"]
    (tmp_path / "medium").mkdir()
    shown = run(report_command, place, "--new", "--out", str(tmp_path / "medium"), code=14)
    assert [Path(name).name.split(".")[-3] for name in shown["copied"]] == ["1", "2", "4"]
    assert [file["where"] for file in shown["outbox"]] == [str(path)]


@pytest.mark.parametrize("how", ["changed", "cut"])
def test_a_damaged_enrolment_is_written_again(place: Place, how: str) -> None:
    path = outbox(place, "enrolment.json")
    whole = path.read_bytes()
    with broken(path, how):
        (file,) = run(status_command, place, code=14)["outbox"]
        assert (file["where"], file["hint"]) == (str(path), "`waybill report --new` writes the same enrolment again")
        assert "support cannot record the site from this file" in file["problem"]
        assert run(check_command, place, code=0)["outbox"] == [file]
        assert "outbox" not in run(report_command, place, "--new", code=0)
        assert path.read_bytes() == whole


def test_without_a_copy_the_enrolment_is_restored_from_a_backup(place: Place) -> None:
    """The report is written all the same."""
    digest = place.open().state.reports.enrolment
    assert digest is not None
    with (
        broken(place.open().document_path(digest), "cut"),
        broken(outbox(place, "enrolment.json"), "cut"),
    ):
        (file,) = run(status_command, place, code=14)["outbox"]
        assert "restore the file from a backup of the site" in file["hint"]


def test_a_damaged_file_that_the_journal_does_not_name_is_replaced(place: Place) -> None:
    """A crash left it after it was written, and the disk damaged it: nobody carried it away."""
    path = outbox(place, "4.report.json")
    path.write_bytes(outbox(place, "3.report.json").read_bytes()[:200])
    (file,) = run(status_command, place, code=14)["outbox"]
    assert "nothing is lost" in file["problem"]
    assert "waybill report --new` replaces it" in file["hint"]
    assert "outbox" not in run(report_command, place, "--new", code=0)
    assert run(report_command, place, code=0)["report"]["chain"]["seq"] == 4


def test_several_files_are_one_error_with_their_names(place: Place) -> None:
    with broken(outbox(place, "1.report.json"), "cut"), broken(outbox(place, "enrolment.json"), "changed"):
        error = run(status_command, place, code=14)["error"]
    assert error["problem"] == "2 files are damaged: enrolment.json, 1.report.json"


def test_a_missing_report_is_no_damage(place: Place) -> None:
    with broken(outbox(place, "1.report.json"), "missing"), broken(outbox(place, "enrolment.json"), "missing"):
        assert run(status_command, place, code=0)["outbox"] == []
