"""Collect everything that a release names: blobs with their digests, and the facts that only the content knows."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.charts import collect_chart
from bundler.files import collect_files
from bundler.images import MAX_KEPT, CollectedImage, GivenSbom, collect_image
from bundler.parts import HeldPart, Parts, hash_file
from bundler.source import LayoutSource, RegistrySource, Source
from content.bundle.layout import Extent, Layout, open_archive, open_layout
from content.registry.reference import parse_reference
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.notes import MAX_NOTES, check_notes
from manifests.authored.release_yaml import ATTACHED, NONE, ImageFile, ReleaseFile, SignerFile, parse_from
from manifests.documents.authorisation import MAX_AUTHORISATION, parse_authorisation
from manifests.documents.contract import Contract
from manifests.documents.release import Chart, Config, FileSet, ImageSigner, Program
from manifests.documents.rollback import Rollback
from manifests.foreign.config_schema import MAX_SCHEMA, check_config_schema
from manifests.foreign.openvex import MAX_OPENVEX, check_openvex
from manifests.foreign.sbom import MAX_SBOM, check_sbom
from manifests.trust.image_keys import parse_carried_pem
from manifests.trust.keys import MAX_KEY_FILE, read_capped
from manifests.words.canonical import encode
from manifests.words.digest import Blob, Digest, digest_of
from manifests.words.errors import MalformedError

if TYPE_CHECKING:
    from content.registry.client import Registry


@dataclass(frozen=True)
class BuildFinding:
    """Something that a person should know and that stops nothing. ``finding`` is a stable id."""

    finding: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CollectedRelease:
    """Everything that a release is made of besides what ``release.yaml`` says itself."""

    contract: Blob
    rollback: Blob
    notes: Blob | None
    config: Config | None
    advisories: tuple[Blob, ...]
    authorisations: tuple[Blob, ...]
    signers: dict[str, ImageSigner]
    sigstore: Blob | None
    images: tuple[CollectedImage, ...]
    files: tuple[FileSet, ...]
    charts: tuple[Chart, ...]
    programs: tuple[Program, ...]
    kits: tuple[Digest, ...]
    findings: tuple[BuildFinding, ...]


@dataclass(frozen=True)
class Access:
    """How registries are reached.

    Attributes:
        plain_http: Hosts that are spoken to without TLS.
    """

    plain_http: frozenset[str] = frozenset()
    ca: Path | None = None
    auth_file: Path | None = None


class Sources:
    """Layouts and registries, each opened once. A context manager: sessions end with it."""

    def __init__(self, folder: Path, access: Access) -> None:
        self._folder = folder
        self._access = access
        self._layouts: dict[tuple[str, str], Layout] = {}
        self._sources: dict[tuple[str, str, str], LayoutSource] = {}
        self._registries: dict[str, Registry] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Sources":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, spec: ImageFile, where: str) -> Source:
        """The source of one image."""
        wanted = parse_from(spec.from_, where)
        if wanted.kind == "registry":
            return self._registry(wanted.place, where)
        key = (wanted.kind, wanted.place)
        if key not in self._layouts:
            opener = open_layout if wanted.kind == "oci" else open_archive
            self._layouts[key] = opener(self._folder / wanted.place)
        return self._sources.setdefault((*key, wanted.ref), LayoutSource(self._layouts[key], wanted.ref))

    def _registry(self, text: str, where: str) -> Source:
        from content.registry.client import Registry
        from content.registry.session import RegistryOptions

        try:
            reference = parse_reference(text)
        except MalformedError as error:
            raise MalformedError(error.problem, where=where, remedy=error.remedy) from None
        if reference.pointer is None:
            raise MalformedError(
                f"{text!r} says neither a tag nor a digest", where=where, remedy="add :TAG or @sha256:..."
            )
        if reference.host not in self._registries:
            access = self._access
            options = RegistryOptions(
                plain_http=reference.host in access.plain_http, ca=access.ca, auth_file=access.auth_file
            )
            self._registries[reference.host] = self._stack.enter_context(Registry(reference.host, options))
        return RegistrySource(self._registries[reference.host], reference, reference.pointer)


def collect(
    release: ReleaseFile,
    contract: Contract,
    rollback: Rollback,
    *,
    name: str,
    folder: Path,
    sources: Sources,
    kits: tuple[Path, ...],
    parts: Parts,
) -> CollectedRelease:
    """Read what ``release`` names and add every blob to ``parts``.

    Args:
        name: Of ``release.yaml``, for messages.
        folder: Where its paths begin.
    """
    findings: list[BuildFinding] = []
    config = None
    if release.config is not None:
        schema = parts.document(folder / release.config.schema, MAX_SCHEMA, check_config_schema)
        config = Config(schema=schema, version=release.config.version)
    charts = []
    for one in release.charts:
        blob = parts.hold(collect_chart(folder / one.from_), str(folder / one.from_))
        charts.append(Chart(name=one.name, digest=blob.digest, size=blob.size, registry_value=one.registry_value))
        findings.append(
            BuildFinding("chart-not-rendered", f"chart {one.name} was packed without looking which images it asks for")
        )
        if (folder / one.from_ / ".helmignore").is_file():
            findings.append(
                BuildFinding("helmignore-not-applied", f"chart {one.name} was packed whole, .helmignore too")
            )
    return CollectedRelease(
        contract=parts.hold(encode(contract), release.contract),
        rollback=parts.hold(encode(rollback), release.rollback),
        notes=None if release.notes is None else parts.document(folder / release.notes, MAX_NOTES, check_notes),
        config=config,
        advisories=tuple(parts.document(folder / one, MAX_OPENVEX, check_openvex) for one in release.advisories),
        authorisations=tuple(
            parts.document(folder / one, MAX_AUTHORISATION, parse_authorisation) for one in release.authorisations
        ),
        files=tuple(collect_files(one.name, folder / one.from_, parts) for one in release.files),
        charts=tuple(charts),
        programs=tuple(
            Program(name=one.name, files={key: _program(folder / path, parts) for key, path in one.files.items()})
            for one in release.programs
        ),
        signers={key: _signer(one, folder) for key, one in release.signers.items()},
        sigstore=None
        if release.sigstore is None
        else parts.document(folder / release.sigstore, MAX_TRUSTED_ROOT, check_trusted_root),
        kits=tuple(sorted({hash_file(path).digest for path in kits})),
        images=tuple(
            collect_image(
                one,
                sources.open(one, f"{name} image {one.name}"),
                parts,
                version=release.version,
                given=_given(one, folder, parts),
            )
            for one in release.images
        ),
        findings=tuple(findings),
    )


def _signer(one: SignerFile, folder: Path) -> ImageSigner:
    """The record of a signer; its key is in the signed release from here on."""
    if one.key is None:
        return ImageSigner(identity=one.identity, issuer=one.issuer)
    path = folder / one.key
    return ImageSigner(key=parse_carried_pem(read_capped(path, MAX_KEY_FILE), str(path)))


def _given(spec: ImageFile, folder: Path, parts: Parts) -> GivenSbom | None:
    """The SBOM that is a file; a large one is not kept in memory."""
    if spec.sbom in (NONE, ATTACHED):
        return None
    path = folder / spec.sbom
    data = read_capped(path, MAX_SBOM)
    kind = check_sbom(data, str(path))
    blob = Blob(digest=digest_of(data), size=len(data))
    origin = HeldPart(data) if len(data) <= MAX_KEPT else Extent(path=path, offset=0, size=len(data), whole=True)
    return GivenSbom(path=path, blob=parts.add(blob, origin, str(path), document=True), format=kind)


def _program(path: Path, parts: Parts) -> Blob:
    from bundler.files import regular_files

    if path.is_dir():
        raise MalformedError("a folder, expected a program", where=str(path))
    for _, file in regular_files(path):
        return parts.file(file)
    raise AssertionError("a path is a folder or a file")
