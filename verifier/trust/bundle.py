"""Verify a bundle: trust first, on the head alone; then whether this site may take it; then every byte.

The order is docs/format.md, "Order of checks". Nothing here can open a network connection, and nothing is remembered:
`receive` and `install` judge again what they copied.
"""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from content.bundle.bulk import SmallDocuments, lost_tail, open_bundle, read_blob, verify_file, verify_stream
from content.bundle.damage import damage, recut
from content.bundle.graph import Graph, walk
from content.bundle.head import VERIFY_TXT, Head, open_head, read_head
from content.bundle.oci import MAX_MANIFEST_BYTES
from content.bundle.places import Bulk, find_places
from content.sigstore.image_signers import find_judge
from content.sigstore.signatures import judge_images, looks_signed
from content.trust.head import Known, VerifiedHead, verify_head
from manifests.documents.contract import Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback, parse_rollback
from manifests.trust.root import Pin
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.progress import ProgressCallback
from manifests.words.units import show_size
from verifier.trust.findings import Finding, ok, refusal, refused
from verifier.trust.release_rules import SiteFacts, judge_release

# Hashed bytes of a blob that the site has.
Stored = Callable[[Blob], bytes]
Take = Callable[[int, Bulk], None]


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle of which every byte that is there was checked.

    Attributes:
        end: ``complete``, ``complete with what this site holds``, or ``incomplete`` (then ``missing`` is not empty).
    """

    head: VerifiedHead
    bulk: Bulk
    graph: Graph | None
    contract: Contract | None
    rollback: Rollback | None
    end: Literal["complete", "complete with what this site holds", "incomplete"]
    missing: tuple[Blob, ...]
    findings: tuple[Finding, ...]


def verify_path(
    path: Path,
    pin: Pin,
    site: SiteFacts | None,
    *,
    now: datetime,
    head_file: Path | None = None,
    held: frozenset[str] = frozenset(),
    stored: Stored | None = None,
    take: Take | None = None,
    advance: ProgressCallback,
    known: Known | None = None,
) -> VerifiedBundle:
    """Verify the bundle file at ``path``, with its head or the one in ``head_file``.

    Args:
        held: Digests of the blobs that this site has, for a delta.
        known: Root documents and the revocation list that this site holds.
        stored: Reads and hashes one of these, when signatures of images must be judged.
        take: Copies the bulk somewhere and checks every byte of it meanwhile, in place of the read that only checks.

    Raises:
        WaybillError: The head cannot be read or is not trusted, or the bulk is damaged. What policy or state says is
            a finding instead (see ``refusal``), and then no byte of the bulk was read.
    """
    if path.is_dir():
        open_head(path)
    descriptor = open_bundle(path)
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            head = open_head(head_file) if head_file else read_head(lambda count: file.read(count) or b"", str(path))
        verified = verify_head(head, pin, known)
        findings = judge_release(verified, site, now=now)
        if refusal(findings) is not None:  # F-9.1
            return _unread(verified, findings)
        bulk = find_places(descriptor, verified.release, str(path))
        if take is not None:
            take(descriptor, bulk)
        else:
            verify_file(descriptor, bulk, str(path), advance=advance)
        places = {place.blob.digest: place for place in bulk.present}

        # What is not on the medium, or was taken from it, is read where it is now.
        here = verified.release.members if take is not None else bulk.missing
        members = {blob.digest: blob for blob in here}

        def read(digest: str) -> bytes:
            if digest in members and stored is not None:
                return stored(members[digest])
            return read_blob(descriptor, places[digest], MAX_MANIFEST_BYTES)

        return conclude(verified, bulk, findings, read if not bulk.missing or stored else None, held)
    finally:
        os.close(descriptor)


def verify_pipe(
    stream: BinaryIO,
    pin: Pin,
    site: SiteFacts | None,
    *,
    now: datetime,
    advance: ProgressCallback,
    head: Head | None = None,
    held: frozenset[str] = frozenset(),
    known: Known | None = None,
) -> VerifiedBundle:
    """Verify a bundle as it comes through a pipe; the same verdict as for a file (F-9.8)."""
    if head is None:
        head = read_head(lambda count: stream.read(count) or b"", "standard input")
    else:
        _skip(stream, head.bulk_at)
    verified = verify_head(head, pin, known)
    findings = judge_release(verified, site, now=now)
    if refusal(findings) is not None:
        return _unread(verified, findings)
    also: Callable[[bytes], bool] | None = None
    if verified.release.asks_signers:
        also = looks_signed
    bulk, kept = verify_stream(stream, verified.release, "standard input", also=also, advance=advance)

    def read(digest: str) -> bytes:
        return _kept(kept, digest)

    return conclude(verified, bulk, findings, read if not bulk.missing else None, held)


def _skip(stream: BinaryIO, count: int) -> None:
    """Pass over a head that another one replaces, as for a file: it is not looked at."""
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise DamagedError("shorter than its own head", where="standard input", finding="bulk-damaged")
        count -= len(part)


def _kept(kept: SmallDocuments, digest: str) -> bytes:
    if digest not in kept.blobs:
        raise MalformedError(f"{digest} should be JSON of at most {MAX_MANIFEST_BYTES} bytes", where="bundle")
    return kept.blobs[digest]


def _unread(verified: VerifiedHead, findings: tuple[Finding, ...]) -> VerifiedBundle:
    return VerifiedBundle(
        head=verified,
        bulk=Bulk(release=verified.release, present=(), missing=verified.release.members, length=0),
        graph=None,
        contract=None,
        rollback=None,
        end="incomplete",
        missing=verified.release.members,
        findings=findings,
    )


def conclude(
    verified: VerifiedHead,
    bulk: Bulk,
    findings: tuple[Finding, ...],
    read: Callable[[str], bytes] | None,
    held: frozenset[str],
) -> VerifiedBundle:
    """Steps after the bytes: completeness, the graph of images, their signatures, contract and rollback document.

    Args:
        read: Hashed bytes of a member; None when some of them are not at hand.

    Raises:
        MalformedError: A trusted release whose parts contradict each other.
        DamagedError: index.json or VERIFY.txt is not the one of the format.
    """
    release = verified.release
    if release.members[1].digest != digest_of(VERIFY_TXT):  # F-9.6
        raise MalformedError("VERIFY.txt is not the constant of this format", where="VERIFY.txt")
    # F-9.5, F-9.7
    missing = bulk.missing if bulk.cut else tuple(blob for blob in bulk.missing if blob.digest not in held)
    size = show_size(sum(blob.size for blob in release.members))
    if missing:
        findings = (*findings, _incomplete(release, bulk, missing))
        return VerifiedBundle(verified, bulk, None, None, None, "incomplete", missing, findings)
    end: Literal["complete", "complete with what this site holds"] = "complete"
    text = f"{len(release.members)} members, {size}, every byte checked"
    if bulk.missing:
        end = "complete with what this site holds"
        text = f"{len(bulk.present)} of {len(release.members)} members here, the rest in the store of this site"
    findings = (*findings, ok("members", text))
    if read is None:  # a delta, and the rest is not at hand: the site that holds it takes these steps
        findings += _unjudged() if release.asks_signers else ()
        return VerifiedBundle(verified, bulk, None, None, None, end, (), findings)
    graph = walk(release, read)
    contract = parse_contract(read(release.contract.digest))
    rollback = parse_rollback(read(release.rollback.digest))
    if release.asks_signers:
        findings += _judge_images(verified, graph, read)
    return VerifiedBundle(verified, bulk, graph, contract, rollback, end, (), findings)


def _judge_images(verified: VerifiedHead, graph: Graph, read: Callable[[str], bytes]) -> tuple[Finding, ...]:
    release = verified.release
    judged = judge_images(release, graph, read, find_judge(release, verified.chain.newest, read))
    return tuple(Finding(one.id, one.level, one.text, one.error) for one in judged)


def _unjudged() -> tuple[Finding, ...]:
    error = RefusedError(
        "signatures of images are asked for, and their documents are in a store that was not opened",
        where="images",
        remedy="waybill receive, at the site that holds the rest",
    )
    return (refused("image-signers", error),)  # F-11.10


def _incomplete(release: Release, bulk: Bulk, missing: tuple[Blob, ...]) -> Finding:
    total = show_size(sum(blob.size for blob in missing))
    names = ", ".join(blob.digest[:19] for blob in missing[:4]) + (", …" if len(missing) > 4 else "")
    lost = lost_tail(bulk)
    pieces = damage(lost, "", {}).pieces if lost else ()
    error = DamagedError(
        f"{len(missing)} of {len(release.members)} members are missing, {total}: {names}",
        where=f"bundle of {bulk.length} bytes",
        remedy=f"cut short; {recut(pieces)}"
        if pieces
        else "cut short, or a delta for a site that holds the rest; ask for those pieces again",
        pieces=pieces,
    )
    return refused("incomplete", error)


def open_stream(path: str) -> "closing[BinaryIO]":
    """Standard input, unbuffered enough for the reader thread."""
    return closing(os.fdopen(os.dup(0), "rb", buffering=0)) if path == "-" else closing(Path(path).open("rb"))
