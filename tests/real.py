"""Real parts for tests: registries that others wrote, started on loopback and ended by their own pid."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"


def tool(name: str) -> str:
    """The path of an installed program, or a skip that names it."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def put_helm_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the helm of `make kube`, else the one of the machine, where commands look for it; skip without one."""
    path = f"{CACHE / 'kube'}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("helm", path=path):
        pytest.skip("helm is not installed")
    monkeypatch.setenv("PATH", path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class RunningRegistry:
    """A registry in a process of its own.

    Attributes:
        host: ``127.0.0.1:port``; with TLS ``localhost:port``.
        ca: The authority that signed its certificate, as a PEM file; None without TLS.
        root: Where it keeps its blobs.
    """

    host: str
    ca: Path | None
    root: Path
    command: list[str] = field(default_factory=list)
    log: Path | None = None
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, also again after `stop` or `kill`; returns when it answers."""
        assert self.log
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"{self.command[0]} did not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if not process:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        name, _, port = self.host.rpartition(":")
        connection: http.client.HTTPConnection
        if self.ca:
            context = ssl.create_default_context(cafile=str(self.ca))
            connection = http.client.HTTPSConnection(name, int(port), timeout=2, context=context)
        else:
            connection = http.client.HTTPConnection(name, int(port), timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        return False

    def blob_path(self, digest: str) -> Path:
        """Where docker-registry keeps the bytes of a blob or manifest."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.root / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


@contextmanager
def docker_registry(
    tmp_path: Path,
    *,
    tls: bool = False,
    htpasswd: Mapping[str, str] | None = None,
    root: Path | None = None,
    urls: str = "",
) -> Iterator[RunningRegistry]:
    """Debian's docker-registry 2.8: no referrers API, no OCI-Subject.

    Args:
        tls: With a certificate for ``localhost`` and ``127.0.0.1`` of an authority made for this run.
        htpasswd: Names and passwords that it asks for, by Basic.
        root: Its storage, where not a folder of ``tmp_path``.
        urls: Which addresses of foreign layers it takes, a pattern; none by default.
    """
    program = tool("docker-registry")
    place = tmp_path / f"registry-{len(list(tmp_path.glob('registry-*')))}"
    place.mkdir(parents=True)
    storage = root or place / "data"
    storage.mkdir(exist_ok=True)
    port = free_port()
    lines = [
        "version: 0.1",
        "log: {level: warn, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: '{storage}'}}, delete: {{enabled: true}}}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
        # Fixed, so that an upload survives a restart.
        "  secret: of-no-importance",
    ]
    ca = None
    if tls:
        ca = certificate(place)
        lines.append(f"  tls: {{certificate: '{place}/server.pem', key: '{place}/server.key'}}")
    if urls:
        lines.append(f"validation: {{manifests: {{urls: {{allow: ['{urls}']}}}}}}")
    if htpasswd:
        lines.append(f"auth: {{htpasswd: {{realm: test, path: '{_htpasswd(place, htpasswd)}'}}}}")
    config = place / "config.yml"
    config.write_text("\n".join(lines) + "\n")
    running = RunningRegistry(
        host=f"{'localhost' if tls else '127.0.0.1'}:{port}",
        ca=ca,
        root=storage,
        command=[program, "serve", str(config)],
        log=place / "log",
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def referrers_registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A registry of others with the referrers API and OCI-Subject, built from tests/referrers_registry by Go."""
    program = shutil.which("referrers-registry", path=f"{CACHE}{os.pathsep}{os.environ.get('PATH', '')}")
    if not program:
        pytest.skip("referrers-registry is not built (make tools, needs go)")
    log = tmp_path / "referrers-registry.log"
    with log.open("ab") as errors:
        process = subprocess.Popen([program], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
    assert process.stdout
    with process.stdout:
        host = process.stdout.readline().decode().strip()
    running = RunningRegistry(host=host, ca=None, root=tmp_path, command=[program], log=log, _process=process)
    try:
        yield running
    finally:
        running.stop()


def certificate(place: Path) -> Path:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    ca = place / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    server.private_key_pem.write_to_path(str(place / "server.key"))
    for number, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(place / "server.pem"), append=number > 0)
    return ca


def _htpasswd(place: Path, users: Mapping[str, str]) -> Path:
    bcrypt = pytest.importorskip("bcrypt")
    path = place / "htpasswd"
    with path.open("w") as stream:
        for name, password in users.items():
            # Go's bcrypt knows the prefix 2y, which means the same.
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$", 1)
            stream.write(f"{name}:{hashed}\n")
    return path
