"""Record releases from the heads of bundles, and their telemetry contracts."""

import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select, update

from content.bundle.bulk import open_bundle, read_blob
from content.bundle.head import open_head
from content.bundle.places import find_places
from content.trust.head import VerifiedHead, verify_head
from fleet.intake.import_trust import ImportTrust
from fleet.intake.quarantine import RefusedFile, large_file, settle_quarantine
from fleet.intake.result import BUNDLE_AGAIN, FileResult, unreadable_result, with_next_step
from fleet.intake.scan import digest_of_file, read_start
from fleet.ledger.tables import components, contracts, quarantine, releases, roots
from manifests.documents.contract import MAX_CONTRACT, parse_contract
from manifests.documents.report import MAX_REPORT
from manifests.documents.signed_report import expected_components
from manifests.trust.root import Pin
from manifests.words.errors import DamagedError, MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.words.time import parse_time


def record_release(
    engine: Engine, path: str, now: datetime, trust: ImportTrust | None = None
) -> FileResult | RefusedFile:
    """Record a release from the head of its bundle, and its telemetry contract from the bulk."""
    trust = trust or ImportTrust()
    try:
        size = Path(path).stat().st_size
        with engine.begin() as connection:
            head, vouched = _verify(connection, Path(path), trust)
            file_result = _record(connection, head, path, now)
            if vouched:
                record_roots(connection, head, now)
            _record_contract(connection, head, Path(path), now)
            if _was_refused(connection, size):
                settle_quarantine(connection, [digest_of_file(path)], now)
        if not vouched:
            trust.heads.append(head)
        return file_result
    except OSError as error:
        return unreadable_result(path, error)
    except WaybillError as error:
        refused = with_next_step(error, BUNDLE_AGAIN)
    try:
        return RefusedFile(large_file(path, read_start(path, MAX_REPORT)), size, refused)
    except OSError as error:
        return unreadable_result(path, error)


def bundle_error(path: str) -> WaybillError:
    """Return the error of a bundle that does not begin as one, or ends inside its head."""
    try:
        open_head(Path(path))
    except WaybillError as error:
        if error.finding != "not-a-bundle":
            return with_next_step(error, BUNDLE_AGAIN)
        problem = "it has the head of a bundle and is damaged before it"
        return MalformedError(problem, where=path, remedy=BUNDLE_AGAIN, finding="file-damaged")
    return DamagedError("the bundle ends inside its head", where=path, remedy=BUNDLE_AGAIN)


def _was_refused(connection: Connection, size: int) -> bool:
    """Whether an open file of this size is in quarantine; only then is a whole bundle read for its digest."""
    query = select(quarantine.c.digest).where(quarantine.c.size == size, quarantine.c.settled_at.is_(None))
    return connection.execute(query).first() is not None


def _verify(connection: Connection, path: Path, trust: ImportTrust) -> tuple[VerifiedHead, bool]:
    """Verify the head from the newest root that its chain contains; return whether the ledger has that root.

    Roots of the ledger come before those that count for this import alone.
    """
    head = open_head(path)
    known = connection.execute(select(roots.c.version, roots.c.digest).order_by(roots.c.version.desc())).all()
    pins = [(version, digest, True) for version, digest in known]
    pins += [(version, digest, False) for version, digest in sorted(set(trust.known()), reverse=True)]
    for version, digest, vouched in pins:
        try:
            return verify_head(head, Pin(version=version, digest=digest)), vouched
        except UntrustedError as error:
            if error.finding != "root-unknown":
                raise
    problem = "the bundle carries no root document that is in the ledger"
    remedy = "name the vendor's root once: waybill fleet import --root ROOT.json"
    raise UntrustedError(problem, where=str(path), remedy=remedy, finding="root-unknown")


def _record(connection: Connection, head: VerifiedHead, name: str, now: datetime) -> FileResult:
    """Write the release and its components; a known release changes nothing."""
    release = head.release
    shown = f"{release.product} {release.version}, {release.channel} {release.sequence}"
    if connection.execute(select(releases.c.digest).where(releases.c.digest == head.release_digest)).first():
        return FileResult(name, "known", f"{shown}: already known", "release-known")
    names = ("product", "channel", "epoch", "sequence")
    place = {"vendor": head.chain.newest.vendor, **{column: getattr(release, column) for column in names}}
    same = (releases.c[column] == value for column, value in place.items())
    other = connection.execute(select(releases.c.digest).where(*same)).scalar()
    if other is not None:
        raise RefusedError(
            f"{shown} is {head.release_digest} in this bundle; the ledger has {other} under the same sequence",
            where=name,
            remedy="ask the vendor who signed the second release; a sequence is used once",
            finding="sequence-reused",
        )
    connection.execute(
        insert(releases).values(
            **place,
            digest=head.release_digest,
            version=release.version,
            issued_at=parse_time(release.issued_at),
            contract=release.contract.digest,
            practice=head.practice,
            imported_at=now,
            raw=head.head.release,
        )
    )
    if parts := expected_components(release):
        connection.execute(insert(components), [{"release": head.release_digest, **asdict(part)} for part in parts])
    return FileResult(name, "release", shown + (" (practice)" if head.practice else ""))


def _record_contract(connection: Connection, head: VerifiedHead, path: Path, now: datetime) -> None:
    """Write the telemetry contract from the bulk, once; if it is missing or damaged there, the release still counts."""
    blob = head.release.contract
    known = select(contracts.c.digest).where(contracts.c.digest == blob.digest)
    if blob.size > MAX_CONTRACT or connection.execute(known).first():
        return
    descriptor = open_bundle(path)
    try:
        bulk = find_places(descriptor, head.release, str(path))
        place = next((place for place in bulk.present if place.blob.digest == blob.digest), None)
        if place is None:
            return
        raw = read_blob(descriptor, place, MAX_CONTRACT)
        parse_contract(raw)
    except WaybillError:
        return
    finally:
        os.close(descriptor)
    connection.execute(insert(contracts).values(digest=blob.digest, imported_at=now, raw=raw))


def record_roots(connection: Connection, head: VerifiedHead, now: datetime) -> None:
    """Write the root documents of a head's chain that the ledger does not have; they are known, and not pinned."""
    known = {row.digest: row for row in connection.execute(select(roots.c.digest, roots.c.vendor, roots.c.raw))}
    for signed in head.chain.roots:
        root = signed.root
        content = {"vendor": root.vendor, "practice": root.practice, "raw": signed.raw}
        row = known.get(signed.fingerprint)
        if row is None:
            position = {"digest": signed.fingerprint, "version": root.version, "pinned": False, "added_at": now}
            connection.execute(insert(roots).values({**position, **content}))
        elif row.vendor is None or row.raw is None:
            # Pinned by an enrolment, which has only version and digest.
            connection.execute(update(roots).where(roots.c.digest == signed.fingerprint).values(content))
