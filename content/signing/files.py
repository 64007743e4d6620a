"""Write key files and signed documents durably."""

import os
from pathlib import Path

from manifests.trust.private_keys import FileSigner, encode_private


def write_key(file: Path, signer: FileSigner, passphrase: bytes | None) -> None:
    """Private half with mode 0600 whatever the umask, public half beside it; both durable, neither overwritten."""
    pairs = (
        (file, encode_private(signer, passphrase), 0o600),
        (file.with_suffix(".pub"), signer.public.pem.encode(), 0o644),
    )
    for path, data, mode in pairs:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: the file is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
