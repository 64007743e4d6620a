"""What happens to a result that nobody can read: a full disk behind a redirection, a closed descriptor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waybill import PROGRAM, ROOT

FULL = Path("/dev/full")


def run(*words: str, shell: str) -> subprocess.CompletedProcess[str]:
    """The program with the redirections of ``shell``."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("WAYBILL_")}
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$PROGRAM" "$@" {shell}', sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**keep, "PYTHONPATH": str(ROOT), "PROGRAM": PROGRAM},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("--help",), ("lint", "--help"), ("keygen", "KEY"), ("keygen", "KEY", "--json")])
def test_a_full_disk_behind_stdout_is_one_clear_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    makes = ("--no-passphrase",) if words[0] == "keygen" else ()
    done = run(*(str(tmp_path / "a.key") if word == "KEY" else word for word in words), *makes, shell="> /dev/full")
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    problem = "error: stdout: the command has ended, but its result cannot be printed: no space left"
    assert problem in done.stderr
    assert "\nhint: " in done.stderr
    # What the command did is done.
    assert (tmp_path / "a.pub").is_file() == bool(makes)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stderr_keeps_the_exit_code(tmp_path: Path) -> None:
    words = ("verify", str(tmp_path / "absent.tar"))
    expected = run(*words, shell="").returncode
    assert expected != 1
    assert run(*words, shell="2> /dev/full").returncode == expected


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_descriptor_is_no_error(tmp_path: Path, shell: str) -> None:
    done = run("keygen", str(tmp_path / "a.key"), "--no-passphrase", shell=shell)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "a.pub").is_file()
