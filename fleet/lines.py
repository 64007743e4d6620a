"""Sites' lines of reports: read from the ledger as far as a batch touches them, judged, and written back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from fleet.judge import KnownRelease, Library, Line, claims, count_running, judge
from fleet.ledger.tables import (
    components,
    consignments,
    enrolments,
    findings,
    positions,
    releases,
    reports,
    roots,
    sites,
    standings,
)
from fleet.outcome import Imported, Outcome, SiteNews
from fleet.quarantine import File, settle
from fleet.speakers import Speaker
from fleet.spoken import judge_spoken, load_spoken
from manifests.canonical import decode
from manifests.console import rfc3339
from manifests.envelope import SigstoreBundle
from manifests.keys import decode_base64
from manifests.report import Expected, Report, ReportStatement, SignedReport

Row = dict[str, Any]
Good = tuple[File, Speaker, SignedReport]


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
    result.add(Outcome(file.name, "known", f"{site}: report {seq} came before, at {at}", "report-replayed"))


def write_reports(connection: Connection, good: list[Good], now: datetime, result: Imported) -> None:
    if not good:
        return
    lines, standing = _lines(connection, good)
    library = _library(
        connection, {one.report.install.release.digest for _, _, one in good if one.report.install.release}
    )
    rows: list[Row] = []
    places: list[Row] = []
    noted: list[Row] = []
    taken: dict[str, tuple[str, int, str]] = {}
    _load_challenges(connection, lines)
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
        found = (*judge(signed, line, library, now), *([said] if said else []))
        stands["places_held"] += seq not in line.held
        places += [{"enrolment_id": speaker.enrolment_id, "seq": s, "digest": d} for s, d in line.add(signed)]
        rows.append(_row(file, speaker, signed, at, line.challenges.get(signed.report.chain.challenge or "")))
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
        if seq > stands["newest_seq"]:
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


def _row(file: File, speaker: Speaker, signed: SignedReport, at: str, not_before: str | None) -> Row:
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
    }


def _update_standings(connection: Connection, standing: Mapping[int, Row]) -> None:
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


def _lines(connection: Connection, good: list[Good]) -> tuple[dict[int, Line], dict[int, Row]]:
    """The part of each site's line that this batch touches, and where the line stands."""
    touched: dict[int, list[int]] = {}
    lowest: dict[int, int] = {}
    speakers: dict[int, Speaker] = {}
    for _, speaker, signed in good:
        speakers[speaker.enrolment_id] = speaker
        lowest.setdefault(speaker.enrolment_id, signed.report.chain.seq)  # `good` is sorted by number
        touched.setdefault(speaker.enrolment_id, []).extend(seq for seq, _ in claims(signed))
    ids = sorted(speakers)
    query = select(standings, reports.c.raw).outerjoin(reports, standings.c.report == reports.c.digest)
    query = query.where(standings.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    standing: dict[int, Row] = {}
    newest: dict[int, bytes | None] = {}
    # Two importers on one PostgreSQL must not both read a standing and then both write it.
    for row in connection.execute(query.with_for_update(of=standings), {"ids": ids}).mappings():
        standing[row["enrolment_id"]] = {name.name: row[name.name] for name in standings.columns}
        newest[row["enrolment_id"]] = row["raw"]
    lines = {}
    for one in ids:
        lines[one] = _line(connection, speakers[one], touched[one], lowest[one], standing[one], newest[one])
    _load_acknowledged(connection, good, lines)
    return lines, standing


_PLACES = select(positions.c.seq, positions.c.digest).where(
    (positions.c.enrolment_id == bindparam("one")) & positions.c.seq.between(bindparam("low"), bindparam("high"))
)
_HELD = (
    select(reports.c.seq)
    .distinct()
    .where(
        (reports.c.enrolment_id == bindparam("one"))
        & (
            reports.c.seq
            >= select(func.coalesce(func.max(reports.c.seq), 0))
            .where((reports.c.enrolment_id == bindparam("one")) & (reports.c.seq < bindparam("low")))
            .scalar_subquery()
        )
    )
)


def _line(
    connection: Connection, speaker: Speaker, seqs: list[int], lowest: int, standing: Row, newest: bytes | None
) -> Line:
    places: dict[int, set[str]] = {}
    asked = {"one": speaker.enrolment_id, "low": min(seqs), "high": max(seqs)}
    for seq, digest in connection.execute(_PLACES, asked):
        places.setdefault(seq, set()).add(digest)
    bodies = _Bodies(connection, speaker.enrolment_id)
    held = [standing["newest_seq"]] if newest is not None else []
    if lowest <= standing["newest_seq"]:
        held = sorted(connection.execute(_HELD, {"one": speaker.enrolment_id, "low": lowest}).scalars())
    if newest is not None:
        bodies[standing["newest_seq"]] = stored_report(newest)
    return Line(
        site=speaker.site,
        key_epoch=speaker.key_epoch,
        enrolment=speaker.enrolment,
        places=places,
        held=held,
        bodies=bodies,
        held_digests=set(),
    )


def _load_acknowledged(connection: Connection, good: list[Good], lines: dict[int, Line]) -> None:
    said = sorted({one.report.chain.acknowledged.digest for _, _, one in good if one.report.chain.acknowledged})
    if said:
        query = select(reports.c.enrolment_id, reports.c.digest).where(reports.c.digest.in_(said))
        for enrolment_id, digest in connection.execute(query):
            if enrolment_id in lines:
                lines[enrolment_id].held_digests.add(digest)


def _load_challenges(connection: Connection, lines: Mapping[int, Line]) -> None:
    """When each challenge for these sites was made, by the digest that a report echoes."""
    query = (
        select(enrolments.c.id, consignments.c.challenge, consignments.c.issued_at)
        .join(consignments, consignments.c.site_id == enrolments.c.site_id)
        .where(enrolments.c.id.in_(bindparam("ids", expanding=True)))
    )
    for enrolment_id, challenge, issued_at in connection.execute(query, {"ids": sorted(lines)}):
        lines[enrolment_id].challenges[challenge] = issued_at


def _library(connection: Connection, named: set[str]) -> Library:
    """Every release in short, and the components of those that this batch names."""
    parts: dict[str, dict[tuple[str, str, str], Expected]] = {}
    for row in connection.execute(select(components).where(components.c.release.in_(sorted(named)))):
        one = Expected(row.kind, row.name, row.step, row.digest, row.wanted)
        parts.setdefault(row.release, {})[(row.kind, row.name, row.step)] = one
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
    return Library(releases=known, roots={version: frozenset(found) for version, found in versions.items()})
