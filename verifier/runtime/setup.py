"""What a release needs and this host or ``site.yaml`` lacks, each with the keys to add to ``site.yaml``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from manifests.words.errors import HostError, WaybillError

SetupLevel = Literal["failed", "warned"]
# How the text of a finding begins with which the install would fail.
FAILED = "failed: "


@dataclass(frozen=True)
class SetupFinding:
    """One thing that is missing here.

    Attributes:
        level: ``failed`` where the install would fail; ``warned`` where it may.
        error: What was found, where, and what to do.
        add: Keys of ``site.yaml`` to add, nested as there.
    """

    level: SetupLevel
    error: WaybillError
    add: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        where = f" ({self.error.where})" if self.error.where else ""
        return f"{self.level}: {self.error.problem}{where}; {self.error.remedy}"


def look(work: Callable[[], object], add: Mapping[str, object] | None = None) -> tuple[SetupFinding, ...]:
    """Do one look that changes nothing; return its failure, or nothing."""
    try:
        work()
    except WaybillError as error:
        return (SetupFinding("failed", error, add or {}),)
    except OSError as error:
        return (SetupFinding("failed", _host_error(error), add or {}),)
    return ()


def _host_error(error: OSError) -> HostError:
    problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
    return HostError(problem, where=str(error.filename or ""), remedy="check that this account may read it")
