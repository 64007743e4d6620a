"""`make plug-pull`: a site that lives on while its plug is pulled again and again, by chance.

Each time something real is begun (an install, a way back, a report, a medium that comes), the plug is pulled at some
effect, and of what was not synced some legal part is lost. The real `recover` runs on what is left, the eight
invariants are looked at, and the site's next report has to tell what runs. Then life goes on from there.

python -m tests.faults.plug_pull [PULLS] [SEED]     # 200 pulls; the seed is printed, so that a run can be had again
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manifests.documents import release as r
from manifests.documents.signed_report import verify_report
from manifests.words.errors import WaybillError
from tests.faults.crash import check_folder, recording
from tests.faults.model import QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.reporting.report_write import write_report
from verifier.site.outbox import report_path
from verifier.site.releases import read_kept_head


@dataclass(frozen=True)
class Pull:
    """What came of one.

    Attributes:
        at, of: After which of the run's effects.
        lost: How many changes of folders, and files cut short, of how many that were not synced.
        found: ``old``, ``new``, or what is broken.
        report: Its number, and the generation that it tells.
    """

    what: str
    at: int
    of: int
    lost: str
    found: str
    report: int
    generation: int

    def line(self, number: int) -> str:
        return (
            f"{number:>4}  {self.what:<22} pulled after effect {self.at:>3} of {self.of:<3} lost {self.lost:<9} "
            f"{self.found}: report {self.report} tells generation {self.generation}"
        )


Act = Callable[[Place], object]


def acts(place: Place, media: tuple[Path, ...]) -> Iterator[tuple[str, Act]]:
    """What could be done now."""
    site = place.open()
    items = [one.item for one in site.state.installs.releases]
    items += [f"b-{one.number}" for one in site.state.installs.generations]
    for item in items:
        try:
            approvable_of(site, (item,))
        except WaybillError:
            continue
        number = int(item[2:]) if item.startswith("b-") else None
        yield (f"rollback to {number}" if number else f"install {item}", partial(_agreed, item=item, number=number))
    yield "report", _report
    for medium in media:
        yield f"receive {medium.name}", partial(_receive, medium=medium)


def _agreed(here: Place, *, item: str, number: int | None) -> object:
    here.approve(item)
    return here.install(item) if number is None else here.rollback(number)


def _receive(here: Place, *, medium: Path) -> object:
    return here.receive(medium, keep=True)


def _report(here: Place) -> object:
    with here.hold() as site:
        return write_report(site, site.disk, here.clock.at)


def pull(place: Place, chance: random.Random, media: tuple[Path, ...], folder: Path) -> Pull:
    """Begin something by chance, pull the plug, recover. The site in ``place`` is afterwards what that left."""
    before = folder / "before"
    shutil.copytree(place.path, before, symlinks=True)
    what, act = chance.choice(sorted(acts(place, media), key=lambda one: one[0]))
    place.health = {name: chance.choice(("passing", "passing", "passing", "failing")) for name in _probes(place)}
    old = place.open().state.installs.current
    disk = RecordingDisk(place.path)
    place.disk = disk
    act(place)
    new = place.open().state.installs.current
    run = recording(before, tuple(disk.ops), place.path)
    cut = chance.randint(0, len(run.ops))
    model = run.model()
    for op in run.ops[:cut]:
        model.do(op)
    crash = model.any_crash(chance)
    changes, files = model.unsynced()
    short = sum(crash.data[id(one)] != one.now for one in files)
    shutil.rmtree(place.path)
    crash.materialise(place.path)
    shutil.rmtree(before)
    place.disk = QuickDisk()
    problem = check_folder(place, run.lines[: run.promised[cut]], (_data(place.path),))
    state = place.open().state
    found = problem or (
        "new" if state.installs.current == new and new != old else "old" if state.installs.current == old else ""
    )
    raw = report_path(place.open(), state.reports.seq).read_bytes()
    told = verify_report(raw, state.key_of_report(state.reports.seq)).report.install.release
    return Pull(
        what=what,
        at=cut,
        of=len(run.ops),
        lost=f"{len(crash.lost) + short} of {len(changes) + len(files)}",
        found=found or f"generation {state.installs.current}, neither {old} nor {new}",
        report=state.reports.seq,
        generation=told.generation if told else 0,
    )


def _probes(place: Place) -> tuple[str, ...]:
    """Of every release that was received here."""
    site = place.open()
    heads = (read_kept_head(site, one.release) for one in site.state.installs.releases)
    names = {probe.name for head in heads for probe in head.release.probes}
    return tuple(sorted(names))


def _data(path: Path) -> dict[str, bytes]:
    folder = path / "data"
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def life(place: Place, pulls: int, seed: int, media: tuple[Path, ...], folder: Path) -> Iterator[Pull]:
    chance = random.Random(seed)
    for _ in range(pulls):
        place.clock.sleep(chance.randint(1, 86_400))
        yield pull(place, chance, media, folder)


def settle(folder: Path) -> tuple[Place, tuple[Path, ...]]:
    """A site with a service and its data, images, and media of three releases."""
    probes = (r.Probe(name="up", tcp=r.TcpProbe(endpoint="api")),)
    first = Vendor(practice=True, change={"probes": probes, "trial": r.Trial(at_most_seconds=5, confirm="probes")})
    place = make_place(folder, first, disk=QuickDisk(), reserve="4KiB")
    media = []
    for i in (1, 2, 3):
        one = first.but(version=f"1.{i}.0", sequence=i, service={"hello.txt": b"%d\n" % i * i})
        media.append(one.write(folder / f"inkwell-1.{i}.0.tar"))
    (place.path / "data" / "app").mkdir(parents=True)
    (place.path / "data" / "app" / "ledger.txt").write_bytes(b"one line that must not be lost\n")
    assert place.bring(media[0]).error is None
    return place, tuple(media)


def main(words: list[str]) -> None:
    pulls, seed = int(words[0]) if words else 200, int(words[1]) if len(words) > 1 else random.randrange(10**6)
    memory = Path("/dev/shm")
    print(f"{pulls} pulls, seed {seed}")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        place, media = settle(Path(name))
        counts: Counter[str] = Counter()
        for number, one in enumerate(life(place, pulls, seed, media, Path(name)), 1):
            counts[one.found if one.found in ("old", "new") else "broken"] += 1
            print(one.line(number), flush=True)
        print(f"old {counts['old']}, new {counts['new']}, broken {counts['broken']}")
        sys.exit(1 if counts["broken"] else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
