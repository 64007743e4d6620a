"""Writing to sites and hearing from them: real ledgers, real site folders, real media in between."""

import json
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from sqlalchemy import Engine, select

from fleet.commands import consign as consign_module
from fleet.commands.group import fleet_group
from fleet.intake.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import consignments
from fleet.outgoing.consign import (
    ConsignmentOrder,
    carried_authorisation,
    carried_list,
    check_medium,
    check_signers,
    consign,
    parse_request,
    signing_root,
    write_medium,
)
from fleet.outgoing.enrol import enroll, pin_root
from fleet.outgoing.views import find_site, list_sites, show_site
from manifests.documents import report as r
from manifests.documents.authorisation import AUTHORISATION_TYPE, Authorisation, Left, Reached
from manifests.documents.consignment import Consignment, challenge_digest, peek_consignment
from manifests.documents.enrolment import verify_enrolment
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import encode_private
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import Mark, parse_root
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError, UsageError
from tests.place import Place, make_place
from tests.unit.fleet.reporter import Reporter
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, Vendor
from verifier.intake.media import receive_media
from verifier.reporting.report_write import export_reports, write_report

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
ROOT_ONE = parse_root(ONE.root_file(), "root")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    pin_root(engine, ROOT_ONE, NOW)
    yield engine
    engine.dispose()


def sites_of(engine: Engine, count: int) -> list[Reporter]:
    made = [Reporter(site=f"northern-grid/small/production/s-{i:02}", root=ONE.pin()) for i in range(count)]
    for one in made:
        enroll(engine, verify_enrolment(one.enrolment), NOW, fingerprint=None)
    return made


def send(engine: Engine, medium: Path, *names: str, now: datetime = NOW, **carried: Any) -> list[Consignment]:
    rows = tuple(find_site(engine, name) for name in names)
    check_medium(medium, rows)
    order = ConsignmentOrder(ROOT_ONE, (CONSIGNMENT,), **carried)
    made = consign(engine, rows, order, now, challenge=lambda: secrets.token_bytes(32))
    written = write_medium(engine, medium, made, now)
    return [peek_consignment(path.read_bytes(), str(path)) for path in written]


def bring(engine: Engine, folder: Path, *files: bytes, now: datetime = NOW) -> Any:
    folder.mkdir()
    for i, raw in enumerate(files):
        (folder / f"{i}").write_bytes(raw)
    return import_paths(engine, (folder,), now)


def named(done: Any) -> list[str]:
    return [one.finding for news in done.sites.values() for _, one in news.findings]


def test_thirty_sites_on_one_medium(engine: Engine, tmp_path: Path) -> None:
    made = sites_of(engine, 30)
    said = send(engine, tmp_path / "medium", *(one.site for one in made))
    assert [(one.site, one.number) for one in said] == [(one.site, 1) for one in made]
    assert len({one.challenge for one in said}) == 30
    assert [one.site_key for one in said] == [one.signer.public.keyid for one in made]
    for folder in ("for", "back"):
        names = sorted(one.name for one in (tmp_path / "medium" / folder).iterdir())
        assert names == [f"northern-grid.small.production.s-{i:02}" for i in range(30)]


def test_what_a_note_says(engine: Engine, tmp_path: Path) -> None:
    """The report that came home, the newest release that is meant for the site, and what is to be carried."""
    (site,) = sites_of(engine, 1)
    files = [site.report(), site.report(ONE)]
    (tmp_path / "b").mkdir()
    for i, one in enumerate(
        (ONE, TWO, TWO.but(version="1.2.0", sequence=3, audience=replace(ONE.audience, customers=("x",))))
    ):
        one.write(tmp_path / "b" / f"{i}.tar")
    import_paths(engine, (tmp_path / "b",), NOW)
    bring(engine, tmp_path / "a", *files)
    listed = seal(encode(Revocations(vendor="small-works", version=3)), REVOCATIONS_TYPE, (ROOT,))
    second = Left(channel="stable", mark=Mark(epoch=1, sequence=2))
    first = Reached(release=digest_of(b"1"), version="1.0.0", channel="stable", mark=Mark(epoch=1, sequence=1))
    allowed = Authorisation(
        vendor="small-works",
        number=1,
        product="small",
        sites=(site.site,),
        leaves=second,
        goes_to=first,
        why="a fault",
        loses="nothing",
        issued_at="2026-03-01T10:00:00Z",
    )
    paper = seal(encode(allowed), AUTHORISATION_TYPE, (ROLLBACK,))
    with pytest.raises(RefusedError, match="does not name a/small/production/x"):
        carried_authorisation(ROOT_ONE, paper, "paper", (site.site, "a/small/production/x"))
    gone = Revocations(vendor="small-works", version=4, keys=(ROLLBACK.public.keyid,))
    gone_list = carried_list(ROOT_ONE, seal(encode(gone), REVOCATIONS_TYPE, (ROOT,)), "list")
    with pytest.raises(UntrustedError, match="revoked"):
        carried_authorisation(ROOT_ONE, paper, "paper", (site.site,), gone_list)
    (said,) = send(
        engine,
        tmp_path / "medium",
        site.site,
        revocations=carried_list(ROOT_ONE, listed, "list"),
        requests=(parse_request("restart-component component=api times=2", 1),),
        authorisations=(carried_authorisation(ROOT_ONE, paper, "paper", (site.site,)),),
    )
    assert said.acknowledged is not None
    assert (said.acknowledged.seq, said.acknowledged.digest) == (2, site.last.digest if site.last else None)
    assert [(one.channel, one.mark) for one in said.newest] == [("stable", Mark(epoch=1, sequence=2))]
    assert said.revocations is not None
    assert encode(said.revocations) == listed
    assert (said.requests[0].handler, said.requests[0].parameters) == (
        "restart-component",
        {"component": "api", "times": "2"},
    )
    assert encode(said.authorisations[0]) == paper
    # The site took it, and home knows whose word that was.
    back = r.ReportedRollback(
        from_generation=2,
        to_generation=1,
        left=digest_of(b"2"),
        cause="by-hand",
        automatic=False,
        at="2026-05-04T03:02:01Z",
        authorisation=digest_of(encode(allowed)),
    )
    done = bring(engine, tmp_path / "c", site.report(rollbacks=(back,)))
    ((_, found),) = done.sites[site.site].findings
    assert (found.finding, found.alarm) == ("below-floor", False)
    assert found.text.endswith("which consignment 1 carried")


def test_a_list_that_revokes_the_newest_release_of_the_site_is_carried_with_a_note(
    engine: Engine, tmp_path: Path
) -> None:
    (site,) = sites_of(engine, 1)
    (tmp_path / "b").mkdir()
    for vendor in (ONE, TWO):
        vendor.write(tmp_path / "b" / f"{vendor.version}.tar")
    import_paths(engine, (tmp_path / "b",), NOW)
    rows, notes = (find_site(engine, site.site),), []
    for version, vendor in ((1, ONE), (2, TWO)):
        revokes = Revocations(vendor="small-works", version=version, releases=(digest_of(vendor.head().release),))
        carried = carried_list(ROOT_ONE, seal(encode(revokes), REVOCATIONS_TYPE, (ROOT,)), "list")
        order = ConsignmentOrder(ROOT_ONE, (CONSIGNMENT,), revocations=carried)
        (made,) = consign(engine, rows, order, NOW, challenge=lambda: secrets.token_bytes(32))
        notes.append(made.notes)
    assert notes[0] == ("it has never reported",)
    revoked = "list 2 revokes stable 2 (1.1.0), the newest release for it: import one that replaces it"
    assert notes[1] == ("it has never reported", revoked)


def test_an_authorisation_that_does_not_fit_the_newest_report_is_carried_and_said(
    engine: Engine, tmp_path: Path
) -> None:
    (site,) = sites_of(engine, 1)
    bring(engine, tmp_path / "a", site.report(ONE), site.report(TWO))
    first = site.generations[0].release
    notes = []
    for release, sequence in ((first, 2), (digest_of(b"x"), 2), (first, 3)):
        allowed = Authorisation(
            vendor="small-works",
            number=1,
            product="small",
            sites=(site.site,),
            leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=sequence)),
            goes_to=Reached(release=release, version="1.0.0", channel="stable", mark=Mark(epoch=1, sequence=1)),
            why="a fault",
            loses="nothing",
            issued_at="2026-03-01T10:00:00Z",
        )
        paper = carried_authorisation(
            ROOT_ONE, seal(encode(allowed), AUTHORISATION_TYPE, (ROLLBACK,)), "paper", (site.site,)
        )
        rows = (find_site(engine, site.site),)
        (made,) = consign(
            engine,
            rows,
            ConsignmentOrder(ROOT_ONE, (CONSIGNMENT,), authorisations=(paper,)),
            NOW,
            challenge=lambda: secrets.token_bytes(32),
        )
        notes.append(made.notes)
    assert notes == [
        (),
        ("authorisation 1 leads to 1.0.0, which the newest report does not list",),
        ("authorisation 1 is for stable 3; the newest report runs stable 2",),
    ]


@pytest.mark.parametrize("text", ["", "Restart", "restart component", "restart a=1 a=2", "restart a=b;c", "restart =x"])
def test_a_request_is_words(text: str) -> None:
    with pytest.raises(UsageError):
        parse_request(text, 1)


def test_a_request_with_a_path_is_refused_in_plain_words() -> None:
    with pytest.raises(UsageError) as refused:
        parse_request("queue-depth queue=/etc/shadow", 1)
    assert refused.value.problem == (
        "'/etc/shadow' in 'queue-depth queue=/etc/shadow' is not of letters, digits and . _ : + -"
    )


def test_requests_have_a_window_for_each_site_and_wrong_parameters_are_noted(engine: Engine, tmp_path: Path) -> None:
    one, two = sites_of(engine, 2)
    bring(engine, tmp_path / "in", two.report())
    asked = (parse_request("journal-excerpt kind=secrets", 1, "a look"), parse_request("inventory", 2))
    order = ConsignmentOrder(ROOT_ONE, (CONSIGNMENT,), requests=asked, for_reports=3)
    rows = tuple(find_site(engine, site.site) for site in (one, two))
    made = consign(engine, rows, order, NOW, challenge=lambda: secrets.token_bytes(32))
    for signed in made:
        note = peek_consignment(signed.raw, "note")
        newest = note.acknowledged.seq if note.acknowledged else 0
        assert [request.last_report for request in note.requests] == [newest + 3] * 2
        assert [request.why for request in note.requests] == ["a look", None]
        assert any("parameter kind is secrets, expected one of" in line for line in signed.notes)
        assert not any("inventory" in line for line in signed.notes)


def test_carried_papers_are_judged_at_home(engine: Engine) -> None:
    other = seal(encode(Revocations(vendor="small-works", version=3)), REVOCATIONS_TYPE, (RELEASE,))
    with pytest.raises(UntrustedError, match="0 of the 1 root keys"):
        carried_list(ROOT_ONE, other, "list")
    with pytest.raises(MalformedError):
        carried_authorisation(ROOT_ONE, other, "paper", ())


def test_only_the_role_signs(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="not in the consignment role"):
        check_signers(ROOT_ONE, (RELEASE,))
    with pytest.raises(RefusedError, match="0 keys"):
        check_signers(ROOT_ONE, ())


def test_a_lost_number_breaks_nothing_and_nothing_is_overwritten(engine: Engine, tmp_path: Path) -> None:
    (site,) = sites_of(engine, 1)
    first = tmp_path / "first"
    send(engine, first, site.site)
    with pytest.raises(RefusedError, match="nothing is overwritten"):
        send(engine, first, site.site)
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"a file where the medium should be")
    with pytest.raises(OSError, match="Not a directory"):
        send(engine, blocked, site.site)
    (said,) = send(engine, tmp_path / "third", site.site)
    assert said.number == 3
    page = show_site(engine, site.site)
    assert [(one.number, bool(one.written_at)) for one in page.sent] == [(1, True), (2, False), (3, True)]


def test_two_sites_that_would_share_a_folder(engine: Engine, tmp_path: Path) -> None:
    for name in ("a/small/production/b.c", "a/small/production.b/c"):
        enroll(engine, verify_enrolment(Reporter(site=name, root=ONE.pin()).enrolment), NOW, fingerprint=None)
    with pytest.raises(UsageError, match="would share the folder"):
        send(engine, tmp_path / "medium", "a/small/production/b.c", "a/small/production.b/c")
    with engine.connect() as connection:
        assert not connection.execute(select(consignments.c.number)).all()


def test_an_echo_makes_an_interval(engine: Engine, tmp_path: Path) -> None:
    (site,) = sites_of(engine, 1)
    site.made_at = "1970-01-01T00:00:00Z"  # the site's clock has no battery
    bring(engine, tmp_path / "0", site.report(), ONE.bundle())
    newest = list_sites(engine)[0].newest
    assert newest is not None
    assert (newest.not_before, newest.as_of) == (None, datetime(1970, 1, 1, tzinfo=UTC))
    (said,) = send(engine, tmp_path / "medium", site.site, now=NOW)
    later = NOW + timedelta(days=9)
    report = site.next()
    done = bring(
        engine,
        tmp_path / "1",
        site.sign(replace(report, chain=replace(report.chain, challenge=said.challenge_digest))),
        now=later,
    )
    assert named(done) == ["clock-behind"]
    newest = list_sites(engine)[0].newest
    assert newest is not None
    assert (newest.not_before, newest.as_of, newest.received_at) == (NOW, NOW, later)
    assert show_site(engine, site.site).sent[0].answered == 2


def test_an_echo_of_what_was_never_asked(engine: Engine, tmp_path: Path) -> None:
    mine, other = sites_of(engine, 2)
    _, theirs = send(engine, tmp_path / "medium", mine.site, other.site)
    for i, digest in enumerate((challenge_digest(b"never"), theirs.challenge_digest)):
        report = mine.next(ONE if i == 0 else None)
        done = bring(
            engine, tmp_path / str(i), mine.sign(replace(report, chain=replace(report.chain, challenge=digest)))
        )
        assert "challenge-unknown" in named(done)


def test_an_older_challenge_after_a_newer_one(engine: Engine, tmp_path: Path) -> None:
    """A site never goes back to an older challenge; a restored folder does."""
    (site,) = sites_of(engine, 1)
    (first,) = send(engine, tmp_path / "m1", site.site)
    made = consign(
        engine,
        (find_site(engine, site.site),),
        ConsignmentOrder(ROOT_ONE, (CONSIGNMENT,)),
        NOW + timedelta(days=1),
        challenge=lambda: b"2" * 32,
    )
    second = peek_consignment(made[0].raw, "second")
    files = []
    for said in (second, first):
        report = site.next()
        files.append(site.sign(replace(report, chain=replace(report.chain, challenge=said.challenge_digest))))
    done = bring(engine, tmp_path / "back", ONE.bundle(), *files)
    assert "state-went-back" in named(done)


def test_the_ledger_needs_a_whole_root(tmp_path: Path) -> None:
    engine = open_fleet(find_fleet(str(tmp_path / "other"), {}, tmp_path, create=True))
    sites_of(engine, 1)
    with pytest.raises(RefusedError, match="holds no root document"):
        signing_root(engine)
    engine.dispose()


def test_a_forked_site_gets_no_acknowledgement(engine: Engine, tmp_path: Path) -> None:
    (site,) = sites_of(engine, 1)
    clone = site.clone()
    clone.made_at = "2026-05-09T00:00:00Z"
    bring(engine, tmp_path / "back", site.report(), clone.report())
    (said,) = send(engine, tmp_path / "medium", site.site)
    assert said.acknowledged is None


# --- the whole way, through the command line and a real site folder


def fleet(tmp_path: Path, *words: str, code: int = 0) -> dict[str, Any]:
    found = CliRunner().invoke(
        fleet_group, [*words, "--fleet", str(tmp_path / "ledger"), "--json"], catch_exceptions=False
    )
    assert found.exit_code == code, found.output
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def told(place: Place) -> Place:
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return place


def taken(place: Place, medium: Path) -> Any:
    from contextlib import nullcontext

    with place.hold() as site:
        found = receive_media(site, (medium,), keep=False, watch=lambda _: nullcontext(lambda _: None))
        write_report(site, site.disk, place.clock.at, cause="consignment")
    return found


def hand_out(place: Place, medium: Path) -> None:
    medium.mkdir()
    with place.hold() as site:
        export_reports(site, site.disk, medium, most=12)


def test_support_asks_the_site_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consign, receive, report, import: the interval, and an acknowledgement that the next report sums up no more."""
    monkeypatch.delenv("WAYBILL_KEY", raising=False)
    key = tmp_path / "consignment.key"
    key.write_bytes(encode_private(CONSIGNMENT, None))
    key.chmod(0o600)
    place = told(make_place(tmp_path / "site", ONE))
    place.bring(ONE.write(tmp_path / "1.tar"))
    fleet(tmp_path, "enroll", str(place.path / "outbox" / "enrolment.json"))
    hand_out(place, tmp_path / "home-1")
    fleet(tmp_path, "import", str(tmp_path / "1.tar"), str(tmp_path / "home-1"))
    medium = tmp_path / "medium"
    assert fleet(tmp_path, "consign", "east", "-o", str(medium), code=2)["error"]["where"] == "--key"
    plain = ("consign", "east", "-o", str(medium), "--key", str(key))
    assert fleet(tmp_path, *plain, "--why", "x", code=2)["error"]["where"] == "--request"
    asked = ("--request", "restart-component component=api", "--why", "it answers slowly", "--for-reports", "5")
    words = (*plain, *asked)
    monkeypatch.setattr(consign_module, "utc_now", lambda: datetime(2026, 3, 2, tzinfo=UTC))
    made = fleet(tmp_path, *words)["consignments"][0]
    assert (made["number"], made["acknowledged"]) == (1, 1)
    assert fleet(tmp_path, *words, code=5)["error"]["finding"] == "exists"
    # A medium that came back from somebody does not say where else this machine writes to.
    (tmp_path / "elsewhere").mkdir()
    for name in ("for", "back"):
        hostile = tmp_path / f"hostile-{name}"
        hostile.mkdir()
        (hostile / name).symlink_to(tmp_path / "elsewhere")
        again = ("consign", "east", "-o", str(hostile), "--key", str(key))
        assert fleet(tmp_path, *again, code=5)["error"]["finding"] == "not-a-folder"
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    found = taken(place, medium)
    assert [(one.number, one.new) for one in found.consignments] == [(1, True)]
    hand_out(place, tmp_path / "home-2")
    done = fleet(tmp_path, "import", str(tmp_path / "home-2"))
    row = fleet(tmp_path, "sites")["sites"][0]
    assert row["not_before"] == "2026-03-02T00:00:00Z"
    page = fleet(tmp_path, "show", "east")
    assert page["consignments"][0]["answered"] == 2
    assert page["report"]["chain"]["acknowledged"]["seq"] == 1
    assert page["report"]["chain"].get("earlier", []) == []
    answer = page["report"]["requests"][0]
    assert (answer["outcome"], answer["reason"]) == ("refused", "not-in-policy")
    assert not [one for site in done["sites"].values() for one in site["findings"] if one["alarm"]]
    text = CliRunner().invoke(fleet_group, ["show", "east", "--fleet", str(tmp_path / "ledger")]).stdout
    assert "between 2026-03-02T00:00:00Z (the challenge of consignment 1) and 20" in text
    assert "answered by report 2" in text


def test_a_restored_site_refuses_what_acknowledges_reports_that_it_never_wrote(tmp_path: Path) -> None:
    """The vendor's note names report 2; the folder that was restored wrote only the first."""
    engine = open_fleet(find_fleet(str(tmp_path / "ledger"), {}, tmp_path, create=True))
    place = told(make_place(tmp_path / "site", ONE))
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    shutil.copytree(place.path, tmp_path / "backup", symlinks=True)
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    enroll(engine, verify_enrolment((place.path / "outbox" / "enrolment.json").read_bytes()), NOW, fingerprint=None)
    pin_root(engine, ROOT_ONE, NOW)
    hand_out(place, tmp_path / "home")
    import_paths(engine, (tmp_path / "home",), NOW)
    send(engine, tmp_path / "medium", "east")
    engine.dispose()
    shutil.rmtree(place.path)
    shutil.copytree(tmp_path / "backup", place.path, symlinks=True)
    found = taken(place, tmp_path / "medium")
    assert [error.finding for error in found.refused] == ["acknowledgement-unknown"]
