"""The verbs of support as a person and as a program types them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from fleet.commands.group import fleet_group
from fleet.commands.options import open_ledger
from fleet.ledger.tables import roots
from manifests.documents import report as r
from manifests.documents.enrolment import verify_enrolment
from manifests.trust.private_keys import encode_private
from manifests.words.errors import HostError
from tests.rootwork import FIRST, NEW_ROOT, SECOND_ROOT_FILE, THIRD_ROOT_FILE, next_root, with_chain
from tests.unit.fleet.reporter import Reporter
from tests.vendor import CONSIGNMENT, Vendor

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
SITE = "northern-grid/small/production/east"


def run(folder: Path, *words: str, code: int = 0) -> Result:
    found = CliRunner().invoke(fleet_group, [*words, "--fleet", str(folder)], catch_exceptions=False)
    assert found.exit_code == code, found.output
    return found


def asked(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(folder, *words, "--json", code=code).stdout)
    assert (found["ok"], found["exit_code"]) == (code == 0, code)
    return found


@pytest.fixture
def site(tmp_path: Path) -> Reporter:
    site = Reporter(root=ONE.pin())
    (tmp_path / "east.enrolment.json").write_bytes(site.enrolment)
    return site


def enrol(tmp_path: Path, site: Reporter) -> Path:
    run(tmp_path / "fleet", "enroll", str(tmp_path / "east.enrolment.json"))
    return tmp_path / "fleet"


def test_enrolling_in_an_empty_folder_makes_the_ledger(tmp_path: Path, site: Reporter) -> None:
    out = run(tmp_path / "fleet", "enroll", str(tmp_path / "east.enrolment.json")).stdout
    signed = verify_enrolment(site.enrolment)
    assert "enrolled: northern-grid/small/production/east" in out
    assert signed.groups in out
    assert signed.words in out
    assert "not compared: ask the customer" in out
    assert "compare it with your own root document" in out
    assert (tmp_path / "fleet" / "fleet.yaml").is_file()
    assert "already enrolled" in run(tmp_path / "fleet", "enroll", str(tmp_path / "east.enrolment.json")).stdout


def test_a_typed_fingerprint_is_compared(tmp_path: Path, site: Reporter) -> None:
    file = str(tmp_path / "east.enrolment.json")
    other = verify_enrolment(Reporter().enrolment)
    found = asked(tmp_path / "fleet", "enroll", file, "--fingerprint", other.words, code=4)
    assert found["error"]["finding"] == "fingerprint-differs"
    signed = verify_enrolment(site.enrolment)
    assert asked(tmp_path / "fleet", "enroll", file, "--fingerprint", signed.groups)["compared"] is True
    assert asked(tmp_path / "fleet", "sites")["sites"][0]["key_compared"] is True


def test_a_mistyped_fingerprint_makes_no_fleet(tmp_path: Path, site: Reporter) -> None:
    run(tmp_path / "fleet", "enroll", str(tmp_path / "east.enrolment.json"), "--fingerprint", "abandon", code=2)
    assert not (tmp_path / "fleet").exists()


def test_one_key_and_one_site_each(tmp_path: Path, site: Reporter) -> None:
    fleet = enrol(tmp_path, site)
    same_key = Reporter(site="northern-grid/small/production/west", signer=site.signer, root=ONE.pin())
    same_site = Reporter(root=ONE.pin())
    other_root = Reporter(site="northern-grid/small/production/north")
    for one, finding in ((same_key, "key-enrolled"), (same_site, "site-enrolled"), (other_root, "root-unknown")):
        (tmp_path / "x.json").write_bytes(one.enrolment)
        assert asked(fleet, "enroll", str(tmp_path / "x.json"), code=5)["error"]["finding"] == finding
    assert len(asked(fleet, "sites")["sites"]) == 1


def test_a_root_that_a_person_names(tmp_path: Path, site: Reporter) -> None:
    (tmp_path / "1.root.json").write_bytes(ONE.root_file())
    out = run(
        tmp_path / "fleet", "enroll", str(tmp_path / "east.enrolment.json"), "--root", str(tmp_path / "1.root.json")
    )
    assert "root 1 of small-works is trusted from now on" in out.stderr
    assert "taken from this enrolment" not in out.stdout


def test_a_damaged_enrolment_is_asked_for_again_from_the_customer(tmp_path: Path) -> None:
    path = tmp_path / "east.enrolment.json"
    raw = Reporter().enrolment
    for at in (0, len(raw) // 2, len(raw) - 20):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        done = CliRunner().invoke(fleet_group, ["enroll", str(path), "--fleet", str(tmp_path / "fleet")])
        assert done.exit_code in (3, 4)
        assert "hint: ask the customer for the enrolment of the site again: outbox/enrolment.json" in done.output


def trust_folder(tmp_path: Path, *files: bytes) -> Path:
    folder = tmp_path / "trust"
    folder.mkdir(exist_ok=True)
    for i, data in enumerate(files, 1):
        (folder / f"{i}.root.json").write_bytes(data)
    return folder


def test_a_site_that_trusts_an_older_root_of_the_chain(tmp_path: Path, site: Reporter) -> None:
    folder = trust_folder(tmp_path, FIRST.root_file(), SECOND_ROOT_FILE, THIRD_ROOT_FILE)
    fleet, file = tmp_path / "fleet", tmp_path / "old.json"
    file.write_bytes(Reporter(root=FIRST.pin()).enrolment)
    out = run(fleet, "enroll", str(file), "--root", str(folder / "3.root.json"))
    assert "root 3 of small-works is trusted from now on" in out.stderr
    assert "taken from this enrolment" not in out.stdout
    # A file of another content under the name of an older one is not taken.
    other = trust_folder(tmp_path, FIRST.root_file() + b" ")
    error = asked(tmp_path / "other", "enroll", str(file), "--root", str(other / "3.root.json"), code=5)["error"]
    assert error["finding"] == "root-unknown"
    assert "--root trust/N.root.json" in error["hint"]


def test_older_roots_that_are_no_chain_are_refused(tmp_path: Path, site: Reporter) -> None:
    stranger = next_root(FIRST.root_file(), signers=(NEW_ROOT,))
    folder = trust_folder(tmp_path, FIRST.root_file(), stranger)
    words = ("enroll", str(tmp_path / "east.enrolment.json"), "--root", str(folder / "2.root.json"))
    assert asked(tmp_path / "fleet", *words)["ok"]
    folder = trust_folder(tmp_path, FIRST.root_file(), next_root(FIRST.root_file(), vendor="other-works"))
    assert asked(tmp_path / "other", *words, code=4)["error"]["finding"] == "root-chain"


def test_a_failed_command_leaves_nothing_believed(tmp_path: Path, site: Reporter) -> None:
    folder = trust_folder(tmp_path, FIRST.root_file(), SECOND_ROOT_FILE)
    root = ("--root", str(folder / "2.root.json"))
    fleet = enrol(tmp_path, Reporter(root=ONE.pin()))
    (tmp_path / "north.json").write_bytes(Reporter(site="northern-grid/small/production/north").enrolment)
    for words in (
        ("enroll", str(tmp_path / "north.json"), *root),
        (
            "consign",
            "northern-grid/small/production/east",
            "-o",
            str(tmp_path),
            "--key",
            str(tmp_path / "no.key"),
            *root,
        ),
    ):
        out = CliRunner().invoke(fleet_group, [*words, "--fleet", str(fleet)])
        assert out.exit_code != 0
        assert "is trusted from now on" not in out.stderr
        with open_ledger(str(fleet)) as engine, engine.begin() as connection:
            pinned = connection.execute(select(roots.c.version).where(roots.c.pinned)).scalars().all()
            assert pinned == [1], words
            assert connection.execute(select(func.count()).select_from(roots)).scalar() == 1


def loop(tmp_path: Path, site: Reporter) -> Path:
    fleet = enrol(tmp_path, site)
    medium = tmp_path / "medium"
    medium.mkdir()
    ONE.write(medium / "one.tar")
    TWO.write(medium / "two.tar")
    for i, raw in enumerate([site.report(), site.report(ONE, "trial"), site.report(ONE), site.report(TWO)]):
        (medium / f"{i}.report.json").write_bytes(raw)
    run(fleet, "import", str(medium))
    return fleet


def test_the_list_and_the_story(tmp_path: Path, site: Reporter) -> None:
    fleet = loop(tmp_path, site)
    count, shared, _, header, line = run(fleet, "sites").stdout.splitlines()
    assert count == "1 site, 1 key not compared"
    assert shared == (
        "all: customer northern-grid, product small, environment production, channel stable, verifier 0.1.0, root 1"
    )
    assert header.split() == ["site", "release", "level", "age", "at", "most", "notes"]
    assert line.split()[:3] == ["east", "1.1.0", "placed"]
    row = asked(fleet, "sites")["sites"][0]
    release, _, _ = TWO.release()
    assert row["images"] == {"api": release.images[0].manifest.digest}
    assert (row["release"]["version"], row["release"]["known"]) == ("1.1.0", True)
    assert (row["verifier"], row["root"], row["config_schema"], row["missing_reports"]) == ("0.1.0", 1, None, 0)
    page = run(fleet, "show", "east").stdout
    assert release.images[0].manifest.digest[7:19] in page
    assert release.images[0].manifest.digest in run(fleet, "show", "east", "--verbose").stdout
    story = [line.split(maxsplit=3) for line in page.split("what\n")[1].splitlines()]
    assert [(seq, kind) for seq, _, kind, *_ in story] == [
        ("1", "report"),
        ("2", "install"),
        ("3", "config"),
        ("4", "upgrade"),
    ]
    assert story[3][3] == "upgraded from 1.0.0 to 1.1.0, confirmed"
    assert asked(fleet, "show", site.site)["report"]["chain"]["seq"] == 4


def test_a_probe_that_fails_is_said_with_the_level(tmp_path: Path, site: Reporter) -> None:
    fleet = loop(tmp_path, site)
    health = (
        r.ReportedHealth(probe="answers", generation=3, state="failing", failures=1, measured="now", at=site.made_at),
        r.ReportedHealth(probe="queue", generation=3, state="not-observed"),
        r.ReportedHealth(probe="stores", generation=3, state="failing", failures=1, measured="last", at=site.made_at),
    )
    (tmp_path / "medium" / "5.report.json").write_bytes(site.report(health=health))
    run(fleet, "import", str(tmp_path / "medium"))
    assert "placed, failing: answers, stores" in run(fleet, "sites").stdout
    assert "runs    1.1.0, placed, failing: answers, stores\n" in run(fleet, "show", "east").stdout
    row = asked(fleet, "sites")["sites"][0]
    assert (row["level"], row["failing"]) == ("placed", ["answers", "stores"])


def test_quarantine_and_forks_end_in_14_and_in_json(tmp_path: Path, site: Reporter) -> None:
    fleet = loop(tmp_path, site)
    back = tmp_path / "back"
    back.mkdir()
    (back / "stranger.json").write_bytes(Reporter(site="a/b/c/d").report())
    found = asked(fleet, "import", str(back), code=14)
    assert found["counts"] == {"quarantined": 1}
    assert found["files"][0]["finding"] == "site-unknown"
    assert found["error"]["finding"] == "import-attention"
    (back / "stranger.json").unlink()
    clone = site.clone()
    (back / "a.json").write_bytes(site.report())
    clone.made_at = "2026-05-09T00:00:00Z"
    (back / "b.json").write_bytes(clone.report())
    found = asked(fleet, "import", str(back), code=14)
    assert found["counts"] == {"report": 2}
    assert [one["finding"] for one in found["sites"][site.site]["findings"]] == ["report-forked"]
    assert "waybill fleet show" in found["error"]["hint"]
    out = run(fleet, "sites").stdout
    assert "forked" in out
    assert "1 file in quarantine" in out
    page = run(fleet, "show", "east").stdout
    assert "2 different reports have number 5; 2 of them are here" in page


@pytest.mark.parametrize(
    ("words", "code", "finding"),
    [
        (("import", "/nowhere/at/all"), 6, "host"),
        (("show", "west"), 2, "usage"),
        (("enroll", "/nowhere/at/all"), 6, "host"),
    ],
)
def test_failures_are_json_too(tmp_path: Path, site: Reporter, words: tuple[str, ...], code: int, finding: str) -> None:
    fleet = enrol(tmp_path, site)
    assert asked(fleet, *words, code=code)["error"]["finding"] == finding


def test_without_a_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAYBILL_FLEET", raising=False)
    found = CliRunner().invoke(fleet_group, ["sites", "--json"])
    assert found.exit_code == 2
    assert "WAYBILL_FLEET" not in json.loads(found.stdout)["error"]["problem"]
    assert str(tmp_path) in json.loads(found.stdout)["error"]["problem"]


def test_two_sites_that_end_alike(tmp_path: Path, site: Reporter) -> None:
    fleet = enrol(tmp_path, site)
    twin = Reporter(site="southern-grid/small/production/east", root=ONE.pin())
    (tmp_path / "x.json").write_bytes(twin.enrolment)
    run(fleet, "enroll", str(tmp_path / "x.json"))
    assert "2 sites end in 'east'" in asked(fleet, "show", "east", code=2)["error"]["problem"]
    assert asked(fleet, "show", "southern-grid/small/production/east")["site"]["report"] is None
    assert "history: it has not reported yet" in run(fleet, "show", twin.site).stdout


def test_hostile_words_reach_the_terminal_as_text(tmp_path: Path, site: Reporter) -> None:
    fleet = enrol(tmp_path, site)
    back = tmp_path / "back"
    back.mkdir()
    (back / "\x1b[31mred.json").write_bytes(b'{"dsseEnvelope":1}')
    out = run(fleet, "import", str(back), code=14)
    assert "\x1b" not in out.stdout
    assert "\\u001b" in out.stdout


def believed(fleet: Path) -> list[tuple[int, bool]]:
    """Version of each root document that the ledger has, and whether it is pinned."""
    with open_ledger(str(fleet)) as engine, engine.begin() as connection:
        return sorted((row.version, row.pinned) for row in connection.execute(select(roots)))


def second_root(tmp_path: Path) -> tuple[str, str]:
    return "--root", str(trust_folder(tmp_path, FIRST.root_file(), SECOND_ROOT_FILE) / "2.root.json")


@pytest.fixture
def stranger_fleet(tmp_path: Path) -> Path:
    """A ledger that knows only a root that no bundle here carries."""
    site = Reporter(root=FIRST.but(epoch=9).pin())
    (tmp_path / "east.enrolment.json").write_bytes(site.enrolment)
    return enrol(tmp_path, site)


def test_an_import_trusts_the_named_root_as_its_last_step(tmp_path: Path, stranger_fleet: Path) -> None:
    before = believed(stranger_fleet)
    medium = tmp_path / "medium"
    medium.mkdir()
    (medium / "one.tar").write_bytes(with_chain(FIRST, (FIRST.root_file(), SECOND_ROOT_FILE, THIRD_ROOT_FILE)))
    out = run(stranger_fleet, "import", str(medium), *second_root(tmp_path))
    assert "root 2 of small-works is trusted from now on" in out.stderr
    assert "1 release" in out.stdout
    # What the bundle carries beyond the named root is known from then on, too.
    assert sorted(set(believed(stranger_fleet)) - set(before)) == [(1, False), (2, True), (3, False)]
    again = run(stranger_fleet, "import", str(medium))
    assert "is trusted from now on" not in again.stderr


@pytest.mark.parametrize("how", ["line", "reading", "database", "killed"])
def test_an_import_that_fails_later_trusts_no_root(
    tmp_path: Path, stranger_fleet: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    before = believed(stranger_fleet)
    medium = tmp_path / "medium"
    medium.mkdir()
    (medium / "one.tar").write_bytes(with_chain(FIRST, (FIRST.root_file(), SECOND_ROOT_FILE)))
    words = ["import", str(medium), *second_root(tmp_path), "--fleet", str(stranger_fleet)]
    failures: dict[str, BaseException] = {
        "reading": HostError("the medium was pulled", where=str(medium)),
        "database": DBAPIError("insert", {}, Exception("the disk is full")),
        "killed": KeyboardInterrupt(),
    }
    if how == "line":
        words += ["--line", "FORTY LETTERS"]
    else:

        def fail(*_: object) -> None:
            raise failures[how]

        monkeypatch.setattr("fleet.intake.intake._import_batches", fail)
    out = CliRunner().invoke(fleet_group, words)
    assert out.exit_code != 0
    assert "is trusted from now on" not in out.stderr
    assert believed(stranger_fleet) == before
    # The same command goes on afterwards; what the first try has recorded is known.
    monkeypatch.undo()
    run(stranger_fleet, *words[:4])
    assert (2, True) in believed(stranger_fleet)


def consigning_fleet(tmp_path: Path) -> Path:
    site = Reporter(root=FIRST.pin())
    (tmp_path / "east.enrolment.json").write_bytes(site.enrolment)
    fleet = enrol(tmp_path, site)
    (tmp_path / "consignment.key").write_bytes(encode_private(CONSIGNMENT, None))
    (tmp_path / "consignment.key").chmod(0o600)
    return fleet


@pytest.mark.parametrize("command", ["consign", "offboard"])
@pytest.mark.parametrize("how", [HostError("the medium was pulled"), KeyboardInterrupt()])
def test_a_command_that_fails_at_its_last_file_trusts_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, how: BaseException
) -> None:
    fleet = consigning_fleet(tmp_path)
    key = ("--key", str(tmp_path / "consignment.key"), *second_root(tmp_path), "--fleet", str(fleet))
    words = {
        "consign": ("consign", "east", "-o", str(tmp_path / "medium"), *key),
        "offboard": ("offboard", "east", "--close", "-o", str(tmp_path / "receipt.json"), *key),
    }[command]

    def fail(*_: object) -> None:
        raise how

    place = {"consign": "fleet.outgoing.consign.replace_file", "offboard": "fleet.commands.offboard.replace_file"}
    monkeypatch.setattr(place[command], fail)
    assert CliRunner().invoke(fleet_group, list(words)).exit_code != 0
    assert believed(fleet) == [(1, True)]


def test_a_consignment_signed_under_a_named_root_leaves_it_trusted(tmp_path: Path) -> None:
    fleet = consigning_fleet(tmp_path)
    key = ("--key", str(tmp_path / "consignment.key"), *second_root(tmp_path))
    out = run(fleet, "consign", "east", "-o", str(tmp_path / "medium"), *key)
    assert "root 2 of small-works is trusted from now on" in out.stderr
    assert believed(fleet) == [(1, True), (2, True)]
