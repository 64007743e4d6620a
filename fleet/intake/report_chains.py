"""Read the chains of reports that a batch touches from the ledger, judge new reports, and write them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, update

from fleet.intake.library import ReleaseLibrary, stored_report
from fleet.intake.quarantine import ReportFile, settle_quarantine
from fleet.intake.reporting_keys import ReportingKey
from fleet.intake.result import FileResult, ImportResult, SiteResult
from fleet.intake.telephone import judge_claims, load_claims
from fleet.ledger.tables import consignments, enrolments, findings, positions, releases, reports, sites, standings
from fleet.rules.report_rules import count_running, is_as_released, judge
from fleet.rules.values import Library, ReportChain, ReportFinding, named_positions
from manifests.documents.consignment import Consignment, peek_consignment
from manifests.documents.release_reader import parse_release
from manifests.documents.report import Report
from manifests.documents.signed_report import SignedReport
from manifests.words.digest import digest_of
from manifests.words.time import parse_time

# Values in one query; databases limit them.
MAX_ASKED = 4000
# How many of a site's newest consignments are searched for an authorisation.
MAX_CARRIERS = 256


@dataclass(frozen=True)
class VerifiedReport:
    """A report whose signature holds, with its file and the key that signed it."""

    file: ReportFile
    key: ReportingKey
    signed: SignedReport


@dataclass
class _Standing:
    """A row of ``standings``, by its enrolment."""

    report: str | None
    newest_seq: int
    places_known: int
    forked_at: int | None
    alarms: int


@dataclass
class _Batch:
    """One batch: the chains that it touches with their standings, and the rows that are written at its end."""

    at: datetime
    library: Library
    chains: dict[int, ReportChain]
    standings: dict[int, _Standing]
    reports: list[dict[str, object]] = field(default_factory=list)
    positions: list[dict[str, object]] = field(default_factory=list)
    findings: list[dict[str, object]] = field(default_factory=list)
    imported: dict[str, tuple[str, int, datetime]] = field(default_factory=dict)


def known_reports(connection: Connection, digests: list[str]) -> dict[str, tuple[str, int, datetime]]:
    """Return site, number and time of arrival of those of ``digests`` that the ledger has."""
    query = (
        select(reports.c.digest, sites.c.site, reports.c.seq, reports.c.received_at)
        .join(enrolments, reports.c.enrolment_id == enrolments.c.id)
        .join(sites)
        .where(reports.c.digest.in_(bindparam("digests", expanding=True)))
    )
    return {row.digest: (row.site, row.seq, row.received_at) for row in connection.execute(query, {"digests": digests})}


def add_replay(file: ReportFile, known: tuple[str, int, datetime], result: ImportResult) -> None:
    site, seq, at = known
    result.sites.setdefault(site, SiteResult()).known += 1
    text = f"{site}: report {seq} was imported before, on {at:%Y-%m-%d}"
    result.add(FileResult(file.name, "known", text, "report-replayed"))


def write_reports(
    connection: Connection, library: ReleaseLibrary, verified: list[VerifiedReport], now: datetime, result: ImportResult
) -> None:
    """Judge verified reports, sorted by enrolment and number, and write them in the caller's transaction."""
    if not verified:
        return
    named = {one.signed.report.install.release.digest for one in verified if one.signed.report.install.release}
    known = library.read(connection, named)
    batch = _Batch(now, known, *_read_chains(connection, verified))
    claims = load_claims(connection, sorted(batch.chains))
    for entry in verified:
        digest, seq, enrolment_id = entry.file.digest, entry.signed.report.chain.seq, entry.key.enrolment_id
        if digest in batch.imported:
            add_replay(entry.file, batch.imported[digest], result)
            continue
        batch.imported[digest] = (entry.key.site, seq, now)
        others = (
            judge_claims(claims.get((enrolment_id, seq), set()), seq, entry.signed.digest),
            library.equivocation(connection, entry.signed.report, known),
        )
        judged = judge(entry.signed, batch.chains[enrolment_id], known, now)
        judged += tuple(finding for finding in others if finding)
        _add_report(batch, entry, judged)
        site_result = result.sites.setdefault(entry.key.site, SiteResult())
        site_result.new.append(seq)
        site_result.findings += [(seq, finding) for finding in judged]
        result.counts["report"] = result.counts.get("report", 0) + 1
    for table, new in ((reports, batch.reports), (positions, batch.positions), (findings, batch.findings)):
        if new:
            connection.execute(insert(table), new)
    changed = [{"of": enrolment_id, **vars(standing)} for enrolment_id, standing in batch.standings.items()]
    connection.execute(update(standings).where(standings.c.enrolment_id == bindparam("of")), changed)
    settle_quarantine(connection, sorted(batch.imported), now)


def _add_report(batch: _Batch, entry: VerifiedReport, judged: tuple[ReportFinding, ...]) -> None:
    """Add one judged report to its chain, its standing, and the rows to write."""
    seq, enrolment_id = entry.signed.report.chain.seq, entry.key.enrolment_id
    chain, standing = batch.chains[enrolment_id], batch.standings[enrolment_id]
    set_aside = chain.set_aside_from(entry.signed) is not None
    before = {number for number, _ in named_positions(entry.signed) if chain.known.get(number)}
    new = chain.add(entry.signed)
    # A report that is set aside is kept, but neither fills its number nor becomes the newest. 0 is the enrolment.
    standing.places_known += len({number for number, _, refused in new if number and not refused} - before)
    batch.positions += [
        {"enrolment_id": enrolment_id, "seq": number, "digest": digest, "refused": refused}
        for number, digest, refused in new
    ]
    row = _report_row(entry, chain, batch.library)
    batch.reports.append(row | {"received_at": batch.at, "refused": set_aside})
    alarms = [vars(finding) for finding in judged if finding.alarm]
    of_report = {"enrolment_id": enrolment_id, "report": entry.signed.digest, "found_at": batch.at}
    batch.findings += [finding | of_report for finding in alarms]
    standing.alarms += len(alarms)
    if seq > standing.newest_seq and not set_aside:
        standing.newest_seq, standing.report = seq, entry.signed.digest
    forks = [number for number in (chain.forked_at, standing.forked_at) if number is not None]
    standing.forked_at = min(forks, default=None)


def _report_row(entry: VerifiedReport, chain: ReportChain, library: Library) -> dict[str, object]:
    report = entry.signed.report
    installed = report.install.release
    running, parts = count_running(report)
    return {
        "digest": entry.signed.digest,
        "enrolment_id": entry.key.enrolment_id,
        "seq": report.chain.seq,
        "previous": report.chain.previous,
        "made_at": parse_time(report.chain.made_at),
        "release": installed.digest if installed else None,
        "version": installed.version if installed else None,
        "channel": report.trust.channel,
        "state": report.install.state,
        "running": running,
        "parts": parts,
        "config_version": report.config.schema_version,
        "root_version": report.trust.root.version,
        "verifier": report.verifier.version,
        "raw": entry.file.raw,
        "not_before": chain.challenges.get(report.chain.challenge or ""),
        "challenge": report.chain.challenge,
        "as_released": is_as_released(report, library),
        "failing": " ".join(probe.probe for probe in report.health if probe.state == "failing"),
    }


class _Bodies(dict[int, Report]):
    """Reports of one enrolment by number, read from the ledger when a rule needs one."""

    def __init__(self, connection: Connection, enrolment_id: int) -> None:
        super().__init__()
        self._connection = connection
        self._enrolment_id = enrolment_id

    def __missing__(self, seq: int) -> Report:
        here = (reports.c.enrolment_id == self._enrolment_id) & (reports.c.seq == seq)
        query = select(reports.c.raw).where(here).order_by(reports.c.received_at, reports.c.digest).limit(1)
        self[seq] = stored_report(self._connection.execute(query).scalar_one())
        return self[seq]


def _read_chains(
    connection: Connection, verified: list[VerifiedReport]
) -> tuple[dict[int, ReportChain], dict[int, _Standing]]:
    """Read the part of each enrolment's chain that this batch touches, and its standing."""
    touched: dict[int, set[int]] = {}
    lowest: dict[int, int] = {}
    keys: dict[int, ReportingKey] = {}
    for entry in verified:
        enrolment_id = entry.key.enrolment_id
        # The key with the most rotations: one that this batch brings counts for the whole batch.
        if enrolment_id not in keys or len(entry.key.spans) > len(keys[enrolment_id].spans):
            keys[enrolment_id] = entry.key
        lowest.setdefault(enrolment_id, entry.signed.report.chain.seq)  # `verified` is sorted by number
        touched.setdefault(enrolment_id, set()).update(seq for seq, _ in named_positions(entry.signed))
    ids = sorted(keys)
    query = select(standings, reports.c.raw).outerjoin(reports, standings.c.report == reports.c.digest)
    query = query.where(standings.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    held: dict[int, _Standing] = {}
    chains: dict[int, ReportChain] = {}
    # FOR UPDATE: two importers on one PostgreSQL must not both read a standing and then both write it.
    for row in connection.execute(query.with_for_update(of=standings), {"ids": ids}).mappings().all():
        key = keys[row["enrolment_id"]]
        standing = held[key.enrolment_id] = _Standing(**{column.name: row[column.name] for column in fields(_Standing)})
        chains[key.enrolment_id] = _read_chain(connection, key, lowest[key.enrolment_id], standing, row["raw"])
    _load_positions(connection, touched, chains)
    _load_sent(connection, verified, chains)
    _load_requested(connection, verified, chains)
    _load_authorised(connection, verified, chains)
    return chains, held


_HELD = (
    select(reports.c.seq)
    .distinct()
    .where(
        (reports.c.enrolment_id == bindparam("one"))
        & reports.c.refused.is_(False)
        & (
            reports.c.seq
            >= select(func.coalesce(func.max(reports.c.seq), 0))
            .where((reports.c.enrolment_id == bindparam("one")) & (reports.c.seq < bindparam("low")))
            .where(reports.c.refused.is_(False))
            .scalar_subquery()
        )
    )
)


def _read_chain(
    connection: Connection, key: ReportingKey, lowest: int, standing: _Standing, newest: bytes | None
) -> ReportChain:
    bodies = _Bodies(connection, key.enrolment_id)
    held: list[int] = []
    if newest is not None:
        held = [standing.newest_seq]
        if lowest <= standing.newest_seq:
            held = sorted(connection.execute(_HELD, {"one": key.enrolment_id, "low": lowest}).scalars())
        bodies[standing.newest_seq] = stored_report(newest)
    return ReportChain(
        site=key.site,
        key_epoch=key.key_epoch,
        enrolment=key.enrolment,
        first_policy=key.first_policy,
        known={},
        held=held,
        bodies=bodies,
        held_digests=set(),
        spans={span.key_epoch: (span.after, span.until) for span in key.spans},
        standing=key.standing,
        closed_at=key.closed_at,
    )


def _load_positions(connection: Connection, touched: Mapping[int, set[int]], chains: Mapping[int, ReportChain]) -> None:
    """Read the known digests at the numbers that this batch names; one query for all enrolments."""
    pairs = sorted((enrolment_id, seq) for enrolment_id, seqs in touched.items() for seq in seqs)
    columns = (positions.c.enrolment_id, positions.c.seq, positions.c.digest, positions.c.refused)
    here = tuple_(positions.c.enrolment_id, positions.c.seq)
    for at in range(0, len(pairs), MAX_ASKED):
        query = select(*columns).where(here.in_(pairs[at : at + MAX_ASKED]))
        for enrolment_id, seq, digest, refused in connection.execute(query):
            chain = chains[enrolment_id]
            (chain.refused if refused else chain.known).setdefault(seq, set()).add(digest)


def _load_sent(connection: Connection, verified: list[VerifiedReport], chains: Mapping[int, ReportChain]) -> None:
    """Read the challenges and acknowledgements that these sites were sent, and which acknowledged reports are here."""
    sent = (
        select(enrolments.c.id, consignments.c.challenge, consignments.c.issued_at, consignments.c.acknowledged)
        .join(consignments, consignments.c.site_id == enrolments.c.site_id)
        .where(enrolments.c.id.in_(bindparam("ids", expanding=True)))
    )
    for enrolment_id, challenge, issued_at, acknowledged in connection.execute(sent, {"ids": sorted(chains)}):
        chains[enrolment_id].challenges[challenge] = issued_at
        if acknowledged is not None:
            chains[enrolment_id].acknowledged.add(acknowledged)
    claimed = {one.signed.report.chain.acknowledged for one in verified}
    digests = sorted({acknowledged.digest for acknowledged in claimed if acknowledged})
    for at in range(0, len(digests), MAX_ASKED):
        held = reports.c.digest.in_(digests[at : at + MAX_ASKED])
        for enrolment_id, digest in connection.execute(select(reports.c.enrolment_id, reports.c.digest).where(held)):
            if enrolment_id in chains:
                chains[enrolment_id].held_digests.add(digest)


def _sent_consignments(
    connection: Connection, enrolment_id: int, numbers: list[int] | None = None
) -> Iterator[tuple[int, Consignment]]:
    """Number and content of a site's consignments, newest first; those of ``numbers``, else the newest few."""
    query = (
        select(consignments.c.number, consignments.c.raw)
        .join(enrolments, enrolments.c.site_id == consignments.c.site_id)
        .where(enrolments.c.id == enrolment_id)
        .order_by(consignments.c.number.desc())
    )
    query = query.limit(MAX_CARRIERS) if numbers is None else query.where(consignments.c.number.in_(numbers))
    for number, raw in connection.execute(query):
        yield number, peek_consignment(raw, f"consignment {number}")


def _load_requested(connection: Connection, verified: list[VerifiedReport], chains: Mapping[int, ReportChain]) -> None:
    """Read the requests that the answers in this batch name."""
    wanted: dict[int, set[int]] = {}
    for entry in verified:
        for answer in entry.signed.report.requests:
            if answer.consignment is None:
                continue
            wanted.setdefault(entry.key.enrolment_id, set()).add(answer.consignment)
    for enrolment_id, numbers in wanted.items():
        for number, consignment in _sent_consignments(connection, enrolment_id, sorted(numbers)[:MAX_ASKED]):
            for request in consignment.requests:
                chains[enrolment_id].requested[number, request.request] = request.handler


def _load_authorised(connection: Connection, verified: list[VerifiedReport], chains: Mapping[int, ReportChain]) -> None:
    """Read the authorisations that may have allowed the new rollbacks below the floor in this batch."""
    left: dict[int, set[str]] = {}
    for entry in verified:
        report = entry.signed.report
        if any(rollback.authorisation for rollback in report.rollbacks):
            before = chains[entry.key.enrolment_id].before(report.chain.seq)
            known = before.rollbacks if before else ()
            if new := {one.left for one in report.rollbacks if one.authorisation and one not in known}:
                left.setdefault(entry.key.enrolment_id, set()).update(new)
    for enrolment_id, digests in left.items():
        chain = chains[enrolment_id]
        for number, consignment in _sent_consignments(connection, enrolment_id):
            for envelope in consignment.authorisations:
                chain.authorised[digest_of(envelope.payload_bytes)] = number
        query = select(releases.c.raw).where(releases.c.digest.in_(sorted(digests)[:MAX_CARRIERS]))
        for raw in connection.execute(query).scalars():
            if parse_release(raw).authorisations:
                chain.authorising.add(digest_of(raw))
