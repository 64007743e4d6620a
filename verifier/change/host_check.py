"""What the releases of a plan need of this host, and whether the host has it. Changes nothing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from content.differences.release import host_facts
from manifests.documents.host_needs import HostNeeds
from manifests.words.errors import RefusedError
from verifier.change.driver_steps import LoadDriver, plan_steps
from verifier.change.space import SpaceNeed, space_needs
from verifier.change.values import Change
from verifier.runtime.preflight import capacity
from verifier.runtime.preflight.host_summary import cores, memory
from verifier.runtime.preflight.ports import look_at_port
from verifier.runtime.preflight.result import Observation, PreflightResult, PreflightStatus, unseen
from verifier.runtime.preflight.side_by_side import side_by_side
from verifier.runtime.setup import SetupFinding
from verifier.site.folder import Site

Look = Callable[[], Observation]
# Every question ends by itself after 5 s; a registry is asked for a token besides.
NETWORK_SECONDS = 8.0


@dataclass(frozen=True)
class HostCheck:
    """What the releases of a plan need of this host, each need with its result, in the order of the format."""

    results: tuple[PreflightResult, ...] = ()
    findings: tuple[SetupFinding, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(result.line for result in self.results)


@dataclass(frozen=True)
class _Plan:
    """What the looks of one release work with; ``space`` is None where no release states a need of disk."""

    site: Site
    hop: Change
    space: SpaceNeed | None


@dataclass(frozen=True)
class _Wanted:
    """One look, and the release that wants it first."""

    hop: Change
    needs: HostNeeds
    look: Look
    over_network: bool


def check_host(site: Site, hops: tuple[Change, ...], load: LoadDriver) -> HostCheck:
    """Look at everything that the releases to install need of this host; a need of several is looked at once.

    What is asked over the network is asked at once, and has ended after ``NETWORK_SECONDS``.
    """
    needing = [(hop, hop.release.host) for hop in hops if hop.action == "install" and hop.release.host is not None]
    wants_disk = any(needs.disk_bytes is not None for _, needs in needing)
    space = _space(site, hops, load) if wants_disk else None
    wanted: dict[tuple[str, str], _Wanted] = {}
    for hop, needs in needing:
        words = host_facts(hop.release)
        for check, look in _local_looks(_Plan(site, hop, space), needs):
            wanted.setdefault((check, words[check]), _Wanted(hop, needs, look, over_network=False))
        for check, look in _network_looks(site, hop, needs):
            wanted.setdefault((check, words[check]), _Wanted(hop, needs, look, over_network=True))
    observations = {key: _observe(want.look) for key, want in wanted.items() if not want.over_network}
    asked = {key: partial(_observe, want.look) for key, want in wanted.items() if want.over_network}
    observations |= side_by_side(asked, NETWORK_SECONDS)
    late = unseen(f"there was no answer within {NETWORK_SECONDS:g} s", "check that what is asked answers")
    results, findings = [], []
    for (check, words_of_need), want in wanted.items():
        observation = observations.get((check, words_of_need), late)
        status = _status(site, observation, warns=_need_of(check) in want.needs.warn)
        result = PreflightResult.of(check, words_of_need, observation, status)
        results.append(result)
        if status != "passed":
            findings.append(_finding(result, want.hop, observation))
    return HostCheck(tuple(results), tuple(findings))


def _network_looks(site: Site, hop: Change, needs: HostNeeds) -> Iterator[tuple[str, Look]]:
    if needs.clock_seconds or needs.certificates or needs.registry or needs.kubernetes:
        # http.client, ssl, requests and yaml are heavy, and most releases have no need that is asked over the network.
        from verifier.change.host_network import network_looks

        yield from network_looks(site, hop, needs)


def _local_looks(plan: _Plan, needs: HostNeeds) -> Iterator[tuple[str, Look]]:
    """Yield every look at this host itself that the needs ask for, by the name that ``host_facts`` has for it."""
    if needs.disk_bytes is not None:
        yield "disk", partial(_disk, plan, needs.disk_bytes)
    if needs.memory_bytes is not None:
        need_bytes = needs.memory_bytes
        yield "memory", lambda: capacity.look_at_memory(memory()[0], need_bytes)
    if needs.cores is not None:
        count = needs.cores
        yield "cores", lambda: capacity.look_at_cores(cores(), count)
    if needs.kernel is not None:
        yield "kernel", partial(capacity.look_at_kernel, os.uname().release, needs.kernel)
    for port in needs.ports:
        yield f"port {port}", partial(look_at_port, port, plan.site.path)


def _disk(plan: _Plan, need_bytes: int) -> Observation:
    assert plan.space is not None  # measured when a release states a need of disk
    return capacity.look_at_disk(plan.space.free_bytes, plan.space.bytes, need_bytes)


def _space(site: Site, hops: tuple[Change, ...], load: LoadDriver) -> SpaceNeed:
    """Return what the whole plan needs on the file system of the site's folder, and what is free there."""
    steps = tuple(plan_steps(site, hop.installed, load) for hop in hops)
    return next(need for need in space_needs(site, hops, steps) if "site" in need.places)


def _observe(look: Look) -> Observation:
    try:
        return look()
    except OSError as error:
        why = f"{error.filename or 'the host'}: {(error.strerror or str(error)).lower()}"
        return unseen(why, "check that this account may read it")


def _status(site: Site, observation: Observation, *, warns: bool) -> PreflightStatus:
    if observation.met:
        return "passed"
    # Another account than the site's may have fewer rights to look.
    blind = not observation.seen and os.geteuid() not in (0, site.path.stat().st_uid)
    return "warned" if warns or blind else "failed"


def _need_of(check: str) -> str:
    """Return the name of the need in ``warn`` for a check such as ``port 8080``."""
    name = check.partition(" ")[0]
    return {"port": "ports", "certificate": "certificates"}.get(name, name)


def _finding(result: PreflightResult, hop: Change, observation: Observation) -> SetupFinding:
    error = RefusedError(
        result.problem,
        where=f"host of release {hop.release.version}",
        remedy=result.remedy,
        finding=f"host-{_need_of(result.check)}",
    )
    return SetupFinding("warned" if result.status == "warned" else "failed", error, observation.add)
