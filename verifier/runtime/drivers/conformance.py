"""The conformance suite of drivers: what every driver has to do, checked in the world and not by what it says.

`docs/drivers.md` explains the protocol. The suite takes one driver through two generations, each method twice, with a
change from outside between them. What is visible is read by the author of the test, never by the driver: so a driver
that does nothing fails, and so does one whose `observe` repeats what `activate` was told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from manifests.documents.release import InstallStep
from manifests.words.errors import RefusedError, WaybillError
from verifier.runtime.drivers.driver import Component, Driver, DriverContext, DriverPlan

UNKNOWN_SETTING = "no-driver-has-this-setting"


@dataclass(frozen=True)
class DriverTurn:
    """One generation that the driver is to install."""

    step: InstallStep
    context: DriverContext


@dataclass(frozen=True)
class Scenario:
    """What the suite needs to know of a driver.

    Attributes:
        first, second: DriverTurns 1 and 2 of one step at one site; what they make visible differs.
        visible: Returns everything that the driver makes visible, read without it; equal values mean an equal world.
        change: Changes something visible from outside, as a person or another tool would.
        lose: Removes a part of ``second`` from the store; returns what puts it back. None where a driver needs no part.
        enter: Points ``current`` at a generation, as the install does before `activate`; 0 for none.
    """

    driver: Driver
    first: DriverTurn
    second: DriverTurn
    visible: Callable[[], object]
    change: Callable[[], object]
    lose: Callable[[], Callable[[], object]] | None = None
    enter: Callable[[int], object] = lambda _number: None


@dataclass(frozen=True)
class ConformanceFailure:
    """A rule that the driver breaks; ``rule`` is its number in docs/drivers.md."""

    rule: str
    text: str


def check_driver(scenario: Scenario) -> tuple[ConformanceFailure, ...]:
    """Return the rules that the driver breaks. An exception of the driver is a failure of the rule under way."""
    return tuple(_SuiteRun(scenario).failures())


@dataclass
class _SuiteRun:
    scenario: Scenario
    rule: str = "P-1"
    broken: list[ConformanceFailure] = field(default_factory=list)

    def failures(self) -> Iterator[ConformanceFailure]:
        for part in (self._plan, self._settings, self._stage, self._activate, self._outside, self._upgrade, self._back):
            try:
                part()
            except Exception as error:  # noqa: BLE001 - whatever a driver raises here is its failure
                self._fail(f"{type(error).__name__}: {error}")
                break
        yield from self.broken

    def _fail(self, text: str) -> None:
        self.broken.append(ConformanceFailure(self.rule, text))

    def _need(self, rule: str, holds: bool, text: str) -> None:
        self.rule = rule
        if not holds:
            self._fail(text)

    def _plan(self) -> None:
        """P-1: a plan is the same twice and changes nothing. P-2: so does `check`."""
        for generation in (self.scenario.first, self.scenario.second):
            before = self.scenario.visible()
            same = self._planned(generation) == self._planned(generation)
            self._need("P-1", same, "two plans of one generation differ")
            self._need("P-1", self.scenario.visible() == before, "`plan` changed what is visible")
            self.rule = "P-2"
            self.scenario.driver.check(self._planned(generation), generation.context)
            self._need("P-2", self.scenario.visible() == before, "`check` changed what is visible")

    def _settings(self) -> None:
        """P-3: settings that the driver does not know are refused."""
        generation = self.scenario.first
        settings = {**generation.context.settings, UNKNOWN_SETTING: 1}
        refused = False
        self.rule = "P-3"
        try:
            self.scenario.driver.plan(generation.step, replace(generation.context, settings=settings))
        except RefusedError:
            refused = True
        self._need("P-3", refused, "`plan` took a setting that does not exist")

    def _stage(self) -> None:
        """P-4: staging is invisible, and may be repeated. P-5: nothing is there before it was activated."""
        first = self.scenario.first
        before = self.scenario.visible()
        for _ in range(2):
            self.rule = "P-4"
            self.scenario.driver.stage(self._planned(first), first.context)
            self._need("P-4", self.scenario.visible() == before, "`stage` made something visible")
        self._need("P-5", not self._as_released(first), "`observe` said *as released* before `activate`")

    def _activate(self) -> None:
        """P-6 to P-10: it changes the world, may be repeated, is observed without a change, and is in the plan."""
        first = self.scenario.first
        before = self.scenario.visible()
        self._activated(first)
        after = self.scenario.visible()
        self._need("P-6", after != before, "`activate` changed nothing that is visible")
        self._activated(first)
        self._need("P-7", self.scenario.visible() == after, "a second `activate` changed what is visible")
        self._need("P-8", self._as_released(first), f"after `activate`, `observe` said {self._problems(first)}")
        self._need("P-9", self.scenario.visible() == after, "`observe` changed what is visible")
        self._need("P-10", bool(self._planned(first).activation), "`activate` did something, and the plan has no line")

    def _outside(self) -> None:
        """P-11: a change from outside is observed. P-12: `stage` and `activate` again mend it."""
        first = self.scenario.first
        right = self.scenario.visible()
        self.scenario.change()
        if self.scenario.visible() == right:
            raise AssertionError("the scenario's `change` changed nothing that is visible")
        self._need("P-11", not self._as_released(first), "`observe` repeats what it was told, not what is there")
        self.rule = "P-12"
        self.scenario.driver.stage(self._planned(first), first.context)
        self._activated(first)
        self._need("P-12", self._as_released(first), f"nothing mended it: {self._problems(first)}")
        self._need("P-12", self.scenario.visible() == right, "what was visible did not come back")

    def _upgrade(self) -> None:
        """P-13: a missing part stops the staging. P-14: the next generation comes with `activate`."""
        second = self.scenario.second
        right = self.scenario.visible()
        if self.scenario.lose is not None:
            put_back = self.scenario.lose()
            stopped = False
            self.rule = "P-13"
            try:
                self.scenario.driver.stage(self._planned(second), second.context)
            except WaybillError:
                stopped = True
            self._need("P-13", stopped, "`stage` went on without a part of the release")
            self._need("P-13", self.scenario.visible() == right, "a failed `stage` changed what is visible")
            put_back()
        self.rule = "P-14"
        self.scenario.driver.stage(self._planned(second), second.context)
        self._need("P-14", self.scenario.visible() == right, "`stage` of the next generation made it visible")
        self._activated(second)
        self._need("P-14", self._as_released(second), f"after the upgrade `observe` said {self._problems(second)}")

    def _back(self) -> None:
        """P-15: the way back brings the same world as before. P-16: what is discarded was not needed."""
        first, second = self.scenario.first, self.scenario.second
        newer = self.scenario.visible()
        for _ in range(2):
            self.rule = "P-15"
            self.scenario.driver.deactivate(self._planned(second), second.context)
        self._activated(first)
        self._need("P-15", self._as_released(first), f"after the way back `observe` said {self._problems(first)}")
        self._need("P-15", self.scenario.visible() != newer, "the way back changed nothing that is visible")
        self._need("P-15", not self._as_released(second), "the generation that was left is said to be as released")
        right = self.scenario.visible()
        for _ in range(2):
            self.rule = "P-16"
            self.scenario.driver.discard(self._planned(second), second.context)
        self._need("P-16", self.scenario.visible() == right, "`discard` changed what is visible")
        self._need("P-16", self._as_released(first), f"after `discard`, `observe` said {self._problems(first)}")
        self.rule = "P-17"
        self.scenario.driver.deactivate(self._planned(first), first.context)
        self.scenario.enter(0)
        self._need("P-17", not self._as_released(first), "`deactivate` of the last generation left it as released")

    def _planned(self, generation: DriverTurn) -> DriverPlan:
        return self.scenario.driver.plan(generation.step, generation.context)

    def _activated(self, generation: DriverTurn) -> None:
        self.scenario.enter(generation.context.generation)
        self.scenario.driver.activate(self._planned(generation), generation.context)

    def _observed(self, generation: DriverTurn) -> tuple[Component, ...]:
        return self.scenario.driver.observe(self._planned(generation), generation.context)

    def _problems(self, generation: DriverTurn) -> str:
        return "; ".join(part.problem for part in self._observed(generation) if part.problem) or "nothing"

    def _as_released(self, generation: DriverTurn) -> bool:
        """Whether the driver observes something, and all of it as released."""
        components = self._observed(generation)
        return bool(components) and not any(part.problem for part in components)
