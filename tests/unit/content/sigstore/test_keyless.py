"""Images signed by identities: judged offline against a private Sigstore, whose root the vendor's root pins."""

import base64
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from content.sigstore import keyless
from content.sigstore.judge import CERTIFICATE
from content.sigstore.keyless import check_trusted_root, identity_judge
from content.sigstore.signatures import PROVENANCE_V1
from manifests.documents.release_reader import check_release
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError
from tests.images import simple_signing
from tests.keyless import AT, IDENTITY, ISSUER, KeylessVendor, Sigstore
from tests.signed_images import CI, Hanging, SignedVendor, b64, dump, envelope_bundle, provenance, sign, statement
from tests.timestamps import Authority
from tests.vectors.surgery import request
from tests.vendor import Vendor
from verifier.trust.bundle import VerifiedBundle, verify_path, verify_pipe
from verifier.trust.findings import refusal

pytest.importorskip("sigstore", reason="sigstore is not installed")

NOW = datetime(2000, 1, 1, tzinfo=UTC)  # a host without a clock: time comes from the log
ROOT_DIR = Path(__file__).parents[4]
PRIVATE = Sigstore()
STRANGE = PRIVATE.other()
Hang = Callable[[Hanging], None]


def verify(vendor: SignedVendor, folder: Path) -> VerifiedBundle:
    """The verdict over a file, which a pipe must share to the letter."""
    data = vendor.bundle()
    path = folder / "small.tar"
    path.write_bytes(data)
    found = verify_path(path, request(vendor.pin(), now=NOW))
    piped = verify_pipe(io.BytesIO(data), request(vendor.pin(), now=NOW))
    assert [(one.id, one.level, one.text) for one in piped.findings] == [
        (one.id, one.level, one.text) for one in found.findings
    ]
    return found


def said(found: VerifiedBundle) -> list[tuple[str, str]]:
    return [(one.id, one.level) for one in found.findings if one.id.startswith("image")]


def refused(found: VerifiedBundle) -> tuple[int, str]:
    error = refusal(found.findings)
    assert error is not None
    return error.exit_code, error.finding


def as_statement(on: Hanging) -> None:
    on.refer(PRIVATE.sign_statement(statement(on.digest)))


def as_message(on: Hanging) -> None:
    on.refer(PRIVATE.sign_message(on.manifest))


SECOND_KIND = Sigstore(rekor=2)


def as_statement_in_rekor_2(on: Hanging) -> None:
    on.refer(SECOND_KIND.sign_statement(statement(on.digest)))


def as_message_in_rekor_2(on: Hanging) -> None:
    on.refer(SECOND_KIND.sign_message(on.manifest))


@pytest.mark.parametrize("hang", [as_statement, as_message, as_statement_in_rekor_2, as_message_in_rekor_2])
@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
def test_signed_by_the_named_identity(hang: Hang, index: bool, tmp_path: Path) -> None:
    vendor = KeylessVendor(hang=hang, index=index)
    found = verify(vendor, tmp_path)
    assert refusal(found.findings) is None
    assert said(found) == [("image-signature", "ok")]
    text = next(one.text for one in found.findings if one.id == "image-signature")
    assert IDENTITY in text
    assert ISSUER in text
    assert digest_of(vendor.trusted)[7:19] in text


def changed(make: Callable[[Hanging], bytes], change: Callable[[dict[str, Any]], object]) -> Hang:
    def hang(on: Hanging) -> None:
        document = json.loads(make(on))
        change(document)
        on.refer(dump(document))

    return hang


def signed(on: Hanging) -> bytes:
    return PRIVATE.sign_statement(statement(on.digest))


def entry(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["verificationMaterial"]["tlogEntries"][0]
    return found


def _restamped(on: Hanging, authority: Authority, status: int = 0) -> bytes:
    document = json.loads(in_rekor_2(on))
    signature = base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"])
    _stamped(authority.stamp(signature, status))(document)
    return dump(document)


def _flip(text: str) -> str:
    return ("B" if text[20] != "B" else "C").join((text[:20], text[21:]))


def _simple_by_certificate(on: Hanging) -> None:
    payload = simple_signing(on.digest)
    on.simple((payload, sign(CI, payload)), **{CERTIFICATE: "-----BEGIN CERTIFICATE-----"})


UNKNOWN: dict[str, Hang] = {
    "another identity": lambda on: on.refer(PRIVATE.sign_statement(statement(on.digest), identity=IDENTITY + "2")),
    "another issuer": lambda on: on.refer(PRIVATE.sign_statement(statement(on.digest), issuer=ISSUER + "2")),
    "identity in capitals": lambda on: on.refer(
        PRIVATE.sign_statement(statement(on.digest), identity=IDENTITY.upper())
    ),
    "a key": lambda on: on.refer(envelope_bundle(CI, statement(on.digest))),
    "a key, older form": lambda on: on.signed(CI),
    "a certificate, older form": _simple_by_certificate,
}


def stamps(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["verificationMaterial"]["timestampVerificationData"]
    return found


def in_rekor_2(on: Hanging) -> bytes:
    return SECOND_KIND.sign_statement(statement(on.digest))


def _stamped(stamp: bytes) -> Callable[[dict[str, Any]], object]:
    return lambda one: stamps(one).update(rfc3161Timestamps=[{"signedTimestamp": b64(stamp)}])


def _late(on: Hanging) -> None:
    """A good stamp, of a time at which the certificate had ended."""
    late = dataclasses.replace(SECOND_KIND.authority, at=AT + timedelta(minutes=11))
    on.refer(_restamped(on, late))


WRONG: dict[str, Hang] = {
    "Rekor 2 without a stamp": changed(
        in_rekor_2, lambda one: one["verificationMaterial"].pop("timestampVerificationData")
    ),
    "Rekor 2 with no stamps": changed(in_rekor_2, lambda one: stamps(one).update(rfc3161Timestamps=[])),
    "the same stamp twice": changed(
        in_rekor_2, lambda one: stamps(one).update(rfc3161Timestamps=stamps(one)["rfc3161Timestamps"] * 2)
    ),
    "a stamp over something else": changed(in_rekor_2, _stamped(SECOND_KIND.authority.stamp(b"another"))),
    "a stamp by another authority": lambda on: on.refer(_restamped(on, STRANGE.authority)),
    "a stamp after the certificate ended": _late,
    "a stamp that was not granted": lambda on: on.refer(_restamped(on, SECOND_KIND.authority, status=2)),
    "a stamp that is none": changed(in_rekor_2, _stamped(b"stamped!")),
    "an entry of Rekor 1 as one of Rekor 2": changed(
        signed, lambda one: entry(one)["kindVersion"].update(version="0.0.2")
    ),
    "an entry of a later Rekor": changed(in_rekor_2, lambda one: entry(one)["kindVersion"].update(version="0.0.3")),
    "another Sigstore": lambda on: on.refer(STRANGE.sign_statement(statement(on.digest))),
    "no promise of the certificate log": lambda on: on.refer(PRIVATE.sign_statement(statement(on.digest), sct=False)),
    "about another image": lambda on: on.refer(PRIVATE.sign_statement(statement(digest_of(b"another")))),
    "a message about another image": lambda on: on.refer(PRIVATE.sign_message(b"another")),
    "another payload": changed(
        signed, lambda one: one["dsseEnvelope"].update(payload=b64(statement(digest_of(b"another"))))
    ),
    "no entry": changed(signed, lambda one: one["verificationMaterial"].update(tlogEntries=[])),
    "two entries": changed(signed, lambda one: one["verificationMaterial"].update(tlogEntries=[entry(one)] * 2)),
    "entry of another signature": changed(
        signed,
        lambda one: one["verificationMaterial"].update(tlogEntries=[entry(json.loads(PRIVATE.sign_message(b"x")))]),
    ),
    "no proof": changed(signed, lambda one: entry(one).pop("inclusionProof")),
    "no promise": changed(signed, lambda one: entry(one).pop("inclusionPromise")),
    "another root hash": changed(signed, lambda one: entry(one)["inclusionProof"].update(rootHash=b64(bytes(32)))),
    "logged after the certificate ended": changed(signed, lambda one: entry(one).update(integratedTime="1999999999")),
    "no certificate": changed(signed, lambda one: one["verificationMaterial"]["certificate"].update(rawBytes="AAAA")),
    "a field that nobody knows": changed(signed, lambda one: one.update(surprise=1)),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_somebody_elses(case: str, tmp_path: Path) -> None:
    assert refused(verify(KeylessVendor(hang=UNKNOWN[case]), tmp_path)) == (4, "image-signature-unknown")


# F-11.5
def test_an_authority_that_the_trusted_root_does_not_name(tmp_path: Path) -> None:
    trusted = Sigstore(rekor=2, stamps=False).trusted_root()
    assert refused(verify(KeylessVendor(hang=as_statement_in_rekor_2, trusted=trusted), tmp_path)) == (
        4,
        "image-signature-wrong",
    )


@pytest.mark.parametrize("case", WRONG)
def test_wrong(case: str, tmp_path: Path) -> None:
    assert refused(verify(KeylessVendor(hang=WRONG[case]), tmp_path)) == (4, "image-signature-wrong")


def test_what_the_library_would_take_and_we_do_not(tmp_path: Path) -> None:
    """A name given twice: the last one wins there, and what was read must be what was verified."""

    def hang(on: Hanging) -> None:
        good = signed(on)
        on.refer(good.replace(b'{"dsseEnvelope":', b'{"mediaType":"x","dsseEnvelope":', 1))

    assert refused(verify(KeylessVendor(hang=hang), tmp_path)) == (4, "image-signature-missing")


def test_provenance_by_the_identity_and_by_a_stranger(tmp_path: Path) -> None:
    def hang(on: Hanging) -> None:
        as_statement(on)
        on.refer(PRIVATE.sign_statement(provenance(on.digest)))
        on.refer(STRANGE.sign_statement(provenance(on.digest, builder="https://evil.example")))

    found = verify(KeylessVendor(hang=hang), tmp_path)
    assert said(found) == [
        ("image-signature", "ok"),
        ("image-attestation", "ok"),
        ("image-attestation-unverified", "warning"),
    ]
    texts = "\n".join(one.text for one in found.findings)
    assert f"{PROVENANCE_V1}, built by https://ci.example/b/1" in texts
    assert "evil" not in texts


# --- who says whom to trust -------------------------------------------------------------------------------------------


# F-8.19
@pytest.mark.parametrize("pinned", [(), (digest_of(b"another"),)], ids=["none", "another"])
def test_a_release_cannot_choose_whom_to_trust(pinned: tuple[str, ...], tmp_path: Path) -> None:
    found = verify(KeylessVendor(hang=as_statement, pinned=pinned), tmp_path)
    assert refused(found) == (4, "image-signer-trusted-root")
    assert found.bulk.length == 0  # decided on the head


def test_an_older_trusted_root_stays_good_while_it_is_pinned(tmp_path: Path) -> None:
    old = PRIVATE.trusted_root()
    pinned = tuple(sorted((digest_of(old), digest_of(STRANGE.trusted_root()))))
    assert refusal(verify(KeylessVendor(hang=as_statement, pinned=pinned), tmp_path).findings) is None


def test_without_the_library_it_is_a_refusal_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyless, "find_spec", lambda _: None)
    found = verify(KeylessVendor(hang=as_statement), tmp_path)
    assert refused(found) == (5, "image-signer-keyless-unavailable")
    assert found.bulk.length == 0
    with pytest.raises(RefusedError):
        identity_judge("ci", IDENTITY, ISSUER, PRIVATE.trusted_root())


TRUSTED_ROOTS: dict[str, bytes] = {
    "no JSON": b"x",
    "another document": b'{"mediaType":"application/json"}',
    "no media type": b"{}",
    "twice": PRIVATE.trusted_root().replace(b'{"certificateAuthorities"', b'{"ctlogs":[],"certificateAuthorities"', 1),
    "no logs": dump({**json.loads(PRIVATE.trusted_root()), "tlogs": []}),
    "no authorities": dump({**json.loads(PRIVATE.trusted_root()), "certificateAuthorities": []}),
    "of text": dump({**json.loads(PRIVATE.trusted_root()), "tlogs": "x"}),
}


@pytest.mark.parametrize("case", TRUSTED_ROOTS)
def test_a_trusted_root_that_is_none(case: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedError):
        verify(KeylessVendor(hang=as_statement, trusted=TRUSTED_ROOTS[case]), tmp_path)


def test_a_trusted_root_is_looked_at_before_it_is_packed() -> None:
    check_trusted_root(PRIVATE.trusted_root(), "test")
    for case in ("no JSON", "another document", "no media type", "twice"):
        with pytest.raises(MalformedError):
            check_trusted_root(TRUSTED_ROOTS[case], "test")


# F-8.6
def test_an_identity_and_a_trusted_root_go_together() -> None:
    release, _, _ = KeylessVendor(hang=as_statement).release()
    with pytest.raises(MalformedError, match="trusted root"):
        check_release(msgspec.structs.replace(release, sigstore=None), "release.json")
    with pytest.raises(MalformedError, match="trusted root"):
        check_release(msgspec.structs.replace(release, signers={}, images=()), "release.json")


def test_documents_without_the_new_fields_keep_their_bytes() -> None:
    assert b"sigstore" not in Vendor().root_file()
    assert b"sigstore" not in Vendor().head().release


def test_nobody_is_asked(tmp_path: Path) -> None:
    """The library could reach a network; what is done here does not, even with one at hand, and writes no file.

    A library below it binds a socket of its own once, to see whether this host knows IPv6; that asks nobody.
    """
    vendor = KeylessVendor(hang=as_statement)
    bundle, root = vendor.write(tmp_path / "small.tar"), tmp_path / "1.root.json"
    root.write_bytes(vendor.root_file())
    code = (
        "import sys, socket\n"
        "def watch(event, args):\n"
        "    if event in ('socket.connect', 'socket.sendto', 'socket.sendmsg', 'socket.getaddrinfo',\n"
        "                 'socket.gethostbyname'):\n"
        "        raise SystemExit(f'asked {event} {args}')\n"
        "import waybill\n"
        "sys.addaudithook(watch)\n"
        f"sys.argv = ['waybill', 'verify', {str(bundle)!r}, '--root', {str(root)!r}]\n"
        "waybill.main()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT_DIR, env={"HOME": str(home)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verdict: verified" in done.stdout
    assert not list(home.rglob("*"))
