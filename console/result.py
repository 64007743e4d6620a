"""The result of a command: text for people, data for programs, an error."""

from dataclasses import dataclass, field
from typing import Any

from manifests.words.errors import WaybillError


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        text: For people: lines without a trailing line break, with full digests; ``table`` makes rows.
        data: The same for programs.
        exact: The text is a document or a picture: it is printed as it is, neither shortened nor folded.
        error: Set when the command did its work and the answer is still a failure (findings, then a verdict).
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    error: WaybillError | None = None
    exact: bool = False
