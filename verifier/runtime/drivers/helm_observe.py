"""What is in the cluster of a chart: its objects against what was applied, its workloads and the images they run."""

from dataclasses import dataclass, field
from functools import cached_property

from msgspec.structs import replace

from content.bundle.oci import ImageManifest
from manifests.documents.release import InstallStep
from manifests.documents.report_condition import ComponentReason
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, WaybillError
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, Component, DriverContext
from verifier.runtime.drivers.helm_chart import Rendered, chart_of
from verifier.runtime.drivers.helm_program import HelmSite, revisions
from verifier.runtime.drivers.images import image_parts
from verifier.runtime.kubernetes.client import DENIED, INVALID, REFUSED, TLS, UNREACHABLE, Json, KubernetesClient
from verifier.runtime.kubernetes.manifests import Manifest
from verifier.runtime.kubernetes.objects import (
    WORKLOADS,
    count_restarts,
    drift,
    missing_values,
    readiness,
    running_digests,
    scaled_by_others,
    selector_of,
    waiting_reason,
    wanted_images,
)

# What a failed look means for somebody who is not here.
_REASONS: dict[str, ComponentReason] = {UNREACHABLE: "unreachable", DENIED: "login", TLS: "certificate"}
_NAMED = 3


@dataclass(frozen=True)
class ClusterLook:
    """What a look at the cluster needs."""

    site: HelmSite
    client: KubernetesClient
    context: DriverContext
    step: InstallStep

    @cached_property
    def accepted(self) -> dict[str, set[str]]:
        """By an image's digest those that a node may state for it: of a platform's manifest, or of its config."""
        names = tuple(dict.fromkeys(item.image for item in chart_of(self.step, self.context).references))
        digests: dict[str, set[str]] = {}
        try:
            parts = image_parts(self.context, replace(self.step, images=names)) if names else ()
        except WaybillError:
            # The store is damaged, which is found elsewhere. The digest by which a pod names its image is known.
            parts = ()
        for part in parts:
            configs = {node.document.config for node in part.manifests if isinstance(node.document, ImageManifest)}
            stated = {node.descriptor.digest for node in part.manifests} | {config.digest for config in configs}
            digests[part.image.manifest.digest] = {part.image.manifest.digest, *stated}
        return digests


@dataclass
class _Seen:
    """What was seen so far; ``gone`` and ``changed`` name objects."""

    live: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def observe_chart(at: ClusterLook, rendered: Rendered | None) -> tuple[Component, ...]:
    """Return a component for the chart, and one for each of its workloads. Raises WaybillError."""
    known = revisions(at.client, at.site.settings.namespace, at.site.name)
    if rendered is None or not known or known[-1].status == "uninstalled":
        return _absent(at, rendered, f"Helm has no release {at.site.name}")
    newest = known[-1]
    if newest.status == "deployed" and newest.generation != at.context.generation:
        return _absent(at, rendered, f"Helm has generation {newest.generation or 'of somebody else'} of it")
    seen = _look_at_objects(at, rendered)
    workloads = tuple(_workload(at, manifest, seen.live.get(_key(at, manifest))) for manifest in _workloads(rendered))
    chart = _chart(at, seen, workloads)
    if newest.status != "deployed":
        detail = f"Helm has it as {newest.status} (revision {newest.revision})"
        chart = Component(
            name=chart.name,
            expected=chart.expected,
            observed=UNREADABLE,
            step=chart.step,
            detail=detail,
            remedy="run `waybill recover`",
            reason="incomplete",
        )
    return (chart, *workloads)


def not_ready(at: ClusterLook, rendered: Rendered) -> tuple[str, ...]:
    """Return a line for each workload that does not run, with the reason that its pods state. Raises WaybillError."""
    lines = []
    for manifest in _workloads(rendered):
        resource = at.client.resource(manifest.api_version, manifest.kind)
        path = resource.path(manifest.namespace or at.site.settings.namespace, manifest.name) if resource else ""
        live = at.client.get(path) if resource else None
        component = _workload(at, manifest, live)
        if live is not None and component.level != "running":
            lines.append(f"{component.name}: {component.detail}")
    return tuple(lines[:_NAMED])


def unreadable_components(
    step: InstallStep, context: DriverContext, rendered: Rendered | None, error: WaybillError | OSError
) -> tuple[Component, ...]:
    """Return the components of a cluster that cannot be looked at."""
    remedy = error.remedy if isinstance(error, WaybillError) else ""
    reason = _REASONS.get(error.finding) if isinstance(error, WaybillError) else None
    names = [(str(step.chart), chart_of(step, context).digest)]
    names += [(_name(one), _expected(one)) for one in (_workloads(rendered) if rendered is not None else ())]
    return tuple(
        Component(
            name=name,
            expected=expected,
            observed=UNREADABLE,
            step=step.step,
            detail=str(error),
            remedy=remedy,
            reason=reason,
        )
        for name, expected in names
    )


def _look_at_objects(at: ClusterLook, rendered: Rendered) -> _Seen:
    """Read every object, and ask what applying its manifest again would change."""
    seen = _Seen()
    for manifest in (*rendered.definitions, *rendered.manifests):
        if manifest.hook:
            continue
        resource = at.client.resource(manifest.api_version, manifest.kind)
        path = resource.path(manifest.namespace or at.site.settings.namespace, manifest.name) if resource else ""
        live = at.client.get(path) if resource else None
        if live is None:
            seen.gone.append(manifest.title)
        else:
            seen.live[_key(at, manifest)] = live
    scaled = scaled_by_others(seen.live.values())
    for manifest in rendered.manifests:
        live = seen.live.get(_key(at, manifest))
        if live is None or manifest.hook:
            continue
        resource = at.client.resource(manifest.api_version, manifest.kind)
        assert resource is not None  # it was read by it
        path = resource.path(manifest.namespace or at.site.settings.namespace, manifest.name)
        try:
            applied = at.client.preview(path, manifest.text)
            paths = drift(live, applied, scaled=(manifest.kind, manifest.name) in scaled)
        except HostError as error:
            if error.finding not in (INVALID, REFUSED):
                raise
            # The server would not take it today, for example because of a policy that came later.
            paths = missing_values(live, manifest.document)
        if paths:
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            seen.changed.append(f"{manifest.title} ({', '.join(paths[:_NAMED])}{more})")
    return seen


def _chart(at: ClusterLook, seen: _Seen, workloads: tuple[Component, ...]) -> Component:
    expected = chart_of(at.step, at.context).digest
    wrong = [component for component in workloads if component.observed != component.expected]
    waiting = [component for component in workloads if component.level != "running"]
    groups = {"missing": seen.gone, "changed": seen.changed, "other images": [component.name for component in wrong]}
    detail = "; ".join(f"{name}: {_shortened(names)}" for name, names in groups.items() if names)
    observed = expected
    if detail:
        observed = digest_of(encode({name.replace(" ", "-"): names for name, names in groups.items()}))
    if not seen.live:
        observed = ABSENT
    waits = "; ".join(f"{component.name}: {component.detail}" for component in waiting)
    return Component(
        name=str(at.step.chart),
        expected=expected,
        observed=observed,
        step=at.step.step,
        level="running" if workloads and not waiting else "placed",
        wanted="running" if workloads else "placed",
        detail="; ".join(filter(None, (detail, waits))) or None,
        reason="failing" if waiting and observed == expected else None,
    )


def _workload(at: ClusterLook, manifest: Manifest, live: Json | None) -> Component:
    expected = _expected(manifest)
    name = _name(manifest)
    if live is None:
        return Component(name=name, expected=expected, observed=ABSENT, step=at.step.step, wanted="running")
    state = readiness(manifest.kind, live)
    namespace = manifest.namespace or at.site.settings.namespace
    selector = selector_of(live)
    pods = at.client.items(f"/api/v1/namespaces/{namespace}/pods", selector=selector) if selector else ()
    wanted = wanted_images(live)
    others = []
    for pod, container, digest in running_digests(pods):
        wanted_digest = wanted.get(container, "").rpartition("@")[2]
        # A container that the manifest does not have was added by the cluster, such as a proxy.
        if container in wanted and digest and digest not in at.accepted.get(wanted_digest, {wanted_digest}):
            others.append(f"{pod} {container} runs {digest}")
    observed = _images_digest(wanted)
    if not state.ready:
        # Pods of the former state are still there, with their images.
        others = []
    if others:
        observed = digest_of(encode({"others": others}))
    why = waiting_reason(pods) if not state.ready else ""
    return Component(
        name=name,
        expected=expected,
        observed=observed,
        step=at.step.step,
        level="running" if state.ready else "placed",
        wanted="running",
        detail="; ".join(filter(None, (state.words, why, *others[:_NAMED]))) or None,
        reason=None if state.ready else "failing",
        restarts=count_restarts(pods),
    )


def _expected(manifest: Manifest) -> str:
    """Return the digest of the images that a workload's manifest names."""
    return _images_digest(wanted_images(manifest.document))


def _images_digest(images: dict[str, str]) -> str:
    """Return the digest of a set of images: container and digest, wherever they are pulled from."""
    return digest_of(encode({name: image.rpartition("@")[2] for name, image in sorted(images.items())}))


def _absent(at: ClusterLook, rendered: Rendered | None, detail: str) -> tuple[Component, ...]:
    step, digest = at.step.step, chart_of(at.step, at.context).digest
    chart = Component(name=str(at.step.chart), expected=digest, observed=ABSENT, step=step, detail=detail)
    return (
        chart,
        *(
            Component(name=_name(item), expected=_expected(item), observed=ABSENT, step=step, wanted="running")
            for item in (_workloads(rendered) if rendered is not None else ())
        ),
    )


def _workloads(rendered: Rendered) -> tuple[Manifest, ...]:
    return tuple(one for one in rendered.manifests if one.kind in WORKLOADS and not one.hook)


def _key(at: ClusterLook, manifest: Manifest) -> tuple[str, str, str]:
    kind, namespace, name = manifest.key
    return kind, namespace or at.site.settings.namespace, name


def _name(manifest: Manifest) -> str:
    return f"{manifest.kind.lower()}/{manifest.name}"


def _shortened(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{rest}"
