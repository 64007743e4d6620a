"""The plug is pulled at every point, and whatever may be lost is lost: the site is old or new, and says so."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manifests import release as r
from tests.faults.crash import Recording, check, problems, recording, states
from tests.faults.model import SYNCS, Model, Op, PluggedDisk, PulledPlugError, QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.journal import read_journal

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))


@dataclass(frozen=True)
class Scene:
    """What happens before, and what is recorded."""

    prepare: Callable[[Place, Path], None]
    act: Callable[[Place], object]
    images: bool = False


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


def prepare_trial(place: Place, folder: Path) -> None:
    one_installed(place, folder, vendor())
    approved(place, folder, second(vendor(confirm="person")))
    place.install("r-1.1.0")


def prepare_back(place: Place, folder: Path) -> None:
    prepare_upgrade(place, folder)
    assert place.install("r-1.1.0").error is None
    place.approve("b-1")


SCENES = {
    "first install": Scene(prepare_first, lambda place: place.install("r-1.0.0")),
    "upgrade": Scene(prepare_upgrade, lambda place: place.install("r-1.1.0")),
    "upgrade of images": Scene(prepare_images, lambda place: place.install("r-1.1.0"), images=True),
    "failing upgrade": Scene(prepare_failing, lambda place: place.install("r-1.1.0")),
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
    place = make_place(fast / "world", vendor(scene.images), disk=QuickDisk(), reserve="4KiB")
    scene.prepare(place, fast)
    before = fast / "before"
    shutil.copytree(place.path, before, symlinks=True)
    disk = RecordingDisk(place.path)
    place.disk = disk
    scene.act(place)
    return place, recording(before, disk, place.path)


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


@pytest.mark.parametrize("name", scenes("first install", "upgrade of images"))
def test_every_crash_leaves_old_or_new(name: str, fast: Path) -> None:
    place, run = record(SCENES[name], fast)
    count, problem = judge(run, place, fast, states(run, seen=set()))
    print(f"{name}: {len(run.ops)} effects, {count} states")
    assert not problem
    assert count > len(run.ops) / 2


# Syncs whose loss the next start heals by itself, so that the model has nothing to find: an entry of a folder that
# only matters once a later sync of the same folder was promised.
HEALED = {("sync-folder", "srv/app"), ("sync-folder", "oci/blobs/sha256")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["upgrade", "failing upgrade", "rollback"])
def test_each_sync_is_needed(name: str, fast: Path) -> None:
    """The model is worth something only if it finds the damage of one sync left out, whichever it is."""
    place, run = record(SCENES[name], fast)
    seen: set[tuple[str, int]] = set()
    for _ in states(run, seen=seen):
        """The states of the whole run were judged by the test above."""
    unfound = []
    syncs = [(i, op) for i, op in enumerate(run.ops) if op.kind in SYNCS]
    for i, op in syncs:
        count, problem = judge(run, place, fast, states(run, without=i, seen=set(seen)))
        if not problem and (op.kind, op.path) not in HEALED:
            unfound.append((i, op.kind, op.path, count))
    # The first two belong to whoever was killed before: test_what_a_killed_process_wrote_is_synced.
    assert [one for one in unfound if one[0] > 1] == []
    assert len(syncs) > 10


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
@pytest.mark.parametrize("name", ["upgrade", "failing upgrade", "rollback"])
def test_the_plug_is_pulled_again_during_recovery(name: str, fast: Path) -> None:
    place, run = record(SCENES[name], fast)
    count = 0
    for cut, crash in states(run, seen=set()):
        for at in range(1000):
            crash.materialise(fast / "state")
            again = Place(path=fast / "state", disk=PluggedDisk(at), clock=place.clock, people=place.people)
            count += 1
            try:
                again.recover()
            except PulledPlugError:
                again.disk = QuickDisk()
                again.recover()
                problem = problems(again)
                assert not problem, f"cut after effect {cut}, again after {at}: {problem}"
                shutil.rmtree(fast / "state")
                continue
            shutil.rmtree(fast / "state")
            break
    print(f"{name}: {count} double crashes")
    assert count > 100


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
    assert found == {None, b"", b"12", b"1234"}
    model.do(Op("sync", "a"))
    assert len({crash.key() for crash in model.crashes()}) == 2
    model.do(Op("sync-folder", ""))
    assert len({crash.key() for crash in model.crashes()}) == 1
