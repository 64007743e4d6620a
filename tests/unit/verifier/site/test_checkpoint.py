"""The checkpoint: it saves the fold of what came before it, and is never believed where the journal says otherwise."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import NewerError, UntrustedError
from tests.faults.model import FailingDisk, Model, PluggedDisk, PulledPlugError, QuickDisk, RecordingDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.commands.history import history_command
from verifier.commands.status import status_command
from verifier.reporting.report_write import write_report
from verifier.reporting.status import read_status
from verifier.site.folder import Site, open_site, open_site_from_checkpoint, open_site_to_show
from verifier.site.journal import chain, checkpoint
from verifier.site.journal.chain import read_journal
from verifier.site.journal.checkpoint import (
    NAME,
    Checkpoint,
    digest_of_lines,
    read_checkpoint,
    segments,
    write_checkpoint,
)
from verifier.site.journal.events import Alarm, Note, Record
from verifier.site.journal.fold import fold
from verifier.site.journal.state import SiteState
from verifier.site.lock import hold_site
from verifier.trust.findings import VERIFIER_VERSION

FIRST = Vendor(images=False)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
FULL = 28  # no space left on device


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two releases installed, one taken back, an alarm, and reports; no checkpoint yet."""
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder, FIRST, disk=QuickDisk())
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    for vendor in (FIRST, SECOND):
        assert place.bring(vendor.write(folder / f"{vendor.version}.tar")).error is None
    place.approve("b-1")
    assert place.rollback(1).error is None
    with place.hold() as site:
        site.record(Alarm(code="an-alarm", detail="as the test wants it"))
        write_report(site, site.disk, place.clock.at)
        site.record(Note(code="exported"))
    assert not (place.path / "journal" / NAME).exists(), "the journal is too short for one"
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people), clock=made.clock)


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint for every five entries."""
    monkeypatch.setattr(chain, "EVERY", 5)


def journal(place: Place) -> Path:
    return place.path / "journal"


def file(place: Place) -> Path:
    return journal(place) / NAME


def state_at(place: Place, seq: int) -> SiteState:
    entries, _ = read_journal(journal(place))
    return fold((entry.digest, entry.record) for entry in entries[:seq])


def kept(place: Place) -> SiteState | None:
    found = read_checkpoint(journal(place))
    return found.state if found is not None else None


def opened(place: Place) -> Site | None:
    return open_site_from_checkpoint(place.path, place.disk, place.clock.host())


def same(place: Place) -> None:
    """What is shown with the checkpoint is what the whole journal says."""
    host = place.clock.host()
    shown = open_site_to_show(place.path, place.disk, host, checkpoint=True)
    whole = open_site(place.path, place.disk, host)
    assert shown.state == whole.state
    assert [(one.digest, one.record) for one in shown.entries] == [(one.digest, one.record) for one in whole.entries]
    assert shown.torn == whole.torn
    now = place.clock.at
    first, second = read_status(shown, (), None, now), read_status(whole, (), None, now)
    assert (first.text, first.data, str(first.error)) == (second.text, second.data, str(second.error))


def test_the_state_after_every_entry_survives_the_file_and_gives_the_same_fold(place: Place) -> None:
    entries, _ = read_journal(journal(place))
    assert len(entries) > 50
    for seq in range(1, len(entries) + 1):
        state = state_at(place, seq)
        write_checkpoint(journal(place), place.disk, state)
        assert kept(place) == state
        found = opened(place)
        assert found is not None
        assert found.state == state_at(place, len(entries)), seq
    same(place)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_with_or_without_any_prefix_of_the_journal_folds_alike(place: Place, data: st.DataObject) -> None:
    """The journal may be cut anywhere, the checkpoint made at any entry of what is left or of what was lost."""
    (segment,) = segments(journal(place))
    whole = segment.read_bytes()
    entries, _ = read_journal(journal(place))
    try:
        write_checkpoint(journal(place), place.disk, state_at(place, data.draw(st.integers(2, len(entries)))))
        start = whole.index(b"\n") + 1
        segment.write_bytes(whole[: data.draw(st.integers(start, len(whole)))])
        same(place)
    finally:
        segment.write_bytes(whole)


def test_a_command_that_holds_the_site_makes_one_and_status_uses_it(place: Place, every: None) -> None:
    with place.hold():
        pass
    assert kept(place) == place.open().state
    made = file(place).stat().st_mtime_ns
    with place.hold() as site:
        for _ in range(4):
            site.record(Note(code="tick"))
    with place.hold():
        assert file(place).stat().st_mtime_ns == made, "four entries are not worth another"
    same(place)
    with place.hold() as site:
        site.record(Note(code="tick"))
    with place.hold():
        assert file(place).stat().st_mtime_ns != made
    assert kept(place) == place.open().state
    found = CliRunner().invoke(status_command, ["--fast", "--json", "--site", str(place.path)])
    assert json.loads(found.stdout)["generation"] == 1


def test_lines_before_it_are_not_decoded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, _ = read_journal(journal(place))
    write_checkpoint(journal(place), place.disk, state_at(place, len(entries) - 3))
    decoded: list[bytes] = []
    read = chain._READER.read

    def counted(line: bytes) -> Record | None:
        decoded.append(line)
        return read(line)

    monkeypatch.setattr(chain._READER, "read", counted)
    assert opened(place) is not None
    assert len(decoded) == 3


def forged(place: Place) -> SiteState:
    """A state that names the right entry and is false."""
    state = place.open().state
    return replace(state, trust=replace(state.trust, policies=state.trust.policies[:0]), alarms=())


def raw(place: Place, state: SiteState | None = None, **changes: object) -> bytes:
    state = state or place.open().state
    lines = digest_of_lines(journal(place), state.seq)
    whole = Checkpoint(verifier=VERIFIER_VERSION, fold=checkpoint.FOLD, lines=lines, state=state)
    line = encode(replace(whole, **changes))
    return digest_of(line).encode() + b"\n" + line


UNUSABLE: dict[str, Callable[[Place], bytes]] = {
    "empty": lambda place: b"",
    "zeros": lambda place: bytes(4096),
    "truncated": lambda place: raw(place)[:-1],
    "a byte changed": lambda place: raw(place).replace(b'"clock_back":0', b'"clock_back":1'),
    "another form": lambda place: digest_of(b"{}").encode() + b"\n{}",
    "deep": lambda place: digest_of(b"[" * 100_000).encode() + b"\n" + b"[" * 100_000,
    "too long": lambda place: bytes(checkpoint.MAX_CHECKPOINT + 1),
    "another verifier": lambda place: raw(place, verifier="0.0.9"),
    "another fold": lambda place: raw(place, fold=checkpoint.FOLD + 1),
    "another entry": lambda place: raw(place, replace(place.open().state, head=digest_of(b"foreign"))),
    "newer than the journal": lambda place: raw(place, replace(place.open().state, seq=place.open().state.seq + 1)),
    "other lines": lambda place: raw(place, lines=digest_of(b"foreign")),
    "before the journal": lambda place: raw(place, replace(place.open().state, seq=0)),
    "less than nothing": lambda place: raw(place, replace(place.open().state, seq=-1)),
}


@pytest.mark.parametrize("way", UNUSABLE)
def test_one_that_cannot_be_used_is_ignored_and_then_replaced(place: Place, every: None, way: str) -> None:
    file(place).write_bytes(UNUSABLE[way](place))
    assert opened(place) is None
    same(place)
    before = place.open().state
    with place.hold() as site:
        assert site.state == before
    assert kept(place) == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_what_is_no_file_is_not_waited_for(place: Place, every: None, kind: str) -> None:
    path = file(place)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    same(place)
    with place.hold() as site:
        site.record(Note(code="tick"))
    same(place)


def test_a_false_one_is_believed_by_no_command_that_changes_the_site(place: Place, every: None) -> None:
    """Root can write one, and `status` shows it. History reads the journal; whoever holds the site replaces it."""
    true = place.open().state
    file(place).write_bytes(raw(place, forged(place)))
    found = opened(place)
    assert found is not None
    assert found.state.alarms == ()
    assert "an alarm" in CliRunner().invoke(history_command, ["--site", str(place.path)]).output.replace("-", " ")
    with place.hold() as site:
        assert site.state == true
        assert site.policy.number == true.trust.policy_number
    assert kept(place) == true


def test_a_false_one_further_back_is_found_too(place: Place, every: None) -> None:
    state = state_at(place, 20)
    file(place).write_bytes(raw(place, replace(state, torn=7)))
    with place.hold() as site:
        assert site.state.torn == 0
    assert kept(place) == place.open().state


@pytest.mark.parametrize("way", ["left out", "changed", "not text", "swapped", "cut off"])
def test_damage_before_it_is_found_at_once(place: Place, way: str) -> None:
    """Every byte before the checkpoint is still covered: `status` says what it says without one."""
    write_checkpoint(journal(place), place.disk, place.open().state)
    (segment,) = segments(journal(place))
    lines = segment.read_bytes().split(b"\n")[:-1]
    lines = {
        "left out": [*lines[:9], *lines[10:]],
        "changed": [*lines[:9], lines[9].replace(b'"uid":', b'"uid":1', 1), *lines[10:]],
        "not text": [*lines[:9], b"\xff\xfe", *lines[9:]],
        "swapped": [*lines[:9], lines[10], lines[9], *lines[11:]],
        "cut off": lines[1:],
    }[way]
    segment.write_bytes(b"".join(line + b"\n" for line in lines))
    assert opened(place) is None
    host = place.clock.host()
    if way == "cut off":
        # Nothing at all can be shown when the first entry is broken.
        with pytest.raises(UntrustedError, match="broken at entry 1"):
            open_site_to_show(place.path, place.disk, host, checkpoint=True)
        return
    shown, whole = (open_site_to_show(place.path, place.disk, host, checkpoint=with_it) for with_it in (True, False))
    assert shown.broken is not None
    assert whole.broken is not None
    assert (shown.broken.problem, shown.broken.finding) == (whole.broken.problem, "journal-broken")
    assert shown.state == whole.state


def test_every_changed_byte_before_it_is_found(place: Place) -> None:
    """Of the last line too, nothing is believed that the journal does not say now."""
    write_checkpoint(journal(place), place.disk, place.open().state)
    (segment,) = segments(journal(place))
    whole = segment.read_bytes()
    last = whole[:-1].rindex(b"\n")
    for at in range(0, len(whole), 97):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = open_site_to_show(place.path, place.disk, place.clock.host(), checkpoint=True)
        except (UntrustedError, NewerError):  # a changed kind of the last line looks newer
            continue
        assert at > last or found.broken is not None, at
        assert found.broken is not None or found.state == place.open().state


def test_a_journal_that_was_computed_anew_has_no_checkpoint(place: Place) -> None:
    """And the reports in the outbox contradict it, as without a checkpoint."""
    write_checkpoint(journal(place), place.disk, state_at(place, 40))
    (segment,) = segments(journal(place))
    lines = segment.read_bytes().split(b"\n")[:-1]
    digest = digest_of(lines[1])
    for i in range(2, len(lines)):
        fields = json.loads(lines[i].replace(b"ops1", b"eve1") if i == 2 else lines[i]) | {"prev": digest}
        lines[i] = json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        digest = digest_of(lines[i])
    segment.write_bytes(b"".join(line + b"\n" for line in lines))
    assert opened(place) is None
    out = CliRunner().invoke(status_command, ["--fast", "--site", str(place.path)])
    assert out.exit_code == 4
    assert "journal-rewritten" in out.output


def test_a_full_or_failing_disk_is_no_error(place: Place, every: None) -> None:
    for at in itertools.count():
        failing = FailingDisk(at, FULL, for_ever=True)
        before = kept(place)
        write_checkpoint(journal(place), failing, place.open().state)
        assert sorted(path.name for path in journal(place).iterdir() if "checkpoint" in path.name) in ([], [NAME])
        assert kept(place) in (before, place.open().state)
        same(place)
        if not failing.fired:
            break
    assert at > 4


def test_a_pulled_plug_leaves_the_old_one_or_the_new_one(place: Place, every: None) -> None:
    """The process is gone at each effect of a hold; the next one goes on, and what is shown is always the journal's."""
    write_checkpoint(journal(place), place.disk, state_at(place, 20))
    for at in itertools.count():
        copy = Place(
            path=place.path.parent / f"plug-{at}", disk=PluggedDisk(at), people=place.people, clock=place.clock
        )
        shutil.copytree(place.path, copy.path, symlinks=True)
        try:
            with hold_site(copy.path, copy.disk, copy.clock.host(), "test"):
                pass
        except PulledPlugError:
            copy.disk = QuickDisk()
            same(copy)
            with copy.hold() as site:
                assert site.state == place.open().state
            assert kept(copy) == place.open().state
        else:
            break
    assert at > 6


def test_whatever_a_crash_leaves_of_it_is_not_believed(place: Place, every: None, tmp_path: Path) -> None:
    """Every state that a file system may leave, after each effect of a hold that replaces the checkpoint."""
    write_checkpoint(journal(place), place.disk, state_at(place, 20))
    before = tmp_path / "before"
    shutil.copytree(place.path, before, symlinks=True)
    disk = RecordingDisk(place.path)
    with hold_site(place.path, disk, place.clock.host(), "test") as site:
        true = site.state
    assert any(op.path.endswith(NAME) and op.kind == "rename" for op in disk.ops)
    model, seen = Model(before), set()
    for number, op in enumerate((*disk.ops, None)):
        for crash in model.crashes():
            if crash.key() in seen:
                continue
            seen.add(crash.key())
            world = Place(path=tmp_path / f"{number}-{len(seen)}", disk=QuickDisk(), people=place.people)
            crash.materialise(world.path)
            assert open_site_to_show(world.path, world.disk, world.clock.host(), checkpoint=True).state == true
            shutil.rmtree(world.path)
        if op is not None:
            model.do(op)
    assert len(seen) > 5
