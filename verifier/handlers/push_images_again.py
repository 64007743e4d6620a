"""The handler push-images-again: the images of the running release, pushed to the site's registry once more."""

from verifier.change.driver_steps import driver_steps
from verifier.handlers.output import HandlerContext, HandlerOutput, handler_error
from verifier.runtime.drivers.driver import Component


def perform(context: HandlerContext) -> HandlerOutput:
    steps = driver_steps(context.site, context.running(), context.runtime.load)
    pushing = [step for step in steps if step.driver.name == "registry"]
    if not pushing:
        raise handler_error("no-registry", "no step of this release pushes images", "nothing has to be done")
    components: list[Component] = []
    for step in pushing:
        context.notify(f"{step.step}: pushing {len(step.plan.step.images)} images")
        step.driver.activate(step.plan, step.context)
        components += step.driver.observe(step.plan, step.context)
    wrong = tuple(component.problem for component in components if component.problem)
    return HandlerOutput(
        values={"images": len(components), "same": len(components) - len(wrong)},
        lines=wrong or ("every image of the release is in the registry",),
        reason="differs" if wrong else None,
    )
