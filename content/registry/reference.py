"""Parse image references: ``[host[:port]/]repository[:tag][@sha256:…]``, short names by Docker's rules."""

import re
from dataclasses import dataclass

from manifests.words.digest import is_digest
from manifests.words.errors import MalformedError

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]{{2,45}}\])(?::(?P<port>[0-9]{{1,5}}))?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAX_NAME = 255
# Where a name without a registry is (distribution/reference, normalize), and the folder of Docker's own images there.
DEFAULT_HOST = "docker.io"
_OFFICIAL = "library"
_EXAMPLE = "write it as in registry.example.com/team/app:1.0 or …/app@sha256:<64 hex digits>"


@dataclass(frozen=True)
class Reference:
    """A parsed reference, with the registry that a short name means. With both tag and digest, the digest decides."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def pointer(self) -> str | None:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Parse ``text``; ``nginx:1.27`` means ``docker.io/library/nginx:1.27``, as for Docker.

    Raises:
        MalformedError: Not in the grammar of distribution-spec.
    """
    if len(text) > 2 * _MAX_NAME + 256:
        raise MalformedError(f"a reference has {len(text)} characters, expected fewer", remedy=_EXAMPLE)
    host, _, rest = text.partition("/")
    if is_short(text):
        host, rest = DEFAULT_HOST, text
    name, at, digest = rest.partition("@")
    repository, colon, tag = name.partition(":")
    if at and not is_digest(digest):
        raise MalformedError(f"digest in {text!r} is not sha256: and 64 lower-case hex digits", remedy=_EXAMPLE)
    if colon:
        check_tag(tag)
    if host in (DEFAULT_HOST, f"index.{DEFAULT_HOST}") and repository and "/" not in repository:
        repository = f"{_OFFICIAL}/{repository}"
    return Reference(check_host(host), check_repository(repository), tag or None, digest or None)


def image_reference(text: str, where: str, *, short_names: bool) -> Reference:
    """Return the image that a release names.

    Raises:
        MalformedError: Not a reference, one without tag and digest, or a short name where those are refused.
    """
    try:
        reference = parse_reference(text)
    except MalformedError as error:
        raise error.with_(where=where) from None
    if reference.pointer is None:
        raise MalformedError(f"{text!r} has neither a tag nor a digest", where=where, remedy="add :TAG or @sha256:...")
    if is_short(text) and not short_names:
        remedy = f"write {reference}, or `short_names: true` in registries.yaml"
        raise MalformedError(f"{text!r} names no registry", where=where, remedy=remedy)
    return reference


def is_short(text: str) -> bool:
    """Whether a reference names no registry: its first part has no dot, no port, and is not ``localhost``."""
    host, slash, _ = text.partition("/")
    return not slash or not ("." in host or ":" in host or host == "localhost")


def check_host(host: str) -> str:
    """``host`` if it is a registry's name or address with an optional port, else MalformedError."""
    match = _HOST.fullmatch(host) if len(host) <= _MAX_NAME else None
    if not match or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise MalformedError(f"found {host[:300]!r}, expected the host of a registry", remedy=_EXAMPLE)
    return host


def check_repository(repository: str) -> str:
    """``repository`` if OCI allows it as a name, else MalformedError."""
    if len(repository) > _MAX_NAME or not _REPOSITORY.fullmatch(repository):
        raise MalformedError(f"found {repository[:300]!r}, expected a repository name in lower case", remedy=_EXAMPLE)
    return repository


def is_tag(tag: str) -> bool:
    """Whether OCI allows ``tag`` as the name of a manifest."""
    return _TAG.fullmatch(tag) is not None


def check_tag(tag: str) -> str:
    """``tag`` if OCI allows it, else MalformedError."""
    if not is_tag(tag):
        raise MalformedError(f"found {tag[:300]!r}, expected a tag", remedy=_EXAMPLE)
    return tag
