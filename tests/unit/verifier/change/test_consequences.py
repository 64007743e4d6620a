"""What people must weigh first: no rollback afterwards, a floor that rises, a revocation."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from manifests.trust.envelope_writer import seal
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError
from tests.authorisations import authorisation, bring, carried
from tests.faults.model import QuickDisk
from tests.migrating import BACKUP, FakePrograms, Migrating, migrating, put_database, step
from tests.place import Place, make_place
from tests.vendor import ROOT
from verifier.approval.items import approvable_of
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import _outlook, rollback_section
from verifier.reporting.offboarding import ask_offboarding
from verifier.runtime.drivers.driver import load_driver
from verifier.site.journal.events import Note

A = migrating("1.0.0", 1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = make_place(tmp_path, A, disk=QuickDisk(), reserve="4KiB")
    made.programs = FakePrograms()
    put_database(made.path)
    assert made.bring(A.write(tmp_path / "1.tar")).error is None
    return made


def findings(place: Place, item: str) -> dict[str, str]:
    """The warnings of a review by id, in its order."""
    asked = approvable_of(place.open(), tuple(item.split()))
    review = make_review(read_review_input(place.open(), asked, load_driver))
    return {name: text for level, name, text in review.findings if level == "warning"}


def received(place: Place, vendor: Migrating) -> str:
    return place.receive(vendor.write(place.path.parent / f"{vendor.version}.tar")).item


def test_a_release_after_which_nothing_can_be_reached_says_so_first(place: Place) -> None:
    item = received(place, migrating("1.1.0", 2, backups=(), floor=2, document={"back_to": (), "class_": "compatible"}))
    warned = findings(place, item)
    assert next(iter(warned)) == "no-rollback"
    assert warned["no-rollback"] == (
        "once it is confirmed, no rollback is possible: generation 1 (1.0.0): below the floor 2, unless the vendor "
        "authorises it"
    )
    assert warned["floor-rises"].startswith("the floor of channel stable rises from 1 to 2: no release before that")
    asked = approvable_of(place.open(), (item,))
    facts = dict(_outlook(make_review(read_review_input(place.open(), asked, load_driver))))
    assert facts["rollback"] == "not possible"
    # And it is so.
    place.approve(item)
    assert place.install(item).error is None
    with pytest.raises(Exception, match="below the floor"):
        place.rollback(1, person="ops-1")


def test_a_plan_of_several_releases_counts_the_generations_that_it_makes(place: Place) -> None:
    to_second = {"back_to": (">=1.1.0, <1.2.0",), "class_": "compatible"}
    items = [
        received(place, migrating("1.1.0", 2, backups=())),
        received(place, migrating("1.2.0", 3, backups=(), floor=2, document=to_second)),
    ]
    assert "no-rollback" not in findings(place, " ".join(items))
    place.approve(" ".join(items))
    assert place.install(" ".join(items)).error is None
    assert place.rollback(person="ops-1").error is None
    assert place.open().state.installs.current == 2


def test_what_an_install_clears_away_is_shown_before_it_and_recorded_when_it_is_done(place: Place) -> None:
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("generations: 3", "generations: 1"))
    assert place.bring(migrating("1.1.0", 2, step("two", 2)).write(place.path.parent / "2.tar")).error is None
    item = received(place, migrating("1.2.0", 3, backups=(), floor=3, document={"back_to": (), "class_": "compatible"}))
    asked = approvable_of(place.open(), (item,))
    review = make_review(read_review_input(place.open(), asked, load_driver))
    gone = ("clear away generation 1 (1.0.0)", "clear away the backups of generation 2 (1.1.0)")
    assert review.work[-2:] == tuple(f"once it is confirmed, {words}" for words in gone)
    warned = findings(place, item)
    assert warned["no-rollback"] == (
        "once it is confirmed, no rollback is possible: generation 2 (1.1.0): below the floor 3, unless the vendor "
        "authorises it; generation 1 (1.0.0): it is cleared away"
    )
    assert warned["backup-cleared"].startswith(
        "once it is confirmed, the backups of generation 2 (1.1.0) are cleared away before their time is over"
    )
    place.approve(item)
    assert place.install(item).error is None
    assert sorted(path.name for path in (place.path / "generations").iterdir()) == ["2", "3"]
    assert [words for words in place.said if words.startswith("clear away")] == list(gone)
    notes = [entry.record.event for entry in place.open().entries if isinstance(entry.record.event, Note)]
    assert [note.detail for note in notes if note.code == "cleared"] == ["; ".join(gone)]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"back_to": ()}, "release 1.1.0 allows no rollback"),
        ({"back_to": (">=0.1.0, <0.2.0",)}, "release 1.1.0 can be rolled back only to >=0.1.0, <0.2.0"),
        (
            {"class_": "irreversible", "no_return": "two", "back_to": (">=1.0.0, <1.1.0",)},
            "step two is done, and the rollback document has no method for that",
        ),
    ],
)
def test_each_reason_is_named(place: Place, document: dict[str, object], words: str) -> None:
    last = step("two", 2, undo=None) if "class_" in document else step("two", 2)
    item = received(place, migrating("1.1.0", 2, last, backups=(), document=document))
    assert words in findings(place, item)["no-rollback"]


def test_an_ordinary_upgrade_has_a_way_back_and_the_review_does_not_cry(place: Place) -> None:
    item = received(place, migrating("1.1.0", 2, step("two", 2)))
    assert not {"no-rollback", "floor-rises", "revoked"} & findings(place, item).keys()
    place.approve(item)
    assert place.install(item).error is None
    assert place.rollback(1, person="ops-1").error is None


def test_a_backup_that_proves_nothing_is_named_before_it_is_made_and_before_it_is_restored(place: Place) -> None:
    item = received(place, migrating("1.1.0", 2, step("two", 2, undo=None)))
    words = "backup database proves nothing: its programs state no count of rows and no digest"
    assert findings(place, item)["backup-proves-nothing"] == words
    place.approve(item)
    assert place.install(item).error is None
    assert findings(place, "b-1")["backup-proves-nothing"] == words


def test_a_backup_that_proves_something_is_shown_with_what_it_has_to_prove(place: Place) -> None:
    proven = (replace(BACKUP, proves="digest"),)
    item = received(place, migrating("1.1.0", 2, step("two", 2), backups=proven))
    assert "backup-proves-nothing" not in findings(place, item)
    asked = approvable_of(place.open(), (item,))
    review = make_review(read_review_input(place.open(), asked, load_driver))
    words = "admin load --scratch; must state the same digest as the backup"
    assert f"try to restore database from its backup: {words}" in review.work
    assert review.back is not None
    assert "the trial must state the same digest as the backup" in review.back.backups[0]


def test_a_rollback_to_a_release_that_is_revoked_says_so(place: Place) -> None:
    assert place.bring(migrating("1.1.0", 2).write(place.path.parent / "2.tar")).error is None
    first = place.open().state.installs.generation(1)
    assert first is not None
    gone = encode(Revocations(vendor="small-works", version=1, releases=(first.release,)))
    bring(place, revocations=seal(gone, REVOCATIONS_TYPE, (ROOT,)))
    assert findings(place, "b-1")["revoked"] == "release 1.0.0 is revoked: revocation list 1 revokes it"


def test_a_rollback_below_the_floor_says_so_first_with_what_the_data_lose_and_that_nothing_is_left(
    place: Place,
) -> None:
    raised = migrating("1.1.0", 2, step("two", 2), floor=2, document={"loses": "nothing"})
    item = received(place, raised)
    place.approve(item)
    assert place.install(item).error is None
    target = place.open().state.installs.generation(1)
    assert target is not None
    bring(place, carried(authorisation(target)))
    warned = findings(place, "b-1")
    assert list(warned)[:2] == ["leads-below-floor", "no-rollback"]
    assert warned["leads-below-floor"] == (
        "the rollback leads to sequence 1, below the floor 2 of channel stable; the data are changed too: "
        "undo step two: admin undo 1; the configuration of generation 1 comes back"
    )
    left = "generation 2 (1.1.0): the data of generation 2 were taken back"
    assert warned["no-rollback"] == f"once it is confirmed, no rollback is possible: {left}"
    review = make_review(read_review_input(place.open(), approvable_of(place.open(), ("b-1",)), load_driver))
    facts = rollback_section(review).facts
    assert ("the vendor says it loses", "orders typed since the upgrade") in facts
    assert ("step", "two: undone by admin undo 1; about 1s") in facts
    assert "loses" not in dict(facts), "the document is not about a rollback below the floor"
    # And it is so.
    assert place.rollback(1, person="ops-1").error is None
    assert place.open().generation_folder(2).is_dir()
    with pytest.raises(RefusedError) as refused:
        place.rollback(person="ops-1")
    assert refused.value.problem.startswith("no earlier generation can be returned to: generation 2 (1.1.0): ")


def test_the_end_of_the_access_says_that_nothing_can_be_reached(place: Place) -> None:
    with place.hold() as site:
        ask_offboarding(site, "ended")
    assert "no earlier generation is kept" in findings(place, "offboard")["for-ever"]


def test_the_end_of_the_access_with_a_generation_to_go_back_to_does_not(place: Place) -> None:
    item = received(place, migrating("1.1.0", 2, step("two", 2)))
    place.approve(item)
    assert place.install(item).error is None
    target = place.open().state.installs.generation(1)
    assert target is not None
    with place.hold() as site:
        ask_offboarding(site, "ended")
    assert "no rollback is possible" not in findings(place, "offboard")["for-ever"]
