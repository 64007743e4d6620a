"""The images of one install step, read from the store: what to list, push and observe."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from content.bundle.graph import Graph, Node, walk
from content.bundle.oci import MAX_MANIFEST_BYTES, REF_NAME, Descriptor, ImageIndex
from manifests.documents.release import Image, InstallStep, Release
from manifests.words.digest import Blob, is_digest
from manifests.words.errors import DamagedError, MalformedError
from verifier.runtime.drivers.driver import DriverContext, ReadDocument, step_error
from verifier.site.blobs import blob_path, read_blob
from verifier.site.releases import bundle_again


@dataclass(frozen=True)
class ImageParts:
    """One image with its documents and everything that refers to it.

    Attributes:
        version: Of the release; a layout names the image ``<to>:<version>``.
        tag: The image's tag, else the version as a registry accepts it.
        top: The manifest or index that the tag names.
        manifests: Documents below and including ``top``, children before parents.
        sparse: ``top`` is an index, and the release has not all of its platforms.
        referrers: Documents with a subject among ``manifests`` or among themselves, subjects first.
        cosign: Tags of cosign's older form, ``sha256-<hex>.sig``, with their documents.
        documents: All of these and what is below them, each once, children before parents.
        left_out: Manifests with their foreign layers that the release does not have, as pairs of digests.
    """

    image: Image
    version: str
    tag: str
    top: Node
    manifests: tuple[Node, ...]
    sparse: bool
    referrers: tuple[Node, ...]
    cosign: tuple[tuple[str, Node], ...]
    documents: tuple[Node, ...]
    left_out: frozenset[tuple[str, str]]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs and layers of all documents that the release has, each once, largest first."""
        blobs = {blob.digest: blob for parent, blob in self._children() if (parent, blob.digest) not in self.left_out}
        return tuple(sorted(blobs.values(), key=lambda blob: (-blob.size, blob.digest)))

    def _children(self) -> Iterator[tuple[str, Descriptor]]:
        """Yield configs and layers, each with the digest of its manifest."""
        for node in self.documents:
            if not isinstance(node.document, ImageIndex):
                yield from ((node.descriptor.digest, child) for child in node.document.children)


def registry_tag(image: Image, version: str) -> str:
    """Return the tag of an image in a registry.

    A tag has no plus sign, which the build part of a version begins with (distribution-spec, pulling manifests).
    """
    return image.tag or version.replace("+", "_")


def foreign_lines(step: InstallStep, release: Release, effect: str) -> Iterator[str]:
    """Yield a line for the person who reviews if the release has not all layers of its images.

    ``absent`` of the release does not say which image has such a layer, only its manifest; so all are named.
    """
    urls = sorted({child.url for child in release.absent if child.url is not None})
    if urls and step.images:
        yield f"foreign layers are not in the release ({', '.join(urls)}); {effect}"


def check_step(step: InstallStep, driver: str) -> None:
    """Check that a step for a driver of images names images and nothing else. Raises RefusedError."""
    others = {"files": step.files, "chart": step.chart, "migration": step.migration, "keep_running": step.keep_running}
    extra = [name for name, value in others.items() if value]
    if extra or not step.images:
        problem = f"gives {', '.join(extra)}" if extra else "names no images"
        raise step_error(
            f"the step {problem}, the driver {driver!r} takes images only", f"release.json install step {step.step}"
        )


def image_parts(
    context: DriverContext, step: InstallStep, read_document: ReadDocument | None = None
) -> tuple[ImageParts, ...]:
    """Return the images of ``step``; every document is hashed.

    Args:
        read_document: Reads a document that the store may not have yet; None reads the store.

    Raises:
        DamagedError: A document is missing from the store or has other bytes.
        MalformedError: The graph of images is not what the release says.

    An error about a document of the store names its file, and the bundle that brings it again.
    """
    index = context.release.members[0]

    def read(digest: str) -> bytes:
        # index.json lists every image and may be longer than a manifest; the release states its size.
        limit = index.size if digest == index.digest else MAX_MANIFEST_BYTES
        return read_document(digest, limit) if read_document else read_blob(context.blobs, digest, limit)

    try:
        graph = walk(context.release, read)
    except (DamagedError, MalformedError) as error:
        if read_document is not None:
            raise
        raise error.with_(where=_file_of(context, error.where), remedy=mend_images(context.release)) from None
    return tuple(_parts(graph, context.release.image(name), context.release.version) for name in step.images)


def mend_images(release: Release) -> str:
    """Return the hint for damage of blobs of images that run."""
    return f"{bundle_again(release)}; then run `waybill recover`"


def _file_of(context: DriverContext, where: str) -> str:
    """Return ``where`` with the file of the store in place of the document that it begins with."""
    name, _, rest = where.partition(" ")
    digest = context.release.members[0].digest if name == "index.json" else name
    return f"{blob_path(context.blobs, digest)} {rest}".rstrip() if is_digest(digest) else where


def blobs_of_parts(parts: Iterable[ImageParts]) -> tuple[Blob, ...]:
    """Return every blob, documents included, each once."""
    sizes: dict[str, int] = {}
    for part in parts:
        sizes |= {node.descriptor.digest: node.descriptor.size for node in part.documents}
        sizes |= {blob.digest: blob.size for blob in part.blobs}
    return tuple(Blob(digest=digest, size=size) for digest, size in sizes.items())


def _parts(graph: Graph, image: Image, version: str) -> ImageParts:
    """Collect the documents of one image: below its manifest, referring to these, and cosign's tags beside them."""
    top = graph.nodes[image.manifest.digest]
    manifests = _documents_below(graph, top)
    indexes = [node.document for node in manifests if isinstance(node.document, ImageIndex)]
    prefix = f"{image.to}:sha256-"
    cosign = tuple(
        (entry.annotation(REF_NAME).partition(":")[2], graph.nodes[entry.digest])
        for entry in graph.top
        if entry.annotation(REF_NAME).startswith(prefix)
    )
    referrers = _referrers(graph, manifests)
    attached = (
        document for node in (*referrers, *(node for _, node in cosign)) for document in _documents_below(graph, node)
    )
    return ImageParts(
        image=image,
        version=version,
        tag=registry_tag(image, version),
        top=top,
        manifests=manifests,
        sparse=any(child.digest not in graph.nodes for index in indexes for child in index.manifests),
        referrers=referrers,
        cosign=cosign,
        documents=tuple({node.descriptor.digest: node for node in (*manifests, *attached)}.values()),
        left_out=graph.left_out,
    )


def _referrers(graph: Graph, manifests: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return everything that refers to the manifests, or to what refers to them, subjects first."""
    held = {node.descriptor.digest for node in manifests}
    referrers: dict[str, Node] = {}
    queue = sorted(held)
    while queue:
        for node in graph.referrers(queue.pop(0)):
            if node.descriptor.digest not in referrers and node.descriptor.digest not in held:
                referrers[node.descriptor.digest] = node
                queue.append(node.descriptor.digest)
    return tuple(referrers.values())


def _documents_below(graph: Graph, top: Node) -> tuple[Node, ...]:
    """Return ``top`` and all documents below it that the bundle has, children first."""
    nodes: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if isinstance(node.document, ImageIndex):
            for child in node.document.manifests:
                if child.digest in graph.nodes and child.digest not in nodes:
                    visit(graph.nodes[child.digest])
        nodes[node.descriptor.digest] = node

    visit(top)
    return tuple(nodes.values())
