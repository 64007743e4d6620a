"""The site's signing key: 32 random bytes, made at the first start, only in the data folder."""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

NAME = "signing.key"


def read_key(data: Path) -> bytes:
    """Return the key; make it if there is none. Two first starts at once use one key: it is written, then linked."""
    path = data / NAME
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        temporary = data / f".{NAME}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
        temporary.unlink()
    return path.read_bytes()


def sign(key: bytes, digest: str) -> str:
    return hmac.new(key, bytes.fromhex(digest), "sha256").hexdigest()
