"""Public keys that verify signatures of carried images: ECDSA, Ed25519, RSA."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from manifests.trust.keys import ECDSA_P256, PublicKey, encode_base64, spki_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# All but the first sign carried images alone; a release, a root and a person are P-256 (decision 4).
ECDSA_P384 = "ecdsa-p384"
ECDSA_P521 = "ecdsa-p521"
ED25519 = "ed25519"
RSA = "rsa-sha256"
CARRIED = (ECDSA_P256, ECDSA_P384, ECDSA_P521, ED25519, RSA)
RSA_BITS = range(2048, 4096 + 1)
# NIST SP 800-57 part 1, table 4: shorter keys have less than 128 bits of strength.
_STRONG_RSA_BITS = 3072
# cosign signs SHA-256 with any curve; since it chooses by the key, SHA-384 and SHA-512 with the larger curves.
_HASHES: dict[str, tuple[hashes.HashAlgorithm, ...]] = {
    ECDSA_P256: (hashes.SHA256(),),
    ECDSA_P384: (hashes.SHA256(), hashes.SHA384()),
    ECDSA_P521: (hashes.SHA256(), hashes.SHA512()),
}
_CURVES = {"secp256r1": ECDSA_P256, "secp384r1": ECDSA_P384, "secp521r1": ECDSA_P521}
_KINDS = "use an ECDSA key (P-256, P-384, P-521), an Ed25519 key or an RSA key of 2048 to 4096 bits"


@dataclass(frozen=True)
class CarriedKey:
    """A key that signs carried images, with any algorithm of ``CARRIED`` and any valid encoding.

    ``record`` names the algorithm. ECDSA signatures may have high s, so the bytes of a signature are no identity.
    """

    record: PublicKey
    _loaded: "ec.EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey"

    @property
    def weakness(self) -> str:
        """Why the key is accepted with a warning; empty for a key as strong as the others."""
        bits = getattr(self._loaded, "key_size", 0) if self.record.algorithm == RSA else _STRONG_RSA_BITS
        return f"an RSA key of {bits} bits, expected {_STRONG_RSA_BITS} or more" if bits < _STRONG_RSA_BITS else ""

    def verify(self, signature: bytes, message: bytes, what: str) -> str:
        """Return the hash that was signed: ``sha256``, ``sha384`` or ``sha512``.

        Raises:
            UntrustedError: ``signature`` is not one by this key over ``message``.
        """
        for hash_name, verify in self._ways():
            try:
                verify(signature, message)
            except InvalidSignature:
                continue
            return hash_name
        raise UntrustedError("signature does not match its key", where=what, finding="signature-wrong")

    def _ways(self) -> Iterator[tuple[str, Callable[[bytes, bytes], None]]]:
        """The ways in which the recorded kind of key signs (F-11.2), each with the name of its hash."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15

        key, sha256 = self._loaded, hashes.SHA256()
        if isinstance(key, ec.EllipticCurvePublicKey):
            for algorithm in _HASHES[self.record.algorithm]:
                yield algorithm.name, partial(key.verify, signature_algorithm=ec.ECDSA(algorithm))
        elif isinstance(key, Ed25519PublicKey):
            yield "sha256", key.verify
        else:
            # cosign writes the first; key services whose keys are made for PSS write the second.
            for padding in (PKCS1v15(), PSS(MGF1(sha256), PSS.AUTO)):
                yield "sha256", partial(key.verify, padding=padding, algorithm=sha256)


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

    if isinstance(loaded, ec.EllipticCurvePublicKey) and loaded.curve.name in _CURVES:
        return CarriedKey(
            PublicKey(algorithm=_CURVES[loaded.curve.name], public=encode_base64(spki_of(loaded))), loaded
        )
    if isinstance(loaded, Ed25519PublicKey):
        return CarriedKey(PublicKey(algorithm=ED25519, public=encode_base64(spki_of(loaded))), loaded)
    if not isinstance(loaded, RSAPublicKey):
        raise MalformedError("key type cannot sign images", where=what, remedy=_KINDS)
    if loaded.key_size not in RSA_BITS:
        problem = f"RSA key has {loaded.key_size} bits, expected {RSA_BITS[0]} to {RSA_BITS[-1]}"
        raise MalformedError(problem, where=what, remedy=_KINDS)
    return CarriedKey(PublicKey(algorithm=RSA, public=encode_base64(spki_of(loaded))), loaded)
