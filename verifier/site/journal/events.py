"""The entries of a site's journal: one closed shape for each kind.

An older verifier refuses a journal with a new kind as newer. A field may be added only with a default.
"""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.documents.backup_proof import BackupProof
from manifests.documents.consignment import Newest
from manifests.documents.enrolment import RenewReason
from manifests.documents.handler_use import Parameters
from manifests.documents.report import ArtefactKind, OffboardReason, ProbeOutcome
from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark, Pin
from manifests.words.canonical import Document
from manifests.words.digest import Count, Digest, ItemId, KeyId, Name, Positive, SiteId, Text, Time, Version, Word

PartAct = Literal["backup", "try", "migrate", "undo", "restore"]
ReturnAct = Literal["retreat", "switch-back", "deactivate", "reactivate"]
Act = Literal[PartAct, ReturnAct, "stage", "pause", "resume", "switch", "activate", "probe", "settle"]
Action = Literal["install", "rollback"]
Approvals = Annotated[tuple[Digest, ...], Meta(max_length=128)]


class Actor(Document, frozen=True, kw_only=True):
    """Who ran the command, as the host says; no decision depends on it. ``sudo``: the account that used sudo."""

    account: Text
    uid: Count
    sudo: Text | None = None


class Enrolled(Document, frozen=True, kw_only=True, tag_field="event", tag="enrolled"):
    """Always the first entry.

    Attributes:
        salt: Random, so that the chains of two sites of one name differ.
        minimum: The lowest acceptable mark of the channel before a release is confirmed, as the enrolment names it.
    """

    site: SiteId
    vendor: Name
    channel: Name
    site_key: PublicKey
    key_epoch: Positive = 1
    root: Pin
    practice: bool = False
    verifier: Text
    salt: Digest
    enrolment: Digest | None = None
    minimum: Mark | None = None


class KeyRotated(Document, frozen=True, kw_only=True, tag_field="event", tag="key-rotated"):
    """The site has a new key; ``rotation`` is the digest of the document that both keys signed."""

    key: PublicKey
    key_epoch: Positive
    rotation: Digest


class KeyRenewed(Document, frozen=True, kw_only=True, tag_field="event", tag="key-renewed"):
    """The site has a new key that the former key did not sign. Reports start again; support must accept the key."""

    key: PublicKey
    key_epoch: Positive
    reason: RenewReason
    enrolment: Digest


class PolicyInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="policy"):
    """A compiled policy comes into force.

    Attributes:
        plan: Digest of the plan that was approved; absent for the policy of the enrolment.
        approvals: Digests of the approvals' envelopes.
        gone: People of the former policy who can no longer approve; fewer than its rule requires have approved.
        reason: Why, as stated by the person who refounded the policy.
    """

    number: Positive
    digest: Digest
    plan: Digest | None = None
    approvals: Approvals = ()
    gone: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    reason: Text | None = None


class Proposed(Document, frozen=True, kw_only=True, tag_field="event", tag="proposed"):
    """A file in the site's folder differs from what is in force. ``account``: its owner counts as the proposer."""

    item: ItemId
    subject: Digest
    account: Text


class RootInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="root"):
    pin: Pin


class RootReplaced(Document, frozen=True, kw_only=True, tag_field="event", tag="root-replaced"):
    """The vendor lost the quorum of its root; a person put a new chain in force, by a fingerprint on paper."""

    pin: Pin
    former: Pin
    reason: Text


class TimeAcknowledged(Document, frozen=True, kw_only=True, tag_field="event", tag="time"):
    """A person signed that a time far ahead, which a confirmed release claimed, is right."""

    time: Time
    person: Name
    role: Name | None = None
    keyid: KeyId | None = None
    envelope: Digest | None = None


class RevocationsInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="revocations"):
    version: Positive
    digest: Digest


class Received(Document, frozen=True, kw_only=True, tag_field="event", tag="received"):
    """A verified release waits; raises its stream's mark. ``source``: a path, which `install` does not trust."""

    item: ItemId
    release: Digest
    product: Name
    version: Version
    channel: Name
    mark: Mark
    root: Positive
    contract: Digest
    signers: Annotated[tuple[KeyId, ...], Meta(max_length=128)] = ()
    practice: bool = False
    issued_at: Time
    source: Text


class Answer(Document, frozen=True, kw_only=True):
    """The result of one request of a consignment, as far as it is known on arrival.

    Attributes:
        reason: Why it was refused.
        last_report: Last number of its window; a request that waits until then is refused.
    """

    request: Word
    handler: Name
    outcome: Literal["refused", "no-such-handler", "waiting"]
    reason: Word | None = None
    last_report: Positive | None = None

    @property
    def words(self) -> str:
        why = f" ({self.reason.replace('-', ' ')})" if self.reason is not None else ""
        return f"{self.outcome.replace('-', ' ')}{why}"


class Consigned(Document, frozen=True, kw_only=True, tag_field="event", tag="consigned"):
    """A consignment for this site was verified.

    Attributes:
        digest: Of its file, which is kept among the documents.
        challenge: Digest of the challenge, which reports repeat.
        acknowledged, acknowledged_digest: The newest report that support holds; both or neither.
        newest: The newest release of each channel for this site.
        authorisations: Digests of the envelopes of rollbacks below the floor, kept among the documents.
    """

    number: Positive
    digest: Digest
    issued_at: Time
    challenge: Digest
    acknowledged: Positive | None = None
    acknowledged_digest: Digest | None = None
    newest: Annotated[tuple[Newest, ...], Meta(max_length=64)] = ()
    answers: Annotated[tuple[Answer, ...], Meta(max_length=64)] = ()
    authorisations: Annotated[tuple[Digest, ...], Meta(max_length=16)] = ()


class HandlerAsked(Document, frozen=True, kw_only=True, tag_field="event", tag="handler-asked"):
    """A person at the site asks for the use of a handler; it is the item ``h-NUMBER``."""

    number: Positive
    handler: Name
    parameters: Parameters = {}


class RequestRefused(Document, frozen=True, kw_only=True, tag_field="event", tag="request-refused"):
    """A use of a handler that waited is not run."""

    item: ItemId
    reason: Word


class HandlerBegan(Document, frozen=True, kw_only=True, tag_field="event", tag="handler-began"):
    """Synced before a handler begins. Without ``handler-ended`` nobody knows what it did, and its use is `unknown`.

    Attributes:
        definition: Digest of the handler's definition.
        use: Digest of what was approved, parameters included.
        plan: Digest of the plan that names it.
        approvals: Digests of the approvals' envelopes; empty for a handler that the policy allows to everybody.
    """

    item: ItemId
    handler: Name
    definition: Digest
    use: Digest
    plan: Digest
    approvals: Approvals = ()


class HandlerEnded(Document, frozen=True, kw_only=True, tag_field="event", tag="handler-ended"):
    """The result of a handler.

    Attributes:
        reason: Stable word for why it failed.
        signal, result: The signal of the contract, and the digest of the file with its values, which leaves.
        withheld: Digest of what the handler put out and the contract does not allow to leave.
        detail: For people at the site; never leaves it.
    """

    item: ItemId
    outcome: Literal["ran", "failed", "timed-out"]
    reason: Word | None = None
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None = None
    seconds: Count = 0
    signal: Word | None = None
    result: Digest | None = None
    withheld: Digest | None = None
    detail: Text = ""


class Alarm(Document, frozen=True, kw_only=True, tag_field="event", tag="alarm"):
    """An event that must not happen; the next report contains it."""

    code: Word
    digest: Digest | None = None
    detail: Text = ""


class Verdict(Document, frozen=True, kw_only=True, tag_field="event", tag="verdict"):
    """A person's signed approval or rejection of a plan; ``envelope`` is the digest of the signed document."""

    item: ItemId
    plan: Digest
    envelope: Digest
    keyid: KeyId
    person: Name
    role: Name
    verdict: Literal["approve", "reject"]
    condition: Text | None = None


class Planned(Document, frozen=True, kw_only=True, tag_field="event", tag="planned"):
    """Opens a transaction, or replaces one that has not switched yet.

    Attributes:
        source: Number of the running generation, 0 for none.
        target: Number of the generation to run.
        floor: As the release states it; in force once the release is confirmed.
        config: Digest of the validated config document; absent for a release without a schema.
        settings: Digest of ``site.yaml`` without ``config``.
        outside_window: Why the policy's windows are ignored; absent inside a window.
        document: The generation whose rollback document changes the data or undoes the change; 0 for none.
        authorisation: Digest of the vendor's permission to go below the floor; the switch spends it.
    """

    action: Action
    item: ItemId
    plan: Digest
    source: Count
    target: Positive
    release: Digest
    product: Name
    version: Version
    channel: Name
    mark: Mark
    floor: Positive
    config: Digest | None = None
    config_version: Positive | None = None
    settings: Digest
    contract: Digest
    policy: Digest
    kinds: Annotated[tuple[Word, ...], Meta(max_length=16)] = ()
    reason: Text | None = None
    outside_window: Text | None = None
    document: Count = 0
    authorisation: Digest | None = None


class Approved(Document, frozen=True, kw_only=True, tag_field="event", tag="approved"):
    """The rules in force are met by these envelopes. ``rule``: the emergency rule that was used, if any."""

    approvals: Approvals = ()
    rule: Name | None = None


class Intent(Document, frozen=True, kw_only=True, tag_field="event", tag="intent"):
    """Synced before the act begins. ``step``: a driver step, or a backup or step of the rollback document."""

    act: Act
    step: Name | None = None
    code: Word | None = None


class Outcome(Document, frozen=True, kw_only=True, tag_field="event", tag="outcome"):
    """The result of an act. A later process writes ``interrupted`` when it finds only the intent.

    Attributes:
        code: Stable word for programs and reports.
        detail: For people at the site; never leaves it.
        seconds: Duration of the act.
        digest, size: Of the backup that was made, tried or restored.
        saved_bytes: Of the folder that the backup saves, before it was made or after it was restored.
        proof: What the program stated about the backup.
    """

    act: Act
    step: Name | None = None
    result: Literal["done", "failed", "interrupted"]
    code: Word = "ok"
    detail: Text = ""
    seconds: Count = 0
    digest: Digest | None = None
    size: Count = 0
    saved_bytes: Count = 0
    proof: BackupProof | None = None


class Confirmed(Document, frozen=True, kw_only=True, tag_field="event", tag="confirmed"):
    """The trial has passed; ``floor`` is in force from here on.

    Attributes:
        by: ``person`` where a person confirmed; who it was is known if a key was used.
        envelope: Digest of the confirmation that the person signed.
        time_floor: The time is not earlier than this: the vendor signed it, and it is not far beyond the host's clock.
        claimed: The time that the vendor signed, where it is too far ahead to be proof.
    """

    generation: Positive
    floor: Mark
    time_floor: Time | None = None
    claimed: Time | None = None
    by: Literal["probes", "person"]
    person: Name | None = None
    role: Name | None = None
    keyid: KeyId | None = None
    envelope: Digest | None = None


class Inconsistent(Document, frozen=True, kw_only=True, tag_field="event", tag="inconsistent"):
    code: Word
    detail: Text = ""


class AskedAgain(Document, frozen=True, kw_only=True, tag_field="event", tag="again"):
    """A person has examined an inconsistent site and requests one more try. Only a person can request this.

    Attributes:
        way: ``back`` to the former generation, or ``forward`` with the current one, whose data cannot be undone.
    """

    way: Literal["back", "forward"]


class Reported(Document, frozen=True, kw_only=True, tag_field="event", tag="reported"):
    """Report ``seq`` exists; ``digest`` is of its bytes."""

    seq: Positive
    digest: Digest
    previous: Digest | None = None


class OffboardAsked(Document, frozen=True, kw_only=True, tag_field="event", tag="offboard-asked"):
    """A request to end the vendor's access; people approve this entry's digest. ``detail`` stays at the site."""

    reason: OffboardReason
    detail: Text


class Offboarded(Document, frozen=True, kw_only=True, tag_field="event", tag="offboarded"):
    """The vendor's access has ended: its pin, roots and lists verify nothing from here on."""

    reason: OffboardReason
    plan: Digest
    approvals: Approvals = ()


class Tried(Document, frozen=True, kw_only=True, tag_field="event", tag="tried"):
    """A document that the site trusted before, tried after the offboarding; no digest if it never had one."""

    kind: ArtefactKind
    artefact: Digest | None = None
    outcome: ProbeOutcome
    finding: Word | None = None
    detail: Text = ""


class OffboardDone(Document, frozen=True, kw_only=True, tag_field="event", tag="offboard-done"):
    """The offboarding is complete, its final report written."""

    report: Positive
    key: Literal["kept", "destroyed"]


class Torn(Document, frozen=True, kw_only=True, tag_field="event", tag="torn"):
    """An unfinished last line of so many bytes was cut off, as a power failure leaves it."""

    bytes: Positive


class Note(Document, frozen=True, kw_only=True, tag_field="event", tag="note"):
    """Information that changes no state, such as a clock that went backwards."""

    code: Word
    detail: Text = ""


TrustEvent = PolicyInForce | RootInForce | RootReplaced | RevocationsInForce
OffboardingEvent = OffboardAsked | Offboarded | Tried | OffboardDone
SiteEvent = Enrolled | KeyRotated | KeyRenewed | Proposed | TimeAcknowledged | Received | Consigned | Verdict | Reported
TransactionEvent = Planned | Approved | Intent | Outcome | Confirmed | Inconsistent | AskedAgain
HandlerEvent = HandlerAsked | RequestRefused | HandlerBegan | HandlerEnded
Event = TrustEvent | OffboardingEvent | SiteEvent | TransactionEvent | HandlerEvent | Alarm | Torn | Note


class Record(Document, frozen=True, kw_only=True):
    """One line of the journal.

    Attributes:
        prev: Digest of the line before, without its line break; of no bytes for the first.
        at: Wall clock, for people.
        boot: The kernel's id of the boot.
        uptime: Seconds since the boot, for durations.
    """

    seq: Positive
    prev: Digest
    at: Time
    boot: Text
    uptime: Count
    actor: Actor
    event: Event
