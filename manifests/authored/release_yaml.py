"""The values of ``release.yaml``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.authored.handwritten import PathText
from manifests.authored.values_yaml import ValuesFile
from manifests.documents.host_needs import HostLists
from manifests.documents.release import Audience, FileProbe, Fix, HttpProbe, Needs, Reference, TcpProbe
from manifests.documents.rollback import Command
from manifests.words.canonical import Document
from manifests.words.digest import Date, Name, Platform, Positive, RepositoryTag, Text, Time, Version, Word
from manifests.words.errors import MalformedError

NONE = "none"
ALL = "all"
ATTACHED = "attached"


class SignerFile(Document, frozen=True, kw_only=True):
    """A key (path of a PEM file), or an identity and its issuer."""

    key: PathText | None = None
    identity: Text | None = None
    issuer: Text | None = None


class ImageFile(Document, frozen=True, kw_only=True):
    """One image.

    Attributes:
        from_: A registry reference, ``oci:PATH[:NAME]``, ``oci-archive:FILE[:NAME]`` or ``docker-archive:FILE[:NAME]``.
        to: Repository at the site, with a tag if that is not the release's version.
        sbom: ``attached``, ``none`` with a reason, or the path of a file.
        foreign_layers: What becomes of layers with ``urls``, which are refused otherwise.
        known_as: Other names of the image in charts and manifests.
    """

    name: Name
    from_: PathText = field(name="from")
    platforms: Annotated[tuple[Platform, ...], Meta(max_length=64)] = ()
    to: RepositoryTag
    signed_by: Word
    reason: Text | None = None
    sbom: PathText = ATTACHED
    sbom_reason: Text | None = None
    base: Text | None = None
    foreign_layers: Literal["fetch", "absent"] | None = None
    known_as: Annotated[tuple[Reference, ...], Meta(max_length=64)] = ()


class FilesFile(Document, frozen=True, kw_only=True):
    name: Name
    from_: PathText = field(name="from")


class ChartImagesFile(Document, frozen=True, kw_only=True):
    """What holds for each image that is taken from a chart; the fields are those of an image."""

    signed_by: Word
    reason: Text | None = None
    platforms: Annotated[tuple[Platform, ...], Meta(max_length=64)] = ()
    sbom: Literal["attached", "none"] = "attached"
    sbom_reason: Text | None = None


class ImagePathFile(Document, frozen=True, kw_only=True):
    """Where a custom resource names an image: a path of keys joined by dots, ``*`` for every entry of a list."""

    kind: Annotated[str, Meta(pattern=r"\A[A-Za-z][A-Za-z0-9]{0,62}\Z")]
    path: Annotated[str, Meta(pattern=r"\A([A-Za-z0-9_-]{1,63}|\*)(\.([A-Za-z0-9_-]{1,63}|\*)){0,31}\Z")]


class ChartFile(Document, frozen=True, kw_only=True):
    """One chart.

    Attributes:
        registry_value: The value that gets the site's registry and prefix, for a chart that makes names of images by
            itself.
        values: Files of values; the chart is rendered with its defaults and with each of them, to see its images.
        image_fields: Where its custom resources name images.
        images_from: ``chart`` to take every image that the chart names and ``images`` of the release does not.
        images: What holds for the images taken so.
    """

    name: Name
    from_: PathText = field(name="from")
    registry_value: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")] | None = None
    values: Annotated[tuple[PathText, ...], Meta(max_length=64)] = ()
    image_fields: Annotated[tuple[ImagePathFile, ...], Meta(max_length=256)] = ()
    images_from: Literal["chart"] | None = None
    images: ChartImagesFile | None = None


class ProgramFile(Document, frozen=True, kw_only=True):
    name: Name
    files: Annotated[dict[Platform, PathText], Meta(min_length=1, max_length=64)]


class ConfigFile(Document, frozen=True, kw_only=True):
    schema: PathText
    version: Positive


class LimitsFile(Document, frozen=True, kw_only=True):
    time: Text
    memory: Text
    output: Text


class HandlerFile(Document, frozen=True, kw_only=True):
    """``handlers: …``. ``endpoints`` is refused: the sandbox of a handler has no network."""

    name: Name
    does: Text
    source: Text
    run: Command
    parameters: Annotated[dict[Word, ValuesFile], Meta(max_length=64)] = {}
    may: Annotated[tuple[Text, ...], Meta(max_length=64)]
    risk: Literal["read-only", "reversible", "disruptive", "changes-data"]
    repeatable: bool
    limits: LimitsFile
    returns: Word | None = None
    endpoints: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()


class StepFile(Document, frozen=True, kw_only=True):
    """One step; ``images: all`` names every image of the release."""

    step: Name
    driver: Name
    files: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    images: Annotated[tuple[Name, ...], Meta(max_length=1024)] | Literal["all"] = ()
    chart: Name | None = None
    migration: Name | None = None
    keep_running: Command | None = None
    data: Name | None = None
    after: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    downtime: Text | None = None


class ProbeFile(Document, frozen=True, kw_only=True):
    name: Name
    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    file: FileProbe | None = None
    step: Name | None = None
    every: Text | None = None
    passes: Annotated[int, Meta(ge=1, le=1000)] = 1


class TrialFile(Document, frozen=True, kw_only=True):
    at_most: Text
    confirm: Literal["probes", "person"]


class HostFile(HostLists, frozen=True, kw_only=True):
    """``host``: sizes and durations with their unit."""

    disk: Text | None = None
    memory: Text | None = None
    clock: Text | None = None


class ReleaseFile(Document, frozen=True, kw_only=True):
    """``release.yaml``. Paths are relative to it."""

    waybill: Literal[1]
    product: Name
    version: Version
    channel: Name
    sequence: Positive
    issued_at: Time | None = None
    next_expected_by: Date | None = None
    supported_until: Date | None = None
    notes: PathText | None = None
    audience: Audience
    needs: Needs
    host: HostFile | None = None
    floor: Positive
    fixes: Annotated[tuple[Fix, ...], Meta(max_length=10000)] = ()
    advisories: Annotated[tuple[PathText, ...], Meta(max_length=1024)] = ()
    authorisations: Annotated[tuple[PathText, ...], Meta(max_length=16)] = ()
    signers: Annotated[dict[Word, SignerFile], Meta(max_length=256)] = {}
    sigstore: PathText | None = None
    images: Annotated[tuple[ImageFile, ...], Meta(max_length=10000)] = ()
    files: Annotated[tuple[FilesFile, ...], Meta(max_length=1024)] = ()
    charts: Annotated[tuple[ChartFile, ...], Meta(max_length=1024)] = ()
    programs: Annotated[tuple[ProgramFile, ...], Meta(max_length=1024)] = ()
    config: ConfigFile | None = None
    contract: PathText
    rollback: PathText
    handlers: Annotated[tuple[HandlerFile, ...], Meta(max_length=1024)] = ()
    install: Annotated[tuple[StepFile, ...], Meta(min_length=1, max_length=1024)]
    probes: Annotated[tuple[ProbeFile, ...], Meta(max_length=1024)] = ()
    trial: TrialFile


@dataclass(frozen=True)
class ImageFrom:
    """Where an image comes from.

    Attributes:
        kind: ``oci`` (a layout folder), ``oci-archive`` (a tar of one), ``docker-archive`` (a tar of ``docker save``)
            or ``registry``.
        place: The path, or the whole registry reference.
        ref: The name inside a layout or archive; empty when it holds exactly one image.
    """

    kind: Literal["oci", "oci-archive", "docker-archive", "registry"]
    place: str
    ref: str = ""


FILE_KINDS: tuple[Literal["oci", "oci-archive", "docker-archive"], ...] = ("oci", "oci-archive", "docker-archive")
# Prefixes that container tools read as a kind of place (containers-transports(5)).
TRANSPORTS = frozenset({"containers-storage", "dir", "docker-daemon", "ostree", "sif", "tarball"})


def parse_from(text: str, where: str = "from") -> ImageFrom:
    """Read the ``from`` of an image. A path holds no colon, as with skopeo. Raises MalformedError."""
    remedy = "write oci:PATH[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], or host/name:tag"
    for kind in FILE_KINDS:
        if text.startswith(f"{kind}:"):
            place, colon, ref = text.removeprefix(f"{kind}:").partition(":")
            if not place or (colon and not ref):
                raise MalformedError(f"{text!r} names no image", where=where, remedy=remedy)
            return ImageFrom(kind=kind, place=place, ref=ref)
    if text.startswith(("docker://", "http://", "https://")):
        problem = f"{text!r} is an address, expected a reference"
        raise MalformedError(problem, where=where, remedy=f"leave {text.partition('//')[0]}// out")
    transport = text.partition(":")[0]
    if transport in TRANSPORTS:
        problem = f"{text!r} is read by the transport {transport} of other tools, which is not known here"
        raise MalformedError(problem, where=where, remedy=f"skopeo copy {text} oci-archive:image.tar:NAME; {remedy}")
    if text.startswith((".", "/", "-")) or text.endswith((".tar", ".tgz", ".tar.gz")):
        raise MalformedError(f"{text!r} names no registry and no layout", where=where, remedy=remedy)
    return ImageFrom(kind="registry", place=text)
