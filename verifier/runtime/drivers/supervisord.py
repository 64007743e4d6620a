"""Keep a service running with the supervisor library, where there is no systemd: one daemon for each site.

The daemon starts with the first service and ends with the last one. It listens on a unix socket that only this account
may open. It outlives the command that started it; after a reboot `waybill recover` starts it again.
"""

import http.client
import os
import re
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from xml.parsers.expat import ExpatError

from manifests.words.canonical import Document, encode, parse
from manifests.words.errors import HostError, MalformedError
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.drivers.processes import (
    ProcessClock,
    ProcessIdentity,
    identify,
    is_alive,
    processes_of,
    stop_processes,
)
from verifier.runtime.drivers.service import STOP_SECONDS, Service, ServiceState, ServiceStatus, check_path
from verifier.runtime.drivers.supervisord_config import daemon_config, program_config, socket_path
from verifier.site.disk import Disk

START_SECONDS = 15.0
UP_SECONDS = 4.0
LOOK_SECONDS = 5.0
RPC_SECONDS = STOP_SECONDS + 20.0
# Raised by a call when the answer is not one of supervisord.
UNEXPECTED = (http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError)
# Fault codes (supervisor.xmlrpc.Faults).
BAD_NAME, NOT_RUNNING, ALREADY_ADDED, ALREADY_STARTED = 10, 70, 90, 60
# As supervisord writes the end of a process; one that ended too early has other words behind it.
_EXIT = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ \w+ exited: (\S+) \(", re.MULTILINE)
_STATES: dict[str, ServiceState] = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "failing",
    "FATAL": "failing",
}
# A path of sys.path and not PYTHONPATH, which every service would inherit.
_DAEMON = (
    "import runpy,sys;sys.path.insert(0,sys.argv.pop(1));"
    "runpy.run_module('supervisor.supervisord',run_name='__main__',alter_sys=True)"
)


class Daemon(Document, frozen=True, kw_only=True):
    """``run/supervisord.json``: the daemon of this site, and its socket."""

    process: ProcessIdentity
    socket: str


@dataclass(frozen=True)
class Supervisor:
    """The keeper. ``runtime``: folder for the socket of a site whose path is too long for one."""

    site: Path
    disk: Disk
    search_path: str
    runtime: Path | None = None
    clock: ProcessClock = field(default_factory=ProcessClock)

    def start(self, service: Service) -> None:
        """1. Remove the step's other generations, and end their processes; 2. add this one; 3. wait until it runs."""
        for path in (self.site, self._socket(), service.launch):
            check_path(path)
        with host_errors(self.site):
            names = self._programs()
            others = [name for name in names if name.startswith(f"{service.step}-g") and name != service.name]
            for name in others:
                self.disk.remove(self._program(name))
            self._write_config()
            if self._answers():
                self._apply()
            else:
                # The daemon died or the host was restarted: end the processes that it had started.
                self._end_hung()
                for name in names:
                    self._end_marked(str(self._folder_of(name) or service.record.folder))
            self._end_marked(str(Path(service.record.folder).parent), but=service.record.folder)
            self.disk.write(self._program(service.name), program_config(service).encode())
            self._write_config()
            if not self._answers():
                self._start_daemon()
            self._apply()
            self._begin(service.name)
            self._record()
            self.clock.until(lambda: self.status(service).state in ("running", "failing"), UP_SECONDS)

    def stop(self, service: Service) -> None:
        """1. Remove it from the configuration; 2. let the daemon stop it; 3. end processes that survived the daemon."""
        with host_errors(self.site):
            self.disk.remove(self._program(service.name))
            if self._run.is_dir():
                self._write_config()
            restart = False
            if self._answers():
                self._apply()
            else:
                restart = self._end_hung()
            self._end_marked(service.record.folder)
            if not self._programs():
                self._end_daemon()
            elif restart:
                self._start_daemon()

    def status(self, service: Service) -> ServiceStatus:
        try:
            info = call(self._socket(), "getProcessInfo", service.name, seconds=LOOK_SECONDS)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return ServiceStatus("stopped", "it is unknown to the supervisor")
            return ServiceStatus("unknown", f"unexpected answer of the supervisor: {str(fault)[:200]}")
        except OSError:
            return ServiceStatus("stopped", "no supervisor runs for this site")
        except UNEXPECTED as error:
            return ServiceStatus("unknown", f"unexpected answer of the supervisor: {str(error)[:200]}")
        values = info if isinstance(info, dict) else {}
        name, description = str(values.get("statename", "")), str(values.get("description", ""))
        state = _STATES.get(name, "stopped")
        detail = f"{name.lower()}, {description}" if description else name.lower()
        if state == "failing" and (last := last_line(service.log)):
            detail += f"; the log ends with: {last}"
        since = self.clock.local() - timedelta(days=1)
        return ServiceStatus(state, detail, count_exits(self.site / "logs" / "supervisord.log", service.name, since))

    def _apply(self) -> None:
        """Make the daemon's processes those of its configuration; stop the ones to remove first."""
        path = self._socket()
        answer = call_ignoring(path, (), "reloadConfig")
        try:
            added, changed, removed = ([str(name) for name in names] for names in answer[0])  # type: ignore[index]
        except (TypeError, ValueError, IndexError):
            raise self._error(f"the answer to reloadConfig is {str(answer)[:200]!r}") from None
        for name in (*removed, *changed):
            call_ignoring(path, (BAD_NAME, NOT_RUNNING), "stopProcessGroup", name)
            call_ignoring(path, (BAD_NAME,), "removeProcessGroup", name)
        for name in (*changed, *added):
            call_ignoring(path, (ALREADY_ADDED,), "addProcessGroup", name)

    def _begin(self, name: str) -> None:
        """Start a service again that has failed too often, or that an operator stopped."""
        info = call_ignoring(self._socket(), (BAD_NAME,), "getProcessInfo", name)
        if isinstance(info, dict) and info.get("statename") in ("STOPPED", "EXITED", "FATAL"):
            call_ignoring(self._socket(), (ALREADY_STARTED, 40, 50), "startProcess", name, False)

    def _end_marked(self, prefix: str, *, but: str | None = None) -> None:
        """End the processes that run in ``prefix`` or below it, except those in ``but``."""
        spared = processes_of(but) if but is not None else ()
        left = tuple(process for process in processes_of(prefix) if process not in spared)
        stop_processes(left, self.clock, grace=STOP_SECONDS)

    def _start_daemon(self) -> None:
        path = self._socket()
        for stale in (path, self._run / "supervisord.pid"):
            self.disk.remove(stale)
        try:
            done = subprocess.run(
                self._daemon_argv(),
                cwd="/",
                env={"PATH": self.search_path, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=START_SECONDS,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._error(f"the daemon did not start within {START_SECONDS:.0f} s") from None
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode:
            raise self._error(f"the daemon ended with code {done.returncode}: {errors[0] if errors else 'no message'}")
        if not self.clock.until(self._answers, START_SECONDS):
            raise self._error(f"the daemon did not answer on {path} within {START_SECONDS:.0f} s")
        self._record()

    def _record(self) -> None:
        """Record which process answers, so that it can be ended when it no longer does."""
        path = self._socket()
        process = identify(int(str(call_ignoring(path, (), "getPID"))))
        former = self._recorded()
        if process is not None and (former is None or former.process != process):
            self.disk.write(self._run / "supervisord.json", encode(Daemon(process=process, socket=str(path))), 0o600)

    def _daemon_argv(self) -> tuple[str, ...]:
        # Only its folder is needed here, and loading it takes longer than most commands that look at a service.
        import supervisor

        home = str(Path(supervisor.__file__).parents[1])
        config = str(self._run / "supervisord.conf")
        # -I: the daemon runs on for months, so it takes nothing from the operator's environment or folder.
        return (sys.executable, "-I", "-X", "utf8", "-c", _DAEMON, home, "-c", config)

    def _end_daemon(self) -> None:
        path = self._socket()
        daemon = self._recorded()
        if self._answers():
            process = identify(int(str(call_ignoring(path, (), "getPID"))))
            call_ignoring(path, (6,), "shutdown")
            if process is not None and not self.clock.until(lambda: not is_alive(process), RPC_SECONDS):
                stop_processes((process,), self.clock)
        elif daemon is not None:
            stop_processes((daemon.process,), self.clock)
        for stale in (path, self._run / "supervisord.json", self._run / "supervisord.pid"):
            self.disk.remove(stale)

    def _end_hung(self) -> bool:
        """End our daemon if it runs and does not answer; the record of an earlier boot names no process of this one."""
        daemon = self._recorded()
        if daemon is None or not is_alive(daemon.process):
            return False
        stop_processes((daemon.process,), self.clock)
        return True

    def _recorded(self) -> Daemon | None:
        path = self._run / "supervisord.json"
        try:
            return parse(path.read_bytes(), Daemon, str(path), max_bytes=4096)
        except (FileNotFoundError, MalformedError):
            return None

    def _answers(self) -> bool:
        try:
            state = call(self._socket(), "getState", seconds=LOOK_SECONDS)
        except (OSError, *UNEXPECTED):
            return False
        return isinstance(state, dict) and state.get("statename") == "RUNNING"

    @property
    def _run(self) -> Path:
        return self.site / "run"

    def _program(self, name: str) -> Path:
        return self._run / "programs" / f"{name}.conf"

    def _programs(self) -> list[str]:
        return sorted(path.stem for path in (self._run / "programs").glob("*.conf"))

    def _folder_of(self, name: str) -> str | None:
        """Return the folder in which the service of that name runs; None when it was just removed."""
        if not self._program(name).exists():
            return None
        match = re.search(r"^directory=(.*)$", self._program(name).read_text("utf-8"), re.MULTILINE)
        return match[1].replace("%%", "%") if match else None

    def _write_config(self) -> None:
        self.disk.make_folder(self._run / "programs", 0o700)
        self.disk.make_folder(self.site / "logs", 0o755)
        programs = [self._program(name).read_text("utf-8") for name in self._programs()]
        text = "\n".join([daemon_config(self.site, self._socket()), *programs])
        self.disk.write(self._run / "supervisord.conf", text.encode(), 0o600)

    def _socket(self) -> Path:
        return socket_path(self.site, self.runtime)

    def _error(self, problem: str) -> HostError:
        log = self.site / "logs" / "supervisord.log"
        return HostError(f"supervisord: {problem}", where=str(self.site), remedy=f"read {log}", finding="keeper-failed")


def last_line(path: Path) -> str:
    """Return the last line of a log, at most 200 characters, printable; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2048))
            lines = file.read(2048).decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(char if char.isprintable() else "?" for char in lines[-1])[:200] if lines else ""


def count_exits(log: Path, name: str, since: datetime) -> int:
    """Return how often a service ended by itself since a local time, by the log of the daemon and the one before it.

    A stop that was asked for is written in other words. A log that cannot be read counts as empty.
    """
    count = 0
    for path in (log, log.with_name(f"{log.name}.1")):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        for at, process in _EXIT.findall(text):
            with suppress(ValueError):
                count += process == name and datetime.strptime(at, "%Y-%m-%d %H:%M:%S") >= since
    return count


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


@dataclass
class _Transport(xmlrpc.client.Transport):
    """A transport with one connection, which `call` closes."""

    connection: _Connection

    def __post_init__(self) -> None:
        super().__init__()

    def make_connection(self, host: object) -> _Connection:
        return self.connection


def call(path: Path, method: str, *arguments: object, seconds: float = RPC_SECONDS) -> object:
    """Call a method of supervisord. Faults and errors of the socket are raised as they are."""
    with closing(_Connection(path, seconds)) as connection:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(connection))
        return getattr(proxy.supervisor, method)(*arguments)


def call_ignoring(path: Path, ignored: Sequence[int], method: str, *arguments: object) -> object:
    """Call a method; return None for a fault in ``ignored``. Raises HostError for all others."""
    try:
        return call(path, method, *arguments)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode in ignored:
            return None
        problem, where = f"supervisord refused {method}: {fault.faultString[:200]}", " ".join(map(str, arguments))
    except UNEXPECTED as error:
        problem, where = f"unexpected answer of supervisord to {method}: {str(error)[:200]}", str(path)
    remedy = "read logs/supervisord.log of the site"
    raise HostError(problem, where=where, remedy=remedy, finding="keeper-failed")
