"""Versions and ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.words.errors import MalformedError
from manifests.words.version import change_kind, in_any, in_range, parse_range, parse_version

NUMBERS = st.tuples(*[st.integers(0, 99)] * 3)


@pytest.mark.parametrize("text", ["0.0.0", "1.10.0", "1.0.0-rc.1", "1.0.0+build", "1.0.0-0.a.b+c"])
def test_versions(text: str) -> None:
    assert str(parse_version(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.0-RC", "1.0.0-01", "1.0.0 ", "1.0.0\n", "١.0.0", "-1.0.0"],
)
def test_not_versions(text: str) -> None:
    """F-8.11."""
    with pytest.raises(MalformedError, match="is not a version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("version", "range_", "holds"),
    [
        ("1.3.0", ">=1.3.0, <1.4.2", True),
        ("1.4.1", ">=1.3.0,<1.4.2", True),
        ("1.4.2", ">=1.3.0, <1.4.2", False),
        ("1.10.0", ">1.9.0", True),
        ("1.0.0", "==1.0.0", True),
        ("1.0.0", "!=1.0.0", False),
        ("1.0.0-rc.1", "<1.0.0", True),
        ("1.0.0+a", "==1.0.0", True),
        ("2.0.0", "<=1.9.9", False),
    ],
)
def test_ranges(version: str, range_: str, holds: bool) -> None:
    assert in_range(version, range_) is holds
    assert in_any(version, ("==0.0.0", range_)) is holds
    assert not in_any(version, ())


@pytest.mark.parametrize(
    "text", ["", "1.0.0", "^1.0.0", "~1.0", ">=1.0", ">= 1.0.0", ">=1.0.0,", "=1.0.0", "*", ">=1.0.0 <2.0.0"]
)
def test_not_ranges(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_range(text)


@given(NUMBERS, NUMBERS)
def test_kind_is_the_first_number_that_differs(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    before, after = (".".join(map(str, one)) for one in (old, new))
    kind = change_kind(before, after)
    if new < old or new[0] != old[0]:
        assert kind == "major"
    else:
        assert kind == ("minor" if new[1] != old[1] else "patch")


def test_a_pre_release_is_major() -> None:
    assert change_kind("1.0.0", "1.0.1-rc.1") == "major"
    assert change_kind("1.0.0-rc.1", "1.0.0") == "patch"
