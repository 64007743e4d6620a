"""The values of ``release.json``, which describes one release of one product completely."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.documents.contract import Values
from manifests.documents.host_needs import HostNeeds
from manifests.documents.rollback import Command, Range
from manifests.trust.envelope import Statement, statement
from manifests.trust.keys import PublicKey
from manifests.trust.root import Mark
from manifests.words.canonical import Document, encode
from manifests.words.digest import (
    Blob,
    Count,
    Date,
    Digest,
    Key,
    MediaType,
    Name,
    Platform,
    Positive,
    Repository,
    Size,
    Tag,
    Text,
    Time,
    Version,
    Word,
    digest_of,
)
from manifests.words.errors import MalformedError

RELEASE_TYPE = "application/vnd.waybill.release.v1+json"
PREDICATE_TYPE = "urn:waybill:release:1"
FORMAT = 1
WrongRelease = Callable[[str, str], MalformedError]
MAX_RELEASE = 8 << 20
MAX_MEMBERS = 20_000
BULK_STEP = 64 << 10
MAX_HEAD = 32 << 20

Severity = Literal["none", "low", "medium", "high", "critical"]
# Relative, no component `.` or `..`, no backslash, nothing that a shell or a terminal would act on.
_COMPONENT = r"\.?[A-Za-z0-9_][A-Za-z0-9_.@+ -]{0,126}"
FilePath = Annotated[str, Meta(max_length=512, pattern=rf"\A{_COMPONENT}(/{_COMPONENT})*\Z")]
UrlPath = Annotated[str, Meta(max_length=512, pattern=r"\A/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*\Z")]
Url = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]{1,2000}\Z")]
Advisory = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")]


class Audience(Document, frozen=True, kw_only=True):
    """Who may install it: ``everyone``, or sites whose customer and environment are both listed."""

    everyone: bool = False
    customers: Annotated[tuple[Name, ...], Meta(max_length=10000)] = ()
    environments: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()


class Needs(Document, frozen=True, kw_only=True):
    """What must be true before it may be judged or installed.

    Attributes:
        verifier: Oldest verifier that understands the release.
        trust_root: Oldest root version that may judge it.
        from_: Ranges of versions that may go straight to it.
        fresh: Whether it may be a site's first release.
    """

    verifier: Annotated[str, Meta(pattern=r"\A[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?\Z")]
    trust_root: Positive
    from_: Annotated[tuple[Range, ...], Meta(max_length=64)] = field(name="from", default=())
    fresh: bool = False


class Fix(Document, frozen=True, kw_only=True):
    advisory: Advisory
    severity: Severity
    in_: Name = field(name="in")


class ImageSigner(Document, frozen=True, kw_only=True):
    """Who must have signed an image: a key, or an identity and its issuer compared exactly."""

    key: PublicKey | None = None
    identity: Text | None = None
    issuer: Text | None = None


class Target(Document, frozen=True, kw_only=True):
    """An OCI descriptor's three facts (image-spec, descriptor.md)."""

    media_type: MediaType
    digest: Digest
    size: Size


class Sbom(Document, frozen=True, kw_only=True):
    format: Literal["cyclonedx", "spdx"]
    digest: Digest
    size: Size


class Image(Document, frozen=True, kw_only=True):
    """One image or index as it lies in the bundle.

    Attributes:
        to: Repository in the site's registry.
        tag: Tag there; left out, the release's version.
        manifest: The image manifest or index that installs; with named platforms the original index.
        platforms: Those that were packed; empty means all that the index names.
        converted: The form of the file that it was made from, whose images have no manifest of their own.
        signed_by: Name of a signer, or ``none`` with ``reason``.
    """

    name: Name
    to: Repository
    tag: Tag | None = None
    manifest: Target
    platforms: Annotated[tuple[Platform, ...], Meta(max_length=64)] = ()
    signed_by: Word
    reason: Text | None = None
    sboms: Annotated[tuple[Sbom, ...], Meta(max_length=256)] = ()
    sbom_reason: Text | None = None
    base: Text | None = None
    converted: Literal["docker-archive"] | None = None

    def at(self, version: str) -> str:
        """``REPOSITORY:TAG`` at a site, for an image of the release ``version``."""
        return f"{self.to}:{self.tag or version}"


class FileEntry(Document, frozen=True, kw_only=True, gc=False):
    path: FilePath
    digest: Digest
    size: Size
    executable: bool = False


# The text by which a manifest names an image.
Reference = Annotated[str, Meta(pattern=r"\A[!-~]{1,512}\Z")]


class ImageReference(Document, frozen=True, kw_only=True):
    """How manifests name an image of the release; a site replaces it by the image in its own registry."""

    reference: Reference
    image: Name


class FileSet(Document, frozen=True, kw_only=True):
    """A folder of regular files for the ``files`` driver; entries sorted by path."""

    name: Name
    entries: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=100_000)]
    references: Annotated[tuple[ImageReference, ...], Meta(max_length=10_000)] = ()


class Chart(Document, frozen=True, kw_only=True):
    name: Name
    digest: Digest
    size: Size
    registry_value: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")] | None = None
    references: Annotated[tuple[ImageReference, ...], Meta(max_length=10_000)] = ()


class Program(Document, frozen=True, kw_only=True):
    name: Name
    files: Annotated[dict[Platform, Blob], Meta(min_length=1, max_length=64)]


class Config(Document, frozen=True, kw_only=True):
    schema: Blob
    version: Positive


class Limits(Document, frozen=True, kw_only=True):
    seconds: Positive
    memory_bytes: Positive
    output_bytes: Positive


class Handler(Document, frozen=True, kw_only=True):
    """A named command. ``run`` is a program of this release and fixed words; ``{x}`` is a typed parameter."""

    name: Name
    does: Text
    source: Text
    run: Command
    parameters: Annotated[dict[Word, Values], Meta(max_length=64)] = {}
    may: Annotated[tuple[Text, ...], Meta(max_length=64)]
    risk: Literal["read-only", "reversible", "disruptive", "changes-data"]
    repeatable: bool
    limits: Limits
    returns: Word | None = None


class InstallStep(Document, frozen=True, kw_only=True):
    """One step: what goes to which driver, after which others; ``data`` as in ``data/NAME``, else its own name."""

    step: Name
    driver: Name
    files: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    images: Annotated[tuple[Name, ...], Meta(max_length=1024)] = ()
    chart: Name | None = None
    migration: Name | None = None
    keep_running: Command | None = None
    data: Name | None = None
    after: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    downtime_seconds: Count = 0


class HttpProbe(Document, frozen=True, kw_only=True):
    endpoint: Name
    path: UrlPath
    status: Annotated[int, Meta(ge=100, le=599)]


class TcpProbe(Document, frozen=True, kw_only=True):
    endpoint: Name


class FileProbe(Document, frozen=True, kw_only=True):
    """The file at ``path`` of the file set ``files`` is at the site as the release has it."""

    files: Name
    path: FilePath


class Probe(Document, frozen=True, kw_only=True):
    """Exactly one of ``http``, ``tcp``, ``file``, ``step``; ``passes`` in a row, ``every_seconds`` apart."""

    name: Name
    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    file: FileProbe | None = None
    step: Name | None = None
    every_seconds: Positive = 10
    passes: Annotated[int, Meta(ge=1, le=1000)] = 1


# The drivers of install steps that this version has. A release with a step for another needs a newer verifier.
DRIVERS = ("files", "helm", "program", "registry", "store")


class Trial(Document, frozen=True, kw_only=True):
    at_most_seconds: Positive
    confirm: Literal["probes", "person"]


class Absent(Document, frozen=True, kw_only=True):
    """What an image names and the release does not have.

    Attributes:
        parent: The index, or the manifest, that names it.
        platform: Of a child of an index that was left out; or ``url`` of a foreign layer, where a runtime fetches it.
    """

    parent: Digest
    digest: Digest
    platform: Text | None = None
    url: Url | None = None


class Extension(Document, frozen=True, kw_only=True):
    """What a later version added: refused by name when critical, else kept and shown."""

    critical: bool
    digest: Digest
    size: Size


class Release(Document, frozen=True, kw_only=True, weakref=True, tag_field="type", tag=RELEASE_TYPE):
    """One release.

    Attributes:
        bulk_at: Length of the head in bytes, a multiple of 65536.
        members: What follows the head, in order: index.json, VERIFY.txt, then blobs, no digest twice.
        authorisations: Permissions, in envelopes of their own, to leave this very release for one below its floor.
        kits: Digests of the verifiers that read this format.
        host: What the host must have before anybody is asked to agree.
        sigstore: The ``trusted_root.json`` for signers that are identities; the root decides whether it may be.
    """

    format: Literal[1]
    product: Name
    version: Version
    channel: Name
    epoch: Positive
    sequence: Positive
    issued_at: Time
    next_expected_by: Date | None = None
    supported_until: Date | None = None
    notes: Blob | None = None
    audience: Audience
    needs: Needs
    host: HostNeeds | None = None
    floor: Positive
    fixes: Annotated[tuple[Fix, ...], Meta(max_length=10000)] = ()
    advisories: Annotated[tuple[Blob, ...], Meta(max_length=1024)] = ()
    signers: Annotated[dict[Word, ImageSigner], Meta(max_length=256)] = {}
    sigstore: Blob | None = None
    images: Annotated[tuple[Image, ...], Meta(max_length=10000)] = ()
    files: Annotated[tuple[FileSet, ...], Meta(max_length=1024)] = ()
    charts: Annotated[tuple[Chart, ...], Meta(max_length=1024)] = ()
    programs: Annotated[tuple[Program, ...], Meta(max_length=1024)] = ()
    config: Config | None = None
    contract: Blob
    rollback: Blob
    authorisations: Annotated[tuple[Blob, ...], Meta(max_length=16)] = ()
    handlers: Annotated[tuple[Handler, ...], Meta(max_length=1024)] = ()
    install: Annotated[tuple[InstallStep, ...], Meta(min_length=1, max_length=1024)]
    probes: Annotated[tuple[Probe, ...], Meta(max_length=1024)] = ()
    trial: Trial
    kits: Annotated[tuple[Digest, ...], Meta(max_length=64)] = ()
    bulk_at: Annotated[int, Meta(ge=BULK_STEP, le=MAX_HEAD, multiple_of=BULK_STEP)]
    members: Annotated[tuple[Blob, ...], Meta(min_length=2, max_length=MAX_MEMBERS)]
    absent: Annotated[tuple[Absent, ...], Meta(max_length=10000)] = ()
    extensions: Annotated[dict[Key, Extension], Meta(max_length=256)] = {}

    @property
    def mark(self) -> Mark:
        return Mark(epoch=self.epoch, sequence=self.sequence)

    @property
    def root_version(self) -> int:
        return self.needs.trust_root

    @property
    def asks_signers(self) -> bool:
        """Whether at least one image must be signed."""
        return any(image.signed_by != "none" for image in self.images)

    def file_set(self, name: str) -> FileSet:
        return next(one for one in self.files if one.name == name)

    def image(self, name: str) -> Image:
        return next(one for one in self.images if one.name == name)


class Predicate(Document, frozen=True, kw_only=True):
    """What a release signature states besides the digest. It never changes: an old verifier must read a new one."""

    product: Name
    version: Version
    channel: Name
    epoch: Positive
    sequence: Positive
    root_version: Positive
    format: Positive
    kits: Annotated[tuple[Digest, ...], Meta(max_length=64)]


ReleaseStatement = Statement[Predicate]


def predicate_of(release: Release) -> Predicate:
    return Predicate(
        product=release.product,
        version=release.version,
        channel=release.channel,
        epoch=release.epoch,
        sequence=release.sequence,
        root_version=release.root_version,
        format=release.format,
        kits=release.kits,
    )


def referenced(release: Release) -> Iterator[tuple[str, Blob]]:
    """Every blob that ``release.json`` itself names, with its place; images' own graphs are not followed."""
    single = {
        "notes": release.notes,
        "sigstore": release.sigstore,
        "contract": release.contract,
        "rollback": release.rollback,
    }
    for place, blob in single.items():
        if blob is not None:
            yield place, blob
    if release.config is not None:
        yield "config.schema", release.config.schema
    for i, blob in enumerate(release.advisories):
        yield f"advisories[{i}]", blob
    for i, blob in enumerate(release.authorisations):
        yield f"authorisations[{i}]", blob
    for i, image in enumerate(release.images):
        if not image.platforms:
            yield f"images[{i}].manifest", Blob(digest=image.manifest.digest, size=image.manifest.size)
        for j, sbom in enumerate(image.sboms):
            yield f"images[{i}].sboms[{j}]", Blob(digest=sbom.digest, size=sbom.size)
    for i, files in enumerate(release.files):
        for j, entry in enumerate(files.entries):
            yield f"files[{i}].entries[{j}]", Blob(digest=entry.digest, size=entry.size)
    for i, chart in enumerate(release.charts):
        yield f"charts[{i}]", Blob(digest=chart.digest, size=chart.size)
    for i, program in enumerate(release.programs):
        for platform, blob in program.files.items():
            yield f"programs[{i}].files[{platform}]", blob
    for name, extension in release.extensions.items():
        yield f"extensions[{name}]", Blob(digest=extension.digest, size=extension.size)


def handler_digest(handler: Handler) -> str:
    """The digest by which a revocation list names a handler: over its entry in ``release.json``."""
    return digest_of(encode(handler))  # F-13.7


def release_statement(release: Release, release_digest: str) -> Statement[Predicate]:
    return statement(predicate_of(release), PREDICATE_TYPE, name="release.json", digest=release_digest)
