"""The client of Kubernetes against a real API server: logins, rights, lists, and an apply that stores nothing."""

import base64
import json
from pathlib import Path

import pytest

from manifests.words.errors import HostError
from tests.cluster import TOKEN, Cluster
from verifier.runtime.kubernetes.client import KubernetesClient
from verifier.runtime.kubernetes.kubeconfig import parse_kubeconfig

pytestmark = pytest.mark.slow


def client_of(cluster: Cluster, folder: Path, user: dict[str, object] | None = None) -> KubernetesClient:
    path = cluster.write_kubeconfig(folder / "kubeconfig", user=user)
    return KubernetesClient(parse_kubeconfig(path, path.read_bytes()))


def test_a_token_and_a_client_certificate(cluster: Cluster, tmp_path: Path) -> None:
    with client_of(cluster, tmp_path) as client:
        assert client.version().startswith("v1.33")
        assert client.get("/api/v1/namespaces/default") is not None
        assert client.get("/api/v1/namespaces/nothing-of-this-name") is None
    name = "waybill@plant.example"
    person = cluster.authority.issue_cert(name, common_name=name, organization_name="system:masters")
    user: dict[str, object] = {
        "client-certificate-data": base64.b64encode(b"".join(p.bytes() for p in person.cert_chain_pems)).decode(),
        "client-key-data": base64.b64encode(person.private_key_pem.bytes()).decode(),
    }
    with client_of(cluster, tmp_path, user) as client:
        assert client.get("/api/v1/namespaces/default") is not None


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"token": "no-such-token"}, "answered 401: Unauthorized"),
        ({}, 'cannot get resource "namespaces"'),
        ({"token": "plain-token"}, 'User "plain" cannot get resource "namespaces"'),
    ],
)
def test_a_user_without_rights_is_named_and_its_token_is_not(
    cluster: Cluster, tmp_path: Path, user: dict[str, object], words: str
) -> None:
    with client_of(cluster, tmp_path, user) as client, pytest.raises(HostError) as raised:
        client.get("/api/v1/namespaces/default")
    assert (raised.value.finding, words in raised.value.problem) == ("cluster-denied", True), raised.value.problem
    assert "-token" not in str(raised.value)


def test_a_preview_stores_nothing_and_lists_are_complete(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace()
    base = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(3):
        cluster.request("POST", base, {"metadata": {"name": f"m{number}", "labels": {"of": "us"}}, "data": {"a": "1"}})
    with client_of(cluster, tmp_path) as client:
        resource = client.resource("v1", "ConfigMap")
        assert resource is not None
        assert resource.path(namespace, "m0") == f"{base}/m0"
        assert client.resource("v1", "NoSuchKind") is None
        assert client.resource("nothing.example/v1", "Thing") is None
        names = [item["metadata"]["name"] for item in client.items(base, selector="of=us")]  # type: ignore[index]
        assert names == ["m0", "m1", "m2"]
        (first, *_) = client.items(base, selector="of=us", metadata_only=True)
        assert "data" not in first
        manifest = (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m0, namespace: {namespace}}}\ndata: {{a: '2'}}\n"
        )
        assert client.preview(f"{base}/m0", manifest)["data"] == {"a": "2"}
        assert cluster.request("GET", f"{base}/m0")["data"] == {"a": "1"}
        with pytest.raises(HostError) as raised:
            client.preview(f"{base}/m0", manifest.replace("data: {a: '2'}", "data: {'a b': '2'}"))
        assert (raised.value.finding, "would not be taken: " in raised.value.problem) == ("cluster-invalid", True)


def test_pods_become_ready_and_those_of_a_broken_image_do_not(cluster: Cluster) -> None:
    """What the stand-in for the kubelet is for."""
    namespace = cluster.namespace()
    cluster.node.failing.add("broken")
    for name in ("good", "broken"):
        containers = [{"name": "c", "image": f"127.0.0.1:1/{name}@sha256:{'a' * 64}"}]
        cluster.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/pods",
            {"metadata": {"name": name}, "spec": {"containers": containers}},
        )
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.wait(lambda: all(pod["status"].get("containerStatuses") for pod in cluster.objects(pods).values()))
    states = {name: pod["status"]["containerStatuses"][0]["ready"] for name, pod in cluster.objects(pods).items()}
    assert states == {"good": True, "broken": False}
    assert TOKEN not in json.dumps(cluster.request("GET", pods))
