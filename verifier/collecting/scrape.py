"""Read metrics as Prometheus text: one HTTP request, or one file. Bounded in time and bytes.

Redirects are not followed and TLS is verified. A thread reads and another one waits: socket timeouts bound neither a
name service that hangs nor a server that trickles.
"""

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from content.telemetry.counted import MALFORMED, TIME_LIMIT, TOO_LONG, UNREADABLE
from verifier.collecting.opened_files import CHUNK, SourceError, opened
from verifier.runtime.probes.network import MAX_BODY, PORTS, address_parts, host_and_port, tls_context

MAX_SCRAPE = 64 << 20
SCRAPE_SECONDS = 10.0
# What a server asks for is not what it gives: anything else than text is refused before it is read.
TEXT = ("text/plain", "application/openmetrics-text")
# Where an address has no path.
PATH = "/metrics"
# Chunks that wait to be counted.
WAITING = 4


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file of metrics. Raises SourceError, before the first byte or later."""
    with opened(path) as file:
        if file.size > MAX_SCRAPE:
            raise SourceError(TOO_LONG, f"{path}: {file.size} bytes, at most {MAX_SCRAPE} are read")
        yield from file.chunks(0)


@dataclass
class _Transfer:
    """What the reading thread and the waiting thread share."""

    chunks: "queue.Queue[bytes | SourceError | None]" = field(default_factory=lambda: queue.Queue(WAITING))
    opened: socket.socket | None = None
    ended: bool = False

    def put(self, chunk: bytes | SourceError | None) -> bool:
        """Hand over a chunk; return False when nobody waits for it any more."""
        while not self.ended:
            with suppress(queue.Full):
                self.chunks.put(chunk, timeout=0.1)
                return True
        return False

    def end(self) -> None:
        self.ended = True
        if self.opened is not None:
            # It is closed already.
            with suppress(OSError):
                self.opened.shutdown(socket.SHUT_RDWR)


def read_http(address: str, authorities: tuple[Path, ...], *, seconds: float = SCRAPE_SECONDS) -> Iterator[bytes]:
    """GET the address and yield the answer in chunks.

    Args:
        authorities: PEM files of certificates that are trusted besides the host's.

    Raises:
        SourceError: Before the first chunk or later: then what was yielded is no whole scrape.
    """
    transfer = _Transfer()
    deadline = time.monotonic() + seconds
    arguments = (address, authorities, seconds, transfer)
    thread = threading.Thread(target=_read, args=arguments, daemon=True, name="scrape")
    thread.start()
    try:
        while True:
            try:
                chunk = transfer.chunks.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise SourceError(TIME_LIMIT, f"{address}: no complete answer within {seconds:g} s") from None
            if chunk is None:
                return
            if isinstance(chunk, SourceError):
                raise chunk
            yield chunk
    finally:
        transfer.end()
        thread.join(0.5)


def _read(address: str, authorities: tuple[Path, ...], seconds: float, transfer: _Transfer) -> None:
    try:
        _get(address, authorities, seconds, transfer)
        transfer.put(None)
    except SourceError as failure:
        transfer.put(failure)
    except ssl.SSLCertVerificationError as error:
        transfer.put(SourceError(UNREADABLE, f"{address}: its certificate is not trusted: {error.verify_message}"))
    except TimeoutError:
        transfer.put(SourceError(TIME_LIMIT, f"{address}: no complete answer within {seconds:g} s"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = str(error) or type(error).__name__
        transfer.put(SourceError(UNREADABLE, f"{address}: {text[:1].lower()}{text[1:200]}"))


def _get(address: str, authorities: tuple[Path, ...], seconds: float, transfer: _Transfer) -> None:
    parts = address_parts(address)
    if parts is None or parts.scheme not in PORTS:
        raise SourceError(UNREADABLE, f"{address} is not an http address")
    host, port = host_and_port(parts)
    context = tls_context(authorities) if parts.scheme == "https" else None
    connection = http.client.HTTPConnection(host, port)
    if context is not None:
        connection = http.client.HTTPSConnection(host, port, context=context)
    try:
        # Opened here, so that the thread that waits can shut it down. The handshake can hang like any read.
        connection.sock = transfer.opened = socket.create_connection((host, port), timeout=seconds)
        if context is not None:
            connection.sock = transfer.opened = context.wrap_socket(connection.sock, server_hostname=host)
        headers = {
            "User-Agent": "waybill",
            "Connection": "close",
            "Accept": "text/plain",
            "Accept-Encoding": "identity",
        }
        connection.request("GET", parts.path if parts.path.strip("/") else PATH, headers=headers)
        with connection.getresponse() as answer:
            _receive(address, answer, transfer)
    finally:
        connection.close()


def _receive(address: str, answer: http.client.HTTPResponse, transfer: _Transfer) -> None:
    if answer.status != http.client.OK:
        answer.read(MAX_BODY)
        raise SourceError(UNREADABLE, f"{address} answered {answer.status}, expected 200")
    if (
        answer.headers.get_content_type() not in TEXT
        or answer.headers.get("Content-Encoding", "identity") != "identity"
    ):
        raise SourceError(MALFORMED, f"{address} answered {answer.headers.get_content_type()}, expected text/plain")
    length = answer.length
    if length is not None and length > MAX_SCRAPE:
        raise SourceError(TOO_LONG, f"{address}: {length} bytes, at most {MAX_SCRAPE} are read")
    count = 0
    while count != length and (chunk := answer.read1(CHUNK)):
        count += len(chunk)
        if count > MAX_SCRAPE:
            raise SourceError(TOO_LONG, f"{address}: more than {MAX_SCRAPE} bytes")
        if not transfer.put(chunk):
            return
    if length is not None and count != length:
        raise SourceError(UNREADABLE, f"{address}: the answer was cut off")
