"""The `files` driver without a service: the versioned folder, its link, and what is seen in it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from manifests.documents.release import FileEntry, FileSet, InstallStep
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError
from tests.unit.verifier.runtime.drivers.place import Site, Turn, release_of
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.drivers.folder import check_sets, file_set_digest
from verifier.site.disk import Disk

T = TypeVar("T")
STEP = InstallStep(step="app", driver="files", files=("service",))
FILES = {"a.txt": b"a\n", "bin/tool": b"#!/bin/sh\n", "deep/er/b.txt": b"b\n", "empty": b""}


def turn(site: Site, generation: int, version: str, step: InstallStep = STEP, config: bytes | None = None) -> Turn:
    vendor = Vendor(images=False, version=version, service={**FILES, "version.txt": version.encode()})
    return Turn(load_driver("files"), site.context(vendor, generation, step, config=config), step)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def folder(site: Site) -> Path:
    return site.folder / "srv" / "app"


def test_there_and_back(site: Site, folder: Path) -> None:
    first = turn(site, 1, "1.0.0").stage()
    assert not (folder / "current").exists()
    assert first.observed() == ["absent"]
    first.activate()
    assert (folder / "current" / "version.txt").read_text() == "1.0.0"
    assert not first.problems()
    second = turn(site, 2, "1.1.0").stage()
    assert (folder / "current" / "version.txt").read_text() == "1.0.0"
    second.activate()
    assert (folder / "current" / "version.txt").read_text() == "1.1.0"
    second.deactivate()
    assert not (folder / "current").is_symlink()
    first.activate()
    assert (folder / "current" / "version.txt").read_text() == "1.0.0"
    assert not first.problems()
    assert second.observed() == ["absent"]
    second.driver.discard(second.plan, second.context)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "current"]
    with pytest.raises(RefusedError, match="is the current one"):
        first.driver.discard(first.plan, first.context)


def test_modes_do_not_depend_on_the_umask(site: Site, folder: Path) -> None:
    before = os.umask(0o077)
    try:
        turn(site, 1, "1.0.0", config=b"{}").stage()
    finally:
        os.umask(before)
    for path in (folder.parent, folder, folder / "1"):
        assert path.stat().st_mode & 0o777 == 0o755
    assert (folder / "1/deep/er").stat().st_mode & 0o777 == 0o755
    assert (folder / "1/a.txt").stat().st_mode & 0o777 == 0o644
    assert (folder / "1.config.json").stat().st_mode & 0o777 == 0o600


def test_staging_again_finds_it_done_and_mends_what_changed(site: Site, folder: Path) -> None:
    one = turn(site, 1, "1.0.0").stage()
    inode = (folder / "1/a.txt").stat().st_ino
    one.stage()
    assert (folder / "1/a.txt").stat().st_ino == inode
    (folder / "1/a.txt").write_bytes(b"changed")
    (folder / "1/extra").write_bytes(b"extra")
    one.stage().activate()
    assert not one.problems()
    assert sorted(path.name for path in folder.iterdir()) == ["1", "current"]


def put_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda at: (at / "a.txt").write_bytes(b"A\n"), "changed: a.txt"),
        (lambda at: (at / "a.txt").chmod(0o755), "changed: a.txt"),
        (lambda at: (at / "a.txt").unlink(), "missing: a.txt"),
        (lambda at: (at / "deep/new").write_bytes(b""), "not of the release: deep/new"),
        (lambda at: ((at / "a.txt").unlink(), (at / "a.txt").symlink_to("empty")), "changed: a.txt"),
        (lambda at: put_fifo(at / "a.txt"), "changed: a.txt"),
        (lambda at: (at / "link").symlink_to("/etc"), "not of the release: link"),
        (lambda at: os.close(os.open(os.fsencode(at) + b"/\xff", os.O_CREAT | os.O_WRONLY)), "not of the release"),
    ],
    ids=["bytes", "mode", "gone", "extra", "link", "fifo", "link-out", "name"],
)
def test_every_change_is_seen(site: Site, folder: Path, harm: Callable[[Path], object], word: str) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    harm(folder / "1")
    (problem,) = one.problems()
    assert word in problem
    assert one.observed()[0].startswith("sha256:")


def test_another_link_than_ours(site: Site, folder: Path) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    (folder / "current").unlink()
    (folder / "current").symlink_to("/etc")
    assert "names no generation" in one.problems()[0]
    one.activate()
    assert not one.problems()


@pytest.mark.parametrize("data", [b"x\n", b"a", b"a\n\n", b""], ids=["flipped", "short", "long", "empty"])
def test_a_blob_with_other_bytes_stops_the_staging(site: Site, folder: Path, data: bytes) -> None:
    one = turn(site, 1, "1.0.0")
    path = site.folder / "store" / blob_name(digest_of(b"a\n"))
    path.chmod(0o644)
    path.write_bytes(data)
    if data == b"a\n\n":
        # The copy has the stated length and so the right bytes; what is longer in the store does not arrive.
        one.stage().activate()
        assert not one.problems()
        return
    with pytest.raises(DamagedError, match="expected " + digest_of(b"a\n")):
        one.stage()
    assert list(folder.iterdir()) == []


def test_a_blob_that_is_missing_or_a_link(site: Site, folder: Path) -> None:
    one = turn(site, 1, "1.0.0")
    path = site.folder / "store" / blob_name(digest_of(b"a\n"))
    path.rename(site.folder / "elsewhere")
    with pytest.raises(DamagedError, match="not in the store"):
        one.stage()
    path.symlink_to(site.folder / "elsewhere")
    with pytest.raises(HostError):
        one.stage()
    assert list(folder.iterdir()) == []


class FailingDisk(Disk):
    """Fails one effect, and everything after it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return act()


def test_failing_at_every_effect_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Stage and activate of a second generation, stopped at effect 0, 1, 2 …, then run again."""
    for number in range(1000):
        site = Site(tmp_path / str(number))
        first = turn(site, 1, "1.0.0").stage().activate()
        site.disk = FailingDisk(number)
        second = turn(site, 2, "1.1.0")
        current = site.folder / "srv/app/current/version.txt"
        try:
            second.stage().activate()
        except HostError as error:
            assert "no space left" in str(error)
            assert current.read_text() in ("1.0.0", "1.1.0")
            assert not (first.problems() and second.problems())
            site.disk = Disk()
            assert not turn(site, 2, "1.1.0").stage().activate().problems()
            first.activate()
            assert not first.problems()
        else:
            assert number > 20, "so few effects cannot be all"
            return
    raise AssertionError("it never succeeded")


def test_the_plan_counts_what_is_needed(site: Site) -> None:
    plan = turn(site, 1, "1.0.0").plan
    before = os.statvfs(site.folder)
    assert plan.bytes_needed >= sum(len(data) for data in FILES.values())
    assert plan.inodes_needed >= len(FILES) + 1
    assert "put 5 files into" in plan.staging[0]
    assert os.statvfs(site.folder).f_ffree == before.f_ffree or not (site.folder / "srv").exists()
    assert not (site.folder / "srv").exists(), "a plan touches nothing"


def file_set(name: str, *paths: str) -> FileSet:
    return FileSet(name=name, entries=tuple(FileEntry(path=path, digest=digest_of(b""), size=0) for path in paths))


def test_sets_share_one_folder_or_are_refused() -> None:
    check_sets((file_set("a", "x", "y/z"), file_set("b", "y/w")), "here")
    with pytest.raises(RefusedError, match="x is in two file sets"):
        check_sets((file_set("a", "x"), file_set("b", "x")), "here")
    with pytest.raises(RefusedError, match="y is a file in one file set and a folder in another"):
        check_sets((file_set("a", "y"), file_set("b", "y/w")), "here")


def test_expected_digest_is_that_of_the_release(site: Site) -> None:
    one = turn(site, 1, "1.0.0").stage().activate()
    release, _ = release_of(Vendor(images=False, service={**FILES, "version.txt": b"1.0.0"}))
    assert one.observed() == [file_set_digest(release.file_set("service"))]


def test_an_account_that_does_not_exist(site: Site) -> None:
    site.settings["user"] = "nobody-of-this-name"
    with pytest.raises(RefusedError, match="no account 'nobody-of-this-name'"):
        turn(site, 1, "1.0.0").stage()
