"""The handler restart-component: stop a service of the running release and start it again."""

from verifier.change.driver_steps import driver_steps
from verifier.handlers.output import HandlerContext, HandlerOutput, handler_error


def perform(context: HandlerContext) -> HandlerOutput:
    """Restart the service of the install step that is named, or that places the named file set."""
    name = context.parameters["component"]
    steps = driver_steps(context.site, context.running(), context.runtime.load)
    kept = [step for step in steps if step.plan.step.keep_running is not None]
    chosen = next((step for step in kept if name == step.step), None)
    chosen = chosen or next((step for step in kept if name in step.plan.step.files), None)
    if chosen is None:
        names = ", ".join(step.step for step in kept) or "none"
        raise handler_error("not-kept-running", f"{name} is no service", f"the services of this release: {names}")
    chosen.driver.deactivate(chosen.plan, chosen.context)
    chosen.driver.activate(chosen.plan, chosen.context)
    components = chosen.driver.observe(chosen.plan, chosen.context)
    wrong = tuple(component.problem for component in components if component.problem)
    return HandlerOutput(
        values={"running": not wrong},
        lines=wrong or (f"{chosen.step} was restarted",),
        reason="not-running" if wrong else None,
    )
