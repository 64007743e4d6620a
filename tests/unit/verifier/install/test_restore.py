"""Damaged files of a generation: `status` says so, `recover` writes them again where the site still has the bytes."""

from pathlib import Path

import pytest

from manifests.documents.release import Config
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.queue import waiting_items
from verifier.reporting.status import read_status
from verifier.site.generations import read_installed

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2, service={"hello.txt": b"hello, world\n"})
FILES = ("release.json", "settings.json", "generation.json")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE, disk=QuickDisk(), reserve="4KiB")
    assert place.bring(ONE.write(tmp_path / "1.tar")).error is None
    return place


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
        return
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] if how == "cut" else bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_recover_writes_a_damaged_file_again(place: Place, name: str, how: str) -> None:
    path = place.path / "generations" / "1" / name
    before = path.read_bytes()
    damage(path, how)
    status = read_status(place.open(), (), None, place.clock.at)
    assert status.error is not None
    assert (status.error.exit_code, status.error.finding) == (14, "generation-damaged")
    assert "waybill recover" in status.error.remedy
    what, ended = place.recover()
    assert (what, ended.error) == ("written again: damaged files of generation 1", None)
    assert path.read_bytes() == before
    assert read_status(place.open(), (), None, place.clock.at).error is None
    assert place.bring(TWO.write(place.path.parent / "2.tar")).error is None


def test_the_whole_folder_of_the_running_generation(place: Place) -> None:
    folder = place.path / "generations" / "1"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert place.recover()[1].error is None
    site = place.open()
    assert read_installed(site, site.state.installs.generations[0]).release.version == "1.0.0"


def test_what_nothing_here_has_any_more_is_named_with_the_ways_on(place: Place) -> None:
    assert place.bring(TWO.write(place.path.parent / "2.tar")).error is None
    yaml = place.path / "site.yaml"
    was = yaml.read_text()
    yaml.write_text(was.replace("every: 30d", "every: 7d"))
    damage(place.path / "generations" / "2" / "settings.json", "changed")
    with pytest.raises(DamagedError) as caught:
        place.recover()
    assert "settings.json cannot be written again: site.yaml no longer says" in caught.value.problem
    assert "from a backup of the site" in caught.value.remedy
    # Each of the ways that it names goes on: the former text of site.yaml, and a rollback.
    yaml.write_text(was)
    assert place.recover()[1].error is None
    damage(place.path / "generations" / "2" / "settings.json", "changed")
    assert place.rollback(1, person="ops-1").error is None


def test_a_folder_in_the_place_of_a_file_is_left_to_a_person(place: Place) -> None:
    path = place.path / "generations" / "1" / "release.json"
    raw = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedError, match="a folder is in the place of release") as caught:
        place.recover()
    assert (caught.value.where, "move the folder away" in caught.value.remedy) == (str(path), True)
    path.rmdir()
    assert place.recover()[1].error is None
    assert path.read_bytes() == raw


def test_an_unreadable_file_is_written_again(place: Place) -> None:
    path = place.path / "generations" / "1" / "release.json"
    raw = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")
    assert place.recover()[0] == "written again: damaged files of generation 1"
    assert (path.read_bytes(), path.is_symlink()) == (raw, False)


def test_a_damaged_former_generation_is_mended_too(place: Place) -> None:
    assert place.bring(TWO.write(place.path.parent / "2.tar")).error is None
    damage(place.path / "generations" / "1" / "release.json", "changed")
    assert place.recover()[0] == "written again: damaged files of generation 1"
    assert place.rollback(1, person="ops-1").error is None


def test_a_lost_site_yaml_is_written_again_with_what_is_in_force(tmp_path: Path) -> None:
    """Nothing waits afterwards: settings and config are the very bytes that run, numbers of the config too."""
    schema = encode({"type": "object", "properties": {"port": {"type": "integer"}, "share": {"type": "number"}}})
    config = Config(schema=Blob(digest=digest_of(schema), size=len(schema)), version=1)
    vendor = Vendor(version="1.0.0", sequence=1, extra={"schema": schema}, change={"config": config})
    place = make_place(tmp_path, vendor, disk=QuickDisk(), reserve="4KiB")
    path = place.path / "site.yaml"
    path.write_text(path.read_text().replace("config: {}", "config: {port: 8080, share: 0.250}"))
    assert place.bring(vendor.write(tmp_path / "1.tar")).error is None
    path.unlink()
    (waiting,) = [item for item in waiting_items(place.open()) if item.head.item == "config"]
    assert waiting.error is not None
    assert (waiting.error.problem, waiting.error.where) == ("the file is missing", str(path))
    assert "from a backup of the site" in waiting.error.remedy
    assert "waybill recover" in waiting.error.remedy
    assert place.recover()[0] == "written again: site.yaml"
    assert "share" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640, "a config may hold secrets"
    assert [item.head.item for item in waiting_items(place.open()) if item.head.kind == "config"] == []
    assert place.recover()[0] == "nothing was unfinished"


def test_a_lost_site_yaml_of_a_site_without_a_release_is_not_made_up(tmp_path: Path) -> None:
    place = make_place(tmp_path, ONE, disk=QuickDisk(), reserve="4KiB")
    (place.path / "site.yaml").unlink()
    assert place.recover()[0] == "nothing was unfinished"
    assert not (place.path / "site.yaml").exists()
