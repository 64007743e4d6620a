"""Compile ``authorisation.yaml`` to an authorisation."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Faults, Handwritten, compiled
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
from manifests.words.errors import WaybillError


class PlaceFile(Document, frozen=True, kw_only=True):
    """A release: by its bundle, or by its place in the stream while there is no bundle."""

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
    """Check ``authorisation.yaml``. Raises MalformedError with ``file:line`` for the first rule that does not hold."""
    faults = Faults()
    made = _compile(file, look, faults)
    faults.require_none()
    if made is None:
        raise AssertionError("nothing is wrong, and nothing was compiled")
    return made


def authorisation_problems(file: Handwritten, look: Look) -> Sequence[WaybillError]:
    """Return everything that is wrong in ``authorisation.yaml``."""
    faults = Faults()
    _compile(file, look, faults)
    return faults.problems


def _compile(file: Handwritten, look: Look, faults: Faults) -> Authorisation | None:
    source = file.to(AuthorisationFile)
    left = faults.attempt(lambda: _release(file, source, "leaves", look))
    goes_to = faults.attempt(lambda: _release(file, source, "goes_to", look))
    if left is None or goes_to is None:
        return None
    made = compiled(
        Authorisation,
        source,
        number=source.authorisation,
        sites=tuple(sorted(source.sites)),
        leaves=Left(channel=left.channel, mark=left.mark),
        goes_to=goes_to,
        reopens=tuple(sorted(source.reopens)),
    )
    faults.attempt(lambda: check_authorisation(made, file.name))
    return made


def _release(file: Handwritten, source: AuthorisationFile, name: str, look: Look) -> Reached:
    """The release under ``name``; of ``leaves`` only channel and mark are stated."""
    place: PlaceFile = getattr(source, name)
    given = {field: value for field in place.__struct_fields__ if (value := getattr(place, field)) is not None}
    if place.bundle is not None:
        if more := [field for field in given if field != "bundle"]:
            raise file.wrong(f"`bundle` says {', '.join(more)} already", f"$.{name}")
        product, release = look(place.bundle)
        if product != source.product:
            raise file.wrong(f"{place.bundle} is of {product}", f"$.{name}.bundle")
        return release
    if lacks := [field for field in place.__struct_fields__ if field != "bundle" and field not in given]:
        remedy = "name `bundle`, a file of the release, which says all of it"
        raise file.wrong(f"lacks {', '.join(lacks)}", f"$.{name}", remedy)
    mark = Mark(epoch=given["epoch"], sequence=given["sequence"])
    return Reached(
        release=given.get("release", ""), version=given.get("version", ""), channel=given["channel"], mark=mark
    )
