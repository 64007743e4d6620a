"""Check before anything is packed that every image is signed by the signer that the release names, as sites will."""

from bundler.parts import FetchedPart, HeldPart, Parts
from content.bundle.graph import walk
from content.bundle.layout import read_extent
from content.bundle.oci import MAX_MANIFEST_BYTES
from content.sigstore.image_signers import find_judge
from content.sigstore.signatures import ImageFinding, judge_images
from manifests.documents.release import Release
from manifests.trust.root import Root
from manifests.words.digest import digest_of
from manifests.words.errors import CHANGED_SOURCE, DamagedError, MalformedError


def check_image_signatures(release: Release, index: bytes, parts: Parts, root: Root) -> tuple[ImageFinding, ...]:
    """Judge the images that name a signer. The findings that come back are for information.

    Args:
        index: The bytes of ``index.json``.

    Raises:
        UntrustedError: An image is not signed, or by another signer, or its signature is wrong.
        RefusedError: An identity signs, and sigstore is not installed.
        MalformedError, DamagedError, HostError: Collected content cannot be read, or contradicts itself.
    """
    if not release.asks_signers:
        return ()

    def read(digest: str) -> bytes:
        return index if digest == release.members[0].digest else _read(parts, digest)

    findings = judge_images(release, walk(release, read), read, find_judge(release, root, read))
    for finding in findings:
        if finding.error is not None:
            raise finding.error
    return findings


def _read(parts: Parts, digest: str) -> bytes:
    """A small part, hashed. One that comes over a network is kept, so that it comes once."""
    part = parts.by_digest[digest]
    if part.blob.size > MAX_MANIFEST_BYTES:
        raise MalformedError(f"{digest} has {part.blob.size} bytes, at most {MAX_MANIFEST_BYTES} are read")
    if isinstance(part.origin, HeldPart):
        return part.origin.data
    if isinstance(part.origin, FetchedPart):
        data = b"".join(part.origin.open())
        parts.add(part.blob, HeldPart(data), part.where, document=part.document)
        return data
    data = read_extent(part.origin)
    if digest_of(data) != digest:
        problem = f"found bytes with {digest_of(data)}, expected {digest}"
        raise DamagedError(problem, where=part.where, remedy=CHANGED_SOURCE)
    return data
