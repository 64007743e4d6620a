"""Import a medium: first the heads of bundles, then reports, in batches.

Per batch of files: 1 read, bounded; 2 look up the enrolled key that each names; 3 verify signature, then shape,
while the batch before is written; 4 judge against the site's chain of reports; 5 write everything of the batch
in one transaction, so that each file is in the ledger as a whole or not at all. A refused file of ours goes to
quarantine with its bytes; a file that was imported before changes nothing. Armoured text and QR symbols are decoded
to the same files first; symbols wait until all pictures have been read.
"""

import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.exc import DBAPIError

from content.bundle.unfinished import SEARCHED, is_damaged_bundle, unfinished_copy
from fleet.intake.carriers import is_carrier
from fleet.intake.import_trust import ImportTrust
from fleet.intake.library import ReleaseLibrary
from fleet.intake.pasted import is_pasted
from fleet.intake.quarantine import BATCH, RefusedFile, RefusedFiles, ReportFile, large_file, settle_quarantine
from fleet.intake.releases import bundle_error, record_release
from fleet.intake.report_chains import VerifiedReport, add_replay, known_reports, write_reports
from fleet.intake.reporting_keys import ReportingKey, find_reporting_keys, identify, record_rotations
from fleet.intake.result import (
    COPY_AGAIN,
    FILE_AGAIN,
    PICTURE_AGAIN,
    REPORT_AGAIN,
    SYMBOL_AGAIN,
    FileResult,
    ImportResult,
    packed_result,
    refused_result,
    unreadable_result,
    with_next_step,
)
from fleet.intake.scan import (
    BUNDLE,
    MAX_MAIL,
    NAMES,
    ScannedFile,
    claimed_key,
    is_outlook_mail,
    is_release_signature,
    read_start,
    recognise,
    recognise_large,
    vendor_file,
    walk,
)
from fleet.intake.signature_pool import Checker, CheckResult, collect, open_checker
from fleet.intake.telemetry import WAITING_TIME, hold_telemetry, settle_telemetry
from fleet.intake.transports import MAX_PICTURE, SymbolPool, read_symbols, scanned_texts, unpack
from fleet.intake.zips import NESTED, UNREADABLE
from fleet.ledger.opening import database_error, ledger_place
from fleet.ledger.retention import delete_expired
from fleet.ledger.tables import quarantine
from manifests.documents.report import MAX_REPORT
from manifests.documents.telemetry import MAX_TELEMETRY
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, WaybillError
from manifests.words.packers import packer_of


def import_paths(
    engine: Engine, paths: tuple[Path, ...], now: datetime, trust: ImportTrust | None = None
) -> ImportResult:
    """Import everything of ours below ``paths``; reads there, writes only the ledger.

    The roots of ``trust`` count, and are not recorded: the caller does that when the import did not stop.

    Reports are written before refused files. A failure of the database ends the import; the result names it and what is
    in the ledger. Raises HostError for a path that does not exist.
    """
    trust = trust or ImportTrust()
    result = ImportResult(named=frozenset(str(path.resolve()) for path in paths if not path.is_dir()))
    refused = RefusedFiles()
    small: list[str] = []
    mails: list[str] = []
    pool = SymbolPool()
    empty = {str(path.resolve()) for path in paths if path.is_dir()}
    try:
        for entry in walk(paths):
            empty -= {folder for folder in empty if Path(entry.path).is_relative_to(folder)}
            if entry.kind == "bundle":
                release = record_release(engine, entry.path, now, trust)
                if isinstance(release, RefusedFile):
                    refused.add(release)
                else:
                    result.add(release)
            elif entry.kind == "small":
                small.append(entry.path)
            elif entry.kind == "unreadable":
                result.add(FileResult(entry.path, "unreadable", entry.why or "", "file-unreadable", FILE_AGAIN))
            elif entry.kind == "special":
                result.add(FileResult(entry.path, "skipped", entry.why or ""))
            else:
                _read_large(entry, result, pool, refused, mails)
        for folder in sorted(empty):
            hint = "name the folder on the medium that holds the reports"
            result.add(FileResult(folder, "unused", "the folder holds no file", "folder-empty", hint))
        run = _Run(engine, now, result, refused, ReleaseLibrary(trust))
        with open_checker(len(small)) as checker:
            new_keys = _import_batches(run, _read_all(small, mails, pool, result), checker)
        settle_telemetry(engine, now, result, refused)
        with engine.begin() as connection:
            delete_expired(connection, now, WAITING_TIME)
        refused.write(engine, now, result)
        for keyid in sorted(new_keys):
            import_quarantined(engine, quarantine.c.keyid == keyid, now, result)
    except DBAPIError as error:
        result.stop(database_error(error, ledger_place(engine)))
    return result


@dataclass(frozen=True)
class _Run:
    """One import. Attributes: library: releases that were read for it so far."""

    engine: Engine
    now: datetime
    result: ImportResult
    refused: RefusedFiles
    library: ReleaseLibrary = field(default_factory=ReleaseLibrary)


def _import_batches(run: _Run, batches: Iterable[list[ReportFile]], checker: Checker) -> frozenset[str]:
    """Import batch by batch: signatures of the next are checked while one is written. Returns the new keys."""
    new_keys: frozenset[str] = frozenset()
    started: list[_StartedBatch] = []
    for files in batches:
        started.append(_start_batch(run.engine, files, checker))
        if len(started) > 1:
            new_keys |= _write_batch(run, started.pop(0))
    for batch in started:
        new_keys |= _write_batch(run, batch)
    return new_keys


def import_quarantined(
    engine: Engine, which: ColumnElement[bool], now: datetime, result: ImportResult | None = None
) -> ImportResult:
    """Judge quarantined files again: what was unknown when they came may be known now."""
    result = ImportResult() if result is None else result
    wanted = which & quarantine.c.settled_at.is_(None) & (quarantine.c.size <= MAX_REPORT)
    with engine.connect().execution_options(waybill_reading=True) as connection:
        query = select(quarantine.c.digest).where(wanted).order_by(quarantine.c.digest)
        waiting = list(connection.execute(query).scalars())
    run = _Run(engine, now, result, RefusedFiles())
    with open_checker(0) as checker:
        _import_batches(run, (_load_quarantined(engine, part) for part in _batches(waiting)), checker)
    run.refused.write(engine, now, result)
    return result


def _load_quarantined(engine: Engine, digests: list[str]) -> list[ReportFile]:
    query = select(quarantine.c.name, quarantine.c.digest, quarantine.c.raw).where(quarantine.c.digest.in_(digests))
    with engine.connect().execution_options(waybill_reading=True) as connection:
        # Not the digest of `raw`, which is empty once the keep time is over.
        return [ReportFile(row.name, row.raw, row.digest, claimed_key(row.raw)) for row in connection.execute(query)]


@dataclass(frozen=True)
class _StartedBatch:
    """A batch whose signatures are being checked.

    Attributes:
        keys: Parallel to ``files``; None where no enrolled key is named.
        results: For the files at ``checked``: those that name a key and were not known.
    """

    files: list[ReportFile]
    keys: list[ReportingKey | WaybillError | None]
    results: list[Future[list[CheckResult]]]
    checked: list[int]


def _start_batch(engine: Engine, files: list[ReportFile], checker: Checker) -> _StartedBatch:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        known = known_reports(connection, [file.digest for file in files])
        by_id = find_reporting_keys(connection, [file for file in files if file.digest not in known])
    keys = [by_id.get(file.keyid) if file.keyid else None for file in files]
    jobs, checked = [], []
    for i, (file, key) in enumerate(zip(files, keys, strict=True)):
        if isinstance(key, ReportingKey) and file.digest not in known:
            jobs.append((file.raw, key.public, file.name))
            checked.append(i)
    return _StartedBatch(files=files, keys=keys, results=checker(jobs), checked=checked)


def _write_batch(run: _Run, batch: _StartedBatch) -> frozenset[str]:
    """Judge one batch and write its reports in one transaction; return the keys that it made known.

    The result of the run has the batch only after the commit: what a full disk takes back is in neither.
    """
    result = ImportResult(named=run.result.named)
    new_keys: frozenset[str] = frozenset()
    checks = dict(zip(batch.checked, collect(batch.results), strict=True))
    verified: list[VerifiedReport] = []
    with run.engine.begin() as connection:
        known = known_reports(connection, [file.digest for file in batch.files])
        for i, (file, named_key) in enumerate(zip(batch.files, batch.keys, strict=True)):
            if file.error is None and recognise(file.raw) == "telemetry":
                wrong = hold_telemetry(connection, file.name, file.raw, run.now, result)
                if wrong is not None:
                    run.refused.add(wrong)
                continue
            if file.digest in known:
                add_replay(file, known[file.digest], result)
                continue
            try:
                key, signed = identify(file, named_key, checks.get(i))
                new_keys |= record_rotations(connection, key, run.now)
                verified.append(VerifiedReport(file, key, signed))
            except WaybillError as error:
                if error.finding == "site-unknown" and is_release_signature(file.raw):
                    result.add(FileResult(file.name, "skipped", "a signature of a release"))
                else:
                    kept = replace(file, raw=file.raw[: MAX_REPORT + 1])  # of a longer mail its beginning
                    run.refused.add(RefusedFile(kept, len(file.raw), with_next_step(error, REPORT_AGAIN)))
        verified.sort(key=lambda one: (one.key.enrolment_id, one.signed.report.chain.seq, one.file.name))
        write_reports(connection, run.library, verified, run.now, result)
        # A copy of the same bytes may have been refused before its key was known.
        settle_quarantine(connection, sorted(known), run.now)
    run.result.add_committed(result)
    if run.refused.many:
        run.refused.write(run.engine, run.now, run.result)
    return new_keys


def _read_all(paths: list[str], mails: list[str], pool: SymbolPool, result: ImportResult) -> Iterator[list[ReportFile]]:
    """Yield the files in batches: those of ``paths``, of each long mail or file, and at the end those of pictures."""
    for batch in _batches(paths):
        yield list(_read(batch, pool, result))
    for mail in mails:
        try:
            raw = read_start(mail, MAX_MAIL)
        except OSError as error:
            result.add(unreadable_result(mail, error))
            continue
        is_file = recognise_large(raw) == "telemetry"
        yield [_report_file(mail, raw)] if is_file else list(_read_carrier(raw, mail, pool, result))
    if pool.left_out:
        name = f"{pool.left_out} QR symbols"
        result.add(FileResult(name, "unreadable", "more than one import can hold", "qr-too-many"))
    reports = []
    for carried in pool.reports():
        if isinstance(carried.content, bytes):
            reports.append(_report_file(carried.name, carried.content))
        else:
            # An incomplete set stays on its medium: a part of it can neither be kept nor judged later.
            result.add(refused_result(carried.name, "unreadable", with_next_step(carried.content, SYMBOL_AGAIN)))
    yield reports


def _report_file(name: str, raw: bytes) -> ReportFile:
    return ReportFile(name, raw, digest_of(raw), claimed_key(raw))


def _read_carrier(raw: bytes, path: str, pool: SymbolPool, result: ImportResult) -> Iterator[ReportFile]:
    """Yield the reports of a mail or a text; say so if there is none."""
    before = len(pool.symbols) + pool.left_out
    carried = unpack(raw, path, pool)
    packed = [file for file in carried if isinstance(file.content, WaybillError) and file.content.finding == NESTED]
    reports = [report for report in carried if report not in packed]
    unopened = [one.content for one in reports if not isinstance(one.content, bytes)]
    if unopened and len(unopened) == len(reports) and all(error.finding == UNREADABLE for error in unopened):
        # Nothing says that this archive is ours, and a report may be in it: a person unpacks it.
        result.add(refused_result(path, "unused", unopened[0]))
        return
    for report in reports:
        if isinstance(report.content, bytes):
            yield _report_file(path if report.content == raw else report.name, report.content)
        else:
            yield ReportFile(report.name, raw, digest_of(raw), None, report.content)
    nothing = not reports and len(pool.symbols) + pool.left_out == before
    if nothing and not packed:
        result.add(FileResult(path, "skipped", "not ours"))
    for file in packed[:1] if nothing else packed:
        # Without a report the file itself gave nothing, which matters if a person named it.
        if isinstance(file.content, WaybillError):
            result.add(refused_result(path if nothing else file.name, "packed", file.content))


def _compound_result(path: str) -> FileResult:
    try:
        if not is_outlook_mail(path):
            return FileResult(path, "skipped", "not ours")
    except OSError as error:
        return unreadable_result(path, error)
    problem = "a mail in Outlook's own form (.msg), which is not read"
    hint = "save the mail as .eml, or save its attachment, and import that"
    return FileResult(path, "unreadable", problem, "mail-unreadable", hint)


def _read_picture(raw: bytes, path: str, pool: SymbolPool, result: ImportResult) -> None:
    before = len(pool.symbols) + pool.left_out
    try:
        errors = list(pool.add(read_symbols(raw, path), path))
    except WaybillError as error:
        errors = [error]
    _add_unreadable(errors, path, result, PICTURE_AGAIN)
    if not errors and len(pool.symbols) + pool.left_out == before:
        result.add(FileResult(path, "skipped", "a picture without a symbol of ours"))


def _add_unreadable(errors: Iterable[WaybillError], path: str, result: ImportResult, step: str) -> None:
    for error in errors:
        result.add(refused_result(path, "unreadable", with_next_step(error, step)))


def _add_unfinished(path: str, start: bytes, size: int, result: ImportResult) -> bool:
    """Add the result of an unfinished copy; return whether the file is one."""
    why = unfinished_copy(Path(path).name, start, size, None if path in result.named else NAMES)
    if why:
        result.add(FileResult(path, "unreadable", why, "copy-unfinished", COPY_AGAIN))
    return why is not None


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _read(batch: list[str], pool: SymbolPool, result: ImportResult) -> Iterator[ReportFile]:
    for path in batch:
        try:
            raw = read_start(path, MAX_REPORT + 1)
        except OSError as error:
            result.add(unreadable_result(path, error))
            continue
        claim = recognise(raw)
        if _add_unfinished(path, raw, len(raw), result):
            continue
        if raw.startswith(BUNDLE) or is_damaged_bundle(raw[:SEARCHED]):
            yield ReportFile(path, raw, digest_of(raw), None, bundle_error(path))
        elif is_carrier(raw) or claim == "armour" or (claim == "report" and (raw != raw.strip() or is_pasted(raw))):
            yield from _read_carrier(raw, path, pool, result)
        elif claim in ("report", "telemetry"):
            yield _report_file(path, raw)
        elif claim == "picture":
            _read_picture(raw, path, pool, result)
        elif claim == "compound":
            result.add(_compound_result(path))
        elif claim == "scanned":
            _add_unreadable(pool.add(scanned_texts(raw), path), path, result, SYMBOL_AGAIN)
        elif claim == "enrolment":
            hint = f"waybill fleet enroll {shlex.quote(path)} --fingerprint 'WORDS FROM THE CUSTOMER'"
            result.add(FileResult(path, "skipped", "an enrolment", "enrolment-found", hint))
        elif (own := vendor_file(path, raw)) is not None:
            result.add(FileResult(path, "skipped", own[0], "vendor-file", own[1]))
        elif claim == "other":
            result.add(FileResult(path, "skipped", "a document that support does not import"))
        elif packer := packer_of(raw):
            result.add(packed_result(path, packer))
        else:
            result.add(FileResult(path, "skipped", "not ours"))


def _read_large(
    entry: ScannedFile, result: ImportResult, pool: SymbolPool, refused: RefusedFiles, mails: list[str]
) -> None:
    """Read a file that is too long for a report; a report that was lengthened goes to quarantine."""
    try:
        raw = read_start(entry.path, MAX_REPORT)
        size = Path(entry.path).stat().st_size
        claim = recognise_large(raw)
        if claim == "picture" and size <= MAX_PICTURE:
            _read_picture(read_start(entry.path, MAX_PICTURE), entry.path, pool, result)
            return
        if (claim == "telemetry" and size <= MAX_TELEMETRY) or (is_carrier(raw) and size <= MAX_MAIL):
            mails.append(entry.path)
            return
        if claim == "compound":
            result.add(_compound_result(entry.path))
            return
        if packer := packer_of(raw):
            result.add(packed_result(entry.path, packer))
            return
        if _add_unfinished(entry.path, raw, size, result):
            return
        if is_damaged_bundle(raw[:SEARCHED]):
            refused.add(RefusedFile(large_file(entry.path, raw), size, bundle_error(entry.path)))
            return
        if claim != "report":
            result.add(FileResult(entry.path, "skipped", "not ours"))
            return
        file = large_file(entry.path, raw)
    except OSError as error:
        result.add(unreadable_result(entry.path, error))
        return
    too_long = MalformedError(f"it has {size} bytes; a report has at most {MAX_REPORT}", finding="report-too-long")
    refused.add(RefusedFile(file, size, with_next_step(too_long, REPORT_AGAIN)))
