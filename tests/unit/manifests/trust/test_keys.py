"""Keys: what opens, what verifies, and what is refused before it could do harm."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from manifests.trust.keys import (
    P256_ORDER,
    PublicKey,
    decode_base64,
    encode_base64,
    keyid_of,
    load_public,
    parse_public_pem,
    read_capped,
)
from manifests.trust.private_keys import FileSigner, encode_private, generate_key, key_path, low_s, read_signer
from manifests.words.errors import HostError, MalformedError, RefusedError, UntrustedError, UsageError
from tests.vendor import RELEASE, SECOND

PASSPHRASE = b"correct horse"


def never() -> bytes:
    raise AssertionError("the passphrase was asked for")


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_an_encrypted_key_opens_with_its_passphrase(tmp_path: Path) -> None:
    path = written(tmp_path / "key", encode_private(RELEASE, PASSPHRASE))
    assert b"ENCRYPTED" in path.read_bytes()
    assert read_signer(path, lambda: PASSPHRASE).public == RELEASE.public


def test_a_plain_key_opens_without_asking(tmp_path: Path) -> None:
    path = written(tmp_path / "key", encode_private(RELEASE, None))
    assert read_signer(path, never).public == RELEASE.public


@pytest.mark.parametrize("passphrase", [b"wrong", b"", b"\xff\xfe", PASSPHRASE + b"\n"])
def test_a_wrong_passphrase_is_refused(tmp_path: Path, passphrase: bytes) -> None:
    path = written(tmp_path / "key", encode_private(RELEASE, PASSPHRASE))
    with pytest.raises(RefusedError) as caught:
        read_signer(path, lambda: passphrase)
    assert caught.value.finding == "passphrase-wrong"
    assert PASSPHRASE.decode() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o666])
def test_a_key_that_others_can_read_is_refused_before_it_is_opened(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", encode_private(RELEASE, PASSPHRASE), mode)
    with pytest.raises(RefusedError) as caught:
        read_signer(path, never)
    assert caught.value.finding == "key-exposed"
    assert f"{mode:04o}" in caught.value.problem
    assert caught.value.remedy.startswith("chmod 600")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def pkcs8(key: object) -> bytes:
    made: bytes = key.private_bytes(  # type: ignore[attr-defined]  # every private key has it
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda: pkcs8(ec.generate_private_key(ec.SECP384R1())),
        lambda: pkcs8(ec.generate_private_key(ec.SECP256K1())),
        lambda: pkcs8(ed25519.Ed25519PrivateKey.generate()),
        lambda: pkcs8(rsa.generate_private_key(65537, 2048)),
        lambda: RELEASE.public.pem.encode(),
        lambda: b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        lambda: b"",
        lambda: b"\0" * 100,
    ],
    ids=["p-384", "secp256k1", "ed25519", "rsa", "public", "cosign", "empty", "zeros"],
)
def test_another_kind_of_file_is_malformed(tmp_path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(MalformedError):
        read_signer(written(tmp_path / "key", make()), never)


def test_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such file"):
        read_signer(tmp_path / "none", never)
    with pytest.raises(HostError, match="no such file"):
        read_capped(tmp_path / "none", 10)
    with pytest.raises(MalformedError, match="more than 65536 bytes"):
        read_signer(written(tmp_path / "key", b"x" * 65537), never)


def test_a_key_id_is_the_digest_of_the_der_form() -> None:
    """F-5.2, as openssl and cosign have it."""
    der = RELEASE.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert RELEASE.public.keyid == keyid_of(der)
    assert serialization.load_pem_public_key(RELEASE.public.pem.encode()) == RELEASE.key.public_key()
    assert parse_public_pem(RELEASE.public.pem.encode(), "x") == RELEASE.public


@given(st.binary(max_size=200))
def test_what_was_signed_verifies_and_nothing_else(message: bytes) -> None:
    signature = RELEASE.sign(message)
    RELEASE.public.verify(signature, message, "x")
    assert RELEASE.sign(message) == signature
    assert decode_dss_signature(signature)[1] <= P256_ORDER // 2
    for public, other in ((SECOND.public, message), (RELEASE.public, message + b"\0")):
        with pytest.raises(UntrustedError) as caught:
            public.verify(signature, other, "x")
        assert caught.value.finding == "signature-wrong"


@given(st.binary(max_size=80))
def test_any_bytes_as_a_signature_are_untrusted(signature: bytes) -> None:
    with pytest.raises(UntrustedError):
        RELEASE.public.verify(signature, b"message", "x")


def test_a_signer_with_a_high_s_is_brought_down() -> None:
    """An HSM may return either; ours verify in one form only (F-5.4)."""
    r, s = decode_dss_signature(RELEASE.sign(b"message"))
    high = encode_dss_signature(r, P256_ORDER - s)
    with pytest.raises(UntrustedError):
        RELEASE.public.verify(high, b"message", "x")
    RELEASE.public.verify(low_s(high), b"message", "x")


def test_the_algorithm_is_the_records() -> None:
    """F-5.5: a record of another algorithm never verifies by what its bytes look like."""
    other = PublicKey(algorithm="ed25519", public=RELEASE.public.public)
    assert RELEASE.public.known and not other.known
    assert other.keyid == RELEASE.public.keyid


def test_a_record_that_is_no_p256_key_is_malformed() -> None:
    """F-5.3."""
    spki = RELEASE.public.spki
    for wrong in (b"", spki[:-1], spki + b"\0", spki.replace(spki[27:], bytes(64))):
        with pytest.raises(MalformedError):
            load_public(PublicKey(algorithm="ecdsa-p256-sha256", public=encode_base64(wrong)))


@given(st.binary(max_size=40))
def test_base64_comes_back(data: bytes) -> None:
    assert decode_base64(encode_base64(data), "x") == data


@given(st.text(alphabet="AB+/=-_\n 0", max_size=12))
def test_base64_has_one_spelling(text: str) -> None:
    """F-5.1: whatever decodes is what encoding gives."""
    try:
        data = decode_base64(text, "x")
    except MalformedError:
        return
    assert encode_base64(data) == text


@pytest.mark.parametrize("text", ["é", "AA==\n", "A", "AB==", "AA=", "AA", "====", "AA==AA=="])
def test_base64_variants_are_malformed(text: str) -> None:
    with pytest.raises(MalformedError, match="base64"):
        decode_base64(text, "x")


def test_key_uris(tmp_path: Path) -> None:
    assert key_path("file:keys/a.key", tmp_path) == tmp_path / "keys/a.key"
    assert key_path("/abs/a.key", tmp_path) == Path("/abs/a.key")
    (tmp_path / "c:key").touch()
    assert key_path("c:key", tmp_path) == tmp_path / "c:key"
    with pytest.raises(UsageError, match="'pkcs11'"):
        key_path("pkcs11:token=x", tmp_path)


def test_new_keys_differ() -> None:
    assert generate_key().public != generate_key().public
    assert isinstance(generate_key(), FileSigner)
