"""Probe with one HTTP request or one TCP connection, bounded in time and bytes; redirects are not followed.

What bounds a connection in time, and what reads an address, is also for the looks at the host.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

MAX_BODY = 64 << 10
PORTS = {"http": 80, "https": 443}
T = TypeVar("T")
Answer = tuple[Literal["passing", "failing", "unknown"], str]


@dataclass
class OpenSockets:
    """The sockets of one probe, so that the thread that waits can shut them down."""

    sockets: list[socket.socket] = field(default_factory=list)
    ended: bool = False

    def hold(self, opened: socket.socket) -> socket.socket:
        self.sockets.append(opened)
        # The time was up before it was opened.
        if self.ended:
            self.end()
        return opened

    def end(self) -> None:
        self.ended = True
        for opened in self.sockets:
            # It was never connected, or is closed already.
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


def look_http(address: str, path: str, status: int, authorities: tuple[Path, ...], timeout: float) -> Answer:
    """GET ``path`` below ``address``. Passing when the answer has exactly ``status``."""
    parts = address_parts(address)
    if parts is None or parts.scheme not in PORTS:
        return "unknown", f"{address} is not an http address"

    def ask(opened: OpenSockets) -> Answer:
        host, port = host_and_port(parts)
        context = tls_context(authorities) if parts.scheme == "https" else None
        connection = http.client.HTTPConnection(host, port)
        if context is not None:
            connection = http.client.HTTPSConnection(host, port, context=context)
        try:
            # Opened here, so that the thread that waits can shut it down. The handshake can hang like any read.
            connection.sock = opened.hold(socket.create_connection((host, port), timeout=timeout))
            if context is not None:
                connection.sock = opened.hold(context.wrap_socket(connection.sock, server_hostname=host))
            headers = {"User-Agent": "waybill", "Connection": "close"}
            connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
            answer = connection.getresponse()
            answer.read(MAX_BODY)
        finally:
            connection.close()
        if answer.status != status:
            return "failing", f"{address}{path} answered {answer.status}, expected {status}"
        return "passing", f"{address}{path} answered {status}"

    return _answer(ask, f"{address}{path}", timeout)


def look_tcp(address: str, timeout: float) -> Answer:
    """Open a connection. Passing when it is accepted."""
    parts = address_parts(address)
    if parts is None:
        return "unknown", f"{address} has no host and port"

    def ask(opened: OpenSockets) -> Answer:
        with socket.create_connection(host_and_port(parts), timeout=timeout) as connection:
            opened.hold(connection)
        return "passing", f"{address} accepts connections"

    return _answer(ask, address, timeout)


Reach = Literal["reachable", "refused", "timed-out", "failed"]


def reach(address: str, timeout: float) -> Reach | None:
    """Open a connection, send nothing and close it; return None for an address that has no host and port."""
    parts = address_parts(address)
    if parts is None:
        return None

    def ask(opened: OpenSockets) -> Reach:
        try:
            with socket.create_connection(host_and_port(parts), timeout=timeout) as connection:
                opened.hold(connection)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timed-out"
        return "reachable"

    begun = time.monotonic()
    try:
        return bounded(ask, address, timeout)
    except NoAnswerError:
        # A name service that does not answer takes all of the time.
        return "timed-out" if time.monotonic() - begun >= timeout else "failed"


class NoAnswerError(Exception):
    """There is no complete answer; the text says why. ``certificate``: because the certificate is not trusted."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


def _answer(ask: Callable[[OpenSockets], Answer], what: str, timeout: float) -> Answer:
    try:
        return bounded(ask, what, timeout)
    except NoAnswerError as error:
        return "failing", str(error)


def bounded(ask: Callable[[OpenSockets], T], what: str, timeout: float) -> T:
    """Call ``ask`` in a thread: socket timeouts bound neither a name service that hangs nor a server that trickles.

    Raises:
        NoAnswerError: It failed, or the time is up.
    """
    opened = OpenSockets()
    answers: list[T] = []
    failures: list[NoAnswerError] = []

    def work() -> None:
        try:
            answers.append(ask(opened))
        except ssl.SSLCertVerificationError as error:
            text = f"{what}: its certificate is not trusted: {error.verify_message}"
            failures.append(NoAnswerError(text, certificate=True))
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = str(error) or type(error).__name__
            failures.append(NoAnswerError(f"{what}: {words[:1].lower()}{words[1:200]}"))

    thread = threading.Thread(target=work, daemon=True, name="probe")
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        opened.end()
        thread.join(0.5)
        raise NoAnswerError(f"{what}: no complete answer within {timeout:g} s")
    if failures:
        raise failures[0]
    return answers[0]


def address_parts(address: str) -> SplitResult | None:
    """Return an address with a host and a port, given or by its scheme; None for any other, or one with a login."""
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    plain = parts.scheme in (*PORTS, "tcp") and parts.hostname and port and "@" not in parts.netloc
    return parts if plain and not parts.query and not parts.fragment else None


def host_and_port(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def tls_context(authorities: tuple[Path, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in authorities:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ValueError(f"{path} holds no certificate") from error
    return context
