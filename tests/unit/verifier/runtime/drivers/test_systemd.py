"""Units for systemd, read by systemd-analyze; the conversation with systemctl, with a stand-in that keeps state.

No test here runs against a live systemd: there is none in a container.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.documents.release import InstallStep
from manifests.words.errors import HostError, RefusedError
from tests.unit.verifier.runtime.drivers.place import Site, Turn
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.drivers.service import LaunchRecord, Service
from verifier.runtime.drivers.systemd import Systemd, is_usable, unit_name, unit_text
from verifier.site.disk import Disk

ROOT = Path(__file__).parents[5]
WORDS = ("a ;b", "# c", "%d %h", 'it\'s "quoted"', "$HOME ${HOME} `id` \\", "ü", "", "\\x41")
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")

# Keeps "enabled" and "active" in files beside it and notes what it was asked.
SYSTEMCTL = """\
#!{python}
import pathlib, sys
here = pathlib.Path(__file__).parent
words = [word for word in sys.argv[1:] if not word.startswith("-")]
with (here / "asked").open("a") as file:
    print(*sys.argv[1:], file=file)
verb, unit = words[0], pathlib.Path(words[-1]).name
if (here / "refuse").exists():
    sys.exit("Failed to connect to bus: No such file or directory")
link, active = here / "linked" / unit, here / "active" / unit
if verb == "enable":
    link.unlink(missing_ok=True)
    link.symlink_to(words[-1])
elif verb == "restart":
    if not link.exists():
        sys.exit(f"Unit {{unit}} not found.")
    active.write_text(link.read_text())
elif verb == "disable":
    link.unlink()
    active.unlink(missing_ok=True)
elif verb == "show":
    text = active.read_text() if active.exists() else ""
    folder = [line.partition("=")[2] for line in text.splitlines() if line.startswith("WorkingDirectory=")]
    print("ActiveState=" + ("active" if text else "inactive"))
    print("SubState=" + ("running" if text else "dead"))
    print("WorkingDirectory=" + "".join(folder))
"""


def service(site: Path, generation: int = 1, words: tuple[str, ...] = WORDS) -> Service:
    folder = site / "srv" / "app" / str(generation)
    folder.mkdir(parents=True, exist_ok=True)
    record = LaunchRecord(
        argv=(sys.executable, "-B", *words),
        environment={"PATH": "/usr/bin:/bin", "WAYBILL_VERSION": "1.0.0", "ODD": 'a "b" %c \\d $e'},
        folder=str(folder),
        keeper="systemd",
    )
    return Service(
        step="app",
        generation=generation,
        title="small 1.0.0, app",
        launch=folder.with_suffix(".launch.json"),
        record=record,
        log=site / "logs" / "app.log",
    )


def analyze(*units: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=120
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "waybill" in line]
    assert done.returncode == 0 or not ours, ours
    return "\n".join(ours)


@needs_analyze
@pytest.mark.parametrize("name", ["site", "ünit's $HOME; a=b, [x]"])
def test_units_of_services_are_valid(tmp_path: Path, name: str) -> None:
    unit = tmp_path / unit_name(tmp_path / name, "app")
    unit.write_text(unit_text(service(tmp_path / name), "/usr/bin:/bin"))
    assert analyze(unit) == ""


@needs_analyze
def test_a_unit_that_is_not_valid_is_noticed(tmp_path: Path) -> None:
    """So that the test above can fail."""
    unit = tmp_path / unit_name(tmp_path, "app")
    unit.write_text(unit_text(service(tmp_path), "/usr/bin:/bin").replace('ExecStart="', 'ExecStart="nowhere'))
    with pytest.raises(AssertionError):
        assert analyze(unit) == ""


@needs_analyze
def test_units_in_contrib_are_valid(tmp_path: Path) -> None:
    """With a program where the units say, which a machine that runs tests need not have."""
    program = tmp_path / "waybill"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = sorted((ROOT / "contrib").glob("waybill-*@.*"))
    assert len(found) >= 3
    units = []
    for path in found:
        unit = tmp_path / path.name.replace("@.", "@srv-sites-east.")
        unit.write_text(path.read_text().replace("/usr/local/bin/waybill", str(program)))
        units.append(unit)
    assert analyze(*units) == ""


def test_words_are_quoted_as_systemd_unquotes_them(tmp_path: Path) -> None:
    """By the rules of systemd.service(5), undone here in the order in which systemd does it."""
    (line,) = re.findall(r"^ExecStart=(.*)$", unit_text(service(tmp_path), "/bin"), re.MULTILINE)
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    assert " ".join(f'"{word}"' for word in words) == line
    plain = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in words]
    assert plain == [sys.executable, "-B", *WORDS]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    for name in ("linked", "active"):
        (folder / name).mkdir(parents=True)
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(python=sys.executable))
    program.chmod(0o755)
    return folder


def test_start_upgrade_stop(tmp_path: Path, tools: Path) -> None:
    site = tmp_path / "site"
    keeper = Systemd(site=site, disk=Disk(), search_path=str(tools))
    first, second = service(site, 1), service(site, 2)
    assert keeper.status(first).state == "stopped"
    keeper.start(first)
    assert keeper.status(first).state == "running"
    assert keeper.status(second).state == "stopped"
    keeper.start(second)
    assert keeper.status(first).state == "stopped"
    assert keeper.status(second).state == "running"
    keeper.stop(first)
    assert keeper.status(second).state == "running", "an older generation cannot stop the newer one"
    keeper.stop(second)
    keeper.stop(second)
    assert keeper.status(second).state == "stopped"
    assert not list((tools / "linked").iterdir())
    asked = (tools / "asked").read_text()
    unit = unit_name(site, "app")
    assert f"enable --force {site}/run/units/{unit}" in asked
    assert asked.index("daemon-reload") < asked.index("restart")


def test_a_systemctl_that_refuses(tmp_path: Path, tools: Path) -> None:
    keeper = Systemd(site=tmp_path / "site", disk=Disk(), search_path=str(tools))
    (tools / "refuse").touch()
    with pytest.raises(HostError, match="systemctl enable failed: Failed to connect to bus"):
        keeper.start(service(tmp_path / "site"))
    assert keeper.status(service(tmp_path / "site")).state == "unknown"


def test_a_host_without_systemctl(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="this host has no systemctl"):
        Systemd(site=tmp_path, disk=Disk(), search_path="/nonexistent").start(service(tmp_path))


def test_the_driver_through_systemd(tmp_path: Path, tools: Path) -> None:
    step = InstallStep(step="app", driver="files", files=("service",), keep_running=("python3", "-B", "run.py"))
    site = Site(tmp_path / "site", {"keeper": "systemd", "programs": {"python3": sys.executable}})

    def turn(generation: int) -> Turn:
        from dataclasses import replace

        context = site.context(Vendor(images=False), generation, step, config=b"{}")
        return Turn(load_driver("files"), replace(context, search_path=str(tools)), step)

    one, two = turn(1).stage().activate(), turn(2).stage()
    assert not one.problems()
    two.activate()
    assert not two.problems()
    two.deactivate()
    assert not list((site.folder / "run/units").iterdir())
    one.activate()
    assert not one.problems()


def test_usable_only_where_it_runs_and_for_root(tmp_path: Path) -> None:
    assert is_usable(0, tmp_path)
    assert not is_usable(1000, tmp_path)
    assert not is_usable(0, tmp_path / "none")


def test_a_path_that_systemd_cannot_be_told(tmp_path: Path, tools: Path) -> None:
    with pytest.raises(RefusedError, match="a service manager cannot read"):
        Systemd(site=tmp_path / "50%", disk=Disk(), search_path=str(tools)).start(service(tmp_path / "50%"))
