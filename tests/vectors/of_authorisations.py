"""Vectors: the vendor's permission to go back below the floor, before a trust chain, at a site, and in a release."""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from msgspec.structs import replace

from bundler.checks import check_authorisations
from manifests.authored.handwritten import parse_handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.documents.authorisation import (
    AUTHORISATION_TYPE,
    MAX_AUTHORISATION,
    Authorisation,
    Left,
    Reached,
    verify_authorisation,
)
from manifests.documents.rollback import Step
from manifests.trust.envelope import Envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import encode_base64
from manifests.trust.private_keys import FileSigner
from manifests.trust.revocations import Revocations, revoke
from manifests.trust.root import Chain, Leaver, Mark, Role, verify_chain
from manifests.words.canonical import decode, encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import RolledBackError
from tests.authorisations import FIRST, SECOND, SITE, bring
from tests.faults.model import QuickDisk
from tests.migrating import BACKUP, FakePrograms, migrating, put_database, step
from tests.place import Place, make_place
from tests.rootwork import NEW_ROOT, listing, next_root
from tests.vectors.of_documents import NUMBERS, SPELLINGS
from tests.vectors.of_roots import LATER
from tests.vectors.surgery import Case, Paper, folder, given_chain
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, STRANGER, Vendor
from verifier.change.rollback_plan import rollback_change
from verifier.change.rollback_script import plan_undo
from verifier.site.journal.transitions import Undo
from verifier.site.vendor_trust import adopt_roots

WEST = "northern-grid/small/production/west"
# From 1.1.0, which has raised the floor, back to 1.0.0, at one site.
PERMIT = Authorisation(
    vendor="small-works",
    number=7,
    product="small",
    sites=(SITE,),
    leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=2)),
    goes_to=Reached(
        release=digest_of(FIRST.head().release), version="1.0.0", channel="stable", mark=Mark(epoch=1, sequence=1)
    ),
    why="1.1.0 loses orders at midnight",
    loses="orders typed since the upgrade",
    reopens=("CVE-2026-0001",),
    issued_at="2026-03-01T10:00:00Z",
)
Change = Callable[[Authorisation], Authorisation]
Act = Callable[[Place], None]


def saying(**changes: Any) -> Authorisation:
    return replace(PERMIT, **changes)


def leaving(channel: str = "stable", epoch: int = 1, sequence: int = 2, **changes: Any) -> Authorisation:
    return saying(leaves=Left(channel=channel, mark=Mark(epoch=epoch, sequence=sequence)), **changes)


def reaching(epoch: int = 1, sequence: int = 1, **changes: Any) -> Authorisation:
    return saying(goes_to=replace(PERMIT.goes_to, mark=Mark(epoch=epoch, sequence=sequence), **changes))


def signed(said: Authorisation, *signers: FileSigner) -> bytes:
    """Also one that breaks the rules inside it; by the rollback key when nobody is named."""
    return seal(encode(said), AUTHORISATION_TYPE, signers or (ROLLBACK,))


# --- before a trust chain ---------------------------------------------------------------------------------------------


def second_root(rollback: Role, **leave: Leaver) -> bytes:
    """Root 2, by the new root key, with another role `rollback`."""
    old = FIRST.root()
    keys = {**old.keys, NEW_ROOT.public.keyid: NEW_ROOT.public, LATER.keyid: LATER}
    roles = {**old.roles, "root": Role(keys=(NEW_ROOT.public.keyid,), threshold=1), "rollback": rollback}
    return next_root(FIRST.root_file(), keys=keys, roles=roles, leave=leave)


def role(*keyids: str, threshold: int = 1) -> Role:
    return Role(keys=tuple(sorted(keyids)), threshold=threshold)


def under(rollback: Role, **leave: Leaver) -> Chain:
    return verify_chain((FIRST.root_file(), second_root(rollback, **leave)), FIRST.pin())


PLAIN = verify_chain((FIRST.root_file(),), FIRST.pin())
OLD, NEW = ROLLBACK.public.keyid, NEW_ROOT.public.keyid
TWO_OF_TWO = under(role(OLD, NEW, threshold=2))


def before(raw: bytes, chain: Chain = PLAIN) -> Callable[[], Paper]:
    def judge(data: bytes) -> str:
        verify_authorisation(data, chain)
        return ""

    return lambda: Paper(raw, judge, "authorisation", given_chain(chain))


def said(found: Authorisation, *signers: FileSigner, chain: Chain = PLAIN) -> Callable[[], Paper]:
    return before(signed(found, *signers), chain)


def envelope(change: Callable[[dict[str, Any]], object], *signers: FileSigner) -> bytes:
    """The good one with something else around or under its signatures."""
    fields = json.loads(signed(PERMIT, *signers))
    change(fields)
    return encode(fields)


def other_words(fields: dict[str, Any]) -> None:
    fields["payload"] = encode_base64(encode(saying(why="nothing much")))


def by_later(fields: dict[str, Any]) -> None:
    """A signature more, of an algorithm that nobody knows yet."""
    fields["signatures"].append({"keyid": LATER.keyid, "sig": encode_base64(b"whatever it looks like")})
    fields["signatures"].sort(key=lambda one: one["keyid"])


def spelled(change: Callable[[bytes], bytes]) -> Callable[[], Paper]:
    return before(seal(change(encode(PERMIT)), AUTHORISATION_TYPE, (ROLLBACK,)))


def spread(count: int) -> Authorisation:
    return saying(sites=tuple(f"northern-grid/small/production/s{n:03d}" for n in range(count)))


# --- at a site --------------------------------------------------------------------------------------------------------


def nothing(_: Place) -> None:
    pass


def unbrought(vendor: Vendor) -> Callable[[], Paper]:
    return lambda: Paper(b"", lambda raw: way_back(raw, (FIRST, vendor)))


def way_back(raw: bytes, releases: tuple[Vendor, ...], *acts: Act) -> str:
    """At a site that installed ``releases`` in turn: what the way back to the first one would be, after all that."""
    with folder() as here:
        place = make_place(here, FIRST, disk=QuickDisk())
        place.programs = FakePrograms()
        put_database(place.path)
        for vendor in releases:
            ended = place.bring(vendor.write(here / f"{vendor.version}.tar"))
            assert ended.error is None, ended
        for act in acts:
            act(place)
        site = place.open()
        change = rollback_change(site, 1)
    found = ("by the vendor's word",) if change.authorised is not None else ("by promise",)
    assert change.authorised is None or change.authorised.raw == raw
    history = site.state.installs.part_history(change.planned.document)
    parts = plan_undo(change.rollback, history) if change.planned.document and change.rollback else ()
    undone = (f"undo {part.step.name}: {' '.join(part.step.undo or ())}" for part in parts if isinstance(part, Undo))
    return "; ".join((*found, *undone))


def brought(raw: bytes, *later: Act, earlier: Act = nothing, runs: Vendor = SECOND) -> Callable[[], Paper]:
    """A consignment brings it to a site that runs 1.1.0."""

    def judge(data: bytes) -> str:
        return way_back(data, (FIRST, runs), earlier, bringing(data), *later)

    return lambda: Paper(raw, judge)


def carried(raw: bytes, *after: Vendor) -> Callable[[], Paper]:
    """1.1.0 carries it; ``after`` are installed later."""

    def judge(data: bytes) -> str:
        blob = Blob(digest=digest_of(data), size=len(data))
        change = {**SECOND.change, "authorisations": (blob,), "extensions": {}}
        return way_back(data, (FIRST, SECOND.but(extra={"way": data}, change=change), *after))

    return lambda: Paper(raw, judge)


def arriving(raw: bytes) -> Callable[[], Case]:
    """The bundle of 1.1.0 that carries it."""

    def make() -> Case:
        blob = Blob(digest=digest_of(raw), size=len(raw))
        change = {**SECOND.change, "authorisations": (blob,), "extensions": {}}
        vendor = SECOND.but(extra={"way": raw}, change=change)
        return Case(vendor.bundle(), vendor.pin())

    return make


def bringing(raw: bytes) -> Act:
    def act(place: Place) -> None:
        bring(place, decode(raw, Envelope, "vector"))

    return act


def going_back(place: Place) -> None:
    assert place.rollback(1, "ops-1").error is None


def failing_to_go_back(place: Place) -> None:
    place.health["up"] = "failing"
    assert isinstance(place.rollback(1, "ops-1").error, RolledBackError)
    place.health.clear()


def going_forward(place: Place) -> None:
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None


def listing_gone(**named: tuple[str, ...]) -> Act:
    def act(place: Place) -> None:
        bring(place, revocations=listing(1, **named))

    return act


def role_moves(place: Place) -> None:
    with place.hold() as site:
        adopt_roots(site, (second_root(role(NEW)),))


def migrated(*steps: Step, **document: Any) -> Vendor:
    """1.1.0 that changes the data, raises the floor and promises no way back."""
    backups = () if document else (BACKUP,)
    return migrating("1.1.0", 2, *steps, floor=2, backups=backups, document={"back_to": (), **document})


GOOD = signed(PERMIT)
THIRD = SECOND.but(version="1.2.0", sequence=3, floor=3, service={"hello.txt": b"third\n"})
# A vendor's promise of a way back that its floor forbids.
PROMISING = Vendor(**{one.name: getattr(SECOND, one.name) for one in fields(SECOND)})


# --- into a release ---------------------------------------------------------------------------------------------------

RELEASE_YAML = b"""\
waybill: 1
product: small
version: 1.1.0
channel: stable
sequence: 2
audience: {customers: [northern-grid], environments: [production]}
needs: {verifier: "0.1", trust_root: 1, from: [">=0.1.0, <9.0.0"]}
floor: 2
authorisations: [way.json]
contract: contract.yaml
rollback: rollback.yaml
install: [{step: app, driver: files, files: [service]}]
trial: {at_most: 5s, confirm: probes}
"""


def packed(raw: bytes) -> Callable[[], Paper]:
    """What `waybill build` says of it, for 1.1.0."""

    def judge(data: bytes) -> str:
        with folder() as here:
            (here / "way.json").write_bytes(data)
            file = parse_handwritten(RELEASE_YAML, "release.yaml")
            check_authorisations(file, file.to(ReleaseFile), PLAIN, Mark(epoch=1, sequence=2), here)
        return ""

    return lambda: Paper(raw, judge)


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case | Paper]]]] = {
    "authorisation": (
        "An authorisation before the chain that judges it: signed by the threshold of the newest root's role rollback "
        "and by nobody unknown (D-6.4), in an envelope of its own kind, each key once and in order (F-5.11), no longer "
        "than it may be (F-4.1), in order itself and of the root's vendor (D-6.1), for sites of its product (D-6.2), "
        "and leading back (D-6.3).",
        {
            "good": said(PERMIT),
            "two-sites": said(saying(sites=(SITE, WEST))),
            "no-site": said(saying(sites=())),
            "nothing-reopened": said(saying(reopens=())),
            # D-6.4
            "by-nobody": before(seal(encode(PERMIT), AUTHORISATION_TYPE, ())),
            "by-release-key": said(PERMIT, RELEASE),
            "by-consignment-key": said(PERMIT, CONSIGNMENT),
            "by-root-key": said(PERMIT, ROOT),
            "by-release-key-too": said(PERMIT, ROLLBACK, RELEASE),
            "by-stranger": said(PERMIT, STRANGER),
            "by-stranger-too": said(PERMIT, ROLLBACK, STRANGER),
            "other-words": before(envelope(other_words)),
            "other-words-and-signed-by-one-of-two": before(envelope(other_words, ROLLBACK, RELEASE)),
            "signature-of-another-key": before(
                envelope(lambda fields: fields["signatures"][0].update(keyid=RELEASE.public.keyid))
            ),
            "signature-over-the-bare-payload": before(
                envelope(
                    lambda fields: fields["signatures"][0].update(sig=encode_base64(ROLLBACK.sign(encode(PERMIT))))
                )
            ),
            "two-of-two": said(PERMIT, ROLLBACK, NEW_ROOT, chain=TWO_OF_TWO),
            "one-of-two": said(PERMIT, ROLLBACK, chain=TWO_OF_TWO),
            "one-of-two-and-another-role": said(PERMIT, ROLLBACK, RELEASE, chain=TWO_OF_TWO),
            "by-the-new-key": said(PERMIT, NEW_ROOT, chain=under(role(NEW))),
            "by-the-key-before": said(PERMIT, chain=under(role(NEW))),
            "by-a-key-to-come": said(PERMIT, NEW_ROOT),
            "by-a-retired-key": said(
                PERMIT, chain=under(role(NEW), **{OLD: Leaver(how="retired", last=Mark(epoch=1, sequence=9))})
            ),
            "by-a-key-that-a-root-revoked": said(PERMIT, chain=under(role(NEW), **{OLD: Leaver(how="revoked")})),
            "by-a-key-that-a-list-revoked": said(
                PERMIT, chain=revoke(PLAIN, Revocations(vendor="small-works", version=1, keys=(OLD,)))
            ),
            "by-unknown-algorithm-too": before(envelope(by_later), under(role(OLD))),
            "by-unknown-algorithm-where-two-must": before(
                envelope(by_later), under(role(OLD, LATER.keyid, threshold=2))
            ),
            # F-5.11
            "of-another-type": before(seal(encode(PERMIT), "application/json", (ROLLBACK,))),
            "of-another-type-inside": before(
                seal(encode(PERMIT).replace(b"authorisation.v1", b"authorisation.v2"), AUTHORISATION_TYPE, (ROLLBACK,))
            ),
            "a-revocation-list": before(listing(1, ROOT)),
            "signed-twice-by-one": before(
                envelope(lambda fields: fields.update(signatures=fields["signatures"] * 2)), TWO_OF_TWO
            ),
            "signatures-not-in-order": before(
                envelope(lambda fields: fields["signatures"].reverse(), ROLLBACK, RELEASE)
            ),
            "too-long": before(signed(saying(reopens=tuple(f"{n:04d}" + "x" * 200 for n in range(1000))))),
            "not-json": before(b"PK\x03\x04"),
            # D-6.1
            "sites-not-in-order": said(saying(sites=(WEST, SITE))),
            "site-twice": said(saying(sites=(SITE, SITE))),
            "reopens-not-in-order": said(saying(reopens=("b", "a"))),
            "reopens-twice": said(saying(reopens=("a", "a"))),
            "of-another-vendor": said(saying(vendor="large-works")),
            "256-sites": said(spread(256)),
            "257-sites": said(spread(257)),
            # D-6.2
            "site-of-another-product": said(saying(sites=("northern-grid/large/production/east",))),
            "one-site-of-another-product": said(saying(sites=("northern-grid/large/production/east", SITE))),
            "last-site-of-another-product": said(saying(sites=(SITE, "southern-grid/large/production/east"))),
            "site-of-three-names": said(saying(sites=("northern-grid/small/production",))),
            # D-6.3
            "to-where-it-is": said(reaching(sequence=2)),
            "forward": said(reaching(sequence=3)),
            "forward-by-epoch": said(reaching(epoch=2)),
            "back-by-epoch": said(
                leaving(epoch=2, sequence=1, goes_to=replace(PERMIT.goes_to, mark=Mark(epoch=1, sequence=90)))
            ),
            "to-another-channel": said(reaching(sequence=90, channel="beta")),
            # What it must say.
            "no-reason": said(saying(why="")),
            "loses-unsaid": said(saying(loses="")),
            "number-zero": said(saying(number=0)),
        },
    ),
    "json-authorisation": (
        "The authorisation is well signed and spelled wrongly. One JSON value in UTF-8 (F-4.2), at most 32 deep "
        "(F-4.3), in canonical form (F-4.4), without floats, null or unbounded integers (F-4.5), without unknown "
        "fields (F-4.6).",
        {name: spelled(change) for table in (SPELLINGS, NUMBERS) for name, change in table.items()},
    ),
    "authorisation-at-a-site": (
        "A site has installed 1.0.0 and 1.1.0, whose floor is above 1.0.0 and which promises no way back. It asks to "
        "go back to 1.0.0; the verdict is that of the way, or of the consignment that brings the authorisation. Signed "
        "when it comes and when it is used (D-6.4), for this site, or in the release that runs (D-6.2), from what runs "
        "(D-6.3) to the very generation (D-6.5), once (D-6.6). Below the floor, and there alone, it takes the place of "
        "what the running release promises, and of nothing else in its rollback document (D-6.8).",
        {
            "good": brought(GOOD),
            "nothing": unbrought(SECOND),
            # D-6.4
            "by-stranger": brought(signed(PERMIT, STRANGER)),
            "by-release-key": brought(signed(PERMIT, RELEASE)),
            "key-revoked-since": brought(GOOD, listing_gone(keys=(OLD,))),
            "role-moved-since": brought(GOOD, role_moves),
            "role-moved-before-and-by-the-new-key": brought(signed(PERMIT, NEW_ROOT), earlier=role_moves),
            "goal-revoked-since": brought(GOOD, listing_gone(releases=(PERMIT.goes_to.release,))),
            # D-6.2
            "for-another-site": brought(signed(saying(sites=(WEST,)))),
            "for-another-site-too": brought(signed(saying(sites=(SITE, WEST)))),
            "for-no-site": brought(signed(saying(sites=()))),
            "for-another-product": brought(
                signed(saying(product="large", sites=("northern-grid/large/production/east",)))
            ),
            "carried-for-no-site": carried(signed(saying(sites=()))),
            "carried-for-this-site": carried(GOOD),
            "carried-for-another-site": carried(signed(saying(sites=(WEST,)))),
            "carried-for-another-product": carried(signed(saying(sites=(), product="large"))),
            "carried-by-the-release-before": carried(signed(leaving(sequence=3, sites=())), THIRD),
            "carried-by-release-key": carried(signed(saying(sites=()), RELEASE)),
            "carried-and-no-authorisation": carried(b"{}"),
            # D-6.3
            "from-a-later-release": brought(signed(leaving(sequence=3))),
            "from-another-epoch": brought(signed(leaving(epoch=2))),
            "from-another-channel": brought(signed(leaving(channel="beta"))),
            # D-6.5
            "to-another-release": brought(signed(reaching(release=digest_of(b"another")))),
            "to-another-channel": brought(signed(reaching(channel="beta"))),
            "to-another-sequence": brought(
                signed(leaving(sequence=3, goes_to=reaching(sequence=2).goes_to)), runs=THIRD
            ),
            "to-another-version": brought(signed(reaching(version="0.9.0"))),
            # D-6.6
            "used": brought(GOOD, going_back, going_forward),
            "used-and-its-trial-failed": brought(GOOD, failing_to_go_back),
            "used-and-brought-again": brought(GOOD, going_back, going_forward, bringing(GOOD)),
            "used-and-in-another-envelope": brought(
                GOOD, going_back, going_forward, bringing(signed(PERMIT, ROLLBACK, RELEASE))
            ),
            # D-6.8
            "above-the-floor": brought(GOOD, runs=SECOND.but(floor=1)),
            "above-the-floor-and-promised": unbrought(PROMISING.but(floor=1)),
            "below-the-floor-and-promised": unbrought(PROMISING),
            "below-the-floor-and-promised-and-brought": brought(GOOD, runs=PROMISING),
            "data-go-back": brought(GOOD, runs=migrated(step("two", 2))),
            "data-cannot-go-back": brought(
                GOOD, runs=migrated(step("two", 2, undo=None), class_="irreversible", no_return="two")
            ),
        },
    ),
    "authorisation-in-a-release": (
        "An authorisation that is to be packed with 1.1.0, before the program that packs it: each leads from this very "
        "release (D-6.7) and is signed as at a site (D-6.4).",
        {
            "good": packed(signed(saying(sites=()))),
            "for-one-site": packed(GOOD),
            "leaves-another-sequence": packed(signed(leaving(sequence=3))),
            "leaves-another-epoch": packed(signed(leaving(epoch=2))),
            "leaves-another-channel": packed(signed(leaving(channel="beta"))),
            "of-another-product": packed(signed(saying(sites=(), product="large"))),
            "by-nobody": packed(seal(encode(PERMIT), AUTHORISATION_TYPE, ())),
            "by-release-key": packed(signed(PERMIT, RELEASE)),
            "too-long": packed(b" " * (MAX_AUTHORISATION + 1)),
        },
    ),
    "release-authorisations": (
        "A bundle that carries an authorisation, before a reader of bundles: it is judged when it comes (D-6.1, D-6.2, "
        "D-6.3, D-6.4, D-6.7).",
        {
            "good": arriving(signed(saying(sites=()))),
            "for-one-site": arriving(GOOD),
            "leaves-another-sequence": arriving(signed(leaving(sequence=3))),
            "leaves-another-epoch": arriving(signed(leaving(epoch=2))),
            "leaves-another-channel": arriving(signed(leaving(channel="beta"))),
            "of-another-product": arriving(signed(saying(sites=(), product="large"))),
            "of-another-vendor": arriving(signed(saying(vendor="large-works"))),
            "goes-to-a-newer-release": arriving(signed(reaching(sequence=9))),
            "by-nobody": arriving(seal(encode(PERMIT), AUTHORISATION_TYPE, ())),
            "by-release-key": arriving(signed(PERMIT, RELEASE)),
            "by-a-stranger": arriving(signed(PERMIT, STRANGER)),
            "another-document": arriving(b"hello"),
            "another-envelope": arriving(seal(encode(PERMIT), "application/vnd.waybill.plan.v1+json", (ROLLBACK,))),
            "too-long": arriving(b" " * (MAX_AUTHORISATION + 1)),
        },
    ),
}
