"""Judge entries of a transparency log beside a signature by a key.

A pinned key needs no log. But when a trusted root names the logs, a wrong entry beside the signature makes the
signature wrong. Sources: RFC 9162, section 2.1.3 (proof of inclusion),
c2sp.org signed notes (checkpoints), Rekor's entry types hashedrekord 0.0.1 and 0.0.2, dsse 0.0.1 and
intoto 0.0.2.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from content.bundle.oci import read_json
from content.sigstore.periods import MAX_TRUSTED_ROOT, Period, moment, read_period
from content.sigstore.sigstore_bundle import as_object, json_object
from manifests.trust.keys import decode_base64, encode_base64
from manifests.words.digest import MAX_INTEGER
from manifests.words.errors import MalformedError, UntrustedError

MAX_ENTRIES = 32
MAX_PATH = 64
REKOR_BUNDLE = "dev.sigstore.cosign/bundle"
LogKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class Log:
    """A log of a trusted root. Attributes: period: when its key was valid."""

    key: LogKey
    period: Period


Logs = Mapping[bytes, Log]  # by log id


@dataclass(frozen=True)
class ExpectedEntry:
    """The signature that a log entry must record.

    Attributes:
        digest: Digest of the signed bytes; of an envelope that is its pre-authentication encoding.
        payload: Of an envelope; empty otherwise.
        spki: DER of the key that signed.
        hash_name: The hash that ``digest`` is of: ``sha256``, ``sha384`` or ``sha512``.
    """

    digest: bytes
    payload: bytes
    signature: bytes
    spki: bytes
    hash_name: str = "sha256"


def read_logs(trusted_root: bytes, what: str) -> Logs:
    """The logs of a ``trusted_root.json`` with keys of a known kind. Raises MalformedError for another document."""
    logs: dict[bytes, Log] = {}
    listed = read_json(trusted_root, max_bytes=MAX_TRUSTED_ROOT, where=what).get("tlogs")
    for entry in listed if isinstance(listed, list) else ():
        log = as_object(entry)
        public = json_object(log, "publicKey")
        raw, period = decode_base64(_text(public, "rawBytes"), what), read_period(public, what)
        log_id = decode_base64(_text(json_object(log, "logId"), "keyId"), what)
        try:
            key = serialization.load_der_public_key(raw)
        except (ValueError, UnsupportedAlgorithm):
            raise MalformedError("the key of a log cannot be read", where=what) from None
        if isinstance(key, LogKey):
            logs[log_id] = Log(key, period)
    return logs


def verify_entries(entries: object, logs: Logs, expected: ExpectedEntry, what: str) -> None:
    """Verify every log entry of a bundle; none is required. Raises MalformedError or UntrustedError."""
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise MalformedError(f"not a list of at most {MAX_ENTRIES} log entries", where=what)
    for entry in entries:
        _verify_entry(as_object(entry), logs, expected, what)


def verify_promise(annotation: str, logs: Logs, expected: ExpectedEntry, what: str) -> None:
    """Verify the log's promise (SET) in an annotation of cosign's older form. Raises as ``verify_entries``."""
    fields = read_json(annotation.encode(), max_bytes=MAX_TRUSTED_ROOT, where=what)
    payload = json_object(fields, "Payload")
    try:
        log_id = bytes.fromhex(_text(payload, "logID"))
    except ValueError:
        raise MalformedError("the log id is not hex", where=what) from None
    body = decode_base64(_text(payload, "body"), what)
    log = _named_log(logs, log_id, what)
    promise = decode_base64(_text(fields, "SignedEntryTimestamp"), what)
    _check_promise(log, promise, body, log_id, payload, what)
    _check_record(body, expected, what)


def _verify_entry(entry: Mapping[str, object], logs: Logs, expected: ExpectedEntry, what: str) -> None:
    """1 the log is known; 2 its promise, if there is one; 3 its proof, if there is one; 4 what was logged."""
    log_id = decode_base64(_text(json_object(entry, "logId"), "keyId"), what)
    log = _named_log(logs, log_id, what)  # 1
    body = decode_base64(_text(entry, "canonicalizedBody"), what)
    promise, proof = json_object(entry, "inclusionPromise"), json_object(entry, "inclusionProof")
    if not promise and not proof:
        raise UntrustedError("the log entry has neither promise nor proof", where=what, finding="log-entry-wrong")
    if promise:  # 2
        signed = decode_base64(_text(promise, "signedEntryTimestamp"), what)
        _check_promise(log, signed, body, log_id, entry, what)
    if proof:  # 3
        _check_proof(log.key, proof, body, what)
    _check_record(body, expected, what)  # 4


def _named_log(logs: Logs, log_id: bytes, what: str) -> Log:
    if log_id not in logs:
        problem = f"the entry is of log {log_id.hex()[:12]}, which the trusted root does not name"
        raise UntrustedError(problem, where=what, finding="log-unknown")
    return logs[log_id]


def _check_promise(
    log: Log, promise: bytes, body: bytes, log_id: bytes, fields: Mapping[str, object], what: str
) -> None:
    """The log signs the record with the time and the index of ``fields``; its key must have been valid at that time."""
    numbers = {name: _number(fields, name) for name in ("integratedTime", "logIndex")}
    promised = {"body": encode_base64(body), "logID": log_id.hex(), **numbers}
    message = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
    _signed_by(log.key, promise, message, "promise", what)
    at = moment(_time(numbers["integratedTime"], what))
    if not log.period.overlaps(at):
        raise _wrong(f"it was promised at {at}, and the key of the log was valid {log.period}", what)


def promised_at(entries: object, what: str) -> Period | None:
    """The time that the log of the only entry promises, not verified; None for an entry without a promise."""
    only = as_object(entries[0]) if isinstance(entries, list) and len(entries) == 1 else {}
    return moment(_time(_number(only, "integratedTime"), what)) if json_object(only, "inclusionPromise") else None


def _time(seconds: int, what: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedError("integratedTime is not a time", where=what) from None


def _check_proof(key: LogKey, proof: Mapping[str, object], body: bytes, what: str) -> None:
    size, index = _number(proof, "treeSize"), _number(proof, "logIndex")
    path = proof.get("hashes", [])
    if not isinstance(path, list) or len(path) > MAX_PATH:
        raise MalformedError(f"not a path of at most {MAX_PATH} hashes", where=what)
    steps = [decode_base64(step, what) if isinstance(step, str) else b"" for step in path]
    root = _root_of_path(hashlib.sha256(b"\0" + body).digest(), index, size, steps, what)
    if root != decode_base64(_text(proof, "rootHash"), what):
        raise _wrong("the proof leads to another root", what)
    note = _text(json_object(proof, "checkpoint"), "envelope")
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


def _root_of_path(leaf: bytes, index: int, size: int, path: list[bytes], what: str) -> bytes:
    """RFC 9162, section 2.1.3.2: from the leaf up."""
    if index >= size:
        raise _wrong("the entry is beyond the tree", what)
    node, fn, sn = leaf, index, size - 1
    for step in path:
        if sn == 0:
            raise _wrong("the proof is too long", what)
        if fn & 1 or fn == sn:
            node = hashlib.sha256(b"\1" + step + node).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = hashlib.sha256(b"\1" + node + step).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise _wrong("the proof is too short", what)
    return node


def _check_record(body: bytes, expected: ExpectedEntry, what: str) -> None:
    """Check that the entry records this signature by this key over this message (CVE-2022-36056)."""
    fields = read_json(body, max_bytes=MAX_TRUSTED_ROOT, where=what)
    spec = json_object(fields, "spec")
    signature = encode_base64(expected.signature)
    kind = (fields.get("kind"), fields.get("apiVersion"))
    if kind == ("hashedrekord", "0.0.1"):
        hashed, logged = json_object(json_object(spec, "data"), "hash"), json_object(spec, "signature")
        logged_values = (hashed.get("algorithm"), hashed.get("value"), logged.get("content"))
        wanted = (expected.hash_name, expected.digest.hex(), signature)
        spki = _pem_spki(_text(json_object(logged, "publicKey"), "content"), what)
    elif kind == ("dsse", "0.0.1"):
        hashed = json_object(spec, "payloadHash")
        signatures = spec.get("signatures")
        only = as_object(signatures[0]) if isinstance(signatures, list) and len(signatures) == 1 else {}
        logged_values = (hashed.get("algorithm"), hashed.get("value"), only.get("signature"))
        wanted = ("sha256", hashlib.sha256(expected.payload).hexdigest(), signature)
        spki = _pem_spki(_text(only, "verifier"), what)
    elif kind == ("intoto", "0.0.2"):
        content = json_object(spec, "content")
        hashed = json_object(content, "payloadHash")
        signatures = json_object(content, "envelope").get("signatures")
        only = as_object(signatures[0]) if isinstance(signatures, list) and len(signatures) == 1 else {}
        # This kind encodes the signature twice. Its `hash` is of an envelope whose spelling nobody keeps.
        twice = decode_base64(_text(only, "sig"), what).decode("latin-1")
        logged_values = (hashed.get("algorithm"), hashed.get("value"), twice)
        wanted = ("sha256", hashlib.sha256(expected.payload).hexdigest(), signature)
        spki = _pem_spki(_text(only, "publicKey"), what)
    elif kind == ("hashedrekord", "0.0.2"):
        record = json_object(spec, "hashedRekordV002")
        data, logged = json_object(record, "data"), json_object(record, "signature")
        logged_values = (data.get("algorithm"), data.get("digest"), logged.get("content"))
        wanted = (f"SHA2_{expected.hash_name.removeprefix('sha')}", encode_base64(expected.digest), signature)
        spki = decode_base64(_text(json_object(json_object(logged, "verifier"), "publicKey"), "rawBytes"), what)
    else:
        raise UntrustedError(f"the log entry is of an unknown kind {kind[0]} {kind[1]}", where=what)
    if logged_values != wanted or spki != expected.spki:
        raise _wrong("it records another signature", what)


def _pem_spki(text: str, what: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(decode_base64(text, what))
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedError("the log entry names no key", where=what) from None
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
