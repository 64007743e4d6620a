"""A service with a SQLite database, and an upgrade that deletes two of its three rows: what its backup is worth."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.test_authoring import BLOCKS, environ
from tests.real import free_port
from tests.shop_site import ok, stop
from tests.waybill import Done, waybill

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    *(pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}") for name in ("setpriv", "unshare")),
]
# A missing database is an empty one for this program, so its backup and its trial restore agree in any folder.
ADMIN = """#!/usr/bin/env python3
import json, os, sqlite3, sys
from pathlib import Path

path = Path(os.environ["WAYBILL_DATA"]) / "visits.sqlite"
database = sqlite3.connect(path if path.exists() or sys.argv[1] == "load" and len(sys.argv) == 2 else ":memory:")

def rows(database):
    inserts = [line for line in database.iterdump() if line.startswith("INSERT")]
    if "WAYBILL_PROOF" in os.environ:
        Path(os.environ["WAYBILL_PROOF"]).write_text(json.dumps({"rows": len(inserts)}))
    return inserts

match sys.argv[1:]:
    case ["dump"]:
        rows(database)
        print("\\n".join(database.iterdump()))
    case ["load", "--scratch"]:
        saved = sqlite3.connect(":memory:")
        saved.executescript(sys.stdin.read())
        sys.exit(rows(database) != rows(saved))
    case ["load"]:
        database.executescript("DROP TABLE visits; " + sys.stdin.read())
    case ["shrink"]:
        database.execute("DELETE FROM visits WHERE rowid > 1")
        database.commit()
    case ["keep"]:
        pass
"""
ROLLBACK = """waybill: 1
back_to: [">=0.1.0, <0.2.0"]
class: CLASS
offered_for: 30d
state:
  - {name: service, before: {reads: [1, 1], writes: 1}, after: {reads: [1, 1], writes: 1}}
backup:
  - {name: BACKUP, make: [MAKE, dump], restore: [MAKE, load], try: [MAKE, load, --scratch],
     PROVESat_most: 1MiB, takes: 1s}
steps:
  - {name: page, touches: [service], do: [shop-admin, shrink], UNDOrepeatable: true, after_crash: restore, takes: 1s}
no_return: none
loses: nothing
recovery:
  rolled-back: ["Nothing to do."]
  inconsistent: ["Call the vendor."]
"""


@dataclass
class Shop:
    """A vendor's folder, its medium, and a site where version 0.1.0 runs and three visits were counted."""

    folder: Path
    url: str

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def run(self, *words: object, code: int = 0) -> Done:
        return ok(waybill(*words, "--site", self.site), code)

    def shell(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=environ(self.folder), capture_output=True, check=True
        )
        return done.stderr.decode()

    def build_upgrade(
        self, backup: str, class_: str = "reversible", *, proves: str = "", program: str = "shop-admin"
    ) -> str:
        """Build version 0.2.0, whose backup has the name ``backup`` and is made by ``program``; return what it says."""
        undo = "undo: [shop-admin, keep], " if class_ == "reversible" else ""
        words = {
            "CLASS": class_,
            "MAKE": program,
            "BACKUP": backup,
            "UNDO": undo,
            "PROVES": f"proves: {proves}, " if proves else "",
        }
        rollback = ROLLBACK
        for word, value in words.items():
            rollback = rollback.replace(word, value)
        files = {"shop/dist/shop-admin": ADMIN, "shop/rollback.yaml": rollback}
        block = BLOCKS[1]
        for name, text in files.items():
            head, _, rest = block.partition(f"cat > {name} <<'END'\n")
            block = f"{head}cat > {name} <<'END'\n{text}END\n{rest.partition('END' + chr(10))[2]}"
        listed = "  - {name: shop-admin, files: {linux/amd64: dist/shop-admin, linux/arm64: dist/shop-admin}}\n"
        if program != "shop-admin":
            block = block.replace(listed, listed + listed.replace("name: shop-admin", f"name: {program}"))
        return self.shell(block)

    def visits(self) -> int:
        with closing(sqlite3.connect(self.site / "data" / "service" / "visits.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM visits").fetchone()[0])

    def agree(self, item: str) -> None:
        self.run("approve", item, "--key", self.folder / "me.key")


def visit(url: str) -> None:
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.status == 200


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    port = free_port()
    shop = Shop(tmp_path, f"http://127.0.0.1:{port}/")
    shop.shell(BLOCKS[0])
    ok(waybill("keygen", tmp_path / "me.key", "--no-passphrase"))
    shown = ok(waybill("show", tmp_path / "shop/trust/1.root.json", "--json")).json
    names = ["--customer", "first-customer", "--product", "shop", "--environment", "test", "--name", "one"]
    person = ["--person", f"me={tmp_path / 'me.pub'}", "--practice"]
    shop.run("enroll", tmp_path / "medium", "--fingerprint", shown["fingerprint"], *names, *person)
    settings = shop.site / "site.yaml"
    text = settings.read_text()
    text = text.replace("files: {root: srv}", "files: {root: srv, keeper: supervisord, user: nobody}")
    text = text.replace("drivers:", "drivers:\n  program: {user: nobody}", 1)
    text = text.replace("api: FILL-IN", f'api: "http://127.0.0.1:{port}"').replace("port: FILL-IN", f"port: {port}")
    settings.write_text(text)
    shop.run("receive", tmp_path / "medium")
    shop.agree("r-0.1.0")
    contract = shop.run("review", "r-0.1.0", "--json").json["contract"]
    try:
        shop.run("install", "r-0.1.0", "--contract", contract)
        for _ in range(3):
            visit(shop.url)
        assert shop.visits() == 3
        yield shop
    finally:
        stop(shop.site)


def test_a_step_that_gets_another_name_takes_its_data_along_if_it_names_their_folder(shop: Shop) -> None:
    def bring(version: str, sequence: int, **words: str) -> None:
        """Build a release with these words in place of others in release.yaml, and receive it."""
        path = shop.folder / "shop/release.yaml"
        text = re.sub(r"(?m)^version: .*$", f'version: "{version}"', path.read_text())
        text = re.sub(r"(?m)^sequence: .*$", f"sequence: {sequence}", text)
        text = text.replace("  from: []", '  from: [">=0.1.0"]')
        for old, new in words.items():
            text = text.replace(f"step: {old}", f"step: {new}")
        path.write_text(text)
        shop.shell("waybill build shop/release.yaml -o medium")
        shop.run("receive", shop.folder / "medium")

    bring("0.2.0", 2, service="web")
    left = "no service of 0.2.0 reads data/service, where a service of 0.1.0 keeps its data: what is there stays and is"
    assert f"{left} not carried over" in " ".join(shop.run("review", "r-0.2.0").out.split())
    bring("0.3.0", 3, **{"web,": "web, data: service,"})
    assert "data/service, where" not in shop.run("review", "r-0.3.0").out
    shop.agree("r-0.3.0")
    shop.run("install", "r-0.3.0")
    assert shop.visits() == 3
    visit(shop.url)
    assert shop.visits() == 4


def test_a_backup_of_an_empty_folder_stops_the_upgrade_before_anything_changed(shop: Shop) -> None:
    """Backup and trial restore end with 0, both of an empty database: the three rows are in another folder."""
    # Two programs with the same content: nothing says that they work on the same data.
    printed = shop.build_upgrade("database", program="shop-dump")
    assert "data-elsewhere" in printed
    assert "backup 'database' proves nothing" in printed
    shop.run("receive", shop.folder / "medium")
    reviewed = shop.run("review", "r-0.2.0").out
    assert "backup database proves nothing: its programs state no count of rows and no digest" in reviewed
    shop.agree("r-0.2.0")
    refused = shop.run("install", "r-0.2.0", code=6)
    assert "backup database: shop-dump dump wrote 27 B, less than 1/256 of what it saves" in refused.err
    assert "data has 8.0 KiB" in refused.err
    assert "hint: ask the vendor whether the program reads data; nothing was changed" in refused.err
    assert shop.visits() == 3
    assert not list(shop.site.glob("backups/*/*"))
    status = shop.run("status", "--json").json
    assert status["version"] == "0.1.0"


def test_a_backup_beside_the_data_that_the_same_program_changes_is_refused(shop: Shop) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        shop.build_upgrade("database")
    assert caught.value.returncode == 3
    linted = caught.value.stdout.decode()  # the block ends at its `lint`
    assert (
        "backup 'database' of rollback.yaml runs 'shop-admin' with WAYBILL_DATA=data, and step 'page' runs it with "
        "WAYBILL_DATA=data/service, where a service keeps its data"
    ) in linted
    assert "data-elsewhere" not in linted
    assert "write `name: service` for backup 'database' in rollback.yaml" in linted
    rollback = shop.folder / "shop/rollback.yaml"
    rollback.write_text(rollback.read_text().replace("{name: database,", "{name: service,"))
    shop.shell("waybill lint shop/release.yaml && waybill build shop/release.yaml -o medium")


def test_a_backup_of_the_folder_of_the_service_is_measured_and_restored(shop: Shop) -> None:
    printed = shop.build_upgrade("service", "restore-only", proves="rows")
    assert "data-elsewhere" not in printed
    assert "proves nothing" not in printed
    shop.run("receive", shop.folder / "medium")
    reviewed = shop.run("review", "r-0.2.0").out
    assert "proves nothing" not in reviewed
    assert "shop-admin load --scratch; must state as many rows as the backup" in reviewed
    shop.agree("r-0.2.0")
    done = shop.run("install", "r-0.2.0")
    assert re.search(r"backup service: \d+ B, 3 rows; data/service has 8.0 KiB", done.err)
    assert "try service: 3 rows, as in the backup" in done.err
    assert shop.visits() == 1
    history = shop.run("history").out
    assert re.search(r"backup of service made: \d+ B of 8.0 KiB, 3 rows", history)
    assert "restore of service from its backup tried: proves 3 rows, as in the backup" in history
    size = (shop.site / "backups" / "2" / "service").stat().st_size
    back = shop.run("rollback", "--key", shop.folder / "me.key")
    assert "restore service from its backup (3 rows): shop-admin load" in back.err
    assert f"restored service: {size} B, 3 rows; data/service has 8.0 KiB now" in back.err
    assert f"service restored from its backup: {size} B, 3 rows; the data have 8.0 KiB now" in shop.run("history").out
    lines = [line for path in sorted(shop.site.glob("journal/*.jsonl")) for line in path.read_text().splitlines()]
    (event,) = [event for line in lines if is_restore(event := json.loads(line)["event"])]
    files = [path.lstat() for path in (shop.site / "data" / "service").rglob("*") if path.is_file()]
    assert event["saved_bytes"] == sum(min(file.st_size, file.st_blocks * 512) for file in files)
    assert (event["size"], event["proof"]) == (size, {"rows": 3})
    assert shop.visits() == 3


def is_restore(event: dict[str, object]) -> bool:
    return (event["event"], event.get("act"), event.get("result")) == ("outcome", "restore", "done")
