"""Public keys that verify signatures of carried images: P-256, Ed25519, RSA."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from manifests.trust.keys import ECDSA_P256, PublicKey, encode_base64, spki_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# These two sign carried images alone; a release, a root and a person are P-256 (decision 4).
ED25519 = "ed25519"
RSA_3072 = "rsa-3072-pkcs1v15-sha256"
CARRIED = (ECDSA_P256, ED25519, RSA_3072)


@dataclass(frozen=True)
class CarriedKey:
    """A key that signs carried images, with any algorithm of ``CARRIED`` and any valid encoding.

    ``record`` names the algorithm. ECDSA signatures may have high s, so the bytes of a signature are no identity.
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


def load_carried(key: PublicKey, what: str) -> CarriedKey:
    """The key of a signer of carried images.

    Raises:
        MalformedError: The key is not of the recorded algorithm, or not in canonical DER form.
        NewerError: The algorithm is unknown.
    """
    if key.algorithm not in CARRIED:  # F-11.2
        problem = f"key algorithm is {key.algorithm!r}, expected one of {', '.join(CARRIED)}"
        raise NewerError(problem, where=what)
    try:
        loaded = serialization.load_der_public_key(key.spki)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("record is not a public key", where=what) from None
    made = _carried(loaded, what)
    if made.record != key:
        problem = f"key is recorded as {key.algorithm}, it is {made.record.algorithm} or not in canonical form"
        raise MalformedError(problem, where=what)
    return made


def parse_carried_pem(data: bytes, what: str) -> PublicKey:
    """The record of a signer of carried images from PEM text. Raises MalformedError for kinds that cannot sign."""
    try:
        loaded = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        problem = "file is not a public key in PEM"
        raise MalformedError(problem, where=what, remedy="write one with `cosign public-key`") from None
    return _carried(loaded, what).record


def _carried(loaded: object, what: str) -> CarriedKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(loaded, ec.EllipticCurvePublicKey) and isinstance(loaded.curve, ec.SECP256R1):
        return CarriedKey(PublicKey(algorithm=ECDSA_P256, public=encode_base64(spki_of(loaded))), loaded)
    if isinstance(loaded, Ed25519PublicKey):
        return CarriedKey(PublicKey(algorithm=ED25519, public=encode_base64(spki_of(loaded))), loaded)
    if isinstance(loaded, RSAPublicKey) and loaded.key_size == 3072:
        return CarriedKey(PublicKey(algorithm=RSA_3072, public=encode_base64(spki_of(loaded))), loaded)
    raise MalformedError("key type cannot sign images", where=what, remedy="use a P-256, Ed25519 or RSA-3072 key")
