"""The queue: one SQLite file in the data folder, shared by intake, signer and all versions."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

READS = range(1, 2)  # formats of the file; rollback.yaml states the same numbers
WRITES = 1


class QueueError(Exception):
    """This version cannot use the file."""


@dataclass(frozen=True)
class Job:
    """Attributes: digest: SHA-256 of the document, in hex; signature: empty while it waits."""

    number: int
    document: str
    digest: str
    signature: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"state": "signed" if self.signature else "waiting"}


class Queue:
    """Safe to use from several threads and processes: each call opens the file and is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            (found,) = file.execute("PRAGMA user_version").fetchone()
            if found == 0:
                file.execute(
                    "CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL,"
                    " digest TEXT NOT NULL, signature TEXT NOT NULL DEFAULT '')"
                )
                file.execute(f"PRAGMA user_version = {WRITES}")
            elif found not in READS:
                raise QueueError(f"{path}: format {found}, this version reads {READS[0]} to {READS[-1]}")

    def add(self, document: str, digest: str) -> Job:
        with self._open() as file:
            number = file.execute("INSERT INTO jobs (document, digest) VALUES (?, ?)", (document, digest)).lastrowid
        return Job(number, document, digest, "")

    def newest(self, count: int) -> list[Job]:
        return self._select("ORDER BY number DESC LIMIT ?", count)

    def waiting(self, count: int) -> list[Job]:
        return self._select("WHERE signature = '' ORDER BY number LIMIT ?", count)

    def find(self, number: int) -> Job | None:
        return next(iter(self._select("WHERE number = ?", number)), None)

    def sign(self, job: Job, signature: str) -> None:
        with self._open() as file:
            file.execute("UPDATE jobs SET signature = ? WHERE number = ?", (signature, job.number))

    def counts(self) -> dict[str, int]:
        with self._open() as file:
            waiting, signed = file.execute(
                "SELECT count(*) FILTER (WHERE signature = ''), count(*) FILTER (WHERE signature != '') FROM jobs"
            ).fetchone()
        return {"waiting": waiting, "signed": signed}

    def _select(self, condition: str, value: int) -> list[Job]:
        with self._open() as file:
            rows = file.execute(f"SELECT number, document, digest, signature FROM jobs {condition}", (value,))
            return [Job(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5)) as file, file:
            yield file
