"""Collect one image: its whole graph, or that of named platforms, and everything that refers to it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.parts import HeldPart, Parts
from bundler.source import NO_ANSWER, Source
from content.bundle.graph import MAX_DEPTH
from content.bundle.oci import OCI_MANIFEST, REF_NAME, Descriptor, ImageIndex, ImageManifest, parse_oci, read_json
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, describe, encode_manifest
from manifests.authored.release_yaml import ATTACHED, NONE, ImageFile
from manifests.documents.release import Absent, Image, Sbom, Target
from manifests.foreign.sbom import MAX_SBOM, MEDIA_TYPES, SbomDocument, SbomFormat, format_of, read_sbom
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import MalformedError, RefusedError, WaybillError

BASE_NAME = "org.opencontainers.image.base.name"
TITLE = "org.opencontainers.image.title"
# How BuildKit ties an attestation inside an index to the manifest that it is about.
ATTESTED = "vnd.docker.reference.digest"
COSIGN_ENDINGS = (".sig", ".att", ".sbom")
MAX_COMPANIONS = 4096
MAX_KEPT = 1 << 20


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
        doubts: What hangs beside the image and could not be read; it is not packed.
    """

    image: Image
    listed: tuple[Descriptor, ...]
    absent: tuple[Absent, ...]
    edges: frozenset[tuple[str, str]]
    doubts: tuple[str, ...] = ()


def collect_image(
    spec: ImageFile, source: Source, parts: Parts, *, version: str, given: GivenSbom | None
) -> CollectedImage:
    """Add the blobs of one image, of its referrers and of cosign's tags to ``parts``.

    Raises:
        RefusedError: A platform is not there, or there is no SBOM and no reason why not.
        MalformedError, DamagedError, HostError: The source is not in order.
    """
    walk = _Walk(spec, source, parts)
    root = source.resolve()
    walk.pack_root(root)
    subjects = tuple(walk.nodes)
    companions = walk.companions(subjects)
    if given is not None:
        companions.append(walk.attach(given.blob, given.document.format, walk.listed(root), title=given.path.name))
    companions += walk.adopt_cosign_sboms(subjects)
    sboms = tuple(walk.sboms(subjects, strict=spec.sbom == ATTACHED))
    _check_sboms(spec, sboms, source)
    document = walk.nodes[root.digest]
    repository, _, tag = spec.to.partition(":")
    target = Target(media_type=document.media_type, digest=root.digest, size=root.size)
    return CollectedImage(
        image=Image(
            name=spec.name,
            to=repository,
            tag=tag or None,
            manifest=target,
            platforms=spec.platforms if isinstance(document, ImageIndex) else (),
            signed_by=spec.signed_by,
            reason=spec.reason,
            sboms=sboms,
            sbom_reason=spec.sbom_reason,
            base=spec.base or walk.base(root),
        ),
        listed=(replace(walk.listed(root), annotations=((REF_NAME, f"{repository}:{tag or version}"),)), *companions),
        absent=tuple(walk.absent),
        edges=frozenset(walk.edges),
        doubts=tuple(source.doubts),
    )


def _check_sboms(spec: ImageFile, sboms: tuple[Sbom, ...], source: Source) -> None:
    where = source.name
    if spec.sbom == NONE:
        if sboms:
            problem = f"image {spec.name!r} has an SBOM, and release.yaml says sbom: none"
            remedy = f"write `sbom: attached` for image {spec.name}"
            raise RefusedError(problem, where=where, remedy=remedy, finding="sbom-denied")
    elif not sboms:
        problem = "; ".join((f"image {spec.name!r} has no SBOM attached", *source.doubts))
        remedy = "attach an SBOM, name a file (sbom: FILE), or write sbom: none and sbom_reason: TEXT"
        raise RefusedError(problem, where=where, remedy=remedy, finding="sbom-missing")


class _Walk:
    """The state of one walk; ``nodes`` are the packed manifests and indexes, by digest, in the order found."""

    def __init__(self, spec: ImageFile, source: Source, parts: Parts) -> None:
        self.spec = spec
        self.source = source
        self.parts = parts
        self.nodes: dict[str, ImageManifest | ImageIndex] = {}
        self.sizes: dict[str, int] = {}
        self.fetched: dict[str, tuple[bytes, ImageManifest | ImageIndex]] = {}
        self.absent: list[Absent] = []
        self.edges: set[tuple[str, str]] = set()
        self.matched: set[str] = set()

    def pack_root(self, root: Descriptor) -> None:
        if not self.spec.platforms:
            self._pack(root, 0)
            return
        document = self._document(root)
        if isinstance(document, ImageIndex):
            self._pack(root, 0, filtered=True)
            offered = sorted({one.platform for one in document.manifests if one.platform})
        else:
            config = read_json(self.source.blob(document.config, MAX_KEPT), where=document.config.digest)
            offered = ["/".join(str(config.get(key, "?")) for key in ("os", "architecture"))]
            self.matched = {one for one in self.spec.platforms if _fits(offered[0], one)}
            self._pack(root, 0)
        missing = [one for one in self.spec.platforms if one not in self.matched]
        if missing:
            raise RefusedError(
                f"image {self.spec.name!r} has no {', '.join(missing)}, only {', '.join(offered) or 'no platform'}",
                where=self.source.name,
                remedy="correct `platforms` in release.yaml, or push the missing platforms",
                finding="platform-missing",
            )

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
        children = self._chosen(document) if filtered else document.manifests
        chosen = {one.digest for one in children}
        for child in document.manifests:
            if child.digest in chosen:
                self.edges.add((descriptor.digest, child.digest))
                self._pack(child, depth + 1, filtered=filtered and not child.platform)
            else:
                platform = child.platform or "unknown"
                self.absent.append(Absent(parent=descriptor.digest, digest=child.digest, platform=platform))

    def _chosen(self, index: ImageIndex) -> tuple[Descriptor, ...]:
        """The children of named platforms, their attestations, and nested indexes, which are searched too."""
        wanted = []
        for child in index.manifests:
            fitting = [one for one in self.spec.platforms if child.platform and _fits(child.platform, one)]
            self.matched.update(fitting)
            if fitting or (not child.platform and "index" in child.media_type):
                wanted.append(child)
        digests = {one.digest for one in wanted}
        return (*wanted, *(one for one in index.manifests if one.annotation(ATTESTED) in digests))

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

    def companions(self, subjects: tuple[str, ...]) -> list[Descriptor]:
        """Pack everything that refers to ``subjects``, and everything that refers to those referrers."""
        companions: dict[tuple[str, str], Descriptor] = {}
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
            _, document = self._read(descriptor)
        except WaybillError as error:
            if error.finding in NO_ANSWER:
                raise
            problem = f"referrer {descriptor.digest} could not be read and is not packed: {error.problem}"
            self.source.doubts.append(problem)
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
                yield tagged, tag

    def adopt_cosign_sboms(self, subjects: tuple[str, ...]) -> list[Descriptor]:
        """Make a referrer of each cosign ``.sbom`` tag: other tools find an SBOM by its referrer, not by a tag."""
        made = []
        for subject in subjects:
            tagged = self.source.tagged(subject.replace(":", "-") + ".sbom")
            document = self.nodes.get(tagged.digest) if tagged is not None else None
            if not isinstance(document, ImageManifest):
                continue
            for layer in document.layers:
                if format_of(layer.media_type) is not None:
                    about = self.listed(Descriptor(media_type="", digest=subject, size=0))
                    blob = Blob(digest=layer.digest, size=layer.size)
                    made.append(self.attach(blob, self._check(layer), about))
        return made

    def attach(self, blob: Blob, kind: SbomFormat, subject: Descriptor, *, title: str = "") -> Descriptor:
        """Write a referrer manifest for an SBOM that is a part already; return its entry of index.json."""
        media_type = MEDIA_TYPES[kind]
        annotations = ((TITLE, title),) if title else ()
        layer = Descriptor(media_type=media_type, digest=blob.digest, size=blob.size, annotations=annotations)
        plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        manifest = encode_manifest(EMPTY, (layer,), subject=plain, artifact_type=media_type)
        self.parts.hold(EMPTY_BYTES, "SBOM")
        self.parts.hold(manifest, "SBOM")
        self.nodes[digest_of(manifest)] = parse_oci(manifest)
        return describe(manifest, media_type=OCI_MANIFEST, artifact_type=media_type)

    def sboms(self, subjects: tuple[str, ...], *, strict: bool) -> Iterator[Sbom]:
        """SBOMs among the referrers of the image and of its children, checked, each once, sorted."""
        sboms: dict[str, Sbom] = {}
        for document in self.nodes.values():
            if not isinstance(document, ImageManifest) or document.subject is None:
                continue
            if document.subject.digest not in subjects:
                continue
            for layer in document.layers:
                if (format_of(layer.media_type) or format_of(document.artifact_type or "")) is None:
                    continue
                try:
                    kind = self._check(layer)
                except MalformedError:
                    if strict:
                        raise
                    continue
                sboms[layer.digest] = Sbom(format=kind, digest=layer.digest, size=layer.size)
        yield from (sboms[key] for key in sorted(sboms))

    def _check(self, layer: Descriptor) -> SbomFormat:
        known = self.parts.by_digest[layer.digest].origin
        data = known.data if isinstance(known, HeldPart) else self.source.blob(layer, MAX_SBOM)
        if len(data) <= MAX_KEPT:
            blob = Blob(digest=layer.digest, size=layer.size)
            self.parts.add(blob, HeldPart(data), self.source.name, document=True)
        return read_sbom(data, f"{self.source.name} {layer.digest}").format

    def base(self, root: Descriptor) -> str | None:
        """The name of the base image: the image's own annotation, else that of its first child which has one."""
        document = self.nodes[root.digest]
        below = [self.nodes.get(one.digest) for one in document.manifests] if isinstance(document, ImageIndex) else []
        for node in (document, *below):
            name = dict(node.annotations).get(BASE_NAME, "") if node is not None else ""
            if name and len(name) <= 512 and name.isprintable():
                return name
        return None


def _fits(platform: str, wanted: str) -> bool:
    """Whether ``platform`` is ``wanted`` or a variant of it; arm64 has one variant, v8."""
    return (
        platform == wanted
        or platform.startswith(wanted + "/")
        or (wanted, platform) == ("linux/arm64/v8", "linux/arm64")
    )
