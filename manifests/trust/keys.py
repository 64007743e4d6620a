"""Public keys: parse them and verify signatures with them.

The algorithm comes from the pinned record, never from a signature. P-256 with SHA-256 is the only algorithm that
stock cosign, @sigstore/verify and openssl all agree on for both signature files of a release.
"""

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from msgspec import Meta

from manifests.words.canonical import Document
from manifests.words.digest import Word
from manifests.words.errors import HostError, MalformedError, UntrustedError, unreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ECDSA_P256 = "ecdsa-p256-sha256"

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MAX_KEY_FILE = 64 << 10
_KEYGEN = "make a key with `waybill keygen`"

Base64 = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")]


def decode_base64(text: str, what: str) -> bytes:
    """Standard base64 with canonical padding and no slack bits (RFC 4648, sections 3.5 and 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise MalformedError("value is not base64", where=what) from None
    if base64.b64encode(data).decode() != text:  # F-5.1
        raise MalformedError("base64 is not in canonical form", where=what)
    return data


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def keyid_of(spki: bytes) -> str:
    """64 lower-case hex digits: SHA-256 over the DER SubjectPublicKeyInfo, as in cosign's hint."""
    return hashlib.sha256(spki).hexdigest()  # F-5.2


class PublicKey(Document, frozen=True, kw_only=True):
    """A key as documents record it.

    Attributes:
        algorithm: ``ecdsa-p256-sha256``; others are kept and never counted, but for ``CARRIED`` on images.
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
        """Raise UntrustedError unless ``signature`` is strict, low-s DER ECDSA by this key over ``message``."""
        problem = "signature does not match its key and file"
        wrong = UntrustedError(problem, where=what, finding="signature-wrong")
        try:
            r, s = decode_dss_signature(signature)
        except ValueError:
            raise wrong from None
        # (r, n-s) is valid too, so only low s is accepted: one signature has one encoding (format.md, normalised DER).
        if s > P256_ORDER // 2 or encode_dss_signature(r, s) != signature:  # F-5.4
            raise wrong
        try:
            load_public(self).verify(signature, message, ec.ECDSA(hashes.SHA256()))  # F-5.5
        except InvalidSignature:
            raise wrong from None


def load_public(key: PublicKey) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a record. Raises MalformedError for other keys and other DER forms."""
    try:
        loaded = serialization.load_der_public_key(key.spki)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("record is not a public key", where="public key") from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise MalformedError("key is not a P-256 key", where="public key", remedy=_KEYGEN)
    if spki_of(loaded) != key.spki:  # F-5.3
        raise MalformedError("key is not in canonical DER form", where="public key")
    return loaded


def spki_of(key: "ec.EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey") -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key(key: ec.EllipticCurvePublicKey) -> PublicKey:
    return PublicKey(algorithm=ECDSA_P256, public=encode_base64(spki_of(key)))


def parse_public_pem(data: bytes, what: str) -> PublicKey:
    """A P-256 public key from PEM text. Raises MalformedError for anything else."""
    try:
        loaded = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("file is not a public key in PEM", where=what, remedy=_KEYGEN) from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise MalformedError("key is not a P-256 key", where=what, remedy=_KEYGEN)
    return public_key(loaded)


def read_public(path: Path) -> PublicKey:
    return parse_public_pem(read_capped(path, MAX_KEY_FILE), str(path))


def open_regular(path: Path, *, or_pipe: bool = False) -> int:
    """Return a read-only descriptor of a regular file or a block device, which the caller closes.

    A FIFO and a terminal are refused without waiting for a writer. ``or_pipe`` also allows a pipe that the shell made
    for this command, as in ``<(COMMAND)``: it has a writer and no name in a folder.

    Raises:
        HostError: It is of another kind.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    nameless = stat.S_ISFIFO(mode) and str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:")
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode) or (or_pipe and nameless)):
        os.close(descriptor)
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
        remedy = "copy its content to a file and name that"
        raise HostError(f"{kind}, not a file", where=str(path), remedy=remedy, finding="not-a-file")
    os.set_blocking(descriptor, True)
    return descriptor


def read_capped(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file. Raises HostError when unreadable, MalformedError above ``max_bytes``."""
    try:
        with os.fdopen(open_regular(path, or_pipe=True), "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(error, str(path)) from None
    if len(data) > max_bytes:
        raise MalformedError(f"file has more than {max_bytes} bytes", where=str(path))
    return data
