"""The protocol of drivers, the drivers that this verifier has, and their settings.

A driver stages (invisible, before the switch of ``current``), activates (visible, after it), deactivates what it made
visible, and observes what is there. Each of these may be repeated after a crash: a driver finds what is already done.
A driver keeps no state that recovery relies on; the journal and ``observe`` decide.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from manifests.documents.release import InstallStep, Release
from manifests.documents.report_condition import ComponentReason
from manifests.words.digest import is_digest
from manifests.words.errors import NewerError, RefusedError, unreadable
from verifier.runtime.setup import SetupFinding
from verifier.site.disk import Disk, Receiver

ABSENT = "absent"
UNREADABLE = "unreadable"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_SECRET = 64 << 10
ComponentLevel = Literal["placed", "running"]
T = TypeVar("T")
# Reads a document of the release by digest, of at most so many bytes; the bytes have that digest.
ReadDocument = Callable[[str, int], bytes]


@dataclass(frozen=True)
class Component:
    """A part of a release at the site, as released and as observed. (step, name) is unique.

    Attributes:
        expected: Digest as in the release; of a file set, of its canonical description.
        observed: The same, computed from what is there; or ``absent``, or ``unreadable`` with a reason in ``detail``.
        level: ``running`` only where a live process was seen to use it; ``wanted``: what the step asks for.
        detail: For people at the site; never leaves it.
        remedy: What a person does first; empty where `recover` alone mends it.
        reason: Why it is not as released, in a word that may leave the site; None where the driver cannot tell.
        restarts: How often its service ended by itself; see ``ServiceStatus``.
    """

    name: str
    expected: str
    observed: str
    step: str
    level: ComponentLevel = "placed"
    wanted: ComponentLevel = "placed"
    detail: str | None = None
    remedy: str = ""
    reason: ComponentReason | None = None
    restarts: int = 0

    @property
    def problem(self) -> str:
        """How it differs from the release, in words; empty when it does not."""
        detail = f": {self.detail}" if self.detail else ""
        if self.observed != self.expected:
            observed = f"digest {self.observed}" if is_digest(self.observed) else self.observed
            return f"{self.name} is {observed}, expected {self.expected}{detail}"
        if self.wanted == "running" and self.level != "running":
            return f"{self.name} is placed, expected running{detail}"
        return ""


@dataclass(frozen=True)
class DriverContext:
    """Everything that a driver may know.

    Attributes:
        site: The site's folder, absolute.
        generation: Its number is never used again.
        blobs: ``store/blobs/sha256``, with every member of the release that this site needs, index.json included.
        settings: ``drivers[name]`` of ``site.yaml``.
        config: The validated configuration; None where the release has no schema.
        images_at: Where the images of the release lie in the site's registry: its address, and the prefix; None without
            a registry in ``site.yaml``.
        search_path: Where programs of the host are looked for, like PATH.
        thorough: Whether ``observe`` also hashes blobs that are only in the store.
    """

    site: Path
    release: Release
    generation: int
    blobs: Path
    settings: Mapping[str, object]
    config: bytes | None
    disk: Disk
    images_at: str | None = None
    search_path: str = SEARCH_PATH
    thorough: bool = False


@dataclass(frozen=True)
class DriverPlan:
    """What one step will do at this site.

    Attributes:
        bytes_needed, inodes_needed: New bytes, and new files and folders, on the site's file system.
        staging, activation, deactivation: What each method will do, for the person who reviews: one line each, and
            none for a method that does nothing.
    """

    step: InstallStep
    bytes_needed: int = 0
    inodes_needed: int = 0
    staging: tuple[str, ...] = ()
    activation: tuple[str, ...] = ()
    deactivation: tuple[str, ...] = ()


class Driver(Protocol):
    """One way to a runtime.

    The methods raise RefusedError for what this site or its settings do not allow, and HostError for what failed.
    """

    name: str

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        """Return what would be done. Has no effect, opens no connection."""

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        """Return what this host or these settings lack. Changes nothing; a connection has a short time-out."""

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Do everything that is not visible, so that ``activate`` is short."""

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Make this generation the visible one; ``current`` names it already."""

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Undo what ``activate`` made visible, also when it was cut off. What was staged stays."""

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        """Return what is there. Changes nothing; reports a failure as ``unreadable``."""

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove what was staged for a generation that is not visible and will not be again."""


@runtime_checkable
class ReceivingDriver(Protocol):
    """A driver that takes the bytes of blobs while they are copied into the store, so that ``stage`` has less to do."""

    def receivers(
        self, plan: DriverPlan, context: DriverContext, read: ReadDocument
    ) -> AbstractContextManager[Mapping[str, Receiver]]:
        """Return, by digest, what gets the bytes of a blob.

        Nothing depends on it: a blob is used only after its digest was found right, and ``stage`` does whatever was not
        done, and reports why it could not be done. So this never fails for the sake of the runtime.
        """


# A driver is imported when a site uses it.
DRIVERS = {
    "files": ("verifier.runtime.drivers.files", "FilesDriver"),
    "helm": ("verifier.runtime.drivers.helm", "HelmDriver"),
    "program": ("verifier.runtime.drivers.program", "ProgramDriver"),
    "registry": ("verifier.runtime.drivers.registry", "RegistryDriver"),
    "store": ("verifier.runtime.drivers.store", "StoreDriver"),
}


def step_error(problem: str, where: str) -> RefusedError:
    """Return the error for an install step that does not fit its driver."""
    return RefusedError(
        problem,
        where=where,
        remedy="ask the vendor for a corrected release; nothing was changed",
        finding="driver-step",
    )


def load_driver(name: str, where: str = "") -> Driver:
    """Return the driver called ``name``. Raises NewerError when this verifier has none of that name."""
    if name not in DRIVERS:
        raise NewerError(
            f"the release needs the driver {name!r}, this verifier has {', '.join(DRIVERS)}",
            where=where,
            remedy="ask the vendor which version of the verifier has it; nothing was changed",
            finding="driver-missing",
        )
    module, class_name = DRIVERS[name]
    return cast(Driver, getattr(import_module(module), class_name)())


def read_settings(context: DriverContext, driver: str, type_: type[T]) -> T:
    """Return the driver's settings. Raises RefusedError when a field is unknown, missing, or of another kind."""
    try:
        return msgspec.convert(dict(context.settings), type_)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise settings_error(problem[:1].lower() + problem[1:], f"{driver}{place.rstrip('`')}") from None


def settings_error(problem: str, place: str, remedy: str = "correct this field in site.yaml") -> RefusedError:
    """Return the error for settings that cannot be used. ``place`` is below ``drivers`` of ``site.yaml``."""
    return RefusedError(problem, where=f"site.yaml $.drivers.{place}", remedy=remedy, finding="driver-settings")


def under_site(context: DriverContext, text: str, where: str) -> Path:
    """Return ``text`` as a path below the site's folder. Raises RefusedError when it is absolute or leaves it."""
    parts = text.split("/")
    if text.startswith("/") or not text or any(part in ("", ".", "..") for part in parts) or "\0" in text:
        raise settings_error(f"found {text!r}, expected a path below the site's folder, without . or ..", where)
    return context.site.joinpath(*parts)


def read_secret(context: DriverContext, reference: str, where: str) -> tuple[Path, bytes]:
    """Return the path behind ``file:PATH``, absolute or below the site's folder, and the bytes of the file.

    Raises:
        RefusedError: Another kind of reference, a file that others can read, or an oversized one.
        HostError: It cannot be read.
    """
    place = f"site.yaml $.drivers.{where}"
    text = reference.removeprefix("file:")
    if not text or text == reference:
        raise RefusedError(
            f"found {reference!r}, expected file:PATH", where=place, remedy="name a file in the site's secrets/ folder"
        )
    path = Path(text) if text.startswith("/") else under_site(context, text, where)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise RefusedError(
                    f"mode {status.st_mode & 0o777:04o} lets others read it, expected 0600",
                    where=str(path),
                    remedy=f"run `chmod 600 {shlex.quote(str(path))}`",
                    finding="secret-readable",
                )
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise unreadable(error, str(path), remedy=f"check the path at {place}") from error
    if len(data) > MAX_SECRET:
        problem = f"the secret has more than {MAX_SECRET} bytes"
        raise RefusedError(problem, where=str(path), remedy=f"check the path at {place}")
    return path, data
