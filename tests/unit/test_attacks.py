"""Every attack on a system of updates, offline, with its name: what stops it, or what shows it and where.

The attacker owns medium and courier, and here and there a key of the vendor; the site has no network and perhaps no
clock. docs/threats.md has a line for each of these tests.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace as struct_replace
from sqlalchemy import Engine

from content.bundle.archive import header
from content.bundle.head import MAX_SIG
from fleet.intake.intake import import_paths
from fleet.intake.result import ImportResult
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.outgoing.enrol import enroll as enroll_at_home
from fleet.outgoing.views import list_sites
from manifests.documents import release as r
from manifests.documents.consignment import Newest
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.signed_report import verify_report
from manifests.trust.private_keys import generate_key
from manifests.trust.root import Leaver, Mark
from manifests.words.digest import digest_of
from manifests.words.errors import (
    DamagedError,
    MalformedError,
    RefusedError,
    RolledBackError,
    WaitingError,
    WaybillError,
)
from manifests.words.progress import no_progress
from manifests.words.time import parse_time
from tests.consignments import consignment_for, signed
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.rootwork import FIRST, NEW_ROOT, SECOND_ROOT_FILE, bring, listing, next_root, with_chain
from tests.unit.fleet.reporter import Reporter
from tests.vectors.surgery import Part, edit, join, split
from tests.vendor import CONSIGNMENT, RELEASE, ROOT, SECOND, STRANGER, bulk, roles
from verifier.intake.media import receive_media
from verifier.reporting.report_write import write_report
from verifier.reporting.status import read_status
from verifier.site.releases import running_revoked

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
NEXT = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path, FIRST, disk=QuickDisk())


@pytest.fixture
def running(place: Place) -> Place:
    place.bring(FIRST.write(place.path.parent / "first.tar"))
    return place


def received(place: Place, data: bytes) -> str:
    """The finding with which the site refuses a bundle; the empty text when it takes it."""
    path = place.path.parent / "medium.tar"
    path.write_bytes(data)
    before = place.open().state
    try:
        place.receive(path)
    except WaybillError as error:
        after = place.open().state
        assert after.installs.releases == before.installs.releases
        assert after.installs.current == before.installs.current
        return error.finding
    return ""


@dataclass
class Home:
    """Support's ledger, and a folder that comes back."""

    engine: Engine
    folder: Path

    def take(self, *files: bytes) -> list[str]:
        for old in self.folder.iterdir():
            old.unlink()
        for i, data in enumerate(files):
            (self.folder / f"{i}.json").write_bytes(data)
        done: ImportResult = import_paths(self.engine, (self.folder,), NOW)
        found = [one.finding for news in done.sites.values() for _, one in news.findings]
        return found + [str(one.finding) for one in done.files if one.status in ("quarantined", "known")]

    def enroll(self, site: Reporter) -> Reporter:
        enroll_at_home(
            self.engine, verify_enrolment(site.enrolment), NOW, fingerprint="sha256:" + site.signer.public.keyid
        )
        return site


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    folder = tmp_path / "back"
    folder.mkdir()
    yield Home(engine, folder)
    engine.dispose()


# --- arbitrary install ----------------------------------------------------------------------------------------------


def test_arbitrary_install_by_a_stranger(place: Place) -> None:
    """Prevented: nobody is believed but the keys under the pinned root."""
    assert received(place, FIRST.but(signers=(STRANGER,)).bundle()) == "signature-unknown"
    assert received(place, FIRST.but(signers=()).bundle()) == "signature-missing"


def test_arbitrary_install_under_another_root(place: Place) -> None:
    """Prevented: a vendor of one's own is another fingerprint."""
    theirs = FIRST.but(epoch=2)
    assert received(place, theirs.bundle()) == "root-unknown"


def test_arbitrary_install_by_a_key_of_another_role(place: Place) -> None:
    """Prevented: a key speaks in its role alone."""
    assert received(place, FIRST.but(signers=(CONSIGNMENT,)).bundle()) == "signature-role"
    assert received(place, FIRST.but(signers=(ROOT,)).bundle()) == "signature-role"


def test_arbitrary_install_of_changed_bytes(place: Place) -> None:
    """Prevented: every byte is reached from the signed digest."""
    bundle = bytearray(FIRST.bundle())
    bundle[-3000] ^= 1
    assert received(place, bytes(bundle)) == "bulk-damaged"


def test_arbitrary_install_without_the_customers_people(place: Place) -> None:
    """Prevented: the vendor's word is not enough at a site."""
    item = place.receive(FIRST.write(place.path.parent / "first.tar")).item
    with pytest.raises(WaitingError):
        place.install(item)


# --- rollback -------------------------------------------------------------------------------------------------------


def test_rollback_to_an_older_release(running: Place) -> None:
    """Prevented: below the floor nothing comes in; above it the older one is called so."""
    raised = FIRST.but(version="1.2.0", sequence=3, floor=3, service={"hello.txt": b"third\n"})
    assert running.bring(raised.write(running.path.parent / "third.tar")).error is None
    assert received(running, NEXT.bundle()) == "below-floor"


def test_rollback_of_a_new_site_by_an_old_medium(tmp_path: Path) -> None:
    """Prevented where the paper names a minimum; a site without one takes what is signed."""
    place = make_place(tmp_path, FIRST, disk=QuickDisk(), minimum=2)
    assert received(place, FIRST.bundle()) == "below-floor"
    assert received(place, NEXT.bundle()) == ""


def test_rollback_of_the_root(place: Place) -> None:
    """Prevented: an older chain is read with the newest root that is known, and never put in force."""
    bring(place, ("2", SECOND_ROOT_FILE))
    assert received(place, FIRST.bundle()) == ""
    assert place.open().state.trust.root.version == 2


def test_rollback_of_the_revocation_list(place: Place) -> None:
    """Prevented: an older list is ignored and named."""
    digest = digest_of(FIRST.head().release)
    bring(place, ("list", listing(2, releases=(digest,))))
    assert received(place, with_chain(FIRST, (FIRST.root_file(),), listing(1))) == "release-revoked"


def test_rollback_of_a_consignment(place: Place) -> None:
    """Prevented: its number only grows."""
    state = place.open().state
    bring(place, ("note", signed(consignment_for(state, 2))))
    found, _ = bring(place, ("note", signed(consignment_for(state, 1))))
    assert [one.finding for one in found.refused] == ["consignment-old"]


# --- freeze ---------------------------------------------------------------------------------------------------------


def test_freeze_shows_at_the_site(running: Place) -> None:
    """Detected at the site, not prevented: age and lateness are shown, and a note says what is new."""
    late = NEXT.but(change={"next_expected_by": "2026-01-31"})
    taken = running.receive(late.write(running.path.parent / "late.tar"))
    assert "late" in [one.id for one in taken.findings]
    said = consignment_for(running.open().state, newest=(Newest(channel="stable", mark=Mark(epoch=1, sequence=9)),))
    bring(running, ("note", signed(said)))
    assert "newest release stable 9" in read_status(running.open(), (), None, running.clock.at).text


def test_freeze_shows_at_home(home: Home) -> None:
    """Detected at home: a site that was promised to speak and does not is silent."""
    site = home.enroll(Reporter(root=FIRST.pin()))
    home.take(site.report(FIRST), FIRST.bundle())
    (row,) = list_sites(home.engine)
    assert row.newest is not None
    assert row.report_every_seconds == 86400


def test_freeze_of_a_root(place: Place) -> None:
    """Prevented: a release names the root that may judge it, so leaving the document out refuses the release."""
    needs = r.Needs(verifier="0.1", trust_root=2, from_=(), fresh=True)
    assert received(place, FIRST.but(change={"needs": needs}).bundle()) == "root-missing"


# --- fast-forward ---------------------------------------------------------------------------------------------------


def test_fast_forward_of_the_sequence(running: Place) -> None:
    """Prevented: a jump of more than 10,000 is refused, so a stolen key cannot use the counter up."""
    assert received(running, NEXT.but(sequence=10_002).bundle()) == "sequence-jump"
    assert received(running, NEXT.but(sequence=10_001).bundle()) == ""


def test_fast_forward_is_healed_by_a_new_epoch(running: Place) -> None:
    """A new root begins the sequences anew; nothing but a root can."""
    assert received(running, NEXT.but(sequence=10_001).bundle()) == ""
    second = next_root(FIRST.root_file(), epoch=2)
    healed = FIRST.but(version="1.2.0", sequence=1, epoch=1, change={"epoch": 2})
    assert received(running, with_chain(healed, (FIRST.root_file(),))) == "epoch-unknown"
    assert received(running, with_chain(healed, (FIRST.root_file(), second))) == ""
    mark = running.open().state.mark
    assert mark == Mark(epoch=2, sequence=1)


def test_fast_forward_of_the_clock(running: Place) -> None:
    """Prevented: a time far ahead moves nothing until a person says so."""
    far = NEXT.but(change={"issued_at": "2099-01-01T00:00:00Z"})
    assert running.bring(far.write(running.path.parent / "far.tar")).error is None
    state = running.open().state
    assert state.trust.time_claimed == parse_time("2099-01-01T00:00:00Z")
    assert state.trust.time_floor is None or state.trust.time_floor.year < 2027


def test_a_clock_that_goes_backwards(running: Place) -> None:
    """Detected at the site: signed times are a floor, and a clock below it is called behind. It gates nothing."""
    floor = running.open().state.trust.time_floor
    assert floor is not None
    running.clock.at = floor - timedelta(days=900)
    taken = running.receive(NEXT.write(running.path.parent / "next.tar"))
    assert "clock-behind" in [one.id for one in taken.findings]
    assert running.open().state.clock_back > 0


# --- mix and match --------------------------------------------------------------------------------------------------


def test_mix_and_match_of_two_releases(place: Place) -> None:
    """Prevented: one release names every byte of itself."""
    first, second = split(FIRST.bundle()), split(NEXT.bundle())
    at = next(i for i, one in enumerate(first) if one.name == "index.json")
    later = next(i for i, one in enumerate(second) if one.name == "index.json")
    assert received(place, join(first[:at] + second[later:])) == "bulk-damaged"


def test_mix_and_match_of_heads(place: Place) -> None:
    """Prevented: signatures are over one release.json."""
    other = NEXT.head()
    mixed = edit(FIRST.bundle(), "release.json", lambda _: other.release)
    assert received(place, mixed) == "signature-wrong"


# --- endless data ---------------------------------------------------------------------------------------------------


def test_endless_data_in_the_head(place: Place) -> None:
    """Prevented: sizes are capped before they are read."""
    parts = split(FIRST.bundle())
    at = next(i for i, one in enumerate(parts) if one.name.endswith(".sig"))
    huge = Part(parts[at].name, parts[at].data, header(parts[at].name, MAX_SIG + 1))
    assert received(place, join([*parts[:at], huge, *parts[at + 1 :]])) == "malformed"


def test_endless_data_after_the_end(place: Place) -> None:
    """Prevented: nothing may follow the end mark."""
    path = place.path.parent / "long.tar"
    path.write_bytes(FIRST.bundle() + bytes(1 << 20))
    with pytest.raises((DamagedError, MalformedError)):
        place.receive(path)


def test_endless_data_in_a_note(place: Place, tmp_path: Path) -> None:
    """Prevented: a file that is too large to be a document of ours is not read as one."""
    path = tmp_path / "note.json"
    with path.open("wb") as file:
        file.write(b'{"payload":"')
        file.truncate(64 << 20)
    with pytest.raises(MalformedError):
        place.receive(path)


# --- key compromise -------------------------------------------------------------------------------------------------


def test_key_compromise_of_one_of_two(tmp_path: Path) -> None:
    """Prevented while the other key is safe: two must sign, and keys are counted, not signatures."""
    vendor = FIRST.but(threshold=2, signers=(RELEASE, SECOND))
    place = make_place(tmp_path, vendor, disk=QuickDisk())
    assert received(place, vendor.but(signers=(RELEASE,)).bundle()) == "signature-missing"
    twice = vendor.but(signers=(RELEASE, RELEASE))
    assert received(place, twice.bundle()) == "signature-twice"
    assert received(place, vendor.but(signers=(RELEASE, SECOND)).bundle()) == ""


def test_key_compromise_ends_with_the_next_root(place: Place) -> None:
    """Prevented from then on: the newest root judges what any key ever signed."""
    leave = {RELEASE.public.keyid: Leaver(how="revoked")}
    later = next_root(FIRST.root_file(), roles=roles((SECOND,)), leave=leave, signers=(ROOT,))
    assert received(place, with_chain(NEXT, (FIRST.root_file(), later))) == "signature-revoked"
    assert received(place, FIRST.bundle()) == "signature-revoked", "also what it signed before, on older media"
    assert received(place, with_chain(NEXT.but(signers=(SECOND,)), (FIRST.root_file(), later))) == ""


def test_key_compromise_ends_with_a_revocation_list(running: Place) -> None:
    """Prevented from then on, and what runs by that key alone is called running revoked: detected at the site."""
    bring(running, ("list", listing(1, keys=(RELEASE.public.keyid,))))
    assert received(running, NEXT.bundle()) == "signature-revoked"
    assert running_revoked(running.open())


def test_key_compromise_of_a_release_key_makes_no_root_and_no_list(place: Place) -> None:
    """Prevented: who signs releases cannot say who signs."""
    forged = next_root(FIRST.root_file(), signers=(RELEASE,))
    found, _ = bring(place, ("2", forged), ("list", listing(9, RELEASE)))
    assert sorted(one.finding for one in found.refused) == ["root-signatures-missing", "signature-role"]


def test_key_compromise_of_a_root_quorum_of_the_past(place: Place) -> None:
    """Prevented: keys that left the root sign no other chain for a site that has gone on."""
    bring(place, ("2", SECOND_ROOT_FILE))
    forged = next_root(FIRST.root_file(), epoch=3)
    found, _ = bring(place, ("2", forged))
    assert [one.finding for one in found.refused] == ["root-fork"]


# --- wrong recipient ------------------------------------------------------------------------------------------------


def test_wrong_recipient_of_a_release(place: Place) -> None:
    """Prevented: the signed audience decides, and everyone must be said."""
    southern = r.Audience(customers=("southern-grid",), environments=("production",))
    assert received(place, FIRST.but(audience=southern).bundle()) == "audience"
    assert received(place, FIRST.but(audience=r.Audience(everyone=True)).bundle()) == ""


def test_wrong_recipient_by_product_and_channel(place: Place) -> None:
    """Prevented: release keys speak for named products, a site follows one channel."""
    assert received(place, FIRST.but(channel="beta").bundle()) == "channel"
    large = FIRST.but(product="large")
    assert received(place, large.bundle()) == "product-not-covered"


def test_wrong_recipient_of_a_consignment(place: Place) -> None:
    """Prevented: a note is for one site and one key of it."""
    said = struct_replace(consignment_for(place.open().state), site="northern-grid/small/production/west")
    found, _ = bring(place, ("note", signed(said)))
    assert found.others == 1
    assert place.open().state.reports.consignment == 0
    key = struct_replace(consignment_for(place.open().state), site_key="0" * 64)
    found, _ = bring(place, ("note", signed(key)))
    assert [one.finding for one in found.refused] == ["consignment-other-key"]


# --- dropped parts --------------------------------------------------------------------------------------------------


def test_dropped_parts_of_the_bulk(place: Place) -> None:
    """Prevented: missing members are named; a delta is taken only where the rest is."""
    release, blobs, index = FIRST.release()
    short = FIRST.bundle()[: release.bulk_at] + bulk(release, blobs, index, skip=(release.members[-1].digest,))
    assert received(place, short) == "incomplete"


def test_dropped_signature(tmp_path: Path) -> None:
    """Prevented: a stripped signature is an error, never "unsigned"."""
    vendor = FIRST.but(threshold=2, signers=(RELEASE, SECOND))
    place = make_place(tmp_path, vendor, disk=QuickDisk())
    stripped = replace(vendor.head(), signatures=vendor.head().signatures[:1])
    assert received(place, vendor.bundle(stripped)) == "signature-missing"


def test_dropped_root_document(place: Place) -> None:
    """Prevented: a gap in the chain is refused by the version that is missing."""
    third = next_root(SECOND_ROOT_FILE, version=3, signers=(NEW_ROOT,))
    found, _ = bring(place, ("3", third))
    assert [one.finding for one in found.refused] == ["root-gap"]


# --- reports --------------------------------------------------------------------------------------------------------


def test_replayed_report(home: Home) -> None:
    """Detected at home: it changes nothing and is called known."""
    site = home.enroll(Reporter(root=FIRST.pin()))
    first = site.report(FIRST)
    second = site.report()
    home.take(FIRST.bundle(), first, second)
    assert home.take(first) == ["report-replayed"]
    assert list_sites(home.engine)[0].seq == 2


def test_forged_report(home: Home) -> None:
    """Detected at home: only the enrolled key speaks for a site; what claims to is kept in quarantine."""
    site = home.enroll(Reporter(root=FIRST.pin()))
    forger = site.clone()
    forger.signer = generate_key()
    assert home.take(forger.report(FIRST)) == ["site-unknown"]


def test_forked_reports_of_a_copied_site(home: Home) -> None:
    """Detected at home: two successors of one report are a fork, and both are kept."""
    site = home.enroll(Reporter(root=FIRST.pin()))
    home.take(FIRST.bundle(), site.report(FIRST))
    twin = site.clone()
    assert "report-forked" in home.take(site.report(), twin.report(NEXT))


# --- equivocation ---------------------------------------------------------------------------------------------------


def test_equivocation_at_one_site(place: Place) -> None:
    """Prevented and told at home: a sequence has one digest."""
    assert received(place, FIRST.bundle()) == ""
    assert received(place, FIRST.but(service={"hello.txt": b"other\n"}).bundle()) == "sequence-twice"
    assert [one.code for one in place.open().state.alarms] == ["sequence-twice"]
    with place.hold() as site:
        path = write_report(site, site.disk, place.clock.at)
    told = verify_report(path.read_bytes(), place.open().state.site_key).report.trust.alarms
    assert [one.code for one in told] == ["sequence-twice"]


def test_equivocation_between_two_sites(home: Home) -> None:
    """Detected at home: two sites tell of two releases under one sequence."""
    east = home.enroll(Reporter(root=FIRST.pin()))
    west = home.enroll(Reporter(site="northern-grid/small/production/west", root=FIRST.pin()))
    other = FIRST.but(service={"hello.txt": b"other\n"})
    assert "equivocation" not in home.take(east.report(FIRST))
    assert "equivocation" not in home.take(west.report(NEXT))
    assert "equivocation" in home.take(west.report(other))


def test_equivocation_against_the_ledger(home: Home) -> None:
    """Detected at home: what the vendor made is known there."""
    east = home.enroll(Reporter(root=FIRST.pin()))
    other = FIRST.but(service={"hello.txt": b"other\n"})
    assert "release-never-made" in home.take(FIRST.bundle(), east.report(other))


def test_equivocation_of_the_root(place: Place) -> None:
    """Detected at the site and told at home: two documents of one version."""
    bring(place, ("2", SECOND_ROOT_FILE))
    bring(place, ("2", next_root(FIRST.root_file(), epoch=2)))
    assert [one.code for one in place.open().state.alarms] == ["root-fork"]


# --- deny -----------------------------------------------------------------------------------------------------------


def test_deny_by_a_release_that_does_not_work(running: Place) -> None:
    """Prevented: the site goes back by itself. (Power cuts are tests/faults.)"""
    probe = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
    running.health["up"] = "failing"
    bad = NEXT.but(change={"probes": (probe,), "trial": r.Trial(at_most_seconds=1, confirm="probes")})
    ended = running.bring(bad.write(running.path.parent / "bad.tar"))
    assert isinstance(ended.error, RolledBackError)
    now = running.open().state.installs.running
    assert now is not None
    assert now.version == "1.0.0"


def test_deny_by_revoking_what_runs(running: Place) -> None:
    """Prevented: a withdrawn release is called so and goes on; it can be left and told of."""
    bring(running, ("list", listing(1, releases=(digest_of(FIRST.head().release),))))
    assert running_revoked(running.open())
    assert running.recover()[1].error is None
    assert running.bring(NEXT.write(running.path.parent / "next.tar")).error is None


def test_deny_by_filling_the_medium_with_files(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevented: so many files are looked at, and no more."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    monkeypatch.setattr("verifier.intake.scan.MAX_FILES", 100)
    for i in range(101):
        (folder / str(i)).touch()
    with place.hold() as site, pytest.raises(RefusedError, match="more than 100 files"):
        receive_media(site, (folder,), keep=False, watch=lambda _: nullcontext(no_progress))


def test_a_customers_key_in_the_vendors_root(place: Place) -> None:
    """Prevented: who approves is not who publishes."""
    person = place.people["ops-1"].public
    named = next_root(
        FIRST.root_file(), keys={**FIRST.root().keys, NEW_ROOT.public.keyid: NEW_ROOT.public, person.keyid: person}
    )
    found, _ = bring(place, ("2", named))
    assert [one.finding for one in found.refused] == ["own-key-in-root"]
