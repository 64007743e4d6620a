"""Probes: one check of a release at this site, and the loop that repeats it until the trial ends.

A probe opens only addresses that ``endpoints`` of ``site.yaml`` lists; a release names an endpoint, never an address.
A check that could not be made is ``unknown`` and never counts as passing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from manifests.documents.release import FileProbe, Probe
from manifests.words.errors import WaybillError
from verifier.runtime.drivers.driver import UNREADABLE, Driver, DriverContext, DriverPlan
from verifier.site.blobs import hash_file

ProbeState = Literal["passing", "failing", "unknown"]
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class ProbeResult:
    """The result of one check. ``detail`` is for people at the site and never leaves it."""

    name: str
    state: ProbeState
    detail: str


@dataclass(frozen=True)
class ProbesVerdict:
    """The last result of each probe; ``missing``: the probes that did not pass often enough."""

    results: tuple[ProbeResult, ...]
    missing: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.missing


class PlacedStep(Protocol):
    """One step of the generation on trial, with its driver."""

    @property
    def driver(self) -> Driver: ...
    @property
    def plan(self) -> DriverPlan: ...
    @property
    def context(self) -> DriverContext: ...


@dataclass(frozen=True)
class ProbeContext:
    """What a probe may use: the endpoints of site.yaml, the generation's steps, PEM files besides the system's."""

    endpoints: Mapping[str, str]
    steps: Sequence[PlacedStep]
    authorities: tuple[Path, ...] = ()
    timeout_seconds: float = TIMEOUT_SECONDS


def site_authorities(site: Path) -> tuple[Path, ...]:
    """Return the files of certificates that a site trusts besides the host's: ``tls/*.pem``."""
    return tuple(sorted((site / "tls").glob("*.pem")))


def run_probe(probe: Probe, context: ProbeContext) -> ProbeResult:
    """Check once. An error is a result too."""
    try:
        state, detail = _look(probe, context)
    except (WaybillError, OSError) as error:
        state, detail = "unknown", str(error)
    return ProbeResult(probe.name, state, detail)


def run_probes(
    probes: Sequence[Probe],
    context: ProbeContext,
    *,
    sleep: Callable[[float], None],
    deadline_seconds: float,
    monotonic: Callable[[], float],
    look: Callable[[Probe, ProbeContext], ProbeResult] = run_probe,
) -> ProbesVerdict:
    """Check until every probe has passed as often in a row as it requires, or the deadline is reached."""
    begun = monotonic()
    due = dict.fromkeys((probe.name for probe in probes), begun)
    passes = dict.fromkeys(due, 0)
    last = {name: ProbeResult(name, "unknown", "never checked") for name in due}
    waiting = list(probes)
    while waiting:
        at = min(due[probe.name] for probe in waiting)
        if at > begun + deadline_seconds:
            break
        sleep(max(0.0, at - monotonic()))
        probe = next(probe for probe in waiting if due[probe.name] == at)
        # The check before may have taken longer than the time that was left.
        if monotonic() > begun + deadline_seconds:
            break
        last[probe.name] = look(probe, context)
        passes[probe.name] = passes[probe.name] + 1 if last[probe.name].state == "passing" else 0
        due[probe.name] = max(at + probe.every_seconds, monotonic())
        if passes[probe.name] >= probe.passes:
            waiting.remove(probe)
    return ProbesVerdict(tuple(last[probe.name] for probe in probes), tuple(probe.name for probe in waiting))


def _look(probe: Probe, context: ProbeContext) -> tuple[ProbeState, str]:
    if probe.file is not None:
        return _look_at_file(probe.file, context)
    if probe.step is not None:
        return _look_at_step(probe.step, context)
    # http.client and ssl are heavy, and only a probe over the network needs them.
    from verifier.runtime.probes.network import look_http, look_tcp

    if (http := probe.http) is not None:
        address = _address(http.endpoint, context)
        return look_http(address, http.path, http.status, context.authorities, context.timeout_seconds)
    assert probe.tcp is not None  # a probe is exactly one of the four (manifests/documents/release.py)
    return look_tcp(_address(probe.tcp.endpoint, context), context.timeout_seconds)


def _address(endpoint: str, context: ProbeContext) -> str:
    address = context.endpoints.get(endpoint)
    if address is None:
        known = ", ".join(sorted(context.endpoints)) or "none"
        raise WaybillError(
            f"site.yaml has no endpoint {endpoint!r}, it has {known}",
            where="site.yaml $.endpoints",
            remedy=f"add {endpoint!r} to endpoints in site.yaml, then run `waybill review config`",
        )
    return address


def _look_at_file(probe: FileProbe, context: ProbeContext) -> tuple[ProbeState, str]:
    for placed in context.steps:
        step, release = placed.plan.step, placed.context.release
        if step.driver != "files" or probe.files not in step.files:
            continue
        expected = next(entry.digest for entry in release.file_set(probe.files).entries if entry.path == probe.path)
        from verifier.runtime.drivers.files import placed_folder  # loads the driver, for a probe of its files only

        folder = placed_folder(step, placed.context)
        if folder is None:
            return "failing", f"step {step.step} has not placed this generation"
        path = folder / probe.path
        # A folder on the way that became a link would show a file that is not of the release.
        if Path(os.path.realpath(path.parent)) != Path(os.path.realpath(folder), probe.path).parent:
            return "failing", f"{path} is behind a link"
        try:
            digest = hash_file(path)
        except FileNotFoundError:
            return "failing", f"{path} is missing"
        if digest != expected:
            return "failing", f"{path} has digest {digest}, expected {expected}"
        return "passing", f"{path} is as released"
    return "unknown", f"no step places the file set {probe.files!r}"


def _look_at_step(name: str, context: ProbeContext) -> tuple[ProbeState, str]:
    for placed in context.steps:
        if placed.plan.step.step == name:
            components = placed.driver.observe(placed.plan, placed.context)
            wrong = [component for component in components if component.problem]
            if not wrong:
                return "passing", f"{len(components)} of {len(components)} components are as released"
            unreadable = any(component.observed == UNREADABLE for component in wrong)
            return "unknown" if unreadable else "failing", "; ".join(component.problem for component in wrong)
    return "unknown", f"there is no step {name!r}"
