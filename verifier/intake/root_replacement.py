"""Another root for a site that is there: the vendor lost its quorum, and a new chain begins on paper."""

from pathlib import Path

from content.trust.head import check_own_keys
from manifests.trust.root import Chain, check_vendor_product
from manifests.words.errors import RefusedError, UntrustedError
from verifier.site.folder import Site
from verifier.site.journal.events import RootReplaced
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import known_trust


def check_new_root(site: Site, chain: Chain) -> None:
    """Raises unless the chain, whose fingerprint was typed from paper, may take the place of the one in force."""
    state, newest = site.state, chain.newest
    check_served(state)
    if newest.vendor != state.trust.vendor:
        raise RefusedError(
            f"the root is of vendor {newest.vendor}; this site trusts {state.trust.vendor}",
            where="--new-root",
            remedy="enroll a separate folder for the other vendor",
            finding="vendor-differs",
        )
    if state.trust.root.digest in {one.fingerprint for one in chain.roots}:
        raise RefusedError(
            "this chain contains the root in force",
            where="--new-root",
            remedy="waybill receive MEDIA",
            finding="root-known",
        )
    if newest.practice and not state.trust.practice:
        raise UntrustedError(
            "the root is a practice root: for testing only",
            where="--new-root",
            remedy="ask the vendor for the real root",
            finding="practice",
        )
    check_vendor_product(newest, state.product)
    check_own_keys(newest, known_trust(site).own_keys)


def replace_root(site: Site, chain: Chain, reason: str) -> Path:
    """Put another chain in force; where its documents lie now.

    Steps: 1 it may; 2 its documents are durable in a folder of their own, so that the old ones stay what the journal
    pins until the very entry that replaces them; 3 the journal. Marks, floors and the revocation list stay in force:
    nothing that was refused before is taken because of this.

    Raises:
        RefusedError, UntrustedError: Nothing was changed.
    """
    check_new_root(site, chain)  # 1
    folder = site.path / "trust" / f"line-{site.state.trust.root_line + 1}"
    site.disk.make_folder(folder)
    for version in chain.roots:  # 2
        site.disk.write(folder / f"{version.root.version}.root.json", version.raw)
    site.disk.sync_folder(folder.parent)
    site.record(RootReplaced(pin=chain.pin, former=site.state.trust.root, reason=reason))  # 3
    return folder
