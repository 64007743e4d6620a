"""A host whose clock says 1970, or 2100: everything goes on, nothing is believed for ever, and home is told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.words.time import parse_time
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.reporting.report_write import write_report
from verifier.site.outbox import report_path

FIRST = Vendor(images=False, change={"issued_at": "2026-02-01T00:00:00Z"})
SECOND = FIRST.but(
    version="1.1.0",
    sequence=2,
    service={"hello.txt": b"second\n"},
    change={"issued_at": "2026-02-20T00:00:00Z"},
)
EPOCH, FAR = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 6, 1, tzinfo=UTC)


def told(place: Place) -> r.Report:
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
        state = site.state
        raw = report_path(site, state.reports.seq).read_bytes()
    return signed_report.verify_report(raw, state.key_of_report(state.reports.seq)).report


@pytest.mark.parametrize(("first", "then"), [(EPOCH, FAR), (FAR, EPOCH), (EPOCH, EPOCH), (FAR, FAR)])
def test_the_whole_life_by_a_wrong_clock(tmp_path: Path, first: datetime, then: datetime) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    place.clock.at = first
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    # A release proves that it is later than its own date. Fifty years beyond what the host says that is not believed
    # unless a person says so; it is kept as a claim, and stops nothing.
    state = place.open().state
    claimed = parse_time("2026-02-01T00:00:00Z")
    believed = claimed if first == FAR else None
    assert (state.trust.time_floor, state.trust.time_claimed) == (
        believed,
        None if believed else claimed,
    )
    place.clock.at = then
    assert place.bring(SECOND.write(tmp_path / "2.tar")).error is None
    believed = parse_time("2026-02-20T00:00:00Z") if FAR in (first, then) else None
    assert place.open().state.trust.time_floor == believed
    assert place.rollback(1, "ops-1").error is None
    state = place.open().state
    assert (state.installs.current, state.trust.time_floor) == (1, believed)
    assert state.clock_back == (first == EPOCH) + (then < first)  # enrolled in 2026
    # Back to a right clock: nothing that the wrong one said is left.
    place.clock.at = datetime(2026, 3, 5, tzinfo=UTC)
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    assert told(place).install.release is not None


@pytest.mark.parametrize(("at", "clock"), [(EPOCH, "behind"), (FAR, "ahead")])
def test_home_is_told_what_the_clock_says(tmp_path: Path, at: datetime, clock: str) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    place.clock.at = at
    report = told(place)
    assert report.chain.made_at == at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert report.trust.clock == clock
