"""Every failure a user can meet.

* WaybillError
  + UsageError         2  the command line asks for something that makes no sense
  + MalformedError     3  the bytes are not what the format says
  + UntrustedError     4  well-formed, but not vouched for by the trust root
  + RefusedError       5  trusted, but policy or state says no
  + HostError          6  this machine failed us: space, permission, a tool or a server
  + DamagedError       7  incomplete or different bytes under a trusted head
  + NewerError         8  this verifier is too old to judge it
  + WaitingError       9  somebody else has to act first
  + RolledBackError   10  tried, failed, gone back
  + TrialError        11  switched, and the trial has not ended
  + InconsistentError 12  neither old nor new; a person must decide
  + BusyError         13  another process holds the site
  + AttentionError    14  done, but something needs a person

Exit code 0 is success, 1 a bug of ours (any other exception), 130 an interrupt.
"""

from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self


class WaybillError(Exception):
    """Base of every failure that is a result and not a bug.

    Attributes:
        exit_code: What the process ends with; a public promise.
        usual: What to do next where nothing better is known; empty where that always depends.
        problem: What was found, then what was expected; lower case, no full stop.
        where: The place: a document's path (``$.images[2].digest``), a file and line, a member name.
        remedy: What to do next, printed as the ``hint:``.
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
        """Return a copy of the same class that differs in what is given; an error is never changed after it was made.

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
    usual = "the verb's --help says what it takes"


class MalformedError(WaybillError):
    exit_code = 3
    usual = "mend this place if you wrote it; if it came from somebody, have it made and sent again"


class UntrustedError(WaybillError):
    exit_code = 4
    usual = "believe nothing of it; ask whom it should be from, by another way than it came"


class RefusedError(WaybillError):
    exit_code = 5


class HostError(WaybillError):
    exit_code = 6
    usual = "see that it is there and that this account may use it, then run the same command again"


# Of bytes that are not what they were a moment before, here or at the other end of a line.
CHANGED_SOURCE = "it changed while it was read, or the disk or the line errs: run the same command again"


@dataclass(frozen=True)
class Piece:
    """Bytes ``start`` to ``end`` (not included) of a file on a medium that must be cut again.

    Attributes:
        name: The member; ``use``: what it is for, in words.
        how: ``changed``, ``unreadable`` or ``cut-short``.
    """

    name: str
    start: int
    end: int
    how: str
    use: str = ""


class DamagedError(WaybillError):
    """``pieces``: what exactly, where that is known."""

    exit_code = 7
    usual = "bring it again, from another medium if there is one"

    def __init__(
        self, problem: str, *, where: str = "", remedy: str = "", finding: str = "", pieces: tuple[Piece, ...] = ()
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy, finding=finding)
        self.pieces = pieces


class NewerError(WaybillError):
    exit_code = 8
    usual = "use the vendor's newer verifier"


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
