"""Verify a bundle: first the trust in its head, then whether this site may take it, then every byte.

The order is docs/format.md, "Order of checks". Nothing here can open a network connection or keeps a result: `receive`
and `install` judge again what they copied.
"""

import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from content.bundle.bulk import lost_tail, open_bundle, read_blob, verify_file, verify_stream
from content.bundle.damage import damage, recut
from content.bundle.graph import Graph, walk
from content.bundle.head import VERIFY_TXT, Head, open_head, read_head
from content.bundle.oci import MAX_MANIFEST_BYTES
from content.bundle.places import Bulk, find_places
from content.trust.head import VerifiedHead, verify_head
from manifests.documents.contract import Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback, parse_rollback
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError
from manifests.words.progress import ProgressCallback
from manifests.words.units import show_count, show_size
from verifier.trust.anchor import TrustAnchor
from verifier.trust.findings import Finding, ok, refusal, refused
from verifier.trust.release_rules import judge_release

BundleEnd = Literal["complete", "complete with what this site holds", "incomplete"]
ReadMember = Callable[[str], bytes]


@dataclass(frozen=True)
class VerifyRequest:
    """What a bundle is judged by.

    Attributes:
        now: Time of this host; used for warnings, never for the verdict.
        head: Replaces the head of the bundle.
        held: Digests of the blobs that this site has, for a delta.
        stored: Reads and hashes one of these; None when the store of the site is not open.
        take: Copies the bulk and checks every byte of it, in place of the check alone.
    """

    anchor: TrustAnchor
    now: datetime
    advance: ProgressCallback
    head: Head | None = None
    held: Container[str] = frozenset()
    stored: Callable[[Blob], bytes] | None = None
    take: Callable[[int, Bulk], None] | None = None


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle whose every present byte was checked; ``missing`` is empty unless ``end`` is ``incomplete``."""

    head: VerifiedHead
    bulk: Bulk
    findings: tuple[Finding, ...]
    end: BundleEnd
    missing: tuple[Blob, ...] = ()
    graph: Graph | None = None
    contract: Contract | None = None
    rollback: Rollback | None = None


def verify_path(path: Path, request: VerifyRequest) -> VerifiedBundle:
    """Verify the bundle file at ``path``.

    Raises:
        WaybillError: The head cannot be read or is not trusted, or the bulk is damaged. A refusal by policy or state is
            a finding instead (see ``refusal``); then no byte of the bulk was read.
    """
    if path.is_dir():
        open_head(path)
    descriptor = open_bundle(path)
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            head = request.head or read_head(lambda count: file.read(count) or b"", str(path))
        verified, findings = _judge_head(head, request)
        if refusal(findings) is not None:
            return _unread(verified, findings)
        bulk = find_places(descriptor, verified.release, str(path))
        if request.take is not None:
            request.take(descriptor, bulk)
        else:
            verify_file(descriptor, bulk, str(path), advance=request.advance)
        places = {place.blob.digest: place for place in bulk.present}

        def read(digest: str) -> bytes:
            return read_blob(descriptor, places[digest], MAX_MANIFEST_BYTES)

        return _conclude(verified, bulk, findings, read, request)
    finally:
        os.close(descriptor)


def verify_pipe(stream: BinaryIO, request: VerifyRequest) -> VerifiedBundle:
    """Verify a bundle as it comes through a pipe; the same verdict as for a file (F-9.8)."""
    head = request.head
    if head is None:
        head = read_head(lambda count: stream.read(count) or b"", "standard input")
    else:
        _skip(stream, head.bulk_at)
    verified, findings = _judge_head(head, request)
    if refusal(findings) is not None:
        return _unread(verified, findings)
    also: Callable[[bytes], bool] | None = None
    if verified.release.asks_signers:
        # Only such a release loads the reader of image signatures: docs/audit.md lists what is loaded.
        from content.sigstore.signatures import looks_signed

        also = looks_signed
    bulk, documents = verify_stream(stream, verified.release, "standard input", also=also, advance=request.advance)

    def read(digest: str) -> bytes:
        if digest not in documents.blobs:
            raise MalformedError(f"{digest} should be JSON of at most {MAX_MANIFEST_BYTES} bytes", where="bundle")
        # Memory: without signatures of images to judge, a manifest is read once.
        once = not verified.release.asks_signers and digest not in documents.asked
        return documents.blobs.pop(digest) if once else documents.blobs[digest]

    return _conclude(verified, bulk, findings, read, request)


def _with_store(read: ReadMember, bulk: Bulk, request: VerifyRequest) -> ReadMember | None:
    """Return a reader of the members on the medium and in the store; None for a delta whose store is not open."""
    get = request.stored
    if get is None:
        return None if bulk.missing else read
    # A member that is not on the medium, or was taken from it, is read from the store.
    stored = {blob.digest: blob for blob in (bulk.missing if request.take is None else bulk.release.members)}
    return lambda digest: get(stored[digest]) if digest in stored else read(digest)


def _judge_head(head: Head, request: VerifyRequest) -> tuple[VerifiedHead, tuple[Finding, ...]]:
    """Return what the head alone decides; after a refusal no byte of the bulk is read (F-9.1)."""
    verified = verify_head(head, request.anchor.pin, request.anchor.known)
    return verified, judge_release(verified, request.anchor.facts, now=request.now)


def _skip(stream: BinaryIO, count: int) -> None:
    """Skip the bundle's own head, which another one replaces; as in a file, it is not checked."""
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise DamagedError("shorter than its own head", where="standard input", finding="bulk-damaged")
        count -= len(part)


def _unread(verified: VerifiedHead, findings: tuple[Finding, ...]) -> VerifiedBundle:
    members = verified.release.members
    bulk = Bulk(release=verified.release, present=(), missing=members, length=0)
    return VerifiedBundle(verified, bulk, findings, "incomplete", members)


def _conclude(
    verified: VerifiedHead, bulk: Bulk, findings: tuple[Finding, ...], read_present: ReadMember, request: VerifyRequest
) -> VerifiedBundle:
    """Check what follows the bytes: completeness, image graph, contract, rollback document, image signatures.

    Raises:
        MalformedError: The parts of a trusted release contradict each other.
        DamagedError: index.json or VERIFY.txt is not the one of the format.
    """
    release = verified.release
    if release.members[1].digest != digest_of(VERIFY_TXT):  # F-9.6
        raise MalformedError("VERIFY.txt is not the constant of this format", where="VERIFY.txt")
    # A bundle that is cut short is incomplete, whatever the site holds. F-9.5, F-9.7
    missing = bulk.missing if bulk.cut else tuple(blob for blob in bulk.missing if blob.digest not in request.held)
    if missing:
        findings = (*findings, _incomplete(bulk, missing, request))
        return VerifiedBundle(verified, bulk, findings, "incomplete", missing)
    delta = bool(bulk.missing)
    text = f"{len(release.members)} members"
    if delta:
        text = f"{len(bulk.present)} of {text} are in the bundle, the others at this site; the install hashes them"
    else:
        text += f", {show_size(sum(blob.size for blob in release.members))}, every byte checked"
    if elsewhere := len({child.digest for child in release.absent if child.url is not None}):
        text += f"; without {show_count(elsewhere, 'foreign layer')}, which the site gets elsewhere"
    graph, contract, rollback = None, None, None
    read = _with_store(read_present, bulk, request)
    if read is not None:
        graph = walk(release, read)
        contract = parse_contract(read(release.contract.digest))
        rollback = parse_rollback(read(release.rollback.digest))
        _check_schema(release, read)
    findings = (*findings, ok("members", text))
    if release.asks_signers:
        # Only such a release loads the judges of image signatures: docs/audit.md lists what is loaded.
        from verifier.trust.image_signatures import judge_signatures

        findings += judge_signatures(verified, graph, read)
    if release.authorisations:
        from verifier.trust.authorisations import judge_authorisations

        findings += tuple(judge_authorisations(verified, read))
    end: BundleEnd = "complete with what this site holds" if delta else "complete"
    return VerifiedBundle(verified, bulk, findings, end, (), graph, contract, rollback)


def _check_schema(release: Release, read: ReadMember) -> None:
    """Hold the schema of the configuration to the subset of F-12.3. Raises MalformedError."""
    if release.config is None:
        return
    # Only such a release loads the reader of schemas: docs/audit.md lists what is loaded.
    from manifests.foreign.config_schema import MAX_SCHEMA, read_config_schema

    if release.config.schema.size > MAX_SCHEMA:
        problem = f"{release.config.schema.size} bytes, a schema has at most {MAX_SCHEMA}"
        raise MalformedError(problem, where="config schema")
    read_config_schema(read(release.config.schema.digest), "config schema")


def _incomplete(bulk: Bulk, missing: tuple[Blob, ...], request: VerifyRequest) -> Finding:
    size = show_size(sum(blob.size for blob in missing))
    names = ", ".join(blob.digest[:19] for blob in missing[:4]) + (", …" if len(missing) > 4 else "")
    lost = lost_tail(bulk)
    pieces = damage(lost, "", {}).pieces if lost else ()
    site = "this site does not hold them either" if request.stored else "or name the site that holds the rest (--site)"
    remedy = f"cut short, or a delta: ask for the full bundle of {bulk.release.product} {bulk.release.version}; {site}"
    error = DamagedError(
        f"{len(missing)} of {len(bulk.release.members)} members are missing, {size}: {names}",
        where=f"bundle of {bulk.length} bytes",
        remedy=f"the bundle is cut short; {recut(pieces, 'BUNDLE')}" if pieces else remedy,
        pieces=pieces,
    )
    return refused("incomplete", error)
