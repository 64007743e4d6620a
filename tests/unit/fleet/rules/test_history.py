"""The story of a line of reports, told from the reports alone."""

from msgspec.structs import replace

from fleet.rules.history import SiteReport, site_history
from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.words.digest import digest_of
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)


def told(site: Reporter, raw: bytes, *alarms: str) -> SiteReport:
    return SiteReport(digest_of(raw), signed_report.verify_report(raw, site.signer.public).report, alarms)


def story(*reports: SiteReport, places: dict[int, frozenset[str]] | None = None) -> list[tuple[int, int, str, str]]:
    return [(one.first, one.last, one.kind, one.text) for one in site_history(reports, places or {})]


def test_nothing_tells_nothing() -> None:
    assert story() == []


def test_a_trial_that_failed_and_went_back() -> None:
    site = Reporter()
    first = told(site, site.report(ONE))
    before = site.current
    trial = told(site, site.report(TWO, "trial"))
    assert before is not None
    site.current = before
    site.rollbacks = (
        r.ReportedRollback(
            from_generation=2,
            to_generation=1,
            left=digest_of(b"two"),
            cause="probe-failed",
            automatic=True,
            at="2026-05-04T03:02:01Z",
        ),
    )
    back = told(site, site.report())
    assert story(first, trial, back) == [
        (1, 1, "install", "installed 1.0.0, confirmed"),
        (2, 2, "upgrade", "upgraded from 1.0.0 to 1.1.0, trial"),
        (3, 3, "rollback", "rolled back from 1.1.0 to 1.0.0 automatically: a probe did not pass"),
    ]


def test_a_trial_that_was_confirmed() -> None:
    site = Reporter()
    trial = told(site, site.report(ONE, "trial"))
    said = site.next()
    done = told(site, site.sign(replace(said, install=replace(said.install, state="confirmed"))))
    assert story(trial, done)[1] == (2, 2, "confirmed", "1.0.0 is confirmed")


def test_a_gap_that_nobody_sums_up_is_one_line() -> None:
    site = Reporter()
    for _ in range(3):
        site.report()
    lost = site.last
    assert lost is not None
    said = site.next(ONE)
    chain = replace(said.chain, earlier=(), omitted=r.Omitted(first=1, last=3, digest=lost.digest))
    assert story(told(site, site.sign(replace(said, chain=chain))))[0] == (1, 3, "gap", "reports 1 to 3 are not here")


def test_both_branches_of_a_fork_are_told_against_their_own_past() -> None:
    site = Reporter()
    first = told(site, site.report(ONE))
    twin = site.clone()
    mine, theirs = told(site, site.report()), told(twin, twin.report(TWO))
    last = told(twin, twin.report())
    places = {2: frozenset({mine.digest, theirs.digest})}
    lines = story(first, mine, theirs, last, places=places)
    assert lines[1] == (2, 2, "fork", "2 different reports have number 2; 2 of them are here")
    assert lines[2] == (2, 2, "report", f"requested [{mine.digest[7:19]}]")
    assert lines[3] == (2, 2, "upgrade", f"upgraded from 1.0.0 to 1.1.0, confirmed [{theirs.digest[7:19]}]")
    assert lines[4] == (3, 3, "report", "requested")


def test_alarms_stand_where_they_were_raised() -> None:
    site = Reporter()
    assert story(told(site, site.report(), "the floor went back"))[-1] == (1, 1, "alarm", "the floor went back")
