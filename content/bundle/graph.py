"""Walk the graph of images from ``index.json``, and check that it is complete and holds nothing else."""

from collections.abc import Callable
from dataclasses import dataclass

from content.bundle.oci import REF_NAME, Descriptor, ImageIndex, ImageManifest, parse_oci
from manifests.documents.release import Image, Release, referenced
from manifests.words.digest import Blob
from manifests.words.errors import MalformedError

MAX_DEPTH = 2
_WHERE = "index.json"


@dataclass(frozen=True)
class Node:
    """A manifest or index of the bundle, parsed, with the descriptor that led to it."""

    descriptor: Descriptor
    document: ImageManifest | ImageIndex


@dataclass(frozen=True)
class Graph:
    """Attributes: top: descriptors of index.json; nodes: every manifest and index by digest."""

    top: tuple[Descriptor, ...]
    nodes: dict[str, Node]

    def referrers(self, digest: str) -> tuple[Node, ...]:
        """Manifests whose ``subject`` is ``digest``, in the order of index.json."""
        found = (self.nodes[one.digest] for one in self.top if one.digest in self.nodes)
        return tuple(one for one in found if one.document.subject and one.document.subject.digest == digest)


def walk(release: Release, read: Callable[[str], bytes]) -> Graph:
    """Follow index.json through every manifest; ``read`` gives the hashed bytes of a member by digest.

    Raises:
        MalformedError: A descriptor that lies, a dangling one that ``absent`` does not name, an index deeper than
            two, a member that nothing refers to, or an image that index.json does not list as the release does.
    """
    members = {one.digest: one.size for one in release.members[2:]}
    absent = {(one.parent, one.digest) for one in release.absent}
    index = _parse(read(release.members[0].digest), _WHERE, "")
    if not isinstance(index, ImageIndex):  # F-10.2
        raise MalformedError("not an image index", where=_WHERE)
    nodes: dict[str, Node] = {}
    reached: set[str] = set()
    left_out: set[tuple[str, str]] = set()
    level = [(one, _WHERE) for one in index.manifests]
    for depth in range(MAX_DEPTH + 1):  # level by level, so that the verdict does not hang on the order of entries
        below: dict[str, ImageIndex] = {}
        for descriptor, parent in level:
            if (parent, descriptor.digest) in absent:
                left_out.add((parent, descriptor.digest))  # F-10.8
                continue
            _check_member(descriptor, members, parent)
            reached.add(descriptor.digest)
            document = _document(descriptor, nodes, read)
            if isinstance(document, ImageIndex):
                below[descriptor.digest] = document
            else:
                for blob in (document.config, *document.layers):
                    _check_member(blob, members, descriptor.digest)
                    reached.add(blob.digest)
        if below and depth == MAX_DEPTH:  # F-10.9
            raise MalformedError(f"indexes are nested deeper than {MAX_DEPTH}", where=min(below))
        level = [(child, parent) for parent, document in below.items() for child in document.manifests]
    if left_out != absent:  # F-10.8
        _, digest = min(absent - left_out)
        raise MalformedError(f"{digest} is listed and no index here names it", where="release.json $.absent")
    for node in nodes.values():
        subject = node.document.subject
        # F-10.11
        if subject and subject.digest not in members and subject.digest not in {child for _, child in absent}:
            raise MalformedError(f"its subject {subject.digest} is not in the bundle", where=node.descriptor.digest)
    graph = Graph(top=index.manifests, nodes=nodes)
    for image in release.images:
        _check_image(release, image, graph)
    reached |= {blob.digest for _, blob in referenced(release)}
    extra = set(members) - reached
    if extra:  # F-10.14
        raise MalformedError(f"{min(extra)} is a member that nothing refers to", where="release.json $.members")
    return graph


def _document(
    descriptor: Descriptor, nodes: dict[str, Node], read: Callable[[str], bytes]
) -> ImageManifest | ImageIndex:
    """Parsed once; a second descriptor may not call the same bytes something else."""
    known = nodes.get(descriptor.digest)
    if known is not None:
        if descriptor.media_type != known.descriptor.media_type:  # F-10.4
            raise MalformedError(
                f"called {descriptor.media_type} and {known.descriptor.media_type}", where=descriptor.digest
            )
        return known.document
    document = _parse(read(descriptor.digest), descriptor.digest, descriptor.media_type)
    nodes[descriptor.digest] = Node(descriptor=descriptor, document=document)
    return document


def _parse(data: bytes, name: str, media_type: str) -> ImageManifest | ImageIndex:
    try:
        return parse_oci(data, media_type=media_type)
    except MalformedError as error:
        raise MalformedError(error.problem, where=f"{name} {error.where}") from error


def _check_member(descriptor: Descriptor, members: dict[str, int], where: str) -> None:
    if members.get(descriptor.digest) != descriptor.size:  # F-10.7
        raise MalformedError(f"{descriptor.digest} of {descriptor.size} bytes is not a member", where=where)


def _check_image(release: Release, image: Image, graph: Graph) -> None:
    """The image is listed under its own name, and its SBOMs hang on it."""
    where = f"release.json image {image.name}"
    name = f"{image.to}:{release.version}"
    listed = [one for one in graph.top if dict(one.annotations).get(REF_NAME) == name]
    if [one.digest for one in listed] != [image.manifest.digest]:  # F-10.12
        raise MalformedError(f"index.json does not list {image.manifest.digest} as {name}", where=where)
    if listed[0].size != image.manifest.size or listed[0].media_type != image.manifest.media_type:
        raise MalformedError("size or media type differs from index.json", where=where)
    subjects = {image.manifest.digest}
    document = graph.nodes[image.manifest.digest].document
    if isinstance(document, ImageIndex):
        subjects |= {child.digest for child in document.manifests}
    for sbom in image.sboms:
        if sbom.digest not in _layers_of_referrers(graph, subjects):  # F-10.13
            raise MalformedError(f"SBOM {sbom.digest} does not hang on the image", where=where)


def _layers_of_referrers(graph: Graph, subjects: set[str]) -> set[str]:
    return {
        layer.digest
        for subject in subjects
        for node in graph.referrers(subject)
        if isinstance(node.document, ImageManifest)
        for layer in node.document.layers
    }


def blobs_of(graph: Graph, digest: str) -> tuple[Blob, ...]:
    """Every blob of one image or index, its own document first, each once."""
    found: dict[str, int] = {}
    queue = [digest]
    while queue:
        node = graph.nodes.get(queue.pop())
        if node is None:
            continue
        found[node.descriptor.digest] = node.descriptor.size
        if isinstance(node.document, ImageIndex):
            queue += [child.digest for child in node.document.manifests]
        else:
            found |= {one.digest: one.size for one in (node.document.config, *node.document.layers)}
    return tuple(Blob(digest=key, size=size) for key, size in found.items())
