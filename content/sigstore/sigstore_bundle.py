"""Parse Sigstore bundles within bounds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from content.bundle.oci import read_json
from manifests.trust.envelope import BUNDLE
from manifests.trust.keys import decode_base64
from manifests.words.errors import MalformedError

BUNDLES = (BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
MAX_SIGNED = 4 << 20  # an attestation may hold a whole SBOM


@dataclass(frozen=True)
class SigstoreBundle:
    """A Sigstore bundle, parsed strictly and not verified.

    Attributes:
        raw: The bytes in the image; a judge verifies these.
        hint: Key id that it claims, or empty.
        certificate: DER of the certificate that it brings instead, or empty.
        payload_type: Of the DSSE envelope; empty, like ``payload``, for a signature over the manifest itself.
        digest: SHA-256 that a signature over the manifest claims to be about, 32 bytes, or empty.
        entries: Of transparency logs, as they are; usually a list.
    """

    raw: bytes
    hint: str
    certificate: bytes
    payload_type: str
    payload: bytes
    digest: bytes
    signature: bytes
    entries: object = ()

    @property
    def keyless(self) -> bool:
        return bool(self.certificate)

    @property
    def is_envelope(self) -> bool:
        return bool(self.payload_type)


def parse_sigstore_bundle(data: bytes, media_types: tuple[str, ...] = BUNDLES) -> SigstoreBundle:
    """Parse a Sigstore bundle v0.3 strictly: no duplicate key, exactly one content, exactly one signature.

    ``media_types`` are the accepted versions; before 0.3 a certificate came with its chain. Raises MalformedError.
    """
    fields = read_json(data, max_bytes=MAX_SIGNED, where="bundle")
    if fields.get("mediaType") not in media_types:
        raise MalformedError(f"media type is {plain_text(fields.get('mediaType'))}", where="bundle")
    material = json_object(fields, "verificationMaterial")
    hint = json_object(material, "publicKey").get("hint", "")
    certificate = _certificate(material)
    if ("publicKey" in material) == bool(certificate) or not isinstance(hint, str):
        raise MalformedError("neither a key nor a certificate, or both", where="bundle")
    if ("dsseEnvelope" in fields) == ("messageSignature" in fields):
        raise MalformedError("neither an envelope nor a signature, or both", where="bundle")
    # The hint is opaque text to the specification; cosign writes the digest of the key.
    try:
        claimed = decode_base64(hint, "hint").hex()
    except MalformedError:
        claimed = ""
    payload_type, payload, digest = "", b"", b""
    if "dsseEnvelope" in fields:
        envelope = json_object(fields, "dsseEnvelope")
        signatures = envelope.get("signatures")
        if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
            raise MalformedError("an envelope has exactly one signature", where="bundle")
        payload_type = text_field(envelope, "payloadType")
        payload = decode_base64(text_field(envelope, "payload"), "payload")
        signature = text_field(signatures[0], "sig")
    else:
        message = json_object(fields, "messageSignature")
        about = json_object(message, "messageDigest")
        if about.get("algorithm") != "SHA2_256":
            raise MalformedError(f"digest is {plain_text(about.get('algorithm'))}, expected SHA2_256", where="bundle")
        digest = decode_base64(text_field(about, "digest"), "digest")
        signature = text_field(message, "signature")
    return SigstoreBundle(
        raw=data,
        hint=claimed,
        certificate=certificate,
        payload_type=payload_type,
        payload=payload,
        digest=digest,
        signature=decode_base64(signature, "signature"),
        entries=material.get("tlogEntries", []),
    )


def _certificate(material: Mapping[str, object]) -> bytes:
    chain = json_object(material, "x509CertificateChain").get("certificates")
    certificate = chain[0] if isinstance(chain, list) and chain else material.get("certificate")
    raw = certificate.get("rawBytes") if isinstance(certificate, dict) else None
    return decode_base64(raw, "certificate") if isinstance(raw, str) else b""


def json_object(fields: Mapping[str, object], key: str) -> dict[str, object]:
    """The object under ``key``, or an empty one, which matches nothing."""
    return as_object(fields.get(key))


def as_object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def text_field(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{key} is missing", where="bundle")
    return value


def plain_text(value: object) -> str:
    """Text of others in a finding: at most 160 characters, one line, no control characters."""
    if not isinstance(value, str) or not value:
        return "?"
    text = value if value.isascii() and value.isprintable() else json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "..."
