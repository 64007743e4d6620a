"""The command `waybill fleet offboard`."""

from pathlib import Path

import click
import msgspec
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import command, passphrase_option
from console.result import Result
from content.commands.open_key import open_keys
from content.signing.files import replace_file
from fleet.commands.options import (
    account,
    check_keys,
    fleet_option,
    key_option,
    named_roots,
    open_ledger,
    pin,
    root_option,
    usual_key,
)
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


@command(
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
def offboard_command(
    site: str,
    reason: OffboardReason,
    closing: bool,
    out: Path | None,
    purging: bool,
    keys: tuple[str, ...],
    root: Path | None,
    place: str | None,
    passphrase_fd: int | None,
) -> Result:
    """Request the offboarding of SITE, and show which of its steps are proven.

    From then on every consignment for the site carries the request. With --close the site is closed and a receipt
    signed, with whatever is proven by then. A step without evidence is unproven, never revoked.
    """
    if closing:
        check_keys(keys)
        if out is None:
            raise UsageError("no file for the receipt is named", where="--out", remedy="name it: -o receipt.json")
        if purging:
            raise UsageError("--close and --purge are two steps", where="--purge", remedy="close first, purge later")
    if out is not None and (out.exists() or out.is_symlink()):
        remedy = "name another file with -o"
        raise RefusedError("the file exists already", where=str(out), remedy=remedy, finding="exists")
    request = OffboardRequest(reason, account(), utc_now())
    with open_ledger(place) as engine:
        row = find_site(engine, site)
        purged = _purged(engine, row) if purging else None
        named = named_roots(root) if closing else ()
        if closing:
            signing = signing_root(engine, named)
            state = close_site(engine, row, request, signing, open_keys(keys, passphrase_fd))
        else:
            # A closed site and a purge change nothing more.
            known = offboarding_state(engine, row) if purging or row.closed_at is not None else None
            state = known or request_offboarding(engine, row, request)
        result = _result(state, out, purged, closing=closing)
        pin(engine, named)
    return result


def _purged(engine: Engine, row: SiteRow) -> PurgeResult:
    try:
        return purge(engine, row, utc_now())
    except RefusedError as error:
        raise error.with_(remedy=_close_first(row.site)) if error.finding == "site-open" else error from None


def _close_first(site: str) -> str:
    return f"close it first: waybill fleet offboard {site} --close -o receipt.json --key {usual_key()}"


def _result(state: OffboardingState, out: Path | None, purged: PurgeResult | None, *, closing: bool) -> Result:
    lines = []
    data = {**offboarding_data(state), "receipt": str(out) if out else None}
    if purged is not None:
        counts = ((purged.reports, "report"), (purged.findings, "finding"), (purged.files, "quarantined file"))
        lines.append("deleted: " + ", ".join(show_count(count, noun) for count, noun in counts))
        if purged.left and purged.next_at:
            lines.append(f"kept: {show_count(purged.left, 'report')}, the first until {rfc3339(purged.next_at)}")
        data["purged"] = msgspec.to_builtins(purged)
    if out is not None:
        if state.receipt is None:
            problem, remedy = "the site has no receipt yet", _close_first(state.site)
            raise RefusedError(problem, where=str(out), remedy=remedy, finding="site-open")
        replace_file(out, state.receipt)
        lines.append(f"receipt written: {out}")
    text = "\n".join([*lines, offboarding_text(state)])
    return Result(text, data, unproven_attention(state) if closing else None)
