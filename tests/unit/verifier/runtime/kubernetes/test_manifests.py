"""Manifests told apart and compared for a review, and rules about live objects."""

from typing import Any

import pytest

from manifests.words.errors import MalformedError
from verifier.runtime.drivers.helm_chart import as_template, joined
from verifier.runtime.kubernetes.manifests import changes, secret_values, split_manifests
from verifier.runtime.kubernetes.objects import (
    drift,
    missing_values,
    readiness,
    running_digests,
    scaled_by_others,
    selector_of,
    waiting_reason,
)
from verifier.runtime.kubernetes.rights import least_rights, role_documents

TWO = """\
---
# Source: web/templates/a.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: other}
data:
  text: |+
    --- not a document
     ---

--- # the second
apiVersion: batch/v1
kind: Job
metadata:
  name: b
  annotations: {"helm.sh/hook": "pre-install,pre-upgrade"}
---
# nothing but a comment
"""


def test_documents_are_told_apart_and_keep_their_text() -> None:
    first, second = split_manifests(TWO, "x")
    assert (first.title, first.namespace, first.hook) == ("ConfigMap a", "other", "")
    assert (second.title, second.api_version, second.hook) == ("Job b", "batch/v1", "pre-install,pre-upgrade")
    assert first.document["data"] == {"text": "--- not a document\n ---\n\n"}
    again = split_manifests(joined((first, second)), "x")
    assert [manifest.document for manifest in again] == [first.document, second.document]
    assert joined(again) == joined((first, second))


@pytest.mark.parametrize("text", ["a: [", "just text", "- a\n- b", "kind: X", "kind: [X]\napiVersion: v1"])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(MalformedError):
        split_manifests(text, "x")


def test_a_template_of_text_has_no_action() -> None:
    assert as_template("a {{ b }} {{{ c") == 'a {{ "{{" }} b }} {{ "{{" }}{ c'


def objects(text: str) -> Any:
    return split_manifests(text, "x")


OLD = """\
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter-two, gone: hunter-three}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: b, image: "x:1"}, {name: a, image: "y:1"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: old}
"""
NEW = """\
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter-four, added: hunter-five}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: a, image: "y:1"}, {name: b, image: "x:2\\u001b[2K"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: new}
"""


def test_changes_name_fields_and_no_secret() -> None:
    lines = list(changes(objects(OLD), objects(NEW)))
    assert lines == [
        "change Secret login: stringData.password changed, stringData.gone removed, stringData.added added",
        "change Deployment web: spec.template.spec.containers[b].image x:1 to x:2\\u001b[2K",
        "create Service new",
        "remove Service old",
    ]
    assert list(changes(objects(OLD), objects(OLD))) == []
    assert set(secret_values(objects(OLD))) == {"hunter-two", "hunter-three"}


def test_many_and_long_changes_are_shortened() -> None:
    def config(value: str) -> str:
        data = "\n".join(f"  k{i}: {value}" for i in range(9))
        return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{data}\n"

    (line,) = changes(objects(config("a" * 100)), objects(config("b")))
    assert line.endswith(", and 3 more")
    assert f"data.k0 {'a' * 60}… to b" in line


def workload(**status: int) -> dict[str, object]:
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("kind", "status", "ready"),
    [
        ("Deployment", {"updatedReplicas": 2, "readyReplicas": 2, "replicas": 2}, True),
        ("Deployment", {"updatedReplicas": 2, "readyReplicas": 2, "replicas": 3}, False),
        ("Deployment", {"updatedReplicas": 1, "readyReplicas": 2, "replicas": 3}, False),
        ("Deployment", {"updatedReplicas": 2, "readyReplicas": 1, "replicas": 2}, False),
        ("Deployment", {"updatedReplicas": 2, "readyReplicas": 2, "replicas": 2, "observedGeneration": 1}, False),
        ("StatefulSet", {"updatedReplicas": 2, "readyReplicas": 2}, True),
        ("StatefulSet", {}, False),
        ("DaemonSet", {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3}, True),
        ("DaemonSet", {"desiredNumberScheduled": 3, "updatedNumberScheduled": 2, "numberReady": 3}, False),
    ],
)
def test_readiness_is_of_the_newest_generation_and_of_all_replicas(
    kind: str, status: dict[str, int], ready: bool
) -> None:
    assert readiness(kind, workload(**status)).ready is ready


def test_pods() -> None:
    waiting = {"name": "c", "ready": False, "imageID": "", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    running = {
        "name": "d",
        "ready": True,
        "imageID": f"docker-pullable://r/x@sha256:{'a' * 64}",
        "state": {"running": {}},
    }
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [waiting, running]}}
    ending = {"metadata": {"name": "q", "deletionTimestamp": "now"}, "status": {"containerStatuses": [running]}}
    assert list(running_digests((pod, ending))) == [("p", "c", ""), ("p", "d", f"sha256:{'a' * 64}")]
    assert waiting_reason((pod,)) == "container c: CrashLoopBackOff"
    unscheduled = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}}
    assert waiting_reason((unscheduled,)) == "Unschedulable"
    expressions = [{"key": "x", "operator": "In", "values": ["1", "2"]}, {"key": "y", "operator": "DoesNotExist"}]
    selector = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions}
    assert selector_of({"spec": {"selector": selector}}) == "a=1,b=2,x in (1,2),!y"


def test_drift_leaves_out_what_the_server_keeps_and_what_an_autoscaler_does() -> None:
    live = {"metadata": {"uid": "1", "labels": {"a": "b"}}, "spec": {"replicas": 5, "x": [1]}, "status": {"y": 1}}
    applied = {"metadata": {"uid": "2", "labels": {"a": "b"}}, "spec": {"replicas": 2, "x": [2]}, "status": {}}
    assert drift(live, applied) == ("spec.replicas", "spec.x[0]")
    assert drift(live, applied, scaled=True) == ("spec.x[0]",)
    target = {"kind": "Deployment", "name": "web"}
    autoscaler = {"kind": "HorizontalPodAutoscaler", "spec": {"scaleTargetRef": target}}
    assert scaled_by_others((autoscaler, {"kind": "Service"})) == {("Deployment", "web")}


def test_values_of_a_manifest_that_an_object_lacks() -> None:
    document = {
        "spec": {"a": "yes", "n": "8080", "mode": "0640", "list": ["1", "x"], "empty": ""},
        "status": {"z": "1"},
    }
    live: dict[str, Any] = {"spec": {"a": True, "n": 8080, "mode": 416, "list": [1, "x"], "more": "kept"}}
    assert missing_values(live, document) == ()
    live["spec"] |= {"n": 8081, "list": [1]}
    assert missing_values(live, document) == ("spec.n", "spec.list[1]")
    assert missing_values({}, document)[0] == "spec.a"


RIGHTS = """\
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: policies.vendor.example}
spec: {group: vendor.example, scope: Cluster, names: {plural: policies, kind: Policy}}
---
apiVersion: vendor.example/v1
kind: Policy
metadata: {name: p}
---
apiVersion: other.example/v1
kind: Box
metadata: {name: b, namespace: elsewhere}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
"""


def test_rights_name_resources_and_guess_only_what_nobody_defines() -> None:
    rights = least_rights(objects(RIGHTS), "inkwell")
    resources = {
        place: {(rule.group, rule.resource, rule.names) for rule in rules} for place, rules in rights.rules.items()
    }
    assert resources == {
        "": {("apiextensions.k8s.io", "customresourcedefinitions", ()), ("vendor.example", "policies", ())},
        "elsewhere": {("other.example", "boxes", ())},
        "inkwell": {
            *(("", name, ()) for name in ("secrets", "namespaces", "pods")),
            ("apps", "replicasets", ()),
            ("networking.k8s.io", "ingresses", ()),
            ("rbac.authorization.k8s.io", "rolebindings", ()),
            ("rbac.authorization.k8s.io", "clusterroles", ("view",)),
        },
    }
    assert rights.guessed == ("other.example/v1 Box",)
    kinds = [document["kind"] for document in role_documents(rights, "waybill", "inkwell")]
    assert kinds == [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Role",
        "RoleBinding",
    ]
