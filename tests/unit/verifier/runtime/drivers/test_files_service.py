"""The `files` driver with a real supervisord and a real service on a loopback port."""

import dataclasses
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from manifests.documents.release import InstallStep
from manifests.words.canonical import parse
from manifests.words.errors import HostError, RefusedError
from tests.unit.verifier.runtime.drivers.place import SERVICE, Site, Turn, free_port, service_settings
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.drivers.processes import ProcessIdentity, identify, is_alive, processes_of
from verifier.runtime.drivers.supervisord import Daemon
from verifier.runtime.drivers.supervisord_config import LAUNCH, MAX_SOCKET, socket_path

STEP = InstallStep(step="app", driver="files", files=("service",), keep_running=("python3", "-B", "serve.py"))


def ask(port: int) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    except OSError:
        return None
    finally:
        connection.close()


def wait(probe: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)
    return found


class Lab:
    """A site, and turns of its one service."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.site = Site(folder, service_settings())
        self.port = free_port()

    def turn(self, generation: int, version: str, step: InstallStep = STEP, **config: object) -> Turn:
        vendor = Vendor(images=False, version=version, service={"serve.py": SERVICE, "version.txt": version.encode()})
        data = json.dumps({"port": self.port, **config}).encode()
        return Turn(load_driver("files"), self.site.context(vendor, generation, step, config=data), step)

    def daemon(self) -> ProcessIdentity:
        path = self.site.folder / "run" / "supervisord.json"
        return parse(path.read_bytes(), Daemon, "test", max_bytes=4096).process

    def end(self) -> None:
        """Whatever a failed test left behind, by its own number."""
        try:
            daemon = self.daemon()
        except FileNotFoundError:
            daemon = None
        left = ([daemon] if daemon else []) + list(processes_of(str(self.site.folder)))
        for one in left:
            if is_alive(one):
                os.kill(one.pid, signal.SIGKILL)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path / "site")
    yield found
    found.end()


def test_runs_restarts_upgrades_and_stops(lab: Lab) -> None:
    first = lab.turn(1, "1.0.0").stage()
    assert ask(lab.port) is None, "staging is invisible"
    first.activate()
    answer = wait(lambda: ask(lab.port))
    assert answer["version"] == "1.0.0"
    assert answer["cwd"] == str(lab.site.folder / "srv/app/1")
    assert not first.problems()

    os.kill(answer["pid"], signal.SIGKILL)
    again = wait(lambda: (found := ask(lab.port)) and found["pid"] != answer["pid"] and found)
    assert again["version"] == "1.0.0"

    second = lab.turn(2, "1.1.0").stage()
    assert ask(lab.port)["version"] == "1.0.0"  # type: ignore[index]
    second.activate()
    newer = wait(lambda: ask(lab.port))
    assert newer["version"] == "1.1.0"
    assert identify(again["pid"]) is None, "the old process ended before the new one started"
    assert not second.problems()
    assert first.observed() == ["absent"]

    second.deactivate()
    assert ask(lab.port) is None
    assert identify(newer["pid"]) is None
    first.activate()
    assert wait(lambda: ask(lab.port))["version"] == "1.0.0"
    assert not first.problems()

    daemon = lab.daemon()
    first.deactivate()
    assert not is_alive(daemon), "the last service takes the supervisor with it"
    assert not (lab.site.folder / "run" / "supervisor.sock").exists()
    assert first.observed() == ["absent"]


def test_nothing_of_the_operator_reaches_the_service(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    lab.turn(1, "1.0.0").stage().activate()
    environment = wait(lambda: ask(lab.port))["environment"]
    assert set(environment) <= {
        "HOME",
        "LANG",
        "LC_CTYPE",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "WAYBILL_CONFIG",
        "WAYBILL_DATA",
        "WAYBILL_FOLDER",
        "WAYBILL_STEP",
        "WAYBILL_VERSION",
    }
    assert json.loads(Path(environment["WAYBILL_CONFIG"]).read_text())["port"] == lab.port
    assert Path(environment["WAYBILL_CONFIG"]).stat().st_mode & 0o777 == 0o600
    assert environment["WAYBILL_DATA"] == str(lab.site.folder / "data/app")


def test_a_step_of_another_name_keeps_the_data_folder_that_it_names(lab: Lab) -> None:
    """The service finds what the former one left there."""
    first = lab.turn(1, "1.0.0").stage()
    first.activate()
    wait(lambda: ask(lab.port))
    (lab.site.folder / "data/app/kept").write_text("of 1.0.0")
    renamed = replace(STEP, step="web", data="app")
    second = lab.turn(2, "1.1.0", renamed).stage()
    first.deactivate()
    second.activate()
    environment = wait(lambda: ask(lab.port))["environment"]
    assert environment["WAYBILL_STEP"] == "web"
    assert Path(environment["WAYBILL_DATA"], "kept").read_text() == "of 1.0.0"
    assert sorted(path.name for path in (lab.site.folder / "data").iterdir()) == ["app"]


def test_words_reach_the_service_as_they_are(lab: Lab) -> None:
    words = ("a ;b", "# c", "%d %(here)s", 'it\'s "quoted"', "$HOME `id` \\", "ü", "")
    step = InstallStep(
        step="app", driver="files", files=("service",), keep_running=("python3", "-B", "serve.py", *words)
    )
    lab.turn(1, "1.0.0", step).stage().activate()
    assert wait(lambda: ask(lab.port))["argv"] == list(words)


def test_activate_twice_changes_nothing(lab: Lab) -> None:
    turn = lab.turn(1, "1.0.0").stage().activate()
    pid = wait(lambda: ask(lab.port))["pid"]
    daemon = lab.daemon()
    turn.stage().activate().stage()
    assert wait(lambda: ask(lab.port))["pid"] == pid
    assert lab.daemon() == daemon


def test_deactivate_is_repeatable_and_leaves_others_alone(lab: Lab) -> None:
    old, new = lab.turn(1, "1.0.0").stage(), lab.turn(2, "1.1.0").stage()
    new.activate()
    pid = wait(lambda: ask(lab.port))["pid"]
    old.deactivate().deactivate()
    assert wait(lambda: ask(lab.port))["pid"] == pid
    new.deactivate().deactivate()
    assert ask(lab.port) is None


def test_a_second_step_has_its_own_service(lab: Lab) -> None:
    other = InstallStep(step="app-2", driver="files", files=("service",), keep_running=STEP.keep_running)
    port = free_port()
    one = lab.turn(1, "1.0.0").stage().activate()
    two = lab.turn(1, "1.0.0", other, port=port).stage().activate()
    pid = wait(lambda: ask(port))["pid"]
    wait(lambda: ask(lab.port))
    one.deactivate()
    assert ask(lab.port) is None
    assert wait(lambda: ask(port))["pid"] == pid
    two.deactivate()
    assert ask(port) is None


def test_a_service_that_ends_at_once_is_failing_and_says_why(lab: Lab) -> None:
    turn = lab.turn(1, "1.0.0", fate="exit").stage().activate()
    problems = turn.problems()
    assert len(problems) == 1
    assert "placed, expected running" in problems[0]
    assert "this configuration is not for me" in problems[0]
    good = lab.turn(2, "1.0.1").stage().activate()
    assert wait(lambda: ask(lab.port))["version"] == "1.0.1"
    assert not good.problems()


def test_port_taken_by_a_stranger(lab: Lab) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", lab.port))
        stranger.listen()
        turn = lab.turn(1, "1.0.0").stage().activate()
        (problem,) = turn.problems()
        assert "expected running" in problem
        assert "Address already in use" in problem
    wait(lambda: not turn.problems(), 20)


def test_a_service_that_ignores_sigterm_is_ended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.runtime.drivers.service.STOP_SECONDS", 1)
    turn = lab.turn(1, "1.0.0", fate="deaf").stage().activate()
    pid = wait(lambda: ask(lab.port))["pid"]
    turn.deactivate()
    assert identify(pid) is None


def test_a_child_in_its_own_session_ends_too(lab: Lab) -> None:
    turn = lab.turn(1, "1.0.0", fate="child").stage().activate()
    wait(lambda: ask(lab.port))
    assert len(processes_of(str(lab.site.folder))) == 2
    turn.deactivate()
    assert processes_of(str(lab.site.folder)) == ()


def test_dead_supervisor_leaves_no_orphan(lab: Lab) -> None:
    first = lab.turn(1, "1.0.0").stage().activate()
    orphan = wait(lambda: ask(lab.port))["pid"]
    os.kill(lab.daemon().pid, signal.SIGKILL)
    wait(lambda: not is_alive(lab.daemon()))
    assert ask(lab.port), "the service outlives its supervisor"
    assert "no supervisor runs" in first.problems()[0]
    second = lab.turn(2, "1.1.0").stage().activate()
    assert wait(lambda: ask(lab.port))["version"] == "1.1.0"
    assert identify(orphan) is None
    os.kill(lab.daemon().pid, signal.SIGKILL)
    second.deactivate()
    assert ask(lab.port) is None


def test_hung_supervisor_is_replaced(lab: Lab) -> None:
    turn = lab.turn(1, "1.0.0").stage().activate()
    hung = lab.daemon()
    wait(lambda: ask(lab.port))
    (lab.site.folder / "run" / "supervisor.sock").unlink()
    assert "no supervisor" in turn.problems()[0]
    turn.activate()
    assert wait(lambda: ask(lab.port))
    assert not is_alive(hung)
    assert not turn.problems()


def test_record_of_an_earlier_boot_ends_nobody(lab: Lab) -> None:
    """The number in the record is alive, and somebody else's: a reboot gave it to another process."""
    turn = lab.turn(1, "1.0.0").stage()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        identity = identify(stranger.pid)
        assert identity is not None
        run = lab.site.folder / "run"
        run.mkdir()
        earlier = ProcessIdentity(pid=identity.pid, boot="00000000-0000-0000-0000-000000000000", ticks=identity.ticks)
        from manifests.words.canonical import encode

        record = Daemon(process=earlier, socket=str(run / "supervisor.sock"))
        (run / "supervisord.json").write_bytes(encode(record))
        (run / "supervisord.pid").write_text(f"{stranger.pid}\n")
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(run / "supervisor.sock"))
        stale.close()
        turn.activate()
        assert wait(lambda: ask(lab.port))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_supervisor_outlives_the_command(lab: Lab, tmp_path: Path) -> None:
    """Activated in a process of its own, which ends; no descriptor of it stays open."""
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.unit.verifier.runtime.drivers.test_files_service import Lab\n"
        f"lab = Lab(Path({str(lab.site.folder)!r})); lab.port = {lab.port}\n"
        "lab.turn(1, '1.0.0').stage().activate()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answer = wait(lambda: ask(lab.port))
    assert Path(f"/proc/{lab.daemon().pid}/fd/1").readlink() == Path("/dev/null")
    assert answer["version"] == "1.0.0"
    lab.turn(1, "1.0.0").deactivate()
    assert ask(lab.port) is None


def test_log_is_kept_and_bounded(lab: Lab) -> None:
    lab.turn(1, "1.0.0", fate="exit").stage().activate()
    log = lab.site.folder / "logs" / "app.log"
    assert "this configuration is not for me" in log.read_text()
    config = (lab.site.folder / "run" / "supervisord.conf").read_text()
    assert "stdout_logfile_maxbytes=1MB" in config
    assert "logfile_maxbytes=1MB" in config


def test_deep_site_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 5) / "site"
    lab = Lab(deep)
    runtime = tmp_path / "r"
    runtime.mkdir()
    short = runtime if len(str(runtime)) < 50 else None
    if short:
        lab.site.settings["runtime"] = str(short)
    try:
        turn = lab.turn(1, "1.0.0").stage().activate()
        assert wait(lambda: ask(lab.port))
        assert not turn.problems()
        path = socket_path(deep, short)
        assert not path.is_relative_to(deep)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        turn.deactivate()
        assert not path.exists()
        path.parent.rmdir()
    finally:
        lab.end()


def test_no_short_enough_folder_is_refused(tmp_path: Path) -> None:
    site = tmp_path / ("s" * 120)
    with pytest.raises(RefusedError, match="too long for a unix socket"):
        socket_path(site, tmp_path / ("r" * 120))


def test_a_runtime_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    site = tmp_path / ("s" * 120)
    base = Path("/tmp") if len(str(tmp_path)) > 60 else tmp_path
    path = socket_path(site, base)
    assert len(os.fsencode(path)) <= MAX_SOCKET
    try:
        path.parent.chmod(0o755)
        with pytest.raises(RefusedError):
            socket_path(site, base)
    finally:
        path.parent.rmdir()


def test_a_host_without_the_program(lab: Lab) -> None:
    lab.site.settings["programs"] = {}
    step = InstallStep(step="app", driver="files", files=("service",), keep_running=("no-such-program", "x"))
    with pytest.raises(HostError, match="this host has no program no-such-program"):
        lab.turn(1, "1.0.0", step).stage()


@pytest.mark.parametrize(
    ("word", "problem"),
    [("/bin/sh", "path of the host"), ("./nothing", "not a file of this step"), ("./serve.py", "not marked")],
)
def test_a_program_of_the_release_must_be_one(lab: Lab, word: str, problem: str) -> None:
    step = InstallStep(step="app", driver="files", files=("service",), keep_running=(word,))
    with pytest.raises(RefusedError, match=problem):
        _ = lab.turn(1, "1.0.0", step).plan


@pytest.mark.parametrize("name", ["a ;b", "a #b", "50%", 'a"b', "a\\b"])
def test_a_site_path_that_cannot_be_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="a service manager cannot read"):
        _ = Lab(tmp_path / name).turn(1, "1.0.0").plan


def test_odd_but_speakable_site_path(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "ünit's $HOME; a=b, [x]")
    try:
        turn = lab.turn(1, "1.0.0").stage().activate()
        assert wait(lambda: ask(lab.port))["version"] == "1.0.0"
        assert not turn.problems()
        turn.deactivate()
    finally:
        lab.end()


def test_python_leaves_no_caches_in_the_folder(lab: Lab) -> None:
    """The release does not say -B, and the folder is still what was released."""
    step = InstallStep(step="app", driver="files", files=("service",), keep_running=("python3", "-m", "package"))
    service = {
        "package/__init__.py": b"",
        "package/other.py": b"",
        "package/__main__.py": b"import package.other\n" + SERVICE,
    }
    data = json.dumps({"port": lab.port}).encode()
    context = lab.site.context(Vendor(images=False, service=service), 1, step, config=data)
    turn = Turn(load_driver("files"), context, step).stage().activate()
    assert wait(lambda: ask(lab.port))
    assert not turn.problems()


def test_from_a_folder_of_unpacked_wheels(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kit starts it: an interpreter that has no supervisor, and the package in a cache folder."""
    import supervisor

    cache = tmp_path / "cache" / "wheels"
    shutil.copytree(Path(supervisor.__file__).parent, cache / "supervisor")
    bare = getattr(sys, "_base_executable", sys.executable)
    if subprocess.run([bare, "-I", "-c", "import supervisor"], capture_output=True, check=False).returncode == 0:
        pytest.skip("the base interpreter has supervisor installed")
    monkeypatch.setattr(supervisor, "__file__", str(cache / "supervisor" / "__init__.py"))
    monkeypatch.setattr(sys, "executable", bare)
    turn = lab.turn(1, "1.0.0").stage().activate()
    answer = wait(lambda: ask(lab.port))
    shutil.rmtree(tmp_path / "cache")
    os.kill(answer["pid"], signal.SIGKILL)
    assert wait(lambda: (found := ask(lab.port)) and found["pid"] != answer["pid"])
    turn.deactivate()
    assert ask(lab.port) is None


def test_without_root_the_own_account_may_be_named(tmp_path: Path) -> None:
    """Only root may set the groups of a process, even to those that it has."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    entry = pwd.getpwnam("nobody")
    launch = {
        "account": {"name": "nobody", "uid": entry.pw_uid, "gid": entry.pw_gid},
        "folder": "/",
        "argv": ["/usr/bin/id", "-u"],
        "environment": {},
    }
    job = os.memfd_create("launch", flags=0)
    os.write(job, json.dumps(launch).encode())
    for account in (0, entry.pw_uid):
        become = ("setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups")
        command = (*become, "/usr/bin/python3", "-I", "-S", "-c", LAUNCH, "/dev/stdin")
        os.lseek(job, 0, os.SEEK_SET)
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=job)
        assert (done.returncode, done.stdout) == (0, f"{entry.pw_uid}\n"), done.stderr


def test_another_account(lab: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    lab.site.settings["user"] = "nobody"
    lab.site.folder.chmod(0o700)
    with pytest.raises(RefusedError, match="the account 'nobody' cannot enter"):
        lab.turn(1, "1.0.0").stage()
    # pytest's own folders are closed to others; a short one is open.
    with tempfile.TemporaryDirectory(prefix="waybill-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        python = next(one for one in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(one).exists())
        other = Lab(place / "site")
        other.site.settings |= {"user": "nobody", "programs": {"python3": python}}
        # A folder that an earlier command of this site made, under a stricter umask.
        (other.site.folder / "data").mkdir(mode=0o700)
        try:
            turn = other.turn(1, "1.0.0")
            before = os.umask(0o077)
            try:
                turn.stage()
            finally:
                os.umask(before)
            turn.activate()
            answer = wait(lambda: ask(other.port))
            assert Path(f"/proc/{answer['pid']}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
            assert (other.site.folder / "data/app/starts").read_text() == "x"
            turn.deactivate()
        finally:
            other.end()


def test_a_keeper_that_changes_takes_the_old_service_with_it(lab: Lab, tmp_path: Path) -> None:
    first = lab.turn(1, "1.0.0").stage().activate()
    old = wait(lambda: ask(lab.port))["pid"]
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tools / "systemctl").chmod(0o755)
    lab.site.settings["keeper"] = "systemd"
    second = lab.turn(2, "1.1.0")
    second.context = dataclasses.replace(second.context, search_path=str(tools))
    second.stage().activate()
    assert identify(old) is None
    assert first.observed() == ["absent"]


def test_a_supervisor_that_talks_nonsense(lab: Lab) -> None:
    turn = lab.turn(1, "1.0.0").stage()
    run = lab.site.folder / "run"
    run.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run / "supervisor.sock"))
    listener.listen()
    said = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"", b"\xff\xff\r\n\r\n"]

    def serve() -> None:
        with suppress(OSError):  # the test has ended before every answer was asked for
            for words in said:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(words)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for _ in said:
            lab.site.folder.joinpath("srv/app/current").unlink(missing_ok=True)
            lab.site.folder.joinpath("srv/app/current").symlink_to("1")
            assert "expected running" in turn.problems()[0]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
