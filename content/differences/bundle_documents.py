"""Read the release of a bundle and its small documents. No signature is checked; each document has its digest."""

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from content.bundle.bulk import open_bundle, read_blob
from content.bundle.head import open_head
from content.bundle.places import find_places
from content.differences.release_documents import ReadBlob, ReleaseDocuments, read_release_documents, with_release_notes
from manifests.documents.release import Release
from manifests.documents.release_reader import parse_release
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle whose members can be read. Attributes: raw: ``release.json``; read: reads a member by its digest."""

    raw: bytes
    release: Release
    read: ReadBlob


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

        yield OpenedBundle(raw, release, read)
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
