"""The command line of judging: `review`, `approve`, `reject`; at the site, or at a desk with a request folder."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from manifests.console import Result, in_words, passphrase_option, utc_now, verb
from manifests.errors import UsageError
from verifier.cli import (
    hold_here,
    items_argument,
    key_option,
    open_here,
    signer_of,
    site_option,
    tools_here,
)

if TYPE_CHECKING:
    from verifier.desk import OpenRequest
    from verifier.paper import Paper
    from verifier.policy import Standing
    from verifier.review import Review
    from verifier.site import Site


@verb(short_help="Say what waits.")
@items_argument(required=False)
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write it as one HTML page.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Make a request folder for approvers elsewhere."
)
@click.option(
    "--fingerprint", metavar="WORDS", help="Of a request folder: of the vendor's root, as printed on the paper."
)
@site_option
def review_command(
    items: tuple[str, ...], page: Path | None, out: Path | None, fingerprint: str | None, place: Path | None
) -> Result:
    """Without ITEM: what waits, and for whom. With it: everything to know before agreeing.

    Several releases on the way to a newer one are one plan: name them in order. ITEM may be a request folder that
    `--out` made: it is checked and shown wherever it was carried, without a site.
    """
    from verifier.queue import waiting_data, waiting_items
    from verifier.review import queue_text

    folder = request_folder(items)
    if folder is not None:
        if out is not None:
            raise UsageError("a request is made at the site", where="--out", remedy="waybill review ITEM --out DIR")
        return _review_request(folder, fingerprint, page)
    if fingerprint is not None:
        raise UsageError("is for a request folder", where="--fingerprint", remedy="waybill review DIR")
    site = open_here(place)
    if not items:
        if page is not None or out is not None:
            raise UsageError(
                "a page or a request is about one item", where="ITEM", remedy="waybill review ITEM --page FILE"
            )
        waiting = waiting_items(site)
        return Result(queue_text(waiting), {"waiting": [waiting_data(one) for one in waiting]})
    return _review(site, items, page, out)


def request_folder(items: tuple[str, ...]) -> Path | None:
    """The request folder that a person names instead of an item.

    Raises:
        UsageError: It looks like a path and is none.
    """
    from verifier.desk import is_request_folder

    found = next((Path(one) for one in items if is_request_folder(Path(one)) or "/" in one), None)
    if found is None:
        return None
    if len(items) > 1:
        raise UsageError("a request folder is named alone", where="ITEM", remedy=f"waybill review {found}")
    if not is_request_folder(found):
        raise UsageError(
            f"{found} is no request folder", where="ITEM", remedy="waybill review ITEM --out DIR makes one, at the site"
        )
    return found


def _review(site: "Site", items: tuple[str, ...], page: Path | None, out: Path | None) -> Result:
    from verifier.agreement import agreement_section
    from verifier.items import asked_about
    from verifier.matter import matter_of
    from verifier.paper import Paper, as_page, as_text
    from verifier.review import Matter, Review, make_review
    from verifier.review_paper import review_paper
    from verifier.standing import standing_of

    asked = asked_about(site, items)
    standing = standing_of(site, asked)

    def paper_of(matter: Matter) -> tuple[Review, Paper]:
        review = make_review(matter)
        return review, review_paper(review, agreement_section(asked, standing), _subject_lines(review), _about())

    if out is None:
        review, paper = paper_of(matter_of(site, asked, tools_here().load))
        data = {**review_data(review, standing), "item": asked.item, "items": list(items)}
        return _shown(paper, data, page)
    from verifier.request import REQUEST, write_request

    made: list[tuple[Review, Paper]] = []

    def pages(matter: Matter) -> dict[str, bytes]:
        made.append(paper_of(matter))
        paper = made[0][1]
        return {"review.html": as_page(paper).encode(), "review.txt": (as_text(paper) + "\n").encode()}

    signed = write_request(site, asked, items, out, tools_here().load, pages)
    ((review, paper),) = made
    data = {**review_data(review, standing), "item": asked.item, "items": list(items)}
    if page is not None:
        write_page(page, paper)
    lines = (
        f"request: {out}  for {asked.item}, plan {asked.plan.digest}",
        f"carry it to an approver, who runs: waybill review {out.name}",
        "and bring the answer back: waybill receive " + str(out / "answers"),
    )
    return Result("\n".join(lines), {**data, "request": signed.digest, "path": str(out / REQUEST)})


def _shown(paper: "Paper", data: dict[str, Any], page: Path | None) -> Result:
    from verifier.paper import as_text

    return Result(as_text(paper) if page is None else f"written: {write_page(page, paper)}", data)


def _review_request(folder: Path, fingerprint: str | None, page: Path | None) -> Result:
    from verifier.agreement import agreement_section
    from verifier.desk import open_request
    from verifier.review import make_review
    from verifier.review_paper import review_paper

    request = open_request(folder, _digest_of_paper(fingerprint))
    review = make_review(request.matter)
    lead = (
        f"request {request.signed.digest}, made {request.request.made_at}",
        f"signed by the key of {review.site}: {_words_of_key(request)}",
        f"the vendor: {request.root}",
        *_subject_lines(review),
    )
    section = agreement_section(request.asked, request.standing, str(folder))
    data = {
        **review_data(review, request.standing),
        "item": request.asked.item,
        "items": list(request.request.items),
        "request": request.signed.digest,
        "made_at": request.request.made_at,
        "site_key": request.request.key.keyid,
    }
    return _shown(review_paper(review, section, lead, _about()), data, page)


def _digest_of_paper(fingerprint: str | None) -> str:
    from manifests.fingerprint import parse_fingerprint

    return parse_fingerprint(fingerprint) if fingerprint is not None else ""


def _words_of_key(request: "OpenRequest") -> str:
    from manifests.enrolment import key_groups

    return key_groups(request.request.key)


def _subject_lines(review: "Review") -> tuple[str, ...]:
    """A policy by its fingerprint, for the customer's paper."""
    from manifests.fingerprint import as_groups, as_words

    if review.action != "policy" or not review.subject:
        return ()
    groups, words = as_groups(review.subject), as_words(review.subject)
    return (f"digest       {review.subject}", f"fingerprint  {groups}", f"             {words}")


def _about() -> str:
    from manifests.console import rfc3339
    from verifier.verify import VERIFIER_VERSION

    return f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"


def write_page(path: Path, paper: "Paper") -> Path:
    """A new file; one that is there already is never written over."""
    from verifier.paper import as_page, write_new

    return write_new(path, as_page(paper).encode())


def review_data(review: "Review", standing: "Standing") -> dict[str, Any]:
    """Everything that the text says, for programs."""
    from verifier.queue import emergency_data

    found: dict[str, Any] = msgspec.to_builtins(review)
    return {
        **found,
        "agreed": standing.met,
        "roles": [
            {"role": one.role, "have": one.have, "need": one.need, "people": list(one.people)} for one in standing.roles
        ],
        "emergency": emergency_data(standing.emergency),
        "not_counted": list(standing.not_counted),
        "rejected": list(standing.rejected),
        "void": [{"person": one.person, "finding": one.finding} for one in standing.void],
        "conditions": dict(standing.conditions),
    }


def _digest(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise click.BadParameter("expected sha256: and 64 hex digits, as `review` prints it", context, parameter)
    return value


plan_option = click.option(
    "--plan", callback=_digest, metavar="DIGEST", help="Only if it is still the plan that was reviewed."
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
    from verifier.agreement import agreement_text
    from verifier.approve import say_verdict
    from verifier.queue import emergency_data

    folder = request_folder(items)
    if folder is not None:
        return _answer(folder, verdict, key, passphrase_fd, plan, words, answer)
    if answer is not None:
        raise UsageError("is for a request folder", where="--answer", remedy="at the site nothing is carried")
    signer = signer_of(key, passphrase_fd)
    with hold_here(place, verdict) as site:
        said = say_verdict(site, items, signer, verdict, condition=words, load=tools_here().load, plan=plan)
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
    from verifier.request import ANSWERS

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
    from verifier.answer import sign_answer
    from verifier.approve import check_reviewed
    from verifier.desk import open_request

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
