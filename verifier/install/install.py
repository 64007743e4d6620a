"""Install an approved item, go back, confirm, recover: each opens the site's one transaction and drives it on."""

import os
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from content.bundle.bulk import open_bundle
from content.bundle.places import find_places
from manifests.documents.plan import Plan
from manifests.words.canonical import encode
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, RefusedError, UsageError, WaitingError
from manifests.words.units import show_size, show_uses
from verifier.approval.items import approvable_of, record_proposals
from verifier.approval.verdicts import approval_status
from verifier.change.driver_steps import DriverStep
from verifier.change.install_plan import driver_steps_for
from verifier.change.route import Route
from verifier.change.space import ProgressCallback, plan_space
from verifier.change.values import Change
from verifier.install.machine import Machine
from verifier.install.result import (
    InstallResult,
    WriteReport,
    check_idle,
    check_rollback_possible,
    finish_previous,
    result_of,
    stopped_result,
)
from verifier.install.wiring import Runtime
from verifier.rules.agreement import ApprovalStatus, require
from verifier.rules.time import check_window, effective_now
from verifier.site.folder import Site
from verifier.site.generations import write_generation
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Approved, Planned
from verifier.site.journal.transitions import State
from verifier.site.store import ingest


def install(
    site: Site,
    items: tuple[str, ...],
    tools: Runtime,
    *,
    media: Path | None,
    contract: Callable[[Change], str] | None,
    tell: WriteReport,
    told: ProgressCallback,
    outside_window: str | None = None,
    emergency: str = "",
    dry_run: bool = False,
) -> InstallResult:
    """Install an item, or several releases one after the other, and see each through its trial.

    Steps: 1 what was cut off is finished, nothing else is on its way; 2 work out the change; 3 the people have agreed,
    and it is the time for it; 4 a first install names its contract; 5 it fits, and it could go back; 6 plan and
    approvals go into the journal; 7 stage, back up, migrate, switch, activate, probe, confirm, settle. 5 to 7 for each
    release.

    Args:
        media: Where the bulk is; None for where it was received from.
        contract: Asks for the digest of the contract of a first install.
        outside_window: Why it is done now, outside of the policy's windows.
        emergency: The rule of the policy that is asked for instead of the ordinary ones.

    Raises:
        WaybillError: Before anything was changed.
    """
    finish_previous(site, tools)  # 1
    check_idle(site)
    if not dry_run:
        record_proposals(site)
    route = _route(site, items)  # 2
    crews = [driver_steps_for(site, hop, tools.load) for hop in route.hops]
    standing = approval_status(site, route, emergency or _used_for(site, route.plan))  # 3
    require(standing, " ".join(items))
    late = check_window(
        site.policy.windows, effective_now(site.host.now(), site.state.trust.time_floor), outside_window
    )
    if site.state.installs.contract is None and not dry_run:  # 4
        _check_contract(route.hops[0], contract)
    if dry_run:
        need = plan_space(site, route.hops[0], crews[0], told)
        lines = check_rollback_possible(site, route.hops[0], tools, need.missing, told)
        return InstallResult(site.state.installs.running, None, None, need, lines)
    ended = InstallResult(site.state.installs.running, None, None)
    for i, hop in enumerate(route.hops):
        crew = crews[0] if i == 0 else driver_steps_for(site, hop, tools.load)
        planned = replace(hop.planned, outside_window=one_line(late) if late else None)
        ended = _install_one(site, hop, planned, route, standing, crew, tools, media=media, tell=tell, told=told)
        now = site.state.installs.transaction
        if now is None or now.state not in (State.SETTLED, State.CONFIRMED):
            return ended if len(route.hops) == 1 else stopped_result(site, ended, route, i)
    return ended


def _used_for(site: Site, plan: Plan) -> str:
    """The emergency rule by which this very plan was begun before; going on with it is no second use."""
    return next((one.rule for one in reversed(site.state.trust.uses) if one.plan == plan.digest), "")


def _route(site: Site, items: tuple[str, ...]) -> Route:
    """One change is a route of one hop. Raises UsageError for what is done by another verb."""
    asked = approvable_of(site, items)
    if isinstance(asked, Route):
        return asked
    if not isinstance(asked, Change) or asked.action != "install":
        raise UsageError(f"{asked.item} is not installed", where="item", remedy=f"waybill {asked.then}")
    return Route(hops=(asked,), plan=asked.plan)


def _install_one(
    site: Site,
    change: Change,
    planned: Planned,
    route: Route,
    standing: ApprovalStatus,
    crew: tuple[DriverStep, ...],
    tools: Runtime,
    *,
    media: Path | None,
    tell: WriteReport,
    told: ProgressCallback,
) -> InstallResult:
    need = plan_space(site, change, crew, told)  # 5
    check_rollback_possible(site, change, tools, need.missing, told)
    tools.say(f"{len(need.missing)} blobs are new here; {show_size(need.bytes)} in all")
    site.keep_document(encode(route.plan))  # 6
    site.record(planned)
    site.record(Approved(approvals=tuple(one.digest for one in standing.approvals), rule=standing.rule or None))
    if standing.rule:
        tools.say(f"by the emergency rule {standing.rule}; after this one, {show_uses(standing.uses_left - 1)} left")
    machine = Machine(site, tools)  # 7
    plan = route.plan.digest
    machine.drive(forward=True, stage=lambda: _stage(site, change, plan, crew, need.missing, media, tools, told))
    return result_of(site, tell, "emergency" if standing.rule else "install", need)


def _check_contract(change: Change, ask: Callable[[Change], str] | None) -> None:
    wanted = change.planned.contract
    given = ask(change) if ask is not None else ""
    if not given:
        raise WaitingError(
            f"the first install puts a telemetry contract in force: {change.contract.contract} "
            f"version {change.contract.version}, {len(change.contract.signals)} signals",
            where="contract",
            remedy=f"read it with `waybill review {change.item}`, then install with --contract DIGEST",
            finding="contract-unnamed",
        )
    if given != wanted:
        raise RefusedError(
            f"the release brings contract {wanted}, you named {given}",
            where="--contract",
            remedy="ask the vendor which contract was agreed",
            finding="contract-other",
        )


def _stage(
    site: Site,
    change: Change,
    plan: str,
    crew: tuple[DriverStep, ...],
    missing: tuple[Blob, ...],
    media: Path | None,
    tools: Runtime,
    told: ProgressCallback,
) -> None:
    """1. blobs; 2. the generation's folder; 3. what the drivers can do unseen. All of it can be done again."""
    head = change.head
    if head is None:
        raise AssertionError("an install has a head")
    if missing:  # 1
        path = media or (Path(change.source) if change.source not in ("", "-") else None)
        if path is None or not path.is_file():
            raise DamagedError(
                f"{len(missing)} blobs are missing and the medium is not at {path or 'hand'}",
                where=change.item,
                remedy=f"waybill install {change.item} --media PATH",
                finding="medium-missing",
            )
        descriptor = open_bundle(path)
        try:
            bulk = find_places(descriptor, change.release, str(path))
            ingest(site.disk, descriptor, bulk, missing, site.blobs, str(path), told=told)
        finally:
            os.close(descriptor)
    write_generation(  # 2
        site.disk,
        site.generation_folder(change.target),
        head.head.release,
        change.settings,
        change.installed.config,
        plan=plan,
    )
    for work in crew:  # 3
        tools.say(f"{work.step}: staging")
        work.driver.stage(work.plan, work.context)
