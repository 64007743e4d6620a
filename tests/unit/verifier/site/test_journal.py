"""The journal: chain, segments, torn tails, tampering."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.trust.private_keys import generate_key
from manifests.trust.root import Pin
from manifests.words.digest import digest_of
from manifests.words.errors import NewerError, UntrustedError
from tests.faults.model import QuickDisk
from tests.place import Clock
from verifier.site.journal import chain as journal_module
from verifier.site.journal.chain import EMPTY, Journal, read_journal
from verifier.site.journal.checkpoint import segments
from verifier.site.journal.events import Enrolled, Note, Torn

KEY = generate_key().public


def enrolled() -> Enrolled:
    return Enrolled(
        site="a/b/c/d",
        vendor="v",
        channel="stable",
        site_key=KEY,
        root=Pin(version=1, digest=digest_of(b"root")),
        verifier="0.1.0",
        salt=digest_of(b"salt"),
    )


def made(folder: Path, notes: int) -> Journal:
    folder.mkdir()
    journal = Journal.create(folder, QuickDisk(), Clock().host())
    journal.append(enrolled())
    for i in range(notes):
        journal.append(Note(code="tick", detail=f"number {i}"))
    return journal


def reopen(folder: Path) -> Journal:
    return Journal.open(folder, QuickDisk(), Clock().host())


def test_every_line_names_the_one_before(tmp_path: Path) -> None:
    made(tmp_path / "j", 3)
    entries, tail = read_journal(tmp_path / "j")
    assert [one.record.seq for one in entries] == [1, 2, 3, 4]
    assert entries[0].record.prev == EMPTY.digest
    assert [one.record.prev for one in entries[1:]] == [one.digest for one in entries[:-1]]
    assert (tail.seq, tail.digest, tail.torn) == (4, entries[-1].digest, 0)


def test_segments_are_closed_and_the_chain_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT", 1000)
    made(tmp_path / "j", 20)
    files = segments(tmp_path / "j")
    assert len(files) > 5
    assert files[0].name == "0000000001.jsonl"
    entries, _ = read_journal(tmp_path / "j")
    assert len(entries) == 21
    assert reopen(tmp_path / "j").append(Note(code="more")).record.seq == 22


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_tail_is_cut_and_noted(tmp_path: Path, cut: int) -> None:
    made(tmp_path / "j", 3)
    file = segments(tmp_path / "j")[0]
    file.write_bytes(file.read_bytes()[:-cut])
    entries, tail = read_journal(tmp_path / "j")
    assert (len(entries), tail.torn > 0) == (3, True)
    journal = reopen(tmp_path / "j")
    assert journal.state.torn == 1
    entries, tail = read_journal(tmp_path / "j")
    assert isinstance(entries[-1].record.event, Torn)
    assert (len(entries), tail.torn) == (4, 0)


def test_a_new_segment_whose_first_line_is_torn(tmp_path: Path) -> None:
    made(tmp_path / "j", 1)
    (tmp_path / "j" / "0000000003.jsonl").write_bytes(b'{"half')
    journal = reopen(tmp_path / "j")
    assert journal.append(Note(code="after")).record.seq == 4
    assert len(read_journal(tmp_path / "j")[0]) == 4


def test_an_empty_new_segment(tmp_path: Path) -> None:
    made(tmp_path / "j", 1)
    (tmp_path / "j" / "0000000003.jsonl").touch()
    assert reopen(tmp_path / "j").append(Note(code="after")).record.seq == 3


def test_torn_inside_an_older_segment_is_no_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT", 1000)
    made(tmp_path / "j", 6)
    first = segments(tmp_path / "j")[0]
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(UntrustedError, match="chain is broken"):
        read_journal(tmp_path / "j")


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], lines[1].replace(b"number 0", b"number 9"), *lines[2:]],
        lambda lines: [lines[0], lines[1].replace(b"{", b"{ ", 1), *lines[2:]],
        lambda lines: [lines[0], b"", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe", *lines[1:]],
        lambda lines: lines[1:],
    ],
    ids=["left out", "swapped", "twice", "changed", "respaced", "empty line", "not text", "no beginning"],
)
def test_tampering_is_an_alarm_and_never_repaired(tmp_path: Path, damage: object) -> None:
    made(tmp_path / "j", 4)
    file = segments(tmp_path / "j")[0]
    before = file.read_bytes().split(b"\n")[:-1]
    after = b"\n".join(damage(before)) + b"\n"  # type: ignore[operator]  # one of the functions above
    file.write_bytes(after)
    with pytest.raises(UntrustedError, match=r"chain is broken at entry") as caught:
        reopen(tmp_path / "j")
    assert caught.value.exit_code == 4
    assert file.read_bytes() == after


def test_a_kind_of_a_later_version_is_newer_not_broken(tmp_path: Path) -> None:
    made(tmp_path / "j", 2)
    file = segments(tmp_path / "j")[0]
    lines = file.read_bytes().split(b"\n")[:-1]
    lines[-1] = lines[-1].replace(b'"event":"note"', b'"event":"dream"')
    file.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(NewerError, match="entry 3 has a kind that this verifier does not know"):
        read_journal(tmp_path / "j")


def test_an_entry_edited_into_a_later_kind_breaks_the_chain(tmp_path: Path) -> None:
    made(tmp_path / "j", 3)
    file = segments(tmp_path / "j")[0]
    lines = file.read_bytes().split(b"\n")[:-1]
    lines[-2] = lines[-2].replace(b'"event":"note"', b'"event":"dream"')
    file.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(UntrustedError, match="the chain is broken at entry 4"):
        read_journal(tmp_path / "j")


def test_what_could_not_be_read_back_is_never_written(tmp_path: Path) -> None:
    journal = made(tmp_path / "j", 0)
    before = segments(tmp_path / "j")[0].read_bytes()
    with pytest.raises(ValueError, match="not a journal entry"):
        journal.append(Note(code="tick", detail="a line\nbreak"))
    assert segments(tmp_path / "j")[0].read_bytes() == before
    assert journal.append(Note(code="tick")).record.seq == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_prefix_of_the_bytes_is_a_prefix_of_the_story(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("j") / "j"
    made(folder, data.draw(st.integers(1, 6)))
    whole, _ = read_journal(folder)
    file = segments(folder)[0]
    raw = file.read_bytes()
    first = raw.index(b"\n") + 1
    file.write_bytes(raw[: data.draw(st.integers(first, len(raw)))])
    found, _ = read_journal(folder)
    assert found == whole[: len(found)]
    journal = reopen(folder)
    journal.append(Note(code="again"))
    again, tail = read_journal(folder)
    assert again[: len(found)] == found
    assert tail.torn == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_before_the_last_line_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("j") / "j"
    made(folder, 3)
    file = segments(folder)[0]
    raw = bytearray(file.read_bytes())
    last = raw[:-1].rindex(b"\n")
    at = data.draw(st.integers(0, last))
    raw[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(raw)
    with pytest.raises((UntrustedError, NewerError)):
        read_journal(folder)
