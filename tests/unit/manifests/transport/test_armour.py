"""Armour: what a mail program may do to it, and what it may not."""

import hashlib
import os
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manifests.documents import report as r
from manifests.transport.armour import BEGIN, END, Block, armour_report, find_armour, open_armour
from manifests.transport.packed import MAX_PACKED, pack_report, unpack_report
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

SITE = Reporter(root=Vendor().pin())
RAW = SITE.report(Vendor())
TEXT = armour_report(RAW)
LINES = TEXT.splitlines()


def opened(text: str) -> bytes:
    (block,) = find_armour(text.encode())
    return open_armour(block, "mail.txt")


def refused(text: str) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        opened(text)
    return caught.value


def images(count: int) -> bytes:
    """A real report of so many images."""
    site = Reporter(root=Vendor().pin())
    parts = tuple(
        r.ReportedComponent(
            kind="image",
            name=f"svc{i:04}",
            step="images",
            expected="sha256:" + hashlib.sha256(b"%d" % i).hexdigest(),
            found="same",
            level="running",
        )
        for i in range(count)
    )
    return site.sign(replace(site.next(Vendor()), components=r.Components(listed=parts)))


@pytest.mark.parametrize("count", [0, 1, 60, 260])
def test_the_very_file_comes_out(count: int) -> None:
    raw = images(count)
    text = armour_report(raw)
    assert opened(text) == raw
    assert max(map(len, text.splitlines())) <= 72
    assert len(text) < len(raw) or count == 0


def test_what_mail_programs_do_is_harmless() -> None:
    around = "Dear all,\r\n\r\nsee below.\r\n\r\n"
    for text in (
        TEXT.replace("\n", "\r\n"),
        around + TEXT + "\nRegards\n-- \nnobody",
        "".join(f"> > {line}\n" for line in LINES),
        "".join(f"{line}  \t\n\n" for line in LINES),
        "\ufeff" + around + TEXT,
    ):
        assert opened(text) == RAW


def test_several_in_one_text() -> None:
    other = SITE.report()
    blocks = list(find_armour((TEXT + "\n" + armour_report(other)).encode()))
    assert [open_armour(one, "mail.txt") for one in blocks] == [RAW, other]


def test_a_changed_letter_is_named_by_its_line() -> None:
    """Every letter of every line between BEGIN and END."""
    for number, line in enumerate(LINES[1:-1], 2):
        for at, letter in enumerate(line):
            if letter == " ":
                continue
            changed = [*LINES]
            changed[number - 1] = line[:at] + ("A" if letter != "A" else "B") + line[at + 1 :]
            error = refused("\n".join(changed))
            if line.startswith("Checks"):
                # A check that was changed accuses the line that it is of, or itself when its word is gone.
                assert error.finding in ("armour-line", "armour-broken")
            else:
                assert (error.finding, f"line {number} of the text" in error.problem) == ("armour-line", True)


def test_lost_moved_doubled_and_foreign_lines_are_named() -> None:
    body = LINES.index(next(line for line in LINES if line.startswith("0001")))
    assert "missing are 0003" in refused("\n".join(LINES[: body + 2] + LINES[body + 3 :])).problem
    swapped = [*LINES]
    swapped[body + 2], swapped[body + 3] = swapped[body + 3], swapped[body + 2]
    assert f"line {body + 4} (out of order)" in refused("\n".join(swapped)).problem
    assert f"line {body + 3} (out of order)" in refused("\n".join([*LINES[: body + 2], *LINES[body + 1 :]])).problem
    other = armour_report(SITE.report()).splitlines()
    mixed = [*LINES]
    mixed[body + 4] = other[body + 4]
    assert f"line {body + 5} of the text" in refused("\n".join(mixed)).problem
    assert (
        f"line {body + 4} of the text" in refused("\n".join([*LINES[: body + 3], "hello", *LINES[body + 3 :]])).problem
    )


def test_an_unfinished_text() -> None:
    assert "END line" in refused("\n".join(LINES[:-1])).problem
    assert "missing are" in refused("\n".join([*LINES[:-3], END])).problem
    assert "Checks line" in refused(f"{BEGIN}\n{END}").problem
    assert list(find_armour(b"nothing here")) == []
    begun_twice = list(find_armour(f"{BEGIN}\nSite: x\n{TEXT}".encode()))
    assert [one.ended for one in begun_twice] == [False, True]
    assert open_armour(begun_twice[1], "mail.txt") == RAW


def test_a_text_that_was_cut_off_is_not_called_changed() -> None:
    """Wherever it ends: the person copies it again instead of looking for a wrong letter."""
    body = TEXT.index("0001 ")
    for end in range(len(BEGIN), TEXT.index("\n" + LINES[-2]) + 5):
        error = refused(TEXT[:end])
        assert error.finding == "armour-cut", TEXT[:end]
        place = "in its header" if end <= body else "after "
        assert f"the text is cut off {place}" in error.problem
        assert "as far as its END line" in error.remedy


def test_a_text_that_was_cut_off_and_changed_names_the_changed_line() -> None:
    body = TEXT.index("0001 ")
    changed = TEXT[: body + 8] + ("A" if TEXT[body + 8] != "A" else "B") + TEXT[body + 9 : body + 200]
    assert refused(changed).finding == "armour-line"


def test_a_header_about_another_report() -> None:
    """The header is for people, so it must not tell them anything else than the report does."""
    from manifests.transport.checked_text import check_letters

    changed = [line.replace("Report: 1", "Report: 2") for line in LINES]
    at = next(i for i, line in enumerate(changed) if line.startswith("Checks"))
    changed[at] = "Checks: " + " ".join(check_letters(line) for line in changed[1:at])
    assert "names another report" in refused("\n".join(changed)).problem


def test_a_few_bytes_that_unfold_to_a_lot() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b" " * (50 << 20)) + deflate.flush()
    packed = pack_report(RAW)
    head = packed[: 34 + packed[33]]
    with pytest.raises(MalformedError, match="unfolds to more than 65536 bytes"):
        unpack_report(head + bomb, "x")
    for broken in (b"", packed[:20], b"\x02" + packed[1:], packed[:-1], packed + b"\0", b"\0" * (MAX_PACKED + 1)):
        with pytest.raises(MalformedError):
            unpack_report(broken, "x")


def test_no_text_is_too_long_to_be_refused() -> None:
    lines = tuple((i, f"{i % 10000:04} AAAA 0000") for i in range(5000))
    with pytest.raises(MalformedError, match="more than"):
        open_armour(Block(first=1, lines=lines, ended=True), "x")
    assert list(find_armour(b"\n".join([BEGIN.encode()] * 100_000))) != []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, len(TEXT)))
def test_any_bytes_are_refused_or_give_the_file(junk: bytes, at: int) -> None:
    data = TEXT.encode()[:at] + junk + TEXT.encode()[at:]
    for block in find_armour(data):
        with suppress(MalformedError):
            assert open_armour(block, "x") == RAW


def test_random_files_are_no_reports() -> None:
    with pytest.raises(MalformedError):
        armour_report(os.urandom(100))
    assert digest_of(unpack_report(pack_report(RAW), "x")) == digest_of(RAW)
