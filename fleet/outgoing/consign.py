"""Sign one numbered consignment for each site and write it to a medium.

The number and the challenge are in the ledger before the file is on the medium: a medium that could not be
written costs a number, and a challenge that travels is always known when its echo comes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, func, insert, select, update

from content.signing.files import replace_file
from fleet.intake.report_chains import stored_report
from fleet.ledger.tables import closures, consignments, enrolments, keys, releases, reports, roots, sites, standings
from fleet.outgoing.views import SiteRow
from manifests.documents.authorisation import parse_authorisation, verify_authorisation
from manifests.documents.consignment import Consignment, Newest, Request, sign_consignment, verify_consignment
from manifests.documents.release import Audience
from manifests.documents.report import Acknowledged
from manifests.transport.medium import folder_on
from manifests.trust.envelope import Envelope
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import parse_revocations, revoke, verify_revocations
from manifests.trust.root import Chain, Mark, SignedRoot, parse_root
from manifests.words.canonical import decode, encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError
from manifests.words.time import rfc3339

FILE = "consignment.json"
# The request, and the handler that it names, by which a site is asked to end; its people decide.
END = "offboard"


@dataclass(frozen=True)
class WrittenConsignments:
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


def carried_list(root: SignedRoot, data: bytes, what: str) -> Envelope:
    """A revocation list that the vendor's root signed, as it is carried."""
    verify_revocations(data, Chain(roots=(root,)), what)
    return decode(data, Envelope, what)


def carried_authorisation(
    root: SignedRoot, data: bytes, what: str, sites: tuple[str, ...], listed: Envelope | None = None
) -> Envelope:
    """A permission to go below the floor, as it is carried; a threshold of the rollback role signed it.

    Args:
        listed: The revocation list that travels with it, by which the sites will judge it.

    Raises:
        MalformedError: Not an authorisation.
        UntrustedError: Signed by others, or by too few.
        RefusedError: It does not name one of ``sites``, which would refuse the whole consignment.
    """
    chain = Chain(roots=(root,))
    if listed is not None:
        chain = revoke(chain, parse_revocations(encode(listed), "list")[1])
    said = verify_authorisation(data, chain, what).authorisation
    others = [site for site in sites if site not in said.sites]
    if others:
        raise RefusedError(
            f"authorisation {said.number} does not name {', '.join(others)}",
            where=what,
            remedy="name the site under `sites` and sign it anew, or consign to each site its own",
            finding="authorisation-other-site",
        )
    return decode(data, Envelope, what)


def _misfit(connection: Connection, row: SiteRow, paper: Envelope) -> str:
    """Why an authorisation does not fit the site's newest report; that may be old, so it is carried all the same."""
    query = select(reports.c.raw).join(standings, standings.c.report == reports.c.digest)
    raw = connection.execute(query.where(standings.c.enrolment_id == row.enrolment_id)).scalar()
    if raw is None:
        return ""
    said = parse_authorisation(encode(paper))[1]
    install = stored_report(raw).install
    runs, leaves = install.release, said.leaves
    if runs is None or (runs.channel, runs.epoch, runs.sequence) != (
        leaves.channel,
        leaves.mark.epoch,
        leaves.mark.sequence,
    ):
        now = "nothing" if runs is None else f"{runs.channel} {runs.sequence}"
        return (
            f"authorisation {said.number} leaves {leaves.channel} {leaves.mark.sequence}, its newest report runs {now}"
        )
    if said.goes_to.release not in (one.release for one in install.generations):
        return f"authorisation {said.number} leads to {said.goes_to.version}, which its newest report does not have"
    return ""


def parse_request(text: str, number: int) -> Request:
    """``HANDLER name=value …`` as a person types it, split at spaces: nothing here passes a shell.

    Raises:
        UsageError: No handler's name, or a parameter without ``=`` or given twice, or something that is no word.
    """
    handler, *pairs = text.split()[:80] or [""]
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in parameters:
            raise UsageError(
                f"{pair!r} is not a parameter, each once",
                where="--request",
                remedy='--request "restart-component component=api"',
            )
        parameters[name] = value
    try:
        return convert({"request": f"q{number}", "handler": handler, "parameters": parameters}, Request)
    except ValidationError as error:
        raise UsageError(
            f"{text!r}: {str(error)[:1].lower()}{str(error)[1:]}",
            where="--request",
            remedy='a handler and words for it: --request "restart-component component=api"',
        ) from None


def check_medium(medium: Path, rows: tuple[SiteRow, ...]) -> None:
    """Raise before anything is signed or numbered when the medium cannot take these notes.

    Raises:
        UsageError: Two sites would share a folder.
        RefusedError: A consignment lies there already, the place leads off the medium, or a site was closed.
    """
    names: dict[str, str] = {}
    for row in rows:
        if row.closed_at is not None:
            raise RefusedError(
                f"the site was closed at {row.closed_at}",
                where=row.site,
                remedy="nothing is signed for it any more",
                finding="site-closed",
            )
        folder = row.site.replace("/", ".")
        if names.setdefault(folder, row.site) != row.site:
            raise UsageError(
                f"{names[folder]} and {row.site} would both lie in {folder}",
                where="SITE",
                remedy="write them to two media",
            )
        folder_on(medium, "back", folder)
        target = folder_on(medium, "for", folder) / FILE
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
    authorisations: tuple[Envelope, ...] = (),
) -> tuple[WrittenConsignments, ...]:
    """Number, sign and record one consignment for each of the sites; all or none.

    Args:
        challenge: 32 fresh random bytes at each call.

    Raises:
        RefusedError: The signers do not suffice.
    """
    check_signers(root, signers)
    made = []
    newest = _Newest(root)
    with engine.begin() as connection:
        for row in rows:
            said, note = _plan(connection, row, newest, now, challenge())
            note = "; ".join(filter(None, (note, *(_misfit(connection, row, one) for one in authorisations))))
            asked = (*requests, *_asked_to_end(connection, row))
            said = replace(said, revocations=revocations, requests=asked, authorisations=authorisations)
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
            made.append(WrittenConsignments(row.site, said.number, raw, seq, note))
    return tuple(made)


def write_medium(
    engine: Engine, medium: Path, made: tuple[WrittenConsignments, ...], now: datetime
) -> tuple[Path, ...]:
    """Lay the files out, one folder for each site and an empty one for what it sends back; the ledger notes it.

    A medium that breaks off keeps what it holds, and the ledger knows which that is.
    """
    written = []
    for one in made:
        target = medium / "for" / one.folder / FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        (medium / "back" / one.folder).mkdir(parents=True, exist_ok=True)
        replace_file(target, one.raw)
        written.append(target)
        with engine.begin() as connection:
            here = consignments.c.digest == digest_of(one.raw)
            said = {"written_at": rfc3339(now), "medium": str(medium)}
            connection.execute(update(consignments).where(here).values(said))
    return tuple(written)


def _plan(
    connection: Connection, row: SiteRow, newest: "_Newest", now: datetime, challenge: bytes
) -> tuple[Consignment, str]:
    """What is to be said to one site, and what a person should know about it."""
    root = newest.root
    site_id = connection.execute(select(enrolments.c.site_id).where(enrolments.c.id == row.enrolment_id)).scalar_one()
    numbers = select(func.max(consignments.c.number)).where(consignments.c.site_id == site_id)
    said = Consignment(
        vendor=root.root.vendor,
        site=row.site,
        site_key=site_key(connection, row.enrolment_id),
        number=(connection.execute(numbers).scalar() or 0) + 1,
        issued_at=rfc3339(now),
        challenge=challenge.hex(),
        # On a forked line nobody knows yet which report was the site's: none is acknowledged until that is settled.
        acknowledged=None if row.forked_at is not None else _newest_report(connection, row),
        newest=newest.of(connection, row),
    )
    if row.forked_at is not None:
        note = f"stands forked since report {row.forked_at}: nothing is acknowledged"
    elif row.root_version is not None and row.root_version < root.root.version:
        note = f"trusts root {row.root_version}: it may need a bundle with root {root.root.version} first"
    else:
        note = "" if row.made_at else "has never reported"
    return said, note


def _asked_to_end(connection: Connection, row: SiteRow) -> tuple[Request, ...]:
    """A site that is to end is asked so by every note, until it is closed."""
    query = select(closures.c.reason).join(sites).where((sites.c.site == row.site) & closures.c.closed_at.is_(None))
    reason = connection.execute(query).scalar()
    if reason is None:
        return ()
    return (Request(request=END, handler=END, parameters={"reason": reason}),)


def site_key(connection: Connection, enrolment_id: int) -> str:
    """Key id of the newest key of a line: the enrolled one, or what followed it by rotation."""
    later = select(keys.c.keyid).where(keys.c.enrolment_id == enrolment_id).order_by(keys.c.key_epoch.desc()).limit(1)
    enrolled = select(enrolments.c.keyid).where(enrolments.c.id == enrolment_id)
    found: str = connection.execute(later).scalar() or connection.execute(enrolled).scalar_one()
    return found


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


class _Newest:
    """The newest release for a site; each release's audience is read once for all sites of one session."""

    def __init__(self, root: SignedRoot) -> None:
        self.root = root
        self._known: dict[tuple[str, str], list[tuple[Mark, Audience]]] = {}

    def of(self, connection: Connection, row: SiteRow) -> tuple[Newest, ...]:
        """Of the site's channel, in whose audience it is; what was made for others is nobody's news."""
        known = self._known.get((row.product, row.channel))
        if known is None:
            known = self._known[row.product, row.channel] = self._read(connection, row)
        for mark, audience in known:
            if audience.everyone or (row.customer in audience.customers and row.environment in audience.environments):
                return (Newest(channel=row.channel, mark=mark),)
        return ()

    def _read(self, connection: Connection, row: SiteRow) -> list[tuple[Mark, Audience]]:
        root = self.root.root
        query = (
            select(releases.c.epoch, releases.c.sequence, releases.c.raw)
            .where(
                (releases.c.vendor == root.vendor)
                & (releases.c.product == row.product)
                & (releases.c.channel == row.channel)
                & (releases.c.practice == root.practice)
            )
            .order_by(releases.c.epoch.desc(), releases.c.sequence.desc())
        )
        return [
            (Mark(epoch=one.epoch, sequence=one.sequence), decode(one.raw, _Meant, "release").audience)
            for one in connection.execute(query)
        ]
