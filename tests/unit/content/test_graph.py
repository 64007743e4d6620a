"""The graph of images as a value; what it may not be is in the vectors oci-*."""

import pytest

from content.bundle.graph import blobs_of, walk
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


def test_blobs_of_an_image_are_its_document_config_and_layers() -> None:
    release, graph = graph_of(Vendor())
    found = blobs_of(graph, release.images[0].manifest.digest)
    assert found[0].digest == release.images[0].manifest.digest
    assert len(found) == 3
    assert {one.digest for one in found} <= {one.digest for one in release.members}
    assert blobs_of(graph, "sha256:" + "0" * 64) == ()


def test_blobs_of_an_index_are_those_of_its_children_each_once() -> None:
    def build(shelf: Shelf) -> Fields:
        return shelf.index(shelf.manifest(b"one"), shelf.manifest(b"two"), shelf.manifest(b"one"))

    release, graph = graph_of(Images(build=build))
    found = [one.digest for one in blobs_of(graph, release.images[0].manifest.digest)]
    assert len(found) == len(set(found)) == 1 + 2 + 2 + 1  # index, manifests, layers, the config that both share


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
