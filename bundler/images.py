"""Collect one image: its whole graph, or that of named platforms, and everything that refers to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bundler.image_sboms import ChosenSboms, ImageSbom, SbomsBeside, choose_sboms
from bundler.parts import FetchedPart, HeldPart, PartOrigin, Parts
from bundler.source import Source
from content.bundle.companions import Companions
from content.bundle.oci import OCI_MANIFEST, REF_NAME, Descriptor, ImageIndex, ImageManifest
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, describe, encode_manifest
from content.bundle.selection import BASE_NAME, ImageSelection, SelectionAccess, WantedImage
from content.registry.image_errors import ImagePlace
from manifests.authored.release_yaml import NONE, ImageFile
from manifests.documents.release import Absent, Image, Target
from manifests.foreign.sbom import MEDIA_TYPES, SbomDocument
from manifests.words.digest import Blob
from manifests.words.errors import MalformedError, RefusedError

TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class GivenSbom:
    """An SBOM that the vendor has as a file, and that was checked."""

    path: Path
    blob: Blob
    document: SbomDocument


@dataclass(frozen=True)
class CollectedImage:
    """What ``release.json`` and ``index.json`` say about one image.

    Attributes:
        place: Where it was read: a file, or host and repository.
        listed: Entries of index.json, the image itself first.
        edges: (index, child) pairs that were packed; the children that no image packed are absent.
        documents: Digests of the manifests and indexes that were packed.
        doubts: What hangs beside the image and could not be read, or is not what it says.
        left_out: What its indexes name, nobody asked for by name, and is not there to pack.
        runs: Whether it holds anything but attestations.
    """

    image: Image
    place: str
    listed: tuple[Descriptor, ...]
    absent: tuple[Absent, ...]
    edges: frozenset[tuple[str, str]]
    documents: frozenset[str]
    sboms: ChosenSboms
    doubts: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    runs: bool = True


@dataclass(frozen=True)
class ImageRequest:
    """One image to collect.

    Attributes:
        version: Of the release.
        given: The SBOM that is a file.
        fetch: Streams a foreign layer from its address, checked.
    """

    spec: ImageFile
    source: Source
    parts: Parts
    version: str
    given: GivenSbom | None
    fetch: Callable[[Descriptor], Iterator[bytes]]


def collect_image(request: ImageRequest) -> CollectedImage:
    """Add the blobs of one image, of its referrers and of cosign's tags to ``parts``.

    Raises:
        RefusedError: A platform is not there, there is no SBOM and no reason why not, or a layer may not travel.
        MalformedError, DamagedError, HostError: The source is not in order. Each names the image.
    """
    with ImagePlace(request.spec.name, request.source.name).errors():
        return _collected(request)


def _collected(request: ImageRequest) -> CollectedImage:
    spec, source, parts, given = request.spec, request.source, request.parts, request.given
    walk = _Walk(request)
    selection = walk.selection
    root = source.resolve()
    selection.pack_root(root)
    runs = selection.runs
    subjects = tuple(walk.nodes)
    companions = walk.beside.pack(subjects)
    listed = frozenset((root.digest, *(companion.digest for companion in companions)))
    beside = SbomsBeside(source, parts, walk.nodes, walk.beside.tags, listed)
    known = list(beside.find(subjects))
    if given is not None:
        known.append(ImageSbom(root.digest, given.blob, given.document, "file"))
    sboms = choose_sboms(known, root.digest, f"{source.name} image {spec.name}")
    _check_sboms(spec, sboms, beside.unread, source)
    for sbom in known:
        # Other tools find an SBOM by its referrer, not by a tag.
        if not sbom.linked and (sbom in sboms.used or sbom.origin == "tag"):
            companions.append(walk.attach(sbom, title=given.path.name if given and sbom.origin == "file" else ""))
    document = walk.nodes[root.digest]
    repository, _, tag = spec.to.partition(":")
    target = Target(media_type=document.media_type, digest=root.digest, size=root.size)
    return CollectedImage(
        image=Image(
            name=spec.name,
            to=repository,
            tag=tag or None,
            manifest=target,
            platforms=selection.platforms if isinstance(document, ImageIndex) else (),
            signed_by=spec.signed_by,
            reason=spec.reason,
            sboms=tuple(sbom.recorded for sbom in sboms.used),
            sbom_reason=spec.sbom_reason,
            base=spec.base or walk.base(root),
            converted=source.converted,
        ),
        place=source.name,
        listed=(
            replace(
                walk.beside.listed(root.digest), annotations=((REF_NAME, f"{repository}:{tag or request.version}"),)
            ),
            *companions,
        ),
        absent=tuple(selection.absent),
        edges=frozenset(selection.edges),
        documents=frozenset(walk.nodes),
        sboms=sboms,
        doubts=tuple(source.doubts),
        left_out=tuple(selection.left_out),
        runs=runs,
    )


def _check_sboms(spec: ImageFile, sboms: ChosenSboms, unread: list[MalformedError], source: Source) -> None:
    """Raise RefusedError where release.yaml says otherwise, or what could not be read."""
    where = source.name
    if spec.sbom == NONE:
        if sboms.used:
            problem = f"image {spec.name!r} has an SBOM, and release.yaml says sbom: none"
            remedy = f"write `sbom: attached` for image {spec.name}"
            raise RefusedError(problem, where=where, remedy=remedy, finding="sbom-denied")
    elif not sboms.used:
        if unread:
            raise unread[0]
        problem = "; ".join((f"image {spec.name!r} has no SBOM attached", *source.doubts))
        remedy = "attach an SBOM, name a file (sbom: FILE), or write sbom: none and sbom_reason: TEXT"
        raise RefusedError(problem, where=where, remedy=remedy, finding="sbom-missing")


class _Walk:
    """Packs what an image's selection chooses, and what lies beside the image."""

    def __init__(self, request: ImageRequest) -> None:
        self.spec = request.spec
        self.source = request.source
        self.parts = request.parts
        self._fetch = request.fetch
        self.place = ImagePlace(self.spec.name, self.source.name)
        wanted = WantedImage(self.spec.name, self.spec.platforms, self.spec.foreign_layers)
        access = SelectionAccess(self.source, self._at_hand, self._keep, self._known, self.parts.packed)
        self.selection = ImageSelection(wanted, access)
        self.nodes = self.selection.nodes
        self.beside = Companions(self.selection, self.source, self.spec.to.partition(":")[0])

    def _keep(self, descriptor: Descriptor, data: bytes, document: ImageManifest | ImageIndex) -> None:
        """Add a document that is packed, of a manifest also config and layers, to the parts."""
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.parts.add(blob, HeldPart(data), str(self.place), document=True)
        if isinstance(document, ImageManifest):
            self._add(document.config, document=True)
            is_artifact = document.subject is not None or bool(document.artifact_type)
            for layer in document.layers:
                if not (layer.urls and self.spec.foreign_layers == "absent"):
                    self._add(layer, document=is_artifact)

    def _known(self, descriptor: Descriptor) -> bytes | None:
        """The bytes of a document that another image brought."""
        known = self.parts.by_digest.get(descriptor.digest)
        if known is None or not isinstance(known.origin, HeldPart) or known.blob.size != descriptor.size:
            return None
        return known.origin.data

    def _at_hand(self, blob: Descriptor) -> bool:
        return blob.digest == EMPTY.digest or blob.digest in self.parts.by_digest or self.source.holds(blob)

    def _add(self, descriptor: Descriptor, *, document: bool) -> None:
        known = self.parts.by_digest.get(descriptor.digest)
        origin = known.origin if known is not None else self._origin(descriptor)
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.parts.add(blob, origin, str(self.place), document=document)

    def _origin(self, descriptor: Descriptor) -> PartOrigin:
        if descriptor.digest == EMPTY.digest:
            return HeldPart(EMPTY_BYTES)
        if descriptor.urls and not self.source.holds_foreign(descriptor):
            origin: PartOrigin = FetchedPart(partial(self._fetch, descriptor))
        else:
            origin = self.source.origin(descriptor)
        if isinstance(origin, FetchedPart):
            # It is read when the bundle is written; an error must still say for which image.
            origin = FetchedPart(partial(self.place.pieces, origin.open))
        return origin

    def attach(self, sbom: ImageSbom, *, title: str = "") -> Descriptor:
        """Write a referrer manifest for an SBOM that is a part already; return its entry of index.json."""
        subject = self.beside.listed(sbom.about)
        media_type = MEDIA_TYPES[sbom.document.format]
        annotations = ((TITLE, title),) if title else ()
        layer = Descriptor(media_type=media_type, digest=sbom.blob.digest, size=sbom.blob.size, annotations=annotations)
        plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        manifest = encode_manifest(EMPTY, (layer,), subject=plain, artifact_type=media_type)
        if sbom.content is not None:
            self.parts.add(sbom.blob, sbom.content, f"{self.source.name} SBOM {sbom.blob.digest}", document=True)
        self.parts.hold(EMPTY_BYTES, "SBOM")
        self.parts.hold(manifest, "SBOM")
        return describe(manifest, media_type=OCI_MANIFEST, artifact_type=media_type)

    def base(self, root: Descriptor) -> str | None:
        """The name of the base image: the image's own annotation, else that of its first child which has one."""
        document = self.nodes[root.digest]
        below = [self.nodes.get(one.digest) for one in document.manifests] if isinstance(document, ImageIndex) else []
        for node in (document, *below):
            name = dict(node.annotations).get(BASE_NAME, "") if node is not None else ""
            if name and len(name) <= 512 and name.isprintable():
                return name
        return None
