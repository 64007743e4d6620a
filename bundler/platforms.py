"""The platform of an image, from its config, and whether it is one that a release names."""

import re

from bundler.source import NOT_THERE, Source
from content.bundle.oci import CONFIG_TYPES, ImageIndex, ImageManifest, read_json
from manifests.words.errors import MalformedError, WaybillError

MAX_KEPT = 1 << 20
# As manifests.words.digest.Platform, which release.json holds.
SITE_PLATFORM = re.compile(r"(?!unknown/)[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?")


def platform_of(document: ImageManifest | ImageIndex, source: Source) -> str | None:
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


def fits(platform: str, wanted: str) -> bool:
    """Whether ``platform`` is ``wanted`` or a variant of it; arm64 has one variant, v8."""
    return (
        platform == wanted
        or platform.startswith(wanted + "/")
        or (wanted, platform) == ("linux/arm64/v8", "linux/arm64")
    )
