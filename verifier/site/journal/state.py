"""The state of a site: values that follow from its journal."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark, Pin
from verifier.rules.emergency import Use
from verifier.site.journal.events import (
    Alarm,
    OffboardAsked,
    OffboardDone,
    Offboarded,
    PolicyInForce,
    Tried,
)
from verifier.site.journal.installs import InstallState, Stream


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
NO_ROOT = Pin(version=0, digest="sha256:" + "0" * 64)


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
    policies: tuple[PolicyInForce, ...] = ()
    uses: tuple[Use, ...] = ()
    installs_since: int = 0
    proposed: tuple[Proposal, ...] = ()
    verdicts: tuple[RecordedVerdict, ...] = ()

    @property
    def policy(self) -> str:
        """Digest of the compiled policy in force; empty between the first two entries of a journal."""
        return self.policies[-1].digest if self.policies else ""

    @property
    def policy_number(self) -> int:
        """Number of the policy in force, 0 before the first."""
        return self.policies[-1].number if self.policies else 0


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
        boot: Boot id of the last entry, None before the second.
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
    installs: InstallState = field(default_factory=InstallState)
    reports: ReportState = ReportState()
    offboarding: Offboarding | None = None
    alarms: tuple[Alarm, ...] = ()
    torn: int = 0
    clock_back: int = 0
    boot: str | None = None
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
        minimum, stream = self.trust.minimum, self.installs.stream_of(channel)
        enrolled = minimum[1] if minimum and minimum[0] == channel else None
        return max(filter(None, (stream.floor if stream else None, enrolled)), default=None)

    @property
    def below_floor(self) -> bool:
        """Whether what runs lies below the floor of its channel."""
        floor = self.floor_of(self.installs.running.channel) if self.installs.running else None
        return self.installs.running is not None and floor is not None and self.installs.running.mark < floor

    def elapsed(self, boot: str, uptime: float) -> int:
        """Seconds that the host ran since the last entry, when its clocks say this now."""
        return max(0, int(uptime) - (self.uptime if boot == self.boot else 0))
