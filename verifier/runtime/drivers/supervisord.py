"""Keep a service running with the supervisor library, where no systemd does: one daemon for each site.

It is started by the first service and ends with the last one. It listens on a unix socket that only this account
may open. It outlives the command that started it; a reboot it does not outlive, and `waybill recover` starts it again.
"""

import http.client
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers.expat import ExpatError

from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.document import Document
from manifests.words.errors import HostError, MalformedError, RefusedError
from verifier.runtime.drivers.folder import guarded
from verifier.runtime.drivers.processes import ProcessClock, ProcessIdentity, identify, is_alive, marked
from verifier.runtime.drivers.processes import stop as stop_processes
from verifier.runtime.drivers.service import STOP_SECONDS, Service, ServiceStatus, check_path
from verifier.site.disk import Disk

# sun_path has 108 bytes, one of them the end (unix(7)); supervisord binds "<path>.<pid>" first and then links it.
MAX_SOCKET = 107 - len(".4194304")
RPC_SECONDS = STOP_SECONDS + 20.0
START_SECONDS = 15.0
UP_SECONDS = 4.0
LOOK_SECONDS = 5.0
# Fixed words that become the service's process: what varies is in a file, because the daemon's own configuration
# cuts values at comments and expands percent signs. They also change the account, which need not be able to reach
# the interpreter that runs them.
_LAUNCH = (
    "import json,os,sys;d=json.load(open(sys.argv[1],encoding='utf-8'));a=d.get('account');"
    "a and (os.initgroups(a['name'],a['gid']),os.setgid(a['gid']),os.setuid(a['uid']));"
    "os.chdir(d['folder']);os.execve(d['argv'][0],d['argv'],d['environment'])"
)
# Not PYTHONPATH: every service would inherit it.
_DAEMON = (
    "import runpy,sys;sys.path.insert(0,sys.argv.pop(1));"
    "runpy.run_module('supervisor.supervisord',run_name='__main__',alter_sys=True)"
)
# What a daemon that is not well may answer with.
_ODD = (http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError)
_BAD_NAME, _NOT_RUNNING, _ALREADY_ADDED, _ALREADY_STARTED = 10, 70, 90, 60
_SECTION = re.compile(r"^\[program:(.+)\]$", re.MULTILINE)


class Daemon(Document, frozen=True, kw_only=True):
    """``run/supervisord.json``: the daemon that we started, and its socket."""

    process: ProcessIdentity
    socket: str


@dataclass(frozen=True)
class Supervisor:
    """The keeper. ``runtime``: folder for the socket where the site's own path is too long for one."""

    site: Path
    disk: Disk
    search_path: str
    runtime: Path | None = None
    clock: ProcessClock = field(default_factory=ProcessClock)

    # -- what a keeper does ------------------------------------------------------------------------------------------

    def start(self, service: Service) -> None:
        for path in (self.site, self._socket(), service.launch):
            check_path(path)
        guarded(lambda: self._start(service), self.site)

    def stop(self, service: Service) -> None:
        guarded(lambda: self._stop(service), self.site)

    def status(self, service: Service) -> ServiceStatus:
        path = self._socket()
        try:
            info = _call(path, "getProcessInfo", service.name, seconds=LOOK_SECONDS)
        except xmlrpc.client.Fault as fault:
            return (
                ServiceStatus("stopped", "the supervisor does not know it")
                if fault.faultCode == _BAD_NAME
                else _odd(fault)
            )
        except OSError:
            return ServiceStatus("stopped", "no supervisor runs for this site")
        except _ODD as error:
            return _odd(error)
        state = str(info.get("statename", "")) if isinstance(info, dict) else ""
        said = str(info.get("description", "")) if isinstance(info, dict) else ""
        words = {"RUNNING": "running", "STARTING": "starting", "BACKOFF": "failing", "FATAL": "failing"}
        detail = f"{state.lower()}, {said}" if said else state.lower()
        if words.get(state) == "failing" and (last := last_line(service.log)):
            detail += f"; its last words: {last}"
        return ServiceStatus(words.get(state, "stopped"), detail)  # type: ignore[arg-type]  # values of `words`

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def _start(self, service: Service) -> None:
        """1. take other generations of the step out, and wait for their processes; 2. put this one in; 3. look."""
        names = self._programs()
        others = [name for name in names if name.startswith(f"{service.step}-g") and name != service.name]
        for name in others:
            self.disk.remove(self._program(name))
        self._write_config()
        if self._answers():
            self._apply()
        else:
            # The daemon died or the host was restarted: what it had started is nobody's child now.
            self._end_hung()
            for name in names:
                self._end_marked(str(self._folder_of(name) or service.record.folder))
        self._end_marked(str(Path(service.record.folder).parent), but=service.record.folder)
        self.disk.write(self._program(service.name), _program(service).encode())
        self._write_config()
        if not self._answers():
            self._start_daemon()
        self._apply()
        self._begin(service.name)
        self._record()
        self.clock.until(lambda: self.status(service).state in ("running", "failing"), UP_SECONDS)

    def _stop(self, service: Service) -> None:
        """1. out of the configuration; 2. the daemon stops it; 3. whoever survived the daemon ends too."""
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

    def _apply(self) -> None:
        """Make the daemon's processes those of its configuration, the ones to stop first."""
        path = self._socket()
        answer = _call_but(path, (), "reloadConfig")
        try:
            added, changed, removed = ([str(name) for name in names] for names in answer[0])  # type: ignore[index]
        except (TypeError, ValueError, IndexError):
            raise self._error(f"it answered {str(answer)[:200]!r} to reloadConfig") from None
        for name in (*removed, *changed):
            _call_but(path, (_BAD_NAME, _NOT_RUNNING), "stopProcessGroup", name)
            _call_but(path, (_BAD_NAME,), "removeProcessGroup", name)
        for name in (*changed, *added):
            _call_but(path, (_ALREADY_ADDED,), "addProcessGroup", name)

    def _begin(self, name: str) -> None:
        """A service that was given up, or that an operator stopped, is started again."""
        info = _call_but(self._socket(), (_BAD_NAME,), "getProcessInfo", name)
        if isinstance(info, dict) and info.get("statename") in ("STOPPED", "EXITED", "FATAL"):
            _call_but(self._socket(), (_ALREADY_STARTED, 40, 50), "startProcess", name, False)

    def _end_marked(self, prefix: str, *, but: str = "") -> None:
        left = marked(prefix)
        if but:
            spared = set(marked(but))
            left = tuple(one for one in left if one not in spared)
        stop_processes(left, self.clock, grace=STOP_SECONDS)

    # -- the daemon --------------------------------------------------------------------------------------------------

    def _start_daemon(self) -> None:
        path = self._socket()
        for stale in (path, self._run / "supervisord.pid"):
            self.disk.remove(stale)
        argv = self._daemon_argv()
        try:
            done = subprocess.run(
                argv,
                cwd="/",
                env={"PATH": self.search_path, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=START_SECONDS,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._error(f"it did not start within {START_SECONDS:.0f} s") from None
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode:
            raise self._error(f"it ended with {done.returncode}: {words[0] if words else 'without a word'}")
        if not self.clock.until(self._answers, START_SECONDS):
            raise self._error(f"it did not answer on {path} within {START_SECONDS:.0f} s")
        self._record()

    def _record(self) -> None:
        """Remember which process answers, so that it can be ended when it no longer does."""
        path = self._socket()
        process = identify(int(str(_call_but(path, (), "getPID"))))
        former = self._recorded()
        if process is not None and (former is None or former.process != process):
            self.disk.write(self._run / "supervisord.json", encode(Daemon(process=process, socket=str(path))), 0o600)

    def _daemon_argv(self) -> tuple[str, ...]:
        import supervisor

        home = str(Path(supervisor.__file__).parents[1])
        config = str(self._run / "supervisord.conf")
        # -I: nothing of the operator's environment or folder becomes part of a daemon that stays.
        return (sys.executable, "-I", "-X", "utf8", "-c", _DAEMON, home, "-c", config)

    def _end_daemon(self) -> None:
        path = self._socket()
        daemon = self._recorded()
        if self._answers():
            process = identify(int(str(_call_but(path, (), "getPID"))))
            _call_but(path, (6,), "shutdown")
            if process is not None and not self.clock.until(lambda: not is_alive(process), RPC_SECONDS):
                stop_processes((process,), self.clock)
        elif daemon is not None:
            stop_processes((daemon.process,), self.clock)
        for stale in (path, self._run / "supervisord.json", self._run / "supervisord.pid"):
            self.disk.remove(stale)

    def _end_hung(self) -> bool:
        """A daemon of ours that lives but does not answer is ended; one of an earlier boot is only a file."""
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
            state = _call(self._socket(), "getState", seconds=LOOK_SECONDS)
        except (OSError, *_ODD):
            return False
        return isinstance(state, dict) and state.get("statename") == "RUNNING"

    # -- files -------------------------------------------------------------------------------------------------------

    @property
    def _run(self) -> Path:
        return self.site / "run"

    @property
    def _programs_folder(self) -> Path:
        return self._run / "programs"

    def _program(self, name: str) -> Path:
        return self._programs_folder / f"{name}.conf"

    def _programs(self) -> list[str]:
        return sorted(path.stem for path in self._programs_folder.glob("*.conf"))

    def _folder_of(self, name: str) -> str | None:
        """Where the service of that name runs; None when it was just taken out."""
        if not self._program(name).exists():
            return None
        match = re.search(r"^directory=(.*)$", self._program(name).read_text("utf-8"), re.MULTILINE)
        return match[1].replace("%%", "%") if match else None

    def _write_config(self) -> None:
        self.disk.make_folder(self._programs_folder, 0o700)
        self.disk.make_folder(self.site / "logs", 0o755)
        head = _config(
            {
                "supervisord": {
                    "logfile": self.site / "logs" / "supervisord.log",
                    "logfile_maxbytes": "1MB",
                    "logfile_backups": 1,
                    "pidfile": self._run / "supervisord.pid",
                    "directory": "/",
                    "umask": "022",
                    "minfds": 64,
                    "minprocs": 16,
                    "nocleanup": "true",
                    **({"user": "root"} if os.geteuid() == 0 else {}),
                },
                "unix_http_server": {"file": self._socket(), "chmod": "0600"},
                "rpcinterface:supervisor": {
                    "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
                },
            }
        )
        programs = [self._program(name).read_text("utf-8") for name in self._programs()]
        self.disk.write(self._run / "supervisord.conf", "\n".join([head, *programs]).encode(), 0o600)

    def _socket(self) -> Path:
        return socket_path(self.site, self.runtime)

    def _error(self, problem: str) -> HostError:
        log = self.site / "logs" / "supervisord.log"
        return HostError(f"supervisord: {problem}", where=str(self.site), remedy=f"see {log}", finding="keeper-failed")


def socket_path(site: Path, runtime: Path | None = None) -> Path:
    """Where the daemon listens: in the site, or where that is too long for a socket, in a short folder of ours.

    Raises:
        RefusedError: No folder is short enough, or the short one is not ours alone.
    """
    own = site / "run" / "supervisor.sock"
    if len(os.fsencode(own)) <= MAX_SOCKET:
        return own
    uid = os.geteuid()
    short = digest_of(os.fsencode(site)).removeprefix("sha256:")[:16]
    bases = [runtime] if runtime else [Path("/run") if uid == 0 else Path(f"/run/user/{uid}"), Path("/tmp")]  # noqa: S108  # checked below
    for base in bases:
        folder = base / f"waybill-{uid}-{short}"
        path = folder / "s"
        if len(os.fsencode(path)) <= MAX_SOCKET and _is_ours(folder, uid):
            return path
    raise RefusedError(
        f"the path of the site has {len(os.fsencode(site))} bytes, too long for a unix socket in it",
        where=str(site),
        remedy="move the site to a shorter path, or name a short folder of this account in site.yaml: "
        "drivers: {files: {runtime: /run/waybill}}",
        finding="socket-path",
    )


def _is_ours(folder: Path, uid: int) -> bool:
    """Made now, or there already as a folder that nobody else can enter."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def last_line(path: Path) -> str:
    """The last words in a log, short and without anything that moves a cursor; empty if there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2048))
            lines = file.read(2048).decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(one if one.isprintable() else "?" for one in lines[-1])[:200] if lines else ""


def _program(service: Service) -> str:
    command = (sys.executable, "-I", "-S", "-c", _LAUNCH, str(service.launch))
    values: dict[str, object] = {
        "command": shlex.join(command),
        "directory": service.record.folder,
        "autostart": "true",
        "autorestart": "true",
        "startsecs": 1,
        # Each attempt waits a second longer than the one before: about six days of trying.
        "startretries": 1000,
        "stopsignal": "TERM",
        "stopwaitsecs": STOP_SECONDS,
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": service.log,
        "stdout_logfile_maxbytes": "1MB",
        "stdout_logfile_backups": 3,
    }
    return _config({f"program:{service.name}": values})


def _config(sections: dict[str, dict[str, object]]) -> str:
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key}={str(value).replace('%', '%%')}" for key, value in values.items()), ""]
    return "\n".join(lines)


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(os.fspath(self._path))


class _Transport(xmlrpc.client.Transport):
    """A transport with one connection, which `_call` closes."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self.connection = _Connection(path, seconds)

    def make_connection(self, host: object) -> _Connection:
        return self.connection


def _call(path: Path, method: str, *arguments: object, seconds: float = RPC_SECONDS) -> object:
    """One call of supervisor's interface; its faults and the socket's errors come out as they are."""
    transport = _Transport(path, seconds)
    try:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        return getattr(proxy.supervisor, method)(*arguments)
    finally:
        transport.connection.close()


def _call_but(path: Path, passing: Sequence[int], method: str, *arguments: object) -> object:
    """A call of which some faults only say that there is nothing to do."""
    try:
        return _call(path, method, *arguments)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode in passing:
            return None
        raise HostError(
            f"supervisord refused {method}: {fault.faultString[:200]}",
            where=" ".join(str(one) for one in arguments),
            remedy="see logs/supervisord.log of the site",
            finding="keeper-failed",
        ) from None
    except _ODD as error:
        raise HostError(
            f"supervisord answered oddly to {method}: {str(error)[:200]}",
            where=str(path),
            remedy="see logs/supervisord.log of the site",
            finding="keeper-failed",
        ) from None


def _odd(error: Exception) -> ServiceStatus:
    return ServiceStatus("unknown", f"the supervisor answered oddly: {str(error)[:200]}")
