"""Collect the parts of a bundle's bulk: blobs by digest, and where the bytes of each come from."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from content.bundle.layout import Extent
from content.bundle.platforms import MAX_KEPT
from content.bundle.selection import PackedDocuments
from manifests.trust.keys import open_regular, read_capped
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError, MalformedError

# SBOMs and signatures that were read are kept up to this together; the others are read again when they are packed.
MAX_HELD = 8 << 20


@dataclass(frozen=True, slots=True)
class HeldPart:
    """Bytes in memory: documents that are made here, and small files that were read already."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FetchedPart:
    """Bytes that a registry sends once; ``open`` checks digest and size while it reads them."""

    open: Callable[[], Iterator[bytes]]


PartOrigin = Extent | HeldPart | FetchedPart


@dataclass(frozen=True, slots=True)
class Part:
    """One blob of the bulk.

    Attributes:
        where: What an error names when the bytes do not have the digest.
        document: A manifest or another document, which goes near the head when it is small.
    """

    blob: Blob
    origin: PartOrigin
    where: str
    document: bool


@dataclass
class Parts:
    """Collects parts, each digest once; counts the documents of images among them."""

    by_digest: dict[str, Part] = field(default_factory=dict)
    packed: PackedDocuments = field(default_factory=PackedDocuments)
    _room: int = MAX_HELD

    def add(self, blob: Blob, origin: PartOrigin, where: str, *, document: bool) -> Blob:
        """Add a part, or improve the one with this digest. Raises MalformedError when its size differs."""
        known = self.by_digest.get(blob.digest)
        if known is not None and known.blob.size != blob.size:
            raise MalformedError(f"{blob.digest} is listed with {blob.size} and {known.blob.size} bytes", where=where)
        # One that is in memory needs no second reading; one that is a document anywhere is one.
        if known is None or (isinstance(origin, HeldPart) and not isinstance(known.origin, HeldPart)):
            document = document or (known is not None and known.document)
            self.by_digest[blob.digest] = Part(blob=blob, origin=origin, where=where, document=document)
        elif document and not known.document:
            self.by_digest[blob.digest] = Part(blob=known.blob, origin=known.origin, where=known.where, document=True)
        return blob

    def may_hold(self, size: int) -> bool:
        """Take room in memory for bytes that could be read again, too."""
        if size > min(self._room, MAX_KEPT):
            return False
        self._room -= size
        return True

    def hold(self, data: bytes, where: str) -> Blob:
        """Add a document that is in memory."""
        return self.add(Blob(digest=digest_of(data), size=len(data)), HeldPart(data), where, document=True)

    def document(self, path: Path, cap: int, check: Callable[[bytes, str], object]) -> Blob:
        """Add a small file after ``check(data, name)``."""
        data = read_capped(path, cap)
        check(data, str(path))
        return self.hold(data, str(path))

    def file(self, path: Path) -> Blob:
        """Add a file of any size; it is hashed now, and again when it is packed."""
        blob = hash_file(path)
        return self.add(blob, Extent(path=path, offset=0, size=blob.size, whole=True), str(path), document=False)


def hash_file(path: Path) -> Blob:
    """Digest and size of a file, read once. Raises HostError when it cannot be read."""
    try:
        with os.fdopen(open_regular(path), "rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256")
            size = file.tell()
    except OSError as error:
        raise HostError(f"cannot read: {(error.strerror or str(error)).lower()}", where=str(path)) from None
    return Blob(digest=f"sha256:{digest.hexdigest()}", size=size)
