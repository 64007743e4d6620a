"""A build asks of its images what every site will ask, and packs nothing that a site would refuse."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from content.bulk import no_progress
from content.oci import Descriptor
from manifests.envelope import BUNDLE
from manifests.errors import UntrustedError
from tests.images import CYCLONEDX, LayoutWriter, app_files, sbom, simple_signing
from tests.signed_images import CI, OTHER, envelope_bundle, pem, provenance, sign, statement
from tests.workshop import Workshop
from verifier.verify import refusal, verify_path

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
    ids = [one.finding for one in built.findings]
    assert ids == ["image-signature", "image-attestation", "image-signature-extra"]
    found = verify_path(built.path, shop.pin(), None, now=NOW, advance=no_progress)
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
