"""Signatures of carried images: good ones in every form, and each way in which one can be missing, strange or wrong."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from content.sigstore.signatures import MAX_CANDIDATES, PROVENANCE_V1, STATEMENT_V01
from manifests.documents.release import ImageSigner
from manifests.trust.envelope import BUNDLE, STATEMENT
from manifests.trust.image_keys import load_carried, parse_carried_pem
from manifests.trust.keys import P256_ORDER, PublicKey, encode_base64
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError
from tests.images import simple_signing
from tests.signed_images import (
    CI,
    OTHER,
    Hanging,
    OtherWay,
    PrivateKey,
    SignedVendor,
    dsse,
    dump,
    envelope_bundle,
    message_bundle,
    pem,
    provenance,
    record,
    rsa_key,
    sign,
    statement,
)
from tests.vectors.of_image_signatures import ED, JUNK, KINDS, MISSING, OTHER_WAYS, UNKNOWN, WRONG
from tests.vectors.surgery import request
from verifier.trust.bundle import VerifiedBundle, verify_path, verify_pipe
from verifier.trust.findings import refusal

NOW = datetime(2026, 2, 1, tzinfo=UTC)
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


def text_of(found: VerifiedBundle, id_: str) -> str:
    return next(one.text for one in found.findings if one.id == id_)


def simple(key: PrivateKey) -> Hang:
    return lambda on: on.signed(key)


def referrer(key: PrivateKey) -> Hang:
    return lambda on: on.refer(envelope_bundle(key, statement(on.digest)))


def message(key: PrivateKey) -> Hang:
    return lambda on: on.refer(message_bundle(key, on.manifest))


# F-11.2
KEYS: dict[str, PrivateKey] = {"p256": CI, **KINDS}
FORMS = {"simple": simple, "referrer": referrer, "message": message}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
def test_signed_by_the_named_key(form: str, algorithm: str, index: bool, tmp_path: Path) -> None:
    key = KEYS[algorithm]
    vendor = SignedVendor(hang=FORMS[form](key), signer=ImageSigner(key=record(key)), index=index)
    found = verify(vendor, tmp_path)
    assert refusal(found.findings) is None
    assert said(found) == [("image-signature", "ok")]
    text = text_of(found, "image-signature")
    assert record(key).keyid[:12] in text
    assert ("covers the 1 manifests" in text) == index


def test_either_s_of_a_signature_is_good(tmp_path: Path) -> None:
    """Go does not normalise s, so a high one is as common as a low one."""

    def high(on: Hanging) -> None:
        payload = simple_signing(on.digest)
        r, s = decode_dss_signature(sign(CI, payload))
        on.simple((payload, encode_dss_signature(r, max(s, P256_ORDER - s))))

    def low(on: Hanging) -> None:
        payload = simple_signing(on.digest)
        r, s = decode_dss_signature(sign(CI, payload))
        on.simple((payload, encode_dss_signature(r, min(s, P256_ORDER - s))))

    for hang in (high, low):
        assert said(verify(SignedVendor(hang=hang), tmp_path)) == [("image-signature", "ok")]


def old_spelling(on: Hanging) -> None:
    other = "application/vnd.dev.sigstore.bundle+json;version=0.3"
    on.refer(envelope_bundle(CI, statement(on.digest), mediaType=other), other)


def kind_in_the_config(on: Hanging) -> None:
    """Some writers leave artifactType out and say it as the config's media type."""
    data = envelope_bundle(CI, statement(on.digest))
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": on.target(BUNDLE, b"{}"),
        "layers": [on.target("application/octet-stream", data)],
        "subject": on.subject,
    }
    on.top.append(on.target("application/vnd.oci.image.manifest.v1+json", dump(document)))


@pytest.mark.parametrize("hang", [old_spelling, kind_in_the_config])
def test_spellings_of_others(hang: Hang, tmp_path: Path) -> None:
    assert said(verify(SignedVendor(hang=hang), tmp_path)) == [("image-signature", "ok")]


# --- not signed, somebody else's, wrong -------------------------------------------------------------------------------


# F-11.3, F-11.4, F-11.7
BAD = {
    **{f"missing-{one.__name__}": (one, "image-signature-missing") for one in MISSING},
    **{f"unknown-{one.__name__}": (one, "image-signature-unknown") for one in UNKNOWN},
    **{f"wrong-{one.__name__}": (one, "image-signature-wrong") for one in WRONG},
}


# F-11.3, F-11.4, F-11.7
@pytest.mark.parametrize("case", BAD)
def test_refused_by_name(case: str, tmp_path: Path) -> None:
    hang, finding = BAD[case]
    found = verify(SignedVendor(hang=hang, index=True), tmp_path)
    error = refusal(found.findings)
    assert error is not None
    assert (error.exit_code, error.finding) == (4, finding)
    assert "expected one by ci, key" in error.problem


# --- what hangs there besides -----------------------------------------------------------------------------------------


# F-11.1, F-11.6
@pytest.mark.parametrize("case", JUNK)
def test_junk_beside_a_good_one_is_a_warning(case: str, tmp_path: Path) -> None:
    def hang(on: Hanging) -> None:
        on.refer(envelope_bundle(CI, statement(on.digest)))
        JUNK[case](on)

    found = verify(SignedVendor(hang=hang), tmp_path)
    assert refusal(found.findings) is None
    assert said(found) == [("image-signature", "ok"), ("image-signature-extra", "warning")]


@pytest.mark.parametrize("case", [one for one in JUNK if one not in ("a stranger's",)])
def test_junk_alone_is_no_signature(case: str, tmp_path: Path) -> None:
    error = refusal(verify(SignedVendor(hang=JUNK[case]), tmp_path).findings)
    assert error is not None
    assert error.finding == "image-signature-missing"


def test_much_junk_is_counted_and_not_listed(tmp_path: Path) -> None:
    def hang(on: Hanging) -> None:
        on.signed(CI)
        for i in range(MAX_CANDIDATES + 10):
            on.refer(b'{"n":%d}' % i)

    found = verify(SignedVendor(hang=hang), tmp_path)
    assert refusal(found.findings) is None
    assert len(said(found)) == 18
    assert f"{MAX_CANDIDATES + 10 - 16} more" in found.findings[-1].text


def test_other_referrers_are_nobodys_business(tmp_path: Path) -> None:
    def hang(on: Hanging) -> None:
        on.signed(CI)
        on.refer(b'{"signature":1}', "application/vnd.cncf.notary.signature")

    assert said(verify(SignedVendor(hang=hang), tmp_path)) == [("image-signature", "ok")]


# --- attestations -----------------------------------------------------------------------------------------------------


def tagged(key: PrivateKey, payload: Callable[[Hanging], bytes]) -> Hang:
    return lambda on: on.attest(dsse(key, payload(on)))


def bundled(key: PrivateKey, payload: Callable[[Hanging], bytes]) -> Hang:
    return lambda on: on.refer(envelope_bundle(key, payload(on)))


ATTESTED = {"tag": tagged, "referrer": bundled}


def with_signature(hang: Hang) -> Hang:
    def both(on: Hanging) -> None:
        on.signed(CI)
        hang(on)

    return both


@pytest.mark.parametrize("form", ATTESTED)
def test_provenance_is_summarised(form: str, tmp_path: Path) -> None:
    hang = with_signature(ATTESTED[form](CI, lambda on: provenance(on.digest)))
    found = verify(SignedVendor(hang=hang), tmp_path)
    assert said(found) == [("image-signature", "ok"), ("image-attestation", "ok")]
    text = text_of(found, "image-attestation")
    assert "built by https://ci.example/b/1 from https://git.example/small" in text
    assert PROVENANCE_V1 in text


@pytest.mark.parametrize("form", ATTESTED)
def test_an_attestation_on_a_platform_counts(form: str, tmp_path: Path) -> None:
    def hang(on: Hanging) -> None:
        on.signed(CI)
        if form == "tag":
            on.attest(dsse(CI, provenance(on.child)), about=on.child)
        else:
            child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": on.child}
            on.refer(envelope_bundle(CI, provenance(on.child)), subject={**child, "size": _size(on)})

    found = verify(SignedVendor(hang=hang, index=True), tmp_path)
    assert said(found) == [("image-signature", "ok"), ("image-attestation", "ok")]


def _size(on: Hanging) -> int:
    found: int = json.loads(on.manifest)["manifests"][0]["size"]
    return found


@pytest.mark.parametrize("form", ATTESTED)
@pytest.mark.parametrize(
    "payload",
    [
        lambda on: provenance(digest_of(b"another")),
        lambda on: statement(on.digest, PROVENANCE_V1, subject=[]),
        lambda on: statement(on.digest, PROVENANCE_V1, subject="x"),
        lambda on: statement(on.digest, PROVENANCE_V1, _type="https://in-toto.io/Statement/v2"),
    ],
    ids=["another subject", "no subject", "subject of text", "statement of another kind"],
)
def test_an_attestation_about_something_else_says_nothing(
    form: str, payload: Callable[[Hanging], bytes], tmp_path: Path
) -> None:
    found = verify(SignedVendor(hang=with_signature(ATTESTED[form](CI, payload))), tmp_path)
    assert refusal(found.findings) is None
    assert said(found) == [("image-signature", "ok"), ("image-attestation-unverified", "warning")]


# F-11.8
# F-11.8
@pytest.mark.parametrize("form", ATTESTED)
def test_a_strangers_attestation_says_nothing(form: str, tmp_path: Path) -> None:
    hang = with_signature(ATTESTED[form](OTHER, lambda on: provenance(on.digest)))
    found = verify(SignedVendor(hang=hang), tmp_path)
    assert said(found) == [("image-signature", "ok"), ("image-attestation-unverified", "warning")]
    assert "ci.example" not in text_of(found, "image-attestation-unverified")


def test_a_predicate_type_that_is_nearly_provenance_is_not_summarised(tmp_path: Path) -> None:
    near = PROVENANCE_V1 + ".0"
    hang = with_signature(bundled(CI, lambda on: provenance(on.digest).replace(PROVENANCE_V1.encode(), near.encode())))
    text = text_of(verify(SignedVendor(hang=hang), tmp_path), "image-attestation")
    assert near in text
    assert "built by" not in text


def test_text_of_others_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    hang = with_signature(bundled(CI, lambda on: provenance(on.digest, builder="\x1b[2J\nverdict: fine" + "x" * 500)))
    text = text_of(verify(SignedVendor(hang=hang), tmp_path), "image-attestation")
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    "predicate", [None, [], "x", {"runDetails": [], "buildDefinition": {"resolvedDependencies": [1]}}]
)
def test_provenance_of_odd_shape_is_shown_as_unknown(predicate: object, tmp_path: Path) -> None:
    hang = with_signature(bundled(CI, lambda on: statement(on.digest, PROVENANCE_V1, predicate)))
    assert "built by ? from ?" in text_of(verify(SignedVendor(hang=hang), tmp_path), "image-attestation")


def test_older_statements_attest(tmp_path: Path) -> None:
    hang = with_signature(tagged(CI, lambda on: statement(on.digest, "https://spdx.dev/Document", _type=STATEMENT_V01)))
    assert said(verify(SignedVendor(hang=hang), tmp_path)) == [("image-signature", "ok"), ("image-attestation", "ok")]
    assert STATEMENT != STATEMENT_V01


# --- signers that cannot be judged ------------------------------------------------------------------------------------


# F-11.2
def test_a_kind_of_key_of_later_times_needs_a_newer_verifier(tmp_path: Path) -> None:
    signer = ImageSigner(key=PublicKey(algorithm="ml-dsa-65", public=encode_base64(b"x" * 40)))
    found = verify(SignedVendor(hang=simple(CI), signer=signer), tmp_path)
    error = refusal(found.findings)
    assert error is not None
    assert (error.exit_code, error.finding) == (8, "image-signer-algorithm")
    assert found.bulk.length == 0  # decided on the head


def test_the_algorithm_is_the_records_and_not_the_keys() -> None:
    wrong = PublicKey(algorithm="ed25519", public=record(CI).public)
    with pytest.raises(MalformedError, match="recorded as ed25519, it is ecdsa-p256-sha256"):
        load_carried(wrong, "test")
    with pytest.raises(NewerError):
        load_carried(PublicKey(algorithm="rsa", public=record(CI).public), "test")
    # A release key may not have become of another kind on the way.
    assert not record(ED).known


# F-11.2
@pytest.mark.parametrize("name", OTHER_WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_a_way_that_the_kind_does_not_have(form: str, name: str, tmp_path: Path) -> None:
    key = OTHER_WAYS[name]
    found = verify(SignedVendor(hang=FORMS[form](key), signer=ImageSigner(key=record(key))), tmp_path)
    error = refusal(found.findings)
    assert error is not None
    assert error.finding == ("image-signature-unknown" if form == "simple" else "image-signature-wrong")


# F-11.2
@pytest.mark.parametrize("salt", [0, 20, 32, 222])
def test_a_salt_of_any_length(salt: int) -> None:
    key = OtherWay(rsa_key(2048), salt=salt)
    carried = load_carried(record(key), "test")
    assert carried.verify(sign(key, b"message"), b"message", "test") == "sha256"
    with pytest.raises(UntrustedError):
        carried.verify(sign(key, b"message"), b"another", "test")


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_a_short_rsa_key_is_a_warning(bits: int, tmp_path: Path) -> None:
    key = rsa_key(bits)
    found = verify(SignedVendor(hang=simple(key), signer=ImageSigner(key=record(key))), tmp_path)
    weak = [(one.level, one.text) for one in found.findings if one.id == "weak"]
    text = f"images are signed by ci, key {record(key).keyid[:12]}: an RSA key of 2048 bits, expected 3072 or more"
    assert weak == ([("warning", text)] if bits == 2048 else [])


# F-11.2
@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP224R1()), id="P-224"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), id="K-256"),
        pytest.param(lambda: ed448.Ed448PrivateKey.generate(), id="Ed448"),
    ],
)
def test_keys_that_may_not_sign_images(key: Callable[[], PrivateKey]) -> None:
    with pytest.raises(MalformedError, match="key type cannot sign images") as raised:
        parse_carried_pem(pem(key()), "test")
    assert "an RSA key of 2048 to 4096 bits" in raised.value.remedy


# F-11.2
@pytest.mark.parametrize("bits", [1024, 2047, 4097, 8192])
def test_rsa_keys_of_other_lengths(bits: int) -> None:
    key = rsa.RSAPublicNumbers(65537, 1 << bits - 1 | 1).public_key()
    data = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(MalformedError, match=f"RSA key has {bits} bits, expected 2048 to 4096"):
        parse_carried_pem(data, "test")
