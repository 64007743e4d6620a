"""Open the signer that a key URI names: a file, a token (PKCS#11) or a program."""

from pathlib import Path

from content.signing.program import open_program
from content.signing.token import open_token
from content.signing.uri import AskPassphrase, split_uri
from manifests.trust.private_keys import Signer, key_path, read_signer


def open_signer(uri: str, ask: AskPassphrase, beside: Path) -> Signer:
    """The signer behind ``file:PATH``, ``pkcs11:…``, ``exec:…`` or a plain path, relative to ``beside``.

    ``ask`` gets the question and returns a passphrase or PIN. Raises WaybillError as the kind of key requires.
    """
    if uri.startswith("exec:"):
        return open_program(split_uri(uri), beside)
    if uri.startswith("pkcs11:"):
        return open_token(split_uri(uri), ask, beside)
    path = key_path(uri, beside)
    return read_signer(path, lambda: ask(f"Passphrase for {path}"))
