"""One look at the source of one signal: its collector, its time, and what it may still read."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from content.telemetry.intervals import Collector

# Of one signal in one run; what is left is read by the next run.
MAX_BYTES = 256 << 20


@dataclass
class Look:
    """A look that is under way.

    Attributes:
        at: By the site's clock.
        release: Digest of the release that runs.
        deadline: Of ``monotonic``.
        unfinished: More was there than one run reads.
        notes: For people at the site; they never leave the site.
    """

    collector: Collector
    at: datetime
    release: str | None
    monotonic: Callable[[], float] = time.monotonic
    bytes_left: int = field(default_factory=lambda: MAX_BYTES)
    deadline: float = 0.0
    unfinished: bool = False
    notes: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.collector.begin(self.at, self.release)

    def feed(self, data: bytes) -> None:
        self.collector.feed(data)

    def take(self, data: bytes) -> bool:
        """Count bytes that were read; return whether more may be read."""
        self.bytes_left -= len(data)
        if self.bytes_left <= 0 or self.monotonic() >= self.deadline:
            self.unfinished = True
        return not self.unfinished
