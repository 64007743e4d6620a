"""How a report leaves a real site: text, telephone line, pictures, why each field may, and whom the policy asks."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from fleet.commands.group import fleet_group
from fleet.intake.transports import read_symbols
from manifests.documents.contract import CORE_FIELDS, OPTIONAL_CORE_FIELDS, parse_contract
from manifests.documents.policy import Person
from manifests.transport.armour import find_armour, open_armour
from manifests.transport.symbols import cut_report
from manifests.transport.telephone import parse_line, site_code
from manifests.trust.private_keys import FileSigner, encode_private, generate_key
from manifests.words.canonical import encode
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.queue import waiting_items
from verifier.commands.report import report_command
from verifier.reporting.report_write import write_report
from verifier.site.journal.events import Note

ONE = Vendor(version="1.0.0", sequence=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    place.bring(ONE.write(tmp_path / "1.tar"))
    return place


def typed(place: Place, *words: str, code: int = 0) -> str:
    found = CliRunner().invoke(report_command, [*words, "--site", str(place.path)], catch_exceptions=False)
    assert found.exit_code == code, found.output
    return found.stdout


def asked(place: Place, *words: str, code: int = 0) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(typed(place, *words, "--json", code=code))
    return shown


def newest(place: Place) -> bytes:
    return (place.path / "outbox" / f"{place.open().state.reports.seq}.report.json").read_bytes()


def notes(place: Place) -> list[str]:
    return [one.record.event.detail for one in place.open().entries if isinstance(one.record.event, Note)]


def test_text_line_and_pictures_reach_support(place: Place, tmp_path: Path) -> None:
    """Each way ends in the ledger as the very file, in a folder of its own."""
    raw = newest(place)
    text = tmp_path / "mail.txt"
    text.write_text(typed(place, "--text"))
    (block,) = find_armour(text.read_bytes())
    assert open_armour(block, "mail") == raw
    drawn = asked(place, "--qr-out", str(tmp_path / "report.png"))["pictures"]
    assert [Path(one).name for one in drawn] == ["report-01.png", "report-02.png"][: len(drawn)] or drawn == [
        str(tmp_path / "report.png")
    ]
    line = asked(place, "--line")["line"]
    state = place.open().state
    said = parse_line(line)
    assert (said.code, said.seq) == (site_code(state.site_key.keyid), state.reports.seq)
    assert notes(place)[-3:] == [
        "reports up to 1 as text",
        f"reports up to 1 as {len(drawn)} QR symbols",
        "reports up to 1 as a telephone line",
    ]
    for i, carriers in enumerate(([text], [Path(one) for one in drawn])):
        fleet = str(tmp_path / f"fleet-{i}")
        enrolment = str(place.path / "outbox" / "enrolment.json")
        for words in (["enroll", enrolment], ["import", *map(str, carriers), "--line", line]):
            done = CliRunner().invoke(fleet_group, [*words, "--fleet", fleet, "--json"], catch_exceptions=False)
            assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["counts"] == {"report": 1}


def test_the_terminal_says_which_symbol_it_shows(place: Place) -> None:
    shown = typed(place, "--qr")
    count = len(cut_report(newest(place)))
    assert f"symbol {count} of {count}" in shown
    assert "█" in shown
    assert "\x1b" not in shown


def test_a_line_says_that_it_proves_nothing(place: Place) -> None:
    assert "proves nothing until support has the report itself" in typed(place, "--line")


def test_pictures_overwrite_nothing(place: Place, tmp_path: Path) -> None:
    first = asked(place, "--qr-out", str(tmp_path / "a.png"))["pictures"]
    before = len(place.open().entries)
    assert asked(place, "--qr-out", str(tmp_path / "a.png"), code=5)["error"]["finding"] == "exists"
    assert len(place.open().entries) == before
    assert all(len(read_symbols(Path(one).read_bytes(), one)) == 1 for one in first)


def test_a_medium_of_many_sites_has_a_folder_for_the_way_back(place: Place, tmp_path: Path) -> None:
    for name in ("northern-grid.small.production.east", "northern-grid.small.production.west"):
        (tmp_path / "medium" / "back" / name).mkdir(parents=True)
    (copied,) = asked(place, "--out", str(tmp_path / "medium"))["copied"]
    name = "northern-grid.small.production.east"
    assert Path(copied) == tmp_path / "medium" / "back" / name / f"{name}.1.report.json"
    assert Path(copied).read_bytes() == newest(place)


def test_one_way_at_a_time(place: Place, tmp_path: Path) -> None:
    for words in (("--text", "--line"), ("--qr", "--out", str(tmp_path)), ("--why", "--new"), ("--preview", "--text")):
        asked(place, *words, code=2)


def test_a_new_one_by_text(place: Place) -> None:
    shown = asked(place, "--new", "--text")
    assert shown["report"]["chain"]["seq"] == 2
    assert place.open().state.reports.seq == 2


def test_why_each_field_may_leave(place: Place) -> None:
    """The lines are places in the contract whose digest is said: what stands there is the field."""
    shown = asked(place, "--why")
    assert shown["contract"]["digest"] == place.open().state.installs.contract
    contract = parse_contract(encode(ONE.contract()))
    assert shown["purpose"] == contract.signals[0].why
    assert [one["field"] for one in shown["fields"]] == [*CORE_FIELDS, *OPTIONAL_CORE_FIELDS]
    for one in shown["fields"]:
        group, at = one["line"].removeprefix("$.signals[0].").rstrip("]").split("[")
        assert getattr(contract.signals[0], group)[int(at)] == one["field"]
    assert {one["field"] for one in shown["fields"] if not one["there"]} >= {"requests", "rollbacks"}
    assert "signal install_state: inventory" in typed(place, "--why")


def test_why_before_the_first_install(tmp_path: Path) -> None:
    """Also before the first report: then it is about the one that would be written."""
    place = make_place(tmp_path, ONE)
    first = asked(place, "--why")
    asked(place, "--new")
    assert asked(place, "--why") == first
    assert first["contract"] is None
    assert {one["line"] for one in first["fields"]} == {None}
    assert "no telemetry contract is in force" in typed(place, "--why")
    # What a contract may withhold does not leave while there is none.
    assert [one["field"] for one in first["fields"] if not one["there"]][-1] == "store"


def rule(place: Place, tmp_path: Path, **needs: int) -> dict[str, str]:
    """Put a policy in force in which `export` asks for these roles; the key files of two officers and the operator."""
    people: dict[str, FileSigner] = {"sec-1": generate_key(), "sec-2": generate_key(), **place.people}
    files = {}
    for name, signer in people.items():
        path = tmp_path / f"{name}.key"
        path.write_bytes(encode_private(signer, None))
        path.chmod(0o600)
        files[name] = str(path)
    with place.hold() as site:
        old = site.policy
        listed = {
            name: Person(role="operator" if name in place.people else "security", keys=(signer.public,))
            for name, signer in people.items()
        }
        policy = replace(old, number=2, people=listed, rules={**old.rules, "export": needs})
    place.put_policy(policy)
    return files


def test_a_policy_that_asks_people_is_obeyed_on_every_way(place: Place, tmp_path: Path) -> None:
    keys = rule(place, tmp_path, security=2)
    out = tmp_path / "out"
    out.mkdir()
    ways = (
        ("--text",),
        ("--line",),
        ("--qr",),
        ("--qr-out", str(tmp_path / "x.png")),
        ("--out", str(out)),
    )
    for words in ways:
        found = asked(place, *words, code=9)
        assert found["error"]["finding"] == "approvals-missing"
        assert "text" not in found
        assert "line" not in found
    assert asked(place, "--text", "--key", keys["ops-1"], code=9)["error"]["problem"].startswith("e-1 waits for 2")
    assert "1 of 2" in asked(place, "--out", str(out), "--key", keys["sec-1"], code=9)["error"]["problem"]
    assert "1 of 2" in asked(place, "--out", str(out), "--key", keys["sec-1"], code=9)["error"]["problem"]
    assert not list(out.iterdir())
    assert not (tmp_path / "x.png").exists()
    assert not [one for one in notes(place) if one.startswith("reports")]
    # The second one agrees, another day and in another way; the first one's word still stands.
    asked(place, "--out", str(out), "--key", keys["sec-2"])
    assert len(list(out.iterdir())) == 1
    typed(place, "--text")
    # What has left waits no more, and the next report does not say that it does.
    assert "e-1" not in {one.item for one in waiting_items(place.open())}
    # A later report is another plan.
    asked(place, "--new")
    assert asked(place, "--text", code=9)["error"]["problem"].startswith("e-2 waits")
    asked(place, "--text", "--key", keys["sec-1"], "--key", keys["sec-2"])


def test_a_key_of_nobody_lets_nothing_leave(place: Place, tmp_path: Path) -> None:
    rule(place, tmp_path, security=1)
    stranger = tmp_path / "stranger.key"
    stranger.write_bytes(encode_private(generate_key(), None))
    stranger.chmod(0o600)
    assert asked(place, "--text", "--key", str(stranger), code=5)["error"]["finding"] == "approver-unknown"
    # The site's own key signs reports, and is nobody who may agree to anything.
    own = str(place.path / "keys" / "site.key")
    assert asked(place, "--text", "--key", own, code=5)["error"]["finding"] == "approver-unknown"
