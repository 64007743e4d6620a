"""Choose what of an image is packed: platforms, gaps and foreign layers. `build` packs it, `lint` only looks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from content.bundle.graph import MAX_DEPTH, UNKNOWN, DocumentCount, fits
from content.bundle.oci import (
    FOREIGN,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageIndex,
    ImageManifest,
    Texts,
    parse_oci,
)
from content.bundle.oci_writer import EMPTY
from content.bundle.platforms import NOT_THERE, ImageHolder, packed_platforms, platform_of
from content.bundle.schema_1 import SCHEMA_1, SCHEMA_1_TEXT, is_schema_1, schema_1_refused, schema_1_remedy
from manifests.documents.release import Absent
from manifests.foreign.statement import TYPE_NOTES
from manifests.words.errors import MalformedError, RefusedError, WaybillError

# On an attestation of BuildKit inside an index: the manifest that it is about.
ATTESTED = "vnd.docker.reference.digest"
# On the image of a Dockerfile, and on the statements of cosign and BuildKit.
BASE_NAME = "org.opencontainers.image.base.name"
_NOTES = frozenset({ATTESTED, BASE_NAME, *TYPE_NOTES})
# Documents that were read are kept up to this; the others are read again.
MAX_FETCHED = 8 << 20
Document = ImageManifest | ImageIndex
ForeignLayers = Literal["fetch", "absent"]


@dataclass(frozen=True)
class WantedImage:
    """What ``release.yaml`` says of one image.

    Attributes:
        platforms: Those that must be packed; empty for all that are there.
        foreign_layers: What becomes of layers with ``urls``; None refuses them.
    """

    name: str
    platforms: tuple[str, ...] = ()
    foreign_layers: ForeignLayers | None = None


class PackedDocuments:
    """Counts the documents that a release packs, each digest once, and holds the size of every blob that they name.

    Attributes:
        too_many: Whether a limit was passed.
    """

    def __init__(self) -> None:
        self.too_many = False
        self._count = DocumentCount()
        self._digests: set[str] = set()
        self._sizes: dict[str, int] = {EMPTY.digest: EMPTY.size}

    def add(self, descriptor: Descriptor, document: Document, where: str) -> None:
        """Count a document before it is kept. Raises MalformedError above the limits of F-10.16 and F-10.18."""
        digest = descriptor.digest
        if digest in self._digests:
            return
        self._digests.add(digest)
        try:
            self._count.add(document, descriptor.size, where)
        except MalformedError as error:
            self.too_many = True
            problem = f"{error.problem}; a verifier would refuse this release"
            remedy = "remove annotations or platforms from the images, or divide the images between releases"
            raise error.with_(problem=problem, remedy=remedy) from None

    def check_size(self, digest: str, size: int, where: str) -> None:
        """Raise MalformedError for a blob that is named with two sizes, which a verifier refuses (F-10.7)."""
        known = self._sizes.setdefault(digest, size)
        if known != size:
            problem = f"{digest} is listed with {size} and {known} bytes"
            remedy = "make or copy the image again, so that all that name this blob state one size"
            raise MalformedError(problem, where=where, remedy=remedy, finding="two-sizes")


@dataclass(frozen=True)
class SelectionAccess:
    """How a selection reads and keeps.

    Attributes:
        source: Where manifests and indexes are.
        holds: Whether a blob is at hand, as far as that is known without reading it.
        keep: Called once with each document that is packed.
        packed: Counts the documents of all images of the release.
    """

    source: ImageHolder
    holds: Callable[[Descriptor], bool]
    keep: Callable[[Descriptor, bytes, Document], None] = lambda *_: None
    known: Callable[[Descriptor], bytes | None] = lambda _: None
    packed: PackedDocuments = field(default_factory=PackedDocuments)


class ImageSelection:
    """The state of one walk.

    Attributes:
        nodes: The packed manifests and indexes by digest, in the order found.
        platforms: Those that were named, else those that were packed of an index with gaps.
        absent: What is named and not packed.
        left_out: The same in words, where nobody asked for it.
        runs: Whether something was packed that is no attestation of BuildKit.
        edges: (parent, child) pairs that were packed, of indexes, and of manifests with foreign layers.
    """

    def __init__(self, wanted: WantedImage, access: SelectionAccess) -> None:
        self.wanted = wanted
        self._access = access
        self._source = access.source
        self.platforms = wanted.platforms
        self.nodes: dict[str, Document] = {}
        self.sizes: dict[str, int] = {}
        self.absent: list[Absent] = []
        self.left_out: list[str] = []
        self.edges: set[tuple[str, str]] = set()
        self._fetched: dict[str, tuple[bytes, Document]] = {}
        self._fetched_bytes = 0
        self._texts = Texts(_NOTES)
        self._packed: set[str] = set()
        self._matched: set[str] = set()
        self.runs = False

    def pack_root(self, root: Descriptor) -> None:
        """Pack the image, of an index only the platforms that the release names.

        Raises:
            RefusedError: A named platform is not there, nothing of an index is, or a layer may not be packed.
        """
        document = self.read(root)[1]
        if isinstance(document, ImageIndex):
            self.pack(root, 0, filtered=bool(self.wanted.platforms))
            offered = sorted(filter(None, {self._platform(child) for child in document.manifests}))
        else:
            own = platform_of(document, self._source) or "unknown"
            offered = [own]
            self._matched = {one for one in self.wanted.platforms if fits(own, one)}
            self.pack(root, 0)
            self.runs = True
        missing = [one for one in self.wanted.platforms if one not in self._matched]
        if missing:
            remedy = "correct `platforms` in release.yaml, or push the missing platforms"
            offer = ", ".join(offered) or "no platform"
            raise self._refused(f"image {self.wanted.name!r} has no {', '.join(missing)}, only {offer}", remedy)
        if not any(isinstance(node, ImageManifest) for node in self.nodes.values()):
            problem = f"nothing that the index of image {self.wanted.name!r} names is there to pack"
            if not self.left_out:
                problem = f"the index of image {self.wanted.name!r} names no manifest, expected at least one"
            remedy = "copy the image again with all of its platforms, or name another one"
            if any(SCHEMA_1_TEXT in text for text in self.left_out):
                remedy = schema_1_remedy()
            raise self._refused("; ".join((problem, *self.left_out)), remedy)
        if self.left_out and not self.platforms:
            self.platforms = packed_platforms(self._packed, self.wanted.name, self.left_out, self._source.name)

    def pack(self, descriptor: Descriptor, depth: int = 0, *, filtered: bool = False) -> None:
        """Pack a manifest, or an index with what it names and is there."""
        if descriptor.digest in self.nodes:
            return
        data, document = self.read(descriptor)
        where = f"{self._source.name} {descriptor.digest}"
        self._access.packed.add(descriptor, document, where)
        self._access.packed.check_size(descriptor.digest, len(data), where)
        if isinstance(document, ImageManifest):
            self._foreign(descriptor, document)
            for blob in document.children:
                if not (blob.urls and self.wanted.foreign_layers == "absent"):
                    self._access.packed.check_size(blob.digest, blob.size, where)
        self.nodes[descriptor.digest] = document
        self.sizes[descriptor.digest] = descriptor.size
        self._access.keep(descriptor, data, document)
        if isinstance(document, ImageManifest):
            return
        _check_depth(descriptor, depth)
        chosen = self._chosen(document) if filtered else {child.digest: False for child in document.manifests}
        for child in document.manifests:
            # Attestations of BuildKit call their platform unknown/unknown.
            platform = self._platform(child) or UNKNOWN
            # Of a child that is not here a reader knows only what the index states.
            gone = Absent(parent=descriptor.digest, digest=child.digest, platform=child.platform or UNKNOWN)
            if child.digest not in chosen:
                self.absent.append(gone)
            elif missing := self.missing(child, depth + 1):
                if chosen[child.digest]:
                    problem = f"image {self.wanted.name!r} has no {platform} to pack: {missing}"
                    remedy = "copy the image again with this platform, or take it out of `platforms`"
                    raise self._refused(problem, schema_1_remedy() if SCHEMA_1_TEXT in missing else remedy)
                self.absent.append(gone)
                self.left_out.append(f"{child.digest} ({platform}) is left out: {missing}")
            else:
                self._access.packed.check_size(child.digest, child.size, where)
                self.edges.add((descriptor.digest, child.digest))
                self._packed.add(platform)
                self.runs |= child.media_type in MANIFEST_TYPES and not _is_attestation(child)
                self.pack(child, depth + 1, filtered=filtered and not child.platform)

    def missing(self, descriptor: Descriptor, depth: int = 0) -> str:
        """Why a manifest or index cannot be packed whole, as far as only its absence is the reason; empty if it can."""
        if descriptor.media_type in SCHEMA_1:
            return f"it {SCHEMA_1_TEXT}"
        if descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return f"{descriptor.media_type} is no image"
        try:
            _, document = self.read(descriptor)
        except WaybillError as error:
            if error.finding in NOT_THERE:
                return error.problem
            raise
        if isinstance(document, ImageManifest):
            gone = [blob.digest for blob in document.children if not blob.urls and not self._access.holds(blob)]
            return f"{gone[0]} is missing" if gone else ""
        _check_depth(descriptor, depth)
        reasons = [self.missing(child, depth + 1) for child in document.manifests]
        return "nothing that it names is there" if reasons and all(reasons) else ""

    def read(self, descriptor: Descriptor) -> tuple[bytes, Document]:
        """The bytes of a manifest or index, hashed, and what they say; each is fetched once, unless they are many."""
        if fetched := self._fetched.get(descriptor.digest):
            return fetched
        known = self._access.known(descriptor)
        data = self._source.document(descriptor) if known is None else known
        try:
            document = parse_oci(data, media_type=descriptor.media_type, texts=self._texts)
        except MalformedError as error:
            if is_schema_1(data):
                raise schema_1_refused(descriptor.digest, self._source.name) from None
            raise error.with_(where=f"{self._source.name} {descriptor.digest} {error.where}") from None
        self._fetched_bytes += len(data)
        if self._fetched_bytes > MAX_FETCHED:
            self._fetched.clear()
            self._fetched_bytes = len(data)
        self._fetched[descriptor.digest] = data, document
        return data, document

    def _foreign(self, descriptor: Descriptor, document: ImageManifest) -> None:
        """Note each layer with ``urls`` as packed or absent. Raises RefusedError where the release does not say."""
        for layer in {layer.digest: layer for layer in document.layers if layer.urls}.values():
            if self.wanted.foreign_layers is None:
                problem = f"image {self.wanted.name!r} has a layer that is distributed elsewhere ({layer.urls[0]})"
                remedy = (
                    "write `foreign_layers: fetch` under the image to pack it from there, or `foreign_layers: absent` "
                    "if the site fetches it; or name `platforms` that do not have it"
                )
                where = f"{self._source.name} {descriptor.digest}"
                raise RefusedError(problem, where=where, remedy=remedy, finding=FOREIGN)
            if self.wanted.foreign_layers == "absent":
                self.absent.append(Absent(parent=descriptor.digest, digest=layer.digest, url=layer.urls[0]))
            else:
                self.edges.add((descriptor.digest, layer.digest))

    def _chosen(self, index: ImageIndex) -> dict[str, bool]:
        """The children to pack, by digest, and whether each must be there.

        They are images of named platforms, nested indexes, which are searched too, and what belongs to these images:
        attestations of BuildKit, and artifacts whose subject is one of them.
        """
        chosen: dict[str, bool] = {}
        for child in index.manifests:
            platform = self._platform(child)
            fitting = [one for one in self.wanted.platforms if platform and fits(platform, one)]
            self._matched.update(fitting)
            if fitting:
                chosen[child.digest] = True
            elif not child.platform and child.media_type in INDEX_TYPES:
                chosen.setdefault(child.digest, False)
        beside = [child for child in index.manifests if child.digest not in chosen]
        for child in beside:
            about = child.annotation(ATTESTED)
            if not about and not child.platform and (document := self._peek(child)) and document.subject:
                about = document.subject.digest
            if about in chosen:
                chosen[child.digest] = False
        return chosen

    def _peek(self, child: Descriptor) -> Document | None:
        """What a child says, None where it is not there or is no image."""
        if child.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return None
        try:
            return self.read(child)[1]
        except WaybillError as error:
            if error.finding in NOT_THERE or error.finding == FOREIGN:
                return None
            raise

    def _platform(self, child: Descriptor) -> str | None:
        """The platform of a child: its descriptor's, else that of its config (image-spec, config.md)."""
        if child.platform or child.annotation(ATTESTED) or child.media_type not in MANIFEST_TYPES:
            return child.platform
        document = self._peek(child)
        return platform_of(document, self._source) if document is not None else None

    def _refused(self, problem: str, remedy: str) -> RefusedError:
        return RefusedError(problem, where=self._source.name, remedy=remedy, finding="platform-missing")


def _check_depth(descriptor: Descriptor, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise MalformedError(f"indexes are nested deeper than {MAX_DEPTH} levels", where=descriptor.digest)


def _is_attestation(child: Descriptor) -> bool:
    """Whether an entry of an index is an attestation of BuildKit and no image."""
    return child.platform == f"{UNKNOWN}/{UNKNOWN}" or bool(child.annotation(ATTESTED))


def nothing_runs_text(image: str, place: str) -> str:
    """The warning about an index that holds attestations only."""
    return f"image {image} from {place} has nothing that runs: its index holds only attestations (unknown/unknown)"


def gaps_text(image: str, place: str, left_out: tuple[str, ...]) -> str:
    """The warning about an image that is packed with gaps; at most four are listed."""
    first, more = left_out[:4], len(left_out) - 4
    text = "; ".join(first) + (f"; and {more} more" if more > 0 else "")
    return f"image {image} from {place} is packed with gaps: {text}"


def foreign_text(image: str, place: str, absent: tuple[Absent, ...]) -> str:
    """The warning about foreign layers that are not packed; the first address is named."""
    urls = [one.url for one in absent if one.url is not None]
    layers = f"{len(urls)} foreign layers" if len(urls) > 1 else "a foreign layer"
    return f"image {image} from {place} is packed without {layers}: the site must reach {urls[0]}, or hold it already"
