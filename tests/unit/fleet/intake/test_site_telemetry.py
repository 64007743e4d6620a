"""Telemetry of a real site, from its sources to the rows of the ledger: what a site lets leave, support accepts."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select

from fleet.intake.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import contracts, findings, telemetry
from fleet.outgoing.enrol import enroll
from manifests.documents.enrolment import verify_enrolment
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.counting import make_counting
from verifier.reporting.report_write import write_report
from verifier.site.disk import Disk

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_what_a_site_lets_leave_is_in_the_ledger(tmp_path: Path) -> None:
    counting = make_counting(tmp_path / "site")
    place = counting.place
    counting.collect()
    counting.log.write_bytes(b"code=E1\ncode=E2\ncode=E2\n")
    counting.collect()
    for _ in range(2):
        counting.collect(minutes=5)
        with place.hold() as site:
            write_report(site, Disk(), place.clock.at, look=place.look)
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    enroll(engine, verify_enrolment((place.path / "outbox" / "enrolment.json").read_bytes()), NOW, fingerprint=None)
    raw = encode(counting.vendor.contract())
    with engine.begin() as connection:
        connection.execute(insert(contracts).values(digest=digest_of(raw), imported_at=NOW, raw=raw))
    import_paths(engine, (place.path / "outbox",), NOW)
    with engine.connect() as connection:
        assert "contract-breach" not in connection.execute(select(findings.c.finding)).scalars().all()
        query = select(telemetry.c.start, telemetry.c["values"]).where(telemetry.c.signal == "errors")
        rows = connection.execute(query.order_by(telemetry.c.start, telemetry.c.labels)).all()
    engine.dispose()
    assert [row[1] for row in rows[:2]] == ['{"code":"E1","count":1}', '{"code":"E2","count":2}']
    # The interval under way is a row too, and each later report has more of it.
    assert {row[1] for row in rows[2:]} == {'{"code":"E1","count":0}', '{"code":"E2","count":0}'}
