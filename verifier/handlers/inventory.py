"""The handler inventory: every component of the running release, compared with what is there."""

from collections import Counter

from manifests.documents.signed_report import expected_components
from verifier.change.driver_steps import observe
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, Component


def perform(context: HandlerContext) -> HandlerOutput:
    installed = context.running()
    expected = expected_components(installed.release)
    seen = {(one.step, one.name, one.expected): one for one in observe(context.site, context.runtime.load)}
    states = Counter(_state(seen.get((one.step, one.name, one.digest))) for one in expected)
    running = context.site.state.installs.running
    return HandlerOutput(
        values={
            "version": installed.release.version,
            "release": running.release if running else "",
            "components": len(expected),
            **{name: states[name] for name in ("same", "differs", "missing", "unreadable")},
        },
        lines=tuple(f"{one.step}/{one.name}: {one.problem or one.level}" for one in seen.values()),
    )


def _state(component: Component | None) -> str:
    if component is None or component.observed == UNREADABLE:
        return "unreadable"
    if component.observed == component.expected:
        return "same"
    return "missing" if component.observed == ABSENT else "differs"
