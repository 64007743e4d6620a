"""The options that several fleet commands share, and opening the ledger for them."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from console.clock import utc_now
from console.options import typed_command
from console.output import say
from fleet.ledger.opening import database_error, find_fleet, open_fleet
from fleet.outgoing.enrol import pin_root
from manifests.trust.root import read_root
from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_groups

fleet_option = click.option(
    "--fleet", "place", metavar="DIR|URL", help="Ledger folder or database. Default: WAYBILL_FLEET, then this folder."
)
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root document of the vendor to trust from now on. Default: those of the ledger.",
)
key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    envvar="WAYBILL_KEY",
    metavar="URI",
    help="Key of the consignment role. Repeatable. Default: WAYBILL_KEY.",
)


@contextmanager
def open_ledger(place: str | None, *, create: bool = False) -> Iterator[Engine]:
    """Open the ledger for the block; an error of the database becomes an error of ours."""
    fleet = find_fleet(place, os.environ, Path.cwd(), create=create)
    engine = open_fleet(fleet)
    try:
        yield engine
    except DBAPIError as error:
        raise database_error(error, fleet.shown) from None
    finally:
        engine.dispose()


def pin(engine: Engine, root: Path | None) -> None:
    """Trust the root document of ``--root``, if given, and print that."""
    if root is None:
        return
    signed = read_root(root)
    if pin_root(engine, signed, utc_now()):
        say(f"root {signed.root.version} of {signed.root.vendor} is trusted from now on")
        say(f"  {as_groups(signed.fingerprint)}")


def check_keys(keys: tuple[str, ...]) -> None:
    """Raise UsageError if no key is named."""
    if not keys:
        raise UsageError("no key is named", where="--key", remedy=typed_command("--key", usual_key()))


def usual_key() -> str:
    """Return where `waybill init` puts the key of the consignment role, if that file is here; else a placeholder."""
    usual = Path("keys/consignment-1.key")
    return str(usual) if usual.is_file() else "FILE"


def account() -> str:
    """Return the name of the account that runs this process; decisions are kept with it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
