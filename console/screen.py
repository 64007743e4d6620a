"""Fit the text of a result to the screen: short digests, aligned tables, lines folded at words."""

import os
import re
import textwrap
from itertools import groupby
from typing import TextIO

from manifests.words.text import CELL, QUOTE, align, shorten_digests, visible

# Columns of at most this many characters (states, versions, digests) are never folded.
KEPT_WHOLE = 16
# Nor are columns of times, which have so many.
TIME = 20
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}Z?")
# A command or an option to paste is one line, however long: a line break inside it would run half of it.
COMMAND = re.compile(r"`[^`]+`|(?:\bnext: +)?\bwaybill [a-z].*?(?=  |$)|--[a-z][a-z-]*(?: [^\s-]\S*)?")
_NO_BREAK = "\x00"  # `visible` lets no such character into a line
# Where a column begins; a folded line goes on below the last one that begins this far left.
_COLUMN = re.compile(r" {2,}(?=\S)")
MAX_INDENT = 34


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal that ``stream`` is; None when it is none, or knows no size, as a serial console."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns or None) if stream.isatty() else None
    except (OSError, ValueError):
        return None


def fit(text: str, width: int | None, *, verbose: bool) -> str:
    """``text`` as it is printed: safe to show, for a terminal of ``width`` columns, or as it is piped (None)."""
    lines = []
    for is_row, group in groupby((text if verbose else shorten_digests(text)).split("\n"), lambda line: CELL in line):
        if is_row:
            lines += _lay_out([tuple(map(_shown, line.split(CELL))) for line in group], width)
        else:
            lines += [part for line in group for part in fold(_shown(line), width)]
    return "\n".join(lines)


def _shown(text: str) -> str:
    return visible(text.replace(QUOTE, ""))


def fold(line: str, width: int | None) -> list[str]:
    """``line`` in pieces of at most ``width`` columns, broken at spaces; a command to paste stays whole."""
    if width is None or len(line) <= width:
        return [line]
    line = COMMAND.sub(lambda match: match[0].replace(" ", _NO_BREAK), line)
    words = line.split()
    if len(words) < 2:
        return [line.replace(_NO_BREAK, " ")]
    columns = [match.end() for match in _COLUMN.finditer(line) if 4 < match.end() <= MAX_INDENT]
    longest = max((len(word) for word in words if len(word) <= width), default=0)
    indent = min(columns[-1] if columns else 4, width - longest)
    pieces = textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False, tabsize=1
    )
    return [piece.replace(_NO_BREAK, " ") for piece in pieces or [line]]


def _lay_out(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    count = max(map(len, rows))
    rows = [(*row, *[""] * (count - len(row))) for row in rows]
    plain = align(rows)
    if width is None or max(map(len, plain)) <= width:
        return plain
    # rich takes 50 ms to load; most tables fit without it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in zip(*rows, strict=True):
        longest = max(map(len, column))
        whole = longest <= KEPT_WHOLE or (longest <= TIME and any(map(_TIME.fullmatch, column)))
        grid.add_column(overflow="fold", no_wrap=whole)
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(grid)
    return [line.rstrip() for line in capture.get().splitlines()]
