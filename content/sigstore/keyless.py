"""Judge signatures by identities (Fulcio certificates) offline, with sigstore-python and a pinned trusted root.

The only module that names sigstore, and only inside its functions: the library is an extra that the kit does not hold,
and verifying keys never loads it. The time comes from the log entry or its timestamps, never from this host.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from content.bundle.oci import Descriptor, read_json
from content.sigstore.judge import CERTIFICATE, NotBySignerError
from content.sigstore.periods import Period, narrow
from content.sigstore.rekor import promised_at
from content.sigstore.sigstore_bundle import SigstoreBundle, plain_text
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError

if TYPE_CHECKING:
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import VerificationPolicy

TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot"
MAX_TRUSTED_ROOT = 1 << 20
ROOT_NAME = "trusted_root.json"
T = TypeVar("T")


def check_trusted_root(data: bytes, what: str) -> None:
    """Raise MalformedError unless this is JSON without duplicate keys, with the media type of a trusted root."""
    media_type = read_json(data, max_bytes=MAX_TRUSTED_ROOT, where=what).get("mediaType")
    if not isinstance(media_type, str) or not media_type.startswith(TRUSTED_ROOT):
        raise MalformedError(f"media type is {plain_text(media_type)}, expected {TRUSTED_ROOT}+json;...", where=what)


def check_available(identity: str) -> None:
    """Raise RefusedError where the library is not installed; nothing is imported."""
    if find_spec("sigstore") is None:
        problem = f"images are signed by the identity {identity}, and this program was installed without sigstore"
        remedy = "pip install 'airgap-waybill[vendor]' where this is judged, or ask the vendor to sign with a key"
        raise RefusedError(problem, where="images", remedy=remedy, finding="image-signer-keyless-unavailable")


@dataclass(frozen=True)
class IdentityJudge:
    """Judges by identity and issuer, both compared exactly, under this trusted root.

    Of the trusted root counts what was valid when the certificate was: the library does not compare those periods.
    """

    signer: str
    identity: str
    issuer: str
    trusted_root: bytes
    _policy: "VerificationPolicy"

    @property
    def name(self) -> str:
        identity = f"{plain_text(self.identity)} by {plain_text(self.issuer)}"
        return f"{self.signer}, {identity}, trusted root {digest_of(self.trusted_root)[7:19]}"

    @property
    def weakness(self) -> str:
        """The library accepts the kinds of keys of the certificate authority, none of which is weak."""
        return ""

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        """The older form has a promise of the log and no proof, which the library does not accept."""
        by = "by a certificate without a proof of the log" if layer.annotation(CERTIFICATE) else "by a key"
        raise NotBySignerError("unknown", by)

    def envelope(self, message: bytes, signature: bytes) -> None:
        raise NotBySignerError("unknown", "without a proof of the log")

    def bundle(self, opened: SigstoreBundle, message: bytes) -> None:
        if not opened.keyless:
            raise NotBySignerError("unknown", f"by key {opened.hint[:12] or '?'}")
        bundle = self._parse(opened)  # F-11.5
        if opened.is_envelope:
            verified = _guard(lambda: self._verifier(opened, bundle).verify_dsse(bundle, self._policy))
            # The library checked what it parsed itself; that must equal what was parsed here.
            if verified != (opened.payload_type, opened.payload):
                raise NotBySignerError("wrong", "and read differently by two parsers")
        else:
            self._verify_digest(opened, bundle, sha256(message).digest())

    def digest(self, opened: SigstoreBundle, digest: bytes) -> None:
        """A Sigstore bundle over bytes with this SHA-256. Raises NotBySignerError."""
        self._verify_digest(opened, self._parse(opened), digest)

    def _verify_digest(self, opened: SigstoreBundle, bundle: "Bundle", digest: bytes) -> None:
        from sigstore.hashes import Hashed
        from sigstore_models.common.v1 import HashAlgorithm

        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
        _guard(lambda: self._verifier(opened, bundle).verify_artifact(hashed, bundle, self._policy))

    def _verifier(self, opened: SigstoreBundle, bundle: "Bundle") -> "Verifier":
        certificate = bundle.signing_certificate
        signed = Period(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        logged = promised_at(opened.entries, "bundle") or signed
        return _library_verifier(narrow(self.trusted_root, signed, logged, ROOT_NAME))

    def _parse(self, opened: SigstoreBundle) -> "Bundle":
        """The bundle, if its certificate names the signer; the certificate is not verified yet."""
        from sigstore.models import Bundle

        bundle = _guard(lambda: Bundle.from_json(opened.raw))
        try:
            self._policy.verify(bundle.signing_certificate)
        except Exception:  # noqa: BLE001 - the library raises its own errors, and x509's and ASN.1's for odd certificates
            raise NotBySignerError("unknown", "by another identity") from None
        return bundle


def identity_judge(name: str, identity: str, issuer: str, trusted_root: bytes) -> IdentityJudge:
    """The judge of a signer that is an identity.

    Raises MalformedError for a ``trusted_root`` that the library cannot use, RefusedError without the library.
    """
    check_available(identity)
    check_trusted_root(trusted_root, ROOT_NAME)
    from sigstore.verify.policy import AllOf, AnyOf, Identity, OIDCIssuer, OIDCIssuerV2

    try:
        _library_verifier(trusted_root)
    except Exception as error:  # noqa: BLE001 - pydantic, x509, OpenSSL: whatever the file provokes means the same
        raise MalformedError(f"not usable by sigstore: {plain_text(str(error))}", where=ROOT_NAME) from None
    return IdentityJudge(
        signer=name,
        identity=identity,
        issuer=issuer,
        trusted_root=trusted_root,
        # Fulcio writes the issuer in two extensions, of which the first is deprecated.
        _policy=AllOf([Identity(identity=identity), AnyOf([OIDCIssuer(issuer), OIDCIssuerV2(issuer)])]),
    )


def _library_verifier(trusted_root: bytes) -> "Verifier":
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    return Verifier(trusted_root=_in_memory(trusted_root, TrustedRoot.from_file))


def _in_memory(data: bytes, read: Callable[[str], T]) -> T:
    """Let ``read``, which takes the path of a file, read bytes that were hashed, without a file on any disk."""
    descriptor = os.memfd_create("trusted_root.json", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        return read(f"/proc/self/fd/{descriptor}")


def _guard(call: Callable[[], T]) -> T:
    """Turn any error of the library over untrusted bytes into one verdict: not verified."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - besides its own errors pydantic's, ASN.1's, AttributeError (seen)
        raise NotBySignerError("wrong", f"but not verified: {plain_text(str(error))}") from None
