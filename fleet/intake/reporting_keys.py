"""Which key may sign for a site: the enrolled one, and those that followed it by signed rotations."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import BindParameter, Connection, bindparam, insert, select

from fleet.intake.quarantine import ReportFile
from fleet.intake.signature_pool import CheckResult
from fleet.ledger.tables import closures, enrolments, keys, sites
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.signed_report import SignedReport
from manifests.trust.keys import PublicKey
from manifests.trust.rotation import Rotation, SignedRotation, claimed_succession, follow
from manifests.words.canonical import decode, encode
from manifests.words.errors import MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.words.text import short_digest
from manifests.words.time import parse_time


@dataclass(frozen=True)
class KeySpan:
    """A key, and the numbers of the reports that it may sign: above ``after``, up to ``until``."""

    key: PublicKey
    key_epoch: int
    after: int = 0
    until: int | None = None


@dataclass(frozen=True)
class ReportingKey:
    """A key that may sign for a site.

    Attributes:
        enrolment: Digest of the enrolment's file.
        first_policy: The site's first policy, see ``first_policy_of``.
        standing: Of its enrolment: ``current``, ``pending``, ``refused`` or ``former``.
        span: The key itself.
        spans: Every key of the enrolment, oldest first.
        learned: Rotations that lead to this key and are not in the ledger yet.
    """

    enrolment_id: int
    enrolment: str
    site: str
    standing: str
    closed_at: datetime | None
    span: KeySpan
    spans: tuple[KeySpan, ...]
    learned: tuple[SignedRotation, ...] = ()
    first_policy: str | None = None

    @property
    def public(self) -> PublicKey:
        return self.span.key

    @property
    def key_epoch(self) -> int:
        return self.span.key_epoch


def find_reporting_keys(connection: Connection, files: Iterable[ReportFile]) -> dict[str, ReportingKey | WaybillError]:
    """Return, by key id, the key that each file's hint names: a known one, or the successor of a known one.

    Where the rotations in a file do not lead to the key, the value is the reason. A file with false rotations cannot
    block another file that names the same key.
    """
    named: dict[str, list[ReportFile]] = {}
    for file in files:
        if file.keyid is not None:
            named.setdefault(file.keyid, []).append(file)
    result: dict[str, ReportingKey | WaybillError] = dict(_known_keys(connection, set(named)))
    successions = {
        keyid: [(chain, file.name) for file in claiming if (chain := claimed_succession(file.raw))]
        for keyid, claiming in named.items()
        if keyid not in result
    }
    former_ids = {link.rotation.former for claimed in successions.values() for chain, _ in claimed for link in chain}
    formers = _known_keys(connection, former_ids)
    for keyid, claimed in successions.items():
        for chain, name in claimed:
            former = next((formers[link.rotation.former] for link in chain if link.rotation.former in formers), None)
            if former is not None and not isinstance(result.get(keyid), ReportingKey):
                result[keyid] = _follow_rotations(former, chain, keyid, name)
    return result


def _follow_rotations(
    former: ReportingKey, chain: tuple[SignedRotation, ...], keyid: str, where: str
) -> ReportingKey | WaybillError:
    """The new key, if every rotation from the enrolment's newest key on is valid; else the reason."""
    newest = former.spans[-1]
    try:
        rotations = follow(former.site, newest.key, newest.key_epoch, chain, where)
    except WaybillError as error:
        return error.with_traceback(None)
    if not rotations or rotations[-1].key.keyid != keyid:
        return _rotation_forked(former.site, newest.key.keyid, keyid, where)
    spans = _spans(former.spans, rotations)
    return replace(former, span=spans[-1], spans=spans, learned=chain[-len(rotations) :])


def _rotation_forked(site: str, known: str, keyid: str, where: str = "") -> RefusedError:
    problem = f"{site} already rotated to key {known}; this report is signed by {keyid}"
    remedy = "ask the site which of its two folders counts, and run there: waybill enroll --renew REASON"
    return RefusedError(problem, where=where, remedy=remedy, finding="rotation-forked")


def _spans(spans: tuple[KeySpan, ...], rotations: Iterable[Rotation]) -> tuple[KeySpan, ...]:
    """Each rotation ends the span of the key before it and begins one of its own."""
    for rotation in rotations:
        ended = replace(spans[-1], until=rotation.after_seq)
        spans = (*spans[:-1], ended, KeySpan(rotation.key, rotation.key_epoch, rotation.after_seq))
    return spans


def _known_keys(connection: Connection, keyids: set[str]) -> dict[str, ReportingKey]:
    """Return those of ``keyids`` that the ledger has, enrolled or by a recorded rotation."""
    if not keyids:
        return {}
    wanted: BindParameter[str] = bindparam("keys", expanding=True)
    rotated = select(keys.c.enrolment_id).where(keys.c.keyid.in_(wanted))
    names = ("id", "site_id", "digest", "keyid", "key_epoch", "standing", "raw")
    columns = [enrolments.c[name] for name in names]
    query = (
        select(*columns, sites.c.site, closures.c.closed_at)
        .join(sites, enrolments.c.site_id == sites.c.id)
        .outerjoin(closures, closures.c.site_id == sites.c.id)
        .where(enrolments.c.keyid.in_(wanted) | enrolments.c.id.in_(rotated))
    )
    rows = connection.execute(query, {"keys": sorted(keyids)}).all()
    later = recorded_rotations(connection, [row.id for row in rows])
    known: dict[str, ReportingKey] = {}
    for row in rows:
        enrolment = verify_enrolment(row.raw).enrolment
        enrolled = KeySpan(enrolment.key, row.key_epoch)
        first_policy = enrolment.policy
        if enrolment.renews is not None:
            first_policy = first_policy_of(connection, row.site_id) or first_policy
        spans = _spans((enrolled,), (signed.rotation for signed in later.get(row.id, ())))
        for span in spans:
            if span.key.keyid in keyids:
                known[span.key.keyid] = ReportingKey(
                    enrolment_id=row.id,
                    enrolment=row.digest,
                    site=row.site,
                    standing=row.standing,
                    closed_at=row.closed_at,
                    span=span,
                    spans=spans,
                    first_policy=first_policy,
                )
    return known


def first_policy_of(connection: Connection, site_id: int) -> str | None:
    """Return the site's first policy by its oldest enrolment that states one and that a person did not refuse.

    A renewal keeps the journal, so it cannot bring another first policy.
    """
    counted = (enrolments.c.site_id == site_id) & enrolments.c.standing.in_(("current", "former"))
    query = select(enrolments.c.raw).where(counted).order_by(enrolments.c.id)
    stated = (verify_enrolment(raw).enrolment.policy for raw in connection.execute(query).scalars())
    return next((policy for policy in stated if policy is not None), None)


def recorded_rotations(connection: Connection, ids: list[int]) -> dict[int, list[SignedRotation]]:
    """Return the rotations of each enrolment, oldest first."""
    query = select(keys.c.enrolment_id, keys.c.raw).where(keys.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    rotations: dict[int, list[SignedRotation]] = {}
    for enrolment_id, raw in connection.execute(query.order_by(keys.c.key_epoch), {"ids": ids}):
        rotations.setdefault(enrolment_id, []).append(decode(raw, SignedRotation, "rotation"))
    return rotations


def record_rotations(connection: Connection, key: ReportingKey, now: datetime) -> frozenset[str]:
    """Write the unknown rotations that led to ``key`` and return their key ids.

    Raises RefusedError if the ledger has a rotation to another key by now.
    """
    new: frozenset[str] = frozenset()
    if not key.learned:
        return new
    query = select(keys.c.key_epoch, keys.c.keyid).where(keys.c.enrolment_id == key.enrolment_id)
    known = {row.key_epoch: row.keyid for row in connection.execute(query)}
    for signed in key.learned:
        rotation = signed.rotation
        if rotation.key_epoch in known:
            if known[rotation.key_epoch] != rotation.key.keyid:
                raise _rotation_forked(key.site, known[rotation.key_epoch], rotation.key.keyid)
            continue
        connection.execute(
            insert(keys).values(
                keyid=rotation.key.keyid,
                enrolment_id=key.enrolment_id,
                key_epoch=rotation.key_epoch,
                after_seq=rotation.after_seq,
                after=rotation.after,
                learned_at=now,
                raw=encode(signed),
            )
        )
        new |= {rotation.key.keyid}
    return new


def identify(
    file: ReportFile, key: ReportingKey | WaybillError | None, check: CheckResult | None
) -> tuple[ReportingKey, SignedReport]:
    """Return the verified report and its key.

    Raises WaybillError for no report, an unknown key, a wrong signature, or another site.
    """
    if file.error is not None:
        raise file.error
    if isinstance(key, WaybillError):
        raise key
    if key is None and file.keyid is not None:
        problem = f"it is signed by key {short_digest(file.keyid)}, which no enrolled site has"
        remedy = "ask the customer for the site's enrolment, then: waybill fleet enroll ENROLMENT"
        raise UntrustedError(problem, where=file.name, remedy=remedy, finding="site-unknown")
    if key is None or check is None:
        whole = file.raw.rstrip().endswith(b"}")
        problem = "it is not a report in our form" if whole else "the report is cut off, or its end was changed"
        raise MalformedError(problem, where=file.name, finding="report-malformed")
    if isinstance(check, WaybillError):
        raise check
    _check_identity(file, key, check)
    _check_times(file, check)
    return key, check


def _check_identity(file: ReportFile, key: ReportingKey, signed: SignedReport) -> None:
    identity = signed.report.identity
    if (identity.site, identity.key_epoch) != (key.site, key.key_epoch):
        raise RefusedError(
            f"it names {identity.site} (key {identity.key_epoch}); its key belongs to {key.site} (key {key.key_epoch})",
            where=file.name,
            finding="site-mismatch",
            remedy="ask the site for its newest report; this one was made by hand or by another site",
        )
    if signed.report.install.release is None and signed.subject != key.enrolment:
        problem = "it belongs to another enrolment of the site"
        remedy = "enrol the site's newest enrolment first: waybill fleet enroll ENROLMENT"
        raise RefusedError(problem, where=file.name, finding="enrolment-mismatch", remedy=remedy)


def _check_times(file: ReportFile, signed: SignedReport) -> None:
    """The closed shape allows a 31st of February; the ledger compares times and needs a real one."""
    for text in (signed.report.chain.made_at, signed.report.trust.time_floor):
        try:
            if text is not None:
                parse_time(text)
        except MalformedError as error:
            raise error.with_(where=file.name) from None
