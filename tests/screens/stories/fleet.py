"""Support's ledger, as the people see it who keep it: two sites, a fork, a consignment and an offboarding."""

from pathlib import Path
from unittest.mock import patch

from fleet.commands import consign, enroll, import_reports, offboard, resolve, views
from manifests.documents.enrolment import verify_enrolment
from manifests.words.text import short_digest
from tests.screens.stage import Stage
from tests.unit.fleet.reporter import Reporter
from tests.vendor import CONSIGNMENT, Vendor, derived

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
MADE_AT = "2026-02-27T03:02:01Z"
# Imported here, so that the stage finds the clock in them.
COMMANDS = (consign, enroll, import_reports, offboard, resolve, views)


def support_day(stage: Stage) -> None:
    """Every command of support, in the order of a day."""
    with patch.object(resolve, "account", lambda: "support-1"), patch.object(offboard, "account", lambda: "support-1"):
        _play(stage)


def _play(stage: Stage) -> None:
    key = stage.key("consignment-1", CONSIGNMENT)
    ledger = ("--fleet", "ledger")
    east = Reporter(root=ONE.pin(), made_at=MADE_AT, signer=derived(211))
    west = Reporter(site="northern-grid/small/production/west", root=ONE.pin(), made_at=MADE_AT, signer=derived(212))
    Path("east.json").write_bytes(east.enrolment)
    Path("west.json").write_bytes(west.enrolment)
    words = verify_enrolment(east.enrolment).words
    stage.screen("fleet-enroll", "fleet", "enroll", "east.json", *ledger)
    stage.run("fleet", "enroll", "east.json", "--fingerprint", words, *ledger)
    stage.run("fleet", "enroll", "west.json", *ledger)
    stage.screen("fleet-sites-new", "fleet", "sites", *ledger)
    reports = (east.report(), east.report(ONE), east.report(TWO), west.report(ONE))
    _medium("medium", *reports, vendors=(ONE, TWO))
    stage.screen("fleet-import", "fleet", "import", "medium", *ledger)
    clone = east.clone()
    clone.made_at = "2026-02-28T00:00:00Z"
    stranger = Reporter(site="a/b/c/d", signer=derived(213)).report()
    _medium("second", east.report(), clone.report(ONE), stranger)
    stage.screen("fleet-import-fork", "fleet", "import", "second", *ledger)
    stage.screen("fleet-sites", "fleet", "sites", *ledger)
    stage.screen("fleet-show", "fleet", "show", "east", *ledger)
    for kind in ("alarms", "quarantine", "releases", "reports"):
        stage.screen(f"fleet-list-{kind}", "fleet", "list", kind, *ledger)
    assert east.last is not None
    branch = ("--accept", short_digest(east.last.digest), "--reason", "the other one is a copy")
    stage.screen("fleet-resolve", "fleet", "resolve", "east", *branch, *ledger)
    stage.screen("fleet-consign", "fleet", "consign", "east", "-o", "out", "--key", key, *ledger)
    stage.screen("fleet-offboard", "fleet", "offboard", "east", *ledger)
    closing = ("--close", "-o", "receipt.json", "--key", key)
    stage.screen("fleet-offboard-close", "fleet", "offboard", "east", *closing, *ledger)
    stage.screen("fleet-list-resolutions", "fleet", "list", "resolutions", *ledger)
    stage.screen("fleet-list-consignments", "fleet", "list", "consignments", *ledger)


def _medium(name: str, *reports: bytes, vendors: tuple[Vendor, ...] = ()) -> None:
    folder = Path(name)
    folder.mkdir()
    for vendor in vendors:
        vendor.write(folder / f"{vendor.version}.tar")
    for i, raw in enumerate(reports):
        (folder / f"{i}.report.json").write_bytes(raw)
