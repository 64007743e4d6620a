"""A release that cannot be installed here does not wait: in the status, in the signed report, at support."""

from pathlib import Path

import pytest

from console.screen import fit
from manifests.documents.report_text import report_lines
from tests.authorisations import FIRST, SECOND, authorisation, bring, carried
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.unit.verifier.reporting.test_what_can_be_done import receive, reported
from tests.waybill import Done, waybill
from verifier.approval.queue import queue_text, waiting_items

BETWEEN = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"between\n"})
RAISED = SECOND.but(version="1.2.0", sequence=3, floor=3)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A site that runs 1.0.0 below the floor 3, with 1.1.0 below it too, and 1.2.0 at it."""
    place = make_place(tmp_path, FIRST, disk=QuickDisk(), reserve="4KiB")
    place.bring(FIRST.write(tmp_path / "1.tar"))
    receive(place, BETWEEN)
    place.bring(RAISED.write(tmp_path / "3.tar"))
    first, raised = place.open().state.installs.generations
    bring(place, carried(authorisation(first, raised)))
    assert place.rollback(1, "ops-1").error is None
    return place


def fleet(place: Place, *words: object, code: int = 0) -> Done:
    done = waybill("fleet", *words, "--fleet", place.path.parent / "ledger")
    assert done.code == code, done
    return done


def test_a_release_below_the_floor_does_not_wait(place: Place) -> None:
    report = reported(place)
    assert [item.item for item in report.waiting] == ["r-1.2.0"]
    text = "\n".join(report_lines(report))
    assert "waits      r-1.2.0" in text
    assert "r-1.1.0" not in text
    queue = fit(queue_text(waiting_items(place.open()), place.clock.at), None, verbose=True)
    assert "r-1.1.0" not in queue
    assert "next: waybill review r-1.2.0" in queue


def test_a_release_below_the_floor_does_not_fail_the_check_of_all_items_and_a_review_says_why(place: Place) -> None:
    site = ("--site", place.path)
    done = waybill("check", "--fast", *site)
    assert "r-1.2.0: nothing is missing" in done.out
    assert "r-1.1.0" not in done.out
    alone = waybill("review", "r-1.1.0", *site)
    assert "release sequence 2 is below the floor 3 of this site" in alone.err
    assert "receive a release of sequence 3 or later; an authorisation of the vendor allows only" in alone.err


def test_support_is_not_told_that_it_waits(place: Place) -> None:
    reported(place)
    fleet(place, "enroll", place.path / "outbox" / "enrolment.json")
    waybill("fleet", "import", place.path / "outbox", "--fleet", place.path.parent / "ledger")
    page = fleet(place, "show", "northern-grid/small/production/east").out
    assert "waits r-1.2.0" in page
    assert "r-1.1.0" not in page


def test_what_the_site_refuses_for_another_reason_is_named_as_refused(place: Place) -> None:
    """The newest release does not upgrade from what runs here; a later one between may yet make that possible."""
    far = FIRST.but(version="2.0.0", sequence=9, needs_from=(">=1.9.0, <2.0.0",), service={"hello.txt": b"far\n"})
    receive(place, far)
    report = reported(place)
    assert [(item.item, item.kind) for item in report.waiting] == [
        ("r-1.2.0", "release"),
        ("r-2.0.0", "release-refused"),
    ]
    text = "\n".join(report_lines(report))
    assert "refused    r-2.0.0, release, since report" in text
    assert "waits      r-2.0.0" not in text
    fleet(place, "enroll", place.path / "outbox" / "enrolment.json")
    waybill("fleet", "import", place.path / "outbox", "--fleet", place.path.parent / "ledger")
    page = fleet(place, "show", "northern-grid/small/production/east").out
    assert "refused r-2.0.0" in page
    assert "waits r-2.0.0" not in page
