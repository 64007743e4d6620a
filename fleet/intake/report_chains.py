"""Read the chains of reports that a batch touches from the ledger, judge new reports, and write them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, update

from fleet.intake.equivocation import ReleaseClaims
from fleet.intake.quarantine import File, settle
from fleet.intake.reporting_keys import ReportingKey
from fleet.intake.result import FileResult, Imported, SiteNews
from fleet.intake.telephone import judge_spoken, load_spoken
from fleet.ledger.tables import (
    components,
    consignments,
    contracts,
    enrolments,
    findings,
    positions,
    releases,
    reports,
    roots,
    sites,
    standings,
)
from fleet.rules.report_rules import count_running, is_as_released, judge
from fleet.rules.values import KnownRelease, Library, ReportChain, claims
from manifests.documents.consignment import peek_consignment
from manifests.documents.contract import parse_contract
from manifests.documents.release_reader import parse_release
from manifests.documents.report import Report, ReportStatement
from manifests.documents.report_components import Expected
from manifests.documents.report_reader import SignedReport
from manifests.trust.envelope import SigstoreBundle
from manifests.trust.keys import decode_base64
from manifests.words.canonical import decode
from manifests.words.digest import digest_of
from manifests.words.time import rfc3339

ReportRow = dict[str, Any]
# Values in one question; a database has a bound for them.
MAX_ASKED = 4000
# So many of a site's newest consignments are looked into for an authorisation.
MAX_CARRIERS = 256


Good = tuple[File, ReportingKey, SignedReport]


def known_digests(connection: Connection, digests: list[str]) -> dict[str, tuple[str, int, str]]:
    query = (
        select(reports.c.digest, sites.c.site, reports.c.seq, reports.c.received_at)
        .join(enrolments, reports.c.enrolment_id == enrolments.c.id)
        .join(sites)
        .where(reports.c.digest.in_(bindparam("digests", expanding=True)))
    )
    return {row.digest: (row.site, row.seq, row.received_at) for row in connection.execute(query, {"digests": digests})}


def note_replay(file: File, known: tuple[str, int, str], result: Imported) -> None:
    site, seq, at = known
    result.sites.setdefault(site, SiteNews()).known += 1
    result.add(FileResult(file.name, "known", f"{site}: report {seq} came before, at {at}", "report-replayed"))


class ReleaseLibrary:
    """What the vendor made, read from the ledger once for a whole import; components only of what is named."""

    def __init__(self) -> None:
        self.unknown = ReleaseClaims(stored_report)
        self._library: Library | None = None
        self._parts: dict[str, dict[tuple[str, str, str], Expected]] = {}

    def library(self, connection: Connection, named: set[str]) -> Library:
        missing = sorted(named - set(self._parts))
        if self._library is not None and not missing:
            return self._library
        self._parts |= {digest: {} for digest in missing}
        for row in connection.execute(select(components).where(components.c.release.in_(missing))):
            one = Expected(row.kind, row.name, row.step, row.digest, row.wanted)
            self._parts[row.release][(row.kind, row.name, row.step)] = one
        self._library = _library(connection, self._parts)
        return self._library


def write_reports(
    connection: Connection, shelf: ReleaseLibrary, good: list[Good], now: datetime, result: Imported
) -> None:
    """Judge reports whose signatures have held, and write them with all that follows from them."""
    if not good:
        return
    lines, standing = _lines(connection, good)
    library = shelf.library(
        connection, {one.report.install.release.digest for _, _, one in good if one.report.install.release}
    )
    rows: list[ReportRow] = []
    places: list[ReportRow] = []
    noted: list[ReportRow] = []
    taken: dict[str, tuple[str, int, str]] = {}
    told = load_spoken(connection, sorted(lines))
    at = rfc3339(now)
    for file, speaker, signed in good:
        if file.digest in taken:
            note_replay(file, taken[file.digest], result)
            continue
        taken[file.digest] = (speaker.site, signed.report.chain.seq, at)
        line, stands = lines[speaker.enrolment_id], standing[speaker.enrolment_id]
        seq = signed.report.chain.seq
        said = judge_spoken(told.get((speaker.enrolment_id, seq), set()), seq, signed.digest)
        faces = shelf.unknown.judge(connection, signed.report, library)
        found = (*judge(signed, line, library, now), *(one for one in (said, faces) if one))
        aside = line.set_aside_from(signed) is not None
        stands["places_held"] += not aside and seq not in line.held
        places += [
            {"enrolment_id": speaker.enrolment_id, "seq": s, "digest": d, "refused": refused}
            for s, d, refused in line.add(signed)
        ]
        not_before = line.challenges.get(signed.report.chain.challenge or "")
        rows.append(_row(file, speaker, signed, library, at, not_before, aside=aside))
        alarms = [one for one in found if one.alarm]
        noted += [
            {
                "enrolment_id": speaker.enrolment_id,
                "report": signed.digest,
                "finding": one.finding,
                "alarm": True,
                "text": one.text,
                "found_at": at,
            }
            for one in alarms
        ]
        stands["alarms"] += len(alarms)
        if seq > stands["newest_seq"] and not aside:
            stands.update(newest_seq=seq, report=signed.digest)
        forks = [one for one in (line.forked_at, stands["forked_at"]) if one is not None]
        stands["forked_at"] = min(forks, default=None)
        news = result.sites.setdefault(speaker.site, SiteNews())
        news.new.append(seq)
        news.findings += [(seq, one) for one in found]
        result.counts["report"] = result.counts.get("report", 0) + 1
    connection.execute(insert(reports), rows)
    if places:
        connection.execute(insert(positions), places)
    if noted:
        connection.execute(insert(findings), noted)
    _update_standings(connection, standing)
    settle(connection, sorted(taken), now)


def _row(
    file: File,
    speaker: ReportingKey,
    signed: SignedReport,
    library: Library,
    at: str,
    not_before: str | None,
    *,
    aside: bool,
) -> ReportRow:
    report = signed.report
    installed = report.install.release
    running, parts = count_running(report)
    return {
        "digest": signed.digest,
        "enrolment_id": speaker.enrolment_id,
        "seq": report.chain.seq,
        "previous": report.chain.previous,
        "made_at": report.chain.made_at,
        "received_at": at,
        "release": installed.digest if installed else None,
        "version": installed.version if installed else None,
        "channel": report.trust.channel,
        "state": report.install.state,
        "running": running,
        "parts": parts,
        "config_version": report.config.schema_version,
        "root_version": report.trust.root.version,
        "verifier": report.verifier.version,
        "raw": file.raw,
        "not_before": not_before,
        "challenge": report.chain.challenge,
        "refused": aside,
        "as_released": is_as_released(report, library),
    }


def _update_standings(connection: Connection, standing: Mapping[int, ReportRow]) -> None:
    values: dict[str, Any] = {
        name: bindparam(f"to_{name}") for name in ("report", "newest_seq", "places_held", "forked_at", "alarms")
    }
    changed = [
        {"at": enrolment_id, **{f"to_{name}": row[name] for name in values}} for enrolment_id, row in standing.items()
    ]
    connection.execute(update(standings).where(standings.c.enrolment_id == bindparam("at")).values(values), changed)


class _Bodies(dict[int, Report]):
    """Reports of one line by place, read from the ledger when a rule asks for one."""

    def __init__(self, connection: Connection, enrolment_id: int) -> None:
        super().__init__()
        self._connection = connection
        self._enrolment_id = enrolment_id

    def __missing__(self, seq: int) -> Report:
        here = (reports.c.enrolment_id == self._enrolment_id) & (reports.c.seq == seq)
        query = select(reports.c.raw).where(here).order_by(reports.c.received_at, reports.c.digest).limit(1)
        self[seq] = stored_report(self._connection.execute(query).scalar_one())
        return self[seq]


def stored_report(raw: bytes) -> Report:
    """A report of the ledger, whose signature was verified when it came in."""
    payload = decode_base64(decode(raw, SigstoreBundle, "report").envelope.payload, "report")
    return decode(payload, ReportStatement, "report").predicate


def _lines(connection: Connection, good: list[Good]) -> tuple[dict[int, ReportChain], dict[int, ReportRow]]:
    """The part of each site's line that this batch touches, and where the line stands."""
    touched: dict[int, set[int]] = {}
    lowest: dict[int, int] = {}
    speakers: dict[int, ReportingKey] = {}
    for _, speaker, signed in good:
        # The one that knows most: a rotation that this batch brings counts for all of it.
        if len(speaker.held) > len(speakers[speaker.enrolment_id].held if speaker.enrolment_id in speakers else ()):
            speakers[speaker.enrolment_id] = speaker
        lowest.setdefault(speaker.enrolment_id, signed.report.chain.seq)  # `good` is sorted by number
        touched.setdefault(speaker.enrolment_id, set()).update(seq for seq, _ in claims(signed))
    ids = sorted(speakers)
    query = select(standings, reports.c.raw).outerjoin(reports, standings.c.report == reports.c.digest)
    query = query.where(standings.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    standing: dict[int, ReportRow] = {}
    newest: dict[int, bytes | None] = {}
    # Two importers on one PostgreSQL must not both read a standing and then both write it.
    for row in connection.execute(query.with_for_update(of=standings), {"ids": ids}).mappings():
        standing[row["enrolment_id"]] = {name.name: row[name.name] for name in standings.columns}
        newest[row["enrolment_id"]] = row["raw"]
    lines = {one: _line(connection, speakers[one], lowest[one], standing[one], newest[one]) for one in ids}
    _load_places(connection, touched, lines)
    _load_acknowledged(connection, good, lines)
    _load_challenges(connection, lines)
    _load_asked(connection, good, lines)
    _load_authorised(connection, good, lines)
    return lines, standing


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


def _line(
    connection: Connection, speaker: ReportingKey, lowest: int, standing: ReportRow, newest: bytes | None
) -> ReportChain:
    bodies = _Bodies(connection, speaker.enrolment_id)
    held = [standing["newest_seq"]] if newest is not None else []
    if newest is not None and lowest <= standing["newest_seq"]:
        held = sorted(connection.execute(_HELD, {"one": speaker.enrolment_id, "low": lowest}).scalars())
    if newest is not None:
        bodies[standing["newest_seq"]] = stored_report(newest)
    return ReportChain(
        site=speaker.site,
        key_epoch=speaker.key_epoch,
        enrolment=speaker.enrolment,
        places={},
        held=held,
        bodies=bodies,
        held_digests=set(),
        spans={one.key_epoch: (one.after, one.until) for one in speaker.held},
        standing=speaker.standing,
        closed_at=speaker.closed_at,
    )


def _load_places(connection: Connection, touched: Mapping[int, set[int]], lines: Mapping[int, ReportChain]) -> None:
    """What is known to stand at the places that this batch speaks of; one question for all sites."""
    pairs = sorted((one, seq) for one, seqs in touched.items() for seq in seqs)
    columns = (positions.c.enrolment_id, positions.c.seq, positions.c.digest, positions.c.refused)
    here = tuple_(positions.c.enrolment_id, positions.c.seq)
    for at in range(0, len(pairs), MAX_ASKED):
        for one, seq, digest, refused in connection.execute(
            select(*columns).where(here.in_(pairs[at : at + MAX_ASKED]))
        ):
            line = lines[one]
            (line.refused if refused else line.places).setdefault(seq, set()).add(digest)


def _load_acknowledged(connection: Connection, good: list[Good], lines: Mapping[int, ReportChain]) -> None:
    """Of the acknowledgements that this batch holds: which reports are here, and which were really acknowledged."""
    said = sorted({one.report.chain.acknowledged.digest for _, _, one in good if one.report.chain.acknowledged})
    for at in range(0, len(said), MAX_ASKED):
        part = said[at : at + MAX_ASKED]
        query = select(reports.c.enrolment_id, reports.c.digest).where(reports.c.digest.in_(part))
        for enrolment_id, digest in connection.execute(query):
            if enrolment_id in lines:
                lines[enrolment_id].held_digests.add(digest)
        given = (
            select(enrolments.c.id, consignments.c.acknowledged)
            .join(consignments, consignments.c.site_id == enrolments.c.site_id)
            .where(enrolments.c.id.in_(sorted(lines)) & consignments.c.acknowledged.in_(part))
        )
        for enrolment_id, digest in connection.execute(given):
            lines[enrolment_id].acknowledged.add(digest)


def _load_challenges(connection: Connection, lines: Mapping[int, ReportChain]) -> None:
    """When each challenge for these sites was made, by the digest that a report echoes."""
    query = (
        select(enrolments.c.id, consignments.c.challenge, consignments.c.issued_at)
        .join(consignments, consignments.c.site_id == enrolments.c.site_id)
        .where(enrolments.c.id.in_(bindparam("ids", expanding=True)))
    )
    for enrolment_id, challenge, issued_at in connection.execute(query, {"ids": sorted(lines)}):
        lines[enrolment_id].challenges[challenge] = issued_at


def _load_asked(connection: Connection, good: list[Good], lines: Mapping[int, ReportChain]) -> None:
    """The requests that the answers of this batch are to."""
    wanted = {(speaker.enrolment_id, one.consignment) for _, speaker, signed in good for one in signed.report.requests}
    for enrolment_id in sorted({one for one, _ in wanted}):
        numbers = sorted(number for one, number in wanted if one == enrolment_id)
        query = (
            select(consignments.c.number, consignments.c.raw)
            .join(enrolments, enrolments.c.site_id == consignments.c.site_id)
            .where((enrolments.c.id == enrolment_id) & consignments.c.number.in_(numbers[:MAX_ASKED]))
        )
        for number, raw in connection.execute(query):
            for request in peek_consignment(raw, f"consignment {number}").requests:
                lines[enrolment_id].asked[number, request.request] = request.handler


def _load_authorised(connection: Connection, good: list[Good], lines: Mapping[int, ReportChain]) -> None:
    """Who may have allowed the ways below the floor that this batch tells of first."""
    left: dict[int, set[str]] = {}
    for _, speaker, signed in good:
        told = [one for one in signed.report.rollbacks if one.authorisation]
        if not told:
            continue
        before = lines[speaker.enrolment_id].before(signed.report.chain.seq)
        known = set(before.rollbacks) if before else set()
        if new := {one.left for one in told if one not in known}:
            left.setdefault(speaker.enrolment_id, set()).update(new)
    for enrolment_id, digests in left.items():
        line = lines[enrolment_id]
        query = (
            select(consignments.c.number, consignments.c.raw)
            .join(enrolments, enrolments.c.site_id == consignments.c.site_id)
            .where(enrolments.c.id == enrolment_id)
            .order_by(consignments.c.number.desc())
            .limit(MAX_CARRIERS)
        )
        for number, raw in connection.execute(query):
            for envelope in peek_consignment(raw, f"consignment {number}").authorisations:
                line.authorised[digest_of(envelope.payload_bytes)] = number
        for raw in connection.execute(
            select(releases.c.raw).where(releases.c.digest.in_(sorted(digests)[:MAX_CARRIERS]))
        ).scalars():
            if parse_release(raw).authorisations:
                line.sealing.add(digest_of(raw))


def _library(connection: Connection, parts: Mapping[str, Mapping[tuple[str, str, str], Expected]]) -> Library:
    columns = [one for one in releases.columns if one.name != "raw"]
    known = {
        row.digest: KnownRelease(
            digest=row.digest,
            product=row.product,
            version=row.version,
            channel=row.channel,
            epoch=row.epoch,
            sequence=row.sequence,
            contract=row.contract,
            components=parts.get(row.digest, {}),
        )
        for row in connection.execute(select(*columns))
    }
    versions: dict[int, set[str]] = {}
    for version, digest in connection.execute(select(roots.c.version, roots.c.digest)):
        versions.setdefault(version, set()).add(digest)
    optional = {
        digest: frozenset(word for signal in parse_contract(raw).signals for word in signal.optional)
        for digest, raw in connection.execute(select(contracts.c.digest, contracts.c.raw))
    }
    return Library(
        releases=known,
        roots={version: frozenset(found) for version, found in versions.items()},
        optional=optional,
    )
