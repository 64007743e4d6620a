"""A policy on the command line: changed by its people, attacked by root, founded anew; windows. Real processes."""

import re
from pathlib import Path

import pytest

from manifests.words.fingerprint import as_words
from tests.cli.test_site import FIRST, Shell, enroll_words


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "passphrase").chmod(0o600)
    shell = Shell(tmp_path, tmp_path / "ops-1.key")
    for name in ("ops-1", "sec-1", "root"):
        shell.run("keygen", tmp_path / f"{name}.key")
    FIRST.write(tmp_path / "b1.tar")
    shell.run(*enroll_words(shell, as_words(FIRST.pin().digest)), "--practice")
    (tmp_path / "site" / "people" / "sec-1.pub").write_bytes((tmp_path / "sec-1.pub").read_bytes())
    (tmp_path / "site" / "people" / "root.pub").write_bytes((tmp_path / "root.pub").read_bytes())
    edit(shell, "policy: 1 ", "policy: 2 ")
    edit(shell, "\n\nrules:", '\n  "sec-1": {role: security, keys: ["people/sec-1.pub"]}\n\nrules:')
    for kind in ("major", "policy"):
        edit(shell, f"  {kind}: {{operator: 1}}", f"  {kind}: {{operator: 1, security: 1}}")
    return shell


def edit(shell: Shell, old: str, new: str) -> None:
    path = shell.folder / "site" / "policy.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_policy_is_changed_attacked_and_founded_anew(shell: Shell) -> None:
    folder = shell.folder
    # 1. The people of policy 1 agree to policy 2.
    shown = shell.run("review", "policy").stdout
    assert re.search(r"^  \+  person sec-1 +security, key [0-9a-f]{12}$", shown, re.MULTILINE)
    assert re.search(r"^  ~  rule major +1 operator +1 operator, 1 security$", shown, re.MULTILINE)
    shell.run("install", "policy", code=9)
    shell.run("approve", "policy", "--key", shell.key)
    done = shell.run("install", "policy").stdout
    assert "policy 2 is in force" in done
    assert shell.json("status")["policy"] == 2
    # 2. Root lowers the file, in place and as the next policy; nothing that is in force changes.
    shell.run("receive", "b1.tar")
    for number in ("2", "3"):
        edit(shell, "policy: 2 ", f"policy: {number} ")
        for kind in ("major", "policy"):
            if number == "2":
                edit(shell, f"  {kind}: {{operator: 1, security: 1}}", f"  {kind}: {{operator: 1}}")
        shell.run("approve", "r-1.0.0", "--key", shell.key)
        waits = shell.json("install", "r-1.0.0", code=9)["error"]
        assert "waits for 1 security" in waits["problem"]  # type: ignore[index]  # JSON
    shell.run("approve", "policy", "--key", shell.key)
    assert "policy waits for 1 security" in shell.run("install", "policy", code=9).stderr
    # Nor does a key that the file lists and no policy in force does.
    edit(shell, "people/ops-1.pub", "people/root.pub")
    assert "belongs to no person" in shell.run("approve", "policy", "--key", folder / "root.key", code=5).stderr
    edit(shell, "people/root.pub", "people/ops-1.pub")
    # 3. The security officer is gone for good: who is left founds it anew, from the paper, and everybody is told.
    digest = str(shell.json("review", "policy")["subject"])
    found = ["install", "policy", "--gone", "sec-1", "--reason", "left, and nobody has the key"]
    shell.run(*found, code=2)
    shell.run(*found, "--fingerprint", as_words("sha256:" + "0" * 64), code=5)
    anew = shell.run(*found, "--fingerprint", as_words(digest), code=14)
    assert "policy 3 is in force" in anew.stdout
    assert "the policy was replaced without sec-1" in anew.stderr
    assert "policy-refounded: without sec-1: left, and nobody has the key" in shell.run("status").stdout
    assert "policy 3 in force, replaced without sec-1: left, and nobody has the key" in shell.run("history").stdout
    assert '"refounded": 3' in shell.run("report", "--preview").stdout
    # 4. Windows.
    edit(shell, "policy: 3 ", "policy: 4 ")
    edit(shell, "windows: {enforce: false}", 'windows: {enforce: false, times: ["mon 00:00-00:01 UTC"]}')
    shell.run("approve", "policy", "--key", shell.key)
    shell.run("install", "policy")
    shell.run("approve", "r-1.0.0", "--key", shell.key)
    words = ["install", "r-1.0.0", "--contract", shell.contract()]
    assert "--outside-window REASON" in shell.run(*words, code=5).stderr
    shell.run(*words, "--outside-window", "first day")
    assert "outside of the window: first day" in shell.run("history").stdout
