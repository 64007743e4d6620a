"""Plan a rollback."""

from manifests.documents.plan import Plan
from manifests.documents.policy import ChangeRule
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.version import in_any, parse_version
from verifier.change.below_floor import find_authorisation
from verifier.change.data_return import plan_data_return
from verifier.change.release_papers import read_contract, read_rollback
from verifier.change.values import Change, planned_by
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import Generation, State
from verifier.site.journal.state import SiteState
from verifier.site.releases import bundle_again, release_of
from verifier.site.unread import attempt
from verifier.trust.findings import Finding


def rollback_change(site: Site, number: int) -> Change:
    """Plan a rollback to an earlier generation, with the config that it had.

    Raises:
        RefusedError: The generation does not exist or was never confirmed; it is below the floor without an
            authorisation; or the running release cannot be rolled back to it.
        DamagedError, MalformedError: The running release changed data, and its rollback document cannot be read.
    """
    state, item = site.state, f"b-{number}"
    running, target = _check_target(state, number, item)
    installed = read_installed(site, target)
    unread: list[WaybillError] = []
    rollback = attempt(lambda: read_rollback(site, release_of(site, running)), unread)
    damaged: list[WaybillError] = []
    attempt(lambda: read_installed(site, running), damaged)
    floor = state.floor_of(target.channel)
    # A rollback to another config of the running release brings in nothing below the floor. F-14.5
    below = floor is not None and target.mark < floor and target.release != running.release
    # An authorisation names both ends of the rollback, so `back_to` is not asked as well. D-6.8
    authorised = find_authorisation(site, running, target, item) if below else None
    free = running.release == target.release or below
    if rollback is not None and not free and not in_any(target.version, rollback.back_to):
        raise _not_back_to(state, running, target, rollback.back_to)
    # Where data were changed it reads the document itself, and raises when that cannot be read.
    document = plan_data_return(site, target, running, item)
    kinds: list[ChangeRule] = ["below-floor"] if below else []
    kinds += ["channel"] if target.channel != state.channel else []
    fingerprint = authorised.fingerprint if authorised else None
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
        subject=fingerprint,
        kinds=(*kinds, "rollback"),
    )
    return Change(
        item=item,
        plan=plan,
        planned=planned_by(
            plan, item, installed.release, state.installs.current, document=document, authorisation=fingerprint
        ),
        installed=installed,
        contract=attempt(lambda: read_contract(site, installed.release), []),
        rollback=rollback,
        findings=(
            *(
                _unknown_document(running, target, error, asked=not free, served=not state.offboarded)
                for error in unread
            ),
            *(Finding("generation-damaged", "warning", unknown_steps(running.number, error)) for error in damaged),
        ),
        authorised=authorised,
    )


def unknown_steps(number: int, error: WaybillError) -> str:
    """Return what it means for a rollback that the files of the generation to leave cannot be read."""
    return f"generation {number} cannot be read ({error}); what only its steps started is not stopped"


def _unknown_document(
    running: Generation, target: Generation, error: WaybillError, *, asked: bool, served: bool
) -> Finding:
    """Return the warning about a rollback document that cannot be read, of a release that changed no data here.

    Args:
        asked: Whether that document would have to allow the rollback.
        served: Whether a bundle can be received here.
    """
    unknown = "what a rollback loses is not known"
    if asked:
        allows = f"whether release {running.version} allows a rollback to {target.version}"
        unknown = f"{allows} is not known, nor what a rollback loses"
    first = f"; before you agree, {bundle_again(running)}" if served and isinstance(error, DamagedError) else ""
    return Finding("rollback-document", "warning", f"{unknown}: {error}{first}")


def _not_back_to(state: SiteState, running: Generation, target: Generation, back_to: tuple[str, ...]) -> RefusedError:
    problem = f"release {running.version} allows no rollback"
    if back_to:
        problem = f"release {running.version} cannot be rolled back to {target.version}, only to {' or '.join(back_to)}"
    remedy = "ask the vendor for a release that allows it"
    if state.offboarded:
        remedy = "no release comes here any more; `waybill status` says whether a rollback is possible"
    elif parse_version(target.version) > parse_version(running.version):
        remedy = f"to go forward, run waybill install r-{target.version}"
    return RefusedError(problem, where=f"b-{target.number}", remedy=remedy, finding="back-to")


def _check_target(state: SiteState, number: int, item: str) -> tuple[Generation, Generation]:
    """Return the running generation and the one to roll back to."""
    running, target = state.installs.running, state.installs.generation(number)
    remedy = "run waybill status to see the generations"
    if running is None:
        remedy = "run waybill review to see what can be installed"
        raise RefusedError("nothing is installed", where=item, remedy=remedy, finding="nothing-installed")
    if target is None:
        raise RefusedError(f"there is no generation {number}", where=item, remedy=remedy, finding="no-generation")
    if target.number == running.number:
        raise RefusedError(f"generation {number} runs already", where=item, remedy=remedy, finding="runs-already")
    if target.state not in (State.CONFIRMED, State.SETTLED):
        raise RefusedError(
            f"generation {number} was never confirmed; its state is {target.state}",
            where=item,
            remedy=f"choose a confirmed generation; {remedy}",
            finding="never-confirmed",
        )
    return running, target
