"""Canonical JSON: one value, one byte string; anything else is malformed and nothing else happens."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from manifests.words.canonical import MAX_DEPTH, Document, LineReader, check_depth, decode, encode, parse
from manifests.words.digest import MAX_INTEGER, Integer, Key, Name, Text
from manifests.words.errors import MalformedError

KEYS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,20}\Z")
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
# Text without halves of surrogate pairs, which UTF-8 cannot write.
TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    TEXTS | INTEGERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert encode(value) == rfc8785.dumps(value)


@given(st.dictionaries(KEYS, TEXTS | INTEGERS, max_size=8))
def test_reading_what_was_written_gives_the_value(value: dict[str, str | int]) -> None:
    assert parse(encode(value), dict[str, str | int], "x", max_bytes=1 << 20) == value


class Small(Document, frozen=True, kw_only=True):
    name: Name
    title: Text = ""
    count: Integer = 0
    inner: dict[Key, Integer] = {}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_malformed(data: bytes) -> None:
    try:
        parse(data, Small, "x", max_bytes=100)
    except MalformedError:
        return
    assert encode(parse(data, Small, "x", max_bytes=100)) == data


@given(st.text(alphabet='{}[]":,\\abnul0123456789.eE- \n\t', max_size=120))
def test_almost_json_is_a_document_or_malformed(text: str) -> None:
    try:
        parse(text.encode(), Small, "x", max_bytes=1000)
    except MalformedError:
        return


@given(st.data())
def test_one_changed_byte_is_another_value_or_malformed(data: Any) -> None:
    """Two spellings of one value never both pass."""
    good = encode(Small(name="a", title="é", count=7, inner={"b/c": 1}))
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = good[:at] + bytes([byte]) + good[at + 1 :]
    try:
        value = parse(changed, Small, "x", max_bytes=1000)
    except MalformedError:
        return
    assert (value == parse(good, Small, "x", max_bytes=1000)) == (changed == good)


def test_the_cap_comes_before_the_parser() -> None:
    """F-4.1: what is too long is not even looked at."""
    with pytest.raises(MalformedError, match="101 bytes, at most 100 are allowed"):
        parse(b"\xff" * 101, Small, "x", max_bytes=100)


def test_a_default_that_is_written_is_another_spelling() -> None:
    """F-4.8."""
    with pytest.raises(MalformedError, match="not in canonical form from byte"):
        parse(b'{"count":0,"name":"a"}', Small, "x", max_bytes=100)


@pytest.mark.parametrize("key", ["", "é", ".x", "a b", "a\\n", "a" * 129, "_x"])
def test_keys_of_maps_have_an_alphabet(key: str) -> None:
    """F-4.7."""
    with pytest.raises(MalformedError):
        parse(b'{"inner":{"%s":1},"name":"a"}' % key.encode(), Small, "x", max_bytes=1000)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_before_the_parser(opening: bytes) -> None:
    """F-4.3: also when it never closes, which would end in the parser's own recursion."""
    check_depth(opening * MAX_DEPTH, "x")
    for count in (MAX_DEPTH + 1, 200_000):
        with pytest.raises(MalformedError, match="deeper than 32 levels"):
            check_depth(opening * count, "x")


@pytest.mark.parametrize(
    "data",
    [b'"' + b"[" * 100 + b'"', b'"\\"' + b"[" * 100 + b'"', b'"\\\\\\"' + b"{" * 100 + b'"', b'["' + b"]" * 99 + b'"]'],
)
def test_brackets_inside_text_are_not_depth(data: bytes) -> None:
    check_depth(data, "x")


def test_brackets_after_escaped_text_are() -> None:
    """A reader that ended the string at the escaped quote would count none of these."""
    with pytest.raises(MalformedError):
        check_depth(b'"\\\\"' + b"[" * 33, "x")


@given(st.text(alphabet='"\\[]{}a', max_size=40))
def test_depth_is_that_of_the_text(text: str) -> None:
    """Against a reader of one character at a time."""
    data = text.encode()
    inside = escaped = False
    level = deepest = 0
    for byte in data:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte == 0x5C:
            return  # outside of text it is no JSON; the parser stops there
        elif byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    for bound in range(5):
        try:
            check_depth(data, "x", depth=bound)
            assert deepest <= bound
        except MalformedError:
            assert deepest > bound


def test_the_message_names_the_place() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(b'{"count":"7","name":"a"}', Small, "release.json", max_bytes=100)
    assert caught.value.where == "release.json $.count"
    assert caught.value.problem == "expected `int`, got `str`"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("data", [b"{", b"\xff", b"", b"nul", b'{"a":"b"}{}', b'"\\ud800"'])
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    """F-4.2."""
    with pytest.raises(MalformedError, match="not valid JSON"):
        decode(data, dict[str, str], "x")


READER = LineReader(Small, max_bytes=100)
SMALL = st.builds(
    Small,
    name=st.from_regex(r"\A[a-z]{1,8}\Z"),
    title=st.sampled_from(["", "a title", 'a "quoted" one', "x" * 60]),
    count=INTEGERS,
    inner=st.dictionaries(KEYS, INTEGERS, max_size=2),
)


def parsed(data: bytes) -> Small | None:
    try:
        return parse(data, Small, "x", max_bytes=100)
    except MalformedError:
        return None


@given(st.binary(max_size=120) | st.text(alphabet='{}[]":,\\abnul0123456789.eE- \n\t', max_size=120).map(str.encode))
def test_the_line_reader_refuses_what_parse_refuses(data: bytes) -> None:
    assert READER.read(data) == parsed(data)


@given(SMALL, st.integers(0, 200), st.integers(0, 255))
def test_the_line_reader_agrees_with_parse_on_a_changed_document(value: Small, at: int, byte: int) -> None:
    data = encode(value)
    assert READER.read(data) == parsed(data)
    changed = data[: at % len(data)] + bytes([byte]) + data[at % len(data) + 1 :]
    assert READER.read(changed) == parsed(changed)
    assert READER.read(data + b" ") is None


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("before", [b"", b'{"inner":', b'{"name":', b'{"other":'])
def test_the_line_reader_refuses_any_depth(before: bytes, opening: bytes) -> None:
    assert LineReader(Small, max_bytes=1 << 20).read(before + opening * 100_000) is None
