"""Bundles that were written once, kept as bytes, and must be read for ever: the promise of growth.

What is here makes them again for comparison; a later version may lose that ability, never that of reading them.
"""

import json
from collections.abc import Callable
from dataclasses import replace

from msgspec.structs import replace as struct_replace

from content.bundle.archive import END
from content.bundle.head import Head, Signature
from content.bundle.head_writer import encode_head
from manifests.trust.envelope import bundle_payload
from manifests.trust.keys import encode_base64
from manifests.trust.root import Pin, Role
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.of_roots import LATER, VENDOR, sealed, with_key, with_role
from tests.vectors.surgery import Case, Part, join, sign_bytes
from tests.vendor import RELEASE, ROOT, SECOND, Vendor

KIT = "sha256:" + "5" * 64


def later_format() -> Case:
    """Format 2 as it might be: another release.json, other members after the head, the same frozen predicate."""
    vendor = Vendor(signers=(RELEASE, SECOND))
    fields = {
        "bulk_at": 65536,
        "format": 2,
        "kits": [KIT],
        "pieces": [{"chunks": [1, 2, 3], "ratio": 0.5, "what": None}],
        "type": "application/vnd.waybill.release.v2+json",
    }
    data = encode(fields)
    said = json.loads(bundle_payload(vendor.head().signatures[0].bundle, ""))
    said["predicate"] |= {"format": 2, "kits": [KIT], "sequence": 40, "version": "4.0.0"}
    said["subject"][0]["digest"]["sha256"] = digest_of(data)[7:]
    pairs = tuple(sorted((sign_bytes(data, encode(said), one) for one in vendor.signers), key=lambda one: one.keyid))
    head = Head(release=data, signatures=pairs, roots=(vendor.root_file(),), bulk_at=65536)
    return Case(encode_head(head) + join([Part("pieces/0001", b"of another kind")], END), vendor.pin())


def later_root() -> Case:
    """An algorithm and a role that nobody knows yet, in roles that are counted, and signatures that use them."""
    role = Role(keys=(RELEASE.public.keyid,), threshold=9)
    root = with_key(LATER.keyid, LATER)(VENDOR.root())
    root = with_role("root", keys=tuple(sorted((ROOT.public.keyid, LATER.keyid))))(root)
    root = with_role("release", keys=tuple(sorted((*root.roles["release"].keys, LATER.keyid))))(root)
    root = struct_replace(root, roles={**root.roles, "auditor": role})
    envelope = json.loads(sealed(root, ROOT))
    envelope["signatures"].append({"keyid": LATER.keyid, "sig": encode_base64(b"a signature of a later kind")})
    envelope["signatures"].sort(key=lambda one: one["keyid"])
    later = Signature(keyid=LATER.keyid, sig=b"of a later kind", bundle=b"of a later kind too")
    head = VENDOR.head()
    pairs = tuple(sorted((*head.signatures, later), key=lambda one: one.keyid))
    made = replace(head, roots=(encode(envelope),), signatures=pairs)
    return Case(VENDOR.bundle(made), Pin(version=1, digest=digest_of(encode(root))))


def one_signer() -> Case:
    return Case(Vendor().bundle(), Vendor().pin())


def two_signers() -> Case:
    vendor = Vendor(signers=(RELEASE, SECOND), threshold=2)
    return Case(vendor.bundle(), vendor.pin())


FROZEN: dict[str, tuple[str, Callable[[], Case]]] = {
    "frozen-one-signer": ("A bundle of format 1 with one signer. Every later version verifies it.", one_signer),
    "frozen-two-signers": (
        "A bundle of format 1 with two signers of two that must sign. Every later version verifies it.",
        two_signers,
    ),
    "frozen-later-format": (
        "A made-up later format under a head of today: trusted, and for a newer verifier that the head names (F-7.9). "
        "A version that knows a format 2 of its own keeps this case as an untrue one and says so here.",
        later_format,
    ),
    "frozen-later-root": (
        "A root with an algorithm and a role that are unknown, in counted roles and with signatures: kept and not "
        "counted (F-6.16), and the release signer of that algorithm is not evaluated (F-7.2).",
        later_root,
    ),
}
