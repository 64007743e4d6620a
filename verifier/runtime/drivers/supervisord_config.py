"""The configuration of a site's supervisord, and where its socket is."""

import os
import shlex
import stat
import sys
from pathlib import Path

from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError
from verifier.runtime.drivers.service import STOP_SECONDS, Service

# sun_path has 108 bytes, one of them the end (unix(7)); supervisord binds "<path>.<pid>" first and then links it.
MAX_SOCKET = 107 - len(".4194304")
# A fixed program that becomes the service's process. What varies is in a file, because supervisord cuts values of its
# configuration at comments and expands percent signs. The program also changes the account, which need not be able to
# reach the interpreter. Without root the account can only be the own one, and nothing is changed (initgroups(3)).
LAUNCH = (
    "import json,os,sys;d=json.load(open(sys.argv[1],encoding='utf-8'));a=d.get('account');"
    "a and os.geteuid()!=a['uid'] and (os.initgroups(a['name'],a['gid']),os.setgid(a['gid']),os.setuid(a['uid']));"
    "os.chdir(d['folder']);os.execve(d['argv'][0],d['argv'],d['environment'])"
)


def daemon_config(site: Path, socket: Path) -> str:
    """Return the part of the configuration that is about the daemon itself."""
    sections: dict[str, dict[str, object]] = {
        "supervisord": {
            "logfile": site / "logs" / "supervisord.log",
            "logfile_maxbytes": "1MB",
            "logfile_backups": 1,
            "pidfile": site / "run" / "supervisord.pid",
            "directory": "/",
            "umask": "022",
            "minfds": 64,
            "minprocs": 16,
            "nocleanup": "true",
            **({"user": "root"} if os.geteuid() == 0 else {}),
        },
        "unix_http_server": {"file": socket, "chmod": "0600"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    return _config(sections)


def program_config(service: Service) -> str:
    """Return the part of the configuration that is about one service."""
    command = (sys.executable, "-I", "-S", "-c", LAUNCH, str(service.launch))
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


def socket_path(site: Path, runtime: Path | None = None) -> Path:
    """Return where the daemon listens: in the site, or where that path is too long, in a short folder of ours.

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
        f"the path of the site has {len(os.fsencode(site))} bytes, which is too long for a unix socket in it",
        where=str(site),
        remedy="move the site to a shorter path, or set a short folder in site.yaml: "
        "drivers: {files: {runtime: /run/waybill}}",
        finding="socket-path",
    )


def _is_ours(folder: Path, uid: int) -> bool:
    """Make the folder, or check that it is a folder which no other account can enter."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077
