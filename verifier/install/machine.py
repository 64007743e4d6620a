"""The hands of an install and of a rollback: does what `recover.decide` says, one act at a time.

Around every act: its intent is in the journal and synced before, its outcome after. Whatever goes wrong after the
first change of data or after the switch leads back to the former generation, by the same steps that a crash would
lead to.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from manifests.documents.approval import SignedApproval
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from manifests.trust.root import Mark
from manifests.words.errors import HostError, WaybillError
from manifests.words.units import parse_size
from verifier.change.backups import discard, plan_discard
from verifier.change.driver_steps import DriverStep, driver_steps
from verifier.change.recovery import (
    CloseAct,
    ConfirmTrial,
    DiskState,
    Idle,
    MarkInconsistent,
    RecordRetry,
    RepairLink,
    RollbackScript,
    RunAct,
    act_of_part,
    decide,
    rollback_obstacle,
)
from verifier.change.transaction import document_owner, read_document, script_of, target_of, trial_left
from verifier.install.wiring import Runtime
from verifier.runtime.drivers.driver import Component, DriverContext, DriverPlan
from verifier.runtime.probes.probe import ProbeContext, run_probes, site_authorities
from verifier.site.folder import CURRENT, Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Act, AskedAgain, Confirmed, Event, Inconsistent, Intent, Note, Outcome
from verifier.site.journal.state import Transaction
from verifier.site.journal.transitions import BEFORE_CHANGE, TRIAL, Blocked, NextPart, Settled, State
from verifier.site.release_heads import waiting_blobs
from verifier.site.store import sweep

# How long a service that was just started may take to be seen running.
SETTLE_SECONDS = 20
# A vendor's date counts as time passed only this far beyond what was known (design, section 5).
MAX_TIME_STEP = timedelta(days=400)


@dataclass(frozen=True)
class ManualConfirmation:
    """A person ends the trial. Attributes: word: What they signed, where a key was used."""

    word: SignedApproval | None


class Machine:
    """One transaction of a site that is held."""

    def __init__(self, site: Site, tools: Runtime) -> None:
        self._site = site
        self._tools = tools
        self._left = False

    @property
    def _now(self) -> Transaction:
        now = self._site.state.installs.transaction
        if now is None:
            raise RuntimeError("no transaction")
        return now

    def drive(
        self,
        *,
        forward: bool,
        again: Literal["", "any", "back"] = "",
        due: bool = False,
        stage: Callable[[], None] | None = None,
        confirmed: ManualConfirmation | None = None,
    ) -> Idle:
        """Go on until nothing happens by itself any more.

        Args:
            forward: Switch, when everything is staged.
            again: One more try, out of INCONSISTENT, on a person's word; ``back`` to the former generation.
            due: End a trial whose time is up, also when a person's word is awaited.
            stage: How to stage; without it nothing is staged.
            confirmed: Somebody ends a trial that waits for a person.

        Raises:
            HostError: The journal cannot be written; `waybill recover` goes on from there.
            WaybillError, OSError: It failed before anything was changed, data included.
        """
        try:
            return self._drive(forward=forward, again=again, due=due, stage=stage, confirmed=confirmed)
        except _JournalError as broken:
            error = broken.args[0]
            switched = "after the switch" if self._now.switched else "before the switch"
            raise HostError(
                f"the journal cannot be written ({error.strerror or error}); stopped {switched}",
                where=str(error.filename or self._site.path / "journal"),
                remedy="make space or repair the disk, then waybill recover",
                finding="journal-unwritable",
            ) from error

    def leave_trial(self, reason: str | None) -> Idle:
        """End a trial on a person's word, and see the way back through."""
        if reason:
            self._site.record(Note(code="reason", detail=one_line(reason)))
        self._left = True
        return self.drive(forward=False, again="back")

    def why_no_way_back(self) -> MarkInconsistent | None:
        """Why the transaction under way cannot be taken back; None when it can."""
        return rollback_obstacle(self._script())

    def _drive(
        self,
        *,
        forward: bool,
        again: Literal["", "any", "back"],
        due: bool,
        stage: Callable[[], None] | None,
        confirmed: ManualConfirmation | None,
    ) -> Idle:
        site = self._site
        failure: Exception | None = None
        while True:
            observed = DiskState(current=site.pointed(), boot=site.host.boot)
            person = confirmed is None and site.state.installs.transaction is not None and self._asks_person()
            decision = decide(
                site.state,
                observed,
                forward=forward and failure is None,
                person=person,
                again=again,
                late=due and person and (trial_left(site) or 0) <= 0,
                script=self._script(),
            )
            if self._left and isinstance(decision, RunAct | Idle | ConfirmTrial) and self._now.state in TRIAL:
                decision = RunAct("retreat", code="by-hand")
            match decision:
                case Idle() as rest:
                    if failure is not None and self._now.state in BEFORE_CHANGE:
                        raise failure
                    return rest
                case CloseAct(act, result):
                    self._close(act, result)
                case RepairLink(to):
                    known = site.state.installs.generation(to)
                    if known is not None:
                        read_installed(site, known)  # what is not here, whole, is not shown to anybody
                    self._point(to)
                    self._write(Note(code="current-restored", detail=f"from {observed.current} to {to}"))
                case ConfirmTrial():
                    self._confirm(confirmed)
                case MarkInconsistent(code, detail):
                    # Whoever asked did not know of this yet.
                    again = ""
                    self._write(Inconsistent(code=code, detail=detail))
                case RecordRetry(way):
                    again = ""
                    self._write(AskedAgain(way=way))
                case RunAct("stage"):
                    if stage is None:
                        return Idle(str(State.APPROVED))
                    with self._act("stage"):
                        stage()
                case RunAct(act, part) if part is not None:
                    try:
                        self._do_part(act, part)
                    except _JournalError:
                        raise
                    # A bug too must not leave the data between two formats.
                    except Exception as error:  # noqa: BLE001
                        failure = failure or error
                        self._tools.say(f"{act} failed: {error}")
                case RunAct("pause"):
                    failure = self._tried("pause", self._pause) or failure
                case RunAct("resume", code=code):
                    self._tried("resume", self._resume, code)
                case RunAct("switch"):
                    failure = self._tried("switch", self._switch) or failure
                case RunAct("settle"):
                    if self._tried("settle", self._settle):
                        return Idle("unsettled")
                case RunAct("activate"):
                    self._tried("activate", self._activate)
                case RunAct("probe"):
                    self._tried("probe", self._probe)
                case RunAct("retreat", code=code):
                    again = ""
                    self._tools.say(f"going back to generation {self._now.planned.source or 'nothing'}")
                    self._tried("retreat", self._retreat, code)

    def _confirm(self, by: ManualConfirmation | None) -> None:
        """End the trial; the floor rises here and nowhere else."""
        word = by.word if by else None
        planned, state = self._now.planned, self._site.state
        release = self._target.release
        floor = Mark(epoch=planned.mark.epoch, sequence=planned.floor)
        stream = state.installs.stream_of(planned.channel)
        if stream is not None and stream.floor is not None:
            floor = max(floor, stream.floor)
        known, now = state.trust.time_floor, self._site.host.now()
        self._write(
            Confirmed(
                generation=planned.target,
                floor=floor,
                time_floor=time_floor(release, known, now),
                claimed=release.issued_at if far_ahead(release, known, now) else None,
                by="person" if by else "probes",
                person=word.person if word else None,
                role=word.approval.role if word else None,
                keyid=word.approval.keyid if word else None,
                envelope=word.digest if word else None,
            )
        )

    # --- the acts ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _act(self, act: Act, code: str | None = None) -> Iterator[None]:
        """Intent before, outcome after; a failure is recorded and goes on to the caller."""
        self._write(Intent(act=act, code=code))
        begun = self._site.host.monotonic()
        try:
            yield
        except _JournalError:
            raise
        except Exception as error:
            self._write(_failed(act, None, error, self._seconds(begun)))
            raise
        self._write(Outcome(act=act, result="done", seconds=self._seconds(begun)))

    def _tried(self, act: Act, work: Callable[[], None], code: str | None = None) -> Exception | None:
        """The act; a failure is in the journal and decides what comes next, so it is not raised but returned."""
        try:
            with self._act(act, code):
                work()
        except _JournalError:
            raise
        # A bug in a driver must not leave the site between two generations: it too leads back.
        except Exception as error:  # noqa: BLE001
            self._tools.say(f"{act} failed: {error}")
            return error
        return None

    def _do_part(self, act: Act, part: NextPart) -> None:
        """One part of the rollback document, by a program of the release that brings it."""
        _, name = act_of_part(part)
        self._tools.say(f"{act} {name}")
        self._write(Intent(act=act, step=name))
        begun = self._site.host.monotonic()
        try:
            made = self._tools.programs.perform(self._site, self._of_document, part)
        except Exception as error:
            self._write(_failed(act, name, error, self._seconds(begun)))
            raise
        digest, size = (made.digest, made.size) if made is not None else (None, 0)
        self._write(Outcome(act=act, step=name, result="done", seconds=self._seconds(begun), digest=digest, size=size))

    def _step(self, act: Act, work: DriverStep, do: Callable[[DriverPlan, DriverContext], None]) -> None:
        """One driver's part of an act, with its own intent and outcome."""
        self._write(Intent(act=act, step=work.step))
        begun = self._site.host.monotonic()
        try:
            do(work.plan, work.context)
        except Exception as error:
            self._write(_failed(act, work.step, error, self._seconds(begun)))
            raise
        self._write(Outcome(act=act, step=work.step, result="done", seconds=self._seconds(begun)))

    def _write(self, event: Event) -> None:
        try:
            self._site.record(event)
        except OSError as error:
            raise _JournalError(error) from error

    def _close(self, act: Act, result: Literal["done", "interrupted"]) -> None:
        """An earlier process began the act and did not end it."""
        if act == "switch":
            # The link that was seen may not have reached the disk.
            self._site.disk.sync_folder(self._site.path)
        code = "ok" if result == "done" else "interrupted"
        step = self._now.part or None
        self._write(Outcome(act=act, step=step, result=result, code=code, detail="found by a later process"))

    def _pause(self) -> None:
        """What the running generation keeps running is stopped, so that nobody writes what is backed up or changed."""
        for work in reversed(self._source_crew):
            if work.plan.step.keep_running is not None:
                self._tools.say(f"{work.step}: stopping for the migration")
                self._step("deactivate", work, work.driver.deactivate)

    def _resume(self) -> None:
        """Nothing was changed: what was stopped runs again, and the backups of nothing are removed."""
        self._start_source()
        if self._now.action == "install" and self._now.planned.document:
            self._discard_backups(self._target)
        self._look(self._source_crew)

    def _start_source(self) -> None:
        for work in self._source_crew:
            if work.plan.step.keep_running is not None:
                self._step("reactivate", work, work.driver.activate)

    def _discard_backups(self, installed: Installed) -> None:
        discard(self._site.disk, self._site.path, (installed,))

    def _switch(self) -> None:
        site, planned = self._site, self._now.planned
        self._tools.say(f"switching to generation {planned.target}")
        try:
            self._point(planned.target)
        except OSError:
            # Whether the new link is durable is unknown; the old one is put back while nobody has acted on it.
            if site.pointed() == planned.target:
                self._point(planned.source)
            raise

    def _point(self, number: int) -> None:
        """The one atomic point."""
        site = self._site
        if number:
            site.disk.point(site.path / CURRENT, f"generations/{number}")
        else:
            site.disk.remove(site.path / CURRENT)
            site.disk.sync_folder(site.path)

    def _activate(self) -> None:
        """1. what only the former generation has goes; 2. each step of the new one; 3. look whether it is there."""
        names = {(work.step, work.driver.name) for work in self._target_crew}
        for work in reversed(self._source_crew):  # 1
            if (work.step, work.driver.name) not in names:
                self._step("deactivate", work, work.driver.deactivate)
        for work in self._target_crew:  # 2
            self._tools.say(f"{work.step}: {'; '.join(work.plan.lines)}")
            self._step("activate", work, work.driver.activate)
        self._look(self._target_crew)  # 3

    def _retreat(self) -> None:
        """1. the new generation's steps in reverse, or what still runs of the former one; 2. the data; 3. the link;
        4. the former generation's steps; 5. look."""
        site, switched = self._site, self._now.switched
        site.make_room()
        if switched:  # 1
            for work in reversed(self._target_crew):
                self._step("deactivate", work, work.driver.deactivate)
        elif self._is_paused_for():
            self._pause()
        if self._now.action == "install":  # 2
            self._take_back()
        source = self._now.planned.source
        if site.state.installs.current != source or site.pointed() != source:  # 3
            self._write(Intent(act="switch-back"))
            self._point(source)
            self._write(Outcome(act="switch-back", result="done"))
        if switched:  # 4
            for work in self._source_crew:
                self._step("reactivate", work, work.driver.activate)
        else:
            self._start_source()
        self._look(self._source_crew)  # 5

    def _is_paused_for(self) -> bool:
        script = self._script()
        return script is not None and script.document.services == "stopped"

    def _take_back(self) -> None:
        """Undo and restore, as the document says; what fails is in the journal and decides which part is next."""
        while (script := self._script()) is not None:
            part = script.next(back=True)
            if isinstance(part, Settled):
                return
            if isinstance(part, Blocked):
                raise HostError(
                    part.detail,
                    where="rollback.yaml",
                    remedy="do what the rollback document says under `inconsistent`, then waybill recover",
                    finding=part.code,
                )
            act, _ = act_of_part(part)
            try:
                self._do_part(act, part)
            except (WaybillError, OSError) as error:
                self._tools.say(f"{act} failed: {error}")

    def _look(self, crew: tuple[DriverStep, ...]) -> None:
        """Whether every component is what the release says; a service may take a moment to be seen running."""
        host = self._site.host
        until = host.monotonic() + SETTLE_SECONDS
        while True:
            found = [one for work in crew for one in work.driver.observe(work.plan, work.context)]
            wrong = [one for one in found if one.problem]
            if not wrong:
                return
            only_starting = all(one.observed == one.expected for one in wrong)
            if not only_starting or host.monotonic() >= until:
                raise HostError(
                    _problems(wrong),
                    where=wrong[0].step,
                    remedy="see what else changes these files",
                    finding="observed-other",
                )
            host.sleep(0.5)

    def _probe(self) -> None:
        """All probes, each so often in a row as it asks, as long as the trial lasts."""
        site, target = self._site, self._target
        probes, trial = target.release.probes, target.release.trial
        for probe in probes:
            self._write(Intent(act="probe", step=probe.name))
        verdict = run_probes(
            probes,
            ProbeContext(
                endpoints=target.settings.endpoints,
                steps=self._target_crew,
                authorities=site_authorities(site.path),
            ),
            sleep=site.host.sleep,
            deadline_seconds=max(1, trial_left(site) or 0),
            monotonic=site.host.monotonic,
            look=self._tools.look,
        )
        for one in verdict.results:
            good = one.name not in verdict.missing
            # A look that passed, and not often enough in a row, is no passing probe.
            code = "passing" if good else "unknown" if one.state == "unknown" else "failing"
            result: Literal["done", "failed"] = "done" if good else "failed"
            self._write(Outcome(act="probe", step=one.name, result=result, code=code, detail=one_line(one.detail)))
            self._tools.say(f"probe {one.name}: {code}, {one.detail}")
        if not verdict.passed:
            said = "; ".join(f"{one.name}: {one.detail}" for one in verdict.results if one.name in verdict.missing)
            raise HostError(
                f"did not pass within {trial.at_most_seconds}s: {said}",
                where="probes",
                remedy="see the endpoints in site.yaml, and the service's own log",
                finding="probe-failed",
            )

    def _settle(self) -> None:
        """What no kept generation needs is removed; the reserve is set aside again."""
        site = self._site
        keep = self._kept()
        discard(site.disk, site.path, plan_discard(site, keep))
        for generation in site.state.installs.generations:
            if generation.number in keep or not site.generation_folder(generation.number).exists():
                continue
            try:
                crew = driver_steps(site, read_installed(site, generation), self._tools.load)
            except WaybillError as error:
                # It is damaged and nobody needs it: what its drivers placed may stay, the site may not.
                self._tools.say(f"generation {generation.number} is removed without its drivers: {error}")
                crew = ()
            for work in reversed(crew):
                work.driver.discard(work.plan, work.context)
            # Not synced: what a pulled plug brings back is garbage again, and collected the next time.
            site.disk.remove_tree(site.generation_folder(generation.number))
        sweep(site.disk, site.blobs, self._needed(keep))
        site.renew_reserve(parse_size(self._target.settings.keep.reserve))

    def _kept(self) -> frozenset[int]:
        state = self._site.state
        good = [one.number for one in state.installs.generations if one.state in (State.CONFIRMED, State.SETTLED)]
        newest = good[-self._target.settings.keep.generations :]
        return frozenset((*newest, state.installs.current, self._site.former()))

    def _needed(self, keep: frozenset[int]) -> frozenset[str]:
        """Digests that the kept generations and the releases that still wait refer to."""
        site = self._site
        needed: set[str] = set()
        for generation in site.state.installs.generations:
            if generation.number in keep and site.generation_folder(generation.number).exists():
                needed |= {one.digest for one in read_installed(site, generation).release.members}
        running = site.state.installs.running
        for received in site.state.installs.releases:
            if running is None or running.before(received):
                needed |= waiting_blobs(site, received.release)
        return frozenset(needed)

    # --- what it works on -------------------------------------------------------------------------------------------

    @cached_property
    def _target(self) -> Installed:
        return target_of(self._site, self._now.planned)

    @cached_property
    def _target_crew(self) -> tuple[DriverStep, ...]:
        return driver_steps(self._site, self._target, self._tools.load)

    @cached_property
    def _source_crew(self) -> tuple[DriverStep, ...]:
        source = self._site.state.installs.generation(self._now.planned.source)
        return () if source is None else driver_steps(self._site, read_installed(self._site, source), self._tools.load)

    @cached_property
    def _of_document(self) -> Installed:
        return document_owner(self._site, self._now.planned)

    @cached_property
    def _document(self) -> Rollback:
        return read_document(self._site, self._of_document)

    def _script(self) -> RollbackScript | None:
        return script_of(self._site, lambda: self._document)

    def _asks_person(self) -> bool:
        """Whether the policy in force or the release wants a person to end the trial."""
        if self._now.state != State.PROBING:
            return False
        asks: str = self._site.policy.confirm.by
        return asks == "person" or self._target.release.trial.confirm == "person"

    def _seconds(self, begun: float) -> int:
        return max(0, int(self._site.host.monotonic() - begun))


class _JournalError(Exception):
    """The journal could not be written: nothing more may be done, not even going back."""


def time_floor(release: Release, known: str | None, now: datetime) -> str | None:
    """The release's date where it proves that time has passed, and is not absurdly far ahead; else None."""
    try:
        issued = datetime.fromisoformat(release.issued_at)
    except ValueError:
        return None
    floor = datetime.fromisoformat(known) if known else None
    if far_ahead(release, known, now) or (floor is not None and issued <= floor):
        return None
    return release.issued_at


def far_ahead(release: Release, known: str | None, now: datetime) -> bool:
    """Whether the release's date is so far beyond all that is known that it is *claimed*, and moves nothing."""
    highest = max(datetime.fromisoformat(known), now) if known else now
    return datetime.fromisoformat(release.issued_at) > highest + MAX_TIME_STEP


def _failed(act: Act, step: str | None, error: Exception, seconds: int) -> Outcome:
    if isinstance(error, WaybillError):
        code, detail = error.finding, str(error)
    elif isinstance(error, OSError):
        code, detail = "host", f"{error.filename or ''}: {error.strerror or error}"
    else:
        code, detail = "bug", f"{type(error).__name__}: {error}"
    return Outcome(act=act, step=step, result="failed", code=code[:64], detail=one_line(detail), seconds=seconds)


def _problems(wrong: list[Component]) -> str:
    return "; ".join(f"{one.step}: {one.problem}" for one in wrong[:4])
