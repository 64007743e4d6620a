"""Install an approved item, or several releases one after the other."""

import os
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from content.bundle.bulk import open_bundle
from content.bundle.bulk import read_blob as read_member
from content.bundle.places import Bulk, find_places
from manifests.words.canonical import encode
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError, RefusedError, UsageError, WaitingError, WaybillError
from manifests.words.progress import ProgressCallback, no_progress
from manifests.words.units import show_are, show_count, show_size
from verifier.approval.items import approvable_of, record_proposals
from verifier.approval.review_input import findings_to_weigh
from verifier.approval.verdicts import approval_status
from verifier.change.driver_steps import DriverStep, driver_steps
from verifier.change.host_check import check_host
from verifier.change.route import Route
from verifier.change.site_check import check_site, failures, require_site
from verifier.change.space import plan_space
from verifier.change.transaction import check_idle
from verifier.change.values import Change
from verifier.install.context import Runtime
from verifier.install.machine import DriveRequest, drive
from verifier.install.result import (
    InstallResult,
    WriteReport,
    check_rollback_possible,
    finish_previous,
    result_of,
    stopped_result,
)
from verifier.rules.agreement import ApprovalStatus, require_approvals
from verifier.rules.time import check_window, effective_now
from verifier.runtime.drivers.driver import ReadDocument, ReceivingDriver
from verifier.site.blobs import blob_path, read_blob
from verifier.site.disk import Receiver
from verifier.site.folder import Site
from verifier.site.generations import write_generation
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Approved
from verifier.site.journal.installs import State


@dataclass(frozen=True)
class InstallRequest:
    """What the command asks for.

    Attributes:
        items: An item of the queue, or several releases in order.
        media: The bundle; None for the path from which it was received.
        contract: Returns the digest of the contract that the operator names for a first install, if any.
        outside_window: The reason for an install outside the policy's windows.
        emergency_rule: The rule of the policy to use instead of the ordinary ones.
        dry_run: Check everything and change nothing.
        on_progress: Called with the number of bytes that were read or copied.
    """

    items: tuple[str, ...]
    write_report: WriteReport
    media: Path | None = None
    contract: Callable[[Change], str | None] | None = None
    outside_window: str | None = None
    emergency_rule: str | None = None
    dry_run: bool = False
    on_progress: ProgressCallback = no_progress


@dataclass(frozen=True)
class _Installation:
    """One approved install of one release of ``route``."""

    site: Site
    runtime: Runtime
    request: InstallRequest
    route: Route
    change: Change
    approvals: ApprovalStatus
    steps: tuple[DriverStep, ...]


def install(site: Site, request: InstallRequest, runtime: Runtime) -> InstallResult:
    """Install an item, or several releases one after the other, and see each through its trial.

    Steps: 1 finish what was interrupted; 2 plan the change; 3 check approvals, window, and what this site lacks;
    4 check the contract that a first install names; 5 check the space, and that a rollback would be possible; 6 record
    plan and approvals; 7 drive the transaction: stage, back up, migrate, switch, activate, probe, confirm, settle.
    Steps 5 to 7 are for each release.

    Raises:
        WaybillError: Before anything was changed.
    """
    finish_previous(site, runtime)  # 1
    check_idle(site)
    if not request.dry_run:
        record_proposals(site)
    route = _route(site, request.items)  # 2
    # A plan that was begun under an emergency rule goes on under it; that is no second use.
    begun_under = (use.rule for use in reversed(site.state.trust.uses) if use.plan == route.plan.digest)
    rule = request.emergency_rule or next(begun_under, None)  # 3
    approvals = approval_status(site, route, rule)
    if request.dry_run:
        return _dry_run(site, request, runtime, route, approvals)
    require_approvals(approvals, " ".join(request.items))
    outside_window = _check_window(site, request)
    # For all releases: what a later one lacks is reported before the first is installed.
    findings = check_site(site, route.hops, runtime.load, runtime.programs.check)
    require_site((*findings, *check_host(site, route.hops, runtime.load).findings), " ".join(request.items))
    if site.state.installs.contract is None:  # 4
        _check_contract(route.hops[0], request.contract)
    result = InstallResult(site.state.installs.running)
    for i, hop in enumerate(route.hops):
        # Planned anew for each, because the site has changed.
        hop_steps = driver_steps(site, hop.installed, runtime.load)
        result = _install_one(_Installation(site, runtime, request, route, hop, approvals, hop_steps), outside_window)
        transaction = site.state.installs.transaction
        if transaction is None or transaction.state not in (State.SETTLED, State.CONFIRMED):
            return result if len(route.hops) == 1 else stopped_result(site, result, route, i)
    return result


def _check_window(site: Site, request: InstallRequest) -> str | None:
    """Return the reason for an install outside the windows, None inside. Raises RefusedError without a reason."""
    time = effective_now(site.host.now(), site.state.trust.time_floor)
    reason = check_window(site.policy.windows, time, request.outside_window)
    return one_line(reason) if reason else None


def _dry_run(
    site: Site, request: InstallRequest, runtime: Runtime, route: Route, approvals: ApprovalStatus
) -> InstallResult:
    """Make every look that changes nothing, also without approvals; return what is missing, worst first.

    What the host lacks decides the exit code before the approvals do: people need not agree before it is there.
    """
    items, first, last = " ".join(request.items), route.hops[0], route.hops[-1]
    host = check_host(site, route.hops, runtime.load)
    findings = check_site(site, route.hops, runtime.load, runtime.programs.check)
    lines = (*(finding.text for finding in findings), *host.lines)
    findings = (*findings, *host.findings)
    errors, need = [], None
    checks: tuple[Callable[[], object], ...] = (
        lambda: require_site(findings, items),
        lambda: require_approvals(approvals, items),
        lambda: _check_window(site, request),
    )
    for check in checks:
        try:
            check()
        except WaybillError as error:
            errors.append(error)
    if not failures(findings):
        steps = driver_steps(site, first.installed, runtime.load)
        weighed = findings_to_weigh(site, route, runtime.load)
        lines += tuple(f"warning: {finding.text}" for finding in weighed if finding.level == "warning")
        need = plan_space(site, first, steps, request.on_progress)
        lines += check_rollback_possible(site, first, runtime, need.missing, request.on_progress)
    lines += tuple(f"not yet: {error.problem}" for error in errors[1:])
    fits = "" if errors else f"generation {last.target}, {last.release.product} {last.release.version}"
    worst = errors[0] if errors else None
    running = site.state.installs.running
    return InstallResult(running, worst, need=need, lines=lines, host=host.results, fits=fits)


def _route(site: Site, items: tuple[str, ...]) -> Route:
    """Return the releases to install, in order; a single change is a route too."""
    approvable = approvable_of(site, items)
    if isinstance(approvable, Route):
        return approvable
    if not isinstance(approvable, Change) or approvable.action != "install":
        raise UsageError(
            f"{approvable.item} is not an item to install", where="item", remedy=f"run `waybill {approvable.then}`"
        )
    return Route(hops=(approvable,), plan=approvable.plan)


def _install_one(work: _Installation, outside_window: str | None) -> InstallResult:
    site, runtime, request, change = work.site, work.runtime, work.request, work.change
    need = plan_space(site, change, work.steps, request.on_progress)  # 5
    check_rollback_possible(site, change, runtime, need.missing, request.on_progress)
    new = show_count(len(need.missing), "new blob")
    runtime.notify(f"{new}; with folders and backups, at most {show_size(need.bytes)} is written")
    site.keep_document(encode(work.route.plan))  # 6
    site.record(replace(change.planned, outside_window=outside_window))
    rule = work.approvals.rule or None
    site.record(Approved(approvals=tuple(one.digest for one in work.approvals.approvals), rule=rule))
    if rule:
        runtime.notify(
            f"by the emergency rule {rule}; {show_count(work.approvals.uses_left - 1, 'use')} left after this one"
        )
    drive(site, runtime, DriveRequest(stage=lambda: _stage(work, need.missing)))  # 7
    return result_of(site, request.write_report, "emergency" if rule else "install", need)


def _check_contract(change: Change, ask: Callable[[Change], str | None] | None) -> None:
    wanted, named = change.planned.contract, ask(change) if ask is not None else None
    if not named:
        contract = change.contract
        about = f"{contract.contract} version {contract.version}" if contract else wanted
        signals = f", {show_count(len(contract.signals), 'signal')}" if contract else ""
        raise WaitingError(
            f"the first install puts a telemetry contract in force: {about}{signals}",
            where="contract",
            remedy=f"read it with `waybill review {shlex.quote(change.item)}`, then "
            f"`waybill install {shlex.quote(change.item)} --contract {wanted}`",
            finding="contract-unnamed",
        )
    if named != wanted:
        raise RefusedError(
            f"the release brings contract {wanted}, the command names {named}",
            where="--contract",
            remedy="ask the vendor which contract was agreed",
            finding="contract-other",
        )


def _stage(work: _Installation, missing: tuple[Blob, ...]) -> None:
    """1. Copy the blobs; 2. write the generation's folder; 3. stage with the drivers. All of it can be repeated."""
    site, change = work.site, work.change
    head = change.head
    if head is None:
        raise AssertionError("an install has a head")
    if missing:  # 1
        _copy_blobs(work, missing)
    write_generation(  # 2
        site.disk,
        site.generation_folder(change.target),
        head.head.release,
        change.settings,
        change.installed.config,
        plan=work.route.plan.digest,
    )
    for step in work.steps:  # 3
        for line in step.plan.staging:
            work.runtime.notify(f"{step.step}: {line}")
        step.driver.stage(step.plan, step.context)


def _copy_blobs(work: _Installation, missing: tuple[Blob, ...]) -> None:
    site, change = work.site, work.change
    # A bundle that was received through a pipe has no path.
    path = work.request.media or (Path(change.source) if change.source not in ("", "-") else None)
    if path is None or not path.is_file():
        damaged = sum(blob_path(site.blobs, blob.digest).exists() for blob in missing)
        also = f" ({damaged} of them damaged in the store)" if damaged else ""
        raise DamagedError(
            f"{show_are(len(missing), 'blob')} missing{also}, and the bundle "
            + (f"is not at {path}" if path else "came from a pipe"),
            where=change.item,
            remedy=f"run `waybill install {shlex.quote(change.item)} --media PATH`",
            finding="medium-missing",
        )
    descriptor = open_bundle(path)
    try:
        bulk = find_places(descriptor, change.release, str(path))
        with ExitStack() as stack:
            receivers = _receivers(work, stack, _document_reader(site, descriptor, bulk))
            site.store.ingest(descriptor, bulk, missing, str(path), work.request.on_progress, receivers)
    finally:
        os.close(descriptor)


def _receivers(work: _Installation, stack: ExitStack, read: ReadDocument) -> dict[str, Receiver]:
    """Return what gets the bytes of a blob while it is copied, by digest; the first step that asks for a blob wins."""
    receivers: dict[str, Receiver] = {}
    for step in work.steps:
        if isinstance(step.driver, ReceivingDriver):
            named = stack.enter_context(step.driver.receivers(step.plan, step.context, read))
            receivers = {**named, **receivers}
    return receivers


def _document_reader(site: Site, descriptor: int, bulk: Bulk) -> ReadDocument:
    """Return what reads a document from the medium, or from the store if the medium does not have it."""
    places = {place.blob.digest: place for place in bulk.present}

    def read(digest: str, max_bytes: int) -> bytes:
        place = places.get(digest)
        return read_blob(site.blobs, digest, max_bytes) if place is None else read_member(descriptor, place, max_bytes)

    return read
