"""The command `waybill fleet sites`."""

from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from fleet.outgoing.views_text import row_data
from manifests.words.text import table
from manifests.words.time import rfc3339

if TYPE_CHECKING:
    from sqlalchemy import Engine

SITE_COLUMNS = (
    "customer",
    "product",
    "environment",
    "site",
    "release",
    "channel",
    "level",
    "config",
    "verifier",
    "root",
    "age",
    "at most",
    "notes",
)


@verb(
    name="sites",
    help="Every enrolled site: what it runs, by its newest report, how old that is by the site's clock, and how old at "
    "most by the challenge that it echoes.",
)
@fleet_option
def sites_command(place: str | None) -> Result:
    def work(engine: "Engine") -> Result:
        from fleet.outgoing.views import count_quarantined, list_sites, shown_age, shown_proof

        now = utc_now()
        # Only --json shows every image; a list for people does not look into ten thousand reports.
        rows = list_sites(engine, images=bool(click.get_current_context().params.get("as_json")))
        shown: list[tuple[str, ...]] = [
            (
                row.customer,
                row.product,
                row.environment,
                row.name,
                row.shown_release,
                row.channel,
                row.level or "-",
                "-" if row.config_version is None else str(row.config_version),
                row.verifier or "-",
                "-" if row.root_version is None else str(row.root_version),
                shown_age(row, now),
                shown_proof(row, now),
                ", ".join(row.notes),
            )
            for row in rows
        ]
        waiting = count_quarantined(engine)
        text = table(shown, SITE_COLUMNS) if rows else "no site is enrolled"
        if waiting:
            text += f"\n\n{waiting} {'file lies' if waiting == 1 else 'files lie'} in quarantine"
        data = {
            "as_of": rfc3339(now),
            "sites": [row_data(row) for row in rows],
            "quarantined": waiting,
        }
        return Result(text, data)

    return with_ledger(place, work)
