"""Findings: the results of checks, and the error that a refusal becomes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from manifests.words.errors import WaybillError

VERIFIER_VERSION = "0.1.0"

FindingLevel = Literal["ok", "warning", "refused"]


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``id`` is stable; a ``refused`` one has an error."""

    id: str
    level: FindingLevel
    text: str
    error: WaybillError | None = None

    def line(self) -> str:
        return f"{self.level:<8} {self.id:<20} {self.text}"


def refusal(findings: tuple[Finding, ...]) -> WaybillError | None:
    """Return the error that decides the exit code; None when nothing is refused."""
    return most_severe(finding.error for finding in findings)


def most_severe(errors: Iterable[WaybillError | None]) -> WaybillError | None:
    """Return the error that decides the exit code: 3 before 4, 8, 5, 7."""
    order = {3: 0, 4: 1, 8: 2, 5: 3, 7: 4}  # F-15.1
    return min((error for error in errors if error), key=lambda error: order.get(error.exit_code, 9), default=None)


def ok(id_: str, text: str) -> Finding:
    return Finding(id=id_, level="ok", text=text)


def refused(id_: str, error: WaybillError) -> Finding:
    return Finding(id=id_, level="refused", text=error.problem, error=error.with_(finding=id_))
