"""What has become of the requests of a consignment that was received before."""

from collections.abc import Iterable
from dataclasses import dataclass

from verifier.site.journal.chain import Entry
from verifier.site.journal.events import Consigned, HandlerBegan, HandlerEnded, RequestRefused
from verifier.site.journal.fold_requests import request_item
from verifier.site.journal.state import SiteState


@dataclass(frozen=True)
class RequestStatus:
    """A request and its present outcome, in the words of reports; ``reason`` is why it was refused or failed."""

    request: str
    handler: str
    outcome: str
    reason: str | None

    @property
    def words(self) -> str:
        why = f" ({self.reason.replace('-', ' ')})" if self.reason is not None else ""
        return f"{self.outcome.replace('-', ' ')}{why}"


def arrival_statuses(event: Consigned) -> tuple[RequestStatus, ...]:
    """Return what was answered when the consignment came."""
    return tuple(RequestStatus(one.request, one.handler, one.outcome, one.reason) for one in event.answers)


def present_statuses(event: Consigned, state: SiteState, entries: Iterable[Entry]) -> tuple[RequestStatus, ...]:
    """Return the outcomes now. Reads nothing.

    The state forgets a request once support has acknowledged its outcome; the journal's last entry about it has it.
    """
    uses = {use.item: use for use in state.reports.answered}
    last = _last_outcomes(entries)
    statuses = []
    for i, answer in enumerate(event.answers):
        item = request_item(event, i)
        use = uses.get(item)
        outcome: str = answer.outcome
        reason = answer.reason
        if use is not None:
            outcome, reason = use.outcome, use.reason
        elif item in last:
            outcome, reason = last[item]
        elif outcome == "waiting":
            # One that waits is never forgotten, and without an entry of its own only its window ends it.
            outcome, reason = "refused", "outside-window"
        statuses.append(RequestStatus(answer.request, answer.handler, outcome, reason))
    return tuple(statuses)


def _last_outcomes(entries: Iterable[Entry]) -> dict[str, tuple[str, str | None]]:
    """Return outcome and reason by item, of the items that an entry of their own is about."""
    outcomes: dict[str, tuple[str, str | None]] = {}
    for entry in entries:
        match entry.record.event:
            case RequestRefused(item=item, reason=reason):
                outcomes[item] = ("refused", reason)
            case HandlerBegan(item=item):
                outcomes[item] = ("unknown", None)
            case HandlerEnded(item=item, outcome=outcome, reason=reason):
                outcomes[item] = (outcome, reason)
            case _:
                continue
    return outcomes
