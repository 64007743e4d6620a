"""What handlers left at the site: values of signals of kind command-result, each a file in ``telemetry/results/``."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from content.telemetry.intervals import kept_since
from manifests.documents.contract import Contract
from manifests.documents.telemetry import MAX_HANDLER_RESULT, HandlerResult, TelemetryRow, parse_handler_result
from manifests.words.errors import MalformedError
from manifests.words.time import parse_time
from verifier.collecting.kept import FOLDER, RESULTS
from verifier.collecting.opened_files import SourceError, opened
from verifier.site.disk import Disk

MAX_RESULTS = 10_000


@dataclass(frozen=True)
class HandlerRows:
    """The results of handlers as rows, oldest first.

    Attributes:
        rows: By name of the signal.
        unreadable: Files that are no such result.
    """

    rows: dict[str, tuple[TelemetryRow, ...]]
    unreadable: int = 0


def handler_rows(site: Path) -> HandlerRows:
    """Return the results that handlers left at the site. Whether the contract allows them is not judged here."""
    rows: dict[str, list[TelemetryRow]] = {}
    unreadable = 0
    for path in _files(site):
        try:
            result = _read(path)
        except (MalformedError, SourceError, OSError):
            unreadable += 1
            continue
        rows.setdefault(result.signal, []).extend(result.rows)
    return HandlerRows(
        {signal: tuple(sorted(of_signal, key=lambda row: row.start)) for signal, of_signal in rows.items()}, unreadable
    )


def clear_results(site: Path, contract: Contract, withheld: frozenset[str], now: datetime, disk: Disk) -> None:
    """Remove results that are older than ``keep.site`` of their signal, and those of signals that may not leave."""
    since = {
        signal.name: kept_since(signal, now)
        for signal in contract.signals
        if signal.kind == "command-result" and signal.name not in withheld
    }
    for path in _files(site):
        # A file that is no result stays for people to look at; reports say how many there are.
        with suppress(MalformedError, SourceError, OSError):
            result = _read(path)
            if result.signal not in since or parse_time(result.start) < since[result.signal]:
                disk.remove(path)


def _read(path: Path) -> HandlerResult:
    with opened(path) as file:
        if file.size > MAX_HANDLER_RESULT:
            raise MalformedError(f"file has more than {MAX_HANDLER_RESULT} bytes", where=str(path))
        result = parse_handler_result(b"".join(file.chunks(0)), str(path))
    parse_time(result.start, str(path))
    return result


def _files(site: Path) -> Iterator[Path]:
    folder = site / FOLDER / RESULTS
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".json") and entry.name[0] != ".")
    yield from (folder / name for name in names[-MAX_RESULTS:])
