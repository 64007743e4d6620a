"""The values of a report, in which a site describes itself.

Every field is a name, a digest, a number, a time or a word of a fixed alphabet: no field can hold a sentence. The
fields of ``Report`` are those that a contract's ``deployment-state`` signal lists.
docs/report.md has the import rule of each.
"""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.documents.enrolment import Cadence
from manifests.documents.report_condition import ComponentReason, Recent, ReportedFailure, ReportedMedium, VerifierState
from manifests.trust.envelope import Statement
from manifests.trust.root import Mark
from manifests.trust.rotation import MAX_SUCCESSION, SignedRotation
from manifests.words.canonical import Document
from manifests.words.digest import Blob, Count, Digest, KeyId, Name, Positive, SiteId, Time, Version, Word

REPORT_TYPE = "urn:waybill:report:1"
# The Statement before base64; what does not fit is counted under `dropped`, never silently left out.
MAX_CORE = 64 << 10
MAX_REPORT = 128 << 10
MAX_EARLIER = 64

Level = Literal["placed", "running"]
Found = Literal["same", "differs", "missing", "unreadable"]
ComponentKind = Literal["image", "files", "chart"]
ReportedInstallState = Literal["none", "trial", "confirmed", "inconsistent"]
Clock = Literal["plausible", "behind", "ahead"]
# `not-observed`: nobody looked at the probe on this generation.
ProbeState = Literal["passing", "failing", "unknown", "not-observed"]
OffboardReason = Literal["ended", "retired"]
ArtefactKind = Literal["approval", "bundle", "consignment", "request", "signature"]
ProbeOutcome = Literal["refused", "accepted", "unproven"]
Outcome = Literal["accepted", "refused", "no-such-handler", "ran", "failed", "timed-out", "unknown", "waiting"]


class SiteIdentity(Document, frozen=True, kw_only=True):
    """The site and its key.

    Attributes:
        key_epoch: Which key of the site, counted from 1.
        target: What the site runs on (``kubernetes``, ``vm`` …).
        labels: What the customer lets support see about the site.
        report_every_seconds: The promise, as of this report; 0 means never.
        succession: Rotations from a key that the vendor knows to the key that signs, oldest first, until the vendor
            acknowledged a report by the new key.
    """

    site: SiteId
    key_epoch: Positive
    target: Name | None = None
    labels: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    report_every_seconds: Cadence
    succession: Annotated[tuple[SignedRotation, ...], Meta(max_length=MAX_SUCCESSION)] = ()


class Earlier(Document, frozen=True, kw_only=True):
    """Summary of one report that was not acknowledged."""

    seq: Positive
    digest: Digest
    made_at: Time
    cause: Word
    release: Digest | None = None
    state: ReportedInstallState


class Acknowledged(Document, frozen=True, kw_only=True):
    """The last report that the vendor acknowledged."""

    seq: Positive
    digest: Digest


class Omitted(Document, frozen=True, kw_only=True):
    """Unacknowledged reports too many to list: from ``first`` to ``last``, whose file has ``digest``."""

    first: Positive
    last: Positive
    digest: Digest


class ReportedJournal(Document, frozen=True, kw_only=True):
    """The site's journal as of this report: entries, digest of the last, how often an unfinished last entry was cut."""

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
        telemetry: Digest and size of the file with the rows of the contract's other signals; absent without rows.
    """

    seq: Positive
    previous: Digest
    made_at: Time
    cause: Word
    challenge: Digest | None = None
    acknowledged: Acknowledged | None = None
    earlier: Annotated[tuple[Earlier, ...], Meta(max_length=MAX_EARLIER)] = ()
    omitted: Omitted | None = None
    journal: ReportedJournal
    telemetry: Blob | None = None


class SeenAlarm(Document, frozen=True, kw_only=True):
    """An event that must not happen, such as a second release under a used sequence."""

    code: Word
    digest: Digest | None = None


class NegativeProbe(Document, frozen=True, kw_only=True):
    """Something that the site trusted before the offboarding, tried once more after it.

    Attributes:
        artefact: Digest of what was tried; absent when the site never held one, which is then *unproven*.
        finding: Why it was refused, by the finding's id.
    """

    kind: ArtefactKind
    artefact: Digest | None = None
    outcome: ProbeOutcome
    finding: Word | None = None


class Remains(Document, frozen=True, kw_only=True):
    """How much stays at an offboarded site; the details are in the site's own statement, which stays there."""

    generations: Count = 0
    releases: Count = 0
    backups: Count = 0
    evidence: Count = 0


class ReportedOffboarding(Document, frozen=True, kw_only=True):
    """The site ends the vendor's access.

    Attributes:
        reason: ``ended`` for the vendor's access, ``retired`` when the site itself goes.
        plan: Digest of the plan that the customer's people approved.
        removed: The vendor's trust is gone; until then it is only asked for.
        probes: Sorted by kind; the access is proved to be gone only when each is refused.
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
    """What the site trusts, and its counters.

    Attributes:
        mark: Highest (epoch, sequence) seen; absent before the first release.
        floor: Lowest still acceptable; absent until a release was confirmed.
        roots_replaced: How often the root was replaced on paper, because the vendor had lost its quorum.
        revocations: Version of the newest revocation list that the site holds; 0 for none.
        time_floor: The latest time that a vendor document proved.
        clock: The host's clock against that floor; ``clock_back`` counts how often it went backwards.
        alarms: The newest ones, oldest first.
        medium: A bundle that could not be read, and none was received since.
        offboarding: From the request on; the root is then the last one that was trusted.
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
    medium: ReportedMedium | None = None
    offboarding: ReportedOffboarding | None = None


class EmergencyUse(Document, frozen=True, kw_only=True):
    """An emergency rule of ``policy`` was used for ``release`` instead of the ordinary rules.

    Several releases of one ``plan`` are one use.
    """

    rule: Name
    policy: Positive
    release: Digest
    plan: Digest
    at: Time


class PolicyState(Document, frozen=True, kw_only=True):
    """Which of the customer's policies is in force, and which telemetry contract was approved under it.

    Attributes:
        emergency: The newest uses of emergency rules, oldest first.
        refounded: Number of the last policy that was founded anew without the quorum of the one before.
        first: Digest of the policy with which the site's journal begins; the enrolment names the same one.
    """

    emergency: Annotated[tuple[EmergencyUse, ...], Meta(max_length=16)] = ()
    number: Positive
    digest: Digest
    contract: Digest | None = None
    refounded: Positive | None = None
    first: Digest | None = None


class ReportedGeneration(Document, frozen=True, kw_only=True):
    """One installed state: which release, and how it ended; ``outside_window`` of the policy's windows."""

    number: Positive
    release: Digest
    version: Version
    state: Word
    outside_window: bool = False


class ReportedInstalled(Document, frozen=True, kw_only=True):
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
        revoked: The vendor revoked the release, or every key that signed it; it still runs.
        below_floor: It lies below the floor of its channel; ``rollbacks`` say by which authorisation.
    """

    state: ReportedInstallState
    release: ReportedInstalled | None = None
    trial_attempts: Count = 0
    generations: Annotated[tuple[ReportedGeneration, ...], Meta(max_length=32)] = ()
    blocked: Annotated[tuple[Digest, ...], Meta(max_length=32)] = ()
    revoked: bool = False
    below_floor: bool = False
    failure: ReportedFailure | None = None


class ReportedComponent(Document, frozen=True, kw_only=True):
    """One part of the release at the site, as one step of its install plan brought it there.

    Attributes:
        expected: Digest by the release.
        found: What the site saw when it looked.
        observed: The digest that it saw, exactly when that differs.
        level: ``placed`` when a driver only stores it, ``running`` when the site saw it run.
        restarts: How often its service ended by itself: in the last day, or since systemd started it.
    """

    kind: ComponentKind
    name: Name
    step: Name
    expected: Digest
    found: Found
    observed: Digest | None = None
    level: Level
    reason: ComponentReason | None = None
    restarts: Count = 0


class Components(Document, frozen=True, kw_only=True):
    """Every part of the installed release, sorted by kind, name, step; ``more_*`` count what did not fit."""

    listed: Annotated[tuple[ReportedComponent, ...], Meta(max_length=1024)] = ()
    more_same: Count = 0
    more_other: Count = 0


class ConfigState(Document, frozen=True, kw_only=True):
    """Which configuration is in force.

    ``seal`` is HMAC-SHA256 of it under a salt that stays at the site: it tells *changed* from *unchanged*.
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


class ReportedApproval(Document, frozen=True, kw_only=True):
    """An approval that was used for what is installed: role and key, no name."""

    plan: Digest
    role: Name
    key: KeyId
    verdict: Literal["approve", "reject"] = "approve"


class ReportedHealth(Document, frozen=True, kw_only=True):
    """The result of one probe of the running generation.

    Attributes:
        generation: On which it was measured: always the one that runs.
        measured: ``now`` while the report was made, or ``last`` before it; absent exactly when ``not-observed``.
        at: When it was measured, by the site's clock.
        failures: How often in a row it did not pass.
        recent: Its last results in reports about this generation, a letter each, the newest last.
    """

    probe: Name
    generation: Positive
    state: ProbeState
    measured: Literal["now", "last"] | None = None
    at: Time | None = None
    failures: Count = 0
    recent: Recent = ""


class ReportedRollback(Document, frozen=True, kw_only=True):
    """A rollback.

    Attributes:
        left: Digest of the release that was left.
        cause: ``probe-failed``, ``by-hand``, …
        authorisation: Of a rollback below the floor, or out of its failed trial: fingerprint of the vendor's
            authorisation, which it used up.
    """

    from_generation: Positive
    to_generation: Count
    left: Digest
    cause: Word
    automatic: bool
    at: Time
    authorisation: Digest | None = None


class RequestResult(Document, frozen=True, kw_only=True):
    """The result of one request of a consignment, or of one use of a handler by the site's own people.

    Attributes:
        consignment: Absent for a use by the site's own people, whose ``request`` is the item ``h-NUMBER``.
        reason: Why it was refused or failed.
        result: Digest of the values of the contract's signal, as the site keeps them.
    """

    consignment: Positive | None = None
    request: Word
    handler: Name
    outcome: Outcome
    reason: Word | None = None
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None = None
    result: Digest | None = None


class Dropped(Document, frozen=True, kw_only=True):
    """What the contract allows and the report leaves out, why, and how much of it."""

    what: Word
    reason: Word
    count: Positive


class HeldRelease(Document, frozen=True, kw_only=True):
    """A release in the store, and the blobs of it that are ``missing``."""

    release: Digest
    missing: Annotated[tuple[Digest, ...], Meta(max_length=64)] = ()


class Store(Document, frozen=True, kw_only=True):
    releases: Annotated[tuple[HeldRelease, ...], Meta(max_length=64)] = ()


class Report(Document, frozen=True, kw_only=True):
    """The predicate. Its fields are ``CORE_FIELDS`` and ``OPTIONAL_CORE_FIELDS`` of the contract."""

    identity: SiteIdentity
    chain: ChainLink
    trust: Trust
    policy: PolicyState | None = None
    install: Install
    components: Components
    config: ConfigState
    waiting: Annotated[tuple[WaitingItem, ...], Meta(max_length=64)] = ()
    approvals: Annotated[tuple[ReportedApproval, ...], Meta(max_length=128)] = ()
    health: Annotated[tuple[ReportedHealth, ...], Meta(max_length=256)] = ()
    rollbacks: Annotated[tuple[ReportedRollback, ...], Meta(max_length=64)] = ()
    requests: Annotated[tuple[RequestResult, ...], Meta(max_length=256)] = ()
    dropped: Annotated[tuple[Dropped, ...], Meta(max_length=256)] = ()
    verifier: VerifierState
    store: Store | None = None


ReportStatement = Statement[Report]
