"""Keys: a public key record and what it verifies; a signer and what it signs.

The algorithm comes from the pinned record, never from a signature. P-256 with SHA-256 is the only algorithm that
stock cosign, @sigstore/verify and openssl all agree on for both signature files of a release.
"""

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from msgspec import Meta

from manifests.digest import Word
from manifests.document import Document
from manifests.errors import HostError, MalformedError, NewerError, RefusedError, UntrustedError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ECDSA_P256 = "ecdsa-p256-sha256"
# These two sign carried images alone; a release, a root and a person are P-256 (decision 4).
ED25519 = "ed25519"
RSA_3072 = "rsa-3072-pkcs1v15-sha256"
CARRIED = (ECDSA_P256, ED25519, RSA_3072)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MAX_KEY_FILE = 64 << 10

Base64 = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")]


def decode_base64(text: str, what: str) -> bytes:
    """Standard base64 with canonical padding and no slack bits (RFC 4648, sections 3.5 and 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise MalformedError("not base64", where=what) from None
    if base64.b64encode(data).decode() != text:  # F-35
        raise MalformedError("base64 is not in its canonical form", where=what)
    return data


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def keyid_of(spki: bytes) -> str:
    """64 lower-case hex digits: SHA-256 over the DER SubjectPublicKeyInfo, as in cosign's hint."""
    return hashlib.sha256(spki).hexdigest()  # F-36


class PublicKey(Document, frozen=True, kw_only=True):
    """A key as documents record it.

    Attributes:
        algorithm: ``ecdsa-p256-sha256``; another word is kept and never counted, but for a signer of carried images,
            who may have any of ``CARRIED``.
        public: base64 of the DER SubjectPublicKeyInfo (RFC 5280, section 4.1).
    """

    algorithm: Word
    public: Base64

    @property
    def spki(self) -> bytes:
        return decode_base64(self.public, "public key")

    @property
    def keyid(self) -> str:
        return keyid_of(self.spki)

    @property
    def known(self) -> bool:
        """Whether this verifier can judge signatures of this algorithm."""
        return self.algorithm == ECDSA_P256

    @property
    def pem(self) -> str:
        body = base64.encodebytes(self.spki).decode().replace("\n", "")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])

    def verify(self, signature: bytes, message: bytes, what: str) -> None:
        """Raise unless ``signature`` is strict, low-s DER ECDSA by this key over ``message``.

        Raises:
            UntrustedError: Not a signature by this key, or another encoding of one.
        """
        wrong = UntrustedError(
            "signature does not match its key",
            where=what,
            remedy="the file was changed or is not what was signed; ask for the medium again",
            finding="signature-wrong",
        )
        try:
            r, s = decode_dss_signature(signature)
        except ValueError:
            raise wrong from None
        # (r, n-s) verifies as well: one signature must have one spelling (format.md, normalised DER).
        if s > P256_ORDER // 2 or encode_dss_signature(r, s) != signature:  # F-38
            raise wrong
        try:
            load_public(self).verify(signature, message, ec.ECDSA(hashes.SHA256()))  # F-39
        except InvalidSignature:
            raise wrong from None


def load_public(key: PublicKey) -> ec.EllipticCurvePublicKey:
    """Raises MalformedError unless the record holds a P-256 key in its one DER form."""
    try:
        loaded = serialization.load_der_public_key(key.spki)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("not a public key", where="public key") from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise MalformedError("not a P-256 key", where="public key", remedy="make one with `waybill keygen`")
    if _spki(loaded) != key.spki:  # F-37
        raise MalformedError("not the one DER form of this key", where="public key")
    return loaded


def _spki(key: "ec.EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey") -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key(key: ec.EllipticCurvePublicKey) -> PublicKey:
    return PublicKey(algorithm=ECDSA_P256, public=encode_base64(_spki(key)))


def parse_public_pem(data: bytes, what: str) -> PublicKey:
    """A P-256 public key from PEM text. Raises MalformedError for anything else."""
    try:
        loaded = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("not a public key in PEM", where=what, remedy="`waybill keygen` writes NAME.pub") from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise MalformedError("not a P-256 key", where=what, remedy="make one with `waybill keygen`")
    return public_key(loaded)


@dataclass(frozen=True)
class CarriedKey:
    """A key that signs what a release carries: of more kinds than ours, and with other programs' encodings.

    The algorithm is the one that ``record`` names. A signature says nothing but that it matches: ECDSA signatures of
    others have either s, so the bytes of one must never serve as an identity.
    """

    record: PublicKey
    _loaded: "ec.EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey"

    def verify(self, signature: bytes, message: bytes, what: str) -> None:
        """Raise UntrustedError unless ``signature`` is one by this key over ``message``."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        try:
            if isinstance(self._loaded, ec.EllipticCurvePublicKey):
                self._loaded.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            elif isinstance(self._loaded, Ed25519PublicKey):
                self._loaded.verify(signature, message)
            else:
                self._loaded.verify(signature, message, PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise UntrustedError("signature does not match its key", where=what, finding="signature-wrong") from None

    def verify_digest(self, signature: bytes, digest: bytes, what: str) -> None:
        """The same for bytes with this SHA-256; Ed25519 signs no digests, so those are not by it.

        Raises:
            UntrustedError: Not a signature by this key over such bytes.
        """
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        hashed = Prehashed(hashes.SHA256())
        try:
            if isinstance(self._loaded, ec.EllipticCurvePublicKey):
                self._loaded.verify(signature, digest, ec.ECDSA(hashed))
            elif isinstance(self._loaded, RSAPublicKey):
                self._loaded.verify(signature, digest, PKCS1v15(), hashed)
            else:
                raise UntrustedError(
                    "this kind of key signs bytes and not their digest", where=what, finding="signature-wrong"
                )
        except InvalidSignature:
            raise UntrustedError("signature does not match its key", where=what, finding="signature-wrong") from None


def load_carried(key: PublicKey, what: str) -> CarriedKey:
    """The key of a signer of carried images.

    Raises:
        MalformedError: The record does not hold a key of the kind that it names, in its one DER form.
        NewerError: A kind that this version does not know.
    """
    if key.algorithm not in CARRIED:  # F-191
        raise NewerError(
            f"keys of kind {key.algorithm!r} are not known here, expected one of {', '.join(CARRIED)}",
            where=what,
            remedy="use a newer verifier",
        )
    try:
        loaded = serialization.load_der_public_key(key.spki)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("not a public key", where=what) from None
    made = _carried(loaded, what)
    if made.record != key:
        raise MalformedError(f"called {key.algorithm}, and is {made.record.algorithm} or another form", where=what)
    return made


def parse_carried_pem(data: bytes, what: str) -> PublicKey:
    """The record of a signer of carried images from PEM text. Raises MalformedError for kinds that cannot sign."""
    try:
        loaded = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("not a public key in PEM", where=what, remedy="`cosign public-key` writes one") from None
    return _carried(loaded, what).record


def _carried(loaded: object, what: str) -> CarriedKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(loaded, ec.EllipticCurvePublicKey) and isinstance(loaded.curve, ec.SECP256R1):
        return CarriedKey(PublicKey(algorithm=ECDSA_P256, public=encode_base64(_spki(loaded))), loaded)
    if isinstance(loaded, Ed25519PublicKey):
        return CarriedKey(PublicKey(algorithm=ED25519, public=encode_base64(_spki(loaded))), loaded)
    if isinstance(loaded, RSAPublicKey) and loaded.key_size == 3072:
        return CarriedKey(PublicKey(algorithm=RSA_3072, public=encode_base64(_spki(loaded))), loaded)
    raise MalformedError("not a key that may sign images", where=what, remedy="P-256, Ed25519 and RSA of 3072 bits may")


def read_public(path: Path) -> PublicKey:
    return parse_public_pem(read_capped(path, MAX_KEY_FILE), str(path))


def read_capped(path: Path, max_bytes: int) -> bytes:
    """The whole of a small file, never more than ``max_bytes`` of it.

    Raises:
        HostError: It cannot be read.
        MalformedError: It is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise HostError(f"cannot read: {(error.strerror or str(error)).lower()}", where=str(path)) from None
    if len(data) > max_bytes:
        raise MalformedError(f"longer than {max_bytes} bytes", where=str(path))
    return data


class Signer(Protocol):
    """Whatever can sign: a file, a token, a program, a person elsewhere."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message`` in the one form that ``PublicKey.verify`` accepts."""
        ...


@dataclass(frozen=True)
class FileSigner:
    """A P-256 private key held in memory. Deterministic (RFC 6979), so equal inputs give equal bundles."""

    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        return public_key(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        return low_s(self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))


def low_s(signature: bytes) -> bytes:
    """The same ECDSA signature with s at most n/2."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, P256_ORDER - s))


def generate_key() -> FileSigner:
    return FileSigner(ec.generate_private_key(ec.SECP256R1()))


def encode_private(signer: FileSigner, passphrase: bytes | None) -> bytes:
    """PKCS#8 PEM, encrypted (RFC 8018, PBES2) when a passphrase is given."""
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return signer.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def read_signer(path: Path, passphrase: Callable[[], bytes]) -> FileSigner:
    """Open a private key file; ``passphrase`` is asked only when the file is encrypted.

    Raises:
        HostError: It cannot be read.
        RefusedError: Others on this machine can read it, or the passphrase is wrong.
        MalformedError: It is not a PKCS#8 P-256 key.
    """
    check_private_mode(path)
    data = read_capped(path, MAX_KEY_FILE)
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    try:
        key = serialization.load_pem_private_key(data, passphrase() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise RefusedError(
                "wrong passphrase, or the key file is damaged",
                where=str(path),
                finding="passphrase-wrong",
                remedy="type the passphrase again; if that does not help, use the copy of the key that was put away",
            ) from None
        raise MalformedError("not a private key in PKCS#8 PEM", where=str(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MalformedError("not a P-256 key", where=str(path), remedy="make one with `waybill keygen`")
    return FileSigner(key)


def check_private_mode(path: Path) -> None:
    """Refuse a private key that its group or the world can read."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise HostError(f"cannot read: {(error.strerror or str(error)).lower()}", where=str(path)) from None
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedError(
            f"others on this machine can read this key (mode {stat.S_IMODE(mode):04o})",
            where=str(path),
            remedy=f"chmod 600 {path}; if others could have read it, make a new key",
            finding="key-exposed",
        )


_KEY_URI = re.compile(r"file:(.+)")


def key_path(uri: str, beside: Path) -> Path:
    """The file behind ``file:PATH`` or a plain path; relative ones are looked up in ``beside``."""
    match = _KEY_URI.fullmatch(uri)
    text = match[1] if match else uri
    scheme = re.match(r"([a-z0-9+]+):", text)
    if scheme and not os.path.exists(beside / text):  # noqa: PTH110 - a name such as C:key is still a path
        raise UsageError(
            f"this version cannot use keys of kind {scheme[1]!r}", where=uri, remedy="file:PATH, pkcs11:... or exec:..."
        )
    return beside / text
