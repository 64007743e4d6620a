"""A way back below the floor (F-210 to F-215): the vendor's word and the customer's, for this site, this way, once."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from manifests import release as r
from manifests.authorisation import (
    AUTHORISATION_TYPE,
    Authorisation,
    Left,
    Reached,
    parse_authorisation,
    verify_authorisation,
)
from manifests.canonical import encode
from manifests.digest import Blob, digest_of
from manifests.envelope import Envelope, pae, seal
from manifests.errors import MalformedError, RefusedError, UntrustedError, WaitingError, WaybillError
from manifests.keys import decode_base64, encode_base64, low_s
from manifests.plan import parse_plan
from manifests.review_request import sign_request
from manifests.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust import Mark, verify_chain
from tests.authorisations import SITE, authorisation, carried, sealed
from tests.consignments import consignment_for, signed
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk
from tests.place import Place, make_place
from tests.unit.verifier.test_request import answer, ask, told
from tests.unit.verifier.watching import unwatched
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, STRANGER, Vendor
from verifier.arrivals import receive_paths
from verifier.change import rollback_change
from verifier.consignment import look, receive_consignment
from verifier.desk import open_request
from verifier.drivers import load_driver
from verifier.matter import matter_of
from verifier.paper import section_text
from verifier.report import write_report
from verifier.review import make_review
from verifier.review_paper import back_section

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
FIRST = Vendor(images=False, change={"probes": (PROBE,)})
# It raises the floor above the release before it.
SECOND = FIRST.but(version="1.1.0", sequence=2, floor=2, service={"hello.txt": b"second\n"})


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
    first = place.open().state.generation(1)
    assert first is not None
    return authorisation(first, **changes)


def bring(place: Place, *envelopes: Envelope, number: int = 0, revocations: bytes | None = None) -> None:
    state = place.open().state
    number = number or state.consignment + 1
    note = consignment_for(state, number, authorisations=envelopes)
    if revocations is not None:
        note = msgspec.structs.replace(note, revocations=msgspec.json.decode(revocations, type=Envelope))
    path = place.path.parent / f"note-{number}.json"
    path.write_bytes(signed(note))
    with place.hold() as site:
        receive_consignment(site, look(path))


def refused(place: Place) -> WaybillError:
    before = place.open().state.current
    with pytest.raises(WaybillError) as caught:
        place.rollback(1, "ops-1")
    assert place.open().state.current == before
    return caught.value


# --- what holds -----------------------------------------------------------------------------------------------------


def test_nothing_leads_below_the_floor_by_the_customers_word_alone(place: Place) -> None:
    error = refused(place)
    assert error.finding == "below-floor"
    assert f"the vendor's authorisation for {SITE} from 1.1.0 to 1.0.0" in error.remedy


def test_below_the_floor_by_the_word_of_both_once(place: Place) -> None:
    bring(place, carried(said_for(place)))
    with pytest.raises(WaitingError):
        place.rollback(1)
    change = rollback_change(place.open(), 1)
    assert change.plan.kinds == ("below-floor", "rollback")
    assert change.plan.subject == change.planned.authorisation
    review = make_review(matter_of(place.open(), change, load_driver))
    text = "\n".join(section_text(back_section(review)))
    for words in (
        "by authorisation 7 of small-works",
        "1.1.0 loses orders at midnight",
        "orders typed since the upgrade",
        "CVE-2026-0001",
        "the config of that generation comes back with it",
    ):
        assert words in text
    assert place.rollback(1, "ops-1").error is None
    state = place.open().state
    assert (state.current, state.below_floor) == (1, True)
    assert state.floor == Mark(epoch=1, sequence=2)
    assert state.spent == (change.planned.authorisation,)
    assert state.rollbacks[-1].below_floor
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
    assert refused_after_forward(place, tmp_path, raw).finding == "below-floor"


def refused_after_forward(place: Place, tmp_path: Path, raw: bytes) -> WaybillError:
    third = SECOND.but(version="1.2.0", sequence=3, floor=3, service={"hello.txt": b"third\n"}, extra={"way": raw})
    third = third.but(change={**SECOND.change, "authorisations": (Blob(digest=digest_of(raw), size=len(raw)),)})
    assert place.bring(third.write(tmp_path / "3.tar")).error is None
    return refused(place)


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
        ended.add((state.current, len(state.spent)))
        shutil.rmtree(world)
    assert ended == {(2, 0), (1, 1)}


def test_an_approver_elsewhere_judges_the_very_authorisation(place: Place, tmp_path: Path) -> None:
    bring(place, carried(said_for(place)))
    found = ask(place, "b-1", tmp_path / "desk")
    at_the_site = make_review(matter_of(place.open(), rollback_change(place.open(), 1), load_driver))
    assert told(make_review(found.matter)) == told(at_the_site)
    answer(place, tmp_path / "desk", "ops-1")
    with place.hold() as site:
        receive_paths(site, (tmp_path / "desk",), keep=False, watch=unwatched)
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
    """F-210."""
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
    """F-212."""
    west = "northern-grid/small/production/west"
    for sites in ((west,), ()):
        with pytest.raises(RefusedError) as caught:
            bring(place, carried(said_for(place, sites=sites)))
        assert caught.value.finding == "authorisation-other-site"


def test_one_for_another_way(place: Place) -> None:
    """F-213, F-214."""
    first, second = place.open().state.generation(1), place.open().state.generation(2)
    assert first is not None
    assert second is not None
    good = said_for(place)
    others = (
        said_for(place, leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=3))),
        said_for(place, leaves=Left(channel="fast", mark=second.mark)),
        said_for(place, goes_to=msgspec.structs.replace(good.goes_to, release=second.release)),
        said_for(place, goes_to=msgspec.structs.replace(good.goes_to, channel="fast")),
    )
    for one in others:
        bring(place, carried(one))
    assert refused(place).finding == "below-floor"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": (SITE, SITE)}, "sites"),
        ({"reopens": ("b", "a")}, "reopens"),
        ({"sites": ("northern-grid/other/production/east",)}, "no site of small"),
        ({"leaves": Left(channel="stable", mark=Mark(epoch=1, sequence=1))}, "does not lead back"),
    ],
)
def test_rules_inside_the_document(place: Place, change: dict[str, object], words: str) -> None:
    """F-211, F-212, F-213."""
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
    first = place.open().state.generation(1)
    assert first is not None
    gone = encode(Revocations(vendor="small-works", version=1, releases=(first.release,)))
    bring(place, revocations=seal(gone, REVOCATIONS_TYPE, (ROOT,)))
    assert refused(place).finding == "release-revoked"


def test_the_same_word_in_another_envelope_is_still_the_same(place: Place) -> None:
    """A signature's twin (r, n-s) is refused, a second one by the same key is not: it is spent by its words (F-215)."""
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
    assert parse_plan(place.open().document(place.open().state.verdicts[-1].plan)) == plan
    bring(place, carried(said_for(place, number=8, why="another reason")))
    # The first one still fits, and what people agreed to is what is done.
    assert rollback_change(place.open(), 1).plan == plan
    assert place.rollback(1).error is None


def test_what_the_journal_cannot_tell(place: Place) -> None:
    """A journal that spends one twice was edited."""
    bring(place, carried(said_for(place)))
    assert place.rollback(1, "ops-1").error is None
    now = place.open().state.transaction
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
