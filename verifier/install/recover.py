"""Bring a transaction to rest: finish what a crash or a reboot interrupted, or confirm a trial."""

from functools import partial

from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError, WaybillError
from verifier.approval.confirmation import sign_confirmation, trial_plan
from verifier.change.driver_steps import driver_steps
from verifier.change.transaction import describe_trial, transaction_error
from verifier.install.context import Runtime
from verifier.install.machine import DriveRequest, drive
from verifier.install.restore import restore_generations, restore_site_yaml
from verifier.install.result import InstallResult, WriteReport, result_of
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Note
from verifier.site.journal.installs import State
from verifier.site.unread import attempt


def recover(site: Site, runtime: Runtime, write_report: WriteReport, *, due: bool = False) -> tuple[str, InstallResult]:
    """Finish or undo what was interrupted; return what was done, in words, and how it ended. Safe to run at any time.

    Args:
        due: A timer runs this, not a person: end a trial whose time is up, record the running time of any other trial,
            and do not retry out of INCONSISTENT.
    """
    before = site.state
    mended = [f"damaged files of generation {number}" for number in restore_generations(site, runtime)]
    mended += ["site.yaml"] * restore_site_yaml(site, runtime)
    if before.installs.open_transaction is not None:
        site.make_room()
    idle = drive(site, runtime, DriveRequest(retry=None if due else "any", due=due))
    after = site.state
    waits = idle.why == "person" and due
    if waits:
        # Keeps the running time of the trial across a reboot.
        site.record(Note(code="tick"))
    if after.seq != before.seq:
        transaction = after.installs.transaction
        what = f"now {transaction.state}" if transaction is not None else "`current` was repaired"
        return what, result_of(site, write_report, "recover")
    at_rest = idle.why in ("idle", "person")
    if at_rest and (restarted := _restart(site, runtime)):
        result = result_of(site, write_report, "recover", rollback_expected=True)
        return f"started again: {', '.join(restarted)}", result
    if waits:
        what = f"the trial waits for a person to confirm it; {describe_trial(site)}"
    else:
        what = "nothing was unfinished" if at_rest else f"nothing to do in state {idle.why}"
        if mended:
            what = f"written again: {', '.join(mended)}"
    return what, InstallResult(after.installs.running, transaction_error(site))


def _restart(site: Site, runtime: Runtime) -> tuple[str, ...]:
    """Activate each step of the running generation that is not as it should be, for example after a reboot.

    A step that cannot be started does not keep the others from it; the first failure is raised afterwards.
    """
    running = site.state.installs.running
    if running is None:
        return ()
    restarted: list[str] = []
    failures: list[WaybillError] = []
    for step in driver_steps(site, read_installed(site, running), runtime.load):
        components = step.driver.observe(step.plan, step.context)
        problems = "; ".join(component.problem for component in components if component.problem)
        if problems:
            runtime.notify(f"{step.step}: {problems}; starting it again")
            site.record(Note(code="start-again", detail=one_line(f"{step.step}: {problems}")))
            before = len(failures)
            attempt(partial(step.driver.activate, step.plan, step.context), failures)
            restarted += [step.step] * (len(failures) == before)
    if failures:
        raise failures[0]
    return tuple(restarted)


def confirm(site: Site, runtime: Runtime, signer: Signer | None, write_report: WriteReport) -> InstallResult:
    """Confirm a trial that waits for a person. Raises RefusedError if none waits or the person may not confirm it."""
    transaction = site.state.installs.transaction
    if transaction is None or transaction.state != State.PROBING or not transaction.passed:
        raise RefusedError(
            "no trial waits to be confirmed", where="confirm", remedy="run `waybill status`", finding="idle"
        )
    site.make_room()
    approval = sign_confirmation(site, trial_plan(site, transaction), signer)
    drive(site, runtime, DriveRequest(confirm=True, approval=approval))
    return result_of(site, write_report, "confirm")
