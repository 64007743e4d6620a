"""What was received, installed, tried and left at a site: values that follow from its journal."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from manifests.trust.root import Mark
from manifests.words.time import rfc3339
from verifier.site.journal.events import Act, Action, Planned


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


# Nothing is left to be done by itself in these.
RESTING = (State.PLANNED, State.APPROVED, State.SETTLED, State.ROLLED_BACK, State.INCONSISTENT)
PartAct = Literal["backup", "try", "migrate", "undo", "restore"]
PART_ACTS: tuple[PartAct, ...] = ("backup", "try", "migrate", "undo", "restore")


@dataclass(frozen=True)
class PartRecord:
    """One entry about one part: its intent (``begun``), or what became of it.

    Attributes:
        name: Of the backup or step.
        digest: Of the backup, in the outcome of ``backup``, else None; ``size`` likewise.
    """

    act: PartAct
    name: str
    result: Literal["begun", "done", "failed", "interrupted"]
    digest: str | None = None
    size: int = 0


@dataclass(frozen=True)
class RetryRequested:
    """A person has done what the recovery plan says and asks for one more try. Never written without a person."""


PartHistory = tuple[PartRecord | RetryRequested, ...]


@dataclass(frozen=True)
class Stream:
    """One channel as this site saw it.

    Attributes:
        mark: Highest sequence seen; ``floor``: lowest still acceptable, None until a release was confirmed.
        used: Each sequence seen and the release that used it.
    """

    vendor: str
    product: str
    channel: str
    mark: Mark
    floor: Mark | None
    used: tuple[tuple[Mark, str], ...] = ()


@dataclass(frozen=True)
class Generation:
    """One installed state of the site.

    Attributes:
        state: Where it stands: SWITCHED or PROBING in trial, CONFIRMED or SETTLED once kept, ROLLED_BACK when its
            trial failed. A generation that was left for another keeps its state; ``current`` of the site tells.
        source: The generation that ran when this one was made, 0 for none; its data are what this one began with.
        release, config, settings, contract, policy, plan: Digests.
        floor: What the release states.
        since: When it was last switched to; ``seq`` of the entry that did.
        approvals: Digests of the approvals that it was installed with.
        outside_window: It was installed outside of the policy's windows; the journal says why.
        confirmed: Running time of the site when its trial ended, as ``SiteState.ran`` counts it.
        taken_back: A rollback left it, and took back what it had done to the data.
    """

    number: int
    state: State
    source: int
    release: str
    product: str
    version: str
    channel: str
    mark: Mark
    floor: int
    config: str | None
    config_version: int | None
    settings: str
    contract: str
    policy: str
    plan: str
    kinds: tuple[str, ...]
    approvals: tuple[str, ...]
    since: datetime
    seq: int
    outside_window: bool = False
    confirmed: int = 0
    taken_back: bool = False

    def before(self, received: "ReceivedRelease") -> bool:
        """Whether a received release may still be installed over this: further on in its channel, or of another one and
        come since.
        """
        if received.channel == self.channel:
            return received.mark > self.mark
        return received.seq > self.seq


@dataclass(frozen=True)
class Transaction:
    """An install or a rollback on its way.

    Attributes:
        planned: What it set out to do.
        state: Where it stands in ``TABLE``.
        act: The act whose intent has no outcome yet; ``part``: the backup or step that it is about.
        steps: Driver steps of that act with their result: ``begun``, ``done``, ``failed``.
        attempts: How often ``activate`` was begun; ``retreats``: how often going back was begun; ``switches``: how
            often the switch failed or was cut off.
        touched: Something was paused or backed up since staging, and neither switched nor resumed.
        paused: The boot in which the former generation's services were stopped for this; None while they run.
        passed: The probes have passed, and a person's word is awaited.
        code, detail: Of the last failure; None before one, and ``detail`` where nothing was said.
        rule: The emergency rule by which it was approved; None for the ordinary ones.
        running: Seconds of running time on trial: between two entries of one boot what its clock counted, after a
            reboot what the new boot counted. The wall clock has no part in it.
        asked: How often a person asked for one more try.
    """

    planned: Planned
    state: State
    begun_at: datetime
    seq: int
    approvals: tuple[str, ...] = ()
    act: Act | None = None
    part: str | None = None
    steps: tuple[tuple[str, str], ...] = ()
    attempts: int = 0
    retreats: int = 0
    switches: int = 0
    touched: bool = False
    paused: str | None = None
    passed: bool = False
    switched: bool = False
    code: str | None = None
    detail: str | None = None
    running: int = 0
    rule: str | None = None
    asked: int = 0

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def open(self) -> bool:
        return self.state not in RESTING or self.touched


@dataclass(frozen=True)
class ReceivedRelease:
    """A release that was received here: an item until it is installed or overtaken."""

    item: str
    release: str
    product: str
    version: str
    channel: str
    mark: Mark
    contract: str
    signers: tuple[str, ...]
    practice: bool
    source: str
    received_at: datetime
    received_by: str
    seq: int


@dataclass(frozen=True)
class RolledBack:
    """One way back, for the record: automatic (trial failed) or by hand.

    Attributes:
        authorisation: Of a way below the floor, or out of its failed trial: what it spent.
    """

    source: int
    target: int
    automatic: bool
    code: str
    at: datetime
    seq: int
    authorisation: str | None = None

    @property
    def words(self) -> str:
        how = "by itself" if self.automatic else "by hand"
        why = "" if self.code == "by-hand" else f": {self.code.replace('-', ' ')}"
        return f"it was installed here before; the site went back {how} at {rfc3339(self.at)}{why}"


@dataclass(frozen=True)
class Health:
    """What a probe said last: ``passing``, ``failing``, ``unknown``, and how often in a row it did not pass."""

    probe: str
    state: str
    failures: int
    at: datetime


@dataclass(frozen=True)
class InstallState:
    """What was received, installed, tried and left.

    Attributes:
        contract: Digest of the contract of the newest confirmed generation, None before the first.
        current: Number of the generation that runs, 0 for none.
        transaction: The last one, open or ended; None before the first.
        releases: Those received, oldest first.
        deeds: By generation, what was done of its rollback document.
    """

    contract: str | None = None
    streams: tuple[Stream, ...] = ()
    generations: tuple[Generation, ...] = ()
    current: int = 0
    transaction: Transaction | None = None
    releases: tuple[ReceivedRelease, ...] = ()
    rollbacks: tuple[RolledBack, ...] = ()
    health: tuple[Health, ...] = ()
    deeds: tuple[tuple[int, PartHistory], ...] = ()

    @property
    def next_generation(self) -> int:
        return 1 + max((one.number for one in self.generations), default=0)

    @property
    def running(self) -> Generation | None:
        """The generation that ``current`` points at, in trial or not."""
        return self.generation(self.current)

    def lineage(self, number: int) -> tuple[Generation, ...]:
        """Generation ``number``, the one that it was made from, and so on: whose data its own stand on, newest first.

        Not those with lower numbers that were left again before it was made.
        """
        line: list[Generation] = []
        while (generation := self.generation(number)) is not None:
            line.append(generation)
            number = generation.source if generation.source < number else 0
        return tuple(line)

    @property
    def open_transaction(self) -> Transaction | None:
        return self.transaction if self.transaction and self.transaction.open else None

    @property
    def inconsistent(self) -> bool:
        return self.transaction is not None and self.transaction.state == State.INCONSISTENT

    def stream_of(self, channel: str) -> Stream | None:
        return next((one for one in self.streams if one.channel == channel), None)

    def generation(self, number: int) -> Generation | None:
        return next((one for one in self.generations if one.number == number), None)

    def last_rollback_from(self, release: str) -> RolledBack | None:
        """The last time that the site went back from this release; None when it never ran here, or never was left."""
        numbers = {one.number for one in self.generations if one.release == release}
        return next((one for one in reversed(self.rollbacks) if one.source in numbers), None)

    def part_history(self, number: int) -> PartHistory:
        """What was done of the rollback document that generation ``number`` brought."""
        return next((deeds for one, deeds in self.deeds if one == number), ())

    def received(self, item: str) -> ReceivedRelease | None:
        """The newest release received under this item."""
        return next((one for one in reversed(self.releases) if one.item == item), None)
