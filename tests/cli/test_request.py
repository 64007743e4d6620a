"""An approver at another desk: a request goes out, an answer comes back. Real processes, two homes."""

from pathlib import Path

import pytest

from manifests.words.fingerprint import as_groups, as_words
from tests.cli.test_site import FIRST, Shell, enroll_words


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "passphrase").chmod(0o600)
    shell = Shell(tmp_path, tmp_path / "ops-1.key")
    for name in ("ops-1", "stranger"):
        shell.run("keygen", tmp_path / f"{name}.key")
    FIRST.write(tmp_path / "b1.tar")
    shell.run(*enroll_words(shell, as_words(FIRST.pin().digest)), "--practice")
    shell.run("receive", "b1.tar")
    return shell


def test_a_request_goes_out_and_an_answer_comes_back(shell: Shell, tmp_path: Path) -> None:
    contract = shell.contract()
    stick = tmp_path / "stick"
    stick.mkdir()
    made = shell.json("review", "r-1.0.0", "--out", stick / "ask")
    assert made["items"] == ["r-1.0.0"]
    assert shell.json("status")["waiting"]
    # From here on, without a site.
    (tmp_path / "site").rename(tmp_path / "elsewhere")
    shown = shell.run("review", stick / "ask").stdout
    assert "first install of small 1.0.0" in shown
    assert f"next: waybill approve {stick / 'ask'} --key KEY" in shown
    assert f"{as_groups(FIRST.pin().digest)}, which the site trusts; compare it with the paper" in shown
    shell.run("review", stick / "ask", "--fingerprint", as_words(FIRST.pin().digest))
    shell.run("review", stick / "ask", "--fingerprint", as_words("sha256:" + "0" * 64), code=4)
    page = (stick / "ask" / "review.html").read_text()
    opened = shell.json("review", stick / "ask")
    assert str(opened["plan"]) in page
    assert "This page is not the evidence" in page
    for digest in (FIRST.pin().digest, str(opened["request"])):
        assert as_groups(digest) in page
    assert as_words(FIRST.pin().digest) in page
    assert as_groups(f"sha256:{opened['site_key']}") in page
    assert "waybill approve ask --key KEY" in page
    assert "approve r-1.0.0 --plan" not in page
    assert (
        "belongs to no person" in shell.run("approve", stick / "ask", "--key", tmp_path / "stranger.key", code=5).stderr
    )
    other = ("--plan", "sha256:" + "0" * 64)
    assert (
        f"not the reviewed sha256:{'0' * 64}"
        in shell.run("approve", stick / "ask", "--key", shell.key, *other, code=5).stderr
    )
    this = ("--plan", made["plan"])
    done = shell.json("approve", stick / "ask", "--key", shell.key, "--condition", "after lunch", *this)
    assert done["plan"] == made["plan"]
    named = shell.run("reject", stick / "ask", "--key", shell.key, "--reason", "on second thoughts").stdout
    assert f"next, at the site: waybill receive {stick / 'ask' / 'answers'}/ops-1-reject-" in named
    next((stick / "ask" / "answers").glob("*-reject-*")).unlink()
    shell.run("approve", stick / "ask", "--key", shell.key, code=5)
    # Usage.
    shell.run("review", stick / "nothing", code=2)
    shell.run("review", stick / "ask", "--out", stick / "more", code=2)
    shell.run("approve", "r-1.0.0", "--answer", stick, "--key", shell.key, code=2)
    # Back at the site: the whole stick is named, and only what is for the site is taken.
    (tmp_path / "elsewhere").rename(tmp_path / "site")
    taken = shell.json("receive", stick)
    assert taken["answers"] == [
        {
            "item": "r-1.0.0",
            "verdict": "approve",
            "person": "ops-1",
            "role": "operator",
            "new": True,
            "path": done["answer"],
        }
    ]
    assert "known already: approval of r-1.0.0 by ops-1 (operator)" in shell.run("receive", stick).stdout
    assert "condition of ops-1    after lunch" in shell.run("review", "r-1.0.0").stdout
    shell.run("install", "r-1.0.0", "--contract", contract)
    found = shell.run("receive", stick, code=14, hint=True).stdout
    assert "the item of the answer cannot be carried out here now" in found
