"""The graph of images as a value; what it may not be is in the vectors oci-*."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from content.bundle.graph import walk
from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, ImageManifest, parse_oci
from manifests.documents.release import Image
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError
from tests.vectors.of_images import Fields, Images, Shelf
from tests.vendor import CYCLONEDX, Vendor

ROOT = Path(__file__).parents[4]


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


class Crowded(Vendor):
    """Five manifests that list one layer over and over, with annotations: as much as F-10.16 allows, or one more."""

    layers = 29_900
    notes = 19_900

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        blobs, index, images = super().blobs()
        top = json.loads(index)["manifests"]

        def put(media_type: str, data: bytes) -> dict[str, object]:
            blobs[digest_of(data)] = data
            return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

        config, layer = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}'), put("a/b", b"x")
        for number in range(5):
            notes = {f"{number}{note:05}": "" for note in range(self.notes)}
            document = {"schemaVersion": 2, "config": config, "layers": [layer] * self.layers, "annotations": notes}
            top.append(put(OCI_MANIFEST, json.dumps(document, separators=(",", ":")).encode()))
        return blobs, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), images


@pytest.mark.parametrize(
    ("limit", "word"), [("MAX_DESCRIPTORS", "descriptors"), ("MAX_ANNOTATIONS", "annotations and urls")]
)
def test_all_documents_together_are_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, word: str) -> None:
    release, blobs, index = Vendor().release()
    read = {**blobs, digest_of(index): index}.__getitem__
    graph = walk(release, read)
    documents = [parse_oci(index), *(node.document for node in graph.nodes.values())]
    counts = {
        "descriptors": sum(len(one.children) for one in documents),
        "annotations and urls": sum(
            len(one.annotations) + sum(len(c.annotations) + len(c.urls) for c in one.children) for one in documents
        ),
    }
    monkeypatch.setattr(f"content.bundle.graph.{limit}", counts[word])
    walk(release, read)
    monkeypatch.setattr(f"content.bundle.graph.{limit}", counts[word] - 1)
    with pytest.raises(MalformedError, match=f"more than {counts[word] - 1} {word} together"):  # F-10.16
        walk(release, read)


@pytest.mark.slow
def test_the_most_that_the_caps_allow_takes_no_more_memory_than_promised(tmp_path: Path) -> None:
    vendor = Crowded()
    vendor.write(tmp_path / "b.tar")
    (tmp_path / "root.json").write_bytes(vendor.root_file())
    command = [
        sys.executable,
        "-m",
        "waybill",
        "verify",
        str(tmp_path / "b.tar"),
        "--root",
        str(tmp_path / "root.json"),
    ]
    # A process of its own measures it: this one has other tests in memory, and a child counts what it began with.
    program = (
        f"import resource, subprocess\ndone = subprocess.run({command!r}, stdout=subprocess.DEVNULL)\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    code, mebibytes = map(int, done.stdout.split())
    assert code == 0
    assert mebibytes < 130
