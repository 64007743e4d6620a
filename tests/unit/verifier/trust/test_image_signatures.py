"""A delta at a site: images, contract and rollback document are judged from what the site holds, hashed again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError
from tests.signed_images import CI, OTHER, Hanging, SignedVendor, envelope_bundle, statement
from tests.vectors.make import HERE, read_expect
from tests.vectors.of_releases import CONTRACT, ROLLBACK, Documents
from tests.vectors.surgery import request
from tests.vendor import Vendor, bulk
from verifier.trust.bundle import VerifiedBundle, verify_path
from verifier.trust.findings import refusal

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def delta(vendor: Vendor, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """A bundle without its JSON documents, and what a site holds."""
    release, blobs, index = vendor.release()
    held = {digest: data for digest, data in blobs.items() if data[:1] == b"{"}
    path = folder / "delta.tar"
    whole = vendor.bundle()
    path.write_bytes(whole[: release.bulk_at] + bulk(release, blobs, index, skip=tuple(held)))
    return path, held


def verify(vendor: Vendor, path: Path, held: dict[str, bytes], *, stored: bool = True) -> VerifiedBundle:
    def read(blob: Blob) -> bytes:
        if digest_of(held[blob.digest]) != blob.digest:
            raise DamagedError("other bytes", where=blob.digest)
        return held[blob.digest]

    return verify_path(path, request(vendor.pin(), held=frozenset(held), stored=read if stored else None))


def good(on: Hanging) -> None:
    on.refer(envelope_bundle(CI, statement(on.digest)))


def strange(on: Hanging) -> None:
    on.refer(envelope_bundle(OTHER, statement(on.digest)))


def test_a_delta_is_judged_from_the_store(tmp_path: Path) -> None:
    vendor = SignedVendor(hang=good)
    found = verify(vendor, *delta(vendor, tmp_path))
    assert refusal(found.findings) is None
    assert found.end == "complete with what this site holds"
    assert "image-signature" in {one.id for one in found.findings}


def test_a_delta_of_a_strangers_image_is_refused(tmp_path: Path) -> None:
    vendor = SignedVendor(hang=strange)
    error = refusal(verify(vendor, *delta(vendor, tmp_path)).findings)
    assert error is not None
    assert error.finding == "image-signature-unknown"


@pytest.mark.parametrize(
    ("topic", "version"), [*(("contract", one) for one in CONTRACT), *(("rollback", one) for one in ROLLBACK)]
)
def test_contract_and_rollback_document_of_a_delta_keep_their_rules(topic: str, version: str, tmp_path: Path) -> None:
    """F-12.1 and F-12.2: a site takes in no delta that as a full bundle is refused."""
    vendor = Documents(version=version)
    path, held = delta(vendor, tmp_path)
    if read_expect(HERE / topic)[version.removeprefix("1.0.0-")] == "ok":
        assert verify(vendor, path, held).end == "complete with what this site holds"
    else:
        with pytest.raises(MalformedError, match=topic):
            verify(vendor, path, held)


# F-11.10
def test_without_the_store_nothing_is_called_verified(tmp_path: Path) -> None:
    vendor = SignedVendor(hang=good)
    path, held = delta(vendor, tmp_path)
    error = refusal(verify(vendor, path, held, stored=False).findings)
    assert error is not None
    assert (error.exit_code, error.finding) == (5, "image-signers")


def test_a_damaged_document_in_the_store_is_damage(tmp_path: Path) -> None:
    vendor = SignedVendor(hang=good)
    path, held = delta(vendor, tmp_path)
    damaged = {digest: data.replace(b"sign/v1", b"sign/v2") for digest, data in held.items()}
    damaged = {
        digest: data.replace(b"verificationMaterial", b"verificationMateriaI") for digest, data in damaged.items()
    }
    with pytest.raises(DamagedError):
        verify(vendor, path, damaged)
