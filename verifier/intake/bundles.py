"""Verify a bundle to its last byte and put its release in the queue."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from content.bundle.bulk import open_bundle, read_blob, verify_frame
from content.bundle.head import open_head
from content.bundle.oci import MAX_MANIFEST_BYTES
from content.bundle.places import Bulk, find_places
from content.trust.head import VerifiedHead
from manifests.foreign.sbom import MAX_SBOM
from manifests.words.errors import MalformedError, WaybillError
from verifier.intake.scan import scan_folder
from verifier.site.facts import facts_of, proposed_channel
from verifier.site.folder import OVERHEAD, OVERHEAD_FILES, Site, check_space
from verifier.site.journal.events import Alarm, Received
from verifier.site.release_heads import keep_head, small_documents
from verifier.site.vendor_trust import Notify, adopt_revocations, adopt_roots, known_trust, silent
from verifier.trust.anchor import TrustAnchor
from verifier.trust.bundle import VerifiedBundle, VerifyRequest, verify_path
from verifier.trust.findings import Finding, refusal

MAX_SMALL = MAX_SBOM


@dataclass(frozen=True)
class ReceivedBundle:
    """What was taken in from one file.

    Attributes:
        new: False when the very same release waited here already.
    """

    path: Path
    item: str
    version: str
    release: str
    new: bool
    findings: tuple[Finding, ...]


def find_bundles(path: Path) -> list[Path]:
    """The bundles in a file or folder, by their first block; names, case and suffixes mean nothing.

    Raises:
        MalformedError: There is none.
    """
    if not path.is_dir():
        return [path]
    bundles = [file for file, kind in scan_folder(path) if kind == "bundle"]
    if not bundles:
        raise MalformedError(
            "the folder holds no bundle",
            where=str(path),
            remedy="name the file itself, or another folder",
            finding="nothing-found",
        )
    return bundles


def receive_bundle(
    site: Site, path: Path, *, keep: bool, advance: Callable[[int], None], say: Notify = silent
) -> ReceivedBundle:
    """Verify a bundle to its last byte and put its release in the queue.

    Steps: 1 a newer root and a newer revocation list are stored before anything else is believed; 2 verify, against
    them and the counters of this site; 3 the head and the small documents are kept; 4 the journal says so, which raises
    the mark.

    Args:
        keep: Also copy the bulk into the store now, for a medium that will not be here at the install. It is still
            read once; what was good of a damaged one stays.
        say: Told who joins and leaves with a newer root, and what a newer list revokes, before either is in force.

    Raises:
        WaybillError: As `verify`; an alarm about a sequence used twice is in the journal.
    """
    head = open_head(path)  # 1
    adopt_roots(site, head.roots, say)
    if head.revocations is not None:
        adopt_revocations(site, head.revocations, f"{path} revocations.json", say)
    state = site.state
    held = (
        frozenset("sha256:" + file.name for file in site.blobs.iterdir()) if site.blobs.is_dir() else frozenset[str]()
    )
    request = VerifyRequest(
        TrustAnchor(state.trust.root, known_trust(site), facts=facts_of(state, proposed_channel(site.path))),
        site.host.now(),
        advance,
        held=held,
        stored=lambda blob: site.store.get(blob, MAX_MANIFEST_BYTES),
        take=(lambda descriptor, bulk: _take(site, path, descriptor, bulk, advance)) if keep else None,
    )
    bundle = verify_path(path, request)  # 2
    error = refusal(bundle.findings)
    if error is not None:
        _alarm(site, bundle, error)
        raise error
    keep_head(site, bundle.head)  # 3
    if not keep:
        _keep_small(site, path, bundle)
    release = bundle.head.release
    item = f"r-{release.version}"
    return ReceivedBundle(
        path=path,
        item=item,
        version=release.version,
        release=bundle.head.release_digest,
        new=_record(site, path, item, bundle.head),  # 4
        findings=bundle.findings,
    )


def _record(site: Site, path: Path, item: str, verified: VerifiedHead) -> bool:
    """Record the release when it or its path is new; True when the release is new."""
    release = verified.release
    before = site.state.installs.received(item)
    source = _text(path.absolute())
    new = before is None or before.release != verified.release_digest
    if new or (before is not None and before.source != source):
        site.record(
            Received(
                item=item,
                release=verified.release_digest,
                product=release.product,
                version=release.version,
                channel=release.channel,
                mark=release.mark,
                root=verified.chain.newest.version,
                contract=release.contract.digest,
                signers=verified.signers,
                practice=verified.practice,
                issued_at=release.issued_at,
                source=source,
            )
        )
    return new


def _take(site: Site, path: Path, descriptor: int, bulk: Bulk, advance: Callable[[int], None]) -> None:
    """The one read of the medium: what the store lacks is copied and the copy hashed; what it has is hashed there.

    Stopped or damaged half-way, the next call goes on with the blobs that are still missing.
    """
    members = bulk.release.members if not bulk.missing else tuple(place.blob for place in bulk.present)
    missing = site.store.missing(members, advance)
    size, inodes = site.store.space_for(missing)
    check_space(site.disk, ((site.blobs, size + OVERHEAD, inodes + OVERHEAD_FILES),))
    verify_frame(descriptor, bulk, str(path))
    site.store.ingest(descriptor, bulk, missing, str(path), advance)


def _keep_small(site: Site, path: Path, bundle: VerifiedBundle) -> None:
    release = bundle.head.release
    descriptor = open_bundle(path)
    try:
        bulk = find_places(descriptor, release, str(path))
        places = {place.blob.digest: place for place in bulk.present}
        for blob in small_documents(release):
            if blob.digest in places:
                site.store.put(read_blob(descriptor, places[blob.digest], MAX_SMALL))
    finally:
        os.close(descriptor)


def _alarm(site: Site, bundle: VerifiedBundle, error: WaybillError) -> None:
    """Record an alarm for support when two releases have one sequence number."""
    if error.finding == "sequence-twice":
        digest = bundle.head.release_digest
        if all(one.digest != digest for one in site.state.alarms):
            site.record(Alarm(code="sequence-twice", digest=digest, detail=error.problem))


def _text(path: Path) -> str:
    """Return the path as text for the journal, or ``-`` if it is not printable."""
    text = str(path)
    plain = text.isprintable() and len(text) <= 4096
    return text if plain else "-"
