"""The command `waybill fleet sites`."""

import click
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from fleet.outgoing.views import count_quarantined, list_sites
from fleet.outgoing.views_text import row_data, sites_text
from manifests.words.time import rfc3339


@verb(
    name="sites",
    short_help="List every site: what it runs, and how old that report is.",
    examples=("waybill fleet sites", "waybill fleet sites --json"),
)
@fleet_option
def sites_command(place: str | None) -> Result:
    """List every enrolled site with what its newest report says that it runs.

    `age` is the report's age by the site's clock. `at most` is its greatest age, proven by the challenge that it
    echoes. What is the same for all sites stands above the table.
    """

    def work(engine: Engine) -> Result:
        now = utc_now()
        # Only --json shows every image; a list for people does not read ten thousand reports.
        rows = list_sites(engine, images=bool(click.get_current_context().params.get("as_json")))
        quarantined = count_quarantined(engine)
        data = {"as_of": rfc3339(now), "sites": [row_data(row) for row in rows], "quarantined": quarantined}
        return Result(sites_text(rows, quarantined, now), data)

    return with_ledger(place, work)
