"""Read a passphrase from a descriptor, a file or a prompt."""

import os
import sys
from pathlib import Path

import click

from manifests.words.errors import RefusedError, UsageError


def ask_passphrase(prompt: str, *, descriptor: int | None, twice: bool = False) -> bytes:
    """A passphrase from a descriptor, else WAYBILL_PASSPHRASE_FILE, else a prompt; never from the command line.

    Raises:
        UsageError: There is no terminal to ask on.
    """
    if descriptor is not None:
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return _first_line(file.read(4097), f"descriptor {descriptor}")
        except OSError:
            raise UsageError(f"descriptor {descriptor} is not open", where="--passphrase-fd") from None
    named = os.environ.get("WAYBILL_PASSPHRASE_FILE")
    if named:
        from manifests.trust.keys import read_capped
        from manifests.trust.private_keys import check_private_mode

        check_private_mode(Path(named))
        return _first_line(read_capped(Path(named), 4096), named)
    if not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed and there is no terminal to ask on",
            where=prompt,
            remedy="use --passphrase-fd N or WAYBILL_PASSPHRASE_FILE",
        )
    text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return text.encode()


def _first_line(data: bytes, where: str) -> bytes:
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(line) > 4096:
        raise RefusedError(
            "the passphrase is empty or longer than 4096 bytes", where=where, remedy="give one line of 1 to 4096 bytes"
        )
    return line
