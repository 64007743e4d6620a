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


def load_carried(key: PublicKey, what: str) -> CarriedKey:
    """The key of a signer of carried images.

    Raises:
        MalformedError: The record does not hold a key of the kind that it names, in its one DER form.
        NewerError: A kind that this version does not know.
    """
    if key.algorithm not in CARRIED:  # F-11.2
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
        return CarriedKey(PublicKey(algorithm=ECDSA_P256, public=encode_base64(spki_of(loaded))), loaded)
    if isinstance(loaded, Ed25519PublicKey):
        return CarriedKey(PublicKey(algorithm=ED25519, public=encode_base64(spki_of(loaded))), loaded)
    if isinstance(loaded, RSAPublicKey) and loaded.key_size == 3072:
        return CarriedKey(PublicKey(algorithm=RSA_3072, public=encode_base64(spki_of(loaded))), loaded)
    raise MalformedError("not a key that may sign images", where=what, remedy="P-256, Ed25519 and RSA of 3072 bits may")
