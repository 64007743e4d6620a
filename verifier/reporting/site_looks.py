"""Everything at a site that can go wrong between two installs, looked at once. Changes nothing."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

from manifests.authored.site_yaml import SiteFile
from manifests.documents.contract_endpoints import endpoint_of
from manifests.words.errors import WaybillError
from manifests.words.progress import ProgressCallback, no_progress
from manifests.words.units import show_are, show_count, show_size
from verifier.change.data_return import damage_of_former
from verifier.change.driver_steps import LoadDriver, observe, plan_steps
from verifier.change.host_network import look_at_site_clock, registry_context
from verifier.change.reachable import kept_generations, reachable_generation
from verifier.change.release_papers import contract_in_force
from verifier.change.rollback_plan import rollback_change
from verifier.change.site_check import check_rollbacks
from verifier.change.space import space_needs
from verifier.reporting.site_problems import current_problem
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.preflight.certificates import certificate_observation, certificate_of
from verifier.runtime.preflight.host_summary import clock_synchronised
from verifier.runtime.preflight.modes import look_at_modes
from verifier.runtime.preflight.registry import registry_certificate
from verifier.runtime.preflight.result import Observation, PreflightResult, PreflightStatus, unseen
from verifier.runtime.preflight.side_by_side import side_by_side
from verifier.runtime.preflight.timers import look_at_timers
from verifier.runtime.preflight.tls_files import end_of_file
from verifier.runtime.probes.probe import site_authorities
from verifier.site.blobs import batches, hash_file
from verifier.site.folder import Site
from verifier.site.generations import read_running
from verifier.site.proposals import read_site_yaml
from verifier.site.unread import attempt

# A certificate that ends earlier is warned of.
CERTIFICATE_DAYS = 30
CLOCK_SECONDS = 300
# What is asked over the network may take so long together, and what the drivers observe may.
NETWORK_SECONDS = 8.0
OBSERVE_SECONDS = 60.0
WORKERS = 2
_BLOB = re.compile(r"[0-9a-f]{64}")


def look_at_site(
    site: Site, load: LoadDriver, *, on_progress: ProgressCallback | None = no_progress
) -> tuple[PreflightResult, ...]:
    """Look at store, generation, drift, rollback, keys, certificates, clock and timers.

    Args:
        on_progress: Called with the number of bytes hashed; None to hash no blob.
    """
    failures: list[WaybillError] = []
    installed = attempt(lambda: read_running(site), failures)
    proposal = attempt(lambda: read_site_yaml(site.path), failures)
    settings = installed.settings if installed is not None else proposal.site if proposal is not None else None
    results = [_unreadable(error) for error in failures]
    if on_progress is not None:
        results.append(_store(site, on_progress))
    results += [*_generation(site), *_drift(site, load), *_rollback(site, load), *_keys(site, settings)]
    if settings is not None:
        registry = registry_context(site, installed) if installed is not None else None
        results += _over_network(site, settings, registry)
    results += _tls_files(site, settings)
    return (*results, _time_service(), *_timers(site, settings))


def store_bytes(site: Site) -> int:
    """Return how many bytes the store holds."""
    return sum((site.blobs / name).stat().st_size for name in _blobs(site))


def _result(check: str, needs: str, observation: Observation, *, warns: bool = False) -> PreflightResult:
    status: PreflightStatus = "passed" if observation.met else "warned" if warns else "failed"
    return PreflightResult.of(check, needs, observation, status)


def _unreadable(error: WaybillError) -> PreflightResult:
    where = error.where or "a file of the site"
    return PreflightResult(where, "failed", "can be read", error.problem, error.remedy)


def _blobs(site: Site) -> list[str]:
    """Return the names of the blobs in the store; a path for each would take ten times the memory."""
    if not site.blobs.is_dir():
        return []
    with os.scandir(site.blobs) as entries:
        return sorted(entry.name for entry in entries if _BLOB.fullmatch(entry.name))


def _store(site: Site, on_progress: ProgressCallback) -> PreflightResult:
    """Hash every blob that the store holds."""

    def problem(name: str) -> str | None:
        path = site.blobs / name
        try:
            digest = hash_file(path)
        except OSError as error:
            return f"{name[:12]}: {(error.strerror or str(error)).lower()}"
        on_progress(path.stat().st_size)
        return None if digest == f"sha256:{name}" else f"{name[:12]} has digest {digest[:19]}"

    names = _blobs(site)
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        looks = pool.map(lambda batch: [text for name in batch if (text := problem(name))], batches(names))
        wrong = sorted(text for texts in looks for text in texts)
    if not wrong:
        text = f"{show_are(len(names), 'blob')} whole, {show_size(store_bytes(site))}"
        return _result("store", "every blob has its digest", Observation(met=True, text=text))
    more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    text = f"{len(wrong)} of {show_are(len(names), 'blob')} damaged: {'; '.join(wrong[:3])}{more}"
    remedy = "receive the bundle again with `waybill receive BUNDLE --keep`, and check the disk"
    return _result("store", "every blob has its digest", Observation(met=False, text=text, remedy=remedy))


def _generation(site: Site) -> Iterator[PreflightResult]:
    """Look for the files and blobs of the running generation, by name and length."""
    running = site.state.installs.running
    if running is None:
        return
    damage = damage_of_former(site, running, site.store.lacks, frozenset())
    text = f"generation {running.number} ({running.version}) and its blobs are here"
    observation = Observation(met=True, text=text)
    if damage is not None:
        observation = Observation(met=False, text=damage.problem, remedy=damage.remedy)
    yield _result("generation", "can be installed again from the store", observation)


def _drift(site: Site, load: LoadDriver) -> Iterator[PreflightResult]:
    """Ask every driver what is there, and compare it with the release."""
    if site.state.installs.running is None:
        return
    needs, failures = "what runs is as released", list[WaybillError]()
    seen = side_by_side({"drift": lambda: attempt(lambda: observe(site, load), failures)}, OBSERVE_SECONDS)
    components = seen.get("drift")
    if components is None:
        why = failures[0].problem if failures else f"no answer within {OBSERVE_SECONDS:g} s"
        remedy = failures[0].remedy if failures else "check that what the drivers ask answers"
        yield _result("drift", needs, unseen(why, remedy))
        return
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components if one.problem]
    remedies = dict.fromkeys(one.remedy for one in components if one.problem and one.remedy)
    if problem := current_problem(site):
        wrong.insert(0, problem)
    observation = Observation(met=True, text=f"{show_are(len(components), 'component')} as released")
    if wrong:
        remedy = "; ".join(remedies) or "run `waybill recover`, which restarts the components"
        observation = Observation(met=False, text="; ".join(wrong), remedy=remedy)
    yield _result("drift", needs, observation)


def _rollback(site: Site, load: LoadDriver) -> Iterator[PreflightResult]:
    """Look for what a rollback needs: a generation that can be reached, its blobs, space, and the reserve."""
    running = site.state.installs.running
    if running is None:
        return
    needs = "a rollback has its blobs and its space"
    if site.state.offboarded:
        text = "none is possible: the vendor's access has ended, and nothing can be installed or rolled back"
        yield _result("rollback", needs, Observation(met=True, text=text, remedy=""))
        return
    target, why = reachable_generation(site)
    if target is None:
        alone = not kept_generations(site, running.number)
        remedy = "keep the release that runs, or install one that can be rolled back to it"
        observation = Observation(met=alone, text=why, remedy=remedy)
        yield _result("rollback", needs, observation)
    else:
        yield _result("rollback", needs, _rollback_observation(site, load, target.number))
    if site.reserve.exists():
        yield _result(
            "reserve", "space is set aside", Observation(met=True, text=show_size(site.reserve.stat().st_size))
        )
    else:
        remedy = "free space on the disk; the next report sets the reserve aside again"
        spent = Observation(met=False, text="it was spent on a full disk", remedy=remedy)
        yield _result("reserve", "space is set aside", spent, warns=True)


def _rollback_observation(site: Site, load: LoadDriver, number: int) -> Observation:
    change = rollback_change(site, number)
    name = f"generation {number} ({change.release.version})"
    lost = check_rollbacks(site, (change,))
    if lost:
        error = lost[0].error
        return Observation(met=False, text=f"{name}: {error.problem}", remedy=error.remedy)
    # The reserve is spent for a rollback when nothing else is left.
    device = site.disk.space(site.path).device
    spare = site.reserve.stat().st_size if site.reserve.exists() else 0
    texts, fits = [], True
    for need in space_needs(site, (change,), (plan_steps(site, change.installed, load),)):
        place = site.path if "site" in need.places else Path(site.path, need.places[0])
        free = need.free_bytes + (spare if site.disk.space(place).device == device else 0)
        fits = fits and need.bytes <= free and need.inodes <= need.free_inodes
        texts.append(f"takes {show_size(need.bytes)} and {show_count(need.inodes, 'file')}, {show_size(free)} free")
    return Observation(met=fits, text=f"to {name}: {'; '.join(texts)}", remedy="free space on this disk")


def _keys(site: Site, settings: SiteFile | None) -> Iterator[PreflightResult]:
    if not site.state.offboarded:
        failures: list[WaybillError] = []
        signer = attempt(site.signer, failures)
        observation = Observation(met=True, text="is there, and belongs to the journal")
        if signer is None:
            observation = Observation(met=False, text=str(failures[0]), remedy=failures[0].remedy)
        yield _result("site key", "can sign reports", observation, warns=signer is None and _is_other_account(site))
    blind = look_at_modes(site.path, _secrets(site, settings))
    warns = not blind.seen and _is_other_account(site)
    yield _result("modes", "keys and secrets are closed to others", blind, warns=warns)


def _is_other_account(site: Site) -> bool:
    """Whether another account than the site's looks, which may have fewer rights."""
    return os.geteuid() not in (0, site.path.stat().st_uid)


def _secrets(site: Site, settings: SiteFile | None) -> tuple[Path, ...]:
    if settings is None:
        return ()
    registry, helm = settings.drivers.registry, settings.drivers.helm
    named = [registry.login.secret] if registry is not None and registry.login is not None else []
    named += [helm.kubeconfig.secret] if helm is not None else []
    return tuple(site.path / text.removeprefix("file:") for text in named)


def _over_network(site: Site, settings: SiteFile, registry: DriverContext | None) -> Iterator[PreflightResult]:
    """Ask every HTTPS endpoint for its certificate, and every clock, all at once."""
    authorities, now = site_authorities(site.path), site.host.now()
    jobs: dict[str, Callable[[], datetime | Observation]] = {
        f"certificate {name}": partial(certificate_of, name, settings.endpoints, authorities)
        for name, address in settings.endpoints.items()
        if address.startswith("https://")
    }
    if registry is not None and not registry.settings.get("plain_http"):
        jobs["certificate of the registry"] = partial(registry_certificate, registry)
    jobs["clock"] = partial(look_at_site_clock, site, settings, registry, CLOCK_SECONDS)
    seen = side_by_side(jobs, NETWORK_SECONDS)
    late = unseen(f"there was no answer within {NETWORK_SECONDS:g} s", "check that what is asked answers")
    for check in jobs:
        answer = seen.get(check, late)
        if check == "clock":
            assert isinstance(answer, Observation)  # only a certificate has an end
            # Nothing to compare with is no fault of the clock.
            needs = f"at most {CLOCK_SECONDS} s from other clocks"
            yield _result(check, needs, answer, warns=not answer.seen)
        else:
            # Before the first install nothing serves what the product brings.
            unseen_yet = site.state.installs.running is None and isinstance(answer, Observation) and not answer.seen
            yield _certificate(check, answer, now, warns=unseen_yet)


def _tls_files(site: Site, settings: SiteFile | None) -> Iterator[PreflightResult]:
    paths = [*site_authorities(site.path)]
    registry = settings.drivers.registry if settings is not None else None
    if registry is not None and registry.ca is not None:
        paths.append(site.path / registry.ca)
    for path in dict.fromkeys(paths):
        name = str(path.relative_to(site.path)) if path.is_relative_to(site.path) else str(path)
        yield _certificate(name, end_of_file(path), site.host.now())


def _certificate(check: str, end: datetime | Observation, now: datetime, *, warns: bool = False) -> PreflightResult:
    """Return the result for a certificate: failed when it is not good now, warned of when it soon will not be."""
    needs = f"good for {CERTIFICATE_DAYS} days"
    if isinstance(end, Observation):
        return _result(check, needs, end, warns=warns)
    return _result(check, needs, certificate_observation(end, CERTIFICATE_DAYS, now), warns=end > now)


def _time_service() -> PreflightResult:
    state = clock_synchronised()
    needs, remedy = "the kernel's clock is synchronised", "start a time service; look with `timedatectl`"
    if state == "unknown":
        return _result("time service", needs, unseen("this account may not ask the kernel", remedy), warns=True)
    text = "synchronised" if state == "yes" else "not synchronised"
    return _result("time service", needs, Observation(met=state == "yes", text=text, remedy=remedy), warns=True)


def _timers(site: Site, settings: SiteFile | None) -> Iterator[PreflightResult]:
    if site.state.offboarded:
        return
    reports = settings is None or settings.report.every != "never"
    contract = attempt(lambda: contract_in_force(site)[0], [])
    collects = contract is not None and any(endpoint_of(signal) for signal in contract.signals)
    observation, failed = look_at_timers(site.path, reports=reports, collects=collects)
    yield _result("timers", "recover, report and collect run by themselves", observation, warns=not failed)
