"""Decisions at home, about real site folders: copied, restored, rotated, renewed. No row is edited by hand."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from fleet.commands.group import fleet_group
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import keys, reports
from fleet.rules.forks import choose_branch
from manifests.words.digest import digest_of
from tests.place import Place, make_place
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor
from verifier.reporting.key_change import renew_key, rotate_key
from verifier.reporting.report_write import export_reports, write_report

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
EAST = "northern-grid/small/production/east"


def told(place: Place) -> Place:
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return place


def write(place: Place, *, later: int = 0) -> str:
    """One more report; returns its digest."""
    place.clock.sleep(later)
    with place.hold() as site:
        return digest_of(write_report(site, site.disk, place.clock.at).read_bytes())


def copy_of(place: Place, folder: Path) -> Place:
    shutil.copytree(place.path, folder, symlinks=True)
    return told(Place(path=folder, clock=place.clock, people=place.people))


class Home:
    """Support: a ledger, and everything that is brought to it."""

    def __init__(self, folder: Path, fleet: str = "") -> None:
        self.folder = folder
        self.fleet = fleet or str(folder / "ledger")
        self.media = 0

    def __call__(self, *words: str, code: int = 0) -> dict[str, Any]:
        found = CliRunner().invoke(fleet_group, [*words, "--fleet", self.fleet, "--json"], catch_exceptions=False)
        assert found.exit_code == code, found.output
        shown: dict[str, Any] = json.loads(found.stdout)
        return shown

    def take(self, place: Place, *, code: int = 0) -> list[str]:
        """Import everything that the site has to say; returns the findings."""
        self.media += 1
        medium = self.folder / f"medium-{self.media}"
        medium.mkdir()
        with place.hold() as site:
            export_reports(site, site.disk, medium, most=50)
        return self.findings(self("import", str(medium), code=code))

    def findings(self, done: dict[str, Any]) -> list[str]:
        told = [one["finding"] for site in done["sites"].values() for one in site["findings"]]
        return told + [one["finding"] for one in done["files"] if one["status"] in ("quarantined", "unreadable")]

    def row(self) -> dict[str, Any]:
        found: dict[str, Any] = self("show", "east")["site"]
        return found

    def engine(self) -> Engine:
        return open_fleet(find_fleet(self.fleet, {}, self.folder))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path)


@pytest.fixture
def place(tmp_path: Path, home: Home) -> Place:
    return settled(tmp_path, home)


def settled(tmp_path: Path, home: Home) -> Place:
    """A site that runs a release that home knows."""
    place = told(make_place(tmp_path / "site", ONE))
    home("enroll", str(place.path / "outbox" / "enrolment.json"))
    bundle = ONE.write(tmp_path / "1.tar")
    place.bring(bundle)
    home("import", str(bundle))
    home.take(place)
    return place


def test_a_copied_folder_is_settled_by_a_person(home: Home, place: Place, tmp_path: Path) -> None:
    """Both folders live on; one is chosen; what the other writes later never counts again."""
    twin = copy_of(place, tmp_path / "twin")
    write(place)
    wrong = write(twin, later=60)
    write(twin, later=60)
    home.take(place)
    assert "report-forked" in home.take(twin, code=14)
    assert (home.row()["forked_at"], home.row()["report"]) == (2, 3)
    alarms = home("list", "alarms", "--site", "east")["alarms"]
    assert {one["finding"] for one in alarms} <= {
        "report-forked",
        "site-forked",
        "state-went-back",
        "journal-truncated",
    }
    right = home("list", "reports", "--site", "east")["reports"]
    mine = next(one["digest"] for one in right if one["seq"] == 2 and one["digest"] != wrong)
    done = home("resolve", "east", "--accept", mine[:19], "--reason", "the twin is a rehearsal machine")
    assert (done["kind"], done["accepted"]) == ("branch", mine)
    row = home.row()
    assert (row["forked_at"], row["report"], row["missing_reports"], row["alarms"]) == (None, 2, 0, 0)
    write(twin, later=60)
    assert home.take(twin, code=14).count("branch-refused") == 1
    write(place)
    assert home.take(place) == []
    row = home.row()
    assert (row["forked_at"], row["report"], row["missing_reports"]) == (None, 3, 0)
    kept = home("list", "resolutions")["resolutions"]
    assert [(one["site"], one["kind"], one["reason"]) for one in kept] == [
        (EAST, "branch", "the twin is a rehearsal machine")
    ]
    assert kept[0]["who"]
    engine = home.engine()
    with engine.connect() as connection:
        assert len(connection.execute(select(reports.c.digest)).all()) == 6  # nothing was deleted
    engine.dispose()


def test_a_decision_needs_a_reason_and_something_to_decide(home: Home, place: Place) -> None:
    digest = write(place)
    home.take(place)
    assert home("resolve", "east", "--accept", digest, "--reason", " ", code=2)["error"]["where"] == "--reason"
    assert (
        "nothing that waits" in home("resolve", "east", "--accept", digest, "--reason", "x", code=2)["error"]["problem"]
    )
    assert "not a digest" in home("resolve", "east", "--accept", "abc", "--reason", "x", code=2)["error"]["problem"]
    assert home("resolve", "east", "--reason", "x", code=2)["error"]["where"] == "--accept"


def test_a_restored_backup_renews_its_key(home: Home, place: Place, tmp_path: Path) -> None:
    """F38: the folder says so itself, both lines stand, a person accepts, the story of the first one stays."""
    backup = tmp_path / "backup"
    shutil.copytree(place.path, backup, symlinks=True)
    write(place)
    home.take(place)
    shutil.rmtree(place.path)
    shutil.copytree(backup, place.path, symlinks=True)
    with place.hold() as site:
        renewed = renew_key(site, "backup-restored").enrolment
    assert renewed is not None
    write(place)
    assert "site-unknown" in home.take(place, code=14)
    found = home("enroll", str(renewed), code=14)
    assert found["error"]["finding"] == "renewal-waits"
    assert home.findings({**found["quarantine"], "files": []}) == ["line-pending"]
    assert "new key waits" in home.row()["notes"]
    assert home.row()["report"] == 2  # the former key still speaks
    home("resolve", "east", "--accept", found["enrolment"], "--reason", "their backup of Monday; told by telephone")
    row = home.row()
    assert "new key waits" not in row["notes"]
    assert row["release"]["version"] == "1.0.0"
    write(place)
    assert home.take(place) == []
    assert home.row()["missing_reports"] == 0


def test_what_the_former_key_signs_after_a_renewal_is_an_alarm(home: Home, place: Place, tmp_path: Path) -> None:
    twin = copy_of(place, tmp_path / "twin")
    with place.hold() as site:
        renewed = renew_key(site, "key-stolen").enrolment
    found = home("enroll", str(renewed), code=14)
    home("resolve", "east", "--accept", found["enrolment"], "--reason", "stolen")
    write(twin)
    assert "line-former" in home.take(twin, code=14)


def test_a_renewal_may_be_refused(home: Home, place: Place, tmp_path: Path) -> None:
    twin = copy_of(place, tmp_path / "twin")
    with twin.hold() as site:
        renewed = renew_key(site, "key-lost").enrolment
    home("enroll", str(renewed), code=14)
    enrolled = digest_of((tmp_path / "site" / "site" / "outbox" / "enrolment.json").read_bytes())
    home("resolve", "east", "--accept", enrolled, "--reason", "nobody at the customer knows of it")
    assert "new key waits" not in home.row()["notes"]
    write(twin)
    assert "line-former" in home.take(twin, code=14)


def test_a_rotated_key_needs_no_paper(home: Home, place: Place) -> None:
    """Old signs new, in the chain; a consignment is then for the new key."""
    with place.hold() as site:
        rotated = rotate_key(site).key
    write(place)
    assert home.take(place) == []
    with place.hold() as site:
        rotate_key(site)
    write(place)
    assert home.take(place) == []
    assert (home.row()["report"], home.row()["missing_reports"], home.row()["forked_at"]) == (3, 0, None)
    engine = home.engine()
    with engine.connect() as connection:
        held = connection.execute(select(keys.c.keyid, keys.c.key_epoch).order_by(keys.c.key_epoch)).all()
    engine.dispose()
    assert [(one.keyid == rotated.keyid, one.key_epoch) for one in held] == [(True, 2), (False, 3)]


def test_what_the_old_key_signs_after_a_rotation_is_an_alarm(home: Home, place: Place, tmp_path: Path) -> None:
    """Whoever kept a copy of the old key cannot speak past the place where the site changed it."""
    thief = copy_of(place, tmp_path / "thief")
    with place.hold() as site:
        rotate_key(site)
    newest = write(place)
    home.take(place)
    write(thief, later=60)
    found = home.take(thief, code=14)
    assert "key-superseded" in found
    shown = home("show", "east")["report"]
    assert home.row()["forked_at"] is None
    assert home.row()["report"] == shown["chain"]["seq"]
    assert any(one["digest"] == newest for one in home("list", "reports")["reports"])


def test_two_copies_that_both_rotate(home: Home, place: Place, tmp_path: Path) -> None:
    twin = copy_of(place, tmp_path / "twin")
    for one in (place, twin):
        with one.hold() as site:
            rotate_key(site)
        write(one)
    assert home.take(place) == []
    assert "rotation-forked" in home.take(twin, code=14)


def test_quarantine_has_two_ways_out(home: Home, place: Place, tmp_path: Path) -> None:
    stranger = Reporter(site="northern-grid/small/production/west", root=ONE.pin())
    back = tmp_path / "back"
    back.mkdir()
    raw = stranger.report()
    (back / "west.json").write_bytes(raw)
    for i in range(3):
        (back / f"junk-{i}.json").write_bytes(b'{"dsseEnvelope":%d}' % i)
    home("import", str(back), code=14)
    listed = home("list", "quarantine", "--limit", "2")
    assert (len(listed["quarantine"]), listed["more"]) == (2, True)
    digest = digest_of(raw)
    refused = home("resolve", "--accept", digest[:20], "--reason", "known by telephone", code=5)
    assert refused["error"]["finding"] == "site-unknown"
    done = home("resolve", "--close", "report-malformed", "--reason", "a broken scanner")
    assert done["kind"] == "close"
    assert [one["digest"] for one in home("list", "quarantine")["quarantine"]] == [digest]
    assert home("resolve", "--close", "report-malformed", "--reason", "again", code=2)["error"]["where"] == "--close"
    (tmp_path / "west.enrolment").write_bytes(stranger.enrolment)
    home("enroll", str(tmp_path / "west.enrolment"))
    assert home("list", "quarantine")["quarantine"] == []


def test_an_alarm_that_was_looked_into(home: Home, place: Place, tmp_path: Path) -> None:
    place.bring(TWO.but(service={"hello.txt": b"changed\n"}).write(tmp_path / "x.tar"))
    TWO.write(tmp_path / "2.tar")
    home("import", str(tmp_path / "2.tar"))
    assert "release-never-made" in home.take(place, code=14)
    (alarm,) = home("list", "alarms")["alarms"]
    assert home.row()["alarms"] == 1
    home("resolve", "east", "--alarm", str(alarm["alarm"]), "--reason", "a private build for a test")
    assert home.row()["alarms"] == 0
    assert home("list", "alarms")["alarms"] == []
    assert home("resolve", "east", "--alarm", "99", "--reason", "x", code=2)["error"]["where"] == "--alarm"


# --- the choice itself


def test_a_choice_follows_the_branch_down_and_up() -> None:
    """Fork at 2; branch a is 2a 3a 4a, branch b 2b 3b; 3a is not here and known by a summary alone."""
    held = (
        ("2a", ((2, "2a"), (1, "1"))),
        ("2b", ((2, "2b"), (1, "1"))),
        ("3b", ((3, "3b"), (2, "2b"), (1, "1"))),
        ("4a", ((4, "4a"), (3, "3a"), (2, "2a"))),
    )
    places = {
        1: frozenset({"1"}),
        2: frozenset({"2a", "2b"}),
        3: frozenset({"3a", "3b"}),
        4: frozenset({"4a"}),
    }
    for accepted in ((2, "2a"), (4, "4a")):
        found = choose_branch(accepted, places, held)
        assert found.refused == {(2, "2b"), (3, "3b")}
        assert found.reports == {"2b", "3b"}
    assert choose_branch((3, "3b"), places, held).reports == {"2a", "4a"}
    assert choose_branch((1, "1"), places, held).refused == frozenset()


@given(st.integers(1, 6), st.lists(st.integers(1, 6), min_size=2, max_size=4), st.data())
def test_what_is_chosen_is_never_set_aside(common: int, lengths: list[int], data: st.DataObject) -> None:
    """Any number of branches from one place, any report chosen: its whole branch stays, every other one goes."""
    branches = [[(common + i, f"{name}-{common + i}") for i in range(length)] for name, length in enumerate(lengths)]
    root = [(seq, f"root-{seq}") for seq in range(common)]
    held = []
    places: dict[int, set[str]] = {}
    for branch in branches:
        for i, (_, digest) in enumerate(branch):
            held.append((digest, (*root, *branch[: i + 1])))
    for _, claims in held:
        for seq, digest in claims:
            places.setdefault(seq, set()).add(digest)
    mine = data.draw(st.sampled_from(branches))
    found = choose_branch(data.draw(st.sampled_from(mine)), {seq: frozenset(one) for seq, one in places.items()}, held)
    others = {pair for branch in branches if branch is not mine for pair in branch}
    assert found.refused == others
    assert found.reports == {digest for _, digest in others}
