"""Receive a consignment: for this site, newer than the last, acknowledging a report that this site wrote."""

from dataclasses import dataclass
from pathlib import Path

from manifests.documents.consignment import MAX_CONSIGNMENT, Consignment, Request, peek_consignment, verify_consignment
from manifests.trust.keys import read_capped
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError, WaybillError
from verifier.change.below_floor import AuthorisationStatus, authorisation_status, verify_carried
from verifier.change.handlers import NO_SUCH_HANDLER, refusal_of, window_refusal
from verifier.intake.request_status import RequestStatus, arrival_statuses, present_statuses
from verifier.site.folder import Site
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import Alarm, Answer, Consigned
from verifier.site.journal.state import SiteState
from verifier.site.outbox import reports_written
from verifier.site.vendor_trust import Notify, adopt_revocations, own_chain, silent


@dataclass(frozen=True)
class ParsedConsignment:
    """A file that claims to be a consignment; ``claims`` is not verified."""

    path: Path
    raw: bytes
    claims: Consignment


@dataclass(frozen=True)
class ReceivedConsignment:
    """A consignment that was received.

    Attributes:
        new: False when the same consignment was received before.
        answers: The outcome of each of its requests as it is now.
        authorisations: Status of each authorisation that a new one contains.
    """

    path: Path
    number: int
    new: bool
    acknowledged: int | None
    answers: tuple[RequestStatus, ...]
    authorisations: tuple[AuthorisationStatus, ...] = ()


def peek_consignment_file(path: Path) -> ParsedConsignment:
    """Read a file that claims to be a consignment. Raise MalformedError if it is not one."""
    raw = read_capped(path, MAX_CONSIGNMENT)
    return ParsedConsignment(path, raw, peek_consignment(raw, str(path)))


def receive_consignment(site: Site, parsed: ParsedConsignment, say: Notify = silent) -> ReceivedConsignment:
    """Verify a consignment and journal it at a held site.

    Steps: 1 put its revocation list in force, which has its own signatures; 2 verify the signatures of the vendor's
    consignment role; 3 check site and key; 4 check that its number is above the last; 5 check that this site wrote the
    report that it acknowledges; 6 verify its authorisations; 7 keep the documents, then journal.

    Raises:
        UntrustedError: Not signed by the role.
        RefusedError: For another site, older than the last, or about a report that this site never wrote; the last is
            also recorded as an alarm.
    """
    if parsed.claims.revocations is not None:
        adopt_revocations(site, encode(parsed.claims.revocations), f"{parsed.path} $.revocations", say)  # 1
    signed = verify_consignment(parsed.raw, own_chain(site), str(parsed.path))  # 2
    consignment, state = signed.consignment, site.state
    where = str(parsed.path)
    _check_meant_for(consignment, state, where)  # 3
    # Read again: entries since the site was opened count too.
    entries = read_journal(site.path / "journal")[0]
    for entry in entries:
        before = entry.record.event
        if isinstance(before, Consigned) and before.digest == signed.digest:
            statuses = present_statuses(before, site.state, entries)
            return ReceivedConsignment(parsed.path, before.number, False, before.acknowledged, statuses)
    _check_number(consignment, state, where)  # 4
    try:
        _check_acknowledged(consignment, {report.seq: report.digest for report in reports_written(site)}, where)  # 5
    except RefusedError as error:
        _alarm(site, consignment, error)
        raise
    carried = verify_carried(site, consignment, where)  # 6
    answers = tuple(answer_request(site, request) for request in consignment.requests)
    acknowledged = consignment.acknowledged
    event = Consigned(
        number=consignment.number,
        digest=site.keep_document(parsed.raw),
        issued_at=consignment.issued_at,
        challenge=consignment.challenge_digest,
        acknowledged=acknowledged.seq if acknowledged else None,
        acknowledged_digest=acknowledged.digest if acknowledged else None,
        newest=consignment.newest,
        answers=answers,
        authorisations=tuple(site.keep_document(one.raw) for one in carried),
    )
    site.record(event)  # 7
    seq = acknowledged.seq if acknowledged else None
    permits = tuple(authorisation_status(site, one) for one in carried)
    return ReceivedConsignment(parsed.path, consignment.number, True, seq, arrival_statuses(event), permits)


def _check_meant_for(consignment: Consignment, state: SiteState, where: str) -> None:
    """Raise RefusedError unless the consignment is for this site and its key."""
    if consignment.site != state.site:  # D-5.3
        raise RefusedError(
            f"the consignment is for {consignment.site}; this site is {state.site}",
            where=where,
            remedy="take it to that site",
            finding="consignment-other-site",
        )
    if consignment.site_key not in state.own_keys:
        raise RefusedError(
            f"the consignment is for site key {consignment.site_key}; this site has {state.site_key.keyid}",
            where=where,
            remedy="request a consignment for the current key from support",
            finding="consignment-other-key",
        )


def _check_number(consignment: Consignment, state: SiteState, where: str) -> None:
    if consignment.number <= state.reports.consignment:  # D-5.3
        raise RefusedError(
            f"the consignment has number {consignment.number}; this site has number {state.reports.consignment}",
            where=where,
            remedy="use the newest medium",
            finding="consignment-old",
        )


def _check_acknowledged(consignment: Consignment, reported: dict[int, str], where: str) -> None:
    acknowledged = consignment.acknowledged
    if acknowledged is not None and reported.get(acknowledged.seq) != acknowledged.digest:
        raise RefusedError(
            f"report {acknowledged.seq} is acknowledged with digest {acknowledged.digest}; "
            f"this site wrote {reported.get(acknowledged.seq, 'none')}",
            where=where,
            remedy="report to support whether this folder was restored from a backup or copied",
            finding="acknowledgement-unknown",
        )


def answer_request(site: Site, request: Request) -> Answer:
    """Return the answer to a request on its arrival: it waits for people, or is refused for a reason."""
    refusal = window_refusal(request, site.state.reports.seq + 1)  # D-5.5
    refusal = refusal_of(site, request.handler, request.parameters) or refusal
    if refusal is None:
        return Answer(
            request=request.request, handler=request.handler, outcome="waiting", last_report=request.last_report
        )
    if refusal.reason == NO_SUCH_HANDLER:
        return Answer(request=request.request, handler=request.handler, outcome="no-such-handler")
    return Answer(request=request.request, handler=request.handler, outcome="refused", reason=refusal.reason)


def _alarm(site: Site, consignment: Consignment, error: WaybillError) -> None:
    """Record an alarm for support, once."""
    acknowledged = consignment.acknowledged
    if acknowledged is not None and all(alarm.digest != acknowledged.digest for alarm in site.state.alarms):
        site.record(Alarm(code="acknowledgement-unknown", digest=acknowledged.digest, detail=error.problem))
