"""The client of Kubernetes against servers on loopback that do what no API server should."""

import base64
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

from manifests.words.errors import HostError, RefusedError
from verifier.runtime.kubernetes.client import MAX_ANSWER, KubernetesClient
from verifier.runtime.kubernetes.kubeconfig import ClusterAccess, parse_kubeconfig

TOKEN = "canary-token-71c2"
Act = Callable[[http.server.BaseHTTPRequestHandler], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    act: ClassVar[Act]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        type(self).act(self)

    do_PATCH = do_GET  # noqa: N815  # named by http.server

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def serving(authority: trustme.CA, act: Act) -> Iterator[tuple[ClusterAccess, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Handler,), {"act": staticmethod(act), "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is not news
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        yield ClusterAccess(address, authorities=authority.cert_pem.bytes().decode(), token=TOKEN), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(status: int, body: bytes, **headers: str) -> Act:
    def act(handler: http.server.BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        handler.rfile.read(length)
        handler.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return act


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.send_header("Content-Length", str(10 << 30))
    handler.end_headers()
    for _ in range(10 << 10):
        handler.wfile.write(bytes(1 << 20))


def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        handler.wfile.write(f"X-{number}: y\r\n".encode())
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("act", "finding", "words"),
    [
        (answer(500, b'{"kind":"Status","message":"etcd is gone"}'), "cluster-answer", "answered 500: etcd is gone"),
        (answer(503, b""), "cluster-answer", "answered 503: no reason"),
        (answer(302, b"", Location="https://elsewhere.example/"), "cluster-answer", "answered 302"),
        (answer(200, b"<html>Welcome</html>"), "cluster-answer", "something else than an object of JSON"),
        (answer(200, b"[" * 200_000), "cluster-answer", "something else than an object of JSON"),
        (answer(200, b"[1]"), "cluster-answer", "something else than an object of JSON"),
        (answer(401, f'{{"message":"who is {TOKEN}"}}'.encode()), "cluster-denied", "who is (secret)"),
        (answer(403, b'{"message":"no\\u001b[2K\\nrights"}'), "cluster-denied", "answered 403: no"),
        (endless, "cluster-answer", f"answered more than {MAX_ANSWER} bytes"),
    ],
    ids=["500", "503", "redirect", "html", "nested", "a list", "401", "403", "endless"],
)
def test_answers_that_cannot_be_used(authority: trustme.CA, act: Act, finding: str, words: str) -> None:
    with (
        serving(authority, act) as (access, asked),
        KubernetesClient(access) as client,
        pytest.raises(HostError) as raised,
    ):
        client.get("/api/v1/namespaces/x")
    assert (raised.value.finding, words in raised.value.problem) == (finding, True), raised.value.problem
    assert TOKEN not in str(raised.value)
    assert raised.value.problem.isprintable()
    assert asked == ["/api/v1/namespaces/x"]


@pytest.mark.parametrize("act", [lambda handler: time.sleep(3), trickle], ids=["silent", "trickle"])
def test_a_server_that_hangs_ends_in_time(authority: trustme.CA, act: Act) -> None:
    with serving(authority, act) as (access, _), KubernetesClient(access, timeout_seconds=0.5) as client:
        begun = time.monotonic()
        with pytest.raises(HostError, match="no complete answer within") as raised:
            client.get("/api")
        assert time.monotonic() - begun < 2.5
    assert raised.value.finding == "cluster-unreachable"


def test_the_token_goes_to_no_server_of_another_authority(authority: trustme.CA) -> None:
    with serving(trustme.CA(), answer(200, b"{}")) as (access, asked):
        pinned = ClusterAccess(access.server, authorities=authority.cert_pem.bytes().decode(), token=TOKEN)
        with KubernetesClient(pinned) as client, pytest.raises(HostError) as raised:
            client.get("/api")
    assert (raised.value.finding, asked) == ("cluster-tls", [])


def test_a_connection_that_the_server_closed_is_opened_again_with_tls(authority: trustme.CA) -> None:
    def once(handler: http.server.BaseHTTPRequestHandler) -> None:
        answer(200, b'{"a":"b"}')(handler)
        handler.close_connection = True  # without saying so

    with serving(authority, once) as (access, asked), KubernetesClient(access) as client:
        for _ in range(3):
            assert client.get("/x") == {"a": "b"}
            time.sleep(0.05)
    assert asked == ["/x"] * 3


def test_a_list_is_read_page_by_page(authority: trustme.CA) -> None:
    def pages(handler: http.server.BaseHTTPRequestHandler) -> None:
        last = "continue=more" in handler.path
        page = {"metadata": {} if last else {"continue": "more"}, "items": [{"n": "2" if last else "1"}]}
        answer(200, json.dumps(page).encode())(handler)

    with serving(authority, pages) as (access, asked), KubernetesClient(access) as client:
        assert client.items("/api/v1/pods", selector="a=b,c!=d") == ({"n": "1"}, {"n": "2"})
    assert asked[0] == "/api/v1/pods?limit=500&labelSelector=a%3Db%2Cc%21%3Dd"


def test_a_list_without_end_is_refused(authority: trustme.CA) -> None:
    page = json.dumps({"metadata": {"continue": "more"}, "items": [{}] * 5000}).encode()
    with (
        serving(authority, answer(200, page)) as (access, asked),
        KubernetesClient(access) as client,
        pytest.raises(HostError, match="lists more than 20000 objects"),
    ):
        client.items("/api/v1/pods")
    assert len(asked) == 5


@contextmanager
def proxy(reply: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that answers CONNECT and passes bytes on."""
    heads: list[bytes] = []

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def serve(listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            head = client.recv(4096)
            heads.append(head)
            client.sendall(reply)
            if b" 200 " not in reply:
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
    thread.join(5)


def test_a_proxy_passes_tls_on_and_sees_nothing(authority: trustme.CA) -> None:
    with (
        serving(authority, answer(200, b'{"a":"b"}')) as (access, _),
        proxy(b"HTTP/1.1 200 OK\r\n\r\n") as (address, heads),
    ):
        through = ClusterAccess(access.server, authorities=access.authorities, token=TOKEN, proxy=address)
        with KubernetesClient(through) as client:
            assert client.get("/x") == {"a": "b"}
    assert heads[0].startswith(b"CONNECT 127.0.0.1:")
    assert TOKEN.encode() not in heads[0]


def test_a_proxy_that_refuses(authority: trustme.CA) -> None:
    with (
        serving(authority, answer(200, b"{}")) as (access, asked),
        proxy(b"HTTP/1.1 407 Login\r\n\r\n") as (address, _),
    ):
        through = ClusterAccess(access.server, authorities=access.authorities, proxy=address)
        with KubernetesClient(through) as client, pytest.raises(HostError, match="the proxy refuses the connection"):
            client.get("/x")
    assert asked == []


def kubeconfig(user: Mapping[str, object]) -> bytes:
    return json.dumps(
        {
            "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:6443"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "users": [{"name": "a", "user": user}],
        }
    ).encode()


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}}, "runs a program for a login"),
        ({"auth-provider": {"name": "gcp"}}, "asks a provider for a login"),
        ({"username": "admin", "password": TOKEN}, "logs in with a password"),
        ({"token": TOKEN, "as": "somebody"}, "acts as somebody else"),
        ({"token": f"{TOKEN}\nX: y"}, "its token has characters that no token has"),
    ],
)
def test_logins_that_are_refused_by_name(user: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError) as raised:
        parse_kubeconfig(Path("/site/secrets/kubeconfig"), kubeconfig(user))
    assert words in raised.value.problem
    assert TOKEN not in f"{raised.value} {raised.value.remedy}"


def test_a_token_file_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    access = parse_kubeconfig(tmp_path / "kubeconfig", kubeconfig({"tokenFile": "token"}))
    assert access.token == TOKEN
    assert TOKEN not in repr(access)
    (tmp_path / "token").unlink()
    with pytest.raises(HostError) as raised:
        parse_kubeconfig(tmp_path / "kubeconfig", kubeconfig({"tokenFile": "token"}))
    assert raised.value.where == str(tmp_path / "token")


def test_lines_of_a_private_key_are_secrets() -> None:
    key = b"-----BEGIN KEY-----\nMHcCAQEEIcanarycanarycanary\n-----END KEY-----\n"
    user = {
        "client-certificate-data": base64.b64encode(b"x").decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    access = parse_kubeconfig(Path("k"), kubeconfig(user))
    assert "MHcCAQEEIcanarycanarycanary" in access.secrets
    assert "canary" not in repr(access)


def test_the_body_of_a_request_does_not_wait_for_an_acknowledgement(authority: trustme.CA) -> None:
    with serving(authority, answer(200, b"{}")) as (access, _), KubernetesClient(access) as client:
        client.preview("/x", "a: b")
        connection = client._connection
        assert connection is not None
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
