"""The probes of the running generation: each is run once, for `status` and for a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from manifests.documents.release import Probe
from manifests.documents.report import ProbeState
from manifests.words.time import age, optional_time
from verifier.change.driver_steps import LoadDriver, driver_steps
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe, site_authorities
from verifier.site.folder import Site
from verifier.site.generations import read_installed

LookAtProbe = Callable[[Probe, ProbeContext], ProbeResult]
# So many probes run at once, and all of them may take so long; a probe without a result by then counts as not run.
PROBES_AT_ONCE = 8
MEASURE_SECONDS = 30.0


@dataclass(frozen=True)
class ProbeHealth:
    """What is known of one probe of the running generation.

    Attributes:
        measured: ``now``, or ``last`` for a result from the journal; None when nobody looked on this generation.
        at: When it was measured.
        failures: How often in a row it did not pass.
        detail: For people at the site; it never leaves the site.
    """

    probe: str
    generation: int
    state: ProbeState
    measured: Literal["now", "last"] | None = None
    at: datetime | None = None
    failures: int = 0
    detail: str = ""


def last_health(site: Site) -> tuple[ProbeHealth, ...]:
    """Return the result of each probe as the journal has it, sorted by name. Runs nothing."""
    return tuple(
        ProbeHealth(
            health.probe,
            health.generation,
            health.state,
            "last" if health.state != "not-observed" else None,
            health.at,
            health.failures,
        )
        for health in sorted(site.state.installs.running_health, key=lambda health: health.probe)
    )


def measure_health(
    site: Site, load: LoadDriver, now: datetime, look: LookAtProbe = run_probe
) -> tuple[ProbeHealth, ...]:
    """Run each probe of the running generation once, and return the results sorted by name.

    A probe without a result in time keeps the one of the journal.

    Raises:
        WaybillError: The generation cannot be read, or a driver is missing.
    """
    running = site.state.installs.running
    if running is None:
        return ()
    installed = read_installed(site, running)
    context = ProbeContext(
        endpoints=installed.settings.endpoints,
        steps=driver_steps(site, installed, load),
        authorities=site_authorities(site.path),
    )
    known = {result.probe: result for result in last_health(site)}
    results = {result.name: result for result in _run_all(installed.release.probes, context, look)}
    health = []
    for probe in sorted(installed.release.probes, key=lambda probe: probe.name):
        before = known.get(probe.name, ProbeHealth(probe.name, running.number, "not-observed"))
        result = results.get(probe.name)
        if result is None:
            health.append(before)
            continue
        failures = 0 if result.state == "passing" else before.failures + 1
        health.append(
            ProbeHealth(probe.name, running.number, result.state, "now", now, failures, result.detail),
        )
    return tuple(health)


def _run_all(probes: Sequence[Probe], context: ProbeContext, look: LookAtProbe) -> tuple[ProbeResult, ...]:
    """Run the probes side by side; leave out those that have no result after ``MEASURE_SECONDS``."""
    if not probes:
        return ()
    from concurrent.futures import Future, ThreadPoolExecutor, wait  # loaded only for a release with probes

    with ThreadPoolExecutor(max_workers=PROBES_AT_ONCE) as pool:
        futures: list[Future[ProbeResult]] = [pool.submit(look, probe, context) for probe in probes]
        for future in wait(futures, timeout=MEASURE_SECONDS).not_done:
            future.cancel()
        # A probe that runs already ends by its own time-out; its result then counts as well.
    return tuple(future.result() for future in futures if not future.cancelled())


def probe_text(health: ProbeHealth, now: datetime) -> str:
    """Return the result of a probe, and when it was measured if that was not now."""
    if health.at is None:
        return "not observed"
    row = f", {health.failures} times in a row" if health.failures > 1 else ""
    if health.measured == "now":
        why = f": {health.detail}" if health.state != "passing" and health.detail else ""
        return f"{health.state}{row}{why}"
    words = {"passing": "passed", "failing": "failed", "unknown": "could not be looked at"}
    return f"{words[health.state]} {age(health.at, now)} ago{row}, not looked at since"


def probe_data(health: ProbeHealth) -> dict[str, object]:
    """Return a probe's result for programs."""
    return {
        "probe": health.probe,
        "state": health.state,
        "measured": health.measured,
        "at": optional_time(health.at),
        "failures": health.failures,
        "detail": health.detail,
    }
