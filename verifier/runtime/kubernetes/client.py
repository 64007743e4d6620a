"""Reads a cluster through its API: bounded in time and bytes, nothing followed, nothing changed.

It asks only the server of the kubeconfig. `preview` asks what an apply would change; the server stores nothing of it.
"""

import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlencode

import msgspec

from manifests.words.errors import HostError
from manifests.words.text import one_line
from verifier.runtime.kubernetes.kubeconfig import ClusterAccess
from verifier.runtime.probes.network import NoAnswerError, OpenSockets, address_parts, bounded, host_and_port

TIMEOUT_SECONDS = 10.0
MAX_ANSWER = 32 << 20
PAGE = 500
MAX_ITEMS = 20_000
FIELD_MANAGER = "waybill"
UNREACHABLE = "cluster-unreachable"
TLS = "cluster-tls"
DENIED = "cluster-denied"
ANSWER = "cluster-answer"
REFUSED = "cluster-refused"
INVALID = "cluster-invalid"
Json = Mapping[str, object]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the server says that it refuses (meta/v1, Status)."""

    kind: str = ""
    message: str = ""
    reason: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """apimachinery, version.Info."""

    major: str = ""
    minor: str = ""
    gitVersion: str = ""  # noqa: N815  # the server's own spelling


@dataclass(frozen=True)
class Resource:
    """A kind that the server has: its name in paths, and whether its objects are in a namespace."""

    prefix: str
    name: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        inside = f"/namespaces/{quote(namespace)}" if self.namespaced else ""
        return f"{self.prefix}{inside}/{self.name}" + (f"/{quote(name)}" if name else "")


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    keep: bool


class KubernetesClient:
    """One cluster; a connection is used again. Close it, or use it in ``with``.

    Every method raises HostError: ``cluster-unreachable``, ``cluster-tls``, ``cluster-denied`` (401 and 403), or
    ``cluster-answer`` for any other answer that cannot be used.
    """

    def __init__(self, access: ClusterAccess, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._access = access
        self._timeout = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._kinds: dict[str, dict[str, Resource]] = {}

    def __enter__(self) -> "KubernetesClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def version(self) -> str:
        """Return the version that the server states, as ``v1.33.4``."""
        answer = self._ask("GET", "/version")
        self._check(answer, "/version")
        try:
            stated = msgspec.json.decode(answer.body, type=Version)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._wrong("/version", "answered something else than a version") from None
        version = stated.gitVersion or f"{stated.major}.{stated.minor}"
        return version[:64]

    def get(self, path: str) -> Json | None:
        """Return one object; None where there is none of that name."""
        answer = self._ask("GET", path)
        if answer.status == 404:
            return None
        self._check(answer, path)
        return self._decoded(answer, path)

    def items(self, path: str, *, selector: str = "", metadata_only: bool = False) -> tuple[Json, ...]:
        """Return the objects of a list, page by page; empty where the server does not have their kind.

        Args:
            selector: Of labels.
            metadata_only: Ask for names, labels and annotations alone: no content of a Secret is sent.
        """
        accept = "application/json"
        if metadata_only:
            accept += ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        collected: list[Json] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = self._ask("GET", f"{path}?{urlencode(query)}", headers={"Accept": accept})
            if answer.status == 404:
                return ()
            self._check(answer, path)
            page = self._decoded(answer, path)
            listed = page.get("items")
            collected += [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
            if len(collected) > MAX_ITEMS:
                raise self._wrong(path, f"lists more than {MAX_ITEMS} objects")
            metadata = page.get("metadata")
            more = metadata.get("continue") if isinstance(metadata, dict) else None
            if not isinstance(more, str) or not more:
                return tuple(collected)
            query["continue"] = more

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of a kind; None where the server does not have it."""
        if api_version not in self._kinds:
            prefix = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            answer = self.get(prefix) or {}
            listed = answer.get("resources")
            self._kinds[api_version] = {
                str(entry.get("kind")): Resource(prefix, str(entry.get("name")), entry.get("namespaced") is True)
                for entry in (listed if isinstance(listed, list) else ())
                # A name with a slash is a part of a resource, such as its status.
                if isinstance(entry, dict) and "/" not in str(entry.get("name"))
            }
        return self._kinds[api_version].get(kind)

    def preview(self, path: str, manifest: str) -> Json:
        """Return what the object would be if the manifest were applied; nothing is stored.

        Raises:
            HostError: Also ``cluster-invalid`` where the server would not take it, and ``cluster-refused`` where a
                webhook, a policy or a quota forbids it.
        """
        query = urlencode({"dryRun": "All", "fieldManager": FIELD_MANAGER, "force": "true"})
        answer = self._ask(
            "PATCH", f"{path}?{query}", manifest.encode(), {"Content-Type": "application/apply-patch+yaml"}
        )
        reason = self._reason(answer)
        # The server says 403 for rights that are missing, in these words, and for what a webhook forbids.
        forbidden = answer.status == 403 and 'User "' not in reason
        if forbidden or (answer.status == 400 and "admission webhook" in reason):
            raise self._wrong(path, f"would not be taken: {reason}", finding=REFUSED)
        # It says 500 for a field that its schema does not have.
        if answer.status in (400, 404, 409, 422) or (answer.status == 500 and "typed patch object" in reason):
            raise self._wrong(path, f"would not be taken: {reason}", finding=INVALID)
        self._check(answer, path)
        return self._decoded(answer, path)

    def _check(self, answer: _Answer, path: str) -> None:
        if answer.status in (401, 403):
            raise HostError(
                f"{self._access.server}{path} answered {answer.status}: {self._reason(answer)}",
                remedy="check the rights and the login of this user of the cluster",
                finding=DENIED,
            )
        if not 200 <= answer.status < 300:
            raise self._wrong(path, f"answered {answer.status}: {self._reason(answer)}")

    def _decoded(self, answer: _Answer, path: str) -> Json:
        try:
            value = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._wrong(path, "answered something else than an object of JSON")
        return value

    def _reason(self, answer: _Answer) -> str:
        """Return what the server says, in one line that cannot move a cursor, without anything of the login."""
        try:
            text = msgspec.json.decode(answer.body, type=Status).message
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = answer.body[:200].decode("utf-8", "replace")
        return without_secrets(one_line(text or "no reason")[:400], self._access)

    def _wrong(self, path: str, problem: str, finding: str = ANSWER) -> HostError:
        return HostError(
            f"{self._access.server}{path} {problem}",
            remedy="check the cluster with `kubectl get --raw /readyz`",
            finding=finding,
        )

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        """Send one request. One that fails on a connection used before is sent again: it changes nothing."""
        named = {"User-Agent": "waybill", "Accept": "application/json", **(headers or {})}
        if self._access.token:
            named["Authorization"] = f"Bearer {self._access.token}"
        for again in (self._connection is not None, False):
            try:
                answer = bounded(
                    lambda opened: self._exchange(opened, method, path, body, named),
                    f"{self._access.server}{path.partition('?')[0]}",
                    self._timeout,
                )
            except NoAnswerError as error:
                self.close()
                if again and not error.certificate:
                    continue
                raise HostError(
                    without_secrets(str(error), self._access),
                    remedy="check that the cluster answers, and the certificate authority in the kubeconfig",
                    finding=TLS if error.certificate else UNREACHABLE,
                ) from None
            if not answer.keep:
                self.close()
            if len(answer.body) > MAX_ANSWER:
                raise self._wrong(path.partition("?")[0], f"answered more than {MAX_ANSWER} bytes")
            return answer
        raise AssertionError("the second attempt returns or raises")

    def _exchange(
        self, opened: OpenSockets, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> _Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connected(opened)
        elif connection.sock is not None:
            opened.hold(connection.sock)
        connection.request(method, (self._base + path) if self._base else path, body, dict(headers))
        answer = connection.getresponse()
        # One byte more than is allowed tells a longer answer; the rest is never read.
        data = answer.read(MAX_ANSWER + 1)
        return _Answer(answer.status, data, keep=not answer.will_close and answer.isclosed())

    @property
    def _base(self) -> str:
        return self._parts.path.rstrip("/")

    @property
    def _parts(self) -> SplitResult:
        parts = address_parts(self._access.server)
        if parts is None or parts.scheme != "https":
            raise ValueError("the server is not an https address")
        return parts

    def _connected(self, opened: OpenSockets) -> http.client.HTTPConnection:
        host, port = host_and_port(self._parts)
        context = _tls_context(self._access)
        connection = http.client.HTTPConnection(host, port)
        # Without this a closed connection would be opened again without TLS.
        connection.auto_open = 0
        plain = self._tcp(opened, host, port)
        # Head and body of a request are two writes; without this the second waits 40 ms for an acknowledgement.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            wrapped = context.wrap_socket(plain, server_hostname=self._access.server_name or host)
        except (OSError, ValueError):
            plain.close()
            raise
        connection.sock = opened.hold(wrapped)
        return connection

    def _tcp(self, opened: OpenSockets, host: str, port: int) -> socket.socket:
        """Return a connection to the server, through the proxy of the kubeconfig if it names one."""
        if self._access.proxy is None:
            return opened.hold(socket.create_connection((host, port), timeout=self._timeout))
        parts = address_parts(self._access.proxy)
        if parts is None:
            raise ValueError("the proxy (proxy-url) is not http://HOST:PORT")
        tunnel = opened.hold(socket.create_connection(host_and_port(parts), timeout=self._timeout))
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            _open_tunnel(tunnel, target)
        except OSError:
            tunnel.close()
            raise
        return tunnel


def _open_tunnel(tunnel: socket.socket, target: str) -> None:
    """Ask a proxy for a connection to ``target`` (RFC 9110, section 9.3.6). Raises OSError."""
    tunnel.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows belongs to TLS.
        byte = tunnel.recv(1)
        head += byte
        if not byte or len(head) > 8192:
            raise OSError("the proxy does not answer CONNECT")
    status = head.split(b"\r\n", 1)[0].decode("ascii", "replace")
    if status.split(" ")[1:2] != ["200"]:
        raise OSError(f"the proxy refuses the connection: {one_line(status)[:100]}")


def without_secrets(text: str, access: ClusterAccess) -> str:
    """Return the text with everything secret of a login replaced."""
    for secret in access.secrets:
        text = text.replace(secret, "(secret)")
    return text


def _tls_context(access: ClusterAccess) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authorities)
    if access.certificate is not None:
        with _file_of(access.certificate[0]) as certificate, _file_of(access.certificate[1]) as key:
            context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _file_of(data: bytes) -> Iterator[str]:
    """Yield a path at which OpenSSL reads the bytes; they are in memory only, because one of them is a key."""
    descriptor = os.memfd_create("waybill-tls")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
