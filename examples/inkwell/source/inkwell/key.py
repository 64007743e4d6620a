"""The site's signing key: 32 random bytes, made at the first start, never leaving the data folder."""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

NAME = "signing.key"


def read_key(data: Path) -> bytes:
    """The key; made if there is none. Written beside and linked, so that two first starts agree on one."""
    path = data / NAME
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        beside = data / f".{NAME}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
        beside.unlink()
    return path.read_bytes()


def sign(key: bytes, digest: str) -> str:
    return hmac.new(key, bytes.fromhex(digest), "sha256").hexdigest()
