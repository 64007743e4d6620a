"""How long `waybill status` takes at a site with a long journal, as a whole process.

python -m tests.bench.journal            # journals of 1,000, 20,000 and 60,000 entries
ENTRIES=20000 python -m tests.bench.journal

The journal is what a site writes in years: releases received, approved and installed, reports written, exported and
acknowledged, and the ticks of a timer between them. Calls are interleaved, one journal after the other.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from manifests.words.digest import digest_of
from tests.bench.payload import compiled
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.reporting.report_write import write_report
from verifier.site.folder import Site
from verifier.site.journal import events

ROOT = Path(__file__).parents[2]
INSTALLS = 10
REPORTS = 12


def long_journal(folder: Path, count: int) -> Place:
    """A site with ``INSTALLS`` releases installed one after the other, and ``count`` entries in its journal."""
    first = Vendor()
    place = make_place(folder, first, disk=QuickDisk())
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    for number in range(1, INSTALLS + 1):
        vendor = first.but(version=f"1.{number}.0", sequence=number)
        ended = place.bring(vendor.write(folder / "bundle.tar"))
        if ended.error is not None:
            raise ended.error
    with place.hold() as site:
        entries = _days(site)
        while site.state.seq < count - REPORTS:
            site.record(next(entries))
            place.clock.sleep(3600)
        while site.state.seq < count:
            write_report(site, site.disk, place.clock.at)
    # The next command that holds the site writes the checkpoint.
    with place.hold():
        pass
    return place


def _days(site: Site) -> Iterator[events.Event]:
    """Entries as a site writes them day by day, for ever. Every seventh day a consignment acknowledges the reports."""
    day = 0
    while True:
        day += 1
        for _ in range(4):
            yield events.Note(code="tick")
        reports, digest = site.state.reports, digest_of(b"report %d" % day)
        yield events.Reported(seq=reports.seq + 1, digest=digest, previous=reports.head)
        yield events.Note(code="exported", detail=f"reports up to {reports.seq + 1} to /media/stick")
        if day % 7 == 0:
            yield events.Consigned(
                number=site.state.reports.consignment + 1,
                digest=digest_of(b"consignment %d" % day),
                issued_at="2026-03-01T12:00:00Z",
                challenge=digest_of(b"challenge %d" % day),
                acknowledged=site.state.reports.seq,
                acknowledged_digest=digest,
            )


def status_time(place: Place, env: dict[str, str]) -> tuple[float, float]:
    """Seconds and processor seconds of one call of `waybill status` as a whole process; it must succeed."""
    words = [sys.executable, "-m", "waybill", "status", "--json", "--site", str(place.path)]
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    counts = [int(word) for word in os.environ.get("ENTRIES", "1000 20000 60000").split()]
    runs = int(os.environ.get("RUNS", "15"))
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        env = compiled(Path(name))
        places = {count: long_journal(Path(name) / str(count), count) for count in counts}
        took: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
        for _ in range(runs):
            for count, place in places.items():
                took[count].append(status_time(place, env))
        for count, pairs in took.items():
            seconds, processor = zip(*pairs, strict=True)
            print(
                f"status with {count:,} entries: {statistics.median(seconds):.2f} s "
                f"({min(seconds):.2f}-{max(seconds):.2f}), at least {min(processor):.2f} s of processor, whole process"
            )


if __name__ == "__main__":
    main()
