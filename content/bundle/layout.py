"""Read images from an OCI image layout: a folder, or a tar of one (image-spec, image-layout.md)."""

import os
import posixpath
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from content.bundle.archive import BLOCK, padded
from content.bundle.names import EntryNames
from content.bundle.oci import (
    CONFIG_TYPES,
    CONTAINERD_NAME,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    Texts,
    parse_oci,
    read_json,
)
from content.bundle.schema_1 import SCHEMA_1, SCHEMA_1_TEXT
from content.bundle.unpack import Scratch
from manifests.authored.named_file import open_named_file
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import (
    CHANGED_SOURCE,
    DamagedError,
    HostError,
    MalformedError,
    RefusedError,
    WaybillError,
    unreadable,
)
from manifests.words.packers import DISK_SEARCHED, packer_of

BLOB_MISSING = "blob-missing"
MAX_ENTRIES = 200_000
MAX_LONG_NAME = 64 << 10
# `sha256-<hex>` lists referrers (distribution-spec, referrers tag schema); with an ending it is cosign's.
COMPANION_TAG = re.compile(r"(?:.*:)?sha256-([0-9a-f]{64})(\.sig|\.att|\.sbom)?")
_NAME_ARCHIVE = "name a tar of an OCI image layout (skopeo copy ... oci-archive:FILE)"
_SIZE_RECORD = re.compile(rb"(?:^|\n)[0-9]{1,10} size=([0-9]{1,19})\n")
_LINK_RECORD = re.compile(rb"(?:^|\n)[0-9]{1,10} linkpath=([^\n]*)\n")
_PATH_RECORD = re.compile(rb"(?:^|\n)[0-9]{1,10} path=([^\n]*)\n")


@dataclass(frozen=True, slots=True)
class Extent:
    """``size`` bytes of the file at ``path``, from ``offset`` on; ``whole`` when the file has no others."""

    path: Path
    offset: int
    size: int
    whole: bool = False


@dataclass(frozen=True)
class TarListing:
    """The members of a tar by name: ``files``, and ``links`` with the name that each points at."""

    files: Mapping[str, Extent]
    links: Mapping[str, str]


@dataclass(frozen=True)
class Layout:
    """An open layout; blobs are verified by their digests when they are read.

    Every entry of index.json is read once for all images that come from the layout.

    Attributes:
        name: As the user wrote it.
        find: Maps a name inside the layout to its bytes.
        held: Blobs that are made in memory, by digest.
        aliases: Further names of entries, by digest.
    """

    name: str
    find: Callable[[str], Extent | None]
    index: ImageIndex
    held: Mapping[str, bytes] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def extent(self, descriptor: Descriptor) -> Extent:
        """Where a blob lies. Raises DamagedError if it is missing or has another size."""
        extent = self.find(blob_name(descriptor.digest))
        if extent is None:
            raise self._damaged(f"{descriptor.digest} is missing", BLOB_MISSING)
        if extent.size != descriptor.size:
            raise self._damaged(f"{descriptor.digest} has {extent.size} bytes, expected {descriptor.size}")
        return extent

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the layout has a blob with this digest; its bytes are not read."""
        return descriptor.digest in self.held or self.find(blob_name(descriptor.digest)) is not None

    def _damaged(self, problem: str, finding: str = "blob-damaged") -> DamagedError:
        remedy = "copy the image into the layout again"
        return DamagedError(problem, where=self.name, remedy=remedy, finding=finding)

    def read(self, descriptor: Descriptor, max_bytes: int = MAX_MANIFEST_BYTES) -> bytes:
        """Read and hash a small blob.

        Raises MalformedError above ``max_bytes``, DamagedError if the bytes have another digest.
        """
        if descriptor.size > max_bytes:
            raise MalformedError(
                f"{descriptor.digest} has {descriptor.size} bytes, at most {max_bytes} are read", where=self.name
            )
        data = self.held.get(descriptor.digest)
        if data is None:
            data = read_extent(self.extent(descriptor))
        digest = digest_of(data)
        if digest != descriptor.digest:
            raise self._damaged(f"found bytes with {digest}, expected {descriptor.digest}")
        return data

    def named(self, tag: str) -> tuple[Descriptor, ...]:
        """Entries of index.json named ``tag`` or ``repo:tag``."""
        return tuple(self._names.of_tag(tag).values())

    def pick(self, ref: str) -> Descriptor:
        """The image called ``ref``, or the only one when ``ref`` is empty.

        Signatures, attestations, SBOMs and lists of referrers do not count, nor does another artifact beside an image.
        Raises RefusedError for none or several.
        """
        entries = self._names.called(ref) if ref else self._images()
        if not entries and not ref and self.index.manifests:
            raise self._no_image("no images that could be meant", self.index.manifests)
        entry = self._names.only(entries, ref, self.name)
        if entry.media_type in SCHEMA_1:
            raise self._no_image(f"no image called {ref!r} that can be read", (entry,))
        return entry

    def _no_image(self, problem: str, entries: tuple[Descriptor, ...]) -> RefusedError:
        reasons = [f"{entry.digest} {self._other_than_image(entry)}" for entry in entries[:4]]
        more = f"; and {len(entries) - 4} more" if len(entries) > 4 else ""
        remedy = "copy the image into it again, as an OCI image (skopeo copy ... oci:PATH)"
        text = f"{problem}: {'; '.join(reasons)}{more}"
        return RefusedError(text, where=self.name, remedy=remedy, finding="image-missing")

    def _other_than_image(self, entry: Descriptor) -> str:
        """What an entry is that is not chosen as the image."""
        if entry.media_type in SCHEMA_1:
            return SCHEMA_1_TEXT
        if companion := companion_of(entry):
            return f"belongs to {companion[0]} (signature, attestation, SBOM or list of referrers)"
        if entry.artifact_type:
            return f"is an artifact of type {entry.artifact_type}"
        if entry.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return f"has the media type {entry.media_type}, expected an image manifest or an image index"
        document = self.parse(entry) if self.holds(entry) else None
        subject = document.subject if document is not None else None
        return "is missing" if subject is None else f"refers to {subject.digest}, as a signature or an SBOM does"

    @cached_property
    def _names(self) -> EntryNames:
        return EntryNames(self.index.manifests, self.aliases)

    def _images(self) -> dict[str, Descriptor]:
        """Entries that could be meant when no name is given, by digest."""
        entries: dict[str, Descriptor] = {}
        beside: set[str] = set()
        for entry in self.index.manifests:
            if COMPANION_TAG.fullmatch(entry.annotation(REF_NAME)) or entry.artifact_type:
                continue
            if not self.holds(entry) and not self._names.has_name(entry):
                continue  # reported as one that could not be read
            document = self.parse(entry)
            if document is None or document.subject is not None:
                continue
            entries[entry.digest] = entry
            if isinstance(document, ImageManifest) and (
                document.artifact_type or document.config.media_type not in CONFIG_TYPES
            ):
                beside.add(entry.digest)
        return {digest: entry for digest, entry in entries.items() if digest not in beside} or entries

    def parse(self, entry: Descriptor) -> ImageManifest | ImageIndex | None:
        """A manifest or index that index.json lists; None for an entry that is neither."""
        if entry.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return None
        try:
            return parse_oci(self.read(entry), media_type=entry.media_type, texts=Texts(frozenset()))
        except MalformedError as error:
            raise error.with_(where=f"{self.name} {entry.digest} {error.where}") from None

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Manifests that name ``digest`` as their subject: those that index.json lists, or a fallback tag."""
        return self._beside[0].get(digest, ())

    @property
    def unread(self) -> tuple[str, ...]:
        """Why entries of index.json could not be read; whether they refer to an image is not known."""
        return self._beside[1]

    @cached_property
    def _beside(self) -> tuple[dict[str, tuple[Descriptor, ...]], tuple[str, ...]]:
        subjects: dict[str, dict[str, Descriptor]] = {}
        unread = []
        for entry in self.index.manifests:
            try:
                document = self.parse(entry)
            except WaybillError as error:
                if error.finding != BLOB_MISSING and not isinstance(error, MalformedError):
                    raise
                unread.append(f"{entry.digest} of index.json could not be read: {error.problem}")
                continue
            if document is None:
                continue
            if document.subject is not None:
                subjects.setdefault(document.subject.digest, {})[entry.digest] = entry
            companion = companion_of(entry)
            if companion is not None and not companion[1] and isinstance(document, ImageIndex):
                for child in document.manifests:
                    subjects.setdefault(companion[0], {})[child.digest] = child
        sorted_subjects = {subject: tuple(below[key] for key in sorted(below)) for subject, below in subjects.items()}
        return sorted_subjects, tuple(unread)


def open_layout(path: Path, _: Scratch | None = None) -> Layout:
    """Open the layout in the folder ``path``. Raises HostError or, if it is no OCI image layout, MalformedError."""

    def find(name: str) -> Extent | None:
        try:
            status = (path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise MalformedError("not a regular file", where=str(path / name))
        return Extent(path=path / name, offset=0, size=status.st_size, whole=True)

    if not path.is_dir():
        problem = "not a folder" if path.exists() else "no such folder"
        raise HostError(problem, where=str(path), remedy="for a tar of a layout write oci-archive:FILE")
    return open_listed(str(path), find)


def open_archive(path: Path, scratch: Scratch | None = None) -> Layout:
    """Open the layout in the tar at ``path``; only its headers are read. One that is compressed needs ``scratch``.

    Raises:
        HostError: It cannot be read.
        MalformedError: Not a tar of an OCI image layout, or one that two programs could read differently.
    """
    listing = list_tar(path, scratch)
    if "oci-layout" not in listing.files and "manifest.json" in listing.files:
        problem = "holds no oci-layout; it is an archive of docker save"
        raise MalformedError(problem, where=str(path), remedy="write docker-archive:FILE[:NAME]")
    if listing.links:
        name, link = next(iter(listing.links.items()))
        problem = f"{name} is neither a file nor a folder (a link to {link})"
        raise MalformedError(problem, where=str(path))
    return open_listed(str(path), listing.files.get)


def list_tar(path: Path, scratch: Scratch | None = None, remedy: str = _NAME_ARCHIVE) -> TarListing:
    """The members of the tar at ``path``; only its headers are read.

    ``remedy`` is for a file that is no tar. Raises as `open_archive`, and DamagedError for a tar that was cut off.
    """
    plain = scratch.plain(path) if scratch is not None else path
    try:
        with os.fdopen(open_named_file(plain), "rb") as file:
            return _walk(file, path, plain, remedy)
    except OSError as error:
        raise unreadable(error, str(path)) from None


def open_listed(name: str, find: Callable[[str], Extent | None]) -> Layout:
    """The layout whose files ``find`` maps to their bytes. Raises MalformedError if it is none."""
    layout = _small(name, find, "oci-layout", 4096)
    version = read_json(layout, where=f"{name} oci-layout").get("imageLayoutVersion")
    if version != "1.0.0":
        raise MalformedError(f"imageLayoutVersion is {version!r}, expected 1.0.0", where=f"{name} oci-layout")
    try:
        texts = Texts(frozenset({REF_NAME, CONTAINERD_NAME}), longest=4096)
        index = parse_oci(_small(name, find, "index.json", MAX_MANIFEST_BYTES), media_type=OCI_INDEX, texts=texts)
    except MalformedError as error:
        raise MalformedError(error.problem, where=f"{name} index.json {error.where}", remedy=error.remedy) from None
    assert isinstance(index, ImageIndex)
    return Layout(name=name, find=find, index=index)


def _small(layout: str, find: Callable[[str], Extent | None], name: str, cap: int) -> bytes:
    extent = find(name)
    if extent is None:
        raise MalformedError(
            f"holds no {name}", where=layout, remedy="name an OCI image layout (skopeo copy ... oci:PATH)"
        )
    if extent.size > cap:
        raise MalformedError(f"{name} has {extent.size} bytes, at most {cap} are read", where=layout)
    return read_extent(extent)


def read_extent(extent: Extent) -> bytes:
    """All bytes of a small extent. Raises HostError, or DamagedError if the file ends early."""
    try:
        with extent.path.open("rb") as file:
            file.seek(extent.offset)
            data = file.read(extent.size)
    except OSError as error:
        raise unreadable(error, str(extent.path)) from None
    if len(data) != extent.size:
        raise DamagedError(f"ends {extent.size - len(data)} bytes early", where=str(extent.path), remedy=CHANGED_SOURCE)
    return data


def _walk(file: BinaryIO, path: Path, plain: Path, remedy: str) -> TarListing:
    """Every file and link of a tar by name: USTAR, GNU long names and sizes, pax sizes and paths."""
    length = os.fstat(file.fileno()).st_size
    entries: dict[str, Extent] = {}
    links: dict[str, str] = {}
    offset = 0
    override: dict[str, bytes] = {}
    for _ in range(MAX_ENTRIES):
        where = f"{path} at byte {offset}"
        file.seek(offset)
        block = file.read(BLOCK)
        # Some writers leave out the zeros at the end; a blob that is missing is reported by name later.
        if not block.strip(b"\0") and offset and (len(block) == BLOCK or entries):
            return TarListing(files=entries, links=links)
        problem = _unfinished(block, offset)
        if problem and not offset and (packer := packer_of(block + file.read(DISK_SEARCHED))):
            remedy = f"it is {packer.what}: {packer.step}, and name the file in it"
            raise MalformedError("not a tar header", where=str(path), remedy=remedy, finding="tar-header")
        if problem:
            raise DamagedError(problem, where=where if offset else str(path), finding="archive-truncated")
        if len(block) < BLOCK or not _checksum_holds(block):
            raise MalformedError("not a tar header", where=where, remedy=_unpack(block, remedy), finding="tar-header")
        kind = block[156:157]
        size = _number(block[124:136], where)
        body = offset + BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            if size > MAX_LONG_NAME:
                raise MalformedError(f"an extended header of {size} bytes", where=where)
            file.seek(body)
            record = file.read(size)
            if kind == b"x":
                override |= _pax(record)
            elif kind in (b"L", b"K"):
                override["path" if kind == b"L" else "linkpath"] = record.rstrip(b"\0")
            offset = body + padded(size)
            continue
        if "size" in override:
            size = int(override["size"])
        name = _name(override.get("path") or _plain_name(block), where)
        target = override.get("linkpath") or block[157:257].split(b"\0", 1)[0]
        override = {}
        if kind in (b"1", b"2"):  # the size of a hard link may be that of the file
            size = 0
        if body + size > length:
            raise DamagedError(f"ends inside of {name}", where=str(path), finding="archive-truncated")
        if name in entries or name in links:
            raise MalformedError(f"{name} is there twice", where=where)
        if kind in (b"1", b"2"):
            links[name] = _target(name, target, where, symbolic=kind == b"2")
        elif kind in (b"0", b"\0", b"7"):
            entries[name] = Extent(path=plain, offset=body, size=size)
        elif kind != b"5":
            raise MalformedError(f"{name} is neither a file nor a folder (type {kind!r})", where=where)
        offset = body + (padded(size) if kind != b"5" else 0)
    raise MalformedError(f"more than {MAX_ENTRIES} entries", where=str(path))


def _unfinished(block: bytes, offset: int) -> str | None:
    """Return what shows that a tar was cut off before its next header, or None; ``block`` is what is there."""
    if offset:
        return "ends inside of a tar header" if len(block) < BLOCK else None
    if not block:
        return "the file is empty, expected a tar"
    if not block.strip(b"\0"):
        return "the file begins with zeros, expected a tar: its copy was not finished, or nothing was packed into it"
    # A short text has no zeros, and no packed file is so short.
    if len(block) < BLOCK and b"\0" in block and packer_of(block) is None:
        return f"the file ends after {len(block)} bytes, inside the first header of a tar: its copy was not finished"
    return None


def _checksum_holds(block: bytes) -> bool:
    field = block[148:156].strip(b" \0")
    return bool(re.fullmatch(rb"[0-7]{1,8}", field)) and int(field, 8) == sum(block[:148]) + 256 + sum(block[156:])


def _number(field: bytes, where: str) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,12}", text):
        raise MalformedError("a size that is no number", where=where)
    return int(text, 8)


def _pax(record: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    for name, pattern in (("size", _SIZE_RECORD), ("path", _PATH_RECORD), ("linkpath", _LINK_RECORD)):
        if match := pattern.search(record):
            records[name] = match[1]
    return records


def _plain_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _name(raw: bytes, where: str) -> str:
    text = raw.decode("utf-8", "backslashreplace").removeprefix("./").rstrip("/")
    if text.startswith("/") or ".." in text.split("/"):
        raise MalformedError(f"the name {text!r} leads out of the archive", where=where)
    return text


def _target(name: str, raw: bytes, where: str, *, symbolic: bool) -> str:
    """What a link points at, as a name of the archive: a symbolic link counts from its own folder."""
    text = raw.decode("utf-8", "backslashreplace")
    if symbolic:
        text = posixpath.join(posixpath.dirname(name), text)
    return _name(posixpath.normpath(text).encode("utf-8", "surrogatepass"), where)


def _unpack(block: bytes, otherwise: str) -> str:
    """The command that unpacks a file which begins with ``block``."""
    if packer := packer_of(block):
        if packer.command is None:
            return f"it is {packer.what}: {packer.step}, and name the file in it"
        return f"it is compressed; decompress the file first: {packer.command} FILE"
    return otherwise


def companion_of(entry: Descriptor) -> tuple[str, str] | None:
    """The digest and ending of a cosign tag or fallback tag; None for an entry with another name."""
    match = COMPANION_TAG.fullmatch(entry.annotation(REF_NAME))
    return (f"sha256:{match[1]}", match[2] or "") if match else None
