"""The telephone line: what it says is read back, and every slip of a tongue names its group."""

import re

import pytest

from manifests.transport.checked_text import LETTERS
from manifests.transport.telephone import MAX_SEQ, parse_line, site_code, telephone_line
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError
from tests.vendor import derived

KEY = derived(107).public.keyid
DIGEST = digest_of(b"a report")
LINE = telephone_line(KEY, 412, DIGEST)


def test_it_is_forty_letters_and_says_what_was_put_in() -> None:
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5} ){7}[0-9A-HJKMNP-TV-Z]{5}", LINE)
    found = parse_line(LINE)
    assert (found.code, found.seq, found.digest) == (site_code(KEY), 412, DIGEST[7:32])
    assert parse_line(telephone_line(KEY, MAX_SEQ, DIGEST)).seq == MAX_SEQ
    with pytest.raises(RefusedError):
        telephone_line(KEY, MAX_SEQ + 1, DIGEST)


def test_as_people_type_it() -> None:
    found = parse_line(LINE)
    for typed in (LINE.lower(), LINE.replace(" ", ""), LINE.replace(" ", "-"), f"  {LINE}\n"):
        assert parse_line(typed) == found
    assert parse_line(LINE.replace("0", "O").replace("1", "l")) == found


def test_every_wrong_letter_names_its_group() -> None:
    letters = LINE.replace(" ", "")
    for at, right in enumerate(letters):
        for other in LETTERS:
            if other == right:
                continue
            with pytest.raises(UsageError, match=f"group {at // 5 + 1} of 8") as caught:
                parse_line(letters[:at] + other + letters[at + 1 :])
            assert caught.value.finding == "line-group"


def test_swapped_letters_and_swapped_groups_show() -> None:
    for seed in range(20):
        line = telephone_line(digest_of(b"%d" % seed)[7:], seed * 999_983, digest_of(b"r%d" % seed))
        letters = line.replace(" ", "")
        for at in range(39):
            a, b = letters[at], letters[at + 1]
            if a != b and at % 5 != 4:
                with pytest.raises(UsageError, match=f"group {at // 5 + 1} of 8"):
                    parse_line(letters[:at] + b + a + letters[at + 2 :])
        groups = line.split()
        for i in range(8):
            for j in range(i):
                swapped = list(groups)
                swapped[i], swapped[j] = groups[j], groups[i]
                with pytest.raises(UsageError, match=f"groups {j + 1}, {i + 1} of 8"):
                    parse_line(" ".join(swapped))


@pytest.mark.parametrize("text", ["", "A", LINE[:-1], LINE + "A", "U" * 40, "é" * 40, "\u0660" * 40])
def test_what_is_no_line(text: str) -> None:
    with pytest.raises(UsageError):
        parse_line(text)
