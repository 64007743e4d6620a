"""Documents that a vendor signs."""

from pathlib import Path

from content.signing.vendor_keys import read_vendor_keys
from manifests.documents import authorisation, closure, consignment
from manifests.documents.described import authorisation_rows, key_text, place_text, revocation_rows, root_rows
from manifests.documents.release import ReleaseStatement
from manifests.trust import revocations
from manifests.trust.envelope import MAX_BUNDLE, bundle_hint, bundle_payload, parse_envelope, verify_statement
from manifests.trust.root import Chain, Mark, parse_root
from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import UntrustedError
from manifests.words.fingerprint import as_groups, as_words
from verifier.documents.values import (
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    check_meant_for,
    claimed_signers,
    require_anchor,
)

VENDOR_REMEDY = (
    "waybill verify FILE --root ROOT.json, with the vendor's newest root document; or waybill verify FILE --site DIR"
)


def read_root(data: bytes, where: str) -> DocumentSummary:
    signed, names = parse_root(data, where), read_vendor_keys(Path(where)).names
    rows = [("groups", as_groups(signed.fingerprint)), ("words", as_words(signed.fingerprint))]
    rows += root_rows(signed.root, names)
    practice = " (practice)" * signed.root.practice
    return DocumentSummary(
        "root",
        f"{signed.root.vendor}, version {signed.root.version}{practice}",
        tuple(rows),
        signed.root,
        digest_of(data),
        claimed_signers(signed.envelope),
        signed.fingerprint,
        names,
    )


def judge_root(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain((data,))
    signers = tuple(one.keyid for one in parse_root(data, where).envelope.signatures)
    names = read_vendor_keys(Path(where)).names
    who = ", ".join(key_text(keyid, names) for keyid in signers)
    newest = chain.newest
    by = f"in the chain of {newest.vendor} that is trusted, known up to root {newest.version}; signed by {who}"
    return SignedBy(by, signers, newest.practice)


def read_list(data: bytes, where: str) -> DocumentSummary:
    envelope, revoked = revocations.parse_revocations(data, where)
    title = f"{revoked.vendor}, revocation list {revoked.version}"
    names = read_vendor_keys(Path(where)).names
    rows = tuple(revocation_rows(revoked, names))
    signed_by = claimed_signers(envelope)
    return DocumentSummary("revocations", title, rows, revoked, digest_of(data), signed_by, names=names)


def judge_list(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    revocations.verify_revocations(data, chain, where)
    return _signed_by_chain(chain, "root", revocations.weigh_revocations(data, chain, where)[1].counted)


def read_authorisation(data: bytes, where: str) -> DocumentSummary:
    envelope, permit = authorisation.parse_authorisation(data, where)
    rows = tuple(authorisation_rows(permit, digest_of(envelope.payload_bytes)))
    title = f"{permit.vendor}, number {permit.number}, for {permit.product}"
    names, signed_by = read_vendor_keys(Path(where)).names, claimed_signers(envelope)
    return DocumentSummary("authorisation", title, rows, permit, digest_of(data), signed_by, names=names)


def judge_authorisation(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    verified = authorisation.verify_authorisation(data, chain, where)
    sites = verified.authorisation.sites
    if judge.site is not None and sites:
        check_meant_for(judge, judge.site.state.site in sites, ", ".join(sites), where)
    return _signed_by_chain(chain, "rollback", verified.signers)


def read_consignment(data: bytes, where: str) -> DocumentSummary:
    envelope = parse_envelope(data, consignment.CONSIGNMENT_TYPE, where, max_bytes=consignment.MAX_CONSIGNMENT)
    order = consignment.peek_consignment(data, where)
    consignment.check_consignment(order, where)
    rows = [
        ("for", f"{order.site}, whose key is {order.site_key}"),
        ("issued", order.issued_at),
        ("challenge", order.challenge_digest),
    ]
    if order.acknowledged is not None:
        rows.append(("holds", f"report {order.acknowledged.seq}, {order.acknowledged.digest}, and those before it"))
    rows += [("newest", place_text(item.channel, item.mark)) for item in order.newest]
    for request in order.requests:
        words = ", ".join(f"{name}={value}" for name, value in sorted(request.parameters.items()))
        rows.append(("asks", f"{request.request}: {request.handler}{f' with {words}' if words else ''}"))
        if request.first_report is not None or request.last_report is not None:
            until = f"to {request.last_report}" if request.last_report is not None else "on"
            rows.append(("", f"before the reports from {request.first_report or 1} {until}"))
        if request.why is not None:
            rows.append(("", f"because: {request.why}"))
    if order.revocations is not None:
        listed = revocations.parse_revocations(encode(order.revocations), f"{where} $.revocations")[1]
        rows.append(("brings", f"revocation list {listed.version}"))
    for i, carried in enumerate(order.authorisations):
        permit = authorisation.parse_authorisation(encode(carried), f"{where} $.authorisations[{i}]")[1]
        rows.append(("brings", f"authorisation {permit.number}: rollback to {permit.goes_to.version}"))
    title = f"number {order.number} of {order.vendor} for {order.site}"
    return DocumentSummary("consignment", title, tuple(rows), order, digest_of(data), claimed_signers(envelope))


def judge_consignment(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    verified = consignment.verify_consignment(data, chain, where)
    claims = verified.consignment
    if judge.site is not None:
        ours = claims.site == judge.site.state.site and claims.site_key in judge.site.state.own_keys
        check_meant_for(judge, ours, f"{claims.site} with key {claims.site_key[:12]}", where)
    return _signed_by_chain(chain, "consignment", verified.signers)


def read_closure(data: bytes, where: str) -> DocumentSummary:
    envelope, receipt = closure.parse_closure(data, where)
    rows = [
        ("site", f"{receipt.site}, whose last key is {receipt.site_key}"),
        ("reason", receipt.reason),
        ("requested", receipt.requested_at),
        ("closed", receipt.closed_at),
    ]
    if receipt.last_report is not None:
        rows.append(("last", f"report {receipt.last_report.seq}, {receipt.last_report.digest}"))
    for step in receipt.steps:
        proof = f", by report {step.report}" if step.report is not None else ""
        asked = f", asked in consignment {step.consignment}" if step.consignment is not None else ""
        at = f" at {step.at}" if step.at is not None else ""
        rows.append(("step", f"{step.step}: {step.standing.replace('-', ' ')}{at}{proof}{asked}"))
    if receipt.unanswered:
        rows.append(("unanswered", f"consignments {', '.join(str(number) for number in receipt.unanswered)}"))
    rows += [("keeps", f"{item.count} {item.what}, until {item.until or 'no set end'}") for item in receipt.kept]
    if receipt.contract is not None:
        rows.append(("contract", receipt.contract))
    title = f"{receipt.vendor} closed {receipt.site}"
    return DocumentSummary("receipt", title, tuple(rows), receipt, digest_of(data), claimed_signers(envelope))


def judge_closure(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    verified = closure.verify_closure(data, chain, where)
    if judge.site is not None:
        check_meant_for(judge, verified.closure.site == judge.site.state.site, verified.closure.site, where)
    return _signed_by_chain(chain, "consignment", verified.signers)


def read_statement(data: bytes, where: str) -> DocumentSummary:
    statement = parse(bundle_payload(data, where), ReleaseStatement, where, max_bytes=MAX_BUNDLE)
    release = statement.predicate
    rows = (
        ("release", f"sha256:{statement.subject[0].digest.sha256}"),
        ("place", place_text(release.channel, Mark(epoch=release.epoch, sequence=release.sequence))),
        ("format", f"{release.format}; judged by root {release.root_version} or a later one"),
        *(("kit", one) for one in release.kits),
    )
    title = f"one signature of the release {release.product} {release.version}"
    return DocumentSummary("statement", title, rows, statement, digest_of(data), (bundle_hint(data, where),))


def judge_statement(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    keyid = bundle_hint(data, where)
    key = chain.key(keyid)
    if key is None:
        raise UntrustedError(f"signed by unknown key {keyid}", where=where, finding="signature-unknown")
    payload = verify_statement(data, key, where)
    release = parse(payload, ReleaseStatement, where, max_bytes=MAX_BUNDLE).predicate
    why = chain.counts("release", keyid, Mark(epoch=release.epoch, sequence=release.sequence))
    products = chain.newest.roles["release"].products
    if why != "counted" or (products and release.product not in products):
        raise UntrustedError(
            f"valid signature by {chain.who(keyid)} not counted for this release ({why})",
            where=where,
            remedy="ask the vendor for a bundle that is signed by the present keys",
            finding=f"signature-{'role' if why == 'counted' else why}",
        )
    return _signed_by_chain(chain, "release", (keyid,))


def _signed_by_chain(chain: Chain, role: str, signers: tuple[str, ...]) -> SignedBy:
    root = chain.newest
    who = ", ".join(chain.who(keyid) for keyid in signers)
    practice = " (practice)" * root.practice
    by = f"signed by {who}, role {role} of root {root.version} of {root.vendor}{practice}"
    return SignedBy(by, signers, root.practice)
