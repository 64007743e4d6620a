"""The command line of judging: `review`, `approve`, `reject`; at the site, or at a desk with a request folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from manifests.console import Result, passphrase_option, utc_now, verb
from manifests.errors import UsageError
from verifier.cli import (
    hold_here,
    items_argument,
    key_option,
    open_here,
    signer_of,
    site_option,
    tools_here,
    waiting_data,
)

if TYPE_CHECKING:
    from verifier.paper import Paper
    from verifier.policy import Standing
    from verifier.review import Review
    from verifier.site import Site


@verb(short_help="Say what waits.")
@items_argument(required=False)
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write it as one HTML page.")
@site_option
def review_command(items: tuple[str, ...], page: Path | None, place: Path | None) -> Result:
    """Without ITEM: what waits, and for whom. With it: everything to know before agreeing.

    Several releases on the way to a newer one are one plan: name them in order.
    """
    from verifier.queue import waiting_items
    from verifier.review import queue_text

    site = open_here(place)
    if not items:
        if page is not None:
            raise UsageError("a page is about one item", where="--page", remedy="waybill review ITEM --page FILE")
        waiting = waiting_items(site)
        return Result(queue_text(waiting), {"waiting": [waiting_data(one) for one in waiting]})
    return _review(site, items, page)


def _review(site: "Site", items: tuple[str, ...], page: Path | None) -> Result:
    from verifier.agreement import agreement_section
    from verifier.items import asked_about
    from verifier.matter import matter_of
    from verifier.paper import as_text
    from verifier.review import make_review
    from verifier.review_paper import review_paper
    from verifier.standing import standing_of

    asked = asked_about(site, items)
    review = make_review(matter_of(site, asked, tools_here().load))
    standing = standing_of(site, asked)
    paper = review_paper(review, agreement_section(asked, standing), _subject_lines(review), _about())
    text = as_text(paper)
    if page is not None:
        text = f"written: {write_page(page, paper)}"
    return Result(text, {**review_data(review, standing), "item": asked.item, "items": list(items)})


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
    found: dict[str, Any] = msgspec.to_builtins(review)
    return {
        **found,
        "agreed": standing.met,
        "roles": [
            {"role": one.role, "have": one.have, "need": one.need, "people": list(one.people)} for one in standing.roles
        ],
        "rule": standing.rule or None,
        "not_counted": list(standing.not_counted),
        "rejected": list(standing.rejected),
        "void": [{"person": one.person, "finding": one.finding} for one in standing.void],
        "conditions": dict(standing.conditions),
    }


@verb(short_help="Agree to an item.")
@items_argument(required=True)
@key_option
@passphrase_option
@click.option("--condition", metavar="TEXT", help="Kept with the approval, for people.")
@site_option
def approve_command(
    items: tuple[str, ...], key: str | None, passphrase_fd: int | None, condition: str | None, place: Path | None
) -> Result:
    """Sign the plan of ITEM with your key. The policy in force says whose key it is and whether it counts.

    Several releases on the way to a newer one are one plan with one approval: name them in order.
    """
    return _say_verdict(place, items, "approve", key, passphrase_fd, condition)


@verb(short_help="Say no to an item.")
@items_argument(required=True)
@key_option
@passphrase_option
@click.option("--reason", metavar="TEXT", help="Kept with the rejection, for people.")
@site_option
def reject_command(
    items: tuple[str, ...], key: str | None, passphrase_fd: int | None, reason: str | None, place: Path | None
) -> Result:
    """Reject ITEM, or take your own approval back."""
    return _say_verdict(place, items, "reject", key, passphrase_fd, reason)


def _say_verdict(
    place: Path | None,
    items: tuple[str, ...],
    verdict: Literal["approve", "reject"],
    key: str | None,
    passphrase_fd: int | None,
    words: str | None,
) -> Result:
    from verifier.agreement import agreement_text
    from verifier.approve import say_verdict

    signer = signer_of(key, passphrase_fd)
    with hold_here(place, verdict) as site:
        said = say_verdict(site, items, signer, verdict, condition=words, load=tools_here().load)
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
        "rule": said.standing.rule or None,
    }
    return Result(f"{first}\n\n{agreement_text(said.asked, said.standing)}", data)
