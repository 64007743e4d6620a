"""Open the keys that a command names, asking for a passphrase or PIN when a key needs one."""

from pathlib import Path

from console.passphrase import ask_passphrase
from content.signing.signers import open_signer
from manifests.trust.private_keys import Signer


def open_keys(keys: tuple[str, ...], passphrase_fd: int | None) -> tuple[Signer, ...]:
    return tuple(open_key(uri, passphrase_fd) for uri in keys)


def open_key(uri: str, passphrase_fd: int | None, beside: Path | None = None) -> Signer:
    """The signer behind a key URI; asks for passphrase or PIN only when the key needs one."""
    return open_signer(uri, lambda prompt: ask_passphrase(prompt, descriptor=passphrase_fd), beside or Path())
