"""What an install, a rollback or a recovery came to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests.words.digest import Blob
from manifests.words.errors import AttentionError, InconsistentError, RefusedError, TrialError, WaybillError
from manifests.words.units import show_size
from verifier.change.data_return import check_previous_generation
from verifier.change.route import Route, items_under_way
from verifier.change.space import InstallNeed, ProgressCallback
from verifier.change.transaction import confirm_command, transaction_error
from verifier.change.values import Change
from verifier.install.machine import Machine
from verifier.install.wiring import Runtime
from verifier.site.folder import Site
from verifier.site.journal.state import Generation
from verifier.site.journal.transitions import BEFORE_CHANGE, State

# Notes that the time of a trial was counted.
TICK = "tick"


# Writes the report after a change; gets the site and what the change was.
WriteReport = Callable[[Site, str], Path]


@dataclass(frozen=True)
class InstallResult:
    """How it ended.

    Attributes:
        generation: What runs now; None for nothing.
        error: Why that is not what was asked for, or what a person should know.
        report: The report that tells of it, None when it could not be written.
        lines: What a person should know of the way there, or back.
    """

    generation: Generation | None
    error: WaybillError | None
    report: Path | None
    need: InstallNeed | None = None
    lines: tuple[str, ...] = ()


def finish_previous(site: Site, tools: Runtime) -> None:
    """What an earlier process left unfinished comes first: a new transaction begins from a state of rest."""
    now = site.state.installs.transaction
    waits = now is not None and now.state == State.PROBING and now.passed and now.act is None
    cut_off = now is not None and now.open and not waits
    if cut_off or site.pointed() != site.state.installs.current:
        tools.say("finishing what was cut off before")
        Machine(site, tools).drive(forward=False)


def check_idle(site: Site) -> None:
    """Raise unless a new transaction may begin.

    Raises:
        InconsistentError: The last one ended between two generations, or was cut off.
        RefusedError: One is on trial.
    """
    now = site.state.installs.transaction
    error = transaction_error(site)
    if site.state.installs.inconsistent and error is not None:
        raise error
    if now is None or now.state in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        return
    if now.state == State.PROBING and now.passed and now.act is None:
        raise RefusedError(
            f"generation {now.planned.target} is on trial",
            where="site",
            remedy=f"{confirm_command(site)}, or waybill rollback",
            finding="trial",
        )
    if now.state != State.CONFIRMED:
        raise InconsistentError(
            f"{now.action} of {now.planned.item} was cut off in state {now.state}",
            where="site",
            remedy="waybill recover",
            finding="unfinished",
        )


def check_rollback_possible(
    site: Site, change: Change, tools: Runtime, missing: tuple[Blob, ...], told: ProgressCallback
) -> tuple[str, ...]:
    """That a failure after the switch, or of a migration, would find what it needs; in words what was found.

    Steps: 1 the former generation is here, whole; 2 the programs of the rollback document could run here.

    Raises:
        WaybillError: Says what is missing; nothing was changed.
    """
    lines: tuple[str, ...] = ()
    running = site.state.installs.running
    if running is not None:  # 1
        lines = check_previous_generation(
            site, running, tools.load, brought=frozenset(one.digest for one in missing), told=told
        )
    if change.planned.document:  # 2
        tools.programs.check(site, change.installed, change.rollback)
        document = change.rollback
        for one in document.backup if running is not None else ():
            lines += (f"backup {one.name}: at most {show_size(one.at_most_bytes)}, proven before the switch",)
        lines += tuple(f"migration {step.name}: {' '.join(step.do)}" for step in document.steps)
    return lines


def stopped_result(site: Site, ended: InstallResult, route: Route, at: int) -> InstallResult:
    """Which of several releases is installed, when a later one was not, and how to go on by the same approval."""
    hop, error = route.hops[at], ended.error
    if error is not None:
        of = len(route.hops) + route.done
        error.problem = f"{at + route.done} of {of} releases were installed, {hop.item} was not: {error.problem}"
        if isinstance(error, TrialError) and (items := items_under_way(site)):
            error.remedy += f"; after that waybill install {' '.join(items)} goes on, with the same approval"
    return ended


def result_of(
    site: Site, tell: WriteReport, cause: str, need: InstallNeed | None, *, expected_back: bool = False
) -> InstallResult:
    """Tell support, and say how it ended; a report that cannot be written never hides the outcome."""
    error = transaction_error(site)
    now = site.state.installs.transaction
    if expected_back and now is not None and now.state == State.ROLLED_BACK:
        error = None
    report = None
    try:
        # Without a vendor there is nobody to tell, and going back works all the same.
        report = None if site.state.offboarded else tell(site, cause)
    except (WaybillError, OSError) as failure:
        if error is None:
            error = AttentionError(
                f"done, but the report about it could not be written: {failure}",
                where="outbox",
                remedy="waybill report --new, when that is mended",
                finding="report-unwritten",
            )
    if error is None and now is not None and now.state == State.CONFIRMED:
        error = AttentionError(
            f"generation {now.planned.target} is confirmed, but cleaning up failed: {now.detail}",
            where="store",
            remedy="waybill recover tries again",
            finding="unsettled",
        )
    return InstallResult(site.state.installs.running, error, report, need)
