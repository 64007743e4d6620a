"""Read what the vendor wrote for one release, and collect everything that it names, with facts from the content."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bundler.access import Access
from bundler.files import collect_files
from bundler.images import CollectedImage, GivenSbom, ImageRequest, collect_image
from bundler.parts import HeldPart, Parts, hash_file
from bundler.source import RegistrySource, Source
from content.bundle.charts import collect_chart
from content.bundle.docker_archive import OPENERS, DockerArchive
from content.bundle.layout import Extent, Layout
from content.bundle.layout_source import LayoutSource, file_source
from content.bundle.oci import Descriptor
from content.bundle.regular_files import regular_files
from content.bundle.selection import foreign_text, gaps_text, nothing_runs_text
from content.bundle.unpack import Scratch
from content.kubernetes.chart_images import (
    ChartImages,
    image_references,
    look_at_charts,
    missing_images,
    with_taken_images,
)
from content.registry.image_errors import ImagePlace
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.release_yaml import (
    ATTACHED,
    NONE,
    ChartFile,
    ImageFile,
    ProgramFile,
    ReleaseFile,
    SignerFile,
    parse_from,
)
from manifests.authored.release_yaml_checks import reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback
from manifests.documents.authorisation import MAX_AUTHORISATION, parse_authorisation
from manifests.documents.contract import Contract
from manifests.documents.release import Chart, Config, FileSet, ImageSigner, Program
from manifests.documents.rollback import Rollback
from manifests.foreign.attachments import MAX_NOTES, MAX_OPENVEX, check_notes, check_openvex
from manifests.foreign.config_schema import MAX_SCHEMA, check_config_schema
from manifests.foreign.sbom import MAX_SBOM, read_sbom_file
from manifests.trust.image_keys import parse_carried_pem
from manifests.trust.keys import MAX_KEY_FILE, read_capped
from manifests.words.canonical import encode
from manifests.words.digest import Blob, Digest, digest_of
from manifests.words.errors import MalformedError, WaybillError

if TYPE_CHECKING:
    from content.registry.client import Registry
    from content.registry.session import RegistryOptions


@dataclass(frozen=True)
class ReleaseInput:
    """The handwritten files of one release, checked; ``file`` is release.yaml, its paths begin in ``folder``.

    The images of ``release`` are those that it lists, and those that are taken from its charts.
    """

    file: Handwritten
    folder: Path
    release: ReleaseFile
    charts: tuple[ChartImages, ...]
    contract: Contract
    rollback: Rollback


def read_release_input(path: Path) -> ReleaseInput:
    """Read and check the handwritten files. Raises MalformedError with the first problem and its ``file:line``."""
    file = read_handwritten(path)
    release = file.to(ReleaseFile)
    _raise_first(release_problems(file, release))
    contract = compile_contract(read_handwritten(path.parent / release.contract))
    rollback = compile_rollback(read_handwritten(path.parent / release.rollback))
    _raise_first(reference_problems(file, release, contract, rollback))
    look = look_at_charts(file, release, path.parent)
    _raise_first(look.problems)
    release = with_taken_images(release, look.charts)
    _raise_first(missing_images(file, release, look.charts, path.parent))
    return ReleaseInput(file, path.parent, release, look.charts, contract, rollback)


def _raise_first(problems: Iterable[WaybillError]) -> None:
    for problem in problems:
        raise problem


@dataclass(frozen=True)
class BuildFinding:
    """A warning of `waybill build`; ``finding`` is a stable id."""

    finding: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CollectedRelease:
    """The content of a release, as ``release.json`` records it."""

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


class Sources:
    """Layouts and registries, each opened once. Leaving the context closes the sessions."""

    def __init__(self, folder: Path, access: Access) -> None:
        self._folder = folder
        self._access = access
        self._files: dict[tuple[str, str], Layout | DockerArchive] = {}
        self._sources: dict[tuple[str, str, str], LayoutSource] = {}
        self._registries: dict[tuple[str, RegistryOptions], Registry] = {}
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(Scratch(folder))

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
        if key not in self._files:
            self._files[key] = OPENERS[wanted.kind](self._folder / wanted.place, self._scratch)
        name = (*key, wanted.ref)
        if name not in self._sources:
            self._sources[name] = file_source(self._files[key], wanted.ref)
        return self._sources[name]

    def fetch(self, layer: Descriptor) -> Iterator[bytes]:
        """Stream a foreign layer from the first of its addresses that answers; its digest decides."""
        # Loads requests and oras, as in _registry.
        from content.registry.foreign import fetch_layer

        return fetch_layer(layer, self._access.address)

    def findings(self) -> Iterator[BuildFinding]:
        """What the opened layouts list and nobody could read."""
        layouts = {id(source.layout): source.layout for source in self._sources.values()}
        for layout in layouts.values():
            for text in layout.unread:
                yield BuildFinding("beside-image", f"{layout.name}: {text}")

    def _registry(self, text: str, where: str) -> Source:
        # Loads requests and oras, which a build from layouts and archives does not need.
        from content.registry.client import Registry

        reference, options = self._access.source(text, where)
        key = reference.host, options
        if key not in self._registries:
            self._registries[key] = self._stack.enter_context(Registry(reference.host, options))
        return RegistrySource(self._registries[key], reference, str(reference.pointer))


def collect(inputs: ReleaseInput, sources: Sources, kits: tuple[Path, ...], parts: Parts) -> CollectedRelease:
    """Read what the release names and add every blob to ``parts``."""
    release, folder = inputs.release, inputs.folder

    def documents(names: tuple[str, ...], cap: int, check: Callable[[bytes, str], object]) -> tuple[Blob, ...]:
        return tuple(parts.document(folder / name, cap, check) for name in names)

    def document(name: str | None, cap: int, check: Callable[[bytes, str], object]) -> Blob | None:
        return None if name is None else parts.document(folder / name, cap, check)

    schema = None if release.config is None else documents((release.config.schema,), MAX_SCHEMA, check_config_schema)[0]
    collected = CollectedRelease(
        contract=parts.hold(encode(inputs.contract), release.contract),
        rollback=parts.hold(encode(inputs.rollback), release.rollback),
        notes=document(release.notes, MAX_NOTES, check_notes),
        config=Config(schema=schema, version=release.config.version) if schema and release.config else None,
        advisories=documents(release.advisories, MAX_OPENVEX, check_openvex),
        authorisations=documents(release.authorisations, MAX_AUTHORISATION, parse_authorisation),
        files=tuple(collect_files(files.name, folder / files.from_, parts) for files in release.files),
        charts=tuple(_chart(chart, folder, parts) for chart in release.charts),
        programs=tuple(_program(program, folder, parts) for program in release.programs),
        signers={name: _signer(signer, folder) for name, signer in release.signers.items()},
        sigstore=document(release.sigstore, MAX_TRUSTED_ROOT, check_trusted_root),
        kits=tuple(sorted({hash_file(path).digest for path in kits})),
        images=(),
        findings=tuple(BuildFinding(*doubt) for chart in inputs.charts for doubt in chart.doubts),
    )
    # Last, since this is slow: a file that is missing is found before anything is fetched.
    images = tuple(_image(image, inputs, sources, parts) for image in release.images)
    doubts = [doubt for image, found in zip(release.images, images, strict=True) for doubt in _doubts(image, found)]
    digests = {image.image.name: image.image.manifest.digest for image in images}
    charts = tuple(
        msgspec.structs.replace(chart, references=image_references(inputs.file, seen, release, digests))
        for chart, seen in zip(collected.charts, inputs.charts, strict=True)
    )
    findings = (*collected.findings, *doubts, *sources.findings())
    return replace(collected, images=images, charts=charts, findings=findings)


def _image(image: ImageFile, inputs: ReleaseInput, sources: Sources, parts: Parts) -> CollectedImage:
    with ImagePlace(image.name, image.from_).errors():
        source = sources.open(image, f"{inputs.file.name} image {image.name}")
    given = _given_sbom(image, inputs.folder, parts)
    return collect_image(ImageRequest(image, source, parts, inputs.release.version, given, sources.fetch))


def _doubts(image: ImageFile, collected: CollectedImage) -> Iterator[BuildFinding]:
    place = image.from_
    if parse_from(place).kind == "registry" and collected.place not in place:
        # A short name, or one that a mirror serves: the registry that was asked is another one.
        place = f"{place} ({collected.place})"
    for doubt in collected.doubts:
        yield BuildFinding("beside-image", f"image {image.name} from {place}: {doubt}")
    if not collected.runs:
        yield BuildFinding("nothing-runs", nothing_runs_text(image.name, place))
    if collected.left_out:
        yield BuildFinding("left-out", gaps_text(image.name, place, collected.left_out))
    if foreign := tuple(one for one in collected.absent if one.url is not None):
        yield BuildFinding("foreign-absent", foreign_text(image.name, place, foreign))
    for text in collected.sboms.unnamed(image.name):
        yield BuildFinding("sbom-unnamed", text)


def _chart(chart: ChartFile, folder: Path, parts: Parts) -> Chart:
    path = folder / chart.from_
    blob = parts.hold(collect_chart(path), str(path))
    return Chart(name=chart.name, digest=blob.digest, size=blob.size, registry_value=chart.registry_value)


def _signer(signer: SignerFile, folder: Path) -> ImageSigner:
    """The record of a signer; it holds the key itself, which the release's signature covers."""
    if signer.key is None:
        return ImageSigner(identity=signer.identity, issuer=signer.issuer)
    path = folder / signer.key
    return ImageSigner(key=parse_carried_pem(read_capped(path, MAX_KEY_FILE), str(path)))


def _given_sbom(spec: ImageFile, folder: Path, parts: Parts) -> GivenSbom | None:
    """The SBOM that is a file; a large one is not kept in memory."""
    if spec.sbom in (NONE, ATTACHED):
        return None
    path = folder / spec.sbom
    data = read_capped(path, MAX_SBOM)
    document = read_sbom_file(data, path)
    blob = Blob(digest=digest_of(data), size=len(data))
    origin = HeldPart(data) if parts.may_hold(len(data)) else Extent(path=path, offset=0, size=len(data), whole=True)
    return GivenSbom(path=path, blob=parts.add(blob, origin, str(path), document=True), document=document)


def _program(program: ProgramFile, folder: Path, parts: Parts) -> Program:
    files = {}
    for platform, name in program.files.items():
        if (folder / name).is_dir():
            raise MalformedError("a folder, expected a program", where=str(folder / name))
        ((_, file),) = regular_files(folder / name)
        files[platform] = parts.file(file)
    return Program(name=program.name, files=files)
