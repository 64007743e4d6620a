"""Several importers at once, some of them killed: nothing is lost or doubled, and nobody fails because of another."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from fleet.intake.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import findings, quarantine, reports, standings
from fleet.outgoing.enrol import enroll
from manifests.documents.enrolment import verify_enrolment
from tests.unit.fleet.ledger.test_postgresql import database
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
ROOT = Path(__file__).parents[4]
SITES = 24
REPORTS = 3  # of a site in a round: in memory it lists at most 64 earlier ones
IMPORTERS = 4


@pytest.fixture
def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database(request.getfixturevalue("url"), tmp_path.name)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "fleet") if request.param == "sqlite" else str(request.getfixturevalue("postgresql"))


def opened(place: str, tmp_path: Path) -> Engine:
    return open_fleet(find_fleet(place, {}, tmp_path, create=True))


def enrolled(engine: Engine) -> list[Reporter]:
    sites = [Reporter(site=f"a/b/c/site-{i}", root=ONE.pin()) for i in range(SITES)]
    for site in sites:
        enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    return sites


def write_media(tmp_path: Path, sites: list[Reporter], dice: random.Random) -> list[Path]:
    """A medium for each importer; most files lie on several of them, in another order, beside broken ones."""
    raws = [site.report() for site in sites for _ in range(REPORTS)]
    raws += [raw[:-20] for raw in raws[:5]]
    media = []
    for i in range(IMPORTERS):
        medium = tmp_path / f"medium-{dice.getrandbits(48)}-{i}"
        medium.mkdir()
        for at, raw in enumerate(dice.sample(raws, k=len(raws) * 3 // 4)):
            (medium / f"{at}.json").write_bytes(raw)
        media.append(medium)
    return media


def start(place: str, medium: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(ROOT / "waybill.py"), "fleet", "import", str(medium), "--fleet", place]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def content(engine: Engine) -> tuple[object, ...]:
    """What must not depend on who imported what when."""
    queries = (
        select(reports.c.digest, reports.c.enrolment_id, reports.c.seq).order_by(reports.c.digest),
        select(quarantine.c.digest, quarantine.c.finding, quarantine.c.settled_at).order_by(quarantine.c.digest),
        select(standings).order_by(standings.c.enrolment_id),
        select(findings.c.report, findings.c.finding).order_by(findings.c.report, findings.c.finding),
    )
    with engine.connect().execution_options(waybill_reading=True) as connection:
        return tuple(tuple(map(tuple, connection.execute(query))) for query in queries)


def alone(tmp_path: Path, sites: list[Reporter], media: list[Path]) -> Iterator[object]:
    """The content of a ledger into which one importer brought everything."""
    engine = open_fleet(find_fleet(str(tmp_path / "alone"), {}, tmp_path, create=True))
    for site in sites:
        enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    import_paths(engine, tuple(media), NOW)
    yield from content(engine)
    engine.dispose()


def test_importers_at_once(place: str, tmp_path: Path) -> None:
    engine = opened(place, tmp_path)
    sites = enrolled(engine)
    media = write_media(tmp_path, sites, random.Random(1))
    running = [start(place, medium) for medium in media]
    ended = [(one.communicate(timeout=120)[0], one.returncode) for one in running]
    assert [code for _, code in ended] == [14] * IMPORTERS, ended
    assert list(content(engine)) == list(alone(tmp_path, sites, media))
    engine.dispose()


@pytest.mark.slow
def test_importers_that_are_killed(place: str, tmp_path: Path) -> None:
    """Round by round on one ledger: SIGKILL at a random moment, then the same media again."""
    dice = random.Random(7)
    engine = opened(place, tmp_path)
    sites = enrolled(engine)
    every: list[Path] = []
    for number in range(20):
        media = write_media(tmp_path, sites, dice)
        every += media
        running = [start(place, medium) for medium in media]
        time.sleep(dice.uniform(0.3, 3.0))
        for one in dice.sample(running, k=2):
            one.send_signal(signal.SIGKILL)
        ended = [(one.communicate(timeout=120)[0], one.returncode) for one in running]
        assert {code for _, code in ended} <= {14, -signal.SIGKILL}, (number, ended)
    for medium in every:
        import_paths(engine, (medium,), NOW)
    assert list(content(engine)) == list(alone(tmp_path, sites, every))
    engine.dispose()
