"""Offboard a site: request it, collect the evidence, sign the receipt, delete its reports when the time is over.

The receipt is signed by the consignment role. What a site sends after it was closed is kept and is an alarm.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from fleet.intake.report_chains import stored_report
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
    sites,
    spoken,
    standings,
)
from fleet.outgoing.consign import END, check_signers, site_key
from fleet.outgoing.views import SiteRow
from fleet.rules.offboarding_steps import EndReported, EndRequested, OffboardingStep, offboarding_steps
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
from manifests.words.time import parse_time, rfc3339

MAX_UNANSWERED = 1024
MAX_SEARCHED = 200


@dataclass(frozen=True)
class Ending:
    """How far a site's end has come.

    Attributes:
        kept: What the ledger holds of the site.
        keep_until: When its reports must go, by the contract that the site approved last; None where that contract is
            not in the ledger.
    """

    site: str
    reason: OffboardReason
    requested_at: str | None
    requested_by: str | None
    closed_at: str | None
    steps: tuple[OffboardingStep, ...]
    kept: tuple[KeptReports, ...]
    contract: str | None
    keep_until: str | None
    unanswered: tuple[int, ...]
    receipt: bytes | None
    purged_at: str | None


@dataclass(frozen=True)
class Purged:
    """What was deleted, and how many reports stay until their time is over."""

    reports: int
    findings: int
    files: int
    left: int
    next_at: str | None


def ending_of(engine: Engine, row: SiteRow) -> Ending | None:
    """How the site's end stands; None while nobody speaks of one."""
    with engine.connect().execution_options(waybill_reading=True) as connection:
        found = _ending(connection, row)
    said = any(one.step in ("requested", "acknowledged") and one.standing == "proven" for one in found.steps)
    return found if said else None


def request_end(engine: Engine, row: SiteRow, reason: OffboardReason, who: str, now: datetime) -> Ending:
    """Note that the site is to end: every note for it asks for that from now on. Asking twice changes nothing.

    Raises:
        RefusedError: It is closed, or was asked to end for the other reason.
    """
    with engine.begin() as connection:
        site_id = _site_id(connection, row)
        found = connection.execute(select(closures).where(closures.c.site_id == site_id)).first()
        if found is not None:
            _check_same(row, found.reason, found.closed_at, reason)
        else:
            said = {"site_id": site_id, "reason": reason, "requested_at": rfc3339(now), "requested_by": who}
            connection.execute(insert(closures).values(said))
        return _ending(connection, row)


def close_site(
    engine: Engine,
    row: SiteRow,
    reason: OffboardReason,
    root: SignedRoot,
    signers: tuple[Signer, ...],
    who: str,
    now: datetime,
) -> Ending:
    """Close the site and sign the receipt, which says of each rung whether it is proved.

    Raises:
        RefusedError: It is closed already, or the keys are not of the consignment role.
    """
    check_signers(root, signers)
    request_end(engine, row, reason, who, now)
    with engine.begin() as connection:
        at = rfc3339(now)
        here = closures.c.site_id == _site_id(connection, row)
        connection.execute(update(closures).where(here).values(closed_at=at, closed_by=who))
        found = _ending(connection, row)
        report = None
        if row.seq:
            digest = connection.execute(
                select(standings.c.report).where(standings.c.enrolment_id == row.enrolment_id)
            ).scalar()
            report = None if digest is None else Acknowledged(seq=row.seq, digest=digest)
        said = Closure(
            vendor=root.root.vendor,
            site=row.site,
            site_key=site_key(connection, row.enrolment_id),
            reason=reason,
            requested_at=found.requested_at or at,
            closed_at=at,
            last_report=report,
            steps=tuple(
                ClosureStep(
                    step=one.step, standing=one.standing, at=one.at, report=one.report, consignment=one.consignment
                )
                for one in found.steps
            ),
            unanswered=found.unanswered,
            kept=found.kept,
            contract=found.contract,
        )
        raw = sign_closure(said, signers)
        verify_closure(raw, Chain(roots=(root,)), row.site)
        connection.execute(update(closures).where(here).values(receipt=raw, keep_until=found.keep_until))
        return _ending(connection, row)


def purge(engine: Engine, row: SiteRow, now: datetime) -> Purged:
    """Delete each report of a closed site whose time is over, with what was found in it.

    What stays: that the site was there, its keys, the notes that were signed for it, decisions, and the receipt.

    Raises:
        RefusedError: It is not closed, or no contract in the ledger says how long reports may be kept.
    """
    with engine.begin() as connection:
        found = _ending(connection, row)
        if found.closed_at is None:
            raise RefusedError(
                "the site is not closed", where=row.site, remedy="close it first: --close", finding="site-open"
            )
        keep = _keep(connection, found.contract)
        if keep is None:
            raise RefusedError(
                f"contract {found.contract[:19] if found.contract else '-'} is not in the ledger, "
                "so it cannot be said how long its reports may be kept",
                where=row.site,
                remedy="import a bundle whose release has that contract",
                finding="contract-unknown",
            )
        limit = rfc3339(now - keep)
        lines = _lines(connection, row)
        due = reports.c.enrolment_id.in_(lines) & (reports.c.received_at <= limit)
        gone = select(reports.c.digest).where(due)
        connection.execute(
            update(standings)
            .where(standings.c.enrolment_id.in_(lines) & standings.c.report.in_(gone))
            .values(report=None)
        )
        noted = connection.execute(delete(findings).where(findings.c.report.in_(gone))).rowcount
        connection.execute(delete(positions).where(positions.c.enrolment_id.in_(lines) & positions.c.digest.in_(gone)))
        deleted = connection.execute(delete(reports).where(due)).rowcount
        named = select(enrolments.c.keyid).where(enrolments.c.id.in_(lines))
        later = select(keys.c.keyid).where(keys.c.enrolment_id.in_(lines))
        theirs = (quarantine.c.keyid.in_(named) | quarantine.c.keyid.in_(later)) & (quarantine.c.seen_at <= limit)
        files = connection.execute(
            update(quarantine).where(theirs & (func.length(quarantine.c.raw) > 0)).values(raw=b"")
        ).rowcount
        rest = reports.c.enrolment_id.in_(lines)
        left, oldest = connection.execute(select(func.count(), func.min(reports.c.received_at)).where(rest)).one()
        if not left:
            connection.execute(delete(positions).where(positions.c.enrolment_id.in_(lines) & (positions.c.seq > 0)))
            connection.execute(delete(spoken).where(spoken.c.enrolment_id.in_(lines)))
            text = f"{deleted} reports, {noted} findings, {files} quarantined files"
            here = closures.c.site_id == _site_id(connection, row)
            connection.execute(update(closures).where(here).values(purged_at=rfc3339(now), purged=text))
        next_at = None if oldest is None else rfc3339(parse_time(oldest) + keep)
        return Purged(reports=deleted, findings=noted, files=files, left=left, next_at=next_at)


def _check_same(row: SiteRow, was: str, closed_at: str | None, reason: str) -> None:
    if closed_at is not None:
        raise RefusedError(
            f"the site was closed at {closed_at}",
            where=row.site,
            remedy="its receipt is in the ledger: waybill fleet offboard SITE -o RECEIPT.json",
            finding="site-closed",
        )
    if was != reason:
        raise RefusedError(
            f"it was asked to end because it is {was}, now {reason} is given",
            where="--reason",
            remedy=f"--reason {was}",
            finding="reason-differs",
        )


def _ending(connection: Connection, row: SiteRow) -> Ending:
    site_id = _site_id(connection, row)
    closure = connection.execute(select(closures).where(closures.c.site_id == site_id)).first()
    asked = None if closure is None else _asked(connection, row, site_id, closure.requested_at)
    told = _told(connection, row)
    contract = _contract(connection, row)
    until = closure.keep_until if closure is not None and closure.keep_until else _until(connection, row, contract)
    return Ending(
        site=row.site,
        reason=closure.reason if closure else told.said.reason if told else "ended",
        requested_at=closure.requested_at if closure else None,
        requested_by=closure.requested_by if closure else None,
        closed_at=closure.closed_at if closure else None,
        steps=offboarding_steps(
            closure.requested_at if closure else None, asked, told, closure.closed_at if closure else None
        ),
        kept=_kept(connection, row, site_id, until),
        contract=contract,
        keep_until=until,
        unanswered=_unanswered(connection, site_id),
        receipt=closure.receipt if closure else None,
        purged_at=closure.purged_at if closure else None,
    )


def _asked(connection: Connection, row: SiteRow, site_id: int, since: str) -> EndRequested | None:
    """The first note since the request that asks the site to end."""
    query = (
        select(consignments)
        .where((consignments.c.site_id == site_id) & (consignments.c.issued_at >= since))
        .order_by(consignments.c.number)
        .limit(MAX_SEARCHED)
    )
    for one in connection.execute(query):
        if any(request.handler == END for request in peek_consignment(one.raw, "consignment").requests):
            answer = connection.execute(
                select(reports.c.seq, reports.c.received_at)
                .join(consignments, consignments.c.challenge == reports.c.challenge)
                .where(reports.c.enrolment_id.in_(_lines(connection, row)) & reports.c.refused.is_(False))
                .where((consignments.c.site_id == site_id) & (consignments.c.number >= one.number))
                .order_by(reports.c.seq)
                .limit(1)
            ).first()
            return EndRequested(
                number=one.number,
                issued_at=one.issued_at,
                written_at=one.written_at,
                medium=one.medium,
                answered=None if answer is None else (answer.seq, answer.received_at),
            )
    return None


def _told(connection: Connection, row: SiteRow) -> EndReported | None:
    """The newest report in which the site speaks of its end; nothing is said of one that a fork makes doubtful."""
    query = (
        select(reports.c.seq, reports.c.received_at, reports.c.raw)
        .where((reports.c.enrolment_id == row.enrolment_id) & reports.c.refused.is_(False))
        .order_by(reports.c.seq.desc())
        .limit(1)
    )
    one = connection.execute(query).first()
    said = None if one is None or row.forked_at is not None else stored_report(one.raw).trust.offboarding
    return None if one is None or said is None else EndReported(one.seq, one.received_at, said)


def _contract(connection: Connection, row: SiteRow) -> str | None:
    """The telemetry contract that the site's newest report says was approved."""
    query = (
        select(reports.c.raw)
        .join(standings, standings.c.report == reports.c.digest)
        .where(standings.c.enrolment_id == row.enrolment_id)
    )
    raw = connection.execute(query).scalar()
    policy = None if raw is None else stored_report(raw).policy
    if policy is not None and policy.contract is not None:
        return policy.contract
    closed = select(closures.c.receipt).where(closures.c.site_id == _site_id(connection, row))
    receipt = connection.execute(closed).scalar()
    return None if receipt is None else _of_receipt(receipt)


def _of_receipt(raw: bytes) -> str | None:
    envelope = parse_envelope(raw, CLOSURE_TYPE, "receipt", max_bytes=MAX_CLOSURE)
    return parse(envelope.payload_bytes, Closure, "receipt", max_bytes=MAX_CLOSURE).contract


def _keep(connection: Connection, contract: str | None) -> timedelta | None:
    """How long support may keep reports under a contract: its line for the deployment state."""
    raw = connection.execute(select(contracts.c.raw).where(contracts.c.digest == (contract or ""))).scalar()
    if raw is None:
        return None
    state = next(one for one in parse_contract(raw).signals if one.kind == "deployment-state")
    return timedelta(seconds=state.keep.vendor)


def _until(connection: Connection, row: SiteRow, contract: str | None) -> str | None:
    keep = _keep(connection, contract)
    if keep is None or row.received_at is None:
        return None
    try:
        return rfc3339(parse_time(row.received_at) + keep)
    except OverflowError:
        return None


def _kept(connection: Connection, row: SiteRow, site_id: int, until: str | None) -> tuple[KeptReports, ...]:
    lines = _lines(connection, row)
    counts = {
        "consignments": select(func.count()).select_from(consignments).where(consignments.c.site_id == site_id),
        "decisions": select(func.count()).select_from(resolutions).where(resolutions.c.site_id == site_id),
        "enrolments": select(func.count()).select_from(enrolments).where(enrolments.c.site_id == site_id),
        "findings": select(func.count()).select_from(findings).where(findings.c.enrolment_id.in_(lines)),
        "reports": select(func.count()).select_from(reports).where(reports.c.enrolment_id.in_(lines)),
        "telephone-lines": select(func.count()).select_from(spoken).where(spoken.c.enrolment_id.in_(lines)),
    }
    timed = ("findings", "reports", "telephone-lines")
    return tuple(
        KeptReports(
            what=what, count=int(connection.execute(query).scalar_one()), until=until if what in timed else None
        )
        for what, query in counts.items()
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


def _lines(connection: Connection, row: SiteRow) -> list[int]:
    query = select(enrolments.c.id).where(enrolments.c.site_id == _site_id(connection, row))
    return list(connection.execute(query).scalars())


def _site_id(connection: Connection, row: SiteRow) -> int:
    found: int = connection.execute(select(sites.c.id).where(sites.c.site == row.site)).scalar_one()
    return found
