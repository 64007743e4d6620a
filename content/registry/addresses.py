"""Check the addresses that a registry session connects to, and its TLS settings."""

import os
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from content.registry.answer import printable
from manifests.trust.keys import open_regular
from manifests.words.errors import HostError, RefusedError

Origin = tuple[str, str, int]


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """The system's roots, or this one authority and no other."""
    try:
        if ca is not None:
            os.close(open_regular(ca, or_pipe=True))  # OpenSSL would wait for the writer of a named pipe
        return _system_context() if ca is None else ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise HostError(
            "cannot read the certificate of the authority", where=str(ca), remedy="name a PEM file"
        ) from error


@cache
def _system_context() -> ssl.SSLContext:
    """One context for all sessions of this process: OpenSSL takes long to read the system's roots."""
    return ssl.create_default_context()


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL of others. Raises RefusedError unless it is http(s) without a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise _refused(url)
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)


def join_url(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise _refused(location) from None


def place_of(origin: Origin) -> str:
    scheme, name, port = origin
    name = f"[{name}]" if ":" in name else name
    usual = port == (443 if scheme == "https" else 80)
    return f"{'http://' if scheme == 'http' else ''}{name}{'' if usual else f':{port}'}"


def _refused(url: str) -> RefusedError:
    problem = f"the registry names the address {printable(url)!r}, expected an http or https address"
    return RefusedError(problem, finding="foreign-host", remedy="ask who runs the registry")


def path_only(url: str) -> str:
    """A URL for a message, without the query, which may hold a secret state."""
    return urlsplit(url).path[:300]
