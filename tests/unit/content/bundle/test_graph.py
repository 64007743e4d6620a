"""The graph of images as a value; what it may not be is in the vectors oci-*."""

import pytest

from content.bundle.graph import walk
from content.bundle.oci import REF_NAME, ImageManifest, parse_oci
from manifests.words.digest import digest_of
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


@pytest.mark.parametrize(
    ("limit", "word"),
    [("MAX_DESCRIPTORS", "descriptors"), ("MAX_ANNOTATIONS", "annotations and urls"), ("MAX_DOCUMENTS", "bytes")],
)
def test_all_documents_together_are_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, word: str) -> None:
    release, blobs, index = Vendor().release()
    read = {**blobs, digest_of(index): index}.__getitem__
    graph = walk(release, read)
    texts = [index, *(blobs[digest] for digest in graph.nodes)]
    documents = [parse_oci(text) for text in texts]
    counts = {
        "descriptors": sum(len(one.children) for one in documents),
        "annotations and urls": sum(
            len(one.annotations) + sum(len(c.annotations) + len(c.urls) for c in one.children) for one in documents
        ),
        "bytes": sum(map(len, texts)),
    }
    monkeypatch.setattr(f"content.bundle.graph.{limit}", counts[word])
    walk(release, read)
    monkeypatch.setattr(f"content.bundle.graph.{limit}", counts[word] - 1)
    with pytest.raises(MalformedError, match=f"more than {counts[word] - 1} {word} together"):  # F-10.16, F-10.18
        walk(release, read)


def test_a_graph_keeps_annotations_of_its_index_alone() -> None:
    """Every text below index.json is read again by who needs it: signatures of images, and nobody else."""
    notes: Fields = {"annotations": {"a": "b", REF_NAME: "c"}}
    vendor = Images(build=lambda shelf: shelf.index({**shelf.manifest(b"one", **notes), **notes}, **notes))
    _, graph = graph_of(vendor)
    assert [entry.annotation(REF_NAME) for entry in graph.top if entry.annotations] == ["small/api:1.0.0"]
    documents = [node.document for node in graph.nodes.values()]
    assert sum(document.noted for document in documents) == 6
    assert not any(document.annotations for document in documents)
    assert not any(child.annotations for document in documents for child in document.children)
