"""The commands that only read the ledger: `waybill fleet sites`, `show` and `list`."""

import click
import msgspec

from console.clock import utc_now
from console.options import command
from console.output import VERBOSE, is_set
from console.result import Result
from fleet.commands.options import fleet_option, open_ledger
from fleet.outgoing.listing import KINDS, list_kind, listed_text
from fleet.outgoing.offboard import offboarding_state
from fleet.outgoing.views import count_quarantined, find_site, list_sites, show_site
from fleet.outgoing.views_text import page_data, page_text, row_data, sites_text
from manifests.words.time import rfc3339


@command(name="sites", examples=("waybill fleet sites", "waybill fleet sites --json"))
@fleet_option
def sites_command(place: str | None) -> Result:
    """List every enrolled site with what its newest report says that it runs.

    `age` is the report's age by the site's clock. `at most` is its greatest age, proven by the challenge that it
    echoes. What is the same for all sites stands above the table.
    """
    now = utc_now()
    with open_ledger(place) as engine:
        # Only --json shows every image; a list for people does not read ten thousand reports.
        rows = list_sites(engine, images=bool(click.get_current_context().params.get("as_json")))
        quarantined = count_quarantined(engine)
    data = {"as_of": rfc3339(now), "sites": [row_data(row) for row in rows], "quarantined": quarantined}
    return Result(sites_text(rows, quarantined, now), data)


@command(
    name="show",
    examples=("waybill fleet show east", "waybill fleet show northern-grid/inkwell/production/east --verbose"),
)
@click.argument("site")
@fleet_option
def show_command(site: str, place: str | None) -> Result:
    """Show what SITE runs, what waits there, and the history that its reports tell.

    SITE is a whole id or the end of one.
    """
    with open_ledger(place) as engine:
        page = show_site(engine, site)
        ending = offboarding_state(engine, page.row)
    return Result(page_text(page, ending, utc_now(), verbose=is_set(VERBOSE)), page_data(page, ending))


@command(name="list", examples=("waybill fleet list alarms", "waybill fleet list reports --site east --limit 10"))
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.option("--site", metavar="SITE", help="Rows of this site only. Default: all sites.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N", help="Largest number of rows.")
@fleet_option
def list_command(kind: str, site: str | None, limit: int, place: str | None) -> Result:
    """List what the ledger holds, newest first.

    KIND is one of: open alarms, consignments, open files in quarantine, releases, reports, telemetry,
    telemetry that was deleted, decisions (resolutions).
    """
    with open_ledger(place) as engine:
        name = None if site is None else find_site(engine, site).site
        listed = list_kind(engine, kind, site=name, limit=limit)
    text = listed_text(listed, utc_now()) if listed.rows else f"{kind}: nothing is listed"
    if listed.more:
        text += f"\n\nonly the first {limit} are shown; show more with --limit {limit * 10}"
    rows = [dict(zip(listed.columns, row, strict=True)) for row in msgspec.to_builtins(listed.rows)]
    return Result(text, {kind: rows, "more": listed.more})
