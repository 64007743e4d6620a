"""Documents that a vendor signs."""

from manifests.documents import authorisation, closure, consignment
from manifests.documents.release import ReleaseStatement
from manifests.trust import revocations
from manifests.trust.envelope import MAX_BUNDLE, bundle_hint, bundle_payload, parse_envelope, verify_statement
from manifests.trust.root import Mark, parse_root
from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import UntrustedError
from manifests.words.fingerprint import as_groups, as_words
from verifier.documents.values import (
    VENDOR_REMEDY,
    DocumentJudge,
    DocumentSummary,
    SignedBy,
    check_meant_for,
    claimed_signers,
    place_text,
    require_anchor,
    signed_by_chain,
)

# --- the vendor's ---------------------------------------------------------------------------------------------------


def read_root(data: bytes, where: str) -> DocumentSummary:
    found = parse_root(data, where)
    rows = [("groups", as_groups(found.fingerprint)), ("words", as_words(found.fingerprint))]
    names = {id_: one.name for id_, one in found.root.identities.items()}
    for name, held in sorted(found.root.roles.items()):
        products = f" for {', '.join(held.products)}" if held.products else ""
        who = ", ".join(names.get(keyid, keyid[:12]) for keyid in held.keys)
        rows.append(("role", f"{name}: {held.threshold} of {who}{products}"))
    rows += [("left", f"{keyid[:12]}: {leaver.how}") for keyid, leaver in sorted(found.root.leave.items())]
    practice = " (practice)" * found.root.practice
    return DocumentSummary(
        "root",
        f"{found.root.vendor}, version {found.root.version}{practice}",
        tuple(rows),
        found.root,
        digest_of(data),
        claimed_signers(found.envelope),
        found.fingerprint,
    )


def judge_root(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain((data,))
    signers = tuple(one.keyid for one in parse_root(data, where).envelope.signatures)
    who = ", ".join(keyid[:12] for keyid in signers)
    newest = chain.newest
    return SignedBy(
        f"in the chain of {newest.vendor} that is trusted, known up to root {newest.version}; signed by {who}",
        signers,
        newest.practice,
    )


def read_list(data: bytes, where: str) -> DocumentSummary:
    envelope, found = revocations.parse_revocations(data, where)
    rows = [
        *(("key", one) for one in found.keys),
        *(("release", one) for one in found.releases),
        *(("handler", one) for one in found.handlers),
    ]
    title = f"{found.vendor}, revocation list {found.version}"
    return DocumentSummary("revocations", title, tuple(rows), found, digest_of(data), claimed_signers(envelope))


def judge_list(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    revocations.verify_revocations(data, chain, where)
    return signed_by_chain(chain, "root", revocations.weigh_revocations(data, chain, where)[1].counted)


def read_authorisation(data: bytes, where: str) -> DocumentSummary:
    envelope, found = authorisation.parse_authorisation(data, where)
    leaves, goes_to = found.leaves, found.goes_to
    rows = (
        ("permits", f"a way back below the floor, once: authorisation {found.number} of {found.vendor}"),
        ("at", ", ".join(found.sites) or "every site that runs the release which carries it"),
        ("leaves", f"{found.product}, {place_text(leaves.channel, leaves.mark)}"),
        ("back to", f"{found.product} {goes_to.version}, {place_text(goes_to.channel, goes_to.mark)}"),
        ("", goes_to.release),
        ("because", found.why),
        ("loses", found.loses),
        ("reopens", ", ".join(found.reopens) or "no advisory"),
        ("issued", found.issued_at),
        ("spent as", digest_of(envelope.payload_bytes)),
    )
    title = f"{found.vendor}, number {found.number}, for {found.product}"
    return DocumentSummary("authorisation", title, rows, found, digest_of(data), claimed_signers(envelope))


def judge_authorisation(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    anchor = require_anchor(judge, VENDOR_REMEDY)
    chain = anchor.chain()
    found = authorisation.verify_authorisation(data, chain, where)
    sites = found.authorisation.sites
    if judge.site is not None and sites:
        check_meant_for(judge, judge.site.state.site in sites, ", ".join(sites), where)
    return signed_by_chain(chain, "rollback", found.signers)


def read_consignment(data: bytes, where: str) -> DocumentSummary:
    envelope = parse_envelope(data, consignment.CONSIGNMENT_TYPE, where, max_bytes=consignment.MAX_CONSIGNMENT)
    found = consignment.peek_consignment(data, where)
    consignment.check_consignment(found, where)
    rows = [
        ("for", f"{found.site}, whose key is {found.site_key}"),
        ("issued", found.issued_at),
        ("challenge", found.challenge_digest),
    ]
    if found.acknowledged is not None:
        rows.append(("holds", f"report {found.acknowledged.seq}, {found.acknowledged.digest}, and those before it"))
    rows += [("newest", place_text(one.channel, one.mark)) for one in found.newest]
    for one in found.requests:
        words = ", ".join(f"{name}={value}" for name, value in sorted(one.parameters.items()))
        rows.append(("asks", f"{one.request}: {one.handler}{f' with {words}' if words else ''}"))
    if found.revocations is not None:
        listed = revocations.parse_revocations(encode(found.revocations), f"{where} $.revocations")[1]
        rows.append(("brings", f"revocation list {listed.version}"))
    for i, carried in enumerate(found.authorisations):
        permit = authorisation.parse_authorisation(encode(carried), f"{where} $.authorisations[{i}]")[1]
        rows.append(("brings", f"authorisation {permit.number}: back to {permit.goes_to.version}"))
    title = f"number {found.number} of {found.vendor} for {found.site}"
    return DocumentSummary("consignment", title, tuple(rows), found, digest_of(data), claimed_signers(envelope))


def judge_consignment(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    anchor = require_anchor(judge, VENDOR_REMEDY)
    chain = anchor.chain()
    found = consignment.verify_consignment(data, chain, where)
    said = found.consignment
    if judge.site is not None:
        ours = (said.site, said.site_key) == (judge.site.state.site, judge.site.state.site_key.keyid)
        check_meant_for(judge, ours, f"{said.site} with key {said.site_key[:12]}", where)
    return signed_by_chain(chain, "consignment", found.signers)


def read_closure(data: bytes, where: str) -> DocumentSummary:
    envelope, found = closure.parse_closure(data, where)
    rows = [
        ("site", f"{found.site}, which spoke last by key {found.site_key}"),
        ("reason", found.reason),
        ("requested", found.requested_at),
        ("closed", found.closed_at),
    ]
    if found.last_report is not None:
        rows.append(("last", f"report {found.last_report.seq}, {found.last_report.digest}"))
    for one in found.steps:
        proof = f", by report {one.report}" if one.report is not None else ""
        note = f", asked in consignment {one.consignment}" if one.consignment is not None else ""
        at = f" at {one.at}" if one.at is not None else ""
        rows.append(("step", f"{one.step}: {one.standing.replace('-', ' ')}{at}{proof}{note}"))
    if found.unanswered:
        rows.append(("unanswered", f"consignments {', '.join(str(one) for one in found.unanswered)}"))
    rows += [("keeps", f"{one.count} {one.what}, until {one.until or 'no set end'}") for one in found.kept]
    if found.contract is not None:
        rows.append(("contract", found.contract))
    title = f"{found.vendor} closed {found.site}"
    return DocumentSummary("receipt", title, tuple(rows), found, digest_of(data), claimed_signers(envelope))


def judge_closure(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    anchor = require_anchor(judge, VENDOR_REMEDY)
    chain = anchor.chain()
    found = closure.verify_closure(data, chain, where)
    if judge.site is not None:
        check_meant_for(judge, found.closure.site == judge.site.state.site, found.closure.site, where)
    return signed_by_chain(chain, "consignment", found.signers)


def read_statement(data: bytes, where: str) -> DocumentSummary:
    found = parse(bundle_payload(data, where), ReleaseStatement, where, max_bytes=MAX_BUNDLE)
    said = found.predicate
    rows = (
        ("release", f"sha256:{found.subject[0].digest.sha256}"),
        ("place", place_text(said.channel, Mark(epoch=said.epoch, sequence=said.sequence))),
        ("format", f"{said.format}; judged by root {said.root_version} or a later one"),
        *(("kit", one) for one in said.kits),
    )
    title = f"one signature of the release {said.product} {said.version}"
    return DocumentSummary("statement", title, rows, found, digest_of(data), (bundle_hint(data, where),))


def judge_statement(data: bytes, judge: DocumentJudge, where: str) -> SignedBy:
    chain = require_anchor(judge, VENDOR_REMEDY).chain()
    keyid = bundle_hint(data, where)
    key = chain.key(keyid)
    if key is None:
        raise UntrustedError(f"signed by unknown key {keyid}", where=where, finding="signature-unknown")
    payload = verify_statement(data, key, where)
    said = parse(payload, ReleaseStatement, where, max_bytes=MAX_BUNDLE).predicate
    why = chain.counts("release", keyid, Mark(epoch=said.epoch, sequence=said.sequence))
    products = chain.newest.roles["release"].products
    if why != "counted" or (products and said.product not in products):
        raise UntrustedError(
            f"the signature by {chain.who(keyid)} holds and does not count for this release ({why})",
            where=where,
            remedy="ask the vendor for a bundle that is signed by the keys of today",
            finding=f"signature-{'role' if why == 'counted' else why}",
        )
    return signed_by_chain(chain, "release", (keyid,))
