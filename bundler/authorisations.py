"""Check the authorisations that a release carries: each is for this release, and the rollback role has signed it."""

from pathlib import Path

from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.documents.authorisation import MAX_AUTHORISATION, verify_authorisation
from manifests.trust.keys import read_capped
from manifests.trust.root import Chain, Mark
from manifests.words.errors import RefusedError


def check_authorisations(file: Handwritten, release: ReleaseFile, chain: Chain, mark: Mark, folder: Path) -> None:
    """Refuse an authorisation that no site could use.

    Raises:
        MalformedError, UntrustedError: Not an authorisation, or not signed by enough of the rollback role.
        RefusedError: It is for a rollback from another release, or for another product.
    """
    for i, text in enumerate(release.authorisations):
        where = file.at(f"$.authorisations[{i}]")
        path = folder / text
        document = verify_authorisation(read_capped(path, MAX_AUTHORISATION), chain, str(path)).authorisation
        leaves = document.leaves
        if (document.product, leaves.channel, leaves.mark) != (release.product, release.channel, mark):  # D-6.7
            raise RefusedError(
                f"authorisation {document.number} is for a rollback from {document.product} {leaves.channel} "
                f"{leaves.mark.sequence} of epoch {leaves.mark.epoch}, this release is {release.product} "
                f"{release.channel} {mark.sequence} of epoch {mark.epoch}",
                where=where,
                remedy="write `leaves` for this release, and sign it anew",
                finding="authorisation-other-release",
            )
