"""The result of a command: text for people, data for programs, an error."""

from dataclasses import dataclass, field
from typing import Any

from manifests.words.errors import WaybillError


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        text: For people: lines without a trailing line break.
        data: The same for programs.
        error: Set when the command did its work and the answer is still a failure (findings, then a verdict).
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    error: WaybillError | None = None
