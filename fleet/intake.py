"""Taking in what came back: bundle heads, so that releases are known, then reports, judged one by one.

Per batch of files: 1 read, bounded; 2 find the enrolled key that each names; 3 verify signature, then shape, while the
batch before is written; 4 judge against the site's line; 5 write everything of the batch in one transaction, so that of
each file either all is in the ledger or nothing. What claims to be ours and is refused goes to quarantine with its
bytes; a file seen before changes nothing. Armoured text and QR symbols are made into the very files first; symbols
wait until all pictures have been looked at.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, bindparam, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from content.head import VerifiedHead, open_head, verify_head
from fleet.carriers import Carried, Pool, from_armour, scanned_texts
from fleet.checking import Checked, Checker, checker, collect
from fleet.judge import Finding, KnownRelease, Library, Line, claims, count_running, judge
from fleet.ledger.opening import database_error
from fleet.ledger.tables import (
    components,
    consignments,
    enrolments,
    findings,
    positions,
    quarantine,
    releases,
    reports,
    roots,
    sites,
    standings,
)
from fleet.pictures import MAX_PICTURE, is_picture, read_symbols
from fleet.recognise import claimed_key, is_release_signature, recognise
from fleet.spoken import judge_spoken, load_spoken
from fleet.walk import Entry, read_start, walk
from manifests.canonical import decode
from manifests.console import rfc3339
from manifests.digest import digest_of
from manifests.enrolment import verify_enrolment
from manifests.envelope import SigstoreBundle
from manifests.errors import MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.keys import PublicKey, decode_base64
from manifests.report import MAX_REPORT, Expected, Report, ReportStatement, SignedReport, expected_components
from manifests.trust import Pin

BATCH = 250
# Rows of each sort that a result lists; the rest is counted.
MAX_LISTED = 1000
MAX_FOREIGN = 20

Status = Literal["release", "report", "known", "quarantined", "unreadable", "skipped"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    status: Status
    text: str
    finding: str = ""
    hint: str = ""


@dataclass
class SiteNews:
    """What an import brought of one site."""

    new: list[int] = field(default_factory=list)
    known: int = 0
    findings: list[tuple[int, Finding]] = field(default_factory=list)


@dataclass
class Imported:
    """The result of one import; lists are capped, counts are not."""

    counts: dict[Status, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    sites: dict[str, SiteNews] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] = self.counts.get(outcome.status, 0) + 1
        # Photographs and kits must not push the one refused report out of sight.
        most = MAX_FOREIGN if outcome.status == "skipped" and not outcome.finding else MAX_LISTED
        if self.counts[outcome.status] <= most:
            self.outcomes.append(outcome)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Sites with at least one alarm."""
        return tuple(sorted(site for site, news in self.sites.items() if any(one.alarm for _, one in news.findings)))


@dataclass(frozen=True)
class _File:
    """A report as a file. ``refused`` when its carrier did not hold one; ``raw`` is then the carrier's text."""

    name: str
    raw: bytes
    digest: str
    keyid: str | None
    refused: WaybillError | None = None


@dataclass(frozen=True)
class _Speaker:
    """An enrolled key."""

    enrolment_id: int
    enrolment: str
    site: str
    key_epoch: int
    key: PublicKey


def import_paths(engine: Engine, paths: tuple[Path, ...], now: datetime) -> Imported:
    """Take in everything of ours below ``paths``; nothing there is changed.

    Raises:
        HostError: A path does not exist, or the database fails.
    """
    result = Imported()
    small: list[str] = []
    pool = Pool()
    try:
        for entry in walk(paths):
            if entry.kind == "bundle":
                result.add(_bundle(engine, entry, now))
            elif entry.kind == "small":
                small.append(entry.path)
            elif entry.kind == "unreadable":
                result.add(Outcome(entry.path, "unreadable", entry.why, "file-unreadable"))
            elif entry.kind == "special":
                result.add(Outcome(entry.path, "skipped", entry.why))
            else:
                _large(engine, entry, now, result, pool)
        with checker(len(small)) as hands:
            ahead = None
            for files in _files(small, pool, result):
                begun = _begin(engine, files, hands)
                if ahead is not None:
                    _finish(engine, ahead, now, result)
                ahead = begun
            if ahead is not None:
                _finish(engine, ahead, now, result)
    except DBAPIError as error:
        raise database_error(error, engine.url.render_as_string(hide_password=True)) from None
    return result


def import_again(engine: Engine, keyid: str, now: datetime) -> Imported:
    """Judge anew what lies in quarantine and names the key ``keyid``, which was just enrolled."""
    result = Imported()
    wanted = (quarantine.c.keyid == keyid) & quarantine.c.settled_at.is_(None) & (quarantine.c.size <= MAX_REPORT)
    with engine.connect().execution_options(waybill_reading=True) as connection:
        rows = connection.execute(select(quarantine.c.name, quarantine.c.raw).where(wanted)).all()
    files = [_File(row.name, row.raw, digest_of(row.raw), keyid) for row in rows]
    with checker(0) as hands:
        _finish(engine, _begin(engine, files, hands), now, result)
    return result


@dataclass(frozen=True)
class _Begun:
    """A batch whose signatures are being checked.

    Attributes:
        speakers: Parallel to ``files``; None where no enrolled key is named.
        parts: Results for the files that have a speaker and were not known.
    """

    files: list[_File]
    speakers: list[_Speaker | None]
    parts: list[Future[list[Checked]]]
    checked: list[int]


def _begin(engine: Engine, files: list[_File], hands: Checker) -> _Begun:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        keys = _speakers(connection, {one.keyid for one in files if one.keyid})
        known = _known_digests(connection, [one.digest for one in files])
    speakers = [keys.get(one.keyid or "") for one in files]
    jobs, checked = [], []
    for i, (file, speaker) in enumerate(zip(files, speakers, strict=True)):
        if speaker is not None and file.digest not in known:
            jobs.append((file.raw, speaker.key, file.name))
            checked.append(i)
    return _Begun(files=files, speakers=speakers, parts=hands.submit(jobs), checked=checked)


def _finish(engine: Engine, begun: _Begun, now: datetime, result: Imported) -> None:
    """Judge and write one batch."""
    checked = dict(zip(begun.checked, collect(begun.parts), strict=True))
    good: list[tuple[_File, _Speaker, SignedReport]] = []
    refused: list[tuple[_File, int, WaybillError]] = []
    with engine.begin() as connection:
        known = _known_digests(connection, [one.digest for one in begun.files])
        for i, (file, speaker) in enumerate(zip(begun.files, begun.speakers, strict=True)):
            if file.digest in known:
                _replayed(file, known[file.digest], result)
                continue
            try:
                good.append((file, *_identify(file, speaker, checked.get(i))))
            except WaybillError as error:
                if error.finding == "site-unknown" and is_release_signature(file.raw):
                    result.add(Outcome(file.name, "skipped", "a signature of a release"))
                else:
                    refused.append((file, len(file.raw), error))
        good.sort(key=lambda one: (one[1].enrolment_id, one[2].report.chain.seq, one[0].name))
        _write(connection, good, now, result)
        _quarantine(connection, refused, now, result)


def _files(paths: list[str], pool: Pool, result: Imported) -> Iterator[list[_File]]:
    """What is to be judged, in batches; what the pictures held comes last."""
    for batch in _batches(paths):
        yield list(_read(batch, pool, result))
    if pool.left_out:
        result.add(Outcome(f"{pool.left_out} QR symbols", "unreadable", "more than one import takes in", "qr-too-many"))
    yield [one for carried in pool.reports() for one in _of_symbols(carried, result)]


def _of_symbols(carried: Carried, result: Imported) -> Iterator[_File]:
    """A set that is not whole stays on its medium: pieces of it are nothing that could be kept and judged later."""
    if isinstance(carried.found, bytes):
        yield _File(carried.name, carried.found, digest_of(carried.found), claimed_key(carried.found))
    else:
        error = carried.found
        result.add(Outcome(carried.name, "unreadable", error.problem, error.finding, error.remedy))


def _of_text(raw: bytes, path: str) -> Iterator[_File]:
    for carried in from_armour(raw, path):
        if isinstance(carried.found, bytes):
            yield _File(carried.name, carried.found, digest_of(carried.found), claimed_key(carried.found))
        else:
            yield _File(carried.name, raw, digest_of(raw), None, carried.found)


def _look(raw: bytes, path: str, pool: Pool, result: Imported) -> None:
    """Look at a picture for symbols of ours."""
    before = len(pool.symbols) + pool.left_out
    try:
        problems = list(pool.add(read_symbols(raw, path), path))
    except WaybillError as error:
        problems = [error]
    _name(problems, path, result)
    if not problems and len(pool.symbols) + pool.left_out == before:
        result.add(Outcome(path, "skipped", "a picture without a symbol of ours"))


def _name(problems: list[WaybillError], path: str, result: Imported) -> None:
    for error in problems:
        result.add(Outcome(path, "unreadable", error.problem, error.finding, error.remedy))


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _read(batch: list[str], pool: Pool, result: Imported) -> Iterator[_File]:
    for path in batch:
        try:
            raw = read_start(path, MAX_REPORT + 1)
        except OSError as error:
            result.add(Outcome(path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable"))
            continue
        claim = recognise(raw)
        if claim == "report":
            yield _File(path, raw, digest_of(raw), claimed_key(raw))
        elif claim == "armour":
            yield from _of_text(raw, path)
        elif claim == "picture":
            _look(raw, path, pool, result)
        elif claim == "scanned":
            _name(list(pool.add(scanned_texts(raw), path)), path, result)
        elif claim == "enrolment":
            hint = f"compare its fingerprint with the customer: waybill fleet enroll {path}"
            result.add(Outcome(path, "skipped", "an enrolment", "enrolment-found", hint))
        elif claim == "other":
            result.add(Outcome(path, "skipped", "a document that the ledger does not take"))
        else:
            result.add(Outcome(path, "skipped", "not ours"))


def _large(engine: Engine, entry: Entry, now: datetime, result: Imported, pool: Pool) -> None:
    """A file too long for a report: a picture, foreign, or a report that somebody lengthened."""
    try:
        raw = read_start(entry.path, MAX_REPORT)
        size = Path(entry.path).stat().st_size
        if is_picture(raw) and size <= MAX_PICTURE:
            _look(read_start(entry.path, MAX_PICTURE), entry.path, pool, result)
            return
    except OSError as error:
        result.add(Outcome(entry.path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable"))
        return
    if not raw.startswith(b'{"dsseEnvelope"'):
        result.add(Outcome(entry.path, "skipped", "not ours"))
        return
    long = MalformedError(f"{size} bytes, a report has at most {MAX_REPORT}", finding="report-too-long")
    with engine.begin() as connection:
        _quarantine(connection, [(_File(entry.path, raw, digest_of(raw), None), size, long)], now, result)


def _bundle(engine: Engine, entry: Entry, now: datetime) -> Outcome:
    """Learn a release from the head of its bundle; its bulk is not read."""
    try:
        raw = read_start(entry.path, MAX_REPORT)
        size = Path(entry.path).stat().st_size
    except OSError as error:
        return Outcome(entry.path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable")
    file = _File(entry.path, raw, digest_of(raw), None)
    with engine.begin() as connection:
        try:
            outcome = _learn(connection, _verified(connection, Path(entry.path)), entry.path, now)
        except WaybillError as error:
            gathered = Imported()
            _quarantine(connection, [(file, size, error)], now, gathered)
            return gathered.outcomes[0]
        _settle(connection, [file.digest], now)
        return outcome


def _verified(connection: Connection, path: Path) -> VerifiedHead:
    """The head, judged from the newest root of the ledger that its chain passes through."""
    head = open_head(path)
    known = connection.execute(select(roots.c.version, roots.c.digest).order_by(roots.c.version.desc())).all()
    for version, digest in known:
        try:
            return verify_head(head, Pin(version=version, digest=digest))
        except UntrustedError as error:
            if error.finding != "root-unknown":
                raise
    raise UntrustedError(
        "no root document in it is one that this fleet knows",
        where=str(path),
        remedy="name the vendor's root once: waybill fleet import --root ROOT.json",
        finding="root-unknown",
    )


def _learn(connection: Connection, head: VerifiedHead, name: str, now: datetime) -> Outcome:
    release = head.release
    shown = f"{release.product} {release.version}, {release.channel} {release.sequence}"
    if connection.execute(select(releases.c.digest).where(releases.c.digest == head.release_digest)).first():
        _learn_roots(connection, head, now)
        return Outcome(name, "known", f"{shown}: already known", "release-known")
    same = (
        (releases.c.vendor == head.chain.newest.vendor)
        & (releases.c.product == release.product)
        & (releases.c.channel == release.channel)
        & (releases.c.epoch == release.epoch)
        & (releases.c.sequence == release.sequence)
    )
    other = connection.execute(select(releases.c.digest).where(same)).scalar()
    if other is not None:
        raise RefusedError(
            f"{shown} is {head.release_digest} here; the ledger knows {other} under the same sequence",
            where=name,
            remedy="a sequence is used once; find out who signed the second release",
            finding="sequence-reused",
        )
    _learn_roots(connection, head, now)
    connection.execute(
        insert(releases).values(
            digest=head.release_digest,
            vendor=head.chain.newest.vendor,
            product=release.product,
            version=release.version,
            channel=release.channel,
            epoch=release.epoch,
            sequence=release.sequence,
            issued_at=release.issued_at,
            contract=release.contract.digest,
            practice=head.practice,
            imported_at=rfc3339(now),
            raw=head.head.release,
        )
    )
    rows = [
        {
            "release": head.release_digest,
            "kind": one.kind,
            "name": one.name,
            "step": one.step,
            "digest": one.digest,
            "wanted": one.wanted,
        }
        for one in expected_components(release)
    ]
    if rows:
        connection.execute(insert(components), rows)
    return Outcome(name, "release", shown + (" (practice)" if head.practice else ""))


def _learn_roots(connection: Connection, head: VerifiedHead, now: datetime) -> None:
    known = {row.digest: row for row in connection.execute(select(roots.c.digest, roots.c.vendor, roots.c.raw))}
    for one in head.chain.roots:
        said = {"vendor": one.root.vendor, "practice": one.root.practice, "raw": one.raw}
        found = known.get(one.fingerprint)
        if found is None:
            row = {"digest": one.fingerprint, "version": one.root.version, "pinned": False, "added_at": rfc3339(now)}
            connection.execute(insert(roots).values({**row, **said}))
        elif found.vendor is None or found.raw is None:
            # Pinned by an enrolment, which knows only version and digest.
            connection.execute(update(roots).where(roots.c.digest == one.fingerprint).values(said))


def _identify(file: _File, speaker: _Speaker | None, checked: Checked | None) -> tuple[_Speaker, SignedReport]:
    """The report and whose it is, once its signature has held."""
    if file.refused is not None:
        raise file.refused
    if speaker is None and file.keyid is not None:
        raise UntrustedError(
            f"signed by key {file.keyid[:16]}, which no enrolled site has",
            where=file.name,
            remedy="waybill fleet enroll the site, or find out who made this; the bytes are kept",
            finding="site-unknown",
        )
    if speaker is None or checked is None:
        raise MalformedError("not a report in our form", where=file.name, finding="report-malformed")
    if isinstance(checked, WaybillError):
        raise checked
    signed = checked
    identity = signed.report.identity
    if (identity.site, identity.key_epoch) != (speaker.site, speaker.key_epoch):
        raise RefusedError(
            f"it speaks for {identity.site} (key {identity.key_epoch}), "
            f"its key belongs to {speaker.site} (key {speaker.key_epoch})",
            where=file.name,
            finding="site-mismatch",
        )
    if signed.report.install.release is None and signed.subject != speaker.enrolment:
        raise RefusedError("it is about another enrolment of the site", where=file.name, finding="enrolment-mismatch")
    return speaker, signed


def _speakers(connection: Connection, keyids: set[str]) -> dict[str, _Speaker]:
    columns = (enrolments.c.id, enrolments.c.digest, enrolments.c.keyid, enrolments.c.key_epoch, enrolments.c.raw)
    query = select(*columns, sites.c.site).join(sites).where(enrolments.c.keyid.in_(bindparam("keys", expanding=True)))
    found = {}
    for row in connection.execute(query, {"keys": sorted(keyids)}):
        key = verify_enrolment(row.raw).enrolment.key
        found[row.keyid] = _Speaker(row.id, row.digest, row.site, row.key_epoch, key)
    return found


def _known_digests(connection: Connection, digests: list[str]) -> dict[str, tuple[str, int, str]]:
    query = (
        select(reports.c.digest, sites.c.site, reports.c.seq, reports.c.received_at)
        .join(enrolments, reports.c.enrolment_id == enrolments.c.id)
        .join(sites)
        .where(reports.c.digest.in_(bindparam("digests", expanding=True)))
    )
    return {row.digest: (row.site, row.seq, row.received_at) for row in connection.execute(query, {"digests": digests})}


def _replayed(file: _File, known: tuple[str, int, str], result: Imported) -> None:
    site, seq, at = known
    result.sites.setdefault(site, SiteNews()).known += 1
    result.add(Outcome(file.name, "known", f"{site}: report {seq} came before, at {at}", "report-replayed"))


def _write(
    connection: Connection, good: list[tuple[_File, _Speaker, SignedReport]], now: datetime, result: Imported
) -> None:
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
            _replayed(file, taken[file.digest], result)
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
    _settle(connection, sorted(taken), now)


def _row(file: _File, speaker: _Speaker, signed: SignedReport, at: str, not_before: str | None) -> Row:
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


def _lines(
    connection: Connection, good: list[tuple[_File, _Speaker, SignedReport]]
) -> tuple[dict[int, Line], dict[int, Row]]:
    """The part of each site's line that this batch touches, and where the line stands."""
    touched: dict[int, list[int]] = {}
    lowest: dict[int, int] = {}
    speakers: dict[int, _Speaker] = {}
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
    connection: Connection, speaker: _Speaker, seqs: list[int], lowest: int, standing: Row, newest: bytes | None
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


def _load_acknowledged(
    connection: Connection, good: list[tuple[_File, _Speaker, SignedReport]], lines: dict[int, Line]
) -> None:
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


def _settle(connection: Connection, digests: list[str], now: datetime) -> None:
    """What was refused once and is accepted now waits for nobody any more."""
    here = quarantine.c.digest.in_(bindparam("digests", expanding=True)) & quarantine.c.settled_at.is_(None)
    connection.execute(update(quarantine).where(here).values(settled_at=rfc3339(now)), {"digests": digests})


def _quarantine(
    connection: Connection, refused: list[tuple[_File, int, WaybillError]], now: datetime, result: Imported
) -> None:
    if not refused:
        return
    digests = sorted({file.digest for file, _, _ in refused})
    query = select(quarantine.c.digest).where(quarantine.c.digest.in_(bindparam("digests", expanding=True)))
    known = set(connection.execute(query, {"digests": digests}).scalars())
    rows: list[Row] = []
    for file, size, error in refused:
        result.add(Outcome(file.name, "quarantined", error.problem, error.finding, error.remedy))
        if file.digest in known:
            continue
        known.add(file.digest)
        rows.append(
            {
                "digest": file.digest,
                "name": file.name,
                "size": size,
                "raw": file.raw,
                "finding": error.finding,
                "problem": error.problem,
                "keyid": file.keyid,
                "seen_at": rfc3339(now),
            }
        )
    if rows:
        connection.execute(insert(quarantine), rows)
