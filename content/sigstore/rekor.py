"""Judge entries of a transparency log beside a signature by a key.

A pinned key needs no log. But an entry that is there is part of what was handed over: when a trusted root says whose it
must be, one that does not hold makes the signature wrong. Sources: RFC 9162, section 2.1.3 (proof of inclusion),
c2sp.org signed notes (checkpoints), Rekor's entry types hashedrekord 0.0.1 and 0.0.2 and dsse 0.0.1.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from content.bundle.oci import read_json
from manifests.trust.keys import decode_base64, encode_base64
from manifests.words.digest import MAX_INTEGER
from manifests.words.errors import MalformedError, UntrustedError

MAX_TRUSTED_ROOT = 1 << 20
MAX_ENTRIES = 32
MAX_PATH = 64
REKOR_BUNDLE = "dev.sigstore.cosign/bundle"


LogKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Logs = Mapping[bytes, LogKey]  # by log id


@dataclass(frozen=True)
class ExpectedEntry:
    """What an entry must be about.

    Attributes:
        digest: SHA-256 of the bytes that were signed; of an envelope those are its pre-authentication encoding.
        payload: Of an envelope; empty otherwise.
        spki: DER of the key that signed.
    """

    digest: bytes
    payload: bytes
    signature: bytes
    spki: bytes


def read_logs(trusted_root: bytes, what: str) -> Logs:
    """The logs that a ``trusted_root.json`` names; those with keys of other kinds are left out.

    Raises:
        MalformedError: Not one.
    """
    found: dict[bytes, LogKey] = {}
    listed = read_json(trusted_root, max_bytes=MAX_TRUSTED_ROOT, where=what).get("tlogs")
    for one in listed if isinstance(listed, list) else ():
        fields = {"": one}
        raw = decode_base64(_text(_object(_object(fields, ""), "publicKey"), "rawBytes"), what)
        log_id = decode_base64(_text(_object(_object(fields, ""), "logId"), "keyId"), what)
        try:
            key = serialization.load_der_public_key(raw)
        except (ValueError, UnsupportedAlgorithm):
            raise MalformedError("the key of a log is no key", where=what) from None
        if isinstance(key, LogKey):
            found[log_id] = key
    return found


def verify_entries(entries: object, logs: Logs, about: ExpectedEntry, what: str) -> None:
    """Every entry of a bundle, none of which has to be there.

    Raises:
        MalformedError, UntrustedError: One of them does not hold.
    """
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise MalformedError(f"not a list of at most {MAX_ENTRIES} log entries", where=what)
    for one in entries:
        _verify_entry(_object({"": one}, ""), logs, about, what)


def verify_promise(annotation: str, logs: Logs, about: ExpectedEntry, what: str) -> None:
    """The signed promise of the log (SET) that cosign's older form keeps in an annotation.

    Raises:
        MalformedError, UntrustedError: It does not hold.
    """
    fields = read_json(annotation.encode(), max_bytes=MAX_TRUSTED_ROOT, where=what)
    said = _object(fields, "Payload")
    try:
        log_id = bytes.fromhex(_text(said, "logID"))
    except ValueError:
        raise MalformedError("the id of a log is not hex", where=what) from None
    body = decode_base64(_text(said, "body"), what)
    key = _log(logs, log_id, what)
    promise = decode_base64(_text(fields, "SignedEntryTimestamp"), what)
    _promise(key, promise, body, _number(said, "integratedTime"), log_id, _number(said, "logIndex"), what)
    _about(body, about, what)


def _verify_entry(entry: Mapping[str, object], logs: Logs, about: ExpectedEntry, what: str) -> None:
    """1 a log that is named; 2 its promise, when it is there; 3 its proof, when it is there; 4 what was logged."""
    log_id = decode_base64(_text(_object(entry, "logId"), "keyId"), what)
    key = _log(logs, log_id, what)  # 1
    body = decode_base64(_text(entry, "canonicalizedBody"), what)
    promise, proof = _object(entry, "inclusionPromise"), _object(entry, "inclusionProof")
    if not promise and not proof:
        raise UntrustedError("a log entry without promise or proof", where=what, finding="log-entry-wrong")
    if promise:  # 2
        signed = decode_base64(_text(promise, "signedEntryTimestamp"), what)
        _promise(key, signed, body, _number(entry, "integratedTime"), log_id, _number(entry, "logIndex"), what)
    if proof:  # 3
        _proof(key, proof, body, what)
    _about(body, about, what)  # 4


def _log(logs: Logs, log_id: bytes, what: str) -> LogKey:
    if log_id not in logs:
        raise UntrustedError(
            f"an entry of log {log_id.hex()[:12]}, which the trusted root does not name",
            where=what,
            finding="log-unknown",
        )
    return logs[log_id]


def _promise(key: LogKey, signed: bytes, body: bytes, at: int, log_id: bytes, index: int, what: str) -> None:
    promised = {"body": encode_base64(body), "integratedTime": at, "logID": log_id.hex(), "logIndex": index}
    _signed_by(key, signed, json.dumps(promised, sort_keys=True, separators=(",", ":")).encode(), "promise", what)


def _proof(key: LogKey, proof: Mapping[str, object], body: bytes, what: str) -> None:
    size, index = _number(proof, "treeSize"), _number(proof, "logIndex")
    path = proof.get("hashes", [])
    if not isinstance(path, list) or len(path) > MAX_PATH:
        raise MalformedError(f"not a path of at most {MAX_PATH} hashes", where=what)
    steps = [decode_base64(one, what) if isinstance(one, str) else b"" for one in path]
    root = _root(hashlib.sha256(b"\0" + body).digest(), index, size, steps, what)
    if root != decode_base64(_text(proof, "rootHash"), what):
        raise _wrong("the proof leads to another root", what)
    note = _text(_object(proof, "checkpoint"), "envelope")
    text, blank, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3 or lines[1] != str(size) or decode_base64(lines[2], what) != root:
        raise _wrong("the checkpoint is of another tree", what)
    for line in signatures.splitlines()[:MAX_ENTRIES]:
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\N{EM DASH}":
            raise MalformedError("the checkpoint is no signed note", where=what)
        try:
            _signed_by(key, decode_base64(words[2], what)[4:], f"{text}\n".encode(), "checkpoint", what)
        except UntrustedError:
            continue
        return
    raise _wrong("the checkpoint is not signed by the log", what)


def _root(leaf: bytes, index: int, size: int, path: list[bytes], what: str) -> bytes:
    """RFC 9162, section 2.1.3.2: from the leaf up."""
    if index >= size:
        raise _wrong("the entry is beyond the tree", what)
    found, fn, sn = leaf, index, size - 1
    for step in path:
        if sn == 0:
            raise _wrong("the proof is too long", what)
        if fn & 1 or fn == sn:
            found = hashlib.sha256(b"\1" + step + found).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = hashlib.sha256(b"\1" + found + step).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise _wrong("the proof is too short", what)
    return found


def _about(body: bytes, about: ExpectedEntry, what: str) -> None:
    """What was logged is this signature by this key over this message (the lesson of CVE-2022-36056)."""
    fields = read_json(body, max_bytes=MAX_TRUSTED_ROOT, where=what)
    spec = _object(fields, "spec")
    signature = encode_base64(about.signature)
    kind = (fields.get("kind"), fields.get("apiVersion"))
    if kind == ("hashedrekord", "0.0.1"):
        hashed, logged = _object(_object(spec, "data"), "hash"), _object(spec, "signature")
        found = (hashed.get("algorithm"), hashed.get("value"), logged.get("content"))
        wanted = ("sha256", about.digest.hex(), signature)
        spki = _pem_spki(_text(_object(logged, "publicKey"), "content"), what)
    elif kind == ("dsse", "0.0.1"):
        hashed = _object(spec, "payloadHash")
        signatures = spec.get("signatures")
        one = _object({"": signatures[0]}, "") if isinstance(signatures, list) and len(signatures) == 1 else {}
        found = (hashed.get("algorithm"), hashed.get("value"), one.get("signature"))
        wanted = ("sha256", hashlib.sha256(about.payload).hexdigest(), signature)
        spki = _pem_spki(_text(one, "verifier"), what)
    elif kind == ("hashedrekord", "0.0.2"):
        record = _object(spec, "hashedRekordV002")
        data, logged = _object(record, "data"), _object(record, "signature")
        found = (data.get("algorithm"), data.get("digest"), logged.get("content"))
        wanted = ("SHA2_256", encode_base64(about.digest), signature)
        spki = decode_base64(_text(_object(_object(logged, "verifier"), "publicKey"), "rawBytes"), what)
    else:
        raise UntrustedError(f"a log entry of kind {kind[0]} {kind[1]}, not known here", where=what)
    if found != wanted or spki != about.spki:
        raise _wrong("what was logged is another signature", what)


def _pem_spki(text: str, what: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(decode_base64(text, what))
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("what was logged names no key", where=what) from None
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _signed_by(key: LogKey, signature: bytes, message: bytes, name: str, what: str) -> None:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, message)
    except InvalidSignature:
        raise _wrong(f"the {name} is not signed by the log", what) from None


def _wrong(problem: str, what: str) -> UntrustedError:
    return UntrustedError(f"log entry: {problem}", where=what, finding="log-entry-wrong")


def _object(fields: Mapping[str, object], key: str) -> dict[str, object]:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise MalformedError(f"{key} is missing", where="log entry")
    return value


def _number(fields: Mapping[str, object], key: str) -> int:
    """Proto-JSON writes 64-bit numbers as text, and leaves zero out; cosign's annotation writes them as numbers."""
    value = fields.get(key, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise MalformedError(f"{key} is not a number", where="log entry")
    return value
