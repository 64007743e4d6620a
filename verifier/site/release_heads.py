"""Heads of the releases that a site received: kept whole, verified again at each use."""

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
    """Store the head of a release, durably. A head of the same release with other signatures replaces it."""
    folder = site.path / "heads"
    site.disk.make_folder(folder)
    site.disk.write(head_path(site, verified.release_digest), encode_head(verified.head))


def read_kept_head(site: Site, release: str) -> VerifiedHead:
    """Return the head of a release, verified against the root and the revocation list in force now.

    Raises:
        RefusedError: The release was never received here.
        DamagedError: The file holds another release.
        UntrustedError: Its signatures no longer suffice.
    """
    path = head_path(site, release)
    if not path.exists():
        raise RefusedError(
            f"release {release} was never received here",
            where=str(path),
            remedy="receive it: waybill receive BUNDLE",
            finding="not-received",
        )
    verified = verify_head(open_head(path), site.state.trust.root, known_trust(site))
    if verified.release_digest != release:
        raise DamagedError(
            f"the file holds release {verified.release_digest}, expected {release}",
            where=str(path),
            remedy="receive the bundle again: waybill receive BUNDLE",
        )
    return verified


def waiting_blobs(site: Site, release: str) -> frozenset[str]:
    """Return the digests of all blobs of a release that waits; none when its signatures no longer suffice.

    All blobs: what `receive --keep` copied allows an install without the medium, whatever is installed before.
    """
    try:
        return frozenset(one.digest for one in read_kept_head(site, release).release.members)
    except UntrustedError:
        return frozenset()


def small_documents(release: Release) -> tuple[Blob, ...]:
    """Return the documents of a release that `review` needs before the other blobs are here."""
    blobs = [release.contract, release.rollback]
    if release.config is not None:
        blobs.append(release.config.schema)
    if release.notes is not None:
        blobs.append(release.notes)
    blobs += [Blob(digest=one.digest, size=one.size) for image in release.images for one in image.sboms]
    return (*blobs, *release.advisories, *release.authorisations)


def head_path(site: Site, release: str) -> Path:
    return site.path / "heads" / (release.removeprefix("sha256:") + ".head")


def running_revoked(site: Site) -> str | None:
    """Return why the running release is revoked; None when it is not. It is never a reason to stop the release."""
    running, revocations = site.state.installs.running, list_in_force(site)
    if running is None:
        return None
    if revocations is not None and running.release in revocations.releases:
        return f"revocation list {revocations.version} revokes it"
    try:
        read_kept_head(site, running.release)
    except UntrustedError as error:
        return error.problem if error.finding == "signature-revoked" else None
    except (WaybillError, OSError):
        return None
    return None
