"""Vectors: what a site says of itself: reports, enrolments, and rotations of its key."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.enrolment import ENROLMENT_TYPE, Enrolment, Renewed, verify_enrolment
from manifests.documents.report_condition import ReportedCertificate
from manifests.trust.envelope import INTOTO, bundle_payload, pae, statement
from manifests.trust.envelope_writer import seal, sign_statement, wrap_signature
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import FileSigner
from manifests.trust.rotation import Rotation, SignedRotation, sign_rotation, verify_rotation
from manifests.words.canonical import decode, encode
from manifests.words.digest import digest_of
from tests.unit.fleet.reporter import Reporter
from tests.vectors.surgery import Paper, given_key
from tests.vendor import Vendor, derived

OLD, NEW, THIRD = derived(301), derived(302), derived(303)
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SITE = "northern-grid/small/production/east"
ENROLMENT = digest_of(Reporter(signer=OLD).enrolment)
LATER = PublicKey(algorithm="ml-dsa-65", public=NEW.public.public)


# --- reports ----------------------------------------------------------------------------------------------------------


def before(raw: bytes, key: FileSigner = OLD) -> Callable[[], Paper]:
    """A report before whoever knows this key of the site."""

    def judge(data: bytes) -> str:
        signed_report.verify_report(data, key.public)
        return ""

    return lambda: Paper(raw, judge, "report", given_key(key.public))


def first() -> r.Report:
    """A site on which nothing is installed."""
    return Reporter(signer=OLD).next()


def third() -> r.Report:
    """A site that says for the third time what it runs."""
    site = Reporter(signer=OLD)
    site.report()
    site.report(Vendor())
    return site.next()


EMPTY, RUNS = first(), third()
CHAIN = RUNS.chain
COMPONENT = RUNS.components.listed[0]
INSTALLED = RUNS.install.release
assert INSTALLED is not None
PROBED = r.ReportedHealth(probe="a", generation=INSTALLED.generation, state="passing", measured="now", at=CHAIN.made_at)


GOOD = ReportedCertificate(endpoint="api", verdict="good", days=40)
SOON = ReportedCertificate(endpoint="web", verdict="good", days=2)


def certified(*certificates: ReportedCertificate) -> Callable[[], Paper]:
    return saying(verifier=replace(RUNS.verifier, certificates=certificates))


def signed(said: r.Report, signer: FileSigner = OLD) -> bytes:
    """Also one that contradicts itself."""
    return sign_statement(signed_report.report_statement(said, ENROLMENT), signer)


def saying(said: r.Report = RUNS, **changes: Any) -> Callable[[], Paper]:
    return before(signed(replace(said, **changes)))


def chained(**changes: Any) -> Callable[[], Paper]:
    return saying(chain=replace(CHAIN, **changes))


def running(**changes: Any) -> Callable[[], Paper]:
    return saying(install=replace(RUNS.install, **changes))


def listing(*listed: r.ReportedComponent) -> Callable[[], Paper]:
    return saying(components=r.Components(listed=listed))


def about(name: str, digest: str, said: r.Report = RUNS, type_: str = r.REPORT_TYPE) -> Callable[[], Paper]:
    return before(sign_statement(statement(said, type_, name=name, digest=digest), OLD))


def of_another_kind(type_: str, predicate: object = EMPTY) -> Callable[[], Paper]:
    return before(sign_statement(statement(predicate, type_, name="enrolment.json", digest=ENROLMENT), OLD))


def forged() -> bytes:
    """By a stranger, who names the site's key."""
    payload = bundle_payload(signed(RUNS), "vector")
    return wrap_signature(payload, THIRD.sign(pae(INTOTO, payload)), OLD.public)


def rotation(former: FileSigner = OLD, new: FileSigner = NEW, **changes: Any) -> SignedRotation:
    said = Rotation(
        site=SITE,
        former=former.public.keyid,
        key=new.public,
        key_epoch=2,
        after_seq=1,
        after=ONE,
        made_at="2026-03-01T12:00:00Z",
    )
    return sign_rotation(replace(said, **changes), former, new)


SECOND_KEY = rotation()
THIRD_KEY = rotation(NEW, THIRD, key_epoch=3, after_seq=2)


def succeeding(*run: SignedRotation, epoch: int = 2, signer: FileSigner = NEW) -> Callable[[], Paper]:
    identity = replace(RUNS.identity, key_epoch=epoch, succession=run)
    return before(signed(replace(RUNS, identity=identity), signer), signer)


PLAN = digest_of(b"plan")
OWN_USE = r.RequestResult(request="h-1", handler="inventory", outcome="ran")
TRIED = r.NegativeProbe(kind="bundle", artefact=digest_of(b"b"), outcome="refused", finding="root-unknown")
GONE = r.ReportedOffboarding(reason="retired", plan=PLAN, removed=True, probes=(TRIED,), final=True, key="destroyed")


def ending(**changes: Any) -> Callable[[], Paper]:
    return saying(trust=replace(RUNS.trust, offboarding=replace(GONE, **changes)))


# --- enrolments and rotations -----------------------------------------------------------------------------------------

ENROLLED = Enrolment(
    site=SITE,
    key=OLD.public,
    key_epoch=1,
    root=Reporter(signer=OLD).root,
    channel="stable",
    report_every_seconds=0,
    created_at="2026-01-02T03:04:05Z",
)
RENEWS = Renewed(reason="key-lost", former=OLD.public.keyid, former_epoch=1, last_seq=3, last=ONE)
RENEWED = replace(ENROLLED, key=NEW.public, key_epoch=2, renews=RENEWS)


def enrolling(said: Enrolment, *signers: FileSigner, type_: str = ENROLMENT_TYPE) -> Callable[[], Paper]:
    def judge(data: bytes) -> str:
        verify_enrolment(data)
        return ""

    return lambda: Paper(seal(encode(said), type_, signers), judge, "enrolment")


def rotating(one: SignedRotation, key: FileSigner = OLD) -> Callable[[], Paper]:
    def judge(data: bytes) -> str:
        verify_rotation(decode(data, SignedRotation, "rotation"), key.public)
        return ""

    return lambda: Paper(encode(one), judge, "rotation", given_key(key.public))


def rewritten(one: SignedRotation, **changes: Any) -> SignedRotation:
    """Other words under the same signatures."""
    return replace(one, rotation=replace(one.rotation, **changes))


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Paper]]]] = {
    "report": (
        "A report before the key that is enrolled for its site: no longer than it may be (D-2.1), signed by that key "
        "(D-2.2), of a kind that is known (D-2.3), about what is installed (D-2.4), with one unbroken run of earlier "
        "reports (D-2.5), of one mind (D-2.8 to D-2.10), with a run of rotations that ends with the key that signs "
        "(D-2.6), and with no end before its time (D-2.7).",
        {
            "good": saying(),
            "nothing-installed": saying(EMPTY),
            "names-its-first-policy": saying(policy=r.PolicyState(number=2, digest=TWO, first=ONE)),
            # D-2.1
            "too-long": listing(*(replace(COMPONENT, name=f"{n:04d}-" + "x" * 100) for n in range(260))),
            "file-too-long": before(signed(RUNS) + b" " * r.MAX_REPORT),
            # D-2.2
            "by-another-key": before(signed(RUNS, THIRD)),
            "by-another-key-in-its-name": before(forged()),
            "before-another-key": before(signed(RUNS), THIRD),
            # D-2.3
            "of-a-later-kind": of_another_kind("urn:waybill:report:2"),
            "of-a-later-kind-and-form": of_another_kind("urn:waybill:report:2", {"entirely": "different"}),
            "of-a-release": of_another_kind("urn:waybill:release:1"),
            # D-2.4
            "about-another-release": about("release.json", TWO),
            "about-the-enrolment-and-runs": about("enrolment.json", ENROLMENT),
            "about-a-release-and-runs-none": about("release.json", ONE, EMPTY),
            # D-2.5
            "gap": chained(earlier=(CHAIN.earlier[0], replace(CHAIN.earlier[1], seq=3))),
            "begins-late": chained(earlier=CHAIN.earlier[1:]),
            "ends-early": chained(earlier=CHAIN.earlier[:1]),
            "none-earlier": chained(earlier=()),
            "out-of-order": chained(earlier=tuple(reversed(CHAIN.earlier))),
            "one-twice": chained(earlier=(*CHAIN.earlier, CHAIN.earlier[1])),
            "previous-is-another": chained(previous=TWO),
            "acknowledged-and-told-again": chained(acknowledged=r.Acknowledged(seq=1, digest=ONE)),
            "acknowledged": chained(
                acknowledged=r.Acknowledged(seq=1, digest=CHAIN.earlier[0].digest), earlier=CHAIN.earlier[1:]
            ),
            "omitted-turned": chained(omitted=r.Omitted(first=2, last=1, digest=ONE)),
            "omitted": chained(
                omitted=r.Omitted(first=1, last=1, digest=CHAIN.earlier[0].digest), earlier=CHAIN.earlier[1:]
            ),
            # D-2.8
            "runs-and-none": running(state="none"),
            "none-and-runs": saying(EMPTY, install=r.Install(state="confirmed")),
            "none-and-revoked": saying(EMPTY, install=replace(EMPTY.install, revoked=True)),
            "none-and-below-the-floor": saying(EMPTY, install=replace(EMPTY.install, below_floor=True)),
            "current-is-no-generation": running(generations=()),
            "current-is-another-generation": running(release=replace(INSTALLED, digest=TWO)),
            "generation-twice": running(generations=RUNS.install.generations * 2),
            "components-of-nothing": saying(EMPTY, components=r.Components(more_same=1)),
            "components-out-of-order": listing(*reversed(RUNS.components.listed)),
            "component-twice": listing(COMPONENT, COMPONENT),
            "differs-and-not-seen": listing(replace(COMPONENT, found="differs")),
            "differs-in-nothing": listing(replace(COMPONENT, found="differs", observed=COMPONENT.expected)),
            "waits-since-later": saying(
                waiting=(r.WaitingItem(item="r-1", kind="release", since="2026-01-02T03:04:05Z", since_seq=9),)
            ),
            "name-twice": saying(health=(PROBED,) * 2),
            "own-use": saying(requests=(OWN_USE,)),
            "own-use-twice": saying(requests=(OWN_USE,) * 2),
            "own-use-called-like-a-request": saying(requests=(replace(OWN_USE, request="q1"),)),
            # D-2.9
            "probed": saying(health=(PROBED,)),
            "probed-on-another-generation": saying(health=(replace(PROBED, generation=2),)),
            "probed-at-no-time": saying(health=(replace(PROBED, at=None),)),
            "not-observed-with-a-time": saying(health=(replace(PROBED, state="not-observed"),)),
            "probed-and-nothing-runs": saying(EMPTY, health=(PROBED,)),
            "recent": saying(health=(replace(PROBED, recent="pfp"),)),
            "recent-ends-with-another-result": saying(health=(replace(PROBED, recent="pfu"),)),
            # D-2.10
            "certificates": certified(GOOD, SOON),
            "certificates-out-of-order": certified(SOON, GOOD),
            "certificate-twice": certified(GOOD, GOOD),
            "certificate-good-without-days": certified(replace(GOOD, days=None)),
            "certificate-not-trusted-with-days": certified(replace(GOOD, verdict="not-trusted")),
            # D-2.6
            "succession": succeeding(SECOND_KEY),
            "succession-of-two": succeeding(SECOND_KEY, THIRD_KEY, epoch=3, signer=THIRD),
            "succession-to-another-key": succeeding(SECOND_KEY, signer=THIRD),
            "succession-to-another-epoch": succeeding(SECOND_KEY, epoch=3),
            "succession-with-a-gap": succeeding(SECOND_KEY, rotation(NEW, THIRD, key_epoch=4), epoch=4, signer=THIRD),
            "succession-out-of-order": succeeding(THIRD_KEY, SECOND_KEY),
            "succession-of-another-key": succeeding(
                SECOND_KEY, rotation(OLD, THIRD, key_epoch=3), epoch=3, signer=THIRD
            ),
            "succession-of-another-site": succeeding(rotation(site="northern-grid/small/production/west")),
            "succession-in-the-future": succeeding(rotation(after_seq=3)),
            "succession-that-goes-back": succeeding(
                rotation(after_seq=2), rotation(NEW, THIRD, key_epoch=3), epoch=3, signer=THIRD
            ),
            "succession-from-another-site": succeeding(
                rotation(site="northern-grid/small/production/west"), THIRD_KEY, epoch=3, signer=THIRD
            ),
            # D-2.7
            "ended": ending(),
            "tried-before-the-trust-was-removed": ending(removed=False, final=False, reason="ended", key="kept"),
            "final-before-the-trust-was-removed": ending(removed=False, probes=(), reason="ended", key="kept"),
            "key-destroyed-and-not-final": ending(final=False),
            "key-destroyed-and-not-retired": ending(reason="ended"),
            "refused-and-not-why": ending(probes=(replace(TRIED, finding=None),)),
            "refused-and-not-what": ending(probes=(replace(TRIED, artefact=None),)),
            "probes-out-of-order": ending(probes=(replace(TRIED, kind="signature"), TRIED)),
        },
    ),
    "enrolment": (
        "An enrolment proves that somebody holds the key that it names: one signature by that key (D-3.3), of an "
        "algorithm that is known (D-3.1), and by a later key only with what it renews (D-3.2).",
        {
            "good": enrolling(ENROLLED, OLD),
            "by-nobody": enrolling(ENROLLED),
            "by-another-key": enrolling(ENROLLED, NEW),
            "by-two": enrolling(ENROLLED, OLD, NEW),
            "of-another-type": enrolling(ENROLLED, OLD, type_="application/json"),
            "site-of-three-names": enrolling(replace(ENROLLED, site="northern-grid/small/production"), OLD),
            "algorithm-unknown": enrolling(replace(ENROLLED, key=LATER), OLD),
            "key-is-no-key": enrolling(replace(ENROLLED, key=replace(OLD.public, public="AAAA")), OLD),
            "renewed": enrolling(RENEWED, NEW),
            "later-key-renews-nothing": enrolling(replace(RENEWED, renews=None), NEW),
            "first-key-renews": enrolling(replace(RENEWED, key_epoch=1), NEW),
            "renews-itself": enrolling(replace(RENEWED, renews=replace(RENEWS, former=NEW.public.keyid)), NEW),
            "renews-its-own-epoch": enrolling(replace(RENEWED, renews=replace(RENEWS, former_epoch=2)), NEW),
            "renews-a-last-report-that-is-not-named": enrolling(
                replace(RENEWED, renews=replace(RENEWS, last=None)), NEW
            ),
            "renews-by-the-former-key": enrolling(RENEWED, OLD),
            "names-its-first-policy": enrolling(replace(ENROLLED, policy=ONE), OLD),
            "first-policy-is-no-digest": enrolling(replace(ENROLLED, policy="sha256:1"), OLD),
        },
    ),
    "rotation": (
        "A rotation is signed by the key that is trusted for the site and by the one that follows (D-4.1), whose "
        "algorithm is known (D-3.1).",
        {
            "good": rotating(SECOND_KEY),
            "by-former-alone": rotating(replace(SECOND_KEY, by_key=SECOND_KEY.by_former)),
            "by-new-alone": rotating(replace(SECOND_KEY, by_former=SECOND_KEY.by_key)),
            "of-another-key": rotating(SECOND_KEY, THIRD),
            "of-a-former-key": rotating(SECOND_KEY, NEW),
            "to-itself": rotating(rotation(OLD, OLD)),
            "to-an-unknown-algorithm": rotating(rewritten(SECOND_KEY, key=LATER)),
            "other-site": rotating(rewritten(SECOND_KEY, site="northern-grid/small/production/west")),
            "other-epoch": rotating(rewritten(SECOND_KEY, key_epoch=3)),
            "other-place": rotating(rewritten(SECOND_KEY, after_seq=2)),
            "other-report": rotating(rewritten(SECOND_KEY, after=TWO)),
            "other-key": rotating(rewritten(SECOND_KEY, key=THIRD.public)),
        },
    ),
}
