"""The values of ``site.yaml``, and their checks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Handwritten, PathText, Plain
from manifests.words.canonical import Document
from manifests.words.digest import Count, Name, Repository, SiteId, Text, Word
from manifests.words.errors import MalformedError
from manifests.words.quantities import parse_duration, parse_size

# What a person has to replace; `enroll` writes it for what a release needs.
FILL_IN = "FILL-IN"
Secret = Annotated[str, Meta(max_length=1024, pattern=r"\Afile:[^\x00-\x1f\x7f]+\Z")]
AbsolutePath = Annotated[str, Meta(max_length=512, pattern="\\A/[^\x00-\x1f]*\\Z")]
HostPort = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?\Z|\A\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?\Z")
]
Address = Annotated[str, Meta(max_length=2048, pattern=r"\A(https?://|tcp://|(file|container):/|journal:)[!-~]+\Z")]


class SecretFile(Document, frozen=True, kw_only=True):
    """Points at a file of the site; the secret itself is never written in a document."""

    secret: Secret


class StoreDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {store: …}``.

    Attributes:
        folder: Where the OCI layout lies, below the site's folder.
    """

    folder: PathText = "oci"


class RegistryDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {registry: …}``.

    Attributes:
        endpoint: ``name[:port]``; no other address is contacted.
        prefix: Put before the repository that the release names.
        ca: PEM file of the authorities to trust instead of the system's.
        login: A secret: an auth file as login tools write it, or ``{"username": …, "password": …}``.
        plain_http: Without TLS.
        token_hosts: The only other hosts that may issue tokens, and so see the credentials; left out, any that the
            registry names over TLS.
        content_hosts: The only other hosts to which a download may be redirected; left out, any.
        parallel: Uploads at once.
    """

    endpoint: HostPort
    prefix: Repository | None = None
    ca: PathText | None = None
    login: SecretFile | None = None
    plain_http: bool = False
    token_hosts: Annotated[tuple[HostPort, ...], Meta(max_length=16)] | None = None
    content_hosts: Annotated[tuple[HostPort, ...], Meta(max_length=16)] | None = None
    parallel: Annotated[int, Meta(ge=1, le=32)] = 4


class HelmDriverFile(Document, frozen=True, kw_only=True):
    """``drivers: {helm: …}``.

    Attributes:
        kubeconfig: A secret: the file by which the cluster is reached.
        namespace: Where the charts are installed. It must be there.
        program: Absolute path of Helm; left out, the first on the search path.
        registry: ``name[:port]`` of the registry as the cluster calls it, where that is not ``endpoint`` of
            ``drivers.registry``.
        timeout: How long Helm waits until everything of a chart is ready.
    """

    kubeconfig: SecretFile
    namespace: Name
    program: AbsolutePath | None = None
    registry: HostPort | None = None
    timeout: Text = "5m"


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
    """``drivers: {program: …}``: migrations, backups and restores.

    Attributes:
        user: Name or number of an account without rights, under which the programs of a release run.
    """

    user: Word | Count


class DriversFile(Document, frozen=True, kw_only=True):
    store: StoreDriverFile | None = None
    registry: RegistryDriverFile | None = None
    helm: HelmDriverFile | None = None
    files: FilesDriverFile | None = None
    program: ProgramDriverFile | None = None


class TelemetryFile(Document, frozen=True, kw_only=True):
    """``telemetry: …``.

    Attributes:
        withhold: Signals of the contract, and optional fields of its core, that do not leave.
    """

    withhold: Annotated[tuple[Word, ...], Meta(max_length=256)] = ()


class ReportFile(Document, frozen=True, kw_only=True):
    """``report: …``.

    Attributes:
        every: The promised interval, a duration or ``never``; support sees an overdue report.
        history: How many reports are kept to be sent again.
    """

    every: Text
    history: Annotated[int, Meta(ge=1, le=1000)] = 12


class KeepFile(Document, frozen=True, kw_only=True):
    """``keep: …``.

    Attributes:
        generations: How many of the newest good generations are kept, and how many of the newest releases: the newest
            generation of each, and those that changed its data. The running one and the one before always are.
        backups: How long a backup is kept after its release was confirmed, as long as a generation before that release
            is kept; the release may ask for longer.
        reserve: Space that is set aside, so that a rollback works on a full disk.
    """

    generations: Annotated[int, Meta(ge=1, le=1000)] = 3
    backups: Text = "30d"
    reserve: Text = "64MiB"


class SiteFile(Document, frozen=True, kw_only=True):
    """``site.yaml``.

    Attributes:
        waybill: Version of this format.
        site: The site's name, as it was enrolled: customer/product/environment/site.
        channel: The release channel that the site follows.
        target: What the site runs on.
        labels: What support may see about the site.
        drivers: The drivers that a release may use here, each with its settings.
        endpoints: The only addresses, files and journals that probes, collectors and handlers may open, by the name
            that the release or its contract gives them: ``https://…``, ``http://…``, ``tcp://HOST:PORT``,
            ``file:/PATH`` (a file or a folder), ``container:/PATH`` (a log file of a container runtime),
            ``journal:UNIT`` (a unit's messages in the journal of systemd).
        config: The configuration of the product, judged by the schema of the release.
        telemetry: What does not leave, although the contract allows it.
        report: How often the site reports.
        keep: What is kept for a rollback.
        backups: Folder of the backups; it may be an absolute path on another disk.
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


@dataclass(frozen=True)
class Unfilled:
    """A key of ``site.yaml`` whose value is still the placeholder; ``path`` as in ``$.endpoints.api``."""

    path: str
    error: MalformedError


def without_placeholders(file: Handwritten) -> tuple[Handwritten, tuple[Unfilled, ...]]:
    """Return the file without its placeholders, and these. Settings of a driver with a placeholder go as a whole."""
    unfilled: list[Unfilled] = []

    def cleaned(value: Plain, path: str) -> Plain:
        if not isinstance(value, dict):
            return value
        kept: dict[str, Plain] = {}
        for key, below in value.items():
            count = len(unfilled)
            if below == FILL_IN:
                problem = f"{path}.{key} is not filled in: {FILL_IN}"
                error = file.wrong(
                    problem, f"{path}.{key}", f"replace {FILL_IN} in site.yaml by the value of this site"
                )
                unfilled.append(Unfilled(f"{path}.{key}", error))
                continue
            within = cleaned(below, f"{path}.{key}")
            if not (path == "$.drivers" and len(unfilled) > count):
                kept[key] = within
        return kept

    return replace(file, plain=cleaned(file.plain, "$")), tuple(unfilled)


def site_problems(file: Handwritten, site: SiteFile) -> Iterator[MalformedError]:
    """Everything that cannot hold inside ``site.yaml``, each with ``file:line``."""
    if site.report.every != "never":
        yield from file.problems(parse_duration, site.report.every, "$.report.every")
    yield from file.problems(parse_duration, site.keep.backups, "$.keep.backups")
    yield from file.problems(parse_size, site.keep.reserve, "$.keep.reserve")
    for path, names in (("$.labels", site.labels), ("$.telemetry.withhold", site.telemetry.withhold)):
        if len(set(names)) != len(names):
            yield file.wrong("a name is given twice", path)
    if site.drivers.files is not None and _leaves(site.drivers.files.root):
        yield file.wrong(f"root {site.drivers.files.root!r} is outside of the site's folder", "$.drivers.files.root")
    if site.drivers.helm is not None:
        yield from file.problems(parse_duration, site.drivers.helm.timeout, "$.drivers.helm.timeout")
    if site.drivers.program is not None and site.drivers.program.user in ("root", 0):
        problem = "programs of a release never run as root"
        yield file.wrong(problem, "$.drivers.program.user", "name an account without rights, or its number")


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")
