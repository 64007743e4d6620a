"""What `status` says of a site, at each of the moments at which somebody would look."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from manifests.documents import release as r
from manifests.words.errors import AttentionError, RolledBackError, TrialError
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk
from tests.governed import EMERGENCY, TAIL, govern, policy_text, write_policy
from tests.place import Place, make_place
from tests.rootwork import bring, listing
from tests.vendor import Vendor
from verifier.approval.queue import queue_text, waiting_items
from verifier.reporting.report_write import export_reports, write_report
from verifier.reporting.status import SiteStatus, read_status
from verifier.site.journal.events import Alarm

FIRST = Vendor(images=False)
NEXT = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"next\n"})
ON_TRIAL = NEXT.but(change={"trial": r.Trial(at_most_seconds=600, confirm="person")})
FIX = r.Fix(advisory="CVE-2026-1", severity="critical", in_="service")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, FIRST, disk=QuickDisk(), reserve="4KiB")
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    return place


def status(place: Place, *, later: timedelta = timedelta(0)) -> SiteStatus:
    site = place.open()
    return read_status(site, waiting_items(site), None, place.clock.at + later)


def data(found: SiteStatus) -> dict[str, Any]:
    return found.data


def receive(place: Place, vendor: Vendor) -> str:
    return place.receive(vendor.write(place.path.parent / f"{vendor.version}.tar")).item


def test_a_quiet_site(place: Place) -> None:
    found = status(place)
    assert found.error is None
    assert found.text.startswith("site       northern-grid/small/production/east\nruns       small 1.0.0, generation 1")
    for word in ("clock", "time", "late", "reserve", "alarm", "emergency"):
        assert f"\n{word} " not in found.text
    assert (data(found)["clock"], data(found)["reserve"], data(found)["trial_left_seconds"]) == (
        "plausible",
        True,
        None,
    )
    assert data(found)["emergency"] == data(found)["alarms"] == data(found)["late"] == []


def test_an_alarm_that_came_again_is_shown_once_with_its_count(place: Place) -> None:
    with place.hold() as site:
        for detail in ("first", "second", "first", "first"):
            site.record(Alarm(code="sequence-twice", detail=detail))
    found = status(place)
    shown = [line for line in found.text.splitlines() if line.startswith("alarm ")]
    assert shown == ["alarm      sequence-twice: first (3 times)", "alarm      sequence-twice: second"]
    assert len(data(found)["alarms"]) == 4


def test_a_trial_says_how_long_it_lasts_and_what_comes_then(place: Place) -> None:
    place.approve(receive(place, ON_TRIAL))
    assert isinstance(place.install("r-1.1.0").error, TrialError)
    place.clock.running += 120
    # Time in which nothing ran is no part of it: the boot is another one, the clock is a month on.
    place.clock.at += timedelta(days=30)
    found = status(place)
    assert isinstance(found.error, TrialError)
    assert "of running time are left, then it is rolled back automatically" in found.error.problem
    assert "waybill confirm" in found.error.remedy
    assert found.text.startswith("! r-1.1.0: trial\n\nsite ")
    assert 0 < data(found)["trial_left_seconds"] <= 600
    place.clock.running += 1000
    found = status(place)
    assert found.error is not None
    assert "the time of the trial is over; waybill recover --due rolls it back" in found.error.problem
    assert data(found)["trial_left_seconds"] <= 0


def test_a_generation_that_runs_again_counts_from_the_switch_back(place: Place) -> None:
    place.approve(receive(place, NEXT.but(change={"probes": (r.Probe(name="up", tcp=r.TcpProbe(endpoint="api")),)})))
    place.clock.sleep(3600)
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.1.0").error, RolledBackError)
    place.clock.sleep(4)
    assert "runs       small 1.0.0, generation 1, for 4s (settled)" in status(place).text


def test_an_install_says_what_its_number_of_bytes_counts(place: Place) -> None:
    place.approve(receive(place, NEXT))
    assert place.install("r-1.1.0").error is None
    assert any("new blobs; with folders and backups, at most " in line for line in place.said)


def test_what_was_cut_off_is_said_first(place: Place) -> None:
    place.approve(receive(place, NEXT))
    place.disk = PluggedDisk(12)
    with pytest.raises(PulledPlugError):
        place.install("r-1.1.0")
    place.disk = QuickDisk()
    found = status(place)
    assert found.text.startswith("! r-1.1.0: unfinished\n")
    assert isinstance(found.error, AttentionError)
    assert found.error.problem == "install of r-1.1.0 was cut off while it was to stage; nothing was changed"
    assert found.error.remedy == "waybill install r-1.1.0 continues it"
    assert found.error.finding == "unfinished"
    assert place.recover()[1].error is None
    assert place.install("r-1.1.0").error is None
    assert status(place).error is None


def test_the_clock_is_judged_by_what_releases_prove(place: Place) -> None:
    assert data(status(place, later=-timedelta(days=20000)))["clock"] == "behind"
    early = status(place, later=-timedelta(days=20000)).text
    assert "\nclock      1971-" in early
    assert "is behind: a confirmed release proves that it is" in early
    late = status(place, later=timedelta(days=27000))
    assert data(late)["clock"] == "ahead"
    assert "\nclock      2100-" in late.text
    assert "beyond" in late.text
    # Neither stops anything.
    assert late.error is None


def test_a_reserve_that_was_spent_comes_back_with_the_next_report(place: Place) -> None:
    (place.path / "reserve").unlink()
    found = status(place)
    assert not data(found)["reserve"]
    assert "\nreserve    used on a full disk; the next report restores it when there is space" in found.text
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    assert (place.path / "reserve").stat().st_size == 4096
    assert data(status(place))["reserve"]


def test_a_reserve_is_left_to_a_transaction_that_may_need_it(place: Place) -> None:
    place.approve(receive(place, ON_TRIAL))
    assert isinstance(place.install("r-1.1.0").error, TrialError)
    (place.path / "reserve").unlink()
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    assert not (place.path / "reserve").exists()
    assert place.confirm("ops-1").error is None
    assert (place.path / "reserve").exists()


def test_what_an_emergency_rule_has_left(place: Place) -> None:
    govern(place)
    rule = EMERGENCY.replace("uses: 2", "uses: 1")
    place.put_policy(write_policy(place, policy_text(3, tail=TAIL + rule)), "ops-1", "sec-1")
    assert "emergency rule critical-fix: 1 of 1 uses left" in status(place).text
    place.approve(receive(place, NEXT.but(change={"fixes": (FIX,)})))
    assert place.install("r-1.1.0", emergency="critical-fix").error is None
    found = status(place)
    assert "emergency rule critical-fix: spent" in found.text
    assert data(found)["emergency"] == [{"rule": "critical-fix", "uses": 1, "left": 0}]


def test_a_report_waits_for_those_who_let_it_leave(place: Place, tmp_path: Path) -> None:
    govern(place, policy_text(2, rules={"export": "{security: 1}"}))
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    (row,) = data(status(place))["waiting"]
    assert (row["item"], row["kind"], row["agreed"]) == ("e-1", "export", False)
    assert row["roles"] == [{"role": "security", "have": 0, "need": 1, "can": 1}]
    assert "e-1" in status(place).text
    place.approve("e-1", "sec-1")
    assert data(status(place))["waiting"][0]["agreed"]
    with place.hold() as site:
        (left,) = export_reports(site, site.disk, tmp_path, most=1)
    assert left.is_file()
    assert data(status(place))["waiting"] == []


def test_conditions_are_read_before_anybody_installs(place: Place) -> None:
    from verifier.approval.approve import VerdictRequest, give_verdict
    from verifier.runtime.drivers.driver import load_driver

    item = receive(place, NEXT)
    with place.hold() as site:
        give_verdict(site, place.people["ops-1"], VerdictRequest((item,), "approve", "after the audit"), load_driver)
    found = status(place)
    assert "ops-1 agreed on condition: after the audit" in found.text
    assert data(found)["waiting"][0]["conditions"] == [{"person": "ops-1", "condition": "after the audit"}]


def test_what_failed_here_before_is_said_to_whoever_is_asked_again(place: Place) -> None:
    from verifier.approval.review_input import read_review_input
    from verifier.change.route import plan_change
    from verifier.runtime.drivers.driver import load_driver

    probed = NEXT.but(change={"probes": (r.Probe(name="up", tcp=r.TcpProbe(endpoint="api")),)})
    place.approve(receive(place, probed))
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.1.0").error, RolledBackError)
    words = "it was installed here before and rolled back automatically at 2026-03-01T12:00:"
    (row,) = data(status(place))["waiting"]
    assert row["before"].startswith(words)
    assert row["before"].endswith(": a probe did not pass")
    assert f"r-1.1.0: {words}" in status(place).text
    site = place.open()
    found = [one.text for one in read_review_input(site, plan_change(site, "r-1.1.0"), load_driver).findings]
    assert found[0].startswith(f"1.1.0: {words}")
    # The verdicts count for one more attempt, until something else was put in force.
    assert "used up" not in status(place).text
    bring(place, ("list", listing(1)))
    assert "; the approvals of that install are used up, so it waits for new ones" in status(place).text
    place.approve("r-1.1.0")
    assert "used up" not in status(place).text


def test_a_plan_of_several_releases_that_stopped_is_begun_again_as_a_whole(place: Place) -> None:
    hops = [
        FIRST.but(
            version=f"1.{n}.0",
            sequence=n + 1,
            service={"hello.txt": b"%d\n" % n},
            needs_from=(f">=1.{n - 1}.0, <1.{n}.0",),
            fresh=False,
            change={"trial": r.Trial(at_most_seconds=600, confirm="person")} if n == 1 else {},
        )
        for n in (1, 2)
    ]
    for one in hops:
        receive(place, one)
    place.approve("r-1.1.0 r-1.2.0")
    assert isinstance(place.install("r-1.1.0 r-1.2.0").error, TrialError)
    (row,) = [one for one in waiting_items(place.open()) if one.item == "r-1.2.0"]
    assert row.items == ("r-1.1.0", "r-1.2.0")
    assert row.met
    assert "r-1.1.0 r-1.2.0" in queue_text((row,), place.clock.at)
    assert place.confirm("ops-1").error is None
    assert place.install("r-1.1.0 r-1.2.0").error is None
    assert place.open().state.installs.current == 3
