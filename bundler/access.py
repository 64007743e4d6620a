"""How ``waybill build`` reaches registries: options of the command, and ``registries.yaml`` beside ``release.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from content.registry.reference import Reference, check_host, check_repository, image_reference
from manifests.authored.handwritten import read_handwritten
from manifests.authored.registries_yaml import REGISTRIES_YAML, RegistriesFile, RegistryFile, registries_problems

if TYPE_CHECKING:
    from content.registry.session import RegistryOptions

_DEFAULT = RegistryFile()
DEFAULTS = RegistriesFile(waybill=1)


@dataclass(frozen=True)
class Access:
    """How registries are reached.

    Attributes:
        plain_http: Hosts that are reached without TLS.
        folder: The folder of registries.yaml, for the paths in it.
    """

    plain_http: frozenset[str] = frozenset()
    ca: Path | None = None
    auth_file: Path | None = None
    registries: RegistriesFile = DEFAULTS
    folder: Path = Path()

    def source(self, text: str, where: str) -> tuple[Reference, "RegistryOptions"]:
        """Where an image is read from, a mirror included, and how its registry is reached.

        Raises:
            MalformedError: Not a reference, one without tag and digest, or a short name where those are refused.
        """
        reference = image_reference(text, where, short_names=self.registries.short_names)
        name, given = self._given(reference)
        if given.mirror is not None:
            reference = _mirrored(reference, name, given.mirror)
            _, given = self._given(reference)
        return reference, self._options(given, plain_http=given.plain_http or reference.host in self.plain_http)

    def address(self, host: str) -> "RegistryOptions":
        """How the host of a foreign layer is reached: over TLS, without credentials."""
        return self._options(self.registries.registries.get(host, _DEFAULT), plain_http=False)

    def _options(self, given: RegistryFile, *, plain_http: bool) -> "RegistryOptions":
        from content.registry.session import RegistryOptions  # loads requests

        return RegistryOptions(
            plain_http=plain_http,
            plain_hosts=self.plain_http,
            ca=self.folder / given.ca if given.ca else self.ca,
            auth_file=self.folder / given.auth_file if given.auth_file else self.auth_file,
            token_hosts=None if given.token_hosts is None else frozenset(given.token_hosts),
            content_hosts=None if given.content_hosts is None else frozenset(given.content_hosts),
            helpers=self.registries.credential_helpers,
            rate=given.requests_per_second,
            user_agent=given.user_agent or "waybill",
        )

    def _given(self, reference: Reference) -> tuple[str, RegistryFile]:
        """The entry with the longest name that covers the reference."""
        full = f"{reference.host}/{reference.repository}/"
        names = [name for name in self.registries.registries if full.startswith(f"{name}/")]
        name = max(names, key=len, default="")
        return name, self.registries.registries.get(name, _DEFAULT)


def read_registries(folder: Path) -> RegistriesFile:
    """``registries.yaml`` in ``folder``, or the defaults. Raises MalformedError with ``file:line``."""
    path = folder / REGISTRIES_YAML
    if not path.exists():
        return DEFAULTS
    file = read_handwritten(path)
    given = file.to(RegistriesFile)
    for problem in registries_problems(file, given):
        raise problem
    return given


def _mirrored(reference: Reference, name: str, mirror: str) -> Reference:
    host, _, prefix = mirror.partition("/")
    rest = f"{reference.host}/{reference.repository}".removeprefix(name).strip("/")
    repository = "/".join(part for part in (prefix, rest) if part)
    return Reference(check_host(host), check_repository(repository), reference.tag, reference.digest)
