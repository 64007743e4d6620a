"""Root documents and revocation lists that come outside of a bundle, and a root that replaces a lost chain."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from content.trust.head import check_own_keys
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, Revocations, parse_revocations
from manifests.trust.root import Chain, Root, check_vendor_product, parse_root
from manifests.words.errors import RefusedError, UntrustedError, WaybillError
from verifier.intake.scan import MediaFile
from verifier.site.folder import Site
from verifier.site.journal.events import RootReplaced
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import NewList, NewRoot, Notify, adopt_revocations, adopt_roots, known_trust

# Findings that a newer root, later on the same medium, may remove.
_LATER = frozenset({"root-gap", "root-changed", "signature-unknown"})


@dataclass
class ReceivedTrust:
    """Root documents and revocation lists that were received.

    Attributes:
        known: Number of files without news.
        others: Number of files of other vendors.
        later: Files to try again after a newer root, with their present error.
    """

    roots: list[NewRoot] = field(default_factory=list)
    lists: list[NewList] = field(default_factory=list)
    known: int = 0
    others: int = 0
    later: list[tuple[MediaFile, WaybillError]] = field(default_factory=list)
    unread: list[WaybillError] = field(default_factory=list)
    refused: list[WaybillError] = field(default_factory=list)


def receive_trust(site: Site, files: Iterable[MediaFile], say: Notify) -> ReceivedTrust:
    """Receive root documents by version, then revocation lists by version.

    Raises:
        MalformedError: A file that a person named is not what it claims to be.
    """
    result = ReceivedTrust()
    ordered: list[tuple[bool, int, MediaFile, bytes]] = []
    for file in files:
        try:
            raw = read_capped(file.path, MAX_REVOCATIONS)
            if file.kind == "root":
                claims: Root | Revocations = parse_root(raw, str(file.path)).root
            else:
                claims = parse_revocations(raw, str(file.path))[1]
        except WaybillError as error:
            if file.named:
                raise
            result.unread.append(error)
            continue
        if claims.vendor != site.state.trust.vendor and not file.named:
            result.others += 1
        else:
            ordered.append((file.kind != "root", claims.version, file, raw))
    for _, _, file, raw in sorted(ordered, key=lambda row: (row[0], row[1], str(row[2].path))):
        try:
            _take(site, file, raw, say, result)
        except WaybillError as error:
            if error.finding in _LATER:
                result.later.append((file, error))
            else:
                result.refused.append(error)
    return result


def _take(site: Site, file: MediaFile, raw: bytes, say: Notify, result: ReceivedTrust) -> None:
    if file.kind == "root":
        roots = adopt_roots(site, (raw,), say)
        result.roots += roots
        result.known += not roots
        return
    changed = adopt_revocations(site, raw, str(file.path), say)
    result.lists += [changed] if changed.new or changed.ignored else []
    result.known += not (changed.new or changed.ignored)


def check_new_root(site: Site, chain: Chain) -> None:
    """Raise unless the chain, whose fingerprint was typed from paper, may replace the chain in force."""
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
            remedy="waybill receive MEDIUM",
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
    """Put another chain in force after the vendor lost its quorum; return the folder of its documents.

    Steps: 1 check; 2 write the documents to a folder of their own, because the journal pins the old ones until the next
    entry; 3 journal. Marks, floors and the revocation list stay in force.

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
