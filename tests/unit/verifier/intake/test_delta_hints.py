"""A delta at a site that lacks a part of it: what is missing or damaged is named, with the way back."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from manifests.words.errors import DamagedError
from tests.place import Place, make_place
from tests.vendor import Vendor, bulk
from verifier.commands.receive import receive_command
from verifier.commands.verify import verify_command
from verifier.site.releases import small_documents

ONE = Vendor(version="1.0.0", sequence=1)
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})


def delta(folder: Path, *also: str) -> tuple[Path, tuple[str, ...]]:
    """TWO without what ONE has, and without ``also``; and the digests of what both have."""
    release, blobs, index = TWO.release()
    shared = tuple(digest for digest in blobs if digest in ONE.release()[1])
    path = folder / "delta.tar"
    path.write_bytes(TWO.bundle()[: release.bulk_at] + bulk(release, blobs, index, skip=(*shared, *also)))
    return path, shared


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE)
    place.bring(ONE.write(tmp_path / "1.tar"))
    return place


@pytest.mark.parametrize("command", [verify_command, receive_command])
def test_a_member_that_neither_has(place: Place, tmp_path: Path, command: click.Command) -> None:
    new = max(set(TWO.release()[1]) - set(ONE.release()[1]), key=lambda digest: len(TWO.release()[1][digest]))
    path, _ = delta(tmp_path, new)
    result = CliRunner().invoke(command, [str(path), "--site", str(place.path)])
    assert result.exit_code == 7, result.output
    assert "1 of " in result.stderr
    assert new[:19] in result.stderr
    assert "ask for the full bundle of small 1.1.0; this site does not hold them either" in result.stderr
    assert "--site" not in result.stderr


def test_without_a_site_the_hint_names_the_option(tmp_path: Path) -> None:
    path, _ = delta(tmp_path)
    root = tmp_path / "1.root.json"
    root.write_bytes(ONE.root_file())
    result = CliRunner().invoke(verify_command, [str(path), "--root", str(root)])
    assert result.exit_code == 7
    assert "or name the site that holds the rest (--site)" in result.stderr


def test_a_held_blob_that_is_damaged(place: Place, tmp_path: Path) -> None:
    path, shared = delta(tmp_path)
    item = place.receive(path).item
    place.approve(item)
    small = {blob.digest for blob in small_documents(TWO.release()[0])}
    layer = next(digest for digest in shared if digest not in small)
    file = place.open().blobs / layer.removeprefix("sha256:")
    file.chmod(0o644)
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DamagedError) as caught:
        place.install(item)
    error = caught.value
    assert error.problem == f"1 blob is damaged in the store of this site, and {path} lacks the bytes: {layer[:19]}"
    assert (error.where, error.finding) == (str(file), "blob-damaged")
    assert "bring the full bundle of small 1.1.0" in error.remedy
    assert "waybill receive BUNDLE --keep" in error.remedy
    place.receive(TWO.write(tmp_path / "2.tar"), keep=True)
    assert place.install(item).error is None
