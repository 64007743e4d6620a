"""The command `waybill fleet list`."""

from typing import TYPE_CHECKING

import click

from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from manifests.words.text import table

if TYPE_CHECKING:
    from sqlalchemy import Engine

LISTS = ("alarms", "consignments", "quarantine", "releases", "reports", "resolutions")


@verb(name="list", short_help="List what the ledger holds, newest first.")
@click.argument("kind", type=click.Choice(LISTS))
@click.option("--site", "site", metavar="SITE", help="Only of this site.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N", help="At most so many rows.")
@fleet_option
def list_command(kind: str, site: str | None, limit: int, place: str | None) -> Result:
    """List what the ledger holds, newest first: alarms that nobody settled, notes for sites, files in quarantine,
    releases, reports, decisions."""

    def work(engine: "Engine") -> Result:
        from fleet.outgoing.listing import list_kind
        from fleet.outgoing.views import find_site

        name = None if site is None else find_site(engine, site).site
        found = list_kind(engine, kind, site=name, limit=limit)
        shown = [tuple("-" if one is None else str(one) for one in row) for row in found.rows]
        text = table(shown, found.columns) if shown else f"no {kind}"
        if found.more:
            text += f"\n\nthe first {limit}; more with --limit"
        data = {kind: [dict(zip(found.columns, row, strict=True)) for row in found.rows], "more": found.more}
        return Result(text, data)

    return with_ledger(place, work)
