"""Approve or reject an item: at the site, or in an answer that is signed elsewhere and received at the site."""

from dataclasses import dataclass
from pathlib import Path

from manifests.documents.approval import SignedApproval, verify_approval
from manifests.documents.plan import Plan
from manifests.documents.review_request import MAX_ANSWER, ApprovalAnswer, parse_answer
from manifests.trust.envelope import Envelope
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode, parse
from manifests.words.errors import RefusedError, WaybillError
from verifier.approval.items import AnyItem, approvable_of, check_feasible, record_proposals
from verifier.approval.page import write_new
from verifier.approval.request_reader import ANSWERS, OpenRequest
from verifier.approval.verdicts import (
    VerdictKind,
    approval_status,
    person_of_key,
    record_verdict,
    sign_verdict,
    verdicts_on,
)
from verifier.change.driver_steps import LoadDriver
from verifier.change.handlers import UseRequest
from verifier.rules.agreement import Approvable, ApprovalStatus, item_names
from verifier.site.folder import Site
from verifier.site.journal.events import RequestRefused


@dataclass(frozen=True)
class VerdictRequest:
    """The verdict of a person.

    Attributes:
        items: One item, or several releases as one plan.
        condition: The condition of an approval, or the reason of a rejection.
        plan: Digest of the plan that the person has reviewed; None to sign the plan as it is now.
    """

    items: tuple[str, ...]
    verdict: VerdictKind
    condition: str | None = None
    plan: str | None = None


@dataclass(frozen=True)
class VerdictResult:
    asked: AnyItem
    person: str
    role: str
    status: ApprovalStatus


def give_verdict(site: Site, signer: Signer, request: VerdictRequest, load: LoadDriver) -> VerdictResult:
    """Sign a verdict with a person's key and record it.

    Raises RefusedError when the policy does not list the key, the item is not possible here, or its plan has changed.
    """
    person_of_key(site.policy, signer)
    record_proposals(site)
    asked = approvable_of(site, request.items)
    check_reviewed(asked, request.plan)
    check_feasible(site, asked, load)
    approval = sign_verdict(site.policy, asked.plan, signer, request.verdict, request.condition)
    _record(site, asked, asked.plan, approval)
    return VerdictResult(asked, approval.person, approval.approval.role, approval_status(site, asked))


def _record(site: Site, asked: AnyItem, plan: Plan, signed: SignedApproval) -> None:
    """Record a verdict. The rejection of a use of a handler ends it: it is answered as refused."""
    record_verdict(site, asked.item, plan, signed)
    if isinstance(asked, UseRequest) and signed.approval.verdict == "reject" and asked.requested.outcome == "waiting":
        site.record(RequestRefused(item=asked.item, reason="rejected"))


def check_reviewed(asked: Approvable, plan: str | None) -> None:
    """Raise RefusedError when the plan of ``asked`` is not the reviewed one; None checks nothing."""
    if plan is not None and plan != asked.plan.digest:
        raise RefusedError(
            f"the plan is {asked.plan.digest} now, not the reviewed {plan}; nothing was signed",
            where=asked.item,
            remedy=f"review the item again: waybill review {item_names(asked)}",
            finding="plan-changed",
        )


def sign_answer(
    request: OpenRequest, signer: Signer, verdict: VerdictKind, condition: str | None, out: Path | None
) -> tuple[str, Path]:
    """Sign the plan of a request and write the answer, by default into the request folder; return person and file.

    Raises RefusedError when the site's policy does not list the key, or the file exists already.
    """
    plan = request.request.plan
    signed = sign_verdict(request.policy, plan, signer, verdict, condition, request.signed.digest)
    approval = parse(signed.raw, Envelope, "approval", max_bytes=MAX_ANSWER)
    answer = ApprovalAnswer(items=request.request.items, plan=plan, approval=approval)
    folder = request.folder / ANSWERS if out is None else out
    folder.mkdir(exist_ok=True)
    return signed.person, write_new(folder / f"{signed.person}-{verdict}-{plan.digest[7:19]}.json", encode(answer))


@dataclass(frozen=True)
class ReceivedAnswer:
    """An answer that was received now, or (not ``new``) before."""

    path: Path
    item: str
    verdict: str
    person: str
    role: str
    new: bool


def receive_answer(site: Site, path: Path, load: LoadDriver) -> ReceivedAnswer | None:
    """Verify an answer and record its verdict, at a locked site; return None for an answer to another site.

    Steps: 1 its parts agree; 2 it is for this site; 3 the policy in force lists the key, and the signature is by it;
    4 the item's plan is still the one that was signed; 5 it was not received before; 6 this site has the drivers.

    Raises:
        MalformedError, RefusedError, UntrustedError: As the step says; nothing was changed.
    """
    where = str(path)
    answer, approval = parse_answer(read_capped(path, MAX_ANSWER), where)  # 1
    if answer.plan.site != site.state.site:  # 2
        return None
    if answer.plan.site_key != site.state.site_key.keyid:
        raise RefusedError(
            f"answer for site key {answer.plan.site_key}; the site key is now {site.state.site_key.keyid}",
            where=where,
            remedy=f"write a new request: waybill review {' '.join(answer.items)} --out DIR",
            finding="answer-other-key",
        )
    signed = verify_approval(encode(answer.approval), site.policy, where)  # 3
    record_proposals(site)
    asked = _asked(site, answer, where)  # 4
    item = " ".join(answer.items)
    before = _before(site, asked, signed, where)  # 5
    if not before:
        check_feasible(site, asked, load)  # 6
        _record(site, asked, answer.plan, signed)
    return ReceivedAnswer(path, item, approval.verdict, signed.person, approval.role, not before)


def _asked(site: Site, answer: ApprovalAnswer, where: str) -> AnyItem:
    """Return the items of the answer. Raises RefusedError when their plan is no longer the signed one."""
    try:
        asked = approvable_of(site, answer.items)
    except WaybillError as error:
        raise RefusedError(
            f"the item of the answer cannot be carried out here now: {error.problem}",
            where=where,
            remedy=error.remedy or "run waybill review to see the queue",
            finding="answer-not-asked",
        ) from None
    if asked.plan.digest == answer.plan.digest:
        return asked
    now, then = asked.plan, answer.plan
    differences = {
        "policy": "another policy is in force",
        "config": "the config differs",
        "settings": "site.yaml was changed",
        "subject": "the proposal differs",
        "releases": "the releases differ",
        "contract": "the telemetry contract differs",
        "last_change": "another change was put in force since",
    }
    changed = [text for field, text in differences.items() if getattr(now, field) != getattr(then, field)]
    raise RefusedError(
        f"the plan of {' '.join(answer.items)} has changed since the answer: {'; '.join(changed) or 'it differs'}",
        where=where,
        remedy=f"write a new request: waybill review {' '.join(answer.items)} --out DIR",
        finding="answer-older-policy" if now.policy != then.policy else "answer-other-plan",
    )


def _before(site: Site, asked: Approvable, signed: SignedApproval, where: str) -> bool:
    """Return whether this answer was received before. The signed content decides: one signature has many encodings.

    Raises RefusedError when it approves a request that the same person has rejected.
    """
    who_and_what = (signed.person, signed.approval.request)
    verdicts = verdicts_on(site, site.policy, asked.plan)
    earlier = {one.approval.verdict for one in verdicts if (one.person, one.approval.request) == who_and_what}
    if signed.approval.verdict in earlier:
        return True
    if signed.approval.verdict == "approve" and earlier:
        raise RefusedError(
            f"{signed.person} has rejected the same request",
            where=where,
            remedy=f"to approve it now, write a new request: waybill review {asked.item} --out DIR",
            finding="answer-after-rejection",
        )
    return False
