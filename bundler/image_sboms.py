"""The SBOMs beside one image: which there are, and which one describes each manifest in the release."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bundler.parts import FetchedPart, HeldPart, PartOrigin, Parts
from bundler.source import Source
from content.bundle.oci import Descriptor, ImageIndex, ImageManifest
from content.bundle.selection import ATTESTED
from manifests.documents.release import Sbom
from manifests.foreign.sbom import MAX_SBOM, SbomDocument, format_of, read_sbom
from manifests.foreign.statement import MAX_STATEMENT, AttestedSbom, may_hold_sbom, read_attested_sbom
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.units import show_count

MAX_SBOMS = 256
# How BuildKit ties an attestation inside an index to the manifest that it is about.
SbomOrigin = Literal["file", "referrer", "tag", "statement"]
_WORDS: dict[SbomOrigin, str] = {
    "file": "from a file",
    "referrer": "attached",
    "tag": "attached by a tag",
    "statement": "from an in-toto statement",
}
# The vendor's own file first; then what is an SBOM itself, before one inside of something else.
_FIRST: dict[SbomOrigin, int] = {"file": 0, "referrer": 1, "tag": 1, "statement": 2}


@dataclass(frozen=True)
class ImageSbom:
    """An SBOM about one manifest.

    Attributes:
        about: Digest of the manifest.
        linked: Whether a referrer that index.json lists has it as a layer (F-10.13).
        content: The bytes, when they are no part yet.
    """

    about: str
    blob: Blob
    document: SbomDocument
    origin: SbomOrigin
    linked: bool = False
    content: PartOrigin | None = None

    @property
    def recorded(self) -> Sbom:
        return Sbom(format=self.document.format, digest=self.blob.digest, size=self.blob.size)

    @property
    def words(self) -> str:
        count = show_count(len(self.document.components), "component")
        return f"{self.document.spoken}, {count}, {self.blob.digest}, {_WORDS[self.origin]}"


@dataclass(frozen=True)
class ChosenSboms:
    """The SBOMs of one image.

    Attributes:
        used: One for each manifest that is described; sorted by digest.
        aside: The others; they are carried as they are.
    """

    used: tuple[ImageSbom, ...]
    aside: tuple[ImageSbom, ...]

    def lines(self, image: str) -> tuple[str, ...]:
        """What is used, for each image whose SBOMs did not all come as one file."""
        if not self.aside and all(sbom.origin == "file" for sbom in self.used):
            return ()
        more = f"; not used: {'; '.join(sbom.words for sbom in self.aside[:3])}" if self.aside else ""
        more += f" and {len(self.aside) - 3} more" if len(self.aside) > 3 else ""
        lines = [f"{image}: {sbom.words}" for sbom in self.used]
        return (*lines[:-1], lines[-1] + more) if lines else ()

    def unnamed(self, image: str) -> tuple[str, ...]:
        """A warning for each SBOM in use that has entries without a name."""
        return tuple(
            f"image {image}: SBOM {sbom.blob.digest} lists {sbom.document.unnamed} "
            f"{'entry' if sbom.document.unnamed == 1 else 'entries'} without a name; carried, and not compared"
            for sbom in self.used
            if sbom.document.unnamed
        )


@dataclass(frozen=True)
class SbomsBeside:
    """The packed manifests of one image, and what is found in them.

    Attributes:
        nodes: Packed manifests and indexes by digest.
        tags: The manifests that cosign's tags name as the subject, by the manifest under the tag.
        listed: Digests of the referrers that index.json lists.
        unread: Why an SBOM could not be read.
    """

    source: Source
    parts: Parts
    nodes: Mapping[str, ImageManifest | ImageIndex]
    tags: Mapping[str, Sequence[str]]
    listed: frozenset[str]
    unread: list[MalformedError] = field(default_factory=list)

    def find(self, subjects: tuple[str, ...]) -> Iterator[ImageSbom]:
        """SBOMs about ``subjects``: in referrers, under cosign's tags, and in the attestations inside an index.

        One that cannot be read is carried all the same; `unread` has the reason, and a doubt names it.
        """
        attested = {
            child.digest: child.annotation(ATTESTED)
            for index in self.nodes.values()
            for child in (index.manifests if isinstance(index, ImageIndex) else ())
            if child.annotation(ATTESTED)
        }
        for digest, document in self.nodes.items():
            if not isinstance(document, ImageManifest):
                continue
            subject = document.subject.digest if document.subject is not None else attested.get(digest, "")
            abouts = {subject: False, **dict.fromkeys(self.tags.get(digest, ()), True)}
            for about in (about for about in abouts if about in subjects):
                origin: SbomOrigin = "tag" if abouts[about] else "referrer"
                linked = origin == "referrer" and document.subject is not None and digest in self.listed
                for layer in (layer for layer in document.layers if not layer.urls):
                    yield from self._read(document, layer, ImageSbomPlace(about, origin, linked), subjects)

    def _read(
        self, document: ImageManifest, layer: Descriptor, place: "ImageSbomPlace", subjects: tuple[str, ...]
    ) -> Iterator[ImageSbom]:
        where = f"{self.source.name} {layer.digest}"
        try:
            if may_hold_sbom(layer.media_type, dict(layer.annotations), dict(document.annotations)):
                attested = read_attested_sbom(self._content(layer, MAX_STATEMENT), where)
                if attested is None:
                    return
                # One that is attached to an index may be about a platform of it.
                about = next((one for one in (place.about, *subjects) if one in attested.about), None)
                if about is None:
                    raise MalformedError(f"the statement is not about {place.about}", where=where)
                read = read_sbom(attested.data, where)
                blob = Blob(digest=digest_of(attested.data), size=len(attested.data))
                content = self._taken_out(layer, attested, where)
                yield ImageSbom(about, blob, read, "statement", content=content)
            elif format_of(layer.media_type) or format_of(document.artifact_type or ""):
                read = read_sbom(self._content(layer, MAX_SBOM), where)
                blob = Blob(digest=layer.digest, size=layer.size)
                yield ImageSbom(place.about, blob, read, place.origin, place.linked)
        except MalformedError as error:
            self.unread.append(error)
            self.source.doubts.append(f"SBOM {layer.digest} is carried and not used: {error.problem}")

    def _content(self, layer: Descriptor, limit: int) -> bytes:
        """The bytes of a layer. A small one is kept, so that it is read once."""
        known = self.parts.by_digest[layer.digest].origin
        data = known.data if isinstance(known, HeldPart) else self.source.blob(layer, limit)
        if not isinstance(known, HeldPart) and self.parts.may_hold(len(data)):
            blob = Blob(digest=layer.digest, size=layer.size)
            self.parts.add(blob, HeldPart(data), self.source.name, document=True)
        return data

    def _taken_out(self, layer: Descriptor, attested: AttestedSbom, where: str) -> PartOrigin:
        """The SBOM of a statement. A large one is not kept in memory, but taken out again when it is packed."""
        if self.parts.may_hold(len(attested.data)):
            return HeldPart(attested.data)
        digest = digest_of(attested.data)

        def again() -> Iterator[bytes]:
            sbom = read_attested_sbom(self._content(layer, MAX_STATEMENT), where)
            if sbom is None or digest_of(sbom.data) != digest:
                raise DamagedError("the statement changed while it was read", where=where)
            yield sbom.data

        return FetchedPart(again)


@dataclass(frozen=True)
class ImageSbomPlace:
    """What an SBOM is about and how it hangs there, before it is read; fields as in `ImageSbom`."""

    about: str
    origin: SbomOrigin
    linked: bool


def choose_sboms(sboms: Iterable[ImageSbom], root: str, where: str) -> ChosenSboms:
    """Choose one SBOM for the image ``root``; where it has none of its own, one for each child that has any.

    Raises RefusedError for more than a release can record.
    """
    known: dict[tuple[str, str], ImageSbom] = {}
    for sbom in sorted(sboms, key=_order):
        known.setdefault((sbom.about, sbom.blob.digest), sbom)
    best: dict[str, ImageSbom] = {}
    for sbom in known.values():
        best.setdefault(sbom.about, sbom)
    chosen = {root: best[root]} if root in best else best
    used = {sbom.blob.digest: sbom for sbom in chosen.values()}
    if len(used) > MAX_SBOMS:
        remedy = "name a file (sbom: FILE) about the whole image"
        raise RefusedError(f"{len(used)} SBOMs, an image has at most {MAX_SBOMS}", where=where, remedy=remedy)
    aside = {sbom.blob.digest: sbom for sbom in known.values() if sbom.blob.digest not in used}
    return ChosenSboms(tuple(used[key] for key in sorted(used)), tuple(aside.values()))


def _order(sbom: ImageSbom) -> tuple[object, ...]:
    """The best first. BuildKit names what it scans ``sbom``, and build stages ``sbom-NAME``: they are not the image."""
    stage = sbom.document.name.rpartition("/")[2].startswith("sbom-")
    components = len(sbom.document.components)
    return (not components, _FIRST[sbom.origin], stage, sbom.document.format, -components, sbom.blob.digest)
