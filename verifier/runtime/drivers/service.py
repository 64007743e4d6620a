"""The service that a step keeps running: its program, its folder, its environment."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from manifests.documents.release import FileSet, InstallStep
from manifests.words.canonical import Document
from manifests.words.errors import HostError, RefusedError
from verifier.runtime.drivers.driver import step_error

STOP_SECONDS = 10
ServiceState = Literal["running", "starting", "failing", "stopped", "unknown"]


class ServiceAccount(Document, frozen=True, kw_only=True):
    """The account that a service runs as."""

    name: str
    uid: int
    gid: int


class LaunchRecord(Document, frozen=True, kw_only=True):
    """How a service starts; written by staging, so that a program of the host is searched for only once."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    keeper: Literal["systemd", "supervisord"]
    account: ServiceAccount | None = None


@dataclass(frozen=True)
class Service:
    """One generation of one step's service; ``launch`` is the path of its record."""

    step: str
    generation: int
    title: str
    launch: Path
    record: LaunchRecord
    log: Path

    @property
    def name(self) -> str:
        """A running process shows its generation by it."""
        return f"{self.step}-g{self.generation}"


@dataclass(frozen=True)
class ServiceStatus:
    """A service's state as its keeper reports it; ``running`` only after it ran for a second.

    Attributes:
        restarts: How often its process ended by itself: in the last day by supervisord, by systemd since it was
            started. A stop by this program does not count.
    """

    state: ServiceState
    detail: str
    restarts: int = 0


class Keeper(Protocol):
    """Keeps services running after the command that started them has ended."""

    def start(self, service: Service) -> None:
        """Run this generation of the step, and stop any other."""

    def stop(self, service: Service) -> None:
        """End every process of this generation of the step."""

    def status(self, service: Service) -> ServiceStatus:
        """Return the state; change nothing."""


def find_program(
    word: str, folder: Path, sets: tuple[FileSet, ...], programs: Mapping[str, str], search_path: str
) -> str:
    """Return the absolute path of a service's program.

    A word with a slash is a file of the release. Any other is a program of the host: the one in the site's settings,
    else the first on the search path, else for ``python3`` the interpreter of this verifier.

    Raises:
        RefusedError: The release names a path of the host, or a file that is not an executable of the release.
        HostError: The host has no such program.
    """
    if "/" in word:
        check_own_program(word, sets)
        return str(folder / word.removeprefix("./"))
    named = programs.get(word)
    for text in [named] if named else [f"{part}/{word}" for part in search_path.split(":") if part.startswith("/")]:
        path = Path(text)
        if path.is_absolute() and path.is_file() and path.stat().st_mode & 0o111:
            return text
    if word == "python3" and not named:
        return sys.executable
    raise HostError(
        f"{named} is not a program" if named else f"this host has no program {word} in {search_path}",
        where=f"keep_running {word}",
        remedy=f"install it, or name it in site.yaml: drivers: {{files: {{programs: {{{word}: /path/to/{word}}}}}}}",
        finding="program-missing",
    )


def check_own_program(word: str, sets: tuple[FileSet, ...]) -> None:
    """Check that ``word``, which has a slash, is an executable file of the release. Raises RefusedError."""
    executable = {entry.path: entry.executable for files in sets for entry in files.entries}
    path = word.removeprefix("./")
    if word.startswith("/"):
        problem = f"{word} is a path of the host, expected a program's name or a file of the release"
        raise step_error(problem, "keep_running")
    if not executable.get(path, False):
        problem = "marked as executable" if path in executable else "a file of this step"
        raise step_error(f"{word} is not {problem}", "keep_running")


def environment(
    step: InstallStep, *, folder: Path, data: Path, version: str, config: Path | None, search_path: str
) -> dict[str, str]:
    """Return the whole environment of the service; it inherits no variable."""
    variables = {
        "HOME": str(data),
        "LANG": "C.UTF-8",
        "PATH": search_path,
        # Caches beside the sources would make the folder differ from what was released.
        "PYTHONDONTWRITEBYTECODE": "1",
        "WAYBILL_DATA": str(data),
        "WAYBILL_FOLDER": str(folder),
        "WAYBILL_STEP": step.step,
        "WAYBILL_VERSION": version,
    }
    if config is not None:
        variables["WAYBILL_CONFIG"] = str(config)
    return variables


# A percent sign is expanded by both, and by supervisord in a log's name twice.
_UNWRITABLE = re.compile(r'[\x00-\x1f\x7f"\\%]|\s[;#]|\A\s|\s\Z')


def check_path(path: Path) -> None:
    """Check that a path can be written into the configuration of systemd and supervisord. Raises RefusedError."""
    if _UNWRITABLE.search(str(path)):
        raise RefusedError(
            "the path has characters that a service manager cannot read: a control character, a quote, \\, %, ; or #",
            where=repr(str(path)),
            remedy="move the site's folder to a path without them",
            finding="site-path",
        )
