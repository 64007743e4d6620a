"""Signed bytes: DSSE, Statements, Sigstore bundles, envelopes with several signatures."""

import json

import pytest

from manifests.trust.envelope import (
    INTOTO,
    Statement,
    bundle_hint,
    bundle_payload,
    pae,
    parse_envelope,
    statement,
    verify_signature,
    verify_statement,
)
from manifests.trust.envelope_writer import add_signatures, seal, sign_statement, wrap_signature
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, UntrustedError
from tests.vendor import RELEASE, SECOND, STRANGER

KIND = "application/vnd.waybill.test.v1+json"


def test_pre_authentication_encoding_is_that_of_the_specification() -> None:
    """The example of DSSE's protocol.md."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def said() -> Statement[Mark]:
    return statement(Mark(epoch=1, sequence=2), "urn:x:1", name="file", digest=digest_of(b"file"))


def test_a_statement_comes_back_as_it_was_signed() -> None:
    bundle = sign_statement(said(), RELEASE)
    assert verify_statement(bundle, RELEASE.public, "x") == encode(said())
    assert bundle_payload(bundle, "x") == encode(said())
    assert bundle_hint(bundle, "x") == RELEASE.public.keyid
    assert bundle == wrap_signature(encode(said()), RELEASE.sign(pae(INTOTO, encode(said()))), RELEASE.public)
    fields = json.loads(bundle)
    assert fields["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert fields["verificationMaterial"]["tlogEntries"] == []


def test_another_key_is_told_by_the_hint_before_any_arithmetic() -> None:
    with pytest.raises(MalformedError, match="the Sigstore bundle names another key"):
        verify_statement(sign_statement(said(), RELEASE), SECOND.public, "x")


def test_an_envelope_takes_signatures_one_by_one_or_at_once() -> None:
    payload = encode({"type": KIND})
    once = seal(payload, KIND, (RELEASE, SECOND))
    first = parse_envelope(seal(payload, KIND, (SECOND,)), KIND, "x", max_bytes=10_000)
    assert add_signatures(first, (RELEASE,)) == once
    assert add_signatures(parse_envelope(once, KIND, "x", max_bytes=10_000), (RELEASE,)) == once
    envelope = parse_envelope(once, KIND, "x", max_bytes=10_000)
    for one in envelope.signatures:
        key = next(signer.public for signer in (RELEASE, SECOND) if signer.public.keyid == one.keyid)
        verify_signature(envelope, one, key, "x")
        with pytest.raises(UntrustedError, match="names key"):
            verify_signature(envelope, one, STRANGER.public, "x")


@pytest.mark.parametrize("order", ["reversed", "twice", "many"])
def test_signatures_of_an_envelope_are_sorted_each_once_and_few(order: str) -> None:
    """F-5.11."""
    fields = json.loads(seal(b"{}", KIND, (RELEASE, SECOND)))
    one, two = fields["signatures"]
    many = [{"keyid": f"{n:064x}", "sig": ""} for n in range(129)]
    fields["signatures"] = {"reversed": [two, one], "twice": [one, one], "many": many}[order]
    with pytest.raises(MalformedError):
        parse_envelope(encode(fields), KIND, "x", max_bytes=100_000)


def test_the_kind_of_an_envelope_is_compared_exactly() -> None:
    """F-5.11: a root cannot be handed in as a revocation list."""
    with pytest.raises(MalformedError, match="payload type is"):
        parse_envelope(seal(b"{}", KIND, ()), KIND + "x", "x", max_bytes=10_000)


def test_a_signature_is_bound_to_the_kind() -> None:
    """The payload type is under the signature: the same payload of another kind does not verify."""
    payload = encode({"a": 1})
    fields = json.loads(seal(payload, KIND, (RELEASE,)))
    fields["payloadType"] = "application/vnd.waybill.other.v1+json"
    moved = parse_envelope(encode(fields), "application/vnd.waybill.other.v1+json", "x", max_bytes=10_000)
    with pytest.raises(UntrustedError):
        verify_signature(moved, moved.signatures[0], RELEASE.public, "x")
