"""The rights that `show --rbac` prints are enough for the whole life of a chart, and give no more than that."""

import json
from pathlib import Path

import pytest
import yaml

from manifests.words.errors import RolledBackError
from tests.charts import OPERATOR, STORE, WEB, ChartVendor, cluster_place
from tests.cluster import KUBE, Cluster, kube_tool
from tests.interop.test_helm import image_of, problems
from tests.waybill import waybill

pytestmark = pytest.mark.slow

PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
# A chart that gives rights in the whole cluster, and brings a role that it binds by name.
GIVING = {
    **WEB,
    "templates/roles.yaml": """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: {{ .Release.Namespace }}-reader}
rules: [{apiGroups: [""], resources: [nodes], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: {{ .Release.Namespace }}-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .Release.Namespace }}-reader}
subjects: [{kind: ServiceAccount, name: default, namespace: {{ .Release.Namespace }}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: {{ .Release.Name }}}
spec: {defaultBackend: {service: {name: {{ .Release.Name }}, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: {{ .Release.Name }}}
spec: {podSelector: {}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{ .Release.Name }}}
spec: {minAvailable: 1, selector: {matchLabels: {app: {{ .Release.Name }}}}}
""",
}
SHAPES = {"web": WEB, "store": STORE, "operator": OPERATOR, "giving": GIVING}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_printed_rights_are_enough(
    cluster: Cluster, tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{KUBE}:/usr/bin:/bin")
    vendor = ChartVendor(tmp_path / "vendor", shape, SHAPES[shape])
    releases = [vendor.release(number) for number in (1, 2, 3)]
    place, namespace = cluster_place(tmp_path / "place", cluster, releases[0])
    cluster.write_kubeconfig(place.path / "secrets" / "kubeconfig", user={"token": "plain-token"})
    bundles = [release.write(tmp_path / f"{i}.tar") for i, release in enumerate(releases)]
    printed = waybill("show", bundles[0], "--rbac", namespace)
    documents = list(yaml.safe_load_all(printed.out))
    assert "with their defaults; other values may need more" in printed.err
    made = []
    try:
        for document in documents:
            for subject in document.get("subjects", ()):
                assert subject == {"kind": "ServiceAccount", "name": "waybill", "namespace": namespace}
                # The tests' API server knows people by tokens.
                subject.clear()
                subject |= {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "plain"}
            path = PATHS[document["kind"]].format(namespace=document["metadata"].get("namespace"))
            cluster.request("POST", path, document)
            made.append(f"{path}/{document['metadata']['name']}")
        assert all("*" not in json.dumps(document) for document in documents)
        for bundle in bundles[:2]:
            assert place.bring(bundle).error is None
        assert problems(place) == []
        cluster.node.failing.add(image_of(releases[2]))
        assert isinstance(place.bring(bundles[2]).error, RolledBackError)
        assert place.rollback(1, "ops-1").error is None
        assert problems(place) == []
    finally:
        for path in reversed(made):
            cluster.request("DELETE", path)
        if shape == "operator":
            crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.vendor.example"
            cluster.request("DELETE", crd)


def test_a_release_without_a_chart(tmp_path: Path) -> None:
    from tests.vendor import Vendor

    kube_tool("helm")
    done = waybill("show", Vendor().write(tmp_path / "1.tar"), "--rbac", "x")
    assert (done.code, "small 1.0.0 installs no chart" in done.err) == (5, True)
