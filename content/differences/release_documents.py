"""One side of a comparison: a release with its small documents, from the store or from a request folder."""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, TypeVar

from manifests.documents.authorisation import MAX_AUTHORISATION, Authorisation, parse_authorisation
from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.foreign.attachments import MAX_NOTES, MAX_OPENVEX, check_notes, check_openvex
from manifests.foreign.config_schema import MAX_SCHEMA, read_config_schema
from manifests.foreign.sbom import MAX_SBOM, SbomComponent, SbomDocument, read_sbom
from manifests.words.digest import Blob
from manifests.words.errors import WaybillError
from manifests.words.units import show_count

# Reads a blob of at most so many bytes and checks its digest.
ReadBlob = Callable[[Blob, int], bytes]
Parsed = TypeVar("Parsed")
MAX_NOTE_LINES = 200
MAX_NOTE_LINE = 500


@dataclass(frozen=True)
class DocumentNote:
    """What is to be said of one document of a release.

    Attributes:
        part: Of the parts of a comparison, the one that needs the document.
        kind: ``unread``: it was not compared; ``partly``: not all of it was; ``read``: what was compared.
        what: The document and its release in words.
        image: Whose SBOM it is; empty for another document.
        digest: Of a document that cannot be read.
    """

    part: str
    kind: Literal["unread", "partly", "read"]
    what: str
    text: str
    image: str = ""
    digest: str = ""

    @property
    def line(self) -> str:
        return f"{self.what}: {self.text}"

    @property
    def sentence(self) -> str:
        """Why two sides are not comparable, or not entirely."""
        if self.kind == "unread":
            return f"not comparable, because the {self.what} cannot be read: {self.text}"
        return f"not entirely comparable, because of the {self.what}: {self.text}"


@dataclass(frozen=True)
class ReleaseDocuments:
    """A release and the documents that are compared.

    Attributes:
        digest: Digest of ``release.json``.
        contract, rollback, schema: None when it could not be read.
        config, settings: The site's config and settings for it; None without a site.
        components: Components of the images whose SBOMs were read, by the image's name.
        advisories: Statuses in the release's OpenVEX documents, by advisory.
        authorisations: Those to go below the floor that the release carries; judged when the release came.
        notes: Which documents could not be read, or not entirely, and which SBOMs were read.
        release_notes: Lines of the vendor's notes on the release, as ``with_release_notes`` reads them.
    """

    release: Release
    digest: str
    contract: Contract | None = None
    rollback: Rollback | None = None
    schema: bytes | None = None
    config: bytes | None = None
    settings: bytes | None = None
    components: dict[str, tuple[SbomComponent, ...]] = field(default_factory=dict)
    advisories: dict[str, frozenset[str]] = field(default_factory=dict)
    authorisations: tuple[Authorisation, ...] = ()
    notes: tuple[DocumentNote, ...] = ()
    release_notes: tuple[str, ...] = ()

    @property
    def unread(self) -> tuple[str, ...]:
        """What was not compared, or not entirely, one line each."""
        return tuple(note.line for note in self.notes if note.kind != "read")


def incomparable_parts(*sides: ReleaseDocuments | None) -> frozenset[str]:
    """The parts whose document one of the sides lacks; SBOMs are judged image by image."""
    return frozenset(note.part for note in _unread(sides) if not note.image)


def incomparable_images(*sides: ReleaseDocuments | None) -> frozenset[str]:
    """The images of which one of the sides has an SBOM that cannot be read."""
    return frozenset(note.image for note in _unread(sides) if note.image)


def _unread(sides: Iterable[ReleaseDocuments | None]) -> list[DocumentNote]:
    return [note for side in sides if side is not None for note in side.notes if note.kind == "unread"]


def read_release_documents(
    release: Release,
    digest: str,
    read: ReadBlob,
    *,
    config: bytes | None = None,
    settings: bytes | None = None,
    same: Container[str] | None = frozenset(),
) -> ReleaseDocuments:
    """Read the documents of ``release``. One that cannot be read is listed in ``unread``.

    Args:
        same: Images that are the same on both sides, so their SBOMs are not read. None to read no SBOMs.
    """
    notes: list[DocumentNote] = []

    def attempt(part: str, blob: Blob, limit: int, parse: Callable[[bytes], Parsed], image: str = "") -> Parsed | None:
        try:
            return parse(read(blob, limit))
        except WaybillError as error:
            notes.append(DocumentNote(part, "unread", _what(part, release, image), error.problem, image, blob.digest))
            return None

    contract = attempt("contract", release.contract, MAX_CONTRACT, parse_contract)
    rollback = attempt("rollback", release.rollback, MAX_ROLLBACK, parse_rollback)
    schema = attempt("schema", release.config.schema, MAX_SCHEMA, _checked_schema) if release.config else None
    components: dict[str, tuple[SbomComponent, ...]] = {}
    for image in release.images:
        if same is None or image.name in same:
            continue
        parts: set[SbomComponent] = set()
        for sbom in image.sboms:
            blob = Blob(digest=sbom.digest, size=sbom.size)
            document = attempt("sbom", blob, MAX_SBOM, partial(read_sbom, what=sbom.digest), image.name)
            if document is not None:
                parts |= set(document.components)
                notes += _sbom_notes(document, sbom.digest, _what("sbom", release, image.name), image.name)
        if parts:
            components[image.name] = tuple(sorted(parts))
    statuses_by_name: dict[str, set[str]] = {}
    for blob in release.advisories:
        openvex = attempt("advisories", blob, MAX_OPENVEX, partial(check_openvex, what=blob.digest))
        for statement in openvex.statements if openvex else ():
            name = statement.vulnerability if isinstance(statement.vulnerability, str) else statement.vulnerability.name
            statuses_by_name.setdefault(name, set()).add(statement.status)
    carried = release.authorisations
    permits = [attempt("authorisations", blob, MAX_AUTHORISATION, parse_authorisation) for blob in carried]
    return ReleaseDocuments(
        release=release,
        digest=digest,
        contract=contract,
        rollback=rollback,
        schema=schema,
        config=config,
        settings=settings,
        components=components,
        advisories={name: frozenset(statuses) for name, statuses in statuses_by_name.items()},
        authorisations=tuple(permit[1] for permit in permits if permit is not None),
        notes=tuple(notes),
    )


def _checked_schema(data: bytes) -> bytes:
    """Return the schema as it is, after the checks without which it cannot be compared. Raises MalformedError."""
    read_config_schema(data, "config schema")
    return data


def without_common_notes(side: ReleaseDocuments, other: ReleaseDocuments) -> ReleaseDocuments:
    """Return ``side`` without the notes on documents that neither side can read and both name by one digest."""
    same = {(note.part, note.image, note.digest) for note in other.notes if note.kind == "unread" and note.digest}
    return replace(side, notes=tuple(note for note in side.notes if (note.part, note.image, note.digest) not in same))


def with_release_notes(side: ReleaseDocuments, read: ReadBlob) -> ReleaseDocuments:
    """Return ``side`` with the lines of its release notes; a long text is cut, and says so."""
    if side.release.notes is None:
        return side
    blob, what = side.release.notes, f"release notes of {side.release.version}"
    try:
        lines = notes_lines(read(blob, MAX_NOTES))
    except WaybillError as error:
        note = DocumentNote("notes", "unread", what, error.problem, digest=blob.digest)
        return replace(side, notes=(*side.notes, note))
    return replace(side, release_notes=lines)


def notes_lines(data: bytes) -> tuple[str, ...]:
    """Return the lines of release notes, at most 200 of at most 500 characters; empty lines at the end are left out.

    Raises:
        MalformedError: Not text that ``lint`` accepts.
    """
    check_notes(data, "release notes")
    lines = [line.expandtabs(4).rstrip() for line in data.decode("utf-8").rstrip().splitlines()]
    kept = lines[:MAX_NOTE_LINES]
    shown = tuple(line if len(line) <= MAX_NOTE_LINE else f"{line[:MAX_NOTE_LINE]} …" for line in kept)
    more = len(lines) - MAX_NOTE_LINES
    return (*shown, f"… and {more} more lines") if more > 0 else shown


def _what(part: str, release: Release, image: str) -> str:
    names = {
        "contract": "telemetry contract",
        "rollback": "rollback document",
        "schema": "config schema",
        "sbom": f"SBOM of image {image}",
    }
    return f"{names.get(part, part)} of {release.version}"


def _sbom_notes(document: SbomDocument, digest: str, what: str, image: str) -> Iterable[DocumentNote]:
    """Name the SBOM that is compared. Entries without a name are counted; a document of such entries says nothing."""
    known = len(document.components)
    entries = f"{document.unnamed} {'entry' if document.unnamed == 1 else 'entries'}"
    if not known:
        yield DocumentNote("sbom", "unread", what, f"it lists {entries} and no name", image)
        return
    yield DocumentNote("sbom", "read", what, f"{document.spoken}, {show_count(known, 'component')}, {digest}", image)
    if document.unnamed:
        text = f"{entries} without a name, beside {show_count(known, 'component')}"
        yield DocumentNote("sbom", "partly", what, text, image)
