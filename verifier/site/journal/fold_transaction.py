"""Apply journal entries about a transaction to the state."""

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from manifests.documents.report import ProbeState
from manifests.words.canonical import Document
from manifests.words.errors import MalformedError
from manifests.words.time import parse_time
from verifier.rules.emergency_uses import Use
from verifier.site.journal import events
from verifier.site.journal.installs import (
    PART_ACTS,
    Generation,
    Health,
    PartRecord,
    RetryRequested,
    RolledBack,
    State,
    Stream,
    Transaction,
)
from verifier.site.journal.state import SiteState, impossible_entry
from verifier.site.journal.transitions import BEFORE_CHANGE, MOVES, TABLE

if TYPE_CHECKING:
    from dataclasses import replace  # the same call; the type checker knows the fields of this one
else:
    from msgspec.structs import replace

T = TypeVar("T")


def apply_to_transaction(state: SiteState, event: events.Event, record: events.Record, digest: str) -> SiteState:
    """Apply an entry that needs a transaction."""
    transaction = state.installs.transaction
    if transaction is None:
        raise impossible_entry(record, "nothing was planned")
    match event:
        case events.Approved():
            return _approved(state, transaction, event, record)
        case events.Intent():
            return _intent(state, transaction, event, record)
        case events.Outcome():
            return _outcome(state, transaction, event, record, digest)
        case events.Confirmed():
            return _confirmed(state, transaction, event, record)
        case events.Inconsistent():
            detail = event.detail or None
            ended = replace(transaction, state=State.INCONSISTENT, act=None, code=event.code, detail=detail)
            return _mark_generation(set_transaction(state, ended), transaction.planned.target, State.INCONSISTENT)
        case events.AskedAgain():
            return _retry_requested(state, transaction, event, record)
        case _:
            raise AssertionError(event)


def copy_fields(event: Document, into: type[T], **others: object) -> T:
    """Return an ``into`` with the event's fields of the same name, and ``others``."""
    shared = {name: getattr(event, name) for name in event.__struct_fields__ if name in into.__annotations__}
    return into(**(shared | others))


def set_transaction(state: SiteState, transaction: Transaction) -> SiteState:
    """Return the state with this transaction in place of the one before."""
    return replace(state, installs=replace(state.installs, transaction=transaction))


def record_change(state: SiteState, record: events.Record, digest: str) -> SiteState:
    """Record an entry that makes earlier plans invalid."""
    return replace(state, last_change=digest, last_change_seq=record.seq, last_change_at=state.last_at)


def replace_stream(state: SiteState, stream: Stream) -> tuple[Stream, ...]:
    """Return the streams with this one in place of the one of its channel."""
    return (*(one for one in state.installs.streams if one.channel != stream.channel), stream)


def apply_planned(state: SiteState, event: events.Planned, record: events.Record) -> SiteState:
    """Open a transaction."""
    before, installs = state.installs.transaction, state.installs
    # A transaction may be replaced only before it has a visible effect.
    if before is not None and before.state not in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        raise impossible_entry(record, f"planned in state {before.state}")
    if event.source != installs.current:
        raise impossible_entry(record, f"planned from generation {event.source} while {installs.current} runs")
    if event.action == "install" and event.target != installs.next_generation:
        raise impossible_entry(record, f"generation {event.target} planned, {installs.next_generation} is next")
    if event.action == "rollback" and installs.generation(event.target) is None:
        raise impossible_entry(record, f"generation {event.target} does not exist")
    if before is not None and before.touched:
        raise impossible_entry(record, "planned while something is paused")
    if event.authorisation is not None and event.authorisation in state.trust.spent:
        raise impossible_entry(record, "an authorisation is used again")
    return set_transaction(state, Transaction(event, State.PLANNED))


def _approved(state: SiteState, transaction: Transaction, event: events.Approved, record: events.Record) -> SiteState:
    if transaction.state != State.PLANNED:
        raise impossible_entry(record, f"approved in state {transaction.state}")
    state = set_transaction(state, replace(transaction, state=State.APPROVED, approvals=event.approvals))
    if event.rule is None:
        return state
    planned = transaction.planned
    use = Use(planned.policy, event.rule, planned.plan, planned.release, state.last_at)
    return replace(state, trust=replace(state.trust, uses=(*state.trust.uses, use)))


def _retry_requested(
    state: SiteState, transaction: Transaction, event: events.AskedAgain, record: events.Record
) -> SiteState:
    if transaction.state != State.INCONSISTENT:
        raise impossible_entry(record, f"retry requested in state {transaction.state}")
    transaction = replace(transaction, asked=transaction.asked + 1)
    if event.way == "forward":
        return set_transaction(state, replace(transaction, state=State.SWITCHED, attempts=0, passed=False))
    # A rollback by hand that stopped before its switch continues with the data; everything else goes back.
    resumes = transaction.action == "rollback" and not transaction.switched
    state = _add_part(state, transaction.planned.document, RetryRequested())
    return set_transaction(state, replace(transaction, state=State.MIGRATING if resumes else State.ROLLING_BACK))


def _add_part(state: SiteState, number: int, part: PartRecord | RetryRequested) -> SiteState:
    """Add to the history of the rollback document that generation ``number`` brought; 0 is no generation."""
    if not number:
        return state
    others = tuple(one for one in state.installs.histories if one[0] != number)
    history = (*state.installs.part_history(number), part)
    return replace(state, installs=replace(state.installs, histories=(*others, (number, history))))


def _set_step(state: SiteState, transaction: Transaction, step: str, result: str) -> SiteState:
    steps = (*(one for one in transaction.steps if one[0] != step), (step, result))
    return set_transaction(state, replace(transaction, steps=steps))


def _intent(state: SiteState, transaction: Transaction, event: events.Intent, record: events.Record) -> SiteState:
    """Begin an act of the table, a part of one, or a driver step of the current act."""
    part = _part_record(event, record)
    if part is not None:
        state = _add_part(state, transaction.planned.document, part)
    if transaction.act is not None or event.act == "switch-back":
        return _set_step(state, transaction, event.step or event.act, "begun")
    move = MOVES.get((transaction.state, event.act))
    if move is None:
        raise impossible_entry(record, f"{event.act} begun in state {transaction.state}")
    if event.act == "stage" and transaction.action == "install":
        # Staging makes new backups, so the history of an earlier attempt is no longer true.
        histories = tuple(one for one in state.installs.histories if one[0] != transaction.planned.document)
        state = replace(state, installs=replace(state.installs, histories=histories))
    return set_transaction(
        state,
        replace(
            transaction,
            act=event.act,
            part=event.step,
            state=move.during,
            steps=(),
            attempts=transaction.attempts + (event.act == "activate"),
            retreats=transaction.retreats + (event.act == "retreat"),
            touched=transaction.touched or event.act == "pause" or part is not None,
            code=event.code or transaction.code,
        ),
    )


def _part_record(event: events.Intent | events.Outcome, record: events.Record) -> PartRecord | None:
    """Return the record of a part of the rollback document; None when the entry is about no part."""
    act = next((one for one in PART_ACTS if one == event.act), None)
    if act is None:
        return None
    if event.step is None:
        raise impossible_entry(record, f"{event.act} without the name of a part")
    if isinstance(event, events.Intent):
        return PartRecord(act, event.step, "begun")
    return PartRecord(act, event.step, event.result, event.digest, event.size, event.proof)


def _outcome(
    state: SiteState, transaction: Transaction, event: events.Outcome, record: events.Record, digest: str
) -> SiteState:
    """End an act, or a driver step of the current act."""
    planned = transaction.planned
    if event.act == "switch-back":
        state = _set_step(state, transaction, event.act, event.result)
        if event.result != "done":
            return state
        state = record_change(state, record, digest)
        return _switched_back(state, planned.source)
    part = _part_record(event, record)
    if part is not None:
        state = _add_part(state, planned.document, part)
    transaction = _note_failure(transaction, event)
    if event.step is not None and (transaction.act, transaction.part) != (event.act, event.step):
        # One driver step has ended; its act goes on. A rollback runs the probes of the generation that it returns to.
        state = _set_step(state, transaction, event.step, event.result)
        return _probed(state, event, state.installs.current, event.step) if event.act == "probe" else state
    if transaction.act != event.act:
        raise impossible_entry(record, f"outcome of {event.act} without its intent")
    move = next(one for one in TABLE if one.act == event.act and one.during == transaction.state)
    after = move.done if event.result == "done" else move.failed
    if event.result == "interrupted" and event.act in ("activate", "probe"):
        # The process ended, not the release: the next process tries again, and counts the attempts.
        after = State.SWITCHED
    ended = _end_act(transaction, event, after, record.boot)
    state = set_transaction(state, ended)
    if event.act == "switch" and event.result == "done":
        return _switched(state, ended, record, digest)
    if after == State.ROLLED_BACK:
        return _rolled_back(state, ended, record, digest)
    if after in (State.PROBING, State.SETTLED, State.ROLLING_BACK):
        return _mark_generation(state, planned.target, after)
    return state


def _note_failure(transaction: Transaction, event: events.Outcome) -> Transaction:
    """Remember a failure on the way forward; an act ends after its step, whose name is kept."""
    backwards = event.act in ("undo", "restore", "resume", "retreat", "switch-back", "deactivate", "reactivate")
    if event.result == "done" or backwards or transaction.act == "retreat":
        return transaction
    known = transaction.failed
    step = event.step or (known[1] if known is not None and known[0] == event.act else None)
    return replace(transaction, failed=(event.act, step, event.code))


def _end_act(transaction: Transaction, event: events.Outcome, after: State, boot: str) -> Transaction:
    """Return the transaction after its act has ended in state ``after``."""
    ended = replace(transaction, act=None, part=None, state=after)
    if event.result != "done":
        switches = transaction.switches + (event.act == "switch")
        return replace(ended, code=event.code, detail=event.detail or None, switches=switches)
    match event.act:
        case "pause":
            return replace(ended, paused=boot)
        case "resume":
            return replace(ended, touched=False, paused=None)
        case "probe":
            return replace(ended, passed=True)
        case "switch":
            return replace(ended, switched=True, touched=False, paused=None)
        case _:
            return ended


def _probed(state: SiteState, event: events.Outcome, generation: int, probe: str) -> SiteState:
    """Record the last result of a probe, which is the outcome's code."""
    health = {(one.generation, one.probe): one for one in state.installs.health}
    before = health.pop((generation, probe), None)
    failures = 0 if event.code == "passing" else 1 + (before.failures if before else 0)
    result: ProbeState = "passing" if event.code == "passing" else "failing" if event.code == "failing" else "unknown"
    last = Health(generation, probe, result, failures, state.last_at)
    return replace(state, installs=replace(state.installs, health=(*health.values(), last)))


def _switched_back(state: SiteState, source: int) -> SiteState:
    """Make the source the running generation again, from now on; nobody has looked at its probes since."""
    installs = state.installs
    health = tuple(
        Health(source, health.probe, "not-observed") for health in installs.health if health.generation == source
    )
    generations = tuple(
        replace(generation, since=state.last_at) if generation.number == source else generation
        for generation in installs.generations
    )
    return replace(state, installs=replace(installs, current=source, generations=generations, health=health))


def _switched(state: SiteState, transaction: Transaction, record: events.Record, digest: str) -> SiteState:
    """Make the target the running generation; only the switch spends the vendor's authorisation."""
    planned = transaction.planned
    # A rollback returns to the generation as it was made: only its state changes.
    generation = state.installs.generation(planned.target) or _new_generation(state, transaction, record.seq)
    generation = replace(generation, state=State.SWITCHED, since=state.last_at, seq=record.seq)
    others = (one for one in state.installs.generations if one.number != planned.target)
    if planned.action == "rollback":
        others = (replace(one, taken_back=True) if one.number == planned.document else one for one in others)
    generations = tuple(sorted((*others, generation), key=lambda one: one.number))
    spent = () if planned.authorisation is None else (planned.authorisation,)
    return replace(
        record_change(state, record, digest),
        trust=replace(
            state.trust,
            spent=(*state.trust.spent, *spent),
            installs_since=state.trust.installs_since + (transaction.action == "install"),
        ),
        installs=replace(
            state.installs,
            generations=generations,
            current=planned.target,
            health=tuple(one for one in state.installs.health if one.generation == planned.source),
        ),
    )


def _new_generation(state: SiteState, transaction: Transaction, seq: int) -> Generation:
    planned = transaction.planned
    return copy_fields(
        planned,
        Generation,
        number=planned.target,
        state=State.SWITCHED,
        approvals=transaction.approvals,
        since=state.last_at,
        seq=seq,
        outside_window=planned.outside_window is not None,
    )


def _confirmed(state: SiteState, transaction: Transaction, event: events.Confirmed, record: events.Record) -> SiteState:
    """Record a trial that passed. The floor of the channel and the proved time only rise."""
    planned, installs = transaction.planned, state.installs
    if transaction.state != State.PROBING or event.generation != planned.target:
        raise impossible_entry(record, f"generation {event.generation} confirmed in state {transaction.state}")
    stream = installs.stream_of(planned.channel)
    if stream is None:
        raise impossible_entry(record, "a channel was confirmed that was never received")
    if stream.floor is not None and event.floor < stream.floor:
        raise impossible_entry(record, "the floor falls")
    floor = entry_time(record, event.time_floor) if event.time_floor else None
    claimed = entry_time(record, event.claimed) if event.claimed else None
    left: tuple[RolledBack, ...] = ()
    if transaction.action == "rollback":
        spent = planned.authorisation
        used = transaction.approvals
        left = (RolledBack(planned.source, planned.target, False, "by-hand", state.last_at, spent, approvals=used),)
    return replace(
        state,
        trust=replace(
            state.trust,
            time_floor=max(filter(None, (state.trust.time_floor, floor)), default=None),
            time_claimed=claimed or state.trust.time_claimed,
        ),
        installs=replace(
            installs,
            transaction=replace(transaction, state=State.CONFIRMED, act=None),
            streams=replace_stream(state, replace(stream, floor=event.floor)),
            contract=planned.contract,
            generations=tuple(
                replace(kept, state=State.CONFIRMED, confirmed=state.ran) if kept.number == event.generation else kept
                for kept in installs.generations
            ),
            rollbacks=(*installs.rollbacks, *left),
        ),
    )


def _rolled_back(state: SiteState, transaction: Transaction, record: events.Record, digest: str) -> SiteState:
    """Record a rollback, automatic or manual."""
    planned, installs = transaction.planned, state.installs
    code = transaction.code or "failed"
    spent = planned.authorisation if transaction.switched else None
    used = transaction.approvals
    back = RolledBack(planned.target, planned.source, code != "by-hand", code, state.last_at, spent, digest, used)
    generations = installs.generations
    if installs.generation(planned.target) is None:
        # It changed data and never ran: its number and its approvals are used up.
        generations = (*generations, _new_generation(state, transaction, record.seq))
    state = replace(
        record_change(state, record, digest),
        installs=replace(
            installs,
            transaction=replace(transaction, touched=False, paused=None),
            rollbacks=(*installs.rollbacks, back),
            generations=generations,
        ),
    )
    # The older generation of a rollback that failed its own probes is as valid as before.
    mark = State.SETTLED if transaction.action == "rollback" else State.ROLLED_BACK
    return _mark_generation(state, planned.target, mark)


def _mark_generation(state: SiteState, number: int, to: State) -> SiteState:
    generations = tuple(replace(one, state=to) if one.number == number else one for one in state.installs.generations)
    return replace(state, installs=replace(state.installs, generations=generations))


def entry_time(record: events.Record, text: str) -> datetime:
    """Parse a time of an entry; raise UntrustedError for a day or an hour that does not exist."""
    try:
        return parse_time(text)
    except MalformedError as error:
        raise impossible_entry(record, error.problem) from None
