"""What was begun and done of a rollback document's parts, as the journal tells it: the raw material of `steps`."""

from dataclasses import dataclass
from typing import Literal

PartAct = Literal["backup", "try", "migrate", "undo", "restore"]
PART_ACTS: tuple[PartAct, ...] = ("backup", "try", "migrate", "undo", "restore")


@dataclass(frozen=True)
class Deed:
    """One entry about one part: its intent (``begun``), or what became of it.

    Attributes:
        name: Of the backup or step.
        digest: Of the backup, in the outcome of ``backup``; ``size`` likewise.
    """

    act: PartAct
    name: str
    result: Literal["begun", "done", "failed", "interrupted"]
    digest: str = ""
    size: int = 0


@dataclass(frozen=True)
class Again:
    """A person has done what the recovery plan says and asks for one more try. Never written without a person."""


Deeds = tuple[Deed | Again, ...]
