"""Pack what lies beside an image: manifests that refer to it, and the tags of cosign. `lint` only looks."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from content.bundle.oci import REF_NAME, Descriptor, ImageManifest
from content.bundle.platforms import ImageHolder
from content.bundle.selection import ImageSelection
from manifests.words.errors import DamagedError, MalformedError, WaybillError

COSIGN_ENDINGS = (".sig", ".att", ".sbom")
MAX_COMPANIONS = 4096
# Findings of a registry that answers nothing at all; with any other, only what lies beside the image is missing.
NO_ANSWER = frozenset({"registry-unreachable", "registry-tls", "registry-busy", "foreign-realm"})


class CompanionHolder(ImageHolder, Protocol):
    """A place that also knows what refers to an image. Attributes: doubts: What it has and could not be read."""

    @property
    def doubts(self) -> list[str]: ...

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Manifests that name ``digest`` as their subject."""

    def tagged(self, tag: str) -> Descriptor | None:
        """The manifest with this tag in the image's own repository."""


@dataclass
class Companions:
    """Finds and packs the companions of one image.

    Attributes:
        repository: Of the image in the release, under which cosign's tags are listed.
        tags: The subjects that the tags of cosign name, by the manifest under the tag.
    """

    selection: ImageSelection
    source: CompanionHolder
    repository: str
    tags: dict[str, list[str]] = field(default_factory=dict)

    def listed(self, digest: str) -> Descriptor:
        """The entry of index.json for a packed manifest or index, without a name."""
        document = self.selection.nodes[digest]
        return Descriptor(
            media_type=document.media_type,
            digest=digest,
            size=self.selection.sizes[digest],
            artifact_type=document.referrer_type if document.subject is not None else None,
        )

    def pack(self, subjects: tuple[str, ...]) -> list[Descriptor]:
        """Pack everything that refers to ``subjects``, and everything that refers to those referrers."""
        # What an index names beside its images is found as a referrer only where index.json lists it.
        within = (self.listed(digest) for digest in subjects[1:] if self._subject(digest) in subjects)
        companions = {("", entry.digest): entry for entry in within}
        queue = list(subjects)
        seen = set(queue)
        while queue:
            digest = queue.pop(0)
            for descriptor, tag in self._referring_to(digest):
                if not self._is_companion(descriptor, tag, digest):
                    continue
                self.selection.pack(descriptor)
                name = f"{self.repository}:{tag}" if tag else ""
                annotations = ((REF_NAME, name),) if name else ()
                companions[(name, descriptor.digest)] = replace(self.listed(descriptor.digest), annotations=annotations)
                if len(companions) > MAX_COMPANIONS:
                    raise MalformedError(f"an image has more than {MAX_COMPANIONS} referrers", where=self.source.name)
                if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    queue.append(descriptor.digest)
        return [companions[key] for key in sorted(companions)]

    def _subject(self, digest: str) -> str:
        subject = self.selection.nodes[digest].subject
        return subject.digest if subject is not None else ""

    def _is_companion(self, descriptor: Descriptor, tag: str, subject: str) -> bool:
        """Whether a listed referrer can be read and is one; a doubt says why not."""
        try:
            missing = self.selection.missing(descriptor)
            _, document = self.selection.read(descriptor)
            if missing:
                raise DamagedError(missing)
            if isinstance(document, ImageManifest) and any(layer.urls for layer in document.layers):
                raise DamagedError("it has a layer that is distributed elsewhere")
        except WaybillError as error:
            if error.finding in NO_ANSWER:
                raise
            problem = f"referrer {descriptor.digest} could not be read and is not packed: {error.problem}"
            self.source.doubts.append(problem)
            return False
        if tag and document.subject is not None and document.subject.digest not in self.selection.nodes:
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


def refused_by_reader(error: MalformedError, names: tuple[str, ...]) -> MalformedError:
    """The error of a verifier, with the images that it is about, for whoever packs the release."""
    about = f"image {', '.join(names[:4])}: " if names else ""
    problem = f"{about}{error.problem}; a verifier would refuse this release"
    remedy = "change the image, or `platforms`; what an image refers to may be named as an image of the release too"
    return error.with_(problem=problem, remedy=remedy)
