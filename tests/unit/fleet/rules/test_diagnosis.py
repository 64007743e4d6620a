"""What support reads as the cause: each sentence from one piece of evidence, and none from a healthy report."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.rules.diagnosis import CERTIFICATE_DAYS, FLAPPING_CHANGES, MANY_RESTARTS, diagnose
from manifests.documents import report as r
from manifests.documents.report_condition import (
    HostState,
    ReportedCertificate,
    ReportedFailure,
    ReportedMedium,
    VerifierState,
)
from manifests.documents.signed_report import check_report
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

AT = "2026-05-04T03:02:01Z"
ONE = Vendor(version="1.0.0", sequence=1)
HOST = HostState(
    disk_free_mib=600,
    disk_total_mib=1000,
    inodes_free=900,
    inodes_total=1000,
    memory_available_mib=10,
    memory_total_mib=20,
    reserve_mib=16,
)
Change = Callable[[r.Report], r.Report]


def healthy() -> r.Report:
    report = Reporter(root=ONE.pin()).next(ONE)
    certificate = ReportedCertificate(endpoint="api", verdict="good", days=CERTIFICATE_DAYS)
    probe = r.ReportedHealth(probe="up", generation=1, state="passing", measured="now", at=AT, recent="pppp")
    verifier = VerifierState(version="0.1.0", format=1, host=HOST, certificates=(certificate,))
    return replace(report, verifier=verifier, health=(probe,))


def host(**changes: Any) -> Change:
    return lambda o: replace(o, verifier=replace(o.verifier, host=replace(HOST, **changes)))


def certificate(**changes: Any) -> Change:
    made = ReportedCertificate(**{"endpoint": "api", "verdict": "good", **changes})
    return lambda o: replace(o, verifier=replace(o.verifier, certificates=(made,)))


def part(kind: str = "files", **changes: Any) -> Change:
    def change(report: r.Report) -> r.Report:
        listed = [one for one in report.components.listed if one.kind == kind]
        changed = replace(listed[0], **changes)
        rows = tuple(changed if one is listed[0] else one for one in report.components.listed)
        return replace(report, components=replace(report.components, listed=rows))

    return change


def probed(recent: str) -> Change:
    return lambda o: replace(o, health=(replace(o.health[0], measured="last", recent=recent),))


def failed(**changes: Any) -> Change:
    given: dict[str, Any] = {
        "action": "install",
        "subject": "release",
        "generation": 2,
        "release": "sha256:" + "a" * 64,
        "version": "1.1.0",
        "act": "probe",
        "step": "up",
        "code": "probe-failed",
        "end": "rolled-back",
        **changes,
    }
    return lambda o: replace(o, install=replace(o.install, failure=ReportedFailure(**given)))


def trust(**changes: Any) -> Change:
    return lambda o: replace(o, trust=replace(o.trust, **changes))


def waiting(kind: str) -> Change:
    return lambda o: replace(o, waiting=(r.WaitingItem(item="config", kind=kind, since=AT, since_seq=1),))


CASES: dict[str, tuple[Change, str, str]] = {
    "disk": (
        host(disk_free_mib=99, reserve_spent=True),
        "disk-full",
        "the disk is nearly full: 99 of 1000 MiB free (9 %); the reserve is used up",
    ),
    "reserve": (host(disk_free_mib=600, reserve_mib=601), "disk-full", "600 of 1000 MiB free (60 %)"),
    "inodes": (host(inodes_free=99), "inodes-full", "99 of 1000 inodes free"),
    "certificate": (certificate(days=20), "certificate-expiry", "the certificate of endpoint api expires in 20 days"),
    "expired": (
        certificate(verdict="not-trusted"),
        "certificate-expiry",
        "the certificate of endpoint api has expired or is not trusted",
    ),
    "registry": (
        part("image", found="unreadable", reason="unreachable"),
        "registry-unreachable",
        "the site's registry cannot be reached; its images could not be looked at: api",
    ),
    "login": (part("image", found="unreadable", reason="login"), "registry-login", "refuses the login"),
    "authority": (part("image", found="unreadable", reason="certificate"), "registry-certificate", "not trusted"),
    "missing": (part("image", found="missing"), "image-missing", "1 image is missing or incomplete"),
    "incomplete": (part("image", found="unreadable", reason="incomplete"), "image-missing", "api (step"),
    "flapping": (
        probed("ppfpf"),
        "probe-flapping",
        "probe up flaps: 3 of its last 5 results passed, with 3 changes between passing and not",
    ),
    "migration": (
        failed(act="migrate", step="two", code="interrupted", end="unfinished"),
        "migration-halfway",
        "migration two of generation 2 (1.1.0) was cut off half-way; it is unfinished",
    ),
    "migration failed": (
        failed(act="migrate", step="two", code="program-missing"),
        "migration-halfway",
        "migration two of generation 2 (1.1.0) failed half-way (program missing); the site went back",
    ),
    "configuration": (
        failed(subject="config"),
        "config-wrong",
        "the configuration of generation 2 (1.1.0) does not work: probe up did not pass; the site went back",
    ),
    "another failure": (
        failed(act="activate", step="service", code="keeper-failed", end="inconsistent"),
        "change-failed",
        "the install of generation 2 (1.1.0) failed: a service could not be started or stopped (activate, step serv",
    ),
    "configuration refused": (waiting("config-refused"), "config-refused", "site.yaml was changed"),
    "clock behind": (
        trust(clock="behind", time_floor="2026-05-14T03:02:01Z"),
        "clock-off",
        "the site's clock is far off: 2026-05-04T03:02:01Z is 10d behind 2026-05-14T03:02:01Z, which a release proves",
    ),
    "clock back": (trust(clock_back=1), "clock-off", "the site's clock went backwards, once"),
    "restarts": (
        part(restarts=MANY_RESTARTS, reason="failing"),
        "service-restarts",
        "ended by itself 3 times and was started again, and does not stay up",
    ),
    "stopped": (part(reason="stopped"), "service-down", "is stopped"),
    "medium": (
        trust(medium=ReportedMedium(problem="medium-damaged", at=AT)),
        "medium-damaged",
        "the last bundle was damaged when it arrived (2026-05-04T03:02:01Z)",
    ),
}


def test_a_healthy_report_has_no_diagnosis() -> None:
    check_report(healthy(), "report")
    assert diagnose(healthy()) == diagnose(healthy(), healthy()) == ()


@pytest.mark.parametrize("case", CASES)
def test_each_piece_of_evidence_gives_its_sentence(case: str) -> None:
    change, finding, words = CASES[case]
    report = change(healthy())
    check_report(report, "report")
    (diagnosis,) = diagnose(report)
    assert diagnosis.id == finding
    assert words in diagnosis.text


@given(st.sets(st.sampled_from(sorted({one for one in CASES if one not in ("reserve", "expired")}))))
def test_a_sentence_needs_its_own_evidence_and_no_other(names: set[str]) -> None:
    """Any mixture of causes gives the sentences of those causes: without one of them its sentence is gone."""
    # Some pieces of evidence are of one field, so that only one of them fits into a report.
    for rivals in (
        ("disk", "inodes"),
        ("clock behind", "clock back"),
        ("restarts", "stopped"),
        ("registry", "login", "authority", "missing", "incomplete"),
        ("migration", "migration failed", "configuration", "another failure"),
    ):
        names -= set(sorted(names & set(rivals))[1:])
    report = healthy()
    for name in sorted(names):
        report = CASES[name][0](report)
    assert {one.id for one in diagnose(report)} == {CASES[name][1] for name in names}


def test_thresholds_are_exact() -> None:
    assert not diagnose(host(disk_free_mib=100)(healthy()))
    assert not diagnose(certificate(days=CERTIFICATE_DAYS)(healthy()))
    assert not diagnose(probed("ppfpp")(healthy()))
    assert len("pfpf") == FLAPPING_CHANGES + 1
    assert diagnose(probed("pfpf")(healthy()))
    assert not diagnose(part(restarts=MANY_RESTARTS - 1)(healthy()))


def test_a_clock_that_went_back_before_the_report_before_is_not_news() -> None:
    report = trust(clock_back=2)(healthy())
    assert not diagnose(report, report)
    assert diagnose(report, trust(clock_back=1)(healthy()))


def test_the_gravest_cause_comes_first() -> None:
    report = certificate(days=1)(host(disk_free_mib=1)(failed(act="migrate")(healthy())))
    assert [one.id for one in diagnose(report)] == ["migration-halfway", "disk-full", "certificate-expiry"]
