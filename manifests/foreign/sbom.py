"""Read SBOMs: CycloneDX, SPDX 2 and SPDX 3, in JSON. Every command that looks into an SBOM reads it here.

Documents of others: read leniently, never re-encoded. Null is the same as absent. Only what a component is called is
looked at, so that a large document costs little memory.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from manifests.foreign.doubled_keys import doubled_keys, refuse_doubled_keys
from manifests.foreign.json_faults import MAX_FAULTS, ShapeFault, document_faults
from manifests.foreign.sbom_encoding import SbomSource, json_text, refuse_other_json
from manifests.words.canonical import check_depth
from manifests.words.errors import MalformedError

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"
MAX_SBOM = 32 << 20
MAX_DEPTH = 64

SbomFormat = Literal["cyclonedx", "spdx"]
MEDIA_TYPES: dict[SbomFormat, str] = {"cyclonedx": CYCLONEDX, "spdx": SPDX}
T = TypeVar("T")
# Media types of SBOMs that are no JSON. They are recognised, so that the refusal names the encoding.
_OTHER_ENCODINGS = ("application/vnd.cyclonedx", "application/vnd.cyclonedx+xml", "text/spdx", "application/spdx+xml")


class SbomComponent(Struct, frozen=True, kw_only=True, order=True):
    """What an SBOM lists.

    Attributes:
        identity: What stays the same when only the version changes: the package URL without version, qualifiers and
            subpath (package-url specification, "Rules for each purl component"), else the name.
        version: Empty where the SBOM gives none; for a file the beginning of its digest.
    """

    identity: str
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class SbomDocument:
    """An SBOM as it was read.

    Attributes:
        version: Of its specification, such as ``1.6`` or ``3.0.1``.
        name: Its own name; empty where it has none.
        components: Everything that it lists and that has a name, sorted, each once.
        unnamed: How many entries have neither a name nor a package URL with one; they cannot be compared.
    """

    format: SbomFormat
    version: str
    name: str
    components: tuple[SbomComponent, ...]
    unnamed: int

    @property
    def spoken(self) -> str:
        """Format and version in words."""
        return f"{'CycloneDX' if self.format == 'cyclonedx' else 'SPDX'} {self.version}"


class _Stated(Struct, frozen=True):
    """Format and version, where a document states them."""

    bom_format: str | None = field(name="bomFormat", default=None)
    spec_version: str | None = field(name="specVersion", default=None)
    spdx_version: str | None = field(name="spdxVersion", default=None)


class _Kind(_Stated, frozen=True):
    """What tells the formats apart."""

    context: Raw | UnsetType = field(name="@context", default=UNSET)
    graph: Raw | UnsetType = field(name="@graph", default=UNSET)


class _Part(Struct, frozen=True):
    """A CycloneDX component, with those that it is assembled from."""

    name: str | None = None
    version: str | None = None
    group: str | None = None
    purl: str | None = None
    components: list["_Part | None"] | None = None


class _Metadata(Struct, frozen=True):
    component: _Part | None = None


class _CycloneDx(Struct, frozen=True):
    components: list[_Part | None] | None = None
    metadata: _Metadata | None = None


class _Checksum(Struct, frozen=True):
    algorithm: str | None = None
    value: str | None = field(name="checksumValue", default=None)
    hash_value: str | None = field(name="hashValue", default=None)


class _Reference(Struct, frozen=True):
    type: str | None = field(name="referenceType", default=None)
    locator: str | None = field(name="referenceLocator", default=None)


class _Package(Struct, frozen=True):
    name: str | None = None
    version: str | None = field(name="versionInfo", default=None)
    references: list[_Reference | None] | None = field(name="externalRefs", default=None)


class _File(Struct, frozen=True):
    name: str | None = field(name="fileName", default=None)
    checksums: list[_Checksum | None] | None = None


class _Spdx(Struct, frozen=True):
    name: str | None = None
    packages: list[_Package | None] | None = None
    files: list[_File | None] | None = None


class _Identifier(Struct, frozen=True):
    type: str | None = field(name="externalIdentifierType", default=None)
    identifier: str | None = None


class _Element(Struct, frozen=True):
    """An element of an SPDX 3 graph. Other elements are written inside it, or named by their IRI."""

    type: str | list[str] | None = None
    at_type: str | list[str] | None = field(name="@type", default=None)
    name: str | None = None
    spec_version: str | None = field(name="specVersion", default=None)
    version: str | None = field(name="software_packageVersion", default=None)
    purl: str | None = field(name="software_packageUrl", default=None)
    # Drafts of SPDX 3 had no prefixes, and some public documents still have none.
    draft_version: str | None = field(name="packageVersion", default=None)
    draft_purl: str | None = field(name="packageUrl", default=None)
    identifiers: list[_Identifier | str | None] | _Identifier | str | None = field(
        name="externalIdentifier", default=None
    )
    hashes: list[_Checksum | str | None] | _Checksum | str | None = field(name="verifiedUsing", default=None)
    elements: "list[_Element | str | None] | _Element | str | None" = field(name="element", default=None)
    roots: "list[_Element | str | None] | _Element | str | None" = field(name="rootElement", default=None)

    @property
    def kind(self) -> str:
        """``package``, ``file``, or another class: ``software_Package``, ``ai_AIPackage`` and IRIs without prefix."""
        types = self.type or self.at_type or ""
        names = [re.split("[/#:_]", one)[-1].lower() for one in ([types] if isinstance(types, str) else types)]
        return "package" if any(one.endswith("package") for one in names) else names[0] if names else ""


_Elements = list[_Element | str | None] | _Element | str | None


class _Graph(Struct, frozen=True):
    graph: _Elements = field(name="@graph", default=None)


# What was listed: an identity, empty when it has no name, and a version.
_Listed = tuple[str, str]


def format_of(media_type: str) -> SbomFormat | None:
    """The format that a media type names, also in the spellings of cosign's ``.sbom`` tags; None for another thing."""
    plain = media_type.partition(";")[0].strip().lower()
    if plain == CYCLONEDX:
        return "cyclonedx"
    if plain in (SPDX, "text/spdx+json", "spdx+json"):
        return "spdx"
    if plain in _OTHER_ENCODINGS:
        return "cyclonedx" if "cyclonedx" in plain else "spdx"
    return None


def read_sbom_file(data: bytes, path: Path) -> SbomDocument:
    """As ``read_sbom``, of the file at ``path``, which the commands in the errors name."""
    return _read(data, SbomSource(str(path), path))


def read_sbom(data: bytes, what: str) -> SbomDocument:
    """Read an SBOM that `build`, `lint`, `review` and `compare` all take.

    Raises MalformedError unless it is CycloneDX or SPDX in JSON, has no key twice, and lists something.
    """
    return _read(data, SbomSource(what))


def sbom_problems(data: bytes, path: Path) -> tuple[MalformedError, ...]:
    """Return the faults of an SBOM, at most `MAX_FAULTS`: doubled keys, its version, values of a wrong shape."""
    source = SbomSource(str(path), path)
    try:
        _read(data, source)
        return ()
    except MalformedError as error:
        first = error
    if first.finding in ("sbom-encoding", "sbom-empty") or len(data) > MAX_SBOM:
        return (first,)
    text = json_text(data, source)
    problems = [*doubled_keys(text, source.what)]
    faults = document_faults(text, _Stated, depth=MAX_DEPTH)
    if not faults:
        try:
            kind = _decode(text, _Kind, source.what)
        except MalformedError:
            return (first,)
        problems += _version_problems(kind, source.what)
        # The kind decides what else the document should be.
        faults = document_faults(text, _shape(kind), depth=MAX_DEPTH)
    problems += [_misshapen(fault, source.what) for fault in faults]
    if first.problem not in {problem.problem for problem in problems}:
        problems.append(first)
    return tuple(problems[:MAX_FAULTS])


def _shape(kind: _Kind) -> object:
    """What a document of this kind is read as; a document of no kind may be anything."""
    if kind.bom_format == "CycloneDX":
        return _CycloneDx
    if kind.spdx_version:
        return _Spdx
    return object if kind.context is UNSET else _Element if kind.graph is UNSET else _Graph


def _misshapen(fault: ShapeFault, what: str) -> MalformedError:
    at = "" if fault.place == "$" else f" - at `{fault.place}`"
    return MalformedError(f"not an SBOM: {fault.problem}{at}", where=what, finding="sbom-unknown")


def _read(data: bytes, source: SbomSource) -> SbomDocument:
    what = source.what
    if len(data) > MAX_SBOM:
        raise MalformedError(f"{len(data)} bytes, an SBOM has at most {MAX_SBOM}", where=what)
    text = json_text(data, source)
    check_depth(text, what, depth=MAX_DEPTH)
    refuse_doubled_keys(text, what)
    kind = _decode(text, _Kind, what)
    for problem in _version_problems(kind, what):
        raise problem
    if kind.bom_format == "CycloneDX":
        return _read_cyclonedx(text, kind.spec_version or "", what)
    if kind.spdx_version:
        return _read_spdx(text, kind.spdx_version, what)
    if kind.context is not UNSET or kind.graph is not UNSET:
        document = _read_spdx3(text, kind, what)
        if document is not None:
            return document
    refuse_other_json(frozenset(_decode(text, dict[str, Raw], what)), source)
    remedy = 'CycloneDX says "bomFormat": "CycloneDX", SPDX says "spdxVersion": "SPDX-2.3" or names its @context'
    raise MalformedError("neither CycloneDX nor SPDX in JSON", where=what, remedy=remedy, finding="sbom-unknown")


def _version_problems(kind: _Kind, what: str) -> Iterator[MalformedError]:
    if kind.bom_format == "CycloneDX":
        version = kind.spec_version or ""
        if not re.fullmatch(r"1\.[2-9]", version):
            yield MalformedError(f"CycloneDX {version or 'without a version'}, expected 1.2 to 1.9", where=what)
    elif kind.spdx_version and not re.fullmatch(r"SPDX-2\.[0-9]", kind.spdx_version):
        yield MalformedError(f"{kind.spdx_version}, expected SPDX-2.2, SPDX-2.3 or SPDX 3 in JSON-LD", where=what)


def _read_cyclonedx(text: bytes, version: str, what: str) -> SbomDocument:
    sbom = _decode(text, _CycloneDx, what)
    main = sbom.metadata.component if sbom.metadata else None
    listed = [one for part in sbom.components or () for one in _with_parts(part)]
    # The thing that the document is about changes with every release; it counts only where nothing else is listed.
    listed += [one for part in (main.components if main else None) or () for one in _with_parts(part)]
    if not listed and main is not None:
        listed = list(_with_parts(main))
    return _filled("cyclonedx", version, (main.name if main else "") or "", listed, what)


def _with_parts(top: _Part | None) -> Iterator[_Listed]:
    if top is None:
        return
    name = top.name or ""
    yield _component(top.purl, f"{top.group}/{name}" if top.group and name.strip() else name, top.version)
    for part in top.components or ():
        yield from _with_parts(part)


def _read_spdx(text: bytes, version: str, what: str) -> SbomDocument:
    sbom = _decode(text, _Spdx, what)
    listed = []
    for package in sbom.packages or ():
        if package is not None:
            purls = (one.locator for one in package.references or () if one is not None and one.type == "purl")
            listed.append(_component(next(purls, ""), package.name, package.version))
    if not listed:
        files = (file for file in sbom.files or () if file is not None)
        listed = [_component("", file.name, _digest(file.checksums)) for file in files]
    return _filled("spdx", version.removeprefix("SPDX-"), sbom.name or "", listed, what)


def _read_spdx3(text: bytes, kind: _Kind, what: str) -> SbomDocument | None:
    """Read JSON-LD of SPDX 3 (its chapter on serializations): a graph, or one element alone. None for other JSON-LD."""
    context = bytes(kind.context).decode() if isinstance(kind.context, Raw) else ""
    if "spdx" not in context.lower():
        return None
    stated = re.search(r"spdx\.org/rdf/(?:v)?([0-9][0-9.]*)", context)
    version = stated[1].rstrip(".") if stated else ""
    if version and not version.startswith("3."):
        raise MalformedError(f"JSON-LD of SPDX {version}, expected SPDX 3", where=what)
    whole = kind.graph is UNSET
    elements = list(_elements(_decode(text, _Element, what) if whole else _decode(text, _Graph, what).graph))
    packages = [_component(_purl(one), one.name, _version(one)) for one in elements if one.kind == "package"]
    files = (_component("", one.name, _digest(one.hashes)) for one in elements if one.kind == "file")
    names = (one.name for one in elements if one.kind == "spdxdocument" and one.name)
    version = version or next((one.spec_version for one in elements if one.spec_version), "3")
    return _filled("spdx", version, next(names, ""), packages or list(files), what)


def _elements(given: _Elements) -> Iterator[_Element]:
    for element in given if isinstance(given, list) else (given,):
        if isinstance(element, _Element):
            yield element
            yield from _elements(element.elements)
            yield from _elements(element.roots)


def _version(element: _Element) -> str | None:
    return element.version or element.draft_version


def _purl(element: _Element) -> str:
    given = element.identifiers if isinstance(element.identifiers, list) else (element.identifiers,)
    known = [one for one in given if isinstance(one, _Identifier) and one.type in ("packageUrl", "purl")]
    return element.purl or element.draft_purl or (known[0].identifier if known else "") or ""


def _digest(given: "Iterable[_Checksum | str | None] | _Checksum | str | None") -> str:
    """The version of a file: the beginning of its digest, of SHA-256 where it has one."""
    checksums = (given,) if isinstance(given, _Checksum | str) or given is None else given
    values = {
        (checksum.algorithm or "").lower().replace("-", ""): checksum.value or checksum.hash_value
        for checksum in checksums
        if isinstance(checksum, _Checksum) and (checksum.value or checksum.hash_value)
    }
    algorithm = "sha256" if "sha256" in values else min(values, default="")
    return f"{algorithm}:{(values[algorithm] or '')[:12]}" if algorithm else ""


def _component(purl: str | None, name: str | None, version: str | None) -> _Listed:
    """Identity and version; the identity is empty when neither the name nor the package URL says one."""
    name, version = (name or "") if (name or "").strip() else "", version or ""
    if not purl or not purl.startswith("pkg:"):
        return name, version
    plain = purl.partition("#")[0].partition("?")[0]
    head, at, tail = plain.rpartition("@")
    # A scope that was written as @scope/name instead of %40scope/name is no version.
    if not at or "/" in tail:
        head, tail = plain, ""
    type_, _, path = head.partition("/")
    if type_ == "pkg:" or not path.rpartition("/")[2]:
        return name, version
    return _unquote(head), _unquote(tail) or version


def _unquote(text: str) -> str:
    """Percent-encoding undone (RFC 3986, section 2.1); what is no UTF-8 is left as it is."""
    try:
        raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
        return raw.decode()
    except UnicodeError:
        return text


def _filled(format_: SbomFormat, version: str, name: str, listed: list[_Listed], what: str) -> SbomDocument:
    if not listed:
        things = "components" if format_ == "cyclonedx" else "packages and no files"
        remedy = "make the SBOM from the image, or write `sbom: none` with a reason"
        raise MalformedError(f"the SBOM lists no {things}", where=what, remedy=remedy, finding="sbom-empty")
    named = {SbomComponent(identity=identity, version=of) for identity, of in listed if identity}
    return SbomDocument(
        format=format_,
        version=version,
        name=name,
        components=tuple(sorted(named)),
        unnamed=sum(not identity for identity, _ in listed),
    )


def _decode(data: bytes, type_: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = str(error)
        lower = problem if problem.startswith("JSON") else problem[:1].lower() + problem[1:]
        raise MalformedError(f"not an SBOM: {lower}", where=what, finding="sbom-unknown") from None
