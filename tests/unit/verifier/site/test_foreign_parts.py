"""Parts of one site's folder in another's: a journal, a generation, a key; each is found before anything is done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, UntrustedError, WaybillError
from tests.faults.crash import problems
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from tests.waybill import waybill
from verifier.reporting.key_change import renew_key
from verifier.reporting.report_write import write_report
from verifier.reporting.status import read_status
from verifier.site.journal.checkpoint import segments
from verifier.site.lock import hold_site

A = Vendor(images=False, service={"hello.txt": b"hello\n"})
B = A.but(version="1.1.0", sequence=2, service={"hello.txt": b"hello again\n"})


@pytest.fixture
def two(tmp_path: Path) -> tuple[Place, Place]:
    """Two sites of one vendor: here A runs, there B runs after A."""
    here, there = (make_place(tmp_path / name, A, disk=QuickDisk(), reserve="4KiB") for name in ("here", "there"))
    for place, vendors in ((here, (A,)), (there, (A, B))):
        for vendor in vendors:
            assert place.bring(vendor.write(place.path.parent / f"{vendor.version}.tar")).error is None
    return here, there


def put(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target, symlinks=True)


def said(place: Place) -> tuple[str, WaybillError | None]:
    found = read_status(place.open(), (), None, place.clock.at)
    return found.text, found.error


ACTS: dict[str, Callable[[Place], object]] = {
    "receive": lambda place: place.receive(place.path.parent / "1.0.0.tar"),
    "approve": lambda place: place.approve("b-1"),
    "install": lambda place: place.install("r-1.1.0"),
    "rollback": lambda place: place.rollback(1),
    "recover": lambda place: place.recover(),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_journal_of_another_site_is_believed_by_no_command(two: tuple[Place, Place], act: str) -> None:
    here, there = two
    put(there.path / "journal", here.path / "journal")
    with pytest.raises(UntrustedError, match=r"the journal belongs to .* with key .*, the folder has key") as caught:
        ACTS[act](here)
    assert caught.value.finding == "journal-foreign"
    # Looking is always possible, and says so first.
    text, error = said(here)
    assert error is not None
    assert error.problem.startswith("the journal belongs to")
    assert text.startswith(f"! {error.where}: journal-foreign")
    assert error.finding == "journal-foreign"
    assert here.path.joinpath("current").readlink().name == "1"


@pytest.mark.parametrize("reports", [1, 2, 5])
@pytest.mark.parametrize("act", ACTS)
def test_an_older_journal_of_this_site_is_gone_on_with_by_no_command(
    two: tuple[Place, Place], act: str, reports: int
) -> None:
    """What was done since would be done again, and a number signed twice; the outbox shows that more was told."""
    _, there = two
    shutil.copytree(there.path / "journal", there.path.parent / "older")
    there.approve("b-1")
    assert there.rollback(1).error is None
    for _ in range(reports):
        with there.hold() as site:
            write_report(site, site.disk, there.clock.at)
    shutil.copytree(there.path / "journal", there.path.parent / "newer")
    put(there.path.parent / "older", there.path / "journal")
    before = {path: path.read_bytes() for path in there.path.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(UntrustedError, match=f"the journal ends before report {reports}, which") as caught:
        ACTS[act](there)
    assert caught.value.finding == "journal-behind"
    text, error = said(there)
    assert error is not None
    assert error.problem.startswith(f"the journal ends before report {reports}")
    assert text.startswith(f"! {error.where}: journal-behind")
    assert error.finding == "journal-behind"
    assert {one: one.read_bytes() for one in before} == before
    put(there.path.parent / "newer", there.path / "journal")
    assert there.recover()[1].error is None


def test_where_the_newer_journal_is_lost_the_site_begins_anew(two: tuple[Place, Place]) -> None:
    _, there = two
    shutil.copytree(there.path / "journal", there.path.parent / "older")
    with there.hold() as site:
        told = write_report(site, site.disk, there.clock.at)
    signed = told.read_bytes()
    put(there.path.parent / "older", there.path / "journal")
    with hold_site(there.path, there.disk, there.clock.host(), "test", any_key=True) as site:
        renew_key(site, "backup-restored")
    with there.hold() as site:
        assert write_report(site, site.disk, there.clock.at).name == "2-1.report.json"
    assert told.read_bytes() == signed


def test_put_back_everything_is_well(two: tuple[Place, Place], tmp_path: Path) -> None:
    here, there = two
    shutil.copytree(here.path / "journal", tmp_path / "mine")
    put(there.path / "journal", here.path / "journal")
    put(tmp_path / "mine", here.path / "journal")
    assert here.recover()[1].error is None
    assert problems(here) == ""


def test_a_key_of_another_site_is_renewed(two: tuple[Place, Place]) -> None:
    """The key was lost, and somebody put a wrong one there: the way out of a lost key leads out of that as well."""
    here, there = two
    shutil.copy(there.path / "keys" / "site.key", here.path / "keys" / "site.key")
    with pytest.raises(UntrustedError, match="the journal belongs to"):
        here.recover()
    with hold_site(here.path, here.disk, here.clock.host(), "test", any_key=True) as site:
        renew_key(site, "key-lost")
    assert here.recover()[1].error is None
    with here.hold() as site:
        write_report(site, site.disk, here.clock.at)


def test_a_lost_key_does_not_keep_a_site_from_going_back(two: tuple[Place, Place]) -> None:
    _, there = two
    (there.path / "keys" / "site.key").unlink()
    there.approve("b-1")
    assert there.rollback(1).error is None


def test_a_link_is_not_mended_to_what_is_not_there(two: tuple[Place, Place]) -> None:
    """`current` was lost and the generation with it: pointing there would only make it look whole."""
    _, there = two
    there.path.joinpath("current").unlink()
    (there.path / "generations" / "2" / "release.json").unlink()
    for head in (there.path / "heads").iterdir():
        head.unlink()
    with pytest.raises(DamagedError, match="cannot be written again"):
        there.recover()
    assert not there.path.joinpath("current").is_symlink()


def rewritten(journal: Path, from_entry: int, old: bytes, new: bytes) -> None:
    """Replace ``old`` by ``new`` in one entry, and compute the chain anew from there on, as root on the host can."""
    (segment,) = segments(journal)
    lines = segment.read_bytes().split(b"\n")[:-1]
    digest = digest_of(lines[from_entry - 2])
    for i in range(from_entry - 1, len(lines)):
        line = lines[i].replace(old, new) if i == from_entry - 1 else lines[i]
        fields = json.loads(line)
        fields["prev"] = digest
        changed = json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        lines[i], digest = changed, digest_of(changed)
    segment.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("act", ACTS)
def test_a_journal_that_was_computed_anew_is_found_by_the_reports(two: tuple[Place, Place], act: str) -> None:
    """Every entry follows the one before, and what people approved is another thing than the reports say."""
    _, there = two
    with there.hold() as site:
        write_report(site, site.disk, there.clock.at)
    rewritten(there.path / "journal", 3, b"ops1", b"eve1")
    assert len(there.open().entries) > 3, "the chain itself is whole"
    with pytest.raises(UntrustedError, match="is not the one that report 1 names") as caught:
        ACTS[act](there)
    assert caught.value.finding == "journal-rewritten"
    text, error = said(there)
    assert error is not None
    assert text.startswith(f"! {error.where}: journal-rewritten")


@pytest.mark.parametrize(
    ("words", "shown"),
    [(("history",), True), (("report",), True), (("report", "--preview"), False), (("review",), False)],
)
def test_every_command_that_shows_a_site_names_a_rewritten_journal(
    two: tuple[Place, Place], words: tuple[str, ...], shown: bool
) -> None:
    _, there = two
    with there.hold() as site:
        write_report(site, site.disk, there.clock.at)
    rewritten(there.path / "journal", 3, b"ops1", b"eve1")
    done = waybill(*words, "--site", there.path, "--json")
    assert (done.code, done.json["error"]["finding"]) == (4, "journal-rewritten")
    assert (len(done.json) > 3) == shown, "what is only shown is shown all the same"


def test_a_site_whose_journal_is_gone_is_not_called_no_site(two: tuple[Place, Place]) -> None:
    """Nobody is told to enroll another one: everything but the journal is there."""
    _, there = two
    shutil.rmtree(there.path / "journal")
    done = waybill("status", "--site", there.path, "--json")
    assert (done.code, done.json["error"]["finding"]) == (4, "journal-missing")
    assert "restore `journal/` from a backup" in done.json["error"]["hint"]
