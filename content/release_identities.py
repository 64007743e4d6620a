"""A release signed by an identity: its Sigstore bundle in the head, judged under a trusted root that the root pins.

Checked by meaning and not byte for byte: the bundle is not ours. Where the library is missing the signature is not
evaluated, as one of an algorithm of later times is; then it counts for nothing.
"""

from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec

from content.head import Head, Signature, release_statement
from content.keyless import check_trusted_root, identity_judge
from content.signatures import NotBySigner, open_bundle
from manifests.canonical import encode
from manifests.digest import digest_of
from manifests.envelope import INTOTO
from manifests.errors import MalformedError, RefusedError, UntrustedError
from manifests.quorum import Quorum
from manifests.release import parse_release
from manifests.trust import Chain, Pin, parse_root, verify_chain


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
    if not any(digest in one.root.sigstore for one in chain.roots):  # 1, F-204
        raise UntrustedError(
            f"{digest} says who vouches for identities, and no root here pins it",
            where="trust/trusted_root.json",
            remedy="a root document was left out of the medium, or somebody changed the file; ask for it again",
            finding="trusted-root-unknown",
        )
    opened = open_bundle(data)
    if not opened.keyless or opened.payload_type != INTOTO:  # 2, F-205
        raise MalformedError("not a statement signed by an identity; a key signs with two files", where=where)
    if sha256(opened.certificate).hexdigest() != name:  # F-205
        raise MalformedError("its certificate is another than its name says", where=where)
    check_trusted_root(trusted_root, "trust/trusted_root.json")
    if find_spec("sigstore") is None or digest not in chain.newest.sigstore:  # 3, F-204, F-207
        return None
    for id_, identity in chain.identities.items():
        judge = identity_judge("release", identity.identity, identity.issuer, trusted_root)
        try:
            judge.bundle(opened, b"")  # 5, F-206
        except NotBySigner as not_by:
            if not_by.opinion == "unknown":  # 4
                continue
            raise UntrustedError(
                f"signed by {identity.name} {not_by.text}",
                where=where,
                remedy="the file was changed or is not what was signed; ask for the medium again",
                finding="signature-wrong",
            ) from None
        return id_, opened.payload
    raise UntrustedError(  # F-206
        "signed by an identity that the vendor's root does not know",
        where=where,
        remedy="somebody added it; ask for the medium again",
        finding="signature-unknown",
    )


def check_can_judge(quorum: Quorum) -> None:
    """Raise RefusedError when what is missing may be an identity that cannot be judged here (F-207)."""
    if find_spec("sigstore") is None:
        raise _no_library(f"the release is signed by {quorum.text}")


def _no_library(problem: str) -> RefusedError:
    return RefusedError(
        f"{problem}, and this program was installed without sigstore, which judges identities",
        where="signatures",
        remedy="pip install 'airgap-waybill[vendor]' where this is judged, or ask the vendor to sign with a key",
        finding="signature-keyless-unavailable",
    )


def attach_identity(head: Head, data: bytes, trusted_root: bytes, where: str) -> tuple[Head, dict[str, str]]:
    """The head with an identity's bundle, and the identities that have signed it, by id; a former one is replaced.

    Raises:
        RefusedError: It cannot be judged here; or by somebody who may not, or over something else; or the head has
            another trusted root already.
        MalformedError, UntrustedError: As ``verify_identity``.
    """
    if head.trusted_root not in (None, trusted_root):
        raise RefusedError(
            "the bundle has another trusted root, under which an identity has signed it",
            where=where,
            remedy="sign again under the same one, or build again and sign under the new one",
            finding="trusted-root-other",
        )
    first = parse_root(head.roots[0], "trust")
    chain = verify_chain(head.roots, Pin(version=first.root.version, digest=first.fingerprint))
    newest = chain.newest
    made = Signature(keyid=sha256(open_bundle(data).certificate).hexdigest(), sig=None, bundle=data)
    found = verify_identity(data, made.keyid, trusted_root, chain, where)
    if found is None:
        if find_spec("sigstore") is None:
            raise _no_library("an identity is to be judged")
        raise RefusedError(
            f"root {newest.version} does not pin this trusted root any more",
            where=where,
            remedy="sign under one that trust.yaml names",
            finding="trusted-root-unknown",
        )
    id_, payload = found
    if id_ not in newest.roles["release"].keys:
        raise RefusedError(
            f"{chain.who(id_)} has no release role in root {newest.version} of this bundle",
            where=where,
            remedy="give it the role in trust.yaml, and build under the new root",
            finding="signature-role",
        )
    if payload != encode(release_statement(parse_release(head.release), digest_of(head.release))):
        raise RefusedError(
            "signed over another statement than this bundle's",
            where=where,
            remedy="sign statement.json of `waybill sign BUNDLE --prepare DIR`",
            finding="signature-wrong",
        )
    signed, others = {id_: chain.who(id_)}, []
    for one in head.signatures:
        by = verify_identity(one.bundle, one.keyid, trusted_root, chain, where) if one.sig is None else None
        if by is None or by[0] != id_:
            others.append(one)
        if by is not None:
            signed[by[0]] = chain.who(by[0])
    pairs = tuple(sorted((*others, made), key=lambda one: one.keyid))
    return replace(head, signatures=pairs, trusted_root=trusted_root), signed
