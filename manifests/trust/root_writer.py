"""Encode a root document or a revocation list, to be signed."""

from manifests.trust.revocations import Revocations, check_revocations
from manifests.trust.root import Root, check_root
from manifests.words.canonical import encode


def encode_root(root: Root) -> bytes:
    check_root(root, f"root {root.version}")
    return encode(root)


def encode_revocations(revocations: Revocations) -> bytes:
    check_revocations(revocations, f"revocation list {revocations.version}")
    return encode(revocations)
