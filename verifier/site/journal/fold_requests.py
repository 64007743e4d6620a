"""Apply journal entries about the use of handlers to the state."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from verifier.site.journal import events
from verifier.site.journal.state import MAX_USED, Answered, SiteState, impossible_entry

if TYPE_CHECKING:
    from dataclasses import replace  # the same call; the type checker knows the fields of this one
else:
    from msgspec.structs import replace


def received_requests(state: SiteState, event: events.Consigned, record: events.Record) -> tuple[Answered, ...]:
    """Return the requests of a consignment, in its order."""
    return tuple(
        Answered(
            item=request_item(event, i),
            consignment=event.number,
            request=answer.request,
            handler=answer.handler,
            outcome=answer.outcome,
            after=state.reports.seq,
            at=state.last_at,
            account=record.actor.sudo or record.actor.account,
            document=event.digest,
            reason=answer.reason,
            last_report=answer.last_report,
        )
        for i, answer in enumerate(event.answers)
    )


def request_item(event: events.Consigned, index: int) -> str:
    """Return the item of a request: ``c-12``, or ``c-12.2`` for the second of several."""
    return f"c-{event.number}.{index + 1}" if len(event.answers) > 1 else f"c-{event.number}"


def close_windows(requests: Iterable[Answered], seq: int) -> tuple[Answered, ...]:
    """Return the requests after report ``seq``: what waited and would be run after its window is refused."""
    return tuple(
        replace(use, outcome="refused", reason="outside-window", after=seq)
        if use.outcome == "waiting" and use.last_report is not None and use.last_report <= seq
        else use
        for use in requests
    )


def restart_windows(requests: Iterable[Answered]) -> tuple[Answered, ...]:
    """Return the requests when reports are numbered anew: their windows count the numbers before, and so have ended."""
    return tuple(
        replace(use, outcome="refused", reason="outside-window", after=0)
        if use.outcome == "waiting" and use.last_report is not None
        else replace(use, after=0)
        for use in requests
    )


def apply_to_handlers(state: SiteState, event: events.HandlerEvent, record: events.Record) -> SiteState:
    """Apply an entry about the use of a handler: asked for, refused, begun, ended."""
    if isinstance(event, events.HandlerAsked):
        return _asked(state, event, record)
    use = state.requested(event.item)
    if use is None or not use.open:
        raise impossible_entry(record, f"{event.item} is no use of a handler that waits")
    match event:
        case events.RequestRefused(reason=reason):
            if use.outcome != "waiting":
                raise impossible_entry(record, f"{event.item} was refused after it began")
            use = replace(use, outcome="refused", reason=reason)
        case events.HandlerBegan():
            use = replace(use, outcome="unknown", seq=record.seq)
        case events.HandlerEnded(outcome=outcome):
            if use.outcome != "unknown":
                raise impossible_entry(record, f"{event.item} ended and never began")
            use = replace(use, outcome=outcome, reason=event.reason, exit_code=event.exit_code, result=event.result)
    use = replace(use, after=state.reports.seq)
    reports = state.reports
    if not use.consignment:
        others = tuple(other for other in reports.local if other.item != use.item)
        used = reports.used if use.open else (*reports.used, use)[-MAX_USED:]
        reports = replace(reports, local=(*others, use) if use.open else others, used=used)
    else:
        reports = replace(
            reports,
            answered=tuple(use if other.item == use.item else other for other in reports.answered),
            owed=True,
        )
    return replace(state, reports=reports)


def _asked(state: SiteState, event: events.HandlerAsked, record: events.Record) -> SiteState:
    if event.number != state.reports.asked + 1:
        raise impossible_entry(record, f"use {event.number} after use {state.reports.asked}")
    use = Answered(
        item=f"h-{event.number}",
        consignment=0,
        request=f"h-{event.number}",
        handler=event.handler,
        outcome="waiting",
        after=state.reports.seq,
        at=state.last_at,
        account=record.actor.sudo or record.actor.account,
        parameters=tuple(sorted(event.parameters.items())),
    )
    return replace(state, reports=replace(state.reports, local=(*state.reports.local, use), asked=event.number))
