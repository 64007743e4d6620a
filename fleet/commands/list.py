"""The command `waybill fleet list`."""

import click
import msgspec
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from fleet.outgoing.listing import KINDS, list_kind, listed_text
from fleet.outgoing.views import find_site


@verb(
    name="list",
    short_help="List alarms, reports, releases and more, newest first.",
    examples=("waybill fleet list alarms", "waybill fleet list reports --site east --limit 10"),
)
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.option("--site", metavar="SITE", help="Rows of this site only; default all sites.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N", help="Largest number of rows.")
@fleet_option
def list_command(kind: str, site: str | None, limit: int, place: str | None) -> Result:
    """List what the ledger holds, newest first.

    KIND is one of: open alarms, consignments, open files in quarantine, releases, reports, decisions (resolutions).
    """

    def work(engine: Engine) -> Result:
        name = None if site is None else find_site(engine, site).site
        listed = list_kind(engine, kind, site=name, limit=limit)
        text = listed_text(listed, utc_now()) if listed.rows else f"no {kind}"
        if listed.more:
            text += f"\n\nonly the first {limit} are shown; show more with --limit {limit * 10}"
        rows = [dict(zip(listed.columns, row, strict=True)) for row in msgspec.to_builtins(listed.rows)]
        return Result(text, {kind: rows, "more": listed.more})

    return with_ledger(place, work)
