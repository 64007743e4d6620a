"""The vendor's permission for one way back below the floor: signed by the role `rollback`, good once at each site.

It is the vendor's word and nobody else's: the customer's people agree to the way back by their own rules.
``authorisation.yaml`` (``AuthorisationFile``) is compiled to ``Authorisation``, which `waybill sign` puts into an
envelope. It is carried by a consignment to the sites that it names, or lies sealed in the very release that it leaves.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from manifests.canonical import encode, parse
from manifests.digest import Digest, Name, Positive, SiteId, Text, Time, Version, digest_of
from manifests.document import Document
from manifests.envelope import Envelope, parse_envelope, verify_signature
from manifests.errors import MalformedError, UntrustedError
from manifests.quorum import require, weigh
from manifests.trust import Chain, Mark

if TYPE_CHECKING:
    from manifests.handwritten import Handwritten

AUTHORISATION_TYPE = "application/vnd.waybill.authorisation.v1+json"
MAX_AUTHORISATION = 256 << 10
MAX_SITES = 256

Said = Annotated[Text, Meta(min_length=1)]
Advisories = Annotated[tuple[Said, ...], Meta(max_length=1024)]


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
        number: The vendor's own, for people to speak of it.
        sites: Where it is good, sorted; empty for every site that the release which carries it is for.
        why, loses: In the vendor's words, shown to whoever agrees.
        reopens: Advisories that the way back opens again, as far as the vendor knows, sorted.
    """

    vendor: Name
    number: Positive
    product: Name
    sites: Annotated[tuple[SiteId, ...], Meta(max_length=MAX_SITES)] = ()
    leaves: Left
    goes_to: Reached
    why: Said
    loses: Said
    reopens: Advisories = ()
    issued_at: Time


class MarkFile(Document, frozen=True, kw_only=True):
    channel: Name
    epoch: Positive
    sequence: Positive

    @property
    def mark(self) -> Mark:
        return Mark(epoch=self.epoch, sequence=self.sequence)


class ReachedFile(MarkFile, frozen=True, kw_only=True):
    version: Version
    release: Digest


class AuthorisationFile(Document, frozen=True, kw_only=True):
    """``authorisation.yaml``."""

    waybill: Literal[1]
    authorisation: Positive
    vendor: Name
    product: Name
    sites: Annotated[tuple[SiteId, ...], Meta(max_length=MAX_SITES)] = ()
    leaves: MarkFile
    goes_to: ReachedFile
    why: Said
    loses: Said
    reopens: Advisories = ()
    issued_at: Time


@dataclass(frozen=True)
class SignedAuthorisation:
    """An authorisation that a threshold of the rollback role signed.

    Attributes:
        raw: The envelope as received.
        fingerprint: Digest of what was signed. It is spent under this name, since an envelope can be put together anew.
        signers: Key ids that were counted.
    """

    raw: bytes
    authorisation: Authorisation
    fingerprint: str
    signers: tuple[str, ...]


def check_authorisation(found: Authorisation, what: str) -> None:
    """Raise MalformedError unless every rule inside the document holds."""
    for name in ("sites", "reopens"):
        held = getattr(found, name)
        if list(held) != sorted(set(held)):  # F-211
            raise MalformedError("not sorted, each once", where=f"{what} $.{name}")
    for site in found.sites:
        if site.split("/")[1] != found.product:  # F-212
            raise MalformedError(f"{site} is no site of {found.product}", where=f"{what} $.sites")
    leaves, goes_to = found.leaves, found.goes_to
    if leaves.channel == goes_to.channel and goes_to.mark >= leaves.mark:  # F-213
        raise MalformedError("it does not lead back", where=f"{what} $.goes_to")


def compile_authorisation(file: "Handwritten") -> Authorisation:
    """Check ``authorisation.yaml``. Raises MalformedError with ``file:line`` for the first thing that cannot hold."""
    source = file.to(AuthorisationFile)
    made = Authorisation(
        vendor=source.vendor,
        number=source.authorisation,
        product=source.product,
        sites=tuple(sorted(source.sites)),
        leaves=Left(channel=source.leaves.channel, mark=source.leaves.mark),
        goes_to=Reached(
            release=source.goes_to.release,
            version=source.goes_to.version,
            channel=source.goes_to.channel,
            mark=source.goes_to.mark,
        ),
        why=source.why,
        loses=source.loses,
        reopens=tuple(sorted(source.reopens)),
        issued_at=source.issued_at,
    )
    check_authorisation(made, file.name)
    return made


def parse_authorisation(data: bytes, what: str = "authorisation") -> tuple[Envelope, Authorisation]:
    """Read one; its signatures are judged by ``verify_authorisation``."""
    envelope = parse_envelope(data, AUTHORISATION_TYPE, what, max_bytes=MAX_AUTHORISATION)
    found = parse(envelope.payload_bytes, Authorisation, what, max_bytes=MAX_AUTHORISATION)
    check_authorisation(found, what)
    return envelope, found


def verify_authorisation(data: bytes, chain: Chain, what: str = "authorisation") -> SignedAuthorisation:
    """The authorisation, when a threshold of the newest root's rollback role signed it, and no key that was revoked.

    Raises:
        MalformedError: Not an authorisation in our form.
        UntrustedError: A signature is wrong or by a stranger, there are too few of the role, or it is another vendor's.
    """
    envelope, found = parse_authorisation(data, what)
    good, others = [], []
    for one in envelope.signatures:
        key = chain.key(one.keyid)
        if key is None:
            raise UntrustedError(
                f"signed by unknown key {one.keyid[:16]}",
                where=what,
                remedy="receive the newest root document first, if the vendor has new keys; else this is a stranger's",
                finding="signature-unknown",
            )
        if key.known:
            verify_signature(envelope, one, key, what)
            good.append(one.keyid)
        else:
            others.append(one.keyid)
    quorum = weigh(chain, "rollback", good, not_evaluated=tuple(others))
    remedy = "waybill sign authorisation.yaml --key KEY, at the vendor"
    require(quorum, "the authorisation", where=what, remedy=remedy)  # F-210
    if found.vendor != chain.newest.vendor:  # F-211
        raise UntrustedError(
            f"an authorisation of {found.vendor}, expected {chain.newest.vendor}", where=what, finding="vendor-differs"
        )
    fingerprint = digest_of(envelope.payload_bytes)  # F-215
    return SignedAuthorisation(data, found, fingerprint, quorum.counted)


def encode_authorisation(found: Authorisation) -> bytes:
    check_authorisation(found, f"authorisation {found.number}")
    return encode(found)
