"""Keep refused files with their bytes and the reason, until they are accepted or a person closes them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError

from fleet.intake.result import ImportResult, refused_result
from fleet.intake.scan import digest_of_file
from fleet.ledger.opening import MAKE_SPACE, is_full, ledger_place
from fleet.ledger.tables import quarantine
from manifests.words.errors import HostError, WaybillError

# Rows in one transaction, and bytes that wait in memory.
BATCH = 250
MAX_WAITING = 64 << 20


@dataclass(frozen=True)
class ReportFile:
    """A report as a file. With ``error`` its carrier did not hold one; ``raw`` is then the carrier's text."""

    name: str
    raw: bytes
    digest: str
    keyid: str | None
    error: WaybillError | None = None


def large_file(path: str, start: bytes) -> ReportFile:
    """Return a file that is longer than a report by its beginning and the digest of the whole. Raises OSError."""
    return ReportFile(path, start, digest_of_file(path), None)


def settle_quarantine(connection: Connection, digests: list[str], now: datetime) -> None:
    """Mark files that were refused before and are accepted now as settled."""
    here = quarantine.c.digest.in_(bindparam("digests", expanding=True)) & quarantine.c.settled_at.is_(None)
    connection.execute(update(quarantine).where(here).values(settled_at=now), {"digests": digests})


@dataclass(frozen=True)
class RefusedFile:
    """A refused file. Attributes: size: of the whole file; of a longer one ``file.raw`` is only the beginning."""

    file: ReportFile
    size: int
    error: WaybillError


class RefusedFiles:
    """The refused files of an import, written to quarantine after its reports: on a small disk those go first."""

    def __init__(self) -> None:
        self._waiting: list[RefusedFile] = []
        self._bytes = 0

    def add(self, refused: RefusedFile) -> None:
        self._waiting.append(refused)
        self._bytes += len(refused.file.raw)

    @property
    def many(self) -> bool:
        """Whether they should be written before the end, because they fill the memory."""
        return self._bytes > MAX_WAITING

    def write(self, engine: Engine, now: datetime, result: ImportResult) -> None:
        """Write them to the ledger and to ``result``; on a full disk to ``result`` only, which then names that."""
        for at in range(0, len(self._waiting), BATCH):
            _write_batch(engine, self._waiting[at : at + BATCH], now, result)
        self._waiting.clear()
        self._bytes = 0


def _write_batch(engine: Engine, refused: list[RefusedFile], now: datetime, result: ImportResult) -> None:
    where = ledger_place(engine)
    try:
        with engine.begin() as connection:
            known = _quarantine(connection, refused, now)
    except DBAPIError as error:
        if not is_full(error, where):
            raise
        problem = "the disk is full: refused files were not kept in quarantine; every report was taken in"
        result.stopped = HostError(problem, where=where, remedy=MAKE_SPACE, finding="quarantine-full")
        for entry in refused:
            result.add(refused_result(entry.file.name, "unkept", entry.error))
        return
    for entry in refused:
        result.add(refused_result(entry.file.name, "quarantined", entry.error))
        result.add_quarantined(entry.file.digest, known=entry.file.digest in known)


def _quarantine(connection: Connection, refused: list[RefusedFile], now: datetime) -> set[str]:
    """Insert a row for each digest that has none; return those that had one."""
    digests = sorted({entry.file.digest for entry in refused})
    query = select(quarantine.c.digest).where(quarantine.c.digest.in_(bindparam("digests", expanding=True)))
    known = set(connection.execute(query, {"digests": digests}).scalars())
    rows: dict[str, dict[str, object]] = {}
    for entry in refused:
        if entry.file.digest not in known:
            rows.setdefault(
                entry.file.digest,
                {
                    "digest": entry.file.digest,
                    "name": entry.file.name,
                    "size": entry.size,
                    "raw": entry.file.raw,
                    "finding": entry.error.finding,
                    "problem": entry.error.problem,
                    "keyid": entry.file.keyid,
                    "seen_at": now,
                },
            )
    if rows:
        connection.execute(insert(quarantine), [*rows.values()])
    return known
