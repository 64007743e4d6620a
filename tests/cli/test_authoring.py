"""The commands of docs/authoring.md, run as they are printed, in an empty folder, in their order.

The vendor's part makes two releases. The site's part runs twice: with this program by this account, and with the kit by
an account without rights. What the page says is then compared with the world:
the service is asked, its rows are counted.
"""

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from manifests.documents.backup_proof import BackupProof, parse_proof
from tests.kit import kit_file
from tests.real import tool

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "authoring.md").read_text(encoding="utf-8"), re.DOTALL)
VENDOR, SITE = BLOCKS[:2], BLOCKS[2:]
PORT = 18474
NOBODY = 65534
# What stands in capitals, and how it is found in what was printed before.
PRINTED = {
    "VENDOR WORDS": r"^fingerprint .*\n *((?:[a-z]+ ){23}[a-z]+)$",
    "DIGEST": r"--contract (sha256:[0-9a-f]{64})",
}


def environ(home: Path, programs: Path = Path(sys.executable).parent) -> dict[str, str]:
    """What a shell has in which ``waybill`` is one of ``programs``."""
    return {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }


class Terminal:
    """A shell that types blocks of the page, one after the other. Attributes: printed: everything so far."""

    def __init__(self, folder: Path, prefix: tuple[str, ...], path: Path) -> None:
        self.folder = folder
        self.printed = ""
        self.shell = subprocess.Popen(
            [*prefix, "bash", "-eu"],
            cwd=folder,
            env=environ(folder, path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, block: str, **filled: str) -> str:
        """Type a block, with the names in capitals that the page declares filled in; what it prints."""
        values = {
            name: matches[-1] for name, what in PRINTED.items() if (matches := re.findall(what, self.printed, re.M))
        }
        for name, value in {**values, **filled}.items():
            block = block.replace(name, value)
        script = Path(tempfile.mkstemp(suffix=".sh", dir=self.folder)[1])
        script.write_text(block)
        script.chmod(0o644)
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f". {script} </dev/null\necho; echo end of {script}\n")
        self.shell.stdin.flush()
        shown = ""
        while not shown.endswith(f"\nend of {script}\n"):
            line = self.shell.stdout.readline()
            assert line, f"{block}\n{shown}"
            shown += line
        self.printed += shown
        return shown

    def close(self) -> None:
        self.shell.terminate()
        self.shell.communicate()


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="waybill-authoring-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def built(open_folder: Path) -> tuple[Path, str]:
    """The folder in which the vendor's part was typed, and what it printed."""
    folder = open_folder / "vendor"
    folder.mkdir()
    terminal = Terminal(folder, (), Path(sys.executable).parent)
    try:
        for block in VENDOR:
            terminal.type(block)
    finally:
        terminal.close()
    return folder, terminal.printed


def test_an_application_becomes_two_releases_as_printed(built: tuple[Path, str], tmp_path: Path) -> None:
    folder, printed = built
    assert sorted(path.name for path in (folder / "medium").iterdir()) == ["shop-0.1.0.tar", "shop-0.2.0.tar"]
    # The names in rollback.yaml are those of the service, so its programs get the folder of the service.
    assert "data-elsewhere" not in printed
    assert "proves nothing" not in printed
    check_programs(folder / "shop" / "dist" / "shop-admin", tmp_path / "data")


def check_programs(admin: Path, data: Path) -> None:
    """The programs of the page do what the page says of each part."""
    data.mkdir()
    proof = data.with_name("proof.json")

    def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        proof.write_bytes(b"")
        variables = {"PATH": os.environ["PATH"], "WAYBILL_DATA": str(data), "WAYBILL_PROOF": str(proof)}
        return subprocess.run([admin, *words], input=stdin, capture_output=True, env=variables, check=False)

    with sqlite3.connect(data / "visits.sqlite") as database:
        database.execute("CREATE TABLE visits (at TEXT)")
        database.executemany("INSERT INTO visits VALUES (?)", [("a",), ("b",), ("c",)])
    backup = run("dump").stdout
    assert parse_proof(proof.read_bytes(), "rows", "dump") == BackupProof(rows=3)
    with sqlite3.connect(data / "visits.sqlite") as database:
        database.execute("DELETE FROM visits WHERE at = 'a'")
    assert run("load", "--scratch", stdin=backup).returncode == 0
    assert parse_proof(proof.read_bytes(), "rows", "load") == BackupProof(rows=3)
    assert run("load", stdin=backup).returncode == 0
    assert len(visits(data / "visits.sqlite")) == 3
    assert run("schema-is", "2").returncode != 0
    assert [run("migrate", "2").returncode, run("schema-is", "2").returncode] == [0, 0]
    assert [run("migrate", "1").returncode, len(visits(data / "visits.sqlite"))] == [0, 3]


def visits(database: Path) -> list[dict[str, object]]:
    """The rows of a database, by a reader of its own."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        opened.row_factory = sqlite3.Row
        return [dict(row) for row in opened.execute("SELECT * FROM visits")]


@pytest.fixture
def _port() -> Iterator[None]:
    """The port that the page names is free, and stays so: only one test at a time uses it."""
    with Path(tempfile.gettempdir(), f"waybill-port-{PORT}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                pytest.skip(f"port {PORT} is in use")
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_port")
@pytest.mark.parametrize("unprivileged", [False, True], ids=["this-account", "kit-without-rights"])
def test_the_site_runs_both_releases_as_printed(unprivileged: bool, built: tuple[Path, str], open_folder: Path) -> None:
    folder = open_folder / ("unprivileged" if unprivileged else "site")
    terminal, account = site_terminal(folder, built[0], unprivileged=unprivileged)
    site, database = folder / "site", folder / "site" / "data" / "service" / "visits.sqlite"
    terminal.printed = built[1]
    assert len(SITE) == 4
    try:
        for block in SITE:
            shown = terminal.type(block, ACCOUNT=account)
            # The comment behind a question to the service is its answer.
            for answer in re.findall(r"^curl .*# (.*)$", block, re.MULTILINE):
                assert answer in shown.splitlines()
            if "install r-0.2.0" in block:
                assert (site / "current").resolve().name == "2"
                # The backup has what was there before the migration, and not the column that it adds.
                assert [sorted(row) for row in visits(site / "backups" / "2" / "service")] == [["at"], ["at"]]
                assert [row["page"] for row in visits(database)] == [None, None, "/orders"]
        assert (site / "current").resolve().name == "1"
        assert [sorted(row) for row in visits(database)] == [["at"]] * 4
        assert database.stat().st_uid == pwd.getpwnam(account).pw_uid
        reports = sorted(path.name for path in (folder / "medium").rglob("*.report.json"))
        assert reports[-1] == "first-customer.shop.production.east.5.report.json"
        shown = terminal.type("waybill status --json")
        state = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
        assert (state["version"], state["generation"]) == ("0.1.0", 1)
    finally:
        stop(site)
        terminal.close()


def site_terminal(folder: Path, vendor: Path, *, unprivileged: bool) -> tuple[Terminal, str]:
    """A terminal beside a copy of the medium, and the name for ACCOUNT."""
    tool("curl")
    shutil.copytree(vendor / "medium", folder / "medium")
    if not unprivileged:
        account = pwd.getpwuid(NOBODY if os.geteuid() == 0 else os.geteuid()).pw_name
        return Terminal(folder, (), Path(sys.executable).parent), account
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another account")
    shutil.copy(kit_file(), folder / "medium")
    program = folder / "bin" / "waybill"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -I {folder}/medium/waybill.pyz "$@"\n')
    program.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    prefix = (tool("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return Terminal(folder, prefix, program.parent), pwd.getpwuid(NOBODY).pw_name


def stop(site: Path) -> None:
    """End the supervisor by its own pid, and with it the service; wait until both have ended."""
    for path in site.glob("run/*.pid"):
        pid = int(path.read_text())
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.1)
