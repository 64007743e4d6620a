"""Generations on disk: ``generations/<n>/``, written once, read only against the digests in the journal."""

from dataclasses import dataclass
from pathlib import Path

from manifests.authored.site_yaml import SiteFile
from manifests.documents.release import MAX_RELEASE, Release
from manifests.documents.release_reader import parse_release
from manifests.trust.keys import read_capped
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, Positive, digest_of
from manifests.words.errors import DamagedError, RefusedError
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.journal.installs import Generation

GENERATION_TYPE = "application/vnd.waybill.generation.v1+json"
MAX_CONFIG = 1 << 20
FILES = ("release.json", "settings.json", "config.json", "generation.json")


class GenerationFile(Document, frozen=True, kw_only=True, tag_field="type", tag=GENERATION_TYPE):
    """``generation.json``: what the other files are, for people and tools. The journal decides."""

    number: Positive
    release: Digest
    settings: Digest
    config: Digest | None = None
    plan: Digest


@dataclass(frozen=True)
class Installed:
    """A generation as it lies on disk, every file checked against the journal."""

    number: int
    release: Release
    settings: SiteFile
    config: bytes | None


def write_generation(
    disk: Disk, folder: Path, release: bytes, settings: bytes, config: bytes | None, *, plan: str
) -> None:
    """Write a generation's folder, durably. What an interrupted attempt left is removed first."""
    staging = folder.with_name(f".{folder.name}.new")
    disk.make_folder(folder.parent)
    disk.remove_tree(staging)
    disk.remove_tree(folder)
    disk.make_folder(staging, durable=False)
    disk.write_new(staging / "release.json", release)
    disk.write_new(staging / "settings.json", settings, 0o640)
    if config is not None:
        # The config may hold secrets, so only the account and group of the site may read it.
        disk.write_new(staging / "config.json", config, 0o640)
    about = _about(
        int(folder.name), digest_of(release), digest_of(settings), None if config is None else digest_of(config), plan
    )
    disk.write_new(staging / "generation.json", about)
    disk.sync_folder(staging)
    disk.rename(staging, folder)
    disk.sync_folder(folder.parent)


def _about(number: int, release: str, settings: str, config: str | None, plan: str) -> bytes:
    return encode(GenerationFile(number=number, release=release, settings=settings, config=config, plan=plan))


def read_generation(
    folder: Path, number: int, *, release: str, settings: str, config: str | None, plan: str
) -> Installed:
    """Read a generation back, each file checked against the digest that the journal holds.

    Raises:
        RefusedError: Its folder was removed, as ``keep`` of ``site.yaml`` says.
        DamagedError: A file is missing or was changed.
    """
    if not folder.is_dir():
        raise RefusedError(
            f"generation {number} is no longer kept",
            where=str(folder),
            remedy="choose a kept generation; run `waybill status` to list them",
            finding="generation-gone",
        )
    about = _about(number, release, settings, config, plan)
    _checked(folder / "generation.json", digest_of(about), len(about))
    release_bytes = _checked(folder / "release.json", release, MAX_RELEASE)
    config_bytes = None if config is None else _checked(folder / "config.json", config, MAX_CONFIG)
    return Installed(
        number=number,
        release=parse_release(release_bytes, str(folder / "release.json")),
        settings=parse_settings(_checked(folder / "settings.json", settings, MAX_CONFIG)),
        config=config_bytes,
    )


def _checked(path: Path, digest: str, max_bytes: int) -> bytes:
    if not path.is_file():
        raise DamagedError(
            "the file is missing", where=str(path), remedy="install the release again", finding="generation-damaged"
        )
    data = read_capped(path, max_bytes)
    if digest_of(data) != digest:
        raise DamagedError(
            f"the file has digest {digest_of(data)}, expected {digest}",
            where=str(path),
            remedy="install the release again",
            finding="generation-damaged",
        )
    return data


def read_installed(site: Site, generation: Generation) -> Installed:
    """Return a generation read from disk, checked against the journal."""
    return read_generation(
        site.generation_folder(generation.number),
        generation.number,
        release=generation.release,
        settings=generation.settings,
        config=generation.config,
        plan=generation.plan,
    )


def read_running(site: Site) -> Installed | None:
    """Return the running generation read from disk; None when nothing runs."""
    running = site.state.installs.running
    return None if running is None else read_installed(site, running)


MAX_SETTINGS = 1 << 20


def parse_settings(data: bytes) -> SiteFile:
    """Parse the settings of a generation, whose digest was checked."""
    return parse(data, SiteFile, "settings", max_bytes=MAX_SETTINGS)
