"""Handlers at a real site: what the policy allows runs once, is recorded before and after, and is answered."""

import errno
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents.signed_report import verify_report
from manifests.documents.telemetry import parse_handler_result
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError, WaitingError
from tests.handling import allow, consign, handling_place, request, run
from tests.place import Place
from verifier.approval.queue import waiting_items
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.reporting.key_change import renew_key
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.journal.events import HandlerAsked, HandlerBegan, HandlerEnded
from verifier.site.lock import hold_site


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return handling_place(
        tmp_path,
        health_snapshot="allowed",
        inventory="allowed",
        journal_excerpt="allowed",
        store_check="allowed",
        rotate_site_key="{operator: 1, security: 1}",
    )


def newest(place: Place) -> r.Report:
    state = place.open().state
    raw = (place.path / "outbox" / f"{state.reports.seq}.report.json").read_bytes()
    return verify_report(raw, state.site_key).report


def handler_events(place: Place) -> list[HandlerBegan | HandlerEnded]:
    events = (entry.record.event for entry in place.open().entries)
    return [event for event in events if isinstance(event, HandlerBegan | HandlerEnded)]


def test_what_the_policy_allows_runs_at_once_for_the_operator(place: Place) -> None:
    result = run(place, "inventory")
    assert (result.item, result.outcome, result.leaves) == ("h-1", "ran", None)
    assert (result.values["version"], result.values["same"]) == ("1.0.0", result.values["components"])
    began, ended = handler_events(place)
    assert isinstance(began, HandlerBegan)
    assert isinstance(ended, HandlerEnded)
    assert (began.item, began.handler, began.approvals) == ("h-1", "inventory", ())
    assert (ended.outcome, ended.result, ended.withheld is not None) == ("ran", None, True)


def test_a_request_of_a_consignment_waits_is_run_and_answered(place: Place, tmp_path: Path) -> None:
    note = consign(place, tmp_path, request("health-snapshot", why="slow answers"))
    (waiting,) = [item for item in waiting_items(place.open()) if item.head.kind == "request"]
    assert (waiting.item, waiting.head.version, waiting.met, waiting.then) == (
        "c-1",
        "health-snapshot",
        True,
        "run c-1",
    )
    result = run(place, "c-1")
    assert (result.outcome, result.leaves) == ("ran", "probes")
    began = handler_events(place)[0]
    assert isinstance(began, HandlerBegan)
    use = json.loads(place.open().document(began.use))
    assert use["consignment"] == place.open().state.requested("c-1").document  # type: ignore[union-attr]  # it is there
    (answer,) = newest(place).requests
    (file,) = (place.path / "telemetry" / "results").iterdir()
    assert (answer.request, answer.outcome, answer.result) == ("q1", "ran", digest_of(file.read_bytes()))
    stated = parse_handler_result(file.read_bytes())
    assert (stated.signal, set(stated.values)) == ("probes", {"probes_passing", "probes_failing"})
    assert note.requests[0].why == "slow answers"


def test_nothing_is_run_twice(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("inventory"))
    run(place, "c-1")
    with pytest.raises(RefusedError) as error:
        run(place, "c-1")
    assert error.value.finding == "answered"
    run(place, "inventory")
    with pytest.raises(UsageError):
        run(place, "h-1")
    assert sum(isinstance(event, HandlerBegan) for event in handler_events(place)) == 2


@pytest.mark.parametrize(
    ("asked", "outcome", "reason"),
    [
        (request("open-a-shell"), "no-such-handler", None),
        (request("connectivity"), "refused", "not-in-policy"),
        (request("journal-excerpt"), "refused", "wrong-parameters"),
        (request("journal-excerpt", parameters={"kind": "everything"}), "refused", "wrong-parameters"),
        (request("journal-excerpt", parameters={"kind": "note", "more": "x"}), "refused", "wrong-parameters"),
        (request("inventory", last_report=1), "refused", "outside-window"),
        (request("inventory", first_report=900), "refused", "outside-window"),
        (request("inventory", first_report=1, last_report=900), "waiting", None),
        (request("journal-excerpt", parameters={"kind": "note"}), "waiting", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_site_answers_on_arrival(
    place: Place, tmp_path: Path, asked: object, outcome: str, reason: str | None
) -> None:
    """D-5.5"""
    consign(place, tmp_path, asked)  # type: ignore[arg-type]  # a request
    (use,) = place.open().state.reports.answered
    assert (use.outcome, use.reason) == (outcome, reason)
    if outcome != "waiting":
        with pytest.raises(RefusedError) as error:
            run(place, "c-1")
        assert error.value.finding == "answered"
    assert handler_events(place) == []


def test_a_window_that_ends_while_the_request_waits(place: Place, tmp_path: Path) -> None:
    last = place.open().state.reports.seq + 1
    consign(place, tmp_path, request("inventory", last_report=last))
    assert place.tell is not None
    with place.hold() as site:
        place.tell(site, "test")
    assert [one.outcome for one in newest(place).requests] == ["waiting"]
    with pytest.raises(RefusedError):
        run(place, "c-1")
    with place.hold() as site:
        place.tell(site, "test")
    assert [(one.outcome, one.reason) for one in newest(place).requests] == [("refused", "outside-window")]


def present(place: Place, folder: Path, number: int = 1) -> dict[str, tuple[str, str | None]]:
    """What `receive` says of the requests of a consignment that it knows."""
    parsed = peek_consignment_file(folder / f"note-{number}.json")
    with place.hold("receive") as site:
        before = site.state.head
        again = receive_consignment(site, parsed)
        assert (again.new, site.state.head) == (False, before)
    return {answer.request: (answer.outcome, answer.reason) for answer in again.answers}


def test_a_known_consignment_says_what_became_of_its_requests(place: Place, tmp_path: Path) -> None:
    """Not what was answered on its arrival; and neither when support has acknowledged the outcome."""
    asked = (
        request("inventory", "done"),
        request("store-check", "left"),
        request("rotate-site-key", "rejected"),
        request("nonsense", "odd"),
        request("health-snapshot", "late", last_report=place.open().state.reports.seq + 2),
        request("journal-excerpt", "cut-off", parameters={"kind": "note"}),
        request("connectivity", "unlisted"),
    )
    consign(place, tmp_path, *asked)
    unlisted = ("refused", "not-in-policy")
    assert present(place, tmp_path) == {
        **dict.fromkeys(("done", "left", "rejected", "late", "cut-off"), ("waiting", None)),
        "odd": ("no-such-handler", None),
        "unlisted": unlisted,
    }
    run(place, "c-1.1")
    place.approve("c-1.3", "ops-1", "reject")
    with place.hold() as site:
        began = next(event for event in handler_events(place) if isinstance(event, HandlerBegan))
        site.record(replace(began, item="c-1.6", handler="journal-excerpt"))
    assert place.tell is not None
    for _ in range(2):
        with place.hold() as site:
            place.tell(site, "test")
    now = {
        "done": ("ran", None),
        "left": ("waiting", None),
        "rejected": ("refused", "rejected"),
        "odd": ("no-such-handler", None),
        "late": ("refused", "outside-window"),
        "cut-off": ("unknown", None),
        "unlisted": unlisted,
    }
    assert present(place, tmp_path) == now
    with place.hold() as site:
        place.tell(site, "test")
    consign(place, tmp_path, number=2, acknowledge=True)
    assert [use.item for use in place.open().state.reports.answered] == ["c-1.2"]
    assert present(place, tmp_path) == now


def test_several_requests_have_an_item_each(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("inventory", "a"), request("nonsense", "b"), request("store-check", "c"))
    assert [item.item for item in waiting_items(place.open()) if item.head.kind == "request"] == ["c-1.1", "c-1.3"]
    assert run(place, "c-1.3").values["damaged"] == 0
    assert [one.outcome for one in newest(place).requests] == ["waiting", "no-such-handler", "ran"]


def test_what_needs_approvals_waits_for_them(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("rotate-site-key"))
    with pytest.raises(WaitingError) as error:
        run(place, "c-1")
    assert "1 operator, 1 security" in error.value.problem
    # Who received it does not count, unless the policy says so; this one does.
    place.approve("c-1", "ops-1")
    with pytest.raises(WaitingError):
        run(place, "c-1")
    place.approve("c-1", "sec-1")
    before = place.open().state.key_epoch
    assert run(place, "c-1").values == {"key_epoch": before + 1}
    began = handler_events(place)[0]
    assert isinstance(began, HandlerBegan)
    assert len(began.approvals) == 2


def test_what_people_here_ran_is_in_the_report_until_that_is_acknowledged(place: Place, tmp_path: Path) -> None:
    """With its outcome, and without a name of a person or a parameter; what only waits is not reported."""

    def own() -> list[tuple[str, str, str, str | None]]:
        with place.hold() as site:
            assert place.tell is not None
            place.tell(site, "test")
        results = newest(place).requests
        return [(one.request, one.handler, one.outcome, one.reason) for one in results if one.consignment is None]

    run(place, "inventory")
    with pytest.raises(WaitingError):
        run(place, "rotate-site-key")
    assert own() == [("h-1", "inventory", "ran", None)]
    run(place, "journal-excerpt", kind="tried")
    place.approve("h-2", "ops-1", "reject")
    with place.hold() as site:
        began = next(event for event in handler_events(place) if isinstance(event, HandlerBegan))
        site.record(HandlerAsked(number=4, handler="store-check"))
        site.record(replace(began, item="h-4", handler="store-check"))
    expected = [
        ("h-1", "inventory", "ran", None),
        ("h-3", "journal-excerpt", "ran", None),
        ("h-2", "rotate-site-key", "refused", "rejected"),
        ("h-4", "store-check", "unknown", None),
    ]
    assert own() == expected
    raw = encode(newest(place).requests)
    assert b"tried" not in raw
    assert b"ops" not in raw
    consign(place, tmp_path, acknowledge=True)
    own()
    consign(place, tmp_path, number=2, acknowledge=True)
    assert own() == expected[3:]


def test_only_the_newest_of_many_uses_are_reported(place: Place) -> None:
    for _ in range(3):
        run(place, "inventory")
    began = next(event for event in handler_events(place) if isinstance(event, HandlerBegan))
    ended = next(event for event in handler_events(place) if isinstance(event, HandlerEnded))
    with place.hold() as site:
        for number in range(4, 71):
            site.record(HandlerAsked(number=number, handler="inventory"))
            site.record(replace(began, item=f"h-{number}"))
            site.record(replace(ended, item=f"h-{number}"))
        assert place.tell is not None
        place.tell(site, "test")
    assert [one.request for one in newest(place).requests] == [f"h-{number}" for number in range(7, 71)]


def test_what_is_asked_for_here_becomes_an_item_that_stays_here(place: Place) -> None:
    with pytest.raises(WaitingError) as error:
        run(place, "rotate-site-key")
    assert "waybill approve h-1" in error.value.remedy
    # Asking again changes nothing.
    with pytest.raises(WaitingError, match="h-1 waits"):
        run(place, "rotate-site-key")
    assert [item.item for item in waiting_items(place.open()) if item.head.kind == "command"] == ["h-1"]
    assert place.tell is not None
    with place.hold() as site:
        place.tell(site, "test")
    assert [item.item for item in newest(place).waiting if item.item.startswith("h-")] == []
    with pytest.raises(WaitingError):
        run(place, "h-1", "ops-1")
    assert run(place, "h-1", "sec-1").outcome == "ran"


def test_a_rejection_answers_the_request(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("inventory"))
    place.approve("c-1", "ops-2", "reject")
    (use,) = place.open().state.reports.answered
    assert (use.outcome, use.reason) == ("refused", "rejected")
    with pytest.raises(RefusedError):
        run(place, "c-1")


def test_approvals_are_of_one_use_under_one_policy(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("rotate-site-key"))
    place.approve("c-1", "ops-1")
    place.approve("c-1", "sec-1")
    allow(place, rotate_site_key="{operator: 1, security: 1}")
    with pytest.raises(WaitingError):
        run(place, "c-1")


def test_a_policy_that_no_longer_lists_the_handler_refuses_what_waits(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("inventory"))
    allow(place, store_check="allowed")
    with pytest.raises(RefusedError) as error:
        run(place, "c-1")
    assert error.value.finding == "not-in-policy"
    (use,) = place.open().state.reports.answered
    assert (use.outcome, use.reason) == ("refused", "not-in-policy")


def test_a_window_ends_with_the_reports_that_it_counts(place: Place, tmp_path: Path) -> None:
    """After a renewal of the key reports begin with 1 again; the numbers of the window were of the ones before."""
    consign(place, tmp_path, request("inventory", "a", last_report=900), request("store-check", "b"))
    with hold_site(place.path, place.disk, place.clock.host(), "renew", any_key=True) as site:
        renew_key(site, "key-lost")
    uses = place.open().state.reports.answered
    assert [(use.outcome, use.reason) for use in uses] == [("refused", "outside-window"), ("waiting", None)]


def test_a_signal_that_the_site_withholds_does_not_leave(tmp_path: Path) -> None:
    place = handling_place(tmp_path, health_snapshot="allowed", more="telemetry: {withhold: [probes]}\n")
    result = run(place, "health-snapshot")
    assert (result.outcome, result.leaves, result.values["probes_failing"]) == ("ran", None, 0)
    assert not (place.path / "telemetry" / "results").exists()


def test_a_full_disk_loses_the_values_and_not_the_record(place: Place, tmp_path: Path) -> None:
    class Full(Disk):
        def write(self, path: Path, data: bytes, mode: int = 0o644, *, exact: bool = False) -> None:
            if "results" in path.parts:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            super().write(path, data, mode, exact=exact)

    consign(place, tmp_path, request("health-snapshot"))
    place.disk = Full()
    result = run(place, "c-1")
    assert (result.outcome, result.leaves) == ("ran", None)
    assert "could not be written" in result.lines[0]
    (answer,) = newest(place).requests
    assert (answer.outcome, answer.result) == ("ran", None)


def test_a_report_that_cannot_be_written_is_said_after_the_run(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("inventory"))

    def full(site: Site, cause: str) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    place.tell = full
    result = run(place, "c-1")
    assert result.outcome == "ran"
    assert result.error is not None
    assert (result.error.finding, result.error.exit_code) == ("report-unwritten", 14)
