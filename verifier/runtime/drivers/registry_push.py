"""Bring the blobs and documents of images into the site's registry: while they are copied, or from the store."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from content.bundle.graph import Node
from content.bundle.oci import Descriptor, ImageIndex
from content.registry.client import SMALL
from content.registry.image_errors import ImagePlace
from manifests.authored.site_yaml import RegistryDriverFile
from manifests.words.errors import DamagedError, HostError, WaybillError
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.drivers.images import ImageParts
from verifier.runtime.drivers.registry_client import (
    UNREACHABLE,
    SiteRegistry,
    image_place,
    recorded_repositories,
    repository_of,
)
from verifier.site.blobs import BUFFER, blob_path, read_blob
from verifier.site.disk import CopiedBytes, Receiver

# Other repositories that are asked for a large blob before it is sent.
MAX_SOURCES = 8
_FOREIGN_REMEDY = (
    "allow these addresses in the registry (distribution: validation.manifests.urls.allow), "
    "or ask the vendor for images without foreign layers"
)
T = TypeVar("T")


@dataclass(frozen=True)
class _Need:
    """A blob, the images that need it by their repositories, and other repositories of this site that may have it."""

    blob: Descriptor
    parts: Mapping[str, ImageParts]
    sources: tuple[str, ...]

    @property
    def first(self) -> str:
        """The repository that gets the bytes; the others mount them."""
        return next(iter(self.parts))

    @property
    def large(self) -> bool:
        return self.blob.size > SMALL


def push(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, parts: tuple[ImageParts, ...]
) -> None:
    """Push everything that has a digest: blobs, then documents, children first, then what refers to them."""
    blobs = context.blobs
    in_parallel(settings, _needs(settings, context, parts), lambda need: _push_blob(registry, settings, blobs, need))
    in_parallel(settings, parts, lambda part: _push_documents(registry, settings, blobs, part))


def place_of(settings: RegistryDriverFile, part: ImageParts) -> ImagePlace:
    """The image as errors name it."""
    return image_place(settings, part.image)


def upload_receivers(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, parts: tuple[ImageParts, ...]
) -> dict[str, Receiver]:
    """Return, by digest, what sends a large blob while it is copied. Small ones are sent from the store."""
    uploads = _Uploads(registry, threading.BoundedSemaphore(settings.parallel))
    needs = _needs(settings, context, parts)
    return {need.blob.digest: partial(uploads.receive, need) for need in needs if need.large}


@dataclass(frozen=True)
class _Uploads:
    """Uploads beside the copy. After the first failure nothing more is sent; `push` sends it from the store."""

    registry: SiteRegistry
    slots: threading.BoundedSemaphore
    failed: threading.Event = field(default_factory=threading.Event)

    def receive(self, need: _Need, copied: CopiedBytes) -> None:
        with self.slots:
            if not self.failed.is_set():
                self._send(need, copied)

    def _send(self, need: _Need, copied: CopiedBytes) -> None:
        blob = need.blob
        try:
            if _holder(self.registry, need) is None:
                self.registry.push_stream(need.first, blob.digest, blob.size, copied, lambda: copied.digest)
        except DamagedError:
            # The copy itself finds and reports it.
            return
        except (WaybillError, OSError):
            self.failed.set()


def _needs(settings: RegistryDriverFile, context: DriverContext, parts: Iterable[ImageParts]) -> tuple[_Need, ...]:
    """Return every blob with the repositories that need it, the largest first."""
    needed: dict[str, tuple[Descriptor, dict[str, ImageParts]]] = {}
    for part in parts:
        for blob in part.blobs:
            needed.setdefault(blob.digest, (blob, {}))[1].setdefault(repository_of(settings, part.image), part)
    ours = (repository_of(settings, image) for image in context.release.images)
    known = tuple(dict.fromkeys((*ours, *recorded_repositories(context, settings.endpoint))))
    needs = []
    for blob, repositories in needed.values():
        sources = tuple(name for name in known if name not in repositories)
        needs.append(_Need(blob, repositories, sources[:MAX_SOURCES]))
    return tuple(sorted(needs, key=lambda need: -need.blob.size))


def _holder(registry: SiteRegistry, need: _Need) -> str | None:
    """Return a repository that needs the blob and has it, after a mount where another repository of the site has it."""
    digest = need.blob.digest
    for name in need.parts:
        if registry.blob_exists(name, digest):
            return name
    for source in need.sources if need.large else ():
        if registry.blob_exists(source, digest) and registry.mount_blob(need.first, digest, source):
            return need.first
    return None


def _push_blob(registry: SiteRegistry, settings: RegistryDriverFile, blobs: Path, need: _Need) -> None:
    digest, size, path = need.blob.digest, need.blob.size, blob_path(blobs, need.blob.digest)
    with place_of(settings, need.parts[need.first]).errors():
        holder = _holder(registry, need)
        if holder is None:
            holder = need.first
            registry.push_blob(holder, digest, size, lambda: _chunks(path))
    for repository, part in need.parts.items():
        if repository != holder:
            with place_of(settings, part).errors():
                registry.push_blob(repository, digest, size, lambda: _chunks(path), mount_from=holder)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(BUFFER):
            yield chunk


def _push_documents(registry: SiteRegistry, settings: RegistryDriverFile, blobs: Path, part: ImageParts) -> None:
    repository = repository_of(settings, part.image)
    referrers = {node.descriptor.digest for node in part.referrers}
    with place_of(settings, part).errors():
        for node in part.documents:
            digest = node.descriptor.digest
            data = read_blob(blobs, digest, node.descriptor.size)
            if digest in referrers:
                registry.push_referrer(repository, data, node.document.media_type)
            elif not registry.manifest_exists(repository, digest):
                _push_document(registry, repository, part, node, data)
        for tag, node in part.cosign:
            data = read_blob(blobs, node.descriptor.digest, node.descriptor.size)
            registry.push_manifest(repository, tag, data, node.document.media_type)


def _push_document(registry: SiteRegistry, repository: str, part: ImageParts, node: Node, data: bytes) -> None:
    try:
        registry.push_manifest(repository, node.descriptor.digest, data, node.document.media_type)
    except HostError as error:
        if error.finding == UNREACHABLE:
            raise
        if isinstance(node.document, ImageIndex):
            # A registry may refuse an index with gaps (MANIFEST_BLOB_UNKNOWN); the stand-in then gets the tag.
            if part.sparse:
                return
            raise
        urls = [url for layer in node.document.layers for url in layer.urls]
        if not urls:
            raise
        problem = f"{error.problem}; the manifest has foreign layers ({urls[0]})"
        raise error.with_(problem=problem, remedy=_FOREIGN_REMEDY) from None


def in_parallel(settings: RegistryDriverFile, items: Iterable[T], act: Callable[[T], None]) -> None:
    """Act on all items. The first failure is raised once the acts that were begun have ended."""
    with ThreadPoolExecutor(max_workers=settings.parallel) as pool:
        futures = [pool.submit(act, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
