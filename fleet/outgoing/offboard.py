"""Offboard a site: request it, collect the evidence, sign the receipt, delete its reports after the keep time.

The receipt is signed by the consignment role. Reports that arrive after the site was closed are kept and are an alarm.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, update

from fleet.intake.library import stored_report
from fleet.ledger.tables import (
    closures,
    consignments,
    contracts,
    enrolments,
    findings,
    keys,
    positions,
    quarantine,
    reports,
    resolutions,
    spoken,
    standings,
)
from fleet.outgoing.consign import OFFBOARD_REQUEST, check_signers, site_key
from fleet.outgoing.views import SiteRow
from fleet.rules.offboarding_steps import ConsignedOffboarding, OffboardingReport, OffboardingStep, offboarding_steps
from manifests.documents.closure import (
    CLOSURE_TYPE,
    MAX_CLOSURE,
    Closure,
    ClosureStep,
    KeptReports,
    sign_closure,
    verify_closure,
)
from manifests.documents.consignment import peek_consignment
from manifests.documents.contract import parse_contract
from manifests.documents.report import Acknowledged, OffboardReason
from manifests.trust.envelope import parse_envelope
from manifests.trust.private_keys import Signer
from manifests.trust.root import Chain, SignedRoot
from manifests.words.canonical import parse
from manifests.words.errors import RefusedError
from manifests.words.text import short_digest
from manifests.words.time import optional_time, rfc3339
from manifests.words.units import show_count

MAX_UNANSWERED = 1024
MAX_SEARCHED = 200


@dataclass(frozen=True)
class OffboardingState:
    """How far the offboarding of a site has come.

    Attributes:
        kept: What the ledger holds of the site.
        keep_until: When its reports must be deleted, by the contract that the site approved last; None if that
            contract is not in the ledger.
        unanswered: Numbers of the newest consignments that no report echoes.
    """

    site: str
    reason: OffboardReason
    requested_at: datetime | None
    requested_by: str | None
    closed_at: datetime | None
    steps: tuple[OffboardingStep, ...]
    kept: tuple[KeptReports, ...]
    contract: str | None
    keep_until: datetime | None
    unanswered: tuple[int, ...]
    receipt: bytes | None
    purged_at: datetime | None


@dataclass(frozen=True)
class PurgeResult:
    """What was deleted, and how many reports stay until their keep time is over."""

    reports: int
    findings: int
    files: int
    left: int
    next_at: datetime | None


@dataclass(frozen=True)
class OffboardRequest:
    """Why a site is offboarded, who requests it, and when."""

    reason: OffboardReason
    who: str
    at: datetime


def offboarding_state(engine: Engine, row: SiteRow) -> OffboardingState | None:
    """Return the state of the site's offboarding; None if neither support nor the site has begun one."""
    with engine.connect().execution_options(waybill_reading=True) as connection:
        state = _read_state(connection, row)
    begun = any(step.step in ("requested", "acknowledged") and step.standing == "proven" for step in state.steps)
    return state if begun else None


def request_offboarding(engine: Engine, row: SiteRow, request: OffboardRequest) -> OffboardingState:
    """Record the request: every later consignment for the site carries it. A second request changes nothing.

    Raises RefusedError for a closed site, and for a request with another reason.
    """
    with engine.begin() as connection:
        closure = connection.execute(select(closures).where(closures.c.site_id == row.site_id)).first()
        if closure is None:
            values = {"site_id": row.site_id, "reason": request.reason, "requested_at": request.at}
            connection.execute(insert(closures).values(**values, requested_by=request.who))
        else:
            _check_same(row, closure.reason, closure.closed_at, request.reason)
        return _read_state(connection, row)


def close_site(
    engine: Engine, row: SiteRow, request: OffboardRequest, root: SignedRoot, signers: tuple[Signer, ...]
) -> OffboardingState:
    """Close the site and sign the receipt, which states for each step whether it is proven.

    Raises RefusedError if it is closed already, or if the keys are not enough of the consignment role.
    """
    check_signers(root, signers)
    request_offboarding(engine, row, request)
    with engine.begin() as connection:
        here = closures.c.site_id == row.site_id
        closed = {"closed_at": request.at, "closed_by": request.who}
        connection.execute(update(closures).where(here).values(closed))
        state = _read_state(connection, row)
        raw = sign_closure(_receipt(connection, row, state, request, root), signers)
        verify_closure(raw, Chain(roots=(root,)), row.site)
        connection.execute(update(closures).where(here).values(receipt=raw, keep_until=state.keep_until))
        return _read_state(connection, row)


def _receipt(
    connection: Connection, row: SiteRow, state: OffboardingState, request: OffboardRequest, root: SignedRoot
) -> Closure:
    """The receipt of a site that was just closed, as its state has it."""
    query = select(standings.c.report).where(standings.c.enrolment_id == row.enrolment_id)
    newest = connection.execute(query).scalar() if row.seq else None
    return Closure(
        vendor=root.root.vendor,
        site=row.site,
        site_key=site_key(connection, row.enrolment_id),
        reason=request.reason,
        requested_at=rfc3339(state.requested_at or request.at),
        closed_at=rfc3339(request.at),
        last_report=None if newest is None else Acknowledged(seq=row.seq, digest=newest),
        steps=tuple(
            ClosureStep(
                step=step.step,
                standing=step.standing,
                at=optional_time(step.at),
                report=step.report,
                consignment=step.consignment,
            )
            for step in state.steps
        ),
        unanswered=state.unanswered,
        kept=state.kept,
        contract=state.contract,
    )


def purge(engine: Engine, row: SiteRow, now: datetime) -> PurgeResult:
    """Delete each report of a closed site whose keep time is over, with its findings and quarantined bytes.

    What stays: the site, its keys, its consignments, decisions, and the receipt. Raises RefusedError for a site that
    is not closed, or whose contract, which sets the keep time, is not in the ledger.
    """
    with engine.begin() as connection:
        keep = _check_purge(connection, row)
        limit = now - keep
        ids = _enrolment_ids(row)
        of_site = reports.c.enrolment_id.in_(ids)
        due = of_site & (reports.c.received_at <= limit)
        digests = select(reports.c.digest).where(due)
        newest_due = standings.c.enrolment_id.in_(ids) & standings.c.report.in_(digests)
        # Rows that name a report go before the report itself.
        connection.execute(update(standings).where(newest_due).values(report=None))
        noted = connection.execute(delete(findings).where(findings.c.report.in_(digests))).rowcount
        connection.execute(delete(positions).where(positions.c.enrolment_id.in_(ids) & positions.c.digest.in_(digests)))
        deleted = connection.execute(delete(reports).where(due)).rowcount
        files = _empty_quarantined(connection, ids, limit)
        left, oldest = connection.execute(select(func.count(), func.min(reports.c.received_at)).where(of_site)).one()
        if not left:
            connection.execute(delete(positions).where(positions.c.enrolment_id.in_(ids) & (positions.c.seq > 0)))
            connection.execute(delete(spoken).where(spoken.c.enrolment_id.in_(ids)))
            counts = ((deleted, "report"), (noted, "finding"), (files, "quarantined file"))
            text = ", ".join(show_count(count, noun) for count, noun in counts)
            here = closures.c.site_id == row.site_id
            connection.execute(update(closures).where(here).values(purged_at=now, purged=text))
        return PurgeResult(deleted, noted, files, left, oldest + keep if oldest else None)


def _check_purge(connection: Connection, row: SiteRow) -> timedelta:
    """The keep time of a closed site's reports."""
    state = _read_state(connection, row)
    if state.closed_at is None:
        remedy = f"close it first with `waybill fleet offboard {row.site} --close`"
        raise RefusedError("the site is not closed", where=row.site, remedy=remedy, finding="site-open")
    keep = _keep_time(connection, state.contract)
    if keep is None:
        contract = f"contract {short_digest(state.contract)} is" if state.contract else "the site's contract is"
        problem = f"{contract} not in the ledger, so the keep time of its reports is unknown"
        remedy = "import a bundle whose release has that contract: waybill fleet import BUNDLE"
        raise RefusedError(problem, where=row.site, remedy=remedy, finding="contract-unknown")
    return keep


def _empty_quarantined(connection: Connection, ids: Select[tuple[int]], limit: datetime) -> int:
    """Delete the bytes of quarantined files that name a key of the site; the rows stay."""
    enrolled = select(enrolments.c.keyid).where(enrolments.c.id.in_(ids))
    rotated = select(keys.c.keyid).where(keys.c.enrolment_id.in_(ids))
    of_site = quarantine.c.keyid.in_(enrolled) | quarantine.c.keyid.in_(rotated)
    due = of_site & (quarantine.c.seen_at <= limit) & (func.length(quarantine.c.raw) > 0)
    return connection.execute(update(quarantine).where(due).values(raw=b"")).rowcount


def _check_same(row: SiteRow, recorded: str, closed_at: datetime | None, reason: str) -> None:
    if closed_at is not None:
        problem = f"the site was closed on {closed_at:%Y-%m-%d}"
        remedy = f"write its receipt from the ledger: waybill fleet offboard {row.site} -o RECEIPT.json"
        raise RefusedError(problem, where=row.site, remedy=remedy, finding="site-closed")
    if recorded != reason:
        problem = f"the offboarding was requested with reason {recorded}; now the reason is {reason}"
        remedy = f"waybill fleet offboard {row.site} --reason {recorded}"
        raise RefusedError(problem, where="--reason", remedy=remedy, finding="reason-differs")


def _read_state(connection: Connection, row: SiteRow) -> OffboardingState:
    closure = connection.execute(select(closures).where(closures.c.site_id == row.site_id)).first()
    requested_at, closed_at = (closure.requested_at, closure.closed_at) if closure else (None, None)
    consigned = _consigned_request(connection, row, requested_at) if requested_at else None
    reported = _reported_offboarding(connection, row)
    contract = _contract(connection, row, closure.receipt if closure else None)
    until = closure.keep_until if closure is not None and closure.keep_until else _until(connection, row, contract)
    return OffboardingState(
        site=row.site,
        reason=closure.reason if closure else reported.offboarding.reason if reported else "ended",
        requested_at=requested_at,
        requested_by=closure.requested_by if closure else None,
        closed_at=closed_at,
        steps=offboarding_steps(requested_at, consigned, reported, closed_at),
        kept=_kept(connection, row, until),
        contract=contract,
        keep_until=until,
        unanswered=_unanswered(connection, row.site_id),
        receipt=closure.receipt if closure else None,
        purged_at=closure.purged_at if closure else None,
    )


def _consigned_request(connection: Connection, row: SiteRow, since: datetime) -> ConsignedOffboarding | None:
    """The first consignment since the request that carries it, and the first report that echoes it or a later one."""
    query = (
        select(consignments)
        .where((consignments.c.site_id == row.site_id) & (consignments.c.issued_at >= since))
        .order_by(consignments.c.number)
        .limit(MAX_SEARCHED)
    )
    for sent in connection.execute(query):
        requests = peek_consignment(sent.raw, "consignment").requests
        if any(request.handler == OFFBOARD_REQUEST for request in requests):
            answer = connection.execute(
                select(reports.c.seq, reports.c.received_at)
                .join(consignments, consignments.c.challenge == reports.c.challenge)
                .where(reports.c.enrolment_id.in_(_enrolment_ids(row)) & reports.c.refused.is_(False))
                .where((consignments.c.site_id == row.site_id) & (consignments.c.number >= sent.number))
                .order_by(reports.c.seq)
                .limit(1)
            ).first()
            return ConsignedOffboarding(
                number=sent.number,
                issued_at=sent.issued_at,
                written_at=sent.written_at,
                medium=sent.medium,
                answered=None if answer is None else (answer.seq, answer.received_at),
            )
    return None


def _reported_offboarding(connection: Connection, row: SiteRow) -> OffboardingReport | None:
    """The newest report that names the offboarding; None at a fork, which makes every report doubtful."""
    if row.forked_at is not None:
        return None
    query = (
        select(reports.c.seq, reports.c.received_at, reports.c.raw)
        .where((reports.c.enrolment_id == row.enrolment_id) & reports.c.refused.is_(False))
        .order_by(reports.c.seq.desc())
        .limit(1)
    )
    newest = connection.execute(query).first()
    offboarding = None if newest is None else stored_report(newest.raw).trust.offboarding
    return (
        None
        if newest is None or offboarding is None
        else OffboardingReport(newest.seq, newest.received_at, offboarding)
    )


def _contract(connection: Connection, row: SiteRow, receipt: bytes | None) -> str | None:
    """Digest of the telemetry contract that the site approved, by its newest report or else by the receipt."""
    query = (
        select(reports.c.raw)
        .join(standings, standings.c.report == reports.c.digest)
        .where(standings.c.enrolment_id == row.enrolment_id)
    )
    raw = connection.execute(query).scalar()
    policy = None if raw is None else stored_report(raw).policy
    if policy is not None and policy.contract is not None:
        return policy.contract
    if receipt is None:
        return None
    envelope = parse_envelope(receipt, CLOSURE_TYPE, "receipt", max_bytes=MAX_CLOSURE)
    return parse(envelope.payload_bytes, Closure, "receipt", max_bytes=MAX_CLOSURE).contract


def _keep_time(connection: Connection, contract: str | None) -> timedelta | None:
    """How long support may keep reports under a contract: ``keep.vendor`` of its signal for the deployment state."""
    raw = connection.execute(select(contracts.c.raw).where(contracts.c.digest == (contract or ""))).scalar()
    if raw is None:
        return None
    state = next(signal for signal in parse_contract(raw).signals if signal.kind == "deployment-state")
    return timedelta(seconds=state.keep.vendor)


def _until(connection: Connection, row: SiteRow, contract: str | None) -> datetime | None:
    keep = _keep_time(connection, contract)
    if keep is None or row.newest is None:
        return None
    try:
        return row.newest.received_at + keep
    except OverflowError:
        return None


def _kept(connection: Connection, row: SiteRow, until: datetime | None) -> tuple[KeptReports, ...]:
    ids = _enrolment_ids(row)
    counts = {
        "consignments": (consignments, consignments.c.site_id == row.site_id),
        "decisions": (resolutions, resolutions.c.site_id == row.site_id),
        "enrolments": (enrolments, enrolments.c.site_id == row.site_id),
        "findings": (findings, findings.c.enrolment_id.in_(ids)),
        "reports": (reports, reports.c.enrolment_id.in_(ids)),
        "telephone-lines": (spoken, spoken.c.enrolment_id.in_(ids)),
    }
    timed = ("findings", "reports", "telephone-lines")
    return tuple(
        KeptReports(
            what=what,
            count=connection.execute(select(func.count()).select_from(table).where(of_site)).scalar_one(),
            until=optional_time(until) if what in timed else None,
        )
        for what, (table, of_site) in counts.items()
    )


def _unanswered(connection: Connection, site_id: int) -> tuple[int, ...]:
    echoed = select(reports.c.digest).where(reports.c.challenge == consignments.c.challenge).exists()
    query = (
        select(consignments.c.number)
        .where((consignments.c.site_id == site_id) & ~echoed)
        .order_by(consignments.c.number.desc())
        .limit(MAX_UNANSWERED)
    )
    return tuple(reversed(connection.execute(query).scalars().all()))


def _enrolment_ids(row: SiteRow) -> Select[tuple[int]]:
    return select(enrolments.c.id).where(enrolments.c.site_id == row.site_id)
