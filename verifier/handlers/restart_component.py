"""The handler restart-component: stop a service of the running release and start it again."""

from verifier.change.driver_steps import driver_steps
from verifier.change.handlers import services
from verifier.handlers.output import HandlerContext, HandlerOutput


def perform(context: HandlerContext) -> HandlerOutput:
    """Restart the service of the install step that is named, or that places the named file set.

    A name that is no service was refused before anybody approved it; see ``components_of``.
    """
    installed = context.running()
    name = services(installed.release)[context.parameters["component"]]
    steps = driver_steps(context.site, installed, context.runtime.load)
    chosen = next(step for step in steps if step.step == name)
    chosen.driver.deactivate(chosen.plan, chosen.context)
    chosen.driver.activate(chosen.plan, chosen.context)
    components = chosen.driver.observe(chosen.plan, chosen.context)
    wrong = tuple(component.problem for component in components if component.problem)
    return HandlerOutput(
        values={"running": not wrong},
        lines=wrong or (f"{chosen.step} was restarted",),
        reason="not-running" if wrong else None,
    )
