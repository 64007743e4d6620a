"""Enrol a site: record its key and root, and judge the quarantined files again that name the key."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select, update

from fleet.intake.intake import import_quarantined
from fleet.intake.reporting_keys import first_policy_of
from fleet.intake.result import ImportResult
from fleet.ledger.tables import closures, enrolments, keys, positions, quarantine, roots, sites, standings
from fleet.outgoing.consign import site_key
from manifests.documents.enrolment import SignedEnrolment
from manifests.trust.root import SignedRoot
from manifests.words.errors import RefusedError, UntrustedError
from manifests.words.text import short_digest

# Vendor if known, whether it is for practice, whether a person trusts it.
_RootContent = tuple[str | None, bool, bool]


@dataclass(frozen=True)
class EnrolledSite:
    """What `fleet enroll` did.

    Attributes:
        new: False if this very enrolment was known already.
        pinned: The ledger trusts the enrolment's root from now on, because it trusted none before.
        retried: What became of quarantined files that name the site's key.
        renews: Key id of the key that it replaces once a person accepts that; else None.
        other_policy: The site's first policy by an earlier enrolment, if this one names another.
        named_new: The root that a person named is trusted from now on.
    """

    signed: SignedEnrolment
    new: bool
    pinned: bool
    retried: ImportResult
    renews: str | None = None
    other_policy: str | None = None
    named_new: bool = False


def enroll(
    engine: Engine,
    signed: SignedEnrolment,
    now: datetime,
    *,
    fingerprint: str | None,
    named: tuple[SignedRoot, ...] = (),
) -> EnrolledSite:
    """Enrol the site; the same file a second time changes nothing but ``compared``.

    Args:
        fingerprint: What the customer read out through another channel; None if nobody compared.
        named: Root documents to trust, as for ``pin_roots``. When the enrolment is refused they are not trusted.

    Raises:
        UntrustedError: The enrolment's key has another fingerprint.
        RefusedError: The site or the key is enrolled otherwise, or it trusts a root that is not in the ledger.
    """
    key = signed.enrolment.key
    if fingerprint is not None and fingerprint != "sha256:" + key.keyid:
        raise UntrustedError(
            f"the enrolment's key is {key.keyid}; the fingerprint typed is {fingerprint}",
            where="--fingerprint",
            remedy="ask the customer again through another channel; the file may come from somebody else",
            finding="fingerprint-differs",
        )
    with engine.begin() as connection:
        named_new = pin_roots(connection, named, now)
        if connection.execute(select(enrolments.c.id).where(enrolments.c.digest == signed.digest)).first():
            if fingerprint is not None:
                here = enrolments.c.digest == signed.digest
                connection.execute(update(enrolments).where(here).values(compared=True))
            return EnrolledSite(signed=signed, new=False, pinned=False, retried=ImportResult(), named_new=named_new)
        site_id = _check_new(connection, signed)
        pinned = _check_root(connection, signed, now)
        former = other_policy = None
        if site_id is not None:
            expected = first_policy_of(connection, site_id)
            other_policy = expected if expected != signed.enrolment.policy else None
            current = (enrolments.c.site_id == site_id) & (enrolments.c.standing == "current")
            former = site_key(connection, connection.execute(select(enrolments.c.id).where(current)).scalar_one())
        _add(connection, signed, now, site_id=site_id, compared=fingerprint is not None)
    retried = import_quarantined(engine, quarantine.c.keyid == key.keyid, now)
    return EnrolledSite(
        signed=signed,
        new=True,
        pinned=pinned,
        retried=retried,
        renews=former,
        other_policy=other_policy,
        named_new=named_new,
    )


def pin_root(engine: Engine, root: SignedRoot, now: datetime) -> bool:
    """Trust a root document that a person named; return False if it was pinned already."""
    with engine.begin() as connection:
        return pin_roots(connection, (root,), now)


def pin_roots(connection: Connection, named: tuple[SignedRoot, ...], now: datetime) -> bool:
    """Trust the first of ``named``; return whether it was not pinned before.

    The others are the versions before it, newest first, each the very file that its successor names. They are known
    from now on, as those of a bundle's chain are, and not pinned.
    """
    added = False
    for i, root in enumerate(named):
        here = roots.c.digest == root.fingerprint
        row = connection.execute(select(roots.c.pinned, roots.c.raw).where(here)).first()
        if row is None:
            content = (root.root.vendor, root.root.practice, i == 0)
            _add_root(connection, root.fingerprint, root.root.version, content, now)
        values = {"vendor": root.root.vendor, "practice": root.root.practice, "raw": root.raw}
        if i == 0:
            added = row is None or not row.pinned
            connection.execute(update(roots).where(here).values(**values, pinned=True))
        elif row is None or row.raw is None:
            connection.execute(update(roots).where(here).values(values))
    return added


def _check_new(connection: Connection, signed: SignedEnrolment) -> int | None:
    """Return the id of the site that the enrolment renews; None for a new site."""
    enrolment = signed.enrolment
    keyid = enrolment.key.keyid
    rotated = select(keys.c.enrolment_id).where(keys.c.keyid == keyid)
    by_key = (enrolments.c.keyid == keyid) | enrolments.c.id.in_(rotated)
    owner = connection.execute(select(sites.c.site).join(enrolments).where(by_key)).scalar()
    if owner is not None:
        problem = f"its key {short_digest(keyid)} is already enrolled for {owner}"
        remedy = "enrol the site again in a new folder, which makes a new key; see waybill enroll --help"
        raise RefusedError(problem, where=enrolment.site, remedy=remedy, finding="key-enrolled")
    site_id: int | None = connection.execute(select(sites.c.id).where(sites.c.site == enrolment.site)).scalar()
    if site_id is None:
        return None
    closed = (closures.c.site_id == site_id) & closures.c.closed_at.is_not(None)
    if connection.execute(select(closures.c.closed_at).where(closed)).first():
        remedy = "enrol the site under a new name; see waybill enroll --help"
        raise RefusedError("the site was closed", where=enrolment.site, remedy=remedy, finding="site-closed")
    if enrolment.renews is None:
        raise RefusedError(
            f"{enrolment.site} is already enrolled with another key",
            where=enrolment.site,
            remedy="ask the customer which enrolment counts; a site that lost its key or was restored from a backup "
            "runs: waybill enroll --renew REASON",
            finding="site-enrolled",
        )
    return site_id


def _check_root(connection: Connection, signed: SignedEnrolment, now: datetime) -> bool:
    """Return whether the enrolment's root was pinned here, because the ledger had none."""
    enrolment = signed.enrolment
    known = {row.digest: row for row in connection.execute(select(roots))}
    if not known:
        _add_root(connection, enrolment.root.digest, enrolment.root.version, (None, enrolment.practice, True), now)
        return True
    root = known.get(enrolment.root.digest)
    if root is None or root.version != enrolment.root.version:
        raise RefusedError(
            f"the site trusts root {enrolment.root.version} ({short_digest(enrolment.root.digest)}), "
            "which is not in the ledger",
            where=enrolment.site,
            remedy="import a bundle, which carries all roots, or name the newest root document in a folder that has "
            "those before it: --root trust/N.root.json",
            finding="root-unknown",
        )
    if root.practice and not enrolment.practice:
        raise RefusedError(
            f"root {enrolment.root.version} is a practice root; the enrolment does not say that it is for practice",
            where=enrolment.site,
            finding="root-practice",
            remedy="ask the site which root it was given, and let it enrol again; see waybill enroll --help",
        )
    return False


def _add_root(connection: Connection, digest: str, version: int, content: _RootContent, now: datetime) -> None:
    vendor, practice, pinned = content
    connection.execute(
        insert(roots).values(
            digest=digest, version=version, vendor=vendor, practice=practice, pinned=pinned, added_at=now
        )
    )


def _add(
    connection: Connection, signed: SignedEnrolment, now: datetime, *, site_id: int | None, compared: bool
) -> None:
    """Write a new site, or a renewed enrolment of a known one; that does not count until a person accepts it."""
    enrolment = signed.enrolment
    standing = "current" if site_id is None else "pending"
    if site_id is None:
        names = ("site", "customer", "product", "environment", "name")
        values = {name: getattr(enrolment, name) for name in names}
        site_id = connection.execute(insert(sites).values(values).returning(sites.c.id)).scalar_one()
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
            enrolled_at=now,
            raw=signed.raw,
            standing=standing,
        )
        .returning(enrolments.c.id)
    ).scalar_one()
    connection.execute(insert(positions).values(enrolment_id=enrolment_id, seq=0, digest=signed.digest))
    connection.execute(insert(standings).values(enrolment_id=enrolment_id, newest_seq=0, places_known=0, alarms=0))
