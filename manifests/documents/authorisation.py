"""The vendor's single-use authorisation of a rollback below the floor, signed by the role ``rollback``."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from manifests.trust.envelope import Envelope, parse_envelope
from manifests.trust.quorum import good_signers, require, weigh
from manifests.trust.root import Chain, Mark
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, Name, Positive, SiteId, Text, Time, Version, digest_of
from manifests.words.errors import MalformedError, UntrustedError

AUTHORISATION_TYPE = "application/vnd.waybill.authorisation.v1+json"
MAX_AUTHORISATION = 256 << 10
MAX_SITES = 256

StatedReason = Annotated[Text, Meta(min_length=1)]
Advisories = Annotated[tuple[StatedReason, ...], Meta(max_length=1024)]


class Left(Document, frozen=True, kw_only=True):
    """The release that is left: its place in the stream, which only one release ever has."""

    channel: Name
    mark: Mark


class Reached(Document, frozen=True, kw_only=True):
    """The release that is to run again."""

    release: Digest
    version: Version
    channel: Name
    mark: Mark


class Authorisation(Document, frozen=True, kw_only=True, tag_field="type", tag=AUTHORISATION_TYPE):
    """What is signed.

    Attributes:
        number: The vendor's own, to refer to it.
        sites: Where it is valid, sorted; empty for every site that the release which carries it is for.
        why, loses: In the vendor's words, shown to approvers.
        reopens: Advisories that the rollback opens again, as far as the vendor knows, sorted.
    """

    vendor: Name
    number: Positive
    product: Name
    sites: Annotated[tuple[SiteId, ...], Meta(max_length=MAX_SITES)] = ()
    leaves: Left
    goes_to: Reached
    why: StatedReason
    loses: StatedReason
    reopens: Advisories = ()
    issued_at: Time


@dataclass(frozen=True)
class SignedAuthorisation:
    """An authorisation that a threshold of the rollback role signed.

    Attributes:
        fingerprint: Digest of what was signed. It is used up under this name, since signatures may be added later.
        signers: Key ids that were counted.
    """

    raw: bytes
    authorisation: Authorisation
    fingerprint: str
    signers: tuple[str, ...]


def check_authorisation(authorisation: Authorisation, what: str) -> None:
    """Check every rule inside the document. Raises MalformedError."""
    for name in ("sites", "reopens"):
        listed = getattr(authorisation, name)
        if list(listed) != sorted(set(listed)):  # D-6.1
            raise MalformedError(f"`{name}` is not sorted with each entry once", where=f"{what} $.{name}")
    for site in authorisation.sites:
        if site.split("/")[1] != authorisation.product:  # D-6.2
            raise MalformedError(f"{site} is not a site of product {authorisation.product}", where=f"{what} $.sites")
    leaves, goes_to = authorisation.leaves, authorisation.goes_to
    if leaves.channel == goes_to.channel and goes_to.mark >= leaves.mark:  # D-6.3
        problem = "the release that it goes to is not older than the one that it leaves"
        raise MalformedError(problem, where=f"{what} $.goes_to")


def parse_authorisation(data: bytes, what: str = "authorisation") -> tuple[Envelope, Authorisation]:
    """Read an authorisation; ``verify_authorisation`` judges its signatures."""
    envelope = parse_envelope(data, AUTHORISATION_TYPE, what, max_bytes=MAX_AUTHORISATION)
    authorisation = parse(envelope.payload_bytes, Authorisation, what, max_bytes=MAX_AUTHORISATION)
    check_authorisation(authorisation, what)
    return envelope, authorisation


def verify_authorisation(data: bytes, chain: Chain, what: str = "authorisation") -> SignedAuthorisation:
    """Return the authorisation if a threshold of the newest root's rollback role has signed it.

    Raises:
        MalformedError: Not an authorisation in our form.
        UntrustedError: A signature is wrong or by an unknown key, too few count, or it is another vendor's.
    """
    envelope, authorisation = parse_authorisation(data, what)
    good, others = good_signers(envelope, chain, what)
    quorum = weigh(chain, "rollback", good, not_evaluated=others)
    remedy = "ask the vendor to sign it: waybill sign authorisation.yaml --key KEY"
    require(quorum, "the authorisation", where=what, remedy=remedy)  # D-6.4
    if authorisation.vendor != chain.newest.vendor:  # D-6.1
        problem = f"the authorisation is of vendor {authorisation.vendor}, expected {chain.newest.vendor}"
        raise UntrustedError(problem, where=what, finding="vendor-differs")
    fingerprint = digest_of(envelope.payload_bytes)  # D-6.6
    return SignedAuthorisation(data, authorisation, fingerprint, quorum.counted)


def encode_authorisation(authorisation: Authorisation) -> bytes:
    """Return the canonical bytes. Raises MalformedError where a rule inside the document does not hold."""
    check_authorisation(authorisation, f"authorisation {authorisation.number}")
    return encode(authorisation)
