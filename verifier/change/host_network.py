"""The needs of a release that are looked at over the network, only at addresses that ``site.yaml`` names."""

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from manifests.authored.site_yaml import FILL_IN, SiteFile
from manifests.documents.host_needs import HostNeeds
from manifests.words.errors import WaybillError
from verifier.change.driver_steps import driver_context
from verifier.change.values import Change
from verifier.runtime.drivers.driver import DriverContext, read_secret
from verifier.runtime.preflight.ask import HttpQuestion, Tls, ask
from verifier.runtime.preflight.certificates import look_at_certificate
from verifier.runtime.preflight.clock import ClockReading, ReadClock, look_at_clock, reading
from verifier.runtime.preflight.kubernetes import look_at_kubernetes
from verifier.runtime.preflight.registry import look_at_registry, registry_date
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.probes.network import NoAnswerError
from verifier.runtime.probes.probe import site_authorities
from verifier.site.folder import Site
from verifier.site.generations import Installed


def network_looks(site: Site, hop: Change, needs: HostNeeds) -> Iterator[tuple[str, Callable[[], Observation]]]:
    """Yield every look over the network that the needs ask for, by the name that ``host_facts`` has for it."""
    installed = hop.installed
    if needs.clock_seconds is not None:
        yield (
            "clock",
            partial(
                look_at_site_clock, site, installed.settings, registry_context(site, installed), needs.clock_seconds
            ),
        )
    for need in needs.certificates:
        endpoints, authorities = installed.settings.endpoints, site_authorities(site.path)
        look = partial(look_at_certificate, need.endpoint, need.days, endpoints, authorities, site.host.now())
        yield f"certificate {need.endpoint}", look
    if needs.registry is not None:
        yield "registry", partial(look_at_registry, registry_context(site, installed))
    if needs.kubernetes is not None:
        yield "kubernetes", partial(_kubernetes, site, installed, needs.kubernetes)


def look_at_site_clock(
    site: Site, settings: SiteFile, registry: DriverContext | None, need_seconds: int
) -> Observation:
    """Compare the host's clock with those of the registry and of every HTTPS endpoint of ``site.yaml``."""
    now, tls = site.host.now, Tls(site_authorities(site.path))

    def of_registry(context: DriverContext) -> ClockReading:
        endpoint = f"the registry {context.settings['endpoint']}"
        try:
            return reading(registry_date(context), now(), endpoint)
        except WaybillError as error:
            return ClockReading(None, f"{endpoint}: {error}")

    def of_endpoint(address: str) -> ClockReading:
        try:
            return reading(ask(HttpQuestion(address, tls=tls)).date, now(), address)
        except NoAnswerError as error:
            return ClockReading(None, str(error))

    clocks: dict[str, ReadClock] = {}
    if registry is not None:
        clocks[f"the registry {registry.settings['endpoint']}"] = partial(of_registry, registry)
    for address in dict.fromkeys(settings.endpoints.values()):
        if address.startswith("https://"):
            clocks[address] = partial(of_endpoint, address)
    return look_at_clock(clocks, need_seconds, now(), site.state.trust.time_floor)


def registry_context(site: Site, installed: Installed) -> DriverContext | None:
    """Return what the registry driver would know; None where ``site.yaml`` names no registry."""
    settings = installed.settings.drivers.registry
    return None if settings is None else driver_context(site, installed, msgspec.to_builtins(settings))


def _kubernetes(site: Site, installed: Installed, need: str) -> Observation:
    settings = installed.settings.drivers.helm
    if settings is None:
        remedy = "add `helm:` with its kubeconfig and namespace under `drivers:` in site.yaml"
        add = {"drivers": {"helm": {"kubeconfig": {"secret": FILL_IN}, "namespace": FILL_IN}}}
        return unseen("site.yaml names no kubeconfig", remedy, add)
    context = driver_context(site, installed, {})
    try:
        path, data = read_secret(context, settings.kubeconfig.secret, "helm.kubeconfig.secret")
    except WaybillError as error:
        return unseen(f"{error.where}: {error.problem}", error.remedy)
    return look_at_kubernetes(path, data, need)
