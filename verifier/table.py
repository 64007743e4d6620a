"""The state machine of an install or a rollback, whole: which act may begin in which state, and where it ends."""

from dataclasses import dataclass
from enum import StrEnum

from verifier.events import Act


class State(StrEnum):
    RECEIVED = "received"
    VERIFIED = "verified"
    PLANNED = "planned"
    APPROVED = "approved"
    STAGING = "staging"
    STAGED = "staged"
    BACKED_UP = "backed-up"
    MIGRATING = "migrating"
    SWITCHED = "switched"
    PROBING = "probing"
    CONFIRMED = "confirmed"
    SETTLED = "settled"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Move:
    """One row: ``act`` may begin in ``state``; while it runs the state is ``during``; then ``done`` or ``failed``."""

    state: State
    act: Act
    during: State
    done: State
    failed: State


# A failure before the switch leaves nothing visible behind: the transaction rests, approved, and can be tried again.
# A failure after it goes back. Going back is repeated until it is done, or until the attempts are used up.
TABLE: tuple[Move, ...] = (
    Move(State.APPROVED, "stage", State.STAGING, State.STAGED, State.APPROVED),
    Move(State.STAGED, "switch", State.STAGED, State.SWITCHED, State.APPROVED),
    Move(State.SWITCHED, "activate", State.SWITCHED, State.PROBING, State.ROLLING_BACK),
    Move(State.PROBING, "probe", State.PROBING, State.PROBING, State.ROLLING_BACK),
    Move(State.PROBING, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    Move(State.SWITCHED, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    Move(State.CONFIRMED, "settle", State.CONFIRMED, State.SETTLED, State.CONFIRMED),
    Move(State.ROLLING_BACK, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
    # A person has looked and asks for one more try.
    Move(State.INCONSISTENT, "retreat", State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLING_BACK),
)
MOVES = {(move.state, move.act): move for move in TABLE}
# Nothing is left to be done by itself in these.
RESTING = (State.PLANNED, State.APPROVED, State.SETTLED, State.ROLLED_BACK, State.INCONSISTENT)
BEFORE_SWITCH = (State.PLANNED, State.APPROVED, State.STAGING, State.STAGED)
TRIAL = (State.SWITCHED, State.PROBING)
