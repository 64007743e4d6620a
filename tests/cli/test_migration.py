"""An upgrade that changes data, and the way back, on the command line: the release's own program, in its sandbox."""

import os
import shutil
from pathlib import Path

import pytest

from manifests.words.fingerprint import as_words
from tests.cli.test_site import Shell, enroll_words
from tests.migrating import OLD, Migrating, database, migrating, put_database, step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    *(pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}") for name in ("setpriv", "unshare")),
]
NOBODY = 65534


def release(version: str, sequence: int, *steps: object) -> Migrating:
    made = migrating(version, sequence, *steps, practice=True)  # type: ignore[arg-type]  # steps
    return made.but(change={**made.change, "probes": ()})  # type: ignore[return-value]  # a Migrating


FIRST = release("1.0.0", 1)
SECOND = release("1.1.0", 2, step("two", 2), step("three", 3))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "passphrase").chmod(0o600)
    shell = Shell(tmp_path, tmp_path / "ops-1.key")
    shell.run("keygen", shell.key)
    FIRST.write(tmp_path / "b1.tar")
    SECOND.write(tmp_path / "b2.tar")
    shell.run(*enroll_words(shell, as_words(FIRST.pin().digest)), "--practice")
    site = tmp_path / "site"
    yaml = site / "site.yaml"
    text = yaml.read_text().replace("# program: {user: FILL-IN", f"program: {{user: {NOBODY}")
    yaml.write_text(text.replace("api: FILL-IN", 'api: "tcp://127.0.0.1:1"'))
    db = put_database(site)
    for path in (db.parent, db):
        os.chown(path, NOBODY, NOBODY)
    for folder in db.parents:
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    shell.run("receive", "b1.tar")
    shell.run("approve", "r-1.0.0", "--key", shell.key)
    shell.run("install", "r-1.0.0", "--contract", shell.contract())
    shell.run("receive", "b2.tar")
    shell.run("approve", "r-1.1.0", "--key", shell.key)
    return shell


def test_there_and_back(shell: Shell) -> None:
    site = shell.folder / "site"
    shown = shell.run("review", "r-1.1.0").stdout
    assert "two: admin migrate 2; undone by admin undo 1; about 1s; after a crash: repeat" in shown
    assert "database: admin dump; tried by admin load --scratch; the trial proves nothing; " in shown
    order = ["back up database: admin dump", "migrate, step two: admin migrate 2", "switch to generation 2"]
    assert [shown.index(line) for line in order] == sorted(shown.index(line) for line in order)
    planned = shell.run("install", "r-1.1.0", "--dry-run")
    assert "tried before the switch; the trial proves nothing" in planned.stdout + planned.stderr
    shell.run("install", "r-1.1.0")
    assert database(site).read_bytes() == OLD.replace(b"1", b"3", 1)
    assert (site / "backups" / "2" / "database").read_bytes() == OLD
    done = shell.run("rollback", "--key", shell.key)
    assert "what the rollback means" in done.stdout
    assert "what was written since" in done.stdout
    assert database(site).read_bytes() == OLD
    told = shell.run("history").stdout
    assert "rollback of b-1 begins, generation 2 to 1" in told
    assert "backup of database made: 19 B of 19 B" in told
    assert "restore of database from its backup tried: proves nothing" in told


@pytest.mark.parametrize(
    ("fate", "code", "words"),
    [("broken", 10, "failed and was rolled back"), ("undumped", 6, "backup database: admin dump ended with code 1")],
)
def test_what_fails_leaves_the_old_release_and_its_data(shell: Shell, fate: str, code: int, words: str) -> None:
    """A migration that fails goes back; before it nothing was changed, and the approval stays."""
    site = shell.folder / "site"
    (site / "data" / "app" / "fate").write_text(fate)
    (site / "data" / "app" / "fate").chmod(0o644)
    assert words in shell.run("install", "r-1.1.0", code=code).stderr
    assert database(site).read_bytes() == OLD
    assert shell.json("status")["version"] == "1.0.0"
