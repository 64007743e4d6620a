"""Looks through a socket: one HTTP request or one TCP connection, bounded in time and bytes, redirects not followed."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

MAX_BODY = 64 << 10
PORTS = {"http": 80, "https": 443}


Answer = tuple[Literal["passing", "failing", "unknown"], str]


@dataclass
class _Line:
    """The socket in use, so that whoever waits can end the call."""

    sockets: list[socket.socket] = field(default_factory=list)
    ended: bool = False

    def hold(self, found: socket.socket) -> socket.socket:
        self.sockets.append(found)
        if self.ended:
            self.end()
        return found

    def end(self) -> None:
        self.ended = True
        for one in self.sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # never connected, or gone already


def look_http(address: str, path: str, status: int, authorities: tuple[Path, ...], timeout: float) -> Answer:
    """GET ``path`` below ``address``; passing when the answer has exactly ``status``."""
    parts = _parts(address)
    if parts is None or parts.scheme not in PORTS:
        return "unknown", f"{address} is not an http address"

    def ask(line: _Line) -> Answer:
        host, port = _host_port(parts)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = _Https(host, port, line, timeout, _context(authorities))
        else:
            connection = _Http(host, port, line, timeout)
        try:
            connection.request(
                "GET", parts.path.rstrip("/") + path, headers={"User-Agent": "waybill", "Connection": "close"}
            )
            answer = connection.getresponse()
            answer.read(MAX_BODY)
            found = answer.status
        finally:
            connection.close()
        if found != status:
            return "failing", f"{address}{path} answered {found}, expected {status}"
        return "passing", f"{address}{path} answered {found}"

    return _bounded(ask, f"{address}{path}", timeout)


def look_tcp(address: str, timeout: float) -> Answer:
    """Passing when somebody accepts a connection."""
    parts = _parts(address)
    if parts is None:
        return "unknown", f"{address} has no host and port"

    def ask(line: _Line) -> Answer:
        with socket.create_connection(_host_port(parts), timeout=timeout) as found:
            line.hold(found)
        return "passing", f"{address} accepts connections"

    return _bounded(ask, address, timeout)


def _bounded(ask: Callable[[_Line], Answer], what: str, timeout: float) -> Answer:
    """``ask`` in a thread: a name service that hangs and a server that trickles end with the time, too."""
    line = _Line()
    found: list[Answer] = []

    def work() -> None:
        try:
            found.append(ask(line))
        except ssl.SSLCertVerificationError as error:
            found.append(("failing", f"{what}: its certificate is not trusted: {error.verify_message}"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = str(error) or type(error).__name__
            found.append(("failing", f"{what}: {words[:1].lower()}{words[1:200]}"))

    thread = threading.Thread(target=work, daemon=True, name="probe")
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        line.end()
        thread.join(0.5)
        return "failing", f"{what}: no whole answer within {timeout:g} s"
    return found[0]


def _parts(address: str) -> SplitResult | None:
    """An address with a host and a port, given or known; nothing that could carry a login."""
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    good = parts.scheme in (*PORTS, "tcp") and parts.hostname and port and "@" not in parts.netloc
    return parts if good and not parts.query and not parts.fragment else None


def _host_port(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def _context(authorities: tuple[Path, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in authorities:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ValueError(f"{path} holds no certificate") from error
    return context


class _Http(http.client.HTTPConnection):
    """A connection whose socket can be ended from outside."""

    def __init__(self, host: str, port: int, line: _Line, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._line = line

    def connect(self) -> None:
        super().connect()
        self._line.hold(self.sock)


class _Https(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, line: _Line, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._line = line
        self._trust = context

    def connect(self) -> None:
        # Held before the handshake, which may hang as well as any read.
        plain = self._line.hold(socket.create_connection((self.host, self.port), timeout=self.timeout))
        try:
            self.sock = self._line.hold(self._trust.wrap_socket(plain, server_hostname=self.host))
        except BaseException:
            plain.close()
            raise
