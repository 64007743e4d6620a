"""The oracle itself: true of a site with emergency rules, alarms and a wrong clock; false of what was changed."""

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from console.screen import fit
from manifests.words.canonical import encode
from manifests.words.errors import RolledBackError
from tests.claims_journal import check_journal_claims, check_report_trust
from tests.faults.model import QuickDisk
from tests.governed import agree, govern
from tests.place import Place, make_place
from tests.unit.verifier.approval.test_plans import CURE, emergency
from tests.vendor import Vendor
from verifier.approval.queue import waiting_items
from verifier.reporting.report_observe import observe_site, read_previous_report
from verifier.reporting.report_plan import plan_report
from verifier.reporting.status import read_status
from verifier.site.journal.events import Alarm

FIRST = Vendor(images=False, change={"probes": CURE.change["probes"]})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A site with an emergency rule of two uses, and a release that it covers; one of two roles has agreed."""
    made = make_place(tmp_path, FIRST, disk=QuickDisk(), reserve="4KiB")
    made.bring(FIRST.write(tmp_path / "1.tar"))
    emergency(govern(made))
    made.receive(CURE.write(tmp_path / "2.tar"))
    made.approve("r-1.1.0")
    return made


def claims(place: Place) -> tuple[dict[str, Any], str]:
    status = read_status(place.open(), waiting_items(place.open()), (), place.clock.at)
    return json.loads(json.dumps(status.data)), fit(status.text, None, verbose=True)


def check(place: Place) -> dict[str, Any]:
    """Hold status and report against the journal; return the status."""
    data, text = claims(place)
    check_journal_claims(place.path, data, text, place.clock.at)
    site = place.open()
    observed = observe_site(site, place.clock.at, place.look)
    report = plan_report(site.state, observed, read_previous_report(site), cause="requested", now=place.clock.at)
    check_report_trust(place.path, json.loads(encode(report)), place.clock.at)
    return data


def test_uses_of_an_emergency_rule_are_counted_down_to_none(place: Place) -> None:
    assert [rule["left"] for rule in check(place)["emergency"]] == [2]
    place.install("r-1.1.0", emergency="critical-fix")
    assert [rule["left"] for rule in check(place)["emergency"]] == [1]
    place.receive(CURE.but(version="1.2.0", sequence=3).write(place.path.parent / "3.tar"))
    place.approve("r-1.2.0")
    check(place)
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.2.0", emergency="critical-fix").error, RolledBackError)
    assert [rule["left"] for rule in check(place)["emergency"]] == [0]


def test_the_queue_says_who_must_agree_who_has_and_since_when(place: Place) -> None:
    (waiting,) = check(place)["waiting"]
    assert {role["role"]: (role["have"], role["need"]) for role in waiting["roles"]} == {
        "operator": (1, 1),
        "security": (0, 1),
    }
    place.approve("r-1.1.0", "sec-1")
    assert check(place)["waiting"][0]["agreed"]
    place.approve("r-1.1.0", "sec-1", verdict="reject")
    assert not check(place)["waiting"][0]["agreed"]
    place.clock.sleep(3 * 86400)
    check(place)
    agree(place, "r-1.1.0")
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.1.0").error, RolledBackError)
    assert check(place)["waiting"][0]["agreed"], "its approvals count for one more attempt"


@pytest.mark.parametrize(("days", "verdict"), [(-100, "behind"), (0, "plausible"), (500, "ahead")])
def test_the_clock_and_the_alarms(place: Place, days: int, verdict: str) -> None:
    with place.hold() as site:
        for _ in range(2):
            site.record(Alarm(code="sequence-twice", detail="two releases of sequence 2"))
    place.clock.at += timedelta(days=days)
    place.approve("r-1.1.0", "sec-1")
    assert check(place)["clock"] == verdict


def first_role(status: dict[str, Any]) -> dict[str, Any]:
    role: dict[str, Any] = status["waiting"][0]["roles"][0]
    return role


FALSE: dict[str, Callable[[dict[str, Any]], None]] = {
    "clock": lambda status: status.update(clock="ahead"),
    "time floor": lambda status: status.update(time_floor="2026-01-01T00:00:00Z"),
    "claimed": lambda status: status.update(time_claimed="2036-01-01T00:00:00Z"),
    "alarm": lambda status: status["alarms"].append({"code": "sequence-twice", "detail": ""}),
    "uses": lambda status: status["emergency"][0].update(uses=3),
    "left": lambda status: status["emergency"][0].update(left=1),
    "left of the item": lambda status: status["waiting"][0]["emergency"][0].update(uses_left=1),
    "needs": lambda status: first_role(status).update(need=2),
    "has": lambda status: first_role(status).update(have=0),
    "agreed": lambda status: status["waiting"][0].update(agreed=True),
    "since": lambda status: status["waiting"][0].update(since="2026-02-01T00:00:00Z"),
}
WRONG_TEXT = {
    "uses left": ("2 of 2 uses left", "1 of 2 uses left"),
    "who has": ("operator 1 of 1, security 0 of 1", "operator 1 of 1, security 1 of 1"),
    "waits": ("waits: operator", "agreed: operator"),
    "since": (" 0s\n", " 5m\n"),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_changed_statement_is_found(place: Place, name: str) -> None:
    data, text = claims(place)
    check_journal_claims(place.path, data, text, place.clock.at)
    changed = copy.deepcopy(data)
    FALSE[name](changed)
    assert changed != data
    with pytest.raises(AssertionError):
        check_journal_claims(place.path, changed, text, place.clock.at)


@pytest.mark.parametrize("name", WRONG_TEXT)
def test_a_changed_line_is_found(place: Place, name: str) -> None:
    data, text = claims(place)
    before, after = WRONG_TEXT[name]
    assert before in text
    with pytest.raises(AssertionError):
        check_journal_claims(place.path, data, text.replace(before, after), place.clock.at)
