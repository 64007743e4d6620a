"""Parse image references: ``host[:port]/repository[:tag][@sha256:…]``."""

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
_EXAMPLE = "write it as in registry.example.com/team/app:1.0 or …/app@sha256:<64 hex digits>"


@dataclass(frozen=True)
class Reference:
    """A parsed reference; nothing is filled in that was not given. With both tag and digest, the digest decides."""

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
    """Parse ``text``. Raises MalformedError outside the grammar of distribution-spec, or without a host."""
    if len(text) > 2 * _MAX_NAME + 256:
        raise MalformedError(f"a reference has {len(text)} characters, expected fewer", remedy=_EXAMPLE)
    host, slash, rest = text.partition("/")
    # Without a dot, a port or the word localhost the first part could as well be a folder of a default registry.
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        raise MalformedError(f"found {text!r}, expected a reference that names its registry", remedy=_EXAMPLE)
    name, at, digest = rest.partition("@")
    repository, colon, tag = name.partition(":")
    if at and not is_digest(digest):
        raise MalformedError(f"digest in {text!r} is not sha256: and 64 lower-case hex digits", remedy=_EXAMPLE)
    if colon:
        check_tag(tag)
    return Reference(check_host(host), check_repository(repository), tag or None, digest or None)


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


def check_tag(tag: str) -> str:
    """``tag`` if OCI allows it, else MalformedError."""
    if not _TAG.fullmatch(tag):
        raise MalformedError(f"found {tag[:300]!r}, expected a tag", remedy=_EXAMPLE)
    return tag
