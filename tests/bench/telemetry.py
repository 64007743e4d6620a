"""Collectors at work: a log with twenty patterns against `grep -c -F`, and a million samples of Prometheus.

python -m tests.bench.telemetry          # a log of 192 MiB; MIB=64 for a quick look

Each is one run of `waybill collect` as a whole process, start and state file included. Then `waybill report --new` of a
site whose signals all have as many rows as their contract and its budget allow.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from content.telemetry.collector import open_collector
from manifests.documents.contract import Contract
from manifests.documents.telemetry import MAX_TELEMETRY
from tests.counting import Counting, CountingVendor, make_counting
from verifier.collecting.kept import Kept, read_kept, write_kept
from verifier.site.disk import Disk

MIB = int(os.environ.get("MIB", "192"))
SAMPLES = 1_000_000
# Words of different letters, as the codes and messages of a real product.
WORDS = (
    *("E1001", "E2002", "refused", "timeout", "corrupt", "overflow", "denied", "expired", "unreachable", "panic"),
    *("deadlock", "truncated", "retrying", "backoff", "checksum", "quota", "evicted", "stale", "mismatch", "abort"),
)
LINE = (
    "2026-11-20T09:%02d:%02d.%03dZ level=info component=intake route=/v1/documents/%d status=200 ms=%d "
    'bytes=%d client=10.0.%d.%d agent="inkwell/1.4" trace=%032x\n'
)
LOGS = f"""\
  - name: words
    kind: logs
    from: {{log: product_log, patterns: {{{", ".join(f"w{i}: {word}" for i, word in enumerate(WORDS))}}}}}
    per: 1d
    rows: 100
    fields: {{word: {{enum: [{", ".join(f"w{i}" for i in range(len(WORDS)))}]}}, count: {{integer: [0, 1000000000]}}}}
    why: failures
"""
METRICS = """\
  - name: requests
    kind: metrics
    from: {prometheus: metrics, series: shop_requests_total}
    labels: {route: {enum: [intake, search]}}
    per: 1d
    rows: 100
    fields: {increase: {integer: [0, 1000000000000]}}
    why: load
"""


# Ten signals of a thousand rows each: together more than the largest budget.
FULL = "".join(
    f"""\
  - name: full{i}
    kind: logs
    from: {{log: product_log, patterns: {{a: "aa", b: "bb"}}}}
    per: 5m
    rows: 1000
    fields: {{code: {{enum: [a, b]}}, count: {{integer: [0, 1000000]}}}}
    why: limits
"""
    for i in range(10)
)


def full_site(folder: Path) -> Counting:
    """A site whose collectors have counted for 500 intervals."""
    counting = make_counting(folder, FullVendor(signals=FULL))
    counting.collect()
    # The report is written by the clock of the host.
    at = datetime.now(UTC) - timedelta(days=3)
    for signal in counting.vendor.contract().signals:
        if signal.kind != "logs":
            continue
        kept = read_kept(counting.place.path, signal.name)
        if kept is None:
            raise AssertionError("the signal was not looked at")
        collector = open_collector(signal, kept.state)
        for i in range(501):
            collector.begin(at + timedelta(minutes=5 * i), None)
            collector.feed(b"aa bb\naa\n" * (i % 7))
            collector.end()
        write_kept(counting.place.path, signal.name, Kept(kept.progress, collector.state()), Disk())
    return counting


@dataclass(frozen=True)
class FullVendor(CountingVendor):
    """A contract with the largest budget."""

    def contract(self) -> Contract:
        return replace(super().contract(), telemetry_bytes=MAX_TELEMETRY)


def log_text(size: int) -> bytes:
    """Lines of a web service, one in a thousand with one of the words."""
    lines: list[bytes] = []
    length, i = 0, 0
    while length < min(size, 8 << 20):
        line = LINE % (i // 60 % 60, i % 60, i % 1000, i, i % 997, i * 7, i % 250, i % 240, i * 2654435761)
        if i % 1000 == 0:
            line = line[:-1] + f" error={WORDS[i // 1000 % len(WORDS)]}\n"
        lines.append(line.encode())
        length += len(lines[-1])
        i += 1
    return b"".join(lines)


@dataclass
class TelemetryBench:
    """A site with a log, and a site with a metrics file; ``text`` is a piece of the log."""

    logs: Counting
    metrics: Counting
    text: bytes

    @property
    def piece(self) -> Path:
        """The bytes that a run of the collector reads, as a file of their own for grep."""
        return self.logs.folder / "piece.log"

    def renew(self, size: int) -> None:
        """Append ``size`` bytes to the log, which the next run reads."""
        count = max(1, size // len(self.text))
        with self.logs.log.open("ab") as log, self.piece.open("wb") as piece:
            for _ in range(count):
                log.write(self.text)
                piece.write(self.text)

    def collect(self, counting: Counting) -> tuple[object, ...]:
        return "collect", "--site", counting.place.path

    def grep(self) -> list[str]:
        return ["grep", "-c", "-F", *(word for text in WORDS for word in ("-e", text)), str(self.piece)]


def telemetry_bench(folder: Path) -> TelemetryBench:
    """Install two small releases, and let each site look at its source once: the first look counts nothing."""
    logs = make_counting(folder / "logs", CountingVendor(signals=LOGS))
    metrics = make_counting(folder / "metrics", CountingVendor(signals=METRICS))
    with metrics.metrics.open("w") as file:
        file.write("# TYPE shop_requests_total counter\n")
        for i in range(SAMPLES):
            file.write(f'shop_requests_total{{route="intake",pod="p{i}"}} {i}\n')
    case = TelemetryBench(logs, metrics, log_text(8 << 20))
    for counting in (logs, metrics):
        counting.place.clock.at += timedelta(minutes=1)
        counting.collect()
    return case


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        case, full = telemetry_bench(Path(name)), full_site(Path(name) / "full")
        ours, theirs, samples, reports = [], [], [], []
        for _ in range(5):
            case.renew(MIB << 20)
            ours.append(_timed([sys.executable, "-m", "waybill", *map(str, case.collect(case.logs))]))
            theirs.append(_timed(case.grep(), LC_ALL="C"))
            samples.append(_timed([sys.executable, "-m", "waybill", *map(str, case.collect(case.metrics))]))
            reports.append(_timed([sys.executable, "-m", "waybill", "report", "--new", "--site", str(full.place.path)]))
        size = case.piece.stat().st_size / 1e6
        collected, grepped = statistics.median(ours), statistics.median(theirs)
        print(f"log, 20 patterns   {size / collected:6.0f} MB/s   grep -c -F {size / grepped:6.0f} MB/s   bar 150 MB/s")
        print(f"{SAMPLES:,} samples  {statistics.median(samples):6.2f} s                               bar 10 s")
        rows = max(path.stat().st_size for path in (full.place.path / "outbox").glob("*.telemetry.json"))
        print(f"report of {rows:,} bytes of telemetry {statistics.median(reports):6.2f} s               bar 0.5 s")


def _timed(command: list[str], **environment: str) -> float:
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return time.monotonic() - begin


if __name__ == "__main__":
    main()
