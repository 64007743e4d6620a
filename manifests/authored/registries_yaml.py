"""``registries.yaml`` beside ``release.yaml``: how ``waybill build`` reaches registries, where defaults do not fit."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Handwritten, PathText
from manifests.authored.site_yaml import HostPort
from manifests.words.canonical import Document
from manifests.words.errors import MalformedError

# Its name beside release.yaml.
REGISTRIES_YAML = "registries.yaml"
_HOST_AND_PATH = r"[A-Za-z0-9.:\[\]-]{1,255}(/[a-z0-9._-]{1,128}){0,16}"
HostAndPath = Annotated[str, Meta(pattern=rf"\A{_HOST_AND_PATH}\Z")]
HostList = Annotated[tuple[HostPort, ...], Meta(max_length=64)]


class RegistryFile(Document, frozen=True, kw_only=True):
    """One registry, or one namespace of it.

    Attributes:
        mirror: Registry, with a namespace, from which these images are read instead. Digests decide.
        plain_http: Without TLS.
        ca: PEM file of the authorities to trust instead of the system's.
        auth_file: File of credentials to use instead of those where login tools put theirs.
        token_hosts: The only other hosts that may issue tokens; left out, any that the registry names over TLS.
        content_hosts: The only other hosts to which a download may be redirected; left out, any.
        user_agent: The name by which requests introduce themselves.
    """

    mirror: HostAndPath | None = None
    plain_http: bool = False
    ca: PathText | None = None
    auth_file: PathText | None = None
    token_hosts: HostList | None = None
    content_hosts: HostList | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=1000)] | None = None
    user_agent: Annotated[str, Meta(pattern=r"\A[ -~]{1,200}\Z")] | None = None


class RegistriesFile(Document, frozen=True, kw_only=True):
    """Attributes: short_names: ``nginx:1.27`` means ``docker.io/library/nginx:1.27``; False refuses such names;
    credential_helpers: Start the helper that a file of a login tool names."""

    waybill: Literal[1]
    short_names: bool = True
    credential_helpers: bool = True
    registries: Annotated[dict[HostAndPath, RegistryFile], Meta(max_length=256)] = {}


def registries_problems(file: Handwritten, given: RegistriesFile) -> Iterator[MalformedError]:
    """What cannot hold: a mirror of a mirror, which would be looked up once and not again."""
    for name, registry in given.registries.items():
        if registry.mirror in given.registries and given.registries[registry.mirror or ""].mirror:
            yield file.wrong(
                f"the mirror {registry.mirror} has a mirror itself",
                f"$.registries.{name}.mirror",
                "name the last mirror",
            )
