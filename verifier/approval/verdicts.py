"""One person's word: signed with their key over a plan, judged by the policy in force, and kept.

The key is used each time: naming it proves nothing.
"""

from dataclasses import replace
from typing import Literal

from manifests.documents.approval import Approval, SignedApproval, sign_approval, verify_approval
from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import Person, Policy
from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError, UntrustedError, WaybillError
from verifier.rules.agreement import Approvable, ApprovalStatus, Void
from verifier.rules.emergency import weigh_emergency
from verifier.site.folder import Site
from verifier.site.journal.events import Verdict
from verifier.site.journal.state import RecordedVerdict

VerdictKind = Literal["approve", "reject"]


def person_of_key(policy: Policy, signer: Signer) -> tuple[str, Person]:
    """Whose key it is.

    Raises:
        RefusedError: Nobody's.
    """
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


def sign_verdict(
    site: Site, plan: Plan, signer: Signer, verdict: VerdictKind = "approve", condition: str | None = None
) -> SignedApproval:
    """Sign the plan and verify what was signed. Writes nothing.

    Raises:
        RefusedError: The key is nobody's in the policy in force.
        UntrustedError: What the signer gave is no signature by that key.
    """
    _, about = person_of_key(site.policy, signer)
    keyid = signer.public.keyid
    approval = Approval(plan=plan.digest, verdict=verdict, keyid=keyid, role=about.role, condition=condition)
    return verify_approval(sign_approval(approval, signer), site.policy)


def keep_verdict(site: Site, plan: Plan, signed: SignedApproval) -> str:
    """Keep what was signed beside what it is about, durably; the digest by which the journal names it."""
    site.keep_document(encode(plan))
    return site.keep_document(signed.raw)


def record_verdict(site: Site, item: str, plan: Plan, signed: SignedApproval) -> None:
    """Keep it, and enter it into the journal of a held site."""
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


def verdicts_on(site: Site, policy: Policy, plan: Plan) -> tuple[SignedApproval, ...]:
    """What people of the policy in force said about this very plan, oldest first, each signature verified again.

    Raises:
        UntrustedError: What the journal records was not signed so: it was edited.
        DamagedError: An envelope is gone, or is another.
    """
    verdicts = []
    for recorded_verdict in site.state.trust.verdicts:
        if recorded_verdict.plan != plan.digest:
            continue
        try:
            signed = verify_approval(
                site.document(recorded_verdict.envelope), policy, f"approval of {recorded_verdict.person}"
            )
        except RefusedError:
            continue
        recorded = (recorded_verdict.plan, recorded_verdict.verdict, recorded_verdict.person, recorded_verdict.keyid)
        if (signed.approval.plan, signed.approval.verdict, signed.person, signed.approval.keyid) != recorded:
            raise UntrustedError(
                f"what {recorded_verdict.person} signed is not what the journal says of it",
                where="journal",
                remedy="the journal was edited; keep the folder as it is and tell support",
                finding="approval-not-as-recorded",
            )
        verdicts.append(signed)
    return tuple(verdicts)


def approval_status(site: Site, asked: Approvable, rule: str | None = None) -> ApprovalStatus:
    """Who must agree to it, who has, and what was said that counts no more.

    Args:
        rule: An emergency rule that is asked for by name, instead of the ordinary ones.

    Raises:
        RefusedError: That rule is none of the policy in force, about other changes, or spent.
    """
    state, policy = site.state, site.policy
    verdicts = verdicts_on(site, policy, asked.plan)
    status = weigh_emergency(policy, asked, verdicts, state.trust.uses, state.trust.installs_since, rule)
    return replace(status, void=voids_of(site, policy, asked))


def voids_of(site: Site, policy: Policy, asked: Approvable) -> tuple[Void, ...]:
    """Each person's last word on this item under another plan, and why it is void; none of who has spoken since."""
    spoken = {one.person for one in site.state.trust.verdicts if one.plan == asked.plan.digest}
    last: dict[str, RecordedVerdict] = {}
    for verdict in site.state.trust.verdicts:
        if verdict.item == asked.item and verdict.person not in spoken:
            last[verdict.person] = verdict
    return tuple(_void(site, policy, verdict) for _, verdict in sorted(last.items()))


def _void(site: Site, policy: Policy, verdict: RecordedVerdict) -> Void:
    if policy.person_of(verdict.keyid) is None:
        return Void(
            verdict.person, verdict.verdict, "approval-person-left", f"policy {policy.number} does not list that key"
        )
    try:
        under = parse_plan(site.document(verdict.plan)).policy
    except WaybillError:
        under = ""
    if under and under != site.state.trust.policy:
        return Void(
            verdict.person, verdict.verdict, "approval-older-policy", "given under a policy that is no longer in force"
        )
    return Void(
        verdict.person, verdict.verdict, "approval-other-plan", "given for another plan: something has changed since"
    )
