"""The graph of images as a value; what it may not be is in the vectors oci-*."""

import pytest

from content.bundle.graph import walk
from content.bundle.oci import ImageManifest
from manifests.words.errors import MalformedError
from tests.vectors.of_images import Fields, Images, Shelf
from tests.vendor import CYCLONEDX, Vendor


def graph_of(vendor: Vendor):  # type: ignore[no-untyped-def]  # the pair that walk needs
    release, blobs, index = vendor.release()
    found = {**blobs, release.members[0].digest: index}
    return release, walk(release, found.__getitem__)


def test_an_image_and_its_referrer() -> None:
    release, graph = graph_of(Vendor())
    image = release.images[0].manifest.digest
    assert graph.top[0].digest == image
    (referrer,) = graph.referrers(image)
    assert isinstance(referrer.document, ImageManifest)
    assert referrer.document.referrer_type == CYCLONEDX
    assert graph.referrers("sha256:" + "0" * 64) == ()


@pytest.mark.parametrize("upside_down", [False, True])
def test_depth_does_not_hang_on_the_order_of_entries(upside_down: bool) -> None:
    """F-10.9: an index that is listed at the top and lies too deep by another way is too deep."""

    def build(shelf: Shelf) -> Fields:
        inner = shelf.index(shelf.manifest())
        outer = shelf.index(shelf.index(inner))
        shelf.top.append(inner)
        return outer

    def spoil(index: Fields) -> None:
        if upside_down:
            index["manifests"].reverse()

    with pytest.raises(MalformedError, match="nested deeper than 2"):
        graph_of(Images(build=build, spoil=spoil))


def test_a_document_is_read_once() -> None:
    """Ten thousand entries for one manifest are one read."""
    vendor = Images(build=lambda shelf: shelf.index(*[shelf.manifest()] * 5000))
    release, blobs, index = vendor.release()
    found = {**blobs, release.members[0].digest: index}
    read: list[str] = []

    def once(digest: str) -> bytes:
        read.append(digest)
        return found[digest]

    walk(release, once)
    assert len(read) == len(set(read))
