"""The consignment: a signed message of the vendor to one site."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from manifests.documents.handler_use import Parameters
from manifests.documents.report import Acknowledged
from manifests.trust.envelope import Envelope, parse_envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import Signer
from manifests.trust.quorum import good_signers, require, weigh
from manifests.trust.revocations import MAX_REVOCATIONS
from manifests.trust.root import Chain, Mark
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import KeyId, Name, Positive, SiteId, Text, Time, Word, digest_of
from manifests.words.errors import MalformedError, UntrustedError

CONSIGNMENT_TYPE = "application/vnd.waybill.consignment.v1+json"
MAX_CONSIGNMENT = 4 * MAX_REVOCATIONS
MAX_REQUESTS = 64

HexChallenge = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Newest(Document, frozen=True, kw_only=True):
    """The newest release of a channel that is meant for the site; the consignment may hold an older one."""

    channel: Name
    mark: Mark


class Request(Document, frozen=True, kw_only=True):
    """Use of a named handler, for the site's people to approve; the report answers under the name ``request``.

    It is run at most once, and only while the number of the site's next report is in the window.

    Attributes:
        first_report, last_report: First and last number of the window; without one there is no limit on that side.
        why: For the people who approve it.
    """

    request: Word
    handler: Name
    parameters: Parameters = {}
    first_report: Positive | None = None
    last_report: Positive | None = None
    why: Text | None = None


class Consignment(Document, frozen=True, kw_only=True, tag_field="type", tag=CONSIGNMENT_TYPE):
    """What is signed.

    Attributes:
        site_key: Key id of the site: a new site under an old name accepts nothing that was meant for the old one.
        number: Grows with each consignment for the site.
        challenge: 32 random bytes; the site's reports name their digest until a newer one comes.
        acknowledged: The newest report of the site that the vendor received; reports up to it are not summed up again.
        revocations: The vendor's list in its own envelope, signed by root.
        newest: By channel, each once.
        authorisations: Documents of the rollback role in their own envelopes.
    """

    vendor: Name
    site: SiteId
    site_key: KeyId
    number: Positive
    issued_at: Time
    challenge: HexChallenge
    acknowledged: Acknowledged | None = None
    revocations: Envelope | None = None
    newest: Annotated[tuple[Newest, ...], Meta(max_length=64)] = ()
    requests: Annotated[tuple[Request, ...], Meta(max_length=MAX_REQUESTS)] = ()
    authorisations: Annotated[tuple[Envelope, ...], Meta(max_length=16)] = ()

    @property
    def challenge_digest(self) -> str:
        """The value that a report states for this challenge."""
        return challenge_digest(bytes.fromhex(self.challenge))


@dataclass(frozen=True)
class SignedConsignment:
    """A consignment that a threshold of the consignment role signed; ``signers`` are the key ids that were counted."""

    raw: bytes
    consignment: Consignment
    signers: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.raw)


def challenge_digest(challenge: bytes) -> str:
    return digest_of(challenge)


def check_consignment(consignment: Consignment, what: str) -> None:
    """Raise MalformedError unless every rule inside the document holds."""
    channels = [one.channel for one in consignment.newest]
    if channels != sorted(set(channels)):  # D-5.2
        raise MalformedError("channels are not sorted, each once", where=f"{what} $.newest")
    names = [one.request for one in consignment.requests]
    if len(set(names)) != len(names):
        raise MalformedError("a request is named twice", where=f"{what} $.requests")
    for i, request in enumerate(consignment.requests):
        if request.first_report and request.last_report and request.first_report > request.last_report:  # D-5.4
            problem = f"the window begins with report {request.first_report}, after its end {request.last_report}"
            raise MalformedError(problem, where=f"{what} $.requests[{i}]")


def sign_consignment(consignment: Consignment, signers: tuple[Signer, ...]) -> bytes:
    """The file: one DSSE envelope with a signature of each signer."""
    check_consignment(consignment, "consignment")
    return seal(encode(consignment), CONSIGNMENT_TYPE, signers)


def peek_consignment(data: bytes, what: str) -> Consignment:
    """What a file claims, unverified: only for choosing which file to verify."""
    envelope = parse_envelope(data, CONSIGNMENT_TYPE, what, max_bytes=MAX_CONSIGNMENT)
    return parse(envelope.payload_bytes, Consignment, what, max_bytes=MAX_CONSIGNMENT)


def verify_consignment(data: bytes, chain: Chain, what: str = "consignment") -> SignedConsignment:
    """Return the consignment if a threshold of the newest root's consignment role has signed it.

    Raises:
        MalformedError: Not a consignment in our form.
        UntrustedError: A signature is wrong or by an unknown key, or too few of the role have signed.
    """
    envelope = parse_envelope(data, CONSIGNMENT_TYPE, what, max_bytes=MAX_CONSIGNMENT)
    good, others = good_signers(envelope, chain, what)
    quorum = weigh(chain, "consignment", good, not_evaluated=others)
    remedy = "ask the vendor for a consignment that keys of its consignment role have signed"
    require(quorum, "the consignment", where=what, remedy=remedy)  # D-5.1
    consignment = parse(envelope.payload_bytes, Consignment, what, max_bytes=MAX_CONSIGNMENT)
    check_consignment(consignment, what)
    if consignment.vendor != chain.newest.vendor:
        problem = f"the consignment is of vendor {consignment.vendor}, expected {chain.newest.vendor}"
        raise UntrustedError(problem, where=what, finding="vendor-differs")
    return SignedConsignment(raw=data, consignment=consignment, signers=quorum.counted)
