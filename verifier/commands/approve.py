"""waybill approve, waybill reject"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar  # click passes options by name

import click

from console.options import all_of, command, passphrase_option, text_option
from console.result import Result
from manifests.words.errors import UsageError
from verifier.approval.approve import VerdictRequest, check_reviewed, give_verdict, sign_answer
from verifier.approval.items import AnyItem, hops_of
from verifier.approval.queue import emergency_data
from verifier.approval.request_reader import open_request
from verifier.approval.review_page import agreement_text
from verifier.approval.verdicts import VerdictKind
from verifier.change.handlers import UseRequest
from verifier.change.site_check import check_site, failures
from verifier.commands.change_options import items_argument, key_option, runtime_here, signer_of
from verifier.commands.review import digest_argument, request_folder
from verifier.commands.site_options import hold_here, open_here, site_option

_Command = TypeVar("_Command", bound=Callable[..., object])
_DONE = {"approve": "approved", "reject": "rejected"}


@dataclass(frozen=True)
class _Options:
    """The options of both commands. Attributes: words: the condition or the reason."""

    key: str | None
    passphrase_fd: int | None
    plan: str | None
    words: str | None
    answer: Path | None
    place: Path | None


def _verdict_options(words: str, text: str) -> Callable[[_Command], _Command]:
    """Add the argument and options of both commands; ``words`` is the option with the help ``text``."""
    return all_of(
        items_argument(required=True),
        key_option,
        passphrase_option,
        click.option("--plan", callback=digest_argument, metavar="DIGEST",
                     help="Sign only if the plan still has this digest. Default: the plan as it is now."),
        text_option(words, "words", help=text),
        click.option("--answer", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                     help="Folder for the answer to a request folder. Default: the folder `answers` in it."),
        site_option,
    )  # fmt: skip


@command(examples=("waybill approve r-1.4.2 --key ops-1.key", "waybill approve /media/stick/request --key ops-1.key"))
@_verdict_options("--condition", "Condition for the people at the site, kept with the approval.")
def approve_command(items: tuple[str, ...], **options: Any) -> Result:
    """Sign the plan of ITEM with your key.

    The policy in force says whose key it is and whether the approval counts. Several releases on the way to a newer one
    are one plan: name them in order. ITEM can be a request folder: the answer is written into it, and
    `waybill receive` takes it in at the site.
    """
    return _sign(items, "approve", _Options(**options))


@command(examples=('waybill reject r-1.4.2 --key ops-1.key --reason "after the audit"',))
@_verdict_options("--reason", "Reason for people, kept with the rejection.")
def reject_command(items: tuple[str, ...], **options: Any) -> Result:
    """Reject ITEM, or withdraw your approval of it. ITEM can be a request folder."""
    return _sign(items, "reject", _Options(**options))


def _sign(items: tuple[str, ...], verdict: VerdictKind, options: _Options) -> Result:
    """Sign at the site, or answer a request folder."""
    request = VerdictRequest(items, verdict, options.words, options.plan)
    folder = request_folder(request.items)
    if folder is not None:
        return _answer(folder, request, options)
    if options.answer is not None:
        remedy = "leave out --answer; at the site the verdict is recorded at once"
        raise UsageError("only an answer to a request folder has a folder", where="--answer", remedy=remedy)
    signer = signer_of(options.key, options.passphrase_fd)
    with hold_here(options.place, request.verdict) as site:
        result = give_verdict(site, signer, request, runtime_here().load)
    advise = request.verdict == "approve"
    lacks = _lacks(options.place, result.asked) if advise else 0
    plan, status = result.asked.plan.digest, result.status
    text = agreement_text(result.asked, status, advise=advise, lacks=lacks)
    if isinstance(result.asked, UseRequest) and not advise:
        text = f"{result.asked.item} is refused, and cannot be run any more"
    lines = (
        f"{_DONE[request.verdict]} {' '.join(request.items)} as {result.person} ({result.role})",
        f"plan {plan}",
        "",
        text,
    )
    data = {
        "item": result.asked.item,
        "items": list(request.items),
        "verdict": request.verdict,
        "person": result.person,
        "role": result.role,
        "plan": plan,
        "agreed": status.met,
        "missing": status.missing,
        "lacks": lacks,
        "emergency": emergency_data(status.emergency),
    }
    return Result("\n".join(lines), data)


def _lacks(place: Path | None, asked: AnyItem) -> int:
    """Return how many things this site lacks for the item; the site is not held meanwhile."""
    runtime = runtime_here()
    return len(failures(check_site(open_here(place), hops_of(asked), runtime.load, runtime.programs.check)))


def _answer(folder: Path, request: VerdictRequest, options: _Options) -> Result:
    """Sign an answer to a request folder, without a site."""
    opened = open_request(folder)
    check_reviewed(opened.asked, request.plan)
    signer = signer_of(options.key, options.passphrase_fd)
    person, path = sign_answer(opened, signer, request.verdict, request.condition, options.answer)
    role = opened.policy.people[person].role
    item, plan = opened.asked.item, opened.request.plan
    lines = (
        f"{_DONE[request.verdict]} {item} of {plan.site} as {person} ({role})",
        f"plan {plan.digest}",
        f"answer: {path}",
        f"next, at the site: waybill receive {shlex.quote(str(path))}",
    )
    data = {
        "item": item,
        "items": list(opened.request.items),
        "verdict": request.verdict,
        "person": person,
        "role": role,
        "plan": plan.digest,
        "request": opened.signed.digest,
        "answer": str(path),
    }
    return Result("\n".join(lines), data)
