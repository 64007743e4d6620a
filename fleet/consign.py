"""Writing to sites: one signed consignment for each, numbered in the ledger, laid out for a courier.

The number and the challenge are in the ledger before the file is on the medium: a medium that could not be written
costs a number, and a challenge that travels is always known when its echo comes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, func, insert, select

from content.keys_cli import replace_file
from fleet.ledger.tables import consignments, enrolments, releases, reports, roots, sites, standings
from fleet.views import SiteRow
from manifests.canonical import decode
from manifests.console import rfc3339
from manifests.consignment import Consignment, Newest, Request, sign_consignment, verify_consignment
from manifests.envelope import Envelope
from manifests.errors import RefusedError, UsageError
from manifests.keys import Signer
from manifests.release import Audience
from manifests.report import Acknowledged
from manifests.revocations import verify_revocations
from manifests.trust import Chain, Mark, SignedRoot, parse_root

FILE = "consignment.json"


@dataclass(frozen=True)
class Made:
    """A consignment that was signed.

    Attributes:
        acknowledged: Number of the report that it acknowledges; None where none came, or the line is forked.
        note: What a person should know about this site, else empty.
    """

    site: str
    number: int
    raw: bytes
    acknowledged: int | None
    note: str

    @property
    def folder(self) -> str:
        return self.site.replace("/", ".")


class _Meant(Struct, frozen=True):
    """Just enough of a release of the ledger to tell whom it is for."""

    audience: Audience


def signing_root(engine: Engine) -> SignedRoot:
    """The newest root document that the ledger holds whole.

    Raises:
        RefusedError: It holds none.
    """
    with engine.connect().execution_options(waybill_reading=True) as connection:
        whole = roots.c.raw.is_not(None)
        raw = connection.execute(select(roots.c.raw).where(whole).order_by(roots.c.version.desc()).limit(1)).scalar()
    if raw is None:
        raise RefusedError(
            "the ledger holds no root document, so it cannot be said who may sign for sites",
            where="--root",
            remedy="name the vendor's newest with --root ROOT.json, or import a bundle",
            finding="root-missing",
        )
    return parse_root(raw, "root of the ledger")


def check_signers(root: SignedRoot, signers: tuple[Signer, ...]) -> None:
    """Raise RefusedError unless the signers are enough of the root's consignment role: a site would refuse the rest."""
    role = root.root.roles["consignment"]
    keys = {one.public.keyid for one in signers}
    for keyid in sorted(keys - set(role.keys)):
        raise RefusedError(
            f"key {keyid[:16]} is not in the consignment role of root {root.root.version}",
            where="--key",
            remedy=f"sign with {' or '.join(one[:16] for one in role.keys)}",
            finding="signer-role",
        )
    if len(keys) < role.threshold:
        raise RefusedError(
            f"{len(keys)} keys, root {root.root.version} asks for {role.threshold} of the consignment role",
            where="--key",
            remedy="name --key once for each",
            finding="signature-missing",
        )


def check_list(root: SignedRoot, data: bytes, what: str) -> Envelope:
    """A revocation list that the vendor's root signed, as it is carried."""
    verify_revocations(data, Chain(roots=(root,)), what)
    return decode(data, Envelope, what)


def check_medium(medium: Path, rows: tuple[SiteRow, ...]) -> None:
    """Raise before anything is signed or numbered when the medium cannot take these notes.

    Raises:
        UsageError: Two sites would share a folder.
        RefusedError: A consignment lies there already.
    """
    names: dict[str, str] = {}
    for row in rows:
        folder = row.site.replace("/", ".")
        if names.setdefault(folder, row.site) != row.site:
            raise UsageError(
                f"{names[folder]} and {row.site} would both lie in {folder}",
                where="SITE",
                remedy="write them to two media",
            )
        target = medium / "for" / folder / FILE
        if target.exists() or target.is_symlink():
            raise RefusedError(
                "lies there already, and nothing is overwritten",
                where=str(target),
                remedy="name an empty medium, or remove what was for this site",
                finding="exists",
            )


def consign(
    engine: Engine,
    rows: tuple[SiteRow, ...],
    root: SignedRoot,
    signers: tuple[Signer, ...],
    now: datetime,
    *,
    challenge: Callable[[], bytes],
    revocations: Envelope | None = None,
    requests: tuple[Request, ...] = (),
) -> tuple[Made, ...]:
    """Number, sign and record one consignment for each of the sites; all or none.

    Args:
        challenge: 32 fresh random bytes at each call.

    Raises:
        RefusedError: The signers do not suffice.
    """
    check_signers(root, signers)
    made = []
    with engine.begin() as connection:
        for row in rows:
            said, note = _plan(connection, row, root, now, challenge())
            said = replace(said, revocations=revocations, requests=requests)
            raw = sign_consignment(said, signers)
            # What no site would take must not get a number.
            signed = verify_consignment(raw, Chain(roots=(root,)), row.site)
            connection.execute(
                insert(consignments).values(
                    digest=signed.digest,
                    site_id=_site_id(connection, row.site),
                    number=said.number,
                    challenge=said.challenge_digest,
                    issued_at=said.issued_at,
                    acknowledged=said.acknowledged.digest if said.acknowledged else None,
                    raw=raw,
                )
            )
            seq = said.acknowledged.seq if said.acknowledged else None
            made.append(Made(row.site, said.number, raw, seq, note))
    return tuple(made)


def write_medium(medium: Path, made: tuple[Made, ...]) -> tuple[Path, ...]:
    """Lay the files out: one folder for each site, and an empty one for what it sends back."""
    written = []
    for one in made:
        target = medium / "for" / one.folder / FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        (medium / "back" / one.folder).mkdir(parents=True, exist_ok=True)
        replace_file(target, one.raw)
        written.append(target)
    return tuple(written)


def _plan(
    connection: Connection, row: SiteRow, root: SignedRoot, now: datetime, challenge: bytes
) -> tuple[Consignment, str]:
    """What is to be said to one site, and what a person should know about it."""
    keyid = connection.execute(select(enrolments.c.keyid).where(enrolments.c.id == row.enrolment_id)).scalar_one()
    numbers = select(func.max(consignments.c.number)).where(consignments.c.site_id == _site_id(connection, row.site))
    said = Consignment(
        vendor=root.root.vendor,
        site=row.site,
        site_key=keyid,
        number=(connection.execute(numbers).scalar() or 0) + 1,
        issued_at=rfc3339(now),
        challenge=challenge.hex(),
        # On a forked line nobody knows yet which report was the site's: none is acknowledged until that is settled.
        acknowledged=None if row.forked_at is not None else _newest_report(connection, row),
        newest=_newest_release(connection, row, root),
    )
    if row.forked_at is not None:
        note = f"stands forked since report {row.forked_at}: nothing is acknowledged"
    elif row.root_version is not None and row.root_version < root.root.version:
        note = f"trusts root {row.root_version}: it may need a bundle with root {root.root.version} first"
    else:
        note = "" if row.made_at else "has never reported"
    return said, note


def _site_id(connection: Connection, site: str) -> int:
    found: int = connection.execute(select(sites.c.id).where(sites.c.site == site)).scalar_one()
    return found


def _newest_report(connection: Connection, row: SiteRow) -> Acknowledged | None:
    query = (
        select(reports.c.seq, reports.c.digest)
        .join(standings, standings.c.report == reports.c.digest)
        .where(standings.c.enrolment_id == row.enrolment_id)
    )
    found = connection.execute(query).first()
    return None if found is None else Acknowledged(seq=found.seq, digest=found.digest)


def _newest_release(connection: Connection, row: SiteRow, root: SignedRoot) -> tuple[Newest, ...]:
    """The newest release of the site's channel whose audience it is in; what was made for others is nobody's news."""
    query = (
        select(releases.c.epoch, releases.c.sequence, releases.c.raw)
        .where(
            (releases.c.vendor == root.root.vendor)
            & (releases.c.product == row.product)
            & (releases.c.channel == row.channel)
            & (releases.c.practice == root.root.practice)
        )
        .order_by(releases.c.epoch.desc(), releases.c.sequence.desc())
    )
    for found in connection.execute(query):
        audience = decode(found.raw, _Meant, "release").audience
        if audience.everyone or (row.customer in audience.customers and row.environment in audience.environments):
            return (Newest(channel=row.channel, mark=Mark(epoch=found.epoch, sequence=found.sequence)),)
    return ()
