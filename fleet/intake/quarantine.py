"""Keep refused files with their bytes and the reason, until they are accepted or a person closes them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from fleet.intake.result import FileResult, Imported
from fleet.ledger.tables import quarantine
from manifests.words.errors import WaybillError
from manifests.words.time import rfc3339


@dataclass(frozen=True)
class File:
    """A report as a file. ``refused`` when its carrier did not hold one; ``raw`` is then the carrier's text."""

    name: str
    raw: bytes
    digest: str
    keyid: str | None
    refused: WaybillError | None = None


def settle(connection: Connection, digests: list[str], now: datetime) -> None:
    """What was refused once and is accepted now waits for nobody any more."""
    here = quarantine.c.digest.in_(bindparam("digests", expanding=True)) & quarantine.c.settled_at.is_(None)
    connection.execute(update(quarantine).where(here).values(settled_at=rfc3339(now)), {"digests": digests})


def put_aside(
    connection: Connection, refused: list[tuple[File, int, WaybillError]], now: datetime, result: Imported
) -> None:
    if not refused:
        return
    digests = sorted({file.digest for file, _, _ in refused})
    query = select(quarantine.c.digest).where(quarantine.c.digest.in_(bindparam("digests", expanding=True)))
    known = set(connection.execute(query, {"digests": digests}).scalars())
    rows: list[dict[str, Any]] = []
    for file, size, error in refused:
        result.add(FileResult(file.name, "quarantined", error.problem, error.finding, error.remedy))
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
                "seen_at": rfc3339(now),
            }
        )
    if rows:
        connection.execute(insert(quarantine), rows)
