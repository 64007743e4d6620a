"""Needs that are looked at over the network, against real TLS servers on loopback that are not what is needed.

The API server of Kubernetes is a server here that answers /version as that one does, with its certificates and users.
"""

import base64
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

from manifests.documents import release as r
from manifests.documents.host_needs import CertificateNeed, HostNeeds
from tests.faults.model import QuickDisk
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import Vendor
from verifier.change.host_check import HostCheck, check_host
from verifier.change.route import plan_change
from verifier.change.site_check import lines_to_add
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.preflight.result import PreflightResult
from verifier.runtime.preflight.side_by_side import side_by_side

APP = r.InstallStep(step="app", driver="files", files=("service",))


@dataclass
class Served:
    """What a server does, and what it was asked.

    Attributes:
        ahead: How far its clock is ahead; None for no header Date.
        bodies: Status and body by path; 404 for any other.
        token: What /version asks for, if anything.
    """

    port: int = 0
    ahead: timedelta | None = timedelta(0)
    bodies: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    token: str = ""
    asked: list[str] = field(default_factory=list)
    peers: list[object] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    served: ClassVar[Served]

    def do_GET(self) -> None:
        served = self.served
        served.asked.append(self.path)
        if isinstance(self.connection, ssl.SSLSocket):
            served.peers.append(self.connection.getpeercert())
        status, body = served.bodies.get(self.path, (404, b""))
        if served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
            status, body = 401, b"{}"
        self.send_response_only(status)
        if served.ahead is not None:
            self.send_header("Date", format_datetime(datetime.now(UTC) + served.ahead, usegmt=True))
        if body.startswith(b"<"):
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving(served: Served, context: ssl.SSLContext | None = None) -> Iterator[Served]:
    handler = type("Handler", (Handler,), {"served": served})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is not news
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    served.port = server.server_address[1]
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    not_before = datetime(2020, 1, 1, tzinfo=UTC) if not_after is not None else None
    authority.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after).configure_cert(context)
    return context


def place_with(
    folder: Path, needs: HostNeeds, authority: trustme.CA | None = None, install: tuple[r.InstallStep, ...] = ()
) -> Place:
    place = make_place(folder / "place", Vendor(), disk=QuickDisk())
    place.clock.at = datetime.now(UTC)
    if authority is not None:
        (place.path / "tls").mkdir(exist_ok=True)
        authority.cert_pem.write_to_path(str(place.path / "tls" / "ca.pem"))
    place.receive(Vendor(change={"install": install or (APP,), "host": needs}).write(folder / "1.tar"))
    return place


def edit(place: Place, old: str, new: str) -> None:
    yaml = place.path / "site.yaml"
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))


def endpoint(place: Place, address: str) -> None:
    edit(place, ENDPOINTS, f'endpoints: {{api: "{address}"}}')


def drivers(place: Place, line: str) -> None:
    edit(place, "files: {root: srv}", f"files: {{root: srv}}\n  {line}")


def checked(place: Place) -> HostCheck:
    site = place.open()
    return check_host(site, (plan_change(site, "r-1.0.0"),), load_driver)


def only(place: Place) -> PreflightResult:
    (result,) = checked(place).results
    return result


# --- certificates ---------------------------------------------------------------------------------------------------

GOOD_FOR_30 = HostNeeds(certificates=(CertificateNeed(endpoint="api", days=30),))


@pytest.mark.parametrize(
    ("ends_in", "status", "observed"),
    [
        (timedelta(days=30, hours=12), "passed", ", for 30 days"),
        (timedelta(days=28, hours=12), "failed", ", for 28 days"),
        (timedelta(hours=1), "failed", ", for 0 days"),
        (timedelta(hours=-1), "failed", "certificate is not trusted: certificate has expired"),
    ],
)
def test_a_certificate_that_ends_too_soon(
    tmp_path: Path, authority: trustme.CA, ends_in: timedelta, status: str, observed: str
) -> None:
    place = place_with(tmp_path, GOOD_FOR_30, authority)
    with serving(Served(), server_context(authority, datetime.now(UTC) + ends_in)) as served:
        endpoint(place, f"https://127.0.0.1:{served.port}")
        result = only(place)
    assert (result.check, result.status, result.needs) == ("certificate api", status, "good for 30 days")
    assert observed in result.observed
    assert served.asked == []  # a certificate is seen without a question


def test_a_certificate_of_another_authority_or_name(tmp_path: Path, authority: trustme.CA) -> None:
    place = place_with(tmp_path, GOOD_FOR_30, authority)
    with serving(Served(), server_context(trustme.CA())) as served:
        endpoint(place, f"https://127.0.0.1:{served.port}")
        assert "its certificate is not trusted: " in only(place).observed
        assert only(place).status == "failed"


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_an_endpoint_without_a_certificate_is_not_seen(tmp_path: Path, scheme: str) -> None:
    place = place_with(tmp_path, GOOD_FOR_30)
    endpoint(place, f"{scheme}://127.0.0.1:9")
    result = only(place)
    assert (result.status, result.observed) == (
        "failed",
        f"cannot be seen, because the endpoint is {scheme}://127.0.0.1:9",
    )


def test_an_endpoint_that_is_not_there_or_not_named(tmp_path: Path) -> None:
    place = place_with(tmp_path, GOOD_FOR_30)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    endpoint(place, f"https://127.0.0.1:{port}")
    assert only(place).status == "failed"
    assert "cannot be seen, because https://127.0.0.1:" in only(place).observed
    edit(place, f'endpoints: {{api: "https://127.0.0.1:{port}"}}', "endpoints: {}")
    assert only(place).observed == "cannot be seen, because site.yaml has no endpoint 'api'"
    assert lines_to_add(checked(place).findings) == ("endpoints:", "  api: FILL-IN")


def test_hosts_that_hang_end_together_after_seconds(tmp_path: Path) -> None:
    needs = HostNeeds(
        certificates=(CertificateNeed(endpoint="api", days=1), CertificateNeed(endpoint="other", days=1)),
        clock_seconds=60,
        registry="answers",
    )
    place = place_with(tmp_path, needs)
    with silent() as port:
        edit(place, ENDPOINTS, f'endpoints: {{api: "https://127.0.0.1:{port}", other: "https://127.0.0.1:{port}/x"}}')
        drivers(place, f'registry: {{endpoint: "127.0.0.1:{port}"}}')
        begun = time.monotonic()
        check = checked(place)
        assert time.monotonic() - begun < 10
    assert {result.status for result in check.results} == {"failed"}
    assert len(check.results) == 4


def test_what_is_late_is_left_out_and_nobody_waits_for_it() -> None:
    end = threading.Event()
    jobs: dict[str, Callable[[], object]] = {"quick": lambda: 1, "late": end.wait}
    assert side_by_side(jobs, 0.1) == {"quick": 1}
    end.set()

    def broken() -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        side_by_side({"broken": broken}, 1.0)


# --- the clock ------------------------------------------------------------------------------------------------------

FIVE_MINUTES = HostNeeds(clock_seconds=300)


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (timedelta(0), "passed"),
        (timedelta(minutes=4), "passed"),
        (timedelta(minutes=-4), "passed"),
        (timedelta(minutes=6), "failed"),
        (timedelta(minutes=-6), "failed"),
    ],
)
def test_the_clock_is_compared_with_that_of_an_endpoint(
    tmp_path: Path, authority: trustme.CA, ahead: timedelta, status: str
) -> None:
    place = place_with(tmp_path, FIVE_MINUTES, authority)
    with serving(Served(ahead=ahead), server_context(authority)) as served:
        endpoint(place, f"https://127.0.0.1:{served.port}")
        place.clock.at = datetime.now(UTC)
        result = only(place)
    assert (result.check, result.status) == ("clock", status)
    if abs(ahead) > timedelta(minutes=1):
        assert f" s {'behind' if ahead > timedelta(0) else 'ahead of'} https://127.0.0.1:" in result.observed
    assert served.asked == ["/"]


def test_the_registry_has_a_clock_too_and_the_widest_counts(tmp_path: Path, authority: trustme.CA) -> None:
    place = place_with(tmp_path, FIVE_MINUTES, authority)
    registry = Served(ahead=timedelta(hours=2), bodies={"/v2/": (200, b"{}")})
    with serving(Served(), server_context(authority)) as right, serving(registry) as wrong:
        endpoint(place, f"https://127.0.0.1:{right.port}")
        drivers(place, f'registry: {{endpoint: "127.0.0.1:{wrong.port}", plain_http: true}}')
        place.clock.at = datetime.now(UTC)
        result = only(place)
    assert result.status == "failed"
    assert f"behind the registry 127.0.0.1:{wrong.port}; 2 clocks answered" in result.observed


def test_a_clock_that_says_nothing_is_named_and_does_not_count(tmp_path: Path, authority: trustme.CA) -> None:
    place = place_with(tmp_path, FIVE_MINUTES, authority)
    with (
        serving(Served(), server_context(authority)) as right,
        serving(Served(ahead=None), server_context(authority)) as none,
    ):
        addresses = f'{{api: "https://127.0.0.1:{right.port}", other: "https://127.0.0.1:{none.port}"}}'
        edit(place, ENDPOINTS, f"endpoints: {addresses}")
        place.clock.at = datetime.now(UTC)
        result = only(place)
        assert (result.status, "1 clock answered, 1 did not: " in result.observed) == ("passed", True)
        edit(place, addresses, f'{{api: "https://127.0.0.1:{none.port}"}}')
        result = only(place)
    assert result.status == "failed"
    assert "cannot be seen, because no clock answered: " in result.observed
    assert "its answer has no header Date" in result.observed


def test_a_site_without_any_clock_to_ask_is_not_seen(tmp_path: Path) -> None:
    result = only(place_with(tmp_path, FIVE_MINUTES))
    assert result.status == "failed"
    assert "cannot be seen, because site.yaml names no registry and no https endpoint" in result.observed


def test_a_clock_behind_what_a_confirmed_release_proves(tmp_path: Path, authority: trustme.CA) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    place.bring(Vendor(change={"install": (APP,)}).write(tmp_path / "1.tar"))
    floor = place.open().state.trust.time_floor
    assert floor is not None
    needy = Vendor(
        version="1.1.0",
        sequence=2,
        needs_from=(">=1.0.0, <1.1.0",),
        change={"install": (APP,), "host": FIVE_MINUTES},
    )
    place.receive(needy.write(tmp_path / "2.tar"))
    place.clock.at = floor - timedelta(minutes=1)
    site = place.open()
    (result,) = check_host(site, (plan_change(site, "r-1.1.0"),), load_driver).results
    assert result.status == "failed"
    assert "which a confirmed release proves" in result.observed


# --- the registry ---------------------------------------------------------------------------------------------------

ANSWERS = HostNeeds(registry="answers")


def test_a_registry_that_answers(tmp_path: Path) -> None:
    place = place_with(tmp_path, ANSWERS)
    with serving(Served(bodies={"/v2/": (200, b"{}")})) as served:
        drivers(place, f'registry: {{endpoint: "127.0.0.1:{served.port}", plain_http: true}}')
        result = only(place)
    assert (result.check, result.status, result.observed) == ("registry", "passed", f"127.0.0.1:{served.port} answers")


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ({}, "answered 404 to /v2/: it is no registry"),
        ({"/v2/": (401, b"")}, "asks for an unknown kind of credentials"),
        ({"/v2/": (200, b"<html>Welcome</html>")}, "answered /v2/ with a page of HTML: it is no registry"),
    ],
    ids=["no registry", "no login", "a web server"],
)
def test_a_registry_that_is_none_or_knows_nobody(
    tmp_path: Path, bodies: dict[str, tuple[int, bytes]], words: str
) -> None:
    place = place_with(tmp_path, ANSWERS)
    with serving(Served(bodies=bodies)) as served:
        drivers(place, f'registry: {{endpoint: "127.0.0.1:{served.port}", plain_http: true}}')
        result = only(place)
    assert result.status == "failed"
    assert words in result.observed


@pytest.mark.parametrize("need", [ANSWERS, HostNeeds(clock_seconds=60)], ids=["registry", "clock"])
def test_a_registry_that_does_not_answer_is_named_with_an_image_that_goes_there(
    tmp_path: Path, need: HostNeeds
) -> None:
    images = r.InstallStep(step="images", driver="registry", images=("api",))
    place = place_with(tmp_path, need, install=(APP, images))
    drivers(place, 'registry: {endpoint: "127.0.0.1:1", plain_http: true, prefix: mirror}')
    assert "image api at 127.0.0.1:1/mirror/" in only(place).observed


def test_a_registry_that_does_not_answer_or_is_not_named(tmp_path: Path) -> None:
    place = place_with(tmp_path, ANSWERS)
    assert only(place).observed == "cannot be seen, because site.yaml has no settings for a registry"
    assert lines_to_add(checked(place).findings) == ("drivers:", "  registry:", "    endpoint: FILL-IN")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    drivers(place, f'registry: {{endpoint: "127.0.0.1:{port}", plain_http: true}}')
    result = only(place)
    assert (result.status, "does not accept connections" in result.observed) == ("failed", True)


# --- Kubernetes -----------------------------------------------------------------------------------------------------

AT_LEAST_1_28 = HostNeeds(kubernetes="1.28")


def version(text: str) -> dict[str, tuple[int, bytes]]:
    major, minor = text.removeprefix("v").split(".")[:2]
    body = {"major": major, "minor": minor, "gitVersion": text, "gitCommit": "0" * 40, "platform": "linux/amd64"}
    return {"/version": (200, json.dumps(body, indent=2).encode())}


def encoded(blob: trustme.Blob) -> str:
    return base64.b64encode(blob.bytes()).decode()


def kubeconfig(place: Path, server: str, cluster: dict[str, object], user: dict[str, object] | None = None) -> None:
    """As `kubectl config view` prints it, with the empty entries that kubectl writes."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": "plant", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "waybill", "user": user or {}}],
        "contexts": [{"name": "plant", "context": {"cluster": "plant", "user": "waybill", "namespace": "inkwell"}}],
        "current-context": "plant",
    }
    path = place / "secrets" / "kubeconfig"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))
    path.chmod(0o600)


def cluster_place(folder: Path, needs: HostNeeds = AT_LEAST_1_28) -> Place:
    place = place_with(folder, needs)
    drivers(place, 'helm: {kubeconfig: {secret: "file:secrets/kubeconfig"}, namespace: inkwell}')
    return place


@pytest.mark.parametrize(
    ("stated", "status"),
    [("v1.28.0", "passed"), ("v1.33.4+k3s1", "passed"), ("v1.27.16", "failed"), ("v0.99.0", "failed")],
)
def test_the_version_of_a_cluster(tmp_path: Path, authority: trustme.CA, stated: str, status: str) -> None:
    place = cluster_place(tmp_path)
    with serving(Served(bodies=version(stated), token="t0ken"), server_context(authority)) as served:
        server = f"https://127.0.0.1:{served.port}"
        kubeconfig(place.path, server, {"certificate-authority-data": encoded(authority.cert_pem)}, {"token": "t0ken"})
        result = only(place)
    assert (result.check, result.status, result.observed) == ("kubernetes", status, f"{server} is {stated}")
    assert served.asked == ["/version"]


def test_what_a_server_says_cannot_move_a_cursor_or_begin_a_line(tmp_path: Path, authority: trustme.CA) -> None:
    place = cluster_place(tmp_path)
    with serving(Served(bodies=version("v1.30\x1b[2K\npassed: all")), server_context(authority)) as served:
        cluster: dict[str, object] = {"certificate-authority-data": encoded(authority.cert_pem)}
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster)
        line = only(place).line
    assert line.isprintable()
    assert "\\u001b[2K\\u000apassed" in line


def test_a_client_certificate_is_shown_and_its_key_never_lies_in_a_file(tmp_path: Path, authority: trustme.CA) -> None:
    place = cluster_place(tmp_path)
    context = server_context(authority)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    person = authority.issue_cert(common_name="waybill@plant.example", organization_name="system:masters")
    with serving(Served(bodies=version("v1.30.1")), context) as served:
        certificate = b"".join(blob.bytes() for blob in person.cert_chain_pems)
        user: dict[str, object] = {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": encoded(person.private_key_pem),
        }
        cluster: dict[str, object] = {"certificate-authority-data": encoded(authority.cert_pem)}
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster, user)
        assert only(place).status == "passed"
        assert "waybill@plant.example" in str(served.peers)
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster)
        assert only(place).status == "failed"
    held = [path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert not [path for path in held if path.parent.name != "keys" and path.suffix != ".key"]


def test_files_beside_the_kubeconfig(tmp_path: Path, authority: trustme.CA) -> None:
    place = cluster_place(tmp_path)
    with serving(Served(bodies=version("v1.28.3")), server_context(authority)) as served:
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", {"certificate-authority": "plant-ca.pem"})
        assert "cannot be seen, because " in only(place).observed
        authority.cert_pem.write_to_path(str(place.path / "secrets" / "plant-ca.pem"))
        assert only(place).status == "passed"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"insecure-skip-tls-verify": True}, "it says not to verify the certificate of the server"),
        ({"proxy-url": "socks5://127.0.0.1:1"}, "the proxy is socks5://127.0.0.1:1, expected http://HOST:PORT"),
        ({"proxy-url": "http://127.0.0.1:1"}, "Connection refused"),
        ({"server": "http://127.0.0.1:8080"}, "the server is http://127.0.0.1:8080, expected an https address"),
        ({"certificate-authority-data": "%%%"}, "a certificate or key in it is not base64"),
        ({"certificate-authority-data": "AAAA"}, "cannot be seen, because "),
        ({}, "its certificate is not trusted"),
    ],
    ids=["unverified", "proxy", "no proxy", "http", "not base64", "no certificate", "unknown authority"],
)
def test_a_cluster_that_cannot_be_seen_has_failed(
    tmp_path: Path, authority: trustme.CA, cluster: dict[str, object], words: str
) -> None:
    place = cluster_place(tmp_path)
    with serving(Served(bodies=version("v1.30.0")), server_context(authority)) as served:
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster)
        result = only(place)
    assert (result.status, words in result.observed) == ("failed", True), result.observed
    assert served.asked == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is not YAML"),
        ("[]", "it is no kubeconfig: "),
        ("current-context: a\nclusters: []\ncontexts: []\n", "its current context 'a' names no cluster"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str, words: str) -> None:
    place = cluster_place(tmp_path)
    kubeconfig(place.path, "https://127.0.0.1:1", {})
    (place.path / "secrets" / "kubeconfig").write_text(text)
    assert words in only(place).observed
    assert only(place).status == "failed"


def test_a_kubeconfig_that_is_missing_open_to_all_or_not_named(tmp_path: Path) -> None:
    place = cluster_place(tmp_path)
    assert "cannot be seen, because " in only(place).observed
    kubeconfig(place.path, "https://127.0.0.1:1", {})
    (place.path / "secrets" / "kubeconfig").chmod(0o644)
    assert "mode 0644 lets others read it" in only(place).observed
    edit(place, '\n  helm: {kubeconfig: {secret: "file:secrets/kubeconfig"}, namespace: inkwell}', "")
    assert only(place).observed == "cannot be seen, because site.yaml names no kubeconfig"
    assert lines_to_add(checked(place).findings) == (
        "drivers:",
        "  helm:",
        "    kubeconfig:",
        "      secret: FILL-IN",
        "    namespace: FILL-IN",
    )


def test_a_token_never_stands_in_a_message(tmp_path: Path, authority: trustme.CA) -> None:
    place = cluster_place(tmp_path)
    with serving(Served(bodies=version("v1.30.0")), server_context(authority)) as served:
        cluster: dict[str, object] = {"certificate-authority-data": encoded(authority.cert_pem)}
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster, {"token": "s3cret\nX: y"})
        result = only(place)
        assert (result.status, "s3cret" in result.line) == ("failed", False)
        served.token = "another"
        kubeconfig(place.path, f"https://127.0.0.1:{served.port}", cluster, {"token": "s3cret"})
        result = only(place)
        assert (result.status, "s3cret" in result.line) == ("failed", False)
        assert "/version answered 401" in result.observed


def test_a_kubeconfig_as_kubectl_writes_it(tmp_path: Path, authority: trustme.CA) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    place = cluster_place(tmp_path)
    path = place.path / "secrets" / "kubeconfig"
    path.parent.mkdir(exist_ok=True)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(Served(bodies=version("v1.29.2"), token="t0ken"), server_context(authority)) as served:
        server = f"--server=https://127.0.0.1:{served.port}"
        for words in (
            ["set-cluster", "plant", server, f"--certificate-authority={tmp_path / 'ca.pem'}", "--embed-certs"],
            ["set-credentials", "waybill", "--token=t0ken"],
            ["set-context", "plant", "--cluster=plant", "--user=waybill"],
            ["use-context", "plant"],
        ):
            subprocess.run([kubectl, f"--kubeconfig={path}", "config", *words], check=True, capture_output=True)
        path.chmod(0o600)
        assert only(place).status == "passed"
