"""A site's life at random, against a small model: what runs, on which data, the floor, and never a between.

What the site says of itself on the way is held against the world, see ``site_claims``. WAYBILL_WALKS sets the number of
walks: `WAYBILL_WALKS=200 pytest tests/property/test_site_machine.py`.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, invariant, precondition, rule

from manifests.documents.authorisation import Left
from manifests.trust.root import Mark
from manifests.words.errors import (
    DamagedError,
    InconsistentError,
    RefusedError,
    RolledBackError,
    TrialError,
    UsageError,
    WaitingError,
    WaybillError,
)
from tests.authorisations import authorisation, bring, carried
from tests.claims_dry import check_dry_install, check_dry_rollback, check_return, dry_run, lacking
from tests.faults.crash import problems
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk
from tests.forecasts import Promise, check_begun, check_kept, promise
from tests.migrating import FakePrograms, Migrating, database, migrating, put_database, step
from tests.place import Place, make_place
from tests.property.site_claims import SiteClaims, release_digest, release_json
from verifier.site.folder import Site
from verifier.site.generations import Installed
from verifier.site.journal.installs import Generation, State
from verifier.site.journal.transitions import Apply, BackupRecord, NextPart

COUNT = 4
WORKED = (State.CONFIRMED, State.SETTLED)
START = b"as delivered\n"


def vendor(number: int) -> Migrating:
    """Release ``number``; the second and fourth raise the floor to themselves, the third has no migration and asks for
    a person to end its trial.
    """
    return migrating(
        f"1.{number}.0",
        number,
        *(() if number == 3 else (step("up", number),)),
        trial="person" if number == 3 else "probes",
        floor=number if number % 2 == 0 else 1,
        service={"hello.txt": b"%d\n" % number},
        backups=(),
    )


class Stack(FakePrograms):
    """The data are a line for each migration that they went through, the newest first, by which generation it was."""

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        top, half = b"generation %d\n" % installed.number, b"half of generation %d\n" % installed.number
        path = database(site.path)
        below = b"".join(one for one in path.read_bytes().splitlines(keepends=True) if one not in (top, half))
        site.disk.write(path, half + below)
        site.disk.write(path, top + below if isinstance(part, Apply) else below)
        return None


class Life(SiteClaims):
    """The model: ``runs`` and ``floor`` are sequences, ``data`` what each generation found when it began to run."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.runs = 0
        self.floor = 0
        self.mark = 0
        self.spent = 0
        self.highest = 0
        self.number = 0
        self.word = "confirm"  # what a person will say of the next trial that waits for one
        self.ways: list[tuple[int, int]] = []  # authorised and not yet gone: from which release to which
        self.data = {0: START}
        self.releases: dict[str, str] = {}

    @initialize()
    def enrol(self) -> None:
        self.place: Place = make_place(self.folder, vendor(1), disk=QuickDisk(), reserve="4KiB")
        self.place.programs = Stack()
        put_database(self.place.path, START)
        for number in range(1, COUNT + 1):
            bundle = vendor(number).write(self.folder / f"{number}.tar")
            self.releases[f"1.{number}.0"] = release_digest(bundle)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(number=st.integers(1, COUNT))
    def receive(self, number: int) -> None:
        try:
            self.place.receive(self.folder / f"{number}.tar")
            assert number >= self.floor or number == self.runs
            self.mark = max(self.mark, number)
        except RefusedError as error:
            assert error.finding == "below-floor"
            assert number < self.floor

    @rule(number=st.integers(1, COUNT), verdict=st.sampled_from(["approve", "approve", "reject"]))
    def approve(self, number: int, verdict: str) -> None:
        try:
            self.place.approve(f"r-1.{number}.0", verdict=verdict)
        except (RefusedError, UsageError, DamagedError) as error:
            self.passed_by(error, number)

    def passed_by(self, error: WaybillError, number: int) -> None:
        """Nothing is ever damaged here; but a release that was passed by is cleared away, and said to be."""
        if isinstance(error, DamagedError):
            assert error.finding == "release-gone"
            assert number < self.highest

    def _install(self, number: int) -> int:
        """What runs afterwards, by the answer alone."""
        try:
            promised = promise(self.place, f"r-1.{number}.0")
        except WaybillError:
            promised = None
        dry, lacked = dry_run(self.place, "install", f"r-1.{number}.0"), self.lacked(number)
        check_return(self.place.path, dry)
        try:
            ended = self.place.install(f"r-1.{number}.0")
            if promised is not None:
                self.check_promise(promised, well=ended.error is None)
            check_dry_install(self.place, dry, lacked, None, well=ended.error is None)
        except (RefusedError, UsageError, WaitingError, DamagedError) as error:
            check_dry_install(self.place, dry, lacked, error, well=False)
            self.passed_by(error, number)
            return self.runs
        if isinstance(ended.error, TrialError) and not self.a_person_stays():
            return self.runs
        if ended.error is None or isinstance(ended.error, TrialError):
            self.runs_on_its_data()
            self.highest = max(self.highest, number)
            self.floor = max(self.floor, vendor(number).floor)
            return number
        assert isinstance(ended.error, RolledBackError)
        return self.runs

    def lacked(self, number: int) -> int:
        """How many members of the release have to come from its bundle."""
        return lacking(self.place.path, json.loads(release_json(self.folder / f"{number}.tar")))

    def check_promise(self, promised: Promise, *, well: bool) -> None:
        """What the review said would be done is what was begun, and the progress said the same."""
        (check_kept if well else check_begun)(self.place, promised)

    def a_person_stays(self) -> bool:
        """What an install that waits for a person comes to; until they have spoken nothing else is installed."""
        with pytest.raises(WaybillError):
            self.place.install("r-1.4.0")
        if self.word == "leave":
            assert self.place.rollback().error is None
        elif self.word == "late":
            self.place.clock.running += 1000
            assert isinstance(self.place.recover(due=True)[1].error, RolledBackError)
        else:
            self.confirm()
        return self.word == "confirm"

    def confirm(self) -> None:
        """A trial that waits is ended by a person who stays, whatever came before; there may be none."""
        now = self.place.open().state.installs.transaction
        if now is not None and now.state == State.PROBING:
            assert self.place.confirm("ops-1").error is None

    @rule(word=st.sampled_from(["confirm", "leave", "late"]))
    def a_person_will(self, word: str) -> None:
        self.word = word

    @rule(number=st.integers(1, COUNT), agreed=st.booleans())
    def install(self, number: int, agreed: bool) -> None:
        self.place.health.clear()
        if agreed:
            self.agree(number)
        self.runs = self._install(number)

    def agree(self, number: int) -> None:
        self.receive(number)
        self.approve(number, "approve")

    @rule(number=st.integers(1, COUNT))
    def install_what_fails(self, number: int) -> None:
        self.agree(number)
        self.place.health["up"] = "failing"
        floor, self.runs = self.floor, self._install(number)
        assert floor == self.floor

    def stack(self) -> bytes:
        return database(self.place.path).read_bytes()

    def runs_on_its_data(self) -> None:
        """What each generation found when it first ran is what it finds when it runs again."""
        stack = self.stack()
        assert self.data.setdefault(self.place.open().state.installs.current, stack) == stack
        assert b"half" not in stack

    def kept(self, number: int) -> bool:
        return self.place.open().generation_folder(number).is_dir()

    def reachable(self, target: int) -> bool:
        """It was not cleared away, and its data are there once the release that runs has taken back its own part."""
        top, _, below = self.stack().partition(b"\n")
        owner = self.place.open().state.installs.generation(int(top.split()[-1])) if below else None
        left = below if owner is not None and owner.mark.sequence == self.runs else self.stack()
        return self.kept(target) and self.data[target] in (self.stack(), left)

    def way(self, target: int) -> tuple[int, int]:
        found = self.place.open().state.installs.generation(target)
        assert found is not None
        return self.runs, found.mark.sequence

    def rollback(self, number: int | None, target: int) -> None:
        """It goes exactly where the floor, or the vendor's word, and the data allow it."""
        self.place.health.clear()
        way = self.way(target)
        below = way[1] < self.floor and way[0] != way[1]
        try:
            promised = promise(self.place, f"b-{target}")
        except WaybillError:
            promised = None
        dry = dry_run(self.place, "rollback", *(("--to", number) if number else ()))
        try:
            ended = self.place.rollback(number, person="ops-1")
        except WaybillError as error:
            check_dry_rollback(self.place, dry, error, well=False)
            assert (below and way not in self.ways) or not self.reachable(target)
            return
        assert ended.error is None or isinstance(ended.error, TrialError)
        assert promised is not None
        self.check_promise(promised, well=ended.error is None)
        check_dry_rollback(self.place, dry, None, well=ended.error is None)
        self.confirm()
        assert self.place.open().state.installs.current == target
        if below:
            self.ways.remove(way)
            self.spent += 1
        self.runs = way[1]

    @precondition(lambda self: self.runs)
    @rule()
    def back(self) -> None:
        """Without a number: to what ran when the running one was made."""
        if (former := self.place.open().former()) == 0:
            with pytest.raises(RefusedError, match="no earlier generation"):
                self.place.rollback(person="ops-1")
            return
        self.rollback(None, former)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def back_to(self, data: st.DataObject) -> None:
        """To any that ever worked, with a lower number or a higher."""
        state = self.place.open().state
        others = [
            one.number
            for one in state.installs.generations
            if one.state in WORKED and one.number != state.installs.current
        ]
        if others:
            target = data.draw(st.sampled_from(others))
            self.rollback(target, target)

    def below(self) -> list[Generation]:
        """What worked here, lies below the floor and was not cleared away."""
        found = (one for one in self.place.open().state.installs.generations if one.mark.sequence < self.floor)
        return [one for one in found if one.state in WORKED and self.kept(one.number)]

    def authorise(self, target: Generation, *, astray: bool = False) -> None:
        """By the vendor, for the way from what runs; or, ``astray``, from what does not run."""
        running = self.place.open().state.installs.running
        assert running is not None
        self.number += 1
        self.ways.append((running.mark.sequence + astray, target.mark.sequence))
        leaves = Left(channel="stable", mark=Mark(epoch=1, sequence=running.mark.sequence + astray))
        bring(self.place, carried(authorisation(target, number=self.number, leaves=leaves)))

    def sink(self) -> list[Generation]:
        """Generations below the floor, older than what runs; there are some once what raises the floor is installed."""
        for number in (1, 2, 4):
            if not self.below() and number > self.runs and number >= self.floor:
                self.install(number, agreed=True)
        return [one for one in self.below() if one.mark.sequence < self.runs]

    @rule(data=st.data(), word=st.sampled_from(["good", "good", "astray", "plug", "failing"]))
    def back_below_the_floor(self, data: st.DataObject, word: str) -> None:
        """Only by the vendor's word for this very way, once; the floor stays."""
        if not (below := self.sink()):
            return
        target = data.draw(st.sampled_from(below))
        way = (self.runs, target.mark.sequence)
        self.place.health.clear()
        if way not in self.ways:
            self.authorise(target, astray=True)
            with pytest.raises(RefusedError) as caught:
                self.place.rollback(target.number, person="ops-1")
            assert caught.value.finding in ("below-floor", "authorisation-spent")
        if word == "astray":
            return
        self.authorise(target)
        if not self.reachable(target.number):
            with pytest.raises(RefusedError) as caught:
                self.place.rollback(target.number, person="ops-1")
            assert caught.value.finding in ("data-taken-back", "way-back-steps")
            return
        if word == "plug":
            self.place.disk = PluggedDisk(data.draw(st.integers(0, 90)))
        self.place.health = {"up": "failing"} if word == "failing" else {}
        # Once the data are taken back, what ran before would run on data that are not its own.
        stays = word != "failing" or self.data[target.number] != self.stack()
        try:
            ended = self.place.rollback(target.number, person="ops-1")
            assert (ended.error is None or isinstance(ended.error, TrialError)) == (word != "failing")
            if word == "failing" and stays:
                assert isinstance(ended.error, InconsistentError)
                self.place.health = {}
                self.place.recover()
        except PulledPlugError:
            self.place.disk = QuickDisk()
            self.place.recover()
        self.place.disk = QuickDisk()
        self.place.health = {}
        self.confirm()
        state = self.place.open().state
        switched = len(state.trust.spent) > self.spent
        assert switched or word == "plug"
        gone = switched and stays and state.installs.current == target.number
        assert gone or word == "plug" or not stays
        self.spent += switched
        if switched:
            self.ways.remove(way)
        self.runs = target.mark.sequence if gone else self.runs

    @rule(at=st.integers(0, 90), number=st.integers(1, COUNT), failing=st.booleans())
    def plug(self, at: int, number: int, failing: bool) -> None:
        """The plug is pulled in the middle of an install, then somebody runs `recover`."""
        self.agree(number)
        before = self.place.open().state
        self.place.health = {"up": "failing"} if failing else {}
        self.place.disk = PluggedDisk(at)
        try:
            self.place.install(f"r-1.{number}.0")
        except (PulledPlugError, WaybillError):
            """What it had come to is seen after the recovery."""
        self.place.disk = PluggedDisk(at // 4)
        self.place.health = {}
        try:
            self.place.recover()
            self.confirm()
        except PulledPlugError:
            """Pulled again, in the recovery or while a person ends the trial."""
        self.place.disk = QuickDisk()
        self.place.recover()
        self.confirm()
        state = self.place.open().state
        running = state.installs.running
        assert state.installs.current in (before.installs.current, before.installs.next_generation)
        self.runs = running.mark.sequence if running else 0
        self.highest = max(self.highest, self.runs)
        self.floor = state.floor.sequence if state.floor else 0
        assert self.floor >= (before.floor.sequence if before.floor else 0)

    @rule(days=st.sampled_from([-20000, -1, 1, 400, 30000]))
    def clock(self, days: int) -> None:
        """It goes where it wants; nothing hangs on it."""
        at = self.place.clock.at
        if 1971 <= at.year + days // 365 <= 2120:
            self.place.clock.sleep(days * 86400)
            self.place.clock.running += max(0, -days * 86400)

    @rule()
    def another_policy(self) -> None:
        """Whoever edits the file has changed nothing that is in force."""
        path = self.place.path / "policy.yaml"
        path.write_text(path.read_text().replace("policy: 1 ", "policy: 2 "))

    @invariant()
    def as_the_model_says(self) -> None:
        if not hasattr(self, "place"):
            return
        state = self.place.open().state
        running = state.installs.running
        assert (running.mark.sequence if running else 0) == self.runs
        assert (state.floor.sequence if state.floor else 0) == self.floor
        assert (state.mark.sequence if state.mark else 0) == self.mark
        assert state.trust.policy_number == 1
        assert len(state.trust.spent) == len(set(state.trust.spent)) == self.spent
        assert state.below_floor == (0 < self.runs < self.floor)
        file = self.place.path / "srv" / "app" / "current" / "hello.txt"
        assert (int(file.read_bytes()) if file.exists() else 0) == self.runs
        self.runs_on_its_data()
        assert problems(self.place) == ""


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=int(os.environ.get("WAYBILL_WALKS", "20")),
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
