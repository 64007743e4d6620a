"""Generations on disk: ``generations/<n>/``, written once, read only against the digests in the journal."""

import json
from dataclasses import dataclass
from pathlib import Path

from manifests.authored.site_yaml import SiteFile
from manifests.documents.release import MAX_RELEASE, Release
from manifests.documents.release_reader import parse_release
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, Positive, digest_of
from manifests.words.errors import DamagedError, RefusedError
from verifier.site.blobs import read_checked
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.journal.events import Planned
from verifier.site.journal.installs import Generation
from verifier.site.unread import taken_in_before

GENERATION_TYPE = "application/vnd.waybill.generation.v1+json"
MAX_CONFIG = 1 << 20
_AGAIN = ("run `waybill recover`; it writes the file again, or says what it needs", "generation-damaged")


class GenerationFile(Document, frozen=True, kw_only=True, tag_field="type", tag=GENERATION_TYPE):
    """``generation.json``: names the other files for people and tools. The journal decides."""

    number: Positive
    release: Digest
    settings: Digest
    config: Digest | None = None
    plan: Digest


@dataclass(frozen=True)
class Installed:
    """A generation on disk, every file checked against the journal."""

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
    digests = (digest_of(release), digest_of(settings), None if config is None else digest_of(config))
    disk.write_new(staging / "generation.json", _about(int(folder.name), *digests, plan))
    disk.sync_folder(staging)
    disk.rename(staging, folder)
    disk.sync_folder(folder.parent)


def _about(number: int, release: str, settings: str, config: str | None, plan: str) -> bytes:
    return encode(GenerationFile(number=number, release=release, settings=settings, config=config, plan=plan))


def about_generation(generation: Generation) -> bytes:
    """Return the bytes of its ``generation.json``."""
    return _about(generation.number, generation.release, generation.settings, generation.config, generation.plan)


def read_generation(folder: Path, number: int, digests: Generation | Planned) -> Installed:
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

    def checked(name: str, digest: str, max_bytes: int) -> bytes:
        return read_checked(folder / name, digest, max_bytes, "the file", missing=_AGAIN, changed=_AGAIN)

    about = _about(number, digests.release, digests.settings, digests.config, digests.plan)
    checked("generation.json", digest_of(about), len(about))
    release = checked("release.json", digests.release, MAX_RELEASE)
    config = None if digests.config is None else checked("config.json", digests.config, MAX_CONFIG)
    _check_config(config or b"{}", folder / "config.json")
    settings = checked("settings.json", digests.settings, MAX_CONFIG)
    with taken_in_before():
        return Installed(
            number=number,
            release=parse_release(release, str(folder / "release.json")),
            settings=parse(settings, SiteFile, str(folder / "settings.json"), max_bytes=MAX_CONFIG),
            config=config,
        )


def _check_config(config: bytes, path: Path) -> None:
    try:
        json.loads(config)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"not JSON: {error}", where=str(path), remedy=_AGAIN[0], finding=_AGAIN[1]) from None


def read_installed(site: Site, generation: Generation) -> Installed:
    """Return a generation read from disk. Raises as ``read_generation``."""
    return read_generation(site.generation_folder(generation.number), generation.number, generation)


def read_running(site: Site) -> Installed | None:
    """Return the running generation read from disk; None when nothing runs."""
    running = site.state.installs.running
    return None if running is None else read_installed(site, running)


def target_of(site: Site, planned: Planned) -> Installed:
    """Return the generation that is to run. Raises DamagedError when its folder is not what was planned."""
    made = site.state.installs.generation(planned.target)
    if made is not None:
        return read_installed(site, made)
    return read_generation(site.generation_folder(planned.target), planned.target, planned)
