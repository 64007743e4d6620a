"""Write key files, signed documents and the heads of bundles durably."""

import os
from pathlib import Path

from content.bundle.head import Head
from content.bundle.head_writer import encode_head
from manifests.trust.private_keys import FileSigner, encode_private
from manifests.words.errors import DamagedError


def write_file(path: Path, data: bytes, *, new: bool = True, mode: int | None = None) -> None:
    """Write and sync a file; follows no link, and a ``new`` file overwrites nothing (FileExistsError).

    ``mode`` is the file's mode whatever the umask; None is 0644 under the umask.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_EXCL if new else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o644 if mode is None else mode)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_key(file: Path, signer: FileSigner, passphrase: bytes | None) -> None:
    """Write the private half with mode 0600, and the public half beside it; neither is overwritten."""
    write_file(file, encode_private(signer, passphrase), mode=0o600)
    write_file(file.with_suffix(".pub"), signer.public.pem.encode(), mode=0o644)


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: the file is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    write_file(beside, data, new=False)
    beside.replace(path)
    _sync_folder(path.parent)


def rewrite_head(path: Path, head: Head) -> None:
    """Put a changed head into the finished bundle at ``path``: beside it, synced, then in place.

    Only the first ``bulk_at`` bytes change. After a power cut ``NAME.head`` remains beside the bundle: the next call
    for this bundle, or ``--head``, takes the new head from it. Raises DamagedError for a bundle shorter than its head.
    """
    data = encode_head(head)
    beside = path.with_name(path.name + ".head")
    write_file(beside, data, new=False)
    _sync_folder(path.parent)
    with path.open("r+b") as bundle:
        if os.fstat(bundle.fileno()).st_size < len(data):
            raise DamagedError("shorter than its own head", where=str(path))
        bundle.write(data)
        bundle.flush()
        os.fsync(bundle.fileno())
    beside.unlink()
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
