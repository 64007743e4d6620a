"""The moves between the states of a transaction, and what may follow in its rollback document."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from manifests.documents.backup_proof import BackupProof
from manifests.documents.rollback import Backup, Step
from verifier.site.journal.events import Act
from verifier.site.journal.installs import State


@dataclass(frozen=True)
class Move:
    """One row: ``act`` may begin in ``state``; while it runs the state is ``during``; then ``done`` or ``failed``."""

    state: State
    act: Act
    during: State
    done: State
    failed: State


# Before the first migration nothing is changed: after a failure the transaction rests in APPROVED, and paused services
# are resumed. From the first migration on, the rollback document states what follows a failure or a crash. A failure
# after the switch causes a rollback. It is repeated until it is done, or until the attempts are used up.
TABLE: tuple[Move, ...] = (
    Move(State.APPROVED, "stage", State.STAGING, State.STAGED, State.APPROVED),
    Move(State.STAGED, "pause", State.STAGED, State.STAGED, State.APPROVED),
    Move(State.STAGED, "backup", State.STAGED, State.STAGED, State.APPROVED),
    Move(State.STAGED, "try", State.STAGED, State.BACKED_UP, State.APPROVED),
    Move(State.BACKED_UP, "backup", State.STAGED, State.STAGED, State.APPROVED),
    Move(State.BACKED_UP, "pause", State.BACKED_UP, State.BACKED_UP, State.APPROVED),
    Move(State.STAGED, "migrate", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.BACKED_UP, "migrate", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.MIGRATING, "migrate", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    # In a rollback by hand the data go back before the link does.
    Move(State.STAGED, "undo", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.MIGRATING, "undo", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.STAGED, "restore", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.MIGRATING, "restore", State.MIGRATING, State.MIGRATING, State.MIGRATING),
    Move(State.MIGRATING, "pause", State.MIGRATING, State.MIGRATING, State.ROLLING_BACK),
    Move(State.APPROVED, "resume", State.APPROVED, State.APPROVED, State.ROLLING_BACK),
    Move(State.STAGED, "resume", State.STAGED, State.APPROVED, State.ROLLING_BACK),
    Move(State.BACKED_UP, "resume", State.BACKED_UP, State.APPROVED, State.ROLLING_BACK),
    Move(State.STAGED, "switch", State.STAGED, State.SWITCHED, State.APPROVED),
    Move(State.BACKED_UP, "switch", State.BACKED_UP, State.SWITCHED, State.APPROVED),
    Move(State.MIGRATING, "switch", State.MIGRATING, State.SWITCHED, State.MIGRATING),
    Move(State.MIGRATING, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    Move(State.SWITCHED, "activate", State.SWITCHED, State.PROBING, State.ROLLING_BACK),
    Move(State.PROBING, "probe", State.PROBING, State.PROBING, State.ROLLING_BACK),
    Move(State.PROBING, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    Move(State.SWITCHED, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    Move(State.CONFIRMED, "settle", State.CONFIRMED, State.SETTLED, State.CONFIRMED),
    Move(State.ROLLING_BACK, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
)
MOVES = {(move.state, move.act): move for move in TABLE}
# In these states nothing was changed, neither visibly nor in the data.
BEFORE_CHANGE = (State.PLANNED, State.APPROVED, State.STAGING, State.STAGED, State.BACKED_UP)
TRIAL = (State.SWITCHED, State.PROBING)
UndoMethod = Literal["undo", "restore", "repeat", "keep", "stop"]


@dataclass(frozen=True)
class BackupRecord:
    """A backup as it was written.

    Attributes:
        size: In bytes; ``saved_bytes``: of the folder that it saves.
        proof: What its program stated; None where the rollback document asks for nothing.
    """

    name: str
    digest: str
    size: int
    saved_bytes: int = 0
    proof: BackupProof | None = None


class PartStatus(StrEnum):
    """The state of a step; after ``CUT`` and ``UNDO_CUT`` it was begun and its result is unknown."""

    UNTOUCHED = "untouched"
    CUT = "cut"
    FAILED = "failed"
    DONE = "done"
    UNDO_CUT = "undo-cut"
    UNDO_FAILED = "undo-failed"
    BACK = "back"


@dataclass(frozen=True)
class MakeBackup:
    backup: Backup


@dataclass(frozen=True)
class TryRestore:
    """Prove that the backup can be restored, before anything depends on it."""

    backup: Backup
    made: BackupRecord


@dataclass(frozen=True)
class Apply:
    step: Step


@dataclass(frozen=True)
class Undo:
    step: Step


@dataclass(frozen=True)
class Restore:
    backup: Backup
    made: BackupRecord


@dataclass(frozen=True)
class Settled:
    """Everything is done; or, in a rollback, undone."""


@dataclass(frozen=True)
class GoBack:
    """It cannot continue; ask for the parts that go back."""

    code: str
    detail: str


@dataclass(frozen=True)
class Blocked:
    """The document allows no further part; a person must decide."""

    code: str
    detail: str


NextPart = MakeBackup | TryRestore | Apply | Undo | Restore | Settled | GoBack | Blocked
