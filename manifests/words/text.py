"""Format text for a terminal: control characters made visible, digests shortened, columns aligned."""

import json
import re
from collections import Counter
from collections.abc import Sequence

SHORT_DIGEST = 12
# Between the cells of a row. `one_line` escapes it, so no text from a document can look like one.
CELL = "\x1f"
# In a line with a text of a document, which is printed as it is written there: no digest is shortened in it, and no
# option is added to a command. `one_line` escapes it too.
QUOTE = "\x1e"
# A digest or key id that stands alone, or names a member of a bundle. What a person pastes or compares stays whole:
# the value of an option, a path, and the digest of the very document that is shown.
_DIGEST = re.compile(
    r"(?<![\w/-])(--[a-z-]+[ =]|(?m:^) *digest +)?(sha256:|blobs/sha256/|signatures/)?([0-9a-f]{64})(?!\w)"
)


def short_digest(digest: str) -> str:
    """The first twelve hex digits of a digest or key id: its length on every screen unless ``--verbose``."""
    return digest.removeprefix("sha256:")[:SHORT_DIGEST]


def shorten_digests(text: str) -> str:
    """``text`` with every digest and key id as ``short_digest`` has it, but for those to paste or compare.

    Two that differ never look the same: where their first twelve digits are equal, both are whole.
    """
    digests = named_digests(text)
    alike = Counter(map(short_digest, digests))

    def shortened(match: re.Match[str]) -> str:
        label, prefix, digits = match[1], match[2] or "", match[3]
        if label or alike[short_digest(digits)] > 1:
            return match[0]
        return ("" if prefix == "sha256:" else prefix) + short_digest(digits)

    return "\n".join(line if QUOTE in line else _DIGEST.sub(shortened, line) for line in text.split("\n"))


def named_digests(text: str) -> frozenset[str]:
    """Return the different digests and key ids in ``text``, in hex."""
    return frozenset(match[3] for match in _DIGEST.finditer(text))


def visible(text: str) -> str:
    """Text from a document, with control and bidirectional characters escaped."""
    if text.isascii() and text.isprintable():
        return text  # nearly all of it, many times faster
    return "".join(c if c == "\n" or not is_hidden(ord(c)) else escape_character(ord(c)) for c in text)


def one_line(text: str) -> str:
    """The same, and line breaks too: a value that could otherwise look like another line of ours."""
    return visible(text).replace("\n", "\\u000a")


def escape_character(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def is_hidden(code: int) -> bool:
    return (
        code < 32
        or 127 <= code < 160
        or code in (0xAD, 0x61C, 0x180E, 0xFEFF)
        or 0x200B <= code <= 0x200F
        or 0x2028 <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xD800 <= code <= 0xDFFF
        or 0xFFF9 <= code <= 0xFFFB
        or 0xE0000 <= code <= 0xE007F
    )


def argv(words: tuple[str, ...]) -> str:
    """Return the words of a command; a word with a space or a quote is quoted. No shell is involved."""
    return " ".join(
        json.dumps(word, ensure_ascii=False) if not word or " " in word or '"' in word else word for word in words
    )


def table(rows: list[tuple[str, ...]], header: tuple[str, ...] | None = None) -> str:
    """Rows for ``Result.text``: the command line aligns them, and fits them into the terminal's width."""
    return "\n".join(CELL.join(map(one_line, row)) for row in ([header] if header else []) + rows)


def align(rows: list[tuple[str, ...]]) -> list[str]:
    """Plain columns, two spaces apart; no colour, so that they can be piped."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def for_files(remedy: str, names: Sequence[str]) -> str:
    """Return a remedy about a copy with the names of the files, when there are several; another one as it is."""
    if len(names) < 2 or not remedy.startswith("copy it again"):
        return remedy
    plural = remedy.replace("copy it again", "copy them again").replace("its source", "their source")
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{plural}: {', '.join(names[:4])}{more}"
