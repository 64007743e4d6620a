"""Text of documents is safe to print, whatever it holds, and plain text passes at once."""

import pytest

from manifests.words.text import escape_character, is_hidden, one_line, visible


@pytest.mark.parametrize("code", [*range(0x100), 0x200B, 0x202E, 0x2066, 0xD800, 0xFEFF, 0xE0041])
def test_each_character_alone_and_inside_plain_text(code: int) -> None:
    shown = escape_character(code) if is_hidden(code) and code != 10 else chr(code)
    assert visible(chr(code)) == shown
    assert visible(f"plain {chr(code)} text") == f"plain {shown} text"


def test_one_line_has_no_line_end() -> None:
    assert one_line("first\nsecond") == "first\\u000asecond"


def test_plain_text_is_not_copied() -> None:
    """Each line of a result is looked at twice; a comparison of two large SBOMs has hundreds of thousands."""
    text = "sbom  removed  pkg:npm/beta in api: 2"
    assert visible(text) is text
