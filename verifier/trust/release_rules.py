"""Rules that decide whether a site may take a verified release."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from content.sigstore.image_signers import signer_problems
from content.trust.head import VerifiedHead
from manifests.documents.release import Release, handler_digest
from manifests.trust.root import Mark, Pin
from manifests.words.errors import NewerError, RefusedError, UntrustedError, WaybillError
from manifests.words.time import parse_time
from manifests.words.version import in_any
from verifier.trust.findings import VERIFIER_VERSION, Finding, ok, refused

MAX_JUMP = 10_000
KNOWN_EXTENSIONS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SiteFacts:
    """What a site knows that decides whether a release is for it.

    Attributes:
        running: Version of the confirmed generation, or empty before the first install.
        running_release: Its digest.
        known: Digest by mark of every release of this stream that was received.
        highest: The mark: highest (epoch, sequence) seen.
        floor: Lowest still acceptable.
        time_floor: Latest time that a confirmed release stated, None before the first.
        others: What it knows of another channel that it is about to follow, by that channel's name.
    """

    customer: str
    product: str
    environment: str
    name: str
    channel: str
    pin: Pin
    practice: bool
    running: str = ""
    running_release: str = ""
    known: Mapping[Mark, str] = field(default_factory=dict)
    highest: Mark | None = None
    floor: Mark | None = None
    time_floor: datetime | None = None
    others: Mapping[str, "SiteFacts"] = field(default_factory=dict)

    def towards(self, channel: str) -> "SiteFacts":
        """The facts by which a release of ``channel`` is judged."""
        return self.others.get(channel, self)


def judge_release(verified: VerifiedHead, site: SiteFacts | None, *, now: datetime) -> tuple[Finding, ...]:
    """Everything that follows from the head alone: who signed, for whom, which step, what time.

    Pure. Without a site only what is true everywhere is judged.
    """
    release = verified.release
    root = verified.chain.newest
    findings = [
        ok("root", f"{root.vendor}, root {root.version}"),
        ok("signatures", f"release signed by {', '.join(verified.chain.who(keyid) for keyid in verified.signers)}"),
    ]
    findings += [
        Finding("signature-not-evaluated", "warning", f"key {keyid[:12]}: its algorithm is not known here, not counted")
        for keyid in verified.not_evaluated
    ]
    findings += [
        Finding("signature-not-counted", "warning", f"key {keyid[:12]} signed well and is not counted: {_WHY[why]}")
        for keyid, why in verified.quorum.others
    ]
    findings += _judge_practice(verified, site)
    findings += _judge_understood(release, verified)
    findings += _judge_revoked(verified, site)
    if site is not None:
        site = site.towards(release.channel)
        findings += _judge_audience(release, site)
        findings += _judge_step(release, verified.release_digest, site)
    findings += _judge_time(release, site, now)
    return tuple(findings)


def _judge_practice(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    if not verified.practice:
        return []
    if site is not None and not site.practice:  # F-14.1
        error = UntrustedError(
            "signed under a practice root, and this site is not enrolled for practice",
            where="trust",
            remedy="ask the vendor for a release signed under the real root",
        )
        return [refused("practice", error)]
    return [Finding("practice", "warning", "signed under a practice root, which vouches for nothing in earnest")]


def _judge_understood(release: Release, verified: VerifiedHead) -> list[Finding]:
    """Whatever this verifier could not judge is refused, never passed over."""
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
                f"critical extension {name!r} is unknown here",
                where="extensions",
                remedy="use the vendor's newer verifier; an older one cannot judge this release",
            )
            findings.append(refused("extension-critical", error))
        else:
            findings.append(
                Finding("extension-unknown", "warning", f"{name} ({extension.digest}), kept and not judged")
            )
    if release.asks_signers:
        for error in signer_problems(release, verified.chain.newest):
            findings.append(Finding(error.finding, "refused", error.problem, error))
    return findings


_WHY = {"revoked": "it is revoked", "retired": "it was retired before this release", "role": "it is not of this role"}


def _judge_revoked(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    """What the newest list says of this release; one that runs already goes on, and is called what it is."""
    findings = []
    found = verified.revocations
    if verified.lists.ignored:
        findings.append(Finding("revocations-old", "warning", verified.lists.ignored))
    if found is None:
        return findings
    if verified.release_digest in found.releases:
        text = f"list {found.version} revokes this release"
        if site is not None and site.running_release == verified.release_digest:
            findings.append(Finding("running-revoked", "warning", text))
        else:
            error = RefusedError(  # F-13.8
                text, where="revocations", remedy="the vendor withdrew it; ask for a release that replaces it"
            )
            findings.append(refused("release-revoked", error))
    findings += [
        Finding("handler-revoked", "warning", f"list {found.version} revokes handler {one.name}; it will not be run")
        for one in verified.release.handlers
        if handler_digest(one) in found.handlers
    ]
    return findings or [ok("revocations", f"list {found.version} has nothing against it")]


def _judge_audience(release: Release, site: SiteFacts) -> list[Finding]:
    if release.product != site.product:
        error = RefusedError(
            f"a release of {release.product}, this site runs {site.product}",
            where="product",
            remedy="it was cut for another site; ask the vendor for this one's",
        )
        return [refused("product", error)]
    audience = release.audience
    meant = audience.everyone or (site.customer in audience.customers and site.environment in audience.environments)
    if not meant:  # F-14.2
        error = RefusedError(
            f"meant for {', '.join(audience.customers)} in {', '.join(audience.environments)}; "
            f"this site is {site.customer} in {site.environment}",
            where="audience",
            remedy="the vendor's support can cut the release for this site",
        )
        return [refused("audience", error)]
    findings = [ok("audience", "everyone" if audience.everyone else f"{site.customer} in {site.environment}")]
    if release.channel != site.channel:  # F-14.3
        error = RefusedError(
            f"channel {release.channel}, this site follows {site.channel}",
            where="channel",
            remedy=f"to change the channel, edit site.yaml: channel: {release.channel}",
        )
        findings.append(refused("channel", error))
    return findings


def _judge_step(release: Release, digest: str, site: SiteFacts) -> list[Finding]:
    """The stream: one digest for one mark, no jump that could be an attack, nothing below the floor, a known way."""
    mark = release.mark
    findings = []
    if site.known.get(mark, digest) != digest:  # F-14.4
        error = RefusedError(
            f"sequence {mark.sequence} is known here with another digest, {site.known[mark]}",
            where="sequence",
            remedy="two different releases claim one place; tell the vendor before anything else",
        )
        findings.append(refused("sequence-twice", error))
    if site.floor is not None and mark < site.floor and digest != site.running_release:  # F-14.5
        error = RefusedError(
            f"sequence {mark.sequence} is below the floor {site.floor.sequence} of this site",
            where="sequence",
            remedy="going below the floor needs the vendor's rollback authorisation",
        )
        findings.append(refused("below-floor", error))
    top = site.highest or site.floor
    if top is not None and mark.epoch == top.epoch and mark.sequence > top.sequence + MAX_JUMP:  # F-14.6
        error = RefusedError(
            f"sequence jumps from {top.sequence} to {mark.sequence}",
            where="sequence",
            remedy="nobody publishes so many at once: ask the vendor whether this release is theirs",
        )
        findings.append(refused("sequence-jump", error))
    if top is not None and mark < top:
        findings.append(Finding("newer-known", "warning", f"sequence {top.sequence} is already known here"))
    return findings or [ok("sequence", f"{release.channel} {mark.sequence}")]


def judge_way(release: Release, site: SiteFacts) -> tuple[Finding, ...]:
    """Whether the running release may go straight to this one; asked by review and install, not by verify."""
    if not site.running:
        if release.needs.fresh:
            return (ok("from", "may be a first release"),)
        error = RefusedError(
            "it may not be a site's first release",
            where="needs.fresh",
            remedy="install the release first that the vendor names for new sites",
        )
        return (refused("from", error),)
    if not in_any(site.running, release.needs.from_):
        error = RefusedError(
            f"{site.running} may not go straight to {release.version}, only {' or '.join(release.needs.from_)}",
            where="needs.from",
            remedy="install a release on the way first",
        )
        return (refused("from", error),)
    return (ok("from", f"{site.running} to {release.version}"),)


def _judge_time(release: Release, site: SiteFacts | None, now: datetime) -> list[Finding]:
    """Times are shown and warned about; the wall clock is never a gate."""
    floor = site.time_floor if site is not None else None  # F-14.7
    effective = max(now, floor) if floor else now
    findings = []
    if floor and now < floor:
        findings.append(Finding("clock-behind", "warning", f"this host says {now:%F}, releases knew {floor:%F}"))
    issued = parse_time(release.issued_at)
    due = release.next_expected_by and parse_time(release.next_expected_by)
    if issued > effective:
        findings.append(Finding("issued-in-future", "warning", f"issued {release.issued_at}, this host says {now:%F}"))
    if due and effective > due:
        text = f"a newer release was expected by {release.next_expected_by}"
        findings.append(Finding("late", "warning", text))
    return findings or [ok("time", f"issued {release.issued_at}")]
