"""Recognise and check SBOMs: CycloneDX or SPDX in JSON.

Documents of others: read leniently, never re-encoded. Only what a component is called is looked at here, so that
a large document costs little memory.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from manifests.words.canonical import check_depth
from manifests.words.errors import MalformedError

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"
MEDIA_TYPES: dict[str, str] = {"cyclonedx": CYCLONEDX, "spdx": SPDX}
MAX_SBOM = 32 << 20
MAX_DEPTH = 64

SbomFormat = Literal["cyclonedx", "spdx"]
T = TypeVar("T")
_Named = Annotated[str, Meta(min_length=1)]


class _Component(Struct, frozen=True):
    name: _Named


class _Sbom(Struct, frozen=True):
    """What tells the two formats apart, and the names of what is listed."""

    bom_format: str = field(name="bomFormat", default="")
    spec_version: str = field(name="specVersion", default="")
    spdx_version: str = field(name="spdxVersion", default="")
    components: list[_Component] = []
    packages: list[_Component] = []


def format_of(media_type: str) -> SbomFormat | None:
    """The format that a media type names, also in the spellings of cosign's ``.sbom`` tags; None for another thing."""
    plain = media_type.partition(";")[0].strip()
    if plain == CYCLONEDX:
        return "cyclonedx"
    return "spdx" if plain in (SPDX, "text/spdx+json", "spdx+json") else None


def check_sbom(data: bytes, what: str) -> SbomFormat:
    """The format of an SBOM. Raises MalformedError unless it is CycloneDX or SPDX in JSON and lists something."""
    if len(data) > MAX_SBOM:
        raise MalformedError(f"{len(data)} bytes, an SBOM has at most {MAX_SBOM}", where=what)
    check_depth(data, what, depth=MAX_DEPTH)
    sbom = _decode(data, _Sbom, what)
    if sbom.bom_format == "CycloneDX":
        if not re.fullmatch(r"1\.[2-9]", sbom.spec_version):
            raise MalformedError(f"CycloneDX {sbom.spec_version}, expected 1.2 to 1.9", where=what)
        _check_filled(len(sbom.components), "components", what)
        return "cyclonedx"
    if sbom.spdx_version:
        if not re.fullmatch(r"SPDX-2\.[0-9]", sbom.spdx_version):
            raise MalformedError(f"{sbom.spdx_version}, expected SPDX-2.2 or SPDX-2.3", where=what)
        _check_filled(len(sbom.packages), "packages", what)
        return "spdx"
    remedy = 'CycloneDX says "bomFormat": "CycloneDX", SPDX says "spdxVersion": "SPDX-2.3"'
    raise MalformedError("neither CycloneDX nor SPDX 2 in JSON", where=what, remedy=remedy, finding="sbom-unknown")


class SbomComponent(Struct, frozen=True, kw_only=True, order=True):
    """What an SBOM lists.

    Attributes:
        identity: What stays the same when only the version changes: the package URL without version, qualifiers and
            subpath (package-url specification, "Rules for each purl component"), else the name.
        version: Empty where the SBOM gives none.
    """

    identity: str
    version: str = ""


class _Listed(Struct, frozen=True):
    """A CycloneDX component, with those that it is assembled from."""

    name: _Named
    version: str = ""
    group: str = ""
    purl: str = ""
    components: list["_Listed"] = []


class _Reference(Struct, frozen=True):
    type: str = field(name="referenceType", default="")
    locator: str = field(name="referenceLocator", default="")


class _SpdxListed(Struct, frozen=True):
    name: _Named
    version: str = field(name="versionInfo", default="")
    references: list[_Reference] = field(name="externalRefs", default_factory=list)


class _Lists(Struct, frozen=True):
    components: list[_Listed] = []
    packages: list[_SpdxListed] = []


def read_components(data: bytes, what: str) -> tuple[SbomComponent, ...]:
    """Return everything that an SBOM of either format lists, sorted, each once. Raises as ``check_sbom``."""
    check_sbom(data, what)
    listed = _decode(data, _Lists, what)
    components = {one for top in listed.components for one in _with_parts(top)}
    for package in listed.packages:
        purl = next((one.locator for one in package.references if one.type == "purl"), "")
        components.add(_component(purl, package.name, package.version))
    return tuple(sorted(components))


def _with_parts(top: _Listed) -> Iterator[SbomComponent]:
    yield _component(top.purl, f"{top.group}/{top.name}" if top.group else top.name, top.version)
    for part in top.components:
        yield from _with_parts(part)


def _unquote(text: str) -> str:
    """Percent-encoding undone (RFC 3986, section 2.1); what is no UTF-8 is left as it is."""
    try:
        raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
        return raw.decode()
    except UnicodeError:
        return text


def _component(purl: str, name: str, version: str) -> SbomComponent:
    if not purl.startswith("pkg:"):
        return SbomComponent(identity=name, version=version)
    plain = purl.partition("#")[0].partition("?")[0]
    head, at, tail = plain.rpartition("@")
    # A scope that was written as @scope/name instead of %40scope/name is no version.
    if not at or "/" in tail:
        head, tail = plain, ""
    return SbomComponent(identity=_unquote(head), version=_unquote(tail) or version)


def _check_filled(count: int, what_it_lists: str, what: str) -> None:
    if not count:
        remedy = "make the SBOM from the image, or write `sbom: none` with a reason"
        raise MalformedError(f"the SBOM lists no {what_it_lists}", where=what, remedy=remedy, finding="sbom-empty")


def _decode(data: bytes, type_: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = str(error)
        raise MalformedError(f"not an SBOM: {problem[:1].lower()}{problem[1:]}", where=what) from None
