"""Probes against real servers on loopback, real folders, and the loop that runs them."""

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.documents.release import FileProbe, HttpProbe, InstallStep, Probe, TcpProbe
from tests.unit.verifier.runtime.drivers.place import Site, Turn, free_port
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe, run_probes, site_authorities

HTTP = Probe(name="api", http=HttpProbe(endpoint="api", path="/healthz", status=200))
TCP = Probe(name="port", tcp=TcpProbe(endpoint="api"))


class Answers(http.server.BaseHTTPRequestHandler):
    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        status = {"/healthz": 200, "/base/healthz": 200, "/broken": 503, "/away": 302}.get(self.path, 404)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/healthz")
        self.end_headers()
        if self.path == "/healthz":
            self.wfile.write(b"ok" * 1_000_000)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is not news
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def talking(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does something odd with one connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                act(connection)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def context(address: str, *steps: Turn, timeout: float = 5.0, authorities: tuple[Path, ...] = ()) -> ProbeContext:
    return ProbeContext({"api": address}, steps, authorities, timeout)


def http_probe(path: str, status: int = 200) -> Probe:
    return Probe(name="api", http=HttpProbe(endpoint="api", path=path, status=status))


def test_http() -> None:
    with serving() as port:
        there = context(f"http://127.0.0.1:{port}")
        assert run_probe(HTTP, there).state == "passing"
        broken = run_probe(http_probe("/broken"), there)
        assert (broken.state, broken.detail) == (
            "failing",
            f"http://127.0.0.1:{port}/broken answered 503, expected 200",
        )
        assert run_probe(http_probe("/broken", 503), there).state == "passing"
        assert run_probe(HTTP, context(f"http://127.0.0.1:{port}/base/")).state == "passing"


def test_redirects_are_answers_and_not_followed() -> None:
    with serving() as port:
        Answers.seen.clear()
        assert "answered 302" in run_probe(http_probe("/away"), context(f"http://127.0.0.1:{port}")).detail
        assert run_probe(http_probe("/away", 302), context(f"http://127.0.0.1:{port}")).state == "passing"
        assert Answers.seen == ["/away", "/away"]


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with serving() as port:
        assert run_probe(HTTP, context(f"http://127.0.0.1:{port}")).state == "passing"


def test_https_with_the_sites_own_authority(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    (tmp_path / "tls").mkdir()
    authority.cert_pem.write_to_path(str(tmp_path / "tls" / "ca.pem"))
    with serving(server) as port:
        address = f"https://localhost:{port}"
        trusted = site_authorities(tmp_path)
        assert run_probe(HTTP, context(address, authorities=trusted)).state == "passing"
        assert "certificate is not trusted" in run_probe(HTTP, context(address)).detail
        other_name = context(f"https://127.0.0.1:{port}", authorities=trusted)
        assert "certificate is not trusted" in run_probe(HTTP, other_name).detail
        (tmp_path / "tls" / "bad.pem").write_text("nothing")
        assert (
            "holds no certificate" in run_probe(HTTP, context(address, authorities=site_authorities(tmp_path))).detail
        )


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for n in range(200):
        connection.sendall(f"X-{n}: y\r\n".encode())
        time.sleep(0.1)


def silent(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.settimeout(20)
    connection.recv(1)


@pytest.mark.parametrize("act", [trickle, silent], ids=["trickle", "silent"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_takes_for_ever(act: Callable[[socket.socket], None], scheme: str) -> None:
    with talking(act) as port:
        begun = time.monotonic()
        found = run_probe(HTTP, context(f"{scheme}://127.0.0.1:{port}", timeout=0.5))
        assert time.monotonic() - begun < 3
        assert found.state == "failing"


@pytest.mark.parametrize(
    "said", [b"", b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500]
)
def test_a_server_that_talks_nonsense(said: bytes) -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)

    with talking(act) as port:
        assert run_probe(HTTP, context(f"http://127.0.0.1:{port}")).state == "failing"


def test_tcp() -> None:
    with serving() as port:
        assert run_probe(TCP, context(f"tcp://127.0.0.1:{port}")).state == "passing"
        assert run_probe(TCP, context(f"http://127.0.0.1:{port}")).state == "passing"
    closed = run_probe(TCP, context(f"tcp://127.0.0.1:{free_port()}"))
    assert closed.state == "failing"
    assert "refused" in closed.detail


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1", "file:/etc/passwd", "http://user:word@127.0.0.1:1", "tcp://127.0.0.1:99999", "http://x?y"],
)
def test_addresses_that_are_none(address: str) -> None:
    assert run_probe(TCP, context(address)).state == "unknown"
    assert run_probe(HTTP, context(address)).state == "unknown"


def test_an_http_probe_needs_an_http_address() -> None:
    assert run_probe(HTTP, context(f"tcp://127.0.0.1:{free_port()}")).detail.endswith("is not an http address")


def test_an_endpoint_that_the_site_does_not_have() -> None:
    found = run_probe(HTTP, ProbeContext({"metrics": "http://127.0.0.1:1"}, ()))
    assert found.state == "unknown"
    assert "no endpoint 'api', it has metrics" in found.detail


STEP = InstallStep(step="app", driver="files", files=("service",))


@pytest.fixture
def placed(tmp_path: Path) -> Turn:
    vendor = Vendor(images=False, service={"deep/a.txt": b"a", "b.txt": b"b"})
    return Turn(load_driver("files"), Site(tmp_path / "site").context(vendor, 1, STEP), STEP).stage().activate()


def test_file(placed: Turn) -> None:
    probe = Probe(name="file", file=FileProbe(files="service", path="deep/a.txt"))
    here = ProbeContext({}, (placed,))
    folder = placed.context.site / "srv/app/1"
    assert run_probe(probe, here).state == "passing"
    (folder / "deep/a.txt").write_bytes(b"A")
    assert "has digest" in run_probe(probe, here).detail
    (folder / "deep/a.txt").unlink()
    assert "is missing" in run_probe(probe, here).detail
    (folder / "deep").rmdir()
    elsewhere = placed.context.site / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_bytes(b"a")
    (folder / "deep").symlink_to(elsewhere)
    assert "behind a link" in run_probe(probe, here).detail
    placed.deactivate()
    assert "has not placed" in run_probe(probe, here).detail
    other = Probe(name="file", file=FileProbe(files="other", path="x"))
    assert run_probe(other, here).state == "unknown"


def test_step(placed: Turn) -> None:
    probe = Probe(name="step", step="app")
    here = ProbeContext({}, (placed,))
    assert run_probe(probe, here).state == "passing"
    (placed.context.site / "srv/app/1/b.txt").unlink()
    found = run_probe(probe, here)
    assert (found.state, "missing: b.txt" in found.detail) == ("failing", True)
    assert run_probe(Probe(name="step", step="other"), here).state == "unknown"


class Clock:
    """Time that passes only in sleeps, and in looks that take some."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def run(
        self, probes: list[Probe], said: dict[str, str], seconds: float, takes: float = 0.0
    ) -> tuple[bool, dict[str, list[float]]]:
        """``said``: per probe one letter a look, p(assing), f(ailing), u(nknown); the last one goes on for ever."""
        at: dict[str, list[float]] = {probe.name: [] for probe in probes}

        def look(probe: Probe, _: ProbeContext) -> ProbeResult:
            letters = said[probe.name]
            letter = letters[min(len(at[probe.name]), len(letters) - 1)]
            at[probe.name].append(self.now - 100)
            self.now += takes
            states = {"p": "passing", "f": "failing", "u": "unknown"}
            return ProbeResult(probe.name, states[letter], letter)  # type: ignore[arg-type]  # values of `states`

        verdict = run_probes(
            probes,
            ProbeContext({}, ()),
            sleep=self.sleep,
            deadline_seconds=seconds,
            monotonic=lambda: self.now,
            look=look,
        )
        assert [one.name for one in verdict.results] == [probe.name for probe in probes]
        return verdict.passed, at


def probe(name: str, every: int, passes: int) -> Probe:
    return Probe(name=name, step="app", every_seconds=every, passes=passes)


def test_passes_must_be_in_a_row() -> None:
    assert Clock().run([probe("a", 10, 3)], {"a": "ppfppp"}, 60) == (True, {"a": [0, 10, 20, 30, 40, 50]})
    assert Clock().run([probe("a", 10, 3)], {"a": "ppuppp"}, 40) == (False, {"a": [0, 10, 20, 30, 40]})


def test_the_last_look_is_at_the_deadline() -> None:
    assert Clock().run([probe("a", 10, 2)], {"a": "fp"}, 20) == (True, {"a": [0, 10, 20]})
    assert Clock().run([probe("a", 10, 2)], {"a": "fp"}, 19) == (False, {"a": [0, 10]})


def test_each_probe_has_its_own_beat() -> None:
    passed, at = Clock().run([probe("a", 10, 2), probe("b", 3, 4)], {"a": "p", "b": "p"}, 60)
    assert passed
    assert at == {"a": [0, 10], "b": [0, 3, 6, 9]}


def test_looks_that_take_longer_than_their_beat() -> None:
    passed, at = Clock().run([probe("a", 1, 9)], {"a": "p"}, 10, takes=4)
    assert not passed
    assert at == {"a": [0, 4, 8]}


def test_one_of_two_is_not_enough_and_named() -> None:
    verdict = run_probes(
        [probe("a", 1, 1), probe("b", 1, 1)],
        ProbeContext({}, ()),
        sleep=lambda _: None,
        deadline_seconds=0,
        monotonic=lambda: 0.0,
        look=lambda one, _: ProbeResult(one.name, "passing" if one.name == "a" else "failing", ""),
    )
    assert verdict.missing == ("b",)


def test_no_probes_pass() -> None:
    assert Clock().run([], {}, 10) == (True, {})
