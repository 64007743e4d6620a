"""An approver is told that the key of an image's signer is weak."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from manifests.documents.release import ImageSigner
from manifests.trust.image_keys import parse_carried_pem
from tests.faults.model import QuickDisk
from tests.place import make_place
from tests.signed_images import pem, rsa_key
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.approval.review_input import _weak_signers
from verifier.change.values import Change


@pytest.mark.parametrize(("bits", "count"), [(2048, 1), (3072, 0)])
def test_a_short_key_is_a_warning(tmp_path: Path, bits: int, count: int) -> None:
    from dataclasses import replace as replace_data

    vendor = Vendor()
    place = make_place(tmp_path, vendor, disk=QuickDisk())
    item = place.receive(vendor.write(tmp_path / "1.tar")).item
    change = approvable_of(place.open(), (item,))
    assert isinstance(change, Change)
    signer = ImageSigner(key=parse_carried_pem(pem(rsa_key(bits)), "ci.pub"))
    images = tuple(replace(image, signed_by="ci") for image in change.release.images)
    release = replace(change.release, images=images, signers={"ci": signer, "other": signer})
    signed = replace_data(change, installed=replace_data(change.installed, release=release))
    found = [finding.text for finding in _weak_signers(signed)]
    expected = [f"{release.version}: images are signed by ci: an RSA key of 2048 bits, expected 3072 or more"]
    assert found == expected[:count]
