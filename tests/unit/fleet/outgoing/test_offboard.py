"""Ending with a site: what is proved, what is not, the receipt, and what is deleted when."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from sqlalchemy import Engine, select

from fleet.commands.group import fleet_group
from fleet.intake.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import contracts, quarantine, reports
from fleet.outgoing.consign import ConsignmentOrder, check_medium, consign, write_medium
from fleet.outgoing.enrol import enroll, pin_root
from fleet.outgoing.offboard import OffboardRequest, close_site, offboarding_state, purge, request_offboarding
from fleet.outgoing.views import SiteRow, find_site
from fleet.rules.offboarding_steps import ConsignedOffboarding, OffboardingReport, OffboardingStep, offboarding_steps
from manifests.documents import report as r
from manifests.documents.closure import verify_closure
from manifests.documents.consignment import peek_consignment
from manifests.documents.enrolment import verify_enrolment
from manifests.trust.private_keys import encode_private
from manifests.trust.root import Chain, parse_root
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError
from tests.place import make_place
from tests.unit.fleet.reporter import Reporter
from tests.vendor import CONSIGNMENT, RELEASE, Vendor
from verifier.intake.media import receive_media
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.report_write import write_report

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
ROOT = parse_root(ONE.root_file(), "root")
CHAIN = Chain(roots=(ROOT,))
DAY = timedelta(days=1)
TRIED = tuple(
    r.NegativeProbe(kind=kind, artefact="sha256:" + "1" * 64, outcome="refused", finding="root-unknown")
    for kind in ("bundle", "consignment", "signature")
)
ENDED = r.ReportedOffboarding(reason="ended", plan="sha256:" + "2" * 64, removed=True, probes=TRIED, final=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    pin_root(engine, ROOT, NOW)
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine, tmp_path: Path) -> Reporter:
    return known(engine, tmp_path)


def known(engine: Engine, tmp_path: Path) -> Reporter:
    """A site of which home holds a report."""
    site = Reporter(root=ONE.pin())
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    bundle = ONE.write(tmp_path / "1.tar")
    import_paths(engine, (bundle,), NOW)
    bring(engine, tmp_path, said(site, ONE))
    return site


def said(site: Reporter, vendor: Vendor | None = None, **chain: Any) -> bytes:
    """A report of a site whose people approved the contract."""
    report = site.next(vendor)
    contract = ONE.release()[0].contract.digest
    policy = r.PolicyState(number=1, digest=digest_of(b"policy"), contract=contract)
    return site.sign(replace(report, policy=policy, chain=replace(report.chain, **chain)))


def last(site: Reporter, ending: r.ReportedOffboarding, **chain: Any) -> bytes:
    report = site.next()
    trust = replace(report.trust, offboarding=ending)
    return site.sign(replace(report, trust=trust, chain=replace(report.chain, **chain)))


def bring(engine: Engine, tmp_path: Path, *files: bytes, now: datetime = NOW) -> list[str]:
    folder = tmp_path / f"back-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for i, raw in enumerate(files):
        (folder / str(i)).write_bytes(raw)
    done = import_paths(engine, (folder,), now)
    return [one.finding for news in done.sites.values() for _, one in news.findings]


def east(engine: Engine) -> SiteRow:
    return find_site(engine, "east")


def standing(engine: Engine) -> dict[str, str]:
    found = offboarding_state(engine, east(engine))
    assert found is not None
    return {one.step: one.standing for one in found.steps}


def send(engine: Engine, medium: Path, now: datetime) -> Any:
    rows = (east(engine),)
    check_medium(medium, rows)
    made = consign(
        engine,
        rows,
        ConsignmentOrder(ROOT, (CONSIGNMENT,)),
        now,
        challenge=lambda: now.isoformat().encode()[:32].ljust(32),
    )
    (path,) = write_medium(engine, medium, made, now)
    return peek_consignment(path.read_bytes(), "note")


def test_up_the_ladder(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    """Each rung is proved by what really happened, one after the other, and none before."""
    assert offboarding_state(engine, east(engine)) is None
    request_offboarding(engine, east(engine), OffboardRequest("ended", "support-1", NOW))
    proven = ["requested"]

    def check() -> None:
        found = standing(engine)
        assert [step for step in found if found[step] == "proven"] == proven
        assert {found[step] for step in found if step not in proven} <= {"unproven"}

    check()
    made = consign(engine, (east(engine),), ConsignmentOrder(ROOT, (CONSIGNMENT,)), NOW, challenge=lambda: b"1" * 32)
    proven.append("issued")
    check()
    write_medium(engine, tmp_path / "medium", made, NOW)
    proven.append("carried")
    check()
    note = peek_consignment(made[0].raw, "note")
    assert [(one.handler, one.parameters) for one in note.requests] == [("offboard", {"reason": "ended"})]
    bring(engine, tmp_path, said(site, challenge=note.challenge_digest), now=NOW + DAY)
    proven.append("acknowledged")
    check()
    assert bring(engine, tmp_path, last(site, ENDED, challenge=note.challenge_digest), now=NOW + 2 * DAY) == [
        "clock-behind"
    ]
    proven.append("exercised")
    check()
    closed = close_site(
        engine, east(engine), OffboardRequest("ended", "support-1", NOW + 3 * DAY), ROOT, (CONSIGNMENT,)
    )
    proven.append("closed")
    check()
    assert closed.receipt is not None
    receipt = verify_closure(closed.receipt, CHAIN).closure
    assert {one.standing for one in receipt.steps} == {"proven"}
    assert (receipt.site, receipt.last_report.seq if receipt.last_report else 0, receipt.unanswered) == (
        site.site,
        3,
        (),
    )
    assert "closed" in east(engine).notes


def test_closing_without_evidence_says_so(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    send(engine, tmp_path / "medium", NOW)
    closed = close_site(engine, east(engine), OffboardRequest("retired", "support-1", NOW), ROOT, (CONSIGNMENT,))
    assert closed.receipt is not None
    receipt = verify_closure(closed.receipt, CHAIN).closure
    assert [one.standing for one in receipt.steps] == ["proven", *["unproven"] * 4, "proven"]
    assert receipt.unanswered == (1,)
    assert "revoked" not in closed.receipt.decode()
    with pytest.raises(RefusedError, match="was closed"):
        close_site(engine, east(engine), OffboardRequest("retired", "support-1", NOW), ROOT, (CONSIGNMENT,))
    with pytest.raises(RefusedError, match="was closed"):
        send(engine, tmp_path / "medium-2", NOW)


def test_a_later_report_is_kept_and_an_alarm(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    close_site(engine, east(engine), OffboardRequest("ended", "support-1", NOW), ROOT, (CONSIGNMENT,))
    assert "site-closed" in bring(engine, tmp_path, said(site))
    assert east(engine).alarms == 1
    renewed = Reporter(site=site.site, root=ONE.pin())
    with pytest.raises(RefusedError, match="was closed"):
        enroll(engine, verify_enrolment(renewed.enrolment), NOW, fingerprint=None)


def test_another_role_signs_no_receipt(engine: Engine, site: Reporter) -> None:
    with pytest.raises(RefusedError, match="consignment role"):
        close_site(engine, east(engine), OffboardRequest("ended", "support-1", NOW), ROOT, (RELEASE,))
    assert offboarding_state(engine, east(engine)) is None
    closed = close_site(engine, east(engine), OffboardRequest("ended", "support-1", NOW), ROOT, (CONSIGNMENT,))
    assert closed.receipt is not None
    with pytest.raises((UntrustedError, MalformedError)):
        verify_closure(closed.receipt.replace(b'"payload":"eyJj', b'"payload":"eyJk'), CHAIN)


def test_a_reason_is_given_once(engine: Engine, site: Reporter) -> None:
    request_offboarding(engine, east(engine), OffboardRequest("ended", "support-1", NOW))
    request_offboarding(engine, east(engine), OffboardRequest("ended", "support-2", NOW + DAY))
    found = offboarding_state(engine, east(engine))
    assert found is not None
    assert (found.requested_by, found.requested_at) == ("support-1", NOW)
    with pytest.raises(RefusedError, match="with reason ended"):
        request_offboarding(engine, east(engine), OffboardRequest("retired", "support-1", NOW))


def test_what_the_contract_says_is_deleted_then_and_not_before(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    """The contract of the tests keeps 400 days at home; it came out of the bundle."""
    bring(engine, tmp_path, said(site), now=NOW + 10 * DAY)
    stranger = said(site).replace(b'"payload":"eyJ', b'"payload":"eyK')
    bring(engine, tmp_path, stranger)
    with pytest.raises(RefusedError, match="not closed"):
        purge(engine, east(engine), NOW)
    closed = close_site(
        engine, east(engine), OffboardRequest("ended", "support-1", NOW + 20 * DAY), ROOT, (CONSIGNMENT,)
    )
    assert closed.keep_until == datetime(2027, 7, 16, tzinfo=UTC)
    assert {one.what: one.until for one in closed.kept}["reports"] == "2027-07-16T00:00:00Z"
    assert purge(engine, east(engine), NOW + 399 * DAY).reports == 0
    first = purge(engine, east(engine), NOW + 400 * DAY)
    assert (first.reports, first.files, first.left, first.next_at) == (1, 1, 1, closed.keep_until)
    rest = purge(engine, east(engine), NOW + 410 * DAY)
    assert (rest.reports, rest.left) == (1, 0)
    found = offboarding_state(engine, east(engine))
    assert found is not None
    assert found.purged_at is not None
    assert found.receipt == closed.receipt
    with engine.connect() as connection:
        assert not connection.execute(select(reports.c.digest)).all()
        assert connection.execute(select(quarantine.c.raw)).scalars().all() == [b""]
    assert purge(engine, east(engine), NOW + 500 * DAY).reports == 0


def test_without_the_contract_nothing_is_deleted(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(contracts.delete())
    close_site(engine, east(engine), OffboardRequest("ended", "support-1", NOW), ROOT, (CONSIGNMENT,))
    with pytest.raises(RefusedError, match="is not in the ledger"):
        purge(engine, east(engine), NOW + 4000 * DAY)


def test_a_real_site_that_ends(engine: Engine, tmp_path: Path) -> None:
    """Asked by a note, agreed to by its people, tried with what it really believed, told in its last report."""
    place = make_place(tmp_path / "site", ONE)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    enroll(engine, verify_enrolment((place.path / "outbox" / "enrolment.json").read_bytes()), NOW, fingerprint=None)
    bundle = ONE.write(tmp_path / "1.tar")
    place.bring(bundle)
    request_offboarding(engine, east(engine), OffboardRequest("retired", "support-1", NOW))
    send(engine, tmp_path / "medium", NOW)
    with place.hold() as site:
        receive_media(site, (tmp_path / "medium",), keep=False, watch=lambda _: nullcontext(lambda _: None))
    with place.hold() as site:
        ask_offboarding(site, "retired")
        agree_offboarding(site, place.people["ops-1"])
        end_access(site)
        finish_offboarding(site, place.clock.at)
    home = tmp_path / "home"
    home.mkdir()
    for path in (place.path / "outbox").glob("*.report.json"):
        (home / path.name).write_bytes(path.read_bytes())
    done = import_paths(engine, (bundle, home), NOW + DAY)
    assert not done.alarms
    found = offboarding_state(engine, east(engine))
    assert found is not None
    assert [one.standing for one in found.steps] == [*["proven"] * 5, "unproven"]
    closed = close_site(engine, east(engine), OffboardRequest("retired", "support-1", NOW + DAY), ROOT, (CONSIGNMENT,))
    assert {one.standing for one in closed.steps} == {"proven"}


# --- the ladder alone


def rung(step: str, **known: Any) -> OffboardingStep:
    facts: dict[str, Any] = {"requested_at": None, "consigned": None, "reported": None, "closed_at": None} | known
    return next(one for one in offboarding_steps(**facts) if one.step == step)


def test_a_customer_who_began_it_needed_no_note() -> None:
    told = OffboardingReport(7, NOW, ENDED)
    assert [one.standing for one in offboarding_steps(None, None, told, None)] == [
        "proven", "not-needed", "not-needed", "proven", "proven", "unproven",
    ]  # fmt: skip


def test_a_note_on_no_medium_is_not_carried() -> None:
    asked = ConsignedOffboarding(3, NOW, None, None, None)
    assert rung("issued", consigned=asked).standing == "proven"
    assert rung("carried", consigned=asked).standing == "unproven"
    assert rung("acknowledged", consigned=asked).standing == "unproven"


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (replace(ENDED, removed=False, probes=(), final=False), "has not reported"),
        (replace(ENDED, probes=()), "not tried: bundle, consignment, signature"),
        (replace(ENDED, probes=TRIED[:1]), "not tried: consignment, signature; refused: bundle"),
        (replace(ENDED, probes=(replace(TRIED[0], outcome="accepted"), *TRIED[1:])), "still accepted: bundle"),
        (replace(ENDED, probes=(*TRIED, replace(TRIED[0], outcome="unproven"))), "not tried: bundle"),
    ],
    ids=range(5),
)
def test_missing_evidence_is_unproven(ending: r.ReportedOffboarding, text: str) -> None:
    found = rung("exercised", reported=OffboardingReport(7, NOW, ending))
    assert found.standing == "unproven"
    assert text in found.text


def test_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_KEY", raising=False)
    key = tmp_path / "consignment.key"
    key.write_bytes(encode_private(CONSIGNMENT, None))
    key.chmod(0o600)
    site = Reporter(root=ONE.pin())
    (tmp_path / "east.json").write_bytes(site.enrolment)
    (tmp_path / "1.root.json").write_bytes(ONE.root_file())

    def fleet(*words: str, code: int = 0) -> dict[str, Any]:
        found = CliRunner().invoke(
            fleet_group, [*words, "--fleet", str(tmp_path / "ledger"), "--json"], catch_exceptions=False
        )
        assert found.exit_code == code, found.output
        shown: dict[str, Any] = json.loads(found.stdout)
        return shown

    fleet("enroll", str(tmp_path / "east.json"), "--root", str(tmp_path / "1.root.json"))
    receipt = tmp_path / "receipt.json"
    assert fleet("offboard", "east", "--reason", "retired")["steps"][0]["standing"] == "proven"
    assert (
        fleet("offboard", "east", "--reason", "retired", "-o", str(receipt), code=5)["error"]["finding"] == "site-open"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "consignment-1.key").touch()
    early = fleet("offboard", "east", "--purge", code=5)["error"]
    close = "waybill fleet offboard northern-grid/small/production/east --close -o receipt.json"
    assert early["hint"] == f"close it first: {close} --key keys/consignment-1.key"
    assert fleet("offboard", "east", "--close", "-o", str(receipt), code=2)["error"]["where"] == "--key"
    made = fleet("consign", "east", "-o", str(tmp_path / "medium"), "--key", str(key))["consignments"][0]
    assert [one.handler for one in peek_consignment(Path(made["path"]).read_bytes(), "x").requests] == ["offboard"]
    words = ("offboard", "east", "--reason", "retired", "--close", "-o", str(receipt), "--key", str(key))
    found = fleet(*words, code=14)
    assert found["error"]["finding"] == "offboarding-unproven"
    assert verify_closure(receipt.read_bytes(), CHAIN).closure.reason == "retired"
    assert fleet(*words, code=5)["error"]["finding"] == "exists"
    assert fleet("show", "east")["ending"]["closed_at"] == found["closed_at"]
    assert fleet("offboard", "east", "-o", str(tmp_path / "again.json"))["closed_at"] == found["closed_at"]
    assert (tmp_path / "again.json").read_bytes() == receipt.read_bytes()
    text = CliRunner().invoke(fleet_group, ["show", "east", "--fleet", str(tmp_path / "ledger")]).stdout
    assert "exercised unproven the site has not reported that the vendor's trust was removed" in " ".join(text.split())
