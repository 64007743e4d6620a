"""A guarded HTTP session with one registry: allowed hosts, credentials, retries.

oras brings the session and the exchange of credentials for a token. Everything that could go to another host,
wait for ever or read without end is decided here, below it, in the transport adapter, so that it also holds for
the requests that oras makes by itself.
"""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from content.bundle.oci import read_json
from content.registry.addresses import join_url, origin_of, place_of, printable, tls_context
from content.registry.auth import Credentials
from manifests.words.errors import HostError, MalformedError, RefusedError, WaybillError

CHUNK = 1 << 20
CONNECT_TIMEOUT = 5.0
ATTEMPTS = 4
PAUSES = (0.2, 0.5, 1.0)
MAX_PAUSE = 5.0
MAX_REDIRECTS = 3
MAX_TOKEN_BYTES = 64 << 10
MAX_ERROR_BYTES = 16 << 10
# Below this a server does not work but wears out whoever waits.
MIN_BYTES_PER_SECOND = 1024
HEALING = frozenset({429, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


_CHALLENGE = re.compile(r'(?:^|,)\s*(basic|bearer)\s+((?:[^",]|"[^"]*"|,(?!\s*(?:basic|bearer)\s))*)', re.IGNORECASE)


class BrokenError(HostError):
    """A failure that may be gone in a second: a dropped connection, a server that is just starting."""

    def __init__(self, problem: str, *, where: str, remedy: str, pause: float | None = None) -> None:
        super().__init__(problem, where=where, remedy=remedy, finding="registry-unreachable")
        self.pause = pause


@dataclass(frozen=True)
class Body:
    """A request body of known length whose pieces are made while it is sent, and made again for a retry."""

    size: int
    pieces: Callable[[], Iterator[bytes]]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()


class Answer:
    """A response whose body has not been read. Close it, or read it to its end."""

    def __init__(self, response: "requests.Response", session: "Session") -> None:
        self._response = response
        self._session = session
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def __enter__(self) -> "Answer":
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
        """The body as it comes, undecoded. The caller counts.

        Raises:
            BrokenError: The connection broke.
            HostError: Nothing for a while, or next to nothing for long.
        """
        waited, received = 0.0, 0
        while True:
            before = time.monotonic()
            with self._session.failures():
                # One read of the socket at a time: a longer one would let a trickle run past every timeout.
                data: bytes = self._response.raw.read1(CHUNK, decode_content=False)
            if not data:
                return
            waited += time.monotonic() - before
            received += len(data)
            if waited > self._session.timeout + received / MIN_BYTES_PER_SECOND:
                raise self._session.error(f"sent {received} bytes in {waited:.0f} seconds")
            yield data

    def read(self, max_bytes: int) -> bytes:
        """The whole body.

        Raises:
            MalformedError: It is longer than ``max_bytes``.
        """
        if (self.length or 0) > max_bytes:
            self.close()
            raise MalformedError(
                f"document of {self.length} bytes, at most {max_bytes} are read", where=self._session.host
            )
        found = bytearray()
        for chunk in self.chunks():
            found += chunk
            if len(found) > max_bytes:
                self.close()
                raise MalformedError(f"document of more than {max_bytes} bytes", where=self._session.host)
        return bytes(found)

    def discard(self) -> None:
        """Keep the connection if what is left is short, else drop it."""
        if (self.length or 0) <= MAX_ERROR_BYTES:
            left = MAX_ERROR_BYTES
            for chunk in self.chunks():
                left -= len(chunk)
                if left < 0:
                    break
        self.close()

    def reason(self) -> str:
        """What an error answer says for itself, made safe for a terminal; empty if nothing can be read."""
        try:
            errors = read_json(self.read(MAX_ERROR_BYTES)).get("errors")
        except WaybillError:
            return ""
        finally:
            self.close()
        first = errors[0] if isinstance(errors, list) and errors else None
        if not isinstance(first, dict):
            return ""
        return printable(" ".join(str(first[key]) for key in ("code", "message") if isinstance(first.get(key), str)))


class Session:
    """Requests to one registry.

    May be used by several threads at once.

    Args:
        credentials: Asked once, when the registry first wants to know who is there.
        timeout: Seconds without a byte after which a server counts as hanging.
        realm_hosts: Other hosts (``name[:port]``) that may see the credentials to issue tokens.
        content_hosts: Other hosts from which content may come by redirect, without credentials; None for any,
            over TLS.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool,
        ca: Path | None,
        credentials: Callable[[], Credentials | None],
        timeout: float,
        realm_hosts: frozenset[str],
        content_hosts: frozenset[str] | None,
    ) -> None:
        import oras.provider
        import requests.adapters

        self.host = host
        self.timeout = timeout
        self._scheme = "http" if plain_http else "https"
        self.base = f"{self._scheme}://{host}"
        self._own = origin_of(self.base)
        self._realms = frozenset(
            origin_of(f"{scheme}://{name}") for name in realm_hosts for scheme in {"https", self._scheme}
        )
        self._content = content_hosts
        self._find_credentials = credentials
        self._credentials: Credentials | None = None
        self._asked = False
        self._basic = ""
        self._tokens: dict[tuple[str, bool], str] = {}
        self._lock = threading.Lock()
        peer = oras.provider.Registry(hostname=host, insecure=plain_http)
        self._http: requests.Session = peer.session
        self._auth = peer.auth
        # Nothing of the environment: no proxies, no .netrc, no REQUESTS_CA_BUNDLE, which would even win over `verify`.
        self._http.trust_env = False
        # requests would read the whole body of a redirect, even one that it is told not to follow.
        self._http.get_redirect_target = lambda _response: None
        self._http.headers.update({"User-Agent": "waybill", "Accept-Encoding": "identity"})
        adapter = _adapter(self, requests.adapters.HTTPAdapter, None if plain_http else tls_context(ca))
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, adapter)

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        repository: str,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        retry: bool = True,
    ) -> Answer:
        """One exchange, authenticated as the registry asks, repeated while a failure may heal.

        Any status comes back that is neither 401, a redirect nor in `HEALING`.

        Args:
            url: A path of this registry, or a URL it gave.
            repository: For whom a token is kept.
            retry: False where the caller has something better to do than the same again.

        Raises:
            HostError: No answer, or none that helps.
            RefusedError: The registry sends us to a host that nobody allowed.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._authenticated(method, join_url(self.base, url), repository, dict(headers or {}), body)
            except BrokenError as error:
                if not retry or attempt == ATTEMPTS - 1:
                    raise
                pause_after(attempt, error)
        raise AssertionError("the last attempt returns or raises")

    def error(self, problem: str, *, remedy: str = "", finding: str = "registry-failed") -> HostError:
        return HostError(problem, where=self.host, remedy=remedy, finding=finding)

    def failures(self) -> "_Failures":
        """Turn what the libraries below raise into our failures."""
        return _Failures(self)

    def own_url(self, base: str, location: str) -> str:
        """An address that the registry gave for the next request, such as an upload; only its own will do.

        Raises:
            RefusedError: It is another host's.
        """
        url = join_url(join_url(self.base, base), location)
        if origin_of(url) != self._own:
            raise self._refused(f"the next request would go to {place_of(origin_of(url))}")
        return url

    def check_origin(self, url: str, *, with_credentials: bool) -> None:
        """Refuse a request that would leave for a host nobody allowed, whoever asked for it.

        Raises:
            RefusedError: It would.
        """
        origin = origin_of(url)
        if origin == self._own or origin in self._realms:
            return
        if with_credentials:
            raise self._refused(f"credentials would go to {place_of(origin)}")
        if self._content is None:
            if origin[0] == self._scheme or origin[0] == "https":
                return
        elif any(origin_of(f"{origin[0]}://{name}") == origin for name in self._content) and (
            origin[0] == "https" or self._scheme == "http"
        ):
            return
        raise self._refused(f"content would come from {place_of(origin)}")

    def _authenticated(
        self, method: str, url: str, repository: str, headers: dict[str, str], body: Body | bytes | None
    ) -> Answer:
        key = (repository, method not in ("GET", "HEAD"))
        for last in (False, True):
            sent = self._authorization(key)
            answer = self._followed(method, url, headers, sent, body)
            if answer.status != 401:
                break
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.discard()
            if last:
                raise self._denied()
            self._authenticate(challenge, key, sent)
        if answer.status in HEALING:
            seconds = answer.headers.get("Retry-After", "")
            reason = answer.reason()
            problem = f"answered {answer.status} to {method}{': ' + reason if reason else ''}"
            pause = float(seconds) if re.fullmatch(r"[0-9]{1,6}", seconds) else None
            if pause is not None and pause > MAX_PAUSE:
                raise self.error(f"{problem}, and asks for {pause:.0f} seconds of patience", remedy="try again later")
            raise BrokenError(problem, where=self.host, remedy="the registry is overloaded; try again", pause=pause)
        return answer

    def _followed(
        self, method: str, url: str, headers: dict[str, str], sent: dict[str, str], body: Body | bytes | None
    ) -> Answer:
        """Follow redirects of downloads; credentials stay with the registry's own origin."""
        for _ in range(MAX_REDIRECTS + 1):
            authorization = sent if origin_of(url) == self._own else {}
            with self.failures():
                answer = Answer(
                    self._http.request(
                        method, url, headers={**headers, **authorization}, data=body, stream=True, allow_redirects=False
                    ),
                    self,
                )
            if answer.status not in REDIRECTS:
                return answer
            target = join_url(url, answer.headers.get("Location", ""))
            answer.close()
            if method not in ("GET", "HEAD"):
                raise self._refused(f"an upload would go to {place_of(origin_of(target))}")
            self.check_origin(target, with_credentials=False)
            url = target
        raise self.error(f"redirects more than {MAX_REDIRECTS} times")

    def _authorization(self, key: tuple[str, bool]) -> dict[str, str]:
        with self._lock:
            token = self._tokens.get(key)
            if token:
                return {"Authorization": f"Bearer {token}"}
            return {"Authorization": f"Basic {self._basic}"} if self._basic else {}

    def _authenticate(self, header: str, key: tuple[str, bool], sent: dict[str, str]) -> None:
        """Do what the challenge asks: by its scheme, never by what a caller guessed."""
        import oras.auth.utils

        challenges = {scheme.lower(): rest for scheme, rest in _CHALLENGE.findall(header[:8192])}
        with self._lock:
            if not self._asked:
                self._credentials = self._find_credentials()
                self._asked = True
                if self._credentials:
                    self._auth.set_basic_auth(self._credentials.username, self._credentials.password)
            if "bearer" in challenges:
                wanted = oras.auth.utils.parse_auth_header(challenges["bearer"])
                self._check_realm(wanted.realm or "")
                self._tokens.pop(key, None)
                self._tokens[key] = self._fetch_token(wanted)
            elif "basic" in challenges:
                if not self._credentials or sent:
                    raise self._denied()
                self._basic = oras.auth.utils.get_basic_auth(self._credentials.username, self._credentials.password)
            else:
                raise self.error("asks for credentials in a way that is not known here, expected Basic or Bearer")

    def _check_realm(self, realm: str) -> None:
        """A realm is told the password: only the registry itself, or who was named for that."""
        origin = origin_of(realm) if realm else None
        if origin is None or not (origin == self._own or origin in self._realms):
            where = place_of(origin) if origin else "nowhere"
            raise RefusedError(
                f"the registry wants tokens to be fetched from {where}, which is not allowed to issue them",
                where=self.host,
                remedy=f"if {where} really issues tokens for {self.host}, name it as its token host",
                finding="foreign-realm",
            )

    def _fetch_token(self, wanted: object) -> str:
        token: object
        try:
            with self.failures():
                if self._credentials:
                    token = self._auth.request_token(wanted)
                else:
                    token = self._auth.request_anonymous_token(wanted)
        except (ValueError, AttributeError) as error:
            raise self.error("the token service answered with something else than a token") from error
        # It goes into a header: no line ends, nothing that is not ASCII (RFC 6750, section 2.1).
        if not isinstance(token, str) or not re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,32768}", token):
            raise self.error("the token service answered without a usable token")
        return token

    def _denied(self) -> HostError:
        who = f"the credentials of {self._credentials.username!r}" if self._credentials else "anonymous access"
        return self.error(
            f"does not accept {who} (401)",
            remedy="log in, or give the file that holds the credentials for this registry",
            finding="registry-denied",
        )

    def _refused(self, problem: str) -> RefusedError:
        return RefusedError(
            f"the registry sends us elsewhere: {problem}",
            where=self.host,
            remedy="if that host belongs to this registry, allow it by name",
            finding="foreign-host",
        )


class _Failures:
    """A with-block that lets our failures pass and translates those of requests, urllib3 and ssl."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, WaybillError):
            return
        import requests
        import urllib3.exceptions

        if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | OSError):
            raise self._translated(error) from error

    def _translated(self, error: BaseException) -> HostError:
        import requests
        import urllib3.exceptions as low

        causes = tuple(_causes(error))
        session = self._session

        def caused_by(*kinds: type[BaseException]) -> bool:
            return any(isinstance(cause, kinds) for cause in causes)

        unreachable = "registry-unreachable"
        if caused_by(ssl.SSLError, low.SSLError):
            text = printable(str(causes[-1]))
            remedy = "check the name, and give the certificate of the authority that signed the registry's"
            if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
                remedy = "if this registry really speaks plain http, say so for this host"
            return session.error(f"no TLS connection: {text}", remedy=remedy, finding="registry-tls")
        if caused_by(low.NameResolutionError):
            return session.error("no such host", remedy="check the name of the registry", finding=unreachable)
        if caused_by(ConnectionRefusedError):
            return session.error(
                "nothing answers there (connection refused)",
                remedy="check the port, and whether the registry runs",
                finding=unreachable,
            )
        if caused_by(low.ConnectTimeoutError):
            return session.error("cannot be reached", remedy="check the address and the network", finding=unreachable)
        if caused_by(low.ReadTimeoutError, requests.Timeout, TimeoutError):
            return session.error(
                f"no answer for {session.timeout:g} seconds",
                remedy="try again, or look at the registry's log",
                finding=unreachable,
            )
        if caused_by(low.NewConnectionError):
            text = printable(getattr(causes[-1], "strerror", "") or str(causes[-1]))
            return session.error(f"cannot be reached: {text}", remedy="check the address", finding=unreachable)
        if caused_by(low.ProtocolError, ConnectionError, requests.ConnectionError):
            return BrokenError("the connection broke", where=session.host, remedy="try again")
        return session.error(f"no usable answer: {printable(str(error))}")


def pause_after(attempt: int, error: BrokenError) -> None:
    """Wait as long as the server asked, within bounds, or a little longer each time."""
    pause = PAUSES[min(attempt, len(PAUSES) - 1)]
    time.sleep(min(MAX_PAUSE, pause if error.pause is None else max(pause, error.pause)))


def _adapter(session: Session, base: type[Any], context: ssl.SSLContext | None) -> Any:
    """The transport below the session, and so below oras too. Made here to import requests late."""

    class Guard(base):  # type: ignore[misc]  # the base is a value because requests is imported late
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, **({"ssl_context": context} if context else {}))

        def cert_verify(self, *_: Any) -> None:
            """Nothing to set: the context holds the roots, and certifi's are not added to them."""

        def build_connection_pool_key_attributes(self, request: Any, *_: Any, **__: Any) -> Any:
            address, _tls_settings = super().build_connection_pool_key_attributes(request, True)
            return address, {"cert_reqs": "CERT_REQUIRED"}

        def send(self, request: Any, stream: bool = False, **_: Any) -> Any:
            session.check_origin(request.url, with_credentials="Authorization" in request.headers)
            response = super().send(
                request, stream=True, timeout=(min(CONNECT_TIMEOUT, session.timeout), session.timeout), verify=True
            )
            if not stream:
                # Only oras asks for whole answers, and only for tokens.
                _bound_token(response, session)
            return response

    return Guard(pool_connections=4, pool_maxsize=16)


def _bound_token(response: "requests.Response", session: Session) -> None:
    answer = Answer(response, session)
    if answer.status != 200:
        reason = answer.reason()
        raise session.error(
            f"the token service answered {answer.status}{': ' + reason if reason else ''}",
            remedy="check the name and the password for this registry",
            finding="registry-denied",
        )
    body = answer.read(MAX_TOKEN_BYTES)
    read_json(body, max_bytes=MAX_TOKEN_BYTES, where=f"{session.host} token")
    response._content = body
    response._content_consumed = True  # type: ignore[attr-defined]  # what requests itself sets after reading


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all it wraps: by chaining, as an argument, or as urllib3's ``reason``."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
