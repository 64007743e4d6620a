"""Looks at the timers that look after a site: the units of ``contrib/``, where systemd runs."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from verifier.runtime.drivers.driver import SEARCH_PATH
from verifier.runtime.drivers.systemd import BOOTED
from verifier.runtime.preflight.result import Observation, unseen

COMMAND_SECONDS = 5
# Unit, the state that it must have, and what it starts.
UNITS = (
    ("waybill-recover@{}.service", "UnitFileState", "enabled", "waybill recover --due --site {} after each boot"),
    ("waybill-due@{}.timer", "ActiveState", "active", "waybill recover --due --site {} every minute"),
    (
        "waybill-report@{}.timer",
        "ActiveState",
        "active",
        "waybill report --new --site {} as often as site.yaml promises",
    ),
    ("waybill-collect@{}.timer", "ActiveState", "active", "waybill collect --site {} every five minutes"),
)


def look_at_timers(
    site: Path, *, reports: bool, collects: bool = False, booted: Path = BOOTED, search_path: str = SEARCH_PATH
) -> tuple[Observation, bool]:
    """Return whether the units of the site are in place; and whether something failed, which nobody has planned.

    Args:
        reports: Whether the site promises reports.
        collects: Whether the contract in force has signals that are read from an endpoint.
    """
    unwanted = [*([] if reports else ["waybill-report@"]), *([] if collects else ["waybill-collect@"])]
    units = [unit for unit in UNITS if not unit[0].startswith(tuple(unwanted))]
    if not booted.is_dir():
        commands = "; ".join(does.format(shlex.quote(str(site))) for _, _, _, does in units)
        return unseen("there is no systemd", f"see that the scheduler of this host runs: {commands}"), False
    program = shutil.which("systemctl", path=search_path)
    if program is None:
        return unseen(f"there is no systemctl in {search_path}", "install it, or add its folder to PATH"), False
    name = escaped(site)
    problems, failed, missing = [], False, []
    for unit, key, wanted, _ in units:
        try:
            values = _shown(program, unit.format(name))
            runs = _shown(program, unit.format(name).replace(".timer", ".service"))
        except (OSError, subprocess.SubprocessError) as error:
            return unseen(f"systemctl did not answer: {error}", "look at `systemctl status`"), False
        if values.get(key, "") != wanted:
            problems.append(f"{unit.format(name)} is {values.get(key) or 'unknown'}, expected {wanted}")
            missing.append(unit.format(name))
        if runs.get("ActiveState") == "failed":
            problems.append(f"{unit.format(name).replace('.timer', '.service')} failed ({runs.get('Result', '')})")
            failed = True
    if not problems:
        return Observation(met=True, text=", ".join(unit.format(name) for unit, _, _, _ in units)), False
    enable = f"systemctl enable --now {' '.join(map(shlex.quote, missing))}"
    remedy = f"copy the units of contrib/ to /etc/systemd/system, then run `{enable}`" if missing else ""
    return Observation(
        met=False, text="; ".join(problems), remedy=remedy or f"run `journalctl --unit 'waybill-*@{name}*'`"
    ), failed


def _shown(program: str, unit: str) -> dict[str, str]:
    words = [program, "show", "--property=ActiveState,UnitFileState,Result", "--", unit]
    done = subprocess.run(  # fixed words and a unit's name
        words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True, stdin=subprocess.DEVNULL
    )
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def escaped(path: Path) -> str:
    """Return the path as the instance of a unit (systemd.unit(5), string escaping for inclusion in unit names)."""
    return "".join(_characters(str(path).strip("/"))) or "-"


def _characters(text: str) -> Iterator[str]:
    for i, byte in enumerate(text.encode()):
        character = chr(byte)
        if character == "/":
            yield "-"
        elif (character.isascii() and character.isalnum()) or character in ":_" or (character == "." and i > 0):
            yield character
        else:
            yield f"\\x{byte:02x}"
