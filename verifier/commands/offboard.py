"""waybill offboard"""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import in_words, passphrase_option, verb
from console.result import Result
from manifests.words.time import rfc3339
from verifier.approval.page import as_page, as_text, write_new
from verifier.commands.site_options import hold_here, open_here, signer_of, site_option, table_rows, write_report_after
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.offboarding_page import offboarding_page
from verifier.trust.findings import VERIFIER_VERSION


@verb(short_help="End the vendor's access.")
@click.option(
    "--reason", callback=in_words, metavar="TEXT", help="Why; `retired` when the site itself goes. It stays here."
)
@click.option("--key", "keys", multiple=True, metavar="URI", help="Agree to it with this key.")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write the statement as one HTML page.")
@passphrase_option
@site_option
def offboard_command(
    reason: str | None, keys: tuple[str, ...], page: Path | None, passphrase_fd: int | None, place: Path | None
) -> Result:
    """Ask that the vendor's access ends; do it once the people whom the policy names have agreed; prove it.

    Data, images, running software and local rollback stay. The vendor's former bundles, consignments, requests and
    signatures are tried once more, and each has to be refused. The last report says so. Cut off in the middle, the
    same verb goes on; afterwards it prints the statement of what stays where again.
    """
    signers = [signer_of(uri, passphrase_fd) for uri in keys]
    with hold_here(place, "offboard") as site:
        if not site.state.offboarded:
            if reason is not None and ask_offboarding(site, reason):
                write_report_after(site, "offboard-asked")
            for signer in signers:
                agree_offboarding(site, signer)
            end_access(site)
        done = finish_offboarding(site, utc_now())
        state = site.state
        now = state.offboarding
        tried = now.tried if now else ()
    # Anew: the held site knows no entries of its own making.
    paper = offboarding_page(open_here(place), f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}")
    lines = [as_text(paper), "", f"report: {done.report}  (the last one; carry it: waybill report --out MEDIUM)"]
    if page is not None:
        lines.append(f"written: {write_new(page, as_page(paper).encode())}")
    data = {
        "site": state.site,
        "reason": now.asked.reason if now else None,
        "tried": [
            {"kind": one.kind, "artefact": one.artefact, "outcome": one.outcome, "finding": one.finding}
            for one in tried
        ],
        "report": str(done.report),
        "stays": [{"what": row.cells[0], "where": row.cells[2]} for row in table_rows(paper, "what stays, and where")],
    }
    return Result("\n".join(lines), data, done.error)
