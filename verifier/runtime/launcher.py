"""Start one program in its sandbox. `verifier.runtime.sandbox` runs this as a script, with the standard library alone.

Three processes, so that nothing is forked out of a process with threads and nothing outlives the program:

1. this one waits outside. It dies with the verifier that started it;
2. its child is the first process of an empty process namespace: when it ends, the kernel ends all that is in there,
   whatever sessions and groups they made for themselves (pid_namespaces(7));
3. the child's child gives up its rights and becomes the program.

The job comes in as JSON on one descriptor. What became of it goes out on another, a JSON object per line:
``{"refused": PART, "errno": N, "words": TEXT}`` when a part of the sandbox could not be had, then nothing was run;
``{"starting": true}`` when all of it was had; then ``{"ended": CODE}``, negative for the signal that ended the program.
The program gets neither descriptor.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
MAX_JOB = 4 << 20
# Descriptors above this are not looked for; the verifier's own limit is far below.
HIGHEST = 1 << 20


@dataclass(frozen=True)
class Job:
    """What to run and within what.

    Attributes:
        parent: The process that must still be there; else nobody waits for the answer.
        program: Descriptor of the program, already checked.
        script: Whether it is one: its interpreter opens it again, so the descriptor stays open.
        folder: Descriptor of the working folder.
        switch: Whether to become another account; without it the account must be ours already.
        probe: Set everything up and run nothing.
    """

    parent: int
    program: int
    script: bool
    folder: int
    argv: tuple[str, ...]
    environment: dict[str, str]
    uid: int
    gid: int
    switch: bool
    limits: dict[str, int]
    probe: bool


class RefusedPartError(Exception):
    """A part of the sandbox could not be had."""

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__(part)
        self.part = part
        self.errno = error.errno if isinstance(error, OSError) else 0
        self.words = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__


@contextmanager
def part(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is told under this name."""
    try:
        yield
    except RefusedPartError:
        raise
    # Which ever it is, the program must not be run without this part.
    except Exception as error:
        raise RefusedPartError(name, error) from error


def _call(function: Callable[..., int], *arguments: int) -> int:
    """A call of the C library that returns -1 and sets errno."""
    result = function(*(ctypes.c_ulong(one) for one in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Kernel:
    """The two calls that Python has no words for in every version this runs on."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def unshare(self, what: int) -> None:
        _call(self._library.unshare, what)

    def control(self, option: int, argument: int = 0) -> int:
        return _call(self._library.prctl, option, argument, 0, 0, 0)


def launch(job: Job, status: int) -> int:
    """Be process 1; the exit code."""
    # From here on both are only ever waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        with part("start"):
            kernel = Kernel()
        _shut_in(job, kernel)
        with part("processes"):
            alive, ours = os.pipe()
            child = os.fork()
    except RefusedPartError as error:
        _tell(status, refused=error.part, errno=error.errno, words=error.words)
        return 1
    if child == 0:
        os.close(ours)
        _end(lambda: _first(job, kernel, status, alive))
    os.close(alive)
    while True:
        if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
            os.kill(child, signal.SIGKILL)
        # The child can be waited for only once everything in its namespace is gone.
        if os.waitpid(child, os.WNOHANG)[0] == child:
            return 0


def _shut_in(job: Job, kernel: Kernel) -> None:
    """Namespaces of our own: processes that we start, and a network with nothing in it."""
    if not job.switch:
        # Without root a namespace is given only inside of a user namespace, in which nobody but ourselves exists.
        with part("user-namespace"):
            kernel.unshare(CLONE_NEWUSER)
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{job.uid} {job.uid} 1")
            _write("/proc/self/gid_map", f"{job.gid} {job.gid} 1")
    with part("network"):
        kernel.unshare(CLONE_NEWNET)
    with part("processes"):
        kernel.unshare(CLONE_NEWPID)
    with part("parent"):
        kernel.control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != job.parent:
            raise ProcessLookupError("the verifier is gone")


def _first(job: Job, kernel: Kernel, status: int, alive: int) -> None:
    """Be process 2: start the program, bury whoever dies, tell how the program ended."""
    try:
        with part("parent"):
            kernel.control(PR_SET_PDEATHSIG, signal.SIGKILL)
            # The parent is outside of this namespace and has no number here; its end of a pipe tells of it.
            if select.select([alive], [], [], 0)[0]:
                raise ProcessLookupError("the launcher is gone")
            # Nobody of the same account may look into this process.
            kernel.control(PR_SET_DUMPABLE, 0)
        with part("processes"):
            program = os.fork()
    except RefusedPartError as error:
        _tell(status, refused=error.part, errno=error.errno, words=error.words)
        return
    if program == 0:
        _end(lambda: _become(job, kernel, status))
    while True:
        process, result = os.wait()
        if process == program:
            _tell(status, ended=os.waitstatus_to_exitcode(result))
            return


def _become(job: Job, kernel: Kernel, status: int) -> None:
    """Be process 3: give up everything, then be the program."""
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
            kernel.control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
            kernel.control(PR_SET_NO_NEW_PRIVS, 1)
            if kernel.control(PR_GET_NO_NEW_PRIVS) != 1:
                raise PermissionError("no_new_privs did not stay")
        with part("descriptors"):
            _close_all_but({0, 1, 2, status, job.program})
            os.set_inheritable(status, False)
            os.set_inheritable(job.program, job.script)
        with part("limits"):
            _limit(job.limits)
        _tell(status, starting=True)
        if not job.probe:
            with part("program"):
                argv = [one.encode("utf-8", "surrogateescape") for one in job.argv]
                variables = {
                    name.encode(): value.encode("utf-8", "surrogateescape") for name, value in job.environment.items()
                }
                os.execve(job.program, argv, variables)  # noqa: S606 - without a shell is the point
    except RefusedPartError as error:
        _tell(status, refused=error.part, errno=error.errno, words=error.words)
        os._exit(1)


def _reset_signals() -> None:
    """As after a login: this interpreter ignores some signals, and a program would go on doing so."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _give_up_account(job: Job) -> None:
    """The account and no group but its own; nothing of root is left in any of the three ids."""
    if job.switch:
        os.setgroups([])
        os.setresgid(job.gid, job.gid, job.gid)
        os.setresuid(job.uid, job.uid, job.uid)
        if os.getgroups():
            raise PermissionError("groups were left")
    if {*os.getresuid(), *os.getresgid()} != {job.uid, job.gid} or 0 in (job.uid, job.gid):
        raise PermissionError(f"the ids are {os.getresuid()} and {os.getresgid()}")
    if os.getresuid() != (job.uid,) * 3:
        raise PermissionError(f"the user ids are {os.getresuid()}")


def _close_all_but(keep: set[int]) -> None:
    low = 0
    for one in sorted(keep):
        # An empty range would be taken for all of them (close_range(2) gets the last one, not the one after it).
        if low < one:
            os.closerange(low, one)
        low = one + 1
    os.closerange(low, HIGHEST)


def _limit(limits: dict[str, int]) -> None:
    """Both bounds of each, so that the program cannot raise them again."""
    for name, wanted in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (bound, bound))


def _write(path: str, text: str) -> None:
    # One write(2): the kernel takes these files in one piece.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def _tell(status: int, **what: object) -> None:
    os.write(status, json.dumps(what).encode("ascii") + b"\n")


def _end(act: Callable[[], None]) -> None:
    """Do it in a forked process, which never comes back to its parent's code."""
    try:
        act()
        os._exit(0)
    # A forked process must not run on, whatever happened in it.
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"launch: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(1)


def main(arguments: list[str]) -> int:
    """``launcher.py JOB STATUS``: two descriptors."""
    source, status = (int(one) for one in arguments)
    with os.fdopen(source, "rb") as file:
        found = json.loads(file.read(MAX_JOB))
    found["argv"] = tuple(found["argv"])
    return launch(Job(**found), status)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
