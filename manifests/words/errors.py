"""Every failure that a command can end with.

* WaybillError
  + UsageError         2  the command line is not valid
  + MalformedError     3  the bytes are not what the format says
  + UntrustedError     4  well-formed, but not signed as the trust root demands
  + RefusedError       5  trusted, but policy or state forbids it
  + HostError          6  this machine failed: space, permission, a tool or a server
  + DamagedError       7  incomplete or different bytes under a trusted head
  + NewerError         8  this verifier is too old for it
  + WaitingError       9  an approval or another step is missing
  + RolledBackError   10  the change failed and was rolled back
  + TrialError        11  switched; the trial has not ended
  + InconsistentError 12  neither the old nor the new state; a person must decide
  + BusyError         13  another process holds the site
  + AttentionError    14  done, but something needs attention

Exit code 0 is success, 1 a bug (any other exception), 130 an interrupt.
"""

from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self


class WaybillError(Exception):
    """Base of every failure that is a result, not a bug.

    Attributes:
        exit_code: Exit status of the process; never changes.
        usual: Remedy where the raiser gives none.
        problem: What was found, then what was expected; lower case, no full stop.
        where: The place: a document's path (``$.images[2].digest``), a file and line, a member name.
        remedy: Instruction that is printed as the ``hint:``.
        finding: Stable id for programs, such as ``signature-missing``.
    """

    exit_code: ClassVar[int] = 1
    usual: ClassVar[str] = ""

    def __init__(self, problem: str, *, where: str = "", remedy: str = "", finding: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy or self.usual
        self.finding = finding or type(self).__name__.removesuffix("Error").lower()

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" if self.where else self.problem

    def with_(
        self,
        *,
        problem: str | None = None,
        where: str | None = None,
        remedy: str | None = None,
        finding: str | None = None,
    ) -> Self:
        """Return a copy of the same class with the given fields; an error is never changed after it was made.

        Traceback and cause stay. Raise it ``from None`` inside an ``except``, or the failure is shown twice.
        """
        given = {"problem": problem, "where": where, "remedy": remedy, "finding": finding}
        changed = copy(self)
        vars(changed).update({name: value for name, value in given.items() if value is not None})
        changed.args = (changed.problem,)
        changed.__cause__ = self.__cause__
        return changed.with_traceback(self.__traceback__)


class UsageError(WaybillError):
    exit_code = 2
    usual = "run the command with --help to see its options"


class MalformedError(WaybillError):
    exit_code = 3
    usual = "correct this place if the file is yours; otherwise request the file again from its author"


class UntrustedError(WaybillError):
    exit_code = 4
    usual = "do not use it; ask its expected sender over a separate channel"


class RefusedError(WaybillError):
    exit_code = 5


class HostError(WaybillError):
    exit_code = 6
    usual = "check that it exists and that this account may use it; then run the command again"


# Remedies that several checks share.
OTHER_MEDIUM = "request the original medium from the vendor"
REPLACE_MEDIUM = "try another drive, or request the medium again"
# Remedy for bytes that changed between two reads, of a file or of a server.
CHANGED_SOURCE = "run the command again; if this repeats, check the disk and the connection"


@dataclass(frozen=True)
class Piece:
    """Bytes ``start`` to ``end`` (not included) of a file on a medium that are damaged.

    Attributes:
        how: ``changed``, ``unreadable`` or ``cut-short``.
        use: What the member is for, in words; empty where that is not known.
    """

    name: str
    start: int
    end: int
    how: str
    use: str = ""


def missing_file(where: str) -> HostError:
    return HostError("no such file or folder", where=where, remedy="correct the path")


def unreadable(error: OSError, where: str, *, remedy: str = "", finding: str = "") -> HostError:
    """Return the failure for a file that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return missing_file(where)
    problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
    return HostError(problem, where=where, remedy=remedy, finding=finding)


def unreadable_medium(error: OSError, where: str) -> HostError:
    """Return the failure for a bundle on a medium that cannot be read."""
    return unreadable(error, where, remedy=REPLACE_MEDIUM, finding="medium-unreadable")


class DamagedError(WaybillError):
    """Bytes are damaged; ``pieces`` lists their ranges where they are known."""

    exit_code = 7
    usual = "copy it again, from another medium if there is one"

    def __init__(
        self, problem: str, *, where: str = "", remedy: str = "", finding: str = "", pieces: tuple[Piece, ...] = ()
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy, finding=finding)
        self.pieces = pieces


class NewerError(WaybillError):
    exit_code = 8
    usual = "install a newer version of waybill"


class WaitingError(WaybillError):
    exit_code = 9


class RolledBackError(WaybillError):
    exit_code = 10


class TrialError(WaybillError):
    exit_code = 11


class InconsistentError(WaybillError):
    exit_code = 12


class BusyError(WaybillError):
    exit_code = 13


class AttentionError(WaybillError):
    exit_code = 14
