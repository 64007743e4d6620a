"""The `registry` driver against registries that others wrote."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from content.bundle.oci import OCI_INDEX, REF_NAME, Descriptor, parse_oci
from content.bundle.oci_writer import encode_index
from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.documents.release import Absent, Image, InstallStep, Release, Target
from manifests.words.digest import Blob, blob_name, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError
from tests.images import CYCLONEDX, LayoutWriter, app_files, sbom
from tests.real import RunningRegistry, docker_registry, referrers_registry
from tests.unit.verifier.runtime.drivers.place import Site, Turn
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import DriverContext, load_driver

STEP = InstallStep(step="images", driver="registry", images=("api", "worker"))


@dataclass
class Place:
    site: Site
    registry: RunningRegistry
    work: Path

    def turn(self, generation: int, version: str, *, sparse: bool = False, big: int = 0) -> Turn:
        context = context_of(self.site, self.work / f"{generation}-{version}", generation, version, sparse, big)
        return Turn(load_driver("registry"), context, STEP)

    def client(self) -> Registry:
        return Registry(self.registry.host, RegistryOptions(plain_http=True))

    def tags(self, repository: str) -> tuple[str, ...]:
        """Version tags; those that name a digest are cosign's and the fallback of referrers."""
        with self.client() as client:
            try:
                return tuple(one for one in client.tags(repository) if not one.startswith("sha256-"))
            except HostError:
                return ()


def context_of(site: Site, work: Path, generation: int, version: str, sparse: bool, big: int) -> DriverContext:
    """A release of two images: `api` for two platforms with SBOM and cosign signature, `worker` sharing a layer."""
    writer = LayoutWriter(work)
    shared = {"usr/share/shared": b"shared by api and worker of every version\n" * 100}
    files = app_files(version) | ({"opt/big": random_bytes(big, version)} if big else {})
    kept = writer.image([shared, files])
    other = LayoutWriter(work.with_name(work.name + "-left-out")) if sparse else writer
    images = [kept, other.image([shared, app_files(version + "-arm")], platform="linux/arm64")]
    api = writer.tag(writer.index(images), f"small/api:{version}")
    writer.referrer(api, sbom(version), CYCLONEDX)
    writer.referrer(kept, sbom(version + "-amd64"), CYCLONEDX)
    writer.cosign_signature(api, b"signature", repository="small/api")
    worker = writer.tag(writer.image([shared, {"worker": version.encode()}]), f"small/worker:{version}")
    writer.referrer(worker, sbom("worker"), CYCLONEDX)
    writer.save()
    return site_context(site, writer, generation, version, api, worker, images[1] if sparse else None)


def site_context(
    site: Site,
    writer: LayoutWriter,
    generation: int,
    version: str,
    api: Descriptor,
    worker: Descriptor,
    left_out: Descriptor | None,
) -> DriverContext:
    context = site.context(Vendor(version=version, images=False), generation)
    index = (writer.path / "index.json").read_bytes()
    held = {digest_of(data): data for path in (writer.path / "blobs/sha256").iterdir() if (data := path.read_bytes())}
    site.fill(held | {digest_of(index): index})
    release: Release = msgspec.structs.replace(
        context.release,
        install=(STEP,),
        images=(
            image("api", api, ("linux/amd64",) if left_out else ()),
            image("worker", worker, ()),
        ),
        members=(
            Blob(digest=digest_of(index), size=len(index)),
            *context.release.members[1:],
            *(Blob(digest=digest, size=len(data)) for digest, data in sorted(held.items())),
        ),
        absent=(
            (Absent(parent=api.digest, digest=left_out.digest, platform="linux/arm64"),) if left_out is not None else ()
        ),
    )
    return msgspec_replace(context, release)


def msgspec_replace(context: DriverContext, release: Release) -> DriverContext:
    from dataclasses import replace

    return replace(context, release=release)


def image(name: str, top: Descriptor, platforms: tuple[str, ...]) -> Image:
    return Image(
        name=name,
        to=f"small/{name}",
        manifest=Target(media_type=top.media_type, digest=top.digest, size=top.size),
        platforms=platforms,
        signed_by="none",
        reason="a test",
        sbom_reason="a test",
    )


def random_bytes(size: int, seed: str) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


@pytest.fixture(params=["docker-registry", "referrers-registry"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    start = docker_registry if request.param == "docker-registry" else referrers_registry
    with start(tmp_path) as running:
        settings: dict[str, object] = {"endpoint": running.host, "prefix": "vendor", "plain_http": True}
        yield Place(Site(tmp_path / "site", settings), running, tmp_path / "work")


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Place]:
    with docker_registry(tmp_path) as running:
        settings: dict[str, object] = {"endpoint": running.host, "prefix": "vendor", "plain_http": True}
        yield Place(Site(tmp_path / "site", settings), running, tmp_path / "work")


def test_there_and_back(place: Place) -> None:
    first = place.turn(1, "1.0.0").stage()
    assert place.tags("vendor/small/api") == ()
    assert first.observed() == ["absent", "absent"]
    first.activate()
    assert place.tags("vendor/small/api") == ("1.0.0",)
    assert not first.problems(thorough=True)

    second = place.turn(2, "1.1.0").stage()
    assert place.tags("vendor/small/api") == ("1.0.0",)
    second.activate()
    assert not second.problems(thorough=True)
    assert place.tags("vendor/small/worker") == ("1.0.0", "1.1.0")

    second.deactivate()
    assert place.tags("vendor/small/api") == ("1.0.0",), "no tag of the newer release is left"
    assert place.tags("vendor/small/worker") == ("1.0.0",)
    first.activate()
    assert not first.problems(thorough=True)
    assert second.observed() == ["absent", "absent"]


def test_going_back_by_hand_without_a_deactivate_takes_the_tags_too(place: Place) -> None:
    first = place.turn(1, "1.0.0").stage().activate()
    second = place.turn(2, "1.1.0").stage().activate()
    first.activate()
    assert place.tags("vendor/small/api") == ("1.0.0",)
    assert not first.problems(thorough=True)
    second.activate()
    assert place.tags("vendor/small/api") == ("1.0.0", "1.1.0")
    assert not second.problems(thorough=True)


def test_same_release_twice_keeps_its_tag(place: Place) -> None:
    """A new configuration is a new generation of the same release; leaving it must not take the older one's tag."""
    first = place.turn(1, "1.0.0").stage().activate()
    second = place.turn(2, "1.0.0").stage().activate()
    second.deactivate()
    first.activate()
    assert place.tags("vendor/small/api") == ("1.0.0",)
    assert not first.problems(thorough=True)


def test_signatures_and_sboms_arrive(place: Place) -> None:
    one = place.turn(1, "1.0.0").stage().activate()
    top = one.observed()[0]
    with place.client() as client:
        assert [entry.artifact_type for entry in client.referrers("vendor/small/api", top)] == [CYCLONEDX]
        cosign, _ = client.manifest("vendor/small/api", top.replace(":", "-") + ".sig")
    assert b"dev.cosignproject.cosign/signature" in cosign


def test_every_turn_may_be_repeated(place: Place) -> None:
    one = place.turn(1, "1.0.0").stage().stage().activate().activate()
    assert not one.problems()
    one.deactivate().deactivate()
    assert place.tags("vendor/small/api") == ()
    assert one.observed() == ["absent", "absent"]
    assert not list((place.site.folder / "run/registry").iterdir())


def test_index_with_gaps(place: Place) -> None:
    one = place.turn(1, "1.0.0", sparse=True)
    assert any("refuses an index with gaps" in line for line in one.plan.activation)
    one.stage().activate()
    assert not one.problems(thorough=True)
    with place.client() as client:
        data, media_type = client.manifest("vendor/small/api", "1.0.0")
        children = json.loads(place.site.blobs.joinpath(one.observed()[0].removeprefix("sha256:")).read_bytes())
    if media_type == OCI_INDEX:
        assert digest_of(data) == one.observed()[0]
    else:
        assert digest_of(data) == children["manifests"][0]["digest"]
    one.deactivate()
    assert place.tags("vendor/small/api") == ()


def test_docker_registry_takes_no_index_with_gaps(docker: Place) -> None:
    one = docker.turn(1, "1.0.0", sparse=True).stage().activate()
    (component, _) = one.driver.observe(one.plan, one.context)
    assert "the tag names one platform's image" in (component.detail or "")
    assert component.problem == ""


def test_a_tag_that_somebody_moved(docker: Place) -> None:
    one = docker.turn(1, "1.0.0").stage().activate()
    with docker.client() as client:
        other = encode_index(())
        client.push_manifest("vendor/small/api", "1.0.0", other, OCI_INDEX)
    assert one.observed()[0] == digest_of(other)
    assert digest_of(other) in one.problems()[0]
    one.deactivate()
    assert docker.tags("vendor/small/api") == ("1.0.0",), "what is not ours is not taken away"
    one.activate()
    assert not one.problems()


def test_a_layer_that_rots_in_the_registry(docker: Place) -> None:
    one = docker.turn(1, "1.0.0").stage().activate()
    (layer,) = {
        child.digest
        for child in parse_oci((docker.site.folder / "store" / blob_name(one.observed()[1])).read_bytes()).children[2:]
    }
    path = docker.registry.blob_path(layer)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert not one.problems(), "a quick look compares documents and asks for the rest"
    assert "unreadable" in " ".join(one.problems(thorough=True))


def test_a_blob_with_other_bytes_never_arrives(docker: Place) -> None:
    one = docker.turn(1, "1.0.0")
    layers = [path for path in docker.site.blobs.iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"]
    layer = min(layers, key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.chmod(0o644)
    layer.write_bytes(data)
    with pytest.raises(DamagedError, match="sha256:" + layer.name):
        one.stage()
    assert not docker.registry.blob_path("sha256:" + layer.name).exists()
    assert docker.tags("vendor/small/api") == ()


def test_registry_dies_in_the_middle_and_comes_back(docker: Place) -> None:
    one = docker.turn(1, "1.0.0", big=64 << 20)
    uploads = docker.registry.root / "docker/registry/v2/repositories/vendor/small/api/_uploads"

    def kill_when_under_way() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if any(path.stat().st_size > 1 << 20 for path in uploads.glob("*/data")):
                break
            time.sleep(0.001)
        docker.registry.kill()

    killer = threading.Thread(target=kill_when_under_way)
    killer.start()
    try:
        with pytest.raises(HostError) as caught:
            one.stage()
    finally:
        killer.join()
    assert caught.value.where == f"image api at {docker.registry.host}/vendor/small/api"
    assert one.observed() == ["unreadable", "unreadable"]
    docker.registry.start()
    one.stage().activate()
    assert not one.problems(thorough=True)


def test_a_port_where_nobody_answers(docker: Place) -> None:
    docker.registry.stop()
    one = docker.turn(1, "1.0.0")
    begun = time.monotonic()
    with pytest.raises(HostError):
        one.stage()
    assert time.monotonic() - begun < 5
    assert "unreadable" in one.problems()[0]
    # Each image by its own name and repository.
    for problem, name in zip(one.problems(), ("api", "worker"), strict=True):
        assert f"image {name} at {docker.registry.host}/vendor/small/{name}" in problem


def test_tags_that_cannot_be_withdrawn_are_named_with_their_image(docker: Place) -> None:
    one = docker.turn(1, "1.0.0").stage().activate()
    docker.registry.stop()
    with pytest.raises(HostError) as caught:
        one.deactivate()
    assert caught.value.where == f"image api (tag 1.0.0) at {docker.registry.host}/vendor/small/api"


def test_a_registry_that_deletes_nothing(tmp_path: Path) -> None:
    """Then the tag comes to name a marker that no runtime starts, and the image is no longer behind it."""
    with docker_registry(tmp_path) as running:
        running.stop()
        config = Path(running.command[-1])
        config.write_text(config.read_text().replace("delete: {enabled: true}", "delete: {enabled: false}"))
        running.start()
        settings: dict[str, object] = {"endpoint": running.host, "prefix": "vendor", "plain_http": True}
        place = Place(Site(tmp_path / "site", settings), running, tmp_path / "work")
        first = place.turn(1, "1.0.0").stage().activate()
        second = place.turn(2, "1.1.0").stage().activate()
        gone = second.observed()[0]
        second.deactivate()
        first.activate()
        assert not first.problems()
        assert place.tags("vendor/small/api") == ("1.0.0", "1.1.0")
        with place.client() as client:
            marker, _ = client.manifest("vendor/small/api", "1.1.0")
        assert digest_of(marker) != gone
        assert json.loads(marker)["artifactType"] == "application/vnd.waybill.withdrawn.v1"
        assert second.observed()[0] == digest_of(marker)
        second.activate()
        assert not second.problems()


def test_tls_and_login(tmp_path: Path) -> None:
    with docker_registry(tmp_path, tls=True, htpasswd={"site": "pass word"}) as running:
        assert running.ca is not None
        site = Site(tmp_path / "site")
        (site.folder / "tls").mkdir(parents=True)
        (site.folder / "tls/ca.pem").write_bytes(running.ca.read_bytes())
        secret = site.folder / "login.json"
        secret.write_text(json.dumps({"username": "site", "password": "pass word"}))
        secret.chmod(0o600)
        site.settings = {
            "endpoint": running.host,
            "ca": "tls/ca.pem",
            "login": {"secret": "file:login.json"},
        }
        place = Place(site, running, tmp_path / "work")
        one = place.turn(1, "1.0.0").stage().activate()
        assert not one.problems(thorough=True)

        import base64

        auth = base64.b64encode(b"site:pass word").decode()
        secret.write_text(json.dumps({"auths": {running.host: {"auth": auth}}}))
        assert not one.problems()

        secret.write_text(json.dumps({"username": "site", "password": "wrong"}))
        assert "unreadable" in one.problems()[0]
        secret.chmod(0o644)
        with pytest.raises(RefusedError, match="mode 0644 lets others read it"):
            one.stage()
        del site.settings["login"], site.settings["ca"]
        assert "unreadable" in one.problems()[0]


def test_plain_http_only_when_asked(docker: Place) -> None:
    del docker.site.settings["plain_http"]
    with pytest.raises(HostError):
        docker.turn(1, "1.0.0").stage()


@pytest.mark.parametrize("setting", [{"endpoint": "https://x/y"}, {"prefix": "Upper"}, {"prefix": "../x"}])
def test_settings_that_cannot_be(docker: Place, setting: dict[str, object]) -> None:
    docker.site.settings |= setting
    with pytest.raises(RefusedError) as caught:
        _ = docker.turn(1, "1.0.0").plan
    assert caught.value.where.startswith("site.yaml $.drivers.registry")


def test_shared_layers_are_sent_once(docker: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One repository gets the bytes, the other mounts them."""
    sent: list[str] = []
    upload = Registry._upload

    def counted(self: Registry, sending: Any, *rest: Any) -> bool:
        sent.append(sending.digest)
        return upload(self, sending, *rest)

    monkeypatch.setattr(Registry, "_upload", counted)
    one = docker.turn(1, "1.0.0").stage()
    shared = parse_oci((docker.site.folder / "store" / blob_name(worker_digest(one))).read_bytes()).children[1]
    assert sent.count(shared.digest) == 1
    with docker.client() as client:
        for repository in ("vendor/small/api", "vendor/small/worker"):
            assert client.blob_exists(repository, shared.digest)


def worker_digest(turn: Turn) -> str:
    return turn.context.release.image("worker").manifest.digest


def test_index_lists_are_named(docker: Place) -> None:
    """The store of the test really is what a bundle holds: names, referrers and cosign tags in one index."""
    one = docker.turn(1, "1.0.0")
    data = docker.site.blobs.joinpath(one.context.release.members[0].digest.removeprefix("sha256:")).read_bytes()
    names = [entry.annotation(REF_NAME) for entry in parse_oci(data).children]
    assert "small/api:1.0.0" in names
    assert any(name.startswith("small/api:sha256-") for name in names)
    assert "" in names
