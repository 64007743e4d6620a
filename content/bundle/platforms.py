"""The platform of an image, from its config, and whether it is one that a release names."""

import re
from typing import Protocol

from content.bundle.layout import BLOB_MISSING
from content.bundle.oci import CONFIG_TYPES, Descriptor, ImageIndex, ImageManifest, read_json
from manifests.words.errors import MalformedError, RefusedError, WaybillError

# Findings of a source that does not have what it names.
NOT_THERE = frozenset({BLOB_MISSING, "registry-missing"})
MAX_KEPT = 1 << 20
MAX_PLATFORMS = 64
# As manifests.words.digest.Platform, which release.json holds.
SITE_PLATFORM = re.compile(r"(?!unknown/)[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?")


class ImageHolder(Protocol):
    """A place that holds an image: a layout, or a repository of a registry."""

    @property
    def name(self) -> str: ...

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, hashed."""

    def blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob that is no manifest, hashed."""


def platform_of(document: ImageManifest | ImageIndex, source: ImageHolder) -> str | None:
    """``os/architecture[/variant]`` as the config of an image says; None for an artifact and for an index.

    Raises any WaybillError of the source, except where the config is not there or is no config.
    """
    if isinstance(document, ImageIndex) or document.config.media_type not in CONFIG_TYPES:
        return None
    try:
        config = read_json(source.blob(document.config, MAX_KEPT), where=document.config.digest)
    except WaybillError as error:
        if error.finding in NOT_THERE or isinstance(error, MalformedError):
            return None
        raise
    parts = [config.get(key) for key in ("os", "architecture", "variant")]
    words = [part for part in parts if isinstance(part, str) and part]
    if not (parts[0] and parts[1]):
        return None
    platform = "/".join(words)
    return platform if SITE_PLATFORM.fullmatch(platform) else None


def packed_platforms(packed: set[str], image: str, left_out: list[str], where: str) -> tuple[str, ...]:
    """The platforms to record for an image that is not packed whole. Raises RefusedError when there is none."""
    platforms = tuple(sorted(filter(SITE_PLATFORM.fullmatch, packed))[:MAX_PLATFORMS])
    if not platforms:  # F-10.15
        problem = "; ".join((f"image {image!r} is not whole, and its parts name no platform", *left_out))
        remedy = "copy the image again with all of its parts"
        raise RefusedError(problem, where=where, remedy=remedy, finding="platform-missing")
    return platforms
