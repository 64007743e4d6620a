"""Sign payloads: make DSSE envelopes and Sigstore bundles, add signatures, and encode what the root role signs."""

from manifests.trust.envelope import (
    BUNDLE,
    INTOTO,
    BundleEnvelope,
    BundleSignature,
    Envelope,
    KeyHint,
    KeySignature,
    P,
    SigstoreBundle,
    Statement,
    VerificationMaterial,
    pae,
)
from manifests.trust.keys import PublicKey, encode_base64
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import Revocations, check_revocations
from manifests.trust.root import Root, check_root
from manifests.words.canonical import encode


def sign_statement(value: Statement[P], signer: Signer) -> bytes:
    """The canonical Sigstore bundle of ``value`` signed by ``signer``."""
    payload = encode(value)
    return wrap_signature(payload, signer.sign(pae(INTOTO, payload)), signer.public)


def wrap_signature(payload: bytes, signature: bytes, key: PublicKey) -> bytes:
    return join_bundle(payload, signature, key.keyid)


def join_bundle(payload: bytes, signature: bytes, keyid: str) -> bytes:
    """Return the Sigstore bundle with these three parts, unverified."""
    hint = encode_base64(bytes.fromhex(keyid))
    sigs = (BundleSignature(sig=encode_base64(signature)),)
    envelope = BundleEnvelope(payload=encode_base64(payload), payload_type=INTOTO, signatures=sigs)
    material = VerificationMaterial(public_key=KeyHint(hint=hint), tlog_entries=())
    return encode(SigstoreBundle(envelope=envelope, media_type=BUNDLE, material=material))


def seal(payload: bytes, payload_type: str, signers: tuple[Signer, ...]) -> bytes:
    """A new envelope with one signature per signer (possibly none)."""
    envelope = Envelope(payload=encode_base64(payload), payload_type=payload_type, signatures=())
    return add_signatures(envelope, signers)


def add_signatures(envelope: Envelope, signers: tuple[Signer, ...]) -> bytes:
    """The envelope's bytes with the signers' signatures added or replaced."""
    sigs = {one.keyid: one for one in envelope.signatures}
    message = pae(envelope.payload_type, envelope.payload_bytes)
    for signer in signers:
        keyid = signer.public.keyid
        sigs[keyid] = KeySignature(keyid=keyid, sig=encode_base64(signer.sign(message)))
    ordered = tuple(sigs[keyid] for keyid in sorted(sigs))
    return encode(Envelope(payload=envelope.payload, payload_type=envelope.payload_type, signatures=ordered))


def encode_root(root: Root) -> bytes:
    check_root(root, f"root {root.version}")
    return encode(root)


def encode_revocations(revocations: Revocations) -> bytes:
    check_revocations(revocations, f"revocation list {revocations.version}")
    return encode(revocations)
