"""Vectors: releases signed by identities, under a trusted root that the vendor's root pins. They need sigstore."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as struct_replace

from content.bundle.head import Head
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.root import ROOT_TYPE, Identity, Leaver, Mark, Role, Root
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.keyless import IDENTITY, ISSUER, PIPELINE, IdentityVendor, Sigstore
from tests.signed_images import dump
from tests.vectors.of_image_signatures import PRIVATE, SECOND_KIND
from tests.vectors.of_roots import case as with_roots
from tests.vectors.surgery import Case, Variants
from tests.vendor import RELEASE, ROOT, Vendor

OTHER = Identity(identity=IDENTITY + "2", issuer=ISSUER)
TWO_OF_TWO = IdentityVendor(signers=(RELEASE,), threshold=2)


def by(sigstore: Sigstore = PRIVATE, **options: Any) -> Callable[[bytes], tuple[bytes, ...]]:
    return lambda said: (sigstore.sign_statement(said, **options),)


def nobody(_: bytes) -> tuple[bytes, ...]:
    return ()


def of(vendor: IdentityVendor, change: Callable[[Head], Head] = lambda head: head) -> Callable[[], Case]:
    return lambda: Case(vendor.bundle(change(vendor.head())), vendor.pin())


def signing(sign: Callable[[bytes], tuple[bytes, ...]], **fields: Any) -> Callable[[], Case]:
    return of(IdentityVendor(sign=sign, **fields))


def over(old: bytes, new: bytes) -> Callable[[], Case]:
    """Well signed, and another statement than the one that the release calls for."""

    def sign(said: bytes) -> tuple[bytes, ...]:
        assert old in said
        return (PRIVATE.sign_statement(said.replace(old, new, 1)),)

    return signing(sign)


def without_entries(said: bytes) -> tuple[bytes, ...]:
    fields = json.loads(PRIVATE.sign_statement(said))
    fields["verificationMaterial"]["tlogEntries"] = []
    return (dump(fields),)


def retired(sequence: int) -> Callable[[], Case]:
    """Root 1 has the identity in the role, root 2 retires it after 8."""

    def make() -> Case:
        vendor = IdentityVendor(sequence=sequence)
        root, first = vendor.root(), vendor.root_file()
        role = root.roles["release"]
        second = struct_replace(
            root,
            version=2,
            previous=digest_of(first),
            roles={**root.roles, "release": struct_replace(role, keys=(RELEASE.public.keyid,))},
            leave={PIPELINE.id: Leaver(how="retired", last=Mark(epoch=1, sequence=8))},
        )
        head = replace(vendor.head(), roots=(first, seal(encode_root(second), ROOT_TYPE, (ROOT,))))
        return Case(vendor.bundle(head), vendor.pin())

    return make


def pinned_no_more(vendor: IdentityVendor) -> Callable[[], Case]:
    """Root 1 pins the trusted root, root 2 does not."""

    def make() -> Case:
        first = vendor.root_file()
        second = struct_replace(vendor.root(), version=2, previous=digest_of(first), sigstore=())
        head = replace(vendor.head(), roots=(first, seal(encode_root(second), ROOT_TYPE, (ROOT,))))
        return Case(vendor.bundle(head), vendor.pin())

    return make


def another_name(head: Head) -> Head:
    return replace(head, signatures=(replace(head.signatures[0], keyid="0" * 64),))


def without_its_sig(head: Head) -> Head:
    """A key's Sigstore bundle in the place of an identity's."""
    (pair,) = head.signatures
    return replace(head, signatures=(replace(pair, sig=None),), trusted_root=IdentityVendor().trusted)


def root_saying(change: Callable[[Root], Root]) -> Callable[[], Case]:
    """A root that knows an identity and says what it should not; the release is signed by a key."""
    return lambda: with_roots((seal(encode(change(IdentityVendor().root())), ROOT_TYPE, (ROOT,)),))


def known_as(*ids: str) -> Callable[[Root], Root]:
    return lambda root: struct_replace(root, identities=dict.fromkeys((PIPELINE.id, *ids), PIPELINE))


def with_role(name: str) -> Callable[[Root], Root]:
    return lambda root: struct_replace(root, roles={**root.roles, name: Role(keys=(PIPELINE.id,), threshold=1)})


TOPICS: dict[str, tuple[str, Variants]] = {
    "release-identities": (
        "A release signed by an identity, with one file named by its certificate (F-3.4) and one trusted root beside "
        "it (F-3.6), which a root of the chain pins; what the newest one pins no more is not evaluated (F-7.14). Its "
        "bundle holds that certificate and the Statement that everyone else made (F-7.15); name and issuer exactly, "
        "and all that vouches for them, must hold (F-7.16). Needs sigstore.",
        {
            "rekor-1": signing(by()),
            "rekor-2": of(IdentityVendor(trusted=SECOND_KIND.trusted_root(), sign=by(SECOND_KIND))),
            "with-a-key": of(TWO_OF_TWO),
            "with-a-key-missing": of(TWO_OF_TWO.but(signers=())),  # type: ignore[arg-type]  # but keeps the class
            "missing-beside-a-key": of(TWO_OF_TWO.but(sign=nobody)),  # type: ignore[arg-type]  # but keeps the class
            "twice-where-two-must": signing(
                lambda said: (*by()(said), *by(replace(PRIVATE, signer=20))(said)), threshold=2
            ),
            # F-3.4, F-3.6
            "trusted-root-missing": of(IdentityVendor(), lambda head: replace(head, trusted_root=None)),
            "trusted-root-without-identity": of(
                IdentityVendor(signers=(RELEASE,)),
                lambda head: replace(head, signatures=Vendor().head().signatures),
            ),
            "name-of-another-certificate": of(IdentityVendor(), another_name),
            "key-without-its-bare-signature": of(IdentityVendor(signers=(RELEASE,), sign=nobody), without_its_sig),
            # F-7.14
            "trusted-root-not-pinned": signing(by(), pinned=()),
            "trusted-root-pinned-no-more": pinned_no_more(IdentityVendor()),
            "trusted-root-pinned-no-more-beside-a-key": pinned_no_more(IdentityVendor(signers=(RELEASE,))),
            # F-7.15
            "bare-signature": signing(lambda said: (PRIVATE.sign_message(said),)),
            "another-statement": over(b'"sequence":1', b'"sequence":2'),
            "another-predicate-type": over(b"release:1", b"release:9"),
            "statement-not-canonical": over(b'"sequence":1', b'"sequence": 1'),
            # F-7.16
            "another-identity": signing(by(identity=IDENTITY + "3")),
            "identity-in-capitals": signing(by(identity=IDENTITY.upper())),
            "another-issuer": signing(by(issuer=ISSUER + "/")),
            "without-the-role": signing(by(identity=OTHER.identity), known=(PIPELINE, OTHER)),
            "another-sigstore": signing(by(PRIVATE.other())),
            "no-promise-of-the-certificate-log": signing(by(sct=False)),
            "no-entry-of-a-log": signing(without_entries),
            "stranger-beside-a-key": signing(by(identity="somebody"), signers=(RELEASE,)),
            "revoked": signing(by(), leave={PIPELINE.id: Leaver(how="revoked")}),
            "retired-in-time": retired(8),
            "retired-too-late": retired(9),
            "retired-and-never-in-the-role": signing(
                by(), sequence=9, leave={PIPELINE.id: Leaver(how="retired", last=Mark(epoch=1, sequence=8))}
            ),
        },
    ),
    "root-identities": (
        "A root that knows an identity lists it under its own id and under no other (F-6.4), and lets it sign releases "
        "alone (F-6.5).",
        {
            "good": root_saying(lambda root: root),
            "under-another-id": root_saying(known_as("0" * 64)),
            "under-the-id-of-a-key": root_saying(known_as(RELEASE.public.keyid)),
            **{f"signs-as-{name}": root_saying(with_role(name)) for name in ("root", "consignment", "rollback")},
            "has-a-role-that-nobody-knows": root_saying(with_role("auditor")),
        },
    ),
}
