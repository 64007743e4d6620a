"""Taking in a consignment: for this site, newer than the last, about a report that was really written."""

from dataclasses import dataclass
from pathlib import Path

from manifests.documents.consignment import MAX_CONSIGNMENT, Consignment, Request, peek_consignment, verify_consignment
from manifests.trust.keys import read_capped
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError, WaybillError
from verifier.change.below_floor import AuthorisationStatus, authorisation_status, verify_carried
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import Alarm, Answer, Consigned, Event
from verifier.site.journal.state import SiteState
from verifier.site.report_files import reports_written
from verifier.site.vendor_trust import Notify, adopt_revocations, own_chain, silent


@dataclass(frozen=True)
class ParsedConsignment:
    """A file that claims to be a consignment. Nothing in ``claims`` is believed."""

    path: Path
    raw: bytes
    claims: Consignment


@dataclass(frozen=True)
class ReceivedConsignment:
    """A consignment that was taken in.

    Attributes:
        new: False when the very same one was taken in before.
        answers: What becomes of its requests.
        authorisations: Authorised rollbacks below the floor that it contains, and the status of each.
    """

    path: Path
    number: int
    new: bool
    acknowledged: int | None
    answers: tuple[Answer, ...]
    authorisations: tuple[AuthorisationStatus, ...] = ()


def peek_consignment_file(path: Path) -> ParsedConsignment:
    """Read a file that claims to be a consignment. Raises MalformedError when it is none."""
    raw = read_capped(path, MAX_CONSIGNMENT)
    return ParsedConsignment(path, raw, peek_consignment(raw, str(path)))


def receive_consignment(site: Site, parsed: ParsedConsignment, say: Notify = silent) -> ReceivedConsignment:
    """Verify a consignment and put it in the journal of a held site.

    Steps: 1 a revocation list in it, which has signatures of its own, is in force before anything else is believed;
    2 the vendor's consignment role signed the rest; 3 it is for this site and its key; 4 its number is above the last;
    5 the report that it acknowledges is of this site; 6 the authorisations in it are the vendor's and for this site;
    7 the documents are kept, then journalled.

    Raises:
        UntrustedError: Not signed by the role.
        RefusedError: For another site, older than the last, or about a report that this site never wrote, which is
            also recorded as an alarm for support.
    """
    if parsed.claims.revocations is not None:
        adopt_revocations(site, encode(parsed.claims.revocations), f"{parsed.path} $.revocations", say)  # 1
    signed = verify_consignment(parsed.raw, own_chain(site), str(parsed.path))  # 2
    consignment, state = signed.consignment, site.state
    where = str(parsed.path)
    check_for(consignment, state, where)  # 3
    before = _taken(site, signed.digest)
    if before is not None:
        return ReceivedConsignment(parsed.path, before.number, False, before.acknowledged, before.answers)
    check_number(consignment, state, where)  # 4
    try:
        check_acknowledged(consignment, {report.seq: report.digest for report in reports_written(site)}, where)  # 5
    except RefusedError as error:
        _alarm(site, consignment, error)
        raise
    carried = verify_carried(site, consignment, where)  # 6
    answers = answer_requests(consignment.requests, _handlers(site))
    site.record(  # 7
        Consigned(
            number=consignment.number,
            digest=site.keep_document(parsed.raw),
            issued_at=consignment.issued_at,
            challenge=consignment.challenge_digest,
            acknowledged=consignment.acknowledged.seq if consignment.acknowledged else None,
            acknowledged_digest=consignment.acknowledged.digest if consignment.acknowledged else None,
            newest=consignment.newest,
            answers=answers,
            authorisations=tuple(site.keep_document(one.raw) for one in carried),
        )
    )
    acknowledged = consignment.acknowledged.seq if consignment.acknowledged else None
    return ReceivedConsignment(
        parsed.path,
        consignment.number,
        True,
        acknowledged,
        answers,
        tuple(authorisation_status(site, one) for one in carried),
    )


def check_for(consignment: Consignment, state: SiteState, where: str) -> None:
    """Raises RefusedError unless it is for this very site."""
    if consignment.site != state.site:  # D-5.3
        raise RefusedError(
            f"the consignment is for {consignment.site}; this site is {state.site}",
            where=where,
            remedy="take it to that site",
            finding="consignment-other-site",
        )
    # A consignment sent before support received a rotation is valid; a renewed key starts another series.
    if consignment.site_key not in {state.site_key.keyid, *(one.key.keyid for one in state.reports.former_keys)}:
        raise RefusedError(
            f"the consignment is for site key {consignment.site_key[:16]}; this site has {state.site_key.keyid[:16]}",
            where=where,
            remedy="request a consignment for the current key from support",
            finding="consignment-other-key",
        )


def check_number(consignment: Consignment, state: SiteState, where: str) -> None:
    """Raises RefusedError unless its number is above the last one's."""
    if consignment.number <= state.reports.consignment:  # D-5.3
        raise RefusedError(
            f"the consignment has number {consignment.number}; this site has number {state.reports.consignment}",
            where=where,
            remedy="use the newest medium",
            finding="consignment-old",
        )


def check_acknowledged(consignment: Consignment, reported: dict[int, str], where: str) -> None:
    """Raises RefusedError when it acknowledges a report that this site did not write."""
    acknowledged = consignment.acknowledged
    if acknowledged is not None and reported.get(acknowledged.seq) != acknowledged.digest:
        raise RefusedError(
            f"report {acknowledged.seq} is acknowledged with digest {acknowledged.digest[:19]}; "
            f"this site wrote {reported.get(acknowledged.seq, 'none')[:19]}",
            where=where,
            remedy="report to support whether this folder was restored from a backup or copied",
            finding="acknowledgement-unknown",
        )


def answer_requests(requests: tuple[Request, ...], handlers: frozenset[str]) -> tuple[Answer, ...]:
    """No handler runs in this version: one that the release brings is refused, another does not exist. Pure."""
    return tuple(
        Answer(
            request=request.request,
            handler=request.handler,
            outcome="refused" if request.handler in handlers else "no-such-handler",
        )
        for request in requests
    )


def _handlers(site: Site) -> frozenset[str]:
    """Names of the handlers that the running release brings."""
    running = site.state.installs.running
    if running is None:
        return frozenset()
    return frozenset(one.name for one in read_installed(site, running).release.handlers)


def _taken(site: Site, digest: str) -> Consigned | None:
    return next((one for one in _events(site) if isinstance(one, Consigned) and one.digest == digest), None)


def _events(site: Site) -> list[Event]:
    """Read anew: what was recorded since the site was opened counts too."""
    return [entry.record.event for entry in read_journal(site.path / "journal")[0]]


def _alarm(site: Site, consignment: Consignment, error: WaybillError) -> None:
    """Record an alarm for support, once."""
    acknowledged = consignment.acknowledged
    if acknowledged is not None and all(alarm.digest != acknowledged.digest for alarm in site.state.alarms):
        site.record(Alarm(code="acknowledgement-unknown", digest=acknowledged.digest, detail=error.problem))
