"""Journal entries about a transaction, applied to the state."""

from dataclasses import replace
from datetime import datetime

from manifests.words.errors import MalformedError, UntrustedError
from manifests.words.time import parse_time
from verifier.rules.emergency import Use
from verifier.site.journal.events import (
    Approved,
    AskedAgain,
    Confirmed,
    Event,
    Inconsistent,
    Intent,
    Outcome,
    Planned,
    Record,
)
from verifier.site.journal.state import Generation, Health, RolledBack, SiteState, Stream, Transaction
from verifier.site.journal.transitions import BEFORE_CHANGE, MOVES, PART_ACTS, TABLE, PartRecord, RetryRequested, State


def apply_to_transaction(state: SiteState, event: Event, record: Record, digest: str) -> SiteState:
    now = state.installs.transaction
    if now is None:
        raise impossible_entry(record, "nothing was planned")
    match event:
        case Approved():
            if now.state != State.PLANNED:
                raise impossible_entry(record, f"approved in state {now.state}")
            return apply_approved(state, now, event)
        case Intent():
            return _intent(state, now, event, record)
        case Outcome():
            return _outcome(state, now, event, record, digest)
        case Confirmed():
            return _confirmed(state, now, event, record)
        case Inconsistent():
            failed = replace(now, state=State.INCONSISTENT, act=None, code=event.code, detail=event.detail)
            return _mark_generation(
                replace(state, installs=replace(state.installs, transaction=failed)),
                now.planned.target,
                State.INCONSISTENT,
            )
        case AskedAgain():
            return _asked(state, now, event, record)
        case _:
            raise AssertionError(event)


def record_change(state: SiteState, record: Record, digest: str) -> SiteState:
    """Plans that were made before this entry are no longer what would be done."""
    return replace(state, last_change=digest, last_change_seq=record.seq, last_change_at=state.last_at)


def apply_approved(state: SiteState, now: Transaction, event: Approved) -> SiteState:
    approved = replace(now, state=State.APPROVED, approvals=event.approvals, rule=event.rule or "")
    state = replace(state, installs=replace(state.installs, transaction=approved))
    if event.rule is None:
        return state
    use = Use(now.planned.policy, event.rule, now.planned.plan, now.planned.release, state.last_at)
    return replace(state, trust=replace(state.trust, uses=(*state.trust.uses, use)))


def replace_stream(state: SiteState, stream: Stream) -> tuple[Stream, ...]:
    return (*(one for one in state.installs.streams if one.channel != stream.channel), stream)


def apply_planned(state: SiteState, event: Planned, record: Record) -> SiteState:
    now = state.installs.transaction
    # Only what never became visible may be replaced.
    if now is not None and now.state not in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        raise impossible_entry(record, f"planned in state {now.state}")
    if event.source != state.installs.current:
        raise impossible_entry(record, f"planned from generation {event.source} while {state.installs.current} runs")
    if event.action == "install" and event.target != state.installs.next_generation:
        raise impossible_entry(record, f"generation {event.target} planned, {state.installs.next_generation} is next")
    if event.action == "rollback" and state.installs.generation(event.target) is None:
        raise impossible_entry(record, f"generation {event.target} does not exist")
    if now is not None and now.touched:
        raise impossible_entry(record, "planned while something is paused")
    if event.authorisation is not None and event.authorisation in state.trust.spent:
        raise impossible_entry(record, "an authorisation is used again")
    planned = Transaction(planned=event, state=State.PLANNED, begun_at=state.last_at, seq=record.seq)
    return replace(state, installs=replace(state.installs, transaction=planned))


def _asked(state: SiteState, now: Transaction, event: AskedAgain, record: Record) -> SiteState:
    if now.state != State.INCONSISTENT:
        raise impossible_entry(record, f"asked again in state {now.state}")
    if event.way == "forward":
        return replace(
            state,
            installs=replace(
                state.installs,
                transaction=replace(now, state=State.SWITCHED, attempts=0, passed=False, asked=now.asked + 1),
            ),
        )
    # A rollback by hand that stopped over its data goes on with them; everything else goes back.
    to = State.MIGRATING if now.action == "rollback" and not now.switched else State.ROLLING_BACK
    state = _did(state, now.planned.document, RetryRequested())
    return replace(state, installs=replace(state.installs, transaction=replace(now, state=to, asked=now.asked + 1)))


def _did(state: SiteState, number: int, deed: PartRecord | RetryRequested) -> SiteState:
    others = tuple(one for one in state.installs.deeds if one[0] != number)
    return (
        replace(
            state, installs=replace(state.installs, deeds=(*others, (number, (*state.installs.deeds_of(number), deed))))
        )
        if number
        else state
    )


def _intent(state: SiteState, now: Transaction, event: Intent, record: Record) -> SiteState:
    deed = _deed(event, record)
    if deed is not None:
        state = _did(state, now.planned.document, deed)
    if now.act is not None or event.act == "switch-back":
        step = event.step or event.act
        steps = (*(one for one in now.steps if one[0] != step), (step, "begun"))
        return replace(state, installs=replace(state.installs, transaction=replace(now, steps=steps)))
    move = MOVES.get((now.state, event.act))
    if move is None:
        raise impossible_entry(record, f"{event.act} begun in state {now.state}")
    if event.act == "stage" and now.action == "install":
        # Its backups are made anew.
        state = replace(
            state,
            installs=replace(
                state.installs, deeds=tuple(one for one in state.installs.deeds if one[0] != now.planned.document)
            ),
        )
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
    return replace(state, installs=replace(state.installs, transaction=moved))


def _deed(event: Intent | Outcome, record: Record) -> PartRecord | None:
    """What the entry says of a part of the rollback document, if it is about one."""
    act = next((one for one in PART_ACTS if one == event.act), None)
    if act is None:
        return None
    if event.step is None:
        raise impossible_entry(record, f"{event.act} of nothing")
    if isinstance(event, Intent):
        return PartRecord(act, event.step, "begun")
    return PartRecord(act, event.step, event.result, event.digest or "", event.size)


def _outcome(state: SiteState, now: Transaction, event: Outcome, record: Record, digest: str) -> SiteState:
    planned = now.planned
    if event.act == "switch-back":
        steps = (*(one for one in now.steps if one[0] != event.act), (event.act, event.result))
        state = replace(state, installs=replace(state.installs, transaction=replace(now, steps=steps)))
        if event.result != "done":
            return state
        state = record_change(state, record, digest)
        return replace(state, installs=replace(state.installs, current=planned.source))
    deed = _deed(event, record)
    if deed is not None:
        state = _did(state, planned.document, deed)
    if event.step is not None and (now.act, now.part) != (event.act, event.step):
        steps = (*(one for one in now.steps if one[0] != event.step), (event.step, event.result))
        state = replace(state, installs=replace(state.installs, transaction=replace(now, steps=steps)))
        return _probed(state, event, event.step) if event.act == "probe" else state
    if now.act != event.act:
        raise impossible_entry(record, f"outcome of {event.act} without its intent")
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
            state = replace(state, trust=replace(state.trust, spent=(*state.trust.spent, planned.authorisation)))
        return _switched(replace(state, installs=replace(state.installs, transaction=moved)), now, record, digest)
    state = replace(state, installs=replace(state.installs, transaction=moved))
    if after == State.ROLLED_BACK:
        return _rolled_back(state, moved, record, digest)
    if after in (State.PROBING, State.SETTLED, State.ROLLING_BACK):
        return _mark_generation(state, planned.target, after)
    return state


def _probed(state: SiteState, event: Outcome, probe: str) -> SiteState:
    """A probe's result; its word is the outcome's code."""
    before = next((one.failures for one in state.installs.health if one.probe == probe), 0)
    failures = 0 if event.code == "passing" else before + 1
    others = tuple(one for one in state.installs.health if one.probe != probe)
    return replace(
        state, installs=replace(state.installs, health=(*others, Health(probe, event.code, failures, state.last_at)))
    )


def _switched(state: SiteState, now: Transaction, record: Record, digest: str) -> SiteState:
    planned = now.planned
    known = state.installs.generation(planned.target)
    if known is not None:
        # Going back to a generation does not make it another one.
        generation = replace(known, state=State.SWITCHED, since=state.last_at, seq=record.seq)
    else:
        generation = _generation(now, state.last_at, record.seq)
    others = (
        replace(one, taken_back=True) if planned.action == "rollback" and one.number == planned.document else one
        for one in state.installs.generations
        if one.number != planned.target
    )
    generations = tuple(sorted((*others, generation), key=lambda one: one.number))
    installs = state.trust.installs_since + (now.action == "install")
    state = record_change(state, record, digest)
    return replace(
        state,
        trust=replace(state.trust, installs_since=installs),
        installs=replace(state.installs, generations=generations, current=planned.target, health=()),
    )


def _generation(now: Transaction, since: datetime, seq: int) -> Generation:
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
        since=since,
        seq=seq,
        outside_window=planned.outside_window is not None,
    )


def _confirmed(state: SiteState, now: Transaction, event: Confirmed, record: Record) -> SiteState:
    if now.state != State.PROBING or event.generation != now.planned.target:
        raise impossible_entry(record, f"generation {event.generation} confirmed in state {now.state}")
    stream = state.installs.stream_of(now.planned.channel)
    if stream is None:
        raise impossible_entry(record, "a channel was confirmed that was never received")
    if stream.floor is not None and event.floor < stream.floor:
        raise impossible_entry(record, "the floor falls")
    floor = entry_time(record, event.time_floor) if event.time_floor else None
    claimed = entry_time(record, event.claimed) if event.claimed else None
    state = replace(
        state,
        trust=replace(
            state.trust,
            time_floor=max(filter(None, (state.trust.time_floor, floor)), default=None),
            time_claimed=claimed or state.trust.time_claimed,
        ),
        installs=replace(
            state.installs,
            transaction=replace(now, state=State.CONFIRMED, act=None),
            streams=replace_stream(state, replace(stream, floor=event.floor)),
            contract=now.planned.contract,
        ),
    )
    state = _mark_generation(state, event.generation, State.CONFIRMED)
    generations = tuple(
        replace(one, confirmed=state.ran) if one.number == event.generation else one
        for one in state.installs.generations
    )
    state = replace(state, installs=replace(state.installs, generations=generations))
    if now.action == "rollback":
        by = now.planned.authorisation
        left = RolledBack(now.planned.source, now.planned.target, False, "by-hand", state.last_at, record.seq, by)
        state = replace(state, installs=replace(state.installs, rollbacks=(*state.installs.rollbacks, left)))
    return state


def _rolled_back(state: SiteState, now: Transaction, record: Record, digest: str) -> SiteState:
    planned = now.planned
    code = now.code or "failed"
    spent = planned.authorisation if now.switched else None
    back = RolledBack(planned.target, planned.source, code != "by-hand", code, state.last_at, record.seq, spent)
    moved = replace(now, touched=False, paused=None)
    state = record_change(state, record, digest)
    state = replace(
        state, installs=replace(state.installs, transaction=moved, rollbacks=(*state.installs.rollbacks, back))
    )
    if state.installs.generation(planned.target) is None:
        # It changed data and never ran: its number is used up all the same, and so are its approvals.
        state = replace(
            state,
            installs=replace(
                state.installs, generations=(*state.installs.generations, _generation(now, state.last_at, record.seq))
            ),
        )
    # A rollback by hand that failed its own probes leaves an older generation as good as it was before.
    kept = State.SETTLED if now.action == "rollback" else State.ROLLED_BACK
    return _mark_generation(state, planned.target, kept)


def _mark_generation(state: SiteState, number: int, to: State) -> SiteState:
    generations = tuple(replace(one, state=to) if one.number == number else one for one in state.installs.generations)
    return replace(state, installs=replace(state.installs, generations=generations))


def entry_time(record: Record, text: str) -> datetime:
    """Parse a time of an entry; raise UntrustedError for a day or an hour that does not exist."""
    try:
        return parse_time(text)
    except MalformedError as error:
        raise impossible_entry(record, error.problem) from None


def impossible_entry(record: Record, problem: str) -> UntrustedError:
    return UntrustedError(
        f"entry {record.seq}: {problem}",
        where="journal",
        remedy="the journal was edited or damaged; keep the folder as it is and tell support",
        finding="journal-impossible",
    )
