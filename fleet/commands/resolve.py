"""The command `waybill fleet resolve`."""

import click

from console.clock import utc_now
from console.options import command, text_option
from console.result import Result
from fleet.commands.options import account, fleet_option, open_ledger
from fleet.outgoing.decisions import Decision, accept, close_quarantine, settle_alarm
from fleet.outgoing.views import find_site
from manifests.words.errors import UsageError


@command(
    name="resolve",
    examples=(
        "waybill fleet resolve SITE --accept DIGEST \\\n    --reason 'the other machine is for rehearsals'",
        "waybill fleet resolve SITE --alarm 7 --reason 'disk was replaced'",
        "waybill fleet resolve --close site-unknown --reason 'not our customer'",
    ),
)
@click.argument("site", required=False)
@click.option(
    "--accept",
    "accepted",
    metavar="DIGEST",
    help="Report on the branch that counts, renewed enrolment, or quarantined file.",
)
@click.option("--close", "closing", metavar="DIGEST|FINDING", help="Quarantined files to close, their bytes are kept.")
@click.option("--alarm", type=int, metavar="NUMBER", help="Alarm of SITE that was looked into.")
@text_option("--reason", required=True, help="Reason; kept with account and time.")
@fleet_option
def resolve_command(
    site: str | None, accepted: str | None, closing: str | None, alarm: int | None, reason: str, place: str | None
) -> Result:
    """Record a decision: which branch or key of SITE counts, or that a file or an alarm is settled.

    Nothing is deleted: the other branch, the former key and the refused bytes stay. A quarantined file is judged
    again; a decision cannot replace a missing signature.
    """
    if sum(option is not None for option in (accepted, closing, alarm)) != 1:
        problem = "expected exactly one of --accept, --close, --alarm"
        raise UsageError(problem, where="--accept", remedy="waybill fleet resolve --help")
    if alarm is not None and site is None:
        raise UsageError("an alarm belongs to a site", where="SITE", remedy="find it with: waybill fleet list alarms")

    with open_ledger(place) as engine:
        decision = Decision(account(), reason, utc_now())
        row = None if site is None else find_site(engine, site)
        if accepted is not None:
            result = accept(engine, row, accepted, decision)
        elif closing is not None:
            result = close_quarantine(engine, row, closing, decision)
        else:
            assert row is not None and alarm is not None
            result = settle_alarm(engine, row, alarm, decision)
    text = "\n".join([*result.text, f"decision {result.number} by {decision.who}: {reason}"])
    data = {
        "resolution": result.number,
        "kind": result.kind,
        "accepted": result.accepted,
        "site": row.site if row else None,
    }
    return Result(text, data)
