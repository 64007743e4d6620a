"""The ``helm`` driver: a chart of the release in a cluster, by the site's own Helm.

`stage` renders the chart once and keeps it in the generation's folder (`helm_chart`); `activate` lets Helm apply
exactly that and waits. A rollback is the same with the former generation's chart. Reading goes through our own client.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from manifests.authored.site_yaml import HelmDriverFile
from manifests.documents.release import InstallStep
from manifests.words.errors import DamagedError, HostError, RefusedError, WaybillError
from manifests.words.units import show_count
from verifier.runtime.drivers.driver import (
    Component,
    DriverContext,
    DriverPlan,
    read_settings,
    step_error,
)
from verifier.runtime.drivers.folder import host_errors, remove_folder
from verifier.runtime.drivers.helm_chart import (
    Rendered,
    has_blob,
    joined,
    read_staged,
    render,
    staged_folder,
    write_staged,
)
from verifier.runtime.drivers.helm_observe import ClusterLook, not_ready, observe_chart, unreadable_components
from verifier.runtime.drivers.helm_program import (
    PENDING,
    HelmRecord,
    HelmSite,
    check_version,
    heal,
    not_ours,
    open_helm_site,
    revisions,
    uninstall,
    upgrade,
)
from verifier.runtime.kubernetes.client import INVALID, REFUSED, KubernetesClient
from verifier.runtime.kubernetes.manifests import changes, secret_values
from verifier.runtime.kubernetes.objects import texts_at, value_at
from verifier.runtime.setup import SetupFinding, look
from verifier.site.folder import CURRENT

CHECK_SECONDS = 5.0
# Helm's own limit (53), less what our second release adds to it.
_RELEASE = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_MAX_LINES = 200
_OWNER = "meta.helm.sh/release-name"


class HelmDriver:
    name = "helm"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        """Render the chart, unless it is staged or the store does not have it yet, and compare it with what runs."""
        settings = _settings(step, context)
        rendered = _staged(context, step)
        if rendered is None and has_blob(context, step):
            rendered = render(context, step, settings)
        place = f"release {step.step} in namespace {settings.namespace}"
        if rendered is None:
            lines: tuple[str, ...] = ("its objects are known once the medium is read",)
            size = 0
        else:
            lines = tuple(_change_lines(step, context, rendered))
            size = 2 * len(rendered.objects) + 2 * len(rendered.crds)
        return DriverPlan(
            step=step,
            bytes_needed=size + (64 << 10),
            inodes_needed=16,
            staging=(f"render chart {step.chart} into {staged_folder(context, step)}",),
            activation=(f"install chart {step.chart} with Helm as {place}", *lines),
            deactivation=(f"take {place} back to the former generation, or remove it",),
        )

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        """Look at Helm, the cluster, the namespace, who owns the objects, and whether the server would take them."""
        settings = _settings(plan.step, context)
        findings = look(lambda: check_version(settings, context))
        if findings:
            return findings
        rendered: list[Rendered] = []

        def ask() -> None:
            site = open_helm_site(context, plan.step, settings)
            with KubernetesClient(site.access, CHECK_SECONDS) as client:
                _check_namespace(client, settings.namespace)
                _check_idle(site, client)
                if has_blob(context, plan.step) or _staged(context, plan.step) is not None:
                    rendered.append(_rendered(plan.step, context, settings))
                    _check_objects(site, client, rendered[0])

        return look(ask)

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Render the chart and keep it; one that this generation has already stays as it is."""
        settings = _settings(plan.step, context)
        if _staged(context, plan.step) is not None:
            return
        rendered = render(context, plan.step, settings)
        former = _former_of_step(context, plan.step)
        if former is not None:
            rendered = _with_former_definitions(rendered, former)
        write_staged(context, plan.step, rendered)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. Heal; 2. record what begins; 3. CRDs, never those of an earlier generation; 4. the chart; 5. record."""
        step, settings = plan.step, _settings(plan.step, context)
        self.stage(plan, context)
        rendered = _rendered(step, context, settings)
        site = _helm_site(context, step, settings, rendered)
        with KubernetesClient(site.access) as client:
            heal(site, client, site.name)  # 1
            if rendered.crds:
                heal(site, client, site.definitions_name)
            known = revisions(client, settings.namespace, site.name)
            defined = revisions(client, settings.namespace, site.definitions_name)
        former = known[-1].generation if known else 0
        if former == context.generation:
            earlier = site.read_record()
            former = earlier.former if earlier is not None and earlier.generation == context.generation else 0
        record = HelmRecord(generation=context.generation, former=former, namespace=settings.namespace, ended=False)
        site.write_record(record)  # 2
        folder = staged_folder(context, step)
        if rendered.crds and not (defined and defined[-1].generation > context.generation):  # 3
            upgrade(site, site.definitions_name, folder / "crds")
        try:
            upgrade(site, site.name, folder / "chart")  # 4
        except HostError as error:
            raise _with_cause(error, site, rendered) from None
        site.write_record(_ended(record))  # 5

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove the release, unless another generation of the same step follows, whose chart then replaces it.

        CRDs stay: with them would go every object of their kinds.
        """
        step, settings = plan.step, _settings(plan.step, context)
        site = _helm_site(context, step, settings, None)
        if _successor(site) is not None:
            return
        with KubernetesClient(site.access) as client:
            known = revisions(client, settings.namespace, site.name)
            if known and known[-1].status in PENDING:
                heal(site, client, site.name)
                known = revisions(client, settings.namespace, site.name)
        ours = known and (known[-1].generation or site.read_record() is not None)
        if ours and known[-1].status != "uninstalled":
            record = site.read_record()
            if record is not None:
                site.write_record(_ended(record, ended=False))
            uninstall(site, site.name)
        with host_errors(site.record_path):
            context.disk.remove(site.record_path)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        step = plan.step
        rendered: Rendered | None = None
        try:
            settings = _settings(step, context)
            rendered = read_staged(context, step)
            site = open_helm_site(context, step, settings)
            with KubernetesClient(site.access) as client:
                return observe_chart(ClusterLook(site, client, context, step), rendered)
        except (WaybillError, OSError) as error:
            return unreadable_components(step, context, rendered, error)

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        folder = staged_folder(context, plan.step)
        with host_errors(folder):
            remove_folder(context.disk, folder)


def _with_cause(error: HostError, site: HelmSite, rendered: Rendered) -> HostError:
    """Return the error with what the cluster says of workloads that are not ready; Helm only says that time was up."""
    try:
        with KubernetesClient(site.access, CHECK_SECONDS) as client:
            words = not_ready(ClusterLook(site, client, site.context, site.step), rendered)
    except WaybillError:
        return error
    return error.with_(problem=f"{error.problem}; {'; '.join(words)}") if words else error


def _settings(step: InstallStep, context: DriverContext) -> HelmDriverFile:
    where = f"release.json install step {step.step}"
    if step.images or step.files or step.migration or step.keep_running or step.chart is None:
        raise step_error("the driver 'helm' takes one chart", where)
    if not _RELEASE.fullmatch(step.step):
        raise step_error(f"{step.step!r} is no name of a Helm release: small letters, digits and -, at most 48", where)
    return read_settings(context, "helm", HelmDriverFile)


def _helm_site(
    context: DriverContext, step: InstallStep, settings: HelmDriverFile, rendered: Rendered | None
) -> HelmSite:
    site = open_helm_site(context, step, settings)
    hidden = secret_values(rendered.manifests) if rendered is not None else ()
    return HelmSite(context, step, settings, site.kubeconfig, site.access, hidden)


def _staged(context: DriverContext, step: InstallStep, generation: int | None = None) -> Rendered | None:
    """Return what is staged; None also where a file was changed, which is rendered again then."""
    try:
        return read_staged(context, step, generation)
    except DamagedError:
        return None


def _rendered(step: InstallStep, context: DriverContext, settings: HelmDriverFile) -> Rendered:
    return _staged(context, step) or render(context, step, settings)


def _ended(record: HelmRecord, *, ended: bool = True) -> HelmRecord:
    return HelmRecord(generation=record.generation, former=record.former, namespace=record.namespace, ended=ended)


def _current(site: Path) -> int:
    """Return the generation that ``current`` names; 0 for none."""
    try:
        name = (site / CURRENT).readlink().name
    except OSError:
        return 0
    return int(name) if name.isdecimal() else 0


def _former_of_step(context: DriverContext, step: InstallStep) -> Rendered | None:
    """Return what the running generation has staged for a step of this name; None where it has none."""
    current = _current(context.site)
    return None if current in (0, context.generation) else _staged(context, step, current)


def _successor(site: HelmSite) -> int | None:
    """Return the generation whose chart will replace this one's; None where nothing follows."""
    context, current = site.context, _current(site.context.site)
    record = site.read_record()
    follows = current
    if current == context.generation:
        # This generation is left for the one before it.
        follows = record.former if record is not None and record.generation == context.generation else 0
    staged = follows and (staged_folder(context, site.step, follows)).is_dir()
    return follows if staged and follows != context.generation else None


def _with_former_definitions(rendered: Rendered, former: Rendered) -> Rendered:
    """Return what is applied with the CRDs that only the former generation has: Helm would remove them."""
    known = {manifest.key for manifest in rendered.definitions}
    more = joined(manifest for manifest in former.definitions if manifest.key not in known)
    return Rendered(rendered.objects, rendered.crds + more, rendered.version, rendered.where)


def _change_lines(step: InstallStep, context: DriverContext, rendered: Rendered) -> Iterator[str]:
    """Yield what changes against the running generation, one line for each object, and which hooks Helm runs."""
    count = show_count(len(rendered.manifests) + len(rendered.definitions), "object")
    current = _current(context.site)
    if current == context.generation:
        yield count
        return
    former = _former_of_step(context, step)
    old = (*former.definitions, *former.manifests) if former is not None else ()
    new = (*rendered.definitions, *rendered.manifests)
    lines = list(changes(old, new))
    if former is not None and not lines:
        yield f"{count}, none changes"
    yield from lines[:_MAX_LINES]
    if len(lines) > _MAX_LINES:
        yield f"and {len(lines) - _MAX_LINES} objects more"
    for manifest in rendered.manifests:
        if manifest.hook:
            yield f"run {manifest.title} ({manifest.hook})"


def _check_namespace(client: KubernetesClient, name: str) -> None:
    namespace = client.get(f"/api/v1/namespaces/{name}")
    if namespace is None:
        raise RefusedError(
            f"the cluster has no namespace {name}",
            where="site.yaml $.drivers.helm.namespace",
            remedy=f"make it with `kubectl create namespace {name}`, or correct the name",
            finding="namespace-missing",
        )
    if value_at(namespace, "metadata", "deletionTimestamp") is not None:
        raise RefusedError(
            f"the namespace {name} is being removed",
            where="site.yaml $.drivers.helm.namespace",
            remedy="wait until it is gone, then make it anew; or name another one",
            finding="namespace-terminating",
        )


def _check_idle(site: HelmSite, client: KubernetesClient) -> None:
    known = revisions(client, site.settings.namespace, site.name)
    record = site.read_record()
    if known and known[-1].status in PENDING and (record is None or record.ended):
        raise not_ours(site, site.name, known[-1])


def _check_objects(site: HelmSite, client: KubernetesClient, rendered: Rendered) -> None:
    """Raise RefusedError for an object of somebody else, or one that the server or a webhook would not take."""
    new_kinds = {manifest.name for manifest in rendered.definitions}
    own_namespaces = {manifest.name for manifest in rendered.manifests if manifest.kind == "Namespace"}
    for manifest in (*rendered.definitions, *rendered.manifests):
        resource = client.resource(manifest.api_version, manifest.kind)
        # What the cluster knows of a kind that the chart brings or changes, it knows after the CRD was applied.
        own_kind = any(name.endswith(f".{manifest.api_version.partition('/')[0]}") for name in new_kinds)
        if resource is None and not own_kind:
            raise RefusedError(
                f"{manifest.title}: the cluster does not have {manifest.api_version} {manifest.kind}",
                where=site.access.server,
                remedy="install what brings this kind first, or ask the vendor",
                finding="kind-missing",
            )
        if resource is None or own_kind or manifest.hook or manifest.namespace in own_namespaces:
            continue
        path = resource.path(manifest.namespace or site.settings.namespace, manifest.name)
        live = client.get(path)
        if live is not None:
            _check_owner(site, manifest.title, texts_at(live, "metadata", "annotations").get(_OWNER))
        # What Helm makes of an object that is there is not what applying its manifest makes of it; so only what a
        # webhook or a policy says of it counts.
        counts = (REFUSED,) if live is not None else (REFUSED, INVALID)
        try:
            client.preview(path, manifest.text)
        except HostError as error:
            if error.finding in counts:
                raise _not_taken(manifest.title, path, error) from None
            if error.finding != INVALID:
                raise


def _check_owner(site: HelmSite, title: str, owner: str | None) -> None:
    if owner not in (site.name, site.definitions_name):
        by = f"belongs to the Helm release {owner}" if owner else "is there, and Helm did not make it"
        raise RefusedError(
            f"{title} {by}",
            where=f"namespace {site.settings.namespace}",
            remedy="use another namespace, or remove what made it",
            finding="object-of-others",
        )


def _not_taken(title: str, path: str, error: HostError) -> RefusedError:
    reason = error.problem.partition(" would not be taken: ")[2] or error.problem
    return RefusedError(
        f"the cluster would not take {title}: {reason}",
        where=path,
        remedy="correct `config` in site.yaml, or ask who runs the cluster",
        finding="cluster-refused",
    )
