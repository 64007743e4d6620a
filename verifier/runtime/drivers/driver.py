"""Drivers: how a payload reaches its runtime. One protocol, and the drivers that this verifier has.

A driver stages (invisible, before the switch of ``current``), activates (visible, after it), deactivates what it made
visible, and observes what is there. Each of these may be repeated after a crash: what is done already is found done.
A driver keeps no state that recovery relies on; the journal and ``observe`` decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

from manifests.documents.release import InstallStep, Release
from manifests.words.digest import is_digest
from manifests.words.errors import RefusedError
from verifier.site.disk import Disk

ABSENT = "absent"
UNREADABLE = "unreadable"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


ComponentLevel = Literal["placed", "running"]


@dataclass(frozen=True)
class Component:
    """A part of a release at the site: what the release says, and what was observed.

    Attributes:
        name: Of the image or file set.
        expected: Digest as in the release; of a file set, of its canonical description.
        observed: The same, recomputed from what is there; ``absent``, or ``unreadable`` (``detail`` says why).
        step: The install step that placed it; (step, name) is unique.
        level: ``running`` only where a live process was seen to use it.
        wanted: The level that the step asks for.
        detail: For people at the site; never leaves it.
    """

    name: str
    expected: str
    observed: str
    step: str
    level: ComponentLevel = "placed"
    wanted: ComponentLevel = "placed"
    detail: str | None = None

    @property
    def problem(self) -> str:
        """What is not as the release says, in words; empty when nothing is wrong."""
        detail = f": {self.detail}" if self.detail else ""
        if self.observed != self.expected:
            observed = f"digest {self.observed}" if is_digest(self.observed) else self.observed
            return f"{self.name} is {observed}, expected {self.expected}{detail}"
        if self.wanted == "running" and self.level != "running":
            return f"{self.name} is placed, expected running{detail}"
        return ""


@dataclass(frozen=True)
class DriverContext:
    """Everything a driver may know.

    Attributes:
        site: The site's folder, absolute.
        release: The verified release of this generation.
        generation: Its number; never used again for anything else.
        blobs: ``store/blobs/sha256``; holds every member of the release that this site needs, index.json included.
        settings: ``drivers[name]`` of ``site.yaml``.
        config: The validated configuration, opaque; None where the release has no schema.
        disk: All effects on files go through it.
        search_path: Where a program of the host is looked for, like PATH.
        thorough: Whether ``observe`` also re-hashes bulk that only lies in the store.
    """

    site: Path
    release: Release
    generation: int
    blobs: Path
    settings: Mapping[str, object]
    config: bytes | None
    disk: Disk
    search_path: str = SEARCH_PATH
    thorough: bool = False


@dataclass(frozen=True)
class DriverPlan:
    """What one step will do at this site; made without an effect.

    Attributes:
        bytes_needed: New bytes on the site's file system.
        inodes_needed: New files and folders there.
        lines: What will be done, for the person who reviews.
    """

    step: InstallStep
    bytes_needed: int = 0
    inodes_needed: int = 0
    lines: tuple[str, ...] = field(default=())


class Driver(Protocol):
    """One way to a runtime. Every method but ``plan`` and ``observe`` may be repeated.

    All raise WaybillError: RefusedError for what this site or its settings cannot do, HostError for what failed.
    """

    name: str

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        """Return what would be done. Touches nothing, opens no connection."""
        ...

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do what is not visible yet, so that ``activate`` is short."""
        ...

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Make this generation the visible one; ``current`` names it already."""
        ...

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Undo what ``activate`` made visible, also when it was cut off. What was staged stays."""
        ...

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        """Return what is there. Changes nothing; returns ``unreadable`` and does not fail."""
        ...

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove what was staged for a generation that is not the visible one and will not come back."""
        ...


# By name; a driver is imported when a site uses it.
DRIVERS = {
    "files": ("verifier.runtime.drivers.files", "FilesDriver"),
    "program": ("verifier.runtime.drivers.program", "ProgramDriver"),
    "registry": ("verifier.runtime.drivers.registry", "RegistryDriver"),
    "store": ("verifier.runtime.drivers.store", "StoreDriver"),
}


def step_error(problem: str, where: str) -> RefusedError:
    """A release's install step does not fit its driver."""
    return RefusedError(
        problem,
        where=where,
        remedy="ask the vendor for a corrected release; nothing was changed",
        finding="driver-step",
    )


def load_driver(name: str, where: str = "") -> Driver:
    """Return the driver called ``name``. Raises RefusedError when this verifier has none of that name."""
    if name not in DRIVERS:
        raise RefusedError(
            f"the release needs the driver {name!r}, this verifier has {', '.join(DRIVERS)}",
            where=where,
            remedy="ask the vendor which version of the verifier has it; nothing was changed",
            finding="driver-missing",
        )
    module, class_name = DRIVERS[name]
    return cast(Driver, getattr(import_module(module), class_name)())
