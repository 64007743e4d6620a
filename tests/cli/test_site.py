"""A site on the command line, as its operator types it: real processes, exit codes, one error line and a hint."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from manifests.documents import release as r
from manifests.documents.enrolment import verify_enrolment
from manifests.words.fingerprint import as_groups, as_words
from tests.vendor import Vendor

ROOT = Path(__file__).parents[2]
PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"), every_seconds=1)
FIRST = Vendor(practice=True)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
BROKEN = SECOND.but(
    version="1.2.0",
    sequence=3,
    change={"probes": (PROBE,), "trial": r.Trial(at_most_seconds=1, confirm="probes")},
)


@dataclass
class Shell:
    """A folder, and ``waybill`` in it."""

    folder: Path
    key: Path

    def run(self, *words: object, code: int = 0, hint: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "WAYBILL_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "WAYBILL_SITE": str(self.folder / "site"),
        }
        done = subprocess.run(
            [sys.executable, str(ROOT / "waybill.py"), *map(str, words)],
            capture_output=True,
            text=True,
            env=environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if code not in (0, 14):
            if "--json" in words:
                assert json.loads(done.stdout)["ok"] is False
            else:
                assert done.stderr.count("error:") == 1
                assert "hint:" in done.stderr or not hint
        return done

    def json(self, *words: object, code: int = 0) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.run(*words, "--json", code=code).stdout)
        assert found["exit_code"] == code
        return found

    def contract(self) -> object:
        return self.json("review", "r-1.0.0")["contract"]


def enroll_words(shell: Shell, fingerprint: str) -> list[object]:
    names = ["--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east"]
    person = f"ops-1={shell.key.with_suffix('.pub')}"
    site = shell.folder / "site"
    return ["enroll", "b1.tar", "--fingerprint", fingerprint, *names, "--person", person, "--site", site]


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "passphrase").chmod(0o600)
    shell = Shell(tmp_path, tmp_path / "ops-1.key")
    shell.run("keygen", shell.key)
    FIRST.write(tmp_path / "b1.tar")
    return shell


@pytest.fixture
def shell(bare: Shell) -> Shell:
    bare.run(*enroll_words(bare, as_words(FIRST.pin().digest)), "--practice")
    return bare


def test_another_account_can_enter_the_folder_whatever_the_umask(bare: Shell) -> None:
    *words, _ = enroll_words(bare, as_words(FIRST.pin().digest))
    site = bare.folder / "new" / "site"
    before = os.umask(0o077)
    try:
        bare.run(*words, site, "--practice")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (site.parent, site, site / "keys", site / "keys/site.key")}
    assert list(modes.values()) == [0o755, 0o755, 0o700, 0o600]


def test_the_whole_life(shell: Shell) -> None:
    SECOND.write(shell.folder / "b2.tar")
    BROKEN.write(shell.folder / "b3.tar")
    assert "r-1.0.0" in shell.run("receive", "b1.tar").stdout
    assert "waits: operator 0 of 1" in shell.run("review").stdout
    shell.run("install", "r-1.0.0", code=9)
    text = shell.run("review", "r-1.0.0").stdout
    assert "first install of small 1.0.0" in text
    shell.run("approve", "r-1.0.0", "--key", f"file:{shell.key}")
    assert shell.json("install", "r-1.0.0", code=9)["error"]["finding"] == "contract-unnamed"  # type: ignore[index]  # JSON
    contract = str(shell.contract())
    assert f"`waybill install r-1.0.0 --contract {contract}`" in shell.run("install", "r-1.0.0", code=9).stderr
    assert f"next: waybill install r-1.0.0 --contract {contract}" in shell.run("review").stdout
    shell.run("install", "r-1.0.0", "--contract", contract, "--dry-run")
    shell.run("install", "r-1.0.0", "--contract", shell.contract(), "--dry-run")
    assert shell.json("status")["generation"] == 0
    done = shell.run("install", "r-1.0.0", "--contract", as_groups(str(shell.contract())))
    assert "generation 1, small 1.0.0" in done.stdout
    shell.run("receive", "b2.tar")
    shell.run("approve", "r-1.1.0", "--key", shell.key)
    assert shell.json("install", "b2.tar")["generation"] == 2
    shell.run("receive", "b3.tar")
    assert "endpoints:\n    api: FILL-IN" in shell.run("check", code=5).stdout
    yaml = shell.folder / "site" / "site.yaml"
    yaml.write_text(yaml.read_text().replace("endpoints: {}", 'endpoints: {api: "tcp://127.0.0.1:1"}'))
    assert "r-1.2.0: nothing is missing" in shell.run("check").stdout
    shell.run("approve", "r-1.2.0", "--key", shell.key)
    done = shell.run("install", "r-1.2.0", code=10)
    assert "failed and was rolled back: within 1s these did not pass: up:" in done.stderr
    assert "generation 2 (1.1.0) runs again" in done.stderr
    status = shell.run("status").stdout
    assert status.startswith("! generation 3 (1.2.0) failed and was rolled back")
    shell.run("rollback", "--key", shell.key, "--reason", "a drill\x1b[31m", code=2)
    done = shell.run("rollback", "--key", shell.key, "--reason", "a drill [31m")
    assert "generation 1, small 1.0.0" in done.stdout
    assert shell.json("status")["version"] == "1.0.0"
    assert "generation 2 to 1 (1.0.0): a drill [31m" in shell.run("history").stdout
    assert "reason=a drill [31m" in shell.run("history", "--verbose").stdout
    reports = sorted((shell.folder / "site" / "outbox").glob("*.report.json"))
    # Three releases that came, three installs, one way back: each is told.
    assert [one.name for one in reports] == [f"{n}.report.json" for n in (1, 2, 3, 4, 5, 6, 7)]
    assert "nothing was unfinished" in shell.run("recover").stdout
    shell.run("confirm", code=5)


def test_a_practice_root_needs_the_word(bare: Shell) -> None:
    bare.run(*enroll_words(bare, as_words(FIRST.pin().digest)), code=4)
    assert not (bare.folder / "site").exists()


@pytest.mark.parametrize(("fingerprint", "code"), [("sha256:" + "0" * 64, 4), ("zoo " * 24, 2), ("", 2), ("1234x", 2)])
def test_a_wrong_fingerprint(bare: Shell, fingerprint: str, code: int) -> None:
    bare.run(*enroll_words(bare, fingerprint), "--practice", code=code, hint=False)
    assert not (bare.folder / "site").exists()


def test_what_a_site_promises_is_in_its_enrolment_and_in_its_file(bare: Shell) -> None:
    """One that never reports can say so by its enrolment alone."""
    words = (*enroll_words(bare, as_words(FIRST.pin().digest)), "--practice", "--report-every")
    bare.run(*words, "sometimes", code=3)
    assert not (bare.folder / "site").exists()
    bare.run(*words, "never")
    enrolment = verify_enrolment((bare.folder / "site" / "outbox" / "enrolment.json").read_bytes()).enrolment
    assert enrolment.report_every_seconds == 0
    assert "report: {every: never} " in (bare.folder / "site" / "site.yaml").read_text()
    assert json.loads(bare.run("report", "--preview").stdout.rpartition("\n\n")[0])["predicate"]["identity"] == {
        "key_epoch": 1,
        "report_every_seconds": 0,
        "site": "northern-grid/small/production/east",
    }


def test_twice_in_one_folder(shell: Shell) -> None:
    shell.run(*enroll_words(shell, as_words(FIRST.pin().digest)), "--practice", code=5)


def test_names_are_checked(bare: Shell) -> None:
    words = ["North" if word == "northern-grid" else word for word in enroll_words(bare, as_words(FIRST.pin().digest))]
    done = bare.run(*words, "--practice", code=2)
    assert "--customer" in done.stderr


def test_no_site_says_where_it_looked(bare: Shell) -> None:
    done = bare.run("status", code=2)
    assert "WAYBILL_SITE" in done.stderr


def test_nothing_to_do_is_refused_in_words(shell: Shell) -> None:
    shell.run("rollback", code=5)
    shell.run("approve", "config", "--key", shell.key, code=5)
    shell.run("approve", "b-1", "--key", shell.key, code=5)
    shell.run("approve", "nonsense", "--key", shell.key, code=2)
    shell.run("review", "r-7.0.0", code=2)
    shell.run("receive", "passphrase", code=3, hint=False)
    shell.run("approve", "r-1.0.0", code=2)
    for words, said in (
        ("two\nlines", "character 4 (\\u000a) cannot be shown"),
        ("to the \u202eleft", "character 8 (\\u202e) cannot be shown"),
        ("x" * 1001, "1001 characters, at most 1000 are kept"),
    ):
        for option in (
            ("approve", "r-1.0.0", "--condition"),
            ("reject", "r-1.0.0", "--reason"),
            ("rollback", "--reason"),
        ):
            assert said in shell.run(*option, words, "--key", shell.key, code=2).stderr
    assert "make this one: mkdir" in shell.run("report", "--out", shell.folder / "nowhere", "--new", code=5).stderr


def test_what_is_signed_is_what_was_reviewed(shell: Shell) -> None:
    """`review` names the command for this very plan; once site.yaml says something else, it signs nothing."""
    shell.run("receive", "b1.tar")
    lines = shell.run("review", "r-1.0.0").stdout.splitlines()
    line = next(line for line in lines if "waybill approve" in line)
    command = line.partition("waybill ")[2].replace("KEY", str(shell.key)).split()
    assert command[:3] == ["approve", "r-1.0.0", "--plan"]
    yaml = shell.folder / "site" / "site.yaml"
    before = yaml.read_text()
    yaml.write_text(before.replace("generations: 3", "generations: 2"))
    for words in (command, ["reject", *command[1:]]):
        found = shell.json(*words, code=5)["error"]
        assert found["finding"] == "plan-changed"  # type: ignore[index]  # JSON
        assert found["hint"] == "review the item again: waybill review r-1.0.0"  # type: ignore[index]  # JSON
    assert not shell.json("review", "r-1.0.0")["agreed"]
    yaml.write_text(before)
    assert "approved r-1.0.0 as ops-1" in shell.run(*command).stdout
    # A prefix would be enough for a person, and 12 digits of two plans can be made equal.
    for wrong in ("f98a", command[command.index("--plan") + 1][:19]):
        shell.run("approve", "r-1.0.0", "--plan", wrong, "--key", shell.key, code=2)


def test_a_tampered_bundle_is_refused_and_nothing_waits(shell: Shell) -> None:
    path = shell.folder / "b1.tar"
    data = path.read_bytes()
    at = data.index(b"hello\n")
    path.write_bytes(data[:at] + b"H" + data[at + 1 :])
    found = shell.json("receive", "b1.tar", code=7)
    assert found["error"]["finding"] == "bulk-damaged"  # type: ignore[index]  # JSON
    assert shell.json("review")["waiting"] == []


def test_an_edited_journal_is_an_alarm_everywhere(shell: Shell) -> None:
    journal = shell.folder / "site" / "journal" / "0000000001.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"root"', b'"toor"', 1))
    for words in (["history"], ["status"], ["receive", "b1.tar"], ["recover"]):
        assert "chain is broken" in shell.run(*words, code=4).stderr


def test_a_wrong_passphrase_and_an_exposed_key(shell: Shell) -> None:
    shell.run("receive", "b1.tar")
    (shell.folder / "passphrase").write_text("wrong\n")
    assert "passphrase is wrong" in shell.run("approve", "r-1.0.0", "--key", shell.key, code=5, hint=False).stderr
    shell.key.chmod(0o644)
    assert "others on this machine" in shell.run("approve", "r-1.0.0", "--key", shell.key, code=5).stderr


def test_another_process_holds_the_site(shell: Shell) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from verifier.site.disk import Disk\n"
        "from verifier.site.host import this_host\n"
        "from verifier.site.lock import hold_site\n"
        "with hold_site(Path(sys.argv[1]), Disk(), this_host(), 'install'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(shell.folder / "site")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        done = shell.run("receive", "b1.tar", code=13)
        assert f"process {holder.pid}" in done.stderr
        assert shell.json("status")["generation"] == 0
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
    shell.run("receive", "b1.tar")


def test_two_installs_at_once(shell: Shell) -> None:
    """One installs, the other is told to wait; the site is whole."""
    shell.run("receive", "b1.tar")
    shell.run("approve", "r-1.0.0", "--key", shell.key)
    words = [sys.executable, str(ROOT / "waybill.py"), "install", "r-1.0.0", "--contract", str(shell.contract())]
    environ = {**os.environ, "WAYBILL_SITE": str(shell.folder / "site"), "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = []
    for process in both:
        _, said = process.communicate(timeout=60)
        ended.append((process.returncode, "Traceback" in said))
    # The second may also come so late that the first is done: then the release runs already.
    assert sorted(ended)[0] == (0, False)
    assert sorted(ended)[1] in ((5, False), (9, False), (13, False))
    assert shell.json("status")["generation"] == 1
