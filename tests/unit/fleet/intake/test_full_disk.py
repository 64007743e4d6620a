"""A ledger without room: reports go first, refused files after them, the hint speaks of space, and a retry goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select

from fleet.intake import intake as intake_module
from fleet.intake import quarantine as quarantine_module
from fleet.intake.intake import import_paths
from fleet.intake.result import ImportResult, import_text
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import quarantine, reports
from fleet.outgoing.enrol import enroll
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.report import MAX_REPORT
from tests.rootwork import listing
from tests.unit.fleet.reporter import Reporter
from tests.waybill import waybill

NOW = datetime(2026, 6, 1, tzinfo=UTC)
JUNK = 300


class SmallDisk:
    """SQLite's own limit of pages, which fails as a full disk does: *database or disk is full*."""

    def __init__(self, engine: Engine) -> None:
        self.pages: int | None = None
        event.listen(engine, "checkout", self._limit)

    def _limit(self, connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # a connection of sqlite3
        most = (1 << 30) if self.pages is None else cursor.execute("PRAGMA page_count").fetchone()[0] + self.pages
        cursor.execute(f"PRAGMA max_page_count = {most}")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine) -> Reporter:
    site = Reporter()
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    return site


def count(engine: Engine) -> tuple[int, int]:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        tables = (reports, quarantine)
        found = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
    return found[0], found[1]


def junk(number: int) -> bytes:
    """Claims to be a report; 40 KB that do not compress."""
    noise = b"".join(sha256(b"%d.%d" % (number, i)).hexdigest().encode() for i in range(640))
    return b'{"dsseEnvelope":"' + noise + b'"}'


@pytest.mark.parametrize("in_between", [False, True])
def test_good_reports_before_junk(
    engine: Engine, site: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_between: bool
) -> None:
    """Junk comes first by name and would fill the disk. ``in_between``: it is too much for the memory, too."""
    medium = tmp_path / "medium"
    medium.mkdir()
    for number in range(JUNK):
        (medium / f"a{number}").write_bytes(junk(number))
    for number in range(3):
        (medium / f"z{number}").write_bytes(site.report())
    if in_between:
        monkeypatch.setattr(quarantine_module, "MAX_WAITING", 1 << 20)
    disk = SmallDisk(engine)
    disk.pages = 400
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"report": 3, "unkept": JUNK}
    assert done.stopped is not None
    assert (done.stopped.finding, done.stopped.exit_code) == ("quarantine-full", 6)
    assert "make space" in done.stopped.remedy
    assert count(engine) == (3, 0)
    disk.pages = None
    again = import_paths(engine, (medium,), NOW)
    assert (again.counts, again.stopped) == ({"known": 3, "quarantined": JUNK}, None)
    assert count(engine) == (3, JUNK)


def test_no_room_for_a_report(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    for number in range(50):
        (medium / f"{number}").write_bytes(site.report())
    disk = SmallDisk(engine)
    disk.pages = 2
    done = import_paths(engine, (medium,), NOW)
    assert done.stopped is not None
    assert done.stopped.problem.endswith("disk is full; taken in before that: nothing")
    assert "make space" in done.stopped.remedy
    assert "rights" not in done.stopped.remedy
    assert (done.counts, done.sites, import_text(done)) == ({}, {}, "nothing was taken in")
    assert count(engine) == (0, 0)
    disk.pages = None
    assert import_paths(engine, (medium,), NOW).counts["report"] == 50
    assert count(engine) == (50, 0)


def test_what_is_counted_is_what_was_committed(
    engine: Engine, site: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ten reports are committed; the disk is full when the next ten are written."""
    medium = tmp_path / "medium"
    medium.mkdir()
    for number in range(30):
        (medium / f"{number}").write_bytes(site.report())
    monkeypatch.setattr(intake_module, "BATCH", 10)
    disk = SmallDisk(engine)
    event.listen(engine, "commit", lambda _: setattr(disk, "pages", 2))
    done = import_paths(engine, (medium,), NOW)
    assert done.stopped is not None
    assert done.stopped.problem.endswith("disk is full; taken in before that: 10 new reports")
    assert done.counts == {"report": 10}
    assert import_text(done).splitlines()[:2] == ["10 new reports", f"{site.site}: reports 1 to 10"]
    assert count(engine) == (10, 0)


def test_the_numbers_say_what_they_count(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        (medium / name).write_bytes(junk(number))
    assert import_text(import_paths(engine, (medium,), NOW)).startswith("3 quarantined (2 different)\n")
    (medium / "d").write_bytes(junk(3))
    text = import_text(import_paths(engine, (medium,), NOW))
    assert text.startswith("4 quarantined (3 different, 2 in quarantine before)\n")
    (medium / "a").unlink()
    (medium / "b").unlink()
    (medium / "c").unlink()
    (medium / "e").write_bytes(junk(4))
    (medium / "d").unlink()
    assert import_text(import_paths(engine, (medium,), NOW)).startswith("1 quarantined\n")


def test_a_file_that_is_too_long_is_kept_by_the_digest_of_the_whole(
    engine: Engine, site: Reporter, tmp_path: Path
) -> None:
    path = tmp_path / "long"
    for tail in (b"1", b"2"):
        whole = site.report() + b" " * MAX_REPORT + tail
        path.write_bytes(whole)
        done = import_paths(engine, (path,), NOW)
        assert [one.finding for one in done.files] == ["report-too-long"]
        with engine.connect().execution_options(waybill_reading=True) as connection:
            row = connection.execute(
                select(quarantine).where(quarantine.c.digest == "sha256:" + sha256(whole).hexdigest())
            ).one()
        assert (row.size, row.raw) == (len(whole), whole[:MAX_REPORT])


def test_a_named_file_that_gives_nothing_needs_a_person(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    from fleet.intake.result import import_attention

    notes = tmp_path / "notes.txt"
    notes.write_text("nothing of ours")
    assert import_attention(import_paths(engine, (tmp_path,), NOW)) is None
    done = import_paths(engine, (notes,), NOW)
    attention = import_attention(done)
    assert attention is not None
    assert (attention.exit_code, done.counts, str(notes) in import_text(done)) == (14, {"unused": 1}, True)
    assert attention.remedy == "name the report, the mail or the picture that the site sent"


def test_files_of_the_vendors_trust_are_named_with_what_to_do(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    trust = tmp_path / "shop"
    assert waybill("init", trust, "--product", "small").code == 0
    done = import_paths(engine, (trust / "trust", trust / "trust.yaml"), NOW)
    shown = import_text(done).splitlines()
    root = f"skipped: {trust}/trust/1.root.json: a root document of a vendor"
    assert shown[shown.index(root) + 1] == "  nothing to import: each bundle brings it; import the bundles"
    named = f"unused: {trust}/trust.yaml: a trust.yaml"
    assert shown[shown.index(named) + 1] == f"  it is for the vendor's trust folder: waybill trust {trust}/trust.yaml"
    assert "not ours" not in "".join(shown)
    revoked = tmp_path / "1.revocations.json"
    revoked.write_bytes(listing(1))
    assert f"waybill fleet consign SITE -o MEDIUM --revocations {revoked}" in import_text(
        import_paths(engine, (revoked,), NOW)
    )


def test_the_hint_of_several_files_points_to_that_of_each(engine: Engine, site: Reporter, tmp_path: Path) -> None:
    from fleet.intake.result import import_attention

    notes, empty = tmp_path / "notes.txt", tmp_path / "3.report.json"
    notes.write_text("nothing of ours")
    empty.touch()
    attention = import_attention(import_paths(engine, (notes, empty), NOW))
    assert attention is not None
    assert attention.problem == "1 file unreadable, 1 file named and not imported"
    assert attention.remedy == "see the line of each file above, with what to do"


def test_files_of_telemetry_are_counted_as_words() -> None:
    assert import_text(ImportResult(counts={"telemetry": 1})) == "1 new telemetry file"
    assert import_text(ImportResult(counts={"report": 2, "telemetry": 7})) == "2 new reports, 7 new telemetry files"
