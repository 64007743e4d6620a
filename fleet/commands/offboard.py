"""The command `waybill fleet offboard`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any  # click passes options by name

import click
import msgspec
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import passphrase_option, verb
from console.result import Result
from content.commands.open_key import open_keys
from content.signing.files import replace_file
from fleet.commands.options import account, check_keys, fleet_option, key_option, open_ledger, pin, root_option
from fleet.outgoing.consign import signing_root
from fleet.outgoing.offboard import (
    OffboardingState,
    OffboardRequest,
    PurgeResult,
    close_site,
    offboarding_state,
    purge,
    request_offboarding,
)
from fleet.outgoing.views import SiteRow, find_site
from fleet.outgoing.views_text import offboarding_data, offboarding_text, unproven_attention
from manifests.documents.report import OffboardReason
from manifests.words.errors import RefusedError, UsageError
from manifests.words.time import rfc3339
from manifests.words.units import show_count


@dataclass(frozen=True)
class _OffboardOptions:
    """What the command line names; keys are not read yet."""

    reason: OffboardReason
    closing: bool
    out: Path | None
    purging: bool
    keys: tuple[str, ...]
    root: Path | None
    passphrase_fd: int | None


@verb(
    name="offboard",
    examples=(
        "waybill fleet offboard east",
        "waybill fleet offboard east --close -o receipt.json --key consignment-1.key",
        "waybill fleet offboard east --purge",
    ),
)
@click.argument("site")
@click.option("--reason", type=click.Choice(("ended", "retired")), default="ended", show_default=True,
              help="`ended`: the vendor's access ends; `retired`: the site itself is retired.")  # fmt: skip
@click.option("--close", "closing", is_flag=True, help="Close the site and sign the receipt.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="File for the receipt.")
@click.option("--purge", "purging", is_flag=True, help="Delete reports whose keep time by the contract is over.")
@key_option
@root_option
@fleet_option
@passphrase_option
def offboard_command(site: str, place: str | None, **options: Any) -> Result:
    """Request the offboarding of SITE, and show which of its steps are proven.

    From then on every consignment for the site carries the request. With --close the site is closed and a receipt
    signed, with whatever is proven by then. A step without evidence is unproven, never revoked.
    """
    given = _OffboardOptions(**options)
    _check(given)

    with open_ledger(place) as engine:
        row = find_site(engine, site)
        purged = purge(engine, row, utc_now()) if given.purging else None
        state = _next_state(engine, row, given)
        if given.out is not None:
            _write_receipt(state, given.out)
    return _result(state, given, purged)


def _check(given: _OffboardOptions) -> None:
    if given.closing:
        check_keys(given.keys)
        if given.out is None:
            raise UsageError("no file for the receipt is named", where="--out", remedy="name it: -o receipt.json")
        if given.purging:
            raise UsageError("--close and --purge are two steps", where="--purge", remedy="close first, purge later")
    if given.out is not None and (given.out.exists() or given.out.is_symlink()):
        remedy = "name another file with -o"
        raise RefusedError("the file exists already", where=str(given.out), remedy=remedy, finding="exists")


def _next_state(engine: Engine, row: SiteRow, given: _OffboardOptions) -> OffboardingState:
    """Close or request as the options say; a closed site and a purge change nothing more."""
    request = OffboardRequest(given.reason, account(), utc_now())
    if given.closing:
        pin(engine, given.root)
        signers = open_keys(given.keys, given.passphrase_fd)
        return close_site(engine, row, request, signing_root(engine), signers)
    state = offboarding_state(engine, row) if given.purging or row.closed_at is not None else None
    return state or request_offboarding(engine, row, request)


def _write_receipt(state: OffboardingState, out: Path) -> None:
    if state.receipt is None:
        remedy = f"close it first: waybill fleet offboard {state.site} --close -o RECEIPT.json --key KEY"
        raise RefusedError("the site has no receipt yet", where=str(out), remedy=remedy, finding="site-open")
    replace_file(out, state.receipt)


def _result(state: OffboardingState, given: _OffboardOptions, purged: PurgeResult | None) -> Result:
    lines = []
    data = {**offboarding_data(state), "receipt": str(given.out) if given.out else None}
    if purged is not None:
        counts = ((purged.reports, "report"), (purged.findings, "finding"), (purged.files, "quarantined file"))
        lines.append("deleted: " + ", ".join(show_count(count, noun) for count, noun in counts))
        if purged.left and purged.next_at:
            lines.append(f"kept: {show_count(purged.left, 'report')}, the first until {rfc3339(purged.next_at)}")
        data["purged"] = msgspec.to_builtins(purged)
    if given.out is not None:
        lines.append(f"receipt written: {given.out}")
    text = "\n".join([*lines, offboarding_text(state)])
    return Result(text, data, unproven_attention(state) if given.closing else None)
