"""waybill rollback"""

from pathlib import Path

import click

from console.options import command, passphrase_option, text_option
from console.output import say
from console.result import Result
from manifests.words.errors import WaybillError
from verifier.approval.page import section_text
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import rollback_section
from verifier.change.rollback_plan import rollback_change
from verifier.commands.install import install_output
from verifier.commands.site_options import hold_here, runtime_here, signer_of, site_option, write_report_after
from verifier.install.rollback import RollbackRequest, rollback
from verifier.site.folder import Site
from verifier.site.journal.installs import State


@command(examples=("waybill rollback --key ops-1.key", "waybill rollback --to 3 --dry-run"))
@click.option(
    "--to", "number", type=click.IntRange(min=1), metavar="N", help="Generation to go back to. Default: the one before."
)
@text_option("--reason", help="Reason, kept in the journal.")
@click.option("--key", metavar="URI", help="Key to approve the rollback with at once.")
@passphrase_option
@click.option("--dry-run", is_flag=True, help="Check whether the rollback is possible; change nothing.")
@site_option
def rollback_command(
    number: int | None,
    reason: str | None,
    key: str | None,
    passphrase_fd: int | None,
    dry_run: bool,
    place: Path | None,
) -> Result:
    """Go back to an earlier generation, with its configuration.

    During a trial this needs no approval. With --key it prints first, as `waybill review` does, what has to be weighed.
    """
    signer = signer_of(key, passphrase_fd) if key else None
    with hold_here(place, "rollback") as site:
        warnings, means = _outlook(site, number)
        for warning in warnings if signer is not None else ():
            say(f"warning: {warning}")
        request = RollbackRequest(number=number, signer=signer, reason=reason, dry_run=dry_run)
        ended = rollback(site, request, runtime_here(), write_report_after)
    result = install_output(ended, "runs")
    return Result("\n".join((result.text, *means)), {**result.data, "means": means}, result.error)


def _outlook(site: Site, number: int | None) -> tuple[tuple[str, ...], list[str]]:
    """Return what has to be weighed before, and then who allows the rollback, what is lost and what opens again.

    Both are empty during a trial. The warnings that the rollback itself prints are left out.
    """
    transaction = site.state.installs.transaction
    if transaction is not None and transaction.state not in (State.SETTLED, State.ROLLED_BACK):
        return (), []
    try:
        asked = rollback_change(site, number or site.former())
        review = make_review(read_review_input(site, asked, runtime_here().load))
    except WaybillError:
        return (), []  # `rollback` itself reports the error
    own = {finding.text for finding in asked.findings}
    warnings = tuple(text for level, _, text in review.findings if level == "warning" and text not in own)
    return warnings, section_text(rollback_section(review))
