"""One difference, and how two lists of facts are compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from manifests.documents.contract import Values
from manifests.words.units import show_duration

DifferenceKind = Literal["added", "removed", "changed"]
PARTS = (
    "release",
    "advisories",
    "images",
    "sbom",
    "charts",
    "files",
    "programs",
    "schema",
    "config",
    "settings",
    "contract",
    "handlers",
    "steps",
    "probes",
    "host",
    "rollback",
    "policy",
    "root",
    "document",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two sides: a thing of one of ``PARTS``, and its value on each side in words, if any."""

    part: str
    name: str
    before: str | None
    after: str | None

    @property
    def how(self) -> DifferenceKind:
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def line(self) -> str:
        values = f"{self.before} to {self.after}" if self.how == "changed" else self.before or self.after
        return f"{self.part:<10} {self.how:<8} {self.name}" + (f": {values}" if values else "")

    def fields(self) -> dict[str, str]:
        """Return the difference for programs, where an absent value is an empty string."""
        values = {"part": self.part, "name": self.name, "how": self.how}
        return {**values, "before": self.before or "", "after": self.after or ""}


def compare_facts(part: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the differences of two maps from a name to its value, by name."""
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield Difference(part, name, old.get(name), new.get(name))


def compare_items(
    part: str, old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]
) -> Iterator[Difference]:
    """Yield the same for things with several facts each; of a changed thing, only the facts that changed."""
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            yield Difference(
                part, name, None if was is None else join_facts(was), None if now is None else join_facts(now)
            )
        elif was != now:
            changed = [fact for fact in sorted(was.keys() | now.keys()) if was.get(fact) != now.get(fact)]
            before, after = (join_facts({fact: side.get(fact, "none") for fact in changed}) for side in (was, now))
            yield Difference(part, name, before, after)


def join_facts(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def show_values(value: Values) -> str:
    unit = f" {value.unit}" if value.unit else ""
    if value.enum:
        return f"({'|'.join(value.enum)}){unit}"
    if value.duration:
        return f"({show_duration(value.duration[0])}..{show_duration(value.duration[1])})"
    return f"({value.integer[0]}..{value.integer[1]}){unit}" if value.integer else value.type or ""
