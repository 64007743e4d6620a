"""Run a program of a release in a sandbox: migrations, backups and trial restores all go through ``run_program``.

A program gets: fixed arguments and no shell; an account without rights; its own processes; an empty network, without
loopback; limits on time, memory and output; three descriptors; an environment that is written here. On disk it reaches
what that account reaches, local sockets included; a handler (``read_only``) writes to its own folder alone. If this
host cannot provide one of these, the program is not run, and the refusal names which (`sandbox-…`).

The file that was hashed is the file that runs: it is opened once, checked, and started through its descriptor.
"""

import fcntl
import hashlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

from manifests.documents.backup_proof import MAX_PROOF
from manifests.trust.keys import open_regular
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError, RefusedError
from verifier.runtime.program_files import (
    CHUNK,
    KEPT_ERRORS,
    SCRATCH,
    PlacedProgram,
    ProgramAccount,
    ProgramEnd,
    ProgramLimits,
    ProgramResult,
    Sink,
    TailBuffer,
    open_checked,
    printable,
)
from verifier.site.disk import write_all

# Sticky, and on every Linux (Filesystem Hierarchy Standard 3.0, section 3.18).
# A runtime may reserve address space that it never fills: a Go program reserves 1.2 GiB before its first line.
# Reserved space is harmless, so the limit of memory is on what can be written to.
RESERVED_BYTES = 2 << 30
PREFIX = "waybill-run-"
PROOF = "proof.json"
# Longer than it takes from making such a folder to locking it.
YOUNG_SECONDS = 60
# Counted over all that the account runs (getrlimit(2), RLIMIT_NPROC), so the account should be for this alone.
MAX_PROCESSES = 128
MAX_DESCRIPTORS = 256
MAX_STATUS = 64 << 10
# What the kernel may take to end processes after SIGKILL.
END_SECONDS = 30.0
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class ProgramRun:
    """What to run and within which limits.

    Attributes:
        argv: The program's name as the release writes it, then its arguments.
        stdin: An open file, read from its current position; None for no input.
        sink: Takes stdout; without it ``ProgramResult.output`` has the last bytes.
        cwd: The working folder; None for an empty folder of the program's own, removed afterwards.
        environment: More variables, all called ``WAYBILL_…``.
        config: The site's configuration; ``WAYBILL_CONFIG`` names its file.
        states: The program states something: ``WAYBILL_PROOF`` names an empty file for it.
        scratch: Where the program's own folder is made; the account must be able to enter it.
        read_only: No folder but the working folder can be written to.
    """

    program: PlacedProgram
    argv: tuple[str, ...]
    account: ProgramAccount
    limits: ProgramLimits
    stdin: BinaryIO | None = None
    sink: Sink | None = None
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    config: bytes | None = None
    states: bool = False
    scratch: Path = SCRATCH
    read_only: bool = False


def check_sandbox(account: ProgramAccount, *, scratch: Path = SCRATCH, read_only: bool = False) -> None:
    """Set up the whole sandbox and run nothing in it. Raises RefusedError for a part that this host cannot provide."""
    nothing = PlacedProgram("the sandbox", Path(os.devnull), Blob(digest=digest_of(b""), size=0))
    limits = ProgramLimits(seconds=30, memory_bytes=1 << 30, output_bytes=1)
    with nothing.path.open("rb") as file:
        request = ProgramRun(nothing, ("probe",), account, limits, scratch=scratch, read_only=read_only)
        _execute(request, file.fileno(), {"probe": True})


def run_program(request: ProgramRun) -> ProgramResult:
    """Run a program to its end, or end it; none of its processes is left on return, also after an error.

    Raises:
        RefusedError: This host lacks a part of the sandbox, the program cannot be started, or others may write to it.
        DamagedError: The program's file is missing or not the release's.
        HostError: Its processes do not end.
        OSError: Of the sink.
    """
    if any(not name.startswith("WAYBILL_") for name in request.environment):
        raise ValueError("only WAYBILL_ variables can be given")
    with open_checked(request.program) as (program, script):
        return _execute(request, program, {"script": script})


def _execute(request: ProgramRun, program: int, flags: dict[str, object]) -> ProgramResult:
    with _scratch(request) as (own, variables), ExitStack() as stack:
        path, remedy = request.cwd or own, "check that the folder exists and that this account may enter it"
        with _refused(f"the working folder of {request.program.name} cannot be opened", str(path), remedy):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, folder)
        job = _job(request, program, folder, {**variables, **request.environment}) | flags
        if request.read_only:
            job["only_writable"] = str(path.absolute())
        result = _launch(job, (program, folder), request)
        # No process of the program is left that could still write there.
        return replace(result, proof=_read_proof(own.parent / PROOF)) if request.states else result


def _read_proof(path: Path) -> bytes:
    """Return what the program wrote; one byte more than allowed shows that it wrote too much."""
    problem = "what the program states cannot be read"
    with _refused(problem, str(path), "check the disk"), os.fdopen(open_regular(path), "rb") as file:
        return file.read(MAX_PROOF + 1)


@contextmanager
def _scratch(request: ProgramRun) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a new folder of the program's own, and its environment; the folder is removed afterwards."""
    base, account = request.scratch, request.account
    _remove_stale_folders(base)
    with ExitStack() as stack:
        remedy = "make space there, and allow this account to write there"
        with _refused("the program's own folder cannot be made", str(base), remedy):
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            # No process of the program is left by then, and rmtree follows no link (avoids_symlink_attacks).
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            _lock(folder, stack)
            home = folder / "home"
            home.mkdir(0o700)
            variables = {"HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}
            # Beside the working folder, which stays empty.
            if request.config is not None:
                path = folder / "config.json"
                path.write_bytes(request.config)
                path.chmod(0o440)
                variables["WAYBILL_CONFIG"] = str(path)
            if request.states:
                (folder / PROOF).touch(0o600)
                variables["WAYBILL_PROOF"] = str(folder / PROOF)
        where, remedy = "site.yaml $.drivers.program.user", "run the command as root, where that account exists"
        with _refused(f"files cannot be given to account {account.name}", where, remedy, "sandbox-account"):
            # The folder itself stays ours, and no other account can enter it.
            for path in folder.iterdir():
                os.chown(path, account.uid, account.gid)
            os.chown(folder, -1, account.gid)
            folder.chmod(0o750)
        yield home, variables


@contextmanager
def _refused(problem: str, where: str, remedy: str, finding: str = "sandbox-folder") -> Iterator[None]:
    """Raise RefusedError in place of an OSError."""
    try:
        yield
    except OSError as error:
        words = f"{problem}: {(error.strerror or str(error)).lower()}"
        raise RefusedError(words, where=where, remedy=remedy, finding=finding) from error


def _remove_stale_folders(base: Path) -> None:
    """Remove folders whose verifier was killed: they may contain the site's configuration."""
    for folder in base.glob(f"{PREFIX}*"):
        # A folder in use is locked, and _lock raises.
        with suppress(OSError), ExitStack() as stack:
            status = os.fstat(_lock(folder, stack))
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - YOUNG_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path, stack: ExitStack) -> int:
    """Lock until the stack is unwound or this process dies. Raises BlockingIOError when another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _job(request: ProgramRun, program: int, folder: int, variables: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of ``launcher.Job``; the launcher imports nothing of ours."""
    account, limits = request.account, request.limits
    return {
        "parent": os.getpid(),
        "program": program,
        "script": False,
        "folder": folder,
        "only_writable": None,
        "argv": request.argv,
        "environment": dict(variables),
        "uid": account.uid,
        "gid": account.gid,
        "switch": os.geteuid() == 0,
        "limits": {
            "CORE": 0,
            "FSIZE": limits.file_bytes,
            "NOFILE": MAX_DESCRIPTORS,
            "NPROC": MAX_PROCESSES,
            "AS": limits.memory_bytes + RESERVED_BYTES,
            "DATA": limits.memory_bytes,
        },
        "probe": False,
    }


def _launch(job: dict[str, object], descriptors: tuple[int, ...], request: ProgramRun) -> ProgramResult:
    """Start the launcher, read what it and the program write, and make sure that no process is left."""
    sink = TailBuffer(request.limits.output_bytes) if request.sink is None else request.sink
    begun = time.monotonic()
    status, status_writer = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, status)
        job_file = os.memfd_create("job")
        try:
            write_all(job_file, json.dumps(job).encode("ascii"))
            os.lseek(job_file, 0, os.SEEK_SET)
            process = subprocess.Popen(
                (sys.executable, "-I", "-S", str(_LAUNCHER), str(job_file), str(status_writer)),
                stdin=subprocess.DEVNULL if request.stdin is None else request.stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*descriptors, job_file, status_writer),
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(
                f"the Python interpreter cannot be started: {(error.strerror or str(error)).lower()}",
                where=sys.executable,
                remedy="check free memory and the number of processes on this host",
                finding="launcher",
            ) from error
        finally:
            os.close(job_file)
            os.close(status_writer)
        # Not Popen's own context manager, which waits without a limit.
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            stack.callback(pipe.close)
        stack.callback(_wait_until_gone, process, request.program.name)
        output = _read_output(process, status, request.limits, begun, sink)
    return _result(output, time.monotonic() - begun, sink, request.program.name)


@dataclass
class _Output:
    """What was read of a program. ``status``: the launcher's lines; ``ended``: why the verifier ended it."""

    size: int = 0
    status: bytes = b""
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    errors: TailBuffer = field(default_factory=lambda: TailBuffer(KEPT_ERRORS))
    ended: Literal["timed-out", "output-too-long"] | None = None


def _read_output(
    process: subprocess.Popen[bytes], status: int, limits: ProgramLimits, begun: float, sink: Sink
) -> _Output:
    """Read until all three pipes are closed, which they are once no process of the program is left."""
    output = _Output()
    assert process.stdout is not None
    assert process.stderr is not None
    errors = process.stderr.fileno()
    deadline = begun + limits.seconds
    with selectors.DefaultSelector() as selector:
        for descriptor in (process.stdout.fileno(), errors, status):
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 and output.ended is None:
                output.ended = "timed-out"
            if output.ended is not None:
                _end(process)
                # Do not wait without limit for a process that does not die; `_wait_until_gone` reports it.
                if left < -END_SECONDS:
                    break
            for key, _ in selector.select(max(0.05, left) if output.ended is None else 0.1):
                data = os.read(key.fd, CHUNK)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == errors:
                    output.errors.write(data)
                elif key.fd == status:
                    output.status = (output.status + data)[:MAX_STATUS]
                elif output.ended is None:
                    if output.size + len(data) > limits.output_bytes:
                        # Nothing of the piece that is too much reaches the sink.
                        output.ended = "output-too-long"
                        deadline = time.monotonic()
                        continue
                    output.digest.update(data)
                    output.size += len(data)
                    sink.write(data)
    return output


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make the launcher kill all processes of the program, without a warning, as a power loss would."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def _wait_until_gone(process: subprocess.Popen[bytes], name: str) -> None:
    """Wait until no process of the program is left; called also after an interrupt. Raises HostError."""
    try:
        process.wait(0.2)
        return
    except subprocess.TimeoutExpired:
        _end(process)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise HostError(
            f"the processes of {name} do not end",
            where=f"process {process.pid}",
            remedy="list them with `ps`; restart the host if the kernel holds them",
            finding="program-stuck",
        ) from None


def _result(output: _Output, seconds: float, sink: Sink, name: str) -> ProgramResult:
    """Return how the program ended, from the launcher's lines. Raises RefusedError, HostError."""
    code: int | None = None
    started = False
    errors = printable(bytes(output.errors.data))
    for line in output.status.splitlines():
        message = json.loads(line)
        if "refused" in message:
            raise _refusal(str(message["refused"]), str(message["words"]).lower(), name)
        started = started or "starting" in message
        code = int(message["ended"]) if "ended" in message else code
    outcome: ProgramEnd
    if output.ended is not None:
        outcome, code = output.ended, -signal.SIGKILL
    elif code is None or not started:
        raise HostError(
            f"the launcher of {name} ended without a result: {errors or 'killed'}",
            where=str(_LAUNCHER),
            remedy="check the log of this host; it may be out of memory",
            finding="launcher",
        )
    else:
        outcome = "done" if code == 0 else "failed" if code > 0 else "killed"
    return ProgramResult(
        outcome=outcome,
        code=code,
        seconds=seconds,
        output=bytes(sink.data) if isinstance(sink, TailBuffer) else b"",
        size=output.size,
        digest="sha256:" + output.digest.hexdigest(),
        errors=errors,
    )


_AS_ROOT = "run the command as root, and in a container with CAP_SYS_ADMIN"
_REMEDIES = {
    "network": ("a network namespace of its own", _AS_ROOT),
    "processes": ("a process namespace of its own", _AS_ROOT),
    "files": ("read-only folders", f"use Linux 5.12 or newer; {_AS_ROOT}"),
    "user-namespace": (
        "a user namespace",
        "run the command as root, or allow user namespaces to unprivileged accounts on this host",
    ),
    "account": ("the account", "check drivers.program.user in site.yaml, and the limits of that account"),
    "privileges": ("no_new_privs", "use Linux 4.3 or newer"),
    "limits": ("the limits of memory and files", "check the limits of the account that runs this command"),
}


def _refusal(part: str, reason: str, name: str) -> RefusedError:
    if part == "program":
        return RefusedError(
            f"the program cannot be started: {reason}",
            where=f"programs {name}",
            remedy="ask the vendor whether it is built for this host; nothing was run",
            finding="program-unusable",
        )
    given, remedy = _REMEDIES.get(part, (part, "check the log of this host"))
    return RefusedError(
        f"this host cannot give {name} {given}: {reason}",
        where="sandbox",
        remedy=f"{remedy}; nothing was run",
        finding=f"sandbox-{part}",
    )
