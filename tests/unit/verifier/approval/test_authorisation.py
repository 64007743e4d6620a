"""A way back below the floor (D-6.2 to D-6.6): the vendor's word and the customer's, for this site, this way, once."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from manifests.documents import report as r_report
from manifests.documents.authorisation import (
    AUTHORISATION_TYPE,
    Authorisation,
    Left,
    Reached,
    parse_authorisation,
    verify_authorisation,
)
from manifests.documents.plan import parse_plan
from manifests.documents.policy import Person
from manifests.documents.review_request import sign_request
from manifests.trust.envelope import pae
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import decode_base64, encode_base64
from manifests.trust.private_keys import generate_key, low_s
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import Mark, Role, verify_chain
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import (
    MalformedError,
    RefusedError,
    RolledBackError,
    UntrustedError,
    WaitingError,
    WaybillError,
)
from tests.authorisations import FIRST, SECOND, SITE, authorisation, bring, carried, sealed
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk
from tests.place import Place, make_place
from tests.rootwork import NEW_ROOT, next_root
from tests.unit.verifier.approval.test_request import answer, ask, told
from tests.unit.verifier.watching import unwatched
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, STRANGER
from verifier.approval.page import section_text
from verifier.approval.request_reader import open_request
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import rollback_section
from verifier.change.rollback_plan import rollback_change
from verifier.intake.media import receive_media
from verifier.reporting.history import history_lines
from verifier.reporting.offboarding import agree_offboarding as agree_to_end
from verifier.reporting.offboarding import ask_offboarding as ask_to_end
from verifier.reporting.offboarding import end_access
from verifier.reporting.report_write import write_report
from verifier.reporting.status import read_status
from verifier.runtime.drivers.driver import load_driver
from verifier.site.outbox import read_report
from verifier.site.vendor_trust import adopt_roots


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder, FIRST, disk=QuickDisk())
    for vendor in (FIRST, SECOND):
        assert place.bring(vendor.write(folder / f"{vendor.version}.tar")).error is None
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people))


def said_for(place: Place, **changes: Any) -> Authorisation:
    first = place.open().state.installs.generation(1)
    assert first is not None
    return authorisation(first, **changes)


def refused(place: Place) -> WaybillError:
    before = place.open().state.installs.current
    with pytest.raises(WaybillError) as caught:
        place.rollback(1, "ops-1")
    assert place.open().state.installs.current == before
    return caught.value


# --- what holds -----------------------------------------------------------------------------------------------------


def test_nothing_leads_below_the_floor_by_the_customers_word_alone(place: Place) -> None:
    error = refused(place)
    assert error.finding == "below-floor"
    assert f"ask the vendor for an authorisation for {SITE} from 1.1.0 (stable 2) to 1.0.0" in error.remedy


def test_below_the_floor_by_the_word_of_both_once(place: Place) -> None:
    bring(place, carried(said_for(place)))
    with pytest.raises(WaitingError):
        place.rollback(1)
    change = rollback_change(place.open(), 1)
    assert change.plan.kinds == ("below-floor", "rollback")
    assert change.plan.subject == change.planned.authorisation
    review = make_review(read_review_input(place.open(), change, load_driver))
    text = "\n".join(section_text(rollback_section(review)))
    for words in (
        "by authorisation 7 of small-works",
        "1.1.0 loses orders at midnight",
        "orders typed since the upgrade",
        "CVE-2026-0001",
        "this rollback, once; the floor does not change",
        "the rollback restores the config of that generation",
    ):
        assert words in text
    assert place.rollback(1, "ops-1").error is None
    state = place.open().state
    assert (state.installs.current, state.below_floor) == (1, True)
    assert state.floor == Mark(epoch=1, sequence=2)
    assert state.trust.spent == (change.planned.authorisation,)
    assert state.installs.rollbacks[-1].authorisation == change.planned.authorisation
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
    # Forward again, and not a second time.
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    assert not place.open().state.below_floor
    assert refused(place).finding == "authorisation-spent"


def test_a_release_carries_its_own_way_back_sealed_until_the_people_open_it(tmp_path: Path) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    raw = sealed(said_for(place, sites=()))
    blob = Blob(digest=digest_of(raw), size=len(raw))
    carrier = SECOND.but(extra={"way": raw}, change={**SECOND.change, "authorisations": (blob,)})
    assert place.bring(carrier.write(tmp_path / "2.tar")).error is None
    with pytest.raises(WaitingError):
        place.rollback(1)
    assert place.rollback(1, "ops-1").error is None
    assert place.open().state.below_floor
    # Only the release that carries it may be left by it.
    third = SECOND.but(version="1.2.0", sequence=3, floor=3, extra={"way": raw})
    third = third.but(change={**SECOND.change, "authorisations": (blob,)})
    assert refused_when_it_comes(place, third.write(tmp_path / "3.tar")) == "authorisation-other-release"


def test_what_a_release_carries_is_judged_like_anything_else(tmp_path: Path) -> None:
    """D-6.2, D-6.7: for another site, for another product, no authorisation at all, by another role."""
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    west = sealed(said_for(place, sites=("northern-grid/small/production/west",)))
    other = sealed(said_for(place, sites=(), product="other"))
    later = Left(channel="stable", mark=Mark(epoch=1, sequence=3))
    unsigned = sealed(said_for(place, sites=(), leaves=later), RELEASE)
    held = {"a": west, "b": other, "c": b"{}", "d": unsigned}
    blobs = [Blob(digest=digest_of(raw), size=len(raw)) for raw in held.values()]
    carrier = SECOND.but(extra=held)

    def carrying(*blobs: Blob) -> Path:
        return carrier.but(change={**SECOND.change, "authorisations": blobs}).write(tmp_path / "2.tar")

    findings = [refused_when_it_comes(place, carrying(blob)) for blob in blobs[1:]]
    assert findings == ["authorisation-other-release", "malformed", "signature-role"]
    assert place.bring(carrying(blobs[0])).error is None
    error = refused(place)
    assert error.finding == "below-floor"
    assert "authorisation 7 is from stable 2 to 1.0.0" in error.problem
    assert status(place).count("may go back") == 0


def refused_when_it_comes(place: Place, path: Path) -> str:
    with pytest.raises(WaybillError) as caught:
        place.bring(path)
    return caught.value.finding


def test_a_plug_pulled_at_any_effect_spends_it_at_most_once(place: Place, tmp_path: Path) -> None:
    bring(place, carried(said_for(place)))
    place.approve("b-1")
    ended = set()
    for at in range(400):
        world = tmp_path / f"world-{at}"
        shutil.copytree(place.path, world, symlinks=True)
        here = Place(path=world, disk=PluggedDisk(at), clock=place.clock, people=place.people)
        try:
            here.rollback(1)
        except PulledPlugError:
            here.disk = QuickDisk()
            here.recover()
        else:
            break
        state = here.open().state
        ended.add((state.installs.current, len(state.trust.spent)))
        shutil.rmtree(world)
    assert ended == {(2, 0), (1, 1)}


def test_an_approver_elsewhere_judges_the_very_authorisation(place: Place, tmp_path: Path) -> None:
    bring(place, carried(said_for(place)))
    found = ask(place, "b-1", tmp_path / "desk")
    at_the_site = make_review(read_review_input(place.open(), rollback_change(place.open(), 1), load_driver))
    assert told(make_review(found.review_input)) == told(at_the_site)
    answer(place, tmp_path / "desk", "ops-1")
    with place.hold() as site:
        receive_media(site, (tmp_path / "desk",), keep=False, watch=unwatched)
    assert place.rollback(1).error is None
    # Somebody takes it out of the request, or puts another one in.
    request = found.request
    other = sealed(said_for(place, number=8))
    (tmp_path / "desk" / "documents" / digest_of(other)[7:]).write_bytes(other)
    for blob in (None, Blob(digest=digest_of(other), size=len(other))):
        raw = sign_request(msgspec.structs.replace(request, authorisation=blob), place.open().signer())
        (tmp_path / "desk" / "request.json").write_bytes(raw)
        with pytest.raises(MalformedError):
            open_request(tmp_path / "desk")


# --- attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signers", [(RELEASE,), (CONSIGNMENT,), (ROOT,)], ids=["release", "consignment", "root"])
def test_another_role_signs(place: Place, signers: tuple[Any, ...]) -> None:
    """D-6.4."""
    with pytest.raises(UntrustedError) as caught:
        bring(place, carried(said_for(place), *signers))
    assert caught.value.finding == "signature-role"


def test_a_stranger_nobody_or_a_changed_word(place: Place) -> None:
    good = carried(said_for(place))
    other = msgspec.structs.replace(good, payload=carried(said_for(place, why="nothing much")).payload)
    for envelope, finding in (
        (carried(said_for(place), STRANGER), "signature-unknown"),
        (msgspec.structs.replace(good, signatures=()), "signature-missing"),
        (other, "signature-wrong"),
        (carried(said_for(place, vendor="others")), "vendor-differs"),
    ):
        with pytest.raises(UntrustedError) as caught:
            bring(place, envelope)
        assert caught.value.finding == finding
    assert refused(place).finding == "below-floor"


def test_one_for_another_site(place: Place) -> None:
    """D-6.2."""
    west = "northern-grid/small/production/west"
    for sites in ((west,), ()):
        with pytest.raises(RefusedError) as caught:
            bring(place, carried(said_for(place, sites=sites)))
        assert caught.value.finding == "authorisation-other-site"


def test_one_for_another_way(place: Place) -> None:
    """D-6.3, D-6.5."""
    first, second = place.open().state.installs.generation(1), place.open().state.installs.generation(2)
    assert first is not None
    assert second is not None
    good = said_for(place)
    others = (
        said_for(place, leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=3))),
        said_for(place, leaves=Left(channel="fast", mark=second.mark)),
        said_for(place, goes_to=msgspec.structs.replace(good.goes_to, release=second.release)),
        said_for(place, goes_to=msgspec.structs.replace(good.goes_to, channel="fast")),
        said_for(place, goes_to=msgspec.structs.replace(good.goes_to, version="0.9.0")),
    )
    for one in others:
        bring(place, carried(one))
    assert refused(place).finding == "below-floor"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": (SITE, SITE)}, "sites"),
        ({"reopens": ("b", "a")}, "reopens"),
        ({"sites": ("northern-grid/other/production/east",)}, "is not a site of product small"),
        ({"leaves": Left(channel="stable", mark=Mark(epoch=1, sequence=1))}, "not older than the one that it leaves"),
    ],
)
def test_rules_inside_the_document(place: Place, change: dict[str, object], words: str) -> None:
    """D-6.1, D-6.2, D-6.3."""
    with pytest.raises(MalformedError) as caught:
        parse_authorisation(sealed(said_for(place, **change)))
    assert words in str(caught.value)


def test_a_key_revoked_later_takes_its_word_with_it(place: Place) -> None:
    bring(place, carried(said_for(place)))
    gone = encode(Revocations(vendor="small-works", version=1, keys=(ROLLBACK.public.keyid,)))
    bring(place, revocations=seal(gone, REVOCATIONS_TYPE, (ROOT,)))
    assert refused(place).finding == "signature-revoked"


def test_a_release_revoked_later_is_no_goal(place: Place) -> None:
    bring(place, carried(said_for(place)))
    first = place.open().state.installs.generation(1)
    assert first is not None
    gone = encode(Revocations(vendor="small-works", version=1, releases=(first.release,)))
    bring(place, revocations=seal(gone, REVOCATIONS_TYPE, (ROOT,)))
    assert refused(place).finding == "release-revoked"


def test_the_same_word_in_another_envelope_is_still_the_same(place: Place) -> None:
    """A signature's twin (r, n-s) is refused, a second one by the same key is not: it is spent by its words (D-6.6)."""
    good = carried(said_for(place))
    (one,) = good.signatures
    left, right = decode_dss_signature(decode_base64(one.sig, "sig"))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = msgspec.structs.replace(one, sig=encode_base64(encode_dss_signature(left, order - right)))
    with pytest.raises(WaybillError):
        bring(place, msgspec.structs.replace(good, signatures=(twin,)))
    bring(place, good)
    assert place.rollback(1, "ops-1").error is None
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    fresh = low_s(ROLLBACK.key.sign(pae(AUTHORISATION_TYPE, good.payload_bytes), ec.ECDSA(hashes.SHA256())))
    again = msgspec.structs.replace(good, signatures=(msgspec.structs.replace(one, sig=encode_base64(fresh)),))
    assert again != good
    bring(place, again)
    assert refused(place).finding == "authorisation-spent"


def test_an_approval_is_for_the_way_that_was_authorised(place: Place) -> None:
    """Another authorisation of the same way is another plan."""
    bring(place, carried(said_for(place)))
    place.approve("b-1")
    plan = rollback_change(place.open(), 1).plan
    assert parse_plan(place.open().document(place.open().state.trust.verdicts[-1].plan)) == plan
    bring(place, carried(said_for(place, number=8, why="another reason")))
    # The first one still fits, and what people agreed to is what is done.
    assert rollback_change(place.open(), 1).plan == plan
    assert place.rollback(1).error is None


def test_what_the_journal_cannot_tell(place: Place) -> None:
    """A journal that spends one twice was edited."""
    bring(place, carried(said_for(place)))
    assert place.rollback(1, "ops-1").error is None
    now = place.open().state.installs.transaction
    assert now is not None
    again = msgspec.structs.replace(now.planned, source=1, target=2)
    with place.hold() as site, pytest.raises(UntrustedError):
        site.record(again)


def test_verify_names_what_it_judged() -> None:
    chain = verify_chain((FIRST.root_file(),), FIRST.pin())
    said = Authorisation(
        vendor="small-works",
        number=1,
        product="small",
        leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=2)),
        goes_to=Reached(release=digest_of(b"r"), version="1.0.0", channel="stable", mark=Mark(epoch=1, sequence=1)),
        why="x",
        loses="y",
        issued_at="2026-03-01T10:00:00Z",
    )
    found = verify_authorisation(sealed(said), chain)
    assert (found.authorisation, found.fingerprint) == (said, digest_of(encode(said)))
    assert found.signers == (ROLLBACK.public.keyid,)


# --- beside everything else -----------------------------------------------------------------------------------------


def report_of(place: Place) -> r_report.Report:
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
        return read_report(site, site.state.reports.seq, site.state.reports.head or "").report


def status(place: Place) -> str:
    return read_status(place.open(), (), None, place.clock.at).text


def test_status_report_and_journal_tell_it(place: Place) -> None:
    bring(place, carried(said_for(place)))
    assert "rollback below the floor to 1.0.0 allowed once by authorisation 7: waybill rollback --to 1" in status(place)
    assert place.rollback(1, "ops-1").error is None
    (by,) = place.open().state.trust.spent
    text = status(place)
    assert f"below the floor 2, by the vendor's authorisation {by[:19]}, approved by this site's people" in text
    assert "may go back" not in text
    report = report_of(place)
    assert report.install.below_floor
    assert report.trust.floor == Mark(epoch=1, sequence=2)
    assert report.rollbacks[-1].authorisation == by
    told = [one.words for one in history_lines(entry.record for entry in place.open().entries)]
    assert any(f"begins, generation 2 to 1 (1.0.0), below the floor by authorisation {by[:19]}" in one for one in told)
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    report = report_of(place)
    assert not report.install.below_floor
    assert report.rollbacks[-1].authorisation == by, "what was done stays told"


def test_receive_says_what_each_is_good_for(place: Place) -> None:
    first = place.open().state.installs.generation(1)
    assert first is not None
    other = Reached(release=digest_of(b"x"), version="0.9.0", channel="stable", mark=Mark(epoch=1, sequence=1))
    later = Left(channel="stable", mark=Mark(epoch=1, sequence=3))
    for said, finding, words in (
        (said_for(place), "usable", "item b-1: waybill review b-1, then waybill approve b-1"),
        (said_for(place, leaves=later), "authorisation-other-way", "stable 2 runs here now"),
        (said_for(place, goes_to=other), "authorisation-other-way", "0.9.0 was never confirmed here"),
    ):
        (fate,) = bring(place, carried(said)).authorisations
        assert (fate.finding, words in fate.text) == (finding, True), fate
    # What does not fit is named when there is nothing that does.
    assert place.rollback(1, "ops-1").error is None
    (fate,) = bring(place, carried(said_for(place))).authorisations
    assert fate.finding == "authorisation-spent"
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    gone = encode(Revocations(vendor="small-works", version=1, releases=(first.release,)))
    listed = seal(gone, REVOCATIONS_TYPE, (ROOT,))
    (fate,) = bring(place, carried(said_for(place, number=9)), revocations=listed).authorisations
    assert fate.finding == "release-revoked"


def test_the_refusal_names_what_is_here_instead(place: Place) -> None:
    bring(place, carried(said_for(place, leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=3)))))
    error = refused(place)
    assert error.finding == "below-floor"
    assert "authorisation 7 is from stable 3 to 1.0.0" in error.problem


def test_a_key_that_left_the_role_with_a_newer_root(place: Place) -> None:
    """D-6.4: it counted when it came, and does not when it is used."""
    bring(place, carried(said_for(place)))
    old = FIRST.root()
    keys = {**old.keys, NEW_ROOT.public.keyid: NEW_ROOT.public}
    roles = {
        **old.roles,
        "root": Role(keys=(NEW_ROOT.public.keyid,), threshold=1),
        "rollback": Role(keys=(NEW_ROOT.public.keyid,), threshold=1),
    }
    with place.hold() as site:
        adopt_roots(site, (next_root(FIRST.root_file(), keys=keys, roles=roles),))
    assert refused(place).finding == "signature-role"
    # By the new key, and the older one beside it says nothing any more about a way that is authorised.
    bring(place, carried(said_for(place, number=8), NEW_ROOT))
    assert place.rollback(1, "ops-1").error is None


def test_a_role_of_two_needs_both(place: Place) -> None:
    old = FIRST.root()
    keys = {**old.keys, NEW_ROOT.public.keyid: NEW_ROOT.public}
    both = tuple(sorted((ROLLBACK.public.keyid, NEW_ROOT.public.keyid)))
    roles = {
        **old.roles,
        "root": Role(keys=(NEW_ROOT.public.keyid,), threshold=1),
        "rollback": Role(keys=both, threshold=2),
    }
    with place.hold() as site:
        adopt_roots(site, (next_root(FIRST.root_file(), keys=keys, roles=roles, leave={}),))
    twice = carried(said_for(place), ROLLBACK)
    twice = msgspec.structs.replace(twice, signatures=twice.signatures * 2)
    with pytest.raises(MalformedError, match="a key has signed twice"):
        bring(place, twice)
    with pytest.raises(UntrustedError) as caught:
        bring(place, carried(said_for(place), ROLLBACK))
    assert NEW_ROOT.public.keyid[:12] in caught.value.problem, "says who is missing"
    bring(place, carried(said_for(place), ROLLBACK, NEW_ROOT))
    assert place.rollback(1, "ops-1").error is None


def test_the_customers_rule_for_it_asks_whom_it_names(place: Place) -> None:
    guard = generate_key()
    place.people["sec-1"] = guard
    policy = place.open().policy
    rules = {**policy.rules, "below-floor": {"operator": 1, "security": 1}}
    people = {**policy.people, "sec-1": Person(role="security", keys=(guard.public,))}
    place.put_policy(msgspec.structs.replace(policy, number=policy.number + 1, rules=rules, people=people))
    bring(place, carried(said_for(place)))
    with pytest.raises(WaitingError, match="security"):
        place.rollback(1, "ops-1")
    place.approve("b-1", "sec-1")
    assert place.rollback(1).error is None


def test_a_way_back_that_fails_its_trial_is_spent_and_told(place: Place) -> None:
    bring(place, carried(said_for(place)))
    place.health["up"] = "failing"
    assert isinstance(place.rollback(1, "ops-1").error, RolledBackError)
    state = place.open().state
    assert (state.installs.current, state.below_floor, len(state.trust.spent)) == (2, False, 1)
    assert state.installs.rollbacks[-1].authorisation == state.trust.spent[0]
    assert report_of(place).rollbacks[-1].authorisation == state.trust.spent[0]
    place.health.clear()
    assert refused(place).finding == "authorisation-spent"


def test_forward_from_below_the_floor_and_back_by_itself(place: Place) -> None:
    """A trial that fails goes back to what ran, wherever that lies; nothing is spent by it."""
    bring(place, carried(said_for(place)))
    assert place.rollback(1, "ops-1").error is None
    place.health["up"] = "failing"
    place.approve("r-1.1.0")
    assert isinstance(place.install("r-1.1.0").error, RolledBackError)
    state = place.open().state
    assert (state.installs.current, state.below_floor, len(state.trust.spent)) == (1, True, 1)
    assert state.installs.rollbacks[-1].authorisation is None
    assert "below the floor 2, by the vendor's authorisation" in status(place)


def test_what_runs_below_the_floor_can_be_configured_and_repaired(place: Place, tmp_path: Path) -> None:
    """F-14.5: it runs already. Nothing else comes in below the floor."""
    bring(place, carried(said_for(place)))
    assert place.rollback(1, "ops-1").error is None
    assert not place.receive(FIRST.write(tmp_path / "again.tar")).new
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: ", "every: 9"))
    place.approve("config")
    assert place.install("config").error is None
    state = place.open().state
    assert (state.installs.current, state.below_floor) == (3, True)
    assert state.floor == Mark(epoch=1, sequence=2)
    assert "below the floor 2, by the vendor's authorisation" in status(place)
    # Back to the configuration before; the release stays, so nobody's permission is used.
    assert place.rollback(1, "ops-1").error is None
    state = place.open().state
    assert (state.installs.current, state.below_floor, len(state.trust.spent)) == (1, True, 1)
    assert state.installs.rollbacks[-1].authorisation is None


def test_an_authorisation_only_leads_back(place: Place, tmp_path: Path) -> None:
    """D-6.3: forward from below the floor leads what is not below it."""
    third = SECOND.but(version="1.2.0", sequence=3, floor=3, service={"hello.txt": b"third\n"})
    assert place.bring(third.write(tmp_path / "3.tar")).error is None
    bring(place, carried(said_for(place, leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=3)))))
    assert place.rollback(1, "ops-1").error is None
    with pytest.raises(RefusedError, match="below the floor 3") as caught:
        place.rollback(2, "ops-1")
    assert "only leads to an older one" in caught.value.remedy


def test_nothing_is_authorised_after_the_end(place: Place) -> None:
    bring(place, carried(said_for(place)))
    with place.hold() as site:
        ask_to_end(site, "the contract ended")
        agree_to_end(site, place.people["ops-1"])
        end_access(site)
    assert refused(place).finding == "offboarded"
    assert "may go back" not in status(place)
