"""The handler retry-step: one more try of the step that left the site inconsistent."""

from verifier.handlers.output import HandlerContext, HandlerOutput, handler_error
from verifier.handlers.site_state import install_state
from verifier.install.recover import recover


def perform(context: HandlerContext) -> HandlerOutput:
    site = context.site
    if not site.state.installs.inconsistent:
        raise handler_error("nothing-to-retry", "no step of this site has failed", "run `waybill status`")
    what, result = recover(site, context.runtime, context.write_report)
    return HandlerOutput(
        values={"state": install_state(site), "generation": site.state.installs.current},
        lines=(what, *((result.error.problem,) if result.error else ())),
        reason="inconsistent" if site.state.installs.inconsistent else None,
    )
