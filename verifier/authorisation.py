"""A site's use of the vendor's permissions to go below the floor: which are here, and which one fits a way back."""

from collections.abc import Iterator

from manifests.authorisation import MAX_AUTHORISATION, Authorisation, SignedAuthorisation, verify_authorisation
from manifests.canonical import encode
from manifests.consignment import Consignment
from manifests.errors import RefusedError, WaybillError
from verifier.crew import installed_of
from verifier.site import Site
from verifier.state import Generation
from verifier.store import get_blob
from verifier.trust import list_in_force, own_chain


def judge_carried(site: Site, said: Consignment, where: str) -> tuple[SignedAuthorisation, ...]:
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
        if site.state.site not in one.authorisation.sites:  # F-212
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
        RefusedError: There is none; or it was used already; or the vendor withdrew what it leads to.
        UntrustedError: It would fit, and its keys do not count any more.
    """
    refusals: list[WaybillError] = []
    for raw, carried in _held(site, running):
        try:
            one = verify_authorisation(raw, own_chain(site), item)
        except WaybillError as error:
            refusals.append(error)
            continue
        if not _fits(site, one.authorisation, running, target, carried=carried):
            continue
        if one.fingerprint in site.state.spent:  # F-215
            refusals.append(
                RefusedError(
                    f"authorisation {one.authorisation.number} was used already",
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
    raise RefusedError(
        f"generation {target.number} has sequence {target.mark.sequence}, below the floor "
        f"{floor.sequence if floor else 0}",
        where=item,
        remedy=f"it needs the vendor's authorisation for {site.state.site} from {running.version} to {target.version}; "
        "receive the medium that brings it",
        finding="below-floor",
    )


def _held(site: Site, running: Generation) -> Iterator[tuple[bytes, bool]]:
    """Envelopes that consignments brought, the newest last; then those that the running release carries."""
    for document in site.state.authorisations:
        yield site.document(document), False
    for blob in installed_of(site, running).release.authorisations:
        yield get_blob(site.blobs, blob, MAX_AUTHORISATION), True


def _fits(site: Site, one: Authorisation, running: Generation, target: Generation, *, carried: bool) -> bool:
    named = site.state.site in one.sites or (carried and not one.sites)  # F-212
    leaves, goes_to = one.leaves, one.goes_to
    return (
        named
        and one.product == running.product
        and (leaves.channel, leaves.mark) == (running.channel, running.mark)  # F-213
        and (goes_to.release, goes_to.channel, goes_to.mark) == (target.release, target.channel, target.mark)  # F-214
    )


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
        ("below the floor", f"by authorisation {said.number} of {said.vendor}, signed by {signers}; good once"),
        ("why", said.why),
        ("the vendor says it loses", said.loses),
        ("the vendor says it opens again", ", ".join(said.reopens) or "no advisory"),
    )
