"""Another key for a real site: rotated in the chain of reports, or renewed when the old one is gone."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from manifests.documents.enrolment import verify_enrolment
from manifests.documents.report import Acknowledged
from manifests.documents.signed_report import SignedReport, verify_report
from manifests.trust.keys import PublicKey
from manifests.trust.rotation import claimed_succession, follow
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, RefusedError, WaitingError, WaybillError
from tests.consignments import consignment_for, signed
from tests.faults.crash import recording, states
from tests.faults.model import QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.commands.enroll import enroll_command
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.reporting.key_change import renew_key, rotate_key
from verifier.reporting.report_write import export_reports, write_report
from verifier.site.folder import NEXT_KEY, SITE_KEY, Site
from verifier.site.outbox import enrolment_path, read_report

ONE = Vendor(version="1.0.0", sequence=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE, disk=QuickDisk())
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return place


def write(place: Place) -> bytes:
    with place.hold() as site:
        return write_report(site, site.disk, place.clock.at).read_bytes()


def rotate(place: Place) -> PublicKey:
    with place.hold() as site:
        return rotate_key(site).key


def renew(place: Place) -> Path:
    with place.hold() as site:
        found = renew_key(site, "key-lost").enrolment
    assert found is not None
    return found


def believed(place: Place, raw: bytes, key: PublicKey, epoch: int = 1) -> SignedReport:
    """As home does it: from the key that it knows, by what the report carries."""
    keys = [key, *(one.key for one in follow(place.open().state.site, key, epoch, claimed_succession(raw)))]
    return verify_report(raw, keys[-1])


def acknowledge(place: Place, seq: int, digest: str, **changes: object) -> None:
    state = place.open().state
    said = consignment_for(state, state.reports.consignment + 1, acknowledged=Acknowledged(seq=seq, digest=digest))
    path = place.path.parent / "note"
    path.write_bytes(signed(replace(said, **changes)))
    with place.hold() as site:
        receive_consignment(site, peek_consignment_file(path))


def test_a_rotated_key_is_believed_by_who_knows_the_first(place: Place) -> None:
    first = place.open().state.site_key
    one = write(place)
    second = rotate(place)
    third = rotate(place)
    two, three = write(place), write(place)
    state = place.open().state
    assert (state.site_key, state.key_epoch, state.reports.seq, state.reports.line) == (third, 3, 3, 1)
    assert len({first.keyid, second.keyid, third.keyid}) == 3
    assert verify_report(one, first).report.identity.succession == ()
    found = believed(place, two, first)
    assert (found.report.chain.seq, found.report.identity.key_epoch) == (2, 3)
    assert found.report.chain.previous == verify_report(one, first).digest
    # The newest alone is enough, also for whoever knows the key between.
    assert believed(place, three, first).report.chain.seq == believed(place, three, second, 2).report.chain.seq == 3
    assert not (place.path / "keys" / NEXT_KEY).exists()
    # What was signed before is still read with the key that signed it.
    with place.hold() as site:
        assert [read_report(site, seq, digest).digest for seq, digest in ((1, verify_report(one, first).digest),)]


def test_a_succession_is_told_until_a_report_by_the_new_key_is_acknowledged(place: Place) -> None:
    one = verify_report(write(place), place.open().state.site_key)
    key = rotate(place)
    acknowledge(place, 1, one.digest)
    two = verify_report(write(place), key)
    assert [one.rotation.key for one in two.report.identity.succession] == [key]
    acknowledge(place, 2, two.digest)
    assert verify_report(write(place), key).report.identity.succession == ()


def test_a_note_for_the_former_key_still_arrives_and_one_for_a_renewed_key_does_not(place: Place) -> None:
    one = verify_report(write(place), place.open().state.site_key)
    former = place.open().state.site_key.keyid
    rotate(place)
    acknowledge(place, 1, one.digest, site_key=former)
    renew(place)
    with pytest.raises(RefusedError, match="the consignment is for site key") as caught:
        acknowledge(place, 1, one.digest, site_key=former)
    assert caught.value.finding == "consignment-other-key"


def test_what_was_agreed_under_the_old_key_is_void(place: Place, tmp_path: Path) -> None:
    item = place.receive(ONE.write(tmp_path / "1.tar")).item
    place.approve(item)
    rotate(place)
    with pytest.raises(WaitingError):
        place.install(item)
    place.approve(item)
    assert place.install(item).error is None


def test_home_must_hear_before_the_ninth(place: Place) -> None:
    write(place)
    for _ in range(8):
        rotate(place)
    with pytest.raises(RefusedError, match="8 key changes") as caught:
        rotate(place)
    assert caught.value.finding == "rotations-untold"
    report = believed(place, write(place), place.open().state.reports.former_keys[0].key).report
    assert len(report.identity.succession) == 8


def test_a_renewed_key_begins_a_line(place: Place, tmp_path: Path) -> None:
    """The key is gone: the site says so with a new enrolment, and counts its reports anew."""
    place.bring(ONE.write(tmp_path / "1.tar"))
    write(place)
    before = place.open().state
    (place.path / "keys" / SITE_KEY).unlink()
    with pytest.raises(DamagedError, match="the key of this site is missing") as caught:
        write(place)
    assert "--renew key-lost" in caught.value.remedy
    with pytest.raises(DamagedError):
        rotate(place)
    path = renew(place)
    enrolment = verify_enrolment(path.read_bytes())
    said = enrolment.enrolment
    assert path.name == "enrolment-2.json"
    assert said.renews is not None
    assert (said.site, said.key_epoch, said.renews.reason) == (before.site, 2, "key-lost")
    assert (said.renews.former, said.renews.last_seq, said.renews.last) == (
        before.site_key.keyid,
        2,
        before.reports.head,
    )
    first = verify_report(write(place), said.key).report
    assert (first.chain.seq, first.chain.previous, first.chain.earlier) == (1, enrolment.digest, ())
    assert first.identity.succession == ()
    assert first.install.state == "confirmed"
    second = verify_report(write(place), said.key).report
    assert [one.seq for one in second.chain.earlier] == [1]
    assert sorted(one.name for one in (place.path / "outbox").glob("*report.json")) == [
        "1.report.json",
        "2-1.report.json",
        "2-2.report.json",
        "2.report.json",
    ]
    medium = tmp_path / "medium"
    medium.mkdir()
    with place.hold() as site:
        left = export_reports(site, site.disk, medium, most=12)
    assert [one.name for one in left] == [f"{before.site.replace('/', '.')}.2-{i}.report.json" for i in (1, 2)]


def test_a_restored_backup_that_is_renewed_makes_no_second_history(place: Place, tmp_path: Path) -> None:
    """Two reports under one number by one key are a fork; after the renewal there is none."""
    shutil.copytree(place.path, tmp_path / "backup", symlinks=True)
    told = [write(place) for _ in range(3)]
    shutil.rmtree(place.path)
    shutil.copytree(tmp_path / "backup", place.path, symlinks=True)
    old = place.open().state.site_key
    with place.hold() as site:
        renew_key(site, "backup-restored")
    raw = write(place)
    assert raw not in told
    for key in (old,):
        with pytest.raises(WaybillError):
            verify_report(raw, key)
    assert verify_report(raw, place.open().state.site_key).report.chain.seq == 1


def typed(place: Place, *words: str, code: int = 0) -> dict[str, object]:
    found = CliRunner().invoke(enroll_command, [*words, "--site", str(place.path), "--json"], catch_exceptions=False)
    assert found.exit_code == code, found.output
    shown: dict[str, object] = json.loads(found.stdout)
    return shown


def test_the_command_line(place: Place) -> None:
    shown = typed(place, "--rotate")
    assert (shown["key_epoch"], shown["enrolment"]) == (2, None)
    assert Path(str(shown["report"])).name == "1.report.json"
    shown = typed(place, "--renew", "key-stolen")
    assert shown["key_epoch"] == 3
    assert verify_enrolment(Path(str(shown["enrolment"])).read_bytes()).enrolment.key.keyid == shown["key"]
    assert Path(str(shown["report"])).name == "3-1.report.json"
    for words in (("--rotate", "--renew", "key-lost"), ("--renew", "whatever"), ("--rotate", "--name", "x"), ()):
        typed(place, *words, code=2)


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = memory / f"waybill-{tmp_path.name}-{id(tmp_path)}" if memory.is_dir() else tmp_path / "fast"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("change", [rotate_key, lambda site: renew_key(site, "key-lost")], ids=["rotate", "renew"])
def test_a_plug_pulled_in_the_middle_leaves_a_key(change: Callable[[Site], object], fast: Path) -> None:
    """In every state that may be found there is one key, the journal names it, and the next report is signed by it."""
    place = make_place(fast / "world", ONE, disk=QuickDisk(), reserve="4KiB")
    write(place)
    before = fast / "before"
    shutil.copytree(place.path, before, symlinks=True)
    old = place.open().state.site_key
    disk = RecordingDisk(place.path)
    place.disk = disk
    with place.hold() as site:
        change(site)
    new = place.open().state.site_key
    run = recording(before, tuple(disk.ops), place.path)
    found = {old.keyid: 0, new.keyid: 0}
    for cut, crash in states(run, seen=set()):
        crash.materialise(fast / "state")
        after = Place(path=fast / "state", disk=QuickDisk(), clock=place.clock, people=place.people)
        key = after.open().signer().public
        found[key.keyid] += 1
        assert key == after.open().state.site_key, cut
        seq = after.open().state.reports.seq
        report = believed(after, write(after), after.open().state.site_key, after.open().state.key_epoch).report
        assert report.chain.seq == seq + 1
        assert digest_of(enrolment_path(after.open()).read_bytes()) == after.open().state.reports.enrolment
        with after.hold() as site:  # it can be done, or done again
            change(site)
        shutil.rmtree(fast / "state")
    assert found[old.keyid] > 2
    assert found[new.keyid] > 2
