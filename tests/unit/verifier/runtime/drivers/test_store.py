"""The `store` driver: an OCI layout that strangers' tools read, and that follows the generation both ways."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from content.bundle.oci import REF_NAME, ImageIndex, parse_oci
from manifests.documents import release
from manifests.documents.release import InstallStep
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import DamagedError, NewerError, RefusedError
from tests.unit.verifier.runtime.drivers.place import Site, Turn
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import DRIVERS, load_driver

STEP = InstallStep(step="images", driver="store", images=("api",))


def names(site: Site) -> list[str]:
    index = parse_oci((site.folder / "oci" / "index.json").read_bytes())
    assert isinstance(index, ImageIndex)
    return [name for one in index.manifests if (name := one.annotation(REF_NAME))]


def links(site: Site) -> set[str]:
    return {"sha256:" + path.name for path in (site.folder / "oci" / "blobs" / "sha256").iterdir()}


def turn(site: Site, generation: int, version: str, step: InstallStep = STEP) -> Turn:
    return Turn(load_driver("store"), site.context(Vendor(version=version), generation, step), step)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_follows_the_generation_there_and_back(site: Site) -> None:
    first = turn(site, 1, "1.0.0").stage()
    assert names(site) == []
    first.activate()
    assert names(site) == ["small/api:1.0.0"]
    assert not first.problems(thorough=True)

    second = turn(site, 2, "1.1.0").stage()
    assert names(site) == ["small/api:1.0.0"]
    before = links(site)
    second.activate()
    assert names(site) == ["small/api:1.1.0"]
    assert not second.problems()
    assert first.observed() == ["absent"]

    second.deactivate()
    assert names(site) == []
    first.activate()
    assert names(site) == ["small/api:1.0.0"], "no tag of the newer release is left"
    assert links(site) < before
    assert not first.problems(thorough=True)
    assert second.observed() == ["absent"]


def test_every_turn_may_be_repeated(site: Site) -> None:
    one = turn(site, 1, "1.0.0").stage().stage().activate()
    index = (site.folder / "oci" / "index.json").read_bytes()
    one.activate().stage()
    assert (site.folder / "oci" / "index.json").read_bytes() == index
    one.deactivate().deactivate()
    assert names(site) == []


def test_two_steps_share_one_layout(site: Site) -> None:
    other = InstallStep(step="more", driver="store", images=("api",))
    one = turn(site, 1, "1.0.0").stage().activate()
    two = turn(site, 1, "1.0.0", other).stage().activate()
    assert names(site) == ["small/api:1.0.0"]
    one.deactivate()
    assert names(site) == ["small/api:1.0.0"]
    assert not two.problems()
    two.deactivate()
    assert names(site) == []


def test_a_blob_with_other_bytes_stops_the_staging(site: Site) -> None:
    one = turn(site, 1, "1.0.0")
    (layer,) = (path for path in site.blobs.iterdir() if path.read_bytes()[:2] == b"\x1f\x8b")
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.chmod(0o644)
    layer.write_bytes(data)
    with pytest.raises(DamagedError, match="expected sha256:" + layer.name):
        one.stage()
    assert not (site.folder / "oci" / "index.json").exists()


@pytest.mark.parametrize("thorough", [False, True])
def test_a_flipped_layer_is_seen_when_looked_at(site: Site, thorough: bool) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    manifest = json.loads((site.folder / "oci" / blob_name(one.observed()[0])).read_bytes())
    layer = site.folder / "oci" / blob_name(manifest["layers"][0]["digest"])
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.chmod(0o644)
    layer.write_bytes(data)
    found = one.problems(thorough=thorough)
    assert bool(found) is thorough
    if found:
        assert "unreadable" in found[0]
    layer.unlink()
    assert "unreadable" in one.problems()[0]


def test_an_index_of_somebody_else_is_reported_and_written_anew(site: Site) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    index = site.folder / "oci" / "index.json"
    index.write_bytes(b"{")
    assert "unreadable" in one.problems()[0]
    one.activate()
    assert not one.problems()


def test_a_stranger_that_tidies_the_layout_leaves_the_store(site: Site) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    held = {path.name for path in site.blobs.iterdir()}
    shutil.rmtree(site.folder / "oci")
    assert {path.name for path in site.blobs.iterdir()} == held
    assert one.problems()
    one.activate()
    assert not one.problems(thorough=True)


def test_blobs_take_no_second_space(site: Site) -> None:
    turn(site, 1, "1.0.0").stage()
    for path in (site.folder / "oci" / "blobs" / "sha256").iterdir():
        assert path.samefile(site.blobs / path.name)


def test_discard_forgets_what_was_only_staged(site: Site) -> None:
    turn(site, 1, "1.0.0").stage().activate()
    before = links(site)
    second = turn(site, 2, "1.1.0").stage()
    assert links(site) > before
    second.driver.discard(second.plan, second.context)
    assert links(site) == before


def test_a_step_that_is_not_of_images(site: Site) -> None:
    step = InstallStep(step="images", driver="store", images=("api",), files=("service",))
    with pytest.raises(RefusedError, match="gives files"):
        _ = turn(site, 1, "1.0.0", step).plan


@pytest.mark.parametrize("folder", ["/etc", "../out", "a/../b", "", "."])
def test_settings_cannot_leave_the_site(site: Site, folder: str) -> None:
    site.settings["folder"] = folder
    with pytest.raises(RefusedError, match=r"below the site's folder|of length >= 1") as caught:
        _ = turn(site, 1, "1.0.0").plan
    assert caught.value.where == "site.yaml $.drivers.store.folder"


def test_unknown_settings_are_refused(site: Site) -> None:
    site.settings["fodler"] = "oci"
    with pytest.raises(RefusedError, match="unknown field `fodler`"):
        _ = turn(site, 1, "1.0.0").plan


def test_unknown_driver() -> None:
    words = "needs the driver .ansible., this verifier has files, helm, program, registry, store"
    with pytest.raises(NewerError, match=words):
        load_driver("ansible")
    assert tuple(DRIVERS) == release.DRIVERS


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_copies_an_image_out(site: Site, tmp_path: Path) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    layout = f"oci:{site.folder / 'oci'}:small/api:1.0.0"
    raw = subprocess.run(["skopeo", "inspect", "--raw", layout], capture_output=True, check=True).stdout
    assert [digest_of(raw)] == one.observed()
    out = tmp_path / "out"
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--preserve-digests", layout, f"oci:{out}:x"], check=True, capture_output=True
    )
    copied = json.loads((out / "index.json").read_bytes())["manifests"][0]
    assert [copied["digest"]] == one.observed()


@pytest.mark.skipif(shutil.which("umoci") is None, reason="needs umoci")
def test_umoci_gc_takes_links_only(site: Site) -> None:
    turn(site, 1, "1.0.0").stage().activate()
    turn(site, 2, "1.1.0").stage()
    held = {path.name for path in site.blobs.iterdir()}
    subprocess.run(["umoci", "gc", "--layout", str(site.folder / "oci")], check=True, capture_output=True)
    assert {path.name for path in site.blobs.iterdir()} == held


def test_every_account_can_read_the_layout_whatever_the_umask(site: Site) -> None:
    before = os.umask(0o077)
    try:
        turn(site, 1, "1.0.0").stage().activate()
    finally:
        os.umask(before)
    layout = site.folder / "oci"
    for path in (layout, *layout.rglob("*")):
        expected = 0o755 if path.is_dir() else 0o444 if path.parent.name == "sha256" else 0o644
        assert path.stat().st_mode & 0o777 == expected, path
