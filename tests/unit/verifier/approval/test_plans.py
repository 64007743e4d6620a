"""Plans of several releases, of another channel, of settings that let more leave; emergency rules, windows, dates."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from manifests.documents import release as r
from manifests.trust.root import Mark
from manifests.words.errors import RefusedError, RolledBackError, TrialError, UsageError, WaitingError
from tests.faults.model import QuickDisk
from tests.governed import EMERGENCY, TAIL, agree, govern, policy_text, write_policy
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of, offboard_request
from verifier.approval.page import as_text
from verifier.approval.queue import Waiting, queue_text, waiting_items
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.change.route import UpgradeCandidate, find_upgrade_path, route_of
from verifier.reporting.offboarding import ask_offboarding
from verifier.rules.agreement import ApprovalStatus, require_approvals
from verifier.runtime.drivers.driver import load_driver
from verifier.site.journal.events import Approved, Planned
from verifier.site.journal.installs import State

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
FIRST = Vendor(images=False, change={"probes": (PROBE,)})
HOPS = tuple(
    FIRST.but(
        version=f"1.{n}.0",
        sequence=n + 1,
        service={"hello.txt": b"%d\n" % n},
        needs_from=(f">=1.{n - 1}.0, <1.{n}.0",),
        fresh=False,
    )
    for n in (1, 2, 3)
)
ALL = "r-1.1.0 r-1.2.0 r-1.3.0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Policy 2 of four people in force, 1.0.0 installed."""
    folder = tmp_path_factory.mktemp("made")
    place = govern(make_place(folder, FIRST, disk=QuickDisk()))
    place.receive(FIRST.write(folder / "1.tar"))
    agree(place, "r-1.0.0")
    assert place.install("r-1.0.0").error is None
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people))


def receive(place: Place, *vendors: Vendor) -> None:
    for vendor in vendors:
        place.receive(vendor.write(place.path.parent / f"{vendor.channel}-{vendor.version}.tar"))


def status_of(waiting: Waiting) -> ApprovalStatus:
    assert waiting.status is not None
    return waiting.status


def item(place: Place, name: str) -> Waiting:
    return next(one for one in waiting_items(place.open()) if one.item == name)


def hello(place: Place) -> bytes:
    return (place.path / "srv" / "app" / "current" / "hello.txt").read_bytes()


# --- several releases -----------------------------------------------------------------------------------------------


def test_three_versions_behind_with_one_approval(place: Place) -> None:
    receive(place, *HOPS)
    with pytest.raises(RefusedError, match=r"may not go straight to 1\.3\.0"):
        place.approve("r-1.3.0")
    waits = item(place, "r-1.3.0")
    assert (waits.items, waits.kinds, waits.problem) == (tuple(ALL.split()), ("minor",), None)
    place.approve(ALL, "ops-1")
    with pytest.raises(WaitingError, match="waits for 1 security"):
        place.install(ALL)
    place.approve(ALL, "sec-1")
    assert item(place, "r-1.3.0").met
    place.clock.sleep(5 * 86400)
    ended = place.install(ALL)
    assert ended.error is None
    assert hello(place) == b"3\n"
    state = place.open().state
    assert [(one.number, one.version, str(one.state)) for one in state.installs.generations[1:]] == [
        (2, "1.1.0", "settled"),
        (3, "1.2.0", "settled"),
        (4, "1.3.0", "settled"),
    ]
    assert len({one.plan for one in state.installs.generations[1:]}) == 1
    assert place.told.count("install") == 3
    assert waiting_items(place.open()) == ()


def test_a_release_that_allows_no_rollback_says_so_before_and_after(place: Place) -> None:
    receive(place, FIRST.but(version="1.1.0", sequence=2, back_to=()))
    site = place.open()
    asked = approvable_of(site, ("r-1.1.0",))
    review = make_review(read_review_input(site, asked, load_driver))
    page = as_text(make_review_page(review, agreement_section(asked, approval_status(site, asked))))
    assert re.search(r"^  rollback +not possible$", page, re.MULTILINE)
    first = "once it is confirmed, no rollback is possible: generation 1 (1.0.0): release 1.1.0 allows no rollback"
    assert f"warnings\n  {first}\n  release 1.1.0 cannot be rolled back to 1.0.0\n" in page
    assert ("warning", "no-way-back", "release 1.1.0 cannot be rolled back to 1.0.0") in review.findings
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    assert place.install("r-1.1.0").error is None
    with pytest.raises(RefusedError, match=r"release 1\.1\.0 allows no rollback") as caught:
        place.approve("b-1")
    assert (caught.value.finding, caught.value.remedy) == ("back-to", "ask the vendor for a release that allows it")


def test_a_hop_that_fails_goes_back_to_the_hop_before_and_says_so(place: Place) -> None:
    receive(place, *HOPS[:2])
    broken = HOPS[2].but(change={"probes": (r.Probe(name="later", tcp=r.TcpProbe(endpoint="api")),)})
    receive(place, broken)
    agree(place, ALL, "ops-1", "sec-1")
    place.health["later"] = "failing"
    ended = place.install(ALL)
    assert isinstance(ended.error, RolledBackError)
    assert "2 of 3 releases were installed, r-1.3.0 was not" in ended.error.problem
    assert "generation 3 (1.2.0) runs again" in ended.error.problem
    assert hello(place) == b"2\n"
    # A new attempt needs a new approval.
    place.health.clear()
    with pytest.raises(WaitingError):
        place.install("r-1.3.0")
    agree(place, "r-1.3.0", "ops-1", "sec-1")
    assert place.install("r-1.3.0").error is None


def test_what_was_cut_off_between_two_hops_goes_on_under_the_same_approval(place: Place) -> None:
    receive(place, HOPS[0].but(change={"trial": r.Trial(at_most_seconds=5, confirm="person")}), *HOPS[1:])
    agree(place, ALL, "ops-1", "sec-1")
    ended = place.install(ALL)
    assert isinstance(ended.error, TrialError)
    assert place.confirm("ops-1").error is None
    route = route_of(place.open(), ("r-1.2.0", "r-1.3.0"))
    assert (route.done, route.items) == (1, ("r-1.2.0", "r-1.3.0"))
    assert approval_status(place.open(), route).met
    assert place.install(ALL).error is None
    assert hello(place) == b"3\n"


def test_after_a_way_back_the_rest_of_the_plan_is_void(place: Place) -> None:
    receive(place, HOPS[0], HOPS[1].but(change={"trial": r.Trial(at_most_seconds=5, confirm="person")}), HOPS[2])
    agree(place, ALL, "ops-1", "sec-1")
    assert isinstance(place.install(ALL).error, TrialError)
    assert place.rollback().error is None
    assert hello(place) == b"1\n"
    with pytest.raises(WaitingError):
        place.install("r-1.2.0 r-1.3.0")


def test_a_change_of_site_yaml_between_two_hops_stops_the_plan(place: Place) -> None:
    receive(place, HOPS[0].but(change={"trial": r.Trial(at_most_seconds=5, confirm="person")}), *HOPS[1:])
    agree(place, ALL, "ops-1", "sec-1")
    place.install(ALL)
    place.confirm("ops-1")
    edit(place, f"{ENDPOINTS} ", 'endpoints: {api: "http://127.0.0.1:1"} ')
    with pytest.raises(RefusedError, match=r"site\.yaml has changed since the first release") as caught:
        place.install("r-1.2.0 r-1.3.0")
    assert caught.value.finding == "plan-changed"


def test_what_is_no_plan_of_several(place: Place) -> None:
    receive(place, *HOPS)
    for items in ("r-1.1.0 r-1.1.0", "r-1.1.0 config", "policy r-1.1.0"):
        with pytest.raises(UsageError, match="are not different releases"):
            place.approve(items)
    with pytest.raises(RefusedError, match=r"may not go straight to 1\.3\.0"):
        place.approve("r-1.1.0 r-1.3.0")
    with pytest.raises(UsageError, match="e-0"):
        place.install("e-0")


def test_what_was_kept_for_a_later_hop_stays_in_the_store(place: Place) -> None:
    receive(place, HOPS[0])
    place.receive(HOPS[1].write(place.path.parent / "kept.tar"), keep=True)
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    place.install("r-1.1.0")
    (place.path.parent / "kept.tar").unlink()
    agree(place, "r-1.2.0", "ops-1", "sec-1")
    site = place.open()
    assert site.store.missing(HOPS[1].release()[0].members) == ()
    assert place.install("r-1.2.0").error is None


def test_the_fewest_releases_on_the_way() -> None:
    def stop(version: str, sequence: int, *ranges: str, channel: str = "stable") -> UpgradeCandidate:
        return UpgradeCandidate(f"r-{version}", version, channel, Mark(epoch=1, sequence=sequence), ranges)

    stops = (
        stop("1.1.0", 2, ">=1.0.0, <1.1.0"),
        stop("1.2.0", 3, ">=1.1.0, <1.2.0"),
        stop("1.3.0", 4, ">=1.1.0, <1.3.0"),
        stop("2.0.0", 1, ">=1.3.0", channel="next"),
        stop("9.0.0", 9, ">=8.0.0"),
    )
    assert find_upgrade_path("1.0.0", "r-1.3.0", stops) == ("r-1.1.0", "r-1.3.0")
    assert find_upgrade_path("1.0.0", "r-2.0.0", stops) == ("r-1.1.0", "r-1.3.0", "r-2.0.0")
    assert find_upgrade_path("1.2.0", "r-1.1.0", stops) == ()
    assert find_upgrade_path("1.0.0", "r-9.0.0", stops) == ()


# --- site.yaml ------------------------------------------------------------------------------------------------------


def edit(place: Place, old: str, new: str) -> None:
    yaml = place.path / "site.yaml"
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))


def test_settings_that_let_more_leave_ask_for_the_contracts_people_too(place: Place) -> None:
    edit(place, "report: {every: 30d}", "telemetry: {withhold: [store]}\nreport: {every: 30d}")
    assert item(place, "config").kinds == ("config",)
    place.approve("config")
    assert place.install("config").error is None
    edit(place, "telemetry: {withhold: [store]}\n", "labels: [east]\n")
    assert item(place, "config").kinds == ("config", "contract")
    change = approvable_of(place.open(), ("config",))
    assert change.more_leaves == ("store is no longer withheld", "support will see label east")  # type: ignore[union-attr]  # a Change
    place.approve("config")
    with pytest.raises(WaitingError, match="1 privacy, 1 security"):
        place.install("config")


OTHER = FIRST.but(channel="long", version="1.0.5", sequence=40, service={"hello.txt": b"long\n"}, fresh=False)


def test_another_channel_end_to_end_and_back(place: Place) -> None:
    with pytest.raises(RefusedError, match="channel long, this site follows stable"):
        receive(place, OTHER)
    edit(place, 'channel: "stable"', 'channel: "long"')
    waits = item(place, "config")
    assert "receive a release of channel long, which changes the channel" in Waits(waits).remedy(place)
    receive(place, OTHER)
    with pytest.raises(WaitingError):
        place.install("r-1.0.5")
    assert item(place, "r-1.0.5").kinds == ("channel", "config", "patch")
    agree(place, "r-1.0.5", "ops-1", "sec-1")
    assert place.install("r-1.0.5").error is None
    state = place.open().state
    assert (state.channel, state.mark and state.mark.sequence) == ("long", 40)
    assert {one.channel: one.mark.sequence for one in state.installs.streams} == {"stable": 1, "long": 40}
    assert waiting_items(place.open()) == ()
    # A release of the old channel is refused now, and one of the new one judged by its own marks.
    with pytest.raises(RefusedError, match="channel stable, this site follows long"):
        receive(place, HOPS[0])
    receive(place, OTHER.but(version="1.0.6", sequence=41))
    assert item(place, "r-1.0.6").kinds == ("patch",)
    # The way back is to the old channel, with what it asks.
    place.approve("b-1", "ops-1")
    with pytest.raises(WaitingError, match="1 security"):
        place.rollback()
    place.approve("b-1", "sec-1")
    assert place.rollback().error is None
    assert place.open().state.channel == "stable"


class Waits:
    """The words that go with an item that cannot be done."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting

    def remedy(self, place: Place) -> str:
        with pytest.raises(RefusedError) as caught:
            place.approve(self.waiting.item)
        assert caught.value.finding == "channel-waits"
        return caught.value.remedy


def test_needs_from_decides_across_channels_too(place: Place) -> None:
    edit(place, 'channel: "stable"', 'channel: "long"')
    receive(place, OTHER.but(needs_from=(">=1.0.1",)))
    with pytest.raises(RefusedError, match=r"1\.0\.0 may not go straight to 1\.0\.5"):
        place.approve("r-1.0.5")


def test_a_failed_trial_of_another_channel_returns_to_the_old_one(place: Place) -> None:
    edit(place, 'channel: "stable"', 'channel: "long"')
    receive(place, OTHER)
    agree(place, "r-1.0.5", "ops-1", "sec-1")
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.0.5").error, RolledBackError)
    assert place.open().state.channel == "stable"


# --- emergency ------------------------------------------------------------------------------------------------------

FIX = r.Fix(advisory="CVE-2026-1", severity="critical", in_="service")
LESSER = r.Fix(advisory="CVE-2026-1", severity="high", in_="service")
CURED = {"fixes": (FIX,), "probes": (PROBE,)}
CURE = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"cure\n"}, change=CURED)


def emergency(place: Place, text: str = EMERGENCY) -> Place:
    place.put_policy(write_policy(place, policy_text(3, tail=TAIL + text)), "ops-1", "sec-1")
    return place


def spare(place: Place, name: str) -> list[str]:
    """The emergency rules that somebody could ask for."""
    return [one.rule for one in status_of(item(place, name)).emergency if one.rule]


def test_an_unknown_emergency_rule_is_refused_where_the_ordinary_rules_are_met(place: Place) -> None:
    receive(place, HOPS[0])
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    with pytest.raises(RefusedError, match=r"policy 2 has no emergency rule foo$") as caught:
        place.install("r-1.1.0", emergency="foo")
    assert (caught.value.finding, caught.value.where) == ("emergency-unknown", "--emergency")
    assert place.open().state.installs.current == 1


def test_a_void_approval_names_what_changed(place: Place) -> None:
    receive(place, HOPS[0], FIRST.but(version="1.2.0", sequence=3))
    for name in ("r-1.1.0", "r-1.2.0"):
        place.approve(name)
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("reserve: 64KiB", "reserve: 128KiB"))
    with pytest.raises(WaitingError, match=r"void: ops-1, given for another plan; changed since: site.yaml\)"):
        place.install("r-1.1.0")
    yaml.write_text(yaml.read_text().replace("reserve: 128KiB", "reserve: 64KiB"))
    agree(place, "r-1.1.0", "sec-1")
    assert place.install("r-1.1.0").error is None
    (void,) = status_of(item(place, "r-1.2.0")).void
    assert void.why == (
        "given for another plan; changed since: the number of the new generation, what was put in force here (a "
        "generation, also for a trial; a root; a revocation list)"
    )


def test_approvals_that_a_finished_change_used_are_not_void(place: Place) -> None:
    receive(place, HOPS[0])
    for _ in range(2):
        agree(place, "r-1.1.0", "ops-1", "sec-1")
        assert place.install("r-1.1.0").error is None
        agree(place, "b-1", "ops-1", "sec-1")
        assert place.rollback().error is None
        # The item waits again, for a new generation; its approvals made the last one.
        again = status_of(item(place, "r-1.1.0"))
        assert (again.met, again.void) == (False, ())
    # One that nothing used is void all the same, although its giver's earlier ones were used.
    place.approve("r-1.1.0", "sec-1")
    edit(place, "reserve: 64KiB", "reserve: 128KiB")
    (void,) = status_of(item(place, "r-1.1.0")).void
    assert (void.person, void.finding) == ("sec-1", "approval-other-plan")
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    assert place.install("r-1.1.0").error is None
    # The approvals of the two earlier rollbacks to generation 1 were used too.
    back = approval_status(place.open(), approvable_of(place.open(), ("b-1",)))
    assert (back.met, back.void) == (False, ())


def test_an_emergency_rule_is_asked_for_by_name_counted_and_spent(place: Place) -> None:
    emergency(place)
    receive(place, CURE)
    waits = item(place, "r-1.1.0")
    assert [(one.role, one.need) for one in waits.roles] == [("operator", 1), ("security", 1)]
    (rule,) = status_of(waits).emergency
    assert (rule.rule, rule.uses_left, [(one.role, one.need) for one in rule.roles]) == (
        "critical-fix",
        2,
        [("operator", 1)],
    )
    with pytest.raises(WaitingError) as caught:
        place.install("r-1.1.0", emergency="critical-fix")
    assert "waits for 1 operator, by the emergency rule critical-fix" in caught.value.problem
    place.approve("r-1.1.0")
    # Who does not ask for it gets the ordinary rules, and is told of it.
    with pytest.raises(WaitingError, match="waits for 1 security") as caught:
        place.install("r-1.1.0")
    assert caught.value.remedy.endswith(
        "or use the emergency rule critical-fix: run `waybill install r-1.1.0 --emergency critical-fix`"
    )
    assert place.open().state.trust.uses == ()
    assert not item(place, "r-1.1.0").met
    assert "emergency rule critical-fix: operator 1 of 1" in queue_text(waiting_items(place.open()), place.clock.at)
    assert place.install("r-1.1.0", emergency="critical-fix").error is None
    assert place.told == ["emergency"]
    assert "by the emergency rule critical-fix; 1 use left after this one" in place.said
    approved = [one.record.event for one in place.open().entries if isinstance(one.record.event, Approved)]
    assert approved[-1].rule == "critical-fix"
    assert [one.rule for one in place.open().state.trust.uses] == ["critical-fix"]
    for n in (2, 3):
        receive(place, CURE.but(version=f"1.{n}.0", sequence=n + 1))
    # The second use; it is taken back by its probes and was a use all the same.
    place.approve("r-1.2.0")
    place.health["up"] = "failing"
    assert isinstance(place.install("r-1.2.0", emergency="critical-fix").error, RolledBackError)
    assert spare(place, "r-1.3.0") == []
    place.approve("r-1.3.0")
    with pytest.raises(WaitingError, match="1 security"):
        place.install("r-1.3.0")
    with pytest.raises(RefusedError, match="critical-fix of policy 3 is used up") as refused:
        place.install("r-1.3.0", emergency="critical-fix")
    assert (refused.value.finding, refused.value.where) == ("emergency-spent", "--emergency")
    assert refused.value.remedy == "use the ordinary rules, which need 1 security: run `waybill review r-1.3.0`"
    with pytest.raises(RefusedError, match="has no emergency rule other; its rules: critical-fix") as refused:
        place.install("r-1.3.0", emergency="other")
    assert refused.value.finding == "emergency-unknown"
    # A new policy, agreed to by its people, is what renews it.
    write_policy(place, policy_text(4, tail=TAIL + EMERGENCY))
    agree(place, "policy", "ops-1", "sec-1")
    with place.hold() as site:
        from verifier.approval.policy_change import install_policy

        install_policy(site)
    assert spare(place, "r-1.3.0") == ["critical-fix"]


def test_where_the_ordinary_rules_are_met_no_use_is_spent(place: Place) -> None:
    emergency(place)
    receive(place, CURE)
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    assert spare(place, "r-1.1.0") == []
    assert place.install("r-1.1.0", emergency="critical-fix").error is None
    assert place.open().state.trust.uses == ()
    assert place.told == ["install"]


def test_a_second_attempt_under_one_plan_is_one_use(place: Place) -> None:
    emergency(place, EMERGENCY.replace("uses: 2", "uses: 1"))
    receive(place, CURE)
    place.approve("r-1.1.0")
    bundle = place.path.parent / "stable-1.1.0.tar"
    away = bundle.rename(bundle.with_suffix(".away"))
    ended = None
    with pytest.raises(Exception, match="the bundle is not at"):
        ended = place.install("r-1.1.0", emergency="critical-fix")
    assert ended is None
    assert len(place.open().state.trust.uses) == 1
    away.rename(bundle)
    # It goes on by what was asked for when it began.
    assert place.install("r-1.1.0").error is None
    assert {one.rule for one in place.open().state.trust.uses} == {"critical-fix"}
    assert len({one.plan for one in place.open().state.trust.uses}) == 1


@pytest.mark.parametrize(
    ("vendor", "rule", "why"),
    [
        (
            CURE.but(change={"fixes": (r.Fix(advisory="CVE-2026-1", severity="high", in_="service"),)}),
            EMERGENCY,
            "no advisory that these releases fix is critical",
        ),
        (CURE.but(change={}), EMERGENCY, "no advisory that these releases fix is critical"),
        (CURE.but(version="2.0.0"), EMERGENCY, "the change is major, the rule covers minor at most"),
        (
            CURE,
            EMERGENCY.replace("change: minor", "change: patch"),
            "the change is minor, the rule covers patch at most",
        ),
        (
            CURE,
            EMERGENCY.replace("[stateless]", "[reversible]"),
            "the rollback class is stateless, the rule covers reversible",
        ),
        (
            CURE,
            EMERGENCY.replace("[contract, handlers]", "[minor]"),
            "the change is also minor, which the rule never covers",
        ),
        (
            CURE,
            EMERGENCY.replace("until_installs: 20", "until_installs: 1").replace("uses: 2", "uses: 9"),
            "is used up",
        ),
    ],
    ids=["severity", "no fix", "larger", "kind", "class", "never", "installs"],
)
def test_when_it_does_not_apply(place: Place, vendor: Vendor, rule: str, why: str) -> None:
    emergency(place, rule)
    if "until_installs: 1\n" in rule:
        edit(place, f"{ENDPOINTS} ", 'endpoints: {api: "http://127.0.0.1:1"} ')
        place.approve("config")
        place.install("config")
    receive(place, vendor)
    found = item(place, f"r-{vendor.version}")
    assert (status_of(found).emergency, found.problem) == ((), None)
    place.approve(f"r-{vendor.version}")
    with pytest.raises(RefusedError, match=why) as caught:
        place.install(f"r-{vendor.version}", emergency="critical-fix")
    assert caught.value.finding == ("emergency-spent" if "until_installs: 1\n" in rule else "emergency-other")


def test_a_veto_stands_above_an_emergency(place: Place) -> None:
    emergency(place)
    receive(place, CURE)
    place.approve("r-1.1.0", "ops-1")
    place.approve("r-1.1.0", "sec-1", verdict="reject")
    for rule in ("", "critical-fix"):
        with pytest.raises(RefusedError, match="was rejected by sec-1"):
            place.install("r-1.1.0", emergency=rule)


# --- windows and dates ----------------------------------------------------------------------------------------------


def test_outside_of_a_window_a_reason_is_asked_for_and_kept(place: Place) -> None:
    tail = TAIL.replace("{enforce: false}", '{enforce: false, times: ["sat 22:00-04:00 UTC"]}')
    place.put_policy(write_policy(place, policy_text(3, tail=tail)), "ops-1", "sec-1")
    receive(place, HOPS[0])
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    place.clock.at = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    with pytest.raises(RefusedError, match="Tue 12:00 UTC is outside sat 22:00-04:00 UTC") as caught:
        place.install("r-1.1.0")
    assert caught.value.finding == "outside-window"
    assert place.install("r-1.1.0", outside_window="the customer calls").error is None
    planned = [one.record.event for one in place.open().entries if isinstance(one.record.event, Planned)]
    assert planned[-1].outside_window == "the customer calls"
    assert place.open().state.installs.generations[-1].outside_window


def test_an_enforced_window_takes_no_reason(place: Place) -> None:
    tail = TAIL.replace("{enforce: false}", '{enforce: true, times: ["sat 22:00-04:00 UTC"]}')
    place.put_policy(write_policy(place, policy_text(3, tail=tail)), "ops-1", "sec-1")
    receive(place, HOPS[0])
    agree(place, "r-1.1.0", "ops-1", "sec-1")
    place.clock.at = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    with pytest.raises(RefusedError, match="the policy enforces its windows"):
        place.install("r-1.1.0", outside_window="please")
    place.clock.at = datetime(2026, 3, 15, 3, 59, tzinfo=UTC)
    assert place.install("r-1.1.0").error is None
    assert not place.open().state.installs.generations[-1].outside_window


@pytest.mark.parametrize("field", ["supported_until", "next_expected_by"])
def test_what_a_passed_date_does(place: Place, field: str) -> None:
    receive(place, HOPS[0].but(change={field: "2026-02-01"}))
    finding = "support-ended" if field == "supported_until" else "late"
    change = approvable_of(place.open(), ("r-1.1.0",))
    assert finding in [one.id for one in change.findings]  # type: ignore[union-attr]  # a Change
    for number, word in ((3, "ignore"), (4, "enforce")):
        tail = TAIL.replace("time: warn", f"time: {word}")
        place.put_policy(write_policy(place, policy_text(number, tail=tail)), "ops-1", "sec-1")
        if word == "ignore":
            change = approvable_of(place.open(), ("r-1.1.0",))
            assert finding not in [one.id for one in change.findings]  # type: ignore[union-attr]  # a Change
    with pytest.raises(RefusedError, match="2026-02-01, and the policy enforces dates") as caught:
        place.approve("r-1.1.0")
    assert caught.value.finding == finding
    # A clock that was set back is no way around it: the time floor of what was confirmed counts.
    place.clock.at = datetime(1970, 1, 1, tzinfo=UTC)
    assert place.open().state.trust.time_floor is not None


# --- the end, and leaving -------------------------------------------------------------------------------------------


def test_offboarding_is_asked_like_everything_else(place: Place) -> None:
    with place.hold() as site:
        ask_offboarding(site, "retired")
    site = place.open()
    with pytest.raises(WaitingError, match="offboard waits for 1 operator, 1 security"):
        require_approvals(approval_status(site, offboard_request(site)), "offboard")
    agree(place, "offboard", "ops-1")
    waits = item(place, "offboard")
    assert {one.role: one.have for one in waits.roles} == {"operator": 1, "security": 0}
    agree(place, "offboard", "sec-1")
    site = place.open()
    require_approvals(approval_status(site, offboard_request(site)), "offboard")
    assert site.state.installs.transaction is not None
    assert site.state.installs.transaction.state == State.SETTLED


def test_a_condition_is_shown_with_the_approval(place: Place) -> None:
    from verifier.approval.approve import VerdictRequest, give_verdict
    from verifier.approval.review_page import agreement_text
    from verifier.runtime.drivers.driver import load_driver

    receive(place, HOPS[0])
    with place.hold() as site:
        request = VerdictRequest(("r-1.1.0",), "approve", "after the backup")
        signed = give_verdict(site, place.people["ops-1"], request, load_driver)
    assert "  condition of ops-1    after the backup" in agreement_text(signed.asked, signed.status)
    assert "next: waybill" in agreement_text(signed.asked, signed.status)
    assert "next:" not in agreement_text(signed.asked, signed.status, advise=False)
