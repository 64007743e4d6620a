"""waybill rollback"""

from pathlib import Path

import click

from console.options import command, passphrase_option, text_option
from console.result import Result
from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError, WaybillError
from verifier.approval.page import section_text
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import rollback_section, work_lines
from verifier.approval.verdicts import approval_status
from verifier.change.values import Change
from verifier.commands.change_options import runtime_here, signer_of, write_report_after
from verifier.commands.install import install_output
from verifier.commands.site_options import hold_here, site_option
from verifier.commands.weighing import LastQuestion, weigh
from verifier.install.rollback import RollbackRequest, rollback
from verifier.site.folder import Site
from verifier.site.unread import attempt


@command(examples=("waybill rollback --key ops-1.key", "waybill rollback --to 3 --dry-run"))
@click.option(
    "--to", "number", type=click.IntRange(min=1), metavar="N", help="Generation to go back to. Default: the one before."
)
@text_option("--reason", help="Reason, kept in the journal.")
@click.option("--key", "keys", multiple=True, metavar="URI",
              help="Key to approve the rollback with at once. Repeatable.")  # fmt: skip
@passphrase_option
@click.option("--yes", "confirmed", is_flag=True, help="Roll back without a question. Default: ask at the terminal.")
@click.option("--dry-run", is_flag=True, help="Check whether the rollback is possible; sign and change nothing.")
@site_option
def rollback_command(
    number: int | None,
    reason: str | None,
    keys: tuple[str, ...],
    passphrase_fd: int | None,
    confirmed: bool,
    dry_run: bool,
    place: Path | None,
) -> Result:
    """Go back to an earlier generation, with its configuration.

    During a trial this needs no approval. Otherwise it prints first what has to be weighed and what will be done, as
    `waybill review` does, and asks at the terminal, before --key signs or approvals of before are used. If more people
    have to agree than --key names, it says so first; then it signs only, and nothing is rolled back yet.
    """
    signers = tuple(signer_of(key, passphrase_fd) for key in keys)
    work: list[str] = []
    means: list[str] = []
    with hold_here(place, "rollback") as site:

        def ask(change: Change) -> None:
            steps, meaning = _weigh(site, change, None if dry_run else signers, confirmed=confirmed)
            work.extend(steps)
            means.extend(meaning)

        request = RollbackRequest(number=number, signers=signers, reason=reason, dry_run=dry_run, weigh=ask)
        ended = rollback(site, request, runtime_here(), write_report_after)
    result = install_output(ended, "still runs" if dry_run else "runs")
    would = ["what would be done", *(f"  {line}" for line in work)] if dry_run and work else []
    data = {**result.data, "work": work, "means": means}
    return Result("\n".join((result.text, *would, *means)), data, result.error)


def _weigh(
    site: Site, change: Change, signers: tuple[Signer, ...] | None, *, confirmed: bool
) -> tuple[tuple[str, ...], list[str]]:
    """Return what is done, then what is lost by it and what opens again; before that, print all and ask.

    Args:
        signers: Keys that are about to sign; None prints and asks nothing.

    Raises:
        RefusedError: The answer was no.
    """
    failures: list[WaybillError] = []
    review = attempt(lambda: make_review(read_review_input(site, change, runtime_here().load)), failures)
    warnings = [finding.text for finding in change.findings]
    if review is not None:
        warnings = [text for level, _, text in review.findings if level == "warning"]
    warnings += [f"what the rollback means is not known: {failure}" for failure in failures]
    work = () if review is None else work_lines(review)
    means = [] if review is None else section_text(rollback_section(review))
    if signers is not None:
        again = f"read it again: waybill review {change.item}"
        problem = "the rollback was not confirmed; nothing was signed and nothing was changed"
        refused = RefusedError(problem, where=change.item, remedy=again, finding="not-confirmed")
        question = LastQuestion("the rollback begins", "roll back now", refused)
        if missing := _missing(site, change, signers):
            warnings = [f"{missing} must agree besides: nothing is rolled back yet", *warnings]
            question = LastQuestion("the approval is signed", "sign the approval now", refused)
        losses = [line.removeprefix("  ") for line in means[1:]]
        weigh(question, warnings, (*work, *losses), confirmed=confirmed)
    return work, means


def _missing(site: Site, change: Change, signers: tuple[Signer, ...]) -> str:
    """Return in words which approvals are missing once ``signers`` have approved; empty when none is."""
    known = [site.policy.person_of(signer.public.keyid) for signer in signers]
    signing = [person for person in known if person is not None]
    missing = []
    for role in approval_status(site, change).roles:
        agreed = {*role.people, *(name for name, person in signing if person.role == role.role)}
        if len(agreed) < role.need:
            missing.append(f"{role.need - len(agreed)} {role.role}")
    return ", ".join(missing)
