"""Every document but a bundle: what it says in words, and who vouches for it. Writes nothing, remembers nothing.

A document of the vendor is judged by its root; one of a site by the site's key, which an enrolment names; one of a
person by the policy in force at the site.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from manifests.documents import approval, authorisation, closure, consignment, enrolment, review_request
from manifests.documents.contract import CONTRACT_TYPE, parse_contract
from manifests.documents.plan import PLAN_TYPE
from manifests.documents.policy import POLICY_TYPE, parse_policy
from manifests.documents.release import PREDICATE_TYPE, RELEASE_TYPE
from manifests.documents.release_reader import parse_release
from manifests.documents.report import REPORT_TYPE
from manifests.documents.rollback import ROLLBACK_TYPE, parse_rollback
from manifests.trust import revocations
from manifests.trust.envelope import BUNDLE, bundle_payload
from manifests.trust.keys import read_capped
from manifests.trust.root import ROOT_TYPE
from manifests.words.canonical import decode
from manifests.words.errors import MalformedError
from manifests.words.text import one_line
from verifier.documents.people import (
    judge_answer,
    judge_approval,
    judge_unsigned,
    read_answer,
    read_approval,
    read_plan,
    read_unsigned,
)
from verifier.documents.site import (
    judge_enrolment,
    judge_report,
    judge_request,
    read_enrolment,
    read_report,
    read_request,
)
from verifier.documents.values import (
    MAX_DOCUMENT,
    DocumentHead,
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    StatementHead,
)
from verifier.documents.vendor import (
    judge_authorisation,
    judge_closure,
    judge_consignment,
    judge_list,
    judge_root,
    judge_statement,
    read_authorisation,
    read_closure,
    read_consignment,
    read_list,
    read_root,
    read_statement,
)


def read_document(path: Path) -> tuple[bytes, DocumentSummary]:
    """Read a signed JSON document, known by its content.

    Raises:
        MalformedError: Not one of ours, or one that contradicts itself.
        NewerError: A report of a later kind than this program knows.
    """
    data = read_capped(path, MAX_DOCUMENT)
    kind = _kind_of(data, str(path))
    return data, _KINDS[kind].read(data, str(path))


def judge_document(path: Path, data: bytes, document: DocumentSummary, judge: DocumentJudge) -> SignedBy:
    """Who vouches for the document that ``read_document`` read.

    Raises:
        UsageError: Nothing says whom to trust for a document of this kind; the hint says what would.
        UntrustedError, NewerError, MalformedError: Its signatures do not hold.
        RefusedError: They do, and it is not meant for the site that judges.
    """
    return _KINDS[document.kind].judge(data, judge, str(path))


def _kind_of(data: bytes, where: str) -> str:
    head = decode(data, DocumentHead, where)
    types: set[str | None] = {head.payload_type, head.type}
    if head.media_type == BUNDLE:
        # A report of a later kind is for `peek_report` to name.
        claims = decode(bundle_payload(data, where), StatementHead, where).predicate_type
        types = {REPORT_TYPE if claims.startswith("urn:waybill:report:") else claims}
    for name, kind in _KINDS.items():
        if kind.type in types:
            return name
    raise MalformedError(
        "not a document of Waybill",
        where=where,
        remedy=f"this looks at bundles and at {', '.join(sorted(_KINDS))} files",
    )


@dataclass(frozen=True)
class _DocumentKind:
    type: str
    read: Callable[[bytes, str], DocumentSummary]
    judge: Callable[[bytes, DocumentJudge, str], SignedBy]


_KINDS = {
    "root": _DocumentKind(ROOT_TYPE, read_root, judge_root),
    "revocations": _DocumentKind(revocations.REVOCATIONS_TYPE, read_list, judge_list),
    "authorisation": _DocumentKind(authorisation.AUTHORISATION_TYPE, read_authorisation, judge_authorisation),
    "statement": _DocumentKind(PREDICATE_TYPE, read_statement, judge_statement),
    "consignment": _DocumentKind(consignment.CONSIGNMENT_TYPE, read_consignment, judge_consignment),
    "receipt": _DocumentKind(closure.CLOSURE_TYPE, read_closure, judge_closure),
    "enrolment": _DocumentKind(enrolment.ENROLMENT_TYPE, read_enrolment, judge_enrolment),
    "report": _DocumentKind(REPORT_TYPE, read_report, judge_report),
    "request": _DocumentKind(review_request.REQUEST_TYPE, read_request, judge_request),
    "answer": _DocumentKind(review_request.ANSWER_TYPE, read_answer, judge_answer),
    "approval": _DocumentKind(approval.APPROVAL_TYPE, read_approval, judge_approval),
    "release": _DocumentKind(RELEASE_TYPE, read_unsigned("release", parse_release), judge_unsigned),
    "plan": _DocumentKind(PLAN_TYPE, read_plan, judge_unsigned),
    "policy": _DocumentKind(POLICY_TYPE, read_unsigned("policy", parse_policy), judge_unsigned),
    "contract": _DocumentKind(CONTRACT_TYPE, read_unsigned("contract", parse_contract), judge_unsigned),
    "rollback": _DocumentKind(ROLLBACK_TYPE, read_unsigned("rollback", parse_rollback), judge_unsigned),
}


def document_text(first: str, document: DocumentSummary) -> str:
    """What `show` prints: who vouches for it or that nobody was asked, what it is, what it says."""
    lines = [first, f"{document.kind:<10} {one_line(document.title)}"]
    lines += [
        f"{name:<10} {one_line(value)}" if name else f"           {one_line(value)}" for name, value in document.rows
    ]
    lines.append(f"digest     {document.digest}")
    if document.signed_by:
        lines.append(f"signed by  {', '.join(keyid[:12] for keyid in document.signed_by)}")
    return "\n".join(lines)


def document_data(document: DocumentSummary) -> dict[str, object]:
    return {
        "kind": document.kind,
        "digest": document.digest,
        **({"fingerprint": document.fingerprint} if document.fingerprint else {}),
        "signed_by": list(document.signed_by),
        "document": msgspec.to_builtins(document.document),
    }
