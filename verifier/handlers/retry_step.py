"""The handler retry-step: one more try of a step that left the site inconsistent."""

from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.handlers.site_state import install_state
from verifier.install.recover import recover


def perform(context: HandlerContext) -> HandlerOutput:
    """Go on with the failed change as `waybill recover` does: its failed steps first, the named one among them.

    A name that is no failed step was refused before anybody approved it; see ``components_of``.
    """
    site, step = context.site, context.parameters["step"]
    context.notify(f"{step}: trying again")
    what, result = recover(site, context.runtime, context.write_report)
    return HandlerOutput(
        values={"state": install_state(site), "generation": site.state.installs.current},
        lines=(f"{step} was tried again: {what}", *((result.error.problem,) if result.error else ())),
        reason="inconsistent" if site.state.installs.inconsistent else None,
    )
