"""Compile ``authorisation.yaml`` to an authorisation."""

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Handwritten
from manifests.documents.authorisation import (
    MAX_SITES,
    Advisories,
    Authorisation,
    Left,
    Reached,
    StatedReason,
    check_authorisation,
)
from manifests.trust.root import Mark
from manifests.words.canonical import Document
from manifests.words.digest import Digest, Name, Positive, SiteId, Time, Version
from manifests.words.errors import MalformedError


class PlaceFile(Document, frozen=True, kw_only=True):
    """A release: by its bundle, or by its place in the stream while there is no bundle yet."""

    bundle: StatedReason | None = None
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
    why: StatedReason
    loses: StatedReason
    reopens: Advisories = ()
    issued_at: Time


# From the path in the file to product and place of the release in that bundle.
Look = Callable[[str], tuple[str, Reached]]


def compile_authorisation(file: Handwritten, look: Look) -> Authorisation:
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


def _left(file: Handwritten, source: AuthorisationFile, look: Look) -> Left:
    place = source.leaves
    if (release := _of_bundle(file, source, "leaves", look)) is not None:
        return Left(channel=release.channel, mark=release.mark)
    if place.channel is None or place.epoch is None or place.sequence is None:
        raise _lacks(file, place, "leaves")
    return Left(channel=place.channel, mark=Mark(epoch=place.epoch, sequence=place.sequence))


def _reached(file: Handwritten, source: AuthorisationFile, look: Look) -> Reached:
    place = source.goes_to
    if (release := _of_bundle(file, source, "goes_to", look)) is not None:
        return release
    if place.channel is None or place.epoch is None or place.sequence is None or not place.version or not place.release:
        raise _lacks(file, place, "goes_to")
    mark = Mark(epoch=place.epoch, sequence=place.sequence)
    return Reached(release=place.release, version=place.version, channel=place.channel, mark=mark)


def _of_bundle(file: Handwritten, source: AuthorisationFile, name: str, look: Look) -> Reached | None:
    place: PlaceFile = getattr(source, name)
    if place.bundle is None:
        return None
    if more := [one for one in place.__struct_fields__ if one != "bundle" and getattr(place, one) is not None]:
        raise file.wrong(f"`bundle` says {', '.join(more)} already", f"$.{name}")
    product, release = look(place.bundle)
    if product != source.product:
        raise file.wrong(f"{place.bundle} is of {product}", f"$.{name}.bundle")
    return release


def _lacks(file: Handwritten, place: PlaceFile, name: str) -> MalformedError:
    lacks = [one for one in place.__struct_fields__ if one != "bundle" and getattr(place, one) is None]
    problem = f"lacks {', '.join(lacks)}"
    return file.wrong(problem, f"$.{name}", "name `bundle`, a file of the release, which says all of it")
