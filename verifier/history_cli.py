"""The command line of the journal: `history`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from manifests.console import Result, verb
from verifier.cli import open_here, site_option


@verb(short_help="Print the journal.")
@click.option("--all", "every", is_flag=True, help="Every entry of the journal, with its fields.")
@click.option("--since", type=click.IntRange(min=1), default=1, metavar="N", help="From entry N on.")
@site_option
def history_command(every: bool, since: int, place: Path | None) -> Result:
    """Check the journal's chain first, then print it. Changes nothing."""
    from verifier.status import history_text

    site = open_here(place)
    records = tuple(entry.record for entry in site.entries if entry.record.seq >= since)
    state = site.state
    first = f"chain of {state.seq} entries holds; head {state.head}"
    if site.torn:
        first += f"\nits last line was cut off by a crash ({site.torn} bytes); waybill recover cuts and notes it"
    data = {
        "entries": state.seq,
        "head": state.head,
        "records": [
            {"seq": one.seq, "at": one.at, "account": one.actor.account, "event": _event(one.event)} for one in records
        ],
    }
    return Result(f"{first}\n\n{history_text(records, every=every)}", data)


def _event(event: Any) -> Any:
    return msgspec.to_builtins(event)
