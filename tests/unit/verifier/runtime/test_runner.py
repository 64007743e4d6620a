"""The runner, on real processes: what a program gets, what it does not get, and how it ends."""

import errno
import json
import mmap
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from manifests.documents.release import Program
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError, WaybillError
from tests.faults.model import FailingDisk
from verifier.runtime import program_files, sandbox
from verifier.runtime.program_files import (
    NewFile,
    PlacedProgram,
    ProgramAccount,
    ProgramLimits,
    ProgramResult,
    TailBuffer,
    choose_file,
    find_account,
    place_program,
    platform_of,
)
from verifier.runtime.sandbox import ProgramRun, check_sandbox, run_program
from verifier.site.disk import Disk

ROOT = os.geteuid() == 0
NOBODY = 65534
# One that the unprivileged account can reach, which the interpreter of these tests may not be.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
SH = Path("/bin/sh")
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
needs_python = pytest.mark.skipif(PYTHON is None, reason="needs python3 in /usr/bin or /usr/local/bin")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
needs_unshare = pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
LIMITS = ProgramLimits(seconds=20, memory_bytes=256 << 20, output_bytes=1 << 20)
MIB = 1 << 20


@pytest.fixture(scope="module")
def account() -> ProgramAccount:
    # An account of this process alone: how many processes it may have is counted over all that run as it.
    found = find_account(1_000_000 + os.getpid() if ROOT else os.geteuid(), ours=os.geteuid())
    try:
        check_sandbox(found)
    except RefusedError as error:
        pytest.skip(f"needs {error.finding}")
    return found


def run(program: PlacedProgram, argv: tuple[str, ...], **options: Any) -> ProgramResult:
    return run_program(ProgramRun(program, argv, **options))


def put(folder: Path, data: bytes, name: str = "tool") -> PlacedProgram:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o555)
    return PlacedProgram(name, path, Blob(digest=digest_of(data), size=len(data)))


def python(folder: Path, text: str) -> PlacedProgram:
    return put(folder, f"#!{PYTHON} -I\n{text}".encode())


def shell(folder: Path, text: str) -> PlacedProgram:
    return put(folder, f"#!/bin/sh\n{text}".encode())


def binary(folder: Path, name: str) -> PlacedProgram:
    """A copy of a program of this host: the vendor's are compiled ones too."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return put(folder, Path(found).read_bytes(), name)


def alive(word: str) -> list[int]:
    """Processes with this word among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(true: Callable[[], object], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def unique() -> str:
    """As seconds for `sleep`, which no other process will have."""
    return f"{90000 + os.getpid()}.{time.monotonic_ns() % 10**9:09d}"


# --- what it gets -------------------------------------------------------------------------------------------------

LOOK = """
import json, os, resource, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "argv": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd(), "there": os.listdir("."),
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")},
    "umask": os.umask(0), "session": os.getsid(0) == os.getpid(), "pid": os.getpid(), "parent": os.getppid(),
    "capabilities": [status["CapPrm"], status["CapEff"], status["CapAmb"], status["CapInh"]],
    "privileges": status["NoNewPrivs"], "interfaces": [line.split(":")[0].strip() for line in
                                                       open("/proc/net/dev").read().splitlines()[2:]],
    "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))
               for name in ("CORE", "FSIZE", "NOFILE", "NPROC", "AS", "DATA")},
    "config": open(os.environ["WAYBILL_CONFIG"]).read(), "tty": os.isatty(0), "stdin": sys.stdin.read(),
}))
"""


@needs_python
def test_what_a_program_gets(tmp_path: Path, account: ProgramAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_KEY", "secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with (tmp_path / "open").open("w") as left_open:
        os.set_inheritable(left_open.fileno(), True)
        argv = ("tool", "plain", "with space", "$(id)", "; reboot", "*", "", "größe")
        ran = run(
            python(tmp_path, LOOK),
            argv,
            account=account,
            limits=LIMITS,
            environment={"WAYBILL_VERSION": "1.4.2"},
            config=b'{"replicas": 2}',
        )
    assert (ran.outcome, ran.code, ran.errors) == ("done", 0, "")
    seen = json.loads(ran.output)
    assert tuple(seen["argv"]) == argv[1:]
    home = seen["environment"]["HOME"]
    assert seen["environment"] == {
        "HOME": home,
        "LANG": "C.UTF-8",
        "TMPDIR": home,
        "WAYBILL_CONFIG": str(Path(home).parent / "config.json"),
        "WAYBILL_VERSION": "1.4.2",
    }
    assert (seen["cwd"], seen["there"]) == (home, [])
    assert not Path(home).parent.exists()
    assert (seen["uids"], seen["gids"]) == ([account.uid] * 3, [account.gid] * 3)
    assert 0 not in seen["uids"] + seen["gids"]
    if ROOT:
        assert seen["groups"] == []
    assert seen["capabilities"] == ["0000000000000000"] * 4
    assert seen["privileges"] == "1"
    assert seen["interfaces"] == ["lo"]
    assert (seen["session"], seen["umask"], seen["tty"], seen["stdin"]) == (True, 0o077, False, "")
    # Its own numbers: it is the second process of a world in which there is nobody else.
    assert (seen["pid"], seen["parent"]) == (2, 1)
    # The interpreter holds the script itself, and the folder that it lists.
    others = {fd: target for fd, target in seen["fds"].items() if fd not in ("0", "1", "2")}
    assert set(others.values()) <= {str(tmp_path / "tool")}
    assert seen["limits"] == {
        "CORE": [0, 0],
        "FSIZE": [LIMITS.file_bytes] * 2,
        "NOFILE": [256, 256],
        "NPROC": [128, 128],
        "AS": [LIMITS.memory_bytes + (2 << 30)] * 2,
        "DATA": [LIMITS.memory_bytes] * 2,
    }
    assert seen["config"] == '{"replicas": 2}'


def test_a_compiled_program_gets_three_descriptors_and_no_strange_signals(
    tmp_path: Path, account: ProgramAccount
) -> None:
    with (tmp_path / "open").open("w") as left_open:
        os.set_inheritable(left_open.fileno(), True)
        ran = run(binary(tmp_path, "ls"), ("ls", "/proc/self/fd"), account=account, limits=LIMITS)
        # The fourth is the folder that ls reads.
        assert ran.output.split() == [b"0", b"1", b"2", b"3"]
        held = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            ran = run(binary(tmp_path, "cat"), ("cat", "/proc/self/status"), account=account, limits=LIMITS)
        finally:
            signal.signal(signal.SIGUSR1, held)
    status = dict(line.split(":\t", 1) for line in ran.output.decode().splitlines() if ":\t" in line)
    # 32 and 33 belong to the C library, which lets nobody set them; a test run can begin with one of them ignored.
    ours = ~(0b11 << 31)
    assert [int(status[name], 16) & ours for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_the_working_folder_can_be_given(tmp_path: Path, account: ProgramAccount) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "there").touch()
    ran = run(binary(tmp_path, "ls"), ("ls", "."), account=account, limits=LIMITS, cwd=state)
    assert ran.output == b"there\n"
    with pytest.raises(RefusedError, match="working folder") as found:
        run(binary(tmp_path, "ls"), ("ls",), account=account, limits=LIMITS, cwd=tmp_path / "none")
    assert found.value.finding == "sandbox-folder"


def test_a_program_states_something_in_a_file_that_it_cannot_replace(tmp_path: Path, account: ProgramAccount) -> None:
    text = 'echo "$1" >"$WAYBILL_PROOF"; mv "$WAYBILL_PROOF" "$WAYBILL_PROOF.old" 2>/dev/null && echo gone; exit 0'
    result = run(shell(tmp_path, text), ("tool", "3"), account=account, limits=LIMITS, states=True)
    assert (result.outcome, result.proof) == ("done", b"3\n")
    assert result.output == (b"" if ROOT else b"gone\n")


def test_only_our_own_variables_can_be_added(tmp_path: Path, account: ProgramAccount) -> None:
    with pytest.raises(ValueError, match="WAYBILL_"):
        run(shell(tmp_path, ""), ("tool",), account=account, limits=LIMITS, environment={"LD_PRELOAD": "x"})


@needs_root
@needs_python
def test_what_it_cannot_do_as_that_account(tmp_path: Path, account: ProgramAccount) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    text = f"""
import os, json
def fails(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0
print(json.dumps([fails(lambda: os.setuid(0)), fails(lambda: open({str(secret)!r})),
                  fails(lambda: os.kill({os.getpid()}, 0)), fails(lambda: os.chroot("/"))]))
"""
    ran = run(python(tmp_path, text), ("tool",), account=account, limits=LIMITS)
    assert json.loads(ran.output) == [errno.EPERM, errno.EACCES, errno.ESRCH, errno.EPERM]


@needs_root
def test_a_set_uid_program_gains_nothing(tmp_path: Path, account: ProgramAccount) -> None:
    # Where set-uid counts at all; the control run without the sandbox shows whether it does here.
    shown = tmp_path / "id"
    shown.write_bytes(Path(shutil.which("id") or "/usr/bin/id").read_bytes())
    shown.chmod(0o4755)
    folder = tmp_path
    while folder != Path("/tmp") and folder != folder.parent:
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent
    control = subprocess.run([shown, "-u"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True)
    if control.stdout != b"0\n":
        pytest.skip("needs a file system where set-uid counts")
    ran = run(shell(tmp_path / "p", f"{shown} -u\n"), ("tool",), account=account, limits=LIMITS)
    assert ran.output == f"{account.uid}\n".encode()


# --- no network ---------------------------------------------------------------------------------------------------

CALL = """
import json, socket, sys
def tried(family, address):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(3)
            one.connect(address)
    except OSError as error:
        return error.errno
    return 0
port, name = int(sys.argv[1]), sys.argv[2]
print(json.dumps([tried(socket.AF_INET, ("127.0.0.1", port)), tried(socket.AF_INET6, ("::1", port)),
                  tried(socket.AF_INET, ("192.0.2.1", 9)), tried(socket.AF_UNIX, "\\0" + name)]))
"""


@pytest.fixture
def listening() -> Iterator[tuple[str, str]]:
    name = f"waybill-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        yield str(server.getsockname()[1]), name


@needs_python
def test_no_network_not_even_loopback(tmp_path: Path, account: ProgramAccount, listening: tuple[str, str]) -> None:
    program = python(tmp_path, CALL)
    outside = subprocess.run([program.path, *listening], capture_output=True, check=True)
    free = json.loads(outside.stdout)
    assert (free[0], free[3]) == (0, 0), "the same program outside of the sandbox gets through"
    ran = run(program, ("tool", *listening), account=account, limits=LIMITS)
    inside = json.loads(ran.output)
    assert inside[0] == inside[2] == errno.ENETUNREACH
    assert inside[1] in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    assert inside[3] == errno.ECONNREFUSED


# --- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome", "code"),
    [
        ("exit 0", "done", 0),
        ("exit 3", "failed", 3),
        ("exit 255", "failed", 255),
        ("kill -SEGV $$", "killed", -signal.SIGSEGV),
        ("kill -KILL $$", "killed", -signal.SIGKILL),
        # The first process of its world is not for it to kill.
        ("kill -KILL 1; exit 4", "failed", 4),
    ],
)
def test_outcomes(tmp_path: Path, account: ProgramAccount, text: str, outcome: str, code: int) -> None:
    ran = run(shell(tmp_path, text), ("tool",), account=account, limits=LIMITS)
    assert (ran.outcome, ran.code) == (outcome, code)


@needs_python
def test_time_ends_everything_that_it_started(tmp_path: Path, account: ProgramAccount) -> None:
    """Deaf to SIGTERM, children in sessions of their own, orphans: all of it is gone on return."""
    word = unique()
    text = f"""
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    subprocess.Popen(["/bin/sleep", "{word}"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv("/bin/sleep", ["sleep", "{word}"])
    os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""
    seen: list[int] = []

    class Watching(TailBuffer):
        def write(self, data: bytes) -> None:
            super().write(data)
            until(lambda: len(alive(word)) == 3)
            seen.extend(alive(word))

    begun = time.monotonic()
    sink = Watching(100)
    limits = ProgramLimits(seconds=2, memory_bytes=256 * MIB, output_bytes=100)
    ran = run(python(tmp_path, text), ("tool",), account=account, limits=limits, sink=sink)
    assert (ran.outcome, bytes(sink.data)) == ("timed-out", b"ready\n")
    assert 2 <= ran.seconds < 8
    assert time.monotonic() - begun < 10
    assert len(seen) == 3
    assert alive(word) == []


def test_nothing_outlives_a_program_that_ends_well(tmp_path: Path, account: ProgramAccount) -> None:
    word = unique()
    text = f"setsid sleep {word} >/dev/null 2>&1 </dev/null &\nsleep 0.2\necho left\n"
    ran = run(shell(tmp_path, text), ("tool",), account=account, limits=LIMITS)
    assert (ran.outcome, ran.output) == ("done", b"left\n")
    assert ran.seconds < 10
    assert alive(word) == []


def test_a_child_that_keeps_stdout_open_does_not_keep_us(tmp_path: Path, account: ProgramAccount) -> None:
    ran = run(shell(tmp_path, f"sleep {unique()} &\necho out\n"), ("tool",), account=account, limits=LIMITS)
    assert (ran.outcome, ran.output) == ("done", b"out\n")
    assert ran.seconds < 10


@needs_python
def test_forks_have_an_end(tmp_path: Path, account: ProgramAccount) -> None:
    word = unique()
    text = f"""
import os, sys, time
count = 0
try:
    while count < 5000:
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "{word}"])
        count += 1
except OSError as error:
    print(error.errno, count)
"""
    ran = run(python(tmp_path, text), ("tool",), account=account, limits=LIMITS)
    number, count = ran.output.split()
    assert int(number) == errno.EAGAIN
    assert int(count) <= sandbox.MAX_PROCESSES
    assert alive(word) == []


@needs_python
def test_memory(tmp_path: Path, account: ProgramAccount) -> None:
    text = "import sys\nx = bytearray(int(sys.argv[1]))\nprint(len(x))\n"
    program = python(tmp_path, text)
    limits = ProgramLimits(seconds=20, memory_bytes=64 * MIB, output_bytes=1000)
    assert run(program, ("tool", str(16 * MIB)), account=account, limits=limits).outcome == "done"
    ran = run(program, ("tool", str(96 * MIB)), account=account, limits=limits)
    assert ran.outcome == "failed"
    assert "MemoryError" in ran.errors
    # Address space that is only reserved costs nothing; runtimes do that.
    text = (
        "import mmap\nx = mmap.mmap(-1, 1 << 30, prot=0, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nprint(len(x))\n"
    )
    assert mmap.PROT_READ != 0
    ran = run(python(tmp_path / "r", text), ("tool",), account=account, limits=limits)
    assert (ran.outcome, ran.output) == ("done", b"1073741824\n")


@pytest.mark.parametrize(("extra", "outcome"), [(0, "done"), (1, "output-too-long")])
def test_output_to_the_byte(tmp_path: Path, account: ProgramAccount, extra: int, outcome: str) -> None:
    most = 300_000
    limits = ProgramLimits(seconds=20, memory_bytes=256 * MIB, output_bytes=most)
    program = binary(tmp_path, "head")
    ran = run(program, ("head", "-c", str(most + extra), "/dev/zero"), account=account, limits=limits)
    assert ran.outcome == outcome
    assert ran.size <= most
    if not extra:
        assert (ran.output, ran.digest) == (bytes(most), digest_of(bytes(most)))


def test_endless_output_is_ended(tmp_path: Path, account: ProgramAccount) -> None:
    limits = ProgramLimits(seconds=20, memory_bytes=256 * MIB, output_bytes=5 * MIB)
    with NewFile(Disk(), tmp_path / "out") as file:
        ran = run(binary(tmp_path, "yes"), ("yes", "x" * 1000), account=account, limits=limits, sink=file)
    assert ran.outcome == "output-too-long"
    assert (tmp_path / "out").stat().st_size <= 5 * MIB
    assert ran.seconds < 10


def test_the_end_of_stderr_is_kept_and_cannot_act_on_a_terminal(tmp_path: Path, account: ProgramAccount) -> None:
    text = 'head -c 3000000 /dev/zero | tr "\\000" x >&2\nprintf "\\033[31mred\\nthe end\\007" >&2\necho out\n'
    ran = run(shell(tmp_path, text), ("tool",), account=account, limits=LIMITS)
    assert (ran.outcome, ran.output) == ("done", b"out\n")
    assert ran.errors.endswith(" [31mred the end")
    assert len(ran.errors) <= program_files.KEPT_ERRORS


def test_files_have_a_bound(tmp_path: Path, account: ProgramAccount) -> None:
    limits = ProgramLimits(seconds=20, memory_bytes=256 * MIB, output_bytes=1000, file_bytes=MIB)
    ran = run(
        shell(tmp_path, "exec dd if=/dev/zero of=big bs=65536 count=64"), ("tool",), account=account, limits=limits
    )
    assert ran.outcome in ("killed", "failed")
    assert ran.code in (-signal.SIGXFSZ, 1)


def test_stdin_and_a_file_as_stdout(tmp_path: Path, account: ProgramAccount) -> None:
    data = os.urandom(3 * MIB)
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "in").chmod(0o600)
    limits = ProgramLimits(seconds=20, memory_bytes=256 * MIB, output_bytes=4 * MIB)
    with (tmp_path / "in").open("rb") as source, NewFile(Disk(), tmp_path / "out") as file:
        ran = run(binary(tmp_path, "cat"), ("cat",), account=account, limits=limits, stdin=source, sink=file)
        file.finish()
    assert (ran.outcome, ran.size, ran.digest, ran.output) == ("done", len(data), digest_of(data), b"")
    assert (tmp_path / "out").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


def test_stdin_cannot_be_opened_again_for_writing(tmp_path: Path, account: ProgramAccount) -> None:
    if not ROOT:
        pytest.skip("needs root")
    (tmp_path / "in").write_bytes(b"backup")
    (tmp_path / "in").chmod(0o600)
    with (tmp_path / "in").open("rb") as source:
        ran = run(shell(tmp_path, "echo x >/dev/stdin"), ("tool",), account=account, limits=LIMITS, stdin=source)
    assert ran.outcome == "failed"
    assert (tmp_path / "in").read_bytes() == b"backup"


def test_a_full_disk_leaves_nothing_running(tmp_path: Path, account: ProgramAccount) -> None:
    program, word = shell(tmp_path, 'sleep "$1" & while :; do echo more; done'), unique()
    disk = FailingDisk(3, errno.ENOSPC)
    with NewFile(disk, tmp_path / "out") as file, pytest.raises(OSError, match="No space") as found:
        run(program, ("tool", word), account=account, limits=LIMITS, sink=file)
    assert disk.fired == 1
    assert found.value.filename == str(tmp_path / "out")
    assert alive(word) == []


def test_an_interrupt_leaves_nothing_running(tmp_path: Path, account: ProgramAccount) -> None:
    word = unique()

    class Pressed(TailBuffer):
        def write(self, data: bytes) -> None:
            assert until(lambda: alive(word))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            shell(tmp_path, 'echo go; exec sleep "$1"'),
            ("tool", word),
            account=account,
            limits=LIMITS,
            sink=Pressed(1),
        )
    assert alive(word) == []


def test_many_at_once(tmp_path: Path, account: ProgramAccount) -> None:
    program = shell(tmp_path, 'sleep 0.1; echo "$1"')

    def one(number: int) -> ProgramResult:
        return run(program, ("tool", str(number)), account=account, limits=LIMITS)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert [ran.output for ran in pool.map(one, range(8))] == [f"{n}\n".encode() for n in range(8)]


PARENT = """
import os, sys
from pathlib import Path
from manifests.words.digest import Blob
from verifier.runtime.program_files import *
from verifier.runtime.sandbox import *
path, digest, size, uid, word = sys.argv[1:]
program = PlacedProgram("tool", Path(path), Blob(digest=digest, size=int(size)))
account = find_account(int(uid), ours=os.geteuid())
run_program(ProgramRun(program, ("tool", word), account, ProgramLimits(600, 1 << 28, 1000)))
"""


def other_process(program: PlacedProgram, account: ProgramAccount, word: str) -> subprocess.Popen[bytes]:
    blob = program.blob
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(program.path), blob.digest, str(blob.size), str(account.uid), word],
        cwd=Path(__file__).parents[4],
        env={"PYTHONPATH": str(Path(__file__).parents[4])},
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_verifier_that_is_killed(tmp_path: Path, account: ProgramAccount, number: int) -> None:
    word = unique()
    program = shell(tmp_path, 'trap "" TERM HUP INT; setsid sleep "$1" & exec sleep "$1"')
    process = other_process(program, account, word)
    # Both sleeps; the other process has the word among its own arguments too.
    assert until(lambda: len([pid for pid in alive(word) if pid != process.pid]) >= 2, 20)
    process.send_signal(number)
    process.wait(10)
    assert until(lambda: alive(word) == [], 5)


def test_what_a_killed_verifier_left_is_removed_by_the_next(tmp_path: Path, account: ProgramAccount) -> None:
    """Its folder may hold the configuration; a folder that is in use, young, or of others stays."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for folder in (scratch, *scratch.parents):
        if ROOT and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    left, young, foreign = (scratch / name for name in ("waybill-run-left", "waybill-run-young", "other"))
    for folder in (left, young, foreign):
        folder.mkdir()
        (folder / "config.json").write_text("password")
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    link = scratch / "waybill-run-link"
    link.symlink_to(foreign)

    class Aged(TailBuffer):
        def write(self, data: bytes) -> None:
            used = Path(data.decode().strip()).parent
            os.utime(used, (0, 0))
            check_sandbox(account, scratch=scratch)
            assert used.is_dir(), "it is in use"

    ran = run(shell(tmp_path, "pwd"), ("tool",), account=account, limits=LIMITS, scratch=scratch, sink=Aged(100))
    assert ran.outcome == "done"
    assert sorted(one.name for one in scratch.iterdir()) == ["other", "waybill-run-link", "waybill-run-young"]
    assert (foreign / "config.json").exists()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_launcher_that_is_killed_is_told_and_takes_the_program_along(tmp_path: Path, account: ProgramAccount) -> None:
    word, killed = unique(), []

    class Killing(TailBuffer):
        def write(self, data: bytes) -> None:
            launcher = [
                pid for pid in children(os.getpid()) if b"launcher.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            killed.extend(launcher)
            os.kill(launcher[0], signal.SIGKILL)

    with pytest.raises(HostError, match="ended without a result") as found:
        run(
            shell(tmp_path, 'echo go; exec sleep "$1"'), ("tool", word), account=account, limits=LIMITS, sink=Killing(1)
        )
    assert found.value.finding == "launcher"
    assert len(killed) == 1
    assert until(lambda: alive(word) == [], 5)


# --- what is not run ----------------------------------------------------------------------------------------------


def test_a_program_that_is_not_the_releases(tmp_path: Path, account: ProgramAccount) -> None:
    good = shell(tmp_path, f"touch {tmp_path}/ran")
    longer = put(tmp_path / "l", good.path.read_bytes() + b"#")
    changed = put(tmp_path / "c", good.path.read_bytes().replace(b"touch", b"rm -f"))
    link = tmp_path / "link"
    link.symlink_to(good.path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {
        tmp_path / "none": "program-missing",
        longer.path: "program-changed",
        changed.path: "program-changed",
        pipe: "program-changed",
        tmp_path: "program-changed",
    }
    for path, finding in cases.items():
        with pytest.raises(DamagedError) as found:
            run(PlacedProgram("tool", path, good.blob), ("tool",), account=account, limits=LIMITS)
        assert found.value.finding == finding
    with pytest.raises(HostError):
        run(PlacedProgram("tool", link, good.blob), ("tool",), account=account, limits=LIMITS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o777])
def test_a_program_that_others_may_write_to(tmp_path: Path, account: ProgramAccount, mode: int) -> None:
    program = shell(tmp_path, "exit 0")
    program.path.chmod(mode)
    with pytest.raises(RefusedError, match="others may write") as found:
        run(program, ("tool",), account=account, limits=LIMITS)
    assert found.value.finding == "program-writable"


@needs_root
def test_a_program_of_another_owner(tmp_path: Path, account: ProgramAccount) -> None:
    program = shell(tmp_path, "exit 0")
    os.chown(program.path, NOBODY, NOBODY)
    with pytest.raises(RefusedError, match="owner 65534"):
        run(program, ("tool",), account=account, limits=LIMITS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7fELF, but no more than that", "exec format error"),
        (b"no program at all", "exec format error"),
        (b"", "exec format error"),
        (b"#!/nowhere/interpreter\n", "no such file or directory"),
    ],
)
def test_a_program_that_cannot_be_started(tmp_path: Path, account: ProgramAccount, data: bytes, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as found:
        run(put(tmp_path, data), ("tool",), account=account, limits=LIMITS)
    assert found.value.finding == "program-unusable"


def test_a_program_that_may_not_be_executed(tmp_path: Path, account: ProgramAccount) -> None:
    program = shell(tmp_path, "exit 0")
    program.path.chmod(0o444)
    with pytest.raises(RefusedError, match="permission denied") as found:
        run(program, ("tool",), account=account, limits=LIMITS)
    assert found.value.finding == "program-unusable"


# --- accounts -----------------------------------------------------------------------------------------------------


def test_accounts() -> None:
    number = 4_000_000_000
    assert find_account(number, ours=0) == ProgramAccount(str(number), number, number)
    assert find_account(str(number), ours=0) == find_account(number, ours=0)
    mine = find_account(NOBODY, ours=NOBODY)
    assert (mine.uid, mine.gid) == (NOBODY, os.getegid())


@pytest.mark.parametrize(
    ("user", "ours", "words"),
    [
        (None, 0, "names no account"),
        (None, 1000, "names no account"),
        ("root", 0, "is root"),
        (0, 0, "is root"),
        ("0", 0, "is root"),
        ("no-such-account", 0, "has no account 'no-such-account'"),
        (2**32 - 1, 0, "is not a user id"),
        (2**40, 0, "is not a user id"),
        (-1, 0, "is not a user id"),
        (4_000_000_000, 4_000_000_001, "only root can run a program as"),
    ],
)
def test_accounts_that_are_refused(user: str | int | None, ours: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as found:
        find_account(user, ours=ours)
    assert found.value.finding == "sandbox-account"
    assert found.value.remedy


# --- read-only folders ---------------------------------------------------------------------------------------------

# Writes by its path, through the root of the other processes, and after taking rights in a namespace of its own.
ESCAPES = """
mkdir "$1/plain"
for process in /proc/[0-9]*; do mkdir "$process/root$1/of-${process#/proc/}"; done
unshare --user --map-root-user --mount sh -c '
  for mount in / "$0" /tmp; do mount -o remount,bind,rw "$mount"; mount -o remount,rw "$mount"; umount -l "$mount"; done
  mkdir "$0/remounted"
  mount --bind "$0" /mnt && mount -o remount,bind,rw /mnt && mkdir /mnt/bound
' "$1"
if [ "$2" ]; then ipcmk -M 4096; fi
mkdir "$HOME/mine" && mkdir ours && echo x > /dev/null && echo done
"""


def test_only_its_own_folder_can_be_written_to(tmp_path: Path, account: ProgramAccount) -> None:
    target = Path(tempfile.mkdtemp(dir=program_files.SCRATCH))
    try:
        target.chmod(0o777)
        tool = shell(tmp_path, ESCAPES)
        free = run(tool, ("tool", str(target)), account=account, limits=LIMITS)
        assert (target / "plain").is_dir(), free.errors
        (target / "plain").rmdir()
        for left in target.iterdir():
            left.rmdir()
        memory = Path("/proc/sysvipc/shm").read_text()
        bound = run(tool, ("tool", str(target), "memory"), account=account, limits=LIMITS, read_only=True)
        assert bound.output.splitlines()[-1:] == [b"done"], bound.errors
        assert list(target.iterdir()) == []
        assert Path("/proc/sysvipc/shm").read_text().count("\n") == memory.count("\n")
    finally:
        shutil.rmtree(target)


# --- a host that cannot give it -----------------------------------------------------------------------------------

CHECK = """
import os, sys
from manifests.words.errors import WaybillError
from verifier.runtime.program_files import find_account
from verifier.runtime.sandbox import check_sandbox
try:
    check_sandbox(find_account(int(sys.argv[1]), ours=os.geteuid()), read_only=True)
except WaybillError as error:
    print(error.finding)
    sys.exit(error.exit_code)
print("all of it")
"""


def checked_under(*before: str, uid: int, interpreter: str = sys.executable, path: str = "") -> str:
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [*before, interpreter, "-B", "-c", CHECK, str(uid)],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{path}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, RefusedError.exit_code), done.stderr
    return done.stdout.strip()


@needs_root
@needs_setpriv
def test_root_in_a_container_without_the_right(account: ProgramAccount) -> None:
    assert checked_under("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", uid=NOBODY) == "sandbox-network"


@needs_root
@needs_setpriv
def test_root_that_may_not_change_accounts(account: ProgramAccount) -> None:
    assert checked_under("setpriv", "--bounding-set=-setuid", "--inh-caps=-all", uid=NOBODY) == "sandbox-account"
    assert checked_under("setpriv", "--bounding-set=-setgid", "--inh-caps=-all", uid=NOBODY) == "sandbox-account"


@needs_unshare
def test_root_of_a_user_namespace_without_that_account(account: ProgramAccount) -> None:
    assert checked_under("unshare", "--user", "--map-root-user", uid=4_000_000_000) == "sandbox-account"


@needs_strace
@pytest.mark.parametrize(
    ("injected", "part"),
    [
        ("unshare:error=EPERM:when=2", "files"),
        # A kernel before Linux 5.12, and one that says yes and does nothing.
        ("mount_setattr:error=ENOSYS", "files"),
        ("mount_setattr:retval=0", "files"),
        ("mount:error=EACCES", "files"),
        ("unshare:retval=0:when=2", "files"),
        ("unshare:error=EPERM:when=1", "network"),
        ("unshare:error=ENOSPC:when=3", "processes"),
        ("setgroups:error=EPERM", "account"),
        # A kernel that says yes and does nothing is found out.
        ("setgroups,setresgid,setresuid:retval=0", "account"),
        ("setresuid:retval=0", "account"),
        ("setresgid:retval=0", "account"),
        ("prctl:retval=0", "privileges"),
        ("prctl:error=EINVAL:when=1", "parent"),
        ("fchdir:error=EACCES", "folder"),
        ("prlimit64:error=EPERM:when=1+", "limits"),
    ],
)
def test_each_part_is_refused_by_its_name(account: ProgramAccount, injected: str, part: str) -> None:
    if not ROOT:
        pytest.skip("needs root")
    calls = injected.partition(":")[0]
    before = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={injected}")
    assert checked_under(*before, uid=NOBODY) == f"sandbox-{part}"


def test_what_is_refused_was_not_run(tmp_path: Path, account: ProgramAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broken order ends in a name, and never in the program."""
    open_ = tmp_path / "open"
    open_.mkdir()
    open_.chmod(0o777)
    program = shell(tmp_path, f"touch {open_}/ran")
    for folder in (tmp_path, *tmp_path.parents):
        if ROOT and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    real = sandbox._job
    orders: dict[str, dict[str, object]] = {
        "sandbox-parent": {"parent": 1},
        "sandbox-account": {"uid": 0, "gid": 0},
        "sandbox-limits": {"limits": {"NONSENSE": 1}},
        "sandbox-folder": {"folder": 999},
        "program-unusable": {"argv": ("a\0b",)},
    }
    for finding, change in orders.items():
        if not ROOT and finding == "sandbox-account":
            continue
        monkeypatch.setattr(sandbox, "_job", lambda *args, change=change: real(*args) | change)
        with pytest.raises(WaybillError) as found:
            run(program, ("tool",), account=account, limits=LIMITS)
        assert found.value.finding == finding
    assert not (open_ / "ran").exists()
    monkeypatch.setattr(sandbox, "_job", real)
    run(program, ("tool",), account=account, limits=LIMITS)
    assert (open_ / "ran").exists()


@needs_root
def test_without_root_it_is_the_same_sandbox_by_user_namespaces(tmp_path: Path, account: ProgramAccount) -> None:
    """An unprivileged account runs the program as itself, which `site.yaml` must say."""
    import msgspec

    packages = str(Path(msgspec.__file__).parents[1])
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if interpreter is None:
        pytest.skip(f"needs {name} in /usr/bin or /usr/local/bin")
    if not reachable_by_others(Path(packages)) or shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, and packages that another account can read")
    before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    found = checked_under(*before, uid=NOBODY, interpreter=interpreter, path=packages)
    assert found in ("all of it", "sandbox-user-namespace")
    assert checked_under(*before, uid=1, interpreter=interpreter, path=packages) == "sandbox-account"


def reachable_by_others(path: Path) -> bool:
    return all(one.stat().st_mode & 0o005 == 0o005 for one in (path, *path.parents))


# --- which file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "machine", "platform"),
    [
        ("Linux", "x86_64", "linux/amd64"),
        ("Linux", "aarch64", "linux/arm64"),
        ("Linux", "armv7l", "linux/arm/v7"),
        ("Linux", "riscv64", "linux/riscv64"),
        ("Linux", "ppc64le", "linux/ppc64le"),
        ("Linux", "s390x", "linux/s390x"),
    ],
)
def test_platforms(system: str, machine: str, platform: str) -> None:
    assert platform_of(system, machine) == platform


def test_a_platform_that_the_release_lacks() -> None:
    blob = Blob(digest=digest_of(b"x"), size=1)
    program = Program(name="admin", files={"linux/arm64": blob, "linux/amd64": blob})
    assert choose_file(program, "linux/amd64") == blob
    with pytest.raises(RefusedError, match="is for linux/amd64, linux/arm64, this host is linux/s390x") as found:
        choose_file(program, "linux/s390x")
    assert found.value.finding == "program-platform"


def test_a_program_is_placed_once_and_mended(tmp_path: Path) -> None:
    data = b"#!/bin/sh\nexit 0\n"
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    blob = Blob(digest=digest_of(data), size=len(data))
    (blobs / blob.digest.removeprefix("sha256:")).write_bytes(data)
    program = Program(name="admin", files={"linux/amd64": blob})

    def place() -> PlacedProgram:
        return place_program(Disk(), blobs, tmp_path / "g", program, "linux/amd64")

    before = os.umask(0o077)
    try:
        placed = place()
    finally:
        os.umask(before)
    assert placed.path == tmp_path / "g" / "programs" / "admin"
    assert placed.path.read_bytes() == data
    assert stat.S_IMODE(placed.path.stat().st_mode) == 0o555
    inode = placed.path.stat().st_ino
    place()
    assert placed.path.stat().st_ino == inode
    for damage in (b"x" * len(data), data[:-1]):
        placed.path.chmod(0o755)
        placed.path.write_bytes(damage)
        place()
        assert placed.path.read_bytes() == data
    placed.path.chmod(0o777)
    place()
    assert stat.S_IMODE(placed.path.stat().st_mode) == 0o555
    placed.path.unlink()
    (blobs / blob.digest.removeprefix("sha256:")).write_bytes(b"x" * len(data))
    with pytest.raises(DamagedError):
        place()
    assert list(placed.path.parent.iterdir()) == []
    (blobs / blob.digest.removeprefix("sha256:")).unlink()
    with pytest.raises(DamagedError, match="not in the store"):
        place()
