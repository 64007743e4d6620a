"""The invariants of a site after a crash, checked by the real `recover` and the real report."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import WaybillError
from tests.faults.model import Crash, Model, Op, QuickDisk, RecordingDisk
from tests.place import Place
from verifier.crew import installed_of, observe
from verifier.drivers import load_driver
from verifier.journal import read_journal
from verifier.state import SiteState
from verifier.store import missing_blobs
from verifier.table import RESTING, TRIAL, State


@dataclass(frozen=True)
class Recording:
    """A run from ``before`` on: its effects, and after which of them how many journal entries were promised.

    Attributes:
        lines: The journal's lines at the end, in order.
        promised: By number of effects done, how many lines had been synced.
    """

    before: Model
    root: Path
    ops: tuple[Op, ...]
    lines: tuple[str, ...]
    promised: tuple[int, ...]

    def model(self) -> Model:
        return Model(self.root)


def recording(before: Path, disk: RecordingDisk, final: Path) -> Recording:
    """``before`` is a copy of the site's folder as it was; ``final`` the folder after the run."""
    entries, _ = read_journal(final / "journal")
    known, _ = read_journal(before / "journal")
    promised = [len(known)]
    for op in disk.ops:
        count = promised[-1]
        if op.kind in ("append", "write") and op.path.startswith("journal/") and op.path.endswith(".jsonl"):
            count += 1
        promised.append(count)
    # A line is promised once the sync that follows its append has returned: one effect later.
    shifted = [promised[0], *promised[:-1]]
    return Recording(
        before=Model(before),
        root=before,
        ops=tuple(disk.ops),
        lines=tuple(one.digest for one in entries),
        promised=tuple(shifted),
    )


def states(run: Recording, *, without: int | None = None, seen: set[tuple[str, int]]) -> Iterator[tuple[int, Crash]]:
    """Each new state of the run, cut after every effect; with ``without``, that effect (a sync) does nothing."""
    model = run.model()
    for cut in range(len(run.ops) + 1):
        if without is None or cut > without:
            for crash in model.crashes():
                key = (crash.key(), run.promised[cut])
                if key not in seen:
                    seen.add(key)
                    yield cut, crash
        if cut < len(run.ops) and cut != without:
            model.do(run.ops[cut])


def check(run: Recording, cut: int, crash: Crash, folder: Path, place: Place) -> str:
    """Recover this state with the real thing; what is wrong afterwards, or nothing."""
    crash.materialise(folder)
    # The journal may lose its unfinished end, and nothing that was promised (I2, I3).
    after = Place(path=folder, disk=QuickDisk(), clock=place.clock, people=place.people)
    try:
        entries, _ = read_journal(folder / "journal")
        promised = run.promised[cut]
        if tuple(one.digest for one in entries)[:promised] != run.lines[:promised]:
            return f"{promised} entries were promised, {len(entries)} are there"
        if problem := _link(after):
            return problem
        after.recover()
        return problems(after)
    except (WaybillError, OSError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


def _link(place: Place) -> str:
    """Whoever reads `current` before `recover` ran finds what the journal says, unless a switch is under way (I2)."""
    site = place.open()
    now = site.state.transaction
    if now is not None and (now.act in ("switch", "retreat") or now.state == State.ROLLING_BACK):
        return ""
    return "" if site.pointed() == site.state.current else f"I2: current names {site.pointed()} before recovery"


def problems(place: Place) -> str:
    """What of the invariants does not hold after `recover`."""
    site = place.open()
    state = site.state
    now = state.transaction
    if now is not None and now.state not in (*RESTING, State.STAGED) and not (now.state in TRIAL and now.passed):
        return f"I4: {now.state} is no state to rest in"
    if site.pointed() != state.current:
        return f"I1: current names {site.pointed()}, the journal {state.current}"
    if state.inconsistent:
        return f"inconsistent: {now.detail if now else ''}"
    for number in {state.current, state.former} - {0}:
        problem = _clean(place, state, number)
        if problem:
            return problem
    if state.current:
        for component in observe(site, load_driver, thorough=True):
            if component.problem:
                return f"I1: {component.problem}"
    return _report(place, state)


def _clean(place: Place, state: SiteState, number: int) -> str:
    """Generation ``number`` is whole, every byte (I1 for the one that runs, I5 for the one before it)."""
    site = place.open()
    generation = state.generation(number)
    if generation is None:
        return f"I5: generation {number} is unknown"
    missing = missing_blobs(site.blobs, installed_of(site, generation).release.members)
    return f"I1: {len(missing)} blobs of generation {number} are missing or damaged" if missing else ""


def _report(place: Place, state: SiteState) -> str:
    """The next report tells it (I8)."""
    from verifier.report import read_report, write_report

    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
        said = read_report(site, site.state.report_seq, site.state.report_head or "").report.install
    told = said.release.generation if said.release else 0
    return "" if told == state.current else f"I8: the report says {told}, {state.current} runs"
