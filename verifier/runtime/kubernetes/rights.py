"""The least rights by which a chart is installed, changed, looked at and removed: roles for whoever runs the cluster.

Helm keeps what it installs in Secrets, reads and changes each object, and waits for workloads and hooks; our client
reads, and asks what an apply would change. A server lets nobody make a role with rights that he has not himself, so the
rules of the chart's own roles are among them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from verifier.runtime.kubernetes.manifests import CRD, Manifest
from verifier.runtime.kubernetes.objects import entries_at, value_at

_CHANGE = ("create", "delete", "get", "list", "patch", "update", "watch")
_LOOK = ("get", "list", "watch")
_RBAC = "rbac.authorization.k8s.io"
# Kinds of Kubernetes whose objects are in no namespace, and those whose resource is not the kind with an s.
_CLUSTER = frozenset(
    {
        *("APIService", "ClusterRole", "ClusterRoleBinding", CRD, "IngressClass", "MutatingWebhookConfiguration"),
        *("Namespace", "Node", "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass"),
        *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"),
    }
)
_IRREGULAR = {"Endpoints": "endpoints"}


@dataclass(frozen=True, order=True)
class Rule:
    """Verbs on resources of one group; ``names``: on these objects alone, where not empty."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def fields(self) -> dict[str, object]:
        named: dict[str, object] = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], **named, "verbs": list(self.verbs)}


@dataclass(frozen=True)
class LeastRights:
    """Rules by namespace; those under the empty name are for the whole cluster.

    Attributes:
        guessed: Kinds that neither Kubernetes nor the chart defines, whose resource is guessed.
    """

    rules: dict[str, tuple[Rule, ...]]
    guessed: tuple[str, ...]


def least_rights(manifests: Iterable[Manifest], namespace: str) -> LeastRights:
    """Return the rights that these objects, which go to ``namespace``, need."""
    manifests = tuple(manifests)
    own = {name: resource for manifest in manifests for name, resource in _defined(manifest)}
    rules: dict[str, set[Rule]] = {namespace: set(_always())}
    guessed: set[str] = set()
    for manifest in manifests:
        group = manifest.api_version.rpartition("/")[0]
        resource, namespaced = own.get((group, manifest.kind)) or _resource(manifest.kind)
        if (group, manifest.kind) not in own and "." in group and not group.endswith(".k8s.io"):
            guessed.add(f"{manifest.api_version} {manifest.kind}")
        place = (manifest.namespace or namespace) if namespaced else ""
        rules.setdefault(place, set()).add(Rule(group, resource, _CHANGE))
        # What the chart gives to others.
        given = rules.setdefault("" if manifest.kind.startswith("Cluster") else place, set())
        if group == _RBAC:
            given |= set(_given(manifest))
    return LeastRights({place: _joined(held) for place, held in sorted(rules.items()) if held}, tuple(sorted(guessed)))


def role_documents(rights: LeastRights, account: str, namespace: str) -> tuple[dict[str, object], ...]:
    """Return a service account with these rights, as objects of Kubernetes."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    metadata = {"name": account, "namespace": namespace}
    documents: list[dict[str, object]] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}]
    for place, rules in rights.rules.items():
        kind = "Role" if place else "ClusterRole"
        named = {"name": account, "namespace": place} if place else {"name": f"{account}-{namespace}"}
        head = {"apiVersion": f"{_RBAC}/v1", "metadata": named}
        reference = {"apiGroup": _RBAC, "kind": kind, "name": named["name"]}
        documents.append({**head, "kind": kind, "rules": [rule.fields() for rule in rules]})
        documents.append({**head, "kind": f"{kind}Binding", "roleRef": reference, "subjects": [subject]})
    return tuple(documents)


def _always() -> Iterator[Rule]:
    """Yield what every install needs: Helm's own records, and what is looked at."""
    yield Rule("", "secrets", _CHANGE)
    yield Rule("", "namespaces", ("get",))
    yield Rule("", "pods", _LOOK)
    yield Rule("apps", "replicasets", _LOOK)


def _defined(manifest: Manifest) -> Iterator[tuple[tuple[str, str], tuple[str, bool]]]:
    """Yield group and kind of a CRD, with its resource and whether its objects are in a namespace."""
    if manifest.kind == CRD:
        spec = manifest.document.get("spec")
        group, kind, plural = (
            str(value_at(spec, *keys) or "") for keys in (("group",), ("names", "kind"), ("names", "plural"))
        )
        yield (group, kind), (plural, value_at(spec, "scope") != "Cluster")


def _resource(kind: str) -> tuple[str, bool]:
    lower = kind.lower()
    plural = f"{lower[:-1]}ies" if lower.endswith("y") and lower[-2:-1] not in "aeiou" else f"{lower}s"
    if lower.endswith(("s", "x", "ch")):
        plural = f"{lower}es"
    return _IRREGULAR.get(kind, plural), kind not in _CLUSTER


def _given(manifest: Manifest) -> Iterator[Rule]:
    """Yield the rules of a role of the chart; a binding to a role that is elsewhere needs the verb ``bind`` on it."""
    for entry in entries_at(manifest.document, "rules"):
        groups, resources, verbs, names = (
            tuple(map(str, listed)) if isinstance(listed := entry.get(key), list) else ()
            for key in ("apiGroups", "resources", "verbs", "resourceNames")
        )
        yield from (Rule(group, resource, tuple(sorted(verbs)), names) for group in groups for resource in resources)
    reference = value_at(manifest.document, "roleRef")
    if reference is not None:
        kind, name = str(value_at(reference, "kind")), str(value_at(reference, "name"))
        yield Rule(_RBAC, f"{kind.lower()}s", ("bind",), (name,))


def _joined(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules with one entry for each resource and set of names."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for rule in rules:
        verbs.setdefault((rule.group, rule.resource, rule.names), set()).update(rule.verbs)
    return tuple(
        sorted(Rule(group, resource, tuple(sorted(held)), names) for (group, resource, names), held in verbs.items())
    )
