"""``release.json``: one release of one product, complete; a release is identified by the digest of these bytes."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.canonical import parse
from manifests.contract import Values, check_values
from manifests.digest import (
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
    Text,
    Time,
    Version,
    Word,
)
from manifests.document import Document
from manifests.envelope import Statement
from manifests.errors import MalformedError
from manifests.keys import PublicKey
from manifests.rollback import Command, Range
from manifests.trust import Mark
from manifests.version import parse_range, parse_version

RELEASE_TYPE = "application/vnd.waybill.release.v1+json"
PREDICATE_TYPE = "urn:waybill:release:1"
FORMAT = 1
Refuse = Callable[[str, str], MalformedError]
MAX_RELEASE = 16 << 20
MAX_MEMBERS = 100_000
BULK_STEP = 64 << 10
MAX_HEAD = 32 << 20

Severity = Literal["none", "low", "medium", "high", "critical"]
# Relative, no component `.` or `..`, no backslash, nothing that a shell or a terminal would act on.
_COMPONENT = r"\.?[A-Za-z0-9_][A-Za-z0-9_.@+ -]{0,126}"
FilePath = Annotated[str, Meta(max_length=512, pattern=rf"\A{_COMPONENT}(/{_COMPONENT})*\Z")]
UrlPath = Annotated[str, Meta(max_length=512, pattern=r"\A/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*\Z")]
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
        manifest: The image manifest or index that installs; with named platforms the original index.
        platforms: Those that were packed; empty means all that the index names.
        signed_by: Name of a signer, or ``none`` with ``reason``.
    """

    name: Name
    to: Repository
    manifest: Target
    platforms: Annotated[tuple[Platform, ...], Meta(max_length=64)] = ()
    signed_by: Word
    reason: Text | None = None
    sboms: Annotated[tuple[Sbom, ...], Meta(max_length=256)] = ()
    sbom_reason: Text | None = None
    base: Text | None = None


class FileEntry(Document, frozen=True, kw_only=True):
    path: FilePath
    digest: Digest
    size: Size
    executable: bool = False


class FileSet(Document, frozen=True, kw_only=True):
    """A folder of regular files for the ``files`` driver; entries sorted by path."""

    name: Name
    entries: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=100_000)]


class Chart(Document, frozen=True, kw_only=True):
    name: Name
    digest: Digest
    size: Size
    registry_value: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")] | None = None


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
    """One step: what goes to which driver, after which others."""

    step: Name
    driver: Name
    files: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    images: Annotated[tuple[Name, ...], Meta(max_length=1024)] = ()
    chart: Name | None = None
    migration: Name | None = None
    keep_running: Command | None = None
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


class Trial(Document, frozen=True, kw_only=True):
    at_most_seconds: Positive
    confirm: Literal["probes", "person"]


class Absent(Document, frozen=True, kw_only=True):
    """A child of an index that was left out when platforms were named."""

    parent: Digest
    digest: Digest
    platform: Text


class Extension(Document, frozen=True, kw_only=True):
    """What a later version added: refused by name when critical, else kept and shown."""

    critical: bool
    digest: Digest
    size: Size


class Release(Document, frozen=True, kw_only=True, tag_field="type", tag=RELEASE_TYPE):
    """One release.

    Attributes:
        bulk_at: Length of the head in bytes, a multiple of 65536.
        members: What follows the head, in order: index.json, VERIFY.txt, then blobs, no digest twice.
        authorisations: Permissions, in envelopes of their own, to leave this very release for one below its floor.
        kits: Digests of the verifiers that read this format.
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
        """Whether some image must be signed by somebody."""
        return any(image.signed_by != "none" for image in self.images)

    def file_set(self, name: str) -> FileSet:
        return next(one for one in self.files if one.name == name)

    def image(self, name: str) -> Image:
        return next(one for one in self.images if one.name == name)


class Predicate(Document, frozen=True, kw_only=True):
    """What a release signature says besides the digest. Frozen for ever: an old verifier must read a new one."""

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


def parse_release(data: bytes, what: str = "release.json") -> Release:
    """Read ``release.json``, which must be trusted already, and check it against itself.

    Raises:
        MalformedError: Not a release of this format, or one that contradicts itself.
    """
    release = parse(data, Release, what, max_bytes=MAX_RELEASE)  # F-85
    check_release(release, what)
    return release


def check_release(release: Release, what: str) -> None:
    """Every rule that ties one part of ``release.json`` to another."""

    def refuse(problem: str, place: str) -> MalformedError:
        return MalformedError(problem, where=f"{what} $.{place}")

    parse_version(release.version, f"{what} $.version")  # F-99
    for i, one in enumerate(release.needs.from_):
        parse_range(one, f"{what} $.needs.from[{i}]")
    named = [bool(release.audience.customers), bool(release.audience.environments)]
    if named != [not release.audience.everyone] * 2:  # F-87
        raise refuse("either `everyone`, or customers and environments", "audience")
    _check_times(release, refuse)
    if release.floor > release.sequence:  # F-88
        raise refuse(f"floor {release.floor} is above the release's own sequence {release.sequence}", "floor")
    if not release.needs.fresh and not release.needs.from_:  # F-89
        raise refuse("nothing may go to this release: neither `fresh` nor a range in `from`", "needs")
    _check_members(release, refuse)
    _check_names(release, refuse)
    _check_parts(release, refuse, what)
    _check_plan(release, refuse)


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


def _check_members(release: Release, refuse: Refuse) -> None:
    digests = [one.digest for one in release.members[2:]]
    if len(set(digests)) != len(digests):  # F-102
        raise refuse("a digest is listed twice", "members")
    sizes = {one.digest: one.size for one in release.members[2:]}
    for place, blob in referenced(release):
        if sizes.get(blob.digest) != blob.size:  # F-103
            raise refuse(f"{blob.digest} of {blob.size} bytes is not among the members", place)


def _check_times(release: Release, refuse: Refuse) -> None:
    for place in ("issued_at", "next_expected_by", "supported_until"):
        value = getattr(release, place)
        try:
            if value is not None:
                datetime.fromisoformat(value)  # F-86
        except ValueError:
            raise refuse(f"{value} is not in the calendar", place) from None


def _check_names(release: Release, refuse: Refuse) -> None:
    for place, names in (
        ("images", [one.name for one in release.images]),
        ("files", [one.name for one in release.files]),
        ("charts", [one.name for one in release.charts]),
        ("programs", [one.name for one in release.programs]),
        ("handlers", [one.name for one in release.handlers]),
        ("install", [one.step for one in release.install]),
        ("probes", [one.name for one in release.probes]),
        ("images to", [one.to for one in release.images]),
    ):
        if len(set(names)) != len(names):  # F-104
            raise refuse("a name is given twice", place)


def _check_parts(release: Release, refuse: Refuse, what: str) -> None:
    for i, image in enumerate(release.images):
        if image.signed_by != "none" and image.signed_by not in release.signers:  # F-105
            raise refuse(f"signer {image.signed_by!r} is not among the signers", f"images[{i}].signed_by")
        if image.signed_by == "none" and not image.reason:
            raise refuse("an image that nobody signed needs a reason", f"images[{i}].reason")
        if bool(image.sboms) == bool(image.sbom_reason):  # F-105
            raise refuse("an image has an SBOM, or a reason why not", f"images[{i}].sboms")
    if "none" in release.signers:  # F-106
        raise refuse("`none` says that nobody signed, it cannot name a signer", "signers")
    for name, signer in release.signers.items():
        by_identity = signer.identity is not None and signer.issuer is not None
        if (signer.key is not None) == by_identity or (signer.identity is None) != (signer.issuer is None):  # F-106
            raise refuse("either a key, or identity and issuer", f"signers.{name}")
    identities = any(one.key is None for one in release.signers.values())
    if identities > (release.sigstore is not None) or (release.sigstore is not None and not release.signers):  # F-90
        raise refuse("signers that are identities need a trusted root, and without signers there is none", "sigstore")
    for i, files in enumerate(release.files):
        paths = [entry.path for entry in files.entries]
        if paths != sorted(set(paths)):  # F-95
            raise refuse("entries are not sorted by path, each once", f"files[{i}].entries")
        folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
        if folders & set(paths):  # F-95
            raise refuse("a path is both a file and a folder", f"files[{i}].entries")
    programs = {one.name for one in release.programs}
    for i, handler in enumerate(release.handlers):
        if handler.run[0] not in programs:  # F-96
            raise refuse(f"{handler.run[0]!r} is not a program of this release", f"handlers[{i}].run")
        for name, values in handler.parameters.items():
            check_values(values, f"{what} $.handlers[{i}].parameters.{name}", name)
        for word in handler.run[1:]:
            if word.startswith("{") and word.endswith("}") and word[1:-1] not in handler.parameters:
                raise refuse(f"{word} is not a parameter", f"handlers[{i}].run")


def _check_plan(release: Release, refuse: Refuse) -> None:
    """Steps come after the steps that they name, and name things that the release has."""
    names = {
        "files": {one.name for one in release.files},
        "images": {one.name for one in release.images},
    }
    charts = {one.name for one in release.charts}
    done: set[str] = set()
    for i, step in enumerate(release.install):
        for field_, known in names.items():
            missing = set(getattr(step, field_)) - known
            if missing:
                raise refuse(f"{', '.join(sorted(missing))} is not among the {field_}", f"install[{i}].{field_}")
        if step.chart is not None and step.chart not in charts:
            raise refuse(f"{step.chart!r} is not among the charts", f"install[{i}].chart")
        if not set(step.after) <= done:  # F-97
            raise refuse("`after` names a step that does not come before this one", f"install[{i}].after")
        done.add(step.step)
    for i, probe in enumerate(release.probes):
        if sum(kind is not None for kind in (probe.http, probe.tcp, probe.file, probe.step)) != 1:  # F-98
            raise refuse("a probe is exactly one of http, tcp, file, step", f"probes[{i}]")
        if probe.step is not None and probe.step not in done:
            raise refuse(f"{probe.step!r} is not a step", f"probes[{i}].step")
        if probe.file is not None:
            files = next((one for one in release.files if one.name == probe.file.files), None)
            if files is None or probe.file.path not in {entry.path for entry in files.entries}:
                raise refuse("no such file in the release", f"probes[{i}].file")
