"""The helm driver where something is wrong: the binary, the cluster, the namespace, the login, the chart."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from manifests.words.errors import InconsistentError, RefusedError, RolledBackError, WaybillError
from tests.charts import WEB, ChartVendor, cluster_place, configure, edit
from tests.cluster import TOKEN, Cluster, kube_tool
from tests.interop.test_helm import deployments, image_of, problems, seen
from tests.place import Place
from verifier.change.route import plan_change
from verifier.change.site_check import check_site
from verifier.runtime.drivers.driver import load_driver

pytestmark = pytest.mark.slow


@pytest.fixture
def web(tmp_path: Path) -> ChartVendor:
    return ChartVendor(tmp_path / "vendor", "web", WEB)


@pytest.fixture
def waiting(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> tuple[Place, str]:
    """A site at which version 1.0.0 with the chart waits."""
    place, namespace = cluster_place(tmp_path / "place", cluster, web.release(1))
    place.receive(web.release(1).write(tmp_path / "1.tar"))
    return place, namespace


def lacks(place: Place, item: str = "r-1.0.0") -> list[WaybillError]:
    """What the site lacks for the item; the medium is not looked for."""
    site = place.open()
    findings = check_site(site, (plan_change(site, item),), load_driver)
    return [finding.error for finding in findings if finding.error.finding != "medium-missing"]


def script(folder: Path, body: str) -> Path:
    path = folder / "helm-here"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 0", "it states no version, but nothing"),
        ("echo v2.17.0", "it is Helm v2.17.0, expected 3.8 or newer"),
        ("printf 'v3.18.6\\n\\033[2Kpassed: all'", "it states no version, but v3.18.6\\u000a\\u001b[2Kpassed: all"),
        ("echo broken >&2; exit 1", "it states no version, but broken"),
        ("/usr/bin/yes v3.18.6", "it states no version, but "),
    ],
    ids=["silent", "old", "a cursor", "broken", "endless"],
)
def test_a_helm_that_is_none(waiting: tuple[Place, str], tmp_path: Path, body: str, words: str) -> None:
    place, _ = waiting
    real = kube_tool("helm")
    # It renders as Helm does, so that only its version is looked at.
    hostile = script(tmp_path, f'if [ "$1" = template ]; then exec {real} "$@"; fi\n{body}')
    edit(place, real, str(hostile))
    begun = time.monotonic()
    (error,) = lacks(place)
    assert time.monotonic() - begun < 25
    assert (error.finding, words in error.problem) == ("helm-version", True), error.problem
    assert error.problem.isprintable()


def test_a_helm_that_is_missing_or_does_not_render(waiting: tuple[Place, str], tmp_path: Path) -> None:
    place, _ = waiting
    real = kube_tool("helm")
    edit(place, real, str(tmp_path / "nothing"))
    assert any("cannot be started" in error.problem for error in lacks(place))
    for body, words in (
        ("echo 'kind: [' ", "not YAML"),
        ("/usr/bin/yes 'a: b'", "have more than"),
        ("echo 'Error: no such value' >&2; exit 1", "no such value"),
    ):
        hostile = script(tmp_path, body)
        edit(place, real if real in (place.path / "site.yaml").read_text() else str(tmp_path / "nothing"), str(hostile))
        assert any(words in error.problem for error in lacks(place)), (body, [error.problem for error in lacks(place)])
        edit(place, str(hostile), real)


def test_an_image_that_the_release_does_not_list(waiting: tuple[Place, str]) -> None:
    place, _ = waiting
    configure(place, image="registry.other.example/mine:2")
    (error,) = lacks(place)
    assert error.finding == "image-not-listed"
    assert "Deployment web spec.template.spec.containers[0].image" in error.problem
    assert "registry.other.example/mine:2" in error.problem


def test_a_namespace_that_is_missing_or_ends(waiting: tuple[Place, str], cluster: Cluster) -> None:
    place, namespace = waiting
    assert lacks(place) == []
    edit(place, f"namespace: {namespace}", "namespace: not-there")
    (error,) = lacks(place)
    assert (error.finding, error.remedy.startswith("make it with `kubectl create namespace not-there`")) == (
        "namespace-missing",
        True,
    )
    edit(place, "namespace: not-there", f"namespace: {namespace}")
    # Something holds the namespace while it ends.
    path = f"/api/v1/namespaces/{namespace}"
    held = {"metadata": {"name": "held", "finalizers": ["vendor.example/hold"]}}
    cluster.request("POST", f"{path}/configmaps", held)
    cluster.request("DELETE", path)
    (error,) = lacks(place)
    assert error.finding == "namespace-terminating"
    place.approve("r-1.0.0")
    with pytest.raises(RefusedError, match="is being removed"):
        place.install("r-1.0.0")
    cluster.request(
        "PATCH", f"{path}/configmaps/held", {"metadata": {"finalizers": None}}, kind="application/merge-patch+json"
    )


def test_an_object_of_somebody_else(waiting: tuple[Place, str], cluster: Cluster) -> None:
    place, namespace = waiting
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/services", service)
    (error,) = lacks(place)
    assert (error.finding, error.problem) == ("object-of-others", "Service web is there, and Helm did not make it")
    path = f"/api/v1/namespaces/{namespace}/services/web"
    owner = {"metadata": {"annotations": {"meta.helm.sh/release-name": "theirs"}}}
    cluster.request("PATCH", path, owner, kind="application/merge-patch+json")
    (error,) = lacks(place)
    assert error.problem == "Service web belongs to the Helm release theirs"


def test_somebody_else_is_at_work_with_helm(waiting: tuple[Place, str], cluster: Cluster) -> None:
    place, namespace = waiting
    labels = {"owner": "helm", "name": "web", "status": "pending-install", "version": "1"}
    secret = {"metadata": {"name": "sh.helm.release.v1.web.v1", "labels": labels}, "type": "helm.sh/release.v1"}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    (error,) = lacks(place)
    assert error.finding == "helm-pending"
    assert "pending-install (revision 1), and this site did not start that" in error.problem


@contextmanager
def server(authority: trustme.CA, act: "type[http.server.BaseHTTPRequestHandler]") -> Iterator[str]:
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), act)
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is not news
    listening.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


class Rejecting(http.server.BaseHTTPRequestHandler):
    """A webhook that rejects every object whose name is in its path."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = review["request"].get("name")
        response = {"uid": review["request"]["uid"], "allowed": name != "web-config"}
        response |= {} if response["allowed"] else {"status": {"message": "no greeting in this plant"}}
        body = json.dumps(
            {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def webhook(cluster: Cluster, namespace: str, address: str) -> Iterator[None]:
    import base64

    base = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    ]
    entry = {
        "name": "plant.example.com",
        "clientConfig": {"url": f"{address}/", "caBundle": base64.b64encode(cluster.ca.read_bytes()).decode()},
        "rules": rules,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    cluster.request("POST", base, {"metadata": {"name": "plant"}, "webhooks": [entry]})
    # The API server reads its configuration with some delay.
    time.sleep(1.5)
    try:
        yield
    finally:
        cluster.request("DELETE", f"{base}/plant")


def test_a_webhook_that_rejects(waiting: tuple[Place, str], cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    place, namespace = waiting
    with server(cluster.authority, Rejecting) as address:
        with webhook(cluster, namespace, address):
            (error,) = lacks(place)
            assert error.finding == "cluster-refused"
            assert "would not take ConfigMap web-config: admission webhook" in error.problem
            assert "no greeting in this plant" in error.problem
        cluster.wait(lambda: lacks(place) == [])
        place.approve("r-1.0.0")
        place.install("r-1.0.0")
        assert problems(place) == []
        # One that begins to reject between the look and the act: Helm fails, and the site goes back.
        second = web.release(2)
        configure(place, greeting="good day")
        item = place.receive(second.write(tmp_path / "2.tar")).item
        place.approve(item)
        hook = webhook(cluster, namespace, address)
        entered: list[bool] = []

        class Says(list[str]):
            def append(self, line: str) -> None:
                super().append(line)
                if line.startswith("web: install chart") and not entered:
                    entered.append(True)
                    hook.__enter__()

        place.said = Says()
        try:
            result = place.install(item)
        finally:
            hook.__exit__(None, None, None)
    assert isinstance(result.error, RolledBackError)
    assert deployments(cluster, namespace) == {"web": image_of(web.release(1))}


def broken(status: int) -> "type[http.server.BaseHTTPRequestHandler]":
    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if status == 0:
                time.sleep(30)
            body = b'{"kind":"Status","message":"etcd is gone"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PATCH = do_POST = do_GET  # noqa: N815  # named by http.server

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Broken


@pytest.mark.parametrize("status", [500, 0], ids=["500", "hangs"])
def test_an_api_server_that_breaks(waiting: tuple[Place, str], cluster: Cluster, status: int) -> None:
    place, _ = waiting
    place.approve("r-1.0.0")
    place.install("r-1.0.0")
    path = place.path / "secrets" / "kubeconfig"
    good = path.read_text()
    with server(cluster.authority, broken(status)) as address:
        path.write_text(good.replace(cluster.server, address))
        begun = time.monotonic()
        components = seen(place)
        assert time.monotonic() - begun < 15
        assert {one.observed for one in components.values()} == {"unreadable"}
        assert set(components) == {"web", "deployment/web"}
        detail = components["web"].detail or ""
        assert ("answered 500: etcd is gone" if status else "no complete answer within") in detail
        assert components["web"].reason == (None if status else "unreachable")
        assert components["web"].remedy
    # The login is changed for one that the cluster does not know.
    path.write_text(good.replace(TOKEN, "an-older-token"))
    assert {one.reason for one in seen(place).values()} == {"login"}
    path.write_text(good)
    assert problems(place) == []


def test_a_login_that_ends_in_the_middle_of_an_upgrade(
    waiting: tuple[Place, str], cluster: Cluster, tmp_path: Path, web: ChartVendor
) -> None:
    place, namespace = waiting
    place.approve("r-1.0.0")
    place.install("r-1.0.0")
    path = place.path / "secrets" / "kubeconfig"
    good = path.read_text()
    item = place.receive(web.release(2).write(tmp_path / "2.tar")).item
    place.approve(item)

    class Says(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith("web: install chart"):
                path.write_text(good.replace(TOKEN, "a-token-that-ended"))

    place.said = Says()
    result = place.install(item)
    assert isinstance(result.error, InconsistentError)
    assert "answered 401" in str(result.error)
    # With the new login one command brings the site back to what ran before.
    place.said = []
    path.write_text(good)
    place.recover()
    assert deployments(cluster, namespace) == {"web": image_of(web.release(1))}
    assert problems(place) == []


def test_a_login_stands_nowhere(waiting: tuple[Place, str], cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    place, _ = waiting
    real, log = kube_tool("helm"), tmp_path / "argv.txt"
    recording = script(tmp_path, f'{{ printf "%s\\n" "$@"; env; }} >>{log}\nexec {real} "$@"')
    edit(place, real, str(recording))
    configure(place, password="canary-pass-3")
    place.approve("r-1.0.0")
    place.install("r-1.0.0")
    cluster.node.failing.add(image_of(web.release(2)))
    item = place.receive(web.release(2).write(tmp_path / "2.tar")).item
    place.approve(item)
    result = place.install(item)
    assert isinstance(result.error, RolledBackError)
    words = log.read_text()
    assert "upgrade" in words
    assert "canary" not in words
    texts = [f"{result.error} {result.error.remedy}", *place.said]
    kept = [path for path in place.path.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    named = {path.relative_to(place.path).parts[0] for path in kept if TOKEN.encode() in path.read_bytes()}
    assert named == set()
    assert not [text for text in texts if "canary" in text]
    # The password is configuration: it is in the generations and in site.yaml, and nowhere else.
    holding = {path.relative_to(place.path).parts[0] for path in kept if b"canary-pass-3" in path.read_bytes()}
    assert holding <= {"generations", "site.yaml", "store"}
    for path in kept:
        if path.relative_to(place.path).parts[0] == "generations" and b"canary-pass-3" in path.read_bytes():
            assert path.stat().st_mode & 0o007 == 0, path


def test_a_staged_chart_that_was_changed_is_not_applied(waiting: tuple[Place, str], cluster: Cluster) -> None:
    place, _ = waiting
    place.approve("r-1.0.0")
    place.install("r-1.0.0")
    (template,) = place.path.glob("generations/1/charts/web/chart/templates/*.yaml")
    template.chmod(0o644)
    template.write_text(template.read_text().replace("hello", "evil"))
    assert {one.observed for one in seen(place).values()} == {"unreadable"}
    assert "the file was changed" in (seen(place)["web"].detail or "")


def test_a_chart_that_refuses_the_configuration(cluster: Cluster, tmp_path: Path) -> None:
    schema = {"values.schema.json": '{"properties": {"replicas": {"maximum": 3}}}'}
    vendor = ChartVendor(tmp_path / "vendor", "web", {**WEB, **schema})
    place, _ = cluster_place(tmp_path / "place", cluster, vendor.release(1))
    configure(place, replicas=9)
    place.receive(vendor.release(1).write(tmp_path / "1.tar"))
    (error,) = lacks(place)
    assert "replicas" in error.problem
    assert error.remedy == "correct `config` in site.yaml, or ask the vendor"
