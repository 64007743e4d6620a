"""Print what has to be weighed before a key signs or approvals of before are used, and ask for it at a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from console.output import say
from manifests.words.errors import RefusedError
from verifier.commands.site_options import at_terminal


@dataclass(frozen=True)
class LastQuestion:
    """What is asked before a change that cannot be taken back by itself.

    Attributes:
        before: Completes the line ``before …:`` above the consequences.
        text: Without a question mark.
        refused: What has not happened, and what to do, when the answer is no.
    """

    before: str
    text: str
    refused: RefusedError


def weigh(question: LastQuestion, warnings: Sequence[str], consequences: Sequence[str], *, confirmed: bool) -> None:
    """Print ``warnings`` and ``consequences``; at a terminal ask ``question``.

    Args:
        confirmed: It is not asked.

    Raises:
        RefusedError: The answer was no.
    """
    lines = (*(f"! {warning}" for warning in warnings), *(f"  {line}" for line in consequences))
    say("\n".join((f"before {question.before}:", *lines)))
    if not confirmed and at_terminal() and not click.confirm(question.text, err=True):
        raise question.refused
