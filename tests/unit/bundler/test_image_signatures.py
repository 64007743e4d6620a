"""A build asks of its images what every site will ask, and packs nothing that a site would refuse."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from content.bundle.oci import Descriptor
from manifests.trust.envelope import BUNDLE
from manifests.trust.root import Root
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, UntrustedError
from tests.images import CYCLONEDX, LayoutWriter, app_files, sbom, simple_signing
from tests.keyless import IDENTITY, ISSUER, Sigstore
from tests.signed_images import CI, OTHER, envelope_bundle, pem, provenance, sign, statement
from tests.vectors.surgery import request
from tests.vendor import Vendor
from tests.waybill import waybill
from tests.workshop import Workshop
from verifier.trust.bundle import verify_path
from verifier.trust.findings import refusal

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.release["signers"] = {"ci": {"key": "keys/ci.pub"}}
    made.write("keys/ci.pub", pem(CI))
    return made


def image(shop: Workshop, *hang: Callable[[LayoutWriter, Descriptor], object], **changes: Any) -> Descriptor:
    """A two-platform image with an SBOM and whatever ``hang`` puts on it; the release says that ``ci`` signed it."""
    writer = LayoutWriter(shop.path / "dist/app")
    children = [
        writer.image([app_files("1")]),
        writer.image([app_files("2")], platform="linux/arm64/v8"),
    ]
    index = writer.tag(writer.index(children), "1.0.0")
    writer.referrer(index, sbom("1"), CYCLONEDX)
    for one in hang:
        one(writer, index)
    writer.save()
    shop.image(signed_by="ci", reason=None, sbom="attached", **changes)
    return index


def simple(writer: LayoutWriter, index: Descriptor) -> None:
    writer.cosign_signature(index, sign(CI, simple_signing(index.digest)))


def referrer(writer: LayoutWriter, index: Descriptor) -> None:
    writer.referrer(index, envelope_bundle(CI, statement(index.digest)), BUNDLE)


def attested(writer: LayoutWriter, index: Descriptor) -> None:
    writer.referrer(index, envelope_bundle(CI, provenance(index.digest)), BUNDLE)


def strange(writer: LayoutWriter, index: Descriptor) -> None:
    writer.referrer(index, envelope_bundle(OTHER, statement(index.digest)), BUNDLE)


def wrong(writer: LayoutWriter, index: Descriptor) -> None:
    other = f"sha256:{'0' * 64}"
    writer.referrer(index, envelope_bundle(CI, statement(other)), BUNDLE)


@pytest.mark.parametrize("form", [simple, referrer])
@pytest.mark.parametrize("platforms", [None, ["linux/amd64"]], ids=["whole", "one platform"])
def test_signed_is_packed_and_verified(
    shop: Workshop, form: Callable[[LayoutWriter, Descriptor], object], platforms: list[str] | None
) -> None:
    image(shop, form, attested, strange, platforms=platforms)
    built = shop.build()
    # A good signature is no warning of the build.
    assert [one.finding for one in built.findings] == ["image-signature-extra"]
    ids = ["image-signature", "image-attestation", "image-signature-extra"]
    found = verify_path(built.path, request(shop.pin(), now=NOW))
    assert refusal(found.findings) is None
    assert [one.id for one in found.findings if one.id.startswith("image")] == ids
    assert built.release.signers["ci"].key is not None


@pytest.mark.parametrize(
    ("hang", "finding"),
    [
        ((), "image-signature-missing"),
        ((attested,), "image-signature-missing"),
        ((strange,), "image-signature-unknown"),
        ((strange, wrong), "image-signature-wrong"),
    ],
)
def test_what_is_not_signed_is_not_packed(
    shop: Workshop, hang: tuple[Callable[[LayoutWriter, Descriptor], object], ...], finding: str
) -> None:
    image(shop, *hang)
    with pytest.raises(UntrustedError) as caught:
        shop.build()
    assert caught.value.finding == finding
    assert not list((shop.path / "out").glob("*"))


# --- identities -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pinning(Vendor):
    """A vendor whose root pins one ``trusted_root.json``."""

    def root(self) -> Root:
        return msgspec.structs.replace(super().root(), sigstore=(digest_of(Sigstore().trusted_root()),))


def by_identity(writer: LayoutWriter, index: Descriptor) -> None:
    writer.referrer(index, Sigstore().sign_statement(statement(index.digest)), BUNDLE)


@pytest.fixture
def keyless_shop(tmp_path: Path) -> Workshop:
    pytest.importorskip("sigstore", reason="sigstore is not installed")
    made = Workshop(tmp_path, vendor=Pinning())
    made.release["signers"] = {"ci": {"identity": IDENTITY, "issuer": ISSUER}}
    made.release["sigstore"] = "sigstore/trusted_root.json"
    made.write("sigstore/trusted_root.json", Sigstore().trusted_root())
    return made


def test_signed_by_an_identity_is_packed_and_verified(keyless_shop: Workshop) -> None:
    image(keyless_shop, by_identity)
    built = keyless_shop.build()
    assert built.findings == ()
    found = verify_path(built.path, request(keyless_shop.pin(), now=NOW))
    assert refusal(found.findings) is None


def test_signed_by_a_key_instead_is_not_packed(keyless_shop: Workshop) -> None:
    image(keyless_shop, referrer)
    with pytest.raises(UntrustedError, match="by key"):
        keyless_shop.build()


def test_a_trusted_root_that_the_root_does_not_pin_is_not_packed(keyless_shop: Workshop) -> None:
    image(keyless_shop, by_identity)
    keyless_shop.write("sigstore/trusted_root.json", Sigstore().other().trusted_root())
    with pytest.raises(UntrustedError) as caught:
        keyless_shop.build()
    assert caught.value.finding == "image-signer-trusted-root"


@pytest.mark.parametrize("missing", ["sigstore", "signers"])
def test_identity_and_trusted_root_go_together(keyless_shop: Workshop, missing: str) -> None:
    image(keyless_shop, by_identity)
    del keyless_shop.release[missing]
    keyless_shop.release["images"][0] |= {"signed_by": "none", "reason": "a test"}
    with pytest.raises(MalformedError, match="go together"):
        keyless_shop.build()


def test_trust_yaml_pins_by_digest(tmp_path: Path) -> None:
    assert waybill("init", tmp_path / "small").code == 0
    path = tmp_path / "small/trust.yaml"
    (tmp_path / "small/trusted_root.json").write_bytes(Sigstore().trusted_root())
    before = path.read_text()
    path.write_text(before + "\nsigstore: [trusted_root.json]\n")
    done = waybill("trust", path, "--json")
    digest = digest_of(Sigstore().trusted_root())
    assert done.code == 0
    assert done.json["joins"] == [["sigstore", digest]]
    document = waybill("show", done.json["file"], "--json").json["document"]
    assert document["sigstore"] == [digest]
    assert waybill("sign", done.json["file"], "--key", tmp_path / "small/keys/root-1.key").code == 0
    path.write_text(before)
    gone = waybill("trust", path, "--json")
    assert gone.json["leaves"] == [["sigstore", digest]]


def test_trust_yaml_takes_no_other_file(tmp_path: Path) -> None:
    assert waybill("init", tmp_path / "small").code == 0
    path = tmp_path / "small/trust.yaml"
    path.write_text(path.read_text() + "\nsigstore: [release.yaml]\n")
    assert waybill("trust", path).code == 3
