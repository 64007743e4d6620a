"""What must hold of a site after a crash: eight invariants by name, checked on the real `recover` and the real report.

I1  `current` names one generation that is whole, every byte of it, and what it placed is there.
I2  What was acknowledged is not lost: no journal entry whose sync had returned, nor what such an entry says was done.
I3  Floor, mark, time floor and the number of the last report never fall.
I4  After `recover` the transaction is at rest or on trial.
I5  The generation before, its files and blobs, is whole for as long as going back to it is offered.
I6  Nothing runs that was not verified and approved.
I7  What the service keeps is as it was, or as a finished migration left it; never a mix.
I8  The next report tells what runs, and follows the one before it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from manifests.documents import signed_report
from manifests.documents.approval import verify_approval
from manifests.documents.plan import parse_plan
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from manifests.words.quantities import parse_size
from tests.faults.model import Crash, Model, Op, QuickDisk
from tests.place import Place
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import driver_steps, observe
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.drivers.folder import observe_file_sets
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_generation, read_installed
from verifier.site.journal.chain import Entry, read_journal
from verifier.site.journal.events import Approved, Confirmed, Planned, TimeAcknowledged
from verifier.site.journal.fold import fold
from verifier.site.journal.installs import RESTING, Generation, PartRecord, State
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import TRIAL
from verifier.site.outbox import read_report, report_path
from verifier.site.releases import read_kept_head

# What a service keeps, in every scene that says nothing else.
KEPT = {"app/ledger.txt": b"one line that must not be lost\n"}


@dataclass(frozen=True)
class Recording:
    """A run from ``before`` on: its effects, and after which of them how many journal entries were promised.

    Attributes:
        lines: The journal's lines at the end, in order.
        promised: By number of effects done, how many lines had been synced.
        stored: The item that was received with all its blobs.
        kept: What the service's files may hold; see ``Seen``.
    """

    before: Model
    root: Path
    ops: tuple[Op, ...]
    lines: tuple[str, ...]
    promised: tuple[int, ...]
    stored: str = ""
    kept: tuple[dict[str, bytes], ...] = (KEPT,)

    def model(self) -> Model:
        return Model(self.root)


def recording(before: Path, ops: tuple[Op, ...], final: Path) -> Recording:
    """``before`` is a copy of the site's folder as it was; ``final`` the folder after the run."""
    entries, _ = read_journal(final / "journal")
    known, _ = read_journal(before / "journal")
    promised = [len(known)]
    waiting = 0
    for op in ops:
        in_journal = op.path.startswith("journal/") and op.path.endswith(".jsonl")
        waiting += in_journal and op.kind in ("append", "write")
        # An entry is promised once the sync that follows its write has returned, and its file's name is durable.
        done = waiting if op.kind == "sync" and in_journal else 0
        waiting -= done
        promised.append(promised[-1] + done)
    return Recording(
        before=Model(before),
        root=before,
        ops=ops,
        lines=tuple(one.digest for one in entries),
        promised=_named(ops, promised),
    )


def _named(ops: tuple[Op, ...], promised: list[int]) -> tuple[int, ...]:
    """The first entry of a segment is promised only when the segment's name is synced too."""
    found = list(promised)
    for i, op in enumerate(ops):
        if op.kind == "create" and op.path.startswith("journal/") and op.path.endswith(".jsonl"):
            end = next(j for j in range(i, len(ops)) if ops[j].kind == "sync-folder" and ops[j].path == "journal")
            for j in range(i, end + 1):
                found[j] = found[i]
    return tuple(found)


def states(
    run: Recording,
    *,
    seen: set[tuple[int, int]],
    without: int | None = None,
    promises: bool = False,
    extremes: bool = False,
) -> Iterator[tuple[int, Crash]]:
    """Each new state of the run, cut after every effect.

    Args:
        seen: States that need not come again; those that come are added.
        without: This effect, a sync, does nothing.
        promises: Only where something was promised just now, which is where most damage shows first.
        extremes: All that was not synced is there, or all of it is lost.
    """
    model = run.model()
    for cut in range(len(run.ops) + 1):
        newly = cut == len(run.ops) or run.promised[cut] > run.promised[cut - 1]
        if (without is None or cut > without) and (newly or not promises):
            for crash in model.extremes() if extremes else model.crashes():
                key = (crash.key(), run.promised[cut])
                if key not in seen:
                    seen.add(key)
                    yield cut, crash
        if cut < len(run.ops) and cut != without:
            model.do(run.ops[cut])


@dataclass(frozen=True)
class Seen:
    """A site before and after `recover`.

    Attributes:
        promised: Digests of the entries that the crashed process had been told were durable.
        found: The journal as the crash left it.
        kept: What the service's files may hold, whole; of several, each belongs to one generation, the first to 1.
        stored: The item whose blobs are in the store once its entry is.
    """

    place: Place
    promised: tuple[str, ...]
    found: tuple[Entry, ...]
    kept: tuple[dict[str, bytes], ...] = (KEPT,)
    stored: str = ""

    @cached_property
    def known(self) -> SiteState:
        """The state as of the last promised entry."""
        return fold((one.digest, one.record) for one in self.found[: len(self.promised)])

    @cached_property
    def site(self) -> Site:
        """Read once: nothing changes while the invariants are looked at, and the last of them writes a report."""
        return self.place.open()


def check(run: Recording, cut: int, crash: Crash, folder: Path, place: Place) -> str:
    """Recover this state with the real thing; the first invariant that does not hold, or nothing."""
    crash.materialise(folder)
    # What the probes say is a fact of the world, and a crash does not change it.
    after = Place(path=folder, disk=QuickDisk(), clock=place.clock, people=place.people, programs=place.programs)
    return check_folder(after, run.lines[: run.promised[cut]], run.kept, run.stored)


def check_folder(
    place: Place, promised: tuple[str, ...], kept: tuple[dict[str, bytes], ...] = (KEPT,), stored: str = ""
) -> str:
    """The same for a folder that a crash, of whatever kind, has left."""
    try:
        entries, _ = read_journal(place.path / "journal")
    except (WaybillError, OSError) as error:
        return f"I2: {error}"
    seen = Seen(place, promised, entries, kept, stored)
    try:
        if problem := before_recovery(seen):
            return problem
        place.recover()
        return after_recovery(replace(seen))
    except (WaybillError, OSError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


def problems(place: Place, kept: tuple[dict[str, bytes], ...] | None = None) -> str:
    """What of the invariants does not hold of a site at rest, nothing being known of before."""
    entries, _ = read_journal(place.path / "journal")
    found = kept if kept is not None else (_data(place),)
    return after_recovery(Seen(place, tuple(one.digest for one in entries), entries, found))


def before_recovery(seen: Seen) -> str:
    """Whoever looks before `recover` ran sees nothing false either."""
    return first(seen, {"I2": lambda one: acknowledged(one) or reserved(one), "I6": approved_only})


def after_recovery(seen: Seen) -> str:
    return first(seen, INVARIANTS)


Invariant = Callable[[Seen], str]


def first(seen: Seen, invariants: dict[str, Invariant]) -> str:
    for name, invariant in invariants.items():
        try:
            problem = invariant(seen)
        except (WaybillError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            return f"{name}: {problem}"
    return ""


def runs_whole(seen: Seen) -> str:
    """I1."""
    site = seen.site
    state = site.state
    if site.pointed() != state.installs.current:
        return f"current names {site.pointed()}, the journal {state.installs.current}"
    if not state.installs.current:
        return ""
    if problem := _clean(site, state.installs.generation(state.installs.current)):
        return problem
    wrong = [one.problem for one in observe(site, load_driver, thorough=True) if one.problem]
    return wrong[0] if wrong else ""


def acknowledged(seen: Seen) -> str:
    """I2. Before and after `recover`."""
    site = seen.site
    there = tuple(one.digest for one in site.entries)
    if there[: len(seen.promised)] != seen.promised:
        return f"{len(seen.promised)} entries were promised, {len(there)} are there and others"
    # What waits can be read: heads, plans, approvals; so can the last report, and what people confirmed.
    waiting_items(site)
    for received in site.state.installs.releases:
        read_kept_head(site, received.release)
    if site.state.reports.head:
        read_report(site, site.state.reports.seq, site.state.reports.head)
    for entry in site.entries:
        if isinstance(entry.record.event, Confirmed | TimeAcknowledged) and entry.record.event.envelope:
            said = verify_approval(site.document(entry.record.event.envelope), site.policy, "what was confirmed")
            parse_plan(site.document(said.approval.plan))
    if problem := _backed_up(site):
        return problem
    now = site.state.installs.transaction
    under_way = now is not None and (now.act in ("switch", "retreat") or now.state == State.ROLLING_BACK)
    if not under_way and site.pointed() != site.state.installs.current:
        return f"current names {site.pointed()}, the journal says {site.state.installs.current}"
    if now is not None and now.state == State.STAGED and now.act is None:
        return _staged(site, now.planned)
    if now is None or now.state in (State.SETTLED, State.ROLLED_BACK):
        wrong = [one.problem for one in observe(site, load_driver) if one.problem]
        if wrong:
            return f"what was done is not there: {wrong[0]}"
    if now is not None and now.state == State.SETTLED:
        collected = {
            one.number for one in site.state.installs.generations if not site.generation_folder(one.number).exists()
        }
        left = [one for one in sorted((site.path / "srv").glob("*/*")) if one.name in map(str, collected)]
        if left:
            return f"{left[0]} was said to be removed"
    waiting = site.state.installs.received(seen.stored) if seen.stored else None
    if waiting is not None:
        lost = site.store.missing(read_kept_head(site, waiting.release).release.members)
        return f"{len(lost)} blobs were said to be kept, and are not" if lost else ""
    return ""


def _backed_up(site: Site) -> str:
    """From the first migration on the backups are the only copy of the old data."""
    now = site.state.installs.transaction
    if now is None or not now.planned.document or now.state not in (State.BACKED_UP, State.MIGRATING, *TRIAL):
        return ""
    number = now.planned.document
    deeds = [one for one in site.state.installs.part_history(number) if isinstance(one, PartRecord)]
    if not any(one.act == "migrate" for one in deeds):
        return ""
    made = {one.name: one for one in deeds if one.act == "backup" and one.result == "done"}
    for name, one in made.items():
        path = site.path / "backups" / str(number) / name
        if not path.is_file() or digest_of(path.read_bytes()) != one.digest:
            return f"backup {name} was said to be made, and is not"
    return ""


def reserved(seen: Seen) -> str:
    """What was settled has set its reserve aside; a later way back may spend it."""
    site = seen.site
    now, running = site.state.installs.transaction, site.state.installs.running
    if now is None or running is None or now.state != State.SETTLED:
        return ""
    size = parse_size(read_installed(site, running).settings.keep.reserve)
    reserve = site.path / "reserve"
    found = reserve.stat().st_size if reserve.exists() else 0
    return "" if found == size else f"{found} bytes are reserved, {size} were said to be"


def never_less(seen: Seen) -> str:
    """I3."""
    before, after = seen.known, seen.site.state
    if after.reports.seq < before.reports.seq:
        return f"report {after.reports.seq} after report {before.reports.seq}"
    floor, was = after.trust.time_floor, before.trust.time_floor
    if was is not None and (floor is None or floor < was):
        return f"time floor {floor} after {was}"
    if (
        after.installs.next_generation < before.installs.next_generation
        or after.trust.policy_number < before.trust.policy_number
    ):
        return "a number is used again"
    for stream in before.installs.streams:
        now = after.installs.stream_of(stream.channel)
        if now is None or now.mark < stream.mark:
            return f"mark fell below {stream.mark}"
        if stream.floor is not None and (now.floor is None or now.floor < stream.floor):
            return f"floor fell below {stream.floor}"
    return ""


def rests(seen: Seen) -> str:
    """I4. Neither is INCONSISTENT an end that a crash alone may lead to."""
    now = seen.site.state.installs.transaction
    if now is None or (now.state in (*RESTING, State.STAGED) and now.state != State.INCONSISTENT):
        return ""
    if now.state in TRIAL and now.passed:
        return ""
    return f"{now.state} is no state to rest in: {now.detail}"


def way_back(seen: Seen) -> str:
    """I5."""
    site = seen.site
    state = site.state
    now = state.installs.transaction
    former = next((one.number for one in state.installs.lineage(state.installs.current)[1:]), 0)
    wanted = {former}
    if now is not None and now.switched and now.state in TRIAL:
        wanted.add(now.planned.source)
    good = sorted(one.number for one in state.installs.generations if one.state in (State.CONFIRMED, State.SETTLED))
    kept = (
        good[-read_installed(site, state.installs.running).settings.keep.generations :]
        if state.installs.running
        else []
    )
    for number in sorted(wanted - {0}):
        if number not in kept and number == former and not site.generation_folder(number).exists():
            continue  # cleared away before this transaction began, when newer ones were kept
        if problem := _clean(site, state.installs.generation(number)):
            return f"generation {number}: {problem}"
    return ""


def approved_only(seen: Seen) -> str:
    """I6. What a driver made visible belongs to a plan that the journal says was approved. Before and after."""
    site = seen.site
    state = site.state
    good: set[int] = set()
    planned: Planned | None = None
    for entry in site.entries:
        event = entry.record.event
        if isinstance(event, Planned):
            planned = event
        elif isinstance(event, Approved) and planned is not None:
            if not event.approvals:
                return f"generation {planned.target} was approved by nobody"
            good.add(planned.target)
    for link in (one / "current" for one in sorted((site.path / "srv").glob("*"))):
        if not link.is_symlink():  # glob itself passes over a link that leads nowhere
            continue
        target = str(link.readlink())
        if not target.isdigit() or int(target) not in good:
            return f"{link.parent.name} shows {target}, approved are {sorted(good)}"
    pointed = site.pointed()
    if pointed is None or (pointed and pointed not in good):
        return f"current names {pointed}, approved are {sorted(good)}"
    for generation in state.installs.generations:
        if generation.number in good and any(one not in _documents(site) for one in generation.approvals):
            return f"an approval of generation {generation.number} is gone"
    return ""


def data_whole(seen: Seen) -> str:
    """I7. Where there is one state of the data for each generation, it is the running one's."""
    found = _data(seen.place)
    if len(seen.kept) > 1 and found != seen.kept[seen.site.state.installs.current - 1]:
        return f"generation {seen.site.state.installs.current} runs on {found}"
    return "" if found in seen.kept else f"the service's data are {found}"


def told(seen: Seen) -> str:
    """I8. Writes that report."""
    before = seen.site.state
    with seen.place.hold() as site:
        write_report(site, site.disk, seen.place.clock.at)
        state = site.state
        said = read_report(site, state.reports.seq, state.reports.head or "").report
    # One that was written and not yet journalled when the plug was pulled keeps its number.
    if state.reports.seq not in (before.reports.seq + 1, before.reports.seq + 2):
        return f"report {state.reports.seq} after report {before.reports.seq}"
    chained = before.reports.head
    for number in range(before.reports.seq + 1, state.reports.seq + 1):
        raw = report_path(site, number).read_bytes()
        chain = signed_report.verify_report(raw, state.key_of_report(number), str(number)).report.chain
        if chained is not None and chain.previous != chained:
            return f"report {number} does not follow the one before it"
        chained = digest_of(raw)
    install = said.install
    number = install.release.generation if install.release else 0
    if number != state.installs.current:
        return f"the report says {number}, {state.installs.current} runs"
    failed = [one for one in state.installs.rollbacks if one.automatic]
    if failed and not said.rollbacks:
        return "the report is silent about a rollback"
    return ""


INVARIANTS: dict[str, Invariant] = {
    "I1": runs_whole,
    "I2": acknowledged,
    "I3": never_less,
    "I4": rests,
    "I5": way_back,
    "I6": approved_only,
    "I7": data_whole,
    "I8": told,
}


def _data(place: Place) -> dict[str, bytes]:
    folder = place.path / "data"
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def _documents(site: Site) -> frozenset[str]:
    return frozenset("sha256:" + one.name for one in site.documents.iterdir())


def _clean(site: Site, generation: Generation | None) -> str:
    """A generation is whole: its own files, and every byte of every blob."""
    if generation is None:
        return "the generation is unknown"
    return _blobs(site, read_installed(site, generation))


def _blobs(site: Site, installed: Installed) -> str:
    missing = site.store.missing(installed.release.members)
    return f"{len(missing)} blobs of generation {installed.number} are missing or damaged" if missing else ""


def _staged(site: Site, planned: Planned) -> str:
    """What the journal calls staged is there, so that the switch may rely on it."""
    made = site.state.installs.generation(planned.target)
    installed = read_generation(site.generation_folder(planned.target), planned.target, made or planned)
    if problem := _blobs(site, installed):
        return problem
    for work in driver_steps(site, installed, load_driver):
        sets = tuple(installed.release.file_set(name) for name in work.plan.step.files)
        for name, one in observe_file_sets(site.path / "srv" / work.step / str(planned.target), sets).items():
            if one.detail or one.observed == "absent":
                return f"{name} of {work.step} was said to be staged: {one.observed} {one.detail}"
    return ""
