"""Start one program in its sandbox. `verifier.runtime.sandbox` runs this as a script; it imports nothing of ours.

There are three processes, so that no process with threads forks and no process outlives the program:

1. this one waits outside the namespaces. It dies with the verifier that started it;
2. its child is the first process of an empty process namespace: when it ends, the kernel ends every process in there,
   whatever sessions and groups they are in (pid_namespaces(7));
3. the child's child gives up its rights and becomes the program.

The job is JSON on one descriptor. The result is written to another, one JSON object a line:
``{"refused": PART, "words": TEXT}`` when a part of the sandbox cannot be set up; nothing is run then.
``{"starting": true}`` when all of it is set up; then ``{"ended": CODE}``, negative for the signal that ended the
program. The program gets neither descriptor.
"""

import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_PRIVATE = 1 << 18
# mount_setattr(2), Linux 5.12: this number on every architecture that Python is built for.
SYS_MOUNT_SETATTR = 442
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
MAX_JOB = 4 << 20
# Descriptors above this are not closed; the verifier's own limit is far below.
HIGHEST = 1 << 20


@dataclass(frozen=True)
class Job:
    """What to run, and within which limits.

    Attributes:
        parent: Process id of the verifier. If it has ended, nothing is run: no process waits for the result.
        program: Descriptor of the program, already checked.
        script: The program is a script: its interpreter opens it again, so the descriptor stays open.
        folder: Descriptor of the working folder.
        only_writable: Path of the working folder, when all other folders are to be read-only; else None.
        switch: Become another account; otherwise this process must have that account already.
        probe: Set everything up and run nothing.
    """

    parent: int
    program: int
    script: bool
    folder: int
    only_writable: str | None
    argv: tuple[str, ...]
    environment: dict[str, str]
    uid: int
    gid: int
    switch: bool
    limits: dict[str, int]
    probe: bool


class RefusedPartError(Exception):
    """A part of the sandbox cannot be set up."""

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__(part)
        self.part = part
        self.words = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__


@contextmanager
def part(name: str) -> Iterator[None]:
    """Report any failure inside under this name."""
    try:
        yield
    except RefusedPartError:
        raise
    # Whatever the failure is, the program must not run without this part.
    except Exception as error:
        raise RefusedPartError(name, error) from error


def _kernel(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library that Python 3.11 does not offer, such as ``unshare``. Raises OSError."""
    words = [argument if isinstance(argument, bytes) else ctypes.c_ulong(argument) for argument in arguments]
    result = getattr(ctypes.CDLL(None, use_errno=True), name)(*words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def _control(option: int, argument: int = 0) -> int:
    return _kernel("prctl", option, argument, 0, 0, 0)


def launch(job: Job, status: int) -> int:
    """Be process 1; return the exit code."""
    # Blocked, because both are waited for below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        _isolate(job)
        with part("processes"):
            alive, ours = os.pipe()
            child = os.fork()
    except RefusedPartError as error:
        _tell(status, refused=error.part, words=error.words)
        return 1
    if child == 0:
        os.close(ours)
        _end(lambda: _first(job, status, alive))
    os.close(alive)
    while True:
        if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
            os.kill(child, signal.SIGKILL)
        # The kernel lets the child be waited for only when every process of its namespace is gone.
        if os.waitpid(child, os.WNOHANG)[0] == child:
            return 0


def _isolate(job: Job) -> None:
    """Enter new namespaces: one for the processes that follow, an empty network, and read-only folders if wanted."""
    if not job.switch:
        # Without root the kernel gives a namespace only inside a user namespace, in which only this account exists.
        with part("user-namespace"):
            _kernel("unshare", CLONE_NEWUSER)
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{job.uid} {job.uid} 1")
            _write("/proc/self/gid_map", f"{job.gid} {job.gid} 1")
    with part("network"):
        _kernel("unshare", CLONE_NEWNET)
    if job.only_writable is not None:
        with part("files"):
            _make_read_only(os.fsencode(job.only_writable), job.folder)
    with part("processes"):
        _kernel("unshare", CLONE_NEWPID)
    with part("parent"):
        _control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != job.parent:
            raise ProcessLookupError("the verifier is gone")


def _make_read_only(writable: bytes, folder: int) -> None:
    """Make every mount read-only but that of one folder, and let no message queue or shared memory outlive the program.

    The program has no rights here, and in a namespace that it makes itself the kernel locks these mounts
    (mount_namespaces(7)). ``folder`` is opened again: the old descriptor belongs to the mounts outside.
    """
    outside = Path("/proc/self/ns/mnt").readlink()
    _kernel("unshare", CLONE_NEWNS | CLONE_NEWIPC)
    # What follows would otherwise make the host itself read-only.
    if Path("/proc/self/ns/mnt").readlink() == outside:
        raise PermissionError("the mounts are still those of the host")
    # Without this, a mount that the host makes later would appear here, and could be written to.
    _set_mount(b"/", AT_RECURSIVE, propagation=MS_PRIVATE)
    _kernel("mount", writable, writable, 0, MS_BIND, 0)
    _set_mount(b"/", AT_RECURSIVE, add=MOUNT_ATTR_RDONLY)
    _set_mount(writable, 0, remove=MOUNT_ATTR_RDONLY)
    if not os.statvfs("/").f_flag & os.ST_RDONLY or os.statvfs(writable).f_flag & os.ST_RDONLY:
        raise PermissionError("the mounts did not change")
    inside = os.open(writable, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.dup2(inside, folder)
    os.close(inside)


def _set_mount(path: bytes, flags: int, *, add: int = 0, remove: int = 0, propagation: int = 0) -> None:
    attributes = struct.pack("=QQQQ", add, remove, propagation, 0)
    _kernel("syscall", SYS_MOUNT_SETATTR, 0, path, flags, attributes, len(attributes))


def _first(job: Job, status: int, alive: int) -> None:
    """Be process 2: start the program, wait for every process that ends, report how the program ended."""
    try:
        with part("parent"):
            _control(PR_SET_PDEATHSIG, signal.SIGKILL)
            # The parent has no process id in this namespace. Its end of the pipe is closed if it has ended.
            if select.select([alive], [], [], 0)[0]:
                raise ProcessLookupError("the launcher is gone")
            # Other processes of the same account cannot trace this one.
            _control(PR_SET_DUMPABLE, 0)
        with part("processes"):
            program = os.fork()
    except RefusedPartError as error:
        _tell(status, refused=error.part, words=error.words)
        return
    if program == 0:
        _end(lambda: _become(job, status))
    while True:
        process, result = os.wait()
        if process == program:
            _tell(status, ended=os.waitstatus_to_exitcode(result))
            return


def _become(job: Job, status: int) -> None:
    """Be process 3: give up rights and descriptors, then become the program."""
    try:
        with part("signals"):
            _reset_signals()
            os.setsid()
            os.umask(0o077)
        with part("folder"):
            os.fchdir(job.folder)
        with part("account"):
            _give_up_account(job)
        with part("privileges"):
            _control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
            _control(PR_SET_NO_NEW_PRIVS, 1)
            if _control(PR_GET_NO_NEW_PRIVS) != 1:
                raise PermissionError("no_new_privs is not set")
        with part("descriptors"):
            _close_all_but({0, 1, 2, status, job.program})
            os.set_inheritable(status, False)
            os.set_inheritable(job.program, job.script)
        with part("limits"):
            _limit(job.limits)
        _tell(status, starting=True)
        if not job.probe:
            with part("program"):
                argv = [word.encode("utf-8", "surrogateescape") for word in job.argv]
                variables = {
                    name.encode(): value.encode("utf-8", "surrogateescape") for name, value in job.environment.items()
                }
                os.execve(job.program, argv, variables)  # noqa: S606 - without a shell is the point
    except RefusedPartError as error:
        _tell(status, refused=error.part, words=error.words)
        os._exit(1)


def _reset_signals() -> None:
    """Restore the defaults: the interpreter ignores some signals, and the program would inherit that."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _give_up_account(job: Job) -> None:
    """Become the account, with no group but its own; root is left in none of the three ids."""
    if job.switch:
        os.setgroups([])
        os.setresgid(job.gid, job.gid, job.gid)
        os.setresuid(job.uid, job.uid, job.uid)
        if os.getgroups():
            raise PermissionError("supplementary groups are left")
    if {*os.getresuid(), *os.getresgid()} != {job.uid, job.gid} or 0 in (job.uid, job.gid):
        raise PermissionError(f"the ids are {os.getresuid()} and {os.getresgid()}")
    if os.getresuid() != (job.uid,) * 3:
        raise PermissionError(f"the user ids are {os.getresuid()}")


def _close_all_but(keep: set[int]) -> None:
    low = 0
    for descriptor in sorted(keep):
        # An empty range would close all of them (close_range(2) gets the last one, not the one after it).
        if low < descriptor:
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, HIGHEST)


def _limit(limits: dict[str, int]) -> None:
    """Set the soft and the hard limit, so that the program cannot raise them again."""
    for name, wanted in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (bound, bound))


def _write(path: str, text: str) -> None:
    # One write(2): the kernel accepts these files in one piece only.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb", 0) as file:
        file.write(text.encode("ascii"))


def _tell(status: int, **what: object) -> None:
    os.write(status, json.dumps(what).encode("ascii") + b"\n")


def _end(act: Callable[[], None]) -> None:
    """Call ``act`` in a forked process, and never return to the code of its parent."""
    try:
        act()
        os._exit(0)
    # Whatever happens, a forked process must not run on in the code of its parent.
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"launcher: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(1)


def main(arguments: list[str]) -> int:
    """Run ``launcher.py JOB STATUS``; both are descriptors."""
    source, status = map(int, arguments)
    with os.fdopen(source, "rb") as file:
        job = json.loads(file.read(MAX_JOB))
    job["argv"] = tuple(job["argv"])
    return launch(Job(**job), status)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
