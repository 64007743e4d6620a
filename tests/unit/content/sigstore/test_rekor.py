"""Entries of a log beside signatures by a key: where a trusted root names the log, they must hold."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes

from content.sigstore.rekor import REKOR_BUNDLE, ExpectedEntry, read_logs, verify_entries
from manifests.documents.release import Image, ImageSigner, Release
from manifests.trust.envelope import INTOTO, pae
from manifests.trust.root import Root
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import MalformedError, UntrustedError
from tests.images import simple_signing
from tests.keyless import Sigstore, spki
from tests.signed_images import (
    CI,
    OTHER,
    P384,
    Hanging,
    OtherWay,
    SignedVendor,
    b64,
    dump,
    envelope_bundle,
    key_material,
    message_bundle,
    pem,
    record,
    sign,
    statement,
)
from tests.vectors.surgery import request
from verifier.trust.bundle import verify_path
from verifier.trust.findings import refusal

NOW = datetime(2026, 1, 3, tzinfo=UTC)
FIRST, SECOND = Sigstore(), Sigstore(rekor=2)
Entry = dict[str, Any]


@dataclass(frozen=True)
class LoggedVendor(SignedVendor):
    """A vendor whose images are signed by a key and whose root pins the logs that may have recorded it."""

    trusted: bytes = field(default_factory=FIRST.trusted_root)
    logs: bool = True

    def root(self) -> Root:
        return msgspec.structs.replace(super().root(), sigstore=(digest_of(self.trusted),))

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        found, index, images = super().blobs()
        return ({**found, digest_of(self.trusted): self.trusted} if self.logs else found), index, images

    def release(self) -> tuple[Release, dict[str, bytes], bytes]:
        blob = Blob(digest=digest_of(self.trusted), size=len(self.trusted))
        more = {"sigstore": blob} if self.logs else {}
        return SignedVendor.release(self.but(change={**self.change, **more}))  # type: ignore[arg-type]  # a Vendor's


def verdict(hang: Callable[[Hanging], None], folder: Path, **fields: Any) -> str:
    vendor = LoggedVendor(hang=hang, **fields)
    found = verify_path(vendor.write(folder / "small.tar"), request(vendor.pin(), now=NOW))
    error = refusal(found.findings)
    return "ok" if error is None else f"{error.finding}: {error.problem}"


def logged_statement(
    on: Hanging, sigstore: Sigstore = FIRST, change: Callable[[Entry], object] = lambda _: None
) -> bytes:
    """A bundle as `cosign sign --key` makes it while it still asks the log."""
    bundle = json.loads(envelope_bundle(CI, statement(on.digest)))
    payload = statement(on.digest)
    signature = sign(CI, pae(INTOTO, payload))
    if sigstore.rekor == 1:
        spec = {
            "payloadHash": {"algorithm": "sha256", "value": digest_of(payload)[7:]},
            "signatures": [{"signature": b64(signature), "verifier": b64(pem(CI))}],
        }
        entry: Entry = sigstore.log("dsse", dump({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}))
    else:
        entry = sigstore.record_key(CI, pae(INTOTO, payload), signature)
    change(entry)
    bundle["verificationMaterial"]["tlogEntries"] = [entry]
    return dump(bundle)


def logged_intoto(on: Hanging, change: Callable[[Entry], object] = lambda _: None) -> bytes:
    """A bundle with an entry of the kind that older programs wrote for statements; the signature is encoded twice."""
    bundle = json.loads(envelope_bundle(CI, statement(on.digest)))
    payload = statement(on.digest)
    signature = {"sig": b64(b64(sign(CI, pae(INTOTO, payload))).encode()), "publicKey": b64(pem(CI))}
    content: Entry = {
        "envelope": {"payloadType": INTOTO, "signatures": [signature]},
        "hash": {"algorithm": "sha256", "value": "0" * 64},
        "payloadHash": {"algorithm": "sha256", "value": digest_of(payload)[7:]},
    }
    change(content)
    body = dump({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}})
    bundle["verificationMaterial"]["tlogEntries"] = [FIRST.log("intoto", body)]
    return dump(bundle)


def _intoto_of(name: str, value: object) -> Callable[[Hanging], None]:
    """The same with another field in its one signature."""
    return lambda on: on.refer(
        logged_intoto(on, lambda content: content["envelope"]["signatures"][0].update({name: value}))
    )


def logged_message(on: Hanging, sigstore: Sigstore = FIRST) -> bytes:
    entry = sigstore.record_key(CI, on.manifest, sign(CI, on.manifest))
    return message_bundle(CI, on.manifest, verificationMaterial={**key_material(CI), "tlogEntries": [entry]})


def promise_of(payload: bytes, sigstore: Sigstore = FIRST, signature: bytes = b"") -> Entry:
    """What cosign's older form keeps of the log."""
    entry: Entry = sigstore.record_key(CI, payload, signature or sign(CI, payload))
    said = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logIndex": 0,
        "logID": hashlib.sha256(spki(sigstore.rekor_key)).hexdigest(),
    }
    return {"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"], "Payload": said}


def older_form(on: Hanging, make: Callable[[bytes], Entry] = promise_of) -> None:
    payload = simple_signing(on.digest)
    on.simple((payload, sign(CI, payload)), **{REKOR_BUNDLE: json.dumps(make(payload))})


GOOD: dict[str, Callable[[Hanging], None]] = {
    "no entry": lambda on: on.refer(envelope_bundle(CI, statement(on.digest))),
    "envelope in Rekor 1": lambda on: on.refer(logged_statement(on)),
    "envelope in Rekor 2": lambda on: on.refer(logged_statement(on, SECOND)),
    "envelope in an entry of in-toto": lambda on: on.refer(logged_intoto(on)),
    "message in Rekor 1": lambda on: on.refer(logged_message(on)),
    "message in Rekor 2": lambda on: on.refer(logged_message(on, SECOND)),
    "older form without promise": lambda on: on.signed(CI),
    "older form with promise": older_form,
    "promise alone": lambda on: on.refer(logged_statement(on, change=lambda one: one.pop("inclusionProof"))),
    "proof alone": lambda on: on.refer(logged_statement(on, change=lambda one: one.pop("inclusionPromise"))),
}


# F-11.9
@pytest.mark.parametrize("case", GOOD)
def test_an_entry_that_holds(case: str, tmp_path: Path) -> None:
    assert verdict(GOOD[case], tmp_path) == "ok"


@pytest.mark.parametrize("sigstore", [FIRST, SECOND], ids=["Rekor 1", "Rekor 2"])
@pytest.mark.parametrize(("hash_name", "right"), [("sha384", "ok"), ("sha256", "image-signature-wrong")])
def test_an_entry_records_the_hash_that_was_signed(
    sigstore: Sigstore, hash_name: str, right: str, tmp_path: Path
) -> None:
    key = OtherWay(P384, hashes.SHA384())

    def hang(on: Hanging) -> None:
        data = json.loads(envelope_bundle(key, statement(on.digest)))
        message = pae(INTOTO, statement(on.digest))
        entry = sigstore.record_key(P384, message, sign(key, message), hash_name)
        data["verificationMaterial"]["tlogEntries"] = [entry]
        on.refer(dump(data))

    assert verdict(hang, tmp_path, signer=ImageSigner(key=record(key))).startswith(right)


def _flip(fields: Entry, name: str) -> None:
    fields[name] = ("B" if fields[name][20] != "B" else "C").join((fields[name][:20], fields[name][21:]))


def _entry(change: Callable[[Entry], object], sigstore: Sigstore = FIRST) -> Callable[[Hanging], None]:
    return lambda on: on.refer(logged_statement(on, sigstore, change))


WRONG: dict[str, tuple[Callable[[Hanging], None], str]] = {
    "another log": (lambda on: on.refer(logged_statement(on, FIRST.other())), "trusted root does not name"),
    "another signature in an entry of in-toto": (
        _intoto_of("sig", b64(b64(sign(CI, b"something else")).encode())),
        "another signature",
    ),
    "another key in an entry of in-toto": (_intoto_of("publicKey", b64(pem(OTHER))), "another signature"),
    "another payload in an entry of in-toto": (
        lambda on: on.refer(logged_intoto(on, lambda content: content["payloadHash"].update(value="0" * 64))),
        "another signature",
    ),
    "two signatures in an entry of in-toto": (
        lambda on: on.refer(
            logged_intoto(
                on, lambda content: content["envelope"].update(signatures=content["envelope"]["signatures"] * 2)
            )
        ),
        "",
    ),
    "another log, older form": (
        lambda on: older_form(on, lambda payload: promise_of(payload, FIRST.other())),
        "trusted root does not name",
    ),
    "promise": (_entry(lambda one: _flip(one["inclusionPromise"], "signedEntryTimestamp")), "promise is not signed"),
    "promised time": (_entry(lambda one: one.update(integratedTime="1")), "promise is not signed"),
    "promise, older form": (
        lambda on: older_form(on, lambda payload: {**promise_of(payload), "SignedEntryTimestamp": b64(b"x" * 70)}),
        "promise is not signed",
    ),
    "promise over another payload": (
        lambda on: older_form(on, lambda payload: promise_of(payload + b" ")),
        "it records another signature",
    ),
    "neither": (
        _entry(lambda one: (one.pop("inclusionPromise"), one.pop("inclusionProof"))),
        "neither promise nor proof",
    ),
    "root of the tree": (_entry(lambda one: one["inclusionProof"].update(rootHash=b64(bytes(32)))), "another root"),
    "place in the tree": (_entry(lambda one: one["inclusionProof"].update(logIndex="1")), "beyond the tree"),
    "too long a path": (_entry(lambda one: one["inclusionProof"].update(hashes=[b64(bytes(32))])), "too long"),
    "size of the tree": (_entry(lambda one: one["inclusionProof"].update(treeSize="2")), "too short"),
    "checkpoint of another log": (
        _entry(
            lambda one: one["inclusionProof"]["checkpoint"].update(
                envelope=FIRST.other().note(1, hashlib.sha256(b"\0" + _body(one)).digest())
            )
        ),
        "checkpoint is not signed",
    ),
    "checkpoint of another tree": (
        _entry(lambda one: one["inclusionProof"]["checkpoint"].update(envelope=FIRST.note(1, bytes(32)))),
        "another tree",
    ),
    "another signature": (
        lambda on: on.refer(_with_entry(on, FIRST.record_key(CI, b"x", sign(CI, b"x")))),
        "another signature",
    ),
    "another key": (
        lambda on: on.refer(_with_entry(on, FIRST.record_key(OTHER, *_about(on)))),
        "another signature",
    ),
    "another key, Rekor 2": (
        lambda on: on.refer(_with_entry(on, SECOND.record_key(OTHER, *_about(on)))),
        "another signature",
    ),
    "a kind that nobody knows": (
        lambda on: on.refer(_with_entry(on, FIRST.log("rpm", b'{"apiVersion":"0.0.1","kind":"rpm","spec":{}}'))),
        "of an unknown kind",
    ),
    "no entry at all": (lambda on: on.refer(_with_entry(on, {})), "is missing"),
    "text for an entry": (lambda on: on.refer(_with_entry(on, "x")), "is missing"),
}


def _body(entry: Entry) -> bytes:
    return base64.b64decode(entry["canonicalizedBody"])


def _about(on: Hanging) -> tuple[bytes, bytes]:
    message = pae(INTOTO, statement(on.digest))
    return message, sign(CI, message)


def _with_entry(on: Hanging, entry: object) -> bytes:
    bundle = json.loads(envelope_bundle(CI, statement(on.digest)))
    bundle["verificationMaterial"]["tlogEntries"] = [entry]
    return dump(bundle)


@pytest.mark.parametrize("case", WRONG)
def test_an_entry_that_does_not_hold(case: str, tmp_path: Path) -> None:
    hang, text = WRONG[case]
    found = verdict(hang, tmp_path)
    assert found.startswith("image-signature-wrong: ")
    assert text in found


def test_without_a_trusted_root_nobody_says_whose_log_it_is(tmp_path: Path) -> None:
    assert verdict(WRONG["promise"][0], tmp_path, logs=False) == "ok"


@pytest.mark.parametrize("size", range(1, 18))
def test_proofs_of_every_shape(size: int) -> None:
    """Each leaf of small trees by its path; no other place, no other leaf."""
    message = b"message"
    signature = sign(CI, message)
    entry = FIRST.record_key(CI, message, signature)
    body = _body(entry)
    logs = read_logs(FIRST.trusted_root(), "test")
    about = ExpectedEntry(hashlib.sha256(message).digest(), b"", signature, spki(CI))
    for index in range(size):
        leaves = [hashlib.sha256(b"\0" + (body if n == index else bytes([n]))).digest() for n in range(size)]
        root, path = _tree(leaves), _path(index, leaves)
        proof = {
            "logIndex": str(index),
            "treeSize": str(size),
            "rootHash": b64(root),
            "hashes": [b64(one) for one in path],
            "checkpoint": {"envelope": FIRST.note(size, root)},
        }
        whole = {**{key: entry[key] for key in ("logId", "canonicalizedBody")}, "inclusionProof": proof}
        verify_entries([whole], logs, about, "test")
        for other in {*range(size), size} - {index}:
            with pytest.raises(UntrustedError):
                verify_entries([{**whole, "inclusionProof": {**proof, "logIndex": str(other)}}], logs, about, "test")


def _tree(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, as it is written."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _tree(leaves[:k]) + _tree(leaves[k:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, section 2.1.3.1, as it is written."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return [*_path(index, leaves[:k]), _tree(leaves[k:])]
    return [*_path(index - k, leaves[k:]), _tree(leaves[:k])]


@pytest.mark.parametrize("entries", [None, "x", {}, [{}] * 33], ids=["none", "text", "object", "many"])
def test_what_is_no_list_of_entries(entries: object) -> None:
    with pytest.raises(MalformedError):
        verify_entries(entries, {}, ExpectedEntry(b"", b"", b"", b""), "test")
