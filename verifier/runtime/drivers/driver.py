"""Drivers: how a payload reaches its runtime. One protocol, and the drivers that this verifier has.

A driver stages (invisible, before the switch of ``current``), activates (visible, after it), takes back what it
made visible, and says what is really there. Each of these may be repeated after a crash: what is done already is
found done. A driver keeps no state that recovery believes; the journal and ``observe`` decide.
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
    """One thing a release places at a site, as the release has it and as it was found.

    Attributes:
        name: Of the image or file set.
        expected: Digest as in the release; of a file set, of its canonical description.
        observed: The same, recomputed from what is there; ``absent``, or ``unreadable`` (``detail`` says why).
        level: ``running`` only where a live process was seen to use it.
        step: The install step that placed it; (step, name) is unique.
        wanted: The level that the step asks for.
        detail: For people at the site; never leaves it.
    """

    name: str
    expected: str
    observed: str
    level: ComponentLevel
    step: str
    wanted: ComponentLevel = "placed"
    detail: str = ""

    @property
    def problem(self) -> str:
        """What is not as the release says, in words; empty when all is."""
        if self.observed != self.expected:
            found = f"digest {self.observed}" if is_digest(self.observed) else self.observed
            return f"{self.name} is {found}, expected {self.expected}" + (f": {self.detail}" if self.detail else "")
        if self.wanted == "running" and self.level != "running":
            return f"{self.name} is placed, expected running" + (f": {self.detail}" if self.detail else "")
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
    driver: str
    bytes_needed: int = 0
    inodes_needed: int = 0
    lines: tuple[str, ...] = field(default=())


class Driver(Protocol):
    """One way to a runtime. Every method but ``plan`` and ``observe`` may be repeated.

    All raise WaybillError: RefusedError for what this site or its settings cannot do, HostError for what failed.
    """

    name: str

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        """Say what would be done. Touches nothing, opens no connection."""
        ...

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do what nobody can see yet, so that ``activate`` is short."""
        ...

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Make this generation the visible one; ``current`` names it already."""
        ...

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Take back what ``activate`` made visible, also a part of it. What was staged stays."""
        ...

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        """Look at what is really there. Changes nothing; says ``unreadable`` rather than fail."""
        ...

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove what was staged for a generation that is not the visible one and will not come back."""
        ...


# By name, imported when asked for: a site with one driver pays for one.
DRIVERS = {
    "files": ("verifier.runtime.drivers.files", "FilesDriver"),
    "program": ("verifier.runtime.drivers.program", "ProgramDriver"),
    "registry": ("verifier.runtime.drivers.registry", "RegistryDriver"),
    "store": ("verifier.runtime.drivers.store", "StoreDriver"),
}


def load_driver(name: str, where: str = "") -> Driver:
    """The driver called ``name``.

    Raises:
        RefusedError: This verifier has none of that name.
    """
    if name not in DRIVERS:
        raise RefusedError(
            f"the release needs the driver {name!r}, this verifier has {', '.join(DRIVERS)}",
            where=where,
            remedy="ask the vendor which verifier has it; nothing was changed",
            finding="driver-missing",
        )
    module, class_name = DRIVERS[name]
    return cast(Driver, getattr(import_module(module), class_name)())
