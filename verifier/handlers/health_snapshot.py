"""The handler health-snapshot: each probe of the running release, run once."""

from collections import Counter

from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.handlers.site_state import install_state
from verifier.reporting.health import measure_health, probe_text


def perform(context: HandlerContext) -> HandlerOutput:
    site, runtime = context.site, context.runtime
    now = site.host.now()
    health = measure_health(site, runtime.load, now, runtime.look)
    states = Counter(probe.state for probe in health)
    passing, failing = states["passing"], states["failing"]
    return HandlerOutput(
        values={
            "state": install_state(site),
            "generation": site.state.installs.current,
            "probes_passing": passing,
            "probes_failing": failing,
            "probes_unknown": len(health) - passing - failing,
        },
        lines=tuple(f"probe {probe.probe}: {probe_text(probe, now)}" for probe in health),
    )
