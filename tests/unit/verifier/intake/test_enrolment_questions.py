"""`enroll` at a terminal asks for what only the site knows; without one it leaves placeholders."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.documents import release as r
from manifests.trust.private_keys import generate_key
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_words
from tests.vendor import RELEASE, Vendor
from tests.waybill import PROGRAM, ROOT, waybill
from verifier.intake.enrolment import read_offer
from verifier.intake.enrolment_questions import Question, questions_of
from verifier.site.proposals import read_site_yaml

SCHEMA = json.dumps(
    {
        "properties": {
            "api_key": {"type": "string"},
            "debug": {"type": "boolean"},
            "greeting": {"description": "response to GET /", "maxLength": 20, "type": "string"},
            "limits": {"type": "object"},
            "port": {"minimum": 1024, "type": "integer"},
            "ratio": {"maximum": 1, "type": "number"},
        },
        "required": ["api_key", "debug", "greeting", "limits", "port", "ratio"],
        "type": "object",
    },
    separators=(",", ":"),
).encode()
TOOL = b"#!/bin/sh\n"
NEEDY = Vendor(
    extra={"schema": SCHEMA, "tool": TOOL},
    change={
        "install": (
            r.InstallStep(step="images", driver="registry", images=("api",)),
            r.InstallStep(step="app", driver="files", files=("service",)),
        ),
        "probes": (r.Probe(name="up", http=r.HttpProbe(endpoint="ready", path="/", status=200)),),
        "programs": (r.Program(name="admin", files={"linux/amd64": Blob(digest=digest_of(TOOL), size=len(TOOL))}),),
        "config": r.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1),
    },
)


def words(folder: Path) -> list[str]:
    (folder / "ops-1.pub").write_text(generate_key().public.pem)
    NEEDY.write(folder / "1.tar")
    names = ["--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east"]
    people = ["--person", f"ops-1={folder}/ops-1.pub", "--site", str(folder / "site")]
    return ["enroll", str(folder / "1.tar"), "--fingerprint", as_words(NEEDY.pin().digest), *names, *people]


def at_terminal(folder: Path, *typed: str, more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run `enroll` with a terminal of its own, on which ``typed`` waits line by line; return exit code and screen."""
    terminal, end = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words(folder), *more],
            stdin=end,
            stdout=end,
            stderr=end,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            close_fds=True,
        )
        os.close(end)
        # The last question is for more people; Enter leaves it out.
        os.write(terminal, "".join(f"{line}\n" for line in (*typed, "")).encode())
        screen = b""
        while True:
            try:
                read = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            if not read:
                break
            screen += read
        return process.wait(60), screen.decode()
    finally:
        os.close(terminal)


ANSWERS = ("registry.example:5000", "nobody", "http://127.0.0.1:8080", "true", "good day: all", "8080", "0.25")


def test_the_answers_stand_in_site_yaml(tmp_path: Path) -> None:
    code, screen = at_terminal(tmp_path, *ANSWERS)
    assert code == 0, screen
    for asked in (
        "registry.endpoint (the site's registry, HOST:PORT):",
        "program.user (account without rights, for programs of the release):",
        "endpoints.ready (address for the probe up, http://HOST:PORT):",
        "config.greeting (response to GET /, string):",
        "config.port (integer):",
    ):
        assert asked in screen
    # What is secret, and what is no single value, is not asked for.
    assert "config.api_key (" not in screen
    assert "config.limits (" not in screen
    proposal = read_site_yaml(tmp_path / "site")
    assert proposal.site.drivers.registry is not None
    assert proposal.site.drivers.registry.endpoint == "registry.example:5000"
    assert proposal.site.drivers.program is not None
    assert proposal.site.drivers.program.user == "nobody"
    assert proposal.site.endpoints == {"ready": "http://127.0.0.1:8080"}
    assert json.loads(proposal.config) == {"debug": True, "greeting": "good day: all", "port": 8080, "ratio": 0.25}
    assert [unfilled.path for unfilled in proposal.unfilled] == ["$.config.api_key", "$.config.limits"]
    assert "fill in config.api_key" in screen
    assert "remove the #" not in screen


def test_a_site_that_would_refuse_the_release_is_said_before_it_is_made(tmp_path: Path) -> None:
    """Names never change, and the lowest sequence neither; whoever mistyped one learns it now."""
    wrong = ("--customer", "nothern-grid", "--environment", "test", "--minimum-sequence", "7")
    warning = (
        "nothern-grid/small/test/east would refuse small 1.0.0: it is for customer northern-grid, not nothern-grid; "
        "it is for environment production, not test; its sequence is 1, below the lowest supported 7"
    )
    code, screen = at_terminal(tmp_path, "n", more=wrong)
    assert code == 5, screen
    assert screen.index(warning) < screen.index("the names of a site never change; make it all the same [y/N]")
    assert "the site was not made" in screen
    assert not (tmp_path / "site").exists()
    done = waybill(*words(tmp_path), *wrong)
    assert done.code == 0
    assert f"warning: {warning}" in done.err
    left = " ".join(done.out.split())
    assert "ask the vendor for a release for this site: it would refuse 1.0.0 (it is for customer" in left
    assert "waybill check" not in left


def test_an_answer_that_cannot_hold_is_asked_for_again(tmp_path: Path) -> None:
    code, screen = at_terminal(
        tmp_path,
        "not a host",
        "registry:1",
        "root",
        "",
        "tcp://a:1",
        "",
        "yes",
        "false",
        "x" * 21,
        "",
        "80",
        "",
        "2",
        "",
    )
    assert code == 0, screen
    for refusal in (
        "'not a host' does not fit; give HOST or HOST:PORT, or press Enter to leave it out",
        "'root' is root; programs of a release never run as root",
        "'tcp://a:1' is no address that is asked by HTTP; give http://HOST:PORT",
        "'yes' is no boolean",
        "is too long",
        "80 is less than the minimum of 1024",
        "2 is greater than the maximum of 1",
    ):
        assert refusal in screen
    proposal = read_site_yaml(tmp_path / "site")
    assert json.loads(proposal.config) == {"debug": False}
    paths = [unfilled.path for unfilled in proposal.unfilled]
    assert paths[0] == "$.endpoints.ready"
    assert "$.config.port" in paths
    assert "  # program: {user: FILL-IN}" in (tmp_path / "site" / "site.yaml").read_text()


def test_an_account_that_the_host_does_not_have_is_asked_for_again(tmp_path: Path) -> None:
    code, screen = at_terminal(tmp_path, "", "no-such-account", "nobody", "", "", "", "", "")
    assert code == 0, screen
    assert "'no-such-account' is no account of this host; give an account of this host, create it" in screen
    assert '  program: {user: "nobody"}' in (tmp_path / "site" / "site.yaml").read_text()


def test_people_of_other_roles_are_asked_for_while_all_have_one(tmp_path: Path) -> None:
    for name in ("sec-1", "sec-2"):
        (tmp_path / f"{name}.pub").write_text(generate_key().public.pem)
    (tmp_path / "vendor.pub").write_text(RELEASE.public.pem)
    skipped = ("",) * 7
    code, screen = at_terminal(
        tmp_path,
        *skipped,
        f"security:sec-1={tmp_path}/lost.pub",
        f"security:sec-1={tmp_path}/vendor.pub",
        f"security:sec-1={tmp_path}/ops-1.pub",
        f"security:sec-1={tmp_path}/sec-1.pub",
        f"security:sec-2={tmp_path}/sec-2.pub",
    )
    assert code == 0, screen
    asked = "each change needs one approval of every role; so far "
    assert f"policy.yaml: {asked}ops-1 (operator); press Enter to go on" in screen
    for refusal in ("lost.pub", "the key of sec-1 is one of the vendor's", "ops-1 and sec-1 have the same key"):
        assert refusal in screen
    assert f"{asked}ops-1 (operator), sec-1 (security), sec-2 (security)" in screen
    policy = (tmp_path / "site" / "policy.yaml").read_text()
    assert "  policy: {operator: 1, security: 1}" in policy
    assert '"sec-2": {role: security, keys: ["people/sec-2.pub"]}' in policy


def test_nobody_is_asked_for_where_the_options_name_two_roles(tmp_path: Path) -> None:
    (tmp_path / "sec-1.pub").write_text(generate_key().public.pem)
    more = ("--person", f"security:sec-1={tmp_path}/sec-1.pub")
    code, screen = at_terminal(tmp_path, *("",) * 7, more=more)
    assert code == 0, screen
    assert "press Enter to go on" not in screen


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_nothing_is_asked_with_an_option_for_programs(tmp_path: Path, option: str) -> None:
    code, screen = at_terminal(tmp_path, more=(option,))
    assert code == 0, screen
    assert "registry.endpoint (" not in screen
    assert len(read_site_yaml(tmp_path / "site").unfilled) == 7


def test_nothing_is_asked_without_a_terminal(tmp_path: Path) -> None:
    done = waybill(*words(tmp_path), stdin="\n".join(ANSWERS).encode())
    assert done.code == 0
    assert len(read_site_yaml(tmp_path / "site").unfilled) == 7


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Question]:
    offer = read_offer(NEEDY.write(tmp_path_factory.mktemp("offer") / "1.tar"), NEEDY.pin().digest, None)
    return {question.setting: question for question in questions_of(offer)}


def test_a_number_of_an_account_is_written_as_one(asked: dict[str, Question]) -> None:
    assert asked["program.user"].write("1001") == "1001"
    with pytest.raises(UsageError, match="never run as root"):
        asked["program.user"].write("0")


def test_a_value_is_written_in_its_type(asked: dict[str, Question]) -> None:
    assert asked["config.port"].write("8080") == "8080"
    assert asked["config.greeting"].write("8080") == '"8080"'
    for wrong in ("0x50", "08080", "8080.0", ""):
        with pytest.raises(UsageError, match="is no integer"):
            asked["config.port"].write(wrong)
