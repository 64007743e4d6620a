"""Rules about live objects: whether a workload runs, which images its pods have, and what differs. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from verifier.runtime.kubernetes.client import Json

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_AUTOSCALER = "HorizontalPodAutoscaler"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# What the server and its controllers keep beside what was applied.
_KEPT = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp")


@dataclass(frozen=True)
class Readiness:
    """Whether all replicas of the newest generation are ready; ``words`` says what is missing."""

    ready: bool
    words: str


def value_at(value: object, *keys: str) -> object:
    """Return what is at a path of keys; None where a part of it is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def texts_at(value: object, *keys: str) -> dict[str, str]:
    """Return a mapping of texts at a path, such as labels."""
    mapping = value_at(value, *keys)
    return (
        {str(key): text for key, text in mapping.items() if isinstance(text, str)} if isinstance(mapping, dict) else {}
    )


def entries_at(value: object, *keys: str) -> tuple[Json, ...]:
    """Return the mappings of a list at a path."""
    listed = value_at(value, *keys)
    return tuple(entry for entry in listed if isinstance(entry, dict)) if isinstance(listed, list) else ()


def name_of(value: Json) -> str:
    return str(value_at(value, "metadata", "name") or "")


def readiness(kind: str, live: Json) -> Readiness:
    """Judge a Deployment, StatefulSet or DaemonSet by its status (apps/v1)."""

    def number(*keys: str, default: int = 0) -> int:
        value = value_at(live, *keys)
        return value if isinstance(value, int) else default

    if number("status", "observedGeneration") < number("metadata", "generation", default=1):
        return Readiness(False, "its controller has not seen the newest change")
    if kind == "DaemonSet":
        wanted, updated = number("status", "desiredNumberScheduled"), number("status", "updatedNumberScheduled")
        ready = number("status", "numberReady")
    else:
        wanted, updated = number("spec", "replicas", default=1), number("status", "updatedReplicas")
        ready = number("status", "readyReplicas")
        if kind == "StatefulSet" and value_at(live, "spec", "updateStrategy", "type") == "OnDelete":
            updated = wanted
    surplus = number("status", "replicas") > wanted if kind == "Deployment" else False
    if updated < wanted or ready < wanted or surplus:
        return Readiness(False, f"{ready} of {wanted} replicas are ready, {min(updated, wanted)} updated")
    return Readiness(True, f"{ready} of {wanted} replicas are ready")


def selector_of(live: Json) -> str:
    """Return the selector of a workload's pods as a query states it; empty where it has none."""
    parts = [f"{key}={text}" for key, text in sorted(texts_at(live, "spec", "selector", "matchLabels").items())]
    for entry in entries_at(live, "spec", "selector", "matchExpressions"):
        values = entry.get("values")
        listed = ",".join(map(str, values)) if isinstance(values, list) else ""
        key, operator = entry.get("key"), entry.get("operator")
        match operator:
            case "In" | "NotIn":
                parts.append(f"{key} {'in' if operator == 'In' else 'notin'} ({listed})")
            case "Exists":
                parts.append(f"{key}")
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def wanted_images(live: Json) -> dict[str, str]:
    """Return the image of each container of a workload's pods, init containers included, by name."""
    spec = value_at(live, "spec", "template", "spec")
    listed = (*entries_at(spec, "initContainers"), *entries_at(spec, "containers"))
    return {str(entry.get("name")): str(entry.get("image")) for entry in listed}


def running_digests(pods: Iterable[Json]) -> Iterator[tuple[str, str, str]]:
    """Yield pod, container and digest of what runs; a pod that ends is left out, and a digest not known is empty."""
    for pod in pods:
        if value_at(pod, "metadata", "deletionTimestamp") is not None:
            continue
        for status in entries_at(pod, "status", "containerStatuses"):
            match = _DIGEST.search(str(status.get("imageID") or ""))
            yield name_of(pod), str(status.get("name")), match[0] if match else ""


def waiting_reason(pods: Iterable[Json]) -> str:
    """Return why a container of these pods does not run, as the node says; empty where no one says."""
    for pod in pods:
        for status in entries_at(pod, "status", "containerStatuses"):
            reason = value_at(status, "state", "waiting", "reason") or value_at(status, "state", "terminated", "reason")
            if isinstance(reason, str) and status.get("ready") is not True:
                return f"container {status.get('name')}: {reason}"
        for condition in entries_at(pod, "status", "conditions"):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("reason") or "not scheduled")
    return ""


def count_restarts(pods: Iterable[Json]) -> int:
    """Return how often containers of these pods ended by themselves."""
    counts = [status.get("restartCount") for pod in pods for status in entries_at(pod, "status", "containerStatuses")]
    return sum(count for count in counts if isinstance(count, int))


def scaled_by_others(objects: Iterable[Json]) -> frozenset[tuple[str, str]]:
    """Return kind and name of what an autoscaler among the objects scales: their replicas are not the chart's."""
    targets = [value_at(item, "spec", "scaleTargetRef") for item in objects if item.get("kind") == _AUTOSCALER]
    return frozenset((str(value_at(target, "kind")), str(value_at(target, "name"))) for target in targets)


def drift(live: Json, applied: Json, *, scaled: bool = False) -> tuple[str, ...]:
    """Return the paths at which an object differs from what applying its manifest again would make of it."""
    paths = list(_different(_comparable(live, scaled), _comparable(applied, scaled), ""))
    return tuple(sorted(paths))


def missing_values(live: object, document: object, path: str = "") -> tuple[str, ...]:
    """Return the paths at which an object lacks what a manifest says; the manifest's values are text.

    This is for an object that the server would not take today, so that it cannot say what applying would change.
    """
    if isinstance(document, dict):
        held = live if isinstance(live, dict) else {}
        return tuple(
            place
            for key, below in document.items()
            if not (path == "" and key in ("status", "stringData"))
            for place in missing_values(held.get(key), below, f"{path}.{key}" if path else str(key))
        )
    if isinstance(document, list):
        entries = live if isinstance(live, list) else []
        padded = (*entries, *(None for _ in document))
        pairs = enumerate(zip(padded, document, strict=False))
        return tuple(place for i, (left, right) in pairs for place in missing_values(left, right, f"{path}[{i}]"))
    return () if _same_scalar(live, str(document)) else (path,)


def _same_scalar(live: object, text: str) -> bool:
    if isinstance(live, bool):
        return live == (text.lower() in ("true", "yes", "on"))
    if isinstance(live, int | float):
        try:
            return float(text) == live or (text.isdecimal() and text.startswith("0") and int(text, 8) == live)
        except ValueError:
            return False
    # A value of nothing is left out by the server.
    return live == text or (live is None and text in ("", "null", "~", "[]", "{}", "0", "false"))


def _comparable(value: Json, scaled: bool) -> dict[str, object]:
    metadata = value_at(value, "metadata")
    kept = {key: part for key, part in metadata.items() if key not in _KEPT} if isinstance(metadata, dict) else {}
    spec = value_at(value, "spec")
    result = {key: part for key, part in value.items() if key not in ("status", "metadata", "stringData")}
    if scaled and isinstance(spec, dict):
        result["spec"] = {key: part for key, part in spec.items() if key != "replicas"}
    return {**result, "metadata": kept}


def _different(old: object, new: object, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _different(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _different(left, right, f"{path}[{i}]")
    elif old != new:
        yield path
