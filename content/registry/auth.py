"""Read registry credentials from the file that ``docker login`` or ``podman login`` wrote.

Only names and passwords in the file itself are used. Credential helpers, which are programs, are never started.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from content.bundle.oci import read_json
from manifests.words.errors import HostError, MalformedError, RefusedError

MAX_AUTH_BYTES = 1 << 20
# Docker Hub answers under several names, and its tools write the oldest of them.
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEY = "https://index.docker.io/v1/"
_REMEDY = "log in with name and password into another file, and name that file: --auth-file FILE"


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str = field(repr=False)


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
    host: str, *, auth_file: Path | None, environ: Mapping[str, str], home: Path
) -> Credentials | None:
    """The first entry for ``host``, or None: the registry is then asked anonymously.

    Raises:
        HostError: A file that was named cannot be read.
        MalformedError: A file is not JSON of that shape.
        RefusedError: The entry asks for a helper program or holds an identity token.
    """
    named = auth_file is not None or "REGISTRY_AUTH_FILE" in environ
    for path in [auth_file] if auth_file is not None else auth_files(environ, home):
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_AUTH_BYTES + 1)
        except FileNotFoundError:
            if not named:
                continue
            raise HostError("no such file of credentials", where=str(path), remedy="check the path") from None
        except OSError as error:
            raise HostError(f"cannot read credentials: {error.strerror}", where=str(path)) from error
        if credentials := read_credentials(data, host, where=str(path)):
            return credentials
    return None


def read_credentials(data: bytes, host: str, *, where: str = "") -> Credentials | None:
    """What an auth file has for ``host``. Raises as `find_credentials`."""
    document = read_json(data, max_bytes=MAX_AUTH_BYTES, where=where)
    entries = _object(document, "auths", where)
    names = _names(host)
    key = next((name for name in names if name in entries), "")
    entry = _object(entries, key, f"{where} auths") if key else {}
    inline = _text(entry, "auth", where)
    if inline:
        return _decode(inline, host, where)
    if "username" in entry and "password" in entry:
        return Credentials(_text(entry, "username", where), _text(entry, "password", where))
    helpers = _object(document, "credHelpers", where)
    helper = next((name for name in names if name in helpers), "")
    if helper or (key and _text(document, "credsStore", where)):
        problem = f"credentials for {host} are kept by a helper program, which is not started"
        raise RefusedError(problem, where=where, remedy=_REMEDY, finding="credential-helper")
    if "identitytoken" in entry or "registrytoken" in entry:
        problem = f"the entry for {host} holds a token instead of a name and a password"
        raise RefusedError(problem, where=where, remedy=_REMEDY, finding="credential-token")
    return None


def _names(host: str) -> tuple[str, ...]:
    """The keys under which tools file a host: bare, or as a URL of an old API."""
    bare = (host, *(f"https://{host}{end}" for end in ("", "/", "/v1/", "/v2/")))
    return (*bare, *sorted(_HUB), _HUB_KEY) if host in _HUB else bare


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
