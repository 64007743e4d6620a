"""The vendor's authorisations to roll back below the floor: which the site holds, and which one fits a rollback."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from manifests.documents.authorisation import (
    MAX_AUTHORISATION,
    Authorisation,
    SignedAuthorisation,
    parse_authorisation,
    verify_authorisation,
)
from manifests.documents.consignment import Consignment
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError, WaybillError
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import Generation, State
from verifier.site.unread import attempt
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import list_in_force, own_chain

_CONFIRMED = (State.CONFIRMED, State.SETTLED)


def verify_carried(site: Site, consignment: Consignment, where: str) -> tuple[SignedAuthorisation, ...]:
    """Return the authorisations of a consignment, each verified with the root in force.

    Raises:
        MalformedError, UntrustedError: One is malformed, or not signed by the vendor's rollback role.
        RefusedError: One is not for this site.
    """
    chain = own_chain(site)
    verified = []
    for i, envelope in enumerate(consignment.authorisations):
        what = f"{where} $.authorisations[{i}]"
        signed = verify_authorisation(encode(envelope), chain, what)
        if site.state.site not in signed.authorisation.sites:  # D-6.2
            sites = ", ".join(signed.authorisation.sites) or "no site"
            raise RefusedError(
                f"authorisation {signed.authorisation.number} is for {sites}; this site is {site.state.site}",
                where=what,
                remedy="ask the vendor for an authorisation that names this site",
                finding="authorisation-other-site",
            )
        verified.append(signed)
    return tuple(verified)


def find_authorisation(site: Site, running: Generation, target: Generation, item: str) -> SignedAuthorisation:
    """Return the authorisation of the rollback from ``running`` to ``target``, verified with the root in force.

    Raises:
        RefusedError: There is none, it was used already, its target is revoked, or the vendor's access has ended.
        UntrustedError: It fits, but its keys no longer count.
    """
    floor = site.state.floor_of(target.channel)
    below = f"generation {target.number} has sequence {target.mark.sequence}, below the floor "
    below += str(floor.sequence if floor else 0)
    _check_served(site, below, item)
    refusals: list[WaybillError] = []
    others = []
    for read, carried in _held(site, running):
        try:
            raw = read()
            authorisation = parse_authorisation(raw, item)[1]
            if not _fits(site, authorisation, running, target, carried=carried):
                others.append(authorisation)
                continue
            # The signature is checked last: an authorisation of another rollback must not fail this one.
            signed = verify_authorisation(raw, own_chain(site), item)
        except WaybillError as error:
            refusals.append(error)
            continue
        if signed.fingerprint in site.state.trust.spent:  # D-6.6
            refusals.append(
                RefusedError(
                    f"authorisation {authorisation.number} was used already",
                    where=item,
                    remedy="ask the vendor for a new authorisation",
                    finding="authorisation-spent",
                )
            )
            continue
        listed = list_in_force(site)
        if listed is not None and target.release in listed.releases:
            raise RefusedError(
                f"revocation list {listed.version} revokes release {target.version}, the target of the authorisation",
                where=item,
                remedy="ask the vendor for an authorisation to another release",
                finding="release-revoked",
            )
        return signed
    if refusals:
        raise refusals[-1]
    remedy = (
        f"ask the vendor for an authorisation for {site.state.site} from {running.version} "
        f"({_place(running.channel, running.mark)}) to {target.version}, then run waybill receive PATH"
    )
    if target.channel == running.channel and target.mark >= running.mark:  # D-6.3
        remedy = "install a release that is not below the floor; an authorisation only leads to an older one"
    here = "; ".join(f"authorisation {other.number} is {_describe(other)}" for other in others[-3:])
    raise RefusedError(
        below + (f"; {here}" if here else ""),
        where=item,
        remedy=remedy,
        finding="below-floor",
    )


def _check_served(site: Site, below: str, item: str) -> None:
    try:
        check_served(site.state)
    except RefusedError as error:
        raise RefusedError(
            f"{below}; {error.problem}, so no authorisation of the vendor counts here any more",
            where=item,
            remedy="run `waybill status`, which names the rollbacks that are still possible",
            finding="offboarded",
        ) from None


@dataclass(frozen=True)
class AuthorisationStatus:
    """Whether an authorisation can be used at this site now: ``finding`` is ``usable``, or the reason why not."""

    number: int
    finding: str
    text: str


def authorisation_status(site: Site, signed: SignedAuthorisation) -> AuthorisationStatus:
    """Judge an authorisation against what runs now. The next install may change the result. Raises nothing."""
    authorisation, running = signed.authorisation, site.state.installs.running
    scope = f"{_describe(authorisation)}, below the floor, once"

    def status(finding: str, text: str) -> AuthorisationStatus:
        return AuthorisationStatus(
            authorisation.number, finding, f"authorisation {authorisation.number}, {scope}: {text}"
        )

    if signed.fingerprint in site.state.trust.spent:
        return status("authorisation-spent", "it was used already")
    listed = list_in_force(site)
    if listed is not None and authorisation.goes_to.release in listed.releases:
        return status("release-revoked", f"list {listed.version} revokes its target release")
    if running is None or not _leaves(authorisation, running):
        runs = "nothing" if running is None else _place(running.channel, running.mark)
        return status("authorisation-other-way", f"{runs} runs here now")
    generations = site.state.installs.generations
    targets = [target for target in generations if _reaches(authorisation, target) and target.state in _CONFIRMED]
    if not targets:
        return status("authorisation-other-way", f"{authorisation.goes_to.version} was never confirmed here")
    return status(
        "usable",
        f"item b-{targets[-1].number}: waybill review b-{targets[-1].number}, then waybill approve "
        f"b-{targets[-1].number} --key KEY; reason: {authorisation.why}",
    )


def open_authorisations(site: Site) -> tuple[tuple[Generation, SignedAuthorisation], ...]:
    """Return the generations below the floor to which an authorisation allows a rollback now."""
    running = site.state.installs.running
    if running is None:
        return ()
    usable = []
    for target in site.state.installs.generations:
        floor = site.state.floor_of(target.channel)
        below = floor is not None and target.mark < floor
        if below and target.number != site.state.installs.current and target.state in _CONFIRMED:
            with suppress(WaybillError):
                usable.append((target, find_authorisation(site, running, target, f"b-{target.number}")))
    return tuple(usable)


def _held(site: Site, running: Generation) -> Iterator[tuple[Callable[[], bytes], bool]]:
    """Yield a reader for each envelope: what consignments brought, the newest last, then what the release carries.

    One that cannot be read, and then raises, must not hide the others.
    """
    for document in site.state.trust.authorisations:
        yield partial(site.document, document), False
    carried = attempt(lambda: read_installed(site, running).release.authorisations, [])
    for blob in carried or ():
        yield partial(site.store.get, blob, MAX_AUTHORISATION, "authorisation"), True


def _fits(site: Site, authorisation: Authorisation, running: Generation, target: Generation, *, carried: bool) -> bool:
    named = site.state.site in authorisation.sites or (carried and not authorisation.sites)  # D-6.2
    return (
        named
        and authorisation.product == running.product
        and _leaves(authorisation, running)
        and _reaches(authorisation, target)
    )


def _leaves(authorisation: Authorisation, running: Generation) -> bool:
    return (authorisation.leaves.channel, authorisation.leaves.mark) == (running.channel, running.mark)  # D-6.3


def _reaches(authorisation: Authorisation, target: Generation) -> bool:
    # The version is compared as well, because people read it before they agree.
    goes_to = authorisation.goes_to
    return (goes_to.release, goes_to.version, goes_to.channel, goes_to.mark) == (  # D-6.5
        target.release,
        target.version,
        target.channel,
        target.mark,
    )


def _describe(authorisation: Authorisation) -> str:
    leaves = authorisation.leaves
    return f"from {_place(leaves.channel, leaves.mark)} to {authorisation.goes_to.version}"


def _place(channel: str, mark: Mark) -> str:
    return f"{channel} {mark.sequence}" + (f" of epoch {mark.epoch}" if mark.epoch > 1 else "")


def authorisation_facts(signed: SignedAuthorisation) -> tuple[tuple[str, str], ...]:
    """Return what people must read before they agree, as names and values."""
    authorisation = signed.authorisation
    signers = ", ".join(keyid[:12] for keyid in signed.signers)
    return (
        ("below the floor", f"by authorisation {authorisation.number} of {authorisation.vendor}, signed by {signers}"),
        ("valid for", "this rollback, once; the floor does not change"),
        ("why", authorisation.why),
        ("the vendor says it loses", authorisation.loses),
        ("the vendor says it opens again", ", ".join(authorisation.reopens) or "no advisory"),
    )
