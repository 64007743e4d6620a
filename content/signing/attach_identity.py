"""Add the signature of an identity to the head of a bundle."""

from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec

from content.bundle.head import Head, Signature
from content.sigstore.sigstore_bundle import parse_sigstore_bundle
from content.trust.identities import library_missing, verify_identity
from manifests.documents.release import release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.root import Pin, parse_root, verify_chain
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError


def attach_identity(head: Head, data: bytes, trusted_root: bytes, where: str) -> tuple[Head, dict[str, str]]:
    """The head with an identity's signature, and the identities that have signed it, by id; it replaces its older one.

    Raises:
        RefusedError: It cannot be judged here; the identity may not sign; it signed something else; or the head
            holds another trusted root already.
        MalformedError, UntrustedError: As ``verify_identity``.
    """
    if head.trusted_root not in (None, trusted_root):
        problem = "the bundle holds another trusted_root.json, under which an identity has signed it"
        remedy = "sign again under the same file, or build again and sign under the new one"
        raise RefusedError(problem, where=where, remedy=remedy, finding="trusted-root-other")
    first = parse_root(head.roots[0], "trust")
    chain = verify_chain(head.roots, Pin(version=first.root.version, digest=first.fingerprint))
    newest = chain.newest
    made = Signature(keyid=sha256(parse_sigstore_bundle(data).certificate).hexdigest(), sig=None, bundle=data)
    verified = verify_identity(data, made.keyid, trusted_root, chain, where)
    if verified is None:
        if find_spec("sigstore") is None:
            raise library_missing("an identity signed this bundle")
        problem = f"root {newest.version} does not pin this trusted_root.json"
        remedy = "sign under a file that trust.yaml names under `sigstore`"
        raise RefusedError(problem, where=where, remedy=remedy, finding="trusted-root-unknown")
    id_, payload = verified
    if id_ not in newest.roles["release"].keys:
        problem = f"{chain.who(id_)} has no release role in root {newest.version} of this bundle"
        remedy = "give it the role in trust.yaml, and build under the new root"
        raise RefusedError(problem, where=where, remedy=remedy, finding="signature-role")
    if payload != encode(release_statement(parse_release(head.release), digest_of(head.release))):
        problem = "the signature is over another statement than that of this bundle"
        remedy = "sign statement.json of waybill sign BUNDLE --prepare DIR"
        raise RefusedError(problem, where=where, remedy=remedy, finding="signature-wrong")
    signed, others = {id_: chain.who(id_)}, []
    for other in head.signatures:
        by = verify_identity(other.bundle, other.keyid, trusted_root, chain, where) if other.sig is None else None
        if by is None or by[0] != id_:
            others.append(other)
        if by is not None:
            signed[by[0]] = chain.who(by[0])
    pairs = tuple(sorted((*others, made), key=lambda signature: signature.keyid))
    return replace(head, signatures=pairs, trusted_root=trusted_root), signed
