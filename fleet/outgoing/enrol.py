"""Enrol a site: record its key and root, and judge again what was refused before it was known."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select, update

from fleet.intake.intake import import_again
from fleet.intake.result import Imported
from fleet.ledger.tables import closures, enrolments, keys, positions, roots, sites, standings
from manifests.documents.enrolment import SignedEnrolment
from manifests.trust.root import SignedRoot
from manifests.words.errors import RefusedError, UntrustedError
from manifests.words.time import rfc3339


@dataclass(frozen=True)
class EnrolledSite:
    """What `fleet enroll` did.

    Attributes:
        new: False when the very same enrolment was known already.
        renews: Key id of the key that it replaces at home, once a person accepts that; else None.
        pinned: The ledger believes this root from now on because the enrolment names it: nobody named one before.
        again: What became of quarantined files that name the site's key.
    """

    signed: SignedEnrolment
    new: bool
    pinned: bool
    again: Imported
    renews: str | None = None


def enroll(engine: Engine, signed: SignedEnrolment, now: datetime, *, fingerprint: str | None) -> EnrolledSite:
    """Enrol the site, for the first time or once more with the same file.

    Args:
        fingerprint: What the customer told on another way; None when nobody compared.

    Raises:
        UntrustedError: The key is another one than the customer told.
        RefusedError: The site or the key is enrolled otherwise, or it trusts a root that the ledger does not know.
    """
    key = signed.enrolment.key
    if fingerprint is not None and fingerprint != "sha256:" + key.keyid:
        raise UntrustedError(
            "the enrolment's key is not the one whose fingerprint was typed",
            where="--fingerprint",
            remedy="ask the customer again, by another way; this file may be another's",
            finding="fingerprint-differs",
        )
    with engine.begin() as connection:
        if connection.execute(select(enrolments.c.id).where(enrolments.c.digest == signed.digest)).first():
            if fingerprint is not None:
                here = enrolments.c.digest == signed.digest
                connection.execute(update(enrolments).where(here).values(compared=True))
            return EnrolledSite(signed=signed, new=False, pinned=False, again=Imported())
        site_id = _check_new(connection, signed)
        pinned = _check_root(connection, signed, now)
        former = None if site_id is None else _current_key(connection, site_id)
        _add(connection, signed, now, site_id=site_id, compared=fingerprint is not None)
    again = import_again(engine, key.keyid, now)
    return EnrolledSite(signed=signed, new=True, pinned=pinned, again=again, renews=former)


def pin_root(engine: Engine, root: SignedRoot, now: datetime) -> bool:
    """Believe a root document that a person named. False when it was pinned already."""
    with engine.begin() as connection:
        here = roots.c.digest == root.fingerprint
        found = connection.execute(select(roots.c.pinned).where(here)).scalar()
        if found is None:
            _add_root(connection, root.fingerprint, root.root.version, root.root.vendor, root.root.practice, now)
        said = {"vendor": root.root.vendor, "practice": root.root.practice, "pinned": True, "raw": root.raw}
        connection.execute(update(roots).where(here).values(said))
        return not found


def _check_new(connection: Connection, signed: SignedEnrolment) -> int | None:
    """The site's id when the enrolment renews one that is known."""
    enrolment = signed.enrolment
    mine = enrolment.key.keyid
    rotated = select(keys.c.enrolment_id).where(keys.c.keyid == mine)
    by_key = (enrolments.c.keyid == mine) | enrolments.c.id.in_(rotated)
    key = connection.execute(select(sites.c.site).join(enrolments).where(by_key)).scalar()
    if key is not None:
        raise RefusedError(
            f"its key is enrolled already, for {key}",
            where=enrolment.site,
            remedy="every site makes its own key: enrol that site again, in a folder of its own",
            finding="key-enrolled",
        )
    site_id: int | None = connection.execute(select(sites.c.id).where(sites.c.site == enrolment.site)).scalar()
    if site_id is None:
        return None
    if connection.execute(
        select(closures.c.closed_at).where((closures.c.site_id == site_id) & closures.c.closed_at.is_not(None))
    ).first():
        raise RefusedError(
            f"{enrolment.site} was closed",
            where=enrolment.site,
            remedy="a site that begins again gets a name of its own",
            finding="site-closed",
        )
    if enrolment.renews is None:
        raise RefusedError(
            f"{enrolment.site} is enrolled with another key",
            where=enrolment.site,
            remedy="ask the customer which of the two it is; the first one stands. A site that lost its key or was "
            "restored from a backup says so itself: waybill enroll --renew",
            finding="site-enrolled",
        )
    return site_id


def _current_key(connection: Connection, site_id: int) -> str:
    """Key id of the newest key of the line that counts."""
    mine = (enrolments.c.site_id == site_id) & (enrolments.c.standing == "current")
    later = (
        select(keys.c.keyid)
        .join(enrolments, enrolments.c.id == keys.c.enrolment_id)
        .where(mine)
        .order_by(keys.c.key_epoch.desc())
        .limit(1)
    )
    found: str = (
        connection.execute(later).scalar() or connection.execute(select(enrolments.c.keyid).where(mine)).scalar_one()
    )
    return found


def _check_root(connection: Connection, signed: SignedEnrolment, now: datetime) -> bool:
    enrolment = signed.enrolment
    known = {row.digest: row for row in connection.execute(select(roots))}
    if not known:
        _add_root(connection, enrolment.root.digest, enrolment.root.version, None, enrolment.practice, now)
        return True
    found = known.get(enrolment.root.digest)
    if found is None or found.version != enrolment.root.version:
        raise RefusedError(
            f"the site trusts root {enrolment.root.version} ({enrolment.root.digest[:19]}), "
            "which this fleet does not know",
            where=enrolment.site,
            remedy="import a bundle that carries that root, or name the vendor's with --root ROOT.json",
            finding="root-unknown",
        )
    if found.practice and not enrolment.practice:
        raise RefusedError(
            "the site calls a practice root earnest",
            where=enrolment.site,
            finding="root-practice",
            remedy="nothing was enrolled; ask the site which root it was given, and enrol it anew",
        )
    return False


def _add_root(
    connection: Connection, digest: str, version: int, vendor: str | None, practice: bool, now: datetime
) -> None:
    connection.execute(
        insert(roots).values(
            digest=digest, version=version, vendor=vendor, practice=practice, pinned=True, added_at=rfc3339(now)
        )
    )


def _add(
    connection: Connection, signed: SignedEnrolment, now: datetime, *, site_id: int | None, compared: bool
) -> None:
    """A new site, or a renewed line of one that is known, which counts for nothing until a person accepts it."""
    enrolment = signed.enrolment
    standing = "current" if site_id is None else "pending"
    if site_id is None:
        site_id = connection.execute(
            insert(sites)
            .values(
                site=enrolment.site,
                customer=enrolment.customer,
                product=enrolment.product,
                environment=enrolment.environment,
                name=enrolment.name,
            )
            .returning(sites.c.id)
        ).scalar_one()
    enrolment_id = connection.execute(
        insert(enrolments)
        .values(
            site_id=site_id,
            digest=signed.digest,
            keyid=enrolment.key.keyid,
            key_epoch=enrolment.key_epoch,
            channel=enrolment.channel,
            report_every_seconds=enrolment.report_every_seconds,
            practice=enrolment.practice,
            compared=compared,
            enrolled_at=rfc3339(now),
            raw=signed.raw,
            standing=standing,
        )
        .returning(enrolments.c.id)
    ).scalar_one()
    connection.execute(insert(positions).values(enrolment_id=enrolment_id, seq=0, digest=signed.digest))
    connection.execute(insert(standings).values(enrolment_id=enrolment_id, newest_seq=0, places_held=0, alarms=0))
