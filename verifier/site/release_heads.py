"""Heads of releases that a site took in: kept whole, judged anew each time they are used."""

from pathlib import Path

from content.bundle.head import open_head
from content.bundle.head_writer import encode_head
from content.trust.head import VerifiedHead, verify_head
from manifests.documents.release import Release
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, RefusedError, UntrustedError, WaybillError
from verifier.site.folder import Site
from verifier.site.vendor_trust import known_trust, list_in_force


def keep_head(site: Site, verified: VerifiedHead) -> None:
    """Store the head of a release, durably; another head of the same release (more signatures) replaces it."""
    folder = site.path / "heads"
    site.disk.make_folder(folder)
    site.disk.write(head_path(site, verified.release_digest), encode_head(verified.head))


def read_kept_head(site: Site, release: str) -> VerifiedHead:
    """The head of a release by its digest, verified against the root and the revocation list in force right now.

    Raises:
        RefusedError: It was never received here.
        DamagedError: The file holds another release.
        UntrustedError: The root in force does not vouch for it any more.
    """
    path = head_path(site, release)
    if not path.exists():
        raise RefusedError(
            f"release {release} was never received here",
            where=str(path),
            remedy="waybill receive BUNDLE",
            finding="not-received",
        )
    verified = verify_head(open_head(path), site.state.trust.root, known_trust(site))
    if verified.release_digest != release:
        raise DamagedError(
            f"holds release {verified.release_digest}, expected {release}",
            where=str(path),
            remedy="receive the bundle again",
        )
    return verified


def waiting_blobs(site: Site, release: str) -> frozenset[str]:
    """Digests of all that a release that waits consists of; nothing when it is not vouched for any more.

    All of it: what `receive --keep` copied is there for an install without the medium, whatever is installed before.
    """
    try:
        return frozenset(one.digest for one in read_kept_head(site, release).release.members)
    except UntrustedError:
        return frozenset()


def small_documents(release: Release) -> tuple[Blob, ...]:
    """What `review` needs of a release before its bulk is here."""
    found = [release.contract, release.rollback]
    if release.config is not None:
        found.append(release.config.schema)
    if release.notes is not None:
        found.append(release.notes)
    found += [Blob(digest=one.digest, size=one.size) for image in release.images for one in image.sboms]
    return (*found, *release.advisories, *release.authorisations)


def head_path(site: Site, release: str) -> Path:
    return site.path / "heads" / (release.removeprefix("sha256:") + ".head")


def running_revoked(site: Site) -> str:
    """Why the release that runs is revoked; empty when it is not. Never a reason to stop it."""

    running, found = site.state.installs.running, list_in_force(site)
    if running is None:
        return ""
    if found is not None and running.release in found.releases:
        return f"revocation list {found.version} revokes it"
    try:
        read_kept_head(site, running.release)
    except UntrustedError as error:
        return error.problem if error.finding == "signature-revoked" else ""
    except (WaybillError, OSError):
        return ""
    return ""
