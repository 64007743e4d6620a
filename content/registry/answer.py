"""Read the answers of a registry within bounds, and turn failures of the HTTP libraries into ours."""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
import urllib3.exceptions as low

from content.bundle.oci import read_json
from manifests.words.errors import HostError, MalformedError, WaybillError

CHUNK = 1 << 20
ATTEMPTS = 4
PAUSES = (0.2, 0.5, 1.0)
MAX_PAUSE = 60.0
GATEWAY = frozenset({502, 503, 504})
RETRIED = GATEWAY | {429}
MAX_ERROR_BYTES = 16 << 10
# A server that is slower than this holds up the caller without ever running into a timeout.
MIN_BYTES_PER_SECOND = 1024
UNREACHABLE = "registry-unreachable"

T = TypeVar("T")


class BrokenError(HostError):
    """A failure that a retry may cure: a dropped connection, a server that is just starting."""

    def __init__(self, problem: str, *, where: str = "", remedy: str = "try again", pause: float | None = None) -> None:
        super().__init__(problem, where=where, remedy=remedy, finding=UNREACHABLE)
        self.pause = pause


class GatewayError(BrokenError):
    """A gateway answered 502, 503 or 504 for what is behind it."""


@dataclass(frozen=True)
class Peer:
    """A host as errors name it: the registry, or one that it led to.

    Attributes:
        host: As ``name[:port]``.
        timeout: Seconds without a byte before it counts as hanging.
        log: The instruction to look at its log.
    """

    host: str
    timeout: float
    what: str = "the registry"
    log: str = "look at the registry's log"

    def error(self, problem: str, *, remedy: str | None = None, finding: str = "registry-failed") -> HostError:
        return HostError(f"{self.what} {problem}", where=self.host, remedy=remedy or self.log, finding=finding)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Translate what requests, urllib3 and ssl raise inside the block; our own errors pass."""
        try:
            yield
        except WaybillError:
            raise
        except (requests.RequestException, low.HTTPError, OSError) as error:
            raise self._translated(error) from error

    def _through_proxy(self, causes: tuple[BaseException, ...]) -> HostError:
        """The error for a proxy that is not there or lets nothing through. Its address may hold a password."""
        reasons = [_after_number(cause) for cause in causes if isinstance(cause, OSError) and not _is_wrapper(cause)]
        reason = reasons[-1] if reasons else printable(str(causes[-1]))
        remedy = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
        if " 407" in reason:
            remedy = "name user and password of the proxy: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        elif any(isinstance(cause, ssl.SSLError) for cause in causes):
            remedy += "; a proxy that is reached without TLS is http://HOST:PORT, also in HTTPS_PROXY"
        return self.error(f"cannot be reached through the proxy: {reason}", remedy=remedy, finding=UNREACHABLE)

    def _translated(self, error: BaseException) -> HostError:
        """The cause that says most decides: TLS, then name, then connection, then timeouts."""
        causes = tuple(_causes(error))
        text = printable(str(causes[-1]))

        def caused_by(*kinds: type[BaseException]) -> bool:
            return any(isinstance(cause, kinds) for cause in causes)

        # First: TLS with the proxy itself is no fault of the registry, and the other way round it is no error of these.
        if caused_by(low.ProxyError):
            return self._through_proxy(causes)
        if caused_by(ssl.SSLError, low.SSLError):
            remedy = "check the host name; name its authority with --ca FILE, at a site with `ca` in site.yaml"
            if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
                remedy = f"for plain HTTP add --plain-http {self.host}, at a site `plain_http: true` in site.yaml"
            return self.error(f"accepts no TLS connection: {text}", remedy=remedy, finding="registry-tls")
        if caused_by(low.NameResolutionError):
            problem, remedy = "has no known address: no such host", f"check the name of {self.what}"
        elif caused_by(ConnectionRefusedError):
            problem = "does not accept connections (connection refused)"
            remedy = f"check the port, and whether {self.what} runs"
        elif caused_by(low.ConnectTimeoutError):
            problem, remedy = "cannot be reached", "check the address and the network"
        elif caused_by(low.ReadTimeoutError, requests.Timeout, TimeoutError):
            problem, remedy = f"sent no answer for {self.timeout:g} seconds", f"try again, or {self.log}"
        elif caused_by(low.NewConnectionError):
            text = printable(getattr(causes[-1], "strerror", "") or str(causes[-1]))
            problem, remedy = f"cannot be reached: {text}", "check the address"
        elif caused_by(low.ProtocolError, ConnectionError, requests.ConnectionError):
            return BrokenError("the connection broke", where=self.host)
        else:
            return self.error(f"sent no usable answer: {printable(str(error))}")
        return self.error(problem, remedy=remedy, finding=UNREACHABLE)


def _is_wrapper(error: BaseException) -> bool:
    """Whether the error of an HTTP library holds the one that says why."""
    return isinstance(error, requests.RequestException | low.HTTPError)


def _after_number(error: OSError) -> str:
    """What an error of the system says, without its number."""
    return printable((error.strerror or str(error)).lower())


class Response:
    """A response whose body has not been read. Close it, or read it to its end."""

    def __init__(self, response: requests.Response, peer: Peer) -> None:
        self._response = response
        self.peer = peer
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()

    @property
    def length(self) -> int | None:
        """What ``Content-Length`` claims; only ever a reason to stop early."""
        text = self.headers.get("Content-Length", "")
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, undecoded; the caller counts.

        Raises BrokenError if the connection breaks, HostError for no byte within the timeout or for too few for long.
        """
        waited, received = 0.0, 0
        while True:
            before = time.monotonic()
            with self.peer.failures():
                # One read of the socket at a time: a longer one would let a trickle run past every timeout.
                data: bytes = self._response.raw.read1(CHUNK, decode_content=False)
            if not data:
                return
            waited += time.monotonic() - before
            received += len(data)
            if waited > self.peer.timeout + received / MIN_BYTES_PER_SECOND:
                raise self.peer.error(f"sent {received} bytes in {waited:.0f} seconds")
            yield data

    def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises MalformedError if it is longer than ``max_bytes``."""
        body = bytearray()
        if (self.length or 0) <= max_bytes:
            for chunk in self.chunks():
                body += chunk
                if len(body) > max_bytes:
                    break
            else:
                return bytes(body)
        self.close()
        size = f"{self.length}" if body == b"" else f"more than {max_bytes}"
        raise MalformedError(f"document of {size} bytes, at most {max_bytes} are read", where=self.peer.host)

    def discard(self) -> None:
        """Keep the connection if what is left is short, else drop it."""
        if (self.length or 0) <= MAX_ERROR_BYTES:
            left = MAX_ERROR_BYTES
            for chunk in self.chunks():
                left -= len(chunk)
                if left < 0:
                    break
        self.close()

    def busy(self, problem: str) -> HostError:
        """The error for an answer of `RETRIED`; a retry follows unless the server asks for a longer pause than ours."""
        problem += self.reason()
        pause = retry_after(self.headers)
        if pause is not None and pause > MAX_PAUSE:
            wait = f"{problem}, and asks to wait {pause:.0f} seconds"
            return self.peer.error(wait, remedy=f"try again in {pause:.0f} seconds", finding="registry-busy")
        kind = GatewayError if self.status in GATEWAY else BrokenError
        return kind(f"{self.peer.what} {problem}", where=self.peer.host, remedy="try again later", pause=pause)

    def reason(self) -> str:
        """The first error that an OCI error answer lists, as ``": text"`` safe for a terminal; else empty."""
        try:
            errors = read_json(self.read(MAX_ERROR_BYTES)).get("errors")
        except WaybillError:
            return ""
        finally:
            self.close()
        first = errors[0] if isinstance(errors, list) and errors else None
        if not isinstance(first, dict):
            return ""
        text = " ".join(str(first[key]) for key in ("code", "message") if isinstance(first.get(key), str))
        return f": {printable(text)}" if text else ""


def printable(text: str) -> str:
    """Text of a server for an error message: one line, at most 200 characters, no control characters."""
    short = text if len(text) <= 200 else text[:197] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date (RFC 9110, section 10.2.3); None without one."""
    text = headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        return max(0.0, (until - parsedate_to_datetime(headers.get("Date", ""))).total_seconds())
    except (ValueError, TypeError):
        return None


def repeated(call: Callable[[], T]) -> T:
    """Call until it does not raise BrokenError, at most `ATTEMPTS` times."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return call()
        except BrokenError as error:
            pause_after(attempt, error)
    return call()


def pause_after(attempt: int, error: BrokenError) -> None:
    """Wait as long as the server asked, within bounds, or a little longer each time."""
    pause = PAUSES[min(attempt, len(PAUSES) - 1)]
    time.sleep(min(MAX_PAUSE, pause if error.pause is None else max(pause, error.pause)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all it wraps: by chaining, as an argument, or as urllib3's ``reason``."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
