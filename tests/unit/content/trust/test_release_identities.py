"""Releases signed by identities: under a trusted root that the vendor's root pins, offline, beside keys or alone."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from content.bundle.head import Head, open_head, read_head
from content.bundle.head_writer import encode_head
from content.signing.detached import STATEMENT_SIGNED, STATEMENT_TEXT
from content.trust import identities
from manifests.trust.root import Role, Root, check_root
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError, WaybillError
from tests.keyless import IDENTITY, ISSUER, PIPELINE, IdentityVendor, Sigstore
from tests.signed_images import CI, envelope_bundle
from tests.vectors.surgery import Case, Outcome, from_file, from_pipe
from tests.vendor import RELEASE, Vendor
from tests.waybill import waybill

pytest.importorskip("sigstore", reason="sigstore is not installed")

FIRST, SECOND_KIND = Sigstore(), Sigstore(rekor=2)


def judged(vendor: Vendor, head: Head | None = None) -> Outcome:
    case = Case(vendor.bundle(head), vendor.pin())
    found = from_file(case)
    assert from_pipe(case).kind == found.kind
    return found


# F-3.4, F-3.6, F-7.16
@pytest.mark.parametrize("sigstore", [FIRST, SECOND_KIND], ids=["rekor-1", "rekor-2"])
def test_an_identity_alone(sigstore: Sigstore) -> None:
    vendor = IdentityVendor(sign=lambda said: (sigstore.sign_statement(said),))
    assert judged(vendor).kind == "ok"
    made = vendor.head()
    again = read_head(io.BytesIO(encode_head(made)).read)
    assert again == made
    assert encode_head(again) == encode_head(made)


def test_identity_and_key_make_two_of_two() -> None:
    both = IdentityVendor(signers=(RELEASE,), threshold=2)
    assert judged(both).kind == "ok"
    alone = judged(both.but(signers=()))
    assert alone.kind == "UntrustedError signature-missing"
    assert f"1 of the 2 release keys that root 1 requires (signed: {IDENTITY} ({ISSUER}); missing: " in alone.text
    assert judged(both.but(sign=lambda _: ())).kind == "UntrustedError signature-missing"


def test_one_identity_twice_counts_once() -> None:
    """Two certificates, two signatures, one who signed."""
    twice = IdentityVendor(
        threshold=2, sign=lambda said: (FIRST.sign_statement(said), SECOND_KIND.sign_statement(said))
    )
    assert judged(twice.but(sign=lambda said: (FIRST.sign_statement(said),))).kind == "UntrustedError signature-missing"
    two_bundles = IdentityVendor(
        threshold=2,
        sign=lambda said: (FIRST.sign_statement(said), replace(FIRST, signer=20).sign_statement(said)),
    )
    assert len(two_bundles.head().signatures) == 2
    assert judged(two_bundles).kind == "UntrustedError signature-missing"


# F-3.6
def test_trusted_root_and_identities_go_together() -> None:
    vendor = IdentityVendor()
    for head in (
        replace(vendor.head(), trusted_root=None),
        replace(IdentityVendor(signers=(RELEASE,)).head(), signatures=Vendor().head().signatures),
    ):
        found = judged(vendor, head)
        assert found.kind == "MalformedError malformed"
        assert "go together" in found.text


# F-7.15
def test_a_keys_bundle_without_its_other_half() -> None:
    """The Sigstore bundle of a key in the place of an identity's; and a bundle under another name."""
    vendor = IdentityVendor(signers=(RELEASE,), sign=lambda _: ())
    (pair,) = vendor.head().signatures
    half = replace(vendor.head(), signatures=(replace(pair, sig=None),), trusted_root=vendor.trusted)
    assert judged(vendor, half).kind == "MalformedError malformed"
    made = IdentityVendor().head()
    renamed = replace(made, signatures=(replace(made.signatures[0], keyid="0" * 64),))
    found = judged(IdentityVendor(), renamed)
    assert "another digest than its file name" in found.text
    assert found.kind == "MalformedError malformed"


# F-7.17
def test_without_the_library_it_is_not_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "find_spec", lambda _: None)
    assert judged(IdentityVendor(signers=(RELEASE,))).kind == "ok"
    found = judged(IdentityVendor())
    assert found.kind == "RefusedError signature-keyless-unavailable"
    assert "without sigstore" in found.text


def _set(**changes: Any) -> Callable[[Root], Root]:
    return lambda root: msgspec.structs.replace(root, **changes)


# F-6.4, F-6.5
@pytest.mark.parametrize("role", ["root", "consignment", "rollback"])
def test_identities_sign_releases_and_nothing_else(role: str) -> None:
    root = IdentityVendor().root()
    check_root(root, "root")
    roles = {**root.roles, role: Role(keys=(PIPELINE.id,), threshold=1)}
    with pytest.raises(MalformedError, match="not listed"):
        check_root(_set(roles=roles)(root), "root")
    with pytest.raises(MalformedError, match="identity is listed as"):
        check_root(_set(identities={"0" * 64: PIPELINE})(root), "root")


def test_roots_without_identities_keep_their_bytes() -> None:
    assert b"identities" not in encode(Vendor().root())


# --- the vendor's side ------------------------------------------------------------------------------------------------


def shop(folder: Path) -> Path:
    """A vendor's folder whose release role is a key and an identity, either of which suffices."""
    place = folder / "small"
    assert waybill("init", place, "--product", "small", "--vendor", "small-works").code == 0
    (place / "trusted_root.json").write_bytes(FIRST.trusted_root())
    trust = place / "trust.yaml"
    text = trust.read_text()
    text = re.sub(r"(?m)^(  release-1: .*)$", rf'\1\n  ci: {{identity: "{IDENTITY}", issuer: "{ISSUER}"}}', text)
    text = text.replace("{keys: [release-1], ", "{keys: [release-1, ci], ")
    text = re.sub(r"(?m)^#? ?sigstore:.*$", "", text) + "\nsigstore: [trusted_root.json]\n"
    trust.write_text(text)
    done = waybill("trust", trust)
    assert done.code == 0, done.err
    assert f"joins        release: {IDENTITY} ({ISSUER}) (ci)" in done.out
    assert waybill("sign", place / "trust" / "2.root.json", "--key", place / "keys" / "root-1.key").code == 0
    return place


def test_built_prepared_signed_attached_verified(tmp_path: Path) -> None:
    place = shop(tmp_path)
    bundle, request = tmp_path / "small.tar", tmp_path / "request"
    assert waybill("build", place / "release.yaml", "-o", bundle, "--unsigned").code == 0
    assert waybill("sign", bundle, "--prepare", request).code == 0
    assert "cosign attest-blob --statement statement.json" in (request / "README.txt").read_text()
    said = (request / STATEMENT_TEXT).read_bytes()
    answer = request / STATEMENT_SIGNED
    root = place / "trusted_root.json"
    for wrong, finding in (
        (FIRST.sign_statement(said, identity="somebody"), "signature-unknown"),
        (FIRST.sign_statement(said.replace(b'"epoch":1', b'"epoch":2')), "signature-wrong"),
        (envelope_bundle(CI, said), "malformed"),
    ):
        answer.write_bytes(wrong)
        before = bundle.read_bytes()
        refused = waybill("sign", bundle, "--attach", request, "--trusted-root", root, "--json")
        assert json.loads(refused.out)["error"]["finding"] == finding, refused
        assert bundle.read_bytes() == before
    answer.write_bytes(FIRST.sign_statement(said))
    assert waybill("sign", bundle, "--attach", request).code == 2
    done = waybill("sign", bundle, "--attach", request, "--trusted-root", root)
    assert done.code == 0, done.err
    assert f"identity     {IDENTITY}" in done.out
    found = waybill("verify", bundle, "--root", place / "trust" / "2.root.json")
    assert found.code == 0, found.err
    assert f"release signed by {IDENTITY} ({ISSUER})" in found.out
    answer.write_bytes(replace(FIRST, signer=20).sign_statement(said))
    assert waybill("sign", bundle, "--attach", request).code == 0
    assert len(open_head(bundle).signatures) == 1  # the former signature of the same identity is replaced


def test_trust_yaml_says_who_is_an_identity(tmp_path: Path) -> None:
    place = shop(tmp_path)
    text = (place / "trust.yaml").read_text()
    for old, new, problem in (
        ("sigstore: [trusted_root.json]", "", "names no trusted root"),
        (f', issuer: "{ISSUER}"', "", "either public, or identity and issuer"),
        ("root: {keys: [root-1], ", "root: {keys: [root-1, ci], ", "only the role release"),
    ):
        assert old in text
        (place / "trust.yaml").write_text(text.replace(old, new))
        done = waybill("trust", place / "trust.yaml")
        assert done.code == 3, done
        assert problem in done.err


def test_every_kind_of_error_is_ours(tmp_path: Path) -> None:
    """Bytes of the bundle changed at many places: good by meaning, or refused by our tree."""
    vendor = IdentityVendor()
    made = vendor.head()
    data = made.signatures[0].bundle
    for at in range(0, len(data), 97):
        other = replace(made.signatures[0], bundle=data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            found = judged(vendor, replace(made, signatures=(other,)))
        except WaybillError as error:
            raise AssertionError("not a verdict") from error
        assert found.good or found.kind.split()[0] in ("MalformedError", "UntrustedError"), (at, found)
