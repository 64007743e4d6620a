"""The telemetry contract and the rollback document of a release at a site, read from its store."""

from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.unread import taken_in_before


def read_rollback(site: Site, release: Release) -> Rollback:
    """Return the release's rollback document. Raises DamagedError when the store lacks it."""
    what = f"rollback document of release {release.version}"
    with taken_in_before():
        return parse_rollback(site.store.get(release.rollback, MAX_ROLLBACK, what), what)


def read_contract(site: Site, release: Release) -> Contract:
    """Return the release's telemetry contract. Raises DamagedError when the store lacks it."""
    what = f"telemetry contract of release {release.version}"
    with taken_in_before():
        return parse_contract(site.store.get(release.contract, MAX_CONTRACT, what), what)


def contract_in_force(site: Site) -> tuple[Contract | None, str | None]:
    """Return the telemetry contract that the site's people approved, and its digest; None before the first install.

    Raises:
        DamagedError: The contract is missing from the store.
    """
    installs = site.state.installs
    # During a trial the contract of the generation before it is still in force.
    before = installs.generation(installs.transaction.planned.source) if installs.transaction else None
    agreed = next((one for one in (installs.running, before) if one and one.contract == installs.contract), None)
    if agreed is None:
        return None, None
    release = read_installed(site, agreed).release
    return read_contract(site, release), release.contract.digest
