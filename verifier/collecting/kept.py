"""What a site keeps of its collectors: one file for each signal in ``telemetry/``, and the lock of that folder.

The file holds what was counted, how far the source was read, and the digest of both. They are replaced together, so
that no crash counts a byte twice; a digit that a medium changed is no other progress, but a damaged file.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from content.telemetry.collector import open_collector
from content.telemetry.counted import Counted
from content.telemetry.intervals import MAX_STATE
from manifests.documents.contract import Signal
from manifests.trust.keys import read_capped
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Date, Digest, Positive, Text, Time, Word, digest_of
from manifests.words.errors import BusyError, MalformedError, missing_file, unreadable
from manifests.words.time import parse_time, rfc3339
from verifier.site.disk import Disk

KEPT_TYPE = "application/vnd.waybill.collected.v1+json"
FOLDER = "telemetry"
RESULTS = "results"
# Of the first line of a file.
MAX_PROGRESS = 4 << 20
MAX_FILES = 10_000
MAX_DAYS = 20_000
# Of a file that was read: what of its begin tells it from another one of the same number.
MAX_HEAD = 1024
LOCK_SECONDS = 10.0
LOCK_STEP = 0.1


class FileProgress(Document, frozen=True, kw_only=True):
    """How far one file was read. Its name is not kept.

    Attributes:
        inode: In hexadecimal.
        head: Digest of its first ``head_bytes``: the number of a removed file is used again for another one.
        offset: The next byte to read.
    """

    inode: Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,16}\Z")]
    head: Digest
    head_bytes: Annotated[int, Meta(ge=0, le=MAX_HEAD)]
    offset: Count


class DayDrops(Document, frozen=True, kw_only=True):
    """What was dropped on one day, by the site's clock in UTC."""

    day: Date
    reason: Word
    count: Positive


class Progress(Document, frozen=True, kw_only=True, tag_field="type", tag=KEPT_TYPE):
    """How far the source of a signal was read.

    Attributes:
        address: Digest of the endpoint's address; another address begins anew.
        begun: The first look was made.
        looked_at: When the source was looked at last.
        problem: Why that look read nothing, or not all.
        files: Of a log the file that is read; of traces each file of the folder.
        journal: Cursor of the last entry that was read.
        since: Unix time of the first look at a journal that had no entry.
    """

    address: Digest
    begun: bool = False
    looked_at: Time
    problem: Word | None = None
    files: Annotated[tuple[FileProgress, ...], Meta(max_length=MAX_FILES)] = ()
    journal: Text | None = None
    since: Count | None = None
    dropped: Annotated[tuple[DayDrops, ...], Meta(max_length=MAX_DAYS)] = ()


@dataclass(frozen=True)
class Kept:
    """A file of ``telemetry/``: the progress, and the state of the collector."""

    progress: Progress
    state: bytes


def kept_path(site: Path, signal: str) -> Path:
    return site / FOLDER / f"{signal}.json"


def read_kept(site: Path, signal: str) -> Kept | None:
    """Return what is kept of a signal; None before its first look.

    Raises:
        MalformedError: The file is damaged.
        HostError: It cannot be read.
    """
    path = kept_path(site, signal)
    if not path.exists():
        return None
    return parse_kept(read_capped(path, MAX_STATE + MAX_PROGRESS), str(path))


def parse_kept(data: bytes, what: str) -> Kept:
    """Return the content of a file of ``telemetry/``. Raises MalformedError for one that is damaged."""
    lines, _, digest = data.rpartition(b"\n")
    if digest != digest_of(lines).encode():
        raise MalformedError("the file does not have the digest that it ends with", where=what)
    first, _, state = lines.partition(b"\n")
    progress = parse(first, Progress, what, max_bytes=MAX_PROGRESS)
    parse_time(progress.looked_at)
    return Kept(progress, state)


def kept_bytes(kept: Kept) -> bytes:
    """Return the file of ``telemetry/`` that ``parse_kept`` reads."""
    lines = encode(kept.progress) + b"\n" + kept.state
    return lines + b"\n" + digest_of(lines).encode()


def read_progress(site: Path, signal: str) -> Progress | None:
    """Return how far the source of a signal was read; None before its first look. The digest is not compared.

    Raises:
        MalformedError: The first line is damaged.
        HostError: It cannot be read.
    """
    path = kept_path(site, signal)
    try:
        with path.open("rb") as file:
            first = file.readline(MAX_PROGRESS + 1).removesuffix(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(error, str(path)) from None
    return parse(first, Progress, str(path), max_bytes=MAX_PROGRESS)


def write_kept(site: Path, signal: str, kept: Kept, disk: Disk) -> None:
    """Replace what is kept of a signal, durably; after an OSError the former file is in place."""
    disk.write(kept_path(site, signal), kept_bytes(kept))


def forget_others(site: Path, signals: frozenset[str], disk: Disk) -> tuple[str, ...]:
    """Remove what is kept of other signals than these; return their names."""
    others = sorted(path for path in (site / FOLDER).glob("*.json") if path.stem not in signals)
    for path in others:
        disk.remove(path)
    return tuple(path.stem for path in others)


def read_counted(site: Path, signal: Signal) -> tuple[Progress, Counted] | None:
    """Return the rows of a signal, and the drops of the days that are kept; None before its first look.

    The last rows are of the interval under way: their ``seconds`` are what was counted of it so far.

    Raises:
        MalformedError: The file is damaged.
        HostError: It cannot be read.
    """
    kept = read_kept(site, signal.name)
    if kept is None:
        return None
    collector = open_collector(signal, kept.state)
    rows = (*collector.counted.rows, *collector.current_rows())
    dropped: dict[str, int] = {}
    for drops in kept.progress.dropped:
        dropped[drops.reason] = dropped.get(drops.reason, 0) + drops.count
    return kept.progress, Counted(rows=rows, dropped=dropped)


def add_drops(
    kept: tuple[DayDrops, ...], dropped: Mapping[str, int], now: datetime, keep_seconds: int
) -> tuple[DayDrops, ...]:
    """Return the drops by day with those of now; days older than ``keep_seconds`` are left out."""
    today = rfc3339(now)[:10]
    oldest = rfc3339(now - timedelta(seconds=min(keep_seconds, 10**10)))[:10]
    counts = {(drops.day, drops.reason): drops.count for drops in kept if drops.day >= oldest}
    for reason, count in dropped.items():
        counts[today, reason] = counts.get((today, reason), 0) + count
    days = sorted(counts.items())[-MAX_DAYS:]
    return tuple(DayDrops(day=day, reason=reason, count=count) for (day, reason), count in days if count > 0)


@contextmanager
def hold_telemetry(site: Path, disk: Disk, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of ``telemetry/`` until the block ends; it is not the lock of the site.

    Raises:
        BusyError: Another process holds it for longer than ``seconds``.
    """
    if not site.is_dir():
        raise missing_file(str(site))
    disk.make_folder(site / FOLDER)
    path = site / FOLDER / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        last = time.monotonic() + seconds
        while not _locked(descriptor):
            if time.monotonic() >= last:
                problem = "another `waybill collect` reads the sources of this site"
                raise BusyError(problem, where=str(path), remedy="wait until it ends; it counts for this run as well")
            time.sleep(LOCK_STEP)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
