"""Asks the cluster of the site for its version."""

from pathlib import Path

from manifests.words.errors import HostError, RefusedError
from verifier.runtime.kubernetes.client import DENIED, KubernetesClient
from verifier.runtime.kubernetes.kubeconfig import parse_kubeconfig
from verifier.runtime.preflight.ask import TIMEOUT_SECONDS
from verifier.runtime.preflight.capacity import is_at_least
from verifier.runtime.preflight.result import Observation, unseen


def look_at_kubernetes(path: Path, data: bytes, need: str) -> Observation:
    """Ask the cluster of a kubeconfig, whose bytes are ``data``, for its version."""
    remedy = f"correct {path}, which `drivers.helm.kubeconfig` of site.yaml names"
    try:
        access = parse_kubeconfig(path, data)
        with KubernetesClient(access, TIMEOUT_SECONDS) as client:
            version = client.version()
    except RefusedError as error:
        return unseen(str(error), error.remedy)
    except HostError as error:
        first = "check the rights of this user" if error.finding == DENIED else "check that the cluster answers"
        return unseen(str(error), f"{first}, or {remedy}")
    met = is_at_least(version, need)
    return Observation(met=met, text=f"{access.server} is {version}", remedy=f"upgrade the cluster to {need} or newer")
