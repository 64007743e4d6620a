"""The state of a site: values that follow from its journal."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark, Pin
from manifests.words.time import rfc3339
from verifier.rules.emergency import Use
from verifier.site.journal.events import (
    Act,
    Action,
    Alarm,
    OffboardAsked,
    OffboardDone,
    Offboarded,
    Planned,
    PolicyInForce,
    Tried,
)
from verifier.site.journal.transitions import RESTING, PartHistory, State


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
        code, detail: Of the last failure.
        rule: The emergency rule by which it was approved; empty for the ordinary ones.
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
    part: str = ""
    steps: tuple[tuple[str, str], ...] = ()
    attempts: int = 0
    retreats: int = 0
    switches: int = 0
    touched: bool = False
    paused: str | None = None
    passed: bool = False
    switched: bool = False
    code: str = ""
    detail: str = ""
    running: int = 0
    rule: str = ""
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
class RecordedVerdict:
    """A person's verdict on a plan, as recorded; judged against the policy in force when it is counted."""

    item: str
    plan: str
    envelope: str
    keyid: str
    person: str
    role: str
    verdict: str
    condition: str | None
    at: datetime
    seq: int


@dataclass(frozen=True)
class Proposal:
    """What a file proposed when it was first seen, and whose file it was."""

    item: str
    subject: str
    account: str
    at: datetime


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
class Answered:
    """What became of a request.

    Attributes:
        after: The last report that was written before it came; later ones tell of it.
    """

    consignment: int
    request: str
    handler: str
    outcome: Literal["refused", "no-such-handler"]
    after: int


@dataclass(frozen=True)
class FormerKey:
    """A key that signed the successor of itself.

    Attributes:
        after: The last report that it signed.
        rotation: Digest of the document in which it and the next one say so.
    """

    key: PublicKey
    after: int
    rotation: str


# What the site believes after its vendor's access was ended: no document in the world has this digest.
NOBODY = Pin(version=0, digest="sha256:" + "0" * 64)


@dataclass(frozen=True)
class Offboarding:
    """How far the end of the vendor's access is.

    Attributes:
        asked: Why; its digest is what people agree to.
        done: It is in force; None while it waits for people.
        done_at: When it came into force.
        root, revocations: What was believed last, for the record; ``before``: the last report before.
        final: The report that tells of it and after which none follows.
        ended: Everything is done.
    """

    asked: OffboardAsked
    asked_at: datetime
    done: Offboarded | None = None
    done_at: datetime | None = None
    root: Pin | None = None
    revocations: int = 0
    before: int = 0
    tried: tuple[Tried, ...] = ()
    final: int | None = None
    ended: OffboardDone | None = None


@dataclass(frozen=True)
class TrustState:
    """What the site believes: the vendor, its root and lists, the policy in force, and what people said under it.

    Attributes:
        practice: The vendor's root is a practice root, for testing only.
        root_line: How often the root was replaced on paper.
        root_reason: Why, the last time; None before.
        minimum: Channel and lowest mark that the paper of the enrolment named.
        revocations: Version and digest of the list in force, None before the first.
        time_floor: Not earlier than this, None until something was confirmed.
        time_claimed: Signed by the vendor and so far ahead that it moves nothing until a person says so.
        newest: What the vendor has for this site, by channel, as the last consignment said.
        authorisations: Envelopes of ways back below the floor that consignments brought, by digest, oldest first.
        spent: Fingerprints of the authorisations that were used.
        policy: Digest of the compiled policy in force.
        policy_number: Its number, 0 before the first.
        policies: All that were in force, oldest first.
        uses: Of emergency rules, under whatever policy, oldest first.
        installs_since: How many were switched to since the policy in force came.
        proposed: Proposals in files as they were first seen, the newest of each item.
        verdicts: Approvals and rejections, oldest first.
    """

    vendor: str
    practice: bool
    root: Pin
    root_line: int = 0
    root_reason: str | None = None
    minimum: tuple[str, Mark] | None = None
    revocations: tuple[int, str] | None = None
    time_floor: datetime | None = None
    time_claimed: datetime | None = None
    newest: tuple[tuple[str, Mark], ...] = ()
    authorisations: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    policy: str = ""
    policy_number: int = 0
    policies: tuple[PolicyInForce, ...] = ()
    uses: tuple[Use, ...] = ()
    installs_since: int = 0
    proposed: tuple[Proposal, ...] = ()
    verdicts: tuple[RecordedVerdict, ...] = ()


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
        found: list[Generation] = []
        while (one := self.generation(number)) is not None:
            found.append(one)
            number = one.source if one.source < number else 0
        return tuple(found)

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

    def left_before(self, release: str) -> RolledBack | None:
        """The last time that the site went back from this release; None when it never ran here, or never was left."""
        numbers = {one.number for one in self.generations if one.release == release}
        return next((one for one in reversed(self.rollbacks) if one.source in numbers), None)

    def deeds_of(self, number: int) -> PartHistory:
        """What was done of the rollback document that generation ``number`` brought."""
        return next((deeds for one, deeds in self.deeds if one == number), ())

    def received(self, item: str) -> ReceivedRelease | None:
        """The newest release received under this item."""
        return next((one for one in reversed(self.releases) if one.item == item), None)


@dataclass(frozen=True)
class ReportState:
    """Reports of this site, and what the vendor is known to hold of them.

    Attributes:
        seq, head: Number and digest of the last report written; 0 and None before the first.
        at: When that was, None before the first.
        consignment: Number of the last consignment, 0 before the first.
        challenge: Digest that reports echo.
        acknowledged: Number and digest of the newest report that support is known to hold.
        answered: Requests whose result no acknowledged report tells of.
        owed: Something came in after the last report, or happened to what is believed, that is still to be told.
        left: Digest of the newest report that somebody carried away.
        enrolment: Digest of the enrolment on which the reports stand.
        line: The key epoch of that enrolment.
        former_keys: Those that signed reports since that enrolment, oldest first.
    """

    seq: int = 0
    head: str | None = None
    at: datetime | None = None
    consignment: int = 0
    challenge: str | None = None
    acknowledged: tuple[int, str] | None = None
    answered: tuple[Answered, ...] = ()
    owed: bool = False
    left: str | None = None
    enrolment: str | None = None
    line: int = 1
    former_keys: tuple[FormerKey, ...] = ()


@dataclass(frozen=True)
class SiteState:
    """Everything that is in force at a site.

    Attributes:
        enrolled_channel: The one of the enrolment, followed until a release of another is installed.
        head: Digest of the last journal line.
        seq: Its number.
        last_change: Digest of the last entry that switched a generation or put a policy, root or list in force.
        last_change_seq: Its number.
        last_change_at: Its time.
        last_at: Time of the last entry.
        offboarding: The end of the vendor's access, asked for or in force; None before.
        torn: How often an unfinished last line was cut.
        clock_back: How often the wall clock went backwards between two entries.
        boot: Boot id of the last entry.
        uptime: Seconds since that boot, at the last entry.
        ran: Seconds that the host ran while it was a site, as far as the journal counted them.
    """

    site: str
    enrolled_channel: str
    site_key: PublicKey
    key_epoch: int
    enrolled_at: datetime
    verifier: str
    head: str
    seq: int
    last_change: str
    last_change_seq: int
    last_change_at: datetime
    last_at: datetime
    trust: TrustState
    installs: InstallState = InstallState()
    reports: ReportState = ReportState()
    offboarding: Offboarding | None = None
    alarms: tuple[Alarm, ...] = ()
    torn: int = 0
    clock_back: int = 0
    boot: str = ""
    uptime: int = 0
    ran: int = 0

    @property
    def offboarded(self) -> bool:
        """The site believes nothing of its vendor any more."""
        return self.offboarding is not None and self.offboarding.done is not None

    def key_of_report(self, seq: int) -> PublicKey:
        """The key by which report ``seq`` of this line was, or will be, signed."""
        return next((one.key for one in self.reports.former_keys if seq <= one.after), self.site_key)

    @property
    def customer(self) -> str:
        return self.site.split("/")[0]

    @property
    def product(self) -> str:
        return self.site.split("/")[1]

    @property
    def environment(self) -> str:
        return self.site.split("/")[2]

    @property
    def name(self) -> str:
        return self.site.split("/")[3]

    @property
    def channel(self) -> str:
        """The maintenance line that the site follows: that of what runs."""
        return self.installs.running.channel if self.installs.running else self.enrolled_channel

    @property
    def stream(self) -> Stream | None:
        """The channel that the site follows."""
        return self.installs.stream_of(self.channel)

    @property
    def mark(self) -> Mark | None:
        return self.stream.mark if self.stream else None

    @property
    def floor(self) -> Mark | None:
        return self.floor_of(self.channel)

    def floor_of(self, channel: str) -> Mark | None:
        """The lowest mark that is still acceptable: as releases stated it, or the paper of the enrolment."""
        said = self.trust.minimum[1] if self.trust.minimum and self.trust.minimum[0] == channel else None
        stream = self.installs.stream_of(channel)
        return max(filter(None, (stream.floor if stream else None, said)), default=None)

    @property
    def below_floor(self) -> bool:
        """Whether what runs lies below the floor of its channel."""
        floor = self.floor_of(self.installs.running.channel) if self.installs.running else None
        return self.installs.running is not None and floor is not None and self.installs.running.mark < floor

    def elapsed(self, boot: str, uptime: float) -> int:
        """Seconds that the host ran since the last entry, when its clocks say this now."""
        return max(0, int(uptime) - (self.uptime if boot == self.boot else 0))
