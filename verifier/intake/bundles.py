"""Verify a bundle to its last byte and put its release in the queue."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from content.bundle.bulk import open_bundle, read_blob
from content.bundle.frame import verify_frame
from content.bundle.head import open_head
from content.bundle.places import Bulk
from content.trust.head import VerifiedHead
from manifests.foreign.sbom import MAX_SBOM
from manifests.words.errors import WaybillError
from verifier.intake.scan import nothing_found, scan_folder
from verifier.site.folder import OVERHEAD, OVERHEAD_FILES, Site, check_space
from verifier.site.journal.events import Alarm, Received
from verifier.site.judging import site_request
from verifier.site.releases import keep_head, small_documents
from verifier.site.vendor_trust import Notify, adopt_revocations, adopt_roots, silent
from verifier.trust.bundle import VerifiedBundle, verify_path
from verifier.trust.findings import Finding, refusal


@dataclass(frozen=True)
class ReceivedBundle:
    """A bundle that was received. Attributes: new: False when the same release waits already."""

    path: Path
    item: str
    version: str
    release: str
    new: bool
    findings: tuple[Finding, ...]


def find_bundle(path: Path) -> Path:
    """Return ``path`` itself if it is a file, else the first bundle in the folder, by content.

    Raises:
        MalformedError: The folder holds no bundle.
    """
    if not path.is_dir():
        return path
    others = []
    for file in scan_folder(path):
        if file.kind == "bundle":
            return file.path
        others.append(file)
    raise nothing_found(path, "bundle", others)


def receive_bundle(
    site: Site, path: Path, *, keep: bool, advance: Callable[[int], None], say: Notify = silent
) -> ReceivedBundle:
    """Verify a bundle to its last byte and put its release in the queue.

    Steps: 1 store a newer root and a newer revocation list; 2 verify against them and the counters of this site;
    3 keep the head and the small documents; 4 journal the release, which raises the mark.

    Args:
        keep: Also copy the bulk into the store, for a medium that is absent at the install. The bundle is still read
            once; the intact blobs of a damaged one stay in the store.
        say: Called before a newer root or list is in force, with its changes.

    Raises:
        WaybillError: As `verify`; a sequence used twice is also recorded as an alarm.
    """
    head = open_head(path)  # 1
    adopt_roots(site, head.roots, say)
    if head.revocations is not None:
        adopt_revocations(site, head.revocations, f"{path} revocations.json", say)
    request = replace(site_request(site, advance), head=head)
    if keep:
        request = replace(request, take=lambda descriptor, bulk: _take(site, path, descriptor, bulk, advance))
    # Memory: what was found out about images is not asked for again.
    bundle = replace(verify_path(path, request), graph=None)  # 2
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
    source = str(path.absolute())
    if not source.isprintable() or len(source) > 4096:
        source = "-"  # the journal holds printable text only
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
    """Copy the blobs that the store lacks, in one read of the medium, and hash all.

    After an interruption or damage the next call continues with the blobs that are still missing.
    """
    members = bulk.release.members if not bulk.missing else tuple(place.blob for place in bulk.present)
    missing = site.store.missing(members, advance)
    size, inodes = site.store.space_for(missing)
    check_space(site.disk, ((site.blobs, size + OVERHEAD, inodes + OVERHEAD_FILES),))
    verify_frame(descriptor, bulk, str(path))
    site.store.ingest(descriptor, bulk, missing, str(path), advance)


def _keep_small(site: Site, path: Path, bundle: VerifiedBundle) -> None:
    release = bundle.head.release
    documents = {blob.digest for blob in small_documents(release)}
    descriptor = open_bundle(path)
    try:
        for place in bundle.bulk.present:
            if place.blob.digest in documents:
                site.store.put(read_blob(descriptor, place, MAX_SBOM))
    finally:
        os.close(descriptor)


def _alarm(site: Site, bundle: VerifiedBundle, error: WaybillError) -> None:
    """Record an alarm for support when two releases have one sequence number."""
    digest = bundle.head.release_digest
    if error.finding == "sequence-twice" and all(alarm.digest != digest for alarm in site.state.alarms):
        site.record(Alarm(code="sequence-twice", digest=digest, detail=error.problem))
