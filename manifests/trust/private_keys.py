"""Private keys: generate, write and read them, and sign with them."""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from manifests.trust.keys import MAX_KEY_FILE, P256_ORDER, PublicKey, public_key, read_capped
from manifests.words.errors import MalformedError, RefusedError, UsageError, unreadable


class Signer(Protocol):
    """Signs messages: a key file, a token, or a program."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message`` in the form that ``PublicKey.verify`` accepts."""
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
        RefusedError: Its mode lets others read it, or the passphrase is wrong.
        MalformedError: It is not a PKCS#8 P-256 key.
    """
    check_private_mode(path)
    data = read_capped(path, MAX_KEY_FILE)
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    try:
        key = serialization.load_pem_private_key(data, passphrase() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            problem = "the passphrase is wrong, or the key file is damaged"
            remedy = "type the passphrase again; if that fails, use the backup of the key"
            raise RefusedError(problem, where=str(path), finding="passphrase-wrong", remedy=remedy) from None
        raise MalformedError("file is not a private key in PKCS#8 PEM", where=str(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MalformedError("key is not a P-256 key", where=str(path), remedy="make a key with `waybill keygen`")
    return FileSigner(key)


def check_private_mode(path: Path) -> None:
    """Refuse a private key that its group or the world can read."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise unreadable(error, str(path)) from None
    if stat.S_IMODE(mode) & 0o077:
        problem = f"others on this machine can read this key (mode {stat.S_IMODE(mode):04o})"
        remedy = f"chmod 600 {quote(str(path))}; if somebody may have read the key, replace it"
        raise RefusedError(problem, where=str(path), remedy=remedy, finding="key-exposed")


def key_path(uri: str, beside: Path) -> Path:
    """The file behind ``file:PATH`` or a plain path; relative ones are looked up in ``beside``."""
    text = uri.removeprefix("file:") or uri
    scheme = re.match(r"([a-z0-9+]+):", text)
    if scheme and not os.path.exists(beside / text):  # noqa: PTH110 - a name such as C:key is still a path
        problem = f"key is of kind {scheme[1]!r}, which is unknown"
        raise UsageError(problem, where=uri, remedy="name file:PATH, pkcs11:... or exec:...")
    return beside / text
