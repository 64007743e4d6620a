"""The plug is pulled at every point, and whatever may be lost is lost: the site is old or new, and says so."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from manifests.documents import release as r
from manifests.words.errors import UntrustedError
from tests.faults.crash import INVARIANTS, KEPT, Recording, Seen, check, recording, states
from tests.faults.model import SYNCS, Model, Op, PluggedDisk, PulledPlugError, QuickDisk, RecordingDisk
from tests.migrating import BACKUP, OLD, FakePrograms, migrating, step
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.reporting.report_write import write_report
from verifier.site.generations import read_installed
from verifier.site.journal.chain import read_journal
from verifier.site.journal.checkpoint import segments
from verifier.site.journal.events import Torn

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))


@dataclass(frozen=True)
class Scene:
    """What happens before, and what is recorded.

    Attributes:
        stored: An item whose blobs are all kept by it.
        first: What is installed at the beginning, where it is not the usual one.
        kept: What the service keeps, generation by generation, where data change with it.
    """

    prepare: Callable[[Place, Path], None]
    act: Callable[[Place], object]
    images: bool = False
    stored: str = ""
    first: Vendor | None = None
    kept: tuple[dict[str, bytes], ...] = (KEPT,)


def vendor(images: bool = False, confirm: str = "probes") -> Vendor:
    trial = r.Trial(at_most_seconds=5, confirm=confirm)  # type: ignore[arg-type]  # one of the two words
    return Vendor(images=images, service={"hello.txt": b"hello\n"}, change={"probes": (PROBE,), "trial": trial})


def second(first: Vendor) -> Vendor:
    return first.but(version="1.1.0", sequence=2, service={"hello.txt": b"hello again\n"})


def approved(place: Place, folder: Path, made: Vendor) -> None:
    place.approve(place.receive(made.write(folder / f"{made.version}.tar")).item)


def one_installed(place: Path | Place, folder: Path, made: Vendor) -> None:
    assert isinstance(place, Place)
    assert place.bring(made.write(folder / "first.tar")).error is None


def prepare_first(place: Place, folder: Path) -> None:
    approved(place, folder, vendor())


def prepare_upgrade(place: Place, folder: Path) -> None:
    one_installed(place, folder, vendor())
    approved(place, folder, second(vendor()))


def prepare_images(place: Place, folder: Path) -> None:
    one_installed(place, folder, vendor(images=True))
    approved(place, folder, second(vendor(images=True)))


def prepare_failing(place: Place, folder: Path) -> None:
    prepare_upgrade(place, folder)
    place.health["up"] = "failing"


def prepare_first_failing(place: Place, folder: Path) -> None:
    prepare_first(place, folder)
    place.health["up"] = "failing"


def prepare_third(place: Place, folder: Path) -> None:
    """Two generations are kept, so the third collects what only the first one needed."""
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("generations: 3", "generations: 2"))
    one_installed(place, folder, vendor())
    assert place.bring(second(vendor()).write(folder / "second.tar")).error is None
    approved(place, folder, second(vendor()).but(version="1.2.0", sequence=3, service={"hello.txt": b"third\n"}))


def prepare_medium(place: Place, folder: Path) -> None:
    one_installed(place, folder, vendor())
    second(vendor()).write(folder / "1.1.0.tar")


def report(place: Place) -> None:
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)


def prepare_trial(place: Place, folder: Path) -> None:
    one_installed(place, folder, vendor())
    approved(place, folder, second(vendor(confirm="person")))
    place.install("r-1.1.0")


def prepare_back(place: Place, folder: Path) -> None:
    prepare_upgrade(place, folder)
    assert place.install("r-1.1.0").error is None
    place.approve("b-1")


LAST = migrating("1.0.0", 1)
PROVEN = (msgspec.structs.replace(BACKUP, proves="rows"),)
NEXT = migrating("1.1.0", 2, step("two", 2), step("three", 3), backups=PROVEN)
DATA = tuple({"app/db": data} for data in (OLD, OLD.replace(b"1", b"3", 1)))


def prepare_data(place: Place, folder: Path) -> None:
    one_installed(place, folder, LAST)
    approved(place, folder, NEXT)


def prepare_data_failing(place: Place, folder: Path) -> None:
    prepare_data(place, folder)
    place.health["up"] = "failing"


def prepare_data_back(place: Place, folder: Path) -> None:
    prepare_data(place, folder)
    assert place.install("r-1.1.0").error is None
    place.approve("b-1")


SCENES = {
    "upgrade of data": Scene(prepare_data, lambda place: place.install("r-1.1.0"), first=LAST, kept=DATA),
    "failing upgrade of data": Scene(
        prepare_data_failing, lambda place: place.install("r-1.1.0"), first=LAST, kept=DATA
    ),
    "rollback of data": Scene(prepare_data_back, lambda place: place.rollback(1), first=LAST, kept=DATA),
    "first install": Scene(prepare_first, lambda place: place.install("r-1.0.0")),
    "upgrade": Scene(prepare_upgrade, lambda place: place.install("r-1.1.0")),
    "upgrade of images": Scene(prepare_images, lambda place: place.install("r-1.1.0"), images=True),
    "failing upgrade": Scene(prepare_failing, lambda place: place.install("r-1.1.0")),
    "failing first install": Scene(prepare_first_failing, lambda place: place.install("r-1.0.0")),
    "collect garbage": Scene(prepare_third, lambda place: place.install("r-1.2.0")),
    "receive and keep": Scene(
        prepare_medium, lambda place: place.receive(place.path.parents[1] / "1.1.0.tar", keep=True), stored="r-1.1.0"
    ),
    "approve": Scene(prepare_upgrade, lambda place: place.approve("r-1.1.0")),
    "report": Scene(prepare_upgrade, report),
    "confirm": Scene(prepare_trial, lambda place: place.confirm("ops-1")),
    "leave a trial": Scene(prepare_trial, lambda place: place.rollback()),
    "rollback": Scene(prepare_back, lambda place: place.rollback(1)),
}


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the model makes thousands of small files."""
    memory = Path("/dev/shm")
    folder = memory / f"waybill-{tmp_path.name}-{id(tmp_path)}" if memory.is_dir() else tmp_path / "fast"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def record(scene: Scene, fast: Path) -> tuple[Place, Recording]:
    place = ready(scene, fast)
    before = fast / "before"
    shutil.copytree(place.path, before, symlinks=True)
    disk = RecordingDisk(place.path)
    place.disk = disk
    scene.act(place)
    run = recording(before, tuple(disk.ops), place.path)
    return place, replace(run, stored=scene.stored, kept=scene.kept)


def ready(scene: Scene, fast: Path) -> Place:
    """Everything but the act itself; what the service keeps is there too."""
    place = make_place(fast / "world", scene.first or vendor(scene.images), disk=QuickDisk(), reserve="4KiB")
    place.programs = FakePrograms()
    for name, data in scene.kept[0].items():
        path = place.path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    scene.prepare(place, fast)
    return place


def judge(run: Recording, place: Place, fast: Path, found: Iterator[tuple[int, object]]) -> tuple[int, str]:
    """How many states were looked at, and what was wrong with the first bad one."""
    count = 0
    for cut, crash in found:
        count += 1
        problem = check(run, cut, crash, fast / "state", place)  # type: ignore[arg-type]  # a Crash
        shutil.rmtree(fast / "state")
        if problem:
            return count, f"cut after effect {cut} ({run.ops[cut - 1] if cut else 'none'}): {problem}"
    return count, ""


def scenes(*slow: str) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in SCENES]


@pytest.mark.parametrize(
    "name",
    scenes(
        *("first install", "failing first install", "failing upgrade", "upgrade of images", "collect garbage"),
        *("upgrade of data", "failing upgrade of data", "rollback of data"),
    ),
)
def test_every_crash_leaves_old_or_new(name: str, fast: Path) -> None:
    place, run = record(SCENES[name], fast)
    # Layouts are linked blob by blob, which makes thousands of states: `make sweep` looks at them all.
    count, problem = judge(run, place, fast, states(run, seen=set(), extremes=SCENES[name].images))
    print(f"{name}: {len(run.ops)} effects, {count} states")
    assert not problem
    assert count > len(run.ops) / 2


# Syncs whose loss heals by itself in this scene, and why. Each is found in another one, so none is left out.
ELSEWHERE = {
    # What a process that was killed before left unsynced: test_what_a_killed_process_wrote_is_synced.
    ("sync", "journal/0000000001.jsonl", None),
    ("sync-folder", "journal", "sync journal/0000000001.jsonl"),
    # Going back points the service's link elsewhere next, in the same folder; going back to nothing does not.
    ("sync-folder", "srv/app", "unlink srv/app/current"),
}


@pytest.mark.slow
# How a backup is synced is tested in tests/unit/verifier/runtime/test_steps.py; the data's own syncs are the service's.
@pytest.mark.parametrize("name", [one for one in SCENES if not one.endswith(("of images", "of data"))])
def test_each_sync_is_needed(name: str, fast: Path) -> None:
    """The model is worth something only if it finds the damage of one sync left out, whichever it is."""
    place, run = record(SCENES[name], fast)
    seen: set[tuple[int, int]] = set()
    for _ in states(run, seen=seen):
        """The states of the whole run were judged by the test above."""
    assert unneeded(run, place, fast, name, seen) == []


@pytest.mark.slow
def test_each_sync_of_a_backup_is_needed(fast: Path) -> None:
    """Those that the machine and the hands make around it; the data's own are those of the service's programs."""
    place, run = record(SCENES["upgrade of data"], fast)
    assert (
        unneeded(run, place, fast, "backups", set(), lambda one, before: (one.path + before.path).startswith("backups"))
        == []
    )


def unneeded(
    run: Recording,
    place: Place,
    fast: Path,
    name: str,
    seen: set[tuple[int, int]],
    chosen: Callable[[Op, Op], bool] = lambda *_: True,
) -> list[str]:
    """The syncs without which nothing is lost."""
    unfound = []
    found: Counter[str] = Counter()
    for i, op in enumerate(run.ops):
        if op.kind not in SYNCS or not chosen(op, run.ops[i - 1]):
            continue
        known = set(seen)
        damage = chain(states(run, without=i, seen=known, promises=True), states(run, without=i, seen=known))
        _, problem = judge(run, place, fast, damage)
        found[problem.partition("): ")[2].partition(":")[0]] += 1
        before = run.ops[i - 1] if i else None
        key = (op.kind, op.path, f"{before.kind} {before.path}" if before else None)
        if not problem and key not in ELSEWHERE and not covered(run.ops, i):
            unfound.append(f"{i}: {key}")
    print(f"{name}: {sum(found.values())} syncs left out, one at a time; found by {dict(found)}")
    assert found
    return unfound


def covered(ops: tuple[Op, ...], i: int) -> bool:
    """Two documents are kept before the journal names either: their folder is synced again before it does."""
    if (ops[i].kind, ops[i].path) != ("sync-folder", "journal/documents"):
        return False
    until = next(j for j in range(i, len(ops)) if ops[j].kind == "append")
    return any((one.kind, one.path) == ("sync-folder", "journal/documents") for one in ops[i + 1 : until])


def test_what_a_killed_process_wrote_is_synced(fast: Path) -> None:
    """Killed between write and sync, read back by the next process, then the plug: what was read must not vanish."""
    place, run = record(SCENES["upgrade"], fast)
    appends = [i for i, op in enumerate(run.ops) if op.kind == "append"]
    missed = {True: 0, False: 0}
    for at in appends:
        world = fast / "killed"
        shutil.copytree(run.root, world, symlinks=True)
        killed = Place(path=world, disk=PluggedDisk(at + 1), clock=place.clock, people=place.people)
        with pytest.raises(PulledPlugError):
            killed.install("r-1.1.0")
        later = RecordingDisk(world)
        read, _ = read_journal(world / "journal")
        Place(path=world, disk=later, clock=place.clock, people=place.people).recover()
        for opening in (True, False):
            model = Model(run.root)
            for op in run.ops[: at + 1]:
                model.do(op)
            for i, op in enumerate(later.ops):
                if opening or i > 1:
                    model.do(op)
                if i == 1:
                    missed[opening] += _loses(model, fast / "lost", tuple(one.digest for one in read))
        shutil.rmtree(world)
    assert missed[True] == 0
    assert missed[False] > 0


def _loses(model: Model, folder: Path, read: tuple[str, ...]) -> int:
    """How many states have lost an entry that the later process had read."""
    lost = 0
    for crash in model.crashes():
        crash.materialise(folder)
        entries, _ = read_journal(folder / "journal")
        lost += tuple(one.digest for one in entries)[: len(read)] != read
        shutil.rmtree(folder)
    return lost


@pytest.mark.slow
@pytest.mark.parametrize("name", ["failing upgrade", "rollback"])
def test_the_plug_is_pulled_again_during_recovery(name: str, fast: Path) -> None:
    """At every effect of the recovery of every state; what was not synced then is all there, or all of it is lost."""
    place, run = record(SCENES[name], fast)
    count, problem = twice(run, place, fast, every=False)
    print(f"{name}: {count} double crashes")
    assert not problem
    assert count > 100


def twice(run: Recording, place: Place, fast: Path, *, every: bool) -> tuple[int, str]:
    """How many states a second crash left, and what was wrong with the first bad one.

    Args:
        every: Every legal loss at the second crash, and not only all and nothing.
    """
    count = 0
    seen: set[tuple[int, int]] = set()
    for cut, crash in states(run, seen=set()):
        crash.materialise(fast / "again")
        shutil.copytree(fast / "again", fast / "left", symlinks=True)
        disk = RecordingDisk(fast / "again")
        Place(path=fast / "again", disk=disk, clock=place.clock, people=place.people).recover()
        second_run = recording(fast / "left", tuple(disk.ops), fast / "again")
        found = states(second_run, seen=seen, extremes=not every)
        counted, problem = judge(second_run, place, fast, found)
        count += counted
        shutil.rmtree(fast / "again")
        shutil.rmtree(fast / "left")
        if problem:
            return count, f"after a crash at effect {cut}: {problem}"
    return count, ""


INSIDE = {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_each_invariant_can_be_broken(name: str, fast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail checks nothing: each is broken by hand here, and says so under its own name."""
    place = ready(SCENES["rollback"], fast)
    entries, _ = read_journal(place.path / "journal")
    lines = tuple(one.digest for one in entries)
    older = fast / "older"
    shutil.copytree(place.path, older, symlinks=True)
    assert INVARIANTS.keys() == INSIDE
    assert INVARIANTS[name](Seen(place, lines, entries)) == ""
    site = place.open()
    running, former = (read_installed(site, site.state.installs.generations[i]).release for i in (1, 0))
    match name:
        case "I1":
            flip(site.blobs, running.members[-1].digest)
        case "I2":
            cut_last_entry(place.path / "journal")
        case "I3":
            report(place)
            entries, _ = read_journal(place.path / "journal")
            lines, place.path = tuple(one.digest for one in entries), older
        case "I4":
            place.disk = PluggedDisk(20)
            with pytest.raises(PulledPlugError):
                place.rollback(1)
        case "I5":
            only_former = {one.digest for one in former.members} - {one.digest for one in running.members}
            flip(site.blobs, min(only_former))
        case "I6":
            QuickDisk().point(place.path / "srv" / "app" / "current", "99")
        case "I7":
            (place.path / "data" / "app" / "ledger.txt").write_bytes(b"half of it")
        case "I8":
            monkeypatch.setattr("tests.faults.crash.write_report", lambda *_: None)
    place.disk = QuickDisk()
    assert INVARIANTS[name](Seen(place, lines, entries)) != ""


def flip(blobs: Path, digest: str) -> None:
    path = blobs / digest.removeprefix("sha256:")
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def cut_last_entry(journal: Path) -> None:
    last = segments(journal)[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))


def test_zeros_where_the_last_entry_should_be_are_cut_and_noted(fast: Path) -> None:
    """A file may have grown without its blocks being written; a zero anywhere else is an alarm."""
    place = ready(SCENES["confirm"], fast)
    segment = segments(place.path / "journal")[-1]
    good = segment.read_bytes()
    last = good.splitlines(keepends=True)[-1]
    start = len(good) - len(last)
    for torn in (bytes(len(last)), bytes(len(last) - 1) + b"\n", bytes(10) + last[10:], last[:10] + bytes(9)):
        segment.write_bytes(good[:start] + torn)
        with place.hold() as site:
            assert site.entries[-1].record.event == Torn(bytes=len(torn)) or site.state.seq > len(site.entries)
        entries, _ = read_journal(place.path / "journal")
        assert entries[-1].record.event == Torn(bytes=len(torn))
        assert segment.read_bytes().startswith(good[:start])
    for at in (start - 2, 0):
        segment.write_bytes(good[:at] + b"\0" + good[at + 1 :])
        with pytest.raises(UntrustedError, match="the chain is broken at entry"):
            place.open()
        assert segment.read_bytes() == good[:at] + b"\0" + good[at + 1 :]


def test_the_model_knows_what_it_does(tmp_path: Path) -> None:
    """Two writes without a sync: every prefix; a sync of the file alone does not keep its name."""
    (tmp_path / "root").mkdir()
    model = Model(tmp_path / "root")
    model.do(Op("create", "a"))
    model.do(Op("write", "a", b"1234"))
    found = set()
    for i, crash in enumerate(model.crashes()):
        crash.materialise(tmp_path / str(i))
        file = tmp_path / str(i) / "a"
        found.add(file.read_bytes() if file.exists() else None)
    assert found == {None, b"", b"1", b"12", b"123", b"1234", bytes(4), b"\0\x0034"}
    model.do(Op("sync", "a"))
    assert len({crash.key() for crash in model.crashes()}) == 2
    model.do(Op("sync-folder", ""))
    assert len({crash.key() for crash in model.crashes()}) == 1
