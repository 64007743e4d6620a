"""Documents that a site signs."""

import shlex
from pathlib import Path

from manifests.documents import enrolment, review_request
from manifests.documents.report import Report
from manifests.documents.report_text import report_lines
from manifests.documents.signed_report import peek_report, verify_report
from manifests.trust.envelope import bundle_hint
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.rotation import claimed_succession, follow
from manifests.words.digest import digest_of
from manifests.words.errors import UntrustedError, UsageError
from manifests.words.fingerprint import as_groups
from manifests.words.units import show_duration
from verifier.approval.request_reader import open_request
from verifier.documents.values import (
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    check_meant_for,
    plan_rows,
    require_anchor,
)

_KEY_REMEDY = "waybill verify FILE --fingerprint WORDS: of its key, which the customer gives you by another channel"


def read_enrolment(data: bytes, where: str) -> DocumentSummary:
    signed = enrolment.verify_enrolment(data, where)
    claims = signed.enrolment
    every = claims.report_every_seconds
    ordinal = "first" if claims.key_epoch == 1 else f"key number {claims.key_epoch}"
    rows = [
        ("key", f"{signed.groups}, the site's {ordinal}"),
        ("words", signed.words),
        ("channel", claims.channel),
        ("trusts", f"root {claims.root.version}, {claims.root.digest}" + ", or a practice root" * claims.practice),
        ("reports", f"every {show_duration(every)}" if every else "no promised interval"),
        *([("policy", f"{claims.policy}, its first")] if claims.policy else []),
        ("made at", claims.created_at),
    ]
    if claims.renews is not None:
        renews = claims.renews
        rows.append(("renews", f"key {renews.former[:12]}, {renews.reason}; its last report was {renews.last_seq}"))
    return DocumentSummary("enrolment", claims.site, tuple(rows), claims, signed.digest, (claims.key.keyid,))


def judge_enrolment(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    anchor = require_anchor(judge, f"{_KEY_REMEDY}; or waybill verify FILE --site DIR")
    claims = enrolment.verify_enrolment(data, where).enrolment
    trusted = f"sha256:{claims.key.keyid}" == anchor.pin.digest
    if judge.site is not None:
        trusted = claims.key == judge.site.state.site_key
    elif not anchor.typed:
        raise UsageError("a root document does not name a site's key", where=where, remedy=_KEY_REMEDY)
    if not trusted:
        raise UntrustedError(
            f"its key is {claims.key.keyid}, not the one that is trusted",
            where=where,
            remedy="ask the customer for the fingerprint again; this may be the enrolment of another site",
            finding="fingerprint-differs",
        )
    return SignedBy(f"signed by the key that it names, {claims.key.keyid[:12]}, which you trust", (claims.key.keyid,))


def read_report(data: bytes, where: str) -> DocumentSummary:
    report = peek_report(data, where)
    rows = tuple(("", line) for line in report_lines(report))
    title = f"number {report.chain.seq} of {report.identity.site}"
    return DocumentSummary("report", title, rows, report, digest_of(data))


def judge_report(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    """Verify a report by the enrolment's key and its rotations, else by the key of the judging site."""
    claims = peek_report(data, where)
    site, seq = claims.identity.site, claims.chain.seq
    if judge.enrolment is not None:
        raw = read_capped(judge.enrolment, enrolment.MAX_ENROLMENT)
        enrolled = enrolment.verify_enrolment(raw, str(judge.enrolment)).enrolment
        if enrolled.site != site:
            problem = f"is by {site}, the enrolment is of {enrolled.site}"
            raise UntrustedError(problem, where=where, finding="other-site")
        successors = follow(site, enrolled.key, enrolled.key_epoch, claimed_succession(data), where)
        key = successors[-1].key if successors else enrolled.key
        _check_report(data, key, where)
        _check_first_policy(claims, enrolled, where)
        count = {0: "", 1: ", through one change of key"}
        through = count.get(len(successors), f", through {len(successors)} changes of key")
        return SignedBy(f"signed by key {key.keyid[:12]} of {site}, by the enrolment{through}", (key.keyid,))
    if judge.anchor is None or judge.site is None:
        raise UsageError(
            "no option names the site's key",
            where=where,
            remedy=f"waybill verify {shlex.quote(where)} --enrolment FILE, whose fingerprint was compared",
        )
    state = judge.site.state
    if site != state.site:
        remedy = f"waybill verify {shlex.quote(where)} --enrolment FILE, with the enrolment of that site"
        raise UsageError(f"is by {site}, this site is {state.site}", where=where, remedy=remedy)
    key = state.key_of_report(seq)
    _check_report(data, key, where)
    return SignedBy(f"signed by this site's key {key.keyid[:12]}", (key.keyid,))


def _check_first_policy(report: Report, enrolled: enrolment.Enrolment, where: str) -> None:
    first = report.policy.first if report.policy else None
    if enrolled.policy is not None and first != enrolled.policy:
        raise UntrustedError(
            f"its journal begins with {f'policy {first}' if first else 'no policy'}, the enrolment names "
            f"{enrolled.policy}",
            where=where,
            remedy="the site's journal was written anew; ask the customer who approves there",
            finding="first-policy-differs",
        )


def _check_report(data: bytes, key: PublicKey, where: str) -> None:
    claimed = bundle_hint(data, where)
    if claimed != key.keyid:
        raise UntrustedError(
            f"signed by key {claimed}, the site's key is {key.keyid}",
            where=where,
            remedy="this is by another site of that name, or of before or after a renewal: compare its enrolment",
            finding="signature-unknown",
        )
    verify_report(data, key, where)


def read_request(data: bytes, where: str) -> DocumentSummary:
    signed = review_request.verify_request(data, where)
    request = signed.request
    rows = (
        *plan_rows(request.plan),
        ("items", " ".join(request.items)),
        ("made at", request.made_at),
        ("site key", enrolment.key_groups(request.key)),
        ("vendor", f"root {request.root.version}, {as_groups(request.root.digest)}"),
        ("documents", f"{len(request.documents)} beside it; waybill review FOLDER shows all of it"),
    )
    title = f"{' '.join(request.items)} of {request.plan.site}"
    return DocumentSummary("request", title, rows, request, signed.digest, (request.key.keyid,))


def judge_request(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    anchor = require_anchor(judge, "waybill verify FILE --fingerprint WORDS, of the vendor's paper")
    key = review_request.verify_request(data, where).request.key
    if judge.site is not None:
        check_meant_for(judge, key == judge.site.state.site_key, f"a site with key {key.keyid[:12]}", where)
    site = open_request(Path(where).parent, anchor.pin.digest).request.plan.site
    by = f"signed by key {key.keyid[:12]} of {site}; whole, and its releases hold under the root that you trust"
    return SignedBy(by, (key.keyid,))
