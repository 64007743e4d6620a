"""Make guarded HTTP requests to one registry: allowed hosts, credentials, retries.

oras brings the exchange of credentials for a token. Whatever could reach another host, wait for ever or
read without end is decided below it, in the transport adapter. So it also holds for the requests of oras itself.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from content.registry.addresses import Origin, join_url, origin_of, path_only, place_of, tls_context
from content.registry.answer import RETRIED, Peer, Response, repeated
from content.registry.auth import HUB, Credentials, find_credentials
from content.registry.reference import check_host
from content.registry.token_answer import checked_token, peer_at, read_token_answer, token_peer
from manifests.words.errors import HostError, RefusedError

if TYPE_CHECKING:
    from oras.auth.token import TokenAuth
    from oras.auth.utils import authHeader
    from requests.adapters import _HostParams, _PoolKwargs
    from urllib3 import ProxyManager

CONNECT_TIMEOUT = 5.0
MAX_REDIRECTS = 3
# Where the API of docker.io is.
HUB_ENDPOINT = "registry-1.docker.io"
# oras loads longer than all of ours, so only for a registry with a login, and then by one thread at a time: two can see
# its packages half loaded.
_LOADING = threading.Lock()
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_HOST = "the host of the registry's content"


_CHALLENGE = re.compile(r'(?:^|,)\s*(basic|bearer)\s+((?:[^",]|"[^"]*"|,(?!\s*(?:basic|bearer)\s))*)', re.IGNORECASE)


@dataclass(frozen=True)
class RegistryOptions:
    """How one registry is reached.

    Attributes:
        plain_http: Speak without TLS with this registry.
        plain_hosts: Other hosts (``name[:port]``) that may be reached without TLS.
        ca: A PEM file whose authorities replace the system's.
        auth_file: The only file of credentials to look at, instead of those where login tools put theirs.
        credentials: Name and password, instead of any file.
        timeout: Seconds without a byte after which the registry counts as hanging.
        token_hosts: Other hosts (``name[:port]``) that may issue its tokens, and so see the credentials; None for
            any that the registry names over TLS: it could ask for the password itself.
        content_hosts: Other hosts to which a download may be redirected, without credentials; None for any: the
            digest decides. Content never leaves TLS for plain HTTP. Uploads are never redirected.
        helpers: Start the credential helper that a file of a login tool names.
        rate: Requests a second, at most; None for no limit.
        user_agent: The name by which requests introduce themselves.
        environ: Where ``REGISTRY_AUTH_FILE``, ``XDG_RUNTIME_DIR``, ``XDG_CONFIG_HOME``, ``DOCKER_CONFIG``, ``HOME``
            and the proxies (``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``) are looked up; the process's own if None.
    """

    plain_http: bool = False
    plain_hosts: frozenset[str] = frozenset()
    ca: Path | None = None
    auth_file: Path | None = None
    credentials: tuple[str, str] | None = None
    timeout: float = 30.0
    token_hosts: frozenset[str] | None = None
    content_hosts: frozenset[str] | None = None
    helpers: bool = False
    rate: float | None = None
    user_agent: str = "waybill"
    environ: Mapping[str, str] | None = None

    def find_credentials(self, host: str, repository: str) -> Credentials | None:
        """Raises as `content.registry.auth.find_credentials`."""
        if self.credentials:
            return Credentials(*self.credentials)
        environ = os.environ if self.environ is None else self.environ
        home = Path(environ.get("HOME") or "/")
        return find_credentials(
            host, repository, auth_file=self.auth_file, environ=environ, home=home, helpers=self.helpers
        )


DEFAULTS = RegistryOptions()


@dataclass(frozen=True)
class Body:
    """A request body of known length whose pieces are made while it is sent, and made again for a retry."""

    size: int
    pieces: Callable[[], Iterator[bytes]]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()


@dataclass(frozen=True)
class _Request:
    """One request before it is authenticated. Attributes: repository: for which a token is kept."""

    method: str
    url: str
    repository: str
    headers: Mapping[str, str]
    body: Body | bytes | None

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")


class Session:
    """Requests to one registry. Several threads may use it at once."""

    def __init__(self, host: str, options: RegistryOptions, what: str = "the registry") -> None:
        self.peer = Peer(check_host(host), options.timeout, what)
        self._options = options
        self._scheme = "http" if options.plain_http else "https"
        self._base = f"{self._scheme}://{HUB_ENDPOINT if host in HUB else host}"
        self._own = origin_of(self._base)
        # Token services that the registry named and that were allowed, as origins.
        self._realms: set[Origin] = set()
        self._credentials: dict[str, Credentials | None] = {}
        self._basic: dict[str, str] = {}
        self._tokens: dict[tuple[str, bool], str] = {}
        self._lock = threading.Lock()
        self._http = _HttpSession()
        # Some registries take a client that returns their cookies for a browser.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # No .netrc, and no REQUESTS_CA_BUNDLE, which would even win over `verify`. The adapter looks up the proxies.
        self._http.trust_env = False
        self._http.headers.update({"User-Agent": options.user_agent, "Accept-Encoding": "identity"})
        adapter = _Adapter(self.peer, self.check_origin, options)
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, adapter)

    @cached_property
    def _auth(self) -> "TokenAuth":
        """The token exchange of oras, in our session."""
        with _LOADING:
            import oras.auth

        backend: TokenAuth = oras.auth.get_auth_backend("token", self._http, self._options.plain_http)
        return backend

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
    ) -> Response:
        """One exchange, authenticated as the registry asks, repeated while a retry may help.

        Any status of the registry comes back that is neither 401, a redirect nor in `RETRIED`; of a host behind a
        redirect 401 too.

        Args:
            url: A path of this registry, or a URL it gave.
            repository: The repository that a token is kept for.
            retry: False where the caller repeats the request itself.

        Raises:
            HostError: No answer, or none that helps.
            RefusedError: The registry redirects to a host that was not allowed.
        """
        request = _Request(method, join_url(self._base, url), repository, headers or {}, body)
        call = partial(self._authenticated, request)
        return repeated(call) if retry else call()

    def download(self, url: str, headers: Mapping[str, str]) -> Response:
        """One GET that never sends credentials, redirects followed; any other status comes back."""
        return self._followed(_Request("GET", url, "", headers, None), {})

    def own_url(self, base: str, location: str) -> str:
        """The address that the registry gave for the next request. Raises RefusedError if it is another host's."""
        url = join_url(join_url(self._base, base), location)
        if origin_of(url) != self._own:
            raise self._refused(f"the next request would go to {place_of(origin_of(url))}", origin_of(url))
        return url

    def check_origin(self, url: str, *, with_credentials: bool) -> None:
        """Raise RefusedError for a request of ours or of oras to a host that was not allowed."""
        origin = origin_of(url)
        if origin == self._own or origin in self._realms:
            return
        if with_credentials:
            raise self._refused(f"credentials would go to {place_of(origin)}", origin)
        # Content never leaves TLS for plain HTTP.
        if origin[0] == "http" != self._scheme or not _is_listed(origin, self._options.content_hosts):
            raise self._refused(f"content would come from {place_of(origin)}", origin)

    def _authenticated(self, request: _Request) -> Response:
        """Send; after a 401 authenticate and send once more."""
        key = (request.repository, not request.reads)
        authorization = self._authorization(key)
        answer = self._followed(request, authorization)
        # The challenge of a host behind a redirect is not followed: it could ask for the password of the registry.
        if answer.status == 401 and answer.peer is self.peer:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.discard()
            self._authenticate(challenge, key, already_sent=bool(authorization))
            answer = self._followed(request, self._authorization(key))
            if answer.status == 401 and answer.peer is self.peer:
                answer.discard()
                raise self._denied(request.repository)
        if answer.status in RETRIED:
            raise answer.busy(f"answered {answer.status} to {request.method} {path_only(request.url)}")
        return answer

    def _followed(self, request: _Request, authorization: dict[str, str]) -> Response:
        """Follow redirects of downloads; credentials stay with the registry's own origin."""
        url = request.url
        for _ in range(MAX_REDIRECTS + 1):
            headers = {**request.headers, **(authorization if origin_of(url) == self._own else {})}
            peer = self.peer if origin_of(url) == self._own else peer_at(self.peer, url, _CONTENT_HOST)
            with peer.failures():
                response = self._http.request(
                    request.method, url, headers=headers, data=request.body, stream=True, allow_redirects=False
                )
            answer = Response(response, peer)
            if answer.status not in REDIRECTS:
                return answer
            location = answer.headers.get("Location", "")
            answer.close()
            if not location:
                raise peer.error(f"answered {answer.status}, a redirect, and does not say where to (no Location)")
            target = join_url(url, location)
            if not request.reads:
                raise self._refused(f"an upload would go to {place_of(origin_of(target))}", origin_of(target))
            self.check_origin(target, with_credentials=False)
            url = target
        raise self.peer.error(f"redirects more than {MAX_REDIRECTS} times")

    def _authorization(self, key: tuple[str, bool]) -> dict[str, str]:
        with self._lock:
            if token := self._tokens.get(key):
                return {"Authorization": f"Bearer {token}"}
            basic = self._basic.get(key[0])
            return {"Authorization": f"Basic {basic}"} if basic else {}

    def _authenticate(self, header: str, key: tuple[str, bool], *, already_sent: bool) -> None:
        """Authenticate by the scheme that the challenge names."""
        with _LOADING:
            import oras.auth.utils

        challenges = {scheme.lower(): rest for scheme, rest in _CHALLENGE.findall(header[:8192])}
        repository = key[0]
        with self._lock:
            if repository not in self._credentials:
                self._credentials[repository] = self._options.find_credentials(self.peer.host, repository)
            credentials = self._credentials[repository]
            if "bearer" in challenges:
                parsed = oras.auth.utils.parse_auth_header(challenges["bearer"])
                self._check_realm(parsed.realm or "", with_credentials=credentials is not None)
                self._tokens.pop(key, None)
                self._tokens[key] = self._fetch_token(parsed, credentials)
            elif "basic" in challenges:
                if not credentials or credentials.identity_token or already_sent:
                    raise self._denied(repository)
                self._basic[repository] = oras.auth.utils.get_basic_auth(credentials.username, credentials.password)
            else:
                raise self.peer.error("asks for an unknown kind of credentials, expected Basic or Bearer")

    def _check_realm(self, realm: str, *, with_credentials: bool) -> None:
        """Allow the token service at ``realm``, or refuse it: it sees the password.

        Any host over TLS may be one, unless the allowed hosts are listed. A registry that is reached without TLS may
        name one without TLS, which then gets no password unless it was allowed by name.
        """
        origin = origin_of(realm) if realm else None
        if origin is None:
            raise self.peer.error("names no token service")
        if origin != self._own:
            name = place_of(origin).removeprefix("http://")
            hosts = self._options.token_hosts
            plain_allowed = self._scheme == "http" and (hosts is not None or not with_credentials)
            permitted = origin[0] == "https" or name in self._options.plain_hosts or plain_allowed
            if not permitted or not _is_listed(origin, hosts):
                problem = f"the registry wants tokens to be fetched from {place_of(origin)}"
                remedy = f"if {name} issues its tokens, add it to `token_hosts`"
                if not permitted:
                    problem += " without TLS"
                    remedy = f"if {name} issues its tokens and may see the password: --plain-http {name}"
                raise RefusedError(
                    f"{problem}, which is not allowed to issue them",
                    where=self.peer.host,
                    remedy=remedy,
                    finding="foreign-realm",
                )
        self._realms.add(origin)

    def _fetch_token(self, challenge: "authHeader", credentials: Credentials | None) -> str:
        realm, token = challenge.realm or "", None
        try:
            with token_peer(self.peer, realm).failures():
                if credentials is None:
                    token = self._auth.request_anonymous_token(challenge)
                elif credentials.identity_token:
                    token = self._exchange_identity_token(challenge, credentials.password)
                else:
                    self._auth.set_basic_auth(credentials.username, credentials.password)
                    token = self._auth.request_token(challenge)
        except (ValueError, AttributeError):
            pass  # an answer without a token
        return checked_token(token, self.peer, realm)

    def _exchange_identity_token(self, challenge: "authHeader", identity_token: str) -> object:
        """An access token for an identity token (RFC 6749, section 6), as oras cannot."""
        fields = {"grant_type": "refresh_token", "client_id": "waybill", "refresh_token": identity_token}
        fields |= {name: text for name in ("service", "scope") if (text := getattr(challenge, name))}
        answer = self._http.post(str(challenge.realm), data=fields, allow_redirects=False).json()
        return answer.get("access_token") or answer.get("token")

    def _denied(self, repository: str) -> HostError:
        credentials = self._credentials.get(repository)
        user = f"the credentials of {credentials.username!r}" if credentials else "anonymous access"
        return self.peer.error(
            f"does not accept {user} for {repository} (401)",
            remedy=f"log in to {self.peer.host}, or name the file with its credentials: --auth-file FILE",
            finding="registry-denied",
        )

    def _refused(self, problem: str, origin: tuple[str, str, int]) -> RefusedError:
        return RefusedError(
            f"{self.peer.what} redirects elsewhere: {problem}",
            where=self.peer.host,
            remedy=f"if {place_of(origin)} belongs to the registry, add it to `content_hosts`",
            finding="foreign-host",
        )


class _HttpSession(requests.Session):
    """Follows no redirect: requests would read its whole body, even of one that it is told not to follow."""

    def get_redirect_target(self, _resp: requests.Response) -> None:
        return None


def _is_listed(origin: Origin, hosts: frozenset[str] | None) -> bool:
    """Whether ``hosts`` has this host; None lists every host."""
    return hosts is None or any(origin_of(f"{origin[0]}://{name}") == origin for name in hosts)


class _Adapter(HTTPAdapter):
    """The transport below requests, and so below oras too: each request passes `check_origin` and has a timeout."""

    def __init__(self, peer: Peer, check_origin: Callable[..., None], options: RegistryOptions) -> None:
        self._peer = peer
        self._check_origin = check_origin
        self._context = tls_context(options.ca)
        self._uses_proxies = options.environ is None
        self._interval = 1 / options.rate if options.rate else 0.0
        self._next = time.monotonic()
        self._turn = threading.Lock()
        super().__init__(pool_connections=4, pool_maxsize=16)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: object) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: object) -> "ProxyManager":
        manager: ProxyManager = super().proxy_manager_for(proxy, **options, ssl_context=self._context)
        return manager

    def cert_verify(self, *_: object) -> None:
        """Nothing to set: the context holds the roots, and certifi's are not added to them."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> "tuple[_HostParams, _PoolKwargs]":
        address, _tls_settings = super().build_connection_pool_key_attributes(request, True)
        return address, {"cert_reqs": "CERT_REQUIRED"}

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *_: object, **__: object
    ) -> requests.Response:
        self._check_origin(request.url, with_credentials="Authorization" in request.headers)
        self._wait_for_turn()
        seconds = self._peer.timeout
        # By the environment's names, NO_PROXY included; only where the environment is ours to use.
        proxies = get_environ_proxies(str(request.url)) if self._uses_proxies else {}
        response = super().send(
            request, stream=True, timeout=(min(CONNECT_TIMEOUT, seconds), seconds), verify=True, proxies=proxies
        )
        if not stream:
            # Only oras asks for whole answers, and only for tokens.
            read_token_answer(response, self._peer)
        return response

    def _wait_for_turn(self) -> None:
        with self._turn:
            pause = self._next - time.monotonic()
            self._next = max(self._next, time.monotonic()) + self._interval
        if pause > 0:
            time.sleep(pause)
