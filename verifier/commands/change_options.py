"""Options of commands that judge or change a site: items and keys, drivers and programs, the report afterwards."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from console.clock import utc_now
from console.options import typed_command
from console.output import say
from console.passphrase import ask_passphrase
from content.signing.signers import open_signer
from manifests.trust.private_keys import Signer
from manifests.words.errors import UsageError
from verifier.install.context import Runtime
from verifier.reporting.report_write import write_report
from verifier.site.folder import Site

_Command = TypeVar("_Command", bound=Callable[..., object])

key_option = click.option("--key", metavar="URI", help="Your key. Default: WAYBILL_KEY.")


def items_argument(*, required: bool) -> Callable[[_Command], _Command]:
    return click.argument("items", metavar="ITEM..." if required else "[ITEM]...", nargs=-1, required=required)


def runtime_here() -> Runtime:
    return Runtime(say)


def write_report_after(site: Site, cause: str) -> Path:
    return write_report(site, site.disk, utc_now(), cause=cause)


def signer_of(uri: str | None, passphrase_fd: int | None) -> Signer:
    named = uri or os.environ.get("WAYBILL_KEY")
    if not named:
        raise UsageError("no key is named", where="--key", remedy=typed_command("--key", "FILE"))
    return open_signer(named, lambda prompt: ask_passphrase(prompt, descriptor=passphrase_fd), Path.cwd())
