"""waybill history"""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import command, path_option
from console.output import VERBOSE, is_set
from console.result import Result
from manifests.words.time import rfc3339
from verifier.approval.page import as_page, as_text, write_new
from verifier.commands.site_options import distrust, look_here, site_option
from verifier.reporting.history import history_lines, history_page, history_text, journal_facts
from verifier.trust.findings import VERIFIER_VERSION


@command(examples=("waybill history --since 40", "waybill history --page history.html"))
@click.option("--since", type=click.IntRange(min=1), default=1, metavar="N", help="First entry to print. Default: 1.")
@path_option("--page", help="Write an HTML page.")
@site_option
def history_command(since: int, page: Path | None, place: Path | None) -> Result:
    """Check the chain of the journal, then print one line for each entry: its number, its time, who did it, and what
    happened. --verbose prints every entry, with its fields and whole digests. If the chain is broken, print what comes
    before the break. Changes nothing.
    """
    every = is_set(VERBOSE)
    site = look_here(place)
    lines = tuple(line for line in history_lines(entry.record for entry in site.entries) if line.record.seq >= since)
    facts = journal_facts(site)
    about = f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"
    paper = history_page(site.state.site, facts, lines, every=every, about=about)
    text = as_text(paper) if every else history_text(site.state.site, facts, lines)
    if not lines:
        text = f"no entry from {since} on; the newest is {site.state.seq}"
    if page is not None:
        text = f"written: {write_new(page, as_page(paper).encode())}"
    data = {
        "broken": site.broken.problem if site.broken else None,
        "entries": site.state.seq,
        "head": site.state.head,
        "torn": site.torn,
        "records": [line.as_dict() for line in lines],
    }
    return Result(text, data, distrust(site))
