"""Enrolments: what they say, and that only the key inside can have made them."""

import pytest
from msgspec.structs import replace

from manifests.documents.enrolment import ENROLMENT_TYPE, Enrolment, sign_enrolment, verify_enrolment
from manifests.trust.envelope import parse_envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import generate_key
from manifests.trust.root import Pin
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError, NewerError, UntrustedError, WaybillError
from manifests.words.fingerprint import parse_fingerprint

KEY = generate_key()
SAID = Enrolment(
    site="northern-grid/inkwell/production/east",
    key=KEY.public,
    key_epoch=1,
    root=Pin(version=1, digest="sha256:" + "0a" * 32),
    channel="stable",
    report_every_seconds=0,
    created_at="2026-01-02T03:04:05Z",
)


def test_an_enrolment_comes_back_as_it_was_signed() -> None:
    found = verify_enrolment(sign_enrolment(SAID, KEY))
    assert found.enrolment == SAID
    assert (SAID.customer, SAID.product, SAID.environment, SAID.name) == (
        "northern-grid",
        "inkwell",
        "production",
        "east",
    )
    assert parse_fingerprint(found.groups) == parse_fingerprint(found.words) == "sha256:" + KEY.public.keyid


def test_the_same_enrolment_is_the_same_bytes() -> None:
    assert sign_enrolment(SAID, KEY) == sign_enrolment(SAID, KEY)


def test_another_key_cannot_sign_it() -> None:
    with pytest.raises(ValueError, match="by the key that it names"):
        sign_enrolment(SAID, generate_key())
    other = generate_key()
    with pytest.raises(UntrustedError):
        verify_enrolment(seal(encode(SAID), ENROLMENT_TYPE, (other,)))


# D-3.3
@pytest.mark.parametrize("signers", [(), (KEY, generate_key())], ids=["nobody", "two"])
def test_exactly_one_signature(signers: tuple[object, ...]) -> None:
    with pytest.raises(MalformedError, match=f"{len(signers)} signatures"):
        verify_enrolment(seal(encode(SAID), ENROLMENT_TYPE, signers))  # type: ignore[arg-type]  # keys of the table


def test_every_byte_counts() -> None:
    raw = sign_enrolment(SAID, KEY)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(WaybillError):
            verify_enrolment(changed)


def test_a_cut_or_lengthened_file_is_refused() -> None:
    raw = sign_enrolment(SAID, KEY)
    for changed in (raw[:-1], raw + b"\n", raw + raw, b"", b"{}"):
        with pytest.raises(MalformedError):
            verify_enrolment(changed)


# D-3.1
def test_an_unknown_algorithm_is_newer_not_broken() -> None:
    unknown = replace(SAID, key=PublicKey(algorithm="ml-dsa-65", public=KEY.public.public))
    with pytest.raises(NewerError, match="ml-dsa-65"):
        verify_enrolment(seal(encode(unknown), ENROLMENT_TYPE, (KEY,)))


def test_a_site_is_four_names() -> None:
    for site in ("a/b/c", "a/b/c/d/e", "A/b/c/d", "a//c/d"):
        raw = seal(encode(replace(SAID, site=site)), ENROLMENT_TYPE, (KEY,))
        with pytest.raises(MalformedError):
            verify_enrolment(raw)


def test_an_unknown_field_is_refused() -> None:
    payload = parse_envelope(sign_enrolment(SAID, KEY), ENROLMENT_TYPE, "x", max_bytes=1 << 16).payload_bytes
    raw = seal(payload.replace(b'{"channel"', b'{"admin":true,"channel"'), ENROLMENT_TYPE, (KEY,))
    with pytest.raises(MalformedError, match="admin"):
        verify_enrolment(raw)
