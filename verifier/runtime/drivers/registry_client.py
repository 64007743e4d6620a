"""The site's registry: its settings, its login, and the calls that the driver needs besides push and pull."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from content.registry.client import Registry
from content.registry.reference import check_host, check_repository
from content.registry.session import RegistryOptions
from manifests.authored.site_yaml import RegistryDriverFile
from manifests.documents.release import Image
from manifests.words.canonical import Document, decode
from manifests.words.errors import HostError, MalformedError
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.drivers.settings import read_secret, read_settings, settings_error, under_site

MISSING = "registry-missing"
UNREACHABLE = "registry-unreachable"


class Login(Document, frozen=True, kw_only=True):
    username: str
    password: str


class SiteRegistry(Registry):
    """The site's registry, from which a tag may also be deleted."""

    def __enter__(self) -> "SiteRegistry":
        return self

    def remove(self, repository: str, reference: str) -> None:
        """Request that a tag or manifest is deleted. Registries accept that without doing it: read it afterwards."""
        path = f"/v2/{check_repository(repository)}/manifests/{reference}"
        with self._session.request("DELETE", path, repository=repository) as answer:
            answer.discard()

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


def repository_of(settings: RegistryDriverFile, image: Image) -> str:
    return f"{settings.prefix}/{image.to}" if settings.prefix else image.to


@contextmanager
def connect(context: DriverContext, settings: RegistryDriverFile) -> Iterator[SiteRegistry]:
    ca = None
    if settings.ca:
        ca = Path(settings.ca) if settings.ca.startswith("/") else under_site(context, settings.ca, "registry.ca")
    auth_file, credentials = _login(context, settings)
    options = RegistryOptions(
        plain_http=settings.plain_http,
        ca=ca,
        auth_file=auth_file,
        credentials=credentials,
        realm_hosts=frozenset(settings.token_hosts),
        # The login comes from site.yaml alone, never from the environment of the operator.
        environ={},
    )
    with SiteRegistry(settings.endpoint, options) as registry:
        yield registry


def _login(context: DriverContext, settings: RegistryDriverFile) -> tuple[Path | None, tuple[str, str] | None]:
    if settings.login is None:
        return None, None
    path, data = read_secret(context, settings.login.secret, "registry.login.secret")
    try:
        login = decode(data, Login, str(path))
    except MalformedError:
        # Then it is an auth file of a container tool, and the client reads it.
        return path, None
    return None, (login.username, login.password)
