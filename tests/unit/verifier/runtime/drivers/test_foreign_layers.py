"""Images with layers that the release does not have: what the drivers do, and what they say."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from content.bundle.oci import OCI_MANIFEST, Descriptor
from manifests.documents.release import Absent, InstallStep
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import HostError
from tests.images import LayoutWriter, app_files, layer
from tests.real import docker_registry
from tests.unit.verifier.runtime.drivers.place import Site, Turn
from tests.unit.verifier.runtime.drivers.test_registry import msgspec_replace, site_context
from verifier.runtime.drivers.driver import load_driver

URL = "https://layers.example.com/base.tgz"
LAYER, _ = layer({"base/data": b"not ours to distribute"})
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def turn(site: Site, work: Path, driver: str, *, absent: bool = True) -> Turn:
    """A step with the image `worker`, which has a foreign layer, and `api`, which has none."""
    writer = LayoutWriter(work / driver)
    api = writer.tag(writer.image([app_files("1")]), "small/api:1.0.0")
    worker = writer.tag(foreign_image(writer, packed=not absent), "small/worker:1.0.0")
    writer.save()
    context = site_context(site, writer, 1, "1.0.0", api, worker, None)
    step = InstallStep(step="images", driver=driver, images=("api", "worker"))
    release = msgspec.structs.replace(
        context.release,
        install=(step,),
        absent=(Absent(parent=worker.digest, digest=digest_of(LAYER), url=URL),) if absent else (),
    )
    return Turn(load_driver(driver), msgspec_replace(context, release), step)


def foreign_image(writer: LayoutWriter, *, packed: bool) -> Descriptor:
    plain = writer.image([{"worker": b"1"}])
    document = json.loads(writer.read(plain))
    (writer.path / blob_name(plain.digest)).unlink()
    document["layers"].append({"mediaType": FOREIGN, "digest": digest_of(LAYER), "size": len(LAYER), "urls": [URL]})
    # Docker's types, so that a registry of Docker knows the layer as a foreign one.
    document["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    if packed:
        writer.blob(LAYER, FOREIGN)
    return replace(writer.blob(json.dumps(document).encode(), OCI_MANIFEST), media_type=document["mediaType"])


def test_the_store_says_what_it_does_not_have(tmp_path: Path) -> None:
    one = turn(Site(tmp_path / "site"), tmp_path, "store")
    assert any(URL in line and "must reach these addresses" in line for line in one.plan.staging)
    one.stage().activate()
    assert not one.problems(thorough=True)
    assert not (tmp_path / "site" / "oci" / blob_name(digest_of(LAYER))).exists()


def test_the_store_keeps_a_foreign_layer_that_was_packed(tmp_path: Path) -> None:
    one = turn(Site(tmp_path / "site"), tmp_path, "store", absent=False)
    assert not any(URL in line for line in one.plan.staging)
    one.stage().activate()
    assert (tmp_path / "site" / "oci" / blob_name(digest_of(LAYER))).exists()


def test_a_registry_takes_the_manifest_without_the_layer(tmp_path: Path) -> None:
    with docker_registry(tmp_path, urls="^https://layers") as running:
        site = Site(tmp_path / "site", {"endpoint": running.host, "prefix": "vendor", "plain_http": True})
        one = turn(site, tmp_path, "registry")
        assert any(URL in line and "are not pushed" in line for line in one.plan.staging)
        one.stage().activate()
        assert not one.problems(thorough=True)
        assert not running.blob_path(digest_of(LAYER)).exists()


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "packed"])
def test_a_registry_that_allows_no_addresses_is_named_with_the_way_on(tmp_path: Path, absent: bool) -> None:
    with docker_registry(tmp_path) as running:
        site = Site(tmp_path / "site", {"endpoint": running.host, "prefix": "vendor", "plain_http": True})
        with pytest.raises(HostError, match=URL) as caught:
            turn(site, tmp_path, "registry", absent=absent).stage()
        assert caught.value.where == f"image worker at {running.host}/vendor/small/worker"
        assert "validation.manifests.urls.allow" in caught.value.remedy
