"""Read reports from armoured text and from the texts of QR symbols."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from manifests.transport.armour import BEGIN, find_armour, open_armour
from manifests.transport.symbols import Symbol, SymbolSet, gather, join_report, parse_symbol
from manifests.words.errors import MalformedError, WaybillError

# A thousand reports of sixteen symbols; what is beyond is named, and taken in by another import.
MAX_POOL = 16_000
_SCANNED = re.compile(rb"(?:\A|[\r\n])WB1:")


@dataclass(frozen=True)
class Carried:
    """What one carrier held: a report file, or the reason why it is none."""

    name: str
    found: bytes | WaybillError


def is_armour(data: bytes) -> bool:
    return BEGIN.encode() in data


def is_scanned(data: bytes) -> bool:
    """Lines that a scanner typed."""
    return _SCANNED.search(data) is not None


def from_armour(data: bytes, name: str) -> Iterator[Carried]:
    """Every armoured report of a text; a broken one does not keep the others out."""
    for block in find_armour(data):
        place = f"{name}, line {block.first}"
        try:
            yield Carried(place, open_armour(block, place))
        except MalformedError as error:
            yield Carried(place, error)


def scanned_texts(data: bytes) -> tuple[str, ...]:
    return tuple(line for line in data.decode("latin-1").splitlines() if line.startswith("WB1:"))


@dataclass
class Pool:
    """Symbols of one import, from however many pictures, until all have been seen.

    Attributes:
        left_out: Symbols beyond ``MAX_POOL``.
    """

    symbols: list[Symbol] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    def add(self, texts: tuple[str, ...], name: str) -> Iterator[WaybillError]:
        """Take in what of ours is among ``texts``; yields what claims to be ours and is damaged."""
        for text in texts:
            try:
                found = parse_symbol(text, name)
            except MalformedError as error:
                yield error
                continue
            if found is None:
                continue
            if len(self.symbols) >= MAX_POOL:
                self.left_out += 1
                continue
            self.symbols.append(found)
            self.names.setdefault(found.of, name)

    def reports(self) -> Iterator[Carried]:
        """The report of every complete set; for the others what is missing, or that two reports were mixed."""
        sets = gather(self.symbols)
        open_sets = [one for one in sets.values() if one.missing and not one.contradiction]
        for group in sets.values():
            name = f"QR symbols of report {group.of.lower()}… (first in {self.names[group.of]})"
            try:
                yield Carried(name, join_report(group, name))
            except MalformedError as error:
                mixed = group in open_sets and len(open_sets) > 1
                yield Carried(name, _mixed(group, open_sets, error) if mixed else error)


def _mixed(group: SymbolSet, open_sets: list[SymbolSet], error: MalformedError) -> MalformedError:
    others = ", ".join(f"{one.of.lower()}…" for one in open_sets if one is not group)
    return MalformedError(
        f"{error.problem}; symbols of another report lie among them: {others}",
        where=error.where,
        remedy="draw and photograph one report at a time, and import all pictures of it together",
        finding="qr-mixed",
    )
