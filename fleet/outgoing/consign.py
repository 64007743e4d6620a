"""Sign one numbered consignment for each site and write it to a medium.

The number and the challenge are in the ledger before the file is on the medium: a medium that could not be
written costs a number, and a challenge that travels is always known when a report echoes it.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, func, insert, select, update

from content.signing.files import replace_file
from fleet.intake.library import stored_report
from fleet.ledger.tables import closures, consignments, enrolments, keys, releases, reports, roots, standings
from fleet.outgoing.views import SiteRow
from manifests.documents.authorisation import parse_authorisation, verify_authorisation
from manifests.documents.consignment import Consignment, Newest, Request, sign_consignment, verify_consignment
from manifests.documents.handler_catalogue import BUILT_IN
from manifests.documents.handler_use import parameter_problem
from manifests.documents.release import Audience
from manifests.documents.release_reader import parse_release
from manifests.documents.report import Acknowledged
from manifests.transport.medium import folder_on
from manifests.trust.envelope import Envelope
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import parse_revocations, revoke, verify_revocations
from manifests.trust.root import Chain, Mark, Root, SignedRoot, parse_root
from manifests.words.canonical import decode, encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, RefusedError, UsageError
from manifests.words.text import short_digest
from manifests.words.time import rfc3339

FILE = "consignment.json"
# The request, and the handler that it names, for the site's offboarding; the site's people decide.
OFFBOARD_REQUEST = "offboard"
_WORD = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
_EXAMPLE = '--request "restart-component component=api"'


@dataclass(frozen=True)
class ConsignmentOrder:
    """What the consignments of one session have in common.

    Attributes:
        root: The root document by which sites will judge the signatures.
        requests, authorisations, revocations: Carried by each consignment.
        for_reports: How many reports of a site after its newest one its requests are for; None for any number.
    """

    root: SignedRoot
    signers: tuple[Signer, ...]
    revocations: Envelope | None = None
    requests: tuple[Request, ...] = ()
    authorisations: tuple[Envelope, ...] = ()
    for_reports: int | None = None


@dataclass(frozen=True)
class SignedConsignment:
    """A consignment that is signed and in the ledger.

    Attributes:
        acknowledged: Number of the report that it acknowledges; None if there is none, or the chain is forked.
        notes: What a person should know about this site.
    """

    site: str
    number: int
    raw: bytes
    acknowledged: int | None
    notes: tuple[str, ...]


class _ReleaseAudience(Struct, frozen=True):
    """The audience of a release document."""

    audience: Audience


ReleaseCache = dict[tuple[str, str], list[tuple[Mark, Audience]]]


def folder_name(site: str) -> str:
    """Return the name of a site's folder on a medium."""
    return site.replace("/", ".")


def signing_root(engine: Engine, named: tuple[SignedRoot, ...] = ()) -> SignedRoot:
    """Return the newest root document that the ledger holds whole, or the first of ``named`` if that is as new.

    Raises RefusedError if there is none.
    """
    with engine.connect().execution_options(waybill_reading=True) as connection:
        whole = roots.c.raw.is_not(None)
        raw = connection.execute(select(roots.c.raw).where(whole).order_by(roots.c.version.desc()).limit(1)).scalar()
    known = None if raw is None else parse_root(raw, "root of the ledger")
    if named and (known is None or known.root.version <= named[0].root.version):
        return named[0]
    if known is None:
        problem = "the ledger holds no root document, so the keys that may sign consignments are unknown"
        remedy = "name the vendor's newest root with --root ROOT.json, or import a bundle"
        raise RefusedError(problem, where="--root", remedy=remedy, finding="root-missing")
    return known


def check_signers(root: SignedRoot, signers: tuple[Signer, ...]) -> None:
    """Raise RefusedError unless the signers are enough of the root's consignment role, as a site will require."""
    role = root.root.roles["consignment"]
    keyids = {signer.public.keyid for signer in signers}
    for keyid in sorted(keyids - set(role.keys)):
        problem = f"key {short_digest(keyid)} is not in the consignment role of root {root.root.version}"
        remedy = f"sign with key {' or '.join(short_digest(key) for key in role.keys)}"
        raise RefusedError(problem, where="--key", remedy=remedy, finding="signer-role")
    if len(keyids) < role.threshold:
        raise RefusedError(
            f"{len(keyids)} keys of the consignment role are given; root {root.root.version} requires {role.threshold}",
            where="--key",
            remedy="repeat --key for each key of the role",
            finding="signature-missing",
        )


def carried_list(root: SignedRoot, data: bytes, what: str) -> Envelope:
    """Return a revocation list to carry; a threshold of the vendor's root role signed it."""
    verify_revocations(data, Chain(roots=(root,)), what)
    return decode(data, Envelope, what)


def carried_authorisation(
    root: SignedRoot, data: bytes, what: str, site_ids: tuple[str, ...], revocations: Envelope | None = None
) -> Envelope:
    """Return an authorisation to carry; a threshold of the vendor's rollback role signed it.

    Args:
        revocations: The revocation list in the same consignment, by which the sites will judge it.

    Raises:
        MalformedError: Not an authorisation.
        UntrustedError: Signed by other keys, or by too few.
        RefusedError: It does not name one of ``site_ids``, which would refuse the whole consignment.
    """
    chain = Chain(roots=(root,))
    if revocations is not None:
        chain = revoke(chain, parse_revocations(encode(revocations), "list")[1])
    authorisation = verify_authorisation(data, chain, what).authorisation
    others = [site for site in site_ids if site not in authorisation.sites]
    if others:
        problem = f"authorisation {authorisation.number} does not name {', '.join(others)}"
        remedy = "add the site under `sites` and sign it again, or consign to each site separately"
        raise RefusedError(problem, where=what, remedy=remedy, finding="authorisation-other-site")
    return decode(data, Envelope, what)


def _misfit(connection: Connection, row: SiteRow, envelope: Envelope) -> str | None:
    """Why an authorisation does not fit the site's newest report; that may be old, so it is carried all the same."""
    query = select(reports.c.raw).join(standings, standings.c.report == reports.c.digest)
    raw = connection.execute(query.where(standings.c.enrolment_id == row.enrolment_id)).scalar()
    if raw is None:
        return None
    authorisation = parse_authorisation(encode(envelope))[1]
    name = f"authorisation {authorisation.number}"
    install = stored_report(raw).install
    runs, leaves, target = install.release, authorisation.leaves, authorisation.goes_to
    left = (leaves.channel, leaves.mark.epoch, leaves.mark.sequence)
    if runs is None or (runs.channel, runs.epoch, runs.sequence) != left:
        current = "nothing" if runs is None else f"{runs.channel} {runs.sequence}"
        return f"{name} is for {leaves.channel} {leaves.mark.sequence}; the newest report runs {current}"
    if target.release not in (generation.release for generation in install.generations):
        return f"{name} leads to {target.version}, which the newest report does not list"
    return None


def parse_request(text: str, number: int, why: str | None = None) -> Request:
    """Parse ``HANDLER name=value …``, split at spaces: nothing here passes a shell.

    Raises UsageError for a missing handler, a parameter without ``=`` or given twice, or a value that is not a word.
    """
    handler, *pairs = text.split()[:80] or [""]
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in parameters:
            problem = f"{pair!r} is not a parameter name=value that is given once"
            raise UsageError(problem, where="--request", remedy=f"write {_EXAMPLE}")
        parameters[name] = value
    for word in (handler, *parameters, *parameters.values()):
        if not _WORD.fullmatch(word):
            problem = f"{word!r} in {text!r} is not of letters, digits and . _ : + -"
            raise UsageError(
                problem, where="--request", remedy=f"write {_EXAMPLE}; no path, address or text can be sent"
            )
    try:
        given = {"request": f"q{number}", "handler": handler, "parameters": parameters, "why": why}
        return convert(given, Request)
    except ValidationError as error:
        problem = f"{text!r} is not a request: {str(error)[:1].lower()}{str(error)[1:]}"
        raise UsageError(problem, where="--request", remedy=f"write {_EXAMPLE}") from None


def check_medium(medium: Path, rows: tuple[SiteRow, ...]) -> None:
    """Raise before anything is signed or numbered if the medium cannot take these consignments.

    Raises:
        UsageError: Two sites would share a folder.
        RefusedError: A consignment is there already, the folder leads off the medium, or a site is closed.
    """
    if not medium.absolute().parent.is_dir():
        remedy = f"mkdir -p {shlex.quote(str(medium.parent))}"
        raise HostError(f"folder {medium.parent} does not exist", where=str(medium), remedy=remedy)
    by_folder: dict[str, str] = {}
    for row in rows:
        if row.closed_at is not None:
            problem = f"the site was closed on {row.closed_at:%Y-%m-%d}"
            remedy = "leave this site out; nothing is signed for a closed site"
            raise RefusedError(problem, where=row.site, remedy=remedy, finding="site-closed")
        folder = folder_name(row.site)
        if by_folder.setdefault(folder, row.site) != row.site:
            problem = f"{by_folder[folder]} and {row.site} would share the folder {folder}"
            raise UsageError(problem, where="SITE", remedy="write them to two media")
        folder_on(medium, "back", folder)
        target = folder_on(medium, "for", folder) / FILE
        if target.exists() or target.is_symlink():
            problem = "a consignment exists there already, and nothing is overwritten"
            remedy = "name an empty medium with --out, or remove that file"
            raise RefusedError(problem, where=str(target), remedy=remedy, finding="exists")


def consign(
    engine: Engine, rows: tuple[SiteRow, ...], order: ConsignmentOrder, now: datetime, challenge: Callable[[], bytes]
) -> tuple[SignedConsignment, ...]:
    """Number, sign and record one consignment for each of the sites, in one transaction.

    ``challenge`` returns 32 fresh random bytes at each call. Raises RefusedError if the signers are not enough.
    """
    check_signers(order.root, order.signers)
    signed = []
    cache: ReleaseCache = {}
    with engine.begin() as connection:
        unknown = _unknown_handlers(connection, order.requests)
        for row in rows:
            consignment = _compose(connection, row, order, cache, now, challenge())
            raw = sign_consignment(consignment, order.signers)
            # A consignment that no site would accept must not get a number.
            digest = verify_consignment(raw, Chain(roots=(order.root,)), row.site).digest
            acknowledged = consignment.acknowledged
            connection.execute(
                insert(consignments).values(
                    digest=digest,
                    site_id=row.site_id,
                    number=consignment.number,
                    challenge=consignment.challenge_digest,
                    issued_at=now,
                    acknowledged=acknowledged.digest if acknowledged else None,
                    raw=raw,
                )
            )
            misfits = (_misfit(connection, row, envelope) for envelope in order.authorisations)
            newest = _newest_revoked(connection, row, consignment)
            notes = tuple(note for note in (_site_note(row, order.root), newest, *misfits, *unknown) if note)
            seq = acknowledged.seq if acknowledged else None
            signed.append(SignedConsignment(row.site, consignment.number, raw, seq, notes))
    return tuple(signed)


def write_medium(
    engine: Engine, medium: Path, signed: tuple[SignedConsignment, ...], now: datetime
) -> tuple[Path, ...]:
    """Write each consignment to a folder of its site, and make an empty folder for what the site sends back.

    Each is recorded in the ledger as it is written: after an interruption the ledger knows what the medium holds.
    """
    written = []
    for consignment in signed:
        folder = folder_name(consignment.site)
        target = medium / "for" / folder / FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        (medium / "back" / folder).mkdir(parents=True, exist_ok=True)
        replace_file(target, consignment.raw)
        written.append(target)
        with engine.begin() as connection:
            here = consignments.c.digest == digest_of(consignment.raw)
            values = {"written_at": now, "medium": str(medium)}
            connection.execute(update(consignments).where(here).values(values))
    return tuple(written)


def _compose(
    connection: Connection, row: SiteRow, order: ConsignmentOrder, cache: ReleaseCache, now: datetime, challenge: bytes
) -> Consignment:
    """Compose the next consignment for a site."""
    numbers = select(func.max(consignments.c.number)).where(consignments.c.site_id == row.site_id)
    return Consignment(
        vendor=order.root.root.vendor,
        site=row.site,
        site_key=site_key(connection, row.enrolment_id),
        number=(connection.execute(numbers).scalar() or 0) + 1,
        issued_at=rfc3339(now),
        challenge=challenge.hex(),
        # On a forked chain it is open which report is the site's: none is acknowledged until a person decides.
        acknowledged=None if row.forked_at is not None else _newest_report(connection, row),
        newest=_newest_release(connection, row, order.root.root, cache),
        revocations=order.revocations,
        requests=(*_with_window(connection, row, order), *_offboard_requests(connection, row)),
        authorisations=order.authorisations,
    )


def _with_window(connection: Connection, row: SiteRow, order: ConsignmentOrder) -> tuple[Request, ...]:
    """Return the requests with their window: the reports after the newest one of the site that is here."""
    if order.for_reports is None:
        return order.requests
    newest = _newest_report(connection, row)
    last = (newest.seq if newest is not None else 0) + order.for_reports
    return tuple(replace(request, last_report=last) for request in order.requests)


def _unknown_handlers(connection: Connection, requests: tuple[Request, ...]) -> tuple[str, ...]:
    """Return a note for each requested handler that nobody has, and for wrong parameters of one of the verifier."""
    if not requests:
        return ()
    built_in = (
        parameter_problem(BUILT_IN[request.handler], request.parameters, frozenset(request.parameters.values()))
        for request in requests
        if request.handler in BUILT_IN
    )
    known = {
        handler.name
        for raw in connection.execute(select(releases.c.raw)).scalars()
        for handler in parse_release(raw).handlers
    }
    unknown = (
        f"no release in the ledger has the handler {request.handler}"
        for request in requests
        if request.handler not in known and request.handler not in BUILT_IN
    )
    return (*unknown, *(problem for problem in built_in if problem is not None))


def _site_note(row: SiteRow, root: SignedRoot) -> str | None:
    if row.forked_at is not None:
        return f"its reports are forked since report {row.forked_at}: none is acknowledged"
    if row.newest is None:
        return "it has never reported"
    if row.newest.root_version < root.root.version:
        return f"it trusts root {row.newest.root_version}: it may need a bundle with root {root.root.version} first"
    return None


def _newest_revoked(connection: Connection, row: SiteRow, consignment: Consignment) -> str | None:
    """Return that the carried list revokes the release which the consignment names as the newest; None otherwise."""
    if consignment.revocations is None:
        return None
    listed = parse_revocations(encode(consignment.revocations), "list")[1]
    for newest in consignment.newest:
        here = (releases.c.product == row.product) & (releases.c.channel == newest.channel)
        mark = (releases.c.epoch == newest.mark.epoch) & (releases.c.sequence == newest.mark.sequence)
        for raw in connection.execute(select(releases.c.raw).where(here & mark)).scalars():
            if digest_of(raw) in listed.releases:
                name = f"{newest.channel} {newest.mark.sequence} ({parse_release(raw).version})"
                return f"list {listed.version} revokes {name}, the newest release for it: import one that replaces it"
    return None


def _offboard_requests(connection: Connection, row: SiteRow) -> tuple[Request, ...]:
    """While an offboarding is open, every consignment requests it."""
    still_open = (closures.c.site_id == row.site_id) & closures.c.closed_at.is_(None)
    reason = connection.execute(select(closures.c.reason).where(still_open)).scalar()
    if reason is None:
        return ()
    return (Request(request=OFFBOARD_REQUEST, handler=OFFBOARD_REQUEST, parameters={"reason": reason}),)


def site_key(connection: Connection, enrolment_id: int) -> str:
    """Return the key id of an enrolment's newest key: the enrolled one, or its successor by rotation."""
    rotated = select(keys.c.keyid).where(keys.c.enrolment_id == enrolment_id).order_by(keys.c.key_epoch.desc()).limit(1)
    enrolled = select(enrolments.c.keyid).where(enrolments.c.id == enrolment_id)
    keyid: str = connection.execute(rotated).scalar() or connection.execute(enrolled).scalar_one()
    return keyid


def _newest_report(connection: Connection, row: SiteRow) -> Acknowledged | None:
    query = (
        select(reports.c.seq, reports.c.digest)
        .join(standings, standings.c.report == reports.c.digest)
        .where(standings.c.enrolment_id == row.enrolment_id)
    )
    newest = connection.execute(query).first()
    return None if newest is None else Acknowledged(seq=newest.seq, digest=newest.digest)


def _newest_release(connection: Connection, row: SiteRow, root: Root, cache: ReleaseCache) -> tuple[Newest, ...]:
    """The newest release of the site's channel whose audience the site belongs to.

    ``cache`` holds the releases of each product and channel, newest first: each is read once for all sites.
    """
    key = (row.product, row.channel)
    if key not in cache:
        here = (releases.c.product == row.product) & (releases.c.channel == row.channel)
        query = (
            select(releases.c.epoch, releases.c.sequence, releases.c.raw)
            .where(here & (releases.c.vendor == root.vendor) & (releases.c.practice == root.practice))
            .order_by(releases.c.epoch.desc(), releases.c.sequence.desc())
        )
        cache[key] = [
            (Mark(epoch=epoch, sequence=sequence), decode(raw, _ReleaseAudience, "release").audience)
            for epoch, sequence, raw in connection.execute(query)
        ]
    for mark, audience in cache[key]:
        if audience.everyone or (row.customer in audience.customers and row.environment in audience.environments):
            return (Newest(channel=row.channel, mark=mark),)
    return ()
