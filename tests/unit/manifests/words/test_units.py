"""Sizes and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.words.digest import MAX_INTEGER
from manifests.words.errors import MalformedError
from manifests.words.quantities import parse_duration, parse_size
from manifests.words.units import show_duration, show_size


@pytest.mark.parametrize(
    ("text", "count"), [("1B", 1), ("64KiB", 65536), ("64MiB", 64 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40)]
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "1", "0B", "-1B", "1KB", "1kib", "1.5GiB", "1 GiB", "01B", "1B\n", "١B", "1e3B"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(MalformedError, match="is not a size") as caught:
        parse_size(text, "contract.yaml:3")
    assert caught.value.where == "contract.yaml:3"
    assert "64MiB" in caught.value.remedy


def test_a_size_fits_into_a_document() -> None:
    """Or the compiled document would be one that no site can read."""
    assert parse_size("8191TiB") <= MAX_INTEGER
    with pytest.raises(MalformedError, match="more than 2"):
        parse_size("8192TiB")


@pytest.mark.parametrize(("text", "count"), [("1s", 1), ("15m", 900), ("2h", 7200), ("30d", 2592000)])
def test_durations(text: str, count: int) -> None:
    assert parse_duration(text) == count
    assert show_duration(count) == text


@pytest.mark.parametrize("text", ["", "1", "0s", "-1s", "1w", "1.5h", "1 h", "01m", "5M", "1h30m"])
def test_not_durations(text: str) -> None:
    with pytest.raises(MalformedError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(0, MAX_INTEGER))
def test_a_size_for_people_is_short(count: int) -> None:
    shown = show_size(count)
    assert shown.split()[1] in ("B", "KiB", "MiB", "GiB", "TiB")
    assert len(shown) <= 12
