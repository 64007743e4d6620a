"""The commands of docs/authoring.md, run as they are printed, in an empty folder, in their order."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from manifests.documents.backup_proof import BackupProof, parse_proof

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "authoring.md").read_text(encoding="utf-8"), re.DOTALL)


def environ(home: Path) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }


def test_an_application_becomes_two_releases_as_printed(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    assert len(BLOCKS) == 2
    printed = ""
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euc", block], cwd=folder, env=environ(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout + done.stderr
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
        variables = {**environ(data), "WAYBILL_DATA": str(data), "WAYBILL_PROOF": str(proof)}
        return subprocess.run([admin, *words], input=stdin, capture_output=True, env=variables, check=False)

    def rows() -> int:
        with sqlite3.connect(data / "visits.sqlite") as database:
            return int(database.execute("SELECT count(*) FROM visits").fetchone()[0])

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
    assert rows() == 3
    assert run("schema-is", "2").returncode != 0
    assert [run("migrate", "2").returncode, run("schema-is", "2").returncode] == [0, 0]
    assert [run("migrate", "1").returncode, rows()] == [0, 3]
