"""Documents that people sign, and documents that have no signature of their own."""

from collections.abc import Callable

import msgspec

from manifests.documents import approval, review_request
from manifests.documents.plan import parse_plan
from manifests.trust.envelope import parse_envelope
from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import UsageError
from verifier.documents.values import (
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    check_meant_for,
    claimed_signers,
    plan_rows,
    require_anchor,
)

PEOPLE_REMEDY = "waybill verify FILE --site DIR: the policy of that site lists the keys of people"


def read_answer(data: bytes, where: str) -> DocumentSummary:
    answer, verdict = review_request.parse_answer(data, where)
    rows = (*_approval_rows(verdict), *plan_rows(answer.plan))
    title = f"{verdict.verdict} {' '.join(answer.items)} of {answer.plan.site}"
    return DocumentSummary("answer", title, rows, answer, digest_of(data), claimed_signers(answer.approval))


def judge_answer(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    answer = review_request.parse_answer(data, where)[0]
    require_anchor(judge, PEOPLE_REMEDY)
    if judge.site is not None:
        check_meant_for(judge, answer.plan.site == judge.site.state.site, answer.plan.site, where)
    return _by_person(encode(answer.approval), judge, where)


def read_approval(data: bytes, where: str) -> DocumentSummary:
    envelope = parse_envelope(data, approval.APPROVAL_TYPE, where, max_bytes=approval.MAX_APPROVAL)
    verdict = parse(envelope.payload_bytes, approval.Approval, where, max_bytes=approval.MAX_APPROVAL)
    title = f"{verdict.verdict}, as {verdict.role}"
    rows = (*_approval_rows(verdict), ("plan", verdict.plan))
    return DocumentSummary("approval", title, rows, verdict, digest_of(data), claimed_signers(envelope))


def judge_approval(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    require_anchor(judge, PEOPLE_REMEDY)
    return _by_person(data, judge, where)


def _approval_rows(verdict: approval.Approval) -> list[tuple[str, str]]:
    rows = [("verdict", f"{verdict.verdict}, as {verdict.role}, by key {verdict.keyid}")]
    if verdict.condition is not None:
        rows.append(("condition", verdict.condition))
    if verdict.request is not None:
        rows.append(("request", verdict.request))
    return rows


def _by_person(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    if judge.site is None:
        raise UsageError("the keys of people are in the policy of their site", where=where, remedy=PEOPLE_REMEDY)
    policy = judge.site.policy
    verified = approval.verify_approval(data, policy, where)
    claims = verified.approval
    return SignedBy(f"signed by {verified.person} ({claims.role}), by policy {policy.number} in force", (claims.keyid,))


def read_unsigned(
    kind: str, parse_it: Callable[[bytes, str], msgspec.Struct]
) -> Callable[[bytes, str], DocumentSummary]:
    def read(data: bytes, where: str) -> DocumentSummary:
        document = parse_it(data, where)
        rows = tuple(("", line) for line in msgspec.json.format(data, indent=2).decode().splitlines())
        return DocumentSummary(kind, f"{len(data)} bytes", rows, document, digest_of(data))

    return read


def read_plan(data: bytes, where: str) -> DocumentSummary:
    plan = parse_plan(data, where)
    return DocumentSummary("plan", f"{plan.action} at {plan.site}", tuple(plan_rows(plan)), plan, plan.digest)


def judge_unsigned(_data: bytes, _judge: DocumentJudge, where: str) -> SignedBy:
    remedy = "compare its digest with the signed document that names it"
    raise UsageError("a document of this kind has no signature", where=where, remedy=remedy)
