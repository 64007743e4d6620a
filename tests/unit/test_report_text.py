"""What leads a report, wherever a person reads it: at the site and at home the same words in the same order."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from fleet.commands.group import fleet_group
from manifests.documents import release as r_release
from manifests.documents import report as r
from manifests.documents.report_text import heeded
from manifests.words.digest import digest_of
from tests.faults.model import QuickDisk
from tests.governed import EMERGENCY, TAIL, govern, policy_text, write_policy
from tests.place import Place, make_place
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor
from verifier.commands.report import report_command

ONE = Vendor(version="1.0.0", sequence=1)
PLAN = digest_of(b"plan")


def made(**changes: object) -> r.Report:
    return Reporter(root=ONE.pin()).next(ONE, **changes)  # type: ignore[arg-type]  # fields of a report, as they come


def used(report: r.Report, release: str) -> r.Report:
    use = r.EmergencyUse(rule="pressing", policy=3, release=release, plan=PLAN, at="2026-05-04T03:02:01Z")
    return replace(report, policy=r.PolicyState(number=3, digest=digest_of(b"policy"), emergency=(use,)))


def test_a_quiet_site_has_nothing_that_leads() -> None:
    assert heeded(made()) == ()


CASES: list[tuple[Callable[[r.Report], r.Report], str]] = [
    (
        lambda o: used(o, digest_of(b"?")),
        f"emergency rule 'pressing' of policy 3 was used for {digest_of(b'?')} at 2026",
    ),
    (
        lambda o: replace(o, policy=r.PolicyState(number=4, digest=digest_of(b"p"), refounded=4)),
        "policy 4 was put in force without the quorum of the policy before it",
    ),
    (lambda o: replace(o, trust=replace(o.trust, roots_replaced=2)), "root was replaced on paper, 2 times"),
    (lambda o: replace(o, install=replace(o.install, state="inconsistent")), "the site is inconsistent"),
    (lambda o: replace(o, install=replace(o.install, state="trial", trial_attempts=2)), "on trial, attempt 2"),
    (lambda o: replace(o, install=replace(o.install, revoked=True)), "the running release is revoked by the vendor"),
    (lambda o: replace(o, install=replace(o.install, below_floor=True)), "below the floor of its channel"),
    (lambda o: replace(o, trust=replace(o.trust, clock="behind")), "clock is behind the latest time"),
    (lambda o: replace(o, trust=replace(o.trust, clock="ahead")), "clock is far ahead of the latest time"),
    (lambda o: replace(o, trust=replace(o.trust, clock_back=1)), "clock went backwards, once"),
    (
        lambda o: replace(o, trust=replace(o.trust, alarms=(r.SeenAlarm(code="sequence-reused"),) * 3)),
        "alarm sequence reused, 3 times",
    ),
    (
        lambda o: replace(o, chain=replace(o.chain, journal=replace(o.chain.journal, torn=1))),
        "an unfinished last journal entry was cut, once",
    ),
]


@pytest.mark.parametrize(("change", "said"), CASES)
def test_each_thing_that_needs_an_eye_has_its_line(change: Callable[[r.Report], r.Report], said: str) -> None:
    (line,) = heeded(change(made()))
    assert said in line


def test_the_way_in_leads_and_names_its_version() -> None:
    report = made()
    assert report.install.release is not None
    report = used(replace(report, trust=replace(report.trust, clock_back=1)), report.install.release.digest)
    first, second = heeded(report)
    assert "was used for 1.0.0 at" in first
    assert "clock" in second


def test_the_page_of_a_site_at_home_leads_with_it(tmp_path: Path) -> None:
    site = Reporter(root=ONE.pin())
    (tmp_path / "e.json").write_bytes(site.enrolment)
    report = replace(
        site.next(ONE),
        requests=(
            r.RequestResult(consignment=7, request="a1", handler="tail", outcome="ran", exit_code=3),
            r.RequestResult(request="h-2", handler="inventory", outcome="failed", reason="host"),
        ),
        dropped=(r.Dropped(what="store", reason="withheld", count=2),),
    )
    assert report.install.release is not None
    raw = site.sign(used(report, report.install.release.digest))
    (tmp_path / "1.report.json").write_bytes(raw)

    def run(*words: str, code: int = 0) -> str:
        found = CliRunner().invoke(fleet_group, [*words, "--fleet", str(tmp_path / "fleet")], catch_exceptions=False)
        assert found.exit_code == code, found.output
        return found.stdout

    run("enroll", str(tmp_path / "e.json"))
    run("import", str(tmp_path / "1.report.json"), code=14)
    lines = run("show", site.site).splitlines()
    assert lines[1].startswith("! emergency rule 'pressing' of policy 3 was used for 1.0.0")
    assert ["answer", "7", "tail:", "ran,", "exit", "3"] in [one.split() for one in lines]
    own = "run h-2 inventory: failed (host), by the site's own people"
    assert own in [" ".join(one.split()) for one in lines]
    assert any(one.startswith("left out") and one.endswith("2 of store: withheld") for one in lines)


def test_the_report_at_the_site_leads_with_it(tmp_path: Path) -> None:
    first = Vendor(images=False)
    fix = r_release.Fix(advisory="CVE-2026-1", severity="critical", in_="service")
    urgent = first.but(version="1.1.0", sequence=2, service={"hello.txt": b"next\n"}, change={"fixes": (fix,)})
    place = make_place(tmp_path, first, disk=QuickDisk())
    assert place.bring(first.write(tmp_path / "1.tar")).error is None
    assert shown(place)[1].startswith("  made at")
    govern(place)
    place.put_policy(write_policy(place, policy_text(3, tail=TAIL + EMERGENCY)), "ops-1", "sec-1")
    place.approve(place.receive(urgent.write(tmp_path / "2.tar")).item)
    assert place.install("r-1.1.0", emergency="critical-fix").error is None
    assert shown(place)[1].startswith("! emergency rule 'critical-fix' of policy 3 was used for 1.1.0 at ")


def shown(place: Place) -> list[str]:
    found = CliRunner().invoke(report_command, ["--new", "--site", str(place.path)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout.splitlines()
