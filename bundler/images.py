"""Collect one image: its whole graph, or that of named platforms, and everything that refers to it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.image_sboms import ATTESTED, ChosenSboms, ImageSbom, SbomsBeside, choose_sboms
from bundler.parts import HeldPart, Parts
from bundler.platforms import fits, packed_platforms, platform_of
from bundler.source import NO_ANSWER, NOT_THERE, Source
from content.bundle.graph import MAX_DEPTH
from content.bundle.oci import (
    FOREIGN,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    parse_oci,
)
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, describe, encode_manifest
from manifests.authored.release_yaml import NONE, ImageFile
from manifests.documents.release import Absent, Image, Target
from manifests.foreign.sbom import MEDIA_TYPES, SbomDocument
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, MalformedError, RefusedError, WaybillError

BASE_NAME = "org.opencontainers.image.base.name"
TITLE = "org.opencontainers.image.title"
COSIGN_ENDINGS = (".sig", ".att", ".sbom")
MAX_COMPANIONS = 4096
_FOREIGN_REMEDY = (
    "name `platforms` that do not have it, or build the image on a base whose layers may be distributed with it"
)


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
        listed: Entries of index.json, the image itself first.
        edges: (index, child) pairs that were packed; the children that no image packed are absent.
        documents: Digests of the manifests and indexes that were packed.
        doubts: What hangs beside the image and could not be read, or is not what it says.
        left_out: What its indexes name, nobody asked for by name, and is not there to pack.
    """

    image: Image
    listed: tuple[Descriptor, ...]
    absent: tuple[Absent, ...]
    edges: frozenset[tuple[str, str]]
    documents: frozenset[str]
    sboms: ChosenSboms
    doubts: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def collect_image(
    spec: ImageFile, source: Source, parts: Parts, *, version: str, given: GivenSbom | None
) -> CollectedImage:
    """Add the blobs of one image, of its referrers and of cosign's tags to ``parts``.

    Raises:
        RefusedError: A platform is not there, there is no SBOM and no reason why not, or a layer may not travel.
        MalformedError, DamagedError, HostError: The source is not in order.
    """
    try:
        return _collected(spec, source, parts, version, given)
    except MalformedError as error:
        if error.finding != FOREIGN:
            raise
        problem = f"image {spec.name!r} has content that is not distributed with it: {error.problem}"
        where = error.where if source.name in error.where else f"{source.name} {error.where}"
        raise RefusedError(problem, where=where, remedy=_FOREIGN_REMEDY, finding=FOREIGN) from None


def _collected(spec: ImageFile, source: Source, parts: Parts, version: str, given: GivenSbom | None) -> CollectedImage:
    walk = _Walk(spec, source, parts)
    root = source.resolve()
    walk.pack_root(root)
    subjects = tuple(walk.nodes)
    companions = walk.companions(subjects)
    listed = frozenset((root.digest, *(companion.digest for companion in companions)))
    beside = SbomsBeside(source, parts, walk.nodes, walk.tags, listed)
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
            platforms=walk.platforms if isinstance(document, ImageIndex) else (),
            signed_by=spec.signed_by,
            reason=spec.reason,
            sboms=tuple(sbom.recorded for sbom in sboms.used),
            sbom_reason=spec.sbom_reason,
            base=spec.base or walk.base(root),
            converted=source.converted,
        ),
        listed=(replace(walk.listed(root), annotations=((REF_NAME, f"{repository}:{tag or version}"),)), *companions),
        absent=tuple(walk.absent),
        edges=frozenset(walk.edges),
        documents=frozenset(walk.nodes),
        sboms=sboms,
        doubts=tuple(source.doubts),
        left_out=tuple(walk.left_out),
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
    """The state of one walk; ``nodes`` are the packed manifests and indexes, by digest, in the order found."""

    def __init__(self, spec: ImageFile, source: Source, parts: Parts) -> None:
        self.spec = spec
        # Those that the release names, else those that were packed of an index with gaps.
        self.platforms = spec.platforms
        self.source = source
        self.parts = parts
        self.nodes: dict[str, ImageManifest | ImageIndex] = {}
        self.sizes: dict[str, int] = {}
        self.fetched: dict[str, tuple[bytes, ImageManifest | ImageIndex]] = {}
        self.absent: list[Absent] = []
        self.left_out: list[str] = []
        self.packed: set[str] = set()
        self.edges: set[tuple[str, str]] = set()
        self.matched: set[str] = set()
        # The subjects that the tags of cosign name, by the manifest under the tag.
        self.tags: dict[str, list[str]] = {}

    def pack_root(self, root: Descriptor) -> None:
        """Pack the image, of an index only the platforms that the release names.

        Raises:
            RefusedError: A named platform is not there, or nothing of an index is.
        """
        document = self._document(root)
        if isinstance(document, ImageIndex):
            self._pack(root, 0, filtered=bool(self.spec.platforms))
            offered = sorted(filter(None, {self._platform(child) for child in document.manifests}))
        else:
            own = platform_of(document, self.source) or "unknown"
            offered = [own]
            self.matched = {one for one in self.spec.platforms if fits(own, one)}
            self._pack(root, 0)
        missing = [one for one in self.spec.platforms if one not in self.matched]
        if missing:
            raise RefusedError(
                f"image {self.spec.name!r} has no {', '.join(missing)}, only {', '.join(offered) or 'no platform'}",
                where=self.source.name,
                remedy="correct `platforms` in release.yaml, or push the missing platforms",
                finding="platform-missing",
            )
        if isinstance(document, ImageIndex) and document.manifests and not self.edges:
            problem = f"nothing that the index of image {self.spec.name!r} names is there to pack"
            raise RefusedError(
                "; ".join((problem, *self.left_out)),
                where=self.source.name,
                remedy="copy the image again with all of its platforms, or name another one",
                finding="platform-missing",
            )
        if self.left_out and not self.platforms:
            self.platforms = packed_platforms(self.packed, self.spec.name, self.left_out, self.source.name)

    def _pack(self, descriptor: Descriptor, depth: int, *, filtered: bool = False) -> None:
        if descriptor.digest in self.nodes:
            return
        document = self._document(descriptor)
        self.nodes[descriptor.digest] = document
        self.sizes[descriptor.digest] = descriptor.size
        if isinstance(document, ImageManifest):
            self._add(document.config, document=True)
            is_artifact = document.subject is not None or bool(document.artifact_type)
            for layer in document.layers:
                self._add(layer, document=is_artifact)
            return
        if depth >= MAX_DEPTH:
            raise MalformedError(f"indexes are nested deeper than {MAX_DEPTH} levels", where=descriptor.digest)
        chosen = self._chosen(document) if filtered else {child.digest: False for child in document.manifests}
        for child in document.manifests:
            # Attestations of BuildKit call their platform unknown/unknown.
            platform = self._platform(child) or "unknown"
            if child.digest not in chosen:
                self.absent.append(Absent(parent=descriptor.digest, digest=child.digest, platform=platform))
            elif missing := self._missing(child, depth + 1):
                if chosen[child.digest]:
                    raise RefusedError(
                        f"image {self.spec.name!r} has no {platform} to pack: {missing}",
                        where=self.source.name,
                        remedy="copy the image again with this platform, or take it out of `platforms`",
                        finding="platform-missing",
                    )
                self.absent.append(Absent(parent=descriptor.digest, digest=child.digest, platform=platform))
                self.left_out.append(f"{child.digest} ({platform}) is left out: {missing}")
            else:
                self.edges.add((descriptor.digest, child.digest))
                self.packed.add(platform)
                self._pack(child, depth + 1, filtered=filtered and not child.platform)

    def _chosen(self, index: ImageIndex) -> dict[str, bool]:
        """The children to pack, by digest, and whether each must be there.

        They are images of named platforms, nested indexes, which are searched too, and what belongs to these images:
        attestations of BuildKit, and artifacts whose subject is one of them.
        """
        chosen: dict[str, bool] = {}
        for child in index.manifests:
            platform = self._platform(child)
            fitting = [one for one in self.spec.platforms if platform and fits(platform, one)]
            self.matched.update(fitting)
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

    def _peek(self, child: Descriptor) -> ImageManifest | ImageIndex | None:
        """What a child says, None where it is not there or is no image."""
        if child.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return None
        try:
            return self._read(child)[1]
        except WaybillError as error:
            if error.finding in NOT_THERE or error.finding == FOREIGN:
                return None
            raise

    def _platform(self, child: Descriptor) -> str | None:
        """The platform of a child: its descriptor's, else that of its config (image-spec, config.md)."""
        if child.platform or child.annotation(ATTESTED) or child.media_type not in MANIFEST_TYPES:
            return child.platform
        document = self._peek(child)
        return platform_of(document, self.source) if document is not None else None

    def _missing(self, descriptor: Descriptor, depth: int) -> str:
        """Why a manifest or index cannot be packed whole, as far as only its absence is the reason; empty if it can."""
        if descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return f"{descriptor.media_type} is no image"
        try:
            _, document = self._read(descriptor)
        except WaybillError as error:
            if error.finding in NOT_THERE:
                return error.problem
            raise
        if isinstance(document, ImageManifest):
            gone = [blob.digest for blob in document.children if not self._at_hand(blob)]
            return f"{gone[0]} is missing" if gone else ""
        if depth >= MAX_DEPTH:
            raise MalformedError(f"indexes are nested deeper than {MAX_DEPTH} levels", where=descriptor.digest)
        reasons = [self._missing(child, depth + 1) for child in document.manifests]
        return "nothing that it names is there" if reasons and all(reasons) else ""

    def _at_hand(self, blob: Descriptor) -> bool:
        return blob.digest == EMPTY.digest or blob.digest in self.parts.by_digest or self.source.holds(blob)

    def _document(self, descriptor: Descriptor) -> ImageManifest | ImageIndex:
        """A manifest or index, which becomes a part."""
        data, document = self._read(descriptor)
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.parts.add(blob, HeldPart(data), self.source.name, document=True)
        return document

    def _read(self, descriptor: Descriptor) -> tuple[bytes, ImageManifest | ImageIndex]:
        """The bytes of a manifest or index, hashed, and what they say; each is fetched once."""
        if descriptor.digest not in self.fetched:
            known = self.parts.by_digest.get(descriptor.digest)
            if known is not None and isinstance(known.origin, HeldPart) and known.blob.size == descriptor.size:
                data = known.origin.data
            else:
                data = self.source.document(descriptor)
            try:
                self.fetched[descriptor.digest] = data, parse_oci(data, media_type=descriptor.media_type)
            except MalformedError as error:
                raise error.with_(where=f"{self.source.name} {descriptor.digest} {error.where}") from None
        return self.fetched[descriptor.digest]

    def _add(self, descriptor: Descriptor, *, document: bool) -> None:
        known = self.parts.by_digest.get(descriptor.digest)
        if known is not None:
            origin = known.origin
        else:
            origin = HeldPart(EMPTY_BYTES) if descriptor.digest == EMPTY.digest else self.source.origin(descriptor)
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.parts.add(blob, origin, self.source.name, document=document)

    def listed(self, descriptor: Descriptor) -> Descriptor:
        """The entry of index.json for a node, without a name."""
        document = self.nodes[descriptor.digest]
        return Descriptor(
            media_type=document.media_type,
            digest=descriptor.digest,
            size=self.sizes[descriptor.digest],
            artifact_type=document.referrer_type if document.subject is not None else None,
        )

    def listed_digest(self, digest: str) -> Descriptor:
        return self.listed(Descriptor(media_type=self.nodes[digest].media_type, digest=digest, size=0))

    def _subject(self, digest: str) -> str:
        subject = self.nodes[digest].subject
        return subject.digest if subject is not None else ""

    def companions(self, subjects: tuple[str, ...]) -> list[Descriptor]:
        """Pack everything that refers to ``subjects``, and everything that refers to those referrers."""
        # What an index names beside its images is found as a referrer only where index.json lists it.
        within = (self.listed_digest(one) for one in subjects[1:] if self._subject(one) in subjects)
        companions = {("", entry.digest): entry for entry in within}
        queue = list(subjects)
        seen = set(queue)
        while queue:
            digest = queue.pop(0)
            for descriptor, tag in self._referring_to(digest):
                if not self._is_companion(descriptor, tag, digest):
                    continue
                self._pack(descriptor, 0)
                name = f"{self.spec.to.partition(':')[0]}:{tag}" if tag else ""
                annotations = ((REF_NAME, name),) if name else ()
                companions[(name, descriptor.digest)] = replace(self.listed(descriptor), annotations=annotations)
                if len(companions) > MAX_COMPANIONS:
                    raise MalformedError(f"an image has more than {MAX_COMPANIONS} referrers", where=self.source.name)
                if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    queue.append(descriptor.digest)
        return [companions[key] for key in sorted(companions)]

    def _is_companion(self, descriptor: Descriptor, tag: str, subject: str) -> bool:
        """Whether a listed referrer can be read and is one; a doubt says why not."""
        try:
            missing = self._missing(descriptor, 0)
            _, document = self._read(descriptor)
            if missing:
                raise DamagedError(missing)
        except WaybillError as error:
            if error.finding in NO_ANSWER:
                raise
            problem = f"referrer {descriptor.digest} could not be read and is not packed: {error.problem}"
            self.source.doubts.append(problem)
            return False
        if tag and document.subject is not None and document.subject.digest not in self.nodes:
            self.source.doubts.append(f"{tag} refers to {document.subject.digest}, which is not packed, nor is it")
            return False
        if not tag and (document.subject is None or document.subject.digest != subject):
            self.source.doubts.append(
                f"{descriptor.digest} is listed as a referrer of {subject}, but its subject is not"
            )
            return False
        return True

    def _referring_to(self, digest: str) -> Iterator[tuple[Descriptor, str]]:
        for referrer in self.source.referrers(digest):
            yield referrer, ""
        for ending in COSIGN_ENDINGS:
            tag = digest.replace(":", "-") + ending
            tagged = self.source.tagged(tag)
            if tagged is not None:
                self.tags.setdefault(tagged.digest, []).append(digest)
                yield tagged, tag

    def attach(self, sbom: ImageSbom, *, title: str = "") -> Descriptor:
        """Write a referrer manifest for an SBOM that is a part already; return its entry of index.json."""
        subject = self.listed_digest(sbom.about)
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
