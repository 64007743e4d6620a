"""Authorisations that a release carries: each leads from this very release, and the rollback role has signed it."""

from pathlib import Path

from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.documents.authorisation import MAX_AUTHORISATION, verify_authorisation
from manifests.trust.keys import read_capped
from manifests.trust.root import Chain, Mark
from manifests.words.errors import RefusedError


def check_authorisations(file: Handwritten, release: ReleaseFile, chain: Chain, mark: Mark, folder: Path) -> None:
    """What no site could use is not packed.

    Raises:
        MalformedError, UntrustedError: Not an authorisation, or not signed by enough of the rollback role.
        RefusedError: It leaves another release, or is for another product.
    """
    for i, text in enumerate(release.authorisations):
        where = file.at(f"$.authorisations[{i}]")
        path = folder / text
        said = verify_authorisation(read_capped(path, MAX_AUTHORISATION), chain, str(path)).authorisation
        leaves = said.leaves
        if (said.product, leaves.channel, leaves.mark) != (release.product, release.channel, mark):  # D-6.7
            raise RefusedError(
                f"authorisation {said.number} leaves {said.product} {leaves.channel} {leaves.mark.sequence} of epoch "
                f"{leaves.mark.epoch}, this release is {release.product} {release.channel} {mark.sequence} of epoch "
                f"{mark.epoch}",
                where=where,
                remedy="write `leaves` for this release, and sign it anew",
                finding="authorisation-other-release",
            )
