"""Asks the site's registry: whether it answers and knows the login, and what its clock says."""

from datetime import datetime

from manifests.authored.site_yaml import FILL_IN
from manifests.trust.keys import read_capped
from manifests.words.errors import HostError, WaybillError
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.drivers.registry_client import connect, registry_settings, site_path
from verifier.runtime.preflight.ask import TIMEOUT_SECONDS, HttpQuestion, Tls, certificate_end, parse_date
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.preflight.tls_files import MAX_FILE
from verifier.runtime.probes.network import NoAnswerError


def registry_date(context: DriverContext) -> datetime | None:
    """Return the time that the registry of ``site.yaml`` states; None where it states none. Raises WaybillError."""
    settings = registry_settings(context)
    with connect(context, settings, timeout_seconds=TIMEOUT_SECONDS) as registry:
        return parse_date(registry.ask(settings.prefix or context.release.product))


def registry_certificate(context: DriverContext) -> datetime | Observation:
    """Return until when the certificate of the registry is good; else why it is not trusted, or cannot be seen."""
    remedy = "renew it, or correct `ca` of `drivers.registry` in site.yaml"
    try:
        settings = registry_settings(context)
        ca = site_path(context, settings.ca, "registry.ca") if settings.ca else None
        only = None if ca is None else read_capped(ca, MAX_FILE).decode("ascii", "replace")
        return certificate_end(HttpQuestion(f"https://{settings.endpoint}", tls=Tls(only=only)))
    except NoAnswerError as error:
        if error.certificate:
            return Observation(met=False, text=str(error), remedy=remedy)
        return unseen(str(error), "start the registry, or correct its address in site.yaml")
    except WaybillError as error:
        return unseen(f"{error.where}: {error.problem}", error.remedy)


def look_at_registry(context: DriverContext | None) -> Observation:
    """Return whether the registry answers; ``context`` is None where ``site.yaml`` names none."""
    if context is None:
        remedy = "add `registry:` with its endpoint under `drivers:` in site.yaml"
        add = {"drivers": {"registry": {"endpoint": FILL_IN}}}
        return unseen("site.yaml has no settings for a registry", remedy, add)
    endpoint = str(context.settings["endpoint"])
    try:
        registry_date(context)
    except HostError as error:
        return Observation(met=False, text=f"{endpoint}: {error.problem}", remedy=error.remedy)
    except WaybillError as error:
        return unseen(f"{error.where}: {error.problem}", error.remedy)
    return Observation(met=True, text=f"{endpoint} answers")
