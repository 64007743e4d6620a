"""Blobs of the site's store: every read checks the digest, so a changed byte is always an error."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError

BUFFER = 1 << 20
_REMEDY = "receive the bundle again with `waybill receive BUNDLE --keep`"


def blob_path(blobs: Path, digest: str) -> Path:
    return blobs / digest.removeprefix("sha256:")


def read_blob(blobs: Path, digest: str, max_bytes: int) -> bytes:
    """Return the whole blob, hashed.

    Raises:
        DamagedError: Missing, longer than ``max_bytes``, or other bytes.
    """
    path = blob_path(blobs, digest)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise missing(digest) from None
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > max_bytes:
        raise DamagedError(f"blob {digest} is longer than {max_bytes} bytes", where=str(path), remedy=_REMEDY)
    if digest_of(data) != digest:
        raise different(path, digest_of(data), digest)
    return data


def hash_file(path: Path) -> str:
    """Return the digest of a regular file. Refuses a symbolic link."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
        while chunk := file.read(BUFFER):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def check_blob(blobs: Path, blob: Blob) -> None:
    """Hash one blob of the store.

    Raises:
        DamagedError: Missing, another length, or other bytes.
    """
    path = blob_path(blobs, blob.digest)
    try:
        check_size(blobs, blob)
        digest = hash_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if digest != blob.digest:
        raise different(path, digest, blob.digest)


def check_size(blobs: Path, blob: Blob) -> None:
    """Check that the blob is there with its length, without reading it.

    Raises:
        DamagedError: It is missing or has another length.
    """
    path = blob_path(blobs, blob.digest)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise missing(blob.digest) from None
    if size != blob.size:
        raise DamagedError(f"the blob has {size} bytes, expected {blob.size}", where=str(path), remedy=_REMEDY)


def check_blobs(blobs: Path, wanted: Iterable[Blob]) -> None:
    """Hash many blobs on all cores, the largest first. Raises as ``check_blob``."""
    ordered = sorted(wanted, key=lambda one: -one.size)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda one: check_blob(blobs, one), ordered):
            pass


def missing(digest: str) -> DamagedError:
    return DamagedError(f"blob {digest} is not in the store", remedy=_REMEDY, finding="blob-missing")


def different(path: Path, digest: str, expected: str) -> DamagedError:
    return DamagedError(f"the file has digest {digest}, expected {expected}", where=str(path), remedy=_REMEDY)


def unreadable(path: Path, error: OSError) -> HostError:
    return HostError(
        f"the blob cannot be read: {(error.strerror or str(error)).lower()}", where=str(path), remedy="check the disk"
    )
