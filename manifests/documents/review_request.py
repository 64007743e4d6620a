"""A review request that is carried to an approver elsewhere, and the answer to it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from manifests.documents.approval import Approval
from manifests.documents.plan import Plan
from manifests.trust.envelope import Envelope, parse_envelope, verify_signature
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey, load_public
from manifests.trust.private_keys import Signer
from manifests.trust.root import Pin
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Blob, Count, ItemId, KeyId, Name, Positive, Size, Text, Time, Word, digest_of
from manifests.words.errors import MalformedError, NewerError

REQUEST_TYPE = "application/vnd.waybill.review-request.v1+json"
ANSWER_TYPE = "application/vnd.waybill.answer.v1+json"
MAX_REQUEST = 4 << 20
MAX_ANSWER = 512 << 10
MAX_ITEMS = 64

Items = Annotated[tuple[ItemId, ...], Meta(min_length=1, max_length=MAX_ITEMS)]
Lines = Annotated[tuple[Text, ...], Meta(max_length=4096)]


class Spare(Document, frozen=True, kw_only=True):
    """An emergency rule that fits the change; ``uses_left`` includes this use."""

    rule: Name
    uses_left: Positive


class Pair(Document, frozen=True, kw_only=True):
    """The signature files of one signer of a release; an identity has the Sigstore bundle only."""

    keyid: KeyId
    sig: Blob | None = None
    bundle: Blob


class Stated(Document, frozen=True, kw_only=True):
    """A release of a comparison, and what the site states with it.

    Attributes:
        release: ``release.json``.
        signatures: Those that it came with; empty for what is installed, which was verified before.
        trusted_root: For verifying identities, where one has signed.
        config, settings: Absent for a release that is only passed through.
    """

    release: Blob
    signatures: Annotated[tuple[Pair, ...], Meta(max_length=128)] = ()
    trusted_root: Blob | None = None
    config: Blob | None = None
    settings: Blob | None = None


class StatedSpace(Document, frozen=True, kw_only=True):
    """What is needed on one file system of the site, and what is free there."""

    places: Lines
    bytes: Size
    inodes: Count
    free_bytes: Size
    free_inodes: Count


class StatedFinding(Document, frozen=True, kw_only=True):
    """One finding of the site."""

    finding: Word
    level: Word
    text: Text


class StatedHost(Document, frozen=True, kw_only=True):
    """One need of a release, and what the site observed on its host."""

    check: Text
    status: Literal["passed", "warned", "failed"]
    needs: Text
    observed: Text
    remedy: Text


class ReviewRequest(Document, frozen=True, kw_only=True, tag_field="type", tag=REQUEST_TYPE):
    """What an approver elsewhere needs. Documents are named here and lie beside it, by digest.

    Attributes:
        items: What people at the site give to `review`; ``then`` is the command that does it once it is approved.
        key: The site's; its key id is the plan's ``site_key``.
        made_at: By the site's clock. Two requests are never equal.
        root: What the site trusts; ``roots`` are the documents up to it, oldest first.
        policy: The one in force; ``proposed``: the one that the plan would put in force.
        before: What runs now; ``way``: the releases of the plan in order, without those that are installed already.
        authorisation: Of a rollback below the floor; its envelope.
        between: Releases that a rollback gives up besides the one that runs.
        use: Of a plan to run a handler; ``definition`` is the handler's own.
        documents: Whatever belongs to the releases and is at the site.
        said: Approvals and rejections of this plan so far.
        proposers: Accounts that received it.
        emergency: The rules that somebody at the site could use instead of the ordinary ones.
        work, more_leaves, rooms, host, findings, unread: What only the site can know, in its words.
    """

    items: Items
    plan: Plan
    then: Text
    key: PublicKey
    made_at: Time
    root: Pin
    roots: Annotated[tuple[Blob, ...], Meta(max_length=256)] = ()
    revocations: Blob | None = None
    policy: Blob
    proposed: Blob | None = None
    before: Stated | None = None
    way: Annotated[tuple[Stated, ...], Meta(max_length=MAX_ITEMS)] = ()
    authorisation: Blob | None = None
    between: Annotated[tuple[Blob, ...], Meta(max_length=1024)] = ()
    use: Blob | None = None
    definition: Blob | None = None
    documents: Annotated[tuple[Blob, ...], Meta(max_length=16384)] = ()
    said: Annotated[tuple[Blob, ...], Meta(max_length=1024)] = ()
    proposers: Lines = ()
    emergency: Annotated[tuple[Spare, ...], Meta(max_length=64)] = ()
    work: Lines = ()
    more_leaves: Lines = ()
    rooms: Annotated[tuple[StatedSpace, ...], Meta(max_length=64)] | None = None
    host: Annotated[tuple[StatedHost, ...], Meta(max_length=4096)] = ()
    findings: Annotated[tuple[StatedFinding, ...], Meta(max_length=4096)] = ()
    unread: Lines = ()


@dataclass(frozen=True)
class SignedRequest:
    """A request whose signature was verified with the key that its plan names."""

    raw: bytes
    request: ReviewRequest

    @property
    def digest(self) -> str:
        return digest_of(self.raw)


class ApprovalAnswer(Document, frozen=True, kw_only=True, tag_field="type", tag=ANSWER_TYPE):
    """What an approver sends back; ``approval`` is the signed envelope."""

    approval: Envelope
    items: Items
    plan: Plan


def sign_request(request: ReviewRequest, signer: Signer) -> bytes:
    """The request file: one DSSE envelope with one signature, by the key inside."""
    if signer.public != request.key:
        raise ValueError("a request is signed by the site's key")
    return seal(encode(request), REQUEST_TYPE, (signer,))


def verify_request(data: bytes, what: str = "request") -> SignedRequest:
    """Read a request and verify that the site of its plan signed it.

    Raises:
        MalformedError: Not a request, or not signed by exactly the key that its plan names.
        NewerError: The key's algorithm is unknown here.
        UntrustedError: The signature does not match.
    """
    envelope = parse_envelope(data, REQUEST_TYPE, what, max_bytes=MAX_REQUEST)
    request = parse(envelope.payload_bytes, ReviewRequest, what, max_bytes=MAX_REQUEST)
    key = request.key
    if key.keyid != request.plan.site_key or [one.keyid for one in envelope.signatures] != [key.keyid]:
        problem = "not signed by exactly the key of the site that its plan names"
        remedy = "ask the site for a new one: waybill review ITEM --out DIR"
        raise MalformedError(problem, where=what, remedy=remedy, finding="request-signature")
    if not key.known:
        problem = f"the site's key is of the unknown algorithm {key.algorithm!r}"
        raise NewerError(problem, where=what, remedy="use a newer version of waybill")
    load_public(key)
    verify_signature(envelope, envelope.signatures[0], key, what)
    return SignedRequest(raw=data, request=request)


def parse_answer(data: bytes, what: str = "answer") -> tuple[ApprovalAnswer, Approval]:
    """The answer, and the approval in it, not verified. Raises MalformedError where its parts disagree."""
    answer = parse(data, ApprovalAnswer, what, max_bytes=MAX_ANSWER)
    approval = parse(answer.approval.payload_bytes, Approval, what, max_bytes=MAX_ANSWER)
    if approval.plan != answer.plan.digest:
        problem = f"signed for plan {approval.plan}, beside it lies plan {answer.plan.digest}"
        remedy = "somebody changed it; ask the approver for the file again"
        raise MalformedError(problem, where=what, remedy=remedy, finding="answer-changed")
    if approval.request is None:
        problem = "the approval in it answers no request"
        remedy = "answer a request that waybill review ITEM --out DIR wrote"
        raise MalformedError(problem, where=what, remedy=remedy, finding="answer-without-request")
    return answer, approval
