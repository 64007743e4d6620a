"""Keep refused files with their bytes and the reason, until they are accepted or a person closes them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from fleet.intake.result import ImportResult, refused_result
from fleet.ledger.tables import quarantine
from manifests.words.errors import WaybillError


@dataclass(frozen=True)
class ReportFile:
    """A report as a file. With ``error`` its carrier did not hold one; ``raw`` is then the carrier's text."""

    name: str
    raw: bytes
    digest: str
    keyid: str | None
    error: WaybillError | None = None


def settle_quarantine(connection: Connection, digests: list[str], now: datetime) -> None:
    """Mark files that were refused before and are accepted now as settled."""
    here = quarantine.c.digest.in_(bindparam("digests", expanding=True)) & quarantine.c.settled_at.is_(None)
    connection.execute(update(quarantine).where(here).values(settled_at=now), {"digests": digests})


def quarantine_files(
    connection: Connection, refused: list[tuple[ReportFile, int, WaybillError]], now: datetime, result: ImportResult
) -> None:
    """Write refused files, each with its size and error, to the ledger and to ``result``; known bytes only to it."""
    if not refused:
        return
    digests = sorted({file.digest for file, _, _ in refused})
    query = select(quarantine.c.digest).where(quarantine.c.digest.in_(bindparam("digests", expanding=True)))
    known = set(connection.execute(query, {"digests": digests}).scalars())
    rows: list[dict[str, object]] = []
    for file, size, error in refused:
        result.add(refused_result(file.name, "quarantined", error))
        if file.digest in known:
            continue
        known.add(file.digest)
        rows.append(
            {
                "digest": file.digest,
                "name": file.name,
                "size": size,
                "raw": file.raw,
                "finding": error.finding,
                "problem": error.problem,
                "keyid": file.keyid,
                "seen_at": now,
            }
        )
    if rows:
        connection.execute(insert(quarantine), rows)
