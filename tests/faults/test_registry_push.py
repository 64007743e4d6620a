"""Blobs go to the site's registry while they are copied: each once, and closed only when it was found right."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, REF_NAME
from content.bundle.places import complete_places
from content.registry.client import SMALL, Registry
from content.registry.session import RegistryOptions
from manifests.documents import release as r
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError
from tests.faults.crash import problems
from tests.faults.medium import mounted
from tests.faults.model import PulledPlugError, QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.real import RunningRegistry, docker_registry
from tests.vendor import Vendor
from verifier.site.journal.events import Outcome

SIZES = (9 << 20, 6 << 20, (3 << 20) + 17)
T = TypeVar("T")


@dataclass(frozen=True)
class LargeImages(Vendor):
    """A release whose images ``to`` share three large layers; the registry driver installs them."""

    to: tuple[str, ...] = ("small/api", "small/worker")

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        found, _, _ = Vendor.blobs(self.but(images=False))

        def target(media_type: str, data: bytes) -> dict[str, object]:
            found[digest_of(data)] = data
            return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

        layers = [target(OCI_LAYER_GZIP, random.Random(size).randbytes(size)) for size in SIZES]
        top: list[dict[str, object]] = []
        images = []
        for to in self.to:
            name = to.rpartition("/")[2]
            config = target(OCI_CONFIG, encode({"architecture": "amd64", "os": "linux", "author": name}))
            document = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
            manifest = target(OCI_MANIFEST, document)
            top.append({**manifest, "annotations": {REF_NAME: f"{to}:{self.version}"}})
            images.append(
                r.Image(
                    name=name,
                    to=to,
                    manifest=r.Target(media_type=OCI_MANIFEST, digest=digest_of(document), size=len(document)),
                    signed_by="none",
                    reason="a test",
                    sbom_reason="a test",
                )
            )
        return found, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), tuple(images)

    def release(self) -> tuple[r.Release, dict[str, bytes], bytes]:
        names = tuple(to.rpartition("/")[2] for to in self.to)
        steps = (
            r.InstallStep(step="images", driver="registry", images=names),
            r.InstallStep(step="app", driver="files", files=("service",)),
        )
        return Vendor.release(self.but(change={"install": steps}) if not self.change else self)


VENDOR = LargeImages()
LAYERS = sorted(
    (place for place in complete_places(VENDOR.release()[0]) if place.blob.size > SMALL), key=lambda p: -p.blob.size
)


@dataclass
class Bound:
    """A site that approved a release, its bundle, and its registry. ``sent``: large blobs by how they were sent."""

    place: Place
    bundle: Path
    registry: RunningRegistry
    sent: list[tuple[str, str]]

    def holds(self, digest: str) -> bool:
        """Whether the registry has the blob, by itself and under a repository."""
        return self.registry.blob_path(digest).exists()

    def uploads(self) -> list[Path]:
        """Uploads that were neither closed nor taken back."""
        return list(self.registry.root.glob("docker/registry/v2/repositories/**/_uploads/*/data"))

    def stored(self) -> set[str]:
        folder = self.place.path / "store" / "blobs" / "sha256"
        return {"sha256:" + path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [
            (event.act, event.result, event.code)
            for event in (entry.record.event for entry in self.place.open().entries)
            if isinstance(event, Outcome)
        ]


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("enrolled"), VENDOR, disk=QuickDisk(), reserve="4KiB")


@pytest.fixture
def bound(enrolled: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bound]:
    shutil.copytree(enrolled.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=enrolled.people)
    sent: list[tuple[str, str]] = []
    for name in ("push_stream", "_upload"):
        monkeypatch.setattr(Registry, name, _noting(getattr(Registry, name), name, sent))
    with docker_registry(tmp_path) as registry:
        yaml = place.path / "site.yaml"
        settings = f"registry: {{endpoint: '{registry.host}', plain_http: true}}"
        text = yaml.read_text()
        assert "# registry: {endpoint: FILL-IN}" in text
        yaml.write_text(text.replace("# registry: {endpoint: FILL-IN}", settings))
        bundle = VENDOR.write(tmp_path / "bundle.tar")
        place.approve(place.receive(bundle).item)
        yield Bound(place, bundle, registry, sent)


def _noting(method: Callable[..., Any], name: str, sent: list[tuple[str, str]]) -> Callable[..., Any]:
    def noting(self: Registry, *words: Any) -> Any:
        digest, size = (words[1], words[2]) if name == "push_stream" else (words[0].digest, words[0].size)
        if size > SMALL:
            sent.append((name, digest))
        return method(self, *words)

    return noting


def kill_in_the_middle(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry dies when an upload has sent two pieces."""
    push_stream = Registry.push_stream

    def killing(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        for i, piece in enumerate(pieces):
            if i == 2:
                bound.registry.kill()
            yield piece

    def dying(self: Registry, repository: str, digest: str, size: int, pieces: Iterable[memoryview], sent: Any) -> None:
        push_stream(self, repository, digest, size, killing(pieces), sent)

    monkeypatch.setattr(Registry, "push_stream", dying)


def test_each_large_blob_is_sent_once_and_while_it_is_copied(bound: Bound) -> None:
    assert bound.place.install("r-1.0.0").error is None
    assert sorted(bound.sent) == sorted(("push_stream", layer.blob.digest) for layer in LAYERS)
    with Registry(bound.registry.host, RegistryOptions(plain_http=True)) as client:
        for layer in LAYERS:
            data = b"".join(client.blob("small/worker", layer.blob.digest, layer.blob.size))
            assert digest_of(data) == layer.blob.digest
    assert not bound.uploads()
    assert problems(bound.place) == ""


def test_no_more_uploads_at_once_than_the_site_allows(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = bound.place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("plain_http: true", "plain_http: true, parallel: 1"))
    bound.place.approve("r-1.0.0")
    push_stream = Registry.push_stream
    under_way: list[Any] = []
    most: list[int] = []

    def counted(self: Registry, *words: Any) -> None:
        under_way.append(words)
        most.append(len(under_way))
        push_stream(self, *words)
        under_way.pop()

    monkeypatch.setattr(Registry, "push_stream", counted)
    assert bound.place.install("r-1.0.0").error is None
    assert most == [1] * len(LAYERS)


def test_a_registry_that_dies_during_the_copy_fails_like_one_that_dies_afterwards(bound: Bound) -> None:
    """Everything is in the store then; same finding, same place, same entries; a later install sends the rest."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(HostError) as caught:
        kill_in_the_middle(bound, patch)
        bound.place.install("r-1.0.0")
    during = bound.outcomes()
    assert bound.stored() >= {layer.blob.digest for layer in LAYERS}
    with pytest.raises(HostError) as afterwards:
        bound.place.install("r-1.0.0")
    assert bound.registry.host in caught.value.where
    assert bound.registry.host in afterwards.value.where
    assert caught.value.finding == afterwards.value.finding
    assert during[-1] == ("stage", "failed", caught.value.finding)
    # The look before the install finds it down, so nothing is begun.
    assert bound.outcomes() == during
    assert bound.place.open().state.installs.current == 0
    bound.registry.start()
    arrived = {layer.blob.digest for layer in LAYERS if bound.holds(layer.blob.digest)}
    del bound.sent[:]
    assert bound.place.install("r-1.0.0").error is None
    assert {digest for _, digest in bound.sent} == {layer.blob.digest for layer in LAYERS} - arrived
    assert problems(bound.place) == ""


def test_a_registry_that_does_not_answer_is_named_before_anything_is_copied(bound: Bound) -> None:
    bound.registry.stop()
    with pytest.raises(HostError) as caught:
        bound.place.install("r-1.0.0")
    assert bound.registry.host in caught.value.where
    assert bound.outcomes() == []
    assert not bound.stored() & {layer.blob.digest for layer in LAYERS}


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_an_upload_of_damaged_bytes_is_never_closed(bound: Bound, tmp_path: Path, damage: str) -> None:
    """The registry gets the good blobs, and is told to forget the bad one; another medium brings only that."""
    bad = LAYERS[0]
    data = bytearray(bound.bundle.read_bytes())
    at = bad.offset + bad.blob.size // 2
    if damage == "flipped":
        data[at] ^= 1
    bound.bundle.write_bytes(data[:at] if damage == "cut" else data)
    with pytest.raises(DamagedError) as caught:
        bound.place.install("r-1.0.0")
    assert bad.name in {piece.name for piece in caught.value.pieces}
    assert not bound.holds(bad.blob.digest)
    assert bad.blob.digest not in bound.stored()
    if damage == "flipped":
        assert not bound.uploads()
        assert all(bound.holds(layer.blob.digest) for layer in LAYERS[1:])
    arrived = {layer.blob.digest for layer in LAYERS if bound.holds(layer.blob.digest)}
    del bound.sent[:]
    assert bound.place.install("r-1.0.0", media=VENDOR.write(tmp_path / "other.tar")).error is None
    assert {digest for _, digest in bound.sent} == {layer.blob.digest for layer in LAYERS} - arrived
    assert problems(bound.place) == ""


def test_a_drive_that_fails_in_the_middle_of_an_upload(bound: Bound, tmp_path: Path) -> None:
    """The unreadable block is named as without a registry, and no failure of the network is made of it."""
    bad = LAYERS[1]
    folder = tmp_path / "drive"
    folder.mkdir()
    with mounted(folder) as drive:
        shutil.copy(bound.bundle, drive.source / "bundle.tar")
        start = bad.offset + (2 << 20)
        drive.spoil(("bundle.tar", start, start + 10))
        with pytest.raises(DamagedError, match="is unreadable, bytes") as caught:
            bound.place.install("r-1.0.0", media=drive.path / "bundle.tar")
    assert caught.value.finding == "bulk-unreadable"
    assert not bound.holds(bad.blob.digest)
    assert bound.place.install("r-1.0.0").error is None
    assert problems(bound.place) == ""


class Stopped(RecordingDisk):
    """Records, until the plug is pulled when the copy number ``at`` is done."""

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(root)
        self.left = at

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        large = kind == "rename" and path.name in {layer.blob.digest.removeprefix("sha256:") for layer in LAYERS}
        self.left -= large
        if self.left < 0:
            raise PulledPlugError
        return super()._effect(kind, path, act)


@pytest.mark.parametrize("at", range(len(SIZES)))
def test_killed_during_the_copy_it_goes_on_with_what_is_missing(bound: Bound, at: int) -> None:
    """A blob that the registry has is not sent again, also where the site's own copy was lost."""
    disk = Stopped(bound.place.path, at)
    bound.place.disk = disk
    with pytest.raises(PulledPlugError):
        bound.place.install("r-1.0.0")
    arrived = {layer.blob.digest for layer in LAYERS if bound.holds(layer.blob.digest)}
    assert arrived
    bound.place.disk = QuickDisk()
    bound.place.recover()
    del bound.sent[:]
    assert bound.place.install("r-1.0.0").error is None
    assert {digest for _, digest in bound.sent} == {layer.blob.digest for layer in LAYERS} - arrived
    assert problems(bound.place) == ""


def test_what_another_repository_has_is_mounted(bound: Bound, tmp_path: Path) -> None:
    """The next release has its image under another name; not one of its large blobs is sent."""
    assert bound.place.install("r-1.0.0").error is None
    del bound.sent[:]
    renamed = LargeImages(version="1.1.0", sequence=2, to=("small/renamed",))
    for layer in LAYERS:
        path = bound.place.path / "store" / "blobs" / "sha256" / layer.blob.digest.removeprefix("sha256:")
        path.unlink()
    item = bound.place.receive(renamed.write(tmp_path / "next.tar")).item
    bound.place.approve(item)
    assert bound.place.install(item).error is None
    assert bound.sent == []
    with Registry(bound.registry.host, RegistryOptions(plain_http=True)) as client:
        assert all(client.blob_exists("small/renamed", layer.blob.digest) for layer in LAYERS)
