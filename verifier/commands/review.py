"""waybill review"""

import re
from pathlib import Path
from typing import Any

import click
import msgspec

from console.clock import utc_now
from console.options import verb
from console.result import Result
from manifests.documents.enrolment import key_groups
from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_groups, as_words, parse_fingerprint
from manifests.words.time import rfc3339
from verifier.approval.items import approvable_of
from verifier.approval.page import Page, as_page, as_text, write_new
from verifier.approval.queue import emergency_data, waiting_data, waiting_items
from verifier.approval.request_folder import REQUEST
from verifier.approval.request_reader import OpenRequest, is_request_folder, open_request
from verifier.approval.request_writer import write_request
from verifier.approval.review import Review, make_review, queue_text
from verifier.approval.review_input import ReviewInput, read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.commands.site_options import items_argument, open_here, runtime_here, site_option
from verifier.rules.agreement import ApprovalStatus
from verifier.site.folder import Site
from verifier.trust.findings import VERIFIER_VERSION


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


def _review(site: Site, items: tuple[str, ...], page: Path | None, out: Path | None) -> Result:
    asked = approvable_of(site, items)
    standing = approval_status(site, asked)

    def paper_of(matter: ReviewInput) -> tuple[Review, Page]:
        review = make_review(matter)
        return review, make_review_page(review, agreement_section(asked, standing), _subject_lines(review), _about())

    if out is None:
        review, paper = paper_of(read_review_input(site, asked, runtime_here().load))
        data = {**review_data(review, standing), "item": asked.item, "items": list(items)}
        return _shown(paper, data, page)
    made: list[tuple[Review, Page]] = []

    def pages(matter: ReviewInput) -> dict[str, bytes]:
        made.append(paper_of(matter))
        paper = made[0][1]
        return {"review.html": as_page(paper).encode(), "review.txt": (as_text(paper) + "\n").encode()}

    signed = write_request(site, asked, items, out, runtime_here().load, pages)
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


def _shown(paper: Page, data: dict[str, Any], page: Path | None) -> Result:
    return Result(as_text(paper) if page is None else f"written: {write_page(page, paper)}", data)


def _review_request(folder: Path, fingerprint: str | None, page: Path | None) -> Result:
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
    return _shown(make_review_page(review, section, lead, _about()), data, page)


def _digest_of_paper(fingerprint: str | None) -> str:
    return parse_fingerprint(fingerprint) if fingerprint is not None else ""


def _words_of_key(request: OpenRequest) -> str:
    return key_groups(request.request.key)


def _subject_lines(review: Review) -> tuple[str, ...]:
    """A policy by its fingerprint, for the customer's paper."""
    if review.action != "policy" or not review.subject:
        return ()
    groups, words = as_groups(review.subject), as_words(review.subject)
    return (f"digest       {review.subject}", f"fingerprint  {groups}", f"             {words}")


def _about() -> str:
    return f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"


def write_page(path: Path, paper: Page) -> Path:
    """A new file; one that is there already is never written over."""
    return write_new(path, as_page(paper).encode())


def review_data(review: Review, standing: ApprovalStatus) -> dict[str, Any]:
    """Everything that the text says, for programs."""
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


def digest_argument(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise click.BadParameter("expected sha256: and 64 hex digits, as `review` prints it", context, parameter)
    return value
