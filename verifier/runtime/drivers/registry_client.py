"""The site's registry: its settings, its login, and the tags that the driver sets there, records and takes away."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from content.bundle.oci import OCI_MANIFEST
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_manifest
from content.registry.client import Registry
from content.registry.image_errors import ImagePlace
from content.registry.reference import check_host, check_repository
from content.registry.session import RegistryOptions
from manifests.authored.site_yaml import RegistryDriverFile
from manifests.documents.release import Image, InstallStep
from manifests.documents.report_condition import ComponentReason
from manifests.words.canonical import Document, decode, encode, parse
from manifests.words.digest import Digest, digest_of
from manifests.words.errors import HostError, MalformedError, unreadable
from verifier.runtime.drivers.driver import DriverContext, read_secret, read_settings, settings_error, under_site
from verifier.runtime.drivers.folder import host_errors

MISSING = "registry-missing"
UNREACHABLE = "registry-unreachable"
# What the findings of the client mean for an image that could not be looked at.
REASONS: dict[str, ComponentReason] = {
    UNREACHABLE: "unreachable",
    "registry-denied": "login",
    "registry-tls": "certificate",
}
WITHDRAWN = "application/vnd.waybill.withdrawn.v1"
MAX_RECORD = 16 << 20


class Login(Document, frozen=True, kw_only=True):
    username: str
    password: str


class SiteRegistry(Registry):
    """The site's registry, from which a tag may also be deleted."""

    def __enter__(self) -> "SiteRegistry":
        return self

    def remove(self, repository: str, reference: str) -> None:
        """Request that a tag or manifest is deleted. A registry may accept this and not do it: read it afterwards."""
        path = f"/v2/{check_repository(repository)}/manifests/{reference}"
        with self._session.request("DELETE", path, repository=repository) as answer:
            answer.discard()

    def ask(self, repository: str) -> str | None:
        """Ask whether it speaks the protocol and knows the login; return its header Date. Asks once.

        Args:
            repository: Decides which of several logins is used.

        Raises:
            HostError: It does not answer, does not know the login, or is no registry.
        """
        with self._session.request("GET", "/v2/", repository=repository, retry=False) as answer:
            answer.discard()
            if answer.status != 200:
                remedy = "check `endpoint` of `drivers.registry` in site.yaml"
                raise self._session.peer.error(f"answered {answer.status} to /v2/: it is no registry", remedy=remedy)
            if (answer.headers.get("Content-Type") or "").startswith("text/html"):
                # A web server or a portal in front answers 200 to everything; a registry sends JSON or nothing.
                problem = "answered /v2/ with a page of HTML: it is no registry"
                remedy = "check `endpoint` of `drivers.registry` in site.yaml, and the proxy in front of it"
                raise self._session.peer.error(problem, remedy=remedy)
            return answer.headers.get("Date")

    def read(self, repository: str, reference: str) -> bytes | None:
        """Return a manifest's bytes; None where there is none."""
        try:
            return self.manifest(repository, reference)[0]
        except HostError as error:
            if error.finding == MISSING:
                return None
            raise


def registry_settings(context: DriverContext) -> RegistryDriverFile:
    """Return ``drivers.registry`` of ``site.yaml``. Raises RefusedError when it cannot be used."""
    settings = read_settings(context, "registry", RegistryDriverFile)
    try:
        check_host(settings.endpoint)
        if settings.prefix:
            check_repository(settings.prefix)
    except MalformedError as error:
        raise settings_error(error.problem, "registry", error.remedy) from None
    return settings


def site_path(context: DriverContext, text: str, where: str) -> Path:
    """Return a path of site.yaml that may be absolute, or below the site's folder. Raises RefusedError."""
    return Path(text) if text.startswith("/") else under_site(context, text, where)


def repository_of(settings: RegistryDriverFile, image: Image) -> str:
    return f"{settings.prefix}/{image.to}" if settings.prefix else image.to


def image_place(settings: RegistryDriverFile, image: Image) -> ImagePlace:
    """The image as errors name it: its name in the release, host and repository."""
    return ImagePlace(image.name, f"{settings.endpoint}/{repository_of(settings, image)}", "at")


@contextmanager
def connect(
    context: DriverContext, settings: RegistryDriverFile, *, timeout_seconds: float | None = None
) -> Iterator[SiteRegistry]:
    """Yield the site's registry; ``timeout_seconds`` without a byte, by default that of every registry."""
    ca = site_path(context, settings.ca, "registry.ca") if settings.ca else None
    auth_file, credentials = _login(context, settings)
    options = RegistryOptions(
        plain_http=settings.plain_http,
        ca=ca,
        auth_file=auth_file,
        credentials=credentials,
        token_hosts=None if settings.token_hosts is None else frozenset(settings.token_hosts),
        content_hosts=None if settings.content_hosts is None else frozenset(settings.content_hosts),
        # The login comes from site.yaml alone, never from the environment of the operator.
        environ={},
    )
    if timeout_seconds is not None:
        options = replace(options, timeout=timeout_seconds)
    with SiteRegistry(settings.endpoint, options) as registry:
        yield registry


def _login(context: DriverContext, settings: RegistryDriverFile) -> tuple[Path | None, tuple[str, str] | None]:
    if settings.login is None:
        return None, None
    path, data = read_secret(context, settings.login.secret, "registry.login.secret")
    try:
        login = decode(data, Login, str(path))
    except MalformedError:
        # It is an auth file of a container tool, which the client reads.
        return path, None
    return None, (login.username, login.password)


class Tag(Document, frozen=True, kw_only=True):
    """A tag that a generation sets; ``digests``: the documents of this release that it names or may have named."""

    repository: str
    tag: str
    digests: tuple[Digest, ...]


class TagRecord(Document, frozen=True, kw_only=True):
    """``run/registry/<step>.<generation>.json``: which tags a generation may have set, written before it sets them."""

    endpoint: str
    tags: tuple[Tag, ...]


def record_path(context: DriverContext, step: InstallStep) -> Path:
    return context.site / "run" / "registry" / f"{step.step}.{context.generation}.json"


def write_record(context: DriverContext, step: InstallStep, record: TagRecord) -> None:
    path = record_path(context, step)
    with host_errors(path):
        context.disk.make_folder(path.parent)
        context.disk.write(path, encode(record))


def read_record(path: Path, endpoint: str) -> TagRecord | None:
    """Return a record; None where there is none that can be read, or one of another registry."""
    try:
        record = parse(path.read_bytes(), TagRecord, str(path), max_bytes=MAX_RECORD)
    except (FileNotFoundError, MalformedError):
        return None
    except OSError as error:
        raise unreadable(error, str(path), remedy="check the disk") from error
    return record if record.endpoint == endpoint else None


def later_records(context: DriverContext, step: InstallStep, endpoint: str) -> Iterator[tuple[Path, TagRecord]]:
    """Yield the records of later generations: after a rollback to this one their tags have to go."""
    for path in sorted(record_path(context, step).parent.glob(f"{step.step}.*.json")):
        number = path.name.removeprefix(f"{step.step}.").removesuffix(".json")
        if number.isdecimal() and int(number) > context.generation:
            record = read_record(path, endpoint)
            if record is not None:
                yield path, record


def recorded_repositories(context: DriverContext, endpoint: str) -> tuple[str, ...]:
    """Return the repositories in which other generations may have set tags, newest record first."""
    paths = sorted((context.site / "run" / "registry").glob("*.json"), key=lambda path: path.name, reverse=True)
    records = (read_record(path, endpoint) for path in paths)
    return tuple(dict.fromkeys(tag.repository for record in records if record is not None for tag in record.tags))


def remove_record(context: DriverContext, path: Path) -> None:
    with host_errors(path):
        context.disk.remove(path)


def withdraw_tags(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, tags: Iterable[Tag]
) -> bool:
    """Take every tag away; return whether none of them names an image of its release any more."""
    withdrawn = []
    for tag in tags:
        with tag_errors(settings, context, tag):
            withdrawn.append(_withdraw(registry, tag))
    return all(withdrawn)


@contextmanager
def tag_errors(settings: RegistryDriverFile, context: DriverContext, tag: Tag) -> Iterator[None]:
    """Name host, repository and tag in every error; the image too, unless the release has none for this repository."""
    image = next((one for one in context.release.images if repository_of(settings, one) == tag.repository), None)
    place = f"{settings.endpoint}/{tag.repository}"
    name = image.name if image is not None else tag.repository.rpartition("/")[2]
    with ImagePlace(name, place, f"(tag {tag.tag}) at").errors():
        yield


def _withdraw(registry: SiteRegistry, tag: Tag) -> bool:
    """1. Check that it is still as it was set; 2. delete it; 3. if it stays, move it to a marker and delete the marker.

    Many registries delete by digest only, and then every tag of that digest goes. An image may have another tag that
    must stay, so the tag is first moved to a document that nothing else names.
    """
    if not names_ours(registry, tag):  # 1
        return True
    registry.remove(tag.repository, tag.tag)  # 2
    if not names_ours(registry, tag):
        return True
    # No runtime could start it, and each tag has another one.
    annotations = {"vnd.waybill.withdrawn": f"{tag.repository}:{tag.tag}"}
    marker = encode_manifest(EMPTY, (EMPTY,), artifact_type=WITHDRAWN, annotations=annotations.items())  # 3
    try:
        registry.push_blob(tag.repository, EMPTY.digest, EMPTY.size, lambda: iter((EMPTY_BYTES,)))
        registry.push_manifest(tag.repository, tag.tag, marker, OCI_MANIFEST)
    except HostError as error:
        if error.finding == UNREACHABLE:
            raise
        # The registry accepts no marker. Tag and record stay, and `observe` reports it.
        return False
    registry.remove(tag.repository, digest_of(marker))
    return not names_ours(registry, tag)


def names_ours(registry: SiteRegistry, tag: Tag) -> bool:
    data = registry.read(tag.repository, tag.tag)
    return data is not None and digest_of(data) in tag.digests
