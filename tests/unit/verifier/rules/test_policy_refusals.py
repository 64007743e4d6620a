"""What a policy refuses whoever agrees: releases for everyone, images that nobody signed."""

import pytest
from msgspec.structs import replace

from manifests.documents import release as r
from manifests.documents.policy import Policy
from manifests.words.errors import RefusedError
from tests.unit.manifests.documents.test_policy import compiled
from tests.vendor import Vendor
from verifier.rules.change_kinds import check_release


def policy(*, everyone: bool = False, unsigned: bool = False) -> Policy:
    made = compiled()
    return replace(made, refuse=replace(made.refuse, everyone_audience=everyone, unsigned_images=unsigned))


def test_a_release_for_everyone() -> None:
    release, _, _ = Vendor(audience=r.Audience(everyone=True)).release()
    check_release(policy(), release, "r-1.0.0")
    with pytest.raises(RefusedError) as caught:
        check_release(policy(everyone=True), release, "r-1.0.0")
    assert caught.value.finding == "everyone-audience"
    check_release(policy(everyone=True), Vendor().release()[0], "r-1.0.0")


def test_images_that_nobody_signed() -> None:
    release, _, _ = Vendor().release()
    check_release(policy(), release, "r-1.0.0")
    with pytest.raises(RefusedError, match="images without a signature, which the policy refuses: api") as caught:
        check_release(policy(unsigned=True), release, "r-1.0.0")
    assert caught.value.finding == "unsigned-images"
    check_release(policy(unsigned=True), Vendor(images=False).release()[0], "r-1.0.0")
