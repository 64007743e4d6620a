"""waybill offboard"""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import command, passphrase_option, path_option, text_option
from console.output import VERBOSE, is_set
from console.result import Result
from manifests.words.errors import RefusedError
from manifests.words.time import rfc3339
from verifier.approval.items import offboard_request
from verifier.approval.page import as_page, as_text, write_new
from verifier.approval.review_input import read_review_input
from verifier.approval.verdicts import approval_status
from verifier.commands.change_options import runtime_here, signer_of, write_report_after
from verifier.commands.site_options import hold_here, open_here, site_option
from verifier.commands.weighing import LastQuestion, weigh
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.offboarding_page import kept_places, offboarding_page, offboarding_text
from verifier.site.folder import Site
from verifier.trust.findings import VERIFIER_VERSION


@command(
    examples=(
        "waybill offboard --reason 'contract ended'",
        "waybill offboard --key ops-1.key",
        "waybill offboard --page offboarding.html",
    )
)
@text_option("--reason", help="Reason, kept at the site only; `retired` if the site itself is retired.")
@click.option("--key", "keys", multiple=True, metavar="URI", help="Key of a person who agrees. Repeatable.")
@click.option(
    "--yes", "confirmed", is_flag=True, help="End the access without a question. Default: ask at the terminal."
)
@path_option("--page", help="Write the statement as one HTML page.")
@passphrase_option
@site_option
def offboard_command(
    reason: str | None,
    keys: tuple[str, ...],
    confirmed: bool,
    page: Path | None,
    passphrase_fd: int | None,
    place: Path | None,
) -> Result:
    """Request the end of the vendor's access; end it once the people named in the policy have agreed.

    It prints first what cannot be undone and what will be done, as `waybill review offboard` does, and
    asks at the terminal.

    Data, images, running software and local rollback stay. The vendor's earlier bundles, consignments, requests and
    signatures are tried once more, and each must be refused; the last report lists the results. If the command was
    interrupted, run it again. --verbose and --page write the statement of what stays where.
    """
    signers = [signer_of(uri, passphrase_fd) for uri in keys]
    with hold_here(place, "offboard") as site:
        if not site.state.offboarded:
            if reason is not None and ask_offboarding(site, reason):
                write_report_after(site, "offboard-asked")
            _confirm(site, confirmed=confirmed, signs=bool(signers))
            for signer in signers:
                agree_offboarding(site, signer)
            end_access(site)
        ending = finish_offboarding(site, utc_now())
    # Opened again: the held site does not know the entries that it wrote itself.
    site = open_here(place)
    paper = offboarding_page(site, f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}")
    text = as_text(paper) if is_set(VERBOSE) else offboarding_text(site)
    if page is not None:
        text += f"\nwritten: {write_new(page, as_page(paper).encode())}"
    return Result(text, _data(site, ending.report), ending.error)


def _confirm(site: Site, *, confirmed: bool, signs: bool) -> None:
    """Print the consequences of the end and ask for it, before a key signs or approvals of before are used.

    Args:
        confirmed: It is not asked.
        signs: A key of this command is about to approve it.

    Raises:
        RefusedError: The answer was no.
    """
    asked = offboard_request(site)
    status = approval_status(site, asked)
    if not (signs or status.met):
        return  # approvals are missing, which the next step says
    shown = read_review_input(site, asked, runtime_here().load)
    refused = RefusedError(
        "the end of the access was not confirmed; nothing was signed and nothing ended",
        where="offboard",
        remedy="the request waits; read it again: waybill review offboard",
        finding="not-confirmed",
    )
    question = LastQuestion("the access ends", "end the access now", refused)
    weigh(question, [finding.text for finding in shown.findings], shown.work, confirmed=confirmed)


def _data(site: Site, report: Path) -> dict[str, object]:
    offboarding = site.state.offboarding
    return {
        "site": site.state.site,
        "reason": offboarding.asked.reason if offboarding else None,
        "tried": [
            {"kind": trial.kind, "artefact": trial.artefact, "outcome": trial.outcome, "finding": trial.finding}
            for trial in (offboarding.tried if offboarding else ())
        ],
        "report": str(report),
        "stays": [{"what": what, "where": str(path)} for what, _, path in kept_places(site)],
    }
