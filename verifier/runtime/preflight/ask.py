"""One question to an endpoint of the site over HTTP or TLS, bounded in time and bytes. Redirects are not followed."""

import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from verifier.runtime.probes.network import (
    MAX_BODY,
    PORTS,
    NoAnswerError,
    OpenSockets,
    address_parts,
    bounded,
    host_and_port,
    tls_context,
)

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Tls:
    """How a server is verified.

    Attributes:
        authorities: PEM files besides the system's authorities.
        only: PEM text of the authorities that count instead of the system's.
    """

    authorities: tuple[Path, ...] = ()
    only: str | None = None


@dataclass(frozen=True)
class Reply:
    """An answer; ``date`` is what the server's clock says, None where it does not state it."""

    status: int
    date: datetime | None
    body: bytes


@dataclass(frozen=True)
class HttpQuestion:
    """What is asked: an address as ``site.yaml`` has it, and a path below it."""

    address: str
    path: str = "/"
    tls: Tls = Tls()
    timeout_seconds: float = TIMEOUT_SECONDS


def ask(question: HttpQuestion) -> Reply:
    """GET the path. Any status is an answer.

    Raises:
        NoAnswerError: There is none, or the server is not trusted.
    """
    parts = address_parts(question.address)
    if parts is None or parts.scheme not in PORTS:
        raise NoAnswerError(f"{question.address} is not an http address")
    path = parts.path.rstrip("/") + question.path

    def work(opened: OpenSockets) -> Reply:
        host, port = host_and_port(parts)
        connection = http.client.HTTPConnection(host, port)
        try:
            connection.sock = _connected(question, opened, host, port, secure=parts.scheme == "https")
            connection.request("GET", path, headers={"User-Agent": "waybill", "Connection": "close"})
            answer = connection.getresponse()
            return Reply(answer.status, parse_date(answer.getheader("Date")), answer.read(MAX_BODY))
        finally:
            connection.close()

    return bounded(work, f"{question.address.rstrip('/')}{question.path}", question.timeout_seconds)


def certificate_end(question: HttpQuestion) -> datetime:
    """Return until when the server's certificate is good, which was verified; nothing is asked of the server.

    Raises:
        NoAnswerError: There is no answer, or the certificate is not trusted.
    """
    parts = address_parts(question.address)
    if parts is None or parts.scheme != "https":
        raise NoAnswerError(f"{question.address} is not an https address")

    def work(opened: OpenSockets) -> datetime:
        host, port = host_and_port(parts)
        with _connected(question, opened, host, port, secure=True) as connection:
            assert isinstance(connection, ssl.SSLSocket)  # asked for above
            certificate = connection.getpeercert() or {}
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)

    return bounded(work, question.address, question.timeout_seconds)


def _connected(question: HttpQuestion, opened: OpenSockets, host: str, port: int, *, secure: bool) -> socket.socket:
    """Return a connection that the thread which waits can shut down; its handshake can hang like any read."""
    context = _context(question.tls) if secure else None
    connection = opened.hold(socket.create_connection((host, port), timeout=question.timeout_seconds))
    if context is None:
        return connection
    return opened.hold(context.wrap_socket(connection, server_hostname=host))


def _context(tls: Tls) -> ssl.SSLContext:
    return tls_context(tls.authorities) if tls.only is None else ssl.create_default_context(cadata=tls.only)


def parse_date(text: str | None) -> datetime | None:
    """Return the time of a header Date (RFC 9110, section 5.6.7); None for one that is no time."""
    try:
        date = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return date.astimezone(UTC) if date is not None and date.tzinfo is not None else None
