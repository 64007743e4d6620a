"""A site's use of the vendor's permissions to go below the floor: which are here, and which one fits a way back."""

from collections.abc import Iterator
from dataclasses import dataclass

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
from verifier.site.journal.installs import Generation
from verifier.site.journal.transitions import State
from verifier.site.store import get_blob
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import list_in_force, own_chain

_WORKED = (State.CONFIRMED, State.SETTLED)


def verify_carried(site: Site, said: Consignment, where: str) -> tuple[SignedAuthorisation, ...]:
    """The authorisations in a consignment, each signed by the rollback role and for this very site.

    Raises:
        MalformedError, UntrustedError: One is not what it should be.
        RefusedError: One is for others; a consignment is made for one site.
    """
    chain = own_chain(site)
    found = []
    for i, envelope in enumerate(said.authorisations):
        what = f"{where} $.authorisations[{i}]"
        one = verify_authorisation(encode(envelope), chain, what)
        if site.state.site not in one.authorisation.sites:  # D-6.2
            raise RefusedError(
                f"authorisation {one.authorisation.number} is for {', '.join(one.authorisation.sites) or 'no site'}, "
                f"this is {site.state.site}",
                where=what,
                remedy="ask the vendor for one that names this site",
                finding="authorisation-other-site",
            )
        found.append(one)
    return tuple(found)


def find_authorisation(site: Site, running: Generation, target: Generation, item: str) -> SignedAuthorisation:
    """The authorisation of the way back from ``running`` to ``target``, verified with the root in force right now.

    Raises:
        RefusedError: There is none; or it was used already; or the vendor withdrew what it leads to; or the vendor is
            not trusted any more.
        UntrustedError: It would fit, and its keys do not count any more.
    """
    check_served(site.state)
    refusals: list[WaybillError] = []
    others = []
    for raw, carried in _held(site, running):
        try:
            said = parse_authorisation(raw, item)[1]
            if not _fits(site, said, running, target, carried=carried):
                others.append(said)
                continue
            # Last: what would not fit anyway says nothing about this way, whoever signed it.
            one = verify_authorisation(raw, own_chain(site), item)
        except WaybillError as error:
            refusals.append(error)
            continue
        if one.fingerprint in site.state.trust.spent:  # D-6.6
            refusals.append(
                RefusedError(
                    f"authorisation {said.number} was used already",
                    where=item,
                    remedy="ask the vendor for another one",
                    finding="authorisation-spent",
                )
            )
            continue
        _check_target(site, target, item)
        return one
    if refusals:
        raise refusals[-1]
    floor = site.state.floor_of(target.channel)
    remedy = (
        f"it needs the vendor's authorisation for {site.state.site} from {running.version} "
        f"({_place(running.channel, running.mark)}) to {target.version}; receive the medium that brings it"
    )
    if target.channel == running.channel and target.mark >= running.mark:  # D-6.3
        remedy = "an authorisation only leads back; go forward by installing what is not below the floor"
    here = "; ".join(
        f"authorisation {one.number} is from {_place(one.leaves.channel, one.leaves.mark)} to {one.goes_to.version}"
        for one in others[-3:]
    )
    raise RefusedError(
        f"generation {target.number} has sequence {target.mark.sequence}, below the floor "
        f"{floor.sequence if floor else 0}" + (f"; {here}" if here else ""),
        where=item,
        remedy=remedy,
        finding="below-floor",
    )


@dataclass(frozen=True)
class AuthorisationStatus:
    """What an authorisation is good for at this site, now.

    Attributes:
        finding: ``usable``, or a stable id of why it is not.
    """

    number: int
    finding: str
    text: str


def authorisation_status(site: Site, one: SignedAuthorisation) -> AuthorisationStatus:
    """What came, judged against what runs here; that may change with the next install. Raises nothing."""
    said, running = one.authorisation, site.state.installs.running
    way = f"from {_place(said.leaves.channel, said.leaves.mark)} back to {said.goes_to.version}, below the floor, once"

    def fate(finding: str, text: str) -> AuthorisationStatus:
        return AuthorisationStatus(said.number, finding, f"authorisation {said.number}, {way}: {text}")

    if one.fingerprint in site.state.trust.spent:
        return fate("authorisation-spent", "it was used already")
    listed = list_in_force(site)
    if listed is not None and said.goes_to.release in listed.releases:
        return fate("release-revoked", f"list {listed.version} revokes where it leads")
    if running is None or not _leaves(said, running):
        runs = "nothing" if running is None else _place(running.channel, running.mark)
        return fate("authorisation-other-way", f"{runs} runs here now")
    targets = [one for one in site.state.installs.generations if _reaches(said, one) and one.state in _WORKED]
    if not targets:
        return fate("authorisation-other-way", f"{said.goes_to.version} never worked here")
    return fate(
        "usable", f"waybill rollback --to {targets[-1].number}, when the people here agree; because: {said.why}"
    )


def open_authorisations(site: Site) -> tuple[tuple[Generation, SignedAuthorisation], ...]:
    """Generations below the floor to which the vendor allows this site to go back now."""
    running = site.state.installs.running
    if running is None:
        return ()
    found = []
    for target in site.state.installs.generations:
        floor = site.state.floor_of(target.channel)
        if (
            target.number == site.state.installs.current
            or target.state not in _WORKED
            or floor is None
            or target.mark >= floor
        ):
            continue
        try:
            found.append((target, find_authorisation(site, running, target, f"b-{target.number}")))
        except WaybillError:
            continue
    return tuple(found)


def _held(site: Site, running: Generation) -> Iterator[tuple[bytes, bool]]:
    """Envelopes that consignments brought, the newest last; then those that the running release carries."""
    for document in site.state.trust.authorisations:
        yield site.document(document), False
    for blob in read_installed(site, running).release.authorisations:
        yield get_blob(site.blobs, blob, MAX_AUTHORISATION), True


def _fits(site: Site, one: Authorisation, running: Generation, target: Generation, *, carried: bool) -> bool:
    named = site.state.site in one.sites or (carried and not one.sites)  # D-6.2
    return named and one.product == running.product and _leaves(one, running) and _reaches(one, target)


def _leaves(one: Authorisation, running: Generation) -> bool:
    return (one.leaves.channel, one.leaves.mark) == (running.channel, running.mark)  # D-6.3


def _reaches(one: Authorisation, target: Generation) -> bool:
    # The version too: it is what people read before they agree.
    said = one.goes_to
    return (said.release, said.version, said.channel, said.mark) == (  # D-6.5
        target.release,
        target.version,
        target.channel,
        target.mark,
    )


def _place(channel: str, mark: Mark) -> str:
    return f"{channel} {mark.sequence}" + (f" of epoch {mark.epoch}" if mark.epoch > 1 else "")


def _check_target(site: Site, target: Generation, item: str) -> None:
    listed = list_in_force(site)
    if listed is not None and target.release in listed.releases:
        raise RefusedError(
            f"list {listed.version} revokes {target.version}, to which the vendor had authorised the way back",
            where=item,
            remedy="ask the vendor for another way",
            finding="release-revoked",
        )


def authorisation_facts(one: SignedAuthorisation) -> tuple[tuple[str, str], ...]:
    """What people must read before they agree, and what is told when it was done."""
    said = one.authorisation
    signers = ", ".join(keyid[:12] for keyid in one.signers)
    return (
        ("below the floor", f"by authorisation {said.number} of {said.vendor}, signed by {signers}"),
        ("good for", "this way, once; the floor stays where it is"),
        ("why", said.why),
        ("the vendor says it loses", said.loses),
        ("the vendor says it opens again", ", ".join(said.reopens) or "no advisory"),
    )
