"""Read what is stored for showing: a document that cannot be read is named with the reason, and hides nothing else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from manifests.words.errors import MalformedError, WaybillError, unreadable

Read = TypeVar("Read")

_REPORT_IT = (
    "keep the file and report this to support: an older version of Waybill took it in, and this one does not read it"
)


@contextmanager
def taken_in_before() -> Iterator[None]:
    """Say what to do about bytes with the right digest that cannot be parsed: to restore the file would not help."""
    try:
        yield
    except MalformedError as error:
        raise (error.with_(remedy=_REPORT_IT) if error.remedy == MalformedError.usual else error) from None


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
