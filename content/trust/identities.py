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
    """Who of the chain's identities signed, and the payload.

    Steps: 1 the trusted root is one that a root of the chain pins; 2 the bundle's form, and its certificate is that of
    its name; 3 whether it can be judged here, under a trusted root that still stands; 4 whom the certificate names;
    5 chain, logs, time, signature.

    Args:
        name: Of the bundle's file.

    Returns:
        None when it cannot be judged.

    Raises:
        MalformedError: Not a bundle of an identity around a statement.
        UntrustedError: By nobody whom the root names, or it does not hold, or the trusted root is a stranger's.
    """
    digest = digest_of(trusted_root)
    if not any(digest in one.root.sigstore for one in chain.roots):  # 1, F-7.14
        raise UntrustedError(
            f"{digest} says who vouches for identities, and no root here pins it",
            where="trust/trusted_root.json",
            remedy="a root document was left out of the medium, or somebody changed the file; ask for it again",
            finding="trusted-root-unknown",
        )
    opened = parse_sigstore_bundle(data)
    if not opened.keyless or opened.payload_type != INTOTO:  # 2, F-7.15
        raise MalformedError("not a statement signed by an identity; a key signs with two files", where=where)
    if sha256(opened.certificate).hexdigest() != name:  # F-7.15
        raise MalformedError("its certificate is another than its name says", where=where)
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
            raise UntrustedError(
                f"signed by {identity.name} {not_by.text}",
                where=where,
                remedy="the file was changed or is not what was signed; ask for the medium again",
                finding="signature-wrong",
            ) from None
        return id_, opened.payload
    raise UntrustedError(  # F-7.16
        "signed by an identity that the vendor's root does not know",
        where=where,
        remedy="somebody added it; ask for the medium again",
        finding="signature-unknown",
    )


def check_can_judge(quorum: Quorum) -> None:
    """Raise RefusedError when what is missing may be an identity that cannot be judged here (F-7.17)."""
    if find_spec("sigstore") is None:
        raise library_missing(f"the release is signed by {quorum.text}")


def library_missing(problem: str) -> RefusedError:
    return RefusedError(
        f"{problem}, and this program was installed without sigstore, which judges identities",
        where="signatures",
        remedy="pip install 'airgap-waybill[vendor]' where this is judged, or ask the vendor to sign with a key",
        finding="signature-keyless-unavailable",
    )
