"""The command `waybill fleet resolve`."""

from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import in_words, verb
from console.result import Result
from fleet.commands.options import account, fleet_option, with_ledger
from manifests.words.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine


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
        from fleet.outgoing.decisions import Decision, close_quarantine, resolve, settle_alarm
        from fleet.outgoing.views import find_site

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
