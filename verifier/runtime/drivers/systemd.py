"""Keep a service running with systemd, where systemd runs and this account may use it.

The unit file is in the site, and systemd has a link to it. It names one generation and is rewritten for the next.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from manifests.words.digest import digest_of
from manifests.words.errors import HostError
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.drivers.service import STOP_SECONDS, Service, ServiceStatus, check_path
from verifier.site.disk import Disk

BOOTED = Path("/run/systemd/system")
COMMAND_SECONDS = STOP_SECONDS + 50


@dataclass(frozen=True)
class Systemd:
    """The keeper. Its log is the journal, which systemd bounds."""

    site: Path
    disk: Disk
    search_path: str

    def start(self, service: Service) -> None:
        check_path(self.site)
        unit = unit_name(self.site, service.step)
        path = self._folder / unit
        with host_errors(path):
            self.disk.make_folder(self._folder)
            self.disk.write(path, unit_text(service, self.search_path).encode())
        self._systemctl("enable", "--force", str(path))
        self._systemctl("daemon-reload")
        self._systemctl("restart", unit)

    def stop(self, service: Service) -> None:
        unit = unit_name(self.site, service.step)
        path = self._folder / unit
        folder_line = f"WorkingDirectory={_escaped(service.record.folder)}\n"
        if not path.exists() or folder_line not in path.read_text("utf-8"):
            return
        self._systemctl("disable", "--now", unit)
        with host_errors(path):
            self.disk.remove(path)
        self._systemctl("daemon-reload")

    def status(self, service: Service) -> ServiceStatus:
        unit = unit_name(self.site, service.step)
        try:
            shown = self._systemctl("show", "--property=ActiveState,SubState,WorkingDirectory,NRestarts", unit)
        except HostError as error:
            return ServiceStatus("unknown", error.problem)
        values = dict(line.partition("=")[::2] for line in shown.splitlines())
        state = values.get("ActiveState", "")
        detail = f"{unit} is {state or 'unknown'} ({values.get('SubState', '')})"
        # The unit's name is the step's; its folder tells which generation it runs.
        if values.get("WorkingDirectory") != service.record.folder:
            return ServiceStatus("stopped", f"{unit} does not run this generation")
        text = values.get("NRestarts", "")
        restarts = int(text) if text.isdecimal() else 0
        if state == "active":
            return ServiceStatus("running", detail, restarts)
        if state in ("activating", "reloading"):
            # A unit that fails at once is "activating (auto-restart)" until the next attempt.
            return ServiceStatus(
                "failing" if values.get("SubState") == "auto-restart" else "starting", detail, restarts
            )
        return ServiceStatus("failing" if state == "failed" else "stopped", detail, restarts)

    @property
    def _folder(self) -> Path:
        return self.site / "run" / "units"

    def _systemctl(self, *words: str) -> str:
        """Return what systemctl prints. Raises HostError when it is missing, does not end, or fails."""
        program = shutil.which("systemctl", path=self.search_path)
        if program is None:
            raise HostError(
                f"this host has no systemctl in {self.search_path}",
                remedy="set `drivers: {files: {keeper: supervisord}}` in site.yaml",
            )
        try:
            done = subprocess.run(
                (program, "--no-pager", "--no-ask-password", *words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostError(
                f"systemctl {words[0]} did not end within {COMMAND_SECONDS} s",
                where=words[-1],
                remedy=f"read `journalctl -u {words[-1]}`, then run `waybill recover`",
            ) from None
        if done.returncode:
            errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise HostError(
                f"systemctl {words[0]} failed: {errors[-1] if errors else f'exit code {done.returncode}'}",
                where=words[-1],
                remedy=f"read `journalctl -u {words[-1]}`",
                finding="keeper-failed",
            )
        return done.stdout.decode("utf-8", "replace")


def is_usable(uid: int, booted: Path = BOOTED) -> bool:
    """Whether systemd is this host's first process and takes units from this account (sd_booted(3))."""
    return uid == 0 and booted.is_dir()


def unit_name(site: Path, step: str) -> str:
    return f"waybill-{digest_of(bytes(site)).removeprefix('sha256:')[:12]}-{step}.service"


def unit_text(service: Service, search_path: str) -> str:
    """Return the unit file; quoting as in systemd.service(5) and systemd.exec(5)."""
    variables = {**service.record.environment, "PATH": search_path}
    lines = [
        "[Unit]",
        f"Description=Waybill: {_escaped(service.title)}",
        "After=network-online.target",
        "Wants=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join(_word(word) for word in service.record.argv)}",
        f"WorkingDirectory={_escaped(service.record.folder)}",
        *(f"Environment={_quoted(f'{key}={value}')}" for key, value in sorted(variables.items())),
        *([f"User={account.name}"] if (account := service.record.account) else []),
        "Restart=always",
        "RestartSec=1",
        f"TimeoutStopSec={STOP_SECONDS}",
        "KillMode=control-group",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _word(text: str) -> str:
    """Quote a word of a command line; a dollar sign would name a variable there."""
    return _quoted(text).replace("$", "$$")
