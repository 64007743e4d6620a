"""Read one image, and what lies beside it, from an OCI layout or an archive."""

from dataclasses import dataclass, field
from typing import Literal

from content.bundle.docker_archive import DockerArchive
from content.bundle.layout import Extent, Layout
from content.bundle.oci import Descriptor
from manifests.words.errors import RefusedError


@dataclass(frozen=True)
class LayoutSource:
    """An image in a layout, by name or as the only one.

    Attributes:
        converted: The form of the file from which the layout was made, where it was.
        doubts: What hangs beside the image and could not be read.
    """

    layout: Layout
    ref: str
    converted: Literal["docker-archive"] | None = None
    doubts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.layout.name

    def resolve(self) -> Descriptor:
        """The image itself."""
        return self.layout.pick(self.ref)

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, hashed."""
        return self.layout.read(descriptor)

    def blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob that is no manifest, hashed."""
        return self.layout.read(descriptor, max_bytes)

    def origin(self, descriptor: Descriptor) -> Extent:
        """Where the bytes of a blob will be read from."""
        return self.layout.extent(descriptor)

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there, as far as that is known without reading it."""
        return self.layout.holds(descriptor)

    def holds_foreign(self, descriptor: Descriptor) -> bool:
        """Whether a layer that its manifest calls foreign is there all the same."""
        return self.layout.holds(descriptor)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Manifests that name ``digest`` as their subject."""
        return self.layout.referrers(digest)

    def tagged(self, tag: str) -> Descriptor | None:
        """The manifest with this tag in the image's own repository."""
        named = {entry.digest: entry for entry in self.layout.named(tag)}
        if len(named) > 1:
            problem = f"{len(named)} manifests are called {tag}"
            remedy = "name the image by its digest"
            raise RefusedError(problem, where=self.name, finding="image-ambiguous", remedy=remedy)
        return next(iter(named.values()), None)


def file_source(file: Layout | DockerArchive, ref: str) -> LayoutSource:
    """The source of the image ``ref``; the layers of an image that is converted are hashed."""
    if isinstance(file, Layout):
        return LayoutSource(file, ref)
    # A converted image is the only one of its layout.
    return LayoutSource(file.image(ref), "", "docker-archive") if file.converts else LayoutSource(file.image(ref), ref)
