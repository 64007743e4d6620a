"""The one service that a step keeps running: what is started, where, with which environment."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from manifests.documents.release import FileSet, InstallStep
from manifests.words.document import Document
from manifests.words.errors import HostError, RefusedError

STOP_SECONDS = 10


class ServiceAccount(Document, frozen=True, kw_only=True):
    """Who a service runs as."""

    name: str
    uid: int
    gid: int


class Launch(Document, frozen=True, kw_only=True):
    """The record that starts a process: exactly this program, these words, this environment, in this folder.

    Written when the release is staged, read at each start; a program of the host is looked for only once.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    keeper: Literal["systemd", "supervisord"]
    account: ServiceAccount | None = None


@dataclass(frozen=True)
class Service:
    """One generation of one step's service.

    Attributes:
        name: ``<step>-g<generation>``, so that a running process says which generation it is.
        launch: Where the record of its start lies.
    """

    site: Path
    step: str
    generation: int
    title: str
    launch: Path
    record: Launch
    log: Path

    @property
    def name(self) -> str:
        return f"{self.step}-g{self.generation}"


@dataclass(frozen=True)
class ServiceStatus:
    """What a keeper sees of a service; ``running`` only after it stayed up for a second."""

    state: Literal["running", "starting", "failing", "stopped", "unknown"]
    detail: str = ""


class Keeper(Protocol):
    """Keeps services running, also when the command that started them has ended."""

    def start(self, service: Service) -> None:
        """Run this generation of the step, and no other."""
        ...

    def stop(self, service: Service) -> None:
        """No process of this generation of the step is left on return."""
        ...

    def status(self, service: Service) -> ServiceStatus:
        """Changes nothing."""
        ...


def find_program(
    word: str, folder: Path, sets: tuple[FileSet, ...], programs: Mapping[str, str], search_path: str
) -> str:
    """The absolute path of a service's program.

    A word with a slash is a file of the release; any other is a program of the host: the one that the site names in
    its settings, else the first on the search path; for ``python3`` at last our own interpreter.

    Raises:
        RefusedError: The release names a path of the host, or a file that it does not have or may not run.
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
        # The interpreter that runs this verifier is one, wherever the host keeps it.
        return sys.executable
    raise HostError(
        f"{named} is not a program" if named else f"found no program {word} in {search_path}",
        where=f"keep_running {word}",
        remedy=f"install it, or name it in site.yaml: drivers: {{files: {{programs: {{{word}: /path/to/{word}}}}}}}",
        finding="program-missing",
    )


def check_own_program(word: str, sets: tuple[FileSet, ...]) -> None:
    """That ``word``, which has a slash, is an executable file of the release. Raises RefusedError."""
    known = {entry.path: entry.executable for files in sets for entry in files.entries}
    path = word.removeprefix("./")
    problem = ""
    if word.startswith("/"):
        problem = f"{word} is a path of the host, expected a program's name or a file of the release"
    elif path not in known:
        problem = f"{word} is not a file of this step"
    elif not known[path]:
        problem = f"{word} is not marked as executable"
    if problem:
        raise RefusedError(
            problem,
            where="keep_running",
            remedy="ask the vendor for a corrected release; nothing was changed",
            finding="driver-step",
        )


def environment(
    step: InstallStep, *, folder: Path, data: Path, version: str, config: Path | None, search_path: str
) -> dict[str, str]:
    """All that the service's environment holds; nothing of ours or of the operator's is inherited."""
    found = {
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
        found["WAYBILL_CONFIG"] = str(config)
    return found


# A percent sign is expanded by both, and by supervisord in a log's name twice.
_UNSPEAKABLE = re.compile(r'[\x00-\x1f\x7f"\\%]|\s[;#]|\A\s|\s\Z')


def check_path(path: Path) -> None:
    """That a path can be written into the files that systemd and supervisord read.

    Raises:
        RefusedError: It has control characters, quotes, a backslash, a percent sign, or looks like a comment.
    """
    if _UNSPEAKABLE.search(str(path)):
        raise RefusedError(
            "the path has characters that a service manager cannot be told: quotes, \\, %, or a comment",
            where=repr(str(path)),
            remedy="move the site's folder to a plainer path",
            finding="site-path",
        )
