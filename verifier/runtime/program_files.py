"""Programs of a release: choose the file for this platform, place it, check it; where their output goes."""

import hashlib
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from manifests.documents.release import Program, Release
from manifests.documents.rollback import Command
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, HostError, RefusedError, unreadable
from verifier.runtime.drivers.folder import copy_blob
from verifier.site.disk import Disk, write_all

PROGRAMS = "programs"
SCRATCH = Path("/tmp")  # noqa: S108 - a folder of our own is made below it
ProgramEnd = Literal["done", "failed", "timed-out", "output-too-long", "killed"]
CHUNK = 1 << 20
KEPT_ERRORS = 4096
_MACHINES = {
    "aarch64": "arm64",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
    "x86_64": "amd64",
}


@dataclass(frozen=True)
class ProgramLimits:
    """Limits of a run: memory of each process, output on stdout, size of each file that it writes."""

    seconds: float
    memory_bytes: int
    output_bytes: int
    file_bytes: int = 64 << 30


@dataclass(frozen=True)
class ProgramAccount:
    """The account that a program runs as; never root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class PlacedProgram:
    """A program of a release as a file of the site; it is hashed again before each run."""

    name: str
    path: Path
    blob: Blob


def platform_of(system: str, machine: str) -> str:
    """Return the platform as OCI writes it, from the fields of ``uname``."""
    return f"{system.lower()}/{_MACHINES.get(machine, machine)}"


def this_platform() -> str:
    host = os.uname()
    return platform_of(host.sysname, host.machine)


def choose_file(program: Program, platform: str) -> Blob:
    """Return the program's file for this platform. Raises RefusedError when the release has none."""
    if platform in program.files:
        return program.files[platform]
    raise RefusedError(
        f"the program {program.name!r} is for {', '.join(sorted(program.files))}, this host is {platform}",
        where=f"programs {program.name}",
        remedy="ask the vendor for a release that has it for this platform; nothing was changed",
        finding="program-platform",
    )


def place_program(disk: Disk, blobs: Path, folder: Path, program: Program, platform: str) -> PlacedProgram:
    """Return the program's file in the generation's ``folder``; copy it from the store if it is missing or changed.

    Raises:
        DamagedError: The blob is missing or has other bytes.
        RefusedError: No file for this platform.
    """
    blob = choose_file(program, platform)
    path = folder / PROGRAMS / program.name
    if not _is_clean(path, blob):
        disk.make_folder(path.parent)
        staging = path.with_name(f".{path.name}.new")
        disk.remove(staging)
        copy_blob(disk, blobs, blob.digest, blob.size, staging, 0o555)
        disk.rename(staging, path)
        disk.sync_folder(path.parent)
    return PlacedProgram(program.name, path, blob)


def _is_clean(path: Path, blob: Blob) -> bool:
    try:
        with open_checked(PlacedProgram(path.name, path, blob)):
            return True
    except (DamagedError, RefusedError, HostError):
        return False


def find_account(user: str | int | None, *, ours: int) -> ProgramAccount:
    """Return the account for programs, by name or number; a number needs no entry in the account database.

    Args:
        user: ``drivers.program.user`` of ``site.yaml``.
        ours: The effective user id of this process. Without root it is the only possible account, and must be named.

    Raises:
        RefusedError: None is named, it does not exist, it is root, or only root could become it.
    """
    where, remedy = "site.yaml $.drivers.program.user", "name an account without rights, or its number"
    if user is None:
        raise _no_account("site.yaml names no account for the programs of a release", "site.yaml $.drivers", remedy)
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        account = ProgramAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)
    except (KeyError, OverflowError):
        if not isinstance(user, int) and not (user.isascii() and user.isdigit()):
            create = f"create it: `useradd --system {shlex.quote(user)}`"
            raise _no_account(f"this host has no account {user!r}", where, create) from None
        account = ProgramAccount(str(user), int(user), int(user))
    if account.uid == 0 or account.gid == 0:
        raise _no_account(f"account {account.name} is root or in root's group", where, remedy)
    # The highest number means `leave it as it is` to setresuid(2).
    if not 0 < account.uid < 2**32 - 1 or not 0 < account.gid < 2**32 - 1:
        raise _no_account(f"{account.uid} is not a user id", where, remedy)
    if ours == account.uid:
        return ProgramAccount(account.name, account.uid, os.getegid())
    if ours != 0:
        raise _no_account(
            f"only root can run a program as {account.name}, this is account {ours}",
            where,
            "run the command as root, or name this account; the programs may then do what this account may",
        )
    return account


def _no_account(problem: str, where: str, remedy: str) -> RefusedError:
    return RefusedError(problem, where=where, remedy=remedy, finding="sandbox-account")


@contextmanager
def open_checked(program: PlacedProgram) -> Iterator[tuple[int, bool]]:
    """Yield the program's descriptor, every byte of it checked, and whether it is a script."""
    where, repeat = str(program.path), "run `waybill receive BUNDLE --keep`, then the command again"
    try:
        descriptor = os.open(program.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DamagedError("the program is missing", where=where, remedy=repeat, finding="program-missing") from None
    except OSError as error:
        raise unreadable(error, str(program.path), remedy="check the disk") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError("the program is not a file", where=where, remedy=repeat, finding="program-changed")
        # An account that can write to it could change it between the check and the start.
        if status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
            raise RefusedError(
                f"others may write to the program: mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}",
                where=where,
                remedy="find out who changed it, remove the file, then run the command again",
                finding="program-writable",
            )
        digest = hashlib.sha256()
        size, first = 0, b""
        while size <= program.blob.size and (data := os.pread(descriptor, CHUNK, size)):
            first = first or data[:2]
            digest.update(data)
            size += len(data)
        if (size, "sha256:" + digest.hexdigest()) != (program.blob.size, program.blob.digest):
            raise DamagedError(
                f"the program has digest sha256:{digest.hexdigest()}, the release has {program.blob.digest}",
                where=where,
                remedy=repeat,
                finding="program-changed",
            )
        yield descriptor, first == b"#!"
    finally:
        os.close(descriptor)


def program_of(release: Release, command: Command) -> Program:
    """Return the program that the command's first word names. Raises RefusedError when the release has none."""
    if program := next((program for program in release.programs if program.name == command[0]), None):
        return program
    raise RefusedError(
        f"{command[0]!r} is not a program of this release",
        where="rollback.yaml",
        remedy="ask the vendor for a corrected release; nothing was run",
        finding="program-unknown",
    )


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended, and what it wrote.

    Attributes:
        code: The exit code; negative for the signal that ended it.
        output: The end of stdout; empty where stdout went to a file. ``size``, ``digest``: of all of stdout.
        errors: The end of stderr as printable text, for people at the site.
        proof: What it wrote to ``WAYBILL_PROOF``, if it was given that.
    """

    outcome: ProgramEnd
    code: int
    seconds: float
    output: bytes
    size: int
    digest: str
    errors: str
    proof: bytes = b""


class Sink(Protocol):
    """Where stdout goes, piece by piece."""

    def write(self, data: bytes) -> None: ...


@dataclass
class TailBuffer:
    """Keeps the last ``most`` bytes."""

    most: int
    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.data += data
        del self.data[: -self.most]


class NewFile:
    """A file that must not exist yet. After ``finish`` its bytes are on disk; its name needs a sync of the folder."""

    def __init__(self, disk: Disk, path: Path, mode: int = 0o600) -> None:
        self._disk = disk
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = disk._effect("create", path, lambda: os.open(path, flags, mode))

    def __enter__(self) -> "NewFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        self._named("write", lambda: write_all(self._descriptor, data))

    def finish(self) -> None:
        self._named("sync", lambda: os.fsync(self._descriptor))

    def _named(self, kind: str, act: Callable[[], None]) -> None:
        try:
            self._disk._effect(kind, self._path, act)
        except OSError as error:
            # Errors of a descriptor do not name the file.
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def printable(data: bytes) -> str:
    """Return text that a terminal and the journal can show: one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in data.decode("utf-8", "replace")).strip()
