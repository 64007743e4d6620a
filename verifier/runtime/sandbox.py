"""The one way to run a program of a release: migrations, backups, try-restores and handlers all go through ``run``.

A program gets: fixed words and no shell; an account without rights; processes and a network of its own, the network
with nothing in it, not even loopback; bounds on time, memory and output; three descriptors; an environment that is
written here. What is on the disk it reaches as that account does, a local socket file included. Where this host
cannot give one of these the program is not run, and the refusal names which (`sandbox-…`).

What runs is the very file that was hashed: it is opened once, checked, and started through its descriptor.
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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

from manifests.words.errors import HostError, RefusedError
from verifier.runtime.program_files import PlacedProgram, ProgramAccount, ProgramLimits, no_account_error, open_checked
from verifier.runtime.program_output import CHUNK, KEPT_ERRORS, ProgramEnd, ProgramResult, Sink, TailBuffer, printable
from verifier.site.disk import write_all

# Sticky, and on every Linux (Filesystem Hierarchy Standard 3.0, section 3.18).
SCRATCH = Path("/tmp")  # noqa: S108 - a folder of our own is made below it
# A runtime may reserve address space that it never fills: a Go program has 1.2 GiB of it before its first line.
# Reserved space is harmless, so the bound on memory is on what can be written to.
RESERVED_BYTES = 2 << 30
PREFIX = "waybill-run-"
# Longer than it takes from making such a folder to locking it.
YOUNG_SECONDS = 60
# Counted over all that the account runs (getrlimit(2), RLIMIT_NPROC), so the account should be for this alone.
MAX_PROCESSES = 128
MAX_DESCRIPTORS = 256


MAX_STATUS = 64 << 10
# What the kernel may take to end processes that were told to die.
END_SECONDS = 30.0


_LAUNCHER = Path(__file__).with_name("launcher.py")
_NOTHING: Mapping[str, str] = {}


# --- run ----------------------------------------------------------------------------------------------------------


def check_sandbox(account: ProgramAccount, *, scratch: Path = SCRATCH) -> None:
    """Set the whole sandbox up once and run nothing in it.

    Raises:
        RefusedError: Which part of it this host cannot give.
    """
    limits = ProgramLimits(seconds=30, memory_bytes=1 << 30, output_bytes=1)
    with _scratch(scratch, account, None) as (folder, variables), ExitStack() as stack:
        here = _folder(stack, folder, "")
        program = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, program)
        job = _job(program, False, here, ("probe",), variables, account, limits) | {"probe": True}
        _drive(job, (program, here), limits, None, TailBuffer(0), "the sandbox")


def run(
    program: PlacedProgram,
    argv: tuple[str, ...],
    *,
    account: ProgramAccount,
    limits: ProgramLimits,
    stdin: BinaryIO | None = None,
    sink: Sink | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] = _NOTHING,
    config: bytes | None = None,
    scratch: Path = SCRATCH,
) -> ProgramResult:
    """Run it to its end, or end it; none of its processes is left on return.

    Args:
        argv: All words; the first is the program's name as the release writes it.
        stdin: An open file; the program reads on from where it stands. Nothing without it.
        sink: Takes stdout; without it the last bytes are kept in ``Ran.output``, all of them if they are in bounds.
        cwd: The working folder; without it an empty folder of the program's own, gone afterwards.
        environment: More variables, all called ``WAYBILL_…``.
        config: The site's configuration, which the program finds in the file that ``WAYBILL_CONFIG`` names.
        scratch: Where the folder of the program's own is made; the account must be able to reach it.

    Raises:
        RefusedError: This host lacks a part of the sandbox, the program cannot be started, or others may write to it.
        DamagedError: The program's file is missing or not the release's.
        HostError: Its processes do not end.
        OSError: Of the sink; nothing is left running then either.
    """
    if any(not name.startswith("WAYBILL_") for name in environment):
        raise ValueError("only WAYBILL_ variables can be given")
    with ExitStack() as stack:
        descriptor, script = stack.enter_context(open_checked(program))
        own, variables = stack.enter_context(_scratch(scratch, account, config))
        here = _folder(stack, cwd or own, program.name)
        job = _job(descriptor, script, here, argv, {**variables, **environment}, account, limits)
        kept = TailBuffer(limits.output_bytes) if sink is None else sink
        return _drive(job, (descriptor, here), limits, stdin, kept, program.name)


@contextmanager
def _scratch(base: Path, account: ProgramAccount, config: bytes | None) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder of the program's own and all that its environment holds; the folder is gone afterwards."""
    _sweep(base)
    with ExitStack() as stack:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            # All processes of the program are gone by then, and this follows no link (avoids_symlink_attacks).
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            _lock(folder, stack)
            home, variables = _furnish(folder, config)
        except OSError as error:
            raise RefusedError(
                f"no folder of the program's own can be made: {(error.strerror or str(error)).lower()}",
                where=str(base),
                remedy="make space there, and let this account write there",
                finding="sandbox-folder",
            ) from error
        _hand_over(folder, account)
        yield home, variables


def _sweep(base: Path) -> None:
    """Folders whose verifier was killed, so that nobody holds them: they may contain the site's configuration."""
    for one in base.glob(f"{PREFIX}*"):
        with suppress(OSError), ExitStack() as stack:
            descriptor = _lock(one, stack)
            found = os.fstat(descriptor)
            if found.st_uid == os.geteuid() and found.st_mtime < time.time() - YOUNG_SECONDS:
                shutil.rmtree(one, ignore_errors=True)


def _lock(folder: Path, stack: ExitStack) -> int:
    """Held until the stack is unwound, or this process dies. Raises BlockingIOError when somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _furnish(folder: Path, config: bytes | None) -> tuple[Path, dict[str, str]]:
    home = folder / "home"
    home.mkdir(0o700)
    variables = {"HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}
    if config is not None:
        # Beside the working folder, which stays empty.
        path = folder / "config.json"
        path.write_bytes(config)
        path.chmod(0o440)
        variables["WAYBILL_CONFIG"] = str(path)
    return home, variables


def _hand_over(folder: Path, account: ProgramAccount) -> None:
    """What is in the folder is the account's; the folder itself is ours, and no other account can enter it."""
    try:
        for one in folder.iterdir():
            os.chown(one, account.uid, account.gid)
        os.chown(folder, -1, account.gid)
        folder.chmod(0o750)
    except OSError as error:
        raise no_account_error(
            f"nothing can be given to {account.name}: {(error.strerror or str(error)).lower()}",
            "site.yaml $.drivers.program.user",
            "run the command where that account exists, as root",
        ) from error


def _folder(stack: ExitStack, path: Path, what: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(
            f"the working folder of {what} cannot be opened: {(error.strerror or str(error)).lower()}",
            where=str(path),
            remedy="see that it is there",
            finding="sandbox-folder",
        ) from error
    stack.callback(os.close, descriptor)
    return descriptor


def _job(
    program: int,
    script: bool,
    folder: int,
    argv: tuple[str, ...],
    variables: Mapping[str, str],
    account: ProgramAccount,
    limits: ProgramLimits,
) -> dict[str, object]:
    """`launch.Job`, which shares no code with us."""
    return {
        "parent": os.getpid(),
        "program": program,
        "script": script,
        "folder": folder,
        "argv": argv,
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


def _drive(
    job: dict[str, object],
    descriptors: tuple[int, ...],
    limits: ProgramLimits,
    stdin: BinaryIO | None,
    sink: Sink,
    what: str,
) -> ProgramResult:
    """Start the launcher, take what comes, and see that nothing is left."""
    begun = time.monotonic()
    told, status = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, told)
        order = os.memfd_create("job")
        try:
            write_all(order, json.dumps(job).encode("ascii"))
            os.lseek(order, 0, os.SEEK_SET)
            process = subprocess.Popen(
                (sys.executable, "-I", "-S", str(_LAUNCHER), str(order), str(status)),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*descriptors, order, status),
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(
                f"our own interpreter cannot be started: {(error.strerror or str(error)).lower()}",
                where=sys.executable,
                remedy="see memory and processes of this host",
                finding="launcher",
            ) from error
        finally:
            os.close(order)
            os.close(status)
        # Not Popen's own context: that one waits for ever.
        for one in (process.stdout, process.stderr):
            assert one is not None
            stack.callback(one.close)
        stack.callback(_see_it_gone, process, what)
        took = _take(process, told, limits, begun, sink)
    return _judge(took, begun, sink, what)


@dataclass
class _Took:
    """What came out, and why it was ended by us."""

    size: int = 0
    digest: str = ""
    errors: str = ""
    status: bytes = b""
    ended: Literal["", "timed-out", "output-too-long"] = ""


def _take(process: subprocess.Popen[bytes], told: int, limits: ProgramLimits, begun: float, sink: Sink) -> _Took:
    """Read until all three pipes are closed, which they are once no process of the program is left."""
    took, digest, errors = _Took(), hashlib.sha256(), TailBuffer(KEPT_ERRORS)
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.fileno(), process.stderr.fileno()
    deadline = begun + limits.seconds
    with selectors.DefaultSelector() as selector:
        for one in (out, err, told):
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 and not took.ended:
                took.ended = "timed-out"
            if took.ended:
                _tell_to_end(process)
                # A process that does not die must not make us wait for ever; `_see_it_gone` says so.
                if left < -END_SECONDS:
                    break
            for key, _ in selector.select(max(0.05, left) if not took.ended else 0.1):
                data = os.read(key.fd, CHUNK)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == err:
                    errors.write(data)
                elif key.fd == told:
                    took.status = (took.status + data)[:MAX_STATUS]
                elif not took.ended:
                    if took.size + len(data) > limits.output_bytes:
                        took.ended = "output-too-long"
                        deadline = time.monotonic()
                        continue
                    digest.update(data)
                    took.size += len(data)
                    sink.write(data)
    took.digest = "sha256:" + digest.hexdigest()
    took.errors = printable(bytes(errors))
    return took


def _tell_to_end(process: subprocess.Popen[bytes]) -> None:
    """The launcher then ends all the rest. At once, and not with a warning first: a program must survive the plug."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def _see_it_gone(process: subprocess.Popen[bytes], what: str) -> None:
    """Whatever happened here, an interrupt included: no process of the program is left on return."""
    try:
        process.wait(0.2)
        return
    except subprocess.TimeoutExpired:
        _tell_to_end(process)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise HostError(
            f"the processes of {what} do not end",
            where=f"process {process.pid}",
            remedy="look at them with ps; the kernel may be holding them, then restart the host",
            finding="program-stuck",
        ) from None


def _judge(took: _Took, begun: float, sink: Sink, what: str) -> ProgramResult:
    """From what the launcher told."""
    code: int | None = None
    started = False
    for line in took.status.splitlines():
        told = json.loads(line)
        if "refused" in told:
            _refuse(str(told["refused"]), str(told["words"]), what)
        started = started or "starting" in told
        code = int(told["ended"]) if "ended" in told else code
    outcome: ProgramEnd
    if took.ended:
        outcome, code = took.ended, -signal.SIGKILL
    elif code is None or not started:
        raise HostError(
            f"the launcher of {what} ended without a word: {took.errors or 'killed'}",
            where=str(_LAUNCHER),
            remedy="see the host's log: it may be out of memory",
            finding="launcher",
        )
    else:
        outcome = "done" if code == 0 else "failed" if code > 0 else "killed"
    return ProgramResult(
        outcome=outcome,
        code=code,
        seconds=time.monotonic() - begun,
        output=bytes(sink) if isinstance(sink, TailBuffer) else b"",
        size=took.size,
        digest=took.digest,
        errors=took.errors,
    )


_REMEDIES = {
    "network": (
        "a network namespace of its own",
        "run the command as root, in a container with CAP_SYS_ADMIN or outside of one",
    ),
    "processes": (
        "a process namespace of its own",
        "run the command as root, in a container with CAP_SYS_ADMIN or outside of one",
    ),
    "user-namespace": (
        "a user namespace",
        "run the command as root, or allow user namespaces to unprivileged accounts on this host",
    ),
    "account": ("the account", "see drivers.program.user in site.yaml, and the limits of that account"),
    "privileges": ("no_new_privs", "this needs Linux 4.3 or newer"),
    "limits": ("the limits of memory and files", "see the limits of the account that runs this command"),
}


def _refuse(part: str, words: str, what: str) -> NoReturn:
    if part == "program":
        raise RefusedError(
            f"the program cannot be started: {words.lower()}",
            where=f"programs {what}",
            remedy="ask the vendor whether it is built for this host; nothing was run",
            finding="program-unusable",
        )
    name, remedy = _REMEDIES.get(part, (part, "see the host's log"))
    raise RefusedError(
        f"this host cannot give {what} {name}: {words.lower()}",
        where="sandbox",
        remedy=f"{remedy}; nothing was run",
        finding=f"sandbox-{part}",
    )
