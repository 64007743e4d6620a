"""What people type: one slip is named, and nothing wrong is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_groups, as_words, check_character, parse_fingerprint

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: "sha256:" + data.hex())
ONE = "sha256:" + "0123456789abcdef" * 4


@given(DIGESTS)
def test_groups_and_words_come_back(digest: str) -> None:
    assert parse_fingerprint(as_groups(digest)) == digest
    assert parse_fingerprint(as_groups(digest).replace(" ", "")) == digest
    assert parse_fingerprint(as_groups(digest).upper().replace(" ", "\n")) == digest
    assert parse_fingerprint(as_words(digest)) == digest
    assert parse_fingerprint(digest) == digest


@given(DIGESTS, st.data())
def test_one_wrong_character_is_found_and_its_group_named(digest: str, data: st.DataObject) -> None:
    groups = as_groups(digest).split()
    at = data.draw(st.integers(0, 15))
    place = data.draw(st.integers(0, 4))
    other = data.draw(st.sampled_from([c for c in "0123456789abcdefghjkmnpqrstuvwxyz" if c != groups[at][place]]))
    groups[at] = groups[at][:place] + other + groups[at][place + 1 :]
    with pytest.raises(UsageError, match=rf"group {at + 1} \("):
        parse_fingerprint(" ".join(groups))


@given(DIGESTS, st.integers(0, 15), st.integers(0, 2))
def test_two_neighbouring_digits_swapped_are_found(digest: str, at: int, place: int) -> None:
    groups = as_groups(digest).split()
    group = groups[at]
    groups[at] = group[:place] + group[place + 1] + group[place] + group[place + 2 :]
    if groups[at] == group:
        return
    with pytest.raises(UsageError, match=f"group {at + 1}"):
        parse_fingerprint(" ".join(groups))


@given(DIGESTS, st.integers(0, 15), st.integers(0, 15))
def test_two_groups_swapped_are_found(digest: str, first: int, second: int) -> None:
    groups = as_groups(digest).split()
    if first == second:
        return
    groups[first], groups[second] = groups[second], groups[first]
    with pytest.raises(UsageError, match="is mistyped"):
        parse_fingerprint(" ".join(groups))


def test_a_wrong_word_is_named() -> None:
    words = as_words(ONE).split()
    words[4] = "waybill"
    with pytest.raises(UsageError, match=r"word 5 \('waybill'\) is not in the word list"):
        parse_fingerprint(" ".join(words))


def test_words_out_of_order_break_the_checksum() -> None:
    words = as_words(ONE).split()
    words[0], words[23] = words[23], words[0]
    with pytest.raises(UsageError, match="checksum"):
        parse_fingerprint(" ".join(words))


@pytest.mark.parametrize("text", ["", "abc", "0123g", ONE[7:], ONE + "0", "SHA512:" + ONE[7:], "word " * 23])
def test_what_is_no_fingerprint_is_malformed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fingerprint(text)
    assert caught.value.where == "fingerprint"


def test_check_letters_are_no_hex_digits_and_differ_by_place() -> None:
    letters = [check_character(place, "0000") for place in range(16)]
    assert len(set(letters)) == 16
    assert not set("".join(letters)) & set("0123456789abcdef")
    assert as_groups("sha256:" + "0" * 64).startswith(f"0000{letters[0]} 0000{letters[1]}")


@pytest.mark.parametrize(("text", "typed"), [("abandon ability able", "3 words"), ("8c63s ced1h", "2 groups")])
def test_too_few_are_called_what_was_typed(text: str, typed: str) -> None:
    with pytest.raises(UsageError, match=f"the fingerprint has {typed}, expected 16 groups or 24 words"):
        parse_fingerprint(text)
