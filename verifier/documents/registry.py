"""Every kind of document but a bundle: what it says, and whether its signatures hold. Only reads.

A document of the vendor is verified by its root, one of a site by the site's key, which an enrolment names, one of a
person by the policy in force at the site.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from manifests.documents import approval, authorisation, closure, consignment, enrolment, review_request
from manifests.documents.contract import CONTRACT_TYPE, parse_contract
from manifests.documents.described import key_text
from manifests.documents.handler_use import HANDLER_USE_TYPE, parse_handler_use
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
from verifier.documents import people, site, vendor
from verifier.documents.values import (
    MAX_DOCUMENT,
    DocumentHead,
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    StatementHead,
)


def read_document(path: Path) -> tuple[bytes, DocumentSummary]:
    """Read a JSON document of a kind that its content names; return its bytes and what it says.

    Raises:
        MalformedError: Not a document of Waybill, or one that contradicts itself.
        NewerError: A report of a later kind than this program knows.
    """
    data = read_capped(path, MAX_DOCUMENT)
    return data, _KINDS[_kind_of(data, str(path))].read(data, str(path))


def judge_document(path: Path, data: bytes, document: DocumentSummary, judge: DocumentJudge) -> SignedBy:
    """Return who signed the document that ``read_document`` read.

    Raises:
        UsageError: No trust anchor for a document of this kind is named.
        UntrustedError, NewerError, MalformedError: Its signatures do not hold.
        RefusedError: They hold, and it is meant for another site.
    """
    return _KINDS[document.kind].judge(data, judge, str(path))


def _kind_of(data: bytes, where: str) -> str:
    head = decode(data, DocumentHead, where)
    types: set[str | None] = {head.payload_type, head.type}
    if head.media_type == BUNDLE:
        # A report of a later kind is refused by `peek_report`, with its version.
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
    "root": _DocumentKind(ROOT_TYPE, vendor.read_root, vendor.judge_root),
    "revocations": _DocumentKind(revocations.REVOCATIONS_TYPE, vendor.read_list, vendor.judge_list),
    "authorisation": _DocumentKind(
        authorisation.AUTHORISATION_TYPE, vendor.read_authorisation, vendor.judge_authorisation
    ),
    "statement": _DocumentKind(PREDICATE_TYPE, vendor.read_statement, vendor.judge_statement),
    "consignment": _DocumentKind(consignment.CONSIGNMENT_TYPE, vendor.read_consignment, vendor.judge_consignment),
    "receipt": _DocumentKind(closure.CLOSURE_TYPE, vendor.read_closure, vendor.judge_closure),
    "enrolment": _DocumentKind(enrolment.ENROLMENT_TYPE, site.read_enrolment, site.judge_enrolment),
    "report": _DocumentKind(REPORT_TYPE, site.read_report, site.judge_report),
    "request": _DocumentKind(review_request.REQUEST_TYPE, site.read_request, site.judge_request),
    "answer": _DocumentKind(review_request.ANSWER_TYPE, people.read_answer, people.judge_answer),
    "approval": _DocumentKind(approval.APPROVAL_TYPE, people.read_approval, people.judge_approval),
    "release": _DocumentKind(RELEASE_TYPE, people.read_unsigned("release", parse_release), people.judge_unsigned),
    "plan": _DocumentKind(PLAN_TYPE, people.read_plan, people.judge_unsigned),
    "handler-use": _DocumentKind(
        HANDLER_USE_TYPE, people.read_unsigned("handler-use", parse_handler_use), people.judge_unsigned
    ),
    "policy": _DocumentKind(POLICY_TYPE, people.read_unsigned("policy", parse_policy), people.judge_unsigned),
    "contract": _DocumentKind(CONTRACT_TYPE, people.read_unsigned("contract", parse_contract), people.judge_unsigned),
    "rollback": _DocumentKind(ROLLBACK_TYPE, people.read_unsigned("rollback", parse_rollback), people.judge_unsigned),
}


def document_text(first: str, document: DocumentSummary) -> str:
    """Return what `show` prints. ``first`` is the line about the signatures."""
    lines = [first, f"{document.kind:<10} {one_line(document.title)}"]
    lines += [f"{name:<10} {one_line(value)}" for name, value in document.rows]
    lines.append(f"digest     {document.digest}")
    if document.signed_by:
        lines.append(f"signed by  {', '.join(key_text(keyid, document.names) for keyid in document.signed_by)}")
    return "\n".join(lines)


def document_data(document: DocumentSummary) -> dict[str, object]:
    return {
        "kind": document.kind,
        "digest": document.digest,
        **({"fingerprint": document.fingerprint} if document.fingerprint else {}),
        "signed_by": list(document.signed_by),
        "document": msgspec.to_builtins(document.document),
    }
