"""`compare` of a delta: what it leaves out is read from the other bundle, or is the same by its digest."""

from pathlib import Path

import pytest

from tests.vendor import Vendor, bulk
from tests.waybill import waybill
from verifier.documents.compare import compare_files

ONE = Vendor(version="1.0.0", sequence=1)
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})


def delta(vendor: Vendor, path: Path, base: Vendor = ONE) -> Path:
    """The bundle without the members that ``base`` has too: contract, rollback document, SBOMs, files."""
    release, blobs, index = vendor.release()
    left_out = {member.digest for member in base.release()[0].members[2:]} & {one.digest for one in release.members}
    head = vendor.bundle()[: release.bulk_at]
    path.write_bytes(head + bulk(release, blobs, index, skip=tuple(left_out)))
    return path


@pytest.mark.parametrize("order", ["full first", "delta first"])
def test_a_bundle_and_a_delta_of_it_do_not_differ(order: str, tmp_path: Path) -> None:
    files = [ONE.write(tmp_path / "full.tar"), delta(ONE, tmp_path / "delta.tar")]
    if order == "delta first":
        files.reverse()
    done = waybill("compare", *files)
    assert (done.code, done.out.splitlines()[1:]) == (0, ["no difference"])


def test_a_delta_of_the_next_release_differs_as_its_bundle_does(tmp_path: Path) -> None:
    old, new = ONE.write(tmp_path / "1.tar"), TWO.write(tmp_path / "2.tar")
    expected = compare_files(old, new)
    found = compare_files(old, delta(TWO, tmp_path / "delta.tar"))
    assert expected.differences
    assert found.differences == expected.differences
    assert not found.unread


def test_what_two_deltas_both_leave_out_is_the_same_by_its_digest(tmp_path: Path) -> None:
    found = compare_files(delta(ONE, tmp_path / "1.tar"), delta(TWO, tmp_path / "2.tar"))
    # Only the SBOM of the first release is nowhere; contract and rollback document are those of both.
    assert {note.part for note in found.unread} == {"sbom"}
    # Another document that neither holds is not compared, and that is said of both.
    other = TWO.but(fresh=False, needs_from=(">=0.5.0, <9.0.0",))
    found = compare_files(delta(ONE, tmp_path / "3.tar"), delta(other, tmp_path / "4.tar", base=other))
    assert {note.part for note in found.unread} == {"rollback", "sbom"}
