"""The report: what a site says about itself, signed by its key and chained to the report before.

An in-toto Statement in a Sigstore bundle. Every field is a name, a digest, a number, a time or a word of a fixed
alphabet: there is no field that could hold a sentence. The fields of ``Report`` are the words that a contract's
``deployment-state`` signal lists, no more and no fewer. docs/report.md has the import rule of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from manifests.canonical import decode, encode, parse
from manifests.digest import Count, Digest, KeyId, Name, Positive, SiteId, Time, Version, Word, digest_of
from manifests.document import Document
from manifests.enrolment import Cadence
from manifests.envelope import Statement, bundle_payload, sign_statement, statement, verify_statement
from manifests.errors import MalformedError, NewerError
from manifests.keys import PublicKey, Signer
from manifests.release import Release
from manifests.rotation import MAX_SUCCESSION, SignedRotation, check_succession
from manifests.trust import Mark

REPORT_TYPE = "urn:waybill:report:1"
# The Statement before base64; what does not fit is counted under `dropped`, never silently left out.
MAX_CORE = 64 << 10
MAX_REPORT = 128 << 10
MAX_EARLIER = 64

Level = Literal["placed", "running"]
Found = Literal["same", "differs", "missing", "unreadable"]
ComponentKind = Literal["image", "files", "chart"]
InstallState = Literal["none", "trial", "confirmed", "inconsistent"]
Clock = Literal["plausible", "behind", "ahead"]
ProbeState = Literal["passing", "failing", "unknown"]
OffboardReason = Literal["ended", "retired"]
ArtefactKind = Literal["approval", "bundle", "consignment", "request", "signature"]
ProbeOutcome = Literal["refused", "accepted", "unproven"]
Outcome = Literal["accepted", "refused", "no-such-handler", "ran", "timed-out", "unknown", "waiting"]


class Identity(Document, frozen=True, kw_only=True):
    """Who speaks.

    Attributes:
        key_epoch: Which key of the site, counted from 1.
        target: What kind of place the site is (``kubernetes``, ``vm`` …).
        labels: What the customer lets support see about the site.
        report_every_seconds: The promise, as of this report; 0 means never.
        succession: How the key that signs followed from one that home knows, until home acknowledged a report by it;
            oldest first, the last one names the key that signs.
    """

    site: SiteId
    key_epoch: Positive
    target: Name | None = None
    labels: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    report_every_seconds: Cadence
    succession: Annotated[tuple[SignedRotation, ...], Meta(max_length=MAX_SUCCESSION)] = ()


class Earlier(Document, frozen=True, kw_only=True):
    """One report that was not acknowledged yet, in short."""

    seq: Positive
    digest: Digest
    made_at: Time
    cause: Word
    release: Digest | None = None
    state: InstallState


class Acknowledged(Document, frozen=True, kw_only=True):
    """The last report that the vendor said it holds."""

    seq: Positive
    digest: Digest


class Omitted(Document, frozen=True, kw_only=True):
    """Unacknowledged reports too many to list: from ``first`` to ``last``, whose file has ``digest``."""

    first: Positive
    last: Positive
    digest: Digest


class Journal(Document, frozen=True, kw_only=True):
    """The site's log as of this report: how many entries, the digest of the last, how often its end was torn off."""

    entries: Count
    head: Digest
    torn: Count = 0


class ChainLink(Document, frozen=True, kw_only=True):
    """Where the report stands among the site's reports.

    Attributes:
        seq: Grows by exactly one, also when the disk is full.
        previous: Digest of the file of report ``seq - 1``; of the enrolment's file for the first.
        made_at: By the site's clock; shown, never judged alone.
        cause: What made the site write it.
        challenge: Digest of the newest challenge that the site was sent.
        earlier: Unacknowledged reports, oldest first, ending with ``seq - 1``.
        omitted: Those before ``earlier`` that did not fit.
    """

    seq: Positive
    previous: Digest
    made_at: Time
    cause: Word
    challenge: Digest | None = None
    acknowledged: Acknowledged | None = None
    earlier: Annotated[tuple[Earlier, ...], Meta(max_length=MAX_EARLIER)] = ()
    omitted: Omitted | None = None
    journal: Journal


class SeenAlarm(Document, frozen=True, kw_only=True):
    """Something that must not happen and did, such as a second release under a used sequence."""

    code: Word
    digest: Digest | None = None


class NegativeProbe(Document, frozen=True, kw_only=True):
    """Something that the site once believed, tried once more after it was told to believe nothing of this vendor.

    Attributes:
        artefact: Digest of what was tried; absent when the site never held one, which is then *unproven*.
        finding: Why it was refused, by the finding's id.
    """

    kind: ArtefactKind
    artefact: Digest | None = None
    outcome: ProbeOutcome
    finding: Word | None = None


class Remains(Document, frozen=True, kw_only=True):
    """How much stays at a site that was offboarded; what and where is in its own statement, which does not leave."""

    generations: Count = 0
    releases: Count = 0
    backups: Count = 0
    evidence: Count = 0


class Offboarding(Document, frozen=True, kw_only=True):
    """The site ends the vendor's access.

    Attributes:
        reason: ``ended`` for the vendor's access, ``retired`` when the site itself goes.
        plan: Digest of the plan that the customer's people agreed to.
        removed: The vendor's trust is gone; until then it is only asked for.
        probes: Sorted by kind; each refused, or the vendor's access is not proved to be gone.
        final: No report follows.
        key: What becomes of the site's key after the final report.
    """

    reason: OffboardReason
    plan: Digest
    removed: bool = False
    probes: Annotated[tuple[NegativeProbe, ...], Meta(max_length=16)] = ()
    remains: Remains | None = None
    final: bool = False
    key: Literal["kept", "destroyed"] = "kept"


class ReportedRoot(Document, frozen=True, kw_only=True):
    version: Positive
    digest: Digest


class Trust(Document, frozen=True, kw_only=True):
    """Whom the site believes, and how far its counters are.

    Attributes:
        mark: Highest (epoch, sequence) seen; absent before the first release.
        floor: Lowest still acceptable; absent until a release was confirmed.
        roots_replaced: How often the root was replaced on paper, because the vendor had lost its quorum.
        revocations: Version of the newest revocation list that the site holds; 0 for none.
        time_floor: The latest time that a vendor document proved.
        clock: The host's clock against that floor; ``clock_back`` counts how often it went backwards.
        alarms: The newest ones, oldest first.
        offboarding: From the request on; the root is then the last one that was believed.
    """

    root: ReportedRoot
    practice: bool = False
    channel: Name
    mark: Mark | None = None
    floor: Mark | None = None
    roots_replaced: Count = 0
    revocations: Count = 0
    time_floor: Time | None = None
    clock: Clock
    clock_back: Count = 0
    alarms: Annotated[tuple[SeenAlarm, ...], Meta(max_length=32)] = ()
    offboarding: Offboarding | None = None


class EmergencyUse(Document, frozen=True, kw_only=True):
    """An emergency rule of the policy was asked for ``release`` instead of the ordinary ones.

    Attributes:
        policy: Number of the policy that agreed to the rule beforehand.
        plan: What was agreed to; several releases on one way are one use.
    """

    rule: Name
    policy: Positive
    release: Digest
    plan: Digest
    at: Time


class PolicyState(Document, frozen=True, kw_only=True):
    """Which of the customer's policies is in force, and which telemetry contract was approved under it.

    Attributes:
        emergency: The newest uses of emergency rules, oldest first; before everything else, because they come first.
        refounded: Number of the last policy that was founded anew without the quorum of the one before.
    """

    emergency: Annotated[tuple[EmergencyUse, ...], Meta(max_length=16)] = ()
    number: Positive
    digest: Digest
    contract: Digest | None = None
    refounded: Positive | None = None


class Generation(Document, frozen=True, kw_only=True):
    """One installed state: which release, and how it ended.

    Attributes:
        outside_window: It was installed outside of the policy's windows; why stays at the site.
    """

    number: Positive
    release: Digest
    version: Version
    state: Word
    outside_window: bool = False


class Installed(Document, frozen=True, kw_only=True):
    """The release that ``current`` points at."""

    generation: Positive
    digest: Digest
    product: Name
    version: Version
    channel: Name
    epoch: Positive
    sequence: Positive


class Install(Document, frozen=True, kw_only=True):
    """What is installed.

    Attributes:
        state: ``none`` exactly when there is no ``release``.
        trial_attempts: How often the trial under way was started.
        generations: The newest ones, oldest first.
        blocked: Releases that failed here and need a new approval.
        revoked: The vendor withdrew the release, or every key that vouched for it; it runs all the same.
        below_floor: It lies below the floor of its channel; ``rollbacks`` say by which authorisation.
    """

    state: InstallState
    release: Installed | None = None
    trial_attempts: Count = 0
    generations: Annotated[tuple[Generation, ...], Meta(max_length=32)] = ()
    blocked: Annotated[tuple[Digest, ...], Meta(max_length=32)] = ()
    revoked: bool = False
    below_floor: bool = False


class Component(Document, frozen=True, kw_only=True):
    """One part of the release at the site, as one step of its install plan brought it there.

    Attributes:
        expected: Digest by the release.
        found: What the site saw when it looked.
        observed: The digest that it saw, exactly when that differs.
        level: ``placed`` when a driver only stores it, ``running`` when the site saw it run.
    """

    kind: ComponentKind
    name: Name
    step: Name
    expected: Digest
    found: Found
    observed: Digest | None = None
    level: Level


class Components(Document, frozen=True, kw_only=True):
    """Every part of the installed release, sorted by kind, name, step; ``more_*`` count what did not fit."""

    listed: Annotated[tuple[Component, ...], Meta(max_length=1024)] = ()
    more_same: Count = 0
    more_other: Count = 0


class ConfigState(Document, frozen=True, kw_only=True):
    """Which configuration is in force.

    Attributes:
        seal: HMAC-SHA256 of the config under a salt that stays at the site: tells *changed* from *unchanged*.
    """

    schema_version: Positive | None = None
    seal: Digest | None = None


class RoleCount(Document, frozen=True, kw_only=True):
    role: Name
    have: Count
    need: Positive


class WaitingItem(Document, frozen=True, kw_only=True):
    """An item that waits for people.

    Attributes:
        item: Its short id at the site, such as ``r-1.4.2``.
        since_seq: The first report that said so; the site's clock is not needed to tell the order.
    """

    item: Version
    kind: Name
    digest: Digest | None = None
    roles: Annotated[tuple[RoleCount, ...], Meta(max_length=16)] = ()
    since: Time
    since_seq: Positive


class Approval(Document, frozen=True, kw_only=True):
    """An approval that was used for what is installed: which role, by which key. No name leaves the site."""

    plan: Digest
    role: Name
    key: KeyId
    verdict: Literal["approve", "reject"] = "approve"


class Health(Document, frozen=True, kw_only=True):
    probe: Name
    state: ProbeState
    failures: Count = 0


class Rollback(Document, frozen=True, kw_only=True):
    """The site went back.

    Attributes:
        left: Digest of the release that was left.
        cause: ``probe-failed``, ``by-hand``, …
        authorisation: Of a way below the floor, or out of its failed trial: fingerprint of the vendor's permission,
            which it spent.
    """

    from_generation: Positive
    to_generation: Count
    left: Digest
    cause: Word
    automatic: bool
    at: Time
    authorisation: Digest | None = None


class RequestResult(Document, frozen=True, kw_only=True):
    """What became of one request of a consignment."""

    consignment: Positive
    request: Word
    handler: Name
    outcome: Outcome
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None = None
    result: Digest | None = None


class Dropped(Document, frozen=True, kw_only=True):
    """What the contract would allow and the report does not hold, why, and how much of it."""

    what: Word
    reason: Word
    count: Positive


class VerifierState(Document, frozen=True, kw_only=True):
    """The program at the site.

    Attributes:
        format: The highest bundle format that it reads.
        kit: Digest of the one-file program it runs from; absent when it runs from an installed package.
    """

    version: Version
    format: Positive
    kit: Digest | None = None


class Held(Document, frozen=True, kw_only=True):
    """A release that the store holds, but for ``missing``."""

    release: Digest
    missing: Annotated[tuple[Digest, ...], Meta(max_length=64)] = ()


class Store(Document, frozen=True, kw_only=True):
    releases: Annotated[tuple[Held, ...], Meta(max_length=64)] = ()


class Report(Document, frozen=True, kw_only=True):
    """The predicate. Its fields are ``CORE_FIELDS`` and ``OPTIONAL_CORE_FIELDS`` of the contract."""

    identity: Identity
    chain: ChainLink
    trust: Trust
    policy: PolicyState | None = None
    install: Install
    components: Components
    config: ConfigState
    waiting: Annotated[tuple[WaitingItem, ...], Meta(max_length=64)] = ()
    approvals: Annotated[tuple[Approval, ...], Meta(max_length=128)] = ()
    health: Annotated[tuple[Health, ...], Meta(max_length=256)] = ()
    rollbacks: Annotated[tuple[Rollback, ...], Meta(max_length=64)] = ()
    requests: Annotated[tuple[RequestResult, ...], Meta(max_length=256)] = ()
    dropped: Annotated[tuple[Dropped, ...], Meta(max_length=256)] = ()
    verifier: VerifierState
    store: Store | None = None


ReportStatement = Statement[Report]


@dataclass(frozen=True)
class SignedReport:
    """A report whose signature by the site's key was verified.

    Attributes:
        raw: The file as received; ``digest`` over it is what the next report names.
        subject: Digest of the installed release, or of the site's enrolment.
    """

    raw: bytes
    digest: str
    subject: str
    report: Report


def report_statement(report: Report, enrolment: str) -> Statement[Report]:
    """The Statement about the installed release, or about the ``enrolment`` (its digest) when nothing is installed."""
    installed = report.install.release
    if installed is None:
        return statement(report, REPORT_TYPE, name="enrolment.json", digest=enrolment)
    return statement(report, REPORT_TYPE, name="release.json", digest=installed.digest)


def encode_report(report: Report, enrolment: str) -> bytes:
    """The exact bytes that are signed; also what `report --preview` shows."""
    check_report(report, "report")
    return encode(report_statement(report, enrolment))


def sign_report(report: Report, enrolment: str, signer: Signer) -> bytes:
    """The report file.

    Raises:
        MalformedError: The report contradicts itself or is longer than 64 KiB.
    """
    core = encode_report(report, enrolment)
    if len(core) > MAX_CORE:
        raise MalformedError(f"{len(core)} bytes, at most {MAX_CORE} are allowed", where="report")
    return sign_statement(report_statement(report, enrolment), signer)


class _AnyType(msgspec.Struct, frozen=True):
    """Just enough of a Statement to tell a newer report from a broken one."""

    predicate_type: str = msgspec.field(name="predicateType")


def verify_report(data: bytes, key: PublicKey, what: str = "report") -> SignedReport:
    """Verify that ``key`` signed the report, then read it.

    Raises:
        MalformedError: Not a report in our form.
        NewerError: A report of a later kind than this program knows.
        UntrustedError: The signature does not match.
    """
    if len(data) > MAX_REPORT:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_REPORT} are allowed", where=what)
    payload = verify_statement(data, key, what)  # F-171
    if len(payload) > MAX_CORE:  # F-170
        raise MalformedError(f"{len(payload)} bytes, at most {MAX_CORE} are allowed", where=what)
    said = _parse_statement(payload, what)
    check_report(said.predicate, what)
    succession = said.predicate.identity.succession
    if succession and succession[-1].rotation.key != key:  # F-176
        raise MalformedError("its succession leads to another key", where=f"{what} $.predicate.identity.succession")
    installed = said.predicate.install.release
    subject = said.subject[0]
    wanted = "enrolment.json" if installed is None else "release.json"
    digest = "sha256:" + subject.digest.sha256
    if subject.name != wanted or (installed is not None and digest != installed.digest):  # F-173
        raise MalformedError("its subject is not what the report says is installed", where=f"{what} $.subject")
    return SignedReport(raw=data, digest=digest_of(data), subject=digest, report=said.predicate)


def _parse_statement(payload: bytes, what: str) -> Statement[Report]:
    try:
        said = parse(payload, ReportStatement, what, max_bytes=MAX_CORE)
    except MalformedError:
        kind = decode(payload, _AnyType, what).predicate_type
        if kind != REPORT_TYPE and kind.startswith("urn:waybill:report:"):  # F-172
            raise _newer(kind, what) from None
        raise
    if said.predicate_type != REPORT_TYPE:
        if said.predicate_type.startswith("urn:waybill:report:"):
            raise _newer(said.predicate_type, what)
        raise MalformedError(f"a statement of type {said.predicate_type!r}, expected {REPORT_TYPE}", where=what)
    return said


def peek_report(data: bytes, what: str = "report") -> Report:
    """What a report file claims, unverified: good for finding whose it is, and for showing that it was not verified.

    Raises:
        MalformedError: Not a report in our form.
        NewerError: A report of a later kind than this program knows.
    """
    if len(data) > MAX_REPORT:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_REPORT} are allowed", where=what)
    said = _parse_statement(bundle_payload(data, what), what).predicate
    check_report(said, what)
    return said


def _newer(kind: str, what: str) -> NewerError:
    return NewerError(
        f"a report of the later kind {kind!r}, this program reads {REPORT_TYPE}",
        where=what,
        remedy="its bytes are kept; import it again after an upgrade",
        finding="report-newer",
    )


def check_report(report: Report, what: str) -> None:
    """Every rule that ties one part of a report to another.

    Raises:
        MalformedError: It contradicts itself.
    """

    def refuse(problem: str, place: str) -> MalformedError:
        return MalformedError(problem, where=f"{what} $.predicate.{place}", finding="report-contradiction")

    _check_chain(report.chain, refuse)  # F-174
    _check_identity(report, refuse)  # F-176
    _check_offboarding(report.trust.offboarding, refuse)  # F-177
    install = report.install
    if (install.state == "none") != (install.release is None):  # F-175
        raise refuse(f"state is {install.state!r}, which does not agree with `release`", "install.state")
    if install.revoked and install.release is None:  # F-175
        raise refuse("nothing is installed, and it is revoked", "install.revoked")
    if install.below_floor and install.release is None:  # F-175
        raise refuse("nothing is installed, and it is below the floor", "install.below_floor")
    numbers = [one.number for one in install.generations]
    if numbers != sorted(set(numbers)):
        raise refuse("generations are not in order, each once", "install.generations")
    if install.release is not None:
        named = {one.number: one.release for one in install.generations}
        if named.get(install.release.generation) != install.release.digest:
            raise refuse("the current generation is not among the generations", "install.release")
    elif report.components.listed or report.components.more_same or report.components.more_other:
        raise refuse("components without a release", "components")
    keys = [(one.kind, one.name, one.step) for one in report.components.listed]
    if keys != sorted(set(keys)):
        raise refuse("components are not sorted by kind, name and step, each once", "components.listed")
    for i, one in enumerate(report.components.listed):
        if (one.found == "differs") != (one.observed is not None) or one.observed == one.expected:
            raise refuse("`observed` is given exactly when it differs", f"components.listed[{i}]")
    for i, item in enumerate(report.waiting):
        if item.since_seq > report.chain.seq:
            raise refuse(f"waits since report {item.since_seq}, this is {report.chain.seq}", f"waiting[{i}].since_seq")
    for name, names in (
        ("waiting", [one.item for one in report.waiting]),
        ("health", [one.probe for one in report.health]),
    ):
        if len(set(names)) != len(names):
            raise refuse("a name is given twice", name)


def _check_identity(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """A succession is one unbroken run of this site that leads to the key epoch that speaks."""
    identity = report.identity
    check_succession(identity.succession, "report $.predicate.identity.succession")
    if not identity.succession:
        return
    last = identity.succession[-1].rotation
    if (last.site, last.key_epoch) != (identity.site, identity.key_epoch) or last.after_seq >= report.chain.seq:
        raise refuse("does not lead to the key that speaks", "identity.succession")


def _check_offboarding(said: Offboarding | None, refuse: Callable[[str, str], MalformedError]) -> None:
    if said is None:
        return
    kinds = [one.kind for one in said.probes]
    if kinds != sorted(kinds):
        raise refuse("not sorted by kind", "trust.offboarding.probes")
    for one in said.probes:
        if (one.artefact is None) != (one.outcome == "unproven") or (one.outcome == "refused") != bool(one.finding):
            raise refuse("an outcome without what was tried, or without why", "trust.offboarding.probes")
    if not said.removed and (said.probes or said.final):
        raise refuse("tried or final before the trust was removed", "trust.offboarding")
    if said.key == "destroyed" and not (said.final and said.reason == "retired"):
        raise refuse("only a site that retires destroys its key, at the end", "trust.offboarding.key")


def _check_chain(chain: ChainLink, refuse: Callable[[str, str], MalformedError]) -> None:
    """What the report says of earlier ones is one unbroken run that ends just before it."""
    last: tuple[int, str] | None = None
    if chain.acknowledged is not None:
        last = (chain.acknowledged.seq, chain.acknowledged.digest)
    if chain.omitted is not None:
        if chain.omitted.first > chain.omitted.last or chain.omitted.first != (last[0] + 1 if last else 1):
            raise refuse("does not begin after the acknowledged report", "chain.omitted")
        last = (chain.omitted.last, chain.omitted.digest)
    if chain.earlier and chain.earlier[0].seq != (last[0] + 1 if last else 1):
        raise refuse("does not begin after the acknowledged report", "chain.earlier")
    for before, after in pairwise(chain.earlier):
        if after.seq != before.seq + 1:
            raise refuse(f"report {after.seq} follows report {before.seq}", "chain.earlier")
    if chain.earlier:
        last = (chain.earlier[-1].seq, chain.earlier[-1].digest)
    if (last[0] if last else 0) != chain.seq - 1:
        raise refuse(f"the reports before number {chain.seq} are not all accounted for", "chain")
    if last is not None and last[1] != chain.previous:
        raise refuse("`previous` is another file than the last one in the summary", "chain.previous")


@dataclass(frozen=True, order=True)
class Expected:
    """One component that a release brings to a site, by one step of its install plan.

    Attributes:
        wanted: ``running`` where the step keeps a process of it running.
    """

    kind: ComponentKind
    name: str
    step: str
    digest: str
    wanted: Level = "placed"


def expected_components(release: Release) -> tuple[Expected, ...]:
    """What a report about ``release`` must cover, sorted by kind, name and step.

    A file set has no bytes of its own; its digest is over its canonical list of paths, digests and sizes.
    """
    images = {one.name: one.manifest.digest for one in release.images}
    files = {one.name: digest_of(encode(one)) for one in release.files}
    charts = {one.name: one.digest for one in release.charts}
    found = []
    for step in release.install:
        found += [Expected("image", name, step.step, images[name]) for name in step.images]
        wanted: Level = "placed" if step.keep_running is None else "running"
        found += [Expected("files", name, step.step, files[name], wanted) for name in step.files]
        if step.chart is not None:
            found.append(Expected("chart", step.chart, step.step, charts[step.chart]))
    return tuple(sorted(found))
