"""waybill approve, waybill reject"""

from pathlib import Path
from typing import Literal

import click

from console.options import in_words, passphrase_option, verb
from console.result import Result
from manifests.words.errors import UsageError
from verifier.approval.answers import sign_answer
from verifier.approval.approve import check_reviewed, give_verdict
from verifier.approval.queue import emergency_data
from verifier.approval.request_folder import ANSWERS
from verifier.approval.request_reader import open_request
from verifier.approval.review_page import agreement_text
from verifier.commands.review import digest_argument, request_folder
from verifier.commands.site_options import hold_here, items_argument, key_option, runtime_here, signer_of, site_option

plan_option = click.option(
    "--plan", callback=digest_argument, metavar="DIGEST", help="Only if it is still the plan that was reviewed."
)
answer_option = click.option(
    "--answer",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Of a request folder: where the answer goes instead.",
)


@verb(short_help="Agree to an item.")
@items_argument(required=True)
@key_option
@passphrase_option
@plan_option
@click.option("--condition", callback=in_words, metavar="TEXT", help="Kept with the approval, for people.")
@answer_option
@site_option
def approve_command(
    items: tuple[str, ...],
    key: str | None,
    passphrase_fd: int | None,
    plan: str | None,
    condition: str | None,
    answer: Path | None,
    place: Path | None,
) -> Result:
    """Sign the plan of ITEM with your key. The policy in force says whose key it is and whether it counts.

    Several releases on the way to a newer one are one plan with one approval: name them in order. ITEM may be a request
    folder: the answer is put into it, and `waybill receive` takes it in at the site.
    """
    return _say_verdict(place, items, "approve", key, passphrase_fd, plan, condition, answer)


@verb(short_help="Say no to an item.")
@items_argument(required=True)
@key_option
@passphrase_option
@plan_option
@click.option("--reason", callback=in_words, metavar="TEXT", help="Kept with the rejection, for people.")
@answer_option
@site_option
def reject_command(
    items: tuple[str, ...],
    key: str | None,
    passphrase_fd: int | None,
    plan: str | None,
    reason: str | None,
    answer: Path | None,
    place: Path | None,
) -> Result:
    """Reject ITEM, or take your own approval back. ITEM may be a request folder."""
    return _say_verdict(place, items, "reject", key, passphrase_fd, plan, reason, answer)


def _say_verdict(
    place: Path | None,
    items: tuple[str, ...],
    verdict: Literal["approve", "reject"],
    key: str | None,
    passphrase_fd: int | None,
    plan: str | None,
    words: str | None,
    answer: Path | None,
) -> Result:
    folder = request_folder(items)
    if folder is not None:
        return _answer(folder, verdict, key, passphrase_fd, plan, words, answer)
    if answer is not None:
        raise UsageError("is for a request folder", where="--answer", remedy="at the site nothing is carried")
    signer = signer_of(key, passphrase_fd)
    with hold_here(place, verdict) as site:
        said = give_verdict(site, items, signer, verdict, condition=words, load=runtime_here().load, plan=plan)
    done = "approved" if verdict == "approve" else "rejected"
    first = f"{done} {' '.join(items)} as {said.person} ({said.role})"
    data = {
        "item": said.asked.item,
        "items": list(items),
        "verdict": verdict,
        "person": said.person,
        "role": said.role,
        "plan": said.asked.plan.digest,
        "agreed": said.standing.met,
        "missing": said.standing.missing,
        "emergency": emergency_data(said.standing.emergency),
    }
    return Result(f"{first}\n\n{agreement_text(said.asked, said.standing)}", data)


def _carried(answer: Path) -> str:
    """How it is named from the medium: the request folder is carried back with the answer in it."""
    return f"{ANSWERS}/{answer.name}" if answer.parent.name == ANSWERS else answer.name


def _answer(
    folder: Path,
    verdict: Literal["approve", "reject"],
    key: str | None,
    passphrase_fd: int | None,
    reviewed: str | None,
    words: str | None,
    out: Path | None,
) -> Result:
    request = open_request(folder)
    check_reviewed(request.asked, reviewed)
    person, path = sign_answer(request, signer_of(key, passphrase_fd), verdict, words, out)
    role = request.policy.people[person].role
    done = "approved" if verdict == "approve" else "rejected"
    item, plan = request.asked.item, request.request.plan
    lines = (
        f"{done} {item} of {plan.site} as {person} ({role})",
        f"plan {plan.digest}",
        f"answer: {path}  (carry it back: waybill receive {_carried(path)})",
    )
    data = {
        "item": item,
        "items": list(request.request.items),
        "verdict": verdict,
        "person": person,
        "role": role,
        "plan": plan.digest,
        "request": request.signed.digest,
        "answer": str(path),
    }
    return Result("\n".join(lines), data)
