"""Compute the state of a site from its journal, and from nothing else."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from manifests.words.errors import UntrustedError
from verifier.site.journal import events
from verifier.site.journal.fold_requests import apply_to_handlers, close_windows, received_requests, restart_windows
from verifier.site.journal.fold_transaction import (
    apply_planned,
    apply_to_transaction,
    copy_fields,
    entry_time,
    record_change,
    replace_stream,
    set_transaction,
)
from verifier.site.journal.installs import ReceivedRelease, Stream
from verifier.site.journal.state import (
    NO_ROOT,
    FormerKey,
    Offboarding,
    Proposal,
    RecordedVerdict,
    ReportState,
    SiteState,
    TrustState,
    impossible_entry,
)
from verifier.site.journal.transitions import TRIAL

if TYPE_CHECKING:
    from dataclasses import replace  # the same call; the type checker knows the fields of this one
else:
    from msgspec.structs import replace


def fold(records: Iterable[tuple[str, events.Record]], state: SiteState | None = None) -> SiteState:
    """Return the state after all ``records``, each with the digest of its line; ``state`` is the one before them.

    Raises:
        UntrustedError: The entries contradict each other, such as a switch that was never planned.
    """
    for digest, record in records:
        state = apply(state, record, digest)
    if state is None:
        raise empty_journal()
    return state


def apply(state: SiteState | None, record: events.Record, digest: str) -> SiteState:
    """Return the state after one more record."""
    event = record.event
    if isinstance(event, events.Enrolled):
        if state is not None:
            raise impossible_entry(record, "a second enrolment")
        return _enrolled(event, record, digest)
    if state is None:
        raise impossible_entry(record, "the first entry is not the enrolment")
    at = entry_time(record, record.at)
    elapsed = state.elapsed(record.boot, record.uptime)
    state = replace(
        state,
        head=digest,
        seq=record.seq,
        last_at=at,
        clock_back=state.clock_back + (at < state.last_at),
        boot=record.boot,
        uptime=record.uptime,
        ran=state.ran + elapsed,
    )
    transaction = state.installs.transaction
    if transaction is not None and transaction.state in TRIAL:
        state = set_transaction(state, replace(transaction, running=transaction.running + elapsed))
    return _apply(state, event, record, digest)


def _apply(state: SiteState, event: events.Event, record: events.Record, digest: str) -> SiteState:
    """Apply an entry by its kind; one that is not about the site as a whole is about a transaction."""
    trust, reports = state.trust, state.reports
    match event:
        case events.PolicyInForce() | events.RootInForce() | events.RootReplaced() | events.RevocationsInForce():
            return _trusted(record_change(state, record, digest), event, record)
        case events.OffboardAsked() | events.Offboarded() | events.Tried() | events.OffboardDone():
            return _offboarding(state, event, record)
        case events.KeyRotated():
            return _rotated(state, event, record)
        case events.KeyRenewed():
            return _renewed(state, event, record)
        case events.Proposed():
            others = tuple(one for one in trust.proposed if one.item != event.item)
            proposal = Proposal(event.item, event.subject, event.account, state.last_at)
            return replace(state, trust=replace(trust, proposed=(*others, proposal)))
        case events.TimeAcknowledged():
            floor = max(filter(None, (trust.time_floor, entry_time(record, event.time))))
            return replace(state, trust=replace(trust, time_floor=floor, time_claimed=None))
        case events.Received():
            return _received(state, event, record)
        case events.Consigned():
            return _consigned(state, event, record)
        case events.Alarm():
            return replace(state, alarms=(*state.alarms, event), reports=replace(reports, owed=True))
        case events.Verdict():
            verdict = copy_fields(event, RecordedVerdict, at=state.last_at)
            return replace(state, trust=replace(trust, verdicts=(*trust.verdicts, verdict)))
        case events.Reported():
            return _reported(state, event, record)
        case events.Torn():
            return replace(state, torn=state.torn + 1)
        case events.Note(code="medium-damaged" | "medium-unreadable" as problem):
            return replace(state, reports=replace(reports, medium=(problem, state.last_at), owed=True))
        case events.Note(code="exported"):
            return replace(state, reports=replace(reports, left=reports.head, left_at=state.last_at))
        case events.Note():
            return state
        case events.HandlerAsked() | events.RequestRefused() | events.HandlerBegan() | events.HandlerEnded():
            return apply_to_handlers(state, event, record)
        case events.Planned():
            return apply_planned(state, event, record)
        case _:
            return apply_to_transaction(state, event, record, digest)


def _trusted(state: SiteState, event: events.TrustEvent, record: events.Record) -> SiteState:
    """Put a policy, a root or a revocation list in force. Versions only rise, except for a root replaced on paper."""
    trust = state.trust
    match event:
        case events.PolicyInForce():
            if event.number <= trust.policy_number:
                raise impossible_entry(record, f"policy {event.number} after policy {trust.policy_number}")
            proposed = tuple(one for one in trust.proposed if one.item != "policy")
            trust = replace(trust, policies=(*trust.policies, event), installs_since=0, proposed=proposed)
            return replace(state, trust=trust)
        case events.RootReplaced():
            trust = replace(trust, root=event.pin, root_line=trust.root_line + 1, root_reason=event.reason)
            return replace(state, trust=trust)
        case events.RootInForce():
            if event.pin.version <= trust.root.version:
                raise impossible_entry(record, f"root {event.pin.version} after root {trust.root.version}")
            trust = replace(trust, root=event.pin)
        case events.RevocationsInForce():
            if trust.revocations is not None and event.version <= trust.revocations[0]:
                raise impossible_entry(record, f"revocation list {event.version} after list {trust.revocations[0]}")
            trust = replace(trust, revocations=(event.version, event.digest))
    return replace(state, trust=trust, reports=replace(state.reports, owed=True))


def _enrolled(event: events.Enrolled, record: events.Record, digest: str) -> SiteState:
    at = entry_time(record, record.at)
    return SiteState(
        site=event.site,
        enrolled_channel=event.channel,
        site_key=event.site_key,
        key_epoch=event.key_epoch,
        head=digest,
        seq=record.seq,
        last_change=digest,
        last_change_seq=record.seq,
        last_change_at=at,
        last_at=at,
        trust=TrustState(
            vendor=event.vendor,
            practice=event.practice,
            root=event.root,
            minimum=(event.channel, event.minimum) if event.minimum else None,
        ),
        reports=ReportState(enrolment=event.enrolment, line=event.key_epoch),
    )


def _rotated(state: SiteState, event: events.KeyRotated, record: events.Record) -> SiteState:
    if event.key_epoch != state.key_epoch + 1 or event.key == state.site_key:
        raise impossible_entry(record, f"key {event.key_epoch} after key {state.key_epoch}")
    former = FormerKey(state.site_key, state.reports.seq, event.rotation)
    return replace(
        state,
        site_key=event.key,
        key_epoch=event.key_epoch,
        reports=replace(state.reports, former_keys=(*state.reports.former_keys, former), owed=True),
    )


def _renewed(state: SiteState, event: events.KeyRenewed, record: events.Record) -> SiteState:
    """Start the reports again: support cannot know which of the former ones this folder wrote."""
    if event.key_epoch <= state.key_epoch or event.key == state.site_key:
        raise impossible_entry(record, f"key {event.key_epoch} after key {state.key_epoch}")
    return replace(
        state,
        site_key=event.key,
        key_epoch=event.key_epoch,
        boot=record.boot,
        uptime=record.uptime,
        reports=replace(
            state.reports,
            enrolment=event.enrolment,
            line=event.key_epoch,
            former_keys=(),
            seq=0,
            head=None,
            acknowledged=None,
            challenge=None,
            answered=restart_windows(state.reports.answered),
            used=restart_windows(state.reports.used),
            owed=True,
        ),
    )


def _offboarding(state: SiteState, event: events.OffboardingEvent, record: events.Record) -> SiteState:
    """Record the next step of the end of the vendor's access: requested, in force, tried, complete."""
    offboarding = state.offboarding
    if isinstance(event, events.OffboardAsked):
        if state.offboarded:
            raise impossible_entry(record, "an end of the access was requested after the end")
        return replace(state, offboarding=Offboarding(asked=event, asked_at=state.last_at))
    if offboarding is None or state.offboarded == isinstance(event, events.Offboarded) or offboarding.ended is not None:
        raise impossible_entry(record, f"{event.__struct_config__.tag} before its request, or twice")
    match event:
        case events.Offboarded():
            done = replace(
                offboarding,
                done=event,
                done_at=state.last_at,
                root=state.trust.root,
            )
            return replace(
                state,
                offboarding=done,
                # The list stays: it still says what is revoked of what runs. Without a root, none can replace it.
                trust=replace(state.trust, root=NO_ROOT),
                reports=replace(state.reports, owed=True),
            )
        case events.Tried():
            return replace(state, offboarding=replace(offboarding, tried=(*offboarding.tried, event)))
        case events.OffboardDone():
            return replace(state, offboarding=replace(offboarding, ended=event))


def _reported(state: SiteState, event: events.Reported, record: events.Record) -> SiteState:
    """Record a report; the first one after the end of the vendor's access is the final one."""
    if event.seq <= state.reports.seq:
        raise impossible_entry(record, f"report {event.seq} after report {state.reports.seq}")
    offboarding = state.offboarding
    if offboarding is not None and offboarding.done is not None and offboarding.final is None:
        offboarding = replace(offboarding, final=event.seq)
    answered = close_windows(state.reports.answered, event.seq)
    # A window that this report closed is in the next one only.
    owed = answered != state.reports.answered
    reports = replace(state.reports, seq=event.seq, head=event.digest, at=state.last_at, owed=owed, answered=answered)
    return replace(state, reports=reports, offboarding=offboarding)


def _received(state: SiteState, event: events.Received, record: events.Record) -> SiteState:
    """Record a release that was verified; the mark of its stream only rises."""
    known = state.installs.stream_of(event.channel)
    used = known.used if known else ()
    stream = Stream(
        channel=event.channel,
        mark=max(known.mark, event.mark) if known else event.mark,
        floor=known.floor if known else None,
        used=used if (event.mark, event.release) in used else (*used, (event.mark, event.release)),
    )
    received_by = record.actor.sudo or record.actor.account
    release = copy_fields(event, ReceivedRelease, received_at=state.last_at, received_by=received_by, seq=record.seq)
    others = tuple(one for one in state.installs.releases if one.release != event.release)
    new = len(others) == len(state.installs.releases)
    return replace(
        state,
        reports=replace(state.reports, owed=state.reports.owed or new, medium=None),
        installs=replace(state.installs, streams=replace_stream(state, stream), releases=(*others, release)),
    )


def _consigned(state: SiteState, event: events.Consigned, record: events.Record) -> SiteState:
    """Record a consignment: acknowledgement, newest releases, answers, authorisations."""
    if event.number <= state.reports.consignment:
        raise impossible_entry(record, f"consignment {event.number} after consignment {state.reports.consignment}")
    acknowledged = state.reports.acknowledged
    if event.acknowledged is not None and event.acknowledged_digest is not None:
        if event.acknowledged > state.reports.seq:
            raise impossible_entry(record, f"report {event.acknowledged} acknowledged, {state.reports.seq} is the last")
        acknowledged = max(acknowledged or (0, ""), (event.acknowledged, event.acknowledged_digest))
    new = received_requests(state, event, record)
    # An answer is kept until a report that contains it is acknowledged, and a request while it can be run.
    oldest = acknowledged[0] if acknowledged else 0
    unreported = tuple(one for one in state.reports.answered if one.outcome == "waiting" or one.after >= oldest)
    return replace(
        state,
        reports=replace(
            state.reports,
            consignment=event.number,
            challenge=event.challenge,
            owed=True,
            acknowledged=acknowledged,
            answered=(*unreported, *new),
            used=tuple(one for one in state.reports.used if one.after >= oldest),
        ),
        trust=replace(
            state.trust,
            newest=tuple((one.channel, one.mark) for one in event.newest),
            authorisations=tuple(dict.fromkeys((*state.trust.authorisations, *event.authorisations))),
        ),
    )


def empty_journal() -> UntrustedError:
    return UntrustedError(
        "the journal is empty",
        where="journal",
        remedy="restore the folder from a backup, or enroll a new site; report this to support in both cases",
        finding="journal-empty",
    )
