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
from content.trust.head import VerifiedHead
from fleet.intake.releases import record_roots
from fleet.ledger.opening import database_error, find_fleet, open_fleet
from fleet.outgoing.enrol import pin_roots
from manifests.trust.keys import read_capped
from manifests.trust.root import MAX_ROOT, Pin, SignedRoot, parse_root, read_root, verify_chain
from manifests.words.digest import digest_of
from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_groups

fleet_option = click.option(
    "--fleet", "place", metavar="DIR|URL", help="Ledger folder or database. Default: WAYBILL_FLEET, then this folder."
)
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root document of the vendor to trust from now on; those before it may lie beside it. Default: none new.",
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


def pin(engine: Engine, named: tuple[SignedRoot, ...], heads: tuple[VerifiedHead, ...] = ()) -> None:
    """Trust the root documents of ``--root``, as the last step of a command, and print that.

    A command that fails before, or is killed, has trusted nothing new.

    Args:
        heads: Of bundles that these root documents vouch for; the roots that they carry are known from now on.
    """
    with engine.begin() as connection:
        added = pin_roots(connection, named, utc_now())
        for head in heads:
            record_roots(connection, head, utc_now())
    if added:
        say_trusted(named[0])


def say_trusted(root: SignedRoot) -> None:
    say(f"root {root.root.version} of {root.root.vendor} is trusted from now on")
    say(f"  {as_groups(root.fingerprint)}")


def named_roots(path: Path | None) -> tuple[SignedRoot, ...]:
    """The root document of ``--root``, then those before it that lie in its folder, newest first.

    An older file counts only if its digest is the one that its successor names (F-6.12).

    Raises:
        UntrustedError: They are no chain that ends in the root document that was named.
    """
    if path is None:
        return ()
    named = [read_root(path)]
    while named[-1].root.previous is not None:
        older = path.with_name(f"{named[-1].root.version - 1}.root.json")
        data = read_capped(older, MAX_ROOT) if older.is_file() else b""
        if digest_of(data) != named[-1].root.previous:
            break
        named.append(parse_root(data, str(older)))
    if len(named) > 1:
        newest = Pin(version=named[0].root.version, digest=named[0].fingerprint)
        verify_chain(tuple(root.raw for root in reversed(named)), newest)
    return tuple(named)


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
