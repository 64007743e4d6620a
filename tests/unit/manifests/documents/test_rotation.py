"""Rotations: both keys sign, one follows the other, and a report leads to the key that signed it."""

import pytest
from msgspec.structs import replace

from manifests.documents.enrolment import Renewed, sign_enrolment, verify_enrolment
from manifests.documents.signed_report import sign_report, verify_report
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import FileSigner
from manifests.trust.rotation import (
    Rotation,
    SignedRotation,
    check_succession,
    claimed_succession,
    follow,
    sign_rotation,
    verify_rotation,
)
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError
from tests.unit.fleet.reporter import Reporter
from tests.unit.manifests.documents.test_enrolment import SAID
from tests.vendor import derived

OLD, NEW, THIRD = (derived(n) for n in (301, 302, 303))
SITE = "northern-grid/small/production/east"


def rotation(former: FileSigner = OLD, new: FileSigner = NEW, epoch: int = 2, after_seq: int = 1) -> SignedRotation:
    said = Rotation(
        site=SITE,
        former=former.public.keyid,
        key=new.public,
        key_epoch=epoch,
        after_seq=after_seq,
        after=digest_of(b"report %d" % after_seq),
        made_at="2026-03-01T12:00:00Z",
    )
    return sign_rotation(said, former, new)


ONE, TWO = rotation(), rotation(NEW, THIRD, 3, 4)


def test_a_rotation_needs_both_keys() -> None:
    assert verify_rotation(ONE, OLD.public).key == NEW.public
    for one in (replace(ONE, by_former=ONE.by_key), replace(ONE, by_key=ONE.by_former)):  # D-4.1
        with pytest.raises(UntrustedError):
            verify_rotation(one, OLD.public)
    with pytest.raises(ValueError, match="two keys"):
        sign_rotation(ONE.rotation, THIRD, NEW)


def test_a_rotation_of_another_key_or_to_itself_is_refused() -> None:
    with pytest.raises(UntrustedError, match="the site's key is"):
        verify_rotation(ONE, THIRD.public)
    with pytest.raises(UntrustedError, match="rotation is from key"):
        verify_rotation(rotation(OLD, OLD), OLD.public)
    unknown = replace(ONE, rotation=replace(ONE.rotation, key=PublicKey(algorithm="ml-dsa-65", public="AAAA")))
    with pytest.raises(NewerError, match="ml-dsa-65"):
        verify_rotation(unknown, OLD.public)


def test_any_changed_field_is_refused() -> None:
    for changes in (
        {"site": "northern-grid/small/production/west"},
        {"key_epoch": 3},
        {"after_seq": 2},
        {"after": digest_of(b"other")},
        {"made_at": "2026-03-01T12:00:01Z"},
    ):
        with pytest.raises(UntrustedError):
            verify_rotation(replace(ONE, rotation=replace(ONE.rotation, **changes)), OLD.public)


def test_a_run_is_followed_from_the_key_that_is_known() -> None:
    assert [one.key for one in follow(SITE, OLD.public, 1, (ONE, TWO))] == [NEW.public, THIRD.public]
    assert [one.key for one in follow(SITE, NEW.public, 2, (ONE, TWO))] == [THIRD.public]
    assert follow(SITE, THIRD.public, 3, (ONE, TWO)) == ()
    with pytest.raises(UntrustedError, match="expected key 2"):
        follow(SITE, OLD.public, 1, (TWO,))
    with pytest.raises(UntrustedError, match="expected key 2"):
        follow("northern-grid/small/production/west", OLD.public, 1, (ONE,))


def test_a_run_must_be_unbroken() -> None:
    check_succession((ONE, TWO), "x")
    for wrong in ((TWO, ONE), (ONE, rotation(THIRD, NEW, 3, 4)), (ONE, rotation(NEW, THIRD, 4, 4)), (ONE, ONE)):
        with pytest.raises(MalformedError, match="does not follow"):
            check_succession(wrong, "x")


def test_a_report_leads_to_the_key_that_signed_it() -> None:
    """D-2.6: what it claims is found without believing it, and the report holds only under that key."""
    site = Reporter(signer=OLD)
    site.report()
    said = site.next()
    said = replace(said, identity=replace(said.identity, key_epoch=2, succession=(ONE,)))
    raw = sign_report(said, digest_of(site.enrolment), NEW)
    assert claimed_succession(raw) == (ONE,)
    (found,) = follow(SITE, OLD.public, 1, claimed_succession(raw))
    assert verify_report(raw, found.key).report == said
    with pytest.raises(MalformedError, match="succession of keys leads to another key"):
        verify_report(sign_report(said, digest_of(site.enrolment), THIRD), THIRD.public)
    for wrong in (
        replace(said, identity=replace(said.identity, key_epoch=3)),
        replace(
            said,
            identity=replace(said.identity, succession=(replace(ONE, rotation=replace(ONE.rotation, after_seq=2)),)),
        ),
    ):
        with pytest.raises(MalformedError, match="does not lead to the key that signed"):
            sign_report(wrong, digest_of(site.enrolment), NEW)


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", Reporter(signer=OLD).report()], ids=range(4))
def test_what_claims_nothing_claims_nothing(data: bytes) -> None:
    assert claimed_succession(data) == ()


# D-3.2
def test_a_later_key_says_what_it_renews() -> None:
    renews = Renewed(reason="key-lost", former=OLD.public.keyid, former_epoch=1, last_seq=3, last=digest_of(b"3"))
    later = replace(SAID, key=NEW.public, key_epoch=2, renews=renews)
    assert verify_enrolment(sign_enrolment(later, NEW)).enrolment.renews == renews
    for wrong in (
        replace(later, renews=None),
        replace(later, key_epoch=1),
        replace(later, renews=replace(renews, former=NEW.public.keyid)),
        replace(later, renews=replace(renews, former_epoch=2)),
        replace(later, renews=replace(renews, last=None)),
    ):
        with pytest.raises(MalformedError, match="renews"):
            verify_enrolment(sign_enrolment(wrong, NEW))
