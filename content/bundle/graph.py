"""Walk the graph of images from ``index.json``, and check that it is complete and holds nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from content.bundle.oci import REF_NAME, Descriptor, ImageIndex, ImageManifest, Texts, parse_oci
from manifests.documents.release import Image, Release, referenced
from manifests.words.errors import MalformedError

MAX_DEPTH = 2
# The platform of a child for which its index states none.
UNKNOWN = "unknown"
# Of all documents together: a parsed one takes up to twenty times its bytes, and a release may have 20,000 of them.
MAX_DESCRIPTORS = 50_000
MAX_ANNOTATIONS = 50_000
MAX_DOCUMENTS = 16 << 20
_WHERE = "index.json"


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest or index of the bundle without annotations, with the descriptor that led to it."""

    descriptor: Descriptor
    document: ImageManifest | ImageIndex


@dataclass(frozen=True)
class Graph:
    """The descriptors of index.json (``top``), and every manifest and index by digest (``nodes``).

    Attributes:
        left_out: Manifests with the foreign layers that the bundle does not have, as pairs of digests.
    """

    top: tuple[Descriptor, ...]
    nodes: dict[str, Node]
    left_out: frozenset[tuple[str, str]] = frozenset()

    def referrers(self, digest: str) -> tuple[Node, ...]:
        """Manifests whose ``subject`` is ``digest``, in the order of index.json."""
        return tuple(self._referrers.get(digest, ()))

    def named(self, name: str) -> tuple[Descriptor, ...]:
        """Entries of index.json called ``name``."""
        return tuple(self._named.get(name, ()))

    def below(self, digest: str) -> set[str]:
        """``digest`` and, of an index, everything that it names, through indexes inside it too."""
        node = self.nodes.get(digest)
        if node is None or not isinstance(node.document, ImageIndex):
            return {digest}
        return {digest}.union(*(self.below(child.digest) for child in node.document.manifests))

    # Both are looked up for each image: a search through all entries would make a release of N images cost N * N.
    @cached_property
    def _referrers(self) -> dict[str, list[Node]]:
        referrers: dict[str, list[Node]] = {}
        for descriptor in self.top:
            node = self.nodes.get(descriptor.digest)
            if node is not None and node.document.subject is not None:
                referrers.setdefault(node.document.subject.digest, []).append(node)
        return referrers

    @cached_property
    def _named(self) -> dict[str, list[Descriptor]]:
        named: dict[str, list[Descriptor]] = {}
        for descriptor in self.top:
            named.setdefault(descriptor.annotation(REF_NAME), []).append(descriptor)
        return named


def walk(release: Release, read: Callable[[str], bytes]) -> Graph:
    """Follow index.json through every manifest; ``read`` gives the hashed bytes of a member by digest.

    Raises:
        MalformedError: A descriptor with a wrong size or media type, or of a blob that is neither a member nor
            ``absent``; an index deeper than two; a member that nothing refers to; an image that index.json lists
            otherwise than the release.
    """
    walk_ = _Walk(release, read)
    index = walk_.parse(release.members[0].digest, _WHERE, None, Texts())
    if not isinstance(index, ImageIndex):  # F-10.2
        raise MalformedError("not an image index", where=_WHERE)
    walk_.follow(index)
    walk_.check_subjects()
    left_out = frozenset((child.parent, child.digest) for child in release.absent if child.url is not None)
    graph = Graph(top=index.manifests, nodes=walk_.nodes, left_out=left_out)
    incomplete = {child.parent for child in release.absent if child.url is None}
    for image in release.images:
        _check_image(release, image, graph)
        _check_platforms(image, graph)
        if not image.platforms and incomplete & graph.below(image.manifest.digest):  # F-10.15
            problem = "children of its index are absent, and it names no platforms"
            raise MalformedError(problem, where=f"release.json image {image.name}")
    walk_.reached.update(blob.digest for _, blob in referenced(release))
    unused = [digest for digest in walk_.members if digest not in walk_.reached]
    if unused:  # F-10.14
        raise MalformedError(f"{min(unused)} is a member that nothing refers to", where="release.json $.members")
    return graph


class DocumentCount:
    """Bounds what all documents of a release together hold in memory (F-10.16, F-10.18)."""

    def __init__(self) -> None:
        self._descriptors = self._annotations = self._bytes = 0

    def add(self, document: ImageManifest | ImageIndex, size: int, where: str) -> None:
        self._descriptors += len(document.children)
        self._annotations += document.noted
        self._bytes += size
        for count, most, what in (
            (self._descriptors, MAX_DESCRIPTORS, "descriptors"),  # F-10.16
            (self._annotations, MAX_ANNOTATIONS, "annotations and urls"),  # F-10.16
            (self._bytes, MAX_DOCUMENTS, "bytes"),  # F-10.18
        ):
            if count > most:
                raise MalformedError(f"the documents have more than {most} {what} together", where=where)


class _Walk:
    """The state of one walk: members, documents read, digests reached, children left out."""

    def __init__(self, release: Release, read: Callable[[str], bytes]) -> None:
        self._read = read
        self.members = {blob.digest: blob for blob in release.members[2:]}
        self._absent = {(child.parent, child.digest): child for child in release.absent}
        self._left_out: set[tuple[str, str]] = set()
        self.reached: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self._count = DocumentCount().add
        # No annotation below index.json decides anything here; who needs one reads the document again.
        self._texts = Texts(frozenset(), self.members)

    def parse(self, digest: str, name: str, media_type: str | None, texts: Texts) -> ImageManifest | ImageIndex:
        data = self._read(digest)
        try:
            document = parse_oci(data, media_type=media_type, texts=texts)
        except MalformedError as error:
            raise MalformedError(error.problem, where=f"{name} {error.where}") from error
        self._count(document, len(data), name)
        return document

    def follow(self, index: ImageIndex) -> None:
        """Read every manifest level by level, so that the result does not depend on the order of entries."""
        level = [(descriptor, _WHERE) for descriptor in index.manifests]
        for depth in range(MAX_DEPTH + 1):
            below: dict[str, ImageIndex] = {}
            for descriptor, parent in level:
                if (parent, descriptor.digest) in self._absent:
                    self._leave_out(parent, descriptor)
                elif isinstance(document := self._enter(descriptor, parent), ImageIndex):
                    below[descriptor.digest] = document
            if below and depth == MAX_DEPTH:  # F-10.9
                raise MalformedError(f"indexes are nested deeper than {MAX_DEPTH}", where=min(below))
            level = [(child, parent) for parent, document in below.items() for child in document.manifests]
        if self._left_out != self._absent.keys():  # F-10.8
            _, digest = min(self._absent.keys() - self._left_out)
            problem = f"{digest} is listed and no index or manifest here names it"
            raise MalformedError(problem, where="release.json $.absent")

    def _leave_out(self, parent: str, child: Descriptor) -> None:
        stated, platform = self._absent[parent, child.digest].platform, child.platform or UNKNOWN
        if stated != platform:  # F-10.8
            problem = f"{child.digest} is listed as {stated or 'a layer'}, its index says {platform}"
            raise MalformedError(problem, where="release.json $.absent")
        self._left_out.add((parent, child.digest))

    def _leave_layer_out(self, manifest: str, layer: Descriptor) -> None:
        url = self._absent[manifest, layer.digest].url
        if url not in layer.urls:  # F-10.17
            problem = (
                f"{layer.digest} is listed with {url or 'a platform'}, its manifest names {layer.urls[:1] or 'no urls'}"
            )
            raise MalformedError(problem, where="release.json $.absent")
        self._left_out.add((manifest, layer.digest))

    def _enter(self, descriptor: Descriptor, parent: str) -> ImageManifest | ImageIndex:
        """Parse each document once; the config and layers of a manifest are reached too."""
        self._reach(descriptor, parent)
        digest, media_type = descriptor.digest, descriptor.media_type
        if digest not in self.nodes:
            self.nodes[digest] = Node(descriptor, self.parse(digest, digest, media_type, self._texts))
        known = self.nodes[digest]
        # A second descriptor must state the same media type for the same bytes.
        if media_type != known.descriptor.media_type:  # F-10.4
            raise MalformedError(f"called {media_type} and {known.descriptor.media_type}", where=digest)
        document = known.document
        if isinstance(document, ImageManifest):
            self._reach(document.config, digest)
            for layer in document.layers:
                if (digest, layer.digest) in self._absent:
                    self._leave_layer_out(digest, layer)
                else:
                    self._reach(layer, digest)
        return document

    def _reach(self, descriptor: Descriptor, where: str) -> None:
        blob = self.members.get(descriptor.digest)
        if blob is None or blob.size != descriptor.size:  # F-10.7
            raise MalformedError(f"{descriptor.digest} of {descriptor.size} bytes is not a member", where=where)
        self.reached.add(blob.digest)

    def check_subjects(self) -> None:
        """The subject of a document must be a member, or a child that was left out (F-10.11)."""
        absent = {child.digest for child in self._absent.values() if child.url is None}
        for node in self.nodes.values():
            subject = node.document.subject
            if subject and subject.digest not in self.members and subject.digest not in absent:
                raise MalformedError(f"its subject {subject.digest} is not in the bundle", where=node.descriptor.digest)


def _check_image(release: Release, image: Image, graph: Graph) -> None:
    """The image is listed under its own name, and its SBOMs refer to it."""
    where = f"release.json image {image.name}"
    name = image.at(release.version)
    listed = graph.named(name)
    if [one.digest for one in listed] != [image.manifest.digest]:  # F-10.12
        raise MalformedError(f"index.json does not list {image.manifest.digest} as {name}", where=where)
    if listed[0].size != image.manifest.size or listed[0].media_type != image.manifest.media_type:
        raise MalformedError("size or media type differs from index.json", where=where)
    layers = _layers_of_referrers(graph, graph.below(image.manifest.digest)) if image.sboms else set()
    for sbom in image.sboms:
        if sbom.digest not in layers:  # F-10.13
            raise MalformedError(f"SBOM {sbom.digest} does not refer to the image", where=where)


def fits(platform: str, wanted: str) -> bool:
    """Whether ``platform`` is ``wanted`` or a variant of it; arm64 has one variant, v8."""
    return platform.startswith(wanted + "/") or platform in (wanted, {"linux/arm64/v8": "linux/arm64"}.get(wanted))


def _check_platforms(image: Image, graph: Graph) -> None:
    documents = [graph.nodes[digest].document for digest in graph.below(image.manifest.digest) if digest in graph.nodes]
    here = [child for one in documents if isinstance(one, ImageIndex) for child in one.manifests]
    stated = {child.platform for child in here if child.digest in graph.nodes}
    for wanted in image.platforms:
        if None not in stated and not any(platform and fits(platform, wanted) for platform in stated):  # F-10.15
            raise MalformedError(f"nothing of its index is {wanted}", where=f"release.json image {image.name}")


def _layers_of_referrers(graph: Graph, subjects: set[str]) -> set[str]:
    return {
        layer.digest
        for subject in subjects
        for node in graph.referrers(subject)
        if isinstance(node.document, ImageManifest)
        for layer in node.document.layers
    }
