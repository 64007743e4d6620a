"""The command `waybill fleet offboard`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.clock import utc_now
from console.options import passphrase_option, verb
from console.result import Result
from fleet.commands.options import account, fleet_option, key_option, pin, root_option, with_ledger
from fleet.outgoing.offboard_text import ending_data, ending_text, unproven_attention
from manifests.words.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine


@verb(name="offboard", short_help="End with SITE: ask, close with a signed receipt, delete when the time is over.")
@click.argument("site")
@click.option("--reason", type=click.Choice(("ended", "retired")), default="ended", show_default=True,
              help="The vendor's access ends, or the site itself goes.")  # fmt: skip
@click.option("--close", "closing", is_flag=True, help="Close it and sign the receipt, with whatever is proved by now.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there.")
@click.option("--purge", "purging", is_flag=True, help="Delete the reports whose time is over by the contract.")
@key_option
@root_option
@fleet_option
@passphrase_option
def offboard_command(
    site: str,
    reason: str,
    closing: bool,
    out: Path | None,
    purging: bool,
    keys: tuple[str, ...],
    root: Path | None,
    place: str | None,
    passphrase_fd: int | None,
) -> Result:
    """End with SITE. Without options: ask (every note for it says so from now on) and show how far its end is proved.
    With --close: sign the receipt. What lacks evidence is unproven, never called revoked."""
    if closing and not keys:
        raise UsageError("no key is named", where="--key", remedy="--key keys/consignment-1.key, once for each")
    if closing and out is None:
        raise UsageError("the receipt needs a file", where="--out", remedy="-o receipt.json")
    if closing and purging:
        raise UsageError("closing and deleting are two decisions", where="--purge", remedy="close first")
    if out is not None and (out.exists() or out.is_symlink()):
        raise RefusedError("exists already", where=str(out), remedy="choose another name", finding="exists")

    def work(engine: "Engine") -> Result:
        from content.commands.open_key import open_key
        from content.signing.files import replace_file
        from fleet.outgoing.consign import signing_root
        from fleet.outgoing.offboard import close_site, ending_of, purge, request_end
        from fleet.outgoing.views import find_site

        row = find_site(engine, site)
        lines: list[str] = []
        extra: dict[str, Any] = {}
        if purging:
            gone = purge(engine, row, utc_now())
            lines.append(f"deleted {gone.reports} reports, {gone.findings} findings, {gone.files} quarantined files")
            if gone.left:
                lines.append(f"{gone.left} reports stay, the first until {gone.next_at}")
            extra["purged"] = asdict(gone)
            found = ending_of(engine, row)
        elif closing:
            pin(engine, root)
            signers = tuple(open_key(uri, passphrase_fd) for uri in keys)
            known: Any = reason
            found = close_site(engine, row, known, signing_root(engine), signers, account(), utc_now())
        elif row.closed_at is not None:
            found = ending_of(engine, row)
        else:
            known = reason
            found = request_end(engine, row, known, account(), utc_now())
        assert found is not None  # it was asked for, at least
        if out is not None and found.receipt is not None:
            replace_file(out, found.receipt)
            lines.append(f"receipt  {out}")
        elif out is not None:
            raise RefusedError(
                "there is no receipt yet", where=str(out), remedy="close the site: --close", finding="site-open"
            )
        lines += [ending_text(found)]
        data = {**ending_data(found), **extra, "receipt": str(out) if out else None}
        return Result("\n".join(lines), data, unproven_attention(found) if closing else None)

    return with_ledger(place, work)
