"""Plan a rollback."""

from manifests.documents.contract import MAX_CONTRACT, Contract
from manifests.documents.plan import Plan
from manifests.documents.policy import ChangeRule
from manifests.words.canonical import parse
from manifests.words.errors import RefusedError
from manifests.words.version import in_any
from verifier.change.below_floor import find_authorisation
from verifier.change.data_return import plan_data_return, rollback_document
from verifier.change.values import Change
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.events import Planned
from verifier.site.journal.state import Generation, SiteState
from verifier.site.journal.transitions import State
from verifier.site.store import get_blob


def rollback_change(site: Site, number: int) -> Change:
    """Going back to an earlier generation, with the config that it had.

    Raises:
        RefusedError: It is not there, never worked, lies below the floor and nothing here authorises that, or the
            running release cannot be left so.
    """
    state = site.state
    target, running = state.installs.generation(number), state.installs.running
    item = f"b-{number}"
    check_target(state, target, number, item)
    if target is None or running is None:
        raise AssertionError("checked above")
    installed = read_installed(site, target)
    leaving = read_installed(site, running)
    rollback = rollback_document(site, leaving.release)
    floor = state.floor_of(target.channel)
    # To another configuration of what runs, nothing new comes in below the floor. F-14.5
    below = floor is not None and target.mark < floor and target.release != running.release
    # It names both ends of the way, which `back_to` cannot promise below the floor. D-6.8
    authorised = find_authorisation(site, running, target, item) if below else None
    if running.release != target.release and not below and not in_any(target.version, rollback.back_to):
        raise RefusedError(
            f"{running.version} cannot be left for {target.version}, only for "
            f"{' or '.join(rollback.back_to) or 'nothing'}",
            where=item,
            remedy=f"to go forward, waybill install r-{target.version}",
            finding="back-to",
        )
    back = plan_data_return(site, target, running, item)
    contract = parse(
        get_blob(site.blobs, installed.release.contract, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT
    )
    more: tuple[ChangeRule, ...] = (
        *(("below-floor",) if below else ()),
        *(("channel",) if target.channel != state.channel else ()),
    )
    kinds: tuple[ChangeRule, ...] = (*more, "rollback")
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="rollback",
        generation=number,
        last_change=state.last_change,
        releases=(target.release,),
        config=target.config,
        settings=target.settings,
        policy=state.trust.policy,
        contract=target.contract,
        subject=authorised.fingerprint if authorised else None,
        kinds=kinds,
    )
    planned = Planned(
        action="rollback",
        item=item,
        plan=plan.digest,
        source=state.installs.current,
        target=number,
        release=target.release,
        product=target.product,
        version=target.version,
        channel=target.channel,
        mark=target.mark,
        floor=target.floor,
        config=target.config,
        config_version=target.config_version,
        settings=target.settings,
        contract=target.contract,
        policy=state.trust.policy,
        kinds=kinds,
        document=back.document,
        authorisation=authorised.fingerprint if authorised else None,
    )
    return Change(
        item=item,
        plan=plan,
        planned=planned,
        installed=installed,
        head=None,
        settings=b"",
        contract=contract,
        rollback=rollback,
        proposers=(),
        source="",
        back=back,
        authorised=authorised,
    )


def check_target(state: SiteState, target: Generation | None, number: int, item: str) -> None:
    if state.installs.running is None:
        raise RefusedError(
            "nothing is installed", where=item, remedy="waybill review lists what waits", finding="nothing-installed"
        )
    if target is None:
        raise RefusedError(
            f"there is no generation {number}", where=item, remedy="waybill status lists them", finding="no-generation"
        )
    if number == state.installs.current:
        raise RefusedError(
            f"generation {number} runs already", where=item, remedy="waybill status lists them", finding="runs-already"
        )
    if target.state not in (State.CONFIRMED, State.SETTLED):
        raise RefusedError(
            f"generation {number} never worked here ({target.state})",
            where=item,
            remedy="choose one that was confirmed",
            finding="never-confirmed",
        )
