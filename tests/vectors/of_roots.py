"""Vectors: the root document and the chain of its versions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace as struct_replace

from content.trust.head import Known
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey, encode_base64
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROOT_TYPE, Leaver, Mark, Pin, Role, Root
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.surgery import Case
from tests.vendor import CONSIGNMENT, RELEASE, ROOT, SECOND, STRANGER, Vendor, derived

VENDOR = Vendor()
ZEROS, ONES = "sha256:" + "0" * 64, "sha256:" + "1" * 64
SECOND_ROOT, THIRD_ROOT = derived(201), derived(202)
LATER = PublicKey(algorithm="ml-dsa-65", public=encode_base64(b"a key of an algorithm that is not known yet"))


def case(files: tuple[bytes, ...], pinned: bytes | None = None, *, version: int = 1, first: int = 1) -> Case:
    """The vendor's bundle with these root documents; the paper names the payload of ``pinned`` (the first one)."""
    from manifests.trust.envelope import Envelope
    from manifests.words.canonical import decode

    payload = decode(pinned or files[0], Envelope, "pinned").payload_bytes
    head = replace(VENDOR.head(), roots=files, first_root=first)
    return Case(VENDOR.bundle(head), Pin(version=version, digest=digest_of(payload)))


def sealed(root: Root, *signers: FileSigner) -> bytes:
    """Signed, also when it contradicts itself."""
    return seal(encode(root), ROOT_TYPE, signers)


def root_role(*signers: FileSigner, threshold: int = 1) -> Role:
    return Role(keys=tuple(sorted(one.public.keyid for one in signers)), threshold=threshold)


def of_root(change: Callable[[Root], Root]) -> Callable[[], Case]:
    """One root that says what it should not, well signed and pinned."""
    return lambda: case((sealed(change(VENDOR.root()), ROOT),))


def with_role(name: str, **changes: object) -> Callable[[Root], Root]:
    def change(root: Root) -> Root:
        role = struct_replace(root.roles[name], **changes)
        return struct_replace(root, roles={**root.roles, name: role})

    return change


def without_role(name: str) -> Callable[[Root], Root]:
    return lambda root: struct_replace(root, roles={key: role for key, role in root.roles.items() if key != name})


def with_key(keyid: str, key: PublicKey) -> Callable[[Root], Root]:
    return lambda root: struct_replace(root, keys={**root.keys, keyid: key})


def with_leaver(signer: FileSigner, leaver: Leaver) -> Callable[[Root], Root]:
    return lambda root: struct_replace(root, leave={signer.public.keyid: leaver})


def other_curve() -> PublicKey:
    public = ec.derive_private_key(301, ec.SECP384R1()).public_key()
    return _as_p256(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def compressed(signer: FileSigner) -> PublicKey:
    """The same point, written short: another DER form of the same key."""
    point = signer.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    body = algorithm + b"\x03" + bytes([len(point) + 1]) + b"\0" + point
    return _as_p256(b"\x30" + bytes([len(body)]) + body)


def _as_p256(spki: bytes) -> PublicKey:
    return PublicKey(algorithm="ecdsa-p256-sha256", public=encode_base64(spki))


def root_key_is(key: PublicKey) -> Callable[[Root], Root]:
    """``key`` replaces the root key; what it signed before is kept."""

    def change(root: Root) -> Root:
        keys = {**{k: v for k, v in root.keys.items() if k != ROOT.public.keyid}, key.keyid: key}
        return struct_replace(root, keys=keys, roles={**root.roles, "root": Role(keys=(key.keyid,), threshold=1)})

    return change


def signed_by_key(key: PublicKey) -> Callable[[], Case]:
    """A root whose one root key is ``key``; the signature in its name is by ROOT."""
    import json

    def make() -> Case:
        root = root_key_is(key)(VENDOR.root())
        envelope = json.loads(seal(encode(root), ROOT_TYPE, (ROOT,)))
        envelope["signatures"][0]["keyid"] = key.keyid
        return case((encode(envelope),))

    return make


@dataclass(frozen=True)
class Chain:
    """Root 1 by ROOT, root 2 by ROOT and SECOND_ROOT (which replaces it), root 3 by SECOND_ROOT."""

    changes: dict[int, Callable[[Root], Root]] = field(default_factory=dict)
    signers: dict[int, tuple[FileSigner, ...]] = field(default_factory=dict)
    length: int = 2

    def files(self) -> tuple[bytes, ...]:
        made: list[bytes] = []
        for version in range(1, self.length + 1):
            holder = ROOT if version == 1 else SECOND_ROOT
            root = struct_replace(
                VENDOR.root(),
                version=version,
                previous=digest_of(made[-1]) if made else None,
                keys={**VENDOR.root().keys, **{one.public.keyid: one.public for one in (SECOND_ROOT, THIRD_ROOT)}},
                roles={**VENDOR.root().roles, "root": root_role(holder)},
            )
            if version in self.changes:
                root = self.changes[version](root)
            usual = {1: (ROOT,), 2: (ROOT, SECOND_ROOT)}.get(version, (SECOND_ROOT,))
            made.append(sealed(root, *self.signers.get(version, usual)))
        return tuple(made)


def chain(
    changes: dict[int, Callable[[Root], Root]] | None = None,
    signers: dict[int, tuple[FileSigner, ...]] | None = None,
    *,
    length: int = 2,
    pinned: int = 1,
    version: int | None = None,
) -> Callable[[], Case]:
    def make() -> Case:
        files = Chain(changes or {}, signers or {}, length).files()
        return case(files, files[pinned - 1], version=pinned if version is None else version)

    return make


def fork() -> Case:
    """Root 2 follows another root 1 than the pinned one."""
    ours = Chain().files()
    theirs = Chain({1: lambda root: struct_replace(root, epoch=1, practice=True)}).files()
    return case((ours[0], theirs[1]))


def late_signature() -> Case:
    """A signature more in root 1 after root 2 named its file."""
    files = Chain(signers={1: (ROOT,)}).files()
    again = Chain(signers={1: (ROOT, SECOND)}).files()
    return case((again[0], files[1]))


def late_signature_on_newest() -> Case:
    files = Chain(signers={2: (ROOT, SECOND_ROOT, THIRD_ROOT)}).files()
    return case(files)


def without_first() -> Case:
    files = Chain(length=3).files()
    return case(files[1:], files[1], version=2, first=2)


def misnamed() -> Case:
    files = Chain(length=3).files()
    return case(files[1:], files[1], version=2, first=1)


def skipping() -> Case:
    files = Chain(length=3).files()
    return case((files[0], files[2]), files[0])


def backwards() -> Case:
    files = Chain(length=2).files()
    return case((files[1], files[0]), files[0])


def of_another_vendor() -> bytes:
    return Chain({1: lambda root: struct_replace(root, vendor="others")}).files()[0]


def signed_by_itself() -> Case:
    """A stranger's root 2 that follows the pinned root 1 by the letter and is signed by the stranger alone."""
    return chain(
        {
            2: lambda root: struct_replace(
                root,
                keys={**root.keys, STRANGER.public.keyid: STRANGER.public},
                roles={**root.roles, "root": root_role(STRANGER)},
            )
        },
        {2: (STRANGER,)},
    )()


def two_of_two(*signers: FileSigner) -> Callable[[], Case]:
    change = {
        2: lambda root: struct_replace(
            root, roles={**root.roles, "root": root_role(SECOND_ROOT, THIRD_ROOT, threshold=2)}
        )
    }
    return chain(change, {2: signers})


def lowered(*signers: FileSigner) -> Callable[[], Case]:
    """Root 1 demands two of two; root 2 has the same keys and is content with one."""

    def asking(count: int) -> Callable[[Root], Root]:
        role = root_role(ROOT, SECOND_ROOT, threshold=count)
        return lambda root: struct_replace(root, roles={**root.roles, "root": role})

    asks = {1: asking(2), 2: asking(1)}
    return chain(asks, {1: (ROOT, SECOND_ROOT), 2: signers})


def known(
    ours: Chain, theirs: Chain, *, mine: int, brought: tuple[int, ...] = (1, 2), own_keys: frozenset[str] = frozenset()
) -> Callable[[], Case]:
    """A reader who holds the first ``mine`` documents of ``ours``; the bundle brings these versions of ``theirs``."""

    def make() -> Case:
        held = ours.files()[:mine]
        files = tuple(theirs.files()[version - 1] for version in brought)
        found = case(files, held[-1], version=mine, first=brought[0])
        return replace(found, known=Known(roots=held, own_keys=own_keys))

    return make


LONG = Chain(length=3)
LATE = Chain(signers={2: (ROOT, SECOND_ROOT, THIRD_ROOT)})
OTHER_TWO = Chain({2: lambda root: struct_replace(root, epoch=9)})


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "root-known": (
        "A reader that holds root documents joins them with those of the medium and judges with the newest that it "
        "can reach (F-6.19). Two documents of one version that the vendor's quorum signed are a fork, a missing "
        "version is a gap (F-6.20). A root that names a key of the reader's own is refused (F-6.21).",
        {
            "medium-is-newer": known(LONG, LONG, mine=1, brought=(1, 2, 3)),
            "medium-is-older": known(LONG, LONG, mine=3, brought=(1, 2)),
            "medium-goes-on": known(LONG, LONG, mine=2, brought=(3,)),
            "medium-overlaps": known(LONG, LONG, mine=2, brought=(2, 3)),
            "gap": known(LONG, LONG, mine=1, brought=(3,)),
            "fork": known(Chain(), OTHER_TWO, mine=2),
            "fork-signed-by-old-alone": known(Chain(), Chain(OTHER_TWO.changes, {2: (ROOT,)}), mine=2),
            "fork-from-the-first": known(
                Chain(), Chain({1: lambda root: struct_replace(root, epoch=9)}), mine=1, brought=(1,)
            ),
            "late-signature-on-medium": known(Chain(), LATE, mine=2),
            "late-signature-here": known(LATE, Chain(), mine=2),
            "late-signature-by-stranger": known(Chain(), Chain(signers={2: (ROOT, SECOND_ROOT, STRANGER)}), mine=2),
            "names-a-key-of-ours": known(LONG, LONG, mine=1, own_keys=frozenset({SECOND_ROOT.public.keyid})),
        },
    ),
    "root-document": (
        "One root contradicts itself: a role missing (F-6.1), keys not listed or a threshold that cannot be met "
        "(F-6.2), a key under another id (F-5.2, F-6.3), products where they do not belong (F-6.6), leavers that are "
        "neither retired nor revoked (F-6.7), a predecessor of version 1 (F-6.8), a key that is no P-256 key in its "
        "one form (F-5.3), trusted roots of others not in order (F-6.9). It is well signed and its fingerprint is on "
        "the paper.",
        {
            **{
                f"no-role-{name}": of_root(without_role(name))
                for name in ("root", "release", "consignment", "rollback")
            },
            "threshold-above-keys": of_root(with_role("release", threshold=3)),
            "threshold-zero": of_root(with_role("release", threshold=0)),
            "role-empty": of_root(with_role("rollback", keys=())),
            "keys-unsorted": of_root(
                lambda root: with_role("release", keys=tuple(reversed(root.roles["release"].keys)))(root)
            ),
            "key-twice": of_root(
                lambda root: with_role("release", keys=(root.roles["release"].keys[0],) * 2, threshold=2)(root)
            ),
            "key-not-listed": of_root(with_role("rollback", keys=(STRANGER.public.keyid,))),
            "key-under-another-id": of_root(with_key(STRANGER.public.keyid, CONSIGNMENT.public)),
            "key-under-two-ids": of_root(with_key("0" * 64, RELEASE.public)),
            "products-for-root": of_root(with_role("root", products=("small",))),
            "products-missing": of_root(with_role("release", products=())),
            "products-unsorted": of_root(with_role("release", products=("small", "other"))),
            "products-twice": of_root(with_role("release", products=("small", "small"))),
            "leaver-in-role": of_root(with_leaver(RELEASE, Leaver(how="revoked"))),
            "retired-without-last": of_root(with_leaver(STRANGER, Leaver(how="retired"))),
            "revoked-with-last": of_root(with_leaver(STRANGER, Leaver(how="revoked", last=Mark(epoch=1, sequence=1)))),
            "sigstore-unsorted": of_root(lambda root: struct_replace(root, sigstore=(ONES, ZEROS))),
            "sigstore-twice": of_root(lambda root: struct_replace(root, sigstore=(ZEROS, ZEROS))),
            "sigstore": of_root(lambda root: struct_replace(root, sigstore=(ZEROS, ONES))),
            "previous-of-first": of_root(lambda root: struct_replace(root, previous="sha256:" + "0" * 64)),
            "version-zero": of_root(lambda root: struct_replace(root, version=0)),
            "vendor-upper-case": of_root(lambda root: struct_replace(root, vendor="Small-Works")),
            "another-type": lambda: case((seal(encode(VENDOR.root()), "application/json", (ROOT,)),)),
            "curve-p384": signed_by_key(other_curve()),
            "key-compressed": signed_by_key(compressed(ROOT)),
            "key-not-der": signed_by_key(_as_p256(b"no key at all")),
        },
    ),
    "root-chain": (
        "Versions follow each other without a gap (F-6.10) in files named after them (F-3.7), the fingerprint on the "
        "paper is one of them (F-6.11), each names the whole file before it (F-6.12), keeps the vendor and never "
        "lowers the epoch (F-6.13), is signed by its own root keys and its predecessor's (F-6.15), and by nobody whom "
        "neither records (F-6.14).",
        {
            "two": chain(),
            "three": chain(length=3),
            "three-pinned-at-second": chain(length=3, pinned=2),
            "three-pinned-at-third": chain(length=3, pinned=3),
            "without-the-first": without_first,
            "misnamed": misnamed,
            "gap": skipping,
            "backwards": backwards,
            "fork": fork,
            "late-signature-on-old": late_signature,
            "late-signature-on-newest": late_signature_on_newest,
            "previous-of-payload": chain({2: lambda root: struct_replace(root, previous="sha256:" + "0" * 64)}),
            "previous-missing": chain({2: lambda root: struct_replace(root, previous=None)}),
            "vendor-changes": chain({2: lambda root: struct_replace(root, vendor="large-works")}),
            "epoch-rises": chain({2: lambda root: struct_replace(root, epoch=2)}),
            "epoch-falls": chain(
                {1: lambda root: struct_replace(root, epoch=2), 2: lambda root: struct_replace(root, epoch=1)}
            ),
            "signed-by-new-alone": chain(signers={2: (SECOND_ROOT,)}),
            "signed-by-old-alone": chain(signers={2: (ROOT,)}),
            "signed-by-nobody": chain(signers={2: ()}),
            "signed-by-stranger": chain(signers={2: (STRANGER,)}),
            "signed-by-itself": signed_by_itself,
            "stranger-added": chain(signers={2: (ROOT, SECOND_ROOT, STRANGER)}),
            "stranger-added-to-old": chain(signers={1: (ROOT, STRANGER)}),
            "two-of-two": two_of_two(ROOT, SECOND_ROOT, THIRD_ROOT),
            "one-of-two": two_of_two(ROOT, SECOND_ROOT),
            "two-of-two-without-old": two_of_two(SECOND_ROOT, THIRD_ROOT),
            "threshold-lowered-by-the-old-quorum": lowered(ROOT, SECOND_ROOT),
            "threshold-lowered-without-it": lowered(SECOND_ROOT),
            "old-needs-nobody-when-pinned-later": chain(signers={1: ()}, pinned=2),
            "old-with-stranger-when-pinned-later": chain(signers={1: (STRANGER,)}, pinned=2),
            "another-vendor": lambda: case(
                Chain().files(), Chain({1: lambda r: struct_replace(r, vendor="x")}).files()[0]
            ),
            "pinned-above": lambda: case(Chain().files(), Chain(length=3).files()[2], version=3),
            "pinned-version-differs": chain(version=2),
            "pinned-without-version": chain(version=0),
        },
    ),
    "root-growth": (
        "An algorithm or a role that this verifier does not know is kept and never counted (F-6.16): the chain goes "
        "on. The algorithm is the one of the key's record, whatever the key and the signature look like (F-5.5).",
        {
            "algorithm": of_root(with_key(LATER.keyid, LATER)),
            "algorithm-in-role": of_root(
                lambda root: with_role("release", keys=tuple(sorted((*root.roles["release"].keys, LATER.keyid))))(
                    with_key(LATER.keyid, LATER)(root)
                )
            ),
            "algorithm-only": of_root(
                lambda root: with_role("release", keys=(LATER.keyid,))(with_key(LATER.keyid, LATER)(root))
            ),
            "algorithm-unknown-of-a-key-like-ours": of_root(
                with_key(RELEASE.public.keyid, PublicKey(algorithm="ed25519", public=RELEASE.public.public))
            ),
            "role": of_root(
                lambda root: struct_replace(
                    root, roles={**root.roles, "auditor": Role(keys=(RELEASE.public.keyid,), threshold=7)}
                )
            ),
            "signature-of-unknown-algorithm": lambda: _signed_by_later(),
            "release-signed-by-unknown-algorithm": lambda: _released_by_later(alone=False),
            "release-signed-by-unknown-algorithm-alone": lambda: _released_by_later(alone=True),
        },
    ),
}


def _signed_by_later() -> Case:
    import json

    root = with_key(LATER.keyid, LATER)(VENDOR.root())
    envelope = json.loads(sealed(root, ROOT))
    envelope["signatures"].append({"keyid": LATER.keyid, "sig": encode_base64(b"whatever it looks like")})
    envelope["signatures"].sort(key=lambda one: one["keyid"])
    return case((encode(envelope),))


def _released_by_later(*, alone: bool) -> Case:
    from content.bundle.head import Signature

    root = with_role("release", keys=tuple(sorted((*VENDOR.root().roles["release"].keys, LATER.keyid))))(
        with_key(LATER.keyid, LATER)(VENDOR.root())
    )
    file = sealed(root, ROOT)
    later = Signature(keyid=LATER.keyid, sig=b"one", bundle=b"two")
    pairs = (later,) if alone else tuple(sorted((*VENDOR.head().signatures, later), key=lambda one: one.keyid))
    head = replace(VENDOR.head(), roots=(file,), signatures=pairs)
    return Case(VENDOR.bundle(head), Pin(version=1, digest=digest_of(encode(root))))
