"""Import a medium: first the heads of bundles, then reports, in batches.

Per batch of files: 1 read, bounded; 2 find the enrolled key that each names; 3 verify signature, then shape,
while the batch before is written; 4 judge against the site's chain of reports; 5 write everything of the batch
in one transaction, so that of each file either all is in the ledger or nothing. A refused file of ours goes to
quarantine with its bytes; a file seen before changes nothing. Armoured text and QR symbols are decoded to the
same files first; symbols wait until all pictures have been read.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.exc import DBAPIError

from fleet.intake.pictures import MAX_PICTURE, is_picture, read_symbols
from fleet.intake.quarantine import File, put_aside
from fleet.intake.releases import learn_bundle
from fleet.intake.report_chains import Good, ReleaseLibrary, known_digests, note_replay, write_reports
from fleet.intake.reporting_keys import ReportingKey, find_reporting_keys, identify, learn_rotations
from fleet.intake.result import FileResult, Imported
from fleet.intake.scan import ScannedFile, claimed_key, is_release_signature, read_start, recognise, walk
from fleet.intake.signature_pool import Checked, Checker, checker, collect
from fleet.intake.transports import Carried, Pool, from_armour, scanned_texts
from fleet.ledger.opening import database_error
from fleet.ledger.tables import quarantine
from manifests.documents.report import MAX_REPORT
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, WaybillError

BATCH = 250


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
                result.add(learn_bundle(engine, entry, now))
            elif entry.kind == "small":
                small.append(entry.path)
            elif entry.kind == "unreadable":
                result.add(FileResult(entry.path, "unreadable", entry.why, "file-unreadable"))
            elif entry.kind == "special":
                result.add(FileResult(entry.path, "skipped", entry.why))
            else:
                _large(engine, entry, now, result, pool)
        with checker(len(small)) as hands:
            learned = _take(engine, _files(small, pool, result), hands, now, result)
        for keyid in sorted(learned):
            _take_again(engine, quarantine.c.keyid == keyid, now, result)
    except DBAPIError as error:
        raise database_error(error, engine.url.render_as_string(hide_password=True)) from None
    return result


def import_again(engine: Engine, keyid: str, now: datetime) -> Imported:
    """Judge anew what lies in quarantine and names the key ``keyid``, which was just enrolled."""
    result = Imported()
    _take_again(engine, quarantine.c.keyid == keyid, now, result)
    return result


def judge_again(engine: Engine, digest: str, now: datetime) -> Imported:
    """Judge one quarantined file anew: what was not known when it came may be known now."""
    result = Imported()
    _take_again(engine, quarantine.c.digest == digest, now, result)
    return result


def _take(
    engine: Engine, batches: Iterable[list[File]], hands: Checker, now: datetime, result: Imported
) -> frozenset[str]:
    """Batch by batch: the next one's signatures are checked while one is written. Returns the keys learned."""
    shelf = ReleaseLibrary()
    learned: frozenset[str] = frozenset()
    ahead = None
    for files in batches:
        begun = _begin(engine, files, hands)
        if ahead is not None:
            learned |= _finish(engine, ahead, shelf, now, result)
        ahead = begun
    if ahead is not None:
        learned |= _finish(engine, ahead, shelf, now, result)
    return learned


def _take_again(engine: Engine, which: ColumnElement[bool], now: datetime, result: Imported) -> None:
    wanted = which & quarantine.c.settled_at.is_(None) & (quarantine.c.size <= MAX_REPORT)
    with engine.connect().execution_options(waybill_reading=True) as connection:
        digests = connection.execute(select(quarantine.c.digest).where(wanted).order_by(quarantine.c.digest)).scalars()
        waiting = list(digests)
    with checker(0) as hands:
        _take(engine, (_kept(engine, batch) for batch in _batches(waiting)), hands, now, result)


def _kept(engine: Engine, digests: list[str]) -> list[File]:
    query = select(quarantine.c.name, quarantine.c.digest, quarantine.c.raw).where(quarantine.c.digest.in_(digests))
    with engine.connect().execution_options(waybill_reading=True) as connection:
        return [File(row.name, row.raw, row.digest, claimed_key(row.raw)) for row in connection.execute(query)]


@dataclass(frozen=True)
class _Begun:
    """A batch whose signatures are being checked.

    Attributes:
        speakers: Parallel to ``files``; None where no enrolled key is named.
        parts: Results for the files that have a speaker and were not known.
    """

    files: list[File]
    speakers: list[ReportingKey | WaybillError | None]
    parts: list[Future[list[Checked]]]
    checked: list[int]


def _begin(engine: Engine, files: list[File], hands: Checker) -> _Begun:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        known = known_digests(connection, [one.digest for one in files])
        keys = find_reporting_keys(connection, [one for one in files if one.digest not in known])
    speakers = [keys.get(one.keyid or "") for one in files]
    jobs, checked = [], []
    for i, (file, speaker) in enumerate(zip(files, speakers, strict=True)):
        if isinstance(speaker, ReportingKey) and file.digest not in known:
            jobs.append((file.raw, speaker.key, file.name))
            checked.append(i)
    return _Begun(files=files, speakers=speakers, parts=hands.submit(jobs), checked=checked)


def _finish(engine: Engine, begun: _Begun, shelf: ReleaseLibrary, now: datetime, result: Imported) -> frozenset[str]:
    """Judge and write one batch; returns the keys that it made known."""
    learned: frozenset[str] = frozenset()
    checked = dict(zip(begun.checked, collect(begun.parts), strict=True))
    good: list[Good] = []
    refused: list[tuple[File, int, WaybillError]] = []
    with engine.begin() as connection:
        known = known_digests(connection, [one.digest for one in begun.files])
        for i, (file, speaker) in enumerate(zip(begun.files, begun.speakers, strict=True)):
            if file.digest in known:
                note_replay(file, known[file.digest], result)
                continue
            try:
                found, signed = identify(file, speaker, checked.get(i))
                learned |= learn_rotations(connection, found, now)
                good.append((file, found, signed))
            except WaybillError as error:
                if error.finding == "site-unknown" and is_release_signature(file.raw):
                    result.add(FileResult(file.name, "skipped", "a signature of a release"))
                else:
                    refused.append((file, len(file.raw), error))
        good.sort(key=lambda one: (one[1].enrolment_id, one[2].report.chain.seq, one[0].name))
        write_reports(connection, shelf, good, now, result)
        put_aside(connection, refused, now, result)
    return learned


def _files(paths: list[str], pool: Pool, result: Imported) -> Iterator[list[File]]:
    """What is to be judged, in batches; what the pictures held comes last."""
    for batch in _batches(paths):
        yield list(_read(batch, pool, result))
    if pool.left_out:
        result.add(
            FileResult(f"{pool.left_out} QR symbols", "unreadable", "more than one import takes in", "qr-too-many")
        )
    yield [one for carried in pool.reports() for one in _of_symbols(carried, result)]


def _of_symbols(carried: Carried, result: Imported) -> Iterator[File]:
    """A set that is not whole stays on its medium: pieces of it are nothing that could be kept and judged later."""
    if isinstance(carried.found, bytes):
        yield File(carried.name, carried.found, digest_of(carried.found), claimed_key(carried.found))
    else:
        error = carried.found
        result.add(FileResult(carried.name, "unreadable", error.problem, error.finding, error.remedy))


def _of_text(raw: bytes, path: str) -> Iterator[File]:
    for carried in from_armour(raw, path):
        if isinstance(carried.found, bytes):
            yield File(carried.name, carried.found, digest_of(carried.found), claimed_key(carried.found))
        else:
            yield File(carried.name, raw, digest_of(raw), None, carried.found)


def _look(raw: bytes, path: str, pool: Pool, result: Imported) -> None:
    """Look at a picture for symbols of ours."""
    before = len(pool.symbols) + pool.left_out
    try:
        problems = list(pool.add(read_symbols(raw, path), path))
    except WaybillError as error:
        problems = [error]
    _name(problems, path, result)
    if not problems and len(pool.symbols) + pool.left_out == before:
        result.add(FileResult(path, "skipped", "a picture without a symbol of ours"))


def _name(problems: list[WaybillError], path: str, result: Imported) -> None:
    for error in problems:
        result.add(FileResult(path, "unreadable", error.problem, error.finding, error.remedy))


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _read(batch: list[str], pool: Pool, result: Imported) -> Iterator[File]:
    for path in batch:
        try:
            raw = read_start(path, MAX_REPORT + 1)
        except OSError as error:
            result.add(FileResult(path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable"))
            continue
        claim = recognise(raw)
        if claim == "report":
            yield File(path, raw, digest_of(raw), claimed_key(raw))
        elif claim == "armour":
            yield from _of_text(raw, path)
        elif claim == "picture":
            _look(raw, path, pool, result)
        elif claim == "scanned":
            _name(list(pool.add(scanned_texts(raw), path)), path, result)
        elif claim == "enrolment":
            hint = f"compare its fingerprint with the customer: waybill fleet enroll {path}"
            result.add(FileResult(path, "skipped", "an enrolment", "enrolment-found", hint))
        elif claim == "other":
            result.add(FileResult(path, "skipped", "a document that the ledger does not take"))
        else:
            result.add(FileResult(path, "skipped", "not ours"))


def _large(engine: Engine, entry: ScannedFile, now: datetime, result: Imported, pool: Pool) -> None:
    """A file too long for a report: a picture, foreign, or a report that somebody lengthened."""
    try:
        raw = read_start(entry.path, MAX_REPORT)
        size = Path(entry.path).stat().st_size
        if is_picture(raw) and size <= MAX_PICTURE:
            _look(read_start(entry.path, MAX_PICTURE), entry.path, pool, result)
            return
    except OSError as error:
        result.add(FileResult(entry.path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable"))
        return
    if not raw.startswith(b'{"dsseEnvelope"'):
        result.add(FileResult(entry.path, "skipped", "not ours"))
        return
    long = MalformedError(f"{size} bytes, a report has at most {MAX_REPORT}", finding="report-too-long")
    with engine.begin() as connection:
        put_aside(connection, [(File(entry.path, raw, digest_of(raw), None), size, long)], now, result)
