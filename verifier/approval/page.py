"""A paper: headings, facts and tables, as plain text or as one page that needs nothing beside it.

Both are made from the same value, so that nothing is said in one and kept back in the other. Whatever comes from a
document is escaped in both: control and bidirectional characters by number, and markup in the page.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manifests.words.errors import RefusedError
from manifests.words.text import one_line

RowMark = Literal["", "added", "removed", "changed", "same", "warning"]
SIGNS: dict[RowMark, str] = {"": " ", "added": "+", "removed": "-", "changed": "~", "same": "=", "warning": "!"}
# Wider cells are not padded to: one long name must not push every other line off the screen.
WIDEST = 40


@dataclass(frozen=True)
class Row:
    """Attributes: mark: what happened to it; in the page a word of its own, never only a colour."""

    cells: tuple[str, ...]
    mark: RowMark = ""


@dataclass(frozen=True)
class Table:
    """Attributes: head: one per cell; shown in the page."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def marked(self) -> bool:
        return any(row.mark for row in self.rows)


@dataclass(frozen=True)
class Section:
    """One heading with what belongs under it, in this order: lines, facts, a table, last words.

    Attributes:
        alarm: It warns; the page sets it apart.
    """

    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()
    alarm: bool = False

    @property
    def empty(self) -> bool:
        return not (self.lines or self.facts or self.after or (self.table and self.table.rows))


@dataclass(frozen=True)
class Page:
    """Attributes: title: the first line; about: who made it, of which version, when."""

    title: str
    sections: tuple[Section, ...]
    lead: tuple[str, ...] = ()
    about: str = ""


def as_text(paper: Page) -> str:
    """Plain lines; every value is on one line of its own."""
    lines = [one_line(paper.title), *(one_line(line) for line in paper.lead)]
    for section in paper.sections:
        if not section.empty:
            lines += ["", *section_text(section)]
    return "\n".join(lines)


def section_text(section: Section) -> list[str]:
    """Its title, then what belongs under it."""
    lines = [one_line(section.title), *(f"  {one_line(line)}" for line in section.lines)]
    width = max((len(name) for name, _ in section.facts), default=0)
    lines += [f"  {one_line(name).ljust(width)}  {one_line(value)}" for name, value in section.facts]
    lines += _rows(section.table) if section.table else []
    return lines + [f"  {one_line(line)}" for line in section.after]


def _rows(table: Table) -> list[str]:
    rows = [(row.mark, [one_line(cell) for cell in row.cells]) for row in table.rows]
    widths = [
        max((len(cells[i]) for _, cells in rows if len(cells[i]) <= WIDEST), default=0) for i in range(len(table.head))
    ]
    sign = table.marked
    return [
        (
            f"  {SIGNS[mark]} " * sign
            + "  " * (not sign)
            + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )
        for mark, cells in rows
    ]


def as_page(paper: Page) -> str:
    """One HTML file: no script, nothing fetched, printable, light and dark as the reader's system is."""
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    source = (resources.files("verifier.approval") / "templates" / "page.html").read_text("utf-8")
    # What is escaped by number is escaped once more for markup: autoescape, and no `safe` in the template.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["plain"] = one_line
    return environment.from_string(source).render(paper=paper) + "\n"


def write_new(path: Path, data: bytes) -> Path:
    """Write a file that is not there yet.

    Raises:
        RefusedError: It is.
    """
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise RefusedError(
            "exists already", where=str(path), remedy="choose another name, or remove it first", finding="exists"
        ) from None
    return path
