"""From a real site folder to support's list and back: real installs, real reports, a really copied folder."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleet.commands.group import fleet_group
from fleet.commands.options import usual_key
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.reporting.report_write import export_reports, write_report

ONE = Vendor(version="1.0.0", sequence=1, practice=True)
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"hello, world\n", "run.py": b"print('hi')\n"})


def told(place: Place) -> Place:
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return place


def hand_out(place: Place, medium: Path) -> None:
    medium.mkdir(exist_ok=True)
    with place.hold() as site:
        export_reports(site, site.disk, medium, most=12)


def fleet(tmp_path: Path, *words: str, code: int = 0) -> dict[str, object]:
    found = CliRunner().invoke(
        fleet_group, [*words, "--fleet", str(tmp_path / "fleet"), "--json"], catch_exceptions=False
    )
    assert found.exit_code == code, found.output
    shown: dict[str, object] = json.loads(found.stdout)
    return shown


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = told(make_place(tmp_path / "site", ONE))
    fleet(tmp_path, "enroll", str(place.path / "outbox" / "enrolment.json"))
    return place


def kinds(page: dict[str, object]) -> list[str]:
    history = page["history"]
    assert isinstance(history, list)
    return [one["kind"] for one in history]


def test_support_sees_what_the_site_did(place: Place, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    place.bring(ONE.write(tmp_path / "1.tar"))
    place.bring(TWO.write(tmp_path / "2.tar"))
    hand_out(place, medium)
    done = fleet(tmp_path, "import", str(tmp_path / "1.tar"), str(tmp_path / "2.tar"), str(medium))
    assert done["counts"] == {"release": 2, "report": 2}
    assert not [one for site in done["sites"].values() for one in site["findings"]]  # type: ignore[attr-defined]  # an object
    page = fleet(tmp_path, "show", "east")
    row = page["site"]
    assert isinstance(row, dict)
    assert (row["release"]["version"], row["release"]["known"], row["practice"]) == ("1.1.0", True, True)
    assert row["images"] == {"api": TWO.release()[0].images[0].manifest.digest}
    assert kinds(page) == ["install", "upgrade"]


def test_a_copied_site_folder_shows_at_home(place: Place, tmp_path: Path) -> None:
    """Both folders are real sites with one key, and both go on living."""
    place.bring(ONE.write(tmp_path / "1.tar"))
    shutil.copytree(place.path, tmp_path / "copy", symlinks=True)
    twin = told(Place(path=tmp_path / "copy", clock=place.clock, people=place.people))
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    twin.bring(TWO.write(tmp_path / "2.tar"))
    hand_out(place, tmp_path / "a")
    hand_out(twin, tmp_path / "b")
    fleet(tmp_path, "import", str(tmp_path / "1.tar"), str(tmp_path / "2.tar"), str(tmp_path / "a"))
    done = fleet(tmp_path, "import", str(tmp_path / "b"), code=14)
    assert done["counts"] == {"known": 1, "report": 1}
    page = fleet(tmp_path, "show", "east")
    row = page["site"]
    assert isinstance(row, dict)
    assert row["forked_at"] == 2
    assert "fork" in kinds(page)


def test_a_restored_backup_shows_at_home(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.path, tmp_path / "backup", symlinks=True)
    place.bring(ONE.write(tmp_path / "1.tar"))
    hand_out(place, tmp_path / "a")
    fleet(tmp_path, "import", str(tmp_path / "1.tar"), str(tmp_path / "a"))
    shutil.rmtree(place.path)
    shutil.copytree(tmp_path / "backup", place.path, symlinks=True)
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    hand_out(place, tmp_path / "b")
    done = fleet(tmp_path, "import", str(tmp_path / "b"), code=14)
    assert "report-forked" in json.dumps(done["sites"])


def test_a_cut_journal_shows_at_home(place: Place, tmp_path: Path) -> None:
    """Somebody removes the newest journal entries to hide an install: the next report cannot hide that."""
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    shutil.copytree(place.path / "journal", tmp_path / "journal")
    place.bring(ONE.write(tmp_path / "1.tar"))
    hand_out(place, tmp_path / "a")
    fleet(tmp_path, "import", str(tmp_path / "1.tar"), str(tmp_path / "a"))
    shutil.rmtree(place.path / "journal")
    shutil.copytree(tmp_path / "journal", place.path / "journal")
    (place.path / "outbox" / "2.report.json").unlink()
    (place.path / "current").unlink()
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    hand_out(place, tmp_path / "b")
    done = fleet(tmp_path, "import", str(tmp_path / "b"), code=14)
    assert "report-forked" in json.dumps(done["sites"])


def test_the_hint_names_the_key_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert usual_key() == "FILE"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "consignment-1.key").touch()
    assert usual_key() == "keys/consignment-1.key"
