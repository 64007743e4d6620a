"""A private Sigstore in memory: Fulcio, its log of certificates, Rekor of both kinds, a time-stamp authority.

What it makes is what the public services make, byte formats included: certificates with an embedded SCT (RFC 6962),
log entries with a proof of inclusion in a tree of one leaf and a signed checkpoint. Rekor 1 adds a signed promise with
the time; Rekor 2 knows no time, so a stamp (RFC 3161) says it. No network, no time of day.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from content.bundle.head import Head, Signature
from manifests.documents.release import Image, ImageSigner, Release, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import BUNDLE, INTOTO, pae
from manifests.trust.keys import decode_base64
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import Identity, Root
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from tests.signed_images import SignedVendor, b64, dump, pem
from tests.timestamps import Authority
from tests.vendor import RELEASE, Vendor, derived

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
IDENTITY = "https://git.example/small/.ci/release.yml@refs/heads/main"
ISSUER = "https://token.example"
ISSUER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
ISSUER_V2_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
SCT_LIST_OID = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(spki(key)).digest()


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def der_text(text: str) -> bytes:
    """A DER UTF8String of at most 127 bytes."""
    data = text.encode()
    assert len(data) < 128
    return bytes((0x0C, len(data))) + data


def der_octets(data: bytes) -> bytes:
    length = bytes((len(data),)) if len(data) < 128 else bytes((0x81, len(data)))
    assert len(data) < 256
    return b"\x04" + length + data


def name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "small"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def key_usage(**wanted: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    more = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{one: wanted.get(one, False) for one in (*names, *more)})


@dataclass(frozen=True)
class Sigstore:
    """One instance.

    Attributes:
        number: Where its keys begin; other instances have other keys.
        rekor: Which kind of log its signers use.
        stamps: Whether its trusted root names the time-stamp authority.
        signer: Which key the next signer makes up; another one gets another certificate.
        stamp_life: How long after a stamp the certificates of the authority are valid.
    """

    number: int = 300
    rekor: int = 1
    stamps: bool = True
    signer: int = 10
    stamp_life: timedelta = timedelta(days=3650)

    def key(self, offset: int) -> ec.EllipticCurvePrivateKey:
        return derived(self.number + offset).key

    @property
    def ca_key(self) -> ec.EllipticCurvePrivateKey:
        return self.key(0)

    @property
    def issuing_key(self) -> ec.EllipticCurvePrivateKey:
        return self.key(1)

    @property
    def ct_key(self) -> ec.EllipticCurvePrivateKey:
        return self.key(2)

    @property
    def rekor_key(self) -> ec.EllipticCurvePrivateKey:
        return self.key(3)

    @property
    def authority(self) -> Authority:
        return Authority(self.key(5), self.key(6), AT + timedelta(seconds=3), self.stamp_life)

    def ca(self) -> x509.Certificate:
        return self._authority("root", self.ca_key, "root", self.ca_key, 1)

    def issuing(self) -> x509.Certificate:
        return self._authority("issuing", self.issuing_key, "root", self.ca_key, 0)

    def _authority(
        self, subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, depth: int
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(self.number + depth)
            .not_valid_before(AT - timedelta(days=365))
            .not_valid_after(AT + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
            .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )
        return builder.sign(by, hashes.SHA256(), ecdsa_deterministic=True)

    def certificate(
        self, key: ec.EllipticCurvePrivateKey, identity: str = IDENTITY, issuer: str = ISSUER, *, sct: bool = True
    ) -> x509.Certificate:
        """Ten minutes for ``identity``, with the promise of the certificate log in it."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(name("issuing"))
            .public_key(key.public_key())
            .serial_number(int.from_bytes(hashlib.sha256(identity.encode() + spki(key)).digest()[:8], "big"))
            .not_valid_before(AT)
            .not_valid_after(AT + timedelta(minutes=10))
            .add_extension(key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuing_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER_OID, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(ISSUER_V2_OID, der_text(issuer)), critical=False)
        )
        before = builder.sign(self.issuing_key, hashes.SHA256(), ecdsa_deterministic=True)
        if not sct:
            return before
        builder = builder.add_extension(
            x509.UnrecognizedExtension(SCT_LIST_OID, der_octets(self._sct(before.tbs_certificate_bytes))),
            critical=False,
        )
        return builder.sign(self.issuing_key, hashes.SHA256(), ecdsa_deterministic=True)

    def _sct(self, tbs: bytes) -> bytes:
        """A list of one signed certificate timestamp over a precertificate (RFC 6962, section 3.2)."""
        at = int((AT + timedelta(seconds=1)).timestamp() * 1000)
        entry = key_id(self.issuing_key) + len(tbs).to_bytes(3, "big") + tbs
        signature = sign(self.ct_key, struct.pack("!BBQH", 0, 0, at, 1) + entry + struct.pack("!H", 0))
        one = struct.pack("!B32sQHBBH", 0, key_id(self.ct_key), at, 0, 4, 3, len(signature)) + signature
        return struct.pack("!HH", len(one) + 2, len(one)) + one

    def log(self, kind: str, body: bytes) -> dict[str, Any]:
        """An entry of the log whose only leaf is ``body``, with promise and proof."""
        at = int((AT + timedelta(seconds=2)).timestamp())
        root = hashlib.sha256(b"\0" + body).digest()
        log_id = key_id(self.rekor_key)
        note = self.note(1, root)
        promised = dump({"body": b64(body), "integratedTime": at, "logID": log_id.hex(), "logIndex": 0})
        timed = {
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": b64(sign(self.rekor_key, promised))},
        }
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(log_id)},
            "kindVersion": {"kind": kind, "version": f"0.0.{self.rekor}"},
            **(timed if self.rekor == 1 else {}),
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": note},
            },
            "canonicalizedBody": b64(body),
        }

    def note(self, size: int, root: bytes) -> str:
        """A checkpoint of the log: a signed note."""
        text = f"rekor.example - 1\n{size}\n{b64(root)}\n"
        signed = b64(key_id(self.rekor_key)[:4] + sign(self.rekor_key, text.encode()))
        return f"{text}\n\N{EM DASH} rekor.example {signed}\n"

    def trusted_root(self) -> bytes:
        valid = {"start": "2025-01-01T00:00:00Z"}

        def instance(key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, object]:
            public = {"rawBytes": b64(spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}
            log_id = {"keyId": b64(key_id(key))}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": log_id}

        def chain(*certificates: x509.Certificate) -> dict[str, object]:
            return {"certificates": [{"rawBytes": b64(_der(one))} for one in certificates]}

        return dump(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [instance(self.rekor_key, "https://rekor.example")],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "small", "commonName": "issuing"},
                        "uri": "https://fulcio.example",
                        "certChain": chain(self.issuing(), self.ca()),
                        "validFor": valid,
                    }
                ],
                "ctlogs": [instance(self.ct_key, "https://ct.example")],
                "timestampAuthorities": [
                    {
                        "subject": {"organization": "small", "commonName": "stamps"},
                        "uri": "https://stamps.example",
                        "certChain": chain(self.authority.leaf(), self.authority.root()),
                        "validFor": valid,
                    }
                ]
                if self.stamps
                else [],
            }
        )

    # --- what a signer does -----------------------------------------------------------------------------------------

    def sign_statement(self, payload: bytes, **options: Any) -> bytes:
        """A bundle around a DSSE envelope, as `cosign sign` makes it: a `dsse` entry, in Rekor 2 a `hashedrekord`."""
        key = self.key(self.signer)
        certificate = self.certificate(key, **options)
        message = pae(INTOTO, payload)
        signature = sign(key, message)
        envelope = {"payload": b64(payload), "payloadType": INTOTO, "signatures": [{"sig": b64(signature)}]}
        if self.rekor == 2:
            return self._bundle(certificate, self._record(certificate, message, signature), dsseEnvelope=envelope)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": digest_of(dump(envelope))[7:]},
            "payloadHash": {"algorithm": "sha256", "value": digest_of(payload)[7:]},
            "signatures": [{"signature": b64(signature), "verifier": b64(_pem(certificate))}],
        }
        body = dump({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        return self._bundle(certificate, self.log("dsse", body), dsseEnvelope=envelope)

    def sign_message(self, message: bytes, **options: Any) -> bytes:
        """A bundle with a bare signature and a `hashedrekord` entry."""
        key = self.key(self.signer + 1)
        certificate = self.certificate(key, **options)
        signature = sign(key, message)
        entry = self._record(certificate, message, signature)
        about = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(message).digest())}
        content = {"messageDigest": about, "signature": b64(signature)}
        return self._bundle(certificate, entry, messageSignature=content)

    def record_key(
        self, key: ec.EllipticCurvePrivateKey, message: bytes, signature: bytes, hash_name: str = "sha256"
    ) -> dict[str, Any]:
        """A `hashedrekord` entry of either kind for a signature by a key."""
        verifier = {"publicKey": {"rawBytes": b64(spki(key))}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        return self._entry(pem(key), verifier, message, signature, hash_name)

    def _record(self, certificate: x509.Certificate, message: bytes, signature: bytes) -> dict[str, Any]:
        verifier = {"x509Certificate": {"rawBytes": b64(_der(certificate))}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        return self._entry(_pem(certificate), verifier, message, signature)

    def _entry(
        self, text: bytes, verifier: dict[str, Any], message: bytes, signature: bytes, hash_name: str = "sha256"
    ) -> dict[str, Any]:
        digest = hashlib.new(hash_name, message).digest()
        if self.rekor == 2:
            record = {
                "data": {"algorithm": hash_name.replace("sha", "SHA2_"), "digest": b64(digest)},
                "signature": {"content": b64(signature), "verifier": verifier},
            }
            body = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}
            return self.log("hashedrekord", dump(body))
        spec = {
            "data": {"hash": {"algorithm": hash_name, "value": digest.hex()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(text)}},
        }
        return self.log("hashedrekord", dump({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}))

    def _bundle(self, certificate: x509.Certificate, entry: dict[str, object], **content: dict[str, Any]) -> bytes:
        material: dict[str, object] = {
            "certificate": {"rawBytes": b64(_der(certificate))},
            "tlogEntries": [entry],
        }
        if self.rekor == 2:
            signed = content.get("messageSignature") or content["dsseEnvelope"]["signatures"][0]
            stamp = self.authority.stamp(base64.b64decode(signed.get("signature") or signed["sig"]))
            material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(stamp)}]}
        return dump({"mediaType": BUNDLE, "verificationMaterial": material, **content})

    def other(self) -> "Sigstore":
        return replace(self, number=self.number + 50)


def with_period(trusted_root: bytes, name: str, **period: str) -> bytes:
    """The trusted root with another ``validFor`` for the only one in the list ``name``."""
    fields = json.loads(trusted_root)
    (only,) = fields[name]
    only.get("publicKey", only)["validFor"] = period
    return dump(fields)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class KeylessVendor(SignedVendor):
    """A vendor whose image is signed by an identity. Attributes: pinned: what the root says may vouch for it."""

    signer: ImageSigner = field(default_factory=lambda: ImageSigner(identity=IDENTITY, issuer=ISSUER))
    trusted: bytes = field(default_factory=Sigstore().trusted_root)
    pinned: tuple[str, ...] | None = None

    def root(self) -> Root:
        pinned = (digest_of(self.trusted),) if self.pinned is None else self.pinned
        return msgspec.structs.replace(super().root(), sigstore=pinned)

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        found, index, images = super().blobs()
        return {**found, digest_of(self.trusted): self.trusted}, index, images

    def release(self) -> tuple[Release, dict[str, bytes], bytes]:
        blob = Blob(digest=digest_of(self.trusted), size=len(self.trusted))
        return SignedVendor.release(self.but(change={**self.change, "sigstore": blob}))  # type: ignore[arg-type]


PIPELINE = Identity(identity=IDENTITY, issuer=ISSUER)


def bundle_signature(data: bytes) -> Signature:
    certificate = decode_base64(json.loads(data)["verificationMaterial"]["certificate"]["rawBytes"], "test")
    return Signature(keyid=hashlib.sha256(certificate).hexdigest(), sig=None, bundle=data)


@dataclass(frozen=True)
class IdentityVendor(Vendor):
    """A vendor whose releases an identity signs.

    Attributes:
        known: Identities of the root.
        held: Those with the role.
        sign: From the Statement to Sigstore bundles.
    """

    signers: tuple[FileSigner, ...] = ()
    recorded: tuple[FileSigner, ...] = (RELEASE,)
    known: tuple[Identity, ...] = (PIPELINE,)
    held: tuple[Identity, ...] = (PIPELINE,)
    trusted: bytes = field(default_factory=Sigstore().trusted_root)
    pinned: tuple[str, ...] | None = None
    sign: Callable[[bytes], tuple[bytes, ...]] = lambda said: (Sigstore().sign_statement(said),)

    def root(self) -> Root:
        made = super().root()
        role = made.roles["release"]
        keys = tuple(sorted((*role.keys, *(one.id for one in self.held if one.id not in self.leave))))
        return msgspec.structs.replace(
            made,
            identities={one.id: one for one in self.known},
            roles={**made.roles, "release": msgspec.structs.replace(role, keys=keys)},
            sigstore=(digest_of(self.trusted),) if self.pinned is None else self.pinned,
        )

    def head(self) -> Head:
        made = super().head()
        said = encode(release_statement(parse_release(made.release), digest_of(made.release)))
        pairs = (*made.signatures, *(bundle_signature(one) for one in self.sign(said)))
        pairs = tuple(sorted(pairs, key=lambda one: one.keyid))
        return replace(made, signatures=pairs, trusted_root=self.trusted if self.sign(said) else None)
