"""Each act of an upgrade with migrations, failing, and cut short by a crash: the exact journal, and where it ends.

`!act` failed, `~act` was found unfinished by a later process, `=act` was found done by one; `|` is where the process
was gone and another one recovered. The data and the link are looked at as well: old or new, and whole.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manifests.words.errors import HostError, WaybillError
from tests.faults.model import PulledPlugError, QuickDisk
from tests.migrating import OLD, FakePrograms, database, migrating, put_database, step
from tests.place import Place, make_place
from verifier.change.recovery import act_of_part
from verifier.install.acts import ACTS
from verifier.runtime.drivers.files import FilesDriver
from verifier.site.journal.events import AskedAgain, Confirmed, Inconsistent, Intent, Outcome
from verifier.site.journal.transitions import TABLE

A = migrating("1.0.0", 1)
B = migrating("1.1.0", 2, step("two", 2), step("three", 3))
NEW = OLD.replace(b"1", b"3", 1)
Fault = tuple[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A runs, with data of its schema; B is approved."""
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder, A, disk=QuickDisk(), reserve="4KiB")
    place.programs = FakePrograms()
    put_database(place.path)
    assert place.bring(A.write(folder / "1.tar")).error is None
    place.approve(place.receive(B.write(folder / "2.tar")).item)
    return place


def story(place: Place, since: int) -> list[str]:
    said: list[str] = []
    for entry in place.open().entries[since:]:
        match entry.record.event:
            case Intent(act=act, step=None):
                said.append(act)
            case Intent(act=act, step=name) if act in ("backup", "try", "migrate", "undo", "restore"):
                said.append(f"{act} {name}")
            case Outcome(act=act, step=name, result="failed") if act != "probe" or name is None:
                said.append(f"!{act} {name}" if name else f"!{act}")
            case Outcome(act=act, step=name, result="interrupted"):
                said.append(f"~{act} {name}" if name else f"~{act}")
            case Outcome(act=act, detail="found by a later process"):
                said.append(f"={act}")
            case Confirmed():
                said.append("confirmed")
            case Inconsistent(code=code):
                said.append(f"inconsistent: {code}")
            case AskedAgain(way=way):
                said.append(f"?{way}")
    return said


def broken(monkeypatch: pytest.MonkeyPatch, place: Place, act: str, how: str) -> None:
    """From now on ``act`` fails, or the process is gone before it has done anything, or when it has done it all."""

    def fault(work: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **named: Any) -> Any:
            if how == "error":
                raise HostError("broken by the test", where=act)
            if how == "crash after":
                work(*args, **named)
            raise PulledPlugError

        return instead

    if " " in act:
        real = place.programs.perform

        def perform(site: Any, installed: Any, part: Any) -> Any:
            doing = fault(real) if " ".join(act_of_part(part)) == act else real
            return doing(site, installed, part)

        monkeypatch.setattr(place.programs, "perform", perform)
    elif act == "stage":
        monkeypatch.setattr(FilesDriver, "stage", fault(FilesDriver.stage))
    else:
        name = next(known for known in ACTS if known == act)
        monkeypatch.setitem(ACTS, name, fault(ACTS[name]))


def play(
    made: Place, folder: Path, monkeypatch: pytest.MonkeyPatch, faults: tuple[Fault, ...], *, sick: bool
) -> tuple[str, str]:
    """The story and the end of one upgrade."""
    shutil.copytree(made.path, folder / "site", symlinks=True)
    place = Place(path=folder / "site", disk=QuickDisk(), people=made.people, programs=FakePrograms())
    if sick:
        place.health["up"] = "failing"
    since = place.open().state.seq
    told: list[str] = []
    with monkeypatch.context() as patch:
        for act, how in faults:
            broken(patch, place, act, how)
        try:
            place.install("r-1.1.0")
        except PulledPlugError:
            told = [*story(place, since), "|"]
        except WaybillError:
            told = []
    if told:
        since = place.open().state.seq
        try:
            place.recover()
        except WaybillError as error:
            told.append(type(error).__name__)
    told += story(place, since)
    site = place.open()
    now = site.state.installs.transaction
    assert now is not None
    data = database(place.path).read_bytes()
    words = {OLD: "old data", NEW: "new data"}.get(data, "other data")
    assert site.pointed() == site.state.installs.current
    return ", ".join(told), f"{now.state}, generation {site.state.installs.current}, {words}"


TRIED = "stage, pause, backup database, try database, migrate two, migrate three, switch, activate, probe, "
STUCK = "!probe, retreat, undo three, !undo three, restore database, "
MIGRATED = "stage, pause, backup database, try database, migrate two, migrate three, "
BACKED_UP = "stage, pause, backup database, try database, "
APPROVED = "approved, generation 1, old data"
BACK = "rolled-back, generation 1, old data"
THERE = "settled, generation 2, new data"
# What fails and how; whether the new release does not answer its probe; the journal; the end.
EXPECTED: tuple[tuple[tuple[Fault, ...], bool, str, str], ...] = (
    ((("stage", "error"),), False, "stage, !stage", APPROVED),
    ((("stage", "crash before"),), False, "stage, |, ~stage", APPROVED),
    ((("stage", "crash after"),), False, "stage, |, ~stage", APPROVED),
    ((("pause", "error"),), False, "stage, pause, !pause, resume", APPROVED),
    ((("pause", "crash before"),), False, "stage, pause, |, ~pause, resume", APPROVED),
    ((("pause", "crash after"),), False, "stage, pause, |, ~pause, resume", APPROVED),
    ((("backup database", "error"),), False, "stage, pause, backup database, !backup database, resume", APPROVED),
    (
        (("backup database", "crash before"),),
        False,
        "stage, pause, backup database, |, ~backup database, resume",
        APPROVED,
    ),
    (
        (("backup database", "crash after"),),
        False,
        "stage, pause, backup database, |, ~backup database, resume",
        APPROVED,
    ),
    ((("try database", "error"),), False, BACKED_UP + "!try database, resume", APPROVED),
    ((("try database", "crash before"),), False, BACKED_UP + "|, ~try database, resume", APPROVED),
    ((("try database", "crash after"),), False, BACKED_UP + "|, ~try database, resume", APPROVED),
    ((("migrate two", "error"),), False, BACKED_UP + "migrate two, !migrate two, retreat, undo two", BACK),
    (
        (("migrate two", "crash before"),),
        False,
        BACKED_UP
        + "migrate two, |, ~migrate two, migrate two, migrate three, switch, activate, probe, confirmed, settle",
        THERE,
    ),
    (
        (("migrate two", "crash after"),),
        False,
        BACKED_UP
        + "migrate two, |, ~migrate two, migrate two, migrate three, switch, activate, probe, confirmed, settle",
        THERE,
    ),
    ((("migrate three", "error"),), False, MIGRATED + "!migrate three, retreat, undo three, undo two", BACK),
    (
        (("migrate three", "crash before"),),
        False,
        MIGRATED + "|, ~migrate three, migrate three, switch, activate, probe, confirmed, settle",
        THERE,
    ),
    (
        (("migrate three", "crash after"),),
        False,
        MIGRATED + "|, ~migrate three, migrate three, switch, activate, probe, confirmed, settle",
        THERE,
    ),
    (
        (("switch", "error"),),
        False,
        MIGRATED + "switch, !switch, switch, !switch, switch, !switch, retreat, undo three, undo two",
        BACK,
    ),
    (
        (("switch", "crash before"),),
        False,
        MIGRATED + "switch, |, ~switch, switch, activate, probe, confirmed, settle",
        THERE,
    ),
    ((("switch", "crash after"),), False, MIGRATED + "switch, |, =switch, activate, probe, confirmed, settle", THERE),
    (
        (("activate", "error"),),
        False,
        MIGRATED + "switch, activate, !activate, retreat, undo three, undo two, switch-back",
        BACK,
    ),
    (
        (("activate", "crash before"),),
        False,
        MIGRATED + "switch, activate, |, ~activate, activate, probe, confirmed, settle",
        THERE,
    ),
    (
        (("activate", "crash after"),),
        False,
        MIGRATED + "switch, activate, |, ~activate, activate, probe, confirmed, settle",
        THERE,
    ),
    ((("probe", "error"),), False, TRIED + "!probe, retreat, undo three, undo two, switch-back", BACK),
    ((("probe", "crash before"),), False, TRIED + "|, ~probe, activate, probe, confirmed, settle", THERE),
    ((("probe", "crash after"),), False, TRIED + "|, ~probe, activate, probe, confirmed, settle", THERE),
    ((("settle", "error"),), False, TRIED + "confirmed, settle, !settle", "confirmed, generation 2, new data"),
    ((("settle", "crash before"),), False, TRIED + "confirmed, settle, |, ~settle, settle", THERE),
    ((("settle", "crash after"),), False, TRIED + "confirmed, settle, |, ~settle, settle", THERE),
    (
        (("retreat", "error"),),
        True,
        TRIED + "!probe, retreat, !retreat, retreat, !retreat, retreat, !retreat, inconsistent: retreat-failed",
        "inconsistent, generation 2, new data",
    ),
    (
        (("retreat", "crash before"),),
        True,
        TRIED + "!probe, retreat, |, ~retreat, retreat, undo three, undo two, switch-back",
        BACK,
    ),
    (
        (("retreat", "crash after"),),
        True,
        TRIED + "!probe, retreat, undo three, undo two, switch-back, |, ~retreat, retreat",
        BACK,
    ),
    (
        (("undo three", "error"),),
        True,
        TRIED + STUCK + "switch-back",
        BACK,
    ),
    (
        (("undo three", "crash before"),),
        True,
        TRIED + "!probe, retreat, undo three, |, ~retreat, retreat, undo three, undo two, switch-back",
        BACK,
    ),
    (
        (("undo three", "crash after"),),
        True,
        TRIED + "!probe, retreat, undo three, |, ~retreat, retreat, undo three, undo two, switch-back",
        BACK,
    ),
    (
        (("undo two", "error"),),
        True,
        TRIED + "!probe, retreat, undo three, undo two, !undo two, restore database, switch-back",
        BACK,
    ),
    (
        (("undo two", "crash before"),),
        True,
        TRIED + "!probe, retreat, undo three, undo two, |, ~retreat, retreat, undo two, switch-back",
        BACK,
    ),
    (
        (("undo two", "crash after"),),
        True,
        TRIED + "!probe, retreat, undo three, undo two, |, ~retreat, retreat, undo two, switch-back",
        BACK,
    ),
    (
        (("backup database", "error"), ("resume", "error")),
        False,
        "stage, pause, backup database, !backup database, resume, !resume, retreat",
        BACK,
    ),
    (
        (("backup database", "error"), ("resume", "crash before")),
        False,
        "stage, pause, backup database, !backup database, resume, |, ~resume, retreat",
        BACK,
    ),
    (
        (("backup database", "error"), ("resume", "crash after")),
        False,
        "stage, pause, backup database, !backup database, resume, |, ~resume, retreat",
        BACK,
    ),
    (
        (("undo three", "error"), ("restore database", "error")),
        True,
        TRIED + STUCK + "!restore database, !retreat, inconsistent: restore-failed",
        "inconsistent, generation 2, new data",
    ),
    (
        (("undo three", "error"), ("restore database", "crash before")),
        True,
        TRIED + STUCK + "|, ~retreat, retreat, restore database, switch-back",
        BACK,
    ),
    (
        (("undo three", "error"), ("restore database", "crash after")),
        True,
        TRIED + STUCK + "|, ~retreat, retreat, restore database, switch-back",
        BACK,
    ),
)


def name_of(row: object) -> str:
    return " then ".join(f"{act} {how}" for act, how in row) if isinstance(row, tuple) else ""


@pytest.mark.parametrize(("faults", "sick", "journal", "end"), EXPECTED, ids=name_of)
def test_the_exact_journal_and_the_end(
    made: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: tuple[Fault, ...],
    sick: bool,
    journal: str,
    end: str,
) -> None:
    assert play(made, tmp_path, monkeypatch, faults, sick=sick) == (journal, end)


def test_every_act_of_the_table_fails_and_crashes_somewhere_here() -> None:
    met = {(fault[0].split()[0], how) for faults, *_ in EXPECTED for fault in faults for how in [fault[1]]}
    for move in TABLE:
        for how in ("error", "crash before", "crash after"):
            assert (move.act, how) in met, move
