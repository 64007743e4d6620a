"""A journal whose chain is broken: an alarm everywhere, and those who look still see what holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from manifests.words.errors import UntrustedError
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.commands.history import history_command
from verifier.commands.install import install_command
from verifier.commands.receive import receive_command
from verifier.commands.recover import recover_command
from verifier.commands.report import report_command
from verifier.commands.rollback import rollback_command
from verifier.commands.status import status_command
from verifier.reporting.report_write import write_report
from verifier.site.folder import open_site_to_show
from verifier.site.journal.chain import read_intact_entries, read_journal
from verifier.site.journal.checkpoint import segments

FIRST = Vendor(images=False)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two releases installed, each told."""
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder, FIRST, disk=QuickDisk())
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    for vendor in (FIRST, SECOND):
        assert place.bring(vendor.write(folder / f"{vendor.version}.tar")).error is None
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people))


def lines_of(place: Place) -> list[bytes]:
    (segment,) = segments(place.path / "journal")
    return segment.read_bytes().split(b"\n")[:-1]


def at(place: Place, word: bytes) -> int:
    """The last entry with ``word``, from 1 on."""
    return max(number for number, line in enumerate(lines_of(place), 1) if word in line)


def damage(place: Place, change: Callable[[list[bytes]], list[bytes]]) -> None:
    (segment,) = segments(place.path / "journal")
    segment.write_bytes(b"".join(line + b"\n" for line in change(lines_of(place))))


def between(place: Place) -> int:
    """An entry after the first release ran, and before the second was planned."""
    return at(place, b'"version":"1.1.0"') + 1


def run(command: object, place: Place, *words: str, code: int = 4) -> tuple[str, str]:
    found = CliRunner().invoke(command, [*words, "--site", str(place.path)])  # type: ignore[arg-type]  # one of ours
    assert found.exit_code == code, found.output
    return found.stdout, found.stderr


WAYS: dict[str, Callable[[int], Callable[[list[bytes]], list[bytes]]]] = {
    "left out": lambda n: lambda lines: [*lines[: n - 1], *lines[n:]],
    "changed": lambda n: lambda lines: [*lines[: n - 1], lines[n - 1].replace(b'"uid":', b'"uid":1', 1), *lines[n:]],
    "not text": lambda n: lambda lines: [*lines[: n - 1], b"\xff\xfe", *lines[n - 1 :]],
    "swapped": lambda n: lambda lines: [*lines[: n - 1], lines[n], lines[n - 1], *lines[n + 1 :]],
}


@pytest.mark.parametrize("way", WAYS)
def test_history_shows_what_holds_and_then_the_alarm(place: Place, way: str) -> None:
    n = between(place)
    damage(place, WAYS[way](n))
    entries, error = read_intact_entries(place.path / "journal")
    # A changed line is known for changed by the one after it, which does not follow.
    holds = n if way == "changed" else n - 1
    assert len(entries) == holds
    assert f"the chain is broken at entry {holds + 1}" in error.problem
    out, err = run(history_command, place)
    assert f"! {error.problem}" in out
    assert f"the chain before the break, {holds} entries, is unbroken" in out
    assert "received r-1.0.0" in out
    assert "head " not in out
    assert err.startswith(f"error: journal: {error.problem}")
    assert "When the journal is damaged" in err
    found = json.loads(run(history_command, place, "--json")[0])
    assert found["error"]["finding"] == "journal-broken"
    assert [one["seq"] for one in found["records"]] == list(range(1, holds + 1))
    assert found["broken"] == error.problem


@pytest.mark.parametrize("way", WAYS)
def test_status_says_what_can_be_seen(place: Place, way: str) -> None:
    damage(place, WAYS[way](between(place)))
    before = tree(place)
    out, error = run(status_command, place)
    assert out.startswith("! ")
    assert "the chain is broken at entry " in error
    assert "generation 1 (1.0.0) ran then" in out
    assert "current    points at generation 2, which came after the break" in out
    assert "outbox/2.report.json, of 2026-03-01T12:00:00Z, signed by this site's key" in out
    found = json.loads(run(status_command, place, "--json")[0])
    assert (found["current"], found["version"], found["report"]) == (2, None, 2)
    assert tree(place) == before


def test_the_last_report_is_shown_by_its_signature_alone(place: Place) -> None:
    damage(place, WAYS["left out"](between(place)))
    before = tree(place)
    out, error = run(report_command, place)
    assert out.startswith("! ")
    assert "the chain is broken at entry " in error
    assert "the journal does not prove that this is the last report" in out
    assert "report 2 of northern-grid" in out
    # One that this key did not sign is none; the one before it is the newest then.
    newest = place.path / "outbox" / "2.report.json"
    newest.write_bytes(newest.read_bytes().replace(b'"signatures"', b'"Signatures"'))
    assert "report 1 of northern-grid" in run(report_command, place)[0]
    (place.path / "outbox" / "1.report.json").unlink()
    assert run(report_command, place)[0] == ""
    assert tree(place) != before
    assert "none here is signed by a key of this site" in run(status_command, place)[0]


def test_nothing_that_changes_a_site_goes_on(place: Place, made: Place) -> None:
    damage(place, WAYS["changed"](between(place)))
    before = tree(place)
    for command, words in (
        (report_command, ["--new"]),
        (report_command, ["--preview"]),
        (report_command, ["--text"]),
        (recover_command, []),
        (rollback_command, []),
        (install_command, ["r-1.1.0"]),
        (receive_command, [str(made.path.parent / "1.1.0.tar")]),
    ):
        assert "the chain is broken at entry" in run(command, place, *words)[1]
    assert tree(place) == before


@pytest.mark.parametrize("change", [lambda lines: lines[1:], lambda _: [b"{}"]], ids=["no beginning", "another first"])
def test_of_a_journal_without_a_beginning_nothing_is_told(
    place: Place, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    damage(place, change)
    for command in (history_command, status_command, report_command):
        out, err = run(command, place)
        assert out == ""
        assert "the chain is broken at entry 1" in err


def test_a_backup_of_the_journal_ends_it(place: Place, made: Place) -> None:
    damage(place, WAYS["changed"](between(place)))
    assert "the chain is broken" in run(status_command, place)[1]
    shutil.rmtree(place.path / "journal")
    shutil.copytree(made.path / "journal", place.path / "journal")
    assert "runs       small 1.1.0" in run(status_command, place, code=0)[0]
    assert run(recover_command, place, code=0)


def test_a_journal_that_holds_is_looked_at_as_it_is(place: Place) -> None:
    assert open_site_to_show(place.path, place.disk, place.clock.host()).broken is None
    read_journal(place.path / "journal")
    with pytest.raises(ValueError, match="is not broken"):
        read_intact_entries(place.path / "journal")
    damage(place, WAYS["left out"](3))
    with pytest.raises(UntrustedError, match="broken at entry 3"):
        place.open()


def tree(place: Place) -> dict[str, bytes]:
    """Every file but the lock, which is the kernel's."""
    return {
        str(one.relative_to(place.path)): one.read_bytes()
        for one in sorted(place.path.rglob("*"))
        if one.is_file() and one.name != "lock"
    }
