"""Write the head of a bundle, and add signatures to it."""

from dataclasses import replace

from content.bundle.archive import BLOCK, header, member_length, padded
from content.bundle.head import OCI_LAYOUT, TRUSTED_ROOT, Head, Signature
from manifests.documents.release import BULK_STEP, MAX_HEAD, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope_writer import sign_statement
from manifests.trust.private_keys import Signer
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError

RESERVE = 192 << 10


def members_of(head: Head) -> list[tuple[str, bytes]]:
    """The head's members in order, without the reserve."""
    members = [("oci-layout", OCI_LAYOUT), ("release.json", head.release)]
    for signature in sorted(head.signatures, key=lambda signature: signature.keyid):
        if signature.sig is not None:
            members.append((f"signatures/{signature.keyid}.sig", signature.sig))
        members.append((f"signatures/{signature.keyid}.sigstore.json", signature.bundle))
    members += [(f"trust/{head.first_root + i}.root.json", root) for i, root in enumerate(head.roots)]
    if head.trusted_root is not None:
        members.append((TRUSTED_ROOT, head.trusted_root))
    if head.revocations is not None:
        members.append(("revocations.json", head.revocations))
    return members


def encode_head(head: Head) -> bytes:
    """The head in exactly ``head.bulk_at`` bytes. Raises RefusedError if the reserve is full."""
    parts = []
    for name, data in members_of(head):
        parts += [header(name, len(data)), data, bytes(padded(len(data)) - len(data))]
    used = sum(map(len, parts))
    left = head.bulk_at - used - BLOCK
    if left < 0:
        problem = f"the head needs {used + BLOCK} bytes and has {head.bulk_at}"
        remedy = "build the release again; the new head gets a longer reserve"
        raise RefusedError(problem, where="reserve", remedy=remedy, finding="reserve-full")
    return b"".join([*parts, header("reserve", left), bytes(left)])


def choose_bulk_at(
    release_size: int, roots: tuple[bytes, ...], revocations: bytes | None, reserve: int = RESERVE
) -> int:
    """Where the bulk begins: after the known members and ``reserve`` bytes more, in steps of 64 KiB.

    It does not depend on the signatures: signing at once or one after the other gives the same bundle.
    """
    known = [len(OCI_LAYOUT), release_size, *map(len, roots)] + ([len(revocations)] if revocations is not None else [])
    used = sum(map(member_length, known)) + BLOCK + reserve  # F-3.14
    bulk_at = -(-used // BULK_STEP) * BULK_STEP
    if bulk_at > MAX_HEAD:
        problem = f"the head would take {bulk_at} bytes, at most {MAX_HEAD} are allowed"
        remedy = "build with a smaller reserve, or with fewer images and files in one release"
        raise RefusedError(problem, where="release.json", remedy=remedy)
    return bulk_at


def sign_release(data: bytes, signer: Signer) -> Signature:
    """Sign ``release.json`` and its statement; refuses bytes that are not a release."""
    release = parse_release(data)  # F-7.13
    bundle = sign_statement(release_statement(release, digest_of(data)), signer)
    return Signature(keyid=signer.public.keyid, sig=signer.sign(data), bundle=bundle)


def add_signature(head: Head, signature: Signature) -> Head:
    """The head with one more signer; an earlier pair of the same signer is replaced."""
    others = tuple(one for one in head.signatures if one.keyid != signature.keyid)
    return replace(head, signatures=tuple(sorted((*others, signature), key=lambda one: one.keyid)))
