"""Finish what a crash or a reboot interrupted."""

from verifier.change.driver_steps import driver_steps
from verifier.change.transaction import describe_trial, transaction_error
from verifier.install.machine import Machine
from verifier.install.result import TICK, InstallResult, WriteReport, result_of
from verifier.install.wiring import Runtime
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Note


def recover(site: Site, tools: Runtime, *, tell: WriteReport, due: bool = False) -> tuple[str, InstallResult]:
    """Finish or undo what was cut off; what was done, in words, and how it ended. Safe to run at any time.

    Args:
        due: Nobody is here: end a trial whose time is up, count the time of one that goes on, and leave alone what
            only a person may try again.
    """
    before = site.state
    if before.installs.open_transaction is not None:
        site.make_room()
    machine = Machine(site, tools)
    rest = machine.drive(forward=False, again="" if due else "any", due=due)
    after = site.state
    awaited = ""
    if rest.why == "person" and due:
        # What the clock of this boot counted must not be lost with the boot.
        site.record(Note(code=TICK))
        awaited = f"a person's word is awaited; {describe_trial(site)}"
    if after.seq == before.seq and rest.why in ("idle", "person") and (again := _start_again(site, tools)):
        return f"started again: {', '.join(again)}", result_of(site, tell, "recover", None, expected_back=True)
    if after.seq == before.seq:
        what = "nothing was unfinished" if rest.why in ("idle", "person") else f"at rest: {rest.why}"
        return awaited or what, InstallResult(after.installs.running, transaction_error(site), None)
    now = after.installs.transaction
    what = f"now {now.state}" if now is not None else "current was set right"
    return what, result_of(site, tell, "recover", None)


def _start_again(site: Site, tools: Runtime) -> tuple[str, ...]:
    """Activate those steps of the generation that runs which are not as they should be, such as after a reboot."""
    running = site.state.installs.running
    if running is None:
        return ()
    done = []
    for work in driver_steps(site, read_installed(site, running), tools.load):
        wrong = [one.problem for one in work.driver.observe(work.plan, work.context) if one.problem]
        if wrong:
            tools.say(f"{work.step}: {'; '.join(wrong)}; starting it again")
            site.record(Note(code="start-again", detail=one_line(f"{work.step}: {'; '.join(wrong)}")))
            work.driver.activate(work.plan, work.context)
            done.append(work.step)
    return tuple(done)
