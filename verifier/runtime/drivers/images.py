"""The images of one install step, as they lie in the store: what to list, push and look for."""

from collections.abc import Iterable
from dataclasses import dataclass

from content.bundle.graph import Graph, Node, walk
from content.bundle.oci import MAX_MANIFEST_BYTES, REF_NAME, Descriptor, ImageIndex
from manifests.documents.release import Image, InstallStep
from manifests.words.digest import Blob
from manifests.words.errors import RefusedError
from verifier.runtime.drivers.driver import DriverContext
from verifier.site.blobs import read_blob


@dataclass(frozen=True)
class ImageParts:
    """One image with all that hangs on it.

    Attributes:
        image: As the release has it.
        version: Of the release; the image's name in a layout is ``<to>:<version>``.
        tag: The same as a registry takes it.
        top: The manifest or index that the tag names.
        manifests: Documents below and including ``top``, children before parents.
        sparse: ``top`` is an index of which platforms were left out.
        referrers: Documents with a subject among ``manifests`` or among themselves, subjects first.
        cosign: Tags of cosign's older form, ``sha256-<hex>.sig``, with their documents.
        documents: All of these and what lies below them, each once, children before parents.
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

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs and layers of all documents, each once, largest first."""
        found: dict[str, Descriptor] = {}
        for node in self.documents:
            if not isinstance(node.document, ImageIndex):
                found |= {one.digest: one for one in node.document.children}
        return tuple(sorted(found.values(), key=lambda one: (-one.size, one.digest)))


def check_step(step: InstallStep, driver: str) -> None:
    """A step for a driver of images names images and nothing else.

    Raises:
        RefusedError: It does not.
    """
    extra = [
        name
        for name, value in (
            ("files", step.files),
            ("chart", step.chart),
            ("migration", step.migration),
            ("keep_running", step.keep_running),
        )
        if value
    ]
    if extra or not step.images:
        problem = f"gives {', '.join(extra)}" if extra else "names no images"
        raise RefusedError(
            f"the step {problem}, the driver {driver!r} takes images only",
            where=f"release.json install step {step.step}",
            remedy="ask the vendor for a corrected release; nothing was changed",
            finding="driver-step",
        )


def read_graph(context: DriverContext) -> Graph:
    """The graph of the release's images from the store; every document is hashed on the way.

    Raises:
        DamagedError: A document is missing from the store or has other bytes.
        MalformedError: The graph is not what the release says.
    """
    return walk(context.release, lambda digest: read_blob(context.blobs, digest, _limit(context, digest)))


def image_parts(context: DriverContext, step: InstallStep) -> tuple[ImageParts, ...]:
    """The images of ``step``. Raises as ``read_graph``."""
    graph = read_graph(context)
    return tuple(_parts(graph, context.release.image(name), context.release.version) for name in step.images)


def blobs_of_parts(parts: Iterable[ImageParts]) -> tuple[Blob, ...]:
    """Every blob, documents included, each once."""
    found: dict[str, int] = {}
    for part in parts:
        found |= {node.descriptor.digest: node.descriptor.size for node in part.documents}
        found |= {one.digest: one.size for one in part.blobs}
    return tuple(Blob(digest=digest, size=size) for digest, size in found.items())


def _limit(context: DriverContext, digest: str) -> int:
    # index.json lists every image of the release and may be longer than one manifest; the release states its size.
    first = context.release.members[0]
    return first.size if digest == first.digest else MAX_MANIFEST_BYTES


def _parts(graph: Graph, image: Image, version: str) -> ImageParts:
    top = graph.nodes[image.manifest.digest]
    manifests = _below(graph, top)
    held = {node.descriptor.digest for node in manifests}
    sparse = any(
        child.digest not in graph.nodes
        for node in manifests
        if isinstance(node.document, ImageIndex)
        for child in node.document.manifests
    )
    referrers: dict[str, Node] = {}
    queue = sorted(held)
    while queue:
        for node in graph.referrers(queue.pop(0)):
            if node.descriptor.digest not in referrers and node.descriptor.digest not in held:
                referrers[node.descriptor.digest] = node
                queue.append(node.descriptor.digest)
    prefix = f"{image.to}:sha256-"
    cosign = tuple(
        (one.annotation(REF_NAME).partition(":")[2], graph.nodes[one.digest])
        for one in graph.top
        if one.annotation(REF_NAME).startswith(prefix)
    )
    hanging = (below for node in (*referrers.values(), *(one for _, one in cosign)) for below in _below(graph, node))
    return ImageParts(
        image=image,
        version=version,
        # A tag has no place for the plus sign of a version's build part (distribution-spec, pulling manifests).
        tag=version.replace("+", "_"),
        top=top,
        manifests=manifests,
        sparse=sparse,
        referrers=tuple(referrers.values()),
        cosign=cosign,
        documents=tuple({node.descriptor.digest: node for node in (*manifests, *hanging)}.values()),
    )


def _below(graph: Graph, top: Node) -> tuple[Node, ...]:
    """``top`` and all documents below it that are there, children first."""
    found: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if isinstance(node.document, ImageIndex):
            for child in node.document.manifests:
                if child.digest in graph.nodes and child.digest not in found:
                    visit(graph.nodes[child.digest])
        found[node.descriptor.digest] = node

    visit(top)
    return tuple(found.values())
