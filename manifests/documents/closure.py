"""The receipt of a closed site, signed by the vendor: what is proved, and what the vendor keeps for how long."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

from manifests.documents.report import Acknowledged, OffboardReason
from manifests.trust.envelope import Envelope, parse_envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import Signer
from manifests.trust.quorum import good_signers, require, weigh
from manifests.trust.root import Chain
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Digest, KeyId, Name, Positive, SiteId, Time, Word, digest_of
from manifests.words.errors import MalformedError, UntrustedError

CLOSURE_TYPE = "application/vnd.waybill.closure.v1+json"
MAX_CLOSURE = 64 << 10

StepName = Literal["requested", "issued", "carried", "acknowledged", "exercised", "closed"]
STEPS: tuple[StepName, ...] = get_args(StepName)
StepStanding = Literal["proven", "unproven", "not-needed"]


class ClosureStep(Document, frozen=True, kw_only=True):
    """One step of an offboarding.

    Attributes:
        standing: ``unproven`` where evidence is missing, which is not the same as revoked.
        at: When the evidence arose, by the vendor's clock.
        report: The report that proves it.
        consignment: The consignment that asked for it.
    """

    step: StepName
    standing: StepStanding
    at: Time | None = None
    report: Positive | None = None
    consignment: Positive | None = None


class KeptReports(Document, frozen=True, kw_only=True):
    """What the vendor still holds of the site; ``until`` is absent where no contract sets an end."""

    what: Word
    count: Count
    until: Time | None = None


class Closure(Document, frozen=True, kw_only=True, tag_field="type", tag=CLOSURE_TYPE):
    """What is signed.

    Attributes:
        site_key: Key id of the site's last key.
        last_report: The newest report of the site that the vendor received.
        unanswered: Numbers of consignments that no report proves to have arrived.
        kept: By name, each once.
    """

    vendor: Name
    site: SiteId
    site_key: KeyId
    reason: OffboardReason
    requested_at: Time
    closed_at: Time
    last_report: Acknowledged | None = None
    steps: Annotated[tuple[ClosureStep, ...], Meta(min_length=6, max_length=6)]
    unanswered: Annotated[tuple[Positive, ...], Meta(max_length=1024)] = ()
    kept: Annotated[tuple[KeptReports, ...], Meta(max_length=32)] = ()
    contract: Digest | None = None


@dataclass(frozen=True)
class SignedClosure:
    raw: bytes
    closure: Closure
    signers: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.raw)


def check_closure(closure: Closure, what: str) -> None:
    """Raise MalformedError unless the six steps are there, in order, and the rest is sorted."""
    if tuple(one.step for one in closure.steps) != STEPS:
        raise MalformedError(f"the steps are not {', '.join(STEPS)}", where=f"{what} $.steps")
    names = [one.what for one in closure.kept]
    if names != sorted(set(names)):
        raise MalformedError("not sorted, each once", where=f"{what} $.kept")


def sign_closure(closure: Closure, signers: tuple[Signer, ...]) -> bytes:
    """Return the file: one DSSE envelope with a signature of each signer."""
    check_closure(closure, "closure")
    return seal(encode(closure), CLOSURE_TYPE, signers)


def parse_closure(data: bytes, what: str = "closure") -> tuple[Envelope, Closure]:
    """Read a receipt; ``verify_closure`` judges its signatures."""
    envelope = parse_envelope(data, CLOSURE_TYPE, what, max_bytes=MAX_CLOSURE)
    closure = parse(envelope.payload_bytes, Closure, what, max_bytes=MAX_CLOSURE)
    check_closure(closure, what)
    return envelope, closure


def verify_closure(data: bytes, chain: Chain, what: str = "closure") -> SignedClosure:
    """Return the receipt if a threshold of the newest root's consignment role has signed it.

    Raises:
        MalformedError: Not a receipt in our form.
        UntrustedError: A signature is wrong or by an unknown key, or too few of the role have signed.
    """
    envelope, closure = parse_closure(data, what)
    good, others = good_signers(envelope, chain, what)
    quorum = weigh(chain, "consignment", good, not_evaluated=others)
    require(quorum, "the receipt", where=what, remedy="ask the vendor for the receipt again")
    if closure.vendor != chain.newest.vendor:
        problem = f"the receipt is of vendor {closure.vendor}, expected {chain.newest.vendor}"
        raise UntrustedError(problem, where=what, finding="vendor-differs")
    return SignedClosure(raw=data, closure=closure, signers=quorum.counted)
