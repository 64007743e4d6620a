"""The result of one look at the host: what a release needs, what was observed, and whether that is enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from manifests.words.text import one_line

PreflightStatus = Literal["passed", "warned", "failed"]


@dataclass(frozen=True)
class Observation:
    """What one look saw.

    Attributes:
        met: Whether it is what the release needs; False also for what could not be seen.
        remedy: What a person does first; empty when the need is met.
        seen: False when it could not be looked at; ``text`` then says why.
        add: Keys of ``site.yaml`` to add, nested as there.
    """

    met: bool
    text: str
    remedy: str = ""
    seen: bool = True
    add: Mapping[str, object] = field(default_factory=dict)


def unseen(why: str, remedy: str, add: Mapping[str, object] | None = None) -> Observation:
    """Return the observation of something that could not be looked at. It never passes."""
    return Observation(met=False, text=f"cannot be seen, because {why}", remedy=remedy, seen=False, add=add or {})


@dataclass(frozen=True)
class PreflightResult:
    """One need of a release, or one look at the site, and its result.

    Attributes:
        check: What was looked at, such as ``disk`` or ``port 8080``.
        needs, observed: In words.
        remedy: What a person does first; empty when it passed.
    """

    check: str
    status: PreflightStatus
    needs: str
    observed: str
    remedy: str = ""

    @classmethod
    def of(cls, check: str, needs: str, observation: Observation, status: PreflightStatus) -> "PreflightResult":
        """Return the result of an observation. What a server said cannot look like another line, or move a cursor."""
        remedy = "" if observation.met else one_line(observation.remedy)
        return cls(check, status, needs, one_line(observation.text), remedy)

    def fields(self) -> dict[str, str]:
        """Return the result for programs."""
        texts = {"needs": self.needs, "observed": self.observed, "remedy": self.remedy}
        return {"check": self.check, "status": self.status, **texts}

    @property
    def line(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy and self.status != "passed" else ""
        return f"{self.status}: {self.problem}{remedy}"

    @property
    def problem(self) -> str:
        return f"{self.check}: {self.observed}; needed: {self.needs}"
