"""Read what is stored for showing: a document that cannot be read is named with the reason, and hides nothing else."""

from collections.abc import Callable
from typing import TypeVar

from manifests.words.errors import WaybillError, unreadable

Read = TypeVar("Read")


def attempt(read: Callable[[], Read], failures: list[WaybillError]) -> Read | None:
    """Return what ``read`` returns; None, with the reason added to ``failures``, when it fails.

    For what is shown. What is believed is never read like this: there the failure ends the command.
    """
    try:
        return read()
    except WaybillError as error:
        failures.append(error)
    except OSError as error:
        failures.append(unreadable(error, str(error.filename or "")))
    return None
