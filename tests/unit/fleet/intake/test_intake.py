"""Import: what is accepted, what is found, what is refused, and that nothing good is lost beside anything bad."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, select

from fleet.intake.intake import import_paths
from fleet.intake.result import ImportResult, import_attention, import_text
from fleet.ledger.opening import FleetPlace, find_fleet, open_fleet
from fleet.ledger.tables import positions, quarantine, reports
from fleet.outgoing.enrol import enroll, pin_root
from fleet.outgoing.views import NewestReport, SiteRow, find_site, list_sites, show_site
from manifests.documents import release as rel
from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.enrolment import verify_enrolment
from manifests.transport.armour import armour_report
from manifests.transport.symbols import cut_report
from manifests.trust.envelope import statement
from manifests.trust.envelope_writer import sign_statement
from manifests.trust.private_keys import generate_key
from manifests.trust.root import Mark, parse_root
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import MalformedError
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor, derived

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
OTHER = "sha256:" + "99" * 32


@pytest.fixture
def place(tmp_path: Path) -> FleetPlace:
    return find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True)


@pytest.fixture
def engine(place: FleetPlace) -> Iterator[Engine]:
    engine = open_fleet(place)
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine) -> Reporter:
    site = Reporter(root=ONE.pin())
    take(engine, site)
    return site


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    folder = tmp_path / "medium"
    folder.mkdir()
    return folder


def take(engine: Engine, site: Reporter) -> None:
    signed = verify_enrolment(site.enrolment)
    enroll(engine, signed, NOW, fingerprint="sha256:" + site.signer.public.keyid)


def put(medium: Path, name: str, data: bytes) -> None:
    (medium / name).write_bytes(data)


def bring(engine: Engine, medium: Path, *files: bytes) -> ImportResult:
    """Import exactly these files, whatever the medium held before."""
    for old in medium.iterdir():
        old.unlink()
    for i, data in enumerate(files):
        put(medium, f"{i}.bin", data)
    return import_paths(engine, (medium,), NOW)


def names(done: ImportResult) -> list[str]:
    found = [one.finding for news in done.sites.values() for _, one in news.findings]
    return found + [str(one.finding) for one in done.files if one.status in ("quarantined", "unreadable")]


def row(engine: Engine) -> SiteRow:
    return list_sites(engine)[0]


def newest(engine: Engine) -> NewestReport:
    report = row(engine).newest
    assert report is not None
    return report


def test_the_loop(engine: Engine, site: Reporter, medium: Path) -> None:
    """Bundles first or last, reports in any order: what comes out is who runs what."""
    assert row(engine).shown_release == "never reported"
    files = [site.report(), site.report(ONE, "trial"), site.report(), site.report(TWO, "confirmed")]
    put(medium, "a-report", files[3])
    for i, name in enumerate(("z", "y", "x")):
        put(medium, name, files[i])
    (medium / "sub").mkdir()
    ONE.write(medium / "sub" / "renamed-by-a-guard.dat")
    TWO.write(medium / "sub" / "one.tar")
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"release": 2, "report": 4}
    assert names(done) == []
    found, report = row(engine), newest(engine)
    assert (report.version, report.state, found.level, found.channel) == ("1.1.0", "confirmed", "placed", "stable")
    assert (found.seq, found.missing, found.forked_at, report.known, found.notes) == (4, 0, None, True, ())


def test_importing_again_changes_nothing(engine: Engine, site: Reporter, medium: Path) -> None:
    files = [site.report(), site.report(ONE)]
    bring(engine, medium, *files, ONE.bundle())
    before = everything(engine)
    done = bring(engine, medium, *files, ONE.bundle(), files[1])
    assert done.counts == {"known": 4}
    assert {one.finding for one in done.files} == {"report-replayed", "release-known"}
    assert everything(engine) == before


def test_a_replay_does_not_bring_the_old_state_back(engine: Engine, site: Reporter, medium: Path) -> None:
    old = site.report(ONE)
    bring(engine, medium, old, site.report(TWO))
    done = bring(engine, medium, old)
    assert "was imported before" in done.files[0].text
    assert newest(engine).version == "1.1.0"


def everything(engine: Engine) -> list[object]:
    from fleet.ledger.tables import metadata

    with engine.connect() as connection:
        return [
            [tuple(one) for one in connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        ]


def test_a_copied_site_is_a_fork(engine: Engine, site: Reporter, medium: Path) -> None:
    """Two machines, one key: both sign report 3, and neither is edited."""
    bring(engine, medium, site.report(), site.report(ONE))
    clone = site.clone()
    mine, theirs = site.report(), clone.report(TWO)
    assert not bring(engine, medium, mine).alarms
    done = bring(engine, medium, theirs)
    assert "report-forked" in names(done)
    assert done.alarms == (site.site,)
    found = row(engine)
    assert (found.forked_at, found.missing) == (3, 0)
    assert "forked" in found.notes
    with engine.connect() as connection:
        assert len(connection.execute(select(reports.c.digest)).all()) == 4  # both branches stand
    done = bring(engine, medium, clone.report())
    assert "site-forked" in names(done)
    page = show_site(engine, site.site)
    assert [(one.first, one.kind) for one in page.history if one.kind == "fork"] == [(3, "fork")]


def test_a_fork_shows_before_the_other_branch_is_here(engine: Engine, site: Reporter, medium: Path) -> None:
    """The clone's report 4 names another report 3 than the one that is held."""
    bring(engine, medium, site.report(), site.report())
    clone = site.clone()
    site.report()
    bring(engine, medium, site.report())
    clone.made_at = "2026-05-05T00:00:00Z"
    clone.report()
    clone.report()
    assert "report-forked" in names(bring(engine, medium, clone.report()))
    assert row(engine).forked_at == 3


def test_a_restored_backup_is_a_fork(engine: Engine, site: Reporter, medium: Path) -> None:
    backup = site.clone()
    bring(engine, medium, site.report(), site.report(ONE))
    backup.made_at = "2026-05-09T00:00:00Z"
    assert "report-forked" in names(bring(engine, medium, backup.report()))
    assert row(engine).forked_at == 1
    assert newest(engine).version == "1.0.0"


def test_another_enrolment_below_the_first_report_is_a_fork(engine: Engine, site: Reporter, medium: Path) -> None:
    said = site.next(ONE)
    done = bring(engine, medium, site.sign(replace(said, chain=replace(said.chain, previous=OTHER))))
    assert "report-forked" in names(done)
    assert row(engine).forked_at == 0


def test_reports_that_a_later_one_sums_up_are_no_gap(engine: Engine, site: Reporter, medium: Path) -> None:
    files = [site.report(), site.report(ONE), site.report(), site.report(TWO)]
    bring(engine, medium, files[0], ONE.bundle(), TWO.bundle())
    done = bring(engine, medium, files[3])
    news = done.sites[site.site]
    assert [(seq, one.finding, one.alarm) for seq, one in news.findings] == [(4, "report-summed-up", False)]
    assert "reports 2 to 3" in news.findings[0][1].text
    assert (row(engine).missing, row(engine).notes) == (0, ())
    page = show_site(engine, site.site)
    assert page.gaps == ()
    assert [one.text for one in page.history if one.kind == "summed-up"] == [
        "summed up by a later report: install, confirmed",
        "summed up by a later report: requested, confirmed",
    ]
    assert names(bring(engine, medium, files[2], files[1])) == ["report-late", "report-late"]
    assert (row(engine).missing, newest(engine).version) == (0, "1.1.0")


def test_a_gap_that_nothing_sums_up_is_named_and_closed(engine: Engine, site: Reporter, medium: Path) -> None:
    files = [site.report(), site.report(ONE), site.report()]
    lost = site.last
    assert lost is not None
    bring(engine, medium, files[0], ONE.bundle())
    said = site.next()
    chain = replace(said.chain, earlier=(), omitted=r.Omitted(first=1, last=3, digest=lost.digest))
    done = bring(engine, medium, site.sign(replace(said, chain=chain)))
    assert "report-gap" in names(done)
    # The digest of the last one is known, because the next report names it.
    assert (row(engine).missing, row(engine).notes) == (1, ("gap",))
    assert show_site(engine, site.site).gaps == ((2, 2),)
    assert names(bring(engine, medium, files[1], files[2])) == ["report-late", "report-late"]
    assert (row(engine).missing, show_site(engine, site.site).gaps) == (0, ())


def test_a_number_far_ahead_is_an_alarm(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle(), site.report())
    said = site.next()
    far = r.Omitted(first=1, last=2**53 - 2, digest=OTHER)
    chain = replace(said.chain, seq=2**53 - 1, previous=OTHER, earlier=(), omitted=far)
    done = bring(engine, medium, site.clone().sign(replace(said, chain=chain)))
    assert names(done) == ["report-gap"]
    assert done.alarms == (site.site,)
    # An honest report that follows is late from now on, and its longer journal gives the other one away.
    assert names(bring(engine, medium, site.report())) == ["report-late", "journal-truncated"]
    # The end of the omitted range is known too.
    assert row(engine).missing == 2**53 - 5


def test_a_late_report_of_another_branch_is_found_by_the_summary(engine: Engine, site: Reporter, medium: Path) -> None:
    clone = site.clone()
    clone.made_at = "2026-05-05T00:00:00Z"
    site.report()
    bring(engine, medium, site.report())
    done = bring(engine, medium, clone.report())
    assert "report-forked" in names(done)
    assert row(engine).forked_at == 1


def test_an_unknown_site_waits_in_quarantine_until_it_is_enrolled(engine: Engine, site: Reporter, medium: Path) -> None:
    stranger = Reporter(site="northern-grid/small/production/west", root=ONE.pin())
    raw = stranger.report()
    done = bring(engine, medium, raw, site.report())
    assert done.counts == {"quarantined": 1, "report": 1}
    assert names(done)[-1] == "site-unknown"
    with engine.connect() as connection:
        assert connection.execute(select(quarantine.c.raw)).scalar_one() == raw
    signed = verify_enrolment(stranger.enrolment)
    again = enroll(engine, signed, NOW, fingerprint=None).retried
    assert again.counts == {"report": 1}
    assert find_site(engine, "west").seq == 1
    with engine.connect() as connection:
        assert connection.execute(select(quarantine.c.settled_at)).scalar_one() is not None


def quarantined(engine: Engine) -> list[tuple[str, bytes]]:
    with engine.connect() as connection:
        query = select(quarantine.c.finding, quarantine.c.raw).order_by(quarantine.c.finding)
        return [(one.finding, one.raw) for one in connection.execute(query)]


def test_what_is_refused_keeps_its_bytes_and_its_reason(engine: Engine, site: Reporter, medium: Path) -> None:
    good = site.clone().report()
    payload_changed = good.replace(b'"payload":"eyJ', b'"payload":"eyK', 1)
    said = statement({"new": True}, "urn:waybill:report:2", name="enrolment.json", digest=OTHER)
    bad = {
        "signature-wrong": payload_changed,
        "report-malformed": good[:-40],
        "report-newer": sign_statement(said, site.signer),
        "malformed": good.replace(b'"dsseEnvelope":', b'"dsseEnvelope": '),
        "report-too-long": good + b" " * r.MAX_REPORT,
    }
    done = bring(engine, medium, *bad.values(), good)
    assert done.counts == {"report": 1, "quarantined": len(bad)}
    found = dict(quarantined(engine))
    assert set(found) == set(bad)
    for finding, raw in bad.items():
        assert found[finding] == raw[: r.MAX_REPORT]
    assert row(engine).seq == 1
    assert bring(engine, medium, *bad.values()).counts == {"quarantined": len(bad)}
    assert len(quarantined(engine)) == len(bad)


def test_every_kind_of_damaged_file_has_its_own_next_step(engine: Engine, site: Reporter, medium: Path) -> None:
    """Not the vendor's medium for a report, and not the site for a bundle."""
    good, bundle = site.clone().report(), ONE.bundle()
    symbols = "\n".join(cut_report(good)).encode()
    kinds = {
        "waybill report --new --out DIR": (
            good.replace(b'"payload":"eyJ', b'"payload":"eyK', 1),
            good.replace(b'"dsseEnvelope":', b'"dsseEnvelope": '),
            good[:-40],
            good + b" " * r.MAX_REPORT,
        ),
        "from where it was built": (bundle[:600] + b"\1" + bundle[601:], bundle[:1650] + b"~" + bundle[1651:]),
        "take the picture again": (b"\x89PNG\r\n\x1a\n" + b"junk" * 20,),
        "scan the symbol again": (symbols[:-1] + b"$", symbols[:40]),
        "as far as its END line": (armour_report(good).encode()[:-400],),
        "copy the text again": (armour_report(good).partition("\n")[2].encode(),),
    }
    for step, files in kinds.items():
        for data in files:
            (result,) = bring(engine, medium, data).files
            assert result.status in ("quarantined", "unreadable")
            assert step in (result.hint or ""), result


def test_a_report_that_is_cut_off_is_called_so(engine: Engine, site: Reporter, medium: Path) -> None:
    good = site.clone().report()
    (result,) = bring(engine, medium, good[:-40]).files
    assert "the report is cut off" in result.text


def test_a_key_speaks_for_its_own_site_only(engine: Engine, site: Reporter, medium: Path) -> None:
    other = Reporter(site="northern-grid/small/production/west", root=ONE.pin())
    take(engine, other)
    liar = site.clone()
    liar.site = other.site
    assert names(bring(engine, medium, liar.report())) == ["site-mismatch"]
    said = site.next()
    wrong = replace(said, identity=replace(said.identity, key_epoch=2))
    assert names(bring(engine, medium, site.sign(wrong))) == ["site-mismatch"]


def test_a_report_about_another_enrolment_is_refused(engine: Engine, site: Reporter, medium: Path) -> None:
    said = site.next()
    raw = signed_report.sign_report(said, OTHER, site.signer)
    assert names(bring(engine, medium, raw)) == ["enrolment-mismatch"]


def test_a_release_that_nobody_made(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    done = bring(engine, medium, site.report(ONE.but(version="1.0.0", service={"hello.txt": b"other\n"})))
    assert names(done) == ["release-never-made"]
    assert row(engine).shown_release == "1.0.0 (bundle not imported)"
    assert names(bring(engine, medium, site.report(TWO))) == ["release-unknown"]


def test_a_release_whose_bundle_is_missing_is_named_once(engine: Engine, site: Reporter, medium: Path) -> None:
    done = bring(engine, medium, site.report(TWO), site.report(TWO), site.report(TWO))
    text = import_text(done)
    assert text.count("release-unknown") == text.count("import its bundle") == 1
    assert "note release-unknown: release 1.1.0 (" in text
    assert "is not in the ledger; import its bundle (3 reports of 1 site)" in text


def test_a_release_told_otherwise_than_it_is(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    said = site.next(ONE)
    assert said.install.release is not None
    wrong = replace(said, install=replace(said.install, release=replace(said.install.release, version="9.9.9")))
    assert names(bring(engine, medium, site.sign(wrong))) == ["release-differs"]


def test_components_must_cover_the_release(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    said = site.next(ONE)
    fewer = replace(said, components=r.Components(listed=said.components.listed[:1]))
    assert names(bring(engine, medium, site.sign(fewer))) == ["components-incomplete"]
    said = site.next(ONE)
    first, *rest = said.components.listed
    wrong = replace(said, components=r.Components(listed=(replace(first, expected=OTHER), *rest)))
    assert names(bring(engine, medium, site.sign(wrong))) == ["components-differ"]
    said = site.next(ONE)
    drifted = replace(first, found="differs", observed=OTHER)
    wrong = replace(said, components=r.Components(listed=(drifted, *rest)))
    assert names(bring(engine, medium, site.sign(wrong))) == ["drift"]
    said = site.next(ONE)
    told = replace(said, components=r.Components(listed=(), more_same=2))
    assert names(bring(engine, medium, site.sign(told))) == []


def test_what_the_release_keeps_running_must_run(engine: Engine, site: Reporter, medium: Path) -> None:
    step = rel.InstallStep(step="app", driver="files", files=("service",), keep_running=("run.py",))
    kept = ONE.but(images=False, change={"install": (step,)})
    bring(engine, medium, kept.bundle())
    assert names(bring(engine, medium, site.report(kept))) == ["not-running"]
    assert row(engine).level == "placed"
    said = site.next()
    running = tuple(replace(one, level="running") for one in said.components.listed)
    assert names(bring(engine, medium, site.sign(replace(said, components=r.Components(listed=running))))) == []
    assert row(engine).level == "running"


def test_a_part_that_runs_is_not_the_whole(engine: Engine, site: Reporter, medium: Path) -> None:
    said = site.next(ONE)
    first, *rest = said.components.listed
    half = r.Components(listed=(replace(first, level="running"), *rest))
    bring(engine, medium, ONE.bundle(), site.sign(replace(said, components=half)))
    assert row(engine).level == "1 running, 1 placed"


def test_what_may_only_grow(engine: Engine, site: Reporter, medium: Path) -> None:
    site.floor = Mark(epoch=1, sequence=2)
    bring(engine, medium, ONE.bundle(), site.report())
    site.floor = Mark(epoch=1, sequence=1)
    assert names(bring(engine, medium, site.report())) == ["state-went-back"]
    site.journal = 1
    assert names(bring(engine, medium, site.report())) == ["journal-truncated"]
    said = site.next()
    swapped = replace(said, policy=r.PolicyState(number=1, digest=OTHER))
    assert names(bring(engine, medium, site.sign(swapped))) == ["policy-swapped"]
    assert row(engine).alarms == 3


def test_two_generations_with_one_number(engine: Engine, site: Reporter, medium: Path) -> None:
    two = ONE.but(version="1.1.0", sequence=2)
    bring(engine, medium, ONE.bundle(), two.bundle(), site.report(ONE))
    said = site.next(two)
    assert said.install.release is not None
    again = replace(said.install.generations[-1], number=1)
    install = replace(said.install, generations=(again,), release=replace(said.install.release, generation=1))
    assert names(bring(engine, medium, site.sign(replace(said, install=install)))) == ["generation-swapped"]


def test_the_other_neighbour_of_a_late_report_is_compared_too(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    files = [site.report()]
    site.journal = 500
    files.append(site.report())
    site.journal = 100
    files.append(site.report())
    bring(engine, medium, files[0], files[2])
    assert names(bring(engine, medium, files[1])) == ["report-late", "journal-truncated"]


def test_a_site_that_raised_an_alarm(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    said = site.next()
    raised = replace(said, trust=replace(said.trust, alarms=(r.SeenAlarm(code="sequence-reused"),)))
    assert names(bring(engine, medium, site.sign(raised))) == ["site-alarm"]


def test_another_root_and_a_clock_to_come(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    said = site.next()
    wrong = replace(said, trust=replace(said.trust, root=r.ReportedRoot(version=1, digest=OTHER)))
    assert names(bring(engine, medium, site.sign(wrong))) == ["root-unknown"]
    site.made_at = "2026-06-03T00:00:00Z"
    done = bring(engine, medium, site.report())
    assert names(done) == ["clock-ahead"]
    assert newest(engine).as_of == NOW  # no fresher than the moment it came in


def test_an_acknowledgement_that_support_never_gave(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle(), site.report())
    lost = site.report()
    said = site.next()
    chain = replace(said.chain, acknowledged=r.Acknowledged(seq=2, digest=digest_of(lost)), earlier=())
    done = bring(engine, medium, site.sign(replace(said, chain=chain)))
    assert "acknowledgement-unknown" in names(done)


def test_a_second_release_under_one_sequence(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle())
    done = bring(engine, medium, ONE.but(version="1.0.1").bundle())
    assert names(done) == ["sequence-reused"]


def test_a_bundle_of_another_vendor_waits_for_its_root(engine: Engine, site: Reporter, medium: Path) -> None:
    other = ONE.but(recorded=(generate_key(),), signers=())
    foreign = replace_signer(other)
    assert names(bring(engine, medium, foreign.bundle())) == ["root-unknown"]
    assert pin_root(engine, parse_root(foreign.root_file(), "root"), NOW)
    assert bring(engine, medium, foreign.but(sequence=7).bundle(), foreign.bundle()).counts == {"release": 2}
    with engine.connect() as connection:
        assert set(connection.execute(select(quarantine.c.settled_at)).scalars()) == {NOW}


def replace_signer(vendor: Vendor) -> Vendor:
    return vendor.but(signers=vendor.recorded)


@pytest.mark.parametrize("at", [0, 300, 700, 2000, 60_000])
def test_a_damaged_head_teaches_nothing(engine: Engine, site: Reporter, medium: Path, at: int) -> None:
    raw = bytearray(ONE.bundle())
    raw[at] ^= 1
    done = bring(engine, medium, bytes(raw))
    assert done.counts in ({"quarantined": 1}, {"skipped": 1})
    assert bring(engine, medium, ONE.bundle()).counts == {"release": 1}


def test_a_hostile_medium_loses_nothing_good(engine: Engine, site: Reporter, medium: Path) -> None:
    good = [site.report(), site.report(ONE), site.report(TWO)]
    for i in range(5000):
        put(medium, f"junk-{i}.json", b'{"dsseEnvelope":' + os.urandom(40))
    for i in range(4500):
        put(medium, f"photo-{i}.jpg", os.urandom(60))
    for i in range(500):  # well-formed to the last byte, and signed by a stranger under the site's name
        put(medium, f"forged-{i}.json", Reporter(site=site.site, signer=derived(300 + i % 7), root=ONE.pin()).report())
    with (medium / "huge.report.json").open("wb") as file:
        file.write(b'{"dsseEnvelope"')
        file.truncate(8 << 30)
    with (medium / "huge.tar").open("wb") as file:
        file.write(ONE.bundle()[:600])
        file.truncate(8 << 30)
    os.mkfifo(medium / "0.report.json")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(medium)
        try:
            bound.bind("00.report.json")
        finally:
            os.chdir(here)
        (medium / "loop").symlink_to(medium)
        (medium / "outside.json").symlink_to("/etc/passwd")
        deep = medium
        for _ in range(40):
            deep = deep / "d"
        deep.mkdir(parents=True)
        put(deep, "x.json", good[0])
        nested = b'{"dsseEnvelope":' + b"[" * 60_000 + b"]" * 60_000 + b"}"
        put(medium, "nested.json", nested)
        for i, raw in enumerate(good):
            put(medium, f"back-{i}", raw)
        ONE.write(medium / "a.tar")
        TWO.write(medium / "b.tar")
        done = import_paths(engine, (medium,), NOW)
    assert done.counts["report"] == 3
    assert done.counts["release"] == 2
    assert done.counts["quarantined"] == 5000 + 500 + 3
    assert done.counts["unreadable"] == 1
    assert done.counts["skipped"] == 4500 + 4
    assert (newest(engine).version, row(engine).seq, row(engine).missing) == ("1.1.0", 3, 0)
    assert len(done.files) < 2100


def test_unfinished_copies_are_named(engine: Engine, site: Reporter, medium: Path) -> None:
    """As a medium leaves them that was removed too early; notes of others are passed over."""
    put(medium, "inkwell-0.1.0.tar", ONE.bundle()[:300])
    put(medium, "inkwell-0.2.0.tar", ONE.bundle())
    put(medium, "inkwell-0.3.0.tar", bytes(272_896))
    put(medium, "inkwell-0.4.0.tar", b"")
    put(medium, "inkwell-0.5.0.tar", ONE.bundle()[:5000])
    put(medium, "z.report.json", b"")
    put(medium, f"{site.site.replace('/', '.')}.13.report.json", bytes(900))
    put(medium, "notes.txt", b"")
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"release": 1, "unreadable": 5, "quarantined": 1, "skipped": 1}
    reasons = {Path(one.name).name: one.text for one in done.files if one.finding == "copy-unfinished"}
    assert reasons == {
        "inkwell-0.1.0.tar": "an unfinished copy of a bundle: it ends after 300 bytes",
        "inkwell-0.3.0.tar": "an unfinished copy: it begins with 131072 zeros",
        "inkwell-0.4.0.tar": "an unfinished copy: it is empty",
        "z.report.json": "an unfinished copy: it is empty",
        "northern-grid.small.production.east.13.report.json": "an unfinished copy: it holds 900 zeros",
    }
    attention = import_attention(done)
    assert attention is not None
    assert attention.exit_code == 14


@pytest.mark.parametrize("named", [False, True])
def test_a_bundle_that_ends_inside_its_head_is_kept_as_one(engine: Engine, medium: Path, named: bool) -> None:
    put(medium, "short.tar", ONE.bundle()[:5000])
    done = import_paths(engine, (medium / "short.tar" if named else medium,), NOW)
    assert done.counts == {"quarantined": 1}
    assert "fresh copy of the bundle" in (done.files[0].hint or "")


@pytest.mark.parametrize("more", [0, 1 << 18])
def test_a_bundle_without_its_first_block_is_called_one(engine: Engine, medium: Path, more: int) -> None:
    """It holds signatures, as a report does; ``more`` bytes make it too long for one."""
    bundle = ONE.bundle()
    put(medium, "zeroed.tar", bytes(512) + bundle[512:] + bytes(more))
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"quarantined": 1}
    (file,) = done.files
    assert file.text == "it has the head of a bundle and is damaged before it"
    assert "fresh copy of the bundle" in (file.hint or "")


@pytest.mark.parametrize("data", [b"", bytes(10_240), bytes(1 << 20)])
@pytest.mark.parametrize("name", ["small.tar", "small.tar.part"])
def test_an_unfinished_copy_is_named_where_no_bundle_is(engine: Engine, medium: Path, data: bytes, name: str) -> None:
    put(medium, name, data)
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"unreadable": 1}
    attention = import_attention(done)
    assert attention is not None
    assert (attention.exit_code, done.files[0].hint) == (14, "copy it again from its source")


def test_several_unfinished_copies_are_one_hint_with_their_names(engine: Engine, medium: Path) -> None:
    for number in range(6):
        put(medium, f"{number}.tar", bytes(10_240))
    attention = import_attention(import_paths(engine, (medium,), NOW))
    assert attention is not None
    assert attention.remedy == "copy them again from their source: 0.tar, 1.tar, 2.tar, 3.tar and 2 more"


@pytest.mark.parametrize("data", [b"", bytes(10_240), bytes(1 << 20), ONE.bundle()[:300]])
def test_a_named_file_of_any_name_is_called_an_unfinished_copy(engine: Engine, medium: Path, data: bytes) -> None:
    put(medium, "download", data)
    done = import_paths(engine, (medium / "download",), NOW)
    assert done.counts == {"unreadable": 1}
    assert done.files[0].finding == "copy-unfinished"


def test_a_file_that_may_not_be_read_is_named(engine: Engine, site: Reporter, medium: Path) -> None:
    put(medium, "x", site.report())
    (medium / "x").chmod(0)
    if os.access(medium / "x", os.R_OK):
        pytest.skip("this account reads everything (root)")
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"unreadable": 1}


def test_an_enrolment_on_the_medium_is_not_believed(engine: Engine, site: Reporter, medium: Path) -> None:
    stranger = Reporter(site="northern-grid/small/production/west", root=ONE.pin())
    done = bring(engine, medium, stranger.enrolment)
    assert done.counts == {"skipped": 1}
    assert "waybill fleet enroll" in str(done.files[0].hint)
    assert len(list_sites(engine)) == 1


def test_what_fails_in_the_middle_leaves_whole_files_only(
    engine: Engine, site: Reporter, medium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that the database refuses is in the ledger as a whole or not at all."""
    import fleet.intake.report_chains

    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    files = [site.report(), site.report(ONE)]
    before = everything(engine)
    with monkeypatch.context() as patch:
        patch.setattr(fleet.intake.report_chains, "settle_quarantine", stop)
        with pytest.raises(StopError):
            bring(engine, medium, *files)
    assert everything(engine) == before
    assert bring(engine, medium, *files).counts == {"report": 2}


def test_the_order_of_files_does_not_matter(engine: Engine, tmp_path: Path, medium: Path) -> None:
    """Any order, in any number of imports, ends in the same standing."""
    site = Reporter(root=ONE.pin())
    files = [site.report(), site.report(ONE), site.report(), site.report(TWO), site.report()]
    seen = set()
    for n, order in enumerate(([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1])):
        other = open_fleet(find_fleet(str(tmp_path / f"fleet-{n}"), {}, tmp_path, create=True))
        take(other, site)
        for i in order:
            bring(other, medium, files[i])
        found = row(other)
        with other.connect() as connection:
            known = frozenset(map(tuple, connection.execute(select(positions.c.seq, positions.c.digest))))
        seen.add((found.seq, found.missing, found.forked_at, found.newest and found.newest.release, known))
        other.dispose()
    assert len(seen) == 1


def test_a_thousand_days_later_the_row_says_so(engine: Engine, site: Reporter, medium: Path) -> None:
    from manifests.words.time import age

    bring(engine, medium, site.report())
    assert age(newest(engine).as_of, NOW + timedelta(days=1000)) == "1027d"


def test_a_site_that_ended_goes_on_no_more(engine: Engine, site: Reporter, medium: Path) -> None:
    """What is asked for is no finding; what was still believed, and what comes after the last report, are alarms."""
    plan = digest_of(b"plan")
    tried = r.NegativeProbe(kind="bundle", artefact=digest_of(b"1"), outcome="accepted")
    said = r.ReportedOffboarding(reason="ended", plan=plan)
    for i, one in enumerate((said, replace(said, removed=True, probes=(tried,), final=True), said)):
        report = site.next()
        put(medium, f"{i}", site.sign(replace(report, trust=replace(report.trust, offboarding=one))))
    (news,) = import_paths(engine, (medium,), NOW).sites.values()
    found = [(seq, one.finding) for seq, one in news.findings if one.alarm]
    assert found == [(2, "still-believed"), (3, "report-after-end")]


def test_a_late_report_is_judged_beside_its_neighbours(engine: Engine, site: Reporter, medium: Path) -> None:
    """Also when neither of them came in with it."""
    floors = (2, 1, 2, 2)
    files = []
    for floor in floors:
        site.floor = Mark(epoch=1, sequence=floor)
        files.append(site.report())
    bring(engine, medium, files[0], files[2])
    bring(engine, medium, files[3])
    assert "state-went-back" in names(bring(engine, medium, files[1]))


# --- below the floor --------------------------------------------------------------------------------------------------

ALLOWED = digest_of(b"permit")


def below(site: Reporter, *, automatic: bool = False, by: str | None = ALLOWED) -> bytes:
    """A report after the way back from the second release to the first, whose floor is above it."""
    first, left = site.generations[0], site.current
    assert left is not None
    site.floor = Mark(epoch=1, sequence=2)
    if not automatic:
        site.current = replace(left, generation=1, digest=first.release, version=first.version, sequence=1)
    back = r.ReportedRollback(
        from_generation=1 if automatic else 2,
        to_generation=2 if automatic else 1,
        left=left.digest,
        cause="probe-failed" if automatic else "by-hand",
        automatic=automatic,
        at="2026-05-04T03:02:01Z",
        authorisation=by,
    )
    site.rollbacks = (back,)
    said = site.next()
    return site.sign(replace(said, install=replace(said.install, below_floor=not automatic)))


def only_floor(done: ImportResult) -> list[tuple[str, bool, str]]:
    found = [one for news in done.sites.values() for _, one in news.findings]
    return [(one.finding, one.alarm, one.text) for one in found if "floor" in one.finding]


def test_a_way_below_the_floor_that_nobody_here_allowed(engine: Engine, site: Reporter, medium: Path) -> None:
    files = (ONE.bundle(), TWO.bundle(), site.report(ONE), site.report(TWO))
    assert only_floor(bring(engine, medium, *files)) == []
    words = f"it rolled back below its floor by authorisation {ALLOWED[7:19]}, which nothing in this ledger carried"
    assert only_floor(bring(engine, medium, below(site))) == [("below-floor-unknown", True, words)]
    # Told once; the story and the page say it for ever.
    again = site.next()
    again = replace(again, install=replace(again.install, below_floor=True))
    assert only_floor(bring(engine, medium, site.sign(again))) == []
    text = [one.text for one in show_site(engine, site.site).history if one.kind == "rollback"]
    assert text == [f"rolled back from 1.1.0 to 1.0.0 by hand, below its floor by authorisation {ALLOWED[7:19]}"]


def test_a_way_that_the_release_itself_carried(engine: Engine, site: Reporter, medium: Path) -> None:
    sealed = b"an envelope"
    blob = Blob(digest=digest_of(sealed), size=len(sealed))
    two = TWO.but(extra={"way": sealed}, change={"authorisations": (blob,)})
    bring(engine, medium, ONE.bundle(), two.bundle(), site.report(ONE), site.report(two))
    ((finding, alarm, words),) = only_floor(bring(engine, medium, below(site)))
    assert (finding, alarm) == ("below-floor", False)
    assert "which the release itself may carry" in words


def test_a_trial_of_such_a_way_that_failed(engine: Engine, site: Reporter, medium: Path) -> None:
    bring(engine, medium, ONE.bundle(), TWO.bundle(), site.report(ONE), site.report(TWO))
    ((finding, alarm, words),) = only_floor(bring(engine, medium, below(site, automatic=True)))
    assert (finding, alarm, "tried to roll back" in words) == ("below-floor", False, True)


def test_a_floor_that_contradicts_what_runs(engine: Engine, site: Reporter, medium: Path) -> None:
    """D-2.8 and the floor: said to be below it and above it, below it and not said, below it by nobody's word."""
    bring(engine, medium, ONE.bundle(), TWO.bundle(), site.report(ONE), site.report(TWO))
    site.floor = Mark(epoch=1, sequence=2)
    said = site.next()
    lie = site.sign(replace(said, install=replace(said.install, below_floor=True)))
    assert [one[0] for one in only_floor(bring(engine, medium, lie))] == ["floor-contradicts", "below-floor-unknown"]
    site.floor = Mark(epoch=1, sequence=3)
    found = only_floor(bring(engine, medium, site.report()))
    assert found == [
        ("floor-contradicts", True, "it claims to run not below its floor; it runs sequence 2, its floor is 3")
    ]
    empty = Reporter().next()
    with pytest.raises(MalformedError, match="`below_floor` is set although nothing is installed"):
        signed_report.encode_report(replace(empty, install=replace(empty.install, below_floor=True)), OTHER)


def test_a_time_that_is_not_in_the_calendar_does_not_end_the_import(
    engine: Engine, site: Reporter, medium: Path
) -> None:
    twin = site.clone()
    twin.made_at = "2026-02-31T00:00:00Z"
    done = bring(engine, medium, twin.report(), site.report())
    assert done.counts == {"report": 1, "quarantined": 1}
    assert names(done) == ["malformed"]
