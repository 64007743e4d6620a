"""Read the answer of a token service within bounds, and name the service in every error about it."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from content.bundle.oci import read_json
from content.registry.addresses import join_url, origin_of, place_of
from content.registry.answer import RETRIED, Peer, Response
from manifests.words.errors import MalformedError, WaybillError

if TYPE_CHECKING:
    import requests

MAX_TOKEN_BYTES = 64 << 10
# It goes into a header: no line ends, nothing that is not ASCII (RFC 6750, section 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,32768}")


def peer_at(registry: Peer, url: str, what: str) -> Peer:
    """How errors name the host of ``url``, which ``registry`` led to."""
    host = place_of(origin_of(url)).removeprefix("http://")
    return replace(registry, host=host, what=what, log=f"look at the log of {host}")


def token_peer(registry: Peer, url: str) -> Peer:
    return peer_at(registry, url, f"the token service of {registry.host}")


def read_token_answer(response: "requests.Response", registry: Peer) -> None:
    """Read a token answer within bounds, and leave it in ``response`` as requests itself would.

    Raises HostError, which names the token service, for anything but an object of JSON.
    """
    url = str(response.url)
    peer = token_peer(registry, url)
    answer = Response(response, peer)
    if answer.status in RETRIED:
        raise answer.busy(f"answered {answer.status}")
    if answer.status != 200:
        problem = f"answered {answer.status}{_target(answer, url)}{answer.reason()}"
        denied = answer.status in (400, 401, 403)
        finding = "registry-denied" if denied else "registry-failed"
        raise peer.error(problem, remedy=_remedy(answer.status, registry, peer), finding=finding)
    try:
        body = answer.read(MAX_TOKEN_BYTES)
        read_json(body, max_bytes=MAX_TOKEN_BYTES)
    except MalformedError as error:
        raise peer.error(
            f"answered 200 without a token: {error.problem}", remedy=_check_address(registry, peer)
        ) from None
    response._content = body
    response._content_consumed = True  # type: ignore[attr-defined]  # what requests itself sets after reading


def checked_token(token: object, registry: Peer, realm: str) -> str:
    """``token`` if a header can carry it. Raises HostError, which names the token service at ``realm``."""
    if isinstance(token, str) and _TOKEN.fullmatch(token):
        return token
    peer = token_peer(registry, realm)
    problem = "answered 200 with a token that no header can carry" if token else "answered 200 without a token"
    raise peer.error(problem, remedy=_check_address(registry, peer))


def _target(answer: Response, url: str) -> str:
    """Where a redirect leads, as a host: the rest of the address may hold a secret."""
    location = answer.headers.get("Location", "")
    if not 300 <= answer.status < 400 or not location:
        return ""
    try:
        return f" (a redirect to {place_of(origin_of(join_url(url, location)))})"
    except WaybillError:
        return " (a redirect)"


def _remedy(status: int, registry: Peer, peer: Peer) -> str:
    if status in (400, 401, 403):
        return f"check the name and the password for {registry.host}, and their rights: --auth-file FILE"
    if 300 <= status < 400 or status == 404:
        return _check_address(registry, peer)
    return f"try again, or {peer.log}"


def _check_address(registry: Peer, peer: Peer) -> str:
    return f"check the address of the token service in the settings of {registry.host}, and a proxy before {peer.host}"
