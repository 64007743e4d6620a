"""waybill review"""

import shlex
from pathlib import Path

import click

from console.clock import utc_now
from console.options import command, path_option
from console.output import VERBOSE, is_set
from console.result import Result
from console.screen import fit
from manifests.documents.enrolment import key_groups
from manifests.documents.review_request import SignedRequest
from manifests.words.digest import DIGEST
from manifests.words.errors import UsageError
from manifests.words.fingerprint import as_groups, as_words, parse_fingerprint
from manifests.words.time import rfc3339
from manifests.words.units import show_count
from verifier.approval.items import approvable_of
from verifier.approval.page import Page, as_page, as_text, write_new
from verifier.approval.queue import emergency_data, queue_text, waiting_data, waiting_items
from verifier.approval.request_reader import REQUEST, is_request_folder, open_request
from verifier.approval.request_writer import write_request
from verifier.approval.review import Review, make_review, review_fields
from verifier.approval.review_input import ReviewInput, read_review_input
from verifier.approval.review_page import agreement_section, make_review_page, not_evidence_section
from verifier.approval.verdicts import approval_status
from verifier.commands.change_options import items_argument, runtime_here
from verifier.commands.site_options import open_here, site_option
from verifier.rules.agreement import ApprovalStatus
from verifier.site.folder import Site
from verifier.trust.findings import VERIFIER_VERSION


@command(
    examples=(
        "waybill review",
        "waybill review r-1.4.2 --page review.html",
        "waybill review r-1.4.2 --out /media/stick/request",
    )
)
@items_argument(required=False)
@path_option("--page", help="Write the review as one HTML page. Default: text.")
@path_option("--out", metavar="DIR", help="Write a request folder for approvers elsewhere.")
@click.option(
    "--fingerprint",
    metavar="WORDS",
    help="Fingerprint of the vendor's root for a request folder, from the vendor's paper. Default: the site's root.",
)
@site_option
def review_command(
    items: tuple[str, ...], page: Path | None, out: Path | None, fingerprint: str | None, place: Path | None
) -> Result:
    """Show the queue; with ITEM, show what a person must know to approve it.

    Several releases on the way to a newer one are one plan: name them in order. ITEM can be a request folder that
    `--out` wrote; it is checked and shown without a site.
    """
    folder = request_folder(items)
    if folder is not None:
        if out is not None:
            remedy = "at the site, run waybill review ITEM --out DIR"
            raise UsageError("a request folder cannot be made from a request folder", where="--out", remedy=remedy)
        return _review_request(folder, fingerprint, page)
    if fingerprint is not None:
        remedy = "name a request folder: waybill review DIR --fingerprint WORDS"
        raise UsageError("only a request folder takes a fingerprint", where="--fingerprint", remedy=remedy)
    site = open_here(place)
    if not items and (page is not None or out is not None):
        remedy = "name an item: waybill review ITEM --page FILE"
        raise UsageError("a page or a request folder is about an item", where="ITEM", remedy=remedy)
    if not items:
        queue = waiting_items(site)
        return Result(queue_text(queue, utc_now()), {"waiting": [waiting_data(waiting) for waiting in queue]})
    return _review(site, items, page) if out is None else _write_request(site, items, page, out)


def request_folder(items: tuple[str, ...]) -> Path | None:
    """Return the request folder that is named instead of an item; None for items.

    Raises:
        UsageError: An item looks like a path, but is no request folder.
    """
    folder = next((Path(item) for item in items if is_request_folder(Path(item)) or "/" in item), None)
    if folder is None:
        return None
    if len(items) > 1:
        remedy = f"run waybill review {shlex.quote(str(folder))}"
        raise UsageError("a request folder is named together with items", where="ITEM", remedy=remedy)
    if not is_request_folder(folder):
        remedy = "at the site, write one: waybill review ITEM --out DIR"
        raise UsageError(f"{folder} is no request folder", where="ITEM", remedy=remedy)
    return folder


def _review(site: Site, items: tuple[str, ...], page: Path | None) -> Result:
    asked = approvable_of(site, items)
    status = approval_status(site, asked)
    runtime = runtime_here()
    review = make_review(read_review_input(site, asked, runtime.load, check_programs=runtime.programs.check))
    section = agreement_section(asked, status, lacks=review.lacks)
    shown = make_review_page(review, section, _policy_fingerprint(review), _written_by())
    return _result(shown, page, {**review_data(review, status), "item": asked.item, "items": list(items)})


def _write_request(site: Site, items: tuple[str, ...], page: Path | None, out: Path) -> Result:
    """Write a request folder with the review in it as page and text."""
    asked = approvable_of(site, items)
    status = approval_status(site, asked)
    made: list[tuple[Review, Page]] = []

    def review_files(review_input: ReviewInput, signed: SignedRequest) -> dict[str, bytes]:
        review = make_review(review_input)
        section = agreement_section(asked, status, out.name, lacks=review.lacks)
        first = (not_evidence_section(out.name, _fingerprints(signed)),)
        shown = make_review_page(review, section, _policy_fingerprint(review), _written_by(), first)
        made.append((review, shown))
        text = fit(as_text(shown), None, verbose=True)
        return {"review.html": as_page(shown).encode(), "review.txt": (text + "\n").encode()}

    signed = write_request(site, asked, items, out, runtime_here().load, review_files)
    ((review, shown),) = made
    if page is not None:
        write_new(page, as_page(shown).encode())
    names = " ".join(items)
    ready = (f"not ready: the site lacks {show_count(review.lacks, 'thing')}; first: waybill check {names}",)
    lines = (
        f"request: {out}  for {asked.item}, plan {asked.plan.digest}",
        *(ready if review.lacks else ()),
        f"next, at the computer of an approver: waybill review {shlex.quote(str(out))}",
        "then carry it back, and run:",
        f"  waybill receive {shlex.quote(str(out / 'answers'))}",
    )
    data = {**review_data(review, status), "item": asked.item, "items": list(items)}
    return Result("\n".join(lines), {**data, "request": signed.digest, "path": str(out / REQUEST)})


def _fingerprints(signed: SignedRequest) -> tuple[tuple[str, str], ...]:
    request = signed.request
    return (
        (f"root {request.root.version}", as_groups(request.root.digest)),
        ("", as_words(request.root.digest)),
        ("key of the site", key_groups(request.key)),
        ("request.json", as_groups(signed.digest)),
    )


def _review_request(folder: Path, fingerprint: str | None, page: Path | None) -> Result:
    opened = open_request(folder, parse_fingerprint(fingerprint) if fingerprint is not None else None)
    request, review = opened.request, make_review(opened.review_input)
    lead = (
        f"request {opened.signed.digest}, made {request.made_at}",
        f"signed by the key of {review.site}: {key_groups(request.key)}",
        f"the vendor: {opened.root}",
        *_policy_fingerprint(review),
    )
    section = agreement_section(opened.asked, opened.status, str(folder), lacks=review.lacks)
    data = {
        **review_data(review, opened.status),
        "item": opened.asked.item,
        "items": list(request.items),
        "request": opened.signed.digest,
        "made_at": request.made_at,
        "site_key": request.key.keyid,
    }
    return _result(make_review_page(review, section, lead, _written_by()), page, data)


def _result(shown: Page, page: Path | None, data: dict[str, object]) -> Result:
    if page is None:
        return Result(as_text(shown, brief=not is_set(VERBOSE)), data)
    return Result(f"written: {write_new(page, as_page(shown).encode())}", data)


def _policy_fingerprint(review: Review) -> tuple[str, ...]:
    """Return the lines by which a customer's paper names a proposed policy; none for other items."""
    if review.action != "policy" or not review.subject:
        return ()
    groups, words = as_groups(review.subject), as_words(review.subject)
    return (f"policy {review.subject}", f"fingerprint  {groups}", f"             {words}")


def _written_by() -> str:
    return f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"


def review_data(review: Review, status: ApprovalStatus) -> dict[str, object]:
    """Return the content of the page, for programs."""
    return {
        **review_fields(review),
        "agreed": status.met,
        "roles": [
            {"role": role.role, "have": role.have, "need": role.need, "people": list(role.people)}
            for role in status.roles
        ],
        "emergency": emergency_data(status.emergency),
        "not_counted": list(status.not_counted),
        "rejected": list(status.rejected),
        "void": [{"person": void.person, "finding": void.finding} for void in status.void],
        "conditions": dict(status.conditions),
        "repeated": status.repeated,
    }


def digest_argument(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Check a digest on the command line (an option's ``callback``)."""
    if value is not None and not DIGEST.fullmatch(value):
        problem = "expected the digest that `review` prints, sha256: and 64 hex digits"
        raise click.BadParameter(problem, context, parameter)
    return value
