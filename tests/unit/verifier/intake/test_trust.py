"""What a site holds of its vendor's trust: roots and lists come in, are in force first, and never go back."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace as struct_replace

from manifests.documents import release as r
from manifests.documents.release import handler_digest
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.root import ROOT_TYPE, Chain, Leaver, Mark, Pin, parse_root, verify_chain
from manifests.trust.root import Role as RootRole
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, RefusedError, UntrustedError, WaybillError
from manifests.words.progress import no_progress
from manifests.words.time import parse_time
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.rootwork import FIRST, NEW_ROOT, SECOND_ROOT_FILE, THIRD_ROOT_FILE, bring, listing, next_root, with_chain
from tests.vendor import RELEASE, ROOT, SECOND, derived, roles
from verifier.approval.confirmation import acknowledge_time
from verifier.change.route import plan_change
from verifier.commands.receive import receive_command
from verifier.intake.trust_files import check_new_root, replace_root
from verifier.reporting.report_write import write_report
from verifier.reporting.status import read_status
from verifier.site.folder import Site
from verifier.site.releases import running_revoked
from verifier.site.vendor_trust import adopt_revocations, adopt_roots, list_in_force, own_chain, root_documents
from verifier.trust.anchor import TrustAnchor
from verifier.trust.bundle import VerifyRequest, verify_path

RUNS = digest_of(FIRST.head().release)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path, FIRST, disk=QuickDisk())


@pytest.fixture
def running(place: Place) -> Place:
    place.bring(FIRST.write(place.path.parent / "first.tar"))
    return place


def test_a_root_that_comes_alone_is_followed_and_said_before_it_is_in_force(place: Place) -> None:
    seen: list[int] = []
    with place.hold() as site:
        found = adopt_roots(site, (SECOND_ROOT_FILE,), lambda _: seen.append(site.state.trust.root.version))
    assert set(seen) == {1}, "told while the older root was still in force"
    (one,) = found
    assert one.change.joins == (("root", NEW_ROOT.public.keyid),)
    assert one.change.leaves == (("root", ROOT.public.keyid),)
    state = place.open().state
    assert (state.trust.root.version, state.trust.root.digest) == (2, one.fingerprint)
    assert own_chain(place.open()).newest.version == 2


def test_a_chain_on_a_medium_is_walked_in_order_whatever_the_names(place: Place) -> None:
    found, said = bring(place, ("a", THIRD_ROOT_FILE), ("b", SECOND_ROOT_FILE), ("c", FIRST.root_file()))
    assert [one.version for one in found.trust.roots] == [2, 3]
    assert found.trust.known == 1
    assert not found.refused
    assert place.open().state.trust.root.version == 3
    assert any("revoked" in line for line in said)


def test_a_gap_is_refused_by_the_missing_version_and_mended_by_what_a_bundle_brings(place: Place) -> None:
    found, _ = bring(place, ("3.root.json", THIRD_ROOT_FILE))
    (error,) = found.refused
    assert (error.finding, error.exit_code) == ("root-gap", 4)
    assert "root 2 is missing" in error.problem
    assert place.open().state.trust.root.version == 1
    other = FIRST.but(version="1.1.0", sequence=2)
    found, _ = bring(
        place, ("3.root.json", THIRD_ROOT_FILE), ("b.tar", with_chain(other, (FIRST.root_file(), SECOND_ROOT_FILE)))
    )
    assert not found.refused
    assert place.open().state.trust.root.version == 3


def test_a_fork_is_refused_and_told_at_home(place: Place) -> None:
    bring(place, ("2", SECOND_ROOT_FILE))
    other = next_root(FIRST.root_file(), epoch=2)
    found, _ = bring(place, ("2", other))
    assert [one.finding for one in found.refused] == ["root-fork"]
    state = place.open().state
    assert [one.code for one in state.alarms] == ["root-fork"]
    assert state.trust.root.version == 2
    bring(place, ("2", other))
    assert len(place.open().state.alarms) == 1, "told once"


def test_a_root_that_names_a_key_of_the_customer_is_refused(place: Place) -> None:
    person = place.people["ops-1"].public
    old = FIRST.root()
    for theirs in (person, place.open().state.site_key):
        named = next_root(
            FIRST.root_file(), keys={**old.keys, NEW_ROOT.public.keyid: NEW_ROOT.public, theirs.keyid: theirs}
        )
        found, _ = bring(place, ("2", named))
        assert [one.finding for one in found.refused] == ["own-key-in-root"]
        bundle = place.path.parent / "named.tar"
        bundle.write_bytes(with_chain(FIRST, (FIRST.root_file(), named)))
        with pytest.raises(RefusedError, match="a key of this site or of its people"):
            place.receive(bundle)
    assert place.open().state.trust.root.version == 1


def test_another_vendors_documents_are_left_alone(place: Place) -> None:
    other = struct_replace(FIRST.root(), vendor="large-works")
    theirs = seal(encode(other), ROOT_TYPE, (ROOT,))
    found, _ = bring(place, ("1", theirs))
    assert (found.trust.others, found.refused) == (1, [])


def test_an_older_medium_is_judged_with_the_newest_root_that_is_known(place: Place) -> None:
    """F-6.19: what a rotated key may still vouch for comes through; what a revoked key signed does not."""
    keep = roles((SECOND,))
    retired = {RELEASE.public.keyid: Leaver(how="retired", last=Mark(epoch=1, sequence=1))}
    second = next_root(FIRST.root_file(), roles={**keep, "root": keep["root"]}, leave=retired, signers=(ROOT,))
    bring(place, ("2", second))
    assert place.receive(FIRST.write(place.path.parent / "old.tar")).new
    with pytest.raises(UntrustedError) as caught:
        place.receive(FIRST.but(version="1.1.0", sequence=2).write(place.path.parent / "late.tar"))
    assert caught.value.finding == "signature-retired"
    assert SECOND.public.keyid[:12] in caught.value.problem, "says who is missing"


def test_a_root_left_out_of_the_medium_fails_closed(place: Place) -> None:
    """F-7.5 at the site: `needs.trust_root` names the root that must judge it."""
    from manifests.documents import release as r

    needs = r.Needs(verifier="0.1", trust_root=2, from_=(), fresh=True)
    bundle = FIRST.but(change={"needs": needs}).write(place.path.parent / "needs-2.tar")
    with pytest.raises(UntrustedError) as caught:
        place.receive(bundle)
    assert caught.value.finding == "root-missing"
    bring(place, ("2", SECOND_ROOT_FILE))
    assert place.receive(bundle).new, "the root may come by another medium"


def test_a_root_and_a_list_are_stored_also_when_what_came_with_them_is_refused(place: Place) -> None:
    damaged = bytearray(with_chain(FIRST, (FIRST.root_file(), SECOND_ROOT_FILE), listing(1, NEW_ROOT)))
    damaged[-2000] ^= 1
    bundle = place.path.parent / "damaged.tar"
    bundle.write_bytes(damaged)
    with pytest.raises(WaybillError):
        place.receive(bundle)
    state = place.open().state
    assert (state.trust.root.version, state.trust.revocations is not None) == (2, True)


def test_a_revoked_release_is_refused_at_receive_and_at_install(place: Place) -> None:
    item = place.receive(FIRST.write(place.path.parent / "first.tar")).item
    place.approve(item)
    found, said = bring(place, ("list", listing(1, releases=(RUNS,))))
    assert [one.version for one in found.trust.lists if one.new] == [1]
    assert any(RUNS in line for line in said)
    with pytest.raises(RefusedError) as caught:
        place.install(item)
    assert caught.value.finding == "release-revoked"
    with pytest.raises(RefusedError) as caught:
        place.receive(FIRST.write(place.path.parent / "again.tar"))
    assert caught.value.finding == "release-revoked"
    assert place.open().state.installs.running is None


def test_a_root_that_makes_approvals_void_says_how_many_of_which_item(place: Place, tmp_path: Path) -> None:
    place.receive(FIRST.write(tmp_path / "first.tar"))
    place.approve("r-1.0.0")
    (tmp_path / "2.root.json").write_bytes(SECOND_ROOT_FILE)
    words = [str(tmp_path / "2.root.json"), "--site", str(place.path)]
    done = CliRunner().invoke(receive_command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "void: 1 approval of r-1.0.0; it has to be approved again\n" in done.stdout
    again = CliRunner().invoke(receive_command, [*words, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["void_approvals"] == {}


def test_a_revocation_is_told_by_the_names_of_this_site(running: Place) -> None:
    newer = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
    waits = running.receive(newer.write(running.path.parent / "newer.tar")).release
    elsewhere = "sha256:" + "0" * 64
    _, lines = bring(running, ("list", listing(1, releases=tuple(sorted((RUNS, waits, elsewhere))))))
    assert f"  revokes release {RUNS}: r-1.0.0, which runs here as generation 1" in lines
    assert f"  revokes release {waits}: r-1.1.0, which was received here" in lines
    assert f"  revokes release {elsewhere}: never received here" in lines
    running.bring(FIRST.but(version="1.2.0", sequence=3).write(running.path.parent / "newest.tar"))
    _, lines = bring(running, ("list", listing(2)))
    assert f"  no longer revokes release {RUNS}: r-1.0.0, which is kept here as generation 1" in lines


def test_a_revoked_key_counts_nowhere(place: Place) -> None:
    bring(place, ("list", listing(1, keys=(RELEASE.public.keyid,))))
    with pytest.raises(UntrustedError) as caught:
        place.receive(FIRST.write(place.path.parent / "first.tar"))
    assert (caught.value.finding, caught.value.exit_code) == ("signature-revoked", 4)


def test_a_running_release_that_is_revoked_runs_on_and_is_called_so(running: Place) -> None:
    bring(running, ("list", listing(1, releases=(RUNS,))))
    site = running.open()
    assert running_revoked(site) == "revocation list 1 revokes it"
    status = read_status(site, (), None, running.clock.at)
    assert "running revoked: revocation list 1 revokes it" in status.text
    assert status.error is not None
    assert (status.error.exit_code, status.error.finding) == (14, "running-revoked")
    assert reported(running).install.revoked
    # Never bricked: it can be left for a newer one, and gone back to when that fails.
    newer = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
    assert running.bring(newer.write(running.path.parent / "newer.tar")).error is None
    assert running_revoked(running.open()) is None
    assert not reported(running).install.revoked
    assert running.rollback(1, person="ops-1").error is None
    assert running_revoked(running.open()) is not None


def test_a_running_release_whose_signer_is_revoked_is_called_so(running: Place) -> None:
    bring(running, ("list", listing(1, keys=(RELEASE.public.keyid,))))
    assert "revoked: " + RELEASE.public.keyid[:12] in (running_revoked(running.open()) or "")
    assert running.recover()[1].error is None
    assert reported(running).install.revoked
    yaml = running.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: 30d", "every: 20d"))
    with pytest.raises(UntrustedError) as caught:
        plan_change(running.open(), "config")
    assert caught.value.finding == "signature-revoked"


def reported(place: Place):  # type: ignore[no-untyped-def]  # the report's type is said where it is read
    from manifests.documents.signed_report import verify_report

    with place.hold() as site:
        path = write_report(site, site.disk, place.clock.at)
        return verify_report(path.read_bytes(), site.state.site_key).report


def test_lists_only_grow(place: Place) -> None:
    """F-13.4: across media, across restarts."""
    bring(place, ("list", listing(2, releases=(RUNS,))))
    found, _ = bring(place, ("list", listing(1)))
    (one,) = found.trust.lists
    assert (one.new, one.ignored) == (False, "list 1 is ignored: older than list 2")
    found, _ = bring(place, ("list", listing(2, releases=(RUNS,))))
    assert found.trust.known == 1
    held = list_in_force(place.open())
    assert held is not None
    assert held.version == 2


def test_two_lists_of_one_version_are_an_alarm(place: Place) -> None:
    bring(place, ("list", listing(2)))
    found, _ = bring(place, ("list", listing(2, releases=(RUNS,))))
    assert [one.finding for one in found.refused] == ["revocations-twice"]
    assert [one.code for one in place.open().state.alarms] == ["revocations-twice"]


def test_a_list_of_an_older_roots_quorum_is_ignored_and_named(place: Place) -> None:
    bring(place, ("2", SECOND_ROOT_FILE))
    found, _ = bring(place, ("list", listing(9, ROOT)))
    assert [one.ignored for one in found.trust.lists] == ["list 9 is ignored: signed under an older root"]
    assert place.open().state.trust.revocations is None
    found, _ = bring(place, ("list", listing(9, NEW_ROOT)))
    assert place.open().state.trust.revocations is not None


def test_a_list_in_force_stays_when_the_root_keys_change(place: Place) -> None:
    bring(place, ("list", listing(1, releases=(RUNS,))))
    bring(place, ("2", SECOND_ROOT_FILE))
    with pytest.raises(RefusedError, match="list 1 revokes this release"):
        place.receive(FIRST.write(place.path.parent / "first.tar"))


def test_verify_judges_with_what_the_site_holds_and_stores_nothing(place: Place) -> None:
    from verifier.site.releases import facts_of
    from verifier.site.vendor_trust import known_trust

    bring(place, ("list", listing(2, releases=("sha256:" + "0" * 64,))))
    bundle = place.path.parent / "newer-root.tar"
    bundle.write_bytes(with_chain(FIRST, (FIRST.root_file(), SECOND_ROOT_FILE), listing(3, NEW_ROOT, releases=(RUNS,))))
    site = place.open()
    anchor = TrustAnchor(site.state.trust.root, known_trust(site), facts=facts_of(site.state))
    found = verify_path(bundle, VerifyRequest(anchor, place.clock.at, no_progress))
    assert found.head.chain.newest.version == 2
    assert [one.id for one in found.findings if one.error] == ["release-revoked"]
    after = place.open().state
    assert (after.seq, after.trust.root.version) == (site.state.seq, 1)


def test_a_crash_between_file_and_journal_leaves_the_old_root_in_force(place: Place) -> None:
    """The files of a newer root are durable first; the journal alone decides, and the next try ends it."""
    folder = place.path / "trust"
    (folder / "2.root.json").write_bytes(SECOND_ROOT_FILE)
    assert own_chain(place.open()).newest.version == 1
    with place.hold() as site:
        adopt_roots(site, (SECOND_ROOT_FILE,))
    assert own_chain(place.open()).newest.version == 2


def test_changed_documents_of_trust_are_seen(place: Place) -> None:
    bring(place, ("2", SECOND_ROOT_FILE), ("list", listing(1, NEW_ROOT)))
    site = place.open()
    path = place.path / "trust" / "2.root.json"
    path.write_bytes(next_root(FIRST.root_file(), epoch=3))
    with pytest.raises(DamagedError, match="not the root 2 that the journal names"):
        own_chain(site)
    path.write_bytes(SECOND_ROOT_FILE)
    _, digest = site.state.trust.revocations or (0, "")
    (site.documents / digest[7:]).write_bytes(listing(1, NEW_ROOT, releases=(RUNS,)))
    with pytest.raises(WaybillError, match="has digest"):
        list_in_force(site)


RESTART = r.Handler(
    name="restart",
    does="starts it again",
    source="run",
    run=("tool", "again"),
    limits=r.Limits(seconds=1, memory_bytes=1, output_bytes=1),
    may=(),
    risk="reversible",
    repeatable=True,
)


def test_revoked_handlers_are_named_by_their_entry() -> None:
    """F-13.7."""
    assert handler_digest(RESTART) == digest_of(encode(RESTART))
    assert handler_digest(RESTART) != handler_digest(struct_replace(RESTART, does="something else"))


def test_nobody_can_put_a_list_in_force_but_the_root(place: Place) -> None:
    for signers in ((RELEASE,), (SECOND, RELEASE)):
        with place.hold() as site, pytest.raises(UntrustedError) as caught:
            adopt_revocations(site, listing(5, *signers), "list")
        assert caught.value.finding == "signature-role"
        assert "0 of the 1 root keys that root 1 requires" in caught.value.problem
        assert ROOT.public.keyid[:12] in caught.value.problem


def test_root_documents_of_a_site_enrolled_late_begin_later(tmp_path: Path) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    bring(place, ("2", SECOND_ROOT_FILE), ("3", THIRD_ROOT_FILE))
    (place.path / "trust" / "1.root.json").unlink()
    site: Site = place.open()
    assert len(root_documents(site)) == 2
    assert own_chain(site).newest.version == 3
    assert place.receive(FIRST.write(tmp_path / "old.tar")).new, "older documents of the medium match backwards"


def test_a_minimum_sequence_keeps_old_media_from_a_new_site(tmp_path: Path) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk(), minimum=40)
    with pytest.raises(RefusedError) as caught:
        place.receive(FIRST.but(sequence=39).write(tmp_path / "39.tar"))
    assert caught.value.finding == "below-floor"
    with pytest.raises(RefusedError) as caught:
        place.receive(FIRST.but(sequence=10_041).write(tmp_path / "far.tar"))
    assert caught.value.finding == "sequence-jump"
    assert place.bring(FIRST.but(sequence=40).write(tmp_path / "40.tar")).error is None
    floor = place.open().state.floor
    assert floor == Mark(epoch=1, sequence=40), "what the release states is below it"


LOST = derived(402)


def new_line(**changes: object) -> bytes:
    """Another root 1 of the same vendor, by people who lost the keys of the first."""
    old = FIRST.root()
    root = struct_replace(
        old,
        keys={**old.keys, LOST.public.keyid: LOST.public},
        roles={**old.roles, "root": RootRole(keys=(LOST.public.keyid,), threshold=1)},
        **changes,
    )
    return seal(encode_root(root), ROOT_TYPE, (LOST,))


def chain_of(data: bytes) -> Chain:

    one = parse_root(data, "x")
    return verify_chain((data,), Pin(version=0, digest=one.fingerprint))


def test_a_lost_quorum_is_replaced_on_paper_and_said_everywhere(running: Place) -> None:
    item = running.receive(FIRST.but(version="1.1.0", sequence=2).write(running.path.parent / "b.tar")).item
    running.approve(item)
    bring(running, ("list", listing(3, releases=("sha256:" + "7" * 64,))))
    data = new_line()
    with running.hold() as site:
        replace_root(site, chain_of(data), "two of three keys burned")
    site = running.open()
    assert site.state.trust.root == chain_of(data).pin
    assert own_chain(site).pin == chain_of(data).pin
    assert (
        "replaced from paper 1 times, last reason: two of three keys burned"
        in read_status(site, (), None, running.clock.at).text
    )
    assert reported(running).trust.roots_replaced == 1
    # Marks, floor and list stay; what the old root vouched for is not believed any more, and what runs goes on.
    assert site.state.trust.revocations is not None
    assert site.state.floor == Mark(epoch=1, sequence=1)
    with pytest.raises(UntrustedError):
        running.install(item)
    with pytest.raises(UntrustedError) as caught:
        running.receive(FIRST.but(version="1.2.0", sequence=3).write(running.path.parent / "c.tar"))
    assert caught.value.finding == "root-unknown"
    assert running.recover()[1].error is None
    newer = FIRST.but(version="1.2.0", sequence=3)
    (running.path.parent / "d.tar").write_bytes(with_chain(newer, (data,)))
    assert running.bring(running.path.parent / "d.tar").error is None
    # The new line is followed like any other.
    following = third_root_of(data)
    bring(running, ("2", following))
    assert running.open().state.trust.root.version == 2


def third_root_of(before: bytes) -> bytes:

    root = struct_replace(parse_root(before, "x").root, version=2, previous=digest_of(before))
    return seal(encode_root(root), ROOT_TYPE, (LOST,))


def test_not_every_root_may_take_the_place_of_another(place: Place) -> None:
    person = place.people["ops-1"].public
    bad: dict[str, bytes] = {
        "vendor-differs": new_line(vendor="large-works"),
        "root-known": SECOND_ROOT_FILE,
        "practice": new_line(practice=True),
        "own-key-in-root": seal(
            encode_root(struct_replace(FIRST.root(), epoch=2, keys={**FIRST.root().keys, person.keyid: person})),
            ROOT_TYPE,
            (ROOT,),
        ),
    }
    for finding, data in bad.items():
        with place.hold() as site, pytest.raises(WaybillError) as caught:
            chain = chain_of(data)
            if finding == "root-known":
                chain = verify_chain((FIRST.root_file(), data), FIRST.pin())
            check_new_root(site, chain)
        assert caught.value.finding == finding
    assert place.open().state.trust.root_line == 0


def test_a_time_far_ahead_is_claimed_until_a_person_says_so(place: Place) -> None:
    """Fast-forward of the clock: one mis-dated build moves nothing."""
    far = FIRST.but(change={"issued_at": "2099-01-01T00:00:00Z"})
    assert place.bring(far.write(place.path.parent / "far.tar")).error is None
    state = place.open().state
    assert (state.trust.time_floor, state.trust.time_claimed) == (None, parse_time("2099-01-01T00:00:00Z"))
    assert "2099-01-01T00:00:00Z is claimed" in read_status(place.open(), (), None, place.clock.at).text
    with place.hold() as site:
        with pytest.raises(RefusedError, match="is not claimed"):
            acknowledge_time(site, "2098-01-01T00:00:00Z", place.people["ops-1"])
        with pytest.raises(RefusedError, match="belongs to no person"):
            acknowledge_time(site, "2099-01-01T00:00:00Z", LOST)
        acknowledge_time(site, "2099-01-01T00:00:00Z", place.people["ops-1"])
    state = place.open().state
    assert (state.trust.time_floor, state.trust.time_claimed) == (parse_time("2099-01-01T00:00:00Z"), None)


def test_a_changed_root_document_of_the_site_is_said_plainly(place: Place) -> None:
    """Every byte of the file: damage of this very file, without a pattern of the format, and a way to mend it."""
    path = place.path / "trust" / "1.root.json"
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(DamagedError) as caught:
            own_chain(place.open())
        assert (caught.value.finding, str(path.parent) in caught.value.where) == ("root-changed", True)
        assert "regex" not in str(caught.value)
    path.write_bytes(raw)
    assert own_chain(place.open()).newest.version == 1


@pytest.mark.parametrize("how", ["missing", "changed", "cut", "unreadable"])
def test_a_lost_root_document_is_named_and_comes_back_with_the_next_medium(place: Place, how: str) -> None:
    bring(place, ("2", SECOND_ROOT_FILE))
    path = place.path / "trust" / "2.root.json"
    path.unlink()
    if how == "unreadable":
        path.symlink_to("/proc/self/mem")
    elif how != "missing":
        path.write_bytes(SECOND_ROOT_FILE[:300] if how == "cut" else SECOND_ROOT_FILE.replace(b"2", b"3"))
    with pytest.raises(WaybillError) as caught:
        own_chain(place.open())
    assert caught.value.where == str(path)
    bring(place, ("2", SECOND_ROOT_FILE))
    assert path.read_bytes() == SECOND_ROOT_FILE
    assert own_chain(place.open()).newest.version == 2


def test_a_folder_of_root_documents_mends_the_one_in_force_whatever_comes_first(place: Place) -> None:
    bring(place, ("2", SECOND_ROOT_FILE))
    shutil.rmtree(place.path / "trust")
    media, _ = bring(place, ("1", FIRST.root_file()), ("2", SECOND_ROOT_FILE))
    assert media.error is None
    assert own_chain(place.open()).newest.version == 2


def test_an_older_root_document_mends_nothing_and_the_error_is_about_the_lost_file(place: Place) -> None:
    """Only the pinned root proves that the documents of a medium are the ones that were lost."""
    bring(place, ("2", SECOND_ROOT_FILE))
    path = place.path / "trust" / "2.root.json"
    path.unlink()
    with place.hold() as site, pytest.raises(DamagedError, match="the root document of this site is missing") as caught:
        adopt_roots(site, (FIRST.root_file(),))
    assert caught.value.where == str(path)
    assert "waybill receive BUNDLE" in caught.value.remedy
    assert not path.exists()


def test_a_damaged_revocation_list_comes_back_with_the_next_medium(place: Place) -> None:
    bring(place, ("list", listing(1)))
    site = place.open()
    _, digest = site.state.trust.revocations or (0, "")
    site.document_path(digest).write_bytes(b"{")
    with pytest.raises(DamagedError, match="revocation list 1: the document has digest") as caught:
        list_in_force(site)
    assert "waybill receive MEDIUM" in caught.value.remedy
    bring(place, ("list", listing(1)))
    assert list_in_force(place.open()) is not None
