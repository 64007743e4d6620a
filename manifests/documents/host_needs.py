"""What a release needs of the host on which it is installed: `host` of ``release.json`` and of ``release.yaml``."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from manifests.words.canonical import Document
from manifests.words.digest import Name, Positive

HostLook = Literal["disk", "memory", "cores", "kernel", "ports", "clock", "certificates", "registry", "kubernetes"]
# Two or three numbers: `5.10`, `1.28`.
Numbers = Annotated[str, Meta(pattern=r"\A[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class CertificateNeed(Document, frozen=True, kw_only=True):
    """The certificate of an endpoint of ``site.yaml`` is good for so many days from now on."""

    endpoint: Name
    days: Annotated[int, Meta(ge=1, le=3650)]


class HostLists(Document, frozen=True, kw_only=True):
    """The needs that are written by hand as they are compiled.

    Attributes:
        ports: TCP ports on which nothing but this site's own services listens.
        certificates: Of endpoints, and how long each must be good.
        registry: The site's registry answers.
        kernel, kubernetes: Oldest version.
        warn: Needs that only warn when they are not met.
    """

    cores: Annotated[int, Meta(ge=1, le=65536)] | None = None
    kernel: Numbers | None = None
    ports: Annotated[tuple[Port, ...], Meta(max_length=64)] = ()
    certificates: Annotated[tuple[CertificateNeed, ...], Meta(max_length=64)] = ()
    registry: Literal["answers"] | None = None
    kubernetes: Numbers | None = None
    warn: Annotated[tuple[HostLook, ...], Meta(max_length=9)] = ()

    @property
    def stated(self) -> tuple[str, ...]:
        """The names of the needs that are stated, such as ``disk``; units are no part of a name."""
        names = (name for name in self.__struct_fields__ if name != "warn")
        return tuple(name.partition("_")[0] for name in names if getattr(self, name) not in (None, ()))


class HostNeeds(HostLists, frozen=True, kw_only=True):
    """What the host must have before anybody is asked to agree.

    Attributes:
        disk_bytes: Free on the file system of the site's folder, besides what the install itself needs.
        memory_bytes: Of the host in total, or of its container.
        clock_seconds: How far the host's clock may be from the clocks of the registry and of the HTTPS endpoints.
    """

    disk_bytes: Positive | None = None
    memory_bytes: Positive | None = None
    clock_seconds: Positive | None = None


def host_contradictions(needs: HostLists) -> Iterator[tuple[str, str]]:
    """Yield each problem with its place below ``host``. F-8.22"""
    stated = needs.stated
    if not stated:
        yield "nothing is needed", ""
    given = {
        "ports": needs.ports,
        "certificates": tuple(certificate.endpoint for certificate in needs.certificates),
        "warn": needs.warn,
    }
    for place, values in given.items():
        if len(set(values)) != len(values):
            yield "an entry is given twice", f".{place}"
    for look in needs.warn:
        if look not in stated:
            yield f"{look} only warns, and is not stated", ".warn"
