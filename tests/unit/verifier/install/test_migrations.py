"""Data that change with a release: there and back again, with every part failing, and with a person who is late."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from manifests.documents.backup_proof import BackupProof
from manifests.words.errors import DamagedError, HostError, InconsistentError, RefusedError, RolledBackError, TrialError
from tests.faults.model import QuickDisk
from tests.migrating import BACKUP, OLD, FakePrograms, Migrating, database, migrating, put_database, step
from tests.place import Place, make_place
from verifier.approval.items import approvable_of
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.runtime.drivers.driver import load_driver
from verifier.site.journal.events import AskedAgain, Intent, Outcome
from verifier.site.journal.installs import State

A = migrating("1.0.0", 1)
B = migrating("1.1.0", 2, step("two", 2), step("three", 3))
TWO, NEW = OLD.replace(b"1", b"2", 1), OLD.replace(b"1", b"3", 1)
# What an upgrade to B does, in order; `act` begins, `-act` fails.
FORWARD = ["stage", "pause", "backup database", "try database", "migrate two", "migrate three", "switch"]
TRIAL = ["activate", "activate app", "probe", "probe up", "settle"]


@pytest.fixture
def fake() -> FakePrograms:
    return FakePrograms()


@pytest.fixture
def place(tmp_path: Path, fake: FakePrograms) -> Place:
    """A site that runs A, with data of A's schema."""
    made = make_place(tmp_path, A, disk=QuickDisk(), reserve="4KiB")
    made.programs = fake
    put_database(made.path)
    assert made.bring(bundle(made, A)).error is None
    fake.did.clear()
    return made


def bundle(place: Place, vendor: Migrating) -> Path:
    return vendor.write(place.path.parent / f"{vendor.version}.tar")


def acts(place: Place, since: int) -> list[str]:
    """The journal after entry ``since``: each act once it began, with ``-`` where it failed, ``?`` where a person."""
    said = []
    for entry in place.open().entries[since:]:
        match entry.record.event:
            case Intent(act=act, step=name):
                said.append(f"{act} {name}" if name else act)
            case Outcome(act=act, step=name, result="failed"):
                said.append(f"-{act} {name}" if name else f"-{act}")
            case AskedAgain(way=way):
                said.append(f"?{way}")
            case _:
                pass
    return said


def upgrade(place: Place, vendor: Migrating = B) -> tuple[BaseException | None, list[str]]:
    """How it ended, and what was done for it."""
    item = place.receive(bundle(place, vendor)).item
    place.approve(item)
    since = place.open().state.seq
    try:
        error: BaseException | None = place.install(item).error
    except (HostError, RefusedError, DamagedError) as raised:
        error = raised
    return error, acts(place, since)


def data(place: Place) -> bytes:
    return database(place.path).read_bytes()


def backups(place: Place) -> list[str]:
    return sorted(str(one.relative_to(place.path)) for one in place.path.glob("backups/*/*"))


def test_there_and_back_by_hand(place: Place, fake: FakePrograms) -> None:
    error, done = upgrade(place)
    assert error is None
    assert done == FORWARD + TRIAL
    assert data(place) == NEW
    assert backups(place) == ["backups/2/database"]
    since = place.open().state.seq
    assert place.rollback(person="ops-1").error is None
    assert acts(place, since) == ["stage", "pause", "undo three", "undo two", "switch", *TRIAL]
    assert data(place) == OLD
    assert place.open().state.installs.current == 1
    # Forward again is a new install with new backups, not a rollback to the number that was left.
    with pytest.raises(RefusedError, match="the data of generation 2 were taken back"):
        place.rollback(2)
    assert place.bring(bundle(place, B)).error is None
    assert data(place) == NEW
    assert place.open().state.installs.current == 3
    assert "backups/3/database" in backups(place)


@pytest.mark.parametrize(
    ("fails", "then", "kind"),
    [
        # Until the first migration nothing was changed: it rests, approved, and may be tried again as it is.
        ("backup database", ["resume"], HostError),
        ("try database", ["resume"], HostError),
        # From there on the data go back; the release is blocked until it is approved anew.
        ("migrate two", ["retreat", "undo two"], RolledBackError),
        ("migrate three", ["retreat", "undo three", "undo two"], RolledBackError),
    ],
)
def test_a_part_that_fails_before_the_switch(
    place: Place, fake: FakePrograms, fails: str, then: list[str], kind: type
) -> None:
    fake.fails = {fails}
    error, done = upgrade(place)
    assert isinstance(error, kind)
    probed = ["probe up"] if kind is RolledBackError else []
    assert done == [*FORWARD[: FORWARD.index(fails) + 1], f"-{fails}", *then, *probed]
    assert data(place) == OLD
    state = place.open().state
    assert state.installs.current == 1
    now = state.installs.transaction
    assert now is not None
    assert now.state == (State.APPROVED if kind is HostError else State.ROLLED_BACK)
    fake.fails = set()
    if kind is HostError:
        assert backups(place) == []
        assert place.install("r-1.1.0").error is None
    else:
        with pytest.raises(Exception, match="waits for 1 operator"):
            place.install("r-1.1.0")
        place.approve("r-1.1.0")
        assert place.install("r-1.1.0").error is None
        assert place.open().state.installs.current == 3
    assert data(place) == NEW


def test_a_trial_that_fails_takes_the_data_back(place: Place) -> None:
    place.health["up"] = "failing"
    error, done = upgrade(place)
    assert isinstance(error, RolledBackError)
    # The former generation's probe is run too; it is called `up` as well, so it fails here and is recorded.
    retreat = ["retreat", "deactivate app", "undo three", "undo two", "switch-back", "reactivate app"]
    retreat += ["probe up", "-probe up"]
    assert done == [*FORWARD, *TRIAL[:4], "-probe up", "-probe", *retreat]
    assert data(place) == OLD
    assert (place.path / "srv/app/current/hello.txt").read_bytes() == b"1.0.0"


def test_an_undo_that_fails_falls_back_to_the_backup(place: Place, fake: FakePrograms) -> None:
    place.health["up"] = "failing"
    fake.fails = {"undo two"}
    error, done = upgrade(place)
    assert isinstance(error, RolledBackError)
    assert done[-7:-2] == ["undo two", "-undo two", "restore database", "switch-back", "reactivate app"]
    assert data(place) == OLD


def test_when_nothing_brings_the_data_back_a_person_decides(place: Place, fake: FakePrograms) -> None:
    place.health["up"] = "failing"
    fake.fails = {"undo two", "restore database"}
    error, _ = upgrade(place)
    assert isinstance(error, InconsistentError)
    assert error.finding == "restore-failed"
    state = place.open().state
    with pytest.raises(InconsistentError):
        place.bring(bundle(place, migrating("1.2.0", 3)))
    # The boot unit is nobody, and changes nothing; a person's word is one more try.
    assert isinstance(place.recover(due=True)[1].error, InconsistentError)
    fake.fails = set()
    place.health.clear()
    since = place.open().state.seq
    assert place.open().state.installs.current == state.installs.current
    assert isinstance(place.recover()[1].error, RolledBackError)
    assert acts(place, since)[0] == "?back"
    assert data(place) == OLD
    assert place.open().state.installs.current == 1


def test_irreversible_is_honoured(place: Place, fake: FakePrograms) -> None:
    """Without undo and backup the new one goes on running, and the site says that it is neither."""
    last = step("two", 2, undo=None)
    vendor = migrating("1.1.0", 2, last, backups=(), document={"class_": "irreversible", "no_return": "two"})
    place.health["up"] = "failing"
    error, done = upgrade(place, vendor)
    assert isinstance(error, InconsistentError)
    assert "retreat" not in done
    assert place.open().state.installs.current == 2
    assert data(place) == TWO
    # What was wrong was the endpoint: a person says so, and the trial is held again.
    place.health.clear()
    since = place.open().state.seq
    assert place.recover()[1].error is None
    assert acts(place, since) == ["?forward", *TRIAL]
    with pytest.raises(RefusedError, match="cannot be taken back") as caught:
        place.rollback(person="ops-1")
    assert caught.value.finding == "no-way-back"
    assert place.open().state.installs.current == 2


def test_a_rollback_by_hand_that_fails_its_trial_stays_with_the_data(place: Place) -> None:
    """The data are the old ones: going on to the new generation would run it on data that are not its own."""
    assert upgrade(place)[0] is None
    place.health["up"] = "failing"
    ended = place.rollback(person="ops-1")
    assert isinstance(ended.error, InconsistentError)
    assert ended.error.finding == "data-taken-back"
    assert data(place) == OLD
    assert place.open().state.installs.current == 1
    place.health.clear()
    assert place.recover()[1].error is None
    assert place.open().state.installs.current == 1


def test_back_one_at_a_time(place: Place) -> None:
    assert upgrade(place)[0] is None
    assert upgrade(place, migrating("1.2.0", 3, step("four", 4)))[0] is None
    with pytest.raises(RefusedError) as caught:
        place.rollback(1, person="ops-1")
    assert caught.value.remedy == "roll back one release at a time: waybill rollback --to 2"
    assert place.rollback(2, person="ops-1").error is None
    assert place.rollback(1, person="ops-1").error is None
    assert data(place) == OLD


def test_a_generation_that_was_left_is_not_the_former_one(place: Place) -> None:
    """Generation 2 was left and its data taken back; what follows stands on the data of 1, whatever the numbers say."""
    assert upgrade(place)[0] is None
    assert place.rollback(person="ops-1").error is None
    assert upgrade(place, migrating("1.2.0", 3, step("four", 4, undo=("admin", "undo", "1"))))[0] is None
    assert place.open().former() == 1
    with pytest.raises(RefusedError) as caught:
        place.rollback(2, person="ops-1")
    assert (caught.value.finding, caught.value.problem) == (
        "data-taken-back",
        "the data of generation 2 were taken back",
    )
    assert data(place) == OLD.replace(b"1", b"4", 1)
    assert place.rollback(person="ops-1").error is None
    assert (data(place), place.open().state.installs.current) == (OLD, 1)


def test_the_same_release_again_goes_back_to_what_it_replaced(place: Place) -> None:
    """Not to its own first install, which would run it on the old data."""
    assert upgrade(place)[0] is None
    assert place.rollback(person="ops-1").error is None
    assert upgrade(place)[0] is None
    assert place.open().former() == 1
    with pytest.raises(RefusedError, match="the data of generation 2 were taken back"):
        place.rollback(2, person="ops-1")
    assert place.rollback(person="ops-1").error is None
    assert (data(place), place.open().state.installs.current) == (OLD, 1)


def test_what_took_nothing_back_can_be_gone_to_again(place: Place) -> None:
    """A step whose undo was never asked for, because another release did not touch the data."""
    assert upgrade(place)[0] is None
    assert upgrade(place, migrating("1.2.0", 3, backups=()))[0] is None
    assert place.rollback(2, person="ops-1").error is None
    assert place.rollback(3, person="ops-1").error is None
    assert (data(place), place.open().state.installs.current, place.open().former()) == (NEW, 3, 2)


def test_a_release_that_was_passed_by_is_gone_until_it_comes_again(place: Place) -> None:
    medium = bundle(place, B)
    place.receive(medium)
    assert upgrade(place, migrating("1.2.0", 3, step("two", 2)))[0] is None
    assert place.rollback(person="ops-1").error is None
    with pytest.raises(DamagedError) as caught:
        place.approve("r-1.1.0")
    assert (caught.value.finding, caught.value.where) == ("release-gone", "r-1.1.0")
    assert "receive BUNDLE" in caught.value.remedy
    assert place.bring(medium).error is None
    assert data(place) == NEW


def test_a_backup_that_was_changed_is_found_before_anything_is_touched(place: Place, fake: FakePrograms) -> None:
    only = migrating("1.1.0", 2, step("two", 2, undo=None))
    assert upgrade(place, only)[0] is None
    saved = place.path / "backups/2/database"
    good = saved.read_bytes()
    saved.write_bytes(b"x" * len(good))
    with pytest.raises(DamagedError, match="the backup has digest"):
        place.rollback(person="ops-1")
    assert data(place) == TWO
    saved.write_bytes(good)
    assert place.rollback(person="ops-1").error is None
    assert data(place) == OLD


def test_what_a_trial_restore_proved_is_in_the_journal_and_beside_the_restore(place: Place) -> None:
    only = migrating("1.1.0", 2, step("two", 2, undo=None), backups=(replace(BACKUP, proves="rows"),))
    assert upgrade(place, only)[0] is None
    events = [entry.record.event for entry in place.open().entries]
    stated = {one.act: one.proof for one in events if isinstance(one, Outcome) and one.proof}
    assert stated == {"backup": BackupProof(rows=2), "try": BackupProof(rows=2)}
    asked = approvable_of(place.open(), ("b-1",))
    work = make_review(read_review_input(place.open(), asked, load_driver)).work
    assert "restore database from its backup (2 rows): admin load" in work
    assert place.rollback(person="ops-1").error is None
    assert data(place) == OLD


def test_a_new_configuration_migrates_nothing(place: Place, fake: FakePrograms) -> None:
    assert upgrade(place)[0] is None
    fake.did.clear()
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("labels: []", "labels: [east]").replace("target: other", "target: vm"))
    place.approve("config")
    assert place.install("config").error is None
    assert fake.did == []
    # And the way back from there is still the release's own.
    assert place.rollback(1, person="ops-1").error is None
    assert data(place) == OLD


def test_backups_are_kept_as_long_as_was_promised(place: Place) -> None:
    """By running time: a wall clock that jumps removes nothing."""
    assert upgrade(place)[0] is None
    place.clock.at = place.clock.at.replace(year=2100)
    assert upgrade(place, migrating("1.2.0", 3, backups=()))[0] is None
    assert "backups/2/database" in backups(place)
    place.clock.running += 31 * 86400
    assert upgrade(place, migrating("1.3.0", 4, backups=()))[0] is None
    assert backups(place) == []


def test_new_configurations_push_out_neither_the_release_before_nor_its_backup(place: Place) -> None:
    assert upgrade(place)[0] is None
    yaml = place.path / "site.yaml"
    text = yaml.read_text()
    assert "generations: 3" in text
    for size in ("5KiB", "6KiB", "7KiB", "8KiB"):
        yaml.write_text(re.sub(r"reserve: \w+", f"reserve: {size}", text))
        place.approve("config")
        assert place.install("config").error is None
    assert sorted(path.name for path in (place.path / "generations").iterdir()) == ["1", "2", "4", "5", "6"]
    assert backups(place) == ["backups/2/database"]
    assert place.rollback(1, person="ops-1").error is None
    assert data(place) == OLD


# --- the way back before an upgrade ---------------------------------------------------------------------------------


def test_an_upgrade_asks_first_whether_it_could_go_back(place: Place) -> None:
    blob = place.open().blobs / next(one.digest for one in A.release()[0].files[0].entries)[7:]
    blob.chmod(0o644)
    good = blob.read_bytes()
    blob.write_bytes(b"0" * len(good))
    error, done = upgrade(place)
    assert isinstance(error, DamagedError)
    assert error.finding == "way-back"
    assert "files service" in error.problem
    assert "receive BUNDLE --keep" in error.remedy
    assert done == []
    # The medium mends it, although its release runs already and the name and length of the blob are there.
    place.receive(bundle(place, A), keep=True)
    assert blob.read_bytes() == good
    assert place.install("r-1.1.0").error is None


def test_space_for_the_backups_is_counted(place: Place) -> None:
    from msgspec.structs import replace

    from tests.migrating import BACKUP

    huge = migrating("1.1.0", 2, step("two", 2), backups=(replace(BACKUP, at_most_bytes=1 << 50),))
    error, done = upgrade(place, huge)
    assert isinstance(error, HostError)
    assert error.finding == "space"
    assert done == []


# --- the clock of a trial -------------------------------------------------------------------------------------------


def trial(place: Place) -> None:
    error, _ = upgrade(place, migrating("1.1.0", 2, step("two", 2), trial="person"))
    assert isinstance(error, TrialError)


def test_nobody_confirmed_in_time(place: Place) -> None:
    trial(place)
    place.clock.running += 590
    what, ended = place.recover(due=True)
    assert "of running time are left" in what
    assert isinstance(ended.error, TrialError)
    told = list(place.told)
    place.clock.at = place.clock.at.replace(year=2100)
    assert isinstance(place.recover(due=True)[1].error, TrialError)
    assert place.told == told, "a tick writes no report"
    place.clock.running += 11
    # Without --due a person who looks ends nothing.
    assert isinstance(place.recover()[1].error, TrialError)
    what, ended = place.recover(due=True)
    assert isinstance(ended.error, RolledBackError)
    assert place.open().state.installs.rollbacks[-1].code == "unconfirmed"
    assert place.open().state.installs.rollbacks[-1].automatic
    assert data(place) == OLD


def test_trial_time_survives_reboots_and_counts_only_what_ran(place: Place) -> None:
    trial(place)
    for boot in range(2, 9):
        place.clock.boot = f"{boot}1111111-2222-3333-4444-555555555555"
        place.clock.running = 90.0
        _, ended = place.recover(due=True)
    assert isinstance(ended.error, RolledBackError), "7 boots of 90 seconds are more than 600"


def test_confirmed_in_time(place: Place) -> None:
    trial(place)
    place.clock.running += 300
    place.recover(due=True)
    assert place.confirm("ops-1").error is None
    place.clock.running += 3000
    assert place.recover(due=True)[1].error is None
    assert place.open().state.installs.current == 2


def test_a_trial_that_cannot_go_back_waits_on(place: Place) -> None:
    last = step("two", 2, undo=None)
    document = {"class_": "irreversible", "no_return": "two"}
    error, _ = upgrade(place, migrating("1.1.0", 2, last, backups=(), document=document, trial="person"))
    assert isinstance(error, TrialError)
    place.clock.running += 700
    what, ended = place.recover(due=True)
    assert "a rollback is not possible" in what
    assert isinstance(ended.error, TrialError)
    with pytest.raises(RefusedError, match="generation 2 cannot be rolled back"):
        place.rollback()
    assert place.confirm("ops-1").error is None
