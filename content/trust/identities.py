"""Verify the signature of a release by an identity, under a trusted root that the vendor's root pins.

Without the sigstore library such a signature is not evaluated and not counted.
"""

from hashlib import sha256
from importlib.util import find_spec

from content.sigstore.judge import NotBySignerError
from content.sigstore.keyless import check_trusted_root, identity_judge
from content.sigstore.sigstore_bundle import parse_sigstore_bundle
from manifests.trust.envelope import INTOTO
from manifests.trust.quorum import Quorum
from manifests.trust.root import Chain
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError


def verify_identity(data: bytes, name: str, trusted_root: bytes, chain: Chain, where: str) -> tuple[str, bytes] | None:
    """Return the id of the identity that signed, and the payload; None if it cannot be judged here.

    Steps: 1 a root of the chain pins the trusted root; 2 the bundle's form, and its certificate has the digest in its
    file's ``name``; 3 the library is installed, and the newest root pins the trusted root; 4 the identity that the
    certificate names; 5 chain, logs, time, signature.

    Raises:
        MalformedError: Not a bundle of an identity around a statement.
        UntrustedError: No identity of the root signed it, a signature is wrong, or no root pins the trusted root.
    """
    digest = digest_of(trusted_root)
    if not any(digest in one.root.sigstore for one in chain.roots):  # 1, F-7.14
        problem = f"trusted_root.json has digest {digest}, which no root of this bundle pins"
        remedy = "request the original medium from the vendor, with all root documents"
        raise UntrustedError(problem, where="trust/trusted_root.json", remedy=remedy, finding="trusted-root-unknown")
    opened = parse_sigstore_bundle(data)
    if not opened.keyless or opened.payload_type != INTOTO:  # 2, F-7.15
        raise MalformedError("not a statement signed by an identity; a key has two files", where=where)
    if sha256(opened.certificate).hexdigest() != name:  # F-7.15
        raise MalformedError("its certificate has another digest than its file name", where=where)
    check_trusted_root(trusted_root, "trust/trusted_root.json")
    if find_spec("sigstore") is None or digest not in chain.newest.sigstore:  # 3, F-7.14, F-7.17
        return None
    for id_, identity in chain.identities.items():
        judge = identity_judge("release", identity.identity, identity.issuer, trusted_root)
        try:
            judge.bundle(opened, b"")  # 5, F-7.16
        except NotBySignerError as not_by:
            if not_by.opinion == "unknown":  # 4
                continue
            problem = f"signed by {identity.name} {not_by.text}"
            remedy = "request the original medium from the vendor"
            raise UntrustedError(problem, where=where, remedy=remedy, finding="signature-wrong") from None
        return id_, opened.payload
    raise UntrustedError(  # F-7.16
        "signed by an identity that is not in the vendor's root",
        where=where,
        remedy="request the original medium from the vendor",
        finding="signature-unknown",
    )


def check_can_judge(quorum: Quorum) -> None:
    """Raise RefusedError if a missing signature may be of an identity that cannot be judged here (F-7.17)."""
    if find_spec("sigstore") is None:
        raise library_missing(f"the release is signed by {quorum.text}")


def library_missing(problem: str) -> RefusedError:
    return RefusedError(
        f"{problem}, and this program was installed without sigstore, which verifies identities",
        where="signatures",
        remedy="pip install 'airgap-waybill[vendor]' where this is judged, or ask the vendor to sign with a key",
        finding="signature-keyless-unavailable",
    )
