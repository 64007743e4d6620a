"""Which key may sign for a site: the enrolled one, and those that followed it by signed rotations."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import BindParameter, Connection, bindparam, insert, select

from fleet.intake.quarantine import File
from fleet.intake.signature_pool import Checked
from fleet.ledger.tables import closures, enrolments, keys, sites
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.report_reader import SignedReport
from manifests.trust.keys import PublicKey
from manifests.trust.rotation import SignedRotation, claimed_succession, follow
from manifests.words.canonical import decode, encode
from manifests.words.errors import MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.words.time import rfc3339


@dataclass(frozen=True)
class KeySpan:
    """One key of a line, and the numbers that it may sign: above ``after``, up to ``until``."""

    key: PublicKey
    key_epoch: int
    after: int = 0
    until: int | None = None


@dataclass(frozen=True)
class ReportingKey:
    """A key that speaks for a site.

    Attributes:
        enrolment: Digest of the enrolment's file.
        standing: Of its line: ``current``, ``pending``, ``refused`` or ``former``.
        closed_at: When the site was closed, if it was.
        held: Every key of the line, oldest first.
        learned: Rotations that lead to this key and are not in the ledger yet.
    """

    enrolment_id: int
    enrolment: str
    site: str
    standing: str
    closed_at: str | None
    holder: KeySpan
    held: tuple[KeySpan, ...]
    learned: tuple[SignedRotation, ...] = field(default=())

    @property
    def key(self) -> PublicKey:
        return self.holder.key

    @property
    def key_epoch(self) -> int:
        return self.holder.key_epoch


def find_reporting_keys(connection: Connection, files: Iterable[File]) -> dict[str, ReportingKey | WaybillError]:
    """By key id, for every file whose hint names a key of a site, or one that a known key passed its place to.

    Where no file leads to a key, the reason is given instead; a file that claims nonsense cannot take the way from
    another one that names the same key.
    """
    named: dict[str, list[File]] = {}
    for one in files:
        if one.keyid is not None:
            named.setdefault(one.keyid, []).append(one)
    found: dict[str, ReportingKey | WaybillError] = dict(_known(connection, set(named)))
    claims = {
        keyid: [(run, one.name) for one in mine if (run := claimed_succession(one.raw))]
        for keyid, mine in named.items()
        if keyid not in found
    }
    formers = _known(connection, {one.rotation.former for runs in claims.values() for run, _ in runs for one in run})
    for keyid, runs in claims.items():
        for run, name in runs:
            former = next((formers[one.rotation.former] for one in run if one.rotation.former in formers), None)
            if former is None or isinstance(found.get(keyid), ReportingKey):
                continue
            found[keyid] = _led(former, run, keyid, name)
    return found


def _led(former: ReportingKey, run: tuple[SignedRotation, ...], keyid: str, where: str) -> ReportingKey | WaybillError:
    """The new key, once every rotation from the line's newest key on has held."""
    newest = former.held[-1]
    try:
        rotations = follow(former.site, newest.key, newest.key_epoch, run, where)
    except WaybillError as error:
        return error.with_traceback(None)
    if not rotations or rotations[-1].key.keyid != keyid:
        return RefusedError(
            f"{former.site} passed its place to key {newest.key.keyid[:16]} already, this is by {keyid[:16]}",
            where=where,
            remedy="two folders hold one key, and both changed it: on the one that counts, `waybill enroll --renew`",
            finding="rotation-forked",
        )
    held = list(former.held)
    for one in rotations:
        last = held[-1]
        held[-1] = KeySpan(last.key, last.key_epoch, last.after, one.after_seq)
        held.append(KeySpan(one.key, one.key_epoch, one.after_seq))
    return ReportingKey(
        enrolment_id=former.enrolment_id,
        enrolment=former.enrolment,
        site=former.site,
        standing=former.standing,
        closed_at=former.closed_at,
        holder=held[-1],
        held=tuple(held),
        learned=run[-len(rotations) :],
    )


def _known(connection: Connection, keyids: set[str]) -> dict[str, ReportingKey]:
    if not keyids:
        return {}
    wanted: BindParameter[str] = bindparam("keys", expanding=True)
    rotated = select(keys.c.enrolment_id).where(keys.c.keyid.in_(wanted))
    columns = [*(enrolments.c[name] for name in ("id", "digest", "keyid", "key_epoch", "standing", "raw"))]
    query = (
        select(*columns, sites.c.site, closures.c.closed_at)
        .join(sites, enrolments.c.site_id == sites.c.id)
        .outerjoin(closures, closures.c.site_id == sites.c.id)
        .where(enrolments.c.keyid.in_(wanted) | enrolments.c.id.in_(rotated))
    )
    rows = connection.execute(query, {"keys": sorted(keyids)}).all()
    later = rotations_of(connection, [row.id for row in rows])
    found: dict[str, ReportingKey] = {}
    for row in rows:
        held = [KeySpan(verify_enrolment(row.raw).enrolment.key, row.key_epoch)]
        for one in later.get(row.id, ()):
            last = held[-1]
            held[-1] = KeySpan(last.key, last.key_epoch, last.after, one.rotation.after_seq)
            held.append(KeySpan(one.rotation.key, one.rotation.key_epoch, one.rotation.after_seq))
        for one_held in held:
            if one_held.key.keyid in keyids:
                found[one_held.key.keyid] = ReportingKey(
                    enrolment_id=row.id,
                    enrolment=row.digest,
                    site=row.site,
                    standing=row.standing,
                    closed_at=row.closed_at,
                    holder=one_held,
                    held=tuple(held),
                )
    return found


def rotations_of(connection: Connection, ids: list[int]) -> dict[int, list[SignedRotation]]:
    """The rotations of each line, oldest first."""
    query = select(keys.c.enrolment_id, keys.c.raw).where(keys.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    found: dict[int, list[SignedRotation]] = {}
    for enrolment_id, raw in connection.execute(query.order_by(keys.c.key_epoch), {"ids": ids}):
        found.setdefault(enrolment_id, []).append(decode(raw, SignedRotation, "rotation"))
    return found


def learn_rotations(connection: Connection, speaker: ReportingKey, now: datetime) -> frozenset[str]:
    """Note the keys that a report led to, and return them; what was noted since is left as it is.

    Raises:
        RefusedError: The line went on with another key meanwhile.
    """
    new: frozenset[str] = frozenset()
    if not speaker.learned:
        return new
    mine = select(keys.c.key_epoch, keys.c.keyid).where(keys.c.enrolment_id == speaker.enrolment_id)
    known = {row.key_epoch: row.keyid for row in connection.execute(mine)}
    for one in speaker.learned:
        rotation = one.rotation
        if rotation.key_epoch in known:
            if known[rotation.key_epoch] != rotation.key.keyid:
                raise RefusedError(
                    f"{speaker.site} passed its place to key {known[rotation.key_epoch][:16]} already",
                    remedy="two folders hold one key, and both changed it",
                    finding="rotation-forked",
                )
            continue
        connection.execute(
            insert(keys).values(
                keyid=rotation.key.keyid,
                enrolment_id=speaker.enrolment_id,
                key_epoch=rotation.key_epoch,
                after_seq=rotation.after_seq,
                after=rotation.after,
                learned_at=rfc3339(now),
                raw=encode(one),
            )
        )
        new |= {rotation.key.keyid}
    return new


def identify(
    file: File, speaker: ReportingKey | WaybillError | None, checked: Checked | None
) -> tuple[ReportingKey, SignedReport]:
    """The report and whose it is, once its signature has held."""
    if file.refused is not None:
        raise file.refused
    if isinstance(speaker, WaybillError):
        raise speaker
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
            remedy="it was made by hand or by another site; ask the site for its last report",
        )
    if signed.report.install.release is None and signed.subject != speaker.enrolment:
        raise RefusedError(
            "it is about another enrolment of the site",
            where=file.name,
            finding="enrolment-mismatch",
            remedy="the site was enrolled anew: import that enrolment first",
        )
    return speaker, signed
