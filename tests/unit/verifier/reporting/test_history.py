"""What `history` and `status` tell: who, by whose key, with which inputs, on which boot; and what is late."""

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.documents.backup_proof import BackupProof
from manifests.documents.consignment import Newest
from manifests.trust.root import Mark
from manifests.words.errors import DamagedError, RolledBackError, UntrustedError, WaybillError
from tests.faults.model import QuickDisk
from tests.place import Clock, Place, make_place
from tests.printed import printed
from tests.vendor import Vendor
from verifier.approval.page import as_page
from verifier.commands.history import history_command
from verifier.reporting.history import history_lines, history_page
from verifier.reporting.report_write import export_reports, write_report
from verifier.reporting.status import late_of, read_status
from verifier.site.generations import read_installed
from verifier.site.host import this_host
from verifier.site.journal.events import (
    Alarm,
    Answer,
    AskedAgain,
    Consigned,
    Event,
    Inconsistent,
    Outcome,
    Proposed,
    Torn,
)
from verifier.site.lock import hold_site

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
FIRST = Vendor(
    images=False,
    change={
        "probes": (PROBE,),
        "trial": r.Trial(at_most_seconds=5, confirm="probes"),
        "next_expected_by": "2026-04-01",
        "supported_until": "2026-06-01",
    },
)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One install, a reboot, one that failed."""
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(folder / "1.tar")).error is None
    place.clock.boot = "99999999-2222-3333-4444-555555555555"
    place.clock.running = 3.0
    place.health["up"] = "failing"
    place.receive(SECOND.write(folder / "2.tar"))
    place.approve("r-1.1.0")
    ended = place.install("r-1.1.0")
    assert isinstance(ended.error, RolledBackError)
    return place


def told(place: Place, *, every: bool = False) -> str:
    site = place.open()
    lines = history_lines(entry.record for entry in site.entries)
    return printed(history_page(site.state.site, (), lines, every=every))


def test_who_by_whose_key_with_which_inputs_and_what_came_of_it(made: Place) -> None:
    text = told(made)
    site = made.open()
    release = site.state.installs.releases[0].release[7:19]
    assert "ops1 (uid 1000)" in text
    assert "ops-1 (operator)" in text
    assert "received r-1.0.0: small 1.0.0, stable 1" in text
    assert f"release {release}" in text
    assert "approvals counted" in text
    first, _, second = text.partition("boot 99999999-2222-3333-4444-555555555555")
    assert "boot 11111111-2222-3333-4444-555555555555" in first
    assert "generation 1 confirmed by probes" in first
    assert "\n  ! " not in first
    assert "failed" in second
    assert "\n  ! " in second


def test_every_entry_with_whole_digests_and_never_the_salt(made: Place) -> None:
    site = made.open()
    text = told(made, every=True)
    state = site.state
    assert len(re.findall(r"(?m)^  [ !]? *[0-9]+ +2026-", text)) == state.seq
    assert state.installs.releases[0].release in text
    (salt,) = [entry.record.event.salt for entry in site.entries if hasattr(entry.record.event, "salt")]
    words = ["--verbose", "--site", str(made.path), "--json"]
    shown = CliRunner().invoke(history_command, words, catch_exceptions=False).stdout
    for place in (text, told(made), shown):
        assert salt not in place
        assert salt[:12] not in place


D = "sha256:" + "d" * 64
WORDS: list[tuple[Event, str, bool]] = [
    (Alarm(code="sequence-twice", detail="two of them"), "sequence-twice: two of them", True),
    (
        Inconsistent(code="retreat-failed", detail="no disk"),
        "neither the old nor the new generation could be restored",
        True,
    ),
    # As journals of before have it, without a size; and with what is known now.
    (Outcome(act="restore", step="db", result="done"), "db restored from its backup", False),
    (
        Outcome(
            act="restore", step="db", result="done", digest=D, size=2048, saved_bytes=4096, proof=BackupProof(rows=2)
        ),
        "db restored from its backup: 2.0 KiB, 2 rows; the data have 4.0 KiB now",
        False,
    ),
    (AskedAgain(way="back"), "retry requested, back", False),
    (Proposed(item="policy", subject=D, account="mallory"), "policy.yaml, owned by mallory, differs", False),
    (Proposed(item="config", subject=D, account="ops1"), "site.yaml, owned by ops1, differs", False),
    (Torn(bytes=17), "unfinished last entry removed, 17 bytes", False),
    (
        Consigned(
            number=3,
            digest=D,
            issued_at="2026-03-01T10:00:00Z",
            challenge=D,
            acknowledged=7,
            acknowledged_digest=D,
            newest=(Newest(channel="stable", mark=Mark(epoch=1, sequence=9)),),
            answers=(Answer(request="q1", handler="restart", outcome="no-such-handler"),),
            authorisations=(D,),
        ),
        "consignment 3 of 2026-03-01T10:00:00Z: support holds report 7; newest for this site stable 9; "
        "request q1 (restart): no such handler; authorisations of rollbacks below the floor: 1",
        False,
    ),
    (Consigned(number=4, digest=D, issued_at="2026-03-01T10:00:00Z", challenge=D), "consignment 4 of 2026-03", False),
]


@pytest.mark.parametrize(("event", "words", "marked"), WORDS)
def test_every_event_is_told_in_words(made: Place, event: Event, words: str, marked: bool) -> None:
    record = msgspec.structs.replace(made.open().entries[-1].record, event=event)
    (line,) = history_lines([record])
    assert line.words.startswith(words)
    text = printed(history_page("s", (), (line,), every=False))
    assert ("\n  ! " in text) == marked


def test_for_programs_and_as_a_page(made: Place, tmp_path: Path) -> None:
    words = ["--site", str(made.path), "--json", "--since", "3"]
    found = json.loads(CliRunner().invoke(history_command, words, catch_exceptions=False).stdout)
    assert found["records"][0]["seq"] == 3
    verdict = next(one for one in found["records"] if one["event"]["event"] == "verdict")
    assert (verdict["account"], verdict["uid"], verdict["sudo"]) == ("ops1", 1000, None)
    assert (verdict["person"], verdict["result"]) == ("ops-1 (operator)", "agreed")
    assert dict(verdict["inputs"])["plan"] == verdict["event"]["plan"]
    page = tmp_path / "history.html"
    words = ["--site", str(made.path), "--page", str(page)]
    assert CliRunner().invoke(history_command, words, catch_exceptions=False).exit_code == 0
    assert "received r-1.0.0" in page.read_text()
    assert CliRunner().invoke(history_command, words, catch_exceptions=False).exit_code == 5


def test_a_broken_chain_is_said_before_anything_is_told(made: Place, tmp_path: Path) -> None:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    segment = sorted((tmp_path / "site" / "journal").glob("*.jsonl"))[-1]
    segment.write_bytes(segment.read_bytes().replace(b'"verdict":"approve"', b'"verdict":"rejects"', 1))
    found = CliRunner().invoke(history_command, ["--site", str(tmp_path / "site")])
    assert found.exit_code == 4
    assert found.stdout.index("! the chain is broken at entry") < found.stdout.index("received r-1.0.0")
    assert "reject" not in found.stdout


def test_sudo_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place(tmp_path, FIRST, disk=QuickDisk())
    monkeypatch.setenv("SUDO_USER", "alice\x1b[31m")
    actor = this_host().actor
    assert (actor.uid, actor.sudo) == (os.getuid(), "alice[31m")
    clock = Clock()
    place.clock = clock
    host = replace(clock.host(), actor=actor)
    with hold_site(place.path, place.disk, host, "test") as site:
        write_report(site, site.disk, clock.at)
    assert f"(uid {os.getuid()}, sudo by alice[31m)" in told(place)


def test_hostile_words_stay_on_their_line(made: Place) -> None:
    lines = history_lines(entry.record for entry in made.open().entries)
    evil = replace(lines[3], words="x\x1b[31m\n  agreed <script>alert(1)</script>")
    paper = history_page("site", (), (evil,), every=False)
    assert "\x1b" not in printed(paper)
    assert len(printed(paper).splitlines()) == 4
    assert "<script>" not in as_page(paper)


# --- late -----------------------------------------------------------------------------------------------------------


def test_what_is_late(made: Place, tmp_path: Path) -> None:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=made.people)
    now = made.clock.at
    site = place.open()
    assert late_of(site, now) == ()
    assert late_of(site, now + timedelta(days=29)) == ()
    (late,) = late_of(site, now + timedelta(days=31))
    assert late == "a report is due every 30d; none was exported yet"
    found = late_of(site, now + timedelta(days=100))
    assert found[:2] == (
        "1.0.0: a newer release was expected by 2026-04-01",
        "1.0.0: support ended on 2026-06-01",
    )
    text = read_status(site, (), None, now + timedelta(days=100)).text
    assert "late       1.0.0: a newer release was expected by 2026-04-01" in text
    # A clock that went back to 1970 makes nothing timely that a confirmed release has proved to be late, and none of it
    # stops anything.
    assert late_of(site, now.replace(year=1970)) == ()
    place.clock.at = now + timedelta(days=31)
    with place.hold() as held:
        write_report(held, held.disk, place.clock.at)
        export_reports(held, held.disk, tmp_path, most=50)
    assert late_of(place.open(), place.clock.at) in ((), ("1.0.0: a newer release was expected by 2026-04-01",))


# --- what does not belong together ----------------------------------------------------------------------------------


def test_a_journal_from_another_site(made: Place, tmp_path: Path) -> None:
    """It is whole, and nothing of this folder belongs to it: said first, and nothing is signed."""
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    other = make_place(tmp_path / "other", FIRST, disk=QuickDisk())
    shutil.rmtree(tmp_path / "site" / "journal")
    shutil.copytree(other.path / "journal", tmp_path / "site" / "journal")
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=made.people)
    found = read_status(place.open(), (), None, made.clock.at)
    assert isinstance(found.error, UntrustedError)
    assert found.text.startswith(f"! {found.error.where}: {found.error.finding}\n")
    assert found.error.problem.startswith("the journal belongs to")
    with pytest.raises(WaybillError), place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    with pytest.raises(WaybillError):
        place.rollback(1, "ops-1")


def test_two_generations_under_one_number(made: Place, tmp_path: Path) -> None:
    """A folder that was put in the place of a generation is not the one that the journal names."""
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=made.people)
    here, again = tmp_path / "site" / "generations" / "1", tmp_path / "again"
    here.rename(again)
    twin = make_place(tmp_path / "twin", SECOND, disk=QuickDisk())
    assert twin.bring(SECOND.write(tmp_path / "twin" / "2.tar")).error is None
    shutil.copytree(twin.path / "generations" / "1", here)
    with pytest.raises(DamagedError):
        read_installed(place.open(), place.open().state.installs.generations[0])
    with pytest.raises(WaybillError):
        place.install("r-1.1.0")
