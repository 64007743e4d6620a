"""The ledger's place and its schema: found, made, brought forward, refused."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from fleet.ledger import opening
from fleet.ledger.opening import MIGRATIONS, SCHEMA, find_fleet, open_fleet
from fleet.ledger.tables import metadata
from manifests.words.errors import HostError, MalformedError, NewerError, RefusedError, UsageError


def made(folder: Path) -> Engine:
    return open_fleet(find_fleet(str(folder), {}, folder, create=True))


def test_the_migrations_make_the_tables_that_the_program_expects(tmp_path: Path) -> None:
    engine = made(tmp_path / "fleet")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_schema_that_the_program_knows_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA


def test_a_fleet_is_found_by_option_environment_and_folder(tmp_path: Path) -> None:
    made(tmp_path / "a").dispose()
    made(tmp_path / "b").dispose()
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    environment = {"WAYBILL_FLEET": str(tmp_path / "b")}
    assert find_fleet(str(tmp_path / "a"), environment, nowhere).folder == tmp_path / "a"
    assert find_fleet(None, environment, tmp_path / "a").folder == tmp_path / "b"
    assert find_fleet(None, {}, tmp_path / "a").folder == tmp_path / "a"
    with pytest.raises(UsageError, match="the current folder"):
        find_fleet(None, {}, nowhere)
    with pytest.raises(UsageError, match="WAYBILL_FLEET="):
        find_fleet(None, {"WAYBILL_FLEET": str(nowhere)}, tmp_path / "a")


def test_only_enrolling_makes_one_and_only_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"no fleet\.yaml"):
        find_fleet(str(tmp_path), {}, tmp_path, create=True)
    assert find_fleet(str(tmp_path / "new"), {}, tmp_path, create=True).create


def test_a_first_enrolment_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    made(tmp_path / "fleet").dispose()
    (tmp_path / "fleet" / "fleet.yaml").unlink()
    made(tmp_path / "fleet").dispose()
    assert (tmp_path / "fleet" / "fleet.yaml").is_file()


def test_a_ledger_that_vanished_is_not_made_anew(tmp_path: Path) -> None:
    made(tmp_path / "fleet").dispose()
    (tmp_path / "fleet" / "ledger.sqlite").unlink()
    for create in (False, True):
        with pytest.raises(RefusedError, match="missing"):
            open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=create))
    assert not (tmp_path / "fleet" / "ledger.sqlite").exists()


def test_a_later_schema_is_newer_not_broken(tmp_path: Path) -> None:
    engine = made(tmp_path / "fleet")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(NewerError, match="9999"):
        open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path))


def test_an_older_ledger_is_copied_before_it_is_brought_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up next migration on a real ledger: the old file stays beside it, as it was."""
    made(tmp_path / "fleet").dispose()
    before = SCHEMA
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "9000_more.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9000'\ndown_revision = '{SCHEMA}'\n"
        "def upgrade():\n    op.add_column('sites', sa.Column('note', sa.Text))\n"
    )
    monkeypatch.setattr(opening, "MIGRATIONS", later)
    monkeypatch.setattr(opening, "SCHEMA", "9000")
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT note FROM sites")).all() == []
    engine.dispose()
    kept = sqlite3.connect(tmp_path / "fleet" / "ledger.sqlite.before-9000")
    assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [(before,)]
    kept.close()


def test_a_ledger_of_the_first_schema_is_brought_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real first ledger with a site in it becomes the very ledger that is made today, and keeps the site."""
    monkeypatch.setattr(opening, "SCHEMA", "0001")
    engine = made(tmp_path / "fleet")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO sites VALUES (1, 'a/b/c/d', 'a', 'b', 'c', 'd')"))
        connection.execute(text("INSERT INTO roots VALUES ('sha256:x', 1, 'v', 0, 1, '2026-01-01T00:00:00Z')"))
    engine.dispose()
    monkeypatch.undo()
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text("SELECT site FROM sites")).scalar_one() == "a/b/c/d"
        assert connection.execute(text("SELECT raw FROM roots")).scalar_one() is None
    engine.dispose()


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "fleet").dispose()
    before = (tmp_path / "fleet" / "ledger.sqlite").read_bytes()
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "9000_more.py").write_text(
        "from alembic import op\n"
        f"revision = '9000'\ndown_revision = '{SCHEMA}'\n"
        "def upgrade():\n    op.drop_table('quarantine')\n    raise RuntimeError('stop')\n"
    )
    monkeypatch.setattr(opening, "MIGRATIONS", later)
    monkeypatch.setattr(opening, "SCHEMA", "9000")
    with pytest.raises(RuntimeError, match="stop"):
        open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path))
    assert (tmp_path / "fleet" / "ledger.sqlite").read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    made(tmp_path / "fleet").dispose()
    (tmp_path / "fleet" / "ledger.sqlite").write_bytes(b"not a database at all, but long enough to be one" * 100)
    with pytest.raises(MalformedError, match="damaged"):
        open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path))


def test_urls(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mysql"):
        find_fleet("mysql://x/y", {}, tmp_path)
    with pytest.raises(UsageError, match="not a database URL"):
        find_fleet("://", {}, tmp_path)
    place = find_fleet(f"sqlite:///{tmp_path}/by-url.sqlite", {}, tmp_path, create=True)
    open_fleet(place).dispose()
    open_fleet(find_fleet(f"sqlite:///{tmp_path}/by-url.sqlite", {}, tmp_path)).dispose()
    assert not (tmp_path / "fleet.yaml").exists()


def test_an_address_where_no_database_answers(tmp_path: Path) -> None:
    place = find_fleet("postgresql://nobody:secret@127.0.0.1:1/none", {}, tmp_path)
    with pytest.raises(HostError) as caught:
        open_fleet(place)
    assert "secret" not in str(caught.value) + caught.value.remedy
