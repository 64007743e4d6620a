"""What a site is: a fold of its journal, and of nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from manifests.errors import UntrustedError
from manifests.keys import PublicKey
from manifests.trust import Mark, Pin
from verifier.deeds import PART_ACTS, Again, Deed, Deeds
from verifier.emergency import Use
from verifier.events import (
    Act,
    Action,
    Alarm,
    Approved,
    AskedAgain,
    Confirmed,
    Consigned,
    Enrolled,
    Event,
    Inconsistent,
    Intent,
    KeyRenewed,
    KeyRotated,
    Note,
    OffboardAsked,
    OffboardDone,
    Offboarded,
    Outcome,
    Planned,
    PolicyInForce,
    Proposed,
    Received,
    Record,
    Reported,
    RevocationsInForce,
    RootInForce,
    RootReplaced,
    TimeAcknowledged,
    Torn,
    Tried,
    Verdict,
)
from verifier.table import BEFORE_CHANGE, MOVES, RESTING, TABLE, TRIAL, State


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
    since: str
    seq: int
    outside_window: bool = False
    confirmed: int = 0
    taken_back: bool = False

    def before(self, received: "Release") -> bool:
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
    begun_at: str
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
class Release:
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
    received_at: str
    received_by: str
    seq: int


@dataclass(frozen=True)
class Said:
    """A person's verdict on a plan, as recorded; judged against the policy in force when it is counted."""

    item: str
    plan: str
    envelope: str
    keyid: str
    person: str
    role: str
    verdict: str
    condition: str | None
    at: str
    seq: int


@dataclass(frozen=True)
class Proposal:
    """What a file proposed when it was first seen, and whose file it was."""

    item: str
    subject: str
    account: str
    at: str


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
    at: str
    seq: int
    authorisation: str | None = None

    @property
    def words(self) -> str:
        how = "by itself" if self.automatic else "by hand"
        why = "" if self.code == "by-hand" else f": {self.code.replace('-', ' ')}"
        return f"it was installed here before; the site went back {how} at {self.at}{why}"


@dataclass(frozen=True)
class Health:
    """What a probe said last: ``passing``, ``failing``, ``unknown``, and how often in a row it did not pass."""

    probe: str
    state: str
    failures: int
    at: str


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
    asked_at: str
    done: Offboarded | None = None
    done_at: str = ""
    root: Pin | None = None
    revocations: int = 0
    before: int = 0
    tried: tuple[Tried, ...] = ()
    final: int | None = None
    ended: OffboardDone | None = None


@dataclass(frozen=True)
class SiteState:
    """Everything that is in force at a site.

    Attributes:
        head: Digest of the last journal line; ``seq``: its number.
        enrolled_channel: The one of the enrolment, followed until a release of another is installed.
        last_change: Digest of the last entry that switched a generation or put a policy, root or list in force;
            ``last_change_seq``, ``last_change_at``: its number and time.
        root_line: How often the root was replaced on paper; ``root_reason``: why, the last time.
        minimum: Channel and lowest mark that the paper of the enrolment named.
        time_claimed: Signed by the vendor and so far ahead that it moves nothing until a person says so.
        revocations: Version and digest of the list in force, None before the first.
        policy: Digest of the compiled policy in force; ``policy_number``: its number.
        policies: All that were in force, oldest first.
        uses: Of emergency rules, under whatever policy, oldest first.
        installs: How many were switched to since the policy in force came.
        proposed: Proposals in files as they were first seen, the newest of each item.
        contract: Digest of the contract of the newest confirmed generation, None before the first.
        time_floor: Not earlier than this (RFC 3339), None until something was confirmed.
        current: Number of the generation that runs, 0 for none.
        next_generation: The number the next install will create.
        transaction: The last one, open or ended; None before the first.
        releases: Those received, oldest first.
        report_seq, report_head: Number and digest of the last report written; 0 and None before the first.
        report_at: When that was.
        clock_back: How often the wall clock went backwards between two entries.
        consignment: Number of the last consignment, 0 before the first; ``challenge``: the digest that reports echo.
        acknowledged: Number and digest of the newest report that home is known to hold.
        newest: What the vendor has for this site, by channel, as the last consignment said.
        answered: Requests whose result no acknowledged report tells of.
        owes_report: Something came in after the last report, or happened to what is believed, that is still to be told.
        left: Digest of the newest report that somebody carried away.
        enrolment: Digest of the enrolment on which the reports stand; ``line``: of which key epoch it is.
        former_keys: Those that signed reports since that enrolment, oldest first.
        offboarding: The end of the vendor's access, asked for or in force; None before.
        boot, uptime: Of the last entry; ``ran``: seconds that the host ran while it was a site, as far as the journal
            counted them.
        deeds: By generation, what was done of its rollback document.
        authorisations: Envelopes of ways back below the floor that consignments brought, by digest, oldest first.
        spent: Fingerprints of the authorisations that were used.
    """

    site: str
    vendor: str
    enrolled_channel: str
    site_key: PublicKey
    key_epoch: int
    practice: bool
    enrolled_at: str
    verifier: str
    root: Pin
    head: str
    seq: int
    last_change: str
    last_change_seq: int
    last_change_at: str
    last_at: str
    revocations: tuple[int, str] | None = None
    root_line: int = 0
    root_reason: str = ""
    minimum: tuple[str, Mark] | None = None
    time_claimed: str | None = None
    policy: str = ""
    policy_number: int = 0
    policies: tuple[PolicyInForce, ...] = ()
    uses: tuple[Use, ...] = ()
    installs: int = 0
    proposed: tuple[Proposal, ...] = ()
    contract: str | None = None
    time_floor: str | None = None
    streams: tuple[Stream, ...] = ()
    generations: tuple[Generation, ...] = ()
    current: int = 0
    transaction: Transaction | None = None
    releases: tuple[Release, ...] = ()
    verdicts: tuple[Said, ...] = ()
    rollbacks: tuple[RolledBack, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    health: tuple[Health, ...] = ()
    report_seq: int = 0
    report_head: str | None = None
    report_at: str = ""
    torn: int = 0
    clock_back: int = 0
    consignment: int = 0
    challenge: str | None = None
    acknowledged: tuple[int, str] | None = None
    newest: tuple[tuple[str, Mark], ...] = ()
    answered: tuple[Answered, ...] = ()
    owes_report: bool = False
    left: str | None = None
    enrolment: str | None = None
    line: int = 1
    former_keys: tuple[FormerKey, ...] = ()
    offboarding: Offboarding | None = None

    @property
    def offboarded(self) -> bool:
        """The site believes nothing of its vendor any more."""
        return self.offboarding is not None and self.offboarding.done is not None

    def key_of_report(self, seq: int) -> PublicKey:
        """The key by which report ``seq`` of this line was, or will be, signed."""
        return next((one.key for one in self.former_keys if seq <= one.after), self.site_key)

    boot: str = ""
    uptime: int = 0
    ran: int = 0
    deeds: tuple[tuple[int, Deeds], ...] = ()
    authorisations: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()

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

    @property
    def channel(self) -> str:
        """The maintenance line that the site follows: that of what runs."""
        return self.running.channel if self.running else self.enrolled_channel

    @property
    def stream(self) -> Stream | None:
        """The channel that the site follows."""
        return self.stream_of(self.channel)

    @property
    def mark(self) -> Mark | None:
        return self.stream.mark if self.stream else None

    @property
    def floor(self) -> Mark | None:
        return self.floor_of(self.channel)

    def floor_of(self, channel: str) -> Mark | None:
        """The lowest mark that is still acceptable: as releases stated it, or the paper of the enrolment."""
        said = self.minimum[1] if self.minimum and self.minimum[0] == channel else None
        stream = self.stream_of(channel)
        return max(filter(None, (stream.floor if stream else None, said)), default=None)

    def stream_of(self, channel: str) -> Stream | None:
        return next((one for one in self.streams if one.channel == channel), None)

    def generation(self, number: int) -> Generation | None:
        return next((one for one in self.generations if one.number == number), None)

    def left_before(self, release: str) -> RolledBack | None:
        """The last time that the site went back from this release; None when it never ran here, or never was left."""
        numbers = {one.number for one in self.generations if one.release == release}
        return next((one for one in reversed(self.rollbacks) if one.source in numbers), None)

    def deeds_of(self, number: int) -> Deeds:
        """What was done of the rollback document that generation ``number`` brought."""
        return next((deeds for one, deeds in self.deeds if one == number), ())

    @property
    def below_floor(self) -> bool:
        """Whether what runs lies below the floor of its channel."""
        floor = self.floor_of(self.running.channel) if self.running else None
        return self.running is not None and floor is not None and self.running.mark < floor

    def elapsed(self, boot: str, uptime: float) -> int:
        """Seconds that the host ran since the last entry, when its clocks say this now."""
        return max(0, int(uptime) - (self.uptime if boot == self.boot else 0))

    def received(self, item: str) -> Release | None:
        """The newest release received under this item."""
        return next((one for one in reversed(self.releases) if one.item == item), None)


def fold(records: Iterable[tuple[str, Record]]) -> SiteState:
    """The state after all ``records``, each with the digest of its line.

    Raises:
        UntrustedError: The journal tells an impossible story, such as a switch that was never planned.
    """
    state: SiteState | None = None
    for digest, record in records:
        state = apply(state, record, digest)
    if state is None:
        raise empty_journal()
    return state


def apply(state: SiteState | None, record: Record, digest: str) -> SiteState:
    """The state after one more record."""
    event = record.event
    if isinstance(event, Enrolled):
        if state is not None:
            raise _impossible(record, "a second enrolment")
        return _enrolled(event, record, digest)
    if state is None:
        raise _impossible(record, "the first entry is not the enrolment")
    back = state.clock_back + (record.at < state.last_at)
    elapsed = state.elapsed(record.boot, record.uptime)
    state = replace(
        state,
        head=digest,
        seq=record.seq,
        last_at=record.at,
        clock_back=back,
        boot=record.boot,
        uptime=record.uptime,
        ran=state.ran + elapsed,
    )
    now = state.transaction
    if now is not None and now.state in TRIAL:
        state = replace(state, transaction=replace(now, running=now.running + elapsed))
    return _apply(state, event, record, digest)


def _apply(state: SiteState, event: Event, record: Record, digest: str) -> SiteState:
    match event:
        case KeyRotated():
            return _rotated(state, event, record)
        case KeyRenewed():
            return _renewed(state, event, record)
        case PolicyInForce():
            return _policy(_changed(state, record, digest), event, record)
        case Proposed():
            return _proposed(state, event, record)
        case RootInForce():
            if event.pin.version <= state.root.version:
                raise _impossible(record, f"root {event.pin.version} after root {state.root.version}")
            return replace(_changed(state, record, digest), root=event.pin, owes_report=True)
        case RootReplaced():
            line = state.root_line + 1
            return replace(_changed(state, record, digest), root=event.pin, root_line=line, root_reason=event.reason)
        case TimeAcknowledged():
            floor = max(filter(None, (state.time_floor, event.time)))
            return replace(state, time_floor=floor, time_claimed=None)
        case RevocationsInForce():
            if state.revocations is not None and event.version <= state.revocations[0]:
                raise _impossible(record, f"revocation list {event.version} after list {state.revocations[0]}")
            changed = _changed(state, record, digest)
            return replace(changed, revocations=(event.version, event.digest), owes_report=True)
        case Received():
            return _received(state, event, record)
        case Consigned():
            return _consigned(state, event, record)
        case Alarm():
            return replace(state, alarms=(*state.alarms, event), owes_report=True)
        case Verdict():
            return replace(state, verdicts=(*state.verdicts, _said(event, record)))
        case Reported():
            if event.seq <= state.report_seq:
                raise _impossible(record, f"report {event.seq} after report {state.report_seq}")
            state = replace(
                state, report_seq=event.seq, report_head=event.digest, report_at=record.at, owes_report=False
            )
            return _told_last(state, event)
        case OffboardAsked() | Offboarded() | Tried() | OffboardDone():
            return _offboarding(state, event, record)
        case Torn():
            return replace(state, torn=state.torn + 1)
        case Note(code=code):
            return replace(state, left=state.report_head) if code == "exported" else state
        case Planned():
            return _planned(state, event, record)
        case _:
            return _transaction(state, event, record, digest)


def _transaction(state: SiteState, event: Event, record: Record, digest: str) -> SiteState:
    now = state.transaction
    if now is None:
        raise _impossible(record, "nothing was planned")
    match event:
        case Approved():
            if now.state != State.PLANNED:
                raise _impossible(record, f"approved in state {now.state}")
            return _approved(state, now, event, record)
        case Intent():
            return _intent(state, now, event, record)
        case Outcome():
            return _outcome(state, now, event, record, digest)
        case Confirmed():
            return _confirmed(state, now, event, record)
        case Inconsistent():
            failed = replace(now, state=State.INCONSISTENT, act=None, code=event.code, detail=event.detail)
            return _mark_generation(replace(state, transaction=failed), now.planned.target, State.INCONSISTENT)
        case AskedAgain():
            return _asked(state, now, event, record)
        case _:
            raise AssertionError(event)


def _changed(state: SiteState, record: Record, digest: str) -> SiteState:
    """Plans that were made before this entry are no longer what would be done."""
    return replace(state, last_change=digest, last_change_seq=record.seq, last_change_at=record.at)


def _policy(state: SiteState, event: PolicyInForce, record: Record) -> SiteState:
    if event.number <= state.policy_number:
        raise _impossible(record, f"policy {event.number} after policy {state.policy_number}")
    return replace(
        state,
        policy=event.digest,
        policy_number=event.number,
        policies=(*state.policies, event),
        installs=0,
        proposed=tuple(one for one in state.proposed if one.item != "policy"),
    )


def _proposed(state: SiteState, event: Proposed, record: Record) -> SiteState:
    others = tuple(one for one in state.proposed if one.item != event.item)
    return replace(state, proposed=(*others, Proposal(event.item, event.subject, event.account, record.at)))


def _approved(state: SiteState, now: Transaction, event: Approved, record: Record) -> SiteState:
    approved = replace(now, state=State.APPROVED, approvals=event.approvals, rule=event.rule or "")
    state = replace(state, transaction=approved)
    if event.rule is None:
        return state
    use = Use(now.planned.policy, event.rule, now.planned.plan, now.planned.release, record.at)
    return replace(state, uses=(*state.uses, use))


def _enrolled(event: Enrolled, record: Record, digest: str) -> SiteState:
    return SiteState(
        site=event.site,
        vendor=event.vendor,
        enrolled_channel=event.channel,
        site_key=event.site_key,
        key_epoch=event.key_epoch,
        practice=event.practice,
        enrolled_at=record.at,
        verifier=event.verifier,
        root=event.root,
        head=digest,
        seq=record.seq,
        last_change=digest,
        last_change_seq=record.seq,
        last_change_at=record.at,
        last_at=record.at,
        enrolment=event.enrolment,
        line=event.key_epoch,
        minimum=(event.channel, event.minimum) if event.minimum else None,
    )


def _rotated(state: SiteState, event: KeyRotated, record: Record) -> SiteState:
    if event.key_epoch != state.key_epoch + 1 or event.key == state.site_key:
        raise _impossible(record, f"key {event.key_epoch} after key {state.key_epoch}")
    former = FormerKey(state.site_key, state.report_seq, event.rotation)
    return replace(
        state,
        site_key=event.key,
        key_epoch=event.key_epoch,
        former_keys=(*state.former_keys, former),
        owes_report=True,
    )


def _renewed(state: SiteState, event: KeyRenewed, record: Record) -> SiteState:
    """The reports begin anew: nobody at home can tell which of the former ones this folder wrote."""
    if event.key_epoch <= state.key_epoch or event.key == state.site_key:
        raise _impossible(record, f"key {event.key_epoch} after key {state.key_epoch}")
    return replace(
        state,
        site_key=event.key,
        key_epoch=event.key_epoch,
        enrolment=event.enrolment,
        line=event.key_epoch,
        former_keys=(),
        report_seq=0,
        report_head=None,
        acknowledged=None,
        challenge=None,
        answered=tuple(replace(one, after=0) for one in state.answered),
        owes_report=True,
        boot=record.boot,
        uptime=record.uptime,
    )


def _offboarding(
    state: SiteState, event: OffboardAsked | Offboarded | Tried | OffboardDone, record: Record
) -> SiteState:
    now = state.offboarding
    if isinstance(event, OffboardAsked):
        if state.offboarded:
            raise _impossible(record, "asked to end what has ended")
        return replace(state, offboarding=Offboarding(asked=event, asked_at=record.at))
    if now is None or state.offboarded == isinstance(event, Offboarded) or now.ended is not None:
        raise _impossible(record, f"{event.__struct_config__.tag} before it was asked for, or again")
    match event:
        case Offboarded():
            before = state.revocations[0] if state.revocations else 0
            done = replace(
                now, done=event, done_at=record.at, root=state.root, revocations=before, before=state.report_seq
            )
            return replace(state, offboarding=done, root=NOBODY, revocations=None, owes_report=True)
        case Tried():
            return replace(state, offboarding=replace(now, tried=(*now.tried, event)))
        case OffboardDone():
            return replace(state, offboarding=replace(now, ended=event))


def _told_last(state: SiteState, event: Reported) -> SiteState:
    """The first report after the end is the last one."""
    now = state.offboarding
    if now is None or now.done is None or now.final is not None:
        return state
    return replace(state, offboarding=replace(now, final=event.seq))


def _received(state: SiteState, event: Received, record: Record) -> SiteState:
    known = state.stream_of(event.channel)
    used = known.used if known else ()
    stream = Stream(
        vendor=state.vendor,
        product=event.product,
        channel=event.channel,
        mark=max(known.mark, event.mark) if known else event.mark,
        floor=known.floor if known else None,
        used=used if (event.mark, event.release) in used else (*used, (event.mark, event.release)),
    )
    release = Release(
        item=event.item,
        release=event.release,
        product=event.product,
        version=event.version,
        channel=event.channel,
        mark=event.mark,
        contract=event.contract,
        signers=event.signers,
        practice=event.practice,
        source=event.source,
        received_at=record.at,
        received_by=record.actor.sudo or record.actor.account,
        seq=record.seq,
    )
    others = tuple(one for one in state.releases if one.release != event.release)
    new = len(others) == len(state.releases)
    return replace(
        state,
        streams=_with_stream(state, stream),
        releases=(*others, release),
        owes_report=state.owes_report or new,
    )


def _consigned(state: SiteState, event: Consigned, record: Record) -> SiteState:
    if event.number <= state.consignment:
        raise _impossible(record, f"consignment {event.number} after consignment {state.consignment}")
    acknowledged = state.acknowledged
    if event.acknowledged is not None and event.acknowledged_digest is not None:
        if event.acknowledged > state.report_seq:
            raise _impossible(record, f"report {event.acknowledged} acknowledged, {state.report_seq} is the last")
        acknowledged = max(acknowledged or (0, ""), (event.acknowledged, event.acknowledged_digest))
    new = tuple(
        Answered(event.number, one.request, one.handler, one.outcome, state.report_seq) for one in event.answers
    )
    told = acknowledged[0] if acknowledged else 0
    return replace(
        state,
        consignment=event.number,
        challenge=event.challenge,
        owes_report=True,
        acknowledged=acknowledged,
        newest=tuple((one.channel, one.mark) for one in event.newest),
        answered=(*(one for one in state.answered if one.after >= told), *new),
        authorisations=tuple(dict.fromkeys((*state.authorisations, *event.authorisations))),
    )


def _with_stream(state: SiteState, stream: Stream) -> tuple[Stream, ...]:
    return (*(one for one in state.streams if one.channel != stream.channel), stream)


def _said(event: Verdict, record: Record) -> Said:
    return Said(
        item=event.item,
        plan=event.plan,
        envelope=event.envelope,
        keyid=event.keyid,
        person=event.person,
        role=event.role,
        verdict=event.verdict,
        condition=event.condition,
        at=record.at,
        seq=record.seq,
    )


def _planned(state: SiteState, event: Planned, record: Record) -> SiteState:
    now = state.transaction
    # Only what never became visible may be replaced.
    if now is not None and now.state not in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        raise _impossible(record, f"planned in state {now.state}")
    if event.source != state.current:
        raise _impossible(record, f"planned from generation {event.source} while {state.current} runs")
    if event.action == "install" and event.target != state.next_generation:
        raise _impossible(record, f"generation {event.target} planned, {state.next_generation} is next")
    if event.action == "rollback" and state.generation(event.target) is None:
        raise _impossible(record, f"generation {event.target} does not exist")
    if now is not None and now.touched:
        raise _impossible(record, "planned while something is paused")
    if event.authorisation is not None and event.authorisation in state.spent:
        raise _impossible(record, "an authorisation is used again")
    planned = Transaction(planned=event, state=State.PLANNED, begun_at=record.at, seq=record.seq)
    return replace(state, transaction=planned)


def _asked(state: SiteState, now: Transaction, event: AskedAgain, record: Record) -> SiteState:
    if now.state != State.INCONSISTENT:
        raise _impossible(record, f"asked again in state {now.state}")
    if event.way == "forward":
        return replace(
            state, transaction=replace(now, state=State.SWITCHED, attempts=0, passed=False, asked=now.asked + 1)
        )
    # A rollback by hand that stopped over its data goes on with them; everything else goes back.
    to = State.MIGRATING if now.action == "rollback" and not now.switched else State.ROLLING_BACK
    state = _did(state, now.planned.document, Again())
    return replace(state, transaction=replace(now, state=to, asked=now.asked + 1))


def _did(state: SiteState, number: int, deed: Deed | Again) -> SiteState:
    others = tuple(one for one in state.deeds if one[0] != number)
    return replace(state, deeds=(*others, (number, (*state.deeds_of(number), deed)))) if number else state


def _intent(state: SiteState, now: Transaction, event: Intent, record: Record) -> SiteState:
    deed = _deed(event, record)
    if deed is not None:
        state = _did(state, now.planned.document, deed)
    if now.act is not None or event.act == "switch-back":
        step = event.step or event.act
        steps = (*(one for one in now.steps if one[0] != step), (step, "begun"))
        return replace(state, transaction=replace(now, steps=steps))
    move = MOVES.get((now.state, event.act))
    if move is None:
        raise _impossible(record, f"{event.act} begun in state {now.state}")
    if event.act == "stage" and now.action == "install":
        # Its backups are made anew.
        state = replace(state, deeds=tuple(one for one in state.deeds if one[0] != now.planned.document))
    moved = replace(
        now,
        act=event.act,
        part=event.step or "",
        state=move.during,
        steps=(),
        attempts=now.attempts + (event.act == "activate"),
        retreats=now.retreats + (event.act == "retreat"),
        touched=now.touched or event.act == "pause" or deed is not None,
        code=event.code or now.code,
    )
    return replace(state, transaction=moved)


def _deed(event: Intent | Outcome, record: Record) -> Deed | None:
    """What the entry says of a part of the rollback document, if it is about one."""
    act = next((one for one in PART_ACTS if one == event.act), None)
    if act is None:
        return None
    if event.step is None:
        raise _impossible(record, f"{event.act} of nothing")
    if isinstance(event, Intent):
        return Deed(act, event.step, "begun")
    return Deed(act, event.step, event.result, event.digest or "", event.size)


def _outcome(state: SiteState, now: Transaction, event: Outcome, record: Record, digest: str) -> SiteState:
    planned = now.planned
    if event.act == "switch-back":
        steps = (*(one for one in now.steps if one[0] != event.act), (event.act, event.result))
        state = replace(state, transaction=replace(now, steps=steps))
        if event.result != "done":
            return state
        state = _changed(state, record, digest)
        return replace(state, current=planned.source)
    deed = _deed(event, record)
    if deed is not None:
        state = _did(state, planned.document, deed)
    if event.step is not None and (now.act, now.part) != (event.act, event.step):
        steps = (*(one for one in now.steps if one[0] != event.step), (event.step, event.result))
        state = replace(state, transaction=replace(now, steps=steps))
        return _probed(state, event, event.step, record) if event.act == "probe" else state
    if now.act != event.act:
        raise _impossible(record, f"outcome of {event.act} without its intent")
    move = next(one for one in TABLE if one.act == event.act and one.during == now.state)
    after = move.done if event.result == "done" else move.failed
    if event.result == "interrupted" and event.act in ("activate", "probe"):
        # Not a failure of the release: the next process tries again, and counts the attempts.
        after = State.SWITCHED
    moved = replace(now, act=None, part="", state=after)
    if event.result != "done":
        moved = replace(moved, code=event.code, detail=event.detail)
    if event.act == "switch" and event.result != "done":
        moved = replace(moved, switches=now.switches + 1)
    if event.act == "pause" and event.result == "done":
        moved = replace(moved, paused=record.boot)
    if event.act == "resume" and event.result == "done":
        moved = replace(moved, touched=False, paused=None)
    if event.act == "probe" and event.result == "done":
        moved = replace(moved, passed=True)
    if event.act == "switch" and event.result == "done":
        moved = replace(moved, switched=True, touched=False, paused=None)
        if planned.authorisation is not None:
            state = replace(state, spent=(*state.spent, planned.authorisation))
        return _switched(replace(state, transaction=moved), now, record, digest)
    state = replace(state, transaction=moved)
    if after == State.ROLLED_BACK:
        return _rolled_back(state, moved, record, digest)
    if after in (State.PROBING, State.SETTLED, State.ROLLING_BACK):
        return _mark_generation(state, planned.target, after)
    return state


def _probed(state: SiteState, event: Outcome, probe: str, record: Record) -> SiteState:
    """A probe's result; its word is the outcome's code."""
    before = next((one.failures for one in state.health if one.probe == probe), 0)
    failures = 0 if event.code == "passing" else before + 1
    others = tuple(one for one in state.health if one.probe != probe)
    return replace(state, health=(*others, Health(probe, event.code, failures, record.at)))


def _switched(state: SiteState, now: Transaction, record: Record, digest: str) -> SiteState:
    planned = now.planned
    known = state.generation(planned.target)
    if known is not None:
        # Going back to a generation does not make it another one.
        generation = replace(known, state=State.SWITCHED, since=record.at, seq=record.seq)
    else:
        generation = _generation(now, record)
    others = (
        replace(one, taken_back=True) if planned.action == "rollback" and one.number == planned.document else one
        for one in state.generations
        if one.number != planned.target
    )
    generations = tuple(sorted((*others, generation), key=lambda one: one.number))
    installs = state.installs + (now.action == "install")
    state = _changed(state, record, digest)
    return replace(state, generations=generations, current=planned.target, installs=installs, health=())


def _generation(now: Transaction, record: Record) -> Generation:
    planned = now.planned
    return Generation(
        number=planned.target,
        state=State.SWITCHED,
        source=planned.source,
        release=planned.release,
        product=planned.product,
        version=planned.version,
        channel=planned.channel,
        mark=planned.mark,
        floor=planned.floor,
        config=planned.config,
        config_version=planned.config_version,
        settings=planned.settings,
        contract=planned.contract,
        policy=planned.policy,
        plan=planned.plan,
        kinds=planned.kinds,
        approvals=now.approvals,
        since=record.at,
        seq=record.seq,
        outside_window=planned.outside_window is not None,
    )


def _confirmed(state: SiteState, now: Transaction, event: Confirmed, record: Record) -> SiteState:
    if now.state != State.PROBING or event.generation != now.planned.target:
        raise _impossible(record, f"generation {event.generation} confirmed in state {now.state}")
    stream = state.stream_of(now.planned.channel)
    if stream is None:
        raise _impossible(record, "a channel was confirmed that was never received")
    if stream.floor is not None and event.floor < stream.floor:
        raise _impossible(record, "the floor falls")
    state = replace(
        state,
        transaction=replace(now, state=State.CONFIRMED, act=None),
        streams=_with_stream(state, replace(stream, floor=event.floor)),
        contract=now.planned.contract,
        time_floor=max(filter(None, (state.time_floor, event.time_floor)), default=None),
        time_claimed=event.claimed or state.time_claimed,
    )
    state = _mark_generation(state, event.generation, State.CONFIRMED)
    generations = tuple(
        replace(one, confirmed=state.ran) if one.number == event.generation else one for one in state.generations
    )
    state = replace(state, generations=generations)
    if now.action == "rollback":
        by = now.planned.authorisation
        left = RolledBack(now.planned.source, now.planned.target, False, "by-hand", record.at, record.seq, by)
        state = replace(state, rollbacks=(*state.rollbacks, left))
    return state


def _rolled_back(state: SiteState, now: Transaction, record: Record, digest: str) -> SiteState:
    planned = now.planned
    code = now.code or "failed"
    spent = planned.authorisation if now.switched else None
    back = RolledBack(planned.target, planned.source, code != "by-hand", code, record.at, record.seq, spent)
    moved = replace(now, touched=False, paused=None)
    state = _changed(state, record, digest)
    state = replace(state, transaction=moved, rollbacks=(*state.rollbacks, back))
    if state.generation(planned.target) is None:
        # It changed data and never ran: its number is used up all the same, and so are its approvals.
        state = replace(state, generations=(*state.generations, _generation(now, record)))
    # A rollback by hand that failed its own probes leaves an older generation as good as it was before.
    kept = State.SETTLED if now.action == "rollback" else State.ROLLED_BACK
    return _mark_generation(state, planned.target, kept)


def _mark_generation(state: SiteState, number: int, to: State) -> SiteState:
    generations = tuple(replace(one, state=to) if one.number == number else one for one in state.generations)
    return replace(state, generations=generations)


def _impossible(record: Record, problem: str) -> UntrustedError:
    return UntrustedError(
        f"entry {record.seq}: {problem}",
        where="journal",
        remedy="the journal was edited or damaged; keep the folder as it is and tell support",
        finding="journal-impossible",
    )


def empty_journal() -> UntrustedError:
    return UntrustedError(
        "the journal is empty",
        where="journal",
        remedy="restore the folder from a backup, or enroll anew; tell support either way",
        finding="journal-empty",
    )
