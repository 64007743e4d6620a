"""The command line of deciding and looking up: `waybill fleet resolve`, `waybill fleet list`."""

from typing import TYPE_CHECKING

import click

from fleet.ledger_cli import account, fleet_option, with_ledger
from manifests.console import Result, in_words, table, utc_now, verb
from manifests.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

LISTS = ("alarms", "consignments", "quarantine", "releases", "reports", "resolutions")


@verb(name="resolve", short_help="Decide what counts: a branch, a renewed key, a quarantined file, an alarm.")
@click.argument("site", required=False)
@click.option("--accept", metavar="DIGEST",
              help="A report of the branch that counts, the renewed enrolment, or a quarantined file.")  # fmt: skip
@click.option("--close", "closing", metavar="DIGEST|FINDING", help="Quarantined files that nobody waits for.")
@click.option("--alarm", "alarm", type=int, metavar="NUMBER", help="An alarm of SITE that was looked into.")
@click.option("--reason", required=True, callback=in_words, metavar="TEXT", help="Why; kept with who and when.")
@fleet_option
def resolve_command(
    site: str | None, accept: str | None, closing: str | None, alarm: int | None, reason: str, place: str | None
) -> Result:
    """Decide what counts for SITE. Nothing is deleted: the other branch, the former key and the refused bytes stay. A
    quarantined file is judged again; a decision cannot make good what is not signed."""
    if sum(one is not None for one in (accept, closing, alarm)) != 1:
        raise UsageError("say one of --accept, --close, --alarm", where="--accept")
    if alarm is not None and site is None:
        raise UsageError("an alarm belongs to a site", where="SITE", remedy="waybill fleet list alarms")

    def work(engine: "Engine") -> Result:
        from fleet.resolve import Decision, close_quarantine, resolve, settle_alarm
        from fleet.views import find_site

        decision = Decision(account(), reason, utc_now())
        name = None if site is None else find_site(engine, site).site
        if accept is not None:
            done = resolve(engine, name, accept, decision)
        elif closing is not None:
            done = close_quarantine(engine, name, closing, decision)
        else:
            done = settle_alarm(engine, str(name), alarm or 0, decision)
        lines = [*done.text, f"decision {done.number}, by {decision.who}: {reason}"]
        data = {"resolution": done.number, "kind": done.kind, "accepted": done.accepted, "site": name}
        return Result("\n".join(lines), data)

    return with_ledger(place, work)


@verb(name="list", short_help="List what the ledger holds, newest first.")
@click.argument("kind", type=click.Choice(LISTS))
@click.option("--site", "site", metavar="SITE", help="Only of this site.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N", help="At most so many rows.")
@fleet_option
def list_command(kind: str, site: str | None, limit: int, place: str | None) -> Result:
    """List what the ledger holds, newest first: alarms that nobody settled, notes for sites, files in quarantine,
    releases, reports, decisions."""

    def work(engine: "Engine") -> Result:
        from fleet.listing import list_kind
        from fleet.views import find_site

        name = None if site is None else find_site(engine, site).site
        found = list_kind(engine, kind, site=name, limit=limit)
        shown = [tuple("-" if one is None else str(one) for one in row) for row in found.rows]
        text = table(shown, found.columns) if shown else f"no {kind}"
        if found.more:
            text += f"\n\nthe first {limit}; more with --limit"
        data = {kind: [dict(zip(found.columns, row, strict=True)) for row in found.rows], "more": found.more}
        return Result(text, data)

    return with_ledger(place, work)
