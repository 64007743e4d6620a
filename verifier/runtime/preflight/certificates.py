"""Looks at the certificate of an HTTPS endpoint: whether it is trusted, and for how long it is good."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from manifests.authored.site_yaml import FILL_IN
from manifests.words.time import rfc3339
from manifests.words.units import show_count
from verifier.runtime.preflight.ask import HttpQuestion, Tls, certificate_end
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.probes.network import NoAnswerError


def look_at_certificate(
    endpoint: str, days: int, endpoints: Mapping[str, str], authorities: tuple[Path, ...], now: datetime
) -> Observation:
    """Return whether the certificate of an endpoint of ``site.yaml`` is good for so many days from ``now`` on."""
    end = certificate_of(endpoint, endpoints, authorities)
    return end if isinstance(end, Observation) else certificate_observation(end, days, now)


def certificate_of(
    endpoint: str, endpoints: Mapping[str, str], authorities: tuple[Path, ...]
) -> datetime | Observation:
    """Return until when the certificate of an endpoint is good; else why it is not trusted, or cannot be seen."""
    address = endpoints.get(endpoint)
    if address is None:
        remedy = f"add `{endpoint}:` with its address under `endpoints:` in site.yaml"
        return unseen(f"site.yaml has no endpoint {endpoint!r}", remedy, {"endpoints": {endpoint: FILL_IN}})
    if not address.startswith("https://"):
        remedy = f"set an address https://HOST:PORT for `{endpoint}:` under `endpoints:` in site.yaml"
        return unseen(f"the endpoint is {address}", remedy)
    try:
        return certificate_end(HttpQuestion(address, tls=Tls(authorities)))
    except NoAnswerError as error:
        if error.certificate:
            remedy = "renew the certificate, or put its authority as a PEM file into the folder tls/ of the site"
            return Observation(met=False, text=str(error), remedy=remedy)
        return unseen(str(error), "start what serves the endpoint, or correct its address in site.yaml")


def certificate_observation(end: datetime, days: int, now: datetime) -> Observation:
    """Return whether a certificate that is good until ``end`` is so for ``days`` from ``now`` on."""
    left = end - now
    text = f"good until {rfc3339(end)}, for {show_count(max(0, left.days), 'day')}"
    if left < timedelta(0):
        text = f"ended on {rfc3339(end)}"
    return Observation(met=left >= timedelta(days=days), text=text, remedy="renew the certificate")
