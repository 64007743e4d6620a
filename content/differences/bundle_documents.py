"""Read the release of a bundle and its small documents. No signature is checked; each document has its digest."""

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from content.bundle.bulk import open_bundle, read_blob
from content.bundle.head import open_head
from content.bundle.places import find_places
from content.differences.release_documents import (
    ReadBlob,
    ReleaseDocuments,
    read_release_documents,
    with_release_notes,
    without_common_notes,
)
from manifests.documents.release import Release
from manifests.documents.release_reader import parse_release
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle whose members can be read.

    Attributes:
        raw: ``release.json``.
        read: Reads a member by its digest.
        held: Digests of the members that are in the file; a delta leaves some out.
    """

    raw: bytes
    release: Release
    read: ReadBlob
    held: frozenset[str]


@contextmanager
def opened_bundle(path: Path) -> Iterator[OpenedBundle]:
    """Open a bundle for as long as the context lasts. Raises MalformedError for another file."""
    raw = open_head(path).release
    release = parse_release(raw, str(path))
    descriptor = open_bundle(path)
    try:
        places = {place.blob.digest: place for place in find_places(descriptor, release, str(path)).present}

        def read(blob: Blob, limit: int) -> bytes:
            if blob.digest not in places:
                raise DamagedError(f"{blob.digest} is not in the bundle", where=str(path))
            return read_blob(descriptor, places[blob.digest], limit)

        yield OpenedBundle(raw, release, read, frozenset(places))
    finally:
        os.close(descriptor)


def read_bundle_documents(path: Path, same: Container[str] | None = frozenset()) -> ReleaseDocuments:
    """Return the release with its documents; ``same`` as for ``read_release_documents``.

    Raises:
        MalformedError: Not a bundle.
    """
    with opened_bundle(path) as bundle:
        side = read_release_documents(bundle.release, digest_of(bundle.raw), bundle.read, same=same)
        return with_release_notes(side, bundle.read)


def read_bundle_pair(old: Path, new: Path) -> tuple[ReleaseDocuments, ReleaseDocuments]:
    """Return two releases with their documents. What a delta leaves out is read from the other bundle, by its digest.

    A document that both releases name and neither bundle holds is the same, so it is not called incomparable.

    Raises:
        MalformedError: One is not a bundle.
    """
    with opened_bundle(old) as before, opened_bundle(new) as after:
        sides = (_side(before, after), _side(after, before))
    return without_common_notes(*sides), without_common_notes(*reversed(sides))


def _side(bundle: OpenedBundle, other: OpenedBundle) -> ReleaseDocuments:
    def read(blob: Blob, limit: int) -> bytes:
        # Bytes that are here are read here, also when they are damaged.
        elsewhere = blob.digest in other.held and blob.digest not in bundle.held
        return (other if elsewhere else bundle).read(blob, limit)

    return with_release_notes(read_release_documents(bundle.release, digest_of(bundle.raw), read), read)
