"""Read the documents of a release that the store holds."""

from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from verifier.site.folder import Site


def read_contract(site: Site, release: Release) -> Contract:
    """Return the release's telemetry contract, checked against itself. Raises DamagedError when the store lacks it."""
    return parse_contract(site.store.get(release.contract, MAX_CONTRACT))


def read_rollback(site: Site, release: Release) -> Rollback:
    """Return the release's rollback document. Raises DamagedError when the store lacks it."""
    return parse_rollback(site.store.get(release.rollback, MAX_ROLLBACK))
