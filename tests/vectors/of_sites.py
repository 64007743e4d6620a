"""Vectors: trusted bundles before a site that may or may not take them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from manifests import release as r
from manifests.canonical import encode
from manifests.envelope import seal
from manifests.keys import FileSigner
from manifests.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust import Mark
from tests.vectors.surgery import Case
from tests.vendor import RELEASE, ROOT, STRANGER, Vendor
from verifier.verify import SiteFacts

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


def revoking(*signers: FileSigner, type_: str = REVOCATIONS_TYPE, vendor: str = "small-works") -> Callable[[], Case]:
    file = seal(encode(Revocations(vendor=vendor, version=1)), type_, signers)
    return anywhere(VENDOR.but(revocations=file))


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "site": (
        "What a site says of a trusted release: of which product and for whom it is (F-162), on which channel (F-163), "
        "where it stands in the stream (F-164, F-165, F-166). A verifier that is too old says so (F-101). Time is "
        "shown and never a gate (F-168). With several findings the order of exit codes decides (F-160).",
        {
            "first": at(),
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
            "clock-behind": at(time_floor="2030-01-01T00:00:00Z"),
            "overdue": at(VENDOR.but(change={"next_expected_by": "2020-01-01"})),
            "issued-in-future": at(VENDOR.but(change={"issued_at": "2999-01-01T00:00:00Z"})),
            "verifier-too-old": anywhere(needing("99.0")),
            "verifier-just-right": anywhere(needing("0.1.0")),
            "verifier-too-old-and-other-channel": at(needing("99.0"), channel="beta"),
            "practice-and-other-channel": at(VENDOR.but(practice=True), channel="beta"),
        },
    ),
    "practice": (
        "What a practice root vouches for is called practice; a site takes it only when it was enrolled so (F-161).",
        {
            "anywhere": anywhere(VENDOR.but(practice=True)),
            "at-a-site": at(VENDOR.but(practice=True)),
            "at-a-practice-site": at(VENDOR.but(practice=True), practice=True),
            "earnest-at-a-practice-site": at(practice=True),
        },
    ),
    "revocations": (
        "A revocation list is signed by the root role of the newest root alone (F-150), of this vendor (F-151); a "
        "verifier that does not judge it refuses (F-152).",
        {
            "good": revoking(ROOT),
            "nobody": revoking(),
            "release-key": revoking(RELEASE),
            "release-key-and-root": revoking(ROOT, RELEASE),
            "stranger": revoking(STRANGER),
            "stranger-and-root": revoking(ROOT, STRANGER),
            "another-type": revoking(ROOT, type_="application/json"),
            "another-vendor": revoking(ROOT, vendor="large-works"),
        },
    ),
}
