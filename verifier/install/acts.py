"""The acts of a transaction. Each may be repeated after a crash: what is done already is found done.

The machine writes the intent and the outcome of the act itself; steps inside an act have their own.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from manifests.words.errors import HostError, WaybillError
from manifests.words.quantities import parse_size
from verifier.change.clearing import plan_clearing
from verifier.change.data_return import discard
from verifier.change.driver_steps import DriverStep, driver_steps
from verifier.change.forecast import deactivated_steps, pause_words, paused_steps, switch_words
from verifier.change.recovery import act_of_part
from verifier.change.transaction import trial_left
from verifier.install.context import ActContext
from verifier.runtime.probes.probe import ProbeContext, run_probes, site_authorities
from verifier.site.folder import CURRENT, Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Act, Intent, Note, Outcome
from verifier.site.journal.transitions import Blocked, Settled
from verifier.site.releases import waiting_blobs
from verifier.site.unread import attempt

# How long a service that was just started may take to be seen running.
SETTLE_SECONDS = 20


def pause(context: ActContext) -> None:
    """Stop the services of the running generation, so that nothing writes data while they are backed up or changed."""
    for step in paused_steps(context.source_steps):
        context.notify(pause_words(step))
        context.run_step("deactivate", step, step.driver.deactivate)


def resume(context: ActContext) -> None:
    """Start what was paused; no data were changed, so the backups that were made are removed."""
    _start_source(context)
    if context.transaction.action == "install" and context.transaction.planned.document:
        discard(context.site.disk, context.site.path, (context.target,))
    check_components(context, context.source_steps)


def switch(context: ActContext) -> None:
    """Point ``current`` to the new generation."""
    site, planned = context.site, context.transaction.planned
    context.notify(switch_words(planned.target))
    try:
        point(site, planned.target)
    except OSError:
        # Whether the new link is durable is unknown. Nothing has acted on it yet, so the old one is put back.
        if site.pointed() == planned.target:
            point(site, planned.source)
        raise


def activate(context: ActContext) -> None:
    """1. Deactivate the steps that only the former generation has; 2. activate those of the new one; 3. check."""
    for step in deactivated_steps(context.source_steps, context.target_steps):  # 1
        _notify_lines(context, step, step.plan.deactivation)
        context.run_step("deactivate", step, step.driver.deactivate)
    for step in context.target_steps:  # 2
        _notify_lines(context, step, step.plan.activation)
        context.run_step("activate", step, step.driver.activate)
    check_components(context, context.target_steps)  # 3


def _notify_lines(context: ActContext, step: DriverStep, lines: tuple[str, ...]) -> None:
    for line in lines:
        context.notify(f"{step.step}: {line}")


def probe(context: ActContext) -> None:
    """Run all probes until each has passed as often in a row as it asks. Raises HostError at the end of the trial."""
    target = context.target
    missed = _run_probes(context, target, context.target_steps, max(1, trial_left(context.site) or 0))
    if missed:
        raise HostError(
            f"within {target.release.trial.at_most_seconds}s these did not pass: {missed}",
            remedy="check the endpoints in site.yaml and the log of the service",
            finding="probe-failed",
        )


def _run_probes(context: ActContext, installed: Installed, steps: tuple[DriverStep, ...], seconds: int) -> str:
    """Run the probes of a generation, and record the result of each; return in words which did not pass."""
    site = context.site
    for asked in installed.release.probes:
        context.write(Intent(act="probe", step=asked.name))
    verdict = run_probes(
        installed.release.probes,
        ProbeContext(endpoints=installed.settings.endpoints, steps=steps, authorities=site_authorities(site.path)),
        sleep=site.host.sleep,
        deadline_seconds=seconds,
        monotonic=site.host.monotonic,
        look=context.runtime.look,
    )
    for last in verdict.results:
        passed = last.name not in verdict.missing
        # The last result may be a pass, but without enough passes in a row; then the probe has failed.
        code = "passing" if passed else "unknown" if last.state == "unknown" else "failing"
        result: Literal["done", "failed"] = "done" if passed else "failed"
        context.write(Outcome(act="probe", step=last.name, result=result, code=code, detail=one_line(last.detail)))
        context.notify(f"probe {last.name}: {code}, {last.detail}")
    return "; ".join(f"{last.name}: {last.detail}" for last in verdict.results if last.name in verdict.missing)


def retreat(context: ActContext) -> None:
    """Go back to the former generation.

    Steps: 1 deactivate the new generation's steps, or stop what still runs of the former one; 2 take the data back;
    3 point the link back; 4 start the former generation's steps; 5 check; 6 run its probes.

    Probes that do not pass are recorded and shown. They do not fail the rollback: there is nothing else to go back to.
    """
    site, switched = context.site, context.transaction.switched
    source = context.transaction.planned.source
    context.notify(f"rolling back to {f'generation {source}' if source else 'the site without an installed release'}")
    site.make_room()
    if switched:  # 1
        for step in reversed(context.target_steps):
            _notify_lines(context, step, step.plan.deactivation)
            context.run_step("deactivate", step, step.driver.deactivate)
    elif (script := context.script()) is not None and script.document.services == "stopped":
        # The services may have come up again with a reboot; undo and restore need them stopped as the migration did.
        pause(context)
    if context.transaction.action == "install":  # 2
        _take_data_back(context)
    source = context.transaction.planned.source
    if site.state.installs.current != source or site.pointed() != source:  # 3
        context.run("switch-back", lambda: point(site, source))
    if switched:  # 4
        for step in context.source_steps:
            _notify_lines(context, step, step.plan.activation)
            context.run_step("reactivate", step, step.driver.activate)
    else:
        # Before the switch only services that are kept running were stopped.
        _start_source(context)
    check_components(context, context.source_steps)  # 5
    former = context.source
    if former is not None and former.release.probes:  # 6
        context.notify(f"running the probes of generation {former.number}")
        missed = _run_probes(context, former, context.source_steps, former.release.trial.at_most_seconds)
        if missed:
            context.notify(f"generation {former.number} runs again, but these did not pass: {missed}")


def settle(context: ActContext) -> None:
    """Remove what no kept generation needs, and set the reserve aside again."""
    site = context.site
    clearing = plan_clearing(site, site.state.installs, context.target.settings.keep.generations)
    for words in clearing.words:
        context.notify(words)
    if clearing.words:
        context.write(Note(code="cleared", detail=one_line("; ".join(clearing.words))))
    discard(site.disk, site.path, clearing.backups)
    for generation in clearing.generations:
        try:
            steps = driver_steps(site, read_installed(site, generation), context.runtime.load)
        except WaybillError as error:
            # A damaged generation that is not needed must not stop the cleanup. What its drivers placed stays.
            context.notify(f"generation {generation.number} is removed without its drivers: {error}")
            steps = ()
        for step in reversed(steps):
            step.driver.discard(step.plan, step.context)
        # Not synced: if a power loss brings it back, the next settle removes it.
        site.disk.remove_tree(site.generation_folder(generation.number))
    failures: list[WaybillError] = []
    unneeded = attempt(lambda: site.store.unneeded(_needed_blobs(site, clearing.kept)), failures)
    for failure in failures:
        # Which blobs a damaged generation needs is not known, so none is removed.
        context.notify(f"no blob is removed from the store: {failure}")
    if unneeded is not None:
        site.store.remove(unneeded)
    site.renew_reserve(parse_size(context.target.settings.keep.reserve))


ACTS: dict[Act, Callable[[ActContext], None]] = {
    "pause": pause,
    "resume": resume,
    "switch": switch,
    "activate": activate,
    "probe": probe,
    "retreat": retreat,
    "settle": settle,
}


def point(site: Site, number: int) -> None:
    """Make ``current`` name this generation, atomically; 0 removes the link."""
    if number:
        site.disk.point(site.path / CURRENT, f"generations/{number}")
    else:
        site.disk.remove(site.path / CURRENT)
        site.disk.sync_folder(site.path)


def check_components(context: ActContext, steps: tuple[DriverStep, ...]) -> None:
    """Raise HostError unless every component is as released; wait up to SETTLE_SECONDS for services that start."""
    host = context.site.host
    deadline = host.monotonic() + SETTLE_SECONDS
    while True:
        components = [component for step in steps for component in step.driver.observe(step.plan, step.context)]
        wrong = [component for component in components if component.problem]
        if not wrong:
            return
        only_starting = all(component.observed == component.expected for component in wrong)
        # Other bytes do not become right by waiting.
        if not only_starting or host.monotonic() >= deadline:
            raise HostError(
                "; ".join(f"{component.step}: {component.problem}" for component in wrong[:4]),
                where=wrong[0].step,
                remedy="check whether something else on this host changes these files or services",
                finding="observed-other",
            )
        host.sleep(0.5)


def _start_source(context: ActContext) -> None:
    for step in context.source_steps:
        if step.plan.step.keep_running is not None:
            context.run_step("reactivate", step, step.driver.activate)


def _take_data_back(context: ActContext) -> None:
    """Undo and restore as the rollback document says. A failure is in the journal and decides which part is next."""
    while (script := context.script()) is not None:
        part = script.next(back=True)
        if isinstance(part, Settled):
            return
        if isinstance(part, Blocked):
            raise HostError(
                part.detail,
                where="rollback.yaml",
                remedy="do what the rollback document says under `inconsistent`, then run `waybill recover`",
                finding=part.code,
            )
        try:
            context.run_part(part)
        except (WaybillError, OSError) as error:
            # Not raised: after a failed undo the document may still allow a restore.
            context.notify(f"{' '.join(act_of_part(part))} failed: {error}")


def _needed_blobs(site: Site, kept: frozenset[int]) -> Iterator[str]:
    """Yield the digests to which the kept generations and the waiting releases refer."""
    for generation in site.state.installs.generations:
        if generation.number in kept and site.generation_folder(generation.number).exists():
            yield from (blob.digest for blob in read_installed(site, generation).release.members)
    running = site.state.installs.running
    for received in site.state.installs.releases:
        if running is None or running.before(received):
            yield from waiting_blobs(site, received.release)
