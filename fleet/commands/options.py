"""The options that several fleet commands share, and opening the ledger for them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.output import say
from console.result import Result

if TYPE_CHECKING:
    from sqlalchemy import Engine

fleet_option = click.option(
    "--fleet", "place", metavar="DIR|URL", help="Support's folder or database; else WAYBILL_FLEET, else this folder."
)
root_option = click.option(
    "--root", type=click.Path(path_type=Path), help="A root document of the vendor that you believe from now on."
)


def with_ledger(place: str | None, work: Callable[["Engine"], Result], *, create: bool = False) -> Result:
    """Open the ledger, do the work, close it; a database's refusal becomes an error of ours."""
    from sqlalchemy.exc import DBAPIError

    from fleet.ledger.opening import database_error, find_fleet, open_fleet

    found = find_fleet(place, os.environ, Path.cwd(), create=create)
    engine = open_fleet(found)
    try:
        return work(engine)
    except DBAPIError as error:
        raise database_error(error, found.shown) from None
    finally:
        engine.dispose()


def pin(engine: "Engine", root: Path | None) -> None:
    from fleet.outgoing.enrol import pin_root
    from manifests.trust.keys import read_capped
    from manifests.trust.root import MAX_ROOT, parse_root
    from manifests.words.fingerprint import as_groups

    if root is None:
        return
    signed = parse_root(read_capped(root, MAX_ROOT), str(root))
    if pin_root(engine, signed, utc_now()):
        say(f"root {signed.root.version} of {signed.root.vendor} is believed from now on")
        say(f"  {as_groups(signed.fingerprint)}")


def account() -> str:
    """Who acts: the account of this process; decisions are kept with it."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    envvar="WAYBILL_KEY",
    metavar="URI",
    help="A key of the consignment role; may be repeated.",
)
