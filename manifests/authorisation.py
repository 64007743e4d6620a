"""The vendor's permission for one way back below the floor: signed by the role `rollback`, good once at each site.

It is the vendor's word and nobody else's: the customer's people agree to the way back by their own rules.
``authorisation.yaml`` (``AuthorisationFile``) is compiled to ``Authorisation``, which `waybill sign` puts into an
envelope. It is carried by a consignment to the sites that it names, or lies sealed in the very release that it leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from manifests.canonical import encode, parse
from manifests.digest import Digest, Name, Positive, SiteId, Text, Time, Version, digest_of
from manifests.document import Document
from manifests.envelope import Envelope, parse_envelope
from manifests.errors import MalformedError, UntrustedError
from manifests.quorum import good_signers, require, weigh
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


class PlaceFile(Document, frozen=True, kw_only=True):
    """A release: by its bundle, or by its place in the stream while there is no bundle yet."""

    bundle: Said | None = None
    channel: Name | None = None
    epoch: Positive | None = None
    sequence: Positive | None = None


class ReachedFile(PlaceFile, frozen=True, kw_only=True):
    version: Version | None = None
    release: Digest | None = None


class AuthorisationFile(Document, frozen=True, kw_only=True):
    """``authorisation.yaml``."""

    waybill: Literal[1]
    authorisation: Positive
    vendor: Name
    product: Name
    sites: Annotated[tuple[SiteId, ...], Meta(max_length=MAX_SITES)] = ()
    leaves: PlaceFile
    goes_to: ReachedFile
    why: Said
    loses: Said
    reopens: Advisories = ()
    issued_at: Time


# From the path in the file to product and place of the release in that bundle.
Look = Callable[[str], tuple[str, Reached]]


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


def compile_authorisation(file: "Handwritten", look: Look) -> Authorisation:
    """Check ``authorisation.yaml``. Raises MalformedError with ``file:line`` for the first thing that cannot hold."""
    source = file.to(AuthorisationFile)
    made = Authorisation(
        vendor=source.vendor,
        number=source.authorisation,
        product=source.product,
        sites=tuple(sorted(source.sites)),
        leaves=_left(file, source, look),
        goes_to=_reached(file, source, look),
        why=source.why,
        loses=source.loses,
        reopens=tuple(sorted(source.reopens)),
        issued_at=source.issued_at,
    )
    check_authorisation(made, file.name)
    return made


def _left(file: "Handwritten", source: AuthorisationFile, look: Look) -> Left:
    said = source.leaves
    if (found := _of_bundle(file, source, "leaves", look)) is not None:
        return Left(channel=found.channel, mark=found.mark)
    if said.channel is None or said.epoch is None or said.sequence is None:
        raise _lacks(file, said, "leaves")
    return Left(channel=said.channel, mark=Mark(epoch=said.epoch, sequence=said.sequence))


def _reached(file: "Handwritten", source: AuthorisationFile, look: Look) -> Reached:
    said = source.goes_to
    if (found := _of_bundle(file, source, "goes_to", look)) is not None:
        return found
    if said.channel is None or said.epoch is None or said.sequence is None or not said.version or not said.release:
        raise _lacks(file, said, "goes_to")
    mark = Mark(epoch=said.epoch, sequence=said.sequence)
    return Reached(release=said.release, version=said.version, channel=said.channel, mark=mark)


def _of_bundle(file: "Handwritten", source: AuthorisationFile, name: str, look: Look) -> Reached | None:
    said: PlaceFile = getattr(source, name)
    if said.bundle is None:
        return None
    if more := [one for one in said.__struct_fields__ if one != "bundle" and getattr(said, one) is not None]:
        raise MalformedError(f"`bundle` says {', '.join(more)} already", where=file.at(f"$.{name}"))
    product, found = look(said.bundle)
    if product != source.product:
        raise MalformedError(f"{said.bundle} is of {product}", where=file.at(f"$.{name}.bundle"))
    return found


def _lacks(file: "Handwritten", said: PlaceFile, name: str) -> MalformedError:
    lacks = [one for one in said.__struct_fields__ if one != "bundle" and getattr(said, one) is None]
    return MalformedError(
        f"lacks {', '.join(lacks)}",
        where=file.at(f"$.{name}"),
        remedy="name `bundle`, a file of the release, which says all of it",
    )


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
    good, others = good_signers(envelope, chain, what)
    quorum = weigh(chain, "rollback", good, not_evaluated=others)
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
