"""The command ``waybill keygen``."""

from pathlib import Path
from shlex import quote

import click

from console.options import command, passphrase_option
from console.passphrase import ask_passphrase
from console.result import Result
from content.signing.files import write_key
from manifests.trust.private_keys import generate_key
from manifests.words.errors import HostError, RefusedError
from manifests.words.fingerprint import as_groups, as_words


@command(examples=("waybill keygen keys/release-1", "waybill keygen build.key --no-passphrase"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--no-passphrase", is_flag=True, help="Write it unencrypted, for a machine that signs unattended.")
@passphrase_option
def keygen_command(file: Path, no_passphrase: bool, passphrase_fd: int | None) -> Result:
    """Make a P-256 signing key.

    FILE gets the private half, FILE with the ending .pub the public one.
    """
    public = file.with_suffix(".pub")
    for path in (file, public):
        if path.exists():
            raise RefusedError("exists already", where=str(path), remedy="name another file", finding="exists")
    if not file.parent.is_dir():
        remedy = f"mkdir -p {quote(str(file.parent))}"
        raise HostError(f"folder {file.parent} does not exist", where=str(file), remedy=remedy)
    passphrase = (
        None if no_passphrase else ask_passphrase(f"New passphrase for {file}", descriptor=passphrase_fd, twice=True)
    )
    signer = generate_key()
    write_key(file, signer, passphrase)
    keyid = signer.public.keyid
    text = "\n".join(
        (f"private key  {file}", f"public key   {public}", f"key id       {keyid}", f"             {as_groups(keyid)}",
         f"             {as_words(keyid)}")
    )  # fmt: skip
    data = {"private": str(file), "public": str(public), "keyid": keyid, "groups": as_groups(keyid)}
    return Result(text, {**data, "words": as_words(keyid)})
