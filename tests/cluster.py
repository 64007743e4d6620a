"""A real control plane of Kubernetes on loopback: etcd, API server and controller manager, ended by their own pids.

`make kube` builds the program; etcd is Debian's. There is no scheduler and no kubelet: `tests.cluster_node` binds pods
and states what a kubelet would state of them. No image is pulled and no container runs.
"""

import base64
import contextlib
import http.client
import itertools
import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster_node import Node
from tests.real import CACHE, free_port, tool

KUBE = CACHE / "kube"
# A canary: it must stand in no journal, report, message or argument.
TOKEN = "waybill-canary-token-5c0ffee5"
START_SECONDS = 60


def kube_tool(name: str) -> str:
    """The path of a program that `make kube` builds, or a skip that names it."""
    path = KUBE / name
    if not path.is_file():
        pytest.skip(f"{name} is not built (make kube, needs go)")
    return str(path)


@dataclass
class Cluster:
    """A running control plane.

    Attributes:
        server: Its address.
        ca: PEM file of the authority that signed its certificate, and that it trusts for client certificates.
        node: Stands in for the kubelet; tell it here which images fail.
    """

    folder: Path
    server: str
    ca: Path
    authority: trustme.CA
    node: Node
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def request(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> Any:
        """Send one request as administrator and return what it answers; None for 404."""
        host = self.server.removeprefix("https://")
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(host, timeout=30, context=context)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            return None
        assert answer.status < 300, (method, path, answer.status, data[:500])
        return json.loads(data)

    def ready(self) -> bool:
        host = self.server.removeprefix("https://")
        context = ssl.create_default_context(cafile=str(self.ca))
        with contextlib.closing(http.client.HTTPSConnection(host, timeout=5, context=context)) as connection:
            try:
                connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
                return connection.getresponse().status == 200
            except OSError:
                return False

    def namespace(self, name: str = "") -> str:
        """Make a fresh namespace."""
        name = name or f"t{next(self._names)}-{os.getpid()}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def write_kubeconfig(self, path: Path, *, user: dict[str, object] | None = None, namespace: str = "") -> Path:
        """Write a kubeconfig as `kubectl config view --flatten` prints it; for the administrator by default."""
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": [{"name": "plant", "cluster": {"server": self.server, "certificate-authority-data": ca}}],
            "users": [{"name": "waybill", "user": user if user is not None else {"token": TOKEN}}],
            "contexts": [{"name": "plant", "context": {"cluster": "plant", "user": "waybill", "namespace": namespace}}],
            "current-context": "plant",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def wait(self, done: Callable[[], bool], seconds: float = 30) -> None:
        """Return once something is so; fail if it does not become so."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "it did not become so"
            time.sleep(0.05)

    def objects(self, path: str) -> dict[str, Any]:
        """The items of a list, by name."""
        return {item["metadata"]["name"]: item for item in self.request("GET", path)["items"]}


@contextmanager
def control_plane(folder: Path) -> Iterator[Cluster]:
    """Start a control plane in ``folder``, and end it."""
    program, etcd = kube_tool("kube"), tool("etcd")
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    for number, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(folder / "server.pem"), append=number > 0)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\nplain-token,plain,2,plain\n")
    store, peers, port, manager = free_port(), free_port(), free_port(), free_port()
    address = f"https://127.0.0.1:{port}"
    cluster = Cluster(folder, address, ca, authority, Node(address, ca, TOKEN))
    store_words = [etcd, "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"]
    store_words += ["--listen-client-urls", f"http://127.0.0.1:{store}"]
    store_words += ["--advertise-client-urls", f"http://127.0.0.1:{store}"]
    store_words += ["--listen-peer-urls", f"http://127.0.0.1:{peers}", "--log-level", "error"]
    server_words = [
        *(program, "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{store}"),
        *("--secure-port", str(port), "--bind-address", "127.0.0.1", "--cert-dir", str(folder)),
        *("--tls-cert-file", str(folder / "server.pem"), "--tls-private-key-file", str(folder / "server.key")),
        *("--client-ca-file", str(ca), "--service-account-issuer", "https://waybill.test"),
        *("--service-account-key-file", str(folder / "accounts.key")),
        *("--service-account-signing-key-file", str(folder / "accounts.key")),
        *("--service-cluster-ip-range", "10.0.0.0/16", "--token-auth-file", str(folder / "tokens.csv")),
        *("--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount"),
        # Answers with 429 would make a busy machine look like a broken one.
        *("--enable-priority-and-fairness=false", "--max-requests-inflight", "0"),
    ]
    cluster.write_kubeconfig(folder / "kubeconfig")
    manager_words = [
        *(program, "kube-controller-manager", "--kubeconfig", str(folder / "kubeconfig")),
        *("--use-service-account-credentials=false", "--leader-elect=false", "--secure-port", str(manager)),
        *("--service-account-private-key-file", str(folder / "accounts.key"), "--cert-dir", str(folder)),
        # There is no kubelet that would keep a node alive.
        *("--controllers", "*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller"),
        *("--kube-api-qps", "500", "--kube-api-burst", "1000"),
    ]
    try:
        with _started(cluster, "etcd", store_words), _started(cluster, "apiserver", server_words):
            _wait_until_ready(cluster)
            with _started(cluster, "manager", manager_words), cluster.node.running():
                yield cluster
    finally:
        cluster.processes.clear()


@contextmanager
def _started(cluster: Cluster, name: str, words: list[str]) -> Iterator[None]:
    with (cluster.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=cluster.folder)
    cluster.processes.append(process)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(cluster: Cluster) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not cluster.ready():
        ended = [process for process in cluster.processes if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(cluster.folder.glob("*.log")))
            raise AssertionError(f"the control plane does not start: {logs}")
        time.sleep(0.1)
