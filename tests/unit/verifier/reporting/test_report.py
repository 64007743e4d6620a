"""The report of a real site: what it says after each change, its chain, its outbox, and what leaves."""

import errno
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace as replace_data
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import to_builtins
from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.contract import Contract
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.release import Trial
from manifests.documents.report_text import report_lines
from manifests.transport.symbols import cut_report
from manifests.trust.envelope import INTOTO, verify_statement
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError, RolledBackError, TrialError, UntrustedError
from manifests.words.time import parse_time, rfc3339
from tests.bench.report import many_installed
from tests.consignments import consignment_for, signed
from tests.place import ENDPOINTS, Place, make_place
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor
from verifier.change.release_papers import contract_in_force
from verifier.change.transaction import transaction_error
from verifier.commands.compare import compare_command
from verifier.commands.report import report_command
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.reporting.health import measure_health
from verifier.reporting.report_observe import observe_site, read_previous_report
from verifier.reporting.report_plan import PreviousReport, SiteObservation, config_seal, plan_report
from verifier.reporting.report_reduce import fit
from verifier.reporting.report_write import export_reports, write_report
from verifier.reporting.status import read_status
from verifier.rules.time import clock_verdict
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.probes.probe import ProbeContext, ProbeResult
from verifier.site.disk import Disk, Space
from verifier.site.folder import Site
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import Reported
from verifier.site.journal.state import SiteState
from verifier.site.lock import hold_site

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2, service={"hello.txt": b"hello, world\n", "run.py": b"print('hi')\n"})
OTHER = "sha256:" + "77" * 32


class Closed(Vendor):
    """A vendor whose contract lets nothing leave that it might withhold."""

    def contract(self) -> Contract:
        open_ = super().contract()
        return replace(open_, signals=tuple(replace(one, optional=()) for one in open_.signals))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, ONE)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause, look=place.look)
    return place


def write(place: Place, cause: str = "requested") -> signed_report.SignedReport:
    with place.hold() as site:
        return verified(place, write_report(site, site.disk, place.clock.at, cause=cause))


def verified(place: Place, path: Path) -> signed_report.SignedReport:
    return signed_report.verify_report(path.read_bytes(), place.open().state.site_key)


def newest(place: Place) -> r.Report:
    state = place.open().state
    return verified(place, place.path / "outbox" / f"{state.reports.seq}.report.json").report


def test_the_first_report_stands_on_the_enrolment(place: Place) -> None:
    found = write(place)
    enrolment = verify_enrolment((place.path / "outbox" / "enrolment.json").read_bytes())
    report = found.report
    assert report.chain.previous == found.subject == enrolment.digest
    assert (report.chain.seq, report.install.state, report.components.listed) == (1, "none", ())
    assert report.identity.site == enrolment.enrolment.site == "northern-grid/small/production/east"
    assert report.identity.report_every_seconds == 30 * 86400
    assert report.trust.root.digest == ONE.pin().digest
    assert report.policy is not None
    assert (report.policy.number, report.policy.contract) == (1, None)


def point(place: Place, target: str | None) -> None:
    link = place.path / "current"
    link.unlink(missing_ok=True)
    if target is not None:
        link.symlink_to(target)


def test_what_current_points_at_is_observed(place: Place, tmp_path: Path) -> None:
    """Missing, elsewhere, or at another generation: the report and the status say so, until `recover` mended it."""
    place.bring(ONE.write(tmp_path / "1.tar"))
    place.bring(TWO.write(tmp_path / "2.tar"))
    good = (place.path / "current").readlink()
    first = place.path / "generations" / "1"
    for target, version in ((None, "1.1.0"), ("/etc", "1.1.0"), (str(good).replace("2", "1"), "1.0.0")):
        assert first.is_dir()
        point(place, target)
        report = write(place).report
        assert report.install.release is not None
        assert (report.install.state, report.install.release.version) == ("inconsistent", version), target
        assert ("current", "unreadable") in [(one.what, one.reason) for one in report.dropped]
        site = place.open()
        error = read_status(site, (), (), place.clock.at).error
        assert error is not None
        assert (error.finding, error.exit_code) == ("current-differs", 14)
        place.recover()
        assert (place.path / "current").readlink() == good
        report = write(place).report
        assert (report.install.state, report.dropped) == ("confirmed", ())


def test_a_folder_in_the_place_of_current_is_kept(place: Place, tmp_path: Path) -> None:
    """A copy that follows links makes one. What lies in it is not removed: the person is told how to move it away."""
    place.bring(ONE.write(tmp_path / "1.tar"))
    current = place.path / "current"
    point(place, None)
    current.mkdir()
    (current / "note").write_text("mine\n")
    with pytest.raises(HostError, match="a folder lies here, expected a link") as refused:
        place.recover()
    assert refused.value.where == str(current)
    assert refused.value.remedy == f"move it away, then run the command again: mv {current} {current}.kept"
    assert [path.name for path in current.iterdir()] == ["note"]
    assert not (place.path / ".current.new").is_symlink()
    current.rename(place.path / "current.kept")
    place.recover()
    assert current.is_symlink()
    assert write(place).report.install.state == "confirmed"


def test_the_first_right_report_after_a_clock_of_2100_says_that_it_went_back(place: Place) -> None:
    right = place.clock.at
    place.clock.at = parse_time("2100-01-01T00:00:00Z")
    assert write(place).report.trust.clock_back == 0
    place.clock.at = right
    assert [write(place).report.trust.clock_back for _ in range(3)] == [1, 1, 1]


def test_while_a_way_back_is_on_trial_the_contract_of_what_was_left_binds(place: Place, tmp_path: Path) -> None:
    """Until somebody confirms it; then that of the generation which runs again."""
    trial = {"trial": Trial(at_most_seconds=600, confirm="person")}
    place.bring(ONE.but(change=trial).write(tmp_path / "1.tar"))
    place.confirm("ops-1")
    place.bring(Closed(version="1.1.0", sequence=2).write(tmp_path / "2.tar"))
    state = place.open().state
    assert isinstance(place.rollback(person="ops-1").error, TrialError)
    assert (place.open().state.installs.current, contract_in_force(place.open())[1]) == (1, state.installs.contract)
    assert place.confirm("ops-1").error is None
    assert contract_in_force(place.open())[1] == ONE.release()[0].contract.digest


def test_every_change_is_told(place: Place, tmp_path: Path) -> None:
    """Install, upgrade, a trial that fails, a way back by hand: each report says what is there, and the chain holds."""
    place.bring(ONE.write(tmp_path / "1.tar"))
    first = newest(place)
    release, _, _ = ONE.release()
    assert first.install.release is not None
    assert (first.install.release.version, first.install.state) == ("1.0.0", "confirmed")
    assert [(one.kind, one.name, one.found) for one in first.components.listed] == [
        ("files", "service", "same"),
        ("image", "api", "same"),
    ]
    assert first.components.listed[1].expected == release.images[0].manifest.digest
    assert first.policy is not None
    assert first.policy.contract == release.contract.digest
    assert [one.role for one in first.approvals] == ["operator"]
    assert first.approvals[0].key == place.people["ops-1"].public.keyid
    assert first.store == r.Store(releases=(r.HeldRelease(release=first.install.release.digest),))
    place.bring(TWO.write(tmp_path / "2.tar"))
    second = newest(place)
    assert second.install.release is not None
    assert (second.install.release.version, second.chain.seq) == ("1.1.0", 2)
    assert second.trust.mark is not None
    assert second.trust.mark.sequence == 2
    place.rollback(1, "ops-1")
    third = newest(place)
    assert third.install.release is not None
    assert third.install.release.version == "1.0.0"
    assert [(one.automatic, one.cause, one.left) for one in third.rollbacks] == [
        (False, "by-hand", second.install.release.digest)
    ]
    assert [one.seq for one in third.chain.earlier] == [1, 2]
    assert third.chain.earlier[1].release == second.install.release.digest


def test_a_failed_trial_is_told_with_its_cause(place: Place, tmp_path: Path) -> None:
    from manifests.documents import release as rel

    probe = rel.Probe(name="answers", tcp=rel.TcpProbe(endpoint="api"))
    place.bring(ONE.write(tmp_path / "1.tar"))
    place.health["answers"] = "failing"
    place.bring(TWO.but(change={"probes": (probe,)}).write(tmp_path / "2.tar"))
    report = newest(place)
    assert report.install.release is not None
    assert report.install.release.version == "1.0.0"
    assert [one.automatic for one in report.rollbacks] == [True]
    assert report.rollbacks[0].left in report.install.blocked
    assert [(one.version, one.state) for one in report.install.generations][-1] == ("1.1.0", "rolled-back")


def test_the_result_of_a_probe_belongs_to_one_generation(place: Place, tmp_path: Path) -> None:
    from manifests.documents import release as rel

    probe = rel.Probe(name="answers", tcp=rel.TcpProbe(endpoint="api"))
    place.bring(ONE.but(change={"probes": (probe,)}).write(tmp_path / "1.tar"))
    now = {"measured": "now", "at": rfc3339(place.clock.at)}
    assert [to_builtins(one) for one in newest(place).health] == [
        {"probe": "answers", "generation": 1, "state": "passing", **now, "recent": "p"}
    ]
    place.clock.sleep(3600)
    shown = read_status(place.open(), (), None, place.clock.at).text
    assert "probe answers: passed 1h ago, not looked at since" in shown
    place.health["answers"] = "failing"
    place.bring(TWO.but(change={"probes": (probe,)}).write(tmp_path / "2.tar"))
    report = newest(place)
    assert report.install.release is not None and report.install.release.version == "1.0.0"
    assert [(one.generation, one.state, one.measured) for one in report.health] == [(1, "failing", "now")]
    shown = read_status(place.open(), (), None, place.clock.at).text
    assert "probe answers: failed 0s ago, not looked at since" in shown


def test_a_rollback_runs_the_probes_of_the_former_generation(place: Place, tmp_path: Path) -> None:
    from manifests.documents import release as rel

    probe, other = (rel.Probe(name=name, tcp=rel.TcpProbe(endpoint="api")) for name in ("answers", "newer"))
    place.bring(ONE.but(change={"probes": (probe,)}).write(tmp_path / "1.tar"))
    place.health["newer"] = "failing"
    place.bring(TWO.but(change={"probes": (probe, other)}).write(tmp_path / "2.tar"))
    # Only probes of the generation that runs, and the one that failed is of the other.
    assert [(one.probe, one.generation, one.state) for one in newest(place).health] == [("answers", 1, "passing")]
    site = place.open()
    assert [(one.probe, one.state) for one in site.state.installs.running_health] == [("answers", "passing")]
    error = transaction_error(site)
    assert error is not None and "its own probes" not in error.problem


def test_a_rollback_whose_former_generation_does_not_pass_says_so(place: Place, tmp_path: Path) -> None:
    from manifests.documents import release as rel

    probe = rel.Probe(name="answers", tcp=rel.TcpProbe(endpoint="api"))
    place.bring(ONE.but(change={"probes": (probe,)}).write(tmp_path / "1.tar"))
    place.health["answers"] = "failing"
    place.bring(TWO.but(change={"probes": (probe,)}).write(tmp_path / "2.tar"))
    site = place.open()
    error = transaction_error(site)
    assert isinstance(error, RolledBackError)
    assert error.problem.endswith("runs again, but its own probes do not pass: answers")
    assert report_lines(newest(place))[0] == "! the release is called confirmed, but a probe fails: answers"


def test_a_report_measures_the_probes_when_it_is_made(place: Place, tmp_path: Path) -> None:
    from manifests.documents import release as rel

    probes = tuple(rel.Probe(name=name, tcp=rel.TcpProbe(endpoint="api")) for name in ("answers", "stores"))
    place.bring(ONE.but(change={"probes": probes}).write(tmp_path / "1.tar"))
    place.clock.sleep(60)
    place.health["stores"] = "failing"
    with place.hold() as site:
        report = verified(place, write_report(site, site.disk, place.clock.at, look=place.look)).report
        read = measure_health(site, load_driver, place.clock.at, place.look)
    assert [(one.probe, one.state, one.failures) for one in report.health] == [
        ("answers", "passing", 0),
        ("stores", "failing", 1),
    ]
    assert {(one.measured, one.at) for one in report.health} == {("now", rfc3339(place.clock.at))}
    shown = read_status(place.open(), (), None, place.clock.at, health=read).text
    assert "probe answers: passing" in shown
    assert "probe stores: failing: as the test wants it" in shown


def test_a_probe_without_a_result_in_time_keeps_its_last_one(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manifests.documents import release as rel

    probes = tuple(rel.Probe(name=f"p{n}", tcp=rel.TcpProbe(endpoint="api")) for n in range(3))
    place.bring(ONE.but(change={"probes": probes}).write(tmp_path / "1.tar"))
    installed_at = rfc3339(place.clock.at)
    place.clock.sleep(60)
    monkeypatch.setattr("verifier.reporting.health.PROBES_AT_ONCE", 1)
    monkeypatch.setattr("verifier.reporting.health.MEASURE_SECONDS", 0.0)
    begun = threading.Event()

    def slow(probe: rel.Probe, context: ProbeContext) -> ProbeResult:
        begun.set()
        time.sleep(0.2)
        return place.look(probe, context)

    with place.hold() as site:
        report = verified(place, write_report(site, site.disk, place.clock.at, look=slow)).report
    assert begun.is_set()
    assert [(one.probe, one.measured) for one in report.health] == [("p0", "now"), ("p1", "last"), ("p2", "last")]
    assert report.health[1].at == installed_at


def test_what_waits_keeps_the_number_that_said_so_first(place: Place, tmp_path: Path) -> None:
    place.receive(ONE.write(tmp_path / "1.tar"))
    first = write(place).report
    again = write(place).report
    assert [(one.item, one.since_seq) for one in first.waiting] == [("r-1.0.0", 1)]
    assert again.waiting == first.waiting
    assert first.waiting[0].roles == (r.RoleCount(role="operator", have=0, need=1),)
    place.approve("r-1.0.0")
    assert write(place).report.waiting[0].roles == (r.RoleCount(role="operator", have=1, need=1),)


def test_what_changed_on_disk_is_drift(place: Place, tmp_path: Path) -> None:
    place.bring(ONE.write(tmp_path / "1.tar"))
    placed = next(path for path in (place.path / "srv").rglob("hello.txt") if not path.is_symlink())
    placed.chmod(0o644)
    placed.write_bytes(b"changed\n")
    report = write(place).report
    found = {one.name: one.found for one in report.components.listed}
    assert found["api"] == "same"
    assert found["service"] in ("differs", "unreadable")


def test_a_damaged_generation_is_no_reason_to_be_silent(place: Place, tmp_path: Path) -> None:
    place.bring(ONE.write(tmp_path / "1.tar"))
    shutil.rmtree(place.path / "generations" / "1")
    report = write(place).report
    assert report.install.release is not None
    assert report.components == r.Components()
    assert "install" in {one.what for one in report.dropped}


def test_no_name_and_no_config_leaves(place: Place, tmp_path: Path) -> None:
    """Planted secrets: a person's name, an account, a path, an address, a free-text reason."""
    yaml = place.path / "site.yaml"
    text = yaml.read_text().replace(ENDPOINTS, 'endpoints: {api: "http://canary-host:8080"}')
    yaml.write_text(text.replace("target: other", "target: vm"))
    place.bring(ONE.write(tmp_path / "1.tar"))
    raw = (place.path / "outbox" / "1.report.json").read_bytes()
    core = verify_statement(raw, place.open().state.site_key, "report")
    journal = b"".join(path.read_bytes() for path in (place.path / "journal").glob("*.jsonl"))
    for canary in (b"ops-1", b"ops1", b"canary-host", str(place.path).encode(), b"offer.tar"):
        assert canary not in core
    assert b"ops-1" in journal  # the site itself knows
    report = newest(place)
    assert report.identity.target == "vm"


def test_a_seal_tells_changed_from_unchanged_and_nothing_else(place: Place, tmp_path: Path) -> None:
    other = make_place(tmp_path / "other", ONE)
    here, there = place.open(), other.open()
    assert config_seal(here, b"{}") == config_seal(here, b"{}")
    assert len({config_seal(here, b"{}"), config_seal(here, b"[]"), config_seal(there, b"{}"), digest_of(b"{}")}) == 4


def test_a_report_names_the_file_before_it(place: Place) -> None:
    digests = [write(place).digest for _ in range(3)]
    entries, _ = read_journal(place.path / "journal")
    told = [one.record.event for one in entries if isinstance(one.record.event, Reported)]
    assert [one.digest for one in told] == digests
    for seq, digest in enumerate(digests, 1):
        assert digest_of((place.path / "outbox" / f"{seq}.report.json").read_bytes()) == digest
    assert newest(place).chain.previous == digests[1]


def test_a_report_that_is_gone_from_the_outbox_does_not_break_the_chain(place: Place) -> None:
    write(place)
    second = write(place)
    (place.path / "outbox" / "2.report.json").unlink()
    third = write(place).report
    assert third.chain.previous == second.digest
    assert third.chain.omitted == r.Omitted(first=1, last=2, digest=second.digest)
    assert write(place).report.chain.omitted == third.chain.omitted


def test_a_changed_file_in_the_outbox_is_neither_believed_nor_handed_out(place: Place, tmp_path: Path) -> None:
    first = write(place)
    path = place.path / "outbox" / "1.report.json"
    path.write_bytes(path.read_bytes()[:-1])
    out = tmp_path / "out"
    out.mkdir()
    with place.hold() as site, pytest.raises(DamagedError, match=", expected sha256"):
        export_reports(site, site.disk, out, most=12)
    assert list(out.iterdir()) == []
    assert write(place).report.chain.previous == first.digest


class _Cut(Exception):  # noqa: N818 - not an error of the program: the plug
    pass


class CutDisk(Disk):
    """The plug is pulled after the ``n``-th effect."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _effect(self, kind, path, act):  # type: ignore[no-untyped-def]  # as the class it stands in for
        if self.left == 0:
            raise _Cut
        self.left -= 1
        return act()


def test_a_cut_at_any_effect_never_gives_a_number_two_contents(place: Place, tmp_path: Path) -> None:
    """After each possible cut the next report follows, and what was once in the outbox is in the journal as it was."""
    write(place)
    cuts = 0
    for n in range(100):
        folder = tmp_path / f"cut-{n}"
        shutil.copytree(place.path, folder, symlinks=True)
        cut = Place(path=folder, disk=CutDisk(n), clock=place.clock)
        try:
            with cut.hold() as site:
                write_report(site, site.disk, place.clock.at)
            assert n > 4
            break
        except _Cut:
            cuts += 1
        left = {path.name: path.read_bytes() for path in (folder / "outbox").glob("*.report.json")}
        whole = Place(path=folder, clock=place.clock)
        after = write(whole).report
        assert after.chain.seq in (2, 3)
        for name, raw in left.items():
            assert (folder / "outbox" / name).read_bytes() == raw
        entries, _ = read_journal(folder / "journal")
        told = {one.record.event.seq: one.record.event for one in entries if isinstance(one.record.event, Reported)}
        assert sorted(told) == list(range(1, after.chain.seq + 1))
        for seq, event in told.items():
            assert digest_of((folder / "outbox" / f"{seq}.report.json").read_bytes()) == event.digest
    assert cuts > 4


class FullDisk(Disk):
    """Nothing can be written until the reserve is given back, and then there is little left."""

    freed = False

    def space(self, path: Path) -> Space:
        return replace_data(super().space(path), bytes=0)

    def _effect(self, kind, path, act):  # type: ignore[no-untyped-def]  # as the class it stands in for
        if kind == "unlink" and path.name == "reserve":
            self.freed = True
        if kind == "write" and not self.freed:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return act()


def test_a_full_disk_costs_the_reserve_before_it_costs_the_report(place: Place) -> None:
    full = Place(path=place.path, disk=FullDisk(), clock=place.clock)
    assert write(full).report.chain.seq == 1
    assert not (place.path / "reserve").exists()
    full = Place(path=place.path, disk=FullDisk(), clock=place.clock)
    with pytest.raises(OSError, match="No space"):
        write(full)
    assert place.open().state.reports.seq == 1
    # Nothing is installed yet; with space again the next report sets the reserve aside, as `status` promises.
    write(place)
    assert (place.path / "reserve").stat().st_size > 0


def stray(place: Place) -> bytes:
    """A report that this site's key signed in another folder: the site was copied."""
    copied = place.path.with_name("copied")
    shutil.copytree(place.path, copied, symlinks=True)
    other = Place(path=copied, clock=place.clock)
    write(other)
    return (write(other)).raw


def test_a_stray_file_under_the_next_number_is_not_taken_over(place: Place) -> None:
    write(place)
    raw = stray(place)
    (place.path / "outbox" / "2.report.json").write_bytes(raw)
    with pytest.raises(UntrustedError, match="the journal ends before report 2, which this site has signed"):
        write(place)
    assert (place.path / "outbox" / "2.report.json").read_bytes() == raw


def test_a_copy_of_the_last_report_is_not_the_next_one(place: Place) -> None:
    write(place)
    shutil.copy(place.path / "outbox" / "1.report.json", place.path / "outbox" / "2.report.json")
    with pytest.raises(DamagedError, match="does not follow"):
        write(place)


def observed(**changes: object) -> SiteObservation:
    return SiteObservation(enrolment=OTHER, report_every_seconds=0, **changes)  # type: ignore[arg-type]  # names of its fields


def test_planning_touches_nothing(place: Place) -> None:
    site = place.open()
    before = {path: path.read_bytes() for path in place.path.rglob("*") if path.is_file()}
    now = datetime(2026, 3, 1, tzinfo=UTC)
    seen = observe_site(site, now)
    one = plan_report(site.state, seen, None, cause="requested", now=now)
    assert one == plan_report(site.state, seen, None, cause="requested", now=now)
    assert {path: path.read_bytes() for path in place.path.rglob("*") if path.is_file()} == before


def test_the_summary_of_unacknowledged_reports_is_whole_or_says_what_it_omits(place: Place) -> None:
    state = place.open().state
    former: PreviousReport | None = None
    for seq in range(1, 101):
        report = plan_report(
            replaced(state, seq - 1),
            observed(),
            former,
            cause="requested",
            now=datetime(2026, 3, 1, tzinfo=UTC),
        )
        signed_report.check_report(report, "report")
        former = PreviousReport(seq=seq, digest=digest_of(b"%d" % seq), report=report)
    chain = report.chain
    assert chain.omitted == r.Omitted(first=1, last=99 - r.MAX_EARLIER, digest=digest_of(b"%d" % (99 - r.MAX_EARLIER)))
    assert [one.seq for one in chain.earlier] == list(range(100 - r.MAX_EARLIER, 100))


def replaced(state: SiteState, seq: int) -> SiteState:
    return replace(state, reports=replace(state.reports, seq=seq))


def test_what_does_not_fit_is_counted() -> None:
    """Everything at its limit at once still makes a report, and no component is lost without a number."""
    site = Reporter()
    good = site.next(ONE)
    many = tuple(
        r.ReportedComponent(
            kind="image", name=f"{i:04}-{'x' * 60}", step="app", expected=OTHER, found="same", level="placed"
        )
        for i in range(900)
    )
    bad = tuple(replace(one, name=f"bad-{one.name}", found="missing") for one in many[:40])
    large = replace(
        good,
        components=r.Components(listed=tuple(sorted((*many, *bad), key=lambda one: one.name))),
        approvals=tuple(r.ReportedApproval(plan=OTHER, role="operator", key=f"{i:064x}") for i in range(128)),
        health=tuple(r.ReportedHealth(probe=f"{i}", generation=1, state="not-observed") for i in range(256)),
        rollbacks=tuple(
            r.ReportedRollback(
                from_generation=i + 1,
                to_generation=i,
                left=OTHER,
                cause="probe-failed",
                automatic=True,
                at="2026-01-02T03:04:05Z",
            )
            for i in range(64)
        ),
    )
    found = fit(large, OTHER)
    assert len(signed_report.encode_report(found, OTHER)) <= r.MAX_CORE
    parts = found.components
    assert len(parts.listed) + parts.more_same + parts.more_other == 940
    assert set(bad) <= set(parts.listed)  # what went wrong goes last
    assert found.rollbacks == large.rollbacks
    for name in ("approvals", "health"):
        lost = len(getattr(large, name)) - len(getattr(found, name))
        assert sum(one.count for one in found.dropped if one.what == name) == lost


def test_two_hundred_images_lose_nothing() -> None:
    good = Reporter().next(ONE)
    many = tuple(
        r.ReportedComponent(
            kind="image", name=f"image-{i:03}", step="app", expected=OTHER, found="same", level="running"
        )
        for i in range(200)
    )
    large = replace(good, components=r.Components(listed=many))
    assert fit(large, OTHER) == large


def test_two_hundred_real_images_fit_into_a_core_and_into_sixteen_symbols(tmp_path: Path) -> None:
    place = many_installed(tmp_path, 200)
    found = newest(place)
    assert [one.found for one in found.components.listed] == ["same"] * 201
    assert (found.components.more_same, found.components.more_other, found.dropped) == (0, 0, ())
    assert found.store == r.Store(releases=(r.HeldRelease(release=found.install.release.digest),))  # type: ignore[union-attr]  # it is installed
    assert len(signed_report.encode_report(found, OTHER)) < r.MAX_CORE
    assert len(cut_report((place.path / "outbox" / "1.report.json").read_bytes())) <= 16


@pytest.mark.parametrize(
    ("floor", "verdict"),
    [
        (None, "plausible"),
        ("2026-02-28T00:00:00Z", "plausible"),
        ("2026-03-02T00:00:00Z", "behind"),
        ("2025-01-01T00:00:00Z", "ahead"),
    ],
)
def test_the_clock_is_judged_against_what_was_proved(floor: str | None, verdict: str) -> None:
    assert clock_verdict(parse_time(floor) if floor else None, datetime(2026, 3, 1, tzinfo=UTC)) == verdict


def test_handing_out_is_a_copy_and_overwrites_nothing(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    raws = [write(place).raw for _ in range(4)]
    with place.hold() as site:
        copied = export_reports(site, site.disk, out, most=3)
    assert [path.name for path in copied] == [f"northern-grid.small.production.east.{n}.report.json" for n in (2, 3, 4)]
    assert [path.read_bytes() for path in copied] == raws[1:]
    with place.hold() as site:
        export_reports(site, site.disk, out, most=3)
    copied[1].write_bytes(b"something else")
    with place.hold() as site, pytest.raises(RefusedError, match="is not overwritten"):
        export_reports(site, site.disk, out, most=4)
    assert not (out / "northern-grid.small.production.east.1.report.json").exists()
    with place.hold() as site, pytest.raises(RefusedError, match="no such folder"):
        export_reports(site, site.disk, tmp_path / "nowhere", most=3)


@pytest.mark.parametrize("link", ["back", "back/northern-grid.small.production.east"])
def test_a_medium_cannot_have_reports_written_elsewhere(place: Place, tmp_path: Path, link: str) -> None:
    write(place)
    elsewhere, medium = tmp_path / "elsewhere", tmp_path / "medium"
    (elsewhere / "northern-grid.small.production.east").mkdir(parents=True)
    (medium / link).parent.mkdir(parents=True)
    (medium / link).symlink_to(elsewhere)
    with place.hold() as site, pytest.raises(RefusedError, match="only a real folder is written into") as caught:
        export_reports(site, site.disk, medium, most=1)
    assert caught.value.where == str(medium / link)
    assert [*elsewhere.rglob("*.json")] == []


def test_the_outbox_keeps_what_may_have_to_be_sent_again(place: Place, tmp_path: Path) -> None:
    """As many as `history` says, none that home holds, and always the newest."""
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: 30d}", "every: 30d, history: 3}"))
    place.bring(ONE.write(tmp_path / "1.tar"))
    digests = [write(place).digest for _ in range(4)]

    def there() -> list[str]:
        return sorted(one.name for one in (place.path / "outbox").glob("*.report.json"))

    assert there() == ["3.report.json", "4.report.json", "5.report.json"]
    note = consignment_for(place.open().state, acknowledged=r.Acknowledged(seq=4, digest=digests[2]))
    (tmp_path / "note").write_bytes(signed(note))
    with place.hold() as site:
        receive_consignment(site, peek_consignment_file(tmp_path / "note"))
    assert [one.seq for one in write(place).report.chain.earlier] == [5]
    assert there() == ["5.report.json", "6.report.json"]


def test_a_never_is_told_as_never(place: Place, tmp_path: Path) -> None:
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: 30d}", "every: never}"))
    place.bring(ONE.write(tmp_path / "1.tar"))
    assert newest(place).identity.report_every_seconds == 0


def test_what_may_be_withheld_is_and_the_report_says_so(place: Place, tmp_path: Path) -> None:
    """`store` leaves where the contract lets it and `site.yaml` does not hold it back; else it is absent."""
    yaml = place.path / "site.yaml"
    open_ = yaml.read_text()
    yaml.write_text(open_.replace("report: {every: 30d}", "telemetry: {withhold: [store]}\nreport: {every: 30d}"))
    place.bring(ONE.write(tmp_path / "1.tar"))
    said = newest(place)
    assert said.store is None
    assert said.dropped == (r.Dropped(what="store", reason="withheld", count=1),)
    yaml.write_text(open_)
    place.approve("config")
    place.install("config")
    said = newest(place)
    assert said.store is not None
    assert said.dropped == ()
    # Another contract, which does not list it: nothing is held back, because nothing may leave.
    place.bring(Closed(version="1.1.0", sequence=2).write(tmp_path / "2.tar"))
    said = newest(place)
    assert said.store is None
    assert said.dropped == ()


def test_a_report_says_which_program_made_it(place: Place, tmp_path: Path) -> None:
    assert write(place).report.verifier.kit is None
    kit = tmp_path / "waybill.pyz"
    kit.write_bytes(b"a kit")
    host = replace_data(place.clock.host(), kit=kit)
    with hold_site(place.path, Disk(), host, "test") as site:
        assert verified(place, write_report(site, site.disk, place.clock.at)).report.verifier.kit == digest_of(b"a kit")
        kit.unlink()
        report = verified(place, write_report(site, site.disk, place.clock.at)).report
    assert (report.verifier.kit, [one.what for one in report.dropped]) == (None, ["verifier"])


def run(place: Place, *words: str, code: int = 0) -> dict[str, object]:
    found = CliRunner().invoke(report_command, [*words, "--site", str(place.path), "--json"], catch_exceptions=False)
    assert found.exit_code == code, found.output
    shown: dict[str, object] = json.loads(found.stdout)
    return shown


@pytest.fixture
def still(place: Place) -> Iterator[Site]:
    """A reading site, for comparing before and after."""
    yield place.open()


def test_the_verb(place: Place, tmp_path: Path) -> None:
    assert run(place, code=5)["error"]["finding"] == "no-report"  # type: ignore[index]  # the error's object
    preview = run(place, "--preview")
    assert preview["signed"] is False
    assert place.open().state.reports.seq == 0
    first = run(place, "--new")
    assert first["report"]["chain"]["seq"] == 1  # type: ignore[index]  # the report's object
    assert run(place) == first
    out = tmp_path / "out"
    out.mkdir()
    copied = run(place, "--new", "--out", str(out))["copied"]
    assert isinstance(copied, list)
    assert len(copied) == 2
    assert run(place, "--preview", "--new", code=2)["error"]["finding"] == "usage"  # type: ignore[index]  # as above
    text = CliRunner().invoke(report_command, ["--site", str(place.path)], catch_exceptions=False).stdout
    assert text.startswith("report 2 of northern-grid/small/production/east\n")


def test_the_preview_is_what_would_be_signed(place: Place) -> None:
    text = CliRunner().invoke(report_command, ["--preview", "--site", str(place.path)], catch_exceptions=False).stdout
    shown = json.loads(text.rpartition("\n\nnot signed")[0])
    with place.hold() as site:
        path = write_report(site, site.disk, place.clock.at)
    core = json.loads(verify_statement(path.read_bytes(), place.open().state.site_key, "report"))
    hosts = []
    for one in (shown, core):
        one["predicate"]["chain"].pop("made_at")
        hosts.append(one["predicate"]["verifier"].pop("host"))
    assert shown == core
    # What the host has free is measured each time.
    assert hosts[0].keys() == hosts[1].keys()
    assert hosts[0]["disk_total_mib"] == hosts[1]["disk_total_mib"] > 0


def test_reading_needs_no_write(place: Place) -> None:
    write(place)
    before = {path: path.stat().st_mtime_ns for path in place.path.rglob("*")}
    run(place)
    run(place, "--preview")
    assert {path: path.stat().st_mtime_ns for path in place.path.rglob("*")} == before


def test_the_former_report_is_read_back(place: Place) -> None:
    assert read_previous_report(place.open()) is None
    signed = write(place)
    former = read_previous_report(place.open())
    assert former == PreviousReport(seq=1, digest=signed.digest, report=signed.report)


def test_it_is_an_in_toto_statement_in_a_sigstore_bundle(place: Place) -> None:
    found = json.loads(write(place).raw)
    assert found["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert found["dsseEnvelope"]["payloadType"] == INTOTO


def test_two_reports_can_be_compared(place: Place) -> None:
    for _ in range(2):
        write(place)
    files = [str(place.path / "outbox" / f"{number}.report.json") for number in (1, 2)]
    found = CliRunner().invoke(compare_command, files, catch_exceptions=False)
    assert found.exit_code == 0
    assert "predicate.chain.seq: 1 to 2" in found.stdout
    yaml = str(place.path / "site.yaml")
    assert "no difference" in CliRunner().invoke(compare_command, [yaml, yaml], catch_exceptions=False).stdout
