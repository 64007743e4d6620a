"""Rules that decide whether a site may take a verified release."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from content.trust.head import VerifiedHead
from manifests.documents.release import DRIVERS, Release, handler_digest
from manifests.trust.root import Mark, Pin
from manifests.words.errors import NewerError, RefusedError, UntrustedError, WaybillError
from manifests.words.time import parse_time
from manifests.words.version import in_any, parse_version
from verifier.trust.findings import VERIFIER_VERSION, Finding, ok, refused

MAX_JUMP = 10_000
KNOWN_EXTENSIONS: frozenset[str] = frozenset()
_NOT_COUNTED = {"revoked": "key revoked", "retired": "key retired before this release", "role": "key not of this role"}


@dataclass(frozen=True)
class SiteFacts:
    """The facts of a site that decide whether a release is for it.

    Attributes:
        running, running_release: Version and digest of the running release; None before the first install.
        known: Digest by mark of every received release of this channel; ``highest``: the highest mark of them.
        floor: Lowest mark that is still accepted.
        time_floor: Latest time that a confirmed release stated; None before the first install.
        others: Facts for channels that the site may follow next, by name.
    """

    customer: str
    product: str
    environment: str
    name: str
    channel: str
    pin: Pin
    practice: bool
    running: str | None = None
    running_release: str | None = None
    known: Mapping[Mark, str] = field(default_factory=dict)
    highest: Mark | None = None
    floor: Mark | None = None
    time_floor: datetime | None = None
    others: Mapping[str, "SiteFacts"] = field(default_factory=dict)

    def towards(self, channel: str) -> "SiteFacts":
        """Return the facts by which a release of ``channel`` is judged; they name the own channel if it is unknown."""
        return self.others.get(channel, self)


def judge_release(verified: VerifiedHead, site: SiteFacts | None, *, now: datetime) -> tuple[Finding, ...]:
    """Return what follows from the head alone; audience and sequence are judged only for a site."""
    release = verified.release
    root = verified.chain.newest
    findings = [
        ok("root", f"{root.vendor}, root {root.version}"),
        ok("signatures", f"release signed by {', '.join(verified.chain.who(keyid) for keyid in verified.signers)}"),
    ]
    findings += [
        Finding("signature-not-evaluated", "warning", f"signature by key {keyid[:12]} not counted: unknown algorithm")
        for keyid in verified.not_evaluated
    ]
    findings += [
        Finding(
            "signature-not-counted", "warning", f"valid signature by key {keyid[:12]} not counted: {_NOT_COUNTED[why]}"
        )
        for keyid, why in verified.quorum.others
    ]
    findings += _judge_practice(verified, site)
    findings += _judge_understood(release, verified)
    findings += _judge_drivers(release, site)
    findings += _judge_revoked(verified, site)
    if site is not None:
        site = site.towards(release.channel)
        findings += _judge_audience(release, site)
        if (release.product, release.channel) == (site.product, site.channel):
            # Marks and the floor belong to a stream, and those of another one are not known here.
            findings += _judge_step(release, verified.release_digest, site)
    findings += _judge_time(release, site, now)
    return tuple(findings)


def _judge_practice(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    if not verified.practice:
        return []
    if site is not None and not site.practice:  # F-14.1
        error = UntrustedError(
            "the release is signed under a practice root, this site was not enrolled for practice",
            where="trust",
            remedy="ask the vendor for a release that is signed under its real root",
        )
        return [refused("practice", error)]
    return [Finding("practice", "warning", "signed under a practice root: for testing only")]


def _judge_understood(release: Release, verified: VerifiedHead) -> list[Finding]:
    """Refuse what this verifier cannot judge: a newer format, a critical extension, a signer of images."""
    findings = []
    error: WaybillError
    needed = tuple(int(part) for part in release.needs.verifier.split("."))
    if needed > tuple(int(part) for part in VERIFIER_VERSION.split(".")):  # F-8.17
        error = NewerError(
            f"the release needs verifier {release.needs.verifier}, this one is {VERIFIER_VERSION}",
            where="needs.verifier",
            remedy=f"use the vendor's newer verifier: {', '.join(release.kits) or 'ask the vendor'}",
        )
        findings.append(refused("verifier-too-old", error))
    for name, extension in sorted(release.extensions.items()):
        if extension.critical and name not in KNOWN_EXTENSIONS:  # F-8.18
            error = NewerError(
                f"the release has the critical extension {name!r}, which this verifier does not know",
                where="extensions",
            )
            findings.append(refused("extension-critical", error))
        else:
            findings.append(
                Finding("extension-unknown", "warning", f"extension {name} ({extension.digest}) is kept and not judged")
            )
    if release.asks_signers:
        # Only such a release loads the judges of image signatures: docs/audit.md lists what is loaded.
        from verifier.trust.image_signatures import judge_signers

        findings += judge_signers(verified)
    return findings


def _judge_drivers(release: Release, site: SiteFacts | None) -> list[Finding]:
    """Refuse a step that nothing here could install; for a reader that is no site this is a warning."""
    steps = [step for step in release.install if step.driver not in DRIVERS]
    findings = []
    for step in steps:
        problem = f"step {step.step!r} needs the driver {step.driver!r}, this verifier has {', '.join(DRIVERS)}"
        if site is None:
            findings.append(Finding("driver-missing", "warning", problem))
        else:
            remedy = "use a newer verifier of the vendor, or ask the vendor for a release without this step"
            error = NewerError(problem, where="install", remedy=remedy)  # F-8.20
            findings.append(refused("driver-missing", error))
    return findings


def _judge_revoked(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    """Refuse a release that the newest list names; for the running one this is a warning."""
    findings = []
    revocations = verified.revocations
    if verified.lists.ignored:
        findings.append(Finding("revocations-old", "warning", verified.lists.ignored))
    if revocations is None:
        return findings
    list_name = f"revocation list {revocations.version}"
    if verified.release_digest in revocations.releases:
        text = f"{list_name} revokes this release"
        if site is not None and site.running_release == verified.release_digest:
            findings.append(Finding("running-revoked", "warning", text))
        else:
            error = RefusedError(  # F-13.8
                text, where="revocations", remedy="ask the vendor for the release that replaces it"
            )
            findings.append(refused("release-revoked", error))
    findings += [
        Finding("handler-revoked", "warning", f"{list_name} revokes handler {handler.name}; it is not run")
        for handler in verified.release.handlers
        if handler_digest(handler) in revocations.handlers
    ]
    return findings or [ok("revocations", f"not revoked ({list_name})")]


def _judge_audience(release: Release, site: SiteFacts) -> list[Finding]:
    """Refuse a release of another product or channel, and one that is not for this customer and environment."""
    findings = []
    if release.product != site.product:
        error = RefusedError(
            f"the release is of product {release.product}, this site runs {site.product}",
            where="product",
            remedy=f"ask the vendor for a release of {site.product}",
        )
        findings.append(refused("product", error))
    audience = release.audience
    meant = audience.everyone or (site.customer in audience.customers and site.environment in audience.environments)
    if not meant:  # F-14.2
        error = RefusedError(
            f"the release is for {', '.join(audience.customers)} in {', '.join(audience.environments)}, "
            f"this site is {site.customer} in {site.environment}",
            where="audience",
            remedy="ask the vendor's support for a release for this site",
        )
        findings.append(refused("audience", error))
    else:
        everyone = "everyone" if audience.everyone else f"{site.customer} in {site.environment}"
        findings.append(ok("audience", everyone))
    if release.channel != site.channel:  # F-14.3
        error = RefusedError(
            f"the release is of channel {release.channel}, this site follows {site.channel}",
            where="channel",
            remedy=f"write `channel: {release.channel}` into site.yaml to propose the other channel",
        )
        findings.append(refused("channel", error))
    return findings


def _judge_step(release: Release, digest: str, site: SiteFacts) -> list[Finding]:
    """Refuse a second digest for one mark, a release below the floor, and a jump that could be an attack."""
    mark = release.mark
    findings = []
    if site.known.get(mark, digest) != digest:  # F-14.4
        error = RefusedError(
            f"release sequence {mark.sequence} was received before with digest {site.known[mark]}, "
            f"this bundle has {digest}",
            where="sequence",
            remedy="report this to the vendor; do not install either",
        )
        findings.append(refused("sequence-twice", error))
    if site.floor is not None and mark < site.floor and digest != site.running_release:  # F-14.5
        error = RefusedError(
            f"release sequence {mark.sequence} is below the floor {site.floor.sequence} of this site",
            where="sequence",
            remedy=f"receive a release of sequence {site.floor.sequence} or later; an authorisation of the vendor "
            "allows only a rollback to a generation that ran here",
        )
        findings.append(refused("below-floor", error))
    top = site.highest or site.floor
    if top is not None and mark.epoch == top.epoch and mark.sequence > top.sequence + MAX_JUMP:  # F-14.6
        error = RefusedError(
            f"release sequence {mark.sequence} is {mark.sequence - top.sequence} above the newest received, "
            f"the limit is {MAX_JUMP}",
            where="sequence",
            remedy="ask the vendor to confirm this release",
        )
        findings.append(refused("sequence-jump", error))
    if top is not None and mark < top:
        findings.append(
            Finding("newer-known", "warning", f"a newer release was received before, sequence {top.sequence}")
        )
    return findings or [ok("sequence", f"{release.channel} {mark.sequence}")]


def judge_upgrade_path(release: Release, site: SiteFacts) -> tuple[Finding, ...]:
    """Return whether the running release may be replaced by this one; `verify` does not ask this."""
    if site.running is None:
        if release.needs.fresh:
            return (ok("from", "may be a first release"),)
        error = RefusedError(
            f"release {release.version} may not be a site's first release",
            where="needs.fresh",
            remedy="install the release that the vendor names for new sites first",
        )
        return (refused("from", error),)
    if not in_any(site.running, release.needs.from_):
        problem = (
            f"{site.running} may not go straight to {release.version}, only {' or '.join(release.needs.from_)} may"
        )
        remedy = "install a release between the two first"
        if not release.needs.from_:
            problem = f"release {release.version} replaces no other release (`needs.from` is empty)"
            remedy = f"ask the vendor for a release that replaces {site.running}"
        if parse_version(release.version) < parse_version(site.running):
            remedy = "run waybill status to see the generations that `waybill rollback` can return to"
        return (refused("from", RefusedError(problem, where="needs.from", remedy=remedy)),)
    return (ok("from", f"{site.running} to {release.version}"),)


def _judge_time(release: Release, site: SiteFacts | None, now: datetime) -> list[Finding]:
    """Warn about times; the clock of this host never decides a verdict (F-14.7)."""
    floor = site.time_floor if site is not None else None
    effective = now if floor is None else max(now, floor)
    findings = []
    if floor is not None and now < floor:
        text = f"the clock of this host says {now:%F}, an installed release is of {floor:%F}"
        findings.append(Finding("clock-behind", "warning", text))
    if parse_time(release.issued_at) > effective:
        text = f"the release was issued at {release.issued_at}, the clock of this host says {now:%F}"
        findings.append(Finding("issued-in-future", "warning", text))
    if release.next_expected_by and effective > parse_time(release.next_expected_by):
        findings.append(Finding("late", "warning", f"a newer release was expected by {release.next_expected_by}"))
    return findings or [ok("time", f"issued {release.issued_at}")]
