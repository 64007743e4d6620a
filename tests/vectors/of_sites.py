"""Vectors: trusted bundles before a site that may or may not take them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from content.trust.head import Known
from manifests.documents import release as r
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import FileSigner
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.time import parse_time
from tests.vectors.surgery import Case
from tests.vendor import RELEASE, ROOT, SECOND, STRANGER, Vendor
from verifier.trust.release_rules import SiteFacts

VENDOR = Vendor(sequence=7, floor=5)
SITE = SiteFacts(
    customer="northern-grid",
    product="small",
    environment="production",
    name="plant-7",
    channel="stable",
    pin=VENDOR.pin(),
    practice=False,
)


def at(vendor: Vendor = VENDOR, **facts: Any) -> Callable[[], Case]:
    """The vendor's bundle before the site with these facts."""

    def make() -> Case:
        return Case(vendor.bundle(), vendor.pin(), replace(SITE, pin=vendor.pin(), **facts))

    return make


def anywhere(vendor: Vendor) -> Callable[[], Case]:
    return lambda: Case(vendor.bundle(), vendor.pin())


def needing(verifier: str) -> Vendor:
    return VENDOR.but(change={"needs": r.Needs(verifier=verifier, trust_root=1, fresh=True)})


DRIVEN = VENDOR.but(change={"install": (r.InstallStep(step="app", driver="ansible", files=("service",)),)})


def revoking(*signers: FileSigner, type_: str = REVOCATIONS_TYPE, vendor: str = "small-works") -> Callable[[], Case]:
    file = seal(encode(Revocations(vendor=vendor, version=1)), type_, signers)
    return anywhere(VENDOR.but(revocations=file))


ZEROS, ONES = "sha256:" + "0" * 64, "sha256:" + "1" * 64
THIS = VENDOR.head()


def listing(version: int = 2, **named: Any) -> Revocations:
    return Revocations(vendor="small-works", version=version, **named)


def held(
    known: Revocations, came: Revocations | None = None, vendor: Vendor = VENDOR, **facts: Any
) -> Callable[[], Case]:
    """A reader who holds the list ``known``; the bundle brings ``came``."""

    def make() -> Case:
        file = seal(encode(came), REVOCATIONS_TYPE, (ROOT,)) if came is not None else None
        case = at(vendor.but(revocations=file), **facts)()
        return replace(case, known=Known(revocations=known))

    return make


def brought(came: Revocations, vendor: Vendor = VENDOR) -> Callable[[], Case]:
    return anywhere(vendor.but(revocations=seal(encode(came), REVOCATIONS_TYPE, (ROOT,))))


def twice_signed() -> bytes:
    """A list with two signatures by one key."""
    import json

    envelope = json.loads(seal(encode(listing()), REVOCATIONS_TYPE, (ROOT,)))
    envelope["signatures"] *= 2
    return encode(envelope)


THIS_RELEASE = digest_of(THIS.release)
RELEASE_KEY = RELEASE.public.keyid
BOTH = VENDOR.but(signers=(RELEASE, SECOND))


def rotten(make: Callable[[], Case]) -> Callable[[], Case]:
    """The same head before a bulk that is no tar at all."""

    def spoiled() -> Case:
        case = make()
        return case.but(case.bundle[:BULK_AT] + b"\xff" * 70_000)

    return spoiled


BULK_AT = VENDOR.release()[0].bulk_at


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "site": (
        "What a site says of a trusted release: of which product and for whom it is (F-14.2), on which channel "
        "(F-14.3), where it stands in the stream (F-14.4, F-14.5, F-14.6). A verifier that is too old says so "
        "(F-8.17), and so does one without a driver that the release needs (F-8.20). "
        "Time is shown and never a gate (F-14.7). With several findings the order of exit codes decides "
        "(F-15.1).",
        {
            "first": at(),
            "driver-of-another-time": at(DRIVEN),
            "driver-of-another-time-and-no-site": anywhere(DRIVEN),
            "everyone": at(VENDOR.but(audience=r.Audience(everyone=True)), customer="southern-grid"),
            "other-customer": at(customer="southern-grid"),
            "other-environment": at(environment="test"),
            "other-product": at(product="large"),
            "other-channel": at(channel="beta"),
            "known": at(known={Mark(epoch=1, sequence=7): "sha256:" + "0" * 64}),
            "known-by-other-sequence": at(known={Mark(epoch=1, sequence=6): "sha256:" + "0" * 64}),
            "below-floor": at(floor=Mark(epoch=1, sequence=8)),
            "at-floor": at(floor=Mark(epoch=1, sequence=7)),
            "below-floor-by-epoch": at(floor=Mark(epoch=2, sequence=1)),
            "newer-known": at(highest=Mark(epoch=1, sequence=9)),
            "jump": at(VENDOR.but(sequence=10_008), highest=Mark(epoch=1, sequence=7)),
            "jump-just-possible": at(VENDOR.but(sequence=10_007), highest=Mark(epoch=1, sequence=7)),
            "new-epoch": at(VENDOR.but(epoch=2, sequence=5), highest=Mark(epoch=1, sequence=90_000)),
            "clock-behind": at(time_floor=parse_time("2030-01-01T00:00:00Z")),
            "overdue": at(VENDOR.but(change={"next_expected_by": "2020-01-01"})),
            "issued-in-future": at(VENDOR.but(change={"issued_at": "2999-01-01T00:00:00Z"})),
            "verifier-too-old": anywhere(needing("99.0")),
            "verifier-just-right": anywhere(needing("0.1.0")),
            "verifier-too-old-and-other-channel": at(needing("99.0"), channel="beta"),
            "practice-and-other-channel": at(VENDOR.but(practice=True), channel="beta"),
        },
    ),
    "bulk-unread": (
        "What follows the head is garbage, and nothing of it is read before the head is trusted and nothing in it "
        "refuses (F-9.1): the verdict is that of the head.",
        {
            "trusted-and-for-this-site": rotten(at()),
            "signed-by-stranger": rotten(anywhere(VENDOR.but(signers=(STRANGER,)))),
            "signed-by-nobody": rotten(anywhere(VENDOR.but(signers=()))),
            "pinned-to-another-root": rotten(lambda: replace(at()(), pin=VENDOR.but(practice=True).pin())),
            "other-customer": rotten(at(customer="southern-grid")),
            "other-channel": rotten(at(channel="beta")),
            "below-floor": rotten(at(floor=Mark(epoch=9, sequence=9))),
            "verifier-too-old": rotten(anywhere(needing("99.0"))),
            "revoked": rotten(brought(listing(releases=(THIS_RELEASE,)))),
        },
    ),
    "practice": (
        "What a practice root vouches for is called practice; a site takes it only when it was enrolled so (F-14.1).",
        {
            "anywhere": anywhere(VENDOR.but(practice=True)),
            "at-a-site": at(VENDOR.but(practice=True)),
            "at-a-practice-site": at(VENDOR.but(practice=True), practice=True),
            "earnest-at-a-practice-site": at(practice=True),
        },
    ),
    "revocations": (
        "A revocation list is signed by the root role of the newest root alone (F-13.3), of this vendor (F-13.2). The "
        "newest one that the reader holds or is given judges, an older one is ignored and named (F-13.4); its keys "
        "count nowhere (F-13.6); it is in order (F-13.1); two lists of one version are an alarm (F-13.5); handlers are "
        "named by the digest of their entry (F-13.7); a revoked release is refused unless it runs already (F-13.8).",
        {
            "good": revoking(ROOT),
            "nobody": revoking(),
            "release-key": revoking(RELEASE),
            "release-key-and-root": revoking(ROOT, RELEASE),
            "stranger": revoking(STRANGER),
            "stranger-and-root": revoking(ROOT, STRANGER),
            "another-type": revoking(ROOT, type_="application/json"),
            "another-vendor": revoking(ROOT, vendor="large-works"),
            "one-key-twice": lambda: anywhere(VENDOR.but(revocations=twice_signed()))(),
            "unsorted": brought(listing(releases=(ONES, ZEROS))),
            "twice-in-it": brought(listing(handlers=(ONES, ONES))),
            "this-release": brought(listing(releases=(THIS_RELEASE,))),
            "this-release-held": held(listing(releases=(THIS_RELEASE,))),
            "this-release-held-and-older-came": held(listing(releases=(THIS_RELEASE,)), listing(version=1)),
            "this-release-came-and-older-held": held(listing(1), listing(3, releases=(THIS_RELEASE,))),
            "this-release-runs": held(listing(releases=(THIS_RELEASE,)), running="1.0.0", running_release=THIS_RELEASE),
            "another-release": brought(listing(releases=(ZEROS,))),
            "the-signer": brought(listing(keys=(RELEASE_KEY,))),
            "the-signer-held": held(listing(keys=(RELEASE_KEY,))),
            "one-of-two-signers": brought(listing(keys=(RELEASE_KEY,)), BOTH),
            "one-of-two-signers-and-both-needed": brought(listing(keys=(RELEASE_KEY,)), BOTH.but(threshold=2)),
            "its-own-signer": brought(listing(keys=(ROOT.public.keyid,))),
            "newer-signed-by-a-key-that-the-held-list-names": held(listing(1, keys=(ROOT.public.keyid,)), listing(3)),
            "same-version-same-list": held(listing(), listing()),
            "same-version-other-list": held(listing(), listing(releases=(ZEROS,))),
            "none-came-and-one-held": held(listing()),
        },
    ),
}
