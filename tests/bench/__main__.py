"""Speed and memory, as ratios against public tools in the same run.

    make bench                       # a 2 GiB bundle; SIZE_MIB=256 for a quick look, RUNS=5 for more runs

Commands are interleaved (ours, theirs, ours, …), the disk is given two seconds after deletions, and medians are
compared. Every command is a whole process; memory is its own VmHWM. Yardsticks: cp and `openssl dgst -sha256`
(coreutils' sha256sum lacks SHA-NI on many systems), tar, skopeo. "Cold" drops the page cache first, which needs root.
"""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from manifests.words.units import show_size
from tests.bench.journal import long_journal
from tests.bench.payload import compiled, many_images, many_members, vendor_folder
from tests.bench.registry import RegistryBench, registry_vendor
from tests.bench.telemetry import full_site, telemetry_bench
from tests.real import docker_registry
from verifier.site.journal.checkpoint import NAME as CHECKPOINT

ROOT = Path(__file__).parents[2]
SIZE = int(os.environ.get("SIZE_MIB", "2048")) << 20
RUNS = int(os.environ.get("RUNS", "4"))
CORES = os.cpu_count() or 1
RUN = """
import os, sys
sys.argv = ["waybill", *sys.argv[2:]]
from waybill import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    with open(os.environ["BENCH_PEAK"], "w") as out:
        out.write(peak)
"""


@dataclass
class Row:
    """One line of the table: our time, the yardstick's, what the ratio must be."""

    work: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    bar: str = ""
    peaks: list[int] = field(default_factory=list)
    at_once: int = 0

    def cells(self) -> tuple[str, ...]:
        ours = statistics.median(self.ours)
        span = f"{ours:.2f} s ({min(self.ours):.2f}-{max(self.ours):.2f})"
        peak = f"{max(self.peaks) / 1024:.0f} MB" if self.peaks else ""
        if not self.theirs:
            return (self.work, span, "", "", self.bar, peak)
        theirs = statistics.median(self.theirs)
        # Reading is compared by speed, theirs on as many cores as they were started on; the rest by time.
        ratio = theirs / (self.at_once * ours) if self.at_once else ours / theirs
        return (self.work, span, f"{theirs:.2f} s", f"{ratio:.2f}", self.bar, peak)


def timed(command: list[str] | str, **options: object) -> float:
    """Seconds of a whole process that must succeed."""
    begin = time.monotonic()
    shell = isinstance(command, str)
    subprocess.run(command, shell=shell, check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]  # fixed options of this file
    return time.monotonic() - begin


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peak = folder / "peak"
        self.env = {**compiled(folder), "BENCH_PEAK": str(self.peak)}

    def ours(self, row: Row, *words: object, expect: int = 0, stdin: Path | None = None) -> None:
        """Run the program once and note time and peak memory."""
        begin = time.monotonic()
        opened = stdin.open("rb") if stdin else None
        done = subprocess.run(
            [sys.executable, "-c", RUN, "waybill", *map(str, words)],
            env=self.env,
            check=False,
            capture_output=True,
            stdin=opened or subprocess.DEVNULL,
        )
        row.ours.append(time.monotonic() - begin)
        if done.returncode != expect:
            raise SystemExit(f"{words} ended with {done.returncode}: {done.stderr.decode()}")
        row.peaks.append(int(self.peak.read_text()))

    def settle(self, *paths: Path) -> None:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        os.sync()
        time.sleep(2)


def cold() -> bool:
    """Drop the page cache; False where we may not."""
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def layout_blobs(folder: Path) -> list[Path]:
    return sorted((folder / "layout" / "blobs" / "sha256").iterdir())


def bench_build(bench: Bench, vendor: Path, out: Path) -> list[Row]:
    """Our build against cp followed by openssl over the copy; then tar and skopeo for scale."""
    row = Row("build from an OCI layout / (cp + openssl)", bar="<= 1.0")
    tar = Row("  the same / tar (which hashes nothing)")
    skopeo = Row("  the same / skopeo copy oci: oci-archive:")
    layout, copy = vendor / "layout", bench.folder / "copy"
    for _ in range(RUNS):
        bench.settle(out, copy)
        bench.ours(row, "build", vendor / "release.yaml", "-o", out)
        bench.settle(copy)
        first = timed(["cp", "-r", str(layout), str(copy)])
        row.theirs.append(first + timed(f"openssl dgst -sha256 {copy}/blobs/sha256/*"))
        bench.settle(copy)
        tar.theirs.append(timed(["tar", "-cf", str(copy), "-C", str(layout), "."]))
        bench.settle(copy)
    tar.ours = skopeo.ours = row.ours
    rows = [row, tar]
    if shutil.which("skopeo"):
        target = f"oci-archive:{bench.folder / 'skopeo.tar'}:x"
        skopeo.theirs.append(timed(["skopeo", "copy", "--quiet", "--preserve-digests", f"oci:{layout}:app", target]))
        bench.settle(bench.folder / "skopeo.tar")
        rows.append(skopeo)
    return rows


def bench_many_images(bench: Bench) -> list[Row]:
    """Five times the images of one layout must not take more than six times as long."""
    row = Row("build 500 images of one layout / 100 images", bar="<= 6.0")
    hundred = Row("build 100 images of one layout")
    vendors = [many_images(bench.folder / f"images-{count}", count) for count in (500, 100)]
    for _ in range(RUNS):
        for vendor, into in zip(vendors, (row, hundred), strict=True):
            out = vendor / "out"
            bench.settle(out)
            bench.ours(into, "build", vendor / "release.yaml", "-o", out)
    row.theirs = hundred.ours
    return [row]


def bench_verify(bench: Bench, bundle: Path, trust: list[str], name: str, *, single: bool = False) -> list[Row]:
    """Verify against as many openssl at once as there are cores, each over the whole bundle; by throughput."""
    at_once = 1 if single else CORES
    bar = "speed >= 0.8 of one openssl" if single else f"speed >= 0.9 of {CORES} openssl"
    warm = Row(f"verify a file, {name}, warm", bar=bar)
    chilled = Row(f"verify a file, {name}, cold", bar=bar)
    pipe = Row(f"verify from a pipe, {name} / cat | openssl", bar="speed >= 1.0")
    several = " & ".join([f"openssl dgst -sha256 {bundle}"] * at_once) + " & wait"
    for _ in range(RUNS):
        for row in (warm, chilled):
            if row is chilled and not cold():
                continue
            if row is warm:
                timed(["cat", str(bundle)])
            bench.ours(row, "verify", bundle, *trust)
            if row is chilled:
                cold()
            else:
                timed(["cat", str(bundle)])
            row.theirs.append(timed(several))
        if not single:
            timed(["cat", str(bundle)])
            bench.ours(pipe, "verify", "-", *trust, stdin=bundle)
            timed(["cat", str(bundle)])
            pipe.theirs.append(timed(f"cat {bundle} | openssl dgst -sha256"))
    warm.at_once = chilled.at_once = at_once
    pipe.at_once = 1
    return [row for row in (warm, chilled, pipe) if row.ours]


def bench_refusal(bench: Bench, bundle: Path, wrong: list[str]) -> list[Row]:
    row = Row("refuse a bundle of another vendor, cold", bar="<= 0.50 s")
    for _ in range(RUNS):
        cold()
        bench.ours(row, "verify", bundle, *wrong, expect=4)
    return [row]


def bench_start(bench: Bench, small: Path, trust: list[str], many: Path, many_trust: list[str]) -> list[Row]:
    rows = [
        Row("waybill --help", bar="<= 0.15 s"),
        Row("verify a small bundle", bar="<= 0.25 s"),
        Row("verify 10,000 members", bar="<= 0.60 s"),
    ]
    for _ in range(RUNS * 3):
        bench.ours(rows[0], "--help")
        bench.ours(rows[1], "verify", small, *trust)
        bench.ours(rows[2], "verify", many, *many_trust)
    return rows


def bench_status(bench: Bench, entries: int = 20_000) -> list[Row]:
    """The status of a site with a long journal, with the checkpoint and without it."""
    place = long_journal(bench.folder / "site", entries)
    checkpoint = place.path / "journal" / CHECKPOINT
    kept = checkpoint.read_bytes()
    row = Row(f"status with {entries:,} entries", bar="<= 0.30 s")
    without = Row("  the same without a checkpoint")
    for _ in range(RUNS * 3):
        for each in (row, without):
            checkpoint.write_bytes(kept if each is row else b"")
            bench.ours(each, "status", "--site", place.path)
    return [row, without]


INSTALL = """
import os, sys, time
from pathlib import Path
from content.bundle.bulk import open_bundle
from content.bundle.head import open_head
from content.bundle.places import find_places
from manifests.documents.release_reader import parse_release
from verifier.site.disk import Disk
from verifier.site.blobs import Store
bundle, target = Path(sys.argv[1]), Path(sys.argv[2])
release = parse_release(open_head(bundle).release)
descriptor = open_bundle(bundle)
bulk = find_places(descriptor, release, "bundle")
target.mkdir(parents=True)
Store(Disk(), target).ingest(descriptor, bulk, tuple(release.members), "bundle")
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def bench_install(bench: Bench, bundle: Path) -> list[Row]:
    """Into the store, every blob durable under its digest, against cp + openssl + sync."""
    rows = []
    other = Path("/dev/shm")
    media = [("same file system", bundle)]
    if other.is_dir() and shutil.disk_usage(other).free > bundle.stat().st_size * 1.2:
        copy = Path(tempfile.mkdtemp(dir=other)) / bundle.name
        shutil.copy(bundle, copy)
        media.append(("medium elsewhere", copy))
    for name, medium in media:
        row = Row(f"install into the store, {name} / (cp + openssl + sync)", bar="<= 0.8")
        for _ in range(RUNS):
            store, copied = bench.folder / "store", bench.folder / "copied"
            bench.settle(store, copied)
            begin = time.monotonic()
            words = [sys.executable, "-c", INSTALL, str(medium), str(store)]
            done = subprocess.run(words, env=bench.env, check=True, capture_output=True, text=True)
            row.ours.append(time.monotonic() - begin)
            row.peaks.append(int(done.stdout))
            bench.settle(store, copied)
            line = f"cp {medium} {copied} && openssl dgst -sha256 {copied} && sync -f {copied}"
            row.theirs.append(timed(line))
        rows.append(row)
        bench.settle(bench.folder / "store", bench.folder / "copied")
    for name, medium in media:
        if name != "same file system":
            shutil.rmtree(medium.parent)
    return rows


def bench_registry(bench: Bench) -> list[Row]:
    """The whole of `waybill install` into an empty registry, against a tool that pushes the layout there."""
    if not shutil.which("docker-registry") or not (shutil.which("crane") or shutil.which("skopeo")):
        return []
    folder = bench.folder / "registry"
    folder.mkdir()
    vendor = registry_vendor(folder / "vendor", SIZE)
    bench.ours(Row("build"), "build", vendor / "release.yaml", "-o", folder / "out")
    with docker_registry(folder) as registry:
        case = RegistryBench(folder, vendor, next((folder / "out").glob("*.tar")), registry)
        name, bar, command = case.yardstick()
        row = Row(f"install into a registry / {name}", bar=bar)
        for _ in range(RUNS):
            case.renew()
            bench.settle()
            bench.ours(row, *case.install())
            case.renew()
            bench.settle()
            row.theirs.append(timed(command))
    bench.settle(folder)
    return [row]


def bench_telemetry(bench: Bench) -> list[Row]:
    """`waybill collect` of a log with twenty patterns against grep, and of a million samples."""
    case = telemetry_bench(bench.folder / "telemetry")
    size = min(SIZE // 4, 192 << 20)
    row = Row(f"collect {size >> 20} MiB of a log, 20 patterns / grep -c -F", bar=f"<= {size / 150e6:.1f} s")
    samples = Row("collect 1,000,000 samples of Prometheus", bar="<= 10 s")
    for _ in range(RUNS):
        case.renew(size)
        bench.ours(row, *case.collect(case.logs))
        # grep stops at its first match when it writes to /dev/null.
        row.theirs.append(timed(f"LC_ALL=C {shlex.join(case.grep())} | cat"))
        bench.ours(samples, *case.collect(case.metrics))
    full = full_site(bench.folder / "full")
    report = Row("report with every signal at its limit, 1 MiB", bar="<= 0.5 s")
    for _ in range(RUNS * 3):
        bench.ours(report, "report", "--new", "--site", full.place.path)
    return [row, samples, report]


def show(rows: list[Row]) -> None:
    header = ("work", "ours: median (min-max)", "theirs", "ratio", "bar", "peak")
    cells = [header, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        bench = Bench(folder)
        print(f"{show_size(SIZE)} of incompressible layers, {CORES} cores, {RUNS} runs, medians. Ratio: time;")
        print("of verify it is speed against openssl on as many cores; memory: VmHWM of our process, bar 120 MB\n")
        vendor = vendor_folder(folder / "vendor", SIZE, layers=9)
        out = folder / "out"
        rows = bench_build(bench, vendor, out)
        if not out.exists():
            bench.ours(Row("build"), "build", vendor / "release.yaml", "-o", out)
        bundle = next(out.glob("*.tar"))
        trust = ["--root", str(vendor / "trust" / "1.root.json")]
        stranger = vendor_folder(folder / "stranger", 1 << 20, layers=1)
        rows += bench_many_images(bench)
        rows += bench_verify(bench, bundle, trust, "9 layers")
        rows += bench_refusal(bench, bundle, ["--root", str(stranger / "trust" / "1.root.json")])
        rows += bench_install(bench, bundle)
        bench.settle(out, vendor / "layout")
        rows += bench_registry(bench)
        one = vendor_folder(folder / "one", SIZE // 2, layers=1)
        bench.ours(Row("build"), "build", one / "release.yaml", "-o", folder / "one-out")
        single = next((folder / "one-out").glob("*.tar"))
        rows += bench_verify(
            bench, single, ["--root", str(one / "trust" / "1.root.json")], "a single blob", single=True
        )
        bench.ours(Row("build"), "build", stranger / "release.yaml", "-o", folder / "small-out")
        small = next((folder / "small-out").glob("*.tar"))
        many = many_members(folder / "many", 10_000)
        bench.ours(Row("build"), "build", many / "release.yaml", "-o", folder / "many-out")
        small_trust = ["--root", str(stranger / "trust" / "1.root.json")]
        many_trust = ["--root", str(many / "trust" / "1.root.json")]
        rows += bench_start(bench, small, small_trust, next((folder / "many-out").glob("*.tar")), many_trust)
        rows += bench_status(bench)
        rows += bench_telemetry(bench)
        show(rows)
        if target := os.environ.get("BENCH_JSON"):
            Path(target).write_text(json.dumps([row.cells() for row in rows], indent=1))


if __name__ == "__main__":
    main()
