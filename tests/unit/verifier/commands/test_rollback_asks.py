"""What `rollback` prints and asks before a key signs or approvals of before are used."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from manifests.documents.release import Trial
from manifests.trust.private_keys import encode_private
from manifests.words.errors import RefusedError, WaitingError
from tests.faults.model import QuickDisk
from tests.governed import govern, policy_text
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.approval.verdicts import approval_status
from verifier.commands.rollback import rollback_command

# The command runs probes in earnest, and nothing listens at their endpoint.
ONE = Vendor(version="1.0.0", sequence=1, change={"probes": ()})
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})
QUESTION = "roll back now"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = make_place(tmp_path, ONE, disk=QuickDisk(), reserve="4KiB")
    made.bring(ONE.write(tmp_path / "1.tar"))
    made.bring(TWO.write(tmp_path / "2.tar"))
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.commands.weighing.at_terminal", lambda: True)


def roll_back(place: Place, *words: str, answer: str = "", key: bool = True) -> Result:
    path = place.path.parent / "ops-1.key"
    path.write_bytes(encode_private(place.people["ops-1"], None))
    path.chmod(0o600)
    signs = ("--key", str(path)) if key else ()
    return CliRunner().invoke(rollback_command, [*words, *signs, "--site", str(place.path)], input=answer)


def approvals(place: Place) -> int:
    site = place.open()
    return len(approval_status(site, approvable_of(site, ("b-1",))).approvals)


@pytest.mark.usefixtures("terminal")
def test_at_a_terminal_the_rollback_is_asked_for_before_the_key_signs(place: Place) -> None:
    entries = len(place.open().entries)
    refused = roll_back(place, answer="n\n")
    assert refused.exit_code == RefusedError.exit_code
    before, _, after = refused.stderr.partition(QUESTION)
    assert "before the rollback begins:" in before
    assert "  switch to generation 1" in before
    assert "  loses " in before
    assert "the rollback was not confirmed; nothing was signed and nothing was changed" in after
    assert "waybill review b-1" in after
    assert (place.open().state.installs.current, len(place.open().entries)) == (2, entries)
    assert roll_back(place, answer="y\n").exit_code == 0
    assert place.open().state.installs.current == 1


@pytest.mark.usefixtures("terminal")
def test_a_key_that_does_not_suffice_is_said_before_it_signs_and_two_keys_both_sign(place: Place) -> None:
    govern(place, policy_text(2, rules={"rollback": "{operator: 1, security: 1}"}))
    alone = roll_back(place, answer="n\n")
    assert alone.exit_code == RefusedError.exit_code
    assert "before the approval is signed:\n! 1 security must agree besides: nothing is rolled back yet" in alone.stderr
    assert "sign the approval now" in alone.stderr
    assert QUESTION not in alone.stderr
    assert approvals(place) == 0
    second = place.path.parent / "sec-1.key"
    second.write_bytes(encode_private(place.people["sec-1"], None))
    second.chmod(0o600)
    both = roll_back(place, "--key", str(second), answer="y\n")
    assert QUESTION in both.stderr
    assert "must agree besides" not in both.stderr
    assert (both.exit_code, place.open().state.installs.current) == (0, 1)


@pytest.mark.usefixtures("terminal")
def test_approvals_of_before_are_asked_about_too_and_missing_ones_are_not(place: Place) -> None:
    missing = roll_back(place, key=False, answer="y\n")
    assert missing.exit_code == WaitingError.exit_code
    assert QUESTION not in missing.stderr
    place.approve("b-1")
    assert roll_back(place, key=False, answer="n\n").exit_code == RefusedError.exit_code
    assert place.open().state.installs.current == 2
    assert roll_back(place, key=False, answer="y\n").exit_code == 0
    assert place.open().state.installs.current == 1


@pytest.mark.usefixtures("terminal")
def test_yes_answers_the_question_and_the_consequences_are_printed(place: Place) -> None:
    done = roll_back(place, "--yes")
    assert done.exit_code == 0
    assert QUESTION not in done.stderr
    assert done.stderr.index("before the rollback begins:") < done.stderr.index("\nswitch to generation 1")


@pytest.mark.parametrize("words", [(), ("--yes",)])
def test_without_a_terminal_nothing_is_asked_and_no_option_is_needed(place: Place, words: tuple[str, ...]) -> None:
    done = roll_back(place, *words)
    assert done.exit_code == 0
    assert QUESTION not in done.stderr
    assert "before the rollback begins:" in done.stderr
    assert place.open().state.installs.current == 1


@pytest.mark.usefixtures("terminal")
def test_a_dry_run_asks_nothing_signs_nothing_and_says_that_approvals_are_missing(place: Place) -> None:
    entries = len(place.open().entries)
    done = roll_back(place, "--dry-run", answer="y\n")
    assert done.exit_code == WaitingError.exit_code
    assert QUESTION not in done.stderr
    assert "operator: 0 of 1" in done.stderr
    assert done.stdout.startswith("still runs: generation 2")
    assert done.stdout.index("what would be done\n  ") < done.stdout.index("what the rollback means")
    assert (approvals(place), len(place.open().entries)) == (0, entries)
    place.approve("b-1")
    assert roll_back(place, "--dry-run", key=False).exit_code == 0


@pytest.mark.usefixtures("terminal")
def test_a_rollback_out_of_a_trial_is_not_asked_about(place: Place) -> None:
    trial = Trial(at_most_seconds=5, confirm="person")
    by_hand = TWO.but(version="1.2.0", sequence=3, change={"probes": (), "trial": trial})
    item = place.receive(by_hand.write(place.path.parent / "3.tar")).item
    place.approve(item)
    place.install(item)
    assert place.open().state.installs.current == 3
    done = roll_back(place, key=False)
    assert QUESTION not in done.stderr
    assert place.open().state.installs.current == 2
