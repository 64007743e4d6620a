"""``release.yaml``, ``site.yaml`` and ``trust.yaml`` as people write them, and what cannot hold in them.

``contract.yaml``, ``rollback.yaml`` and ``policy.yaml`` have modules of their own. The checks here need no file but the
one that is checked; files that it names are the business of whoever packs them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.contract import Contract, Values
from manifests.digest import (
    Count,
    Date,
    Digest,
    Name,
    Platform,
    Positive,
    Repository,
    SiteId,
    Text,
    Time,
    Version,
    Word,
)
from manifests.document import Document
from manifests.errors import MalformedError
from manifests.handwritten import Handwritten
from manifests.release import Audience, FilePath, Fix, HttpProbe, Needs, TcpProbe
from manifests.rollback import Command, Rollback
from manifests.trust import ROLES, Mark
from manifests.units import parse_duration, parse_size
from manifests.version import parse_range, parse_version

PathText = Annotated[str, Meta(min_length=1, max_length=1024, pattern="\\A[^\x00-\x1f\x7f-\x9f]+\\Z")]
Secret = Annotated[str, Meta(max_length=1024, pattern=r"\Afile:[^\x00-\x1f\x7f]+\Z")]
AbsolutePath = Annotated[str, Meta(max_length=512, pattern="\\A/[^\x00-\x1f]*\\Z")]
HostPort = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?\Z|\A\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?\Z")
]
Address = Annotated[str, Meta(max_length=2048, pattern=r"\A(https?://|tcp://|file:/)[!-~]+\Z")]

# What each driver takes from one install step.
DRIVERS = {"store": "images", "registry": "images", "files": "files", "program": "migration", "helm": "chart"}
NONE = "none"
ATTACHED = "attached"
_PARAMETER = re.compile(r"\{(.*)\}")

# --- release.yaml ---------------------------------------------------------------------------------------------------


class SignerFile(Document, frozen=True, kw_only=True):
    """A key (path of a PEM file), or an identity and its issuer."""

    key: PathText | None = None
    identity: Text | None = None
    issuer: Text | None = None


class ImageFile(Document, frozen=True, kw_only=True):
    """Attributes: from_: a registry reference, ``oci:PATH[:REF]`` or ``oci-archive:FILE[:REF]``; sbom: ``attached``,
    ``none`` with a reason, or the path of a file."""

    name: Name
    from_: PathText = field(name="from")
    platforms: Annotated[tuple[Platform, ...], Meta(max_length=64)] = ()
    to: Repository
    signed_by: Word
    reason: Text | None = None
    sbom: PathText = ATTACHED
    sbom_reason: Text | None = None
    base: Text | None = None


class FilesFile(Document, frozen=True, kw_only=True):
    name: Name
    from_: PathText = field(name="from")


class ChartFile(Document, frozen=True, kw_only=True):
    name: Name
    from_: PathText = field(name="from")
    registry_value: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")] | None = None


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
    name: Name
    does: Text
    source: Text
    run: Command
    parameters: Annotated[dict[Word, Values], Meta(max_length=64)] = {}
    may: Annotated[tuple[Text, ...], Meta(max_length=64)]
    risk: Literal["read-only", "reversible", "disruptive", "changes-data"]
    repeatable: bool
    limits: LimitsFile
    returns: Word | None = None


class StepFile(Document, frozen=True, kw_only=True):
    step: Name
    driver: Name
    files: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    images: Annotated[tuple[Name, ...], Meta(max_length=1024)] = ()
    chart: Name | None = None
    migration: Name | None = None
    keep_running: Command | None = None
    after: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    downtime: Text | None = None


class FileProbeFile(Document, frozen=True, kw_only=True):
    files: Name
    path: FilePath


class ProbeFile(Document, frozen=True, kw_only=True):
    name: Name
    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    file: FileProbeFile | None = None
    step: Name | None = None
    every: Text | None = None
    passes: Annotated[int, Meta(ge=1, le=1000)] = 1


class TrialFile(Document, frozen=True, kw_only=True):
    at_most: Text
    confirm: Literal["probes", "person"]


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
        kind: ``oci`` (a layout folder), ``oci-archive`` (a tar of one) or ``registry``.
        place: The path, or the whole registry reference.
        ref: The name inside a layout; empty when the layout holds exactly one image.
    """

    kind: Literal["oci", "oci-archive", "registry"]
    place: str
    ref: str = ""


def parse_from(text: str, where: str = "from") -> ImageFrom:
    """Read the ``from`` of an image. A path cannot hold a colon: as with skopeo, REF begins after the first one.

    Raises:
        MalformedError: With the spellings that are understood.
    """
    remedy = "write oci:PATH[:REF], oci-archive:FILE[:REF], or host/name:tag, host/name@sha256:..."
    for kind in ("oci", "oci-archive"):
        if text.startswith(f"{kind}:"):
            place, colon, ref = text.removeprefix(f"{kind}:").partition(":")
            if not place or (colon and not ref):
                raise MalformedError(f"{text!r} names no image", where=where, remedy=remedy)
            return ImageFrom(kind="oci" if kind == "oci" else "oci-archive", place=place, ref=ref)
    if text.startswith(("docker://", "http://", "https://")):
        raise MalformedError(
            f"{text!r} is an address, expected a reference",
            where=where,
            remedy=f"leave {text.partition('//')[0]}// out",
        )
    if text.startswith((".", "/")) or "/" not in text:
        raise MalformedError(f"{text!r} names no registry and no layout", where=where, remedy=remedy)
    return ImageFrom(kind="registry", place=text)


def release_problems(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    """Everything that cannot hold inside ``release.yaml``, each with ``file:line``."""
    yield from _facts(file, release)
    yield from _names(file, release)
    for i, image in enumerate(release.images):
        yield from _image(file, f"$.images[{i}]", image, release)
    for name, signer in release.signers.items():
        by_identity = signer.identity is not None and signer.issuer is not None
        if (signer.key is not None) == by_identity or (signer.identity is None) != (signer.issuer is None):
            yield MalformedError(
                f"signer {name!r} needs either key, or identity and issuer", where=file.at(f"$.signers.{name}")
            )
    identities = any(one.key is None for one in release.signers.values())
    if identities > (release.sigstore is not None) or (release.sigstore is not None and not release.signers):
        yield MalformedError(
            "`sigstore` and signers that are identities go together",
            where=file.at("$.sigstore" if release.sigstore is not None else "$.signers"),
            remedy="sigstore: PATH of the trusted_root.json that says who vouches for identities",
        )
    for i, handler in enumerate(release.handlers):
        yield from _handler(file, f"$.handlers[{i}]", handler, release)
    yield from _install(file, release)
    for i, probe in enumerate(release.probes):
        yield from _probe(file, f"$.probes[{i}]", probe, release)
    yield from _unit(parse_duration, release.trial.at_most, file, "$.trial.at_most")
    if release.trial.confirm == "probes" and not release.probes:
        yield MalformedError(
            "probes are to confirm the trial, and there are none",
            where=file.at("$.trial"),
            remedy="add a probe, or write confirm: person",
        )


def reference_problems(
    file: Handwritten, release: ReleaseFile, contract: Contract, rollback: Rollback
) -> Iterator[MalformedError]:
    """What the release says of its contract and rollback document, and they of it, must be there."""
    programs = {one.name for one in release.programs}
    probes = {one.name for one in release.probes}
    handlers = {one.name for one in release.handlers}
    signals = {one.name: one for one in contract.signals}
    for signal in contract.signals:
        source = signal.source
        if source is not None and source.probe is not None and source.probe not in probes:
            yield MalformedError(
                f"signal {signal.name!r} of {release.contract} reads probe {source.probe!r}, which is not here",
                where=file.at("$.contract"),
            )
        if source is not None and source.handler is not None and source.handler not in handlers:
            yield MalformedError(
                f"signal {signal.name!r} of {release.contract} needs handler {source.handler!r}, which is not here",
                where=file.at("$.contract"),
            )
    for i, handler in enumerate(release.handlers):
        if handler.returns is None:
            continue
        returned = signals.get(handler.returns)
        if returned is None or returned.source is None or returned.source.handler != handler.name:
            yield MalformedError(
                f"handler {handler.name!r} returns {handler.returns!r}, which {release.contract} does not take from it",
                where=file.at(f"$.handlers[{i}].returns"),
            )
    steps = {one.name for one in rollback.steps}
    migrations = [one.migration for one in release.install if one.migration is not None]
    for i, step in enumerate(release.install):
        if step.migration is not None and step.migration not in steps:
            yield MalformedError(
                f"migration {step.migration!r} is not a step of {release.rollback}",
                where=file.at(f"$.install[{i}].migration"),
            )
    for name in sorted(steps - set(migrations)):
        yield MalformedError(
            f"step {name!r} of {release.rollback} is run by no install step",
            where=file.at("$.rollback"),
            remedy=f"add {{step: {name}, driver: program, migration: {name}}} to `install`",
        )
    if len(set(migrations)) != len(migrations):
        yield MalformedError("a migration is run twice", where=file.at("$.install"))
    for what, command in _commands(rollback):
        if command[0] not in programs:
            yield MalformedError(
                f"{what} of {release.rollback} runs {command[0]!r}, which is not a program of this release",
                where=file.at("$.rollback"),
            )


def _commands(rollback: Rollback) -> Iterator[tuple[str, tuple[str, ...]]]:
    for step in rollback.steps:
        for word, command in (("do", step.do), ("undo", step.undo), ("check", step.check)):
            if command is not None:
                yield f"{word} of step {step.name!r}", command
    for backup in rollback.backup:
        for word, command in (("make", backup.make), ("restore", backup.restore), ("try", backup.try_)):
            yield f"{word} of backup {backup.name!r}", command


def _facts(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    yield from _wrong(parse_version, release.version, file, "$.version")
    for i, one in enumerate(release.needs.from_):
        yield from _wrong(parse_range, one, file, f"$.needs.from[{i}]")
    for name, day in (
        ("next_expected_by", release.next_expected_by),
        ("supported_until", release.supported_until),
        ("issued_at", release.issued_at),
    ):
        if day is not None and not _is_day(day):
            yield MalformedError(f"{day} is not in the calendar", where=file.at(f"$.{name}"))
    audience = release.audience
    if audience.everyone == bool(audience.customers or audience.environments) or bool(audience.customers) != bool(
        audience.environments
    ):
        yield MalformedError(
            "the audience is either `everyone: true`, or customers and environments", where=file.at("$.audience")
        )
    if release.floor > release.sequence:
        yield MalformedError(
            f"floor {release.floor} is above the release's own sequence {release.sequence}", where=file.at("$.floor")
        )
    if not release.needs.fresh and not release.needs.from_:
        yield MalformedError(
            "nothing may go to this release: neither `fresh: true` nor a range in `from`", where=file.at("$.needs")
        )
    parts = {one.name for group in (release.images, release.files, release.charts, release.programs) for one in group}
    for i, fix in enumerate(release.fixes):
        if fix.in_ not in parts:
            yield MalformedError(
                f"{fix.in_!r} is not an image, file set, chart or program of this release",
                where=file.at(f"$.fixes[{i}].in"),
            )


def _names(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    groups: tuple[tuple[str, str, list[str]], ...] = (
        ("images", "name", [one.name for one in release.images]),
        ("images", "to", [one.to for one in release.images]),
        ("files", "name", [one.name for one in release.files]),
        ("charts", "name", [one.name for one in release.charts]),
        ("programs", "name", [one.name for one in release.programs]),
        ("handlers", "name", [one.name for one in release.handlers]),
        ("install", "step", [one.step for one in release.install]),
        ("probes", "name", [one.name for one in release.probes]),
    )
    for group, key, names in groups:
        for i, name in enumerate(names):
            if name in names[:i]:
                yield MalformedError(f"{key} {name!r} is given twice", where=file.at(f"$.{group}[{i}].{key}"))


def _image(file: Handwritten, path: str, image: ImageFile, release: ReleaseFile) -> Iterator[MalformedError]:
    yield from _wrong(parse_from, image.from_, file, f"{path}.from")
    if len(set(image.platforms)) != len(image.platforms):
        yield MalformedError("a platform is given twice", where=file.at(f"{path}.platforms"))
    if image.signed_by == NONE and not image.reason:
        yield MalformedError("an image that nobody signed needs a `reason`", where=file.at(f"{path}.signed_by"))
    if image.signed_by != NONE and image.signed_by not in release.signers:
        yield MalformedError(f"{image.signed_by!r} is not under `signers`", where=file.at(f"{path}.signed_by"))
    if (image.sbom == NONE) != (image.sbom_reason is not None):
        yield MalformedError(
            "`sbom: none` and `sbom_reason` go together",
            where=file.at(f"{path}.sbom"),
            remedy="an image has an SBOM, or says why not",
        )


def _handler(file: Handwritten, path: str, handler: HandlerFile, release: ReleaseFile) -> Iterator[MalformedError]:
    if handler.run[0] not in {one.name for one in release.programs}:
        yield MalformedError(f"{handler.run[0]!r} is not a program of this release", where=file.at(f"{path}.run"))
    used = [match[1] for word in handler.run[1:] if (match := _PARAMETER.fullmatch(word))]
    for name in used:
        if name not in handler.parameters:
            yield MalformedError(f"{{{name}}} is not under `parameters`", where=file.at(f"{path}.run"))
    for word in handler.run[1:]:
        if _PARAMETER.search(word) and not _PARAMETER.fullmatch(word):
            yield MalformedError(
                f"{word!r} mixes a parameter with other text",
                where=file.at(f"{path}.run"),
                remedy="a parameter is a word of its own",
            )
    for name, values in handler.parameters.items():
        at = file.at(f"{path}.parameters.{name}")
        if name not in used:
            yield MalformedError(f"parameter {name!r} is not used in `run`", where=at)
        if (values.enum is None) == (values.integer is None):
            yield MalformedError(f"parameter {name!r} needs either enum or integer", where=at)
        if values.integer is not None and values.integer[0] > values.integer[1]:
            yield MalformedError(f"parameter {name!r} has its lower bound above its upper bound", where=at)
    yield from _unit(parse_duration, handler.limits.time, file, f"{path}.limits.time")
    yield from _unit(parse_size, handler.limits.memory, file, f"{path}.limits.memory")
    yield from _unit(parse_size, handler.limits.output, file, f"{path}.limits.output")


def _install(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    known = {
        "images": {one.name for one in release.images},
        "files": {one.name for one in release.files},
        "chart": {one.name for one in release.charts},
    }
    done: set[str] = set()
    for i, step in enumerate(release.install):
        path = f"$.install[{i}]"
        if step.driver not in DRIVERS:
            yield MalformedError(
                f"driver is {step.driver!r}, expected one of {', '.join(DRIVERS)}", where=file.at(f"{path}.driver")
            )
            continue
        wanted = DRIVERS[step.driver]
        given = [name for name in ("images", "files", "chart", "migration") if getattr(step, name)]
        if given != [wanted]:
            yield MalformedError(
                f"driver {step.driver} takes `{wanted}` and nothing else, found {', '.join(given) or 'nothing'}",
                where=file.at(path),
            )
        if step.keep_running is not None and step.driver != "files":
            yield MalformedError("only driver files keeps a program running", where=file.at(f"{path}.keep_running"))
        given_names: list[tuple[str, str, str]] = [(f"images[{k}]", "images", one) for k, one in enumerate(step.images)]
        given_names += [(f"files[{k}]", "files", one) for k, one in enumerate(step.files)]
        given_names += [("chart", "chart", step.chart)] if step.chart is not None else []
        for place, group, name in given_names:
            if name not in known[group]:
                yield MalformedError(f"{name!r} is not in this release", where=file.at(f"{path}.{place}"))
        for name in step.after:
            if name not in done:
                yield MalformedError(
                    f"`after` names {name!r}, which is not a step above this one", where=file.at(f"{path}.after")
                )
        if step.downtime is not None:
            yield from _unit(parse_duration, step.downtime, file, f"{path}.downtime")
        done.add(step.step)


def _probe(file: Handwritten, path: str, probe: ProbeFile, release: ReleaseFile) -> Iterator[MalformedError]:
    if sum(one is not None for one in (probe.http, probe.tcp, probe.file, probe.step)) != 1:
        yield MalformedError("a probe is exactly one of http, tcp, file, step", where=file.at(path))
    if probe.step is not None and probe.step not in {one.step for one in release.install}:
        yield MalformedError(f"{probe.step!r} is not a step of `install`", where=file.at(f"{path}.step"))
    if probe.file is not None and probe.file.files not in {one.name for one in release.files}:
        yield MalformedError(f"{probe.file.files!r} is not under `files`", where=file.at(f"{path}.file"))
    if probe.every is not None:
        yield from _unit(parse_duration, probe.every, file, f"{path}.every")


def _is_day(text: str) -> bool:
    try:
        if "T" in text:
            datetime.fromisoformat(text)
        else:
            date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _wrong(parse: object, text: str, file: Handwritten, path: str) -> Iterator[MalformedError]:
    """The error that ``parse(text, where)`` raises, if it does."""
    assert callable(parse)
    try:
        parse(text, file.at(path))
    except MalformedError as error:
        yield error


_unit = _wrong

# --- site.yaml ------------------------------------------------------------------------------------------------------


class SecretFile(Document, frozen=True, kw_only=True):
    """Points at a file of the site; the secret itself is never written in a document."""

    secret: Secret


class StoreDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {store: …}``: where the OCI layout lies, below the site's folder."""

    folder: PathText = "oci"


class RegistryDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {registry: …}``.

    Attributes:
        endpoint: ``name[:port]``; the only address that is spoken to.
        prefix: Put before the repository that the release names.
        ca: PEM file of the authorities to trust instead of the system's.
        login: A secret: an auth file as login tools write it, or ``{"username": …, "password": …}``.
        plain_http: Without TLS.
        token_hosts: Other hosts that may issue tokens, and so see the credentials.
        parallel: Uploads at once.
    """

    endpoint: HostPort
    prefix: Repository | None = None
    ca: PathText | None = None
    login: SecretFile | None = None
    plain_http: bool = False
    token_hosts: Annotated[tuple[HostPort, ...], Meta(max_length=16)] = ()
    parallel: Annotated[int, Meta(ge=1, le=32)] = 4


class HelmDriverFile(Document, frozen=True, kw_only=True):
    kubeconfig: SecretFile
    namespace: Name


class FilesDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {files: …}``.

    Attributes:
        root: Where versioned folders live, below the site's folder.
        keeper: Who keeps services running; left out, systemd where it runs, else supervisord.
        user: Account that services run as; left out, the one that installs.
        programs: Absolute paths for program names that a release may ask for.
        runtime: Short folder for the supervisor's socket, where the site's path is too long for one.
    """

    root: PathText = "srv"
    keeper: Literal["systemd", "supervisord"] | None = None
    user: Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_-]{0,31}\Z")] | None = None
    programs: Annotated[dict[Word, AbsolutePath], Meta(max_length=64)] = {}
    runtime: AbsolutePath | None = None


class ProgramDriverFile(Document, frozen=True, kw_only=True):
    """Attributes: user: name or number of an unprivileged account."""

    user: Word | Count


class DriversFile(Document, frozen=True, kw_only=True):
    store: StoreDriverFile | None = None
    registry: RegistryDriverFile | None = None
    helm: HelmDriverFile | None = None
    files: FilesDriverFile | None = None
    program: ProgramDriverFile | None = None


class TelemetryFile(Document, frozen=True, kw_only=True):
    withhold: Annotated[tuple[Word, ...], Meta(max_length=256)] = ()


class ReportFile(Document, frozen=True, kw_only=True):
    """Attributes: every: a duration, or ``never``; history: how many reports are kept to be sent again."""

    every: Text
    history: Annotated[int, Meta(ge=1, le=1000)] = 12


class KeepFile(Document, frozen=True, kw_only=True):
    generations: Annotated[int, Meta(ge=1, le=1000)] = 3
    backups: Text = "30d"
    reserve: Text = "64MiB"


class SiteFile(Document, frozen=True, kw_only=True):
    """``site.yaml``.

    Attributes:
        config: For the product; judged by the release's schema, not here.
    """

    waybill: Literal[1]
    site: SiteId
    channel: Name
    target: Literal["aws", "gcp", "azure", "kubernetes", "vm", "appliance", "other"]
    labels: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    drivers: DriversFile = DriversFile()
    endpoints: Annotated[dict[Name, Address], Meta(max_length=256)] = {}
    config: dict[str, object] = {}
    telemetry: TelemetryFile = TelemetryFile()
    report: ReportFile = ReportFile(every="30d")
    keep: KeepFile = KeepFile()
    backups: PathText = "backups"


def site_problems(file: Handwritten, site: SiteFile) -> Iterator[MalformedError]:
    """Everything that cannot hold inside ``site.yaml``, each with ``file:line``."""
    if site.report.every != "never":
        yield from _unit(parse_duration, site.report.every, file, "$.report.every")
    yield from _unit(parse_duration, site.keep.backups, file, "$.keep.backups")
    yield from _unit(parse_size, site.keep.reserve, file, "$.keep.reserve")
    for path, names in (("$.labels", site.labels), ("$.telemetry.withhold", site.telemetry.withhold)):
        if len(set(names)) != len(names):
            yield MalformedError("a name is given twice", where=file.at(path))
    if site.drivers.files is not None and _leaves(site.drivers.files.root):
        yield MalformedError(
            f"root {site.drivers.files.root!r} is outside of the site's folder", where=file.at("$.drivers.files.root")
        )
    if site.drivers.program is not None and site.drivers.program.user in ("root", 0):
        yield MalformedError(
            "programs of a release never run as root",
            where=file.at("$.drivers.program.user"),
            remedy="name an account without rights, or its number",
        )


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


# --- trust.yaml -----------------------------------------------------------------------------------------------------


class TrustKeyFile(Document, frozen=True, kw_only=True):
    """A key, or an identity instead of one.

    Attributes:
        public: Path of the PEM file.
        use: Where this vendor signs with it (``file:PATH``).
    """

    public: PathText | None = None
    use: PathText | None = None
    identity: Text | None = None
    issuer: Text | None = None

    @property
    def is_identity(self) -> bool:
        return self.identity is not None


class TrustRoleFile(Document, frozen=True, kw_only=True):
    keys: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    threshold: Annotated[int, Meta(ge=1, le=64)]
    products: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()


class LeaveFile(Document, frozen=True, kw_only=True):
    key: Name
    how: Literal["retired", "revoked"]
    last: Mark | None = None


class RevokedFile(Document, frozen=True, kw_only=True):
    """What is no longer good: names of keys, digests of releases, digests of handlers as `waybill show` prints them."""

    keys: Annotated[tuple[Name, ...], Meta(max_length=4096)] = ()
    releases: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()
    handlers: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()


class TrustFile(Document, frozen=True, kw_only=True):
    """``trust.yaml``. Key names are the vendor's own and appear in no document.

    Attributes:
        revoked: Becomes the revocation list, a document of its own.
        sigstore: Paths of the ``trusted_root.json`` files that may vouch for identities.
    """

    waybill: Literal[1]
    vendor: Name
    practice: bool = False
    epoch: Positive
    keys: Annotated[dict[Name, TrustKeyFile], Meta(min_length=1, max_length=256)]
    roles: Annotated[dict[Name, TrustRoleFile], Meta(min_length=1, max_length=64)]
    leave: Annotated[tuple[LeaveFile, ...], Meta(max_length=1024)] = ()
    revoked: RevokedFile = RevokedFile()
    sigstore: Annotated[tuple[PathText, ...], Meta(max_length=16)] = ()


def trust_problems(file: Handwritten, trust: TrustFile) -> Iterator[MalformedError]:
    """Everything that cannot hold inside ``trust.yaml``, each with ``file:line``."""
    for name, one in trust.keys.items():
        by_identity = one.identity is not None and one.issuer is not None
        half = (one.identity is None) != (one.issuer is None) or (one.use is not None and one.public is None)
        if (one.public is not None) == by_identity or half:
            yield MalformedError(
                f"{name!r} needs either public, or identity and issuer", where=file.at(f"$.keys.{name}")
            )
        if by_identity and not trust.sigstore:
            yield MalformedError(
                f"{name!r} is an identity, and nothing says who vouches for it",
                where=file.at(f"$.keys.{name}"),
                remedy="sigstore: [PATH of a trusted_root.json]",
            )
    for name in ROLES:
        if name not in trust.roles:
            yield MalformedError(f"role {name!r} is missing", where=file.at("$.roles"))
    for name, role in trust.roles.items():
        path = f"$.roles.{name}"
        if name not in ROLES:
            yield MalformedError(f"{name!r} is not a role, expected {', '.join(ROLES)}", where=file.at(path))
        for key in role.keys:
            if key not in trust.keys:
                yield MalformedError(f"{key!r} is not under `keys`", where=file.at(f"{path}.keys"))
            elif name != "release" and trust.keys[key].is_identity:
                yield MalformedError(
                    f"{key!r} is an identity, and only the role release has those", where=file.at(f"{path}.keys")
                )
        for group, names in (("keys", role.keys), ("products", role.products)):
            if len(set(names)) != len(names):
                yield MalformedError("a name is given twice", where=file.at(f"{path}.{group}"))
        if role.threshold > len(set(role.keys)):
            yield MalformedError(
                f"threshold {role.threshold} is above the number of keys, {len(set(role.keys))}",
                where=file.at(f"{path}.threshold"),
            )
        if bool(role.products) != (name == "release"):
            yield MalformedError(
                "`products` belongs to the role release alone, which needs it",
                where=file.at(f"{path}.products" if role.products else path),
            )
    for group, names in (
        ("keys", trust.revoked.keys),
        ("releases", trust.revoked.releases),
        ("handlers", trust.revoked.handlers),
    ):
        if len(set(names)) != len(names):
            yield MalformedError("one is given twice", where=file.at(f"$.revoked.{group}"))
    for key in trust.revoked.keys:
        if key not in trust.keys:
            yield MalformedError(f"{key!r} is not under `keys`", where=file.at("$.revoked.keys"))
    leaving = [one.key for one in trust.leave]
    for i, leaver in enumerate(trust.leave):
        path = f"$.leave[{i}]"
        if leaver.key not in trust.keys:
            yield MalformedError(f"{leaver.key!r} is not under `keys`", where=file.at(path))
        if leaver.key in leaving[:i]:
            yield MalformedError(f"{leaver.key!r} is given twice", where=file.at(path))
        if any(leaver.key in role.keys for role in trust.roles.values()):
            yield MalformedError(f"{leaver.key!r} leaves and still has a role", where=file.at(path))
        if (leaver.how == "retired") != (leaver.last is not None):
            yield MalformedError(
                "a retired key needs `last`, a revoked one has none",
                where=file.at(path),
                remedy="last: {epoch: 1, sequence: 40} is the last release that it may have signed",
            )
