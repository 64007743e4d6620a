"""Images with signatures on them, in both of cosign's forms: what a bundle or a layout holds, whole or broken.

Signatures are made by the `cryptography` library alone, as cosign would make them: with either s, by ECDSA keys,
Ed25519 keys or RSA keys.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, REF_NAME
from content.bundle.oci_writer import EMPTY_BYTES, OCI_EMPTY
from content.sigstore.judge import SIGNATURE
from content.sigstore.signatures import DSSE_LAYER, PROVENANCE_V1, SIGN_V1, SIMPLE_SIGNING
from manifests.documents.release import Image, ImageSigner, Release
from manifests.trust.envelope import BUNDLE, INTOTO, STATEMENT, pae
from manifests.trust.image_keys import parse_carried_pem
from manifests.trust.keys import PublicKey, keyid_of
from manifests.words.digest import digest_of
from tests.images import simple_signing
from tests.vendor import Vendor, derived


@dataclass(frozen=True)
class OtherWay:
    """A key that signs in the second way of its kind. Attributes: hash_: of an ECDSA key; salt: of PSS, in bytes."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    hash_: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    salt: int = 32

    def public_key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        return self.key.public_key()

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(self.hash_, deterministic_signing=True))
        return self.key.sign(message, padding.PSS(padding.MGF1(self.hash_), self.salt), self.hash_)


PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | OtherWay
# The primes of RSA keys that everybody can make again: the first ones at or after these bytes of SHAKE-256.
_OFFSETS = {2048: (252, 992), 3072: (92, 130), 4096: (1340, 2180)}


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """The RSA key of this length with published primes; for tests alone."""

    def prime(letter: str, offset: int) -> int:
        seed = hashlib.shake_256(f"waybill vector rsa {bits} {letter}".encode()).digest(bits // 16)
        return (int.from_bytes(seed) | 3 << (bits // 2 - 2) | 1) + offset

    p, q = (prime(letter, offset) for letter, offset in zip("pq", _OFFSETS[bits], strict=True))
    d = pow(65537, -1, (p - 1) * (q - 1))
    parts = (d % (p - 1), d % (q - 1), pow(q, -1, p))
    return rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(65537, p * q)).private_key()


P384, P521 = (ec.derive_private_key(201, curve()) for curve in (ec.SECP384R1, ec.SECP521R1))
CI = derived(201).key
OTHER = derived(202).key


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def record(key: PrivateKey) -> PublicKey:
    return parse_carried_pem(pem(key), "test")


def sign(key: PrivateKey, message: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    if isinstance(key, ed25519.Ed25519PrivateKey | OtherWay):
        return key.sign(message)
    return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def hint(key: PrivateKey) -> str:
    return b64(bytes.fromhex(keyid_of(record(key).spki)))


def statement(digest: str, predicate_type: str = SIGN_V1, predicate: object = None, **changes: Any) -> bytes:
    subject = [{"digest": {"sha256": digest.removeprefix("sha256:")}}]
    said = {"_type": STATEMENT, "predicateType": predicate_type, "subject": subject, "predicate": predicate or {}}
    return dump({**said, **changes})


def provenance(digest: str, builder: str = "https://ci.example/b/1") -> bytes:
    predicate = {
        "buildDefinition": {"externalParameters": {"workflow": {"repository": "https://git.example/small"}}},
        "runDetails": {"builder": {"id": builder}},
    }
    return statement(digest, PROVENANCE_V1, predicate)


def key_material(key: PrivateKey) -> dict[str, object]:
    return {"publicKey": {"hint": hint(key)}, "tlogEntries": []}


def envelope_bundle(key: PrivateKey, payload: bytes, **changes: Any) -> bytes:
    """A Sigstore bundle around a DSSE envelope, as `cosign sign` writes it."""
    envelope = {
        "payload": b64(payload),
        "payloadType": INTOTO,
        "signatures": [{"sig": b64(sign(key, pae(INTOTO, payload)))}],
    }
    return dump({"mediaType": BUNDLE, "verificationMaterial": key_material(key), "dsseEnvelope": envelope, **changes})


def message_bundle(key: PrivateKey, message: bytes, digest: str = "", **changes: Any) -> bytes:
    about = bytes.fromhex((digest or digest_of(message)).removeprefix("sha256:"))
    signature = {"messageDigest": {"algorithm": "SHA2_256", "digest": b64(about)}, "signature": b64(sign(key, message))}
    return dump(
        {"mediaType": BUNDLE, "verificationMaterial": key_material(key), "messageSignature": signature, **changes}
    )


def dsse(key: PrivateKey, payload: bytes, payload_type: str = INTOTO) -> bytes:
    """A bare envelope, as cosign's older `.att` tags hold it."""
    signature = {"keyid": "", "sig": b64(sign(key, pae(payload_type, payload)))}
    return dump({"payload": b64(payload), "payloadType": payload_type, "signatures": [signature]})


@dataclass
class Hanging:
    """What hangs on the image of a `SignedVendor`: put blobs, list manifests.

    Attributes:
        digest: Of the image, or the index above it.
        child: Of the image itself.
    """

    digest: str
    manifest: bytes
    child: str
    subject: dict[str, object]
    put: Callable[[bytes], str]
    top: list[dict[str, object]]
    repository: str = "small/api"

    def target(self, media_type: str, data: bytes, **more: object) -> dict[str, object]:
        return {"mediaType": media_type, "digest": self.put(data), "size": len(data), **more}

    def simple(self, *signed: tuple[bytes, bytes], tag: str = ".sig", about: str = "", **annotations: str) -> None:
        """cosign's tag with pairs of (payload, signature)."""
        layers = [
            self.target(SIMPLE_SIGNING, payload, annotations={SIGNATURE: b64(signature), **annotations})
            for payload, signature in signed
        ]
        self.tag(layers, tag, about)

    def tag(self, layers: list[dict[str, object]], tag: str, about: str = "") -> None:
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.target(OCI_CONFIG, b'{"a":1}'),
            "layers": layers,
        }
        name = f"{self.repository}:{(about or self.digest).replace(':', '-')}{tag}"
        self.top.append({**self.target(OCI_MANIFEST, dump(document)), "annotations": {REF_NAME: name}})

    def signed(self, key: PrivateKey, about: str = "") -> None:
        """A good signature in the older form, unless ``about`` is another digest."""
        payload = simple_signing(about or self.digest)
        self.simple((payload, sign(key, payload)))

    def attest(self, *envelopes: bytes, about: str = "") -> None:
        self.tag([self.target(DSSE_LAYER, one) for one in envelopes], ".att", about)

    def refer(
        self,
        data: bytes,
        media_type: str = BUNDLE,
        *,
        artifact_type: str = "",
        subject: dict[str, object] | None = None,
    ) -> None:
        """An OCI 1.1 referrer that holds ``data``."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type or media_type,
            "config": self.target(OCI_EMPTY, EMPTY_BYTES),
            "layers": [self.target(media_type, data)],
            "subject": subject or self.subject,
        }
        self.top.append({**self.target(OCI_MANIFEST, dump(document)), "artifactType": artifact_type or media_type})


@dataclass(frozen=True)
class SignedVendor(Vendor):
    """A vendor whose one image names the signer ``ci``; ``hang`` puts things on it.

    Attributes:
        index: The image is one platform of an index, and the index is what the release names.
    """

    hang: Callable[[Hanging], None] = lambda _: None
    signer: ImageSigner = field(default_factory=lambda: ImageSigner(key=record(CI)))
    index: bool = False

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        import msgspec

        found, listed, (image,) = super().blobs()
        top = json.loads(listed)["manifests"]

        def put(data: bytes) -> str:
            found[digest_of(data)] = data
            return digest_of(data)

        child = image.manifest.digest
        if self.index:
            plain = {key: top[0][key] for key in ("mediaType", "digest", "size")}
            entry = {**plain, "platform": {"os": "linux", "architecture": "amd64"}}
            data = dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
            top[0] = {
                "mediaType": OCI_INDEX,
                "digest": put(data),
                "size": len(data),
                "annotations": top[0]["annotations"],
            }
            target = msgspec.structs.replace(
                image.manifest, media_type=OCI_INDEX, digest=digest_of(data), size=len(data)
            )
            image = msgspec.structs.replace(image, manifest=target)
        subject = {key: top[0][key] for key in ("mediaType", "digest", "size")}
        self.hang(Hanging(image.manifest.digest, found[image.manifest.digest], child, subject, put, top))
        image = msgspec.structs.replace(image, signed_by="ci", reason=None)
        return found, dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), (image,)

    def release(self) -> tuple[Release, dict[str, bytes], bytes]:
        return Vendor.release(self.but(change={**self.change, "signers": {"ci": self.signer}}))
