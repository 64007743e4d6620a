"""Read images from an archive of ``docker save`` or ``podman save``.

An archive that holds an OCI layout is read as one; its digests stay. In the older form an image has a config and layers
but no manifest. It is converted by a rule that docs/cli.md, Images, states: config and layers keep their bytes, and the
manifest is written here, so that the same archive gives the same digests.
"""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from content.bundle.layout import (
    Extent,
    Layout,
    TarListing,
    list_tar,
    open_archive,
    open_layout,
    open_listed,
    read_extent,
)
from content.bundle.names import EntryNames, full_name
from content.bundle.oci import (
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    ImageIndex,
    ImageManifest,
    json_kind,
    read_json,
    read_json_value,
)
from content.bundle.oci_writer import describe, encode_manifest
from content.bundle.unpack import Scratch
from manifests.words.digest import blob_name, digest_of, is_digest
from manifests.words.errors import CHANGED_SOURCE, DamagedError, MalformedError, WaybillError, unreadable
from manifests.words.packers import GZIP

MAX_LINKS = 16
SAVE_AGAIN = "save the image again"
MAX_LAYERS = 1024
_PIECE = 1 << 20
_CONFIG_NAME = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


@dataclass(frozen=True)
class SavedImage:
    """An entry of ``manifest.json``: the config and its place, layers by name from the base up, and full names."""

    config: Descriptor
    place: Extent
    layers: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class DockerArchive:
    """An open archive.

    Attributes:
        converts: Whether its images get a manifest here; False for an archive that holds an OCI layout.
    """

    path: Path
    listing: TarListing
    _hashed: dict[tuple[int, str], Descriptor] = field(default_factory=dict)

    @property
    def converts(self) -> bool:
        return "oci-layout" not in self.listing.files

    def pick(self, ref: str) -> Descriptor:
        """The image that ``ref`` means: its entry of the layout, or its config. Reads no layer. Raises as a layout."""
        if not self.converts:
            return self._layout.pick(ref)
        return self._names.only(self._names.called(ref) if ref else self._configs, ref, str(self.path))

    def image(self, ref: str) -> Layout:
        """The layout that holds the image ``ref``; a converted image is the only one of its layout.

        Raises:
            RefusedError: No image is called so, or several are.
            DamagedError: A layer is not what the config says, or something is missing.
            MalformedError: The archive contradicts itself.
        """
        return self._converted(self._images[self.pick(ref).digest]) if self.converts else self._layout

    def check(self, ref: str) -> None:
        """Check what can be checked of a converted image without reading a layer. Raises as ``image``."""
        self._layer_places(self._images[self.pick(ref).digest])

    @cached_property
    def _layout(self) -> Layout:
        layout = open_listed(str(self.path), self._find)
        if "manifest.json" not in self.listing.files:
            return layout
        names = {image.config.digest: image.names for image in self._images.values()}
        aliases = {}
        for entry in layout.index.manifests:
            try:
                document = layout.parse(entry)
            except WaybillError:
                continue  # reported where the image is read
            if isinstance(document, ImageManifest):
                aliases[entry.digest] = names.get(document.config.digest, ())
        return replace(layout, aliases=aliases)

    @cached_property
    def _names(self) -> EntryNames:
        return EntryNames(self._configs.values(), {digest: image.names for digest, image in self._images.items()})

    @cached_property
    def _configs(self) -> Mapping[str, Descriptor]:
        return {digest: image.config for digest, image in self._images.items()}

    @cached_property
    def _images(self) -> Mapping[str, SavedImage]:
        """The images of ``manifest.json`` by the digests of their configs, each with all of its names."""
        images: dict[str, SavedImage] = {}
        data, where = read_extent(self._small("manifest.json")), f"{self.path} manifest.json"
        values = read_json_value(data, MAX_MANIFEST_BYTES, where)
        if not isinstance(values, list):
            raise MalformedError(f"found a JSON {json_kind(values)}, expected an array", where=where)
        for n, value in enumerate(values):
            image = self._image(value, f"{where} $[{n}]")
            known = images.get(image.config.digest)
            if known is not None and known.layers != image.layers:
                raise MalformedError(f"{image.config.digest} has two lists of layers", where=str(self.path))
            names = tuple(dict.fromkeys((*(known.names if known else ()), *image.names)))
            images[image.config.digest] = replace(image, names=names)
        return images

    def _image(self, value: object, where: str) -> SavedImage:
        fields = value if isinstance(value, dict) else {}
        config, layers, names = fields.get("Config"), fields.get("Layers") or [], fields.get("RepoTags") or []
        if not isinstance(config, str) or not _are_texts(layers) or not _are_texts(names):
            raise MalformedError("expected Config, Layers and RepoTags of an image", where=where)
        if len(layers) > MAX_LAYERS:
            raise MalformedError(f"{len(layers)} layers, at most {MAX_LAYERS} are read", where=where)
        place = self._small(config)
        data = read_extent(place)
        digest = digest_of(data)
        named = _CONFIG_NAME.fullmatch(config)
        if named and digest != f"sha256:{named[1]}":
            raise self._damaged(f"{config} has bytes with {digest}")
        return SavedImage(
            config=describe(data, media_type=OCI_CONFIG),
            place=place,
            layers=tuple(layers),
            names=tuple(full_name(name) for name in names),
        )

    def _layer_places(self, image: SavedImage) -> list[tuple[str, Extent, str]]:
        """Return name, place and diff id of each layer from the base up. Reads no layer."""
        where = f"{self.path} {image.config.digest}"
        rootfs = read_json(read_extent(image.place), where=where).get("rootfs")
        diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(diff_ids, list) or not all(isinstance(one, str) and is_digest(one) for one in diff_ids):
            raise MalformedError("the config has no rootfs.diff_ids", where=where, remedy=SAVE_AGAIN)
        if len(diff_ids) != len(image.layers):
            problem = f"the config names {len(diff_ids)} layers, manifest.json {len(image.layers)}"
            raise MalformedError(problem, where=where, remedy=SAVE_AGAIN)
        return [(name, self._at(name), diff_id) for name, diff_id in zip(image.layers, diff_ids, strict=True)]

    def _converted(self, image: SavedImage) -> Layout:
        """A layout of one image, by the rule of docs/cli.md."""
        places = {blob_name(image.config.digest): image.place}
        layers = []
        for name, extent, diff_id in self._layer_places(image):
            layer = self._layer(name, extent, diff_id)
            layers.append(layer)
            places[blob_name(layer.digest)] = extent
        manifest = encode_manifest(image.config, layers)
        entry = describe(manifest, media_type=OCI_MANIFEST)
        index = ImageIndex(media_type="", manifests=(entry,))
        return Layout(name=str(self.path), find=places.get, index=index, held={entry.digest: manifest})

    def _layer(self, name: str, extent: Extent, diff_id: str) -> Descriptor:
        """The descriptor of a layer whose bytes, or what gzip makes of them, are those that ``diff_id`` names."""
        key = extent.offset, diff_id
        if key not in self._hashed:
            digest = _hashed(_pieces(extent))
            media_type = OCI_LAYER
            if digest != diff_id:
                plain = _hashed(_unpacked(extent)) if _begins(extent, GZIP) else digest
                if plain != diff_id:
                    raise self._damaged(f"{name} has bytes with {plain}, the config says {diff_id}")
                media_type = OCI_LAYER_GZIP
            self._hashed[key] = Descriptor(media_type=media_type, digest=digest, size=extent.size)
        return self._hashed[key]

    def _find(self, name: str) -> Extent | None:
        """The bytes of a member, through links inside the archive."""
        for _ in range(MAX_LINKS):
            if name not in self.listing.links:
                return self.listing.files.get(name)
            name = self.listing.links[name]
        problem = f"{name} is a link in a circle, or one of more than {MAX_LINKS}"
        raise MalformedError(problem, where=str(self.path), remedy=SAVE_AGAIN)

    def _at(self, name: str) -> Extent:
        extent = self._find(name.removeprefix("./"))
        if extent is None:
            raise self._damaged(f"{name} is missing", "blob-missing")
        return extent

    def _small(self, name: str) -> Extent:
        extent = self._at(name)
        if extent.size > MAX_MANIFEST_BYTES:
            problem = f"{name} has {extent.size} bytes, at most {MAX_MANIFEST_BYTES} are read"
            raise MalformedError(problem, where=str(self.path))
        return extent

    def _damaged(self, problem: str, finding: str = "blob-damaged") -> DamagedError:
        return DamagedError(problem, where=str(self.path), remedy=SAVE_AGAIN, finding=finding)


def open_docker_archive(path: Path, scratch: Scratch | None = None) -> DockerArchive:
    """Open the archive at ``path``; only headers are read. Raises as `open_archive`."""
    remedy = "name a tar of docker save or podman save"
    listing = list_tar(path, scratch, remedy)
    if not {"manifest.json", "oci-layout"} & set(listing.files):
        raise MalformedError("holds neither manifest.json nor oci-layout", where=str(path), remedy=remedy)
    return DockerArchive(path=path, listing=listing)


# What opens each kind of `from:` that is a file.
OPENERS: Mapping[str, Callable[[Path, Scratch | None], Layout | DockerArchive]] = {
    "oci": open_layout,
    "oci-archive": open_archive,
    "docker-archive": open_docker_archive,
}


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _begins(extent: Extent, magic: bytes) -> bool:
    return next(_pieces(extent), b"").startswith(magic)


def _hashed(pieces: Iterator[bytes]) -> str:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return f"sha256:{hashed.hexdigest()}"


def _pieces(extent: Extent) -> Iterator[bytes]:
    left = extent.size
    try:
        with extent.path.open("rb") as file:
            file.seek(extent.offset)
            while left and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise unreadable(error, str(extent.path)) from None
    if left:
        raise DamagedError(f"ends {left} bytes early", where=str(extent.path), remedy=CHANGED_SOURCE)


class _Stream(io.RawIOBase):
    """Pieces as a file that can only be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # typeshed names it only from Python 3.12 on
        self._left = self._left or next(self._pieces, b"")
        piece, self._left = self._left[: len(view)], self._left[len(view) :]
        view[: len(piece)] = piece
        return len(piece)


def _unpacked(extent: Extent) -> Iterator[bytes]:
    """What gzip makes of an extent, in pieces of bounded size. Raises DamagedError if it is not gzip to its end."""
    try:
        with gzip.GzipFile(fileobj=io.BufferedReader(_Stream(_pieces(extent)), _PIECE)) as file:
            while piece := file.read(_PIECE):
                yield piece
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedError(f"a layer cannot be unpacked: {error}", where=str(extent.path)) from None
