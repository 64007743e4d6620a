"""YAML as people write it: what two readers could take for two things is an error with the right spelling."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from manifests.authored.handwritten import MAX_BYTES, parse_handwritten, read_handwritten
from manifests.words.errors import HostError, MalformedError

AMBIGUOUS = [
    *("1.5", "1.0", ".5", "5.", "1e3", "1.5e-3", "+1", "-0", "007", "017", "0o17", "0x1F", "-0x1f", "0b101", "1_000"),
    *("12345678901234567", ".inf", "-.inf", ".NaN", "2026-01-02", "2026-1-2", "2026-01-02T03:04:05Z"),
    *("2026-01-02 03:04:05", "1:30", "190:20:30", "12:30:45", "-1:30"),
    *("y", "Y", "n", "N", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "off", "OFF", "True", "TRUE", "False"),
]
EMPTY = ["", "~", "null", "Null", "NULL"]
TEXTS = [
    *("hello", "1.2.3", "v1", "a b", "no way", "1.5GiB", "10m", "nothing", "yesterday", "a:b"),
    *("true story", "tRuE", "0xZZ", "é", "—", "1-2", "2026", "-", "--"),
]


def read(text: str | bytes, **options: Any) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_handwritten(data, "file.yaml", **options).plain


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize("place", ["key: {}", "- {}", "[{}]", "{{a: {}}}"])
def test_ambiguous_values_show_the_right_spelling(value: str, place: str) -> None:
    with pytest.raises(MalformedError, match="could be a") as caught:
        read("# first\n" + place.format(value))
    assert caught.value.where == "file.yaml:2"
    number = f"{value.lstrip('0')} if it is a number, " if re.fullmatch("0+[1-9][0-9]*", value) else ""
    assert caught.value.remedy == f'write {number}"{value}" if it is text'


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize("quotes", ["'", '"'])
def test_in_quotes_they_are_text(value: str, quotes: str) -> None:
    assert read(f"key: {quotes}{value}{quotes}") == {"key": value}


@pytest.mark.parametrize("value", EMPTY)
def test_nothing_is_no_value(value: str) -> None:
    with pytest.raises(MalformedError, match="the value is empty") as caught:
        read(f"key: {value}\n")
    assert caught.value.where == "file.yaml:1"


@pytest.mark.parametrize("value", [one for one in TEXTS if one not in ("2026", "-", "--")])
def test_plain_text(value: str) -> None:
    assert read(f"key: {value}\n") == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("7", 7), ("-7", -7), ("2026", 2026), ("true", True), ("false", False), ("9" * 15, 10**15 - 1)],
)
def test_integers_and_truth(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1", "anchors and aliases"),
        ("a: [&x 1, *x]", "anchors and aliases"),
        ("&x a: 1", "anchors and tags"),
        ("&x\na: 1", "anchors and aliases"),
        ("a: !!int 3", "tags"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: !x y", "tags"),
        ("!!str a: 1", "tags"),
        ("!!map\na: 1", "tags"),
        ("<<: {a: 1}", "is not a key"),
        ("~: 1", "is not a key"),
        ("null: 1", "is not a key"),
        ("a: 1\na: 2", "'a' is given twice"),
        ('a: 1\n"a": 2', "'a' is given twice"),
        ("{a: 1, a: 2}", "'a' is given twice"),
        ("? [a]\n: 1", "a key must be plain text"),
        ("a: 1\n---\nb: 2", "second document"),
        ("", "the file is empty"),
        ("# only words\n", "the file is empty"),
        ("a: [1", "not YAML"),
        ("a: 'x", "not YAML"),
        ("\ta: 1", "not YAML"),
        ("a: b: c", "not YAML"),
        ('a: "\\uD800"', "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: \x1b[31m", "not YAML"),
        ("[" * 40 + "]" * 40, "nested deeper than 32"),
        ("- " * 40 + "x", "nested deeper than 32"),
        ("{a: " * 40 + "x" + "}" * 40, "nested deeper than 32"),
    ],
)
def test_what_this_yaml_has_not(text: str, problem: str) -> None:
    with pytest.raises(MalformedError, match=problem) as caught:
        read(text)
    assert caught.value.where.startswith("file.yaml")


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(MalformedError, match="anchors"):
        read("\n".join(lines))


def test_size_is_bounded_before_reading(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="at most 262144 are read"):
        read(b"#" * (MAX_BYTES + 1))
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(MalformedError, match="has more than"):
        read_handwritten(path)
    with pytest.raises(HostError):
        read_handwritten(tmp_path / "none.yaml")


def test_bytes_that_are_no_utf_8() -> None:
    with pytest.raises(MalformedError, match="not UTF-8 at byte 3"):
        read(b"a: \xff")
    assert read(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_decimals_only_where_they_are_allowed() -> None:
    assert read("config:\n  ratio: 0.50", decimals_under="config") == {"config": {"ratio": Decimal("0.50")}}
    for text in ("ratio: 0.5", "configs:\n  ratio: 0.5", "other:\n  config: 0.5"):
        with pytest.raises(MalformedError, match="could be a number"):
            read(text, decimals_under="config")
    for text in ("1e3", ".5", "00.5", "1."):
        with pytest.raises(MalformedError, match="could be a number"):
            read(f"config:\n  ratio: {text}", decimals_under="config")


class Inner(Struct, forbid_unknown_fields=True):
    to: str
    count: int = 0


class Outer(Struct, forbid_unknown_fields=True):
    images: list[Inner]
    title: str = ""


FILE = "title: x\nimages:\n  - to: a\n  - to: b\n    count: 3\n"


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (("count: 3", "count: three"), 5, "expected a number"),
        (("to: b", "to: 7"), 4, "expected text"),
        (("to: b", "at: b"), 4, "unknown field `at`"),
        (("title: x", "titel: x"), 1, "unknown field `titel`"),
        (("title: x", "title: [x]"), 1, "expected text, got a list"),
        (("to: b\n    ", ""), 4, "missing required field `to`"),
    ],
)
def test_the_line_of_what_does_not_fit(change: tuple[str, str], line: int, problem: str) -> None:
    assert change[0] in FILE
    with pytest.raises(MalformedError) as caught:
        parse_handwritten(FILE.replace(*change).encode(), "release.yaml").to(Outer)
    assert caught.value.where == f"release.yaml:{line}"
    assert problem in caught.value.problem


def test_lines_are_those_of_the_file() -> None:
    found = parse_handwritten(FILE.encode(), "release.yaml")
    assert found.at("$.images[1].count") == "release.yaml:5"
    assert found.at("$.images[1].nothing.below") == "release.yaml:4"
    assert found.at("$.elsewhere") == "release.yaml:1"
    assert found.to(Outer).images[1].count == 3


@given(st.text(max_size=60))
def test_any_text_is_values_or_malformed(text: str) -> None:
    try:
        read(text.encode("utf-8", "surrogatepass"))
    except MalformedError as error:
        assert error.where.startswith("file.yaml")


@given(st.text(alphabet="ab:- \n[]{},'\"#&*!|>?%@`~01.", max_size=50))
def test_almost_yaml_is_values_or_malformed(text: str) -> None:
    try:
        read(text)
    except MalformedError:
        return


@given(st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f\x85\u2028\u2029\ufeff")))
def test_text_in_single_quotes_comes_back(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    try:
        assert read(f"key: {quoted}") == {"key": text}
    except MalformedError as error:
        assert "not YAML" in error.problem  # what YAML does not print


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("from: [::1]:5000/x", "[::1]:5000/x"),
        ("from: {a: [2001:db8::1]:5000/x/y, b: c}", "[2001:db8::1]:5000/x/y"),
        ("from: [fe80::1]:5000  # near", "[fe80::1]:5000"),
        ("from: @app", "@app"),
        ("from: %app  # so", "%app"),
    ],
)
def test_text_that_yaml_takes_for_something_else_is_to_be_quoted(line: str, written: str) -> None:
    with pytest.raises(MalformedError, match="not YAML") as caught:
        parse_handwritten(f"images:\n  - name: a\n    {line}\n    to: b\n".encode(), "release.yaml")
    assert caught.value.where == "release.yaml:3"
    assert caught.value.remedy == f'write "{written}", in quotes'


def test_an_address_as_a_key_is_to_be_quoted() -> None:
    with pytest.raises(MalformedError, match="a key must be plain text") as caught:
        parse_handwritten(b"registries:\n  [::1]:5000: {plain_http: true}\n", "registries.yaml")
    assert "in quotes" in caught.value.remedy
