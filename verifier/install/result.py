"""What an install, a rollback or a recovery ended with, and the checks that come before one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from manifests.words.digest import Blob
from manifests.words.errors import AttentionError, TrialError, WaybillError
from manifests.words.progress import ProgressCallback
from manifests.words.units import show_size
from verifier.change.data_return import check_previous_generation
from verifier.change.forecast import proves_words
from verifier.change.route import Route, items_under_way
from verifier.change.space import InstallNeed
from verifier.change.transaction import is_on_trial, transaction_error
from verifier.change.values import Change
from verifier.install.context import Runtime
from verifier.install.machine import DriveRequest, drive
from verifier.runtime.preflight.result import PreflightResult
from verifier.site.folder import Site
from verifier.site.journal.installs import Generation, State

# Writes the report after a change of this kind; returns its path.
WriteReport = Callable[[Site, str], Path]


@dataclass(frozen=True)
class InstallResult:
    """How the command ended.

    Attributes:
        generation: The generation that runs now.
        error: Why another one was requested, or what else the operator should know.
        lines: What was checked about a later rollback.
        host: Of a dry run, what the releases need of the host, each with what was observed.
        fits: What would run, after a dry run that found nothing missing.
    """

    generation: Generation | None
    error: WaybillError | None = None
    report: Path | None = None
    need: InstallNeed | None = None
    lines: tuple[str, ...] = ()
    host: tuple[PreflightResult, ...] = ()
    fits: str = ""


def finish_previous(site: Site, runtime: Runtime) -> None:
    """Finish what an earlier process left unfinished, before a new transaction begins."""
    transaction = site.state.installs.transaction
    interrupted = transaction is not None and transaction.open and not is_on_trial(site)
    if interrupted or site.pointed() != site.state.installs.current:
        runtime.notify("finishing what was interrupted before")
        drive(site, runtime, DriveRequest())


def check_rollback_possible(
    site: Site, change: Change, runtime: Runtime, missing: tuple[Blob, ...], on_progress: ProgressCallback
) -> tuple[str, ...]:
    """Check what a rollback would need after a failed migration or trial; return it in lines for the operator.

    Steps: 1 the former generation is complete; 2 the programs of the rollback document can run here.

    Raises:
        WaybillError: Something is missing. Nothing was changed.
    """
    lines: tuple[str, ...] = ()
    running = site.state.installs.running
    if running is not None:  # 1
        brought = frozenset(blob.digest for blob in missing)
        lines = check_previous_generation(site, running, runtime.load, brought=brought, on_progress=on_progress)
    document = change.rollback
    if change.planned.document and document is not None:  # 2
        runtime.programs.check(site, change.installed, document)
        for backup in document.backup if running is not None else ():
            size = show_size(backup.at_most_bytes)
            lines += (
                f"backup {backup.name}: at most {size}, tried before the switch; the trial {proves_words(backup)}",
            )
        lines += tuple(f"migration {step.name}: {' '.join(step.do)}" for step in document.steps)
    return lines


def stopped_result(site: Site, result: InstallResult, route: Route, at: int) -> InstallResult:
    """Return ``result`` with an error that says how many of several releases are installed, and how to go on."""
    error = result.error
    if error is None:
        return result
    remedy = error.remedy
    if isinstance(error, TrialError) and (items := items_under_way(site)):
        remedy += f"; then `waybill install {' '.join(items)}` goes on with the same approval"
    count, installed = len(route.hops) + route.done, at + route.done
    problem = f"{installed} of {count} releases were installed, {route.hops[at].item} was not: {error.problem}"
    return replace(result, error=error.with_(problem=problem, remedy=remedy))


def result_of(
    site: Site,
    write_report: WriteReport,
    cause: str,
    need: InstallNeed | None = None,
    *,
    rollback_expected: bool = False,
) -> InstallResult:
    """Write the report, and return how the transaction ended, also when the report cannot be written.

    With ``rollback_expected`` a rollback is no error.
    """
    error = transaction_error(site)
    transaction = site.state.installs.transaction
    if rollback_expected and transaction is not None and transaction.state == State.ROLLED_BACK:
        error = None
    report = None
    try:
        # After offboarding no vendor receives reports; a rollback works all the same.
        report = None if site.state.offboarded else write_report(site, cause)
    except (WaybillError, OSError) as failure:
        error = error or AttentionError(
            f"the change is done, but its report could not be written: {failure}",
            where="outbox",
            remedy="repair that, then run `waybill report --new`",
            finding="report-unwritten",
        )
    if error is None and transaction is not None and transaction.state == State.CONFIRMED:
        error = AttentionError(
            f"generation {transaction.planned.target} is confirmed, but cleaning up failed: "
            f"{transaction.detail or transaction.code}",
            where="store",
            remedy="run `waybill recover`; it cleans up again",
            finding="unsettled",
        )
    return InstallResult(site.state.installs.running, error, report, need)
