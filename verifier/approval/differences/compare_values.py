"""One difference, and how two lists of facts are compared."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from manifests.documents.contract import Values
from manifests.documents.release import Image, Release

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
    "rollback",
    "policy",
    "root",
    "document",
)
HIDDEN = "(not shown)"


JsonPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Difference:
    """One difference between two sides.

    Attributes:
        part: One of ``PARTS``.
        name: The thing of that part that differs.
        before, after: Its value on each side, in words; None where the thing is absent.
    """

    part: str
    name: str
    how: DifferenceKind
    before: str | None = None
    after: str | None = None

    def line(self) -> str:
        values = f"{self.before} to {self.after}" if self.how == "changed" else self.before or self.after
        return f"{self.part:<10} {self.how:<8} {self.name}" + (f": {values}" if values else "")

    def fields(self) -> dict[str, str]:
        """Return the difference for programs, where an absent value is an empty string."""
        return {
            "part": self.part,
            "name": self.name,
            "how": self.how,
            "before": self.before or "",
            "after": self.after or "",
        }


def compare_facts(part: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the differences of two maps from a name to its value, by name."""
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Difference(part, name, "removed", before=old[name])
        elif name not in old:
            yield Difference(part, name, "added", after=new[name])
        elif old[name] != new[name]:
            yield Difference(part, name, "changed", old[name], new[name])


def compare_items(
    part: str, old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]
) -> Iterator[Difference]:
    """Yield the same for things with several facts each; of a changed thing, only the facts that changed."""
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if now is None and was is not None:
            yield Difference(part, name, "removed", before=join_facts(was))
        elif was is None and now is not None:
            yield Difference(part, name, "added", after=join_facts(now))
        elif was is not None and now is not None and was != now:
            changed = [fact for fact in sorted(was.keys() | now.keys()) if was.get(fact) != now.get(fact)]
            yield Difference(
                part,
                name,
                "changed",
                join_facts({fact: was.get(fact, "none") for fact in changed}),
                join_facts({fact: now.get(fact, "none") for fact in changed}),
            )


def join_facts(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def facts_by_name(
    release: Release | None, part: str, facts: Callable[..., Mapping[str, str]], key: str = "name"
) -> dict[str, Mapping[str, str]]:
    if release is None:
        return {}
    return {getattr(thing, key): facts(thing, release) for thing in getattr(release, part)}


def signed_by(image: Image, release: Release) -> str:
    """Return whose signature over the image the release requires; it was verified when the bundle was built."""
    if image.signed_by == "none":
        return f"nobody ({image.reason or 'no reason given'})"
    signer = release.signers.get(image.signed_by)
    if signer is None:
        return image.signed_by
    who = f"key {signer.key.keyid[:12]}" if signer.key else f"{signer.identity} by {signer.issuer}"
    return f"{image.signed_by} ({who})"


def show_values(value: Values) -> str:
    unit = f" {value.unit}" if value.unit else ""
    if value.enum:
        return f"({'|'.join(value.enum)}){unit}"
    return f"({value.integer[0]}..{value.integer[1]}){unit}" if value.integer else ""
