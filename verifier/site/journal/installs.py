"""Releases, generations and transactions of a site: values that follow from its journal."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, get_args

from msgspec import Struct

from manifests.documents.backup_proof import BackupProof
from manifests.documents.report import ProbeState
from manifests.documents.rollback_causes import cause_text
from manifests.trust.root import Mark
from manifests.words.time import rfc3339
from verifier.site.journal.events import Act, Action, PartAct, Planned


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


# In these states no act follows without a command.
RESTING = (State.PLANNED, State.APPROVED, State.SETTLED, State.ROLLED_BACK, State.INCONSISTENT)
PART_ACTS: tuple[PartAct, ...] = get_args(PartAct)


class PartRecord(Struct, frozen=True, tag="part"):
    """One entry about a part of a rollback document: its intent (``begun``), or its result.

    Attributes:
        name: Of the backup or step.
        digest, size, proof: Of the backup, in the result of ``backup``.
    """

    act: PartAct
    name: str
    result: Literal["begun", "done", "failed", "interrupted"]
    digest: str | None = None
    size: int = 0
    proof: BackupProof | None = None


class RetryRequested(Struct, frozen=True, tag="retry"):
    """A person followed the recovery plan and requests one more try. Only a person can request this."""


PartHistory = tuple[PartRecord | RetryRequested, ...]


class Stream(Struct, frozen=True):
    """One channel as this site knows it.

    Attributes:
        mark: Highest that was received.
        floor: Lowest that is still acceptable; None before a release was confirmed.
        used: Each mark that was received, with its release.
    """

    channel: str
    mark: Mark
    floor: Mark | None
    used: tuple[tuple[Mark, str], ...] = ()


class Generation(Struct, frozen=True):
    """One installed state of the site.

    Attributes:
        state: SWITCHED or PROBING in trial, CONFIRMED or SETTLED after it, ROLLED_BACK when the trial failed. It stays
            when another generation becomes ``current``.
        source: The generation that ran when this one was made, 0 for none; this one started with its data.
        release, config, settings, contract, plan: Digests.
        since: Time of the entry that last switched to it, or back to it.
        seq: Number of the entry that last switched to it.
        outside_window: It was installed outside the policy's windows.
        confirmed: Running time of the site when its trial ended, as ``SiteState.ran`` counts it.
        taken_back: A rollback left it and undid its changes to the data.
    """

    number: int
    state: State
    source: int
    release: str
    product: str
    version: str
    channel: str
    mark: Mark
    config: str | None
    config_version: int | None
    settings: str
    contract: str
    plan: str
    approvals: tuple[str, ...]
    since: datetime
    seq: int
    outside_window: bool = False
    confirmed: int = 0
    taken_back: bool = False

    def before(self, received: "ReceivedRelease") -> bool:
        """Whether the release may be installed over this: later in the channel, or from another and received since."""
        return received.mark > self.mark if received.channel == self.channel else received.seq > self.seq


class Transaction(Struct, frozen=True):
    """An install or a rollback in progress.

    Attributes:
        state: A state of ``TABLE``.
        act: The act whose intent has no outcome yet; ``part``: its backup or step.
        steps: Driver steps of that act with their result: ``begun``, ``done``, ``failed``.
        attempts: How often ``activate`` was begun; ``retreats``: how often ``retreat`` was.
        switches: How often the switch failed or was interrupted.
        touched: Something was paused or backed up since staging, and neither switched nor resumed.
        paused: The boot in which the former generation's services were stopped; None while they run.
        passed: The probes have passed, and a person must confirm.
        code, detail: Of the last failure.
        failed: Act and step of the last failure on the way forward, with its code; None while nothing failed.
        running: Seconds of running time on trial: between two entries of one boot by its clock, after a reboot by the
            new boot's clock. The wall clock does not count.
        asked: How often a person requested one more try.
    """

    planned: Planned
    state: State
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
    asked: int = 0
    failed: tuple[str, str | None, str] | None = None

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def open(self) -> bool:
        return self.state not in RESTING or self.touched


class ReceivedRelease(Struct, frozen=True):
    """A release that was received here: an item until it is installed or overtaken."""

    item: str
    release: str
    version: str
    channel: str
    mark: Mark
    source: str
    received_at: datetime
    received_by: str
    seq: int


class RolledBack(Struct, frozen=True):
    """A rollback, for the record: automatic (the trial failed) or by hand.

    Attributes:
        authorisation: The one that it spent, if it led below the floor or out of such a trial.
        entry: Digest of the entry that ended it; None of a rollback by hand that was confirmed.
        approvals: Digests of the envelopes of the change that it ended.
    """

    source: int
    target: int
    automatic: bool
    code: str
    at: datetime
    authorisation: str | None = None
    entry: str | None = None
    approvals: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        how = "automatically" if self.automatic else "by hand"
        why = "" if self.code == "by-hand" else f": {cause_text(self.code)}"
        return f"it was installed here before and rolled back {how} at {rfc3339(self.at)}{why}"


class Health(Struct, frozen=True):
    """Last result of a probe of one generation, and how often in a row it did not pass.

    Attributes:
        at: When it was looked at; None for ``not-observed``.
    """

    generation: int
    probe: str
    state: ProbeState
    failures: int = 0
    at: datetime | None = None


class InstallState(Struct, frozen=True):
    """Releases, generations and the transaction of a site.

    Attributes:
        contract: Digest of the contract of the newest confirmed generation.
        current: Number of the running generation, 0 for none.
        transaction: The last one, open or ended.
        releases: Oldest first.
        health: Of the generation that runs, and of the one that the last transaction came from.
        histories: By generation, the history of its rollback document.
    """

    contract: str | None = None
    streams: tuple[Stream, ...] = ()
    generations: tuple[Generation, ...] = ()
    current: int = 0
    transaction: Transaction | None = None
    releases: tuple[ReceivedRelease, ...] = ()
    rollbacks: tuple[RolledBack, ...] = ()
    health: tuple[Health, ...] = ()
    histories: tuple[tuple[int, PartHistory], ...] = ()

    @property
    def next_generation(self) -> int:
        return 1 + max((one.number for one in self.generations), default=0)

    @property
    def running(self) -> Generation | None:
        """The generation that `current` points at, in trial or not."""
        return self.generation(self.current)

    @property
    def running_health(self) -> tuple[Health, ...]:
        """The last result of each probe of the running generation."""
        return tuple(one for one in self.health if one.generation == self.current)

    @property
    def used_approvals(self) -> frozenset[str]:
        """Digests of the approvals' envelopes of every change that switched or was rolled back."""
        changes = (*(one.approvals for one in self.generations), *(one.approvals for one in self.rollbacks))
        ended = (digest for approvals in changes for digest in approvals)
        switched = self.transaction.approvals if self.transaction and self.transaction.switched else ()
        return frozenset((*ended, *switched))

    def lineage(self, number: int) -> tuple[Generation, ...]:
        """Return generation ``number``, the one that it was made from, and so on: its data derive from theirs."""
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
        """Return the last rollback from this release; None when there was none."""
        numbers = {one.number for one in self.generations if one.release == release}
        return next((one for one in reversed(self.rollbacks) if one.source in numbers), None)

    def part_history(self, number: int) -> PartHistory:
        """Return the history of the rollback document of generation ``number``."""
        return next((history for one, history in self.histories if one == number), ())

    def received(self, item: str) -> ReceivedRelease | None:
        """Return the newest release received under this item."""
        return next((one for one in reversed(self.releases) if one.item == item), None)
