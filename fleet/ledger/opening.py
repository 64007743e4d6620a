"""Find the ledger, and open it at exactly the schema that this program knows."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from manifests.authored.handwritten import read_handwritten
from manifests.words.canonical import Document
from manifests.words.errors import HostError, MalformedError, NewerError, RefusedError, UsageError

MAKE_SPACE = "make space on the ledger's disk and run the same command again; it goes on where this one ended"
# The newest migration; a test compares it with the folder.
SCHEMA = "0006"
FLEET_FILE = "fleet.yaml"
# So long a writer waits for another one.
WAIT_SECONDS = 60
# "waybill" as a number: the advisory lock of writers in a PostgreSQL database.
_WRITER_LOCK = int.from_bytes(b"waybill")
# Less free space than this explains an error of SQLite that names no cause.
_FULL_BYTES = 1 << 20
MIGRATIONS = Path(__file__).parent / "migrations"
_FIRST = """\
# Support's folder: the enrolled sites and their reports. `waybill fleet enroll` wrote this file.
waybill: 1
ledger: ledger.sqlite        # a file in this folder, or a URL: "postgresql://fleet@db.example/waybill"
"""


class FleetFile(Document, frozen=True, kw_only=True):
    """``fleet.yaml``."""

    waybill: Literal[1]
    ledger: str


@dataclass(frozen=True)
class FleetPlace:
    """A ledger by its address; ``folder`` is None if only a URL was given.

    With ``create`` an empty database there may become a ledger.
    """

    url: URL
    folder: Path | None
    create: bool = False

    @property
    def shown(self) -> str:
        return str(self.folder) if self.folder else self.url.render_as_string(hide_password=True)


def find_fleet(option: str | None, environment: Mapping[str, str], here: Path, *, create: bool = False) -> FleetPlace:
    """Return the ledger of ``--fleet``, else of WAYBILL_FLEET, else of the current folder.

    With ``create`` an empty or missing folder may become a ledger. Raises UsageError if there is none.
    """
    given = option or environment.get("WAYBILL_FLEET")
    if given and "://" in given:
        return FleetPlace(url=_url(given, "--fleet"), folder=None, create=create)
    folder = Path(given) if given else here
    if (folder / FLEET_FILE).is_file():
        file = read_handwritten(folder / FLEET_FILE).to(FleetFile)
        where = str(folder / FLEET_FILE)
        if "://" in file.ledger:
            return FleetPlace(url=_url(file.ledger, where), folder=folder, create=create)
        return FleetPlace(url=_sqlite(folder / file.ledger), folder=folder)
    # `fleet.yaml` is written last: a ledger without it is a first enrolment that was interrupted.
    unfinished = {"ledger.sqlite", "ledger.sqlite-journal"}
    if create and (not folder.exists() or (folder.is_dir() and {one.name for one in folder.iterdir()} <= unfinished)):
        return FleetPlace(url=_sqlite(folder / "ledger.sqlite"), folder=folder, create=True)
    looked = f"--fleet {option}" if option else f"WAYBILL_FLEET={given}" if given else f"the current folder {here}"
    remedy = "name the folder with --fleet DIR, or create one in an empty folder: waybill fleet enroll ENROLMENT"
    raise UsageError(f"{looked} has no {FLEET_FILE}", where="--fleet", remedy=remedy)


def _sqlite(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def _url(given: str, where: str) -> URL:
    try:
        url = make_url(given)
    except ArgumentError:
        remedy = "write postgresql://USER@HOST/DATABASE or sqlite:///FILE"
        raise UsageError("it is not a database URL", where=where, remedy=remedy) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        problem = f"{url.get_backend_name()} is not supported; a ledger is SQLite or PostgreSQL"
        raise UsageError(problem, where=where, remedy="name a folder with --fleet DIR")
    return url


def open_fleet(place: FleetPlace) -> Engine:
    """The ledger, with its tables as this program knows them; an older ledger is brought forward first.

    Raises:
        RefusedError: There is no ledger, and this is not the command that makes one.
        NewerError: A later version of this program has changed the tables.
        HostError: The database cannot be reached, or its driver is not installed.
        MalformedError: The file is not a database.
    """
    file = Path(place.url.database or "") if place.url.get_backend_name() == "sqlite" else None
    if file is not None and not place.create and not file.is_file():
        raise _absent(place)
    if place.create and place.folder is not None:
        place.folder.mkdir(parents=True, exist_ok=True)
    engine = _engine(place)
    try:
        _bring_forward(engine, place)
    except DBAPIError as error:
        engine.dispose()
        raise database_error(error, place.shown) from None
    except BaseException:
        engine.dispose()
        raise
    if place.create and place.folder is not None and not (place.folder / FLEET_FILE).exists():
        (place.folder / FLEET_FILE).write_text(_FIRST, encoding="utf-8")
    return engine


def _absent(place: FleetPlace) -> RefusedError:
    remedy = "restore it from a backup, or create one in an empty folder: waybill fleet enroll ENROLMENT"
    return RefusedError("the ledger is empty or missing", where=place.shown, remedy=remedy, finding="ledger-missing")


def _engine(place: FleetPlace) -> Engine:
    try:
        engine = create_engine(place.url)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        remedy = 'install it: pip install "psycopg[binary]"'
        raise HostError(f"the database driver is missing: {error}", where=place.shown, remedy=remedy) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own transaction handling begins late and commits before DDL; here SQLAlchemy decides (see `_begin`).
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
    connection.execute("PRAGMA cache_size = -16384")
    # What is deleted is overwritten, in free pages too: telemetry must be gone when its time is over.
    connection.execute("PRAGMA secure_delete = ON")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE for a writer: two importers wait for each other instead of failing at their first write.
    reading = connection.get_execution_options().get("waybill_reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    # As with SQLite, one writer at a time: what a transaction reads before it writes must still be so when it writes.
    # The lock is freed at the end of the transaction, also when the process is killed.
    if not connection.get_execution_options().get("waybill_reading"):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


def _bring_forward(engine: Engine, place: FleetPlace) -> None:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        schema = _schema(connection)
    if schema == SCHEMA:
        return
    if schema is None:
        if not place.create:
            raise _absent(place)
    elif schema > SCHEMA:
        problem = f"the ledger has schema {schema}; this program knows schema {SCHEMA}"
        raise NewerError(problem, where=place.shown, remedy="install the newer version of waybill that wrote it")
    elif place.url.get_backend_name() == "sqlite" and place.url.database:
        file = Path(place.url.database)
        shutil.copy2(file, file.with_name(f"{file.name}.before-{SCHEMA}"))
    with engine.begin() as connection:
        migrate(connection)


def migrate(connection: Connection) -> None:
    """Run the migrations up to ``SCHEMA`` in the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA)


def _schema(connection: Connection) -> str | None:
    """The migration that the ledger is at; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if version is None else str(version)


def ledger_place(engine: Engine) -> str:
    """Return the folder or the URL of the ledger, for messages; without the password."""
    if engine.dialect.name == "sqlite":
        return str(Path(engine.url.database or "").parent)
    return engine.url.render_as_string(hide_password=True)


def is_full(error: DBAPIError, where: str) -> bool:
    """Whether the database had no room on its disk. ``where`` is the ledger's folder, or a URL."""
    if getattr(error.orig, "sqlstate", None) == "53100":
        return True
    message = str(error.orig or error).lower()
    if "disk is full" in message or "no space left" in message:
        return True
    # SQLite cannot make its journal on a full disk, and then names no cause.
    if "unable to open" not in message and "disk i/o error" not in message:
        return False
    try:
        status = os.statvfs(where)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _FULL_BYTES or (status.f_files > 0 and status.f_favail == 0)


def database_error(error: DBAPIError, where: str) -> HostError | MalformedError:
    """Return an error of ours for an error of the database."""
    message = str(error.orig or error).strip().splitlines()[0].lower()
    if "not a database" in message or "malformed" in message:
        return MalformedError(f"the ledger is damaged: {message}", where=where, remedy="restore it from a backup")
    hint = ""
    if is_full(error, where):
        hint = MAKE_SPACE
    elif "locked" in message or "lock timeout" in message:
        hint = "try again when no other waybill fleet command is writing"
    return HostError(f"the ledger cannot be used: {message}", where=where, remedy=hint)
