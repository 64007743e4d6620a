"""Read and verify signed bytes: DSSE envelopes, in-toto Statements, Sigstore bundles.

Sources: DSSE v1.0.2 (envelope.md, protocol.md), in-toto attestation Statement v1, Sigstore bundle v0.3
(sigstore_bundle.proto). One signature per Sigstore bundle: stock verifiers refuse more; a threshold is several files.
"""

from typing import Annotated, Final, Generic, Literal, TypeVar

from msgspec import Meta, field

from manifests.trust.keys import Base64, PublicKey, decode_base64
from manifests.words.canonical import Document, parse
from manifests.words.digest import KeyId, MediaType, Text
from manifests.words.errors import MalformedError, UntrustedError

INTOTO: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE = 1 << 20

P = TypeVar("P")
HexDigest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding (protocol.md, "PAE")."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)  # F-5.9


class Sha256(Document, frozen=True, kw_only=True):
    sha256: HexDigest


class Subject(Document, frozen=True, kw_only=True):
    digest: Sha256
    name: Text


class Statement(Document, Generic[P], frozen=True, kw_only=True):
    """An in-toto Statement v1 with exactly one subject."""

    type: Literal["https://in-toto.io/Statement/v1"] = field(name="_type")  # F-5.10
    predicate: P
    predicate_type: Annotated[str, Meta(max_length=200)] = field(name="predicateType")
    subject: Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=1)]


def statement(predicate: P, predicate_type: str, *, name: str, digest: str) -> Statement[P]:
    """A Statement about the one subject ``name`` with ``digest`` (``sha256:…``)."""
    subject = Subject(name=name, digest=Sha256(sha256=digest.removeprefix("sha256:")))
    return Statement(type=STATEMENT, predicate=predicate, predicate_type=predicate_type, subject=(subject,))


class BundleSignature(Document, frozen=True, kw_only=True):
    sig: Base64


class BundleEnvelope(Document, frozen=True, kw_only=True):
    payload: Base64
    payload_type: Literal["application/vnd.in-toto+json"] = field(name="payloadType")  # F-5.8
    signatures: Annotated[tuple[BundleSignature, ...], Meta(min_length=1, max_length=1)]


class KeyHint(Document, frozen=True, kw_only=True):
    hint: Base64


class VerificationMaterial(Document, frozen=True, kw_only=True):
    public_key: KeyHint = field(name="publicKey")
    # Legal proto-JSON may omit it; sigstore's own Python parser then refuses the bundle, so it is always written.
    tlog_entries: Annotated[tuple[str, ...], Meta(max_length=0)] = field(name="tlogEntries")


class SigstoreBundle(Document, frozen=True, kw_only=True):  # F-5.6
    """A key-signed Sigstore bundle v0.3 around one DSSE envelope."""

    envelope: BundleEnvelope = field(name="dsseEnvelope")
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = field(name="mediaType")
    material: VerificationMaterial = field(name="verificationMaterial")


def bundle_hint(data: bytes, what: str) -> str:
    """Return the key id that a Sigstore bundle claims: unverified, only for choosing among pinned keys."""
    parsed = parse(data, SigstoreBundle, what, max_bytes=MAX_BUNDLE)
    return decode_base64(parsed.material.public_key.hint, what).hex()


def bundle_payload(data: bytes, what: str) -> bytes:
    """The payload of a Sigstore bundle in our form, unverified, for showing."""
    return decode_base64(parse(data, SigstoreBundle, what, max_bytes=MAX_BUNDLE).envelope.payload, what)


def verify_statement(data: bytes, key: PublicKey, what: str) -> bytes:
    """The payload of a Sigstore bundle whose hint names ``key`` and whose signature is by ``key``.

    Raises:
        MalformedError: Not a bundle in our form, or its hint names another key.
        UntrustedError: The signature does not match.
    """
    parsed = parse(data, SigstoreBundle, what, max_bytes=MAX_BUNDLE)
    if decode_base64(parsed.material.public_key.hint, what).hex() != key.keyid:  # F-5.7
        raise MalformedError(f"the Sigstore bundle names another key, expected {key.keyid}", where=what)
    payload = decode_base64(parsed.envelope.payload, what)
    key.verify(decode_base64(parsed.envelope.signatures[0].sig, what), pae(INTOTO, payload), what)
    return payload


class KeySignature(Document, frozen=True, kw_only=True):
    keyid: KeyId
    sig: Base64


class Envelope(Document, frozen=True, kw_only=True):
    """A DSSE envelope with several signatures, for documents that only Waybill reads (roots, approvals, …)."""

    payload: Base64
    payload_type: MediaType = field(name="payloadType")
    signatures: Annotated[tuple[KeySignature, ...], Meta(max_length=128)]

    @property
    def payload_bytes(self) -> bytes:
        return decode_base64(self.payload, "payload")


def parse_envelope(data: bytes, payload_type: str, what: str, *, max_bytes: int) -> Envelope:
    """Read an envelope of ``payload_type``; signatures must be sorted by key id, each key once."""
    envelope = parse(data, Envelope, what, max_bytes=max_bytes)
    if envelope.payload_type != payload_type:  # F-5.11
        raise MalformedError(f"payload type is {envelope.payload_type!r}, expected {payload_type!r}", where=what)
    keyids = [one.keyid for one in envelope.signatures]
    if len(set(keyids)) < len(keyids):  # F-5.11
        problem = "a key has signed twice; each key may sign once"
        raise MalformedError(problem, where=what, finding="signature-twice")
    if keyids != sorted(keyids):  # F-5.11
        raise MalformedError("signatures are not sorted by key id", where=what)
    return envelope


def verify_signature(envelope: Envelope, signature: KeySignature, key: PublicKey, what: str) -> None:
    """Raise UntrustedError unless ``signature`` is a signature by ``key`` over the envelope's payload."""
    if signature.keyid != key.keyid:
        raise UntrustedError(f"signature names key {signature.keyid}, expected {key.keyid}", where=what)
    message = pae(envelope.payload_type, envelope.payload_bytes)
    key.verify(decode_base64(signature.sig, what), message, what)
