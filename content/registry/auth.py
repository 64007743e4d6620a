"""Read registry credentials from the file of ``docker login`` or ``podman login``, or from the helper that it names."""

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from content.bundle.oci import read_json
from manifests.trust.keys import open_regular
from manifests.words.errors import HostError, MalformedError, RefusedError

MAX_AUTH_BYTES = 1 << 20
MAX_HELPER_BYTES = 64 << 10
HELPER_SECONDS = 30.0
# Docker Hub answers under several names, and its tools write the oldest of them.
HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEY = "https://index.docker.io/v1/"
_REMEDY = "log in with name and password into another file, and name that file: --auth-file FILE"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What docker-credential-helpers call a user name whose secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105  # a word of a protocol
_NO_ENTRY = "credentials not found"


@dataclass(frozen=True)
class Credentials:
    """Attributes: identity_token: The password is a token of OAuth2, to be exchanged at the token service."""

    username: str
    password: str = field(repr=False)
    identity_token: bool = False


def auth_files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Where login tools put their file, in the order of containers-auth.json(5), then Docker's."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        # A file that was named is the only one, also when it does not exist.
        yield Path(named)
        return
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    config = environ.get("XDG_CONFIG_HOME")
    yield (Path(config) if config else home / ".config") / "containers" / "auth.json"
    docker = environ.get("DOCKER_CONFIG")
    yield (Path(docker) if docker else home / ".docker") / "config.json"


def find_credentials(
    host: str, repository: str, *, auth_file: Path | None, environ: Mapping[str, str], home: Path, helpers: bool
) -> Credentials | None:
    """The first entry for ``host/repository``, or None: the registry is then asked anonymously.

    Args:
        helpers: Start the helper program that a file names (``credHelpers``, ``credsStore``).

    Raises:
        HostError: A file that was named cannot be read, or a helper program fails.
        MalformedError: A file is not JSON of that shape.
        RefusedError: The entry needs a helper program, and ``helpers`` is False.
    """
    named = auth_file is not None or "REGISTRY_AUTH_FILE" in environ
    for path in [auth_file] if auth_file is not None else auth_files(environ, home):
        try:
            with os.fdopen(open_regular(path, or_pipe=True), "rb") as stream:
                data = stream.read(MAX_AUTH_BYTES + 1)
        except FileNotFoundError:
            if not named:
                continue
            raise HostError("no such file of credentials", where=str(path), remedy="check the path") from None
        except OSError as error:
            raise HostError(f"cannot read credentials: {error.strerror}", where=str(path)) from error
        if credentials := read_credentials(data, host, repository, helpers=helpers, where=str(path)):
            return credentials
    return None


def read_credentials(
    data: bytes, host: str, repository: str = "", *, helpers: bool = False, where: str = ""
) -> Credentials | None:
    """What an auth file says about ``host/repository``: the entry with the longest matching name counts.

    Raises: As `find_credentials`.
    """
    document = read_json(data, max_bytes=MAX_AUTH_BYTES, where=where)
    entries = _object(document, "auths", where)
    names = (*_namespaces(host, repository), *_names(host))
    key = next((name for name in names if name in entries), "")
    entry = _object(entries, key, f"{where} auths") if key else {}
    inline = _text(entry, "auth", where)
    if token := _text(entry, "identitytoken", where):
        return Credentials(_TOKEN_USER, token, identity_token=True)
    if inline:
        return _decode(inline, host, where)
    if "username" in entry and "password" in entry:
        return Credentials(_text(entry, "username", where), _text(entry, "password", where))
    by_host = _object(document, "credHelpers", where)
    helped = next((name for name in names if name in by_host), "")
    helper = _text(by_host, helped, where) if helped else _text(document, "credsStore", where)
    if not helper:
        return None
    if not helpers:
        if not helped and not key:
            return None
        raise RefusedError(
            f"credentials for {host} are kept by a helper program, which is not started",
            where=where,
            remedy=_REMEDY,
            finding="credential-helper",
        )
    server = helped or key or (_HUB_KEY if host in HUB else host)
    return _ask_helper(helper, server, where)


def _ask_helper(helper: str, server: str, where: str) -> Credentials | None:
    """What ``docker-credential-HELPER get`` answers about ``server``; None where it has no entry.

    The program is found on PATH by this fixed name and started without a shell (docker-credential-helpers, protocol).
    """
    if not _HELPER_NAME.fullmatch(helper):
        raise MalformedError(f"found {helper[:80]!r}, expected the name of a credential helper", where=where)
    program = f"docker-credential-{helper}"

    def failed(problem: str) -> HostError:
        remedy = f"run `echo {server} | {program} get` to see why, or {_REMEDY}"
        return HostError(f"{program} {problem}", where=where, remedy=remedy, finding="credential-helper")

    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise failed("is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = "gave no answer" if isinstance(error, subprocess.TimeoutExpired) else f"cannot run: {error.strerror}"
        raise failed(problem) from None
    if done.returncode != 0:
        if _NO_ENTRY in done.stdout.decode(errors="replace").lower():
            return None
        raise failed(f"failed with exit code {done.returncode}")
    try:
        answer = json.loads(done.stdout[:MAX_HELPER_BYTES])
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, TypeError, KeyError):
        raise failed("answered something else than a name and a secret") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise failed("answered something else than a name and a secret")
    return Credentials(username, secret, identity_token=username == _TOKEN_USER)


def _namespaces(host: str, repository: str) -> Iterator[str]:
    """``host/a/b``, ``host/a``: the namespaces of a repository, the longest first (containers-auth.json(5))."""
    hosts = sorted(HUB) if host in HUB else [host]
    parts = repository.split("/") if repository else []
    for length in range(len(parts), 0, -1):
        yield from (f"{name}/{'/'.join(parts[:length])}" for name in hosts)


def _names(host: str) -> tuple[str, ...]:
    """The keys under which tools file a host: bare, or as a URL of an old API."""
    bare = (host, *(f"https://{host}{end}" for end in ("", "/", "/v1/", "/v2/")))
    return (*bare, *sorted(HUB), _HUB_KEY) if host in HUB else bare


def _decode(inline: str, host: str, where: str) -> Credentials:
    try:
        text = base64.b64decode(inline, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise MalformedError(f"the entry for {host} is not base64 of name:password", where=where) from None
    username, colon, password = text.partition(":")
    if not colon or not username:
        raise MalformedError(f"the entry for {host} is not base64 of name:password", where=where)
    # Some tools pad the password with zero bytes.
    return Credentials(username, password.rstrip("\x00"))


def _object(fields: Mapping[str, object], key: str, where: str) -> dict[str, object]:
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"{key} is not an object", where=where)
    return value


def _text(fields: Mapping[str, object], key: str, where: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedError(f"{key} is not text", where=where)
    return value
