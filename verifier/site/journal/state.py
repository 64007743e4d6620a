"""The state of a site: values that follow from its journal."""

from datetime import datetime

from msgspec import Struct

from manifests.documents.report import Outcome
from manifests.documents.report_condition import MediumProblem
from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark, Pin
from manifests.words.errors import UntrustedError
from verifier.rules.emergency_uses import Use
from verifier.site.journal.events import (
    Alarm,
    OffboardAsked,
    OffboardDone,
    Offboarded,
    PolicyInForce,
    Record,
    Tried,
)
from verifier.site.journal.installs import InstallState, Stream


class RecordedVerdict(Struct, frozen=True):
    """A recorded verdict on a plan. It is judged against the policy in force when it is counted."""

    item: str
    plan: str
    envelope: str
    keyid: str
    person: str
    role: str
    verdict: str
    at: datetime


class Proposal(Struct, frozen=True):
    """A proposal in a file, as first seen, and the account that owned the file."""

    item: str
    subject: str
    account: str
    at: datetime


class Answered(Struct, frozen=True):
    """A use of a handler that was requested, and what became of it.

    Attributes:
        item: What people name: ``c-12``, or ``c-12.2`` for the second of several requests; ``h-3`` for a local one.
        consignment: Number of the consignment; 0 for a use that the site's own people asked for.
        document: Digest of the consignment; None without one.
        parameters: Of a local use; those of a request are in the consignment.
        outcome: ``unknown`` from the begin of the handler until its end is recorded.
        after: The last report before the outcome; later reports contain it.
        last_report: Last number of the window; None without one.
        account: Who received the consignment, or asked for it.
        seq: Number of the entry with which it began; 0 before.
    """

    item: str
    consignment: int
    request: str
    handler: str
    outcome: Outcome
    after: int
    at: datetime
    account: str
    document: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    last_report: int | None = None
    exit_code: int | None = None
    result: str | None = None
    seq: int = 0

    @property
    def open(self) -> bool:
        """Whether it waits, or began without a recorded end."""
        return self.outcome in ("waiting", "unknown")


class FormerKey(Struct, frozen=True):
    """A key that signed its successor in the document ``rotation``; ``after``: the last report that it signed."""

    key: PublicKey
    after: int
    rotation: str


# The root of a site whose vendor's access has ended: no document has this digest.
NO_ROOT = Pin(version=0, digest="sha256:" + "0" * 64)


class Offboarding(Struct, frozen=True):
    """The state of the end of the vendor's access.

    Attributes:
        asked: The request; people approve its digest.
        done: The entry that put it in force; None while approvals are missing.
        root: The root that was trusted last, for the record.
        final: Number of the final report.
        ended: The entry that completed it.
    """

    asked: OffboardAsked
    asked_at: datetime
    done: Offboarded | None = None
    done_at: datetime | None = None
    root: Pin | None = None
    tried: tuple[Tried, ...] = ()
    final: int | None = None
    ended: OffboardDone | None = None


class TrustState(Struct, frozen=True):
    """What the site trusts: the vendor, its root and lists, the policy in force, and the verdicts of people.

    Attributes:
        practice: The vendor's root is a practice root, for testing only.
        root_line: How often the root was replaced on paper; ``root_reason``: why, the last time.
        minimum: Channel and lowest mark of the enrolment.
        revocations: Version and digest of the list in force; after the end of the vendor's access, of the last one.
        time_floor: The time is not earlier than this; None before the first confirmed release.
        time_claimed: A time that the vendor signed, too far ahead to count before a person acknowledges it.
        newest: The vendor's newest release for this site by channel, as of the last consignment.
        authorisations: Digests of envelopes for rollbacks below the floor, oldest first.
        spent: Fingerprints of the authorisations that were used.
        policies: All that were in force, oldest first.
        uses: Uses of emergency rules, oldest first.
        installs_since: Installs that switched since the policy came into force.
        proposed: The newest proposal of each item.
        verdicts: Oldest first.
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
    def first_policy(self) -> str:
        """Digest of the policy that the enrolment put in force; empty before it."""
        return self.policies[0].digest if self.policies else ""

    @property
    def policy_number(self) -> int:
        """Number of the policy in force, 0 before the first."""
        return self.policies[-1].number if self.policies else 0


# Without consignments nothing is acknowledged, and the site's own uses of handlers would be reported for ever.
MAX_USED = 64


class ReportState(Struct, frozen=True):
    """Reports of this site, and which of them the vendor is known to hold.

    Attributes:
        seq, head: Number and digest of the last report; 0 and None before the first.
        consignment: Number of the last consignment, 0 before the first.
        challenge: Digest that reports repeat.
        acknowledged: Number and digest of the newest report that support is known to hold.
        answered: Requests that wait, or whose result is in no acknowledged report.
        local: Uses of handlers that the site's own people asked for and that wait, or whose end is not known.
        used: Those that ended, the newest ``MAX_USED`` that are in no acknowledged report.
        asked: Number of the last one that was asked for.
        owed: Something has changed that no report contains yet.
        left, left_at: Digest of the newest report that was exported, and when reports were exported last.
        medium: Why a bundle could not be read, and when; None once a release was received.
        enrolment, line: Digest and key epoch of the enrolment that the reports refer to.
        former_keys: Keys that signed reports since that enrolment, oldest first.
    """

    seq: int = 0
    head: str | None = None
    at: datetime | None = None
    consignment: int = 0
    challenge: str | None = None
    acknowledged: tuple[int, str] | None = None
    answered: tuple[Answered, ...] = ()
    local: tuple[Answered, ...] = ()
    used: tuple[Answered, ...] = ()
    asked: int = 0
    owed: bool = False
    left: str | None = None
    left_at: datetime | None = None
    medium: tuple[MediumProblem, datetime] | None = None
    enrolment: str | None = None
    line: int = 1
    former_keys: tuple[FormerKey, ...] = ()


class SiteState(Struct, frozen=True):
    """Everything that is in force at a site.

    Attributes:
        enrolled_channel: The channel to follow until a release of another is installed.
        head, seq, last_at: Digest, number and time of the last entry.
        last_change, last_change_seq, last_change_at: The same of the last entry that made earlier plans invalid.
        offboarding: The end of the vendor's access, requested or in force.
        torn: How often an unfinished last line was cut.
        clock_back: How often the wall clock went backwards between two entries.
        boot: Boot id of the last entry, None before the second.
        uptime: Seconds since that boot, at the last entry.
        ran: Seconds that the host ran since the enrolment, as far as the journal counted them.
    """

    site: str
    enrolled_channel: str
    site_key: PublicKey
    key_epoch: int
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
    boot: str | None = None
    uptime: int = 0
    ran: int = 0

    @property
    def offboarded(self) -> bool:
        """Whether the vendor's access has ended."""
        return self.offboarding is not None and self.offboarding.done is not None

    @property
    def own_keys(self) -> frozenset[str]:
        """Ids of the keys of this enrolment, any of which a consignment may name: support may not know a rotation."""
        return frozenset({self.site_key.keyid, *(one.key.keyid for one in self.reports.former_keys)})

    def requested(self, item: str) -> Answered | None:
        """Return the use of a handler that is called ``item``; None when it is not known, or no longer."""
        return next((use for use in (*self.reports.answered, *self.reports.local) if use.item == item), None)

    def key_of_report(self, seq: int) -> PublicKey:
        """Return the key that signed report ``seq``, or will sign it."""
        return next((one.key for one in self.reports.former_keys if seq <= one.after), self.site_key)

    @property
    def product(self) -> str:
        return self.site.split("/")[1]

    @property
    def channel(self) -> str:
        """The channel that the site follows: the one of the running release."""
        return self.installs.running.channel if self.installs.running else self.enrolled_channel

    @property
    def stream(self) -> Stream | None:
        return self.installs.stream_of(self.channel)

    @property
    def mark(self) -> Mark | None:
        return self.stream.mark if self.stream else None

    @property
    def floor(self) -> Mark | None:
        return self.floor_of(self.channel)

    def floor_of(self, channel: str) -> Mark | None:
        """Return the lowest mark that is still acceptable, by confirmed releases and the enrolment."""
        minimum, stream = self.trust.minimum, self.installs.stream_of(channel)
        enrolled = minimum[1] if minimum and minimum[0] == channel else None
        return max(filter(None, (stream.floor if stream else None, enrolled)), default=None)

    @property
    def below_floor(self) -> bool:
        """Whether the running release lies below the floor of its channel."""
        running, floor = self.installs.running, self.floor
        return running is not None and floor is not None and running.mark < floor

    def elapsed(self, boot: str, uptime: float) -> int:
        """Return the seconds that the host ran since the last entry."""
        return max(0, int(uptime) - (self.uptime if boot == self.boot else 0))


def impossible_entry(record: Record, problem: str) -> UntrustedError:
    return UntrustedError(
        f"entry {record.seq}: {problem}",
        where="journal",
        remedy="the journal was edited or damaged; keep the folder unchanged and report this to support",
        finding="journal-impossible",
    )
