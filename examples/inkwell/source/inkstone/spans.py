"""Traces as OTLP JSON, one request a line, for a collector that reads files."""

import json
import os
import threading
import time
from pathlib import Path

# A process begins a new file at this size, and keeps the one before.
MOST_BYTES = 16 << 20


class Spans:
    """Appends spans to a file of this process; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._lock = threading.Lock()

    def add(self, name: str, started: int, ended: int, *, failed: bool) -> None:
        """Append one span; ``started`` and ``ended`` are nanoseconds of the Unix epoch."""
        span = {
            "traceId": os.urandom(16).hex(),
            "spanId": os.urandom(8).hex(),
            "name": name,
            "kind": 2,
            "startTimeUnixNano": str(started),
            "endTimeUnixNano": str(ended),
            "status": {"code": 2 if failed else 1},
        }
        request = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "inkstone"}, "spans": [span]}]}]}
        line = json.dumps(request, separators=(",", ":")) + "\n"
        with self._lock:
            with self._path.open("a", encoding="ascii") as file:
                file.write(line)
            if self._path.stat().st_size > MOST_BYTES:
                self._path.replace(self._path.with_name(f"{self._path.stem}-old.jsonl"))
