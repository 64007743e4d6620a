"""Look at the images that ``release.yaml`` takes from files, as ``build`` would; layers are not read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from content.bundle.companions import Companions, refused_by_reader
from content.bundle.docker_archive import OPENERS, DockerArchive
from content.bundle.layout import Layout
from content.bundle.layout_source import file_source
from content.bundle.oci import Descriptor, ImageIndex, ImageManifest
from content.bundle.oci_writer import EMPTY
from content.bundle.selection import (
    ImageSelection,
    PackedDocuments,
    SelectionAccess,
    WantedImage,
    foreign_text,
    gaps_text,
    nothing_runs_text,
)
from content.bundle.unpack import Scratch
from content.registry.reference import image_reference
from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ImageFile, ReleaseFile, parse_from
from manifests.words.errors import MalformedError, WaybillError

# A problem, or where and what a warning is about.
LintFinding = WaybillError | tuple[str, str]


def image_findings(
    file: Handwritten, release: ReleaseFile, folder: Path, *, short_names: bool
) -> Iterator[LintFinding]:
    """Yield what is wrong with references, and with images in layouts and archives. Each file is opened once."""
    opened: dict[tuple[str, str], Layout | DockerArchive | None] = {}
    packed, subjects = PackedDocuments(), _Subjects()
    with Scratch(folder) as scratch:
        for i, image in enumerate(release.images):
            subjects.unread.append(image.name)
            try:
                source = parse_from(image.from_)
            except MalformedError:
                continue  # reported by release_problems
            where, key = file.at(f"$.images[{i}].from"), (source.kind, source.place)
            try:
                if source.kind == "registry":
                    image_reference(source.place, "", short_names=short_names)
                    continue
                if packed.too_many:
                    continue  # reported at the image that passed the limit, where `build` stops
                if key not in opened:
                    opened[key] = None
                    if not (folder / source.place).exists():
                        raise MalformedError(f"there is no {source.place}", remedy="correct the path, or add the file")
                    opened[key] = OPENERS[source.kind](folder / source.place, scratch)
                images = opened[key]
                if images is not None:
                    yield from (
                        (where, text) for text in _look(image, images, source.ref, _Looked(packed, subjects, where))
                    )
            except WaybillError as error:
                # Without its traceback, whose frames would keep the documents that were read.
                yield error.with_(where=f"{where}: {error.where}" if error.where else where).with_traceback(None)
    yield from subjects.findings()


class _Subjects:
    """What the documents of all images refer to, and what is packed. Attributes: unread: Images that were not read."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self._packed: set[str] = set()
        # By a document and its subject: the images that have it, with their places in release.yaml.
        self._named: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def add(self, image: str, where: str, selection: ImageSelection) -> None:
        """Add the documents and blobs that were packed with an image, which was read."""
        self.unread.remove(image)
        self._packed.update(child.digest for child in selection.absent if child.url is None)
        for digest, document in selection.nodes.items():
            self._packed.add(digest)
            if isinstance(document, ImageManifest):
                self._packed.update(blob.digest for blob in document.children)
            if document.subject is not None:
                self._named.setdefault((digest, document.subject.digest), []).append((image, where))

    def findings(self) -> Iterator[LintFinding]:
        """Yield each subject that is not packed, as `build` refuses it; a warning where an unread image may have it."""
        for (digest, subject), images in self._named.items():
            if subject in self._packed:
                continue
            error = MalformedError(f"its subject {subject} is not in the bundle", where=f"{images[0][1]}: {digest}")
            if self.unread:
                text = f"image {images[0][0]}: its subject {subject} is in no image that was read here"
                yield images[0][1], f"{text}; `build` refuses it unless {', '.join(self.unread[:4])} brings it"
            else:
                yield refused_by_reader(error, tuple(name for name, _ in images))


@dataclass(frozen=True)
class _Looked:
    """What all images share. Attributes: where: The place of this one in release.yaml."""

    packed: PackedDocuments
    subjects: _Subjects
    where: str


def _look(image: ImageFile, images: Layout | DockerArchive, ref: str, looked: _Looked) -> Iterator[str]:
    """Yield the warnings that `build` would give. Raises what it would raise."""
    entry = images.pick(ref)
    if isinstance(images, DockerArchive) and images.converts:
        images.check(ref)  # it has one manifest, which `build` makes from its layers
        return
    source = file_source(images, ref)

    def keep(_: Descriptor, __: bytes, document: ImageManifest | ImageIndex) -> None:
        children = document.children if isinstance(document, ImageManifest) else ()
        for blob in children:
            if not blob.urls and blob.digest != EMPTY.digest:
                source.origin(blob)

    def holds(blob: Descriptor) -> bool:
        return blob.digest == EMPTY.digest or source.holds(blob)

    wanted = WantedImage(image.name, image.platforms, image.foreign_layers)
    selection = ImageSelection(wanted, SelectionAccess(source, holds, keep, packed=looked.packed))
    selection.pack_root(entry)
    runs = selection.runs
    Companions(selection, source, image.to.partition(":")[0]).pack(tuple(selection.nodes))
    looked.subjects.add(image.name, looked.where, selection)
    if not runs:
        yield nothing_runs_text(image.name, image.from_)
    if selection.left_out:
        yield gaps_text(image.name, image.from_, tuple(selection.left_out))
    if foreign := tuple(one for one in selection.absent if one.url is not None):
        yield foreign_text(image.name, image.from_, foreign)
