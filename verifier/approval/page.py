"""A page of headings, facts and tables, as text or as one HTML file that loads nothing.

Both show the same content. Both show control and bidirectional characters as numbers; the HTML escapes markup.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manifests.words.errors import RefusedError
from manifests.words.text import CELL, QUOTE, one_line

RowMark = Literal["added", "removed", "changed", "same", "warning"]
SIGNS: dict[RowMark | None, str] = {
    None: " ",
    "added": "+",
    "removed": "-",
    "changed": "~",
    "same": "=",
    "warning": "!",
}
# Rows of a table that are shown at once; the rest is behind --verbose, or folded in the HTML page.
FIRST_ROWS = 6
_DIGEST = re.compile(r"(?<![\w/])(sha256:[0-9a-f]{64})(?!\w)")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. The HTML page shows the mark as a word, not only as a colour."""

    cells: tuple[str, ...]
    mark: RowMark | None = None


@dataclass(frozen=True)
class Table:
    """Rows of one kind, and the names of their columns for the HTML page.

    Attributes:
        whole: No row is ever folded.
        every_change: Only unchanged rows are folded.
    """

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    whole: bool = False
    every_change: bool = False

    @property
    def marked(self) -> bool:
        return any(row.mark for row in self.rows)

    @property
    def first_rows(self) -> tuple[Row, ...]:
        """The rows that are not folded: of a long table the first few without those that are unchanged."""
        if self.whole or len(self.rows) <= FIRST_ROWS:
            return self.rows
        changed = tuple(row for row in self.rows if row.mark != "same")
        return changed if self.every_change else changed[:FIRST_ROWS]

    @property
    def folded_rows(self) -> tuple[Row, ...]:
        shown = {id(row) for row in self.first_rows}
        return tuple(row for row in self.rows if id(row) not in shown)


@dataclass(frozen=True)
class DigestParts:
    """A digest in a text of the HTML page, cut where it differs from the digest on the other side.

    ``before``, ``differs`` and ``after`` follow one another; without another side all of it is in ``before``.
    """

    before: str
    differs: str = ""
    after: str = ""


def text_parts(text: str, other: str | None = None) -> tuple[str | DigestParts, ...]:
    """Return ``text`` in parts, each digest by itself; the n-th digest is compared with the n-th of ``other``."""
    others = _DIGEST.findall(other) if other is not None else []
    parts: list[str | DigestParts] = []
    for i, piece in enumerate(_DIGEST.split(text)):
        if i % 2 == 0:
            parts += [piece] if piece else []
        else:
            parts.append(_marked(piece, others[i // 2] if i // 2 < len(others) else piece))
    return tuple(parts)


def _marked(digest: str, other: str) -> DigestParts:
    same = [a == b for a, b in zip(digest, other, strict=True)]
    if all(same):
        return DigestParts(digest)
    begin, end = same.index(False), len(same) - same[::-1].index(False)
    return DigestParts(digest[:begin], digest[begin:end], digest[end:])


def cell_parts(row: Row, index: int) -> tuple[str | DigestParts, ...]:
    """Return a cell of a row in parts; the last two cells of a changed row are compared with each other."""
    count = len(row.cells)
    other = row.cells[2 * count - 3 - index] if row.mark == "changed" and count >= 3 and index >= count - 2 else None
    return text_parts(one_line(row.cells[index]), None if other is None else one_line(other))


class CommandLine(str):
    """A line that a person types; the HTML page sets it in letters of one width and keeps its spaces."""

    __slots__ = ()


class Quoted(str):
    """A line that a document has; it is printed as it stands there."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """One heading with what belongs under it, in the order of the fields. The HTML page highlights an alarm.

    Attributes:
        blanks: Names of lines that a person fills in by hand.
    """

    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()
    alarm: bool = False

    @property
    def empty(self) -> bool:
        return not (self.lines or self.facts or self.after or self.blanks or (self.table and self.table.rows))


@dataclass(frozen=True)
class Page:
    """Title, lines under it (``lead``), and sections; ``about`` says which program wrote the page, and when."""

    title: str
    sections: tuple[Section, ...]
    lead: tuple[str, ...] = ()
    about: str | None = None


def as_text(page: Page, *, brief: bool = False) -> str:
    """Return the page as text; with ``brief``, long tables show their first rows and the number of the others."""
    lines = [one_line(page.title), *(one_line(line) for line in page.lead)]
    for section in page.sections:
        if not section.empty:
            lines += ["", *section_text(section, brief=brief)]
    return "\n".join(lines)


def section_text(section: Section, *, brief: bool = False) -> list[str]:
    quotes = [QUOTE if isinstance(line, Quoted) else "" for line in section.lines]
    lines = [f"  {quote}{one_line(line)}" for quote, line in zip(quotes, section.lines, strict=True)]
    lines = [one_line(section.title), *lines]
    width = max((len(name) for name, _ in section.facts), default=0)
    lines += [f"  {one_line(name).ljust(width)}  {one_line(value)}" for name, value in section.facts]
    lines += _table_text(section.table, brief=brief) if section.table else []
    return lines + [f"  {one_line(line)}" for line in (*section.after, *(f"{blank}:" for blank in section.blanks))]


def _table_text(table: Table, *, brief: bool) -> list[str]:
    """Return one line for each row. The mark comes first, so a continued cell never starts at the left edge."""
    shown = table.first_rows if brief else table.rows
    lines = [CELL.join((f"  {SIGNS[row.mark]}".rstrip(), *map(one_line, row.cells))) for row in shown]
    left = [row.mark for row in table.folded_rows] if brief else []
    if left:
        same = f" ({left.count('same')} unchanged)" if "same" in left else ""
        lines.append(f"  and {len(left)} more{same}; --verbose lists them")
    return lines


def as_page(page: Page) -> str:
    """Return one HTML file: no script, no other file, printable, light or dark as the reader's system is."""
    # Loaded here, because most commands write no page.
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    source = (resources.files("verifier.approval") / "templates" / "page.html").read_text("utf-8")
    # `one_line` shows control characters as numbers, autoescape escapes markup; the template has no `safe`.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["plain"] = one_line
    environment.filters["parts"] = lambda text: text_parts(one_line(text))
    environment.globals["cell_parts"] = cell_parts
    environment.tests["command"] = lambda line: isinstance(line, CommandLine)
    return environment.from_string(source).render(page=page) + "\n"


def write_new(path: Path, data: bytes) -> Path:
    """Write a new file. Raises RefusedError when a file of that name exists."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        remedy = "choose another name, or remove the file first"
        raise RefusedError("file exists already", where=str(path), remedy=remedy, finding="exists") from None
    return path
