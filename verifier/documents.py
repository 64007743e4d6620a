"""Every document but a bundle: what it says in words, and who vouches for it. Writes nothing, remembers nothing.

A document of the vendor is judged by its root; one of a site by the site's key, which an enrolment names; one of a
person by the policy in force at the site.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from manifests import approval, authorisation, closure, consignment, enrolment, review_request, revocations
from manifests.canonical import decode, encode, parse
from manifests.console import one_line
from manifests.contract import CONTRACT_TYPE, parse_contract
from manifests.digest import digest_of
from manifests.envelope import (
    BUNDLE,
    MAX_BUNDLE,
    Envelope,
    bundle_hint,
    bundle_payload,
    parse_envelope,
    verify_statement,
)
from manifests.errors import MalformedError, RefusedError, UntrustedError, UsageError
from manifests.fingerprint import as_groups, as_words
from manifests.keys import PublicKey, read_capped
from manifests.plan import PLAN_TYPE, Plan, parse_plan
from manifests.policy import POLICY_TYPE, parse_policy
from manifests.release import PREDICATE_TYPE, RELEASE_TYPE, ReleaseStatement, parse_release
from manifests.report import REPORT_TYPE, peek_report, verify_report
from manifests.report_text import report_lines
from manifests.rollback import ROLLBACK_TYPE, parse_rollback
from manifests.rotation import claimed_succession, follow
from manifests.trust import ROOT_TYPE, Chain, Mark, parse_root
from manifests.units import show_duration
from verifier.site import Site
from verifier.whom import Whom

MAX_DOCUMENT = 16 << 20
Rows = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Said:
    """What a document says; nobody vouches for it yet.

    Attributes:
        kind: Such as ``consignment``.
        title: What it is, in one line.
        rows: (name, value), or ("", a line of its own).
        signed_by: Key ids that its signatures claim.
        fingerprint: Of a root document: what its paper shows.
    """

    kind: str
    title: str
    rows: tuple[tuple[str, str], ...]
    document: msgspec.Struct
    digest: str
    signed_by: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class Vouched:
    """Who vouches for a document. Attributes: by: in words; signers: key ids that were counted."""

    by: str
    signers: tuple[str, ...]
    practice: bool = False


@dataclass(frozen=True)
class Judge:
    """Everything that a judgement may rest on.

    Attributes:
        whom: None where nothing says whom to trust.
        site: The site that judges; None away from one.
        enrolment: Of a site, for what its key signed.
    """

    whom: Whom | None = None
    site: Site | None = None
    enrolment: Path | None = None


class _Typed(msgspec.Struct):
    """Just enough of a JSON file to know what it is."""

    payload_type: str = msgspec.field(name="payloadType", default="")
    media_type: str = msgspec.field(name="mediaType", default="")
    type: str = ""


class _Statement(msgspec.Struct):
    """Just enough of a statement to know what it is."""

    predicate_type: str = msgspec.field(name="predicateType", default="")


def read_document(path: Path) -> tuple[bytes, Said]:
    """Read a signed JSON document, known by its content.

    Raises:
        MalformedError: Not one of ours, or one that contradicts itself.
        NewerError: A report of a later kind than this program knows.
    """
    data = read_capped(path, MAX_DOCUMENT)
    kind = _kind_of(data, str(path))
    return data, _KINDS[kind].read(data, str(path))


def judge_document(path: Path, data: bytes, said: Said, judge: Judge) -> Vouched:
    """Who vouches for the document that ``read_document`` read.

    Raises:
        UsageError: Nothing says whom to trust for a document of this kind; the hint says what would.
        UntrustedError, NewerError, MalformedError: Its signatures do not hold.
        RefusedError: They do, and it is not meant for the site that judges.
    """
    return _KINDS[said.kind].judge(data, judge, str(path))


def _kind_of(data: bytes, where: str) -> str:
    found = decode(data, _Typed, where)
    said = {found.payload_type, found.type}
    if found.media_type == BUNDLE:
        # A report of a later kind is for `peek_report` to name.
        claims = decode(bundle_payload(data, where), _Statement, where).predicate_type
        said = {REPORT_TYPE if claims.startswith("urn:waybill:report:") else claims}
    for kind, one in _KINDS.items():
        if one.type in said:
            return kind
    raise MalformedError(
        "not a document of Waybill",
        where=where,
        remedy=f"this looks at bundles and at {', '.join(sorted(_KINDS))} files",
    )


# --- the vendor's ---------------------------------------------------------------------------------------------------


def _read_root(data: bytes, where: str) -> Said:
    found = parse_root(data, where)
    rows = [("groups", as_groups(found.fingerprint)), ("words", as_words(found.fingerprint))]
    names = {id_: one.name for id_, one in found.root.identities.items()}
    for name, held in sorted(found.root.roles.items()):
        products = f" for {', '.join(held.products)}" if held.products else ""
        who = ", ".join(names.get(keyid, keyid[:12]) for keyid in held.keys)
        rows.append(("role", f"{name}: {held.threshold} of {who}{products}"))
    rows += [("left", f"{keyid[:12]}: {leaver.how}") for keyid, leaver in sorted(found.root.leave.items())]
    practice = " (practice)" * found.root.practice
    return Said(
        "root",
        f"{found.root.vendor}, version {found.root.version}{practice}",
        tuple(rows),
        found.root,
        digest_of(data),
        _claimed(found.envelope),
        found.fingerprint,
    )


def _judge_root(data: bytes, judge: Judge, where: str) -> Vouched:
    chain = _whom(judge, _VENDOR).chain((data,))
    signers = tuple(one.keyid for one in parse_root(data, where).envelope.signatures)
    who = ", ".join(keyid[:12] for keyid in signers)
    newest = chain.newest
    return Vouched(
        f"in the chain of {newest.vendor} that is trusted, known up to root {newest.version}; signed by {who}",
        signers,
        newest.practice,
    )


def _read_list(data: bytes, where: str) -> Said:
    envelope, found = revocations.parse_revocations(data, where)
    rows = [
        *(("key", one) for one in found.keys),
        *(("release", one) for one in found.releases),
        *(("handler", one) for one in found.handlers),
    ]
    title = f"{found.vendor}, revocation list {found.version}"
    return Said("revocations", title, tuple(rows), found, digest_of(data), _claimed(envelope))


def _judge_list(data: bytes, judge: Judge, where: str) -> Vouched:
    chain = _whom(judge, _VENDOR).chain()
    revocations.verify_revocations(data, chain, where)
    return _by_chain(chain, "root", revocations.weigh_revocations(data, chain, where)[1].counted)


def _read_authorisation(data: bytes, where: str) -> Said:
    envelope, found = authorisation.parse_authorisation(data, where)
    leaves, goes_to = found.leaves, found.goes_to
    rows = (
        ("permits", f"a way back below the floor, once: authorisation {found.number} of {found.vendor}"),
        ("at", ", ".join(found.sites) or "every site that runs the release which carries it"),
        ("leaves", f"{found.product}, {_place(leaves.channel, leaves.mark)}"),
        ("back to", f"{found.product} {goes_to.version}, {_place(goes_to.channel, goes_to.mark)}"),
        ("", goes_to.release),
        ("because", found.why),
        ("loses", found.loses),
        ("reopens", ", ".join(found.reopens) or "no advisory"),
        ("issued", found.issued_at),
        ("spent as", digest_of(envelope.payload_bytes)),
    )
    title = f"{found.vendor}, number {found.number}, for {found.product}"
    return Said("authorisation", title, rows, found, digest_of(data), _claimed(envelope))


def _judge_authorisation(data: bytes, judge: Judge, where: str) -> Vouched:
    whom = _whom(judge, _VENDOR)
    chain = whom.chain()
    found = authorisation.verify_authorisation(data, chain, where)
    sites = found.authorisation.sites
    if judge.site is not None and sites:
        _meant(judge, judge.site.state.site in sites, ", ".join(sites), where)
    return _by_chain(chain, "rollback", found.signers)


def _read_consignment(data: bytes, where: str) -> Said:
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
    rows += [("newest", _place(one.channel, one.mark)) for one in found.newest]
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
    return Said("consignment", title, tuple(rows), found, digest_of(data), _claimed(envelope))


def _judge_consignment(data: bytes, judge: Judge, where: str) -> Vouched:
    whom = _whom(judge, _VENDOR)
    chain = whom.chain()
    found = consignment.verify_consignment(data, chain, where)
    said = found.consignment
    if judge.site is not None:
        ours = (said.site, said.site_key) == (judge.site.state.site, judge.site.state.site_key.keyid)
        _meant(judge, ours, f"{said.site} with key {said.site_key[:12]}", where)
    return _by_chain(chain, "consignment", found.signers)


def _read_closure(data: bytes, where: str) -> Said:
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
    return Said("receipt", title, tuple(rows), found, digest_of(data), _claimed(envelope))


def _judge_closure(data: bytes, judge: Judge, where: str) -> Vouched:
    whom = _whom(judge, _VENDOR)
    chain = whom.chain()
    found = closure.verify_closure(data, chain, where)
    if judge.site is not None:
        _meant(judge, found.closure.site == judge.site.state.site, found.closure.site, where)
    return _by_chain(chain, "consignment", found.signers)


def _read_statement(data: bytes, where: str) -> Said:
    found = parse(bundle_payload(data, where), ReleaseStatement, where, max_bytes=MAX_BUNDLE)
    said = found.predicate
    rows = (
        ("release", f"sha256:{found.subject[0].digest.sha256}"),
        ("place", _place(said.channel, Mark(epoch=said.epoch, sequence=said.sequence))),
        ("format", f"{said.format}; judged by root {said.root_version} or a later one"),
        *(("kit", one) for one in said.kits),
    )
    title = f"one signature of the release {said.product} {said.version}"
    return Said("statement", title, rows, found, digest_of(data), (bundle_hint(data, where),))


def _judge_statement(data: bytes, judge: Judge, where: str) -> Vouched:
    chain = _whom(judge, _VENDOR).chain()
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
    return _by_chain(chain, "release", (keyid,))


# --- a site's -------------------------------------------------------------------------------------------------------


def _read_enrolment(data: bytes, where: str) -> Said:
    signed = enrolment.verify_enrolment(data, where)
    found = signed.enrolment
    every = found.report_every_seconds
    rows = [
        ("key", f"{signed.groups}, the site's {_nth(found.key_epoch)}"),
        ("words", signed.words),
        ("channel", found.channel),
        ("trusts", f"root {found.root.version}, {found.root.digest}" + ", or a practice root" * found.practice),
        ("reports", f"every {show_duration(every)}" if every else "when it likes"),
        ("made at", found.created_at),
    ]
    if found.renews is not None:
        renews = found.renews
        rows.append(("renews", f"key {renews.former[:12]}, {renews.reason}; its last report was {renews.last_seq}"))
    return Said("enrolment", found.site, tuple(rows), found, signed.digest, (found.key.keyid,))


def _judge_enrolment(data: bytes, judge: Judge, where: str) -> Vouched:
    whom = _whom(judge, "--fingerprint with the words of its key, as the customer tells them by another way; or --site")
    found = enrolment.verify_enrolment(data, where).enrolment
    trusted = f"sha256:{found.key.keyid}" == whom.pin.digest
    if judge.site is not None:
        trusted = found.key == judge.site.state.site_key
    elif not whom.typed:
        raise UsageError(
            "a root document says nothing about a site's key",
            where=where,
            remedy="--fingerprint with the words of its key, as the customer tells them by another way",
        )
    if not trusted:
        raise UntrustedError(
            f"its key is {found.key.keyid[:12]}, not the one that is trusted",
            where=where,
            remedy="ask the customer again; this may be another site, or somebody else's",
            finding="fingerprint-differs",
        )
    return Vouched(f"signed by the key that it names, {found.key.keyid[:12]}, which you trust", (found.key.keyid,))


def _read_report(data: bytes, where: str) -> Said:
    found = peek_report(data, where)
    rows = tuple(("", one) for one in report_lines(found))
    return Said("report", f"number {found.chain.seq} of {found.identity.site}", rows, found, digest_of(data))


def _judge_report(data: bytes, judge: Judge, where: str) -> Vouched:
    said = peek_report(data, where)
    site, seq = said.identity.site, said.chain.seq
    if judge.enrolment is not None:
        enrolled = enrolment.verify_enrolment(
            read_capped(judge.enrolment, enrolment.MAX_ENROLMENT), str(judge.enrolment)
        ).enrolment
        if enrolled.site != site:
            raise UntrustedError(
                f"is by {site}, the enrolment is of {enrolled.site}", where=where, finding="other-site"
            )
        led = follow(site, enrolled.key, enrolled.key_epoch, claimed_succession(data), where)
        key = led[-1].key if led else enrolled.key
        _check_report(data, key, where)
        way = f", through {len(led)} changes of key" if len(led) > 1 else ", through one change of key" * len(led)
        return Vouched(f"signed by key {key.keyid[:12]} of {site}, by the enrolment{way}", (key.keyid,))
    if judge.whom is None or judge.site is None:
        raise UsageError(
            "nothing says which key the site has",
            where=where,
            remedy="--enrolment FILE, whose fingerprint was compared; or --site",
        )
    state = judge.site.state
    if site != state.site:
        raise UsageError(f"is by {site}, this site is {state.site}", where=where, remedy="--enrolment of that site")
    key = state.key_of_report(seq)
    _check_report(data, key, where)
    return Vouched(f"signed by this site's key {key.keyid[:12]}", (key.keyid,))


def _check_report(data: bytes, key: PublicKey, where: str) -> None:
    claimed = bundle_hint(data, where)
    if claimed != key.keyid:
        raise UntrustedError(
            f"signed by key {claimed[:12]}, the site's key is {key.keyid[:12]}",
            where=where,
            remedy="this is by another site of that name, or of before or after a renewal: compare its enrolment",
            finding="signature-unknown",
        )
    verify_report(data, key, where)


def _read_request(data: bytes, where: str) -> Said:
    signed = review_request.verify_request(data, where)
    found = signed.request
    rows = (
        *_plan_rows(found.plan),
        ("items", " ".join(found.items)),
        ("made at", found.made_at),
        ("site key", enrolment.key_groups(found.key)),
        ("vendor", f"root {found.root.version}, {as_groups(found.root.digest)}"),
        ("documents", f"{len(found.documents)} beside it; waybill review FOLDER shows all of it"),
    )
    title = f"{' '.join(found.items)} of {found.plan.site}"
    return Said("request", title, rows, found, signed.digest, (found.key.keyid,))


def _judge_request(data: bytes, judge: Judge, where: str) -> Vouched:
    from verifier.desk import open_request

    whom = _whom(judge, "--fingerprint with the words of the vendor's paper, or --root, or --site")
    key = review_request.verify_request(data, where).request.key
    if judge.site is not None:
        _meant(judge, key == judge.site.state.site_key, f"a site with key {key.keyid[:12]}", where)
    site = open_request(Path(where).parent, whom.pin.digest).request.plan.site
    by = f"signed by key {key.keyid[:12]} of {site}; whole, and its releases hold under the root that you trust"
    return Vouched(by, (key.keyid,))


# --- people's -------------------------------------------------------------------------------------------------------


def _read_answer(data: bytes, where: str) -> Said:
    answer, word = review_request.parse_answer(data, where)
    rows = (*_word_rows(word), *_plan_rows(answer.plan))
    title = f"{word.verdict} {' '.join(answer.items)} of {answer.plan.site}"
    return Said("answer", title, rows, answer, digest_of(data), _claimed(answer.approval))


def _judge_answer(data: bytes, judge: Judge, where: str) -> Vouched:
    answer = review_request.parse_answer(data, where)[0]
    _whom(judge, _PEOPLE)
    if judge.site is not None:
        _meant(judge, answer.plan.site == judge.site.state.site, answer.plan.site, where)
    return _by_person(encode(answer.approval), judge, where)


def _read_approval(data: bytes, where: str) -> Said:
    envelope = parse_envelope(data, approval.APPROVAL_TYPE, where, max_bytes=approval.MAX_APPROVAL)
    found = parse(envelope.payload_bytes, approval.Approval, where, max_bytes=approval.MAX_APPROVAL)
    title = f"{found.verdict}, as {found.role}"
    rows = (*_word_rows(found), ("plan", found.plan))
    return Said("approval", title, rows, found, digest_of(data), _claimed(envelope))


def _judge_approval(data: bytes, judge: Judge, where: str) -> Vouched:
    _whom(judge, _PEOPLE)
    return _by_person(data, judge, where)


def _by_person(data: bytes, judge: Judge, where: str) -> Vouched:
    if judge.site is None:
        raise UsageError("people are known by the policy of their site", where=where, remedy=_PEOPLE)
    policy = judge.site.policy
    word = approval.verify_approval(data, policy, where)
    said = word.approval
    return Vouched(f"signed by {word.person} ({said.role}), by policy {policy.number} in force", (said.keyid,))


# --- what others name by its digest ---------------------------------------------------------------------------------


def _unsigned(kind: str, parse_it: Callable[[bytes, str], msgspec.Struct]) -> Callable[[bytes, str], Said]:
    def read(data: bytes, where: str) -> Said:
        found = parse_it(data, where)
        lines = msgspec.json.format(data, indent=2).decode().splitlines()
        return Said(kind, f"{len(data)} bytes", tuple(("", line) for line in lines), found, digest_of(data))

    return read


def _read_plan(data: bytes, where: str) -> Said:
    found = parse_plan(data, where)
    return Said("plan", f"{found.action} at {found.site}", tuple(_plan_rows(found)), found, found.digest)


def _nobody(_data: bytes, _judge: Judge, where: str) -> Vouched:
    raise UsageError(
        "nobody signs it by itself", where=where, remedy="whatever names its digest vouches for it: compare that"
    )


# --- together -------------------------------------------------------------------------------------------------------

_VENDOR = "--root with the vendor's newest root document, or --site"
_PEOPLE = "--site, whose policy in force says whose keys they are"


@dataclass(frozen=True)
class _Kind:
    type: str
    read: Callable[[bytes, str], Said]
    judge: Callable[[bytes, Judge, str], Vouched]


_KINDS = {
    "root": _Kind(ROOT_TYPE, _read_root, _judge_root),
    "revocations": _Kind(revocations.REVOCATIONS_TYPE, _read_list, _judge_list),
    "authorisation": _Kind(authorisation.AUTHORISATION_TYPE, _read_authorisation, _judge_authorisation),
    "statement": _Kind(PREDICATE_TYPE, _read_statement, _judge_statement),
    "consignment": _Kind(consignment.CONSIGNMENT_TYPE, _read_consignment, _judge_consignment),
    "receipt": _Kind(closure.CLOSURE_TYPE, _read_closure, _judge_closure),
    "enrolment": _Kind(enrolment.ENROLMENT_TYPE, _read_enrolment, _judge_enrolment),
    "report": _Kind(REPORT_TYPE, _read_report, _judge_report),
    "request": _Kind(review_request.REQUEST_TYPE, _read_request, _judge_request),
    "answer": _Kind(review_request.ANSWER_TYPE, _read_answer, _judge_answer),
    "approval": _Kind(approval.APPROVAL_TYPE, _read_approval, _judge_approval),
    "release": _Kind(RELEASE_TYPE, _unsigned("release", parse_release), _nobody),
    "plan": _Kind(PLAN_TYPE, _read_plan, _nobody),
    "policy": _Kind(POLICY_TYPE, _unsigned("policy", parse_policy), _nobody),
    "contract": _Kind(CONTRACT_TYPE, _unsigned("contract", parse_contract), _nobody),
    "rollback": _Kind(ROLLBACK_TYPE, _unsigned("rollback", parse_rollback), _nobody),
}


def _whom(judge: Judge, remedy: str) -> Whom:
    if judge.whom is None:
        raise UsageError("nothing says whom to trust", where="trust", remedy=remedy)
    return judge.whom


def _by_chain(chain: Chain, role: str, signers: tuple[str, ...]) -> Vouched:
    root = chain.newest
    who = ", ".join(chain.who(keyid) for keyid in signers)
    practice = " (practice)" * root.practice
    by = f"signed by {who}, role {role} of root {root.version} of {root.vendor}{practice}"
    return Vouched(by, signers, root.practice)


def _meant(judge: Judge, ours: bool, others: str, where: str) -> None:
    if not ours and judge.site is not None:
        raise RefusedError(
            f"is for {others}, this is {judge.site.state.site}",
            where=where,
            remedy="look at it there, or with --root, which asks no site",
            finding="other-site",
        )


def _claimed(envelope: Envelope) -> tuple[str, ...]:
    return tuple(one.keyid for one in envelope.signatures)


def _place(channel: str, mark: Mark) -> str:
    return f"{channel} {mark.sequence} of epoch {mark.epoch}"


def _nth(epoch: int) -> str:
    return "first" if epoch == 1 else f"key number {epoch}"


def _word_rows(found: approval.Approval) -> Rows:
    rows = [("says", f"{found.verdict}, as {found.role}, by key {found.keyid}")]
    if found.condition is not None:
        rows.append(("condition", found.condition))
    if found.request is not None:
        rows.append(("request", found.request))
    return rows


def _plan_rows(plan: Plan) -> Rows:
    rows = [
        ("does", f"{plan.action} at {plan.site}; kinds of change: {', '.join(plan.kinds)}"),
        ("plan", plan.digest),
        ("policy", plan.policy),
    ]
    if plan.generation is not None:
        rows.append(("makes", f"generation {plan.generation}"))
    return [*rows, *(("release", one) for one in plan.releases)]


def document_text(first: str, said: Said) -> str:
    """What `show` prints: who vouches for it or that nobody was asked, what it is, what it says."""
    lines = [first, f"{said.kind:<10} {one_line(said.title)}"]
    lines += [f"{name:<10} {one_line(value)}" if name else f"           {one_line(value)}" for name, value in said.rows]
    lines.append(f"digest     {said.digest}")
    if said.signed_by:
        lines.append(f"signed by  {', '.join(one[:12] for one in said.signed_by)}")
    return "\n".join(lines)


def document_data(said: Said) -> dict[str, Any]:
    return {
        "kind": said.kind,
        "digest": said.digest,
        **({"fingerprint": said.fingerprint} if said.fingerprint else {}),
        "signed_by": list(said.signed_by),
        "document": msgspec.to_builtins(said.document),
    }
