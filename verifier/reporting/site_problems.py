"""What is wrong or unfinished at a site, and what can be done about it. A revoked release is never what to do."""

from manifests.words.errors import AttentionError, DamagedError, UntrustedError, WaybillError
from verifier.approval.queue import Waiting
from verifier.change.transaction import check_idle, transaction_error
from verifier.runtime.drivers.driver import Component
from verifier.site.folder import CURRENT, Site
from verifier.site.generations import read_running
from verifier.site.journal.installs import State, Transaction
from verifier.site.lock import check_ours
from verifier.site.releases import revoked_release, running_revoked
from verifier.site.unread import attempt


def unsettled_change(site: Site, unproved: WaybillError | None, unfinished: WaybillError | None) -> WaybillError | None:
    """Return why no change can begin at this site, or the interrupted act that has to be finished."""
    transaction = site.state.installs.transaction
    if unproved is not None:
        return unproved if transaction_error(site) is None else unfinished
    try:
        check_idle(site)
    except WaybillError:
        return unfinished
    interrupted = transaction is not None and transaction.act is not None
    return unfinished if interrupted or site.state.installs.inconsistent else None


def current_problem(site: Site) -> str | None:
    """Return how ``current`` differs from the journal; None if it does not."""
    wanted, pointed = site.state.installs.current, site.pointed()
    if pointed == wanted:
        return None
    if pointed == 0:
        seen = "is missing"
    elif pointed is None:
        seen = "is not a link to a generation"
    else:
        seen = f"points at generation {pointed}"
    return f"`current` {seen}; by the journal {f'generation {wanted} runs' if wanted else 'nothing is installed'}"


def attention(site: Site, components: tuple[Component, ...], waiting: tuple[Waiting, ...]) -> WaybillError | None:
    """Return what a person must see to while nothing is unfinished; ``waiting`` are the items of the queue."""
    if problem := current_problem(site):
        remedy = "waybill recover points it at the generation of the journal; reports say inconsistent until then"
        return AttentionError(problem, where=str(site.path / CURRENT), remedy=remedy, finding="current-differs")
    running = site.state.installs.running
    if (damage := damage_of_running(site)) is not None:
        return damage
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components if one.problem]
    if wrong:
        first = "; ".join(dict.fromkeys(one.remedy for one in components if one.problem and one.remedy))
        remedy = first or "waybill recover restarts the components"
        return AttentionError("; ".join(wrong), where="components", remedy=remedy, finding="drift")
    revoked, unread = revoked_running(site)
    if unread is not None:
        return unread
    if revoked:
        return AttentionError(
            f"{running.version if running else ''} is running revoked: {revoked}",
            where="release",
            remedy=_instead_of_revoked(site, waiting),
            finding="running-revoked",
        )
    return None


def damage_of_running(site: Site) -> AttentionError | None:
    """Return what is wrong with the files of the running generation, without which nothing can be planned."""
    try:
        read_running(site)
    except WaybillError as error:
        remedy = "run `waybill recover`; it writes the files again, or says what it needs"
        return AttentionError(error.problem, where=error.where, remedy=remedy, finding=error.finding)
    return None


def _instead_of_revoked(site: Site, waiting: tuple[Waiting, ...]) -> str:
    """Return what can be done about a revoked release that runs."""
    possible = [item for item in waiting if item.head.kind == "release" and item.status is not None]
    if site.state.offboarded:
        remedy = "no release can be received here any more"
    elif possible:
        remedy = f"install a release that replaces it: waybill review {' '.join(possible[-1].items)}"
    else:
        remedy = "ask the vendor for the release that replaces it, then waybill receive PATH"
    from verifier.change.reachable import reachable_generation  # plans rollbacks

    target, why = reachable_generation(site)
    if target is not None:
        return f"{remedy}; or waybill rollback --to {target.number}; until then the release keeps running"
    return f"{remedy}; no rollback leads out of it ({why}); until then the release keeps running"


def revoked_running(site: Site) -> tuple[str | None, WaybillError | None]:
    """Return why the running release is revoked, None when it is not; and why that is not known, None when it is."""
    failures: list[WaybillError] = []
    revoked = attempt(lambda: running_revoked(site), failures)
    return revoked, failures[0] if failures else None


def foreign_journal(site: Site) -> WaybillError | None:
    """Return why the journal and the key belong to two sites or two times; None also if the key cannot be read."""
    if site.state.offboarded:
        return None
    try:
        check_ours(site)
        site.signer()
    except (DamagedError, UntrustedError) as error:
        return error
    except (WaybillError, OSError):
        return None
    return None


def unproved_policy(site: Site) -> WaybillError | None:
    """Return why the people of the policy before did not approve the policy in force."""
    try:
        _ = site.policy
    except WaybillError as error:
        return error
    return None


def unfinished_change(site: Site) -> WaybillError | None:
    """Return how the last transaction failed, or where it was interrupted; None if it ended well."""
    transaction = site.state.installs.transaction
    if transaction is None or transaction.state == State.SETTLED:
        return None
    error = transaction_error(site)
    if error is not None:
        return error
    why = f": {transaction.detail}" if transaction.detail else ""
    if transaction.state == State.CONFIRMED:
        problem = f"generation {transaction.planned.target} is confirmed; cleaning up is unfinished{why}"
        command = "recover"
    else:
        act = transaction.act
        how = f"was cut off while it was to {act}" if act else f"has not switched ({transaction.state}){why}"
        so_far = "services that it stopped are not started yet" if transaction.touched else "nothing was changed"
        problem = f"{transaction.action} of {transaction.planned.item} {how}; {so_far}"
        command, obstacle = _repeat(site, transaction)
        if obstacle is not None:
            first = "waybill recover ends it; then " if act or transaction.touched else ""
            return AttentionError(
                f"{problem}; {obstacle.problem}",
                where=transaction.planned.item,
                remedy=f"{first}{obstacle.remedy}",
                finding="unfinished",
            )
    return AttentionError(
        problem, where=transaction.planned.item, remedy=f"waybill {command} continues it", finding="unfinished"
    )


def _repeat(site: Site, transaction: Transaction) -> tuple[str, WaybillError | None]:
    """Return the command that continues the transaction, and why it is refused or must not be advised."""
    # Planning, loaded only where a change is unfinished.
    from manifests.documents.plan import parse_plan
    from verifier.approval.items import approvable_of
    from verifier.change.route import items_of_plan

    planned, refused = transaction.planned, list[WaybillError]()
    if transaction.action == "rollback":
        attempt(lambda: approvable_of(site, (planned.item,)), refused)
        revoked = attempt(lambda: revoked_release(site, planned.release), [])
        if not refused and revoked is not None:
            remedy = "waybill rollback --to N leads to another generation of the list below"
            refused.append(AttentionError(f"release {planned.version} is revoked: {revoked}", remedy=remedy))
        return f"rollback --to {planned.target}", refused[0] if refused else None
    items = attempt(lambda: items_of_plan(site, parse_plan(site.document(planned.plan))), []) or (planned.item,)
    items = items if len(items) > 1 else (planned.item,)
    attempt(lambda: approvable_of(site, items), refused)
    refused = [error.with_(problem=f"it cannot go on: {error.problem}") for error in refused]
    return f"install {' '.join(items)}", refused[0] if refused else None
