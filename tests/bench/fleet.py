"""How fast `waybill fleet import` takes signed reports in, from files on disk into SQLite, as a whole process.

python -m tests.bench.fleet                  # 1,000 and 10,000 reports, 20 components each
REPORTS=100000 python -m tests.bench.fleet   # another larger number
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from msgspec.structs import replace

from manifests.documents import report as r
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

ROOT = Path(__file__).parents[2]
VENDOR = Vendor()
PER_SITE = 10
COMPONENTS = 20
RUN = """
import os, sys
sys.argv = ["waybill", *sys.argv[1:]]
from waybill import main
if __name__ == "__main__":
    try:
        main()
    finally:
        with open("/proc/self/status") as status:
            print(next(line for line in status if line.startswith("VmHWM")).strip(), file=sys.stderr)
"""


def make_site(number: int, folder: Path) -> None:
    """One enrolment and ten chained reports, each really signed."""
    site = Reporter(site=f"customer-{number // 10}/small/production/site-{number}", root=VENDOR.pin())
    (folder / "enrolments" / f"{number}.json").write_bytes(site.enrolment)
    for i in range(PER_SITE):
        said = site.next(VENDOR if i == 0 else None)
        if i == 0:
            first = said.components.listed[0]
            more = (replace(first, kind="image", name=f"image-{j:03}", step="x") for j in range(COMPONENTS - 2))
            listed = sorted((*said.components.listed, *more), key=lambda one: (one.kind, one.name, one.step))
            said = replace(said, components=r.Components(listed=tuple(listed)))
        (folder / "reports" / f"{number}-{i}.json").write_bytes(site.sign(said))


def measure(count: int, folder: Path) -> None:
    for name in ("enrolments", "reports"):
        (folder / name).mkdir(parents=True)
    sites = -(-count // PER_SITE)
    with ProcessPoolExecutor() as workers:
        list(workers.map(make_site, range(sites), repeat(folder), chunksize=8))
    enrol(folder)
    script = folder / "run.py"
    script.write_text(RUN)
    command = [
        sys.executable,
        str(script),
        "fleet",
        "import",
        str(folder / "reports"),
        "--fleet",
        str(folder / "fleet"),
    ]
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    # Says the same on a busy machine, where the rate does not.
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count
    if f"{sites * PER_SITE} new reports" not in done.stdout:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    size = sum(one.stat().st_size for one in (folder / "reports").iterdir()) // count
    peak = done.stderr.split("VmHWM:")[1].split("kB")[0].strip()
    print(
        f"{count} reports of {size} bytes: {count / seconds:.0f} reports/s (bar 1000), "
        f"{cpu * 1e6:.0f} µs of processor each, {int(peak) // 1024} MB"
    )


def enrol(folder: Path) -> None:
    """In one process: enrolling is a person's work, file by file, and not what is measured."""
    from datetime import UTC, datetime

    from fleet.ledger.opening import find_fleet, open_fleet
    from fleet.outgoing.enrol import enroll
    from manifests.documents.enrolment import verify_enrolment

    engine = open_fleet(find_fleet(str(folder / "fleet"), {}, folder, create=True))
    for one in (folder / "enrolments").iterdir():
        enroll(engine, verify_enrolment(one.read_bytes()), datetime.now(UTC), fingerprint=None)
    engine.dispose()


def main() -> None:
    for count in (1000, int(os.environ.get("REPORTS", "10000"))):
        folder = Path(tempfile.mkdtemp(prefix="waybill-bench-"))
        try:
            measure(count, folder)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
