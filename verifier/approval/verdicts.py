"""Approvals and rejections: signed with a person's key over a plan, verified with the policy in force, and stored.

Every signature is verified again whenever it is counted.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import msgspec

from manifests.documents.approval import Approval, SignedApproval, sign_approval, verify_approval
from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import Person, Policy
from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError, UntrustedError, WaybillError
from verifier.rules.agreement import Approvable, ApprovalStatus, Void
from verifier.rules.emergency import weigh_emergency
from verifier.site.folder import Site
from verifier.site.journal.events import Verdict
from verifier.site.journal.installs import State
from verifier.site.journal.state import RecordedVerdict

VerdictKind = Literal["approve", "reject"]
# Why a stored document cannot be read, as far as the document and not a signature is the reason.
_UNREAD = (DamagedError, HostError, MalformedError)


def person_of_key(policy: Policy, signer: Signer) -> tuple[str, Person]:
    """Return the person to whom the policy assigns the key. Raises RefusedError when it lists no such key."""
    keyid = signer.public.keyid
    person = policy.person_of(keyid)
    if person is None:
        raise RefusedError(
            f"key {keyid[:12]} belongs to no person of policy {policy.number}",
            where="--key",
            remedy=f"the policy lists {', '.join(sorted(policy.people))}",
            finding="approver-unknown",
        )
    return person


def rule_plan(site: Site, action: Literal["policy", "export"], subject: str | None) -> Plan:
    """Return the plan of an item that changes no release; the policy has a rule of the same name."""
    state = site.state
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action=action,
        last_change=state.last_change,
        policy=state.trust.policy,
        contract=state.installs.contract,
        subject=subject,
        kinds=(action,),
    )


def sign_verdict(
    policy: Policy,
    plan: Plan,
    signer: Signer,
    verdict: VerdictKind = "approve",
    condition: str | None = None,
    request: str | None = None,
) -> SignedApproval:
    """Sign the plan and verify the signature. Writes nothing. ``request`` is the digest of the request to answer.

    Raises:
        RefusedError: The policy does not list the key.
        UntrustedError: The signer returned no valid signature by that key.
    """
    _, about = person_of_key(policy, signer)
    keyid = signer.public.keyid
    approval = Approval(
        plan=plan.digest, verdict=verdict, keyid=keyid, role=about.role, condition=condition, request=request
    )
    return verify_approval(sign_approval(approval, signer), policy)


def keep_verdict(site: Site, plan: Plan, signed: SignedApproval) -> str:
    """Store the approval and its plan durably; return the digest by which the journal names the approval."""
    site.keep_document(encode(plan))
    return site.keep_document(signed.raw)


def record_verdict(site: Site, item: str, plan: Plan, signed: SignedApproval) -> None:
    """Store the approval and record it in the journal of a locked site."""
    approval = signed.approval
    site.record(
        Verdict(
            item=item,
            plan=plan.digest,
            envelope=keep_verdict(site, plan, signed),
            keyid=approval.keyid,
            person=signed.person,
            role=approval.role,
            verdict=approval.verdict,
            condition=approval.condition,
        )
    )


def repeated_plan(site: Site, plan: Plan) -> Plan | None:
    """Return the plan that ``plan`` repeats once, and whose approvals therefore count too; None for any other plan.

    It is the plan of an install whose trial failed and was rolled back automatically, without a run of any program that
    saves or changes data. Nothing that makes plans invalid was recorded after that. The two differ in the number of the
    generation and in the entry after which they were made, so the change and its starting point are the same.
    """
    state, installs = site.state, site.state.installs
    back = installs.rollbacks[-1] if installs.rollbacks else None
    failed = installs.generation(back.source) if back is not None else None
    if back is None or failed is None or plan.action != "install" or failed.state != State.ROLLED_BACK:
        return None
    if not back.automatic or back.entry != state.last_change or installs.part_history(failed.number):
        return None
    try:
        then = parse_plan(site.document(failed.plan))
    except _UNREAD:
        return None
    same = msgspec.structs.replace(plan, generation=then.generation, last_change=then.last_change)
    return then if same == then else None


def verdicts_on(site: Site, policy: Policy, *plans: Plan) -> tuple[SignedApproval, ...]:
    """Return the recorded approvals and rejections of ``plans``, oldest first, each signature verified again.

    Verdicts by people whom ``policy`` does not list are left out. So are approvals that cannot be read: they are
    given again. Reads only.

    Raises:
        UntrustedError: A journal entry differs from what was signed.
        DamagedError, MalformedError, HostError: A rejection cannot be read. It may be a veto, so it is not left out.
    """
    verdicts, digests = [], {plan.digest for plan in plans}
    for recorded_verdict in site.state.trust.verdicts:
        if recorded_verdict.plan not in digests:
            continue
        person = recorded_verdict.person
        try:
            signed = verify_approval(site.document(recorded_verdict.envelope), policy, f"approval of {person}")
        except RefusedError:
            continue
        except _UNREAD:
            if recorded_verdict.verdict == "reject":
                raise
            continue
        recorded = (recorded_verdict.plan, recorded_verdict.verdict, person, recorded_verdict.keyid)
        if (signed.approval.plan, signed.approval.verdict, signed.person, signed.approval.keyid) != recorded:
            raise UntrustedError(
                f"the journal entry of {person} differs from what {person} signed",
                where="journal",
                remedy="keep the folder as it is and report this to support; the journal was edited",
                finding="approval-not-as-recorded",
            )
        verdicts.append(signed)
    return tuple(verdicts)


def approval_status(site: Site, asked: Approvable, rule: str | None = None) -> ApprovalStatus:
    """Return who must approve the item, who has, and which verdicts are void; ``rule`` names an emergency rule to use.

    Raises:
        RefusedError: The policy in force has no such rule, it does not apply to the item, or it is used up.
    """
    state, policy = site.state, site.policy
    repeated = repeated_plan(site, asked.plan)
    plans = (asked.plan,) if repeated is None else (asked.plan, repeated)
    verdicts = verdicts_on(site, policy, *plans)
    status = weigh_emergency(policy, asked, verdicts, state.trust.uses, state.trust.installs_since, rule)
    void = (*_unread(site, policy, plans), *_voids(site, policy, asked, plans))
    return replace(status, void=void, repeated=None if repeated is None else repeated.generation)


def _unread(site: Site, policy: Policy, plans: tuple[Plan, ...]) -> Iterator[Void]:
    """Yield the approvals of ``plans`` that cannot be read, each with the reason."""
    digests = {plan.digest for plan in plans}
    for verdict in site.state.trust.verdicts:
        if verdict.plan in digests and verdict.verdict == "approve":
            try:
                verify_approval(site.document(verdict.envelope), policy, f"approval of {verdict.person}")
            except _UNREAD as error:
                yield Void(verdict.person, verdict.verdict, "approval-unread", f"{error}; it has to be given again")
            except WaybillError:
                pass  # ``verdicts_on`` reports it


def _voids(site: Site, policy: Policy, asked: Approvable, plans: tuple[Plan, ...]) -> tuple[Void, ...]:
    """Return each person's last verdict on an earlier plan of the item, without people who gave one on ``plans``.

    An approval that a change or a policy used up is not void. Exports and uses of handlers have items of their own.
    """
    verdicts, digests = site.state.trust.verdicts, {plan.digest for plan in plans}
    current = {verdict.person for verdict in verdicts if verdict.plan in digests}
    earlier = (verdict for verdict in verdicts if verdict.item == asked.item and verdict.person not in current)
    last = {verdict.person: verdict for verdict in earlier}
    used = site.state.installs.used_approvals.union(*(one.approvals for one in site.state.trust.policies))
    unused = (verdict for _, verdict in sorted(last.items()) if verdict.envelope not in used)
    return tuple(_void(site, policy, verdict, asked.plan) for verdict in unused)


def _void(site: Site, policy: Policy, verdict: RecordedVerdict, present: Plan) -> Void:
    finding, why = "approval-other-plan", "given for another plan: something has changed since"
    if policy.person_of(verdict.keyid) is None:
        finding, why = "approval-person-left", f"policy {policy.number} does not list that key"
    else:
        with suppress(WaybillError):
            then = parse_plan(site.document(verdict.plan))
            if then.policy != present.policy:
                finding, why = "approval-older-policy", "given under a policy that is no longer in force"
            elif changed := _changed_since(then, present):
                why = f"given for another plan; changed since: {', '.join(changed)}"
    return Void(verdict.person, verdict.verdict, finding, why)


def _changed_since(then: Plan, present: Plan) -> tuple[str, ...]:
    """Return in words which parts of the plan differ."""
    subjects = {"policy": "policy.yaml", "rollback": "the vendor's authorisation", "run": "the handler"}
    subject = subjects.get(present.action, "its document")
    parts = {
        "site_key": "the site's key",
        "releases": "the release",
        "config": "site.yaml",
        "settings": "site.yaml",
        "contract": "the telemetry contract",
        "subject": subject,
        "generation": "the number of the new generation",
        "last_change": "what was put in force here (a generation, also for a trial; a root; a revocation list)",
    }
    return tuple(dict.fromkeys(words for name, words in parts.items() if getattr(then, name) != getattr(present, name)))
