"""Read images from a repository of a registry."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bundler.parts import FetchedPart, PartOrigin
from content.bundle.companions import NO_ANSWER
from content.bundle.layout_source import LayoutSource
from content.bundle.oci import MAX_MANIFEST_BYTES, Descriptor
from content.bundle.oci_writer import describe
from content.registry.reference import Reference
from manifests.words.errors import MalformedError, WaybillError

if TYPE_CHECKING:
    from content.registry.client import Registry


@dataclass(frozen=True)
class RegistrySource:
    """An image in a repository, by tag or digest; the tag is looked up once.

    What the registry refuses to list beside the image is a doubt, not an error: the release may not need it.
    """

    registry: "Registry"
    reference: Reference
    pointer: str
    converted: None = None
    doubts: list[str] = field(default_factory=list)
    _documents: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.reference.host}/{self.reference.repository}"

    def resolve(self) -> Descriptor:
        return self._keep(*self.registry.manifest(self.reference.repository, self.pointer))

    def document(self, descriptor: Descriptor) -> bytes:
        self._check_size(descriptor, MAX_MANIFEST_BYTES)
        held = self._documents.pop(descriptor.digest, None)
        if held is not None:
            return held
        data, _ = self.registry.manifest(self.reference.repository, descriptor.digest)
        if len(data) != descriptor.size:
            problem = f"{descriptor.digest} has {len(data)} bytes, its descriptor says {descriptor.size}"
            raise MalformedError(problem, where=self.name)
        return data

    def blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        self._check_size(descriptor, max_bytes)
        return b"".join(self.registry.blob(self.reference.repository, descriptor.digest, descriptor.size))

    def origin(self, descriptor: Descriptor) -> PartOrigin:
        repository, digest, size = self.reference.repository, descriptor.digest, descriptor.size
        return FetchedPart(lambda: self.registry.blob(repository, digest, size))

    def holds(self, descriptor: Descriptor) -> bool:
        """True: a registry takes no manifest whose blobs it does not have."""
        return bool(descriptor.digest)

    def holds_foreign(self, descriptor: Descriptor) -> bool:
        """Whether the registry has a layer that its manifest calls foreign; most have none of these."""
        try:
            return self.registry.blob_exists(self.reference.repository, descriptor.digest)
        except WaybillError as error:
            if error.finding in NO_ANSWER:
                raise
            return False

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        repository = self.reference.repository
        try:
            return self.registry.referrers(repository, digest)
        except WaybillError as error:
            self._doubt("the referrers API", error)
        try:
            return self.registry.tagged_referrers(repository, digest)
        except WaybillError as error:
            self._doubt("the list of referrers under the fallback tag", error)
        return ()

    def tagged(self, tag: str) -> Descriptor | None:
        if self._tags is not None and tag not in self._tags:
            return None
        try:
            return self._find(tag)
        except WaybillError as error:
            self._doubt(f"tag {tag}", error)
        return None

    def _doubt(self, what: str, error: WaybillError) -> None:
        """Note that ``what`` could not be read. A registry that does not answer at all raises again."""
        if error.finding in NO_ANSWER:
            raise error
        text = f"{what} could not be read, so nothing that only it lists is packed: {error.problem}"
        if text not in self.doubts:
            self.doubts.append(text)

    def _check_size(self, descriptor: Descriptor, max_bytes: int) -> None:
        if descriptor.size > max_bytes:
            problem = f"{descriptor.digest} has {descriptor.size} bytes, at most {max_bytes} are read"
            raise MalformedError(problem, where=self.name)

    @cached_property
    def _tags(self) -> frozenset[str] | None:
        """The tags of the repository; None where the registry does not list them: each is then asked for."""
        try:
            return frozenset(self.registry.tags(self.reference.repository, self.doubts.append))
        except WaybillError as error:
            self._doubt("the list of tags", error)
            return None

    def _find(self, pointer: str) -> Descriptor | None:
        manifest = self.registry.find_manifest(self.reference.repository, pointer)
        return self._keep(*manifest) if manifest else None

    def _keep(self, data: bytes, media_type: str) -> Descriptor:
        descriptor = describe(data, media_type=media_type)
        self._documents[descriptor.digest] = data
        return descriptor


# One place that holds an image and what refers to it.
Source = LayoutSource | RegistrySource
