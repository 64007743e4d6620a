"""waybill offboard"""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import in_words, passphrase_option, verb
from console.result import Result
from manifests.words.time import rfc3339
from verifier.approval.page import Page, as_page, as_text, write_new
from verifier.commands.site_options import hold_here, open_here, signer_of, site_option, table_rows, write_report_after
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.offboarding_page import offboarding_page
from verifier.site.journal.state import SiteState
from verifier.trust.findings import VERIFIER_VERSION


@verb(
    short_help="End the vendor's access to this site.",
    examples=(
        "waybill offboard --reason 'contract ended'",
        "waybill offboard --key ops-1.key",
        "waybill offboard --page offboarding.html",
    ),
)
@click.option(
    "--reason",
    callback=in_words,
    metavar="TEXT",
    help="Reason, kept at the site only; `retired` if the site itself is retired.",
)
@click.option("--key", "keys", multiple=True, metavar="URI", help="Key of a person who agrees. Repeatable.")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write the statement as one HTML page.")
@passphrase_option
@site_option
def offboard_command(
    reason: str | None, keys: tuple[str, ...], page: Path | None, passphrase_fd: int | None, place: Path | None
) -> Result:
    """Request the end of the vendor's access; end it once the people named in the policy have agreed.

    Data, images, running software and local rollback stay. The vendor's earlier bundles, consignments, requests and
    signatures are tried once more, and each must be refused; the last report lists the results. If the command was
    interrupted, run it again. Afterwards it prints the statement of what stays where.
    """
    signers = [signer_of(uri, passphrase_fd) for uri in keys]
    with hold_here(place, "offboard") as site:
        if not site.state.offboarded:
            if reason is not None and ask_offboarding(site, reason):
                write_report_after(site, "offboard-asked")
            for signer in signers:
                agree_offboarding(site, signer)
            end_access(site)
        ending = finish_offboarding(site, utc_now())
        state = site.state
    # Opened again: the held site does not know the entries that it wrote itself.
    paper = offboarding_page(open_here(place), f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}")
    lines = [as_text(paper), "", f"report: {ending.report}  (the last one; carry it: waybill report --out MEDIUM)"]
    if page is not None:
        lines.append(f"written: {write_new(page, as_page(paper).encode())}")
    return Result("\n".join(lines), _as_data(state, paper, ending.report), ending.error)


def _as_data(state: SiteState, paper: Page, report: Path) -> dict[str, object]:
    offboarding = state.offboarding
    return {
        "site": state.site,
        "reason": offboarding.asked.reason if offboarding else None,
        "tried": [
            {"kind": trial.kind, "artefact": trial.artefact, "outcome": trial.outcome, "finding": trial.finding}
            for trial in (offboarding.tried if offboarding else ())
        ],
        "report": str(report),
        "stays": [{"what": row.cells[0], "where": row.cells[2]} for row in table_rows(paper, "what stays, and where")],
    }
