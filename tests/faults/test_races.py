"""Several at once on one site: the kernel's lock lets one work, and every other one is told and changes nothing."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.words.errors import BusyError, RefusedError, UsageError, WaitingError, WaybillError
from tests.faults.crash import problems
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.reporting.report_write import write_report

A = Vendor(images=False, service={"hello.txt": b"hello\n"})
B = A.but(version="1.1.0", sequence=2, service={"hello.txt": b"hello again\n"})
Act = Callable[[Place], object]


def install(place: Place) -> object:
    return place.install("r-1.1.0")


def rollback(place: Place) -> object:
    return place.rollback(1, person="ops-1")


def receive(place: Place) -> object:
    return place.receive(place.path.parent / "2.tar", keep=True)


def report(place: Place) -> object:
    with place.hold() as site:
        return write_report(site, site.disk, place.clock.at)


def recover(place: Place) -> object:
    return place.recover()


@pytest.mark.parametrize(
    ("acts", "ends"),
    [
        ((install, install), {2}),
        ((install,) * 6, {2}),
        # Whichever came first; one that had to wait is not done at all.
        ((install, recover, report, receive), {1, 2}),
        ((install, rollback), {1, 2}),
        ((report,) * 4, {1}),
    ],
    ids=["two", "six", "four verbs", "there and back", "reports"],
)
def test_one_works_and_the_others_are_told(tmp_path: Path, acts: tuple[Act, ...], ends: set[int]) -> None:
    place = make_place(tmp_path, A, disk=QuickDisk(), reserve="4KiB")
    assert place.bring(A.write(tmp_path / "1.tar")).error is None
    place.approve(place.receive(B.write(tmp_path / "2.tar"), keep=False).item)
    before = place.open().state
    ready = threading.Barrier(len(acts))
    told: Counter[str] = Counter()
    bugs: list[BaseException] = []

    def one(act: Act) -> None:
        mine = Place(path=place.path, disk=QuickDisk(), clock=place.clock, people=place.people)
        ready.wait()
        try:
            act(mine)
            told[f"{act.__name__} done"] += 1
        except BusyError as error:
            assert "holds the site" in str(error)
            told["busy"] += 1
        except (RefusedError, UsageError, WaitingError):
            # The one before it was quick, and there was nothing left to do.
            told["refused"] += 1
        except BaseException as error:
            bugs.append(error)

    threads = [threading.Thread(target=one, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bugs == []
    assert told["install done"] <= 1
    assert told.total() == len(acts)
    assert told["busy"] < len(acts)
    state = place.open().state
    assert state.installs.current in ends
    assert state.installs.next_generation == before.installs.next_generation + told["install done"]
    assert problems(place) == ""


def test_who_is_told_changes_nothing(tmp_path: Path) -> None:
    """Not a byte, and not the lock's note of who holds it."""
    place = make_place(tmp_path, A, disk=QuickDisk(), reserve="4KiB")
    place.receive(A.write(tmp_path / "1.tar"))

    def looks() -> dict[str, bytes]:
        return {str(one): one.read_bytes() for one in sorted(place.path.rglob("*")) if one.is_file()}

    with place.hold("install"):
        before = looks()
        for act in (
            install,
            rollback,
            recover,
            report,
            lambda here: here.receive(tmp_path / "1.tar"),
            lambda here: here.approve("r-1.0.0"),
        ):
            with pytest.raises(BusyError, match=r"`waybill install` of ops1 .* holds the site"):
                act(place)
        assert looks() == before
    with pytest.raises(WaybillError):
        install(place)
