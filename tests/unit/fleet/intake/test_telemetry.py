"""Telemetry at the vendor: believed only under a signed report, held to the contract, deleted when its time is over."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, select

from fleet.intake.intake import import_paths
from fleet.intake.result import ImportResult, import_attention
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import contracts, deletions, findings, quarantine, telemetry, telemetry_files
from fleet.outgoing.enrol import enroll
from fleet.outgoing.listing import list_kind
from fleet.outgoing.views import show_site
from fleet.outgoing.views_text import page_data, page_text
from manifests.documents import report as r
from manifests.documents.contract import Contract, Keep, Signal, SignalSource, Values
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.telemetry import SignalRows, Telemetry, TelemetryRow
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86400
CODES = Signal(
    name="codes",
    kind="logs",
    source=SignalSource(log="app", patterns={"E1": "E1", "E2": "E2"}),
    per_seconds=DAY,
    rows=4,
    fields={"code": Values(enum=("E1", "E2")), "count": Values(integer=(0, 1000))},
    keep=Keep(site=DAY, vendor=30 * DAY),
    why="tests",
)
LOAD = Signal(
    name="load",
    kind="metrics",
    source=SignalSource(prometheus="m", series="x"),
    labels={"route": Values(enum=("in", "out"))},
    per_seconds=3600,
    rows=10,
    fields={"p99": Values(integer=(0, 1000), unit="ms"), "ready": Values(type="bool"), "v": Values(type="version")},
    keep=Keep(site=DAY, vendor=90 * DAY),
    why="tests",
)
CONTRACT: Contract = replace(
    Vendor().contract(), telemetry_bytes=20_000, signals=(Vendor().contract().signals[0], CODES, LOAD)
)
RAW_CONTRACT = encode(CONTRACT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    yield engine
    engine.dispose()


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    (tmp_path / "medium").mkdir()
    return tmp_path / "medium"


@pytest.fixture
def site(engine: Engine) -> Reporter:
    site = Reporter()
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    know_contract(engine)
    return site


def know_contract(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(contracts.insert().values(digest=digest_of(RAW_CONTRACT), imported_at=NOW, raw=RAW_CONTRACT))


def codes(count: int = 3, start: str = "2026-05-30T00:00:00Z", seconds: int = DAY, code: str = "E1") -> TelemetryRow:
    return TelemetryRow(start=start, seconds=seconds, values={"code": code, "count": count})


def written(site: Reporter, medium: Path, *rows: SignalRows, **changes: Any) -> Telemetry:
    """The next report and its telemetry on a medium."""
    plain = site.next()
    content = Telemetry(
        site=site.site, environment="production", seq=plain.chain.seq, contract=digest_of(RAW_CONTRACT), signals=rows
    )
    content = replace(content, **changes)
    raw = encode(content)
    policy = r.PolicyState(number=1, digest=digest_of(b"policy"), contract=digest_of(RAW_CONTRACT))
    chain = replace(plain.chain, telemetry=Blob(digest=digest_of(raw), size=len(raw)))
    (medium / f"{plain.chain.seq}.report.json").write_bytes(site.sign(replace(plain, chain=chain, policy=policy)))
    (medium / f"{plain.chain.seq}.telemetry.json").write_bytes(raw)
    return content


def took(engine: Engine, *paths: Path, at: datetime = NOW) -> ImportResult:
    result = import_paths(engine, paths, at)
    assert result.stopped is None
    return result


def rows_of(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    with engine.connect() as connection:
        query = select(telemetry.c.signal, telemetry.c["values"]).order_by(telemetry.c.signal, telemetry.c.start)
        return [(signal, json.loads(values)) for signal, values in connection.execute(query)]


def test_rows_come_with_their_report(engine: Engine, site: Reporter, medium: Path) -> None:
    load = TelemetryRow(
        start="2026-05-30T01:00:00Z",
        seconds=60,
        labels={"route": "in"},
        values={"p99": 7, "ready": True, "v": "1.2.3"},
    )
    written(site, medium, SignalRows(signal="codes", rows=(codes(),)), SignalRows(signal="load", rows=(load,)))
    result = took(engine, medium)
    assert result.counts == {"report": 1, "telemetry": 1} and import_attention(result) is None
    assert rows_of(engine) == [
        ("codes", {"code": "E1", "count": 3}),
        ("load", {"p99": 7, "ready": True, "v": "1.2.3"}),
    ]
    assert took(engine, medium).counts == {"known": 2}
    assert len(rows_of(engine)) == 2


def test_telemetry_waits_for_its_report_and_its_contract(engine: Engine, site: Reporter, medium: Path) -> None:
    with engine.begin() as connection:
        connection.execute(contracts.delete())
    written(site, medium, SignalRows(signal="codes", rows=(codes(),)))
    early = took(engine, medium / "1.telemetry.json")
    assert [file.finding for file in early.files] == ["telemetry-unbound"] and not rows_of(engine)
    again = took(engine, medium / "1.report.json")
    assert [file.finding for file in again.files] == ["contract-unknown"] and not rows_of(engine)
    know_contract(engine)
    took(engine, medium)
    assert rows_of(engine) == [("codes", {"code": "E1", "count": 3})]


def test_a_report_does_not_wait_for_its_telemetry(engine: Engine, site: Reporter, medium: Path) -> None:
    written(site, medium, SignalRows(signal="codes", rows=(codes(),)))
    assert took(engine, medium / "1.report.json").counts == {"report": 1}


def test_other_bytes_than_the_report_names_are_never_believed(engine: Engine, site: Reporter, medium: Path) -> None:
    content = written(site, medium, SignalRows(signal="codes", rows=(codes(3),)))
    forged = replace(content, signals=(SignalRows(signal="codes", rows=(codes(999),)),))
    (medium / "1.telemetry.json").write_bytes(encode(forged))
    result = took(engine, medium)
    assert [file.finding for file in result.files] == ["telemetry-unbound"]
    assert not rows_of(engine)


@pytest.mark.parametrize(
    "rows",
    [
        SignalRows(signal="codes", rows=(codes(1001),)),
        SignalRows(signal="codes", rows=(codes(code="E3"),)),
        SignalRows(signal="codes", rows=(replace(codes(), values={"code": "E1", "text": "password"}),)),
        SignalRows(signal="codes", rows=(replace(codes(), labels={"user": "root"}),)),
        SignalRows(signal="codes", rows=(codes(seconds=DAY + 1),)),
        SignalRows(signal="codes", rows=tuple(codes(start=f"2026-05-0{day}T00:00:00Z") for day in range(1, 6))),
        SignalRows(signal="codes", rows=(codes(), codes(5))),
        SignalRows(signal="codes", rows=(codes(start="2026-02-30T00:00:00Z"),)),
        SignalRows(signal="other", rows=(codes(),)),
        SignalRows(signal="install_state", rows=(codes(),)),
        SignalRows(signal="load", rows=(replace(codes(), seconds=1, values={"p99": 7}),)),
        SignalRows(signal="load", rows=(replace(codes(), seconds=1, labels={"route": "in"}, values={"p99": True}),)),
        SignalRows(signal="load", rows=(replace(codes(), seconds=1, labels={"route": "in"}, values={"ready": 1}),)),
        SignalRows(signal="load", rows=(replace(codes(), seconds=1, labels={"route": "in"}, values={"v": "latest"}),)),
    ],
    ids=lambda rows: f"{rows.signal} {dict(rows.rows[0].labels)} {dict(rows.rows[0].values)} {len(rows.rows)}",
)
def test_what_the_contract_does_not_allow_is_refused_as_a_whole(
    engine: Engine, site: Reporter, medium: Path, rows: SignalRows
) -> None:
    good = SignalRows(signal="codes", rows=(codes(),))
    signals = (good, rows) if rows.signal > "codes" else (rows,)
    written(site, medium, *signals)
    result = took(engine, medium)
    assert not rows_of(engine)
    assert [finding.finding for _, finding in result.sites[site.site].findings if finding.alarm] == ["contract-breach"]
    with engine.connect() as connection:
        alarms = list(connection.execute(select(findings.c.finding, findings.c.text).where(findings.c.alarm)))
        assert [alarm.finding for alarm in alarms] == ["contract-breach"]
        assert not any(word in alarms[0].text for word in ("password", "root", "latest", "E3"))
        kept = connection.execute(select(quarantine.c.finding, quarantine.c.raw)).all()
    assert [(row.finding, row.raw) for row in kept] == [("contract-breach", (medium / "1.telemetry.json").read_bytes())]


def test_a_file_above_the_budget_is_refused(engine: Engine, site: Reporter, medium: Path) -> None:
    many = tuple(
        TelemetryRow(start="2026-05-30T00:00:00Z", seconds=i, labels={"route": "in"}, values={"p99": 1})
        for i in range(250)
    )
    written(site, medium, SignalRows(signal="load", rows=many))
    took(engine, medium)
    assert not rows_of(engine)


def test_a_later_report_has_more_of_an_interval(engine: Engine, site: Reporter, medium: Path) -> None:
    written(site, medium, SignalRows(signal="codes", rows=(codes(3, seconds=600),)))
    written(site, medium, SignalRows(signal="codes", rows=(codes(8, seconds=DAY),)))
    took(engine, medium / "2.report.json", medium / "2.telemetry.json")
    took(engine, medium)
    assert rows_of(engine) == [("codes", {"code": "E1", "count": 8})]


def test_rows_of_one_interval_differ_in_labels_or_words(engine: Engine, site: Reporter, medium: Path) -> None:
    """An upgrade inside of the interval changes its release, and makes no second row."""
    both = (codes(3, seconds=600), codes(1, seconds=600, code="E2"))
    written(site, medium, SignalRows(signal="codes", rows=both))
    later = tuple(replace(row, seconds=DAY, release=digest_of(b"next")) for row in both)
    written(site, medium, SignalRows(signal="codes", rows=later))
    took(engine, medium)
    assert rows_of(engine) == [("codes", {"code": "E1", "count": 3}), ("codes", {"code": "E2", "count": 1})]


def test_a_file_for_a_site_that_is_not_enrolled_is_left_on_the_medium(engine: Engine, medium: Path) -> None:
    know_contract(engine)
    written(Reporter(site="northern-grid/small/production/west"), medium, SignalRows(signal="codes", rows=(codes(),)))
    result = took(engine, medium / "1.telemetry.json")
    assert [file.finding for file in result.files] == ["site-unknown"] and import_attention(result) is not None


def test_a_flood_of_unsigned_files_is_bounded(engine: Engine, site: Reporter, medium: Path) -> None:
    content = written(site, medium, SignalRows(signal="codes", rows=(codes(),)))
    for seq in range(2, 80):
        (medium / f"{seq}.telemetry.json").write_bytes(encode(replace(content, seq=seq)))
    took(engine, medium)
    with engine.connect() as connection:
        waiting = connection.execute(select(telemetry_files.c.seq).where(telemetry_files.c.standing == "waiting")).all()
    assert len(waiting) < 65
    assert rows_of(engine) == [("codes", {"code": "E1", "count": 3})]


def test_telemetry_is_deleted_when_the_time_of_its_contract_is_over(
    engine: Engine, site: Reporter, medium: Path
) -> None:
    """Also from the free pages of the file; what was deleted is recorded."""
    marked = SignalRows(signal="codes", rows=(codes(737, start="2026-05-30T00:00:00Z", seconds=7),))
    written(site, medium, marked)
    took(engine, medium)
    file = Path(engine.url.database or "")
    assert b'"count":737' in file.read_bytes()
    (medium / "empty").mkdir()
    (medium / "empty" / "note.txt").write_text("nothing of ours")
    took(engine, medium / "empty", at=NOW + timedelta(days=27))
    assert rows_of(engine)
    took(engine, medium / "empty", at=NOW + timedelta(days=29))
    assert not rows_of(engine)
    assert b'"count":737' not in file.read_bytes()
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with engine.connect() as connection:
        (deletion,) = connection.execute(select(deletions)).mappings().all()
    assert (deletion["signal"], deletion["rows"]) == ("codes", 1)
    assert deletion["deleted_at"] == NOW + timedelta(days=29)
    # The file is known: it does not come back from an old medium.
    took(engine, medium, at=NOW + timedelta(days=30))
    assert not rows_of(engine)


def test_a_clock_far_ahead_keeps_nothing_longer(engine: Engine, site: Reporter, medium: Path) -> None:
    written(site, medium, SignalRows(signal="codes", rows=(codes(start="2099-01-01T00:00:00Z"),)))
    took(engine, medium)
    assert rows_of(engine)
    (medium / "note.txt").write_text("nothing of ours")
    took(engine, medium / "note.txt", at=NOW + timedelta(days=31))
    assert not rows_of(engine)


def test_people_see_the_newest_interval_of_each_signal(engine: Engine, site: Reporter, medium: Path) -> None:
    days = tuple(codes(day, start=f"2026-05-2{day}T00:00:00Z") for day in (1, 2))
    load = TelemetryRow(
        start="2026-05-30T01:00:00Z", seconds=3600, labels={"route": "in"}, values={"p99": 7, "ready": True}
    )
    written(site, medium, SignalRows(signal="codes", rows=days), SignalRows(signal="load", rows=(load,)))
    took(engine, medium)
    page = show_site(engine, "east")
    text = page_text(page, None, NOW, verbose=False)
    assert "code E1, count 2" in text and "code E1, count 1" not in text
    assert "route in" in text and "p99 7 ms, ready yes" in text
    listed = list_kind(engine, "telemetry", site=site.site, limit=10)
    assert [row[listed.columns.index("start")].day for row in listed.rows] == [30, 22, 21]
    took(engine, medium, at=NOW + timedelta(days=40))
    assert "2 rows of telemetry deleted" in page_text(show_site(engine, "east"), None, NOW, verbose=False)
    assert [row[1] for row in list_kind(engine, "deletions", site=None, limit=10).rows] == ["codes"]


def test_people_see_the_newest_full_interval_and_a_partial_one_only_alone(
    engine: Engine, site: Reporter, medium: Path
) -> None:
    """The report is of 2026-05-04, 03:02:01: the interval of that day is under way."""
    today = codes(9, start="2026-05-04T00:00:00Z", seconds=10_000)
    written(site, medium, SignalRows(signal="codes", rows=(today,)))
    took(engine, medium)
    page = show_site(engine, "east")
    text = page_text(page, None, NOW, verbose=False)
    assert "2h (partial)" in text and "code E1, count 9" in text
    assert [signal.partial for signal in page.telemetry.signals] == [True]
    full = codes(4, start="2026-05-03T00:00:00Z", seconds=DAY - 200)
    begun = codes(1, start="2026-05-02T11:12:13Z", seconds=1000)
    written(site, medium, SignalRows(signal="codes", rows=(begun, full, today)))
    took(engine, medium)
    page = show_site(engine, "east")
    text = page_text(page, None, NOW, verbose=False)
    assert "code E1, count 4" in text and "count 9" not in text and "(partial)" not in text
    assert page_data(page, None)["telemetry"]["signals"][0]["partial"] is False  # type: ignore[index]
    site.made_at = "2026-05-05T00:00:00Z"
    written(site, medium, SignalRows(signal="codes", rows=(full, today)))
    took(engine, medium)
    assert "code E1, count 9" in page_text(show_site(engine, "east"), None, NOW, verbose=False)
