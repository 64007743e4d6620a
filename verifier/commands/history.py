"""The command line of the journal: `history`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from console.clock import utc_now
from console.options import verb
from console.result import Result
from manifests.words.time import rfc3339
from verifier.approval.page import as_page, as_text, write_new
from verifier.commands.site_options import look_here, site_option
from verifier.reporting.history import SALT, history_lines, history_page
from verifier.trust.findings import VERIFIER_VERSION


@verb(short_help="Print the journal.")
@click.option("--all", "every", is_flag=True, help="Every entry of the journal, with its fields and whole digests.")
@click.option("--since", type=click.IntRange(min=1), default=1, metavar="N", help="From entry N on.")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write it as one HTML page.")
@site_option
def history_command(every: bool, since: int, page: Path | None, place: Path | None) -> Result:
    """Check the journal's chain first, then print it: when, by which account, by whose key, with which inputs, and what
    came of it. Of a chain that is broken, what comes before the break. Changes nothing.
    """
    site = look_here(place)
    state = site.state
    lines = tuple(one for one in history_lines(entry.record for entry in site.entries) if one.record.seq >= since)
    lead = [f"chain of {state.seq} entries holds; head {state.head}"]
    if site.broken is not None:
        lead = [
            f"! {site.broken.problem}",
            f"  these {state.seq} entries follow each other; what came after them, nothing says",
        ]
    if site.torn:
        lead.append(f"its last line was cut off by a crash ({site.torn} bytes); waybill recover cuts and notes it")
    about = f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"
    paper = history_page(state.site, tuple(lead), lines, every=every, about=about)
    text = as_text(paper)
    if page is not None:
        text = f"written: {write_new(page, as_page(paper).encode())}"
    data = {
        "broken": site.broken.problem if site.broken else None,
        "entries": state.seq,
        "head": state.head,
        "torn": site.torn,
        "records": [
            {
                "seq": one.record.seq,
                "at": one.record.at,
                "boot": one.record.boot,
                "account": one.record.actor.account,
                "uid": one.record.actor.uid,
                "sudo": one.record.actor.sudo,
                "person": one.person or None,
                "inputs": [list(pair) for pair in one.inputs],
                "result": one.result or None,
                "words": one.words or None,
                "event": _event(one.record.event),
            }
            for one in lines
        ],
    }
    return Result(text, data, site.broken)


def _event(event: Any) -> Any:
    return {key: value for key, value in msgspec.to_builtins(event).items() if key != SALT}
