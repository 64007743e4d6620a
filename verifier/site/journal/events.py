"""What a site's journal can say: one closed shape per kind of entry.

Adding a kind makes older verifiers refuse the journal as newer; a field may be added with a default only.
"""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.documents.consignment import Newest
from manifests.documents.enrolment import RenewReason
from manifests.documents.report import ArtefactKind, OffboardReason, ProbeOutcome
from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark, Pin
from manifests.words.canonical import Document
from manifests.words.digest import Count, Digest, ItemId, KeyId, Name, Positive, SiteId, Text, Time, Version, Word

Act = Literal[
    "stage",
    "pause",
    "resume",
    "backup",
    "try",
    "migrate",
    "undo",
    "restore",
    "switch",
    "activate",
    "probe",
    "settle",
    "retreat",
    "switch-back",
    "deactivate",
    "reactivate",
]
Action = Literal["install", "rollback"]


class Actor(Document, frozen=True, kw_only=True):
    """Who ran the command, as the host says. ``sudo`` is the account behind sudo. No decision rests on it."""

    account: Text
    uid: Count
    sudo: Text | None = None


class Enrolled(Document, frozen=True, kw_only=True, tag_field="event", tag="enrolled"):
    """Always the first entry.

    Attributes:
        salt: Random; makes the first entry, and so the chain, of two sites of one name differ.
        enrolment: Digest of the enrolment file that went to support.
        minimum: What the paper said is the lowest acceptable of the channel, before anything is confirmed.
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
    """The site speaks by another key from here on; ``rotation`` is the digest of what both keys signed."""

    key: PublicKey
    key_epoch: Positive
    rotation: Digest


class KeyRenewed(Document, frozen=True, kw_only=True, tag_field="event", tag="key-renewed"):
    """The site speaks by a key that the former one did not sign, so its reports begin anew; home has to accept it.

    Attributes:
        enrolment: Digest of the enrolment file that goes to support.
    """

    key: PublicKey
    key_epoch: Positive
    reason: RenewReason
    enrolment: Digest


class PolicyInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="policy"):
    """A compiled policy binds from here on.

    Attributes:
        plan: What was agreed to; absent for the policy of the enrolment.
        approvals: Digests of the envelopes that carried it.
        gone: People of the policy before, whose word cannot be had; then fewer than its rule asks have agreed.
        reason: Why that is so, in the words of whoever founded the policy anew.
    """

    number: Positive
    digest: Digest
    plan: Digest | None = None
    approvals: Annotated[tuple[Digest, ...], Meta(max_length=128)] = ()
    gone: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    reason: Text | None = None


class Proposed(Document, frozen=True, kw_only=True, tag_field="event", tag="proposed"):
    """A file in the site's folder says something that is not in force; told once, by the first verb that saw it.

    Attributes:
        item: ``config`` or ``policy``; ``subject`` tells one proposal from another.
        account: Who owns the file, as the host says: held to be the proposer.
    """

    item: ItemId
    subject: Digest
    account: Text


class RootInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="root"):
    pin: Pin


class RootReplaced(Document, frozen=True, kw_only=True, tag_field="event", tag="root-replaced"):
    """The vendor lost the quorum of its root; a person put a new chain in force, by a fingerprint on paper.

    Attributes:
        former: The root that was in force before; nothing follows from it any more.
    """

    pin: Pin
    former: Pin
    reason: Text


class TimeAcknowledged(Document, frozen=True, kw_only=True, tag_field="event", tag="time"):
    """A person says that a time far ahead, which a confirmed release claimed, is right.

    Attributes:
        envelope: Digest of what they signed.
    """

    time: Time
    person: Name
    role: Name | None = None
    keyid: KeyId | None = None
    envelope: Digest | None = None


class RevocationsInForce(Document, frozen=True, kw_only=True, tag_field="event", tag="revocations"):
    version: Positive
    digest: Digest


class Received(Document, frozen=True, kw_only=True, tag_field="event", tag="received"):
    """A release was verified and waits; raises the mark of its stream.

    Attributes:
        source: Where its bytes were seen; a convenience for `install`, never believed.
    """

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
    """What becomes of one request of a consignment, as far as it is known when it comes."""

    request: Word
    handler: Name
    outcome: Literal["refused", "no-such-handler"]


class Consigned(Document, frozen=True, kw_only=True, tag_field="event", tag="consigned"):
    """A consignment for this site was verified.

    Attributes:
        digest: Of its file, which is among the documents.
        challenge: Digest of the challenge, as reports echo it.
        acknowledged, acknowledged_digest: The report that home holds; both or neither.
        newest: By channel, what the vendor has for this site.
        authorisations: Of ways back below the floor; digests of their envelopes, which are among the documents.
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


class Alarm(Document, frozen=True, kw_only=True, tag_field="event", tag="alarm"):
    """Something that must not happen and did; told in the next report."""

    code: Word
    digest: Digest | None = None
    detail: Text = ""


class Verdict(Document, frozen=True, kw_only=True, tag_field="event", tag="verdict"):
    """One person's signed word on a plan; ``envelope`` is the digest of what they signed."""

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
        source: The generation that runs now, 0 for none.
        target: The generation to run.
        floor: What the release states; in force once confirmed.
        config: Digest of the validated config document, absent where the release has no schema.
        settings: Digest of what ``site.yaml`` says besides ``config``.
        outside_window: Why it is done outside of the policy's windows; absent inside of one.
        document: The generation by whose rollback document the data are changed or taken back; 0 when no data are.
        authorisation: Digest of the vendor's permission to go below the floor; used up by the switch.
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
    """The rules in force are met, by these envelopes; ``rule`` names the emergency rule that was used up by one."""

    approvals: Annotated[tuple[Digest, ...], Meta(max_length=128)] = ()
    rule: Name | None = None


class Intent(Document, frozen=True, kw_only=True, tag_field="event", tag="intent"):
    """Synced before the act begins.

    Attributes:
        step: The part of it that one driver does, or the backup or step of the rollback document.
        code: Why it is done.
    """

    act: Act
    step: Name | None = None
    code: Word | None = None


class Outcome(Document, frozen=True, kw_only=True, tag_field="event", tag="outcome"):
    """What became of the act; ``interrupted`` is written by a later process that found only the intent.

    Attributes:
        code: Stable word for programs and reports; ``detail`` is for people at the site and never leaves.
        seconds: Running time of the act.
        digest, size: Of the backup that was made.
    """

    act: Act
    step: Name | None = None
    result: Literal["done", "failed", "interrupted"]
    code: Word = "ok"
    detail: Text = ""
    seconds: Count = 0
    digest: Digest | None = None
    size: Count = 0


class Confirmed(Document, frozen=True, kw_only=True, tag_field="event", tag="confirmed"):
    """The trial ended well; ``floor`` is in force from here on.

    Attributes:
        by: ``person`` where somebody said so; who, is known where a key was used.
        envelope: Digest of what that person signed.
        time_floor: It is not earlier than this, because the vendor signed it; never far beyond the host's clock.
        claimed: The time that the vendor signed, where it is so far ahead that it proves nothing.
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
    """A person has looked at what was inconsistent and asks for one more try; never written without a person.

    Attributes:
        way: ``back`` to the former generation, or ``forward`` with the one that `current` names, where the data are
            this one's and nothing leads back.
    """

    way: Literal["back", "forward"]


class Reported(Document, frozen=True, kw_only=True, tag_field="event", tag="reported"):
    """Report ``seq`` exists, with these bytes."""

    seq: Positive
    digest: Digest
    previous: Digest | None = None


class OffboardAsked(Document, frozen=True, kw_only=True, tag_field="event", tag="offboard-asked"):
    """Somebody asks that the vendor's access end; the digest of this is what people agree to.

    Attributes:
        detail: Why, in their words; it never leaves.
    """

    reason: OffboardReason
    detail: Text


class Offboarded(Document, frozen=True, kw_only=True, tag_field="event", tag="offboarded"):
    """From here on this site believes nothing of its vendor: pin, roots and lists judge no more."""

    reason: OffboardReason
    plan: Digest
    approvals: Annotated[tuple[Digest, ...], Meta(max_length=128)] = ()


class Tried(Document, frozen=True, kw_only=True, tag_field="event", tag="tried"):
    """Something that the site once believed, tried once more after the offboarding.

    Attributes:
        artefact: Digest of what was tried; absent when the site never held one.
    """

    kind: ArtefactKind
    artefact: Digest | None = None
    outcome: ProbeOutcome
    finding: Word | None = None
    detail: Text = ""


class OffboardDone(Document, frozen=True, kw_only=True, tag_field="event", tag="offboard-done"):
    """The offboarding is complete: its final report is written."""

    report: Positive
    key: Literal["kept", "destroyed"]


class Torn(Document, frozen=True, kw_only=True, tag_field="event", tag="torn"):
    """An unfinished last line of so many bytes was cut off: the plug was pulled while it was written."""

    bytes: Positive


class Note(Document, frozen=True, kw_only=True, tag_field="event", tag="note"):
    """Something worth keeping that changes no state, such as a clock that went backwards."""

    code: Word
    detail: Text = ""


Event = (
    Enrolled
    | KeyRotated
    | KeyRenewed
    | PolicyInForce
    | Proposed
    | RootInForce
    | RootReplaced
    | TimeAcknowledged
    | RevocationsInForce
    | Received
    | Consigned
    | Alarm
    | Verdict
    | Planned
    | Approved
    | Intent
    | Outcome
    | Confirmed
    | Inconsistent
    | AskedAgain
    | Reported
    | OffboardAsked
    | Offboarded
    | Tried
    | OffboardDone
    | Torn
    | Note
)


class Record(Document, frozen=True, kw_only=True):
    """One line of the journal.

    Attributes:
        prev: Digest of the line before, without its line break; of no bytes for the first.
        at: The wall clock, for people; ``uptime`` the boot's monotonic seconds, for counting.
        boot: The kernel's boot id.
    """

    seq: Positive
    prev: Digest
    at: Time
    boot: Text
    uptime: Count
    actor: Actor
    event: Event
