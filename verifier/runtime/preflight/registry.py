"""Asks the site's registry: whether it answers and knows the login, and what its clock says."""

from contextlib import nullcontext
from datetime import datetime

from manifests.authored.site_yaml import FILL_IN
from manifests.documents.release import Image
from manifests.trust.keys import read_capped
from manifests.words.errors import HostError, WaybillError
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.drivers.registry_client import (
    connect,
    image_place,
    registry_settings,
    repository_of,
    site_path,
)
from verifier.runtime.preflight.ask import TIMEOUT_SECONDS, HttpQuestion, Tls, certificate_end, parse_date
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.preflight.tls_files import MAX_FILE
from verifier.runtime.probes.network import NoAnswerError


def registry_date(context: DriverContext) -> datetime | None:
    """Return the time that the registry of ``site.yaml`` states; None where it states none. Raises WaybillError."""
    settings = registry_settings(context)
    image = _first_image(context)
    repository = settings.prefix or context.release.product if image is None else repository_of(settings, image)
    with (
        # Without an image the release pushes nothing there, and only the host is in question.
        nullcontext() if image is None else image_place(settings, image).errors(),
        connect(context, settings, timeout_seconds=TIMEOUT_SECONDS) as registry,
    ):
        return parse_date(registry.ask(repository))


def _first_image(context: DriverContext) -> Image | None:
    """Return the first image that the release brings into the registry."""
    names = (name for step in context.release.install if step.driver == "registry" for name in step.images)
    return next((context.release.image(name) for name in names), None)


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
        return Observation(met=False, text=str(error), remedy=error.remedy)
    except WaybillError as error:
        return unseen(f"{error.where}: {error.problem}", error.remedy)
    return Observation(met=True, text=f"{endpoint} answers")
