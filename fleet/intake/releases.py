"""Record releases from the heads of bundles, and their telemetry contracts."""

import os
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select, update

from content.bundle.bulk import open_bundle, read_blob
from content.bundle.head import open_head
from content.bundle.places import find_places
from content.trust.head import VerifiedHead, verify_head
from fleet.intake.quarantine import File, put_aside, settle
from fleet.intake.result import FileResult, Imported
from fleet.intake.scan import ScannedFile, read_start
from fleet.ledger.tables import components, contracts, releases, roots
from manifests.documents.contract import MAX_CONTRACT, parse_contract
from manifests.documents.report import MAX_REPORT
from manifests.documents.report_components import expected_components
from manifests.trust.root import Pin
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UntrustedError, WaybillError
from manifests.words.time import rfc3339


def learn_bundle(engine: Engine, entry: ScannedFile, now: datetime) -> FileResult:
    """Learn a release from the head of its bundle, and its telemetry contract from where that says it is."""
    try:
        raw = read_start(entry.path, MAX_REPORT)
        size = Path(entry.path).stat().st_size
    except OSError as error:
        return FileResult(entry.path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable")
    file = File(entry.path, raw, digest_of(raw), None)
    with engine.begin() as connection:
        try:
            verified = _verified(connection, Path(entry.path))
            outcome = _learn(connection, verified, entry.path, now)
            _learn_contract(connection, verified, Path(entry.path), now)
        except WaybillError as error:
            gathered = Imported()
            put_aside(connection, [(file, size, error)], now, gathered)
            return gathered.outcomes[0]
        settle(connection, [file.digest], now)
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


def _learn(connection: Connection, head: VerifiedHead, name: str, now: datetime) -> FileResult:
    release = head.release
    shown = f"{release.product} {release.version}, {release.channel} {release.sequence}"
    if connection.execute(select(releases.c.digest).where(releases.c.digest == head.release_digest)).first():
        _learn_roots(connection, head, now)
        return FileResult(name, "known", f"{shown}: already known", "release-known")
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
    return FileResult(name, "release", shown + (" (practice)" if head.practice else ""))


def _learn_contract(connection: Connection, head: VerifiedHead, path: Path, now: datetime) -> None:
    """The telemetry contract out of the bulk, once; a bundle that lacks it or is damaged there teaches the rest."""
    blob = head.release.contract
    if connection.execute(select(contracts.c.digest).where(contracts.c.digest == blob.digest)).first():
        return
    if blob.size > MAX_CONTRACT:
        return
    descriptor = open_bundle(path)
    try:
        bulk = find_places(descriptor, head.release, str(path))
        place = next((one for one in bulk.present if one.blob.digest == blob.digest), None)
        raw = None if place is None else read_blob(descriptor, place, MAX_CONTRACT)
        if raw is not None:
            parse_contract(raw)
    except WaybillError:
        return
    finally:
        os.close(descriptor)
    if raw is not None:
        connection.execute(insert(contracts).values(digest=blob.digest, imported_at=rfc3339(now), raw=raw))


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
